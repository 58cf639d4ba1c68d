"""Two films that are both called video.mp4: none replaces what was made of the other."""
import json
import shutil

import pandas as pd
import pytest

from affect_nb.apps.predict import predict_files
from affect_nb.files.film import write_film
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.synth.faces import Identity, render_face


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    "P1/video.mp4 of two frames, P2/video.mp4 of three, P3/video.mp4 of four."
    root = tmp_path_factory.mktemp("people")
    for person in (1, 2, 3):
        (root/f"P{person}").mkdir()
        write_film(root/f"P{person}"/"video.mp4", (render_face({}, Identity.draw(person), size=120, seed=step).image for step in range(1 + person)), 25)
    return root


def rows_by_clip(folder): return pd.read_parquet(folder/"frames.parquet").groupby("clip").size().to_dict()


def test_names_tell_the_way_and_stay_when_files_are_added(people, tmp_path):
    films = tmp_path/"films"
    for person in ("P1", "P3"): shutil.copytree(people/person, films/person)
    first = preprocess(f"{films}/P*/video.mp4", tmp_path/"faces", progress=False)
    assert [store.clip for store in first.stores] == ["P1_video", "P3_video"]
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path/"faces").glob("*.arrow")}
    shutil.copytree(people/"P2", films/"P2")
    second = preprocess(f"{films}/P*/video.mp4", tmp_path/"faces", progress=False)
    assert [store.clip for store in second.stores] == ["P1_video", "P2_video", "P3_video"]
    assert all((tmp_path/"faces"/name).stat().st_mtime_ns == time for name, time in before.items())
    assert rows_by_clip(tmp_path/"faces") == {"P1_video": 2, "P2_video": 3, "P3_video": 4}


def test_a_second_call_drops_and_replaces_nothing(people, card, tmp_path):
    for person in ("P1", "P2"): predict_files(people/person/"video.mp4", card, tmp_path, device="cpu", progress=False)
    tables = {path.stem: pd.read_csv(path) for path in tmp_path.glob("*.csv")}
    assert len(tables) == 2 and tables["video"].file.unique().tolist() == [str(people/"P1"/"video.mp4")]
    other, = (name for name in tables if name != "video")
    assert len(tables[other]) == 3 and tables[other].file.unique().tolist() == [str(people/"P2"/"video.mp4")]
    for name in tables: assert (tmp_path/f"{name}.mp4").exists() and (tmp_path/f"{name}.png").exists()
    assert rows_by_clip(tmp_path/"faces") == {"video": 2, other: 3}
    assert json.loads((tmp_path/"faces"/"sources.json").read_text()) == {"video": str(people/"P1"/"video.mp4"), other: str(people/"P2"/"video.mp4")}
    again, _ = predict_files(people/"P2"/"video.mp4", card, tmp_path, device="cpu", progress=False)
    assert {path.stem for path in again} == {other} # it keeps its name


def test_it_can_be_replaced_where_it_is_said(people, card, tmp_path):
    for person in ("P1", "P2"): predict_files(people/person/"video.mp4", card, tmp_path, device="cpu", progress=False, overwrite=True, film=False)
    table, = map(pd.read_csv, tmp_path.glob("*.csv"))
    assert len(table) == 3 and rows_by_clip(tmp_path/"faces") == {"video": 3}


def test_a_film_and_a_picture_of_one_name(people, card, tmp_path):
    "The plot of the film would be the picture."
    from PIL import Image
    shutil.copy(people/"P1"/"video.mp4", tmp_path)
    Image.new("RGB", (90, 90)).save(tmp_path/"video.png")
    picture = (tmp_path/"video.png").read_bytes()
    with pytest.raises(ValueError, match="video.mp4 would be overwritten by its own result"):
        predict_files(tmp_path/"video.mp4", card, tmp_path, device="cpu", progress=False)
    shutil.copy(people/"P1"/"video.mp4", tmp_path/"other.mp4")
    written, failed = predict_files(people/"P1"/"video.mp4", card, tmp_path, device="cpu", progress=False)
    assert [path.name for path in written] == ["video.csv"] and len(failed) == 2 and (tmp_path/"video.png").read_bytes() == picture
