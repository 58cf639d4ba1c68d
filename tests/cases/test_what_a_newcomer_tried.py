"""Faults that somebody found who had nothing but the README."""
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from affect_nb.databases.base import Clip
from affect_nb.databases.own_table import recognise_columns
from affect_nb.databases.splits import holdout
from affect_nb.files.film import write_film
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sources import find_sources, list_sources

CODE = "import sys; from affect_nb.preprocess.pipeline import preprocess; preprocess(sys.argv[1], sys.argv[2], progress=False, sound=False)"


def wall(path, shade=90, frames=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_film(path, (np.full((64, 96, 3), shade, np.uint8) for _ in range(frames)), fps=25)
    return path


def test_an_empty_name_is_not_the_working_folder():
    for name in ("", [""]):
        with pytest.raises(ValueError, match="is empty; allowed are a file"): list_sources(name)


def test_two_commands_at_once_take_two_names(tmp_path):
    films = [wall(tmp_path/person/"video.mp4", 60 + 40*number) for number, person in enumerate(("P1", "P2"))]
    jobs = [subprocess.Popen([sys.executable, "-c", CODE, str(film), str(tmp_path/"faces")]) for film in films]
    assert [job.wait(120) for job in jobs] == [0, 0]
    made_from = json.loads((tmp_path/"faces"/"sources.json").read_text())
    assert sorted(made_from) == ["video", "video_mp4"] and sorted(made_from.values()) == sorted(map(str, films))
    assert sorted(path.stem for path in (tmp_path/"faces").glob("*.arrow")) == ["video", "video_mp4"]


def test_an_animation_among_pictures_is_done_and_not_reported_as_lost(tmp_path):
    (tmp_path/"photos").mkdir()
    for name in ("a", "b"): Image.new("RGB", (64, 48), (90, 80, 70)).save(tmp_path/"photos"/f"{name}.png")
    frames = [Image.new("RGB", (64, 48), (shade, 80, 70)) for shade in (10, 120, 240)]
    frames[0].save(tmp_path/"photos"/"moves.gif", save_all=True, append_images=frames[1:], duration=100)
    (tmp_path/"photos"/"broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    done = preprocess(tmp_path/"photos", tmp_path/"faces", progress=False)
    assert {store.clip: len(store) for store in done.stores} == {"photos": 2, "moves": 3}
    assert [entry.source for entry in done.skipped if entry.failed] == [str(tmp_path/"photos"/"broken.jpg")]


def test_a_hidden_picture_is_told(tmp_path):
    for name in ("a.png", ".hid.png", "._a.png"): Image.new("L", (8, 8)).save(tmp_path/name)
    _, left_out = find_sources(tmp_path)
    assert [entry.source for entry in left_out] == [str(tmp_path/".hid.png")] and "begins with a dot" in left_out[0].reason


def test_a_typo_in_one_of_two_columns_is_named():
    with pytest.raises(ValueError, match="no column 'valence'; did you mean 'Valense'"): recognise_columns(["file", "Valense", "arousal"])
    assert set(recognise_columns(["file", "arousal", "remarks"])[0]) == {"file", "arousal"} # of arousal alone
    assert set(recognise_columns(["file", "Valense", "arousal"], {"Valense": "valence"})[0]) == {"file", "valence", "arousal"}


def test_one_person_cannot_be_held_out():
    with pytest.raises(ValueError, match="nobody can be held out; validation='official'"): holdout([Clip("own", name, "A", "train") for name in "ab"])
