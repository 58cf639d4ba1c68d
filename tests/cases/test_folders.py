"""Folders with more in them than films: everything is taken, or named with its reason."""
import json
import os
import shutil

import pandas as pd
import pytest

from commands import command
from affect_nb.files.film import write_film
from affect_nb.synth.faces import Identity, render_face


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film")/"talk.mp4"
    write_film(path, (render_face({}, Identity.draw(3), size=120, seed=step).image for step in range(3)), 25)
    return path


@pytest.fixture
def folder(film, tmp_path):
    "A film, another in a folder of a folder, and a file of which nothing is known."
    inner = tmp_path/"films"/"day one"/"camera"
    inner.mkdir(parents=True)
    shutil.copy(film, tmp_path/"films"/"talk.mp4")
    shutil.copy(film, inner/"talk.mp4")
    (tmp_path/"films"/"mesh.fbx").write_bytes(b"of another program")
    return tmp_path/"films"


def test_what_is_not_taken_is_named_with_its_reason(folder, tmp_path):
    code, out, err = command("preprocess", folder, tmp_path/"faces")
    assert code == 0 and "1 clip, 3 rows" in out
    lines = err[err.index("left out"):].splitlines()[1:]
    assert len(lines) == 2
    assert any("mesh.fbx: .fbx is no format that is looked for; allowed are videos" in line for line in lines)
    assert any("day one: a folder without images; --recursive" in line for line in lines)
    assert {entry["source"] for entry in json.loads((tmp_path/"faces"/"skipped.json").read_text())} == {str(folder/"mesh.fbx"), str(folder/"day one")}


def test_subfolders_are_read_where_it_is_said(folder, tmp_path):
    code, out, err = command("preprocess", folder, tmp_path/"faces", "--recursive")
    assert code == 0 and "2 clips, 6 rows" in out
    assert "left out, or kept in part (1)" in err and "mesh.fbx" in err
    assert sorted(path.name for path in (tmp_path/"faces").glob("*.arrow")) == ["day one_camera_talk.arrow", "talk.arrow"]
    frames = pd.read_parquet(tmp_path/"faces"/"frames.parquet")
    assert set(frames.file) == {str(folder/"talk.mp4"), str(folder/"day one"/"camera"/"talk.mp4")}


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_a_link_to_a_film_that_is_gone(folder, tmp_path):
    (folder/"yesterday.mp4").symlink_to(tmp_path/"gone.mp4")
    code, out, err = command("preprocess", folder, tmp_path/"faces")
    assert code == 1 and "1 clip" in out and f"{folder/'yesterday.mp4'}: a link to a file that is not there" in err
    entries = {entry["source"]: entry["failed"] for entry in json.loads((tmp_path/"faces"/"skipped.json").read_text())}
    assert entries[str(folder/"yesterday.mp4")] and not entries[str(folder/"mesh.fbx")]


def test_of_many_files_the_first_are_printed_and_all_are_in_a_file(folder, tmp_path):
    for number in range(60): (folder/f"note{number}.xyz").touch()
    (folder/"zero.mp4").touch() # a failure comes first
    code, _, err = command("preprocess", folder, tmp_path/"faces")
    lines = err[err.index("left out, or kept in part (63)"):].splitlines()[1:]
    assert code == 1 and len(lines) == 21 and "zero.mp4" in lines[0]
    assert lines[-1] == f"  and 43 more: {tmp_path/'faces'/'skipped.json'}"
    assert len(json.loads((tmp_path/"faces"/"skipped.json").read_text())) == 63


def test_pictures_of_a_film_on_the_command_line(tmp_path):
    from PIL import Image
    (tmp_path/"shots").mkdir()
    for step in range(3): Image.fromarray(render_face({}, Identity.draw(3), size=120, seed=step).image).save(tmp_path/"shots"/f"{step}.png")
    assert command("preprocess", tmp_path/"shots", tmp_path/"faces")[0] == 0
    assert pd.read_parquet(tmp_path/"faces"/"frames.parquet").time.isna().all()
    assert command("preprocess", tmp_path/"shots", tmp_path/"faces", "--film-fps", "10")[0] == 0
    assert pd.read_parquet(tmp_path/"faces"/"frames.parquet").time.tolist() == [0, .1, .2]
