"""Table, plot and film of a clip are made one by one: what can be written is there, and what cannot is a line."""
import json
import shutil

import pandas as pd
import pytest
from PIL import Image

from commands import command
from affect_nb.analysis import annotated_film
from affect_nb.apps.predict import predict_files
from affect_nb.apps.predictor import Predictor
from affect_nb.files.film import write_film
from affect_nb.synth.faces import Identity, expression_aus, render_face


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film")/"talk.mp4"
    write_film(path, (render_face(expression_aus("Happiness", step), Identity.draw(3), size=140, seed=step).image for step in range(5)), 25)
    return path


def broken(*arguments, **options): raise RuntimeError("no such pen")


@pytest.mark.parametrize("name", ["cost $5 or $6", "{a}_^2 $", r"\$\alpha$", "50% #1 & more"])
def test_names_that_a_plot_could_take_for_mathematics(film, card, tmp_path, name):
    shutil.copy(film, tmp_path/f"{name}.mp4")
    written, skipped = predict_files(tmp_path/f"{name}.mp4", card, tmp_path/"out", device="cpu", progress=False)
    assert [path.name for path in written] == [f"{name}.csv", f"{name}.mp4", f"{name}.png"] and not skipped


@pytest.mark.parametrize("product, made_by", [("png", "plot_predictions"), ("mp4", "write_annotated")])
def test_a_plot_or_a_film_that_fails_hides_nothing(film, card, tmp_path, monkeypatch, product, made_by):
    monkeypatch.setattr(annotated_film, made_by, broken)
    code, out, err = command("predict", film, "--model", card, "--out", tmp_path)
    there = {f"talk.{suffix}" for suffix in ("csv", "mp4", "png")} - {f"talk.{product}"}
    assert code == 1 and {line.rpartition("/")[2] for line in out.splitlines()} == there
    assert f"{film}: talk.{product} was not written: RuntimeError: no such pen" in err and "Traceback" not in err
    assert len(pd.read_csv(tmp_path/"talk.csv")) == 5 and not (tmp_path/f"talk.{product}").exists()
    entry, = json.loads((tmp_path/"skipped.json").read_text())
    assert entry["source"] == str(film) and entry["failed"]


def test_any_fault_of_one_clip_is_its_line(film, card, tmp_path, monkeypatch):
    (tmp_path/"films").mkdir()
    for name in ("a", "b", "c"): shutil.copy(film, tmp_path/"films"/f"{name}.mp4")
    predict = Predictor.predict_store
    monkeypatch.setattr(Predictor, "predict_store", lambda self, store, *rest: {}["gone"] if store.clip == "b" else predict(self, store, *rest))
    code, out, err = command("predict", tmp_path/"films", "--model", card, "--out", tmp_path/"out", "--no-film")
    assert code == 1 and "a.csv" in out and "c.csv" in out and "b.csv" not in out
    assert f"{tmp_path/'films'/'b.mp4'}: KeyError: 'gone'" in err


def test_a_film_that_cannot_be_read_is_an_exit_code_and_a_note_is_none(film, card, tmp_path):
    (tmp_path/"films").mkdir()
    shutil.copy(film, tmp_path/"films")
    (tmp_path/"films"/"labels.csv").write_text("frame,valence\n")
    arguments = ("predict", tmp_path/"films", "--model", card, "--out", tmp_path/"out", "--no-film")
    code, _, err = command(*arguments)
    assert code == 0 and "labels.csv" in err
    (tmp_path/"films"/"empty.mp4").touch()
    code, out, err = command(*arguments)
    assert code == 1 and "talk.csv" in out and "empty.mp4" in err


def test_each_picture_that_cannot_be_read_is_named(card, tmp_path):
    (tmp_path/"photos").mkdir()
    Image.fromarray(render_face({}, Identity.draw(3), size=140, seed=0).image).save(tmp_path/"photos"/"good.png")
    for name in ("letter.jpg", "note.png"): (tmp_path/"photos"/name).write_text("Dear reader\n"*9)
    code, out, err = command("predict", tmp_path/"photos", "--model", card, "--out", tmp_path/"out")
    assert code == 1 and "photos.csv" in out
    assert "left out, or kept in part (2)" in err and all(name in err for name in ("letter.jpg", "note.png"))
    assert len(pd.read_csv(tmp_path/"out"/"photos.csv")) == 1


def test_files_of_others_are_left_alone(film, card, tmp_path):
    "Also by a second call, when the store is there already."
    tmp_path.joinpath("talk.csv").write_text("my notes\n")
    for _ in range(2):
        code, out, err = command("predict", film, "--model", card, "--out", tmp_path, "--no-film")
        assert code == 1 and (tmp_path/"talk.csv").read_text() == "my notes\n" and "talk.png" in out
        assert "talk.csv exists and was not written from here" in err and "--overwrite" in err
    code, out, _ = command("predict", film, "--model", card, "--out", tmp_path, "--no-film", "--overwrite")
    assert code == 0 and len(pd.read_csv(tmp_path/"talk.csv")) == 5
    assert command("predict", film, "--model", card, "--out", tmp_path, "--no-film")[0] == 0 # it is ours now


def test_predictions_of_before_there_was_a_note_of_what_was_written_are_replaced(film, card, tmp_path):
    predict_files(film, card, tmp_path, device="cpu", progress=False, film=False)
    (tmp_path/"faces"/"written.txt").unlink()
    (tmp_path/"talk.csv").write_text("of an older version\n")
    assert not predict_files(film, card, tmp_path, device="cpu", progress=False, film=False)[1]
    assert len(pd.read_csv(tmp_path/"talk.csv")) == 5
