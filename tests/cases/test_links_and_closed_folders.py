"""Links, pipes, closed folders and pictures that cannot be read, among others that can: each is a line, none ends the batch."""
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affect_nb.files.film import write_film
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sources import find_sources, list_sources

QUICK = dict(progress=False, sound=False, detector_options=dict(upsample=0))


def noise(seed): return np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)


def film(path, seed=0, frames=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_film(path, (noise(seed + number) for number in range(frames)), fps=25)
    return path


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed)).save(path)
    return path


def reasons(skipped): return {Path(entry.source).name: entry.reason for entry in skipped}


def test_everything_that_was_not_read_is_listed_with_its_reason(tmp_path):
    folder = tmp_path/"study"
    film(folder/"day.mp4")
    film(folder/"P1"/"video.mp4")
    picture(folder/"poster.png")
    for name in ("notes.docx", "raw.braw", "no suffix", ".hidden.mp4"): (folder/name).write_bytes(b"x")
    (folder/"moved.mp4").symlink_to(tmp_path/"elsewhere.mp4")
    (folder/"round").symlink_to("round")
    os.mkfifo(folder/"pipe.mp4")
    done = preprocess(folder, tmp_path/"out", **QUICK)
    assert [store.clip for store in done.stores] == ["day"]
    wanted = {"P1": "--recursive", "poster.png": "beside videos", "notes.docx": ".docx is no format", "raw.braw": ".braw is no format",
              "no suffix": "no suffix is no format", "moved.mp4": "a link to a file that is not there",
              "round": "a link to a file that is not there", "pipe.mp4": "no regular file",
              ".hidden.mp4": "hidden, as its name begins with a dot"}
    found = reasons(done.skipped)
    assert found.keys() == wanted.keys() and all(wanted[name] in found[name] and name in found[name] for name in wanted)
    kept = json.loads((tmp_path/"out"/"skipped.json").read_text())
    assert {Path(entry["source"]).name: entry["reason"] for entry in kept} == found


def test_subfolders_are_read_where_that_is_said(tmp_path):
    folder = tmp_path/"study"
    film(folder/"P1"/"video.mp4"), film(folder/"P2"/"late"/"video.mp4"), picture(folder/"P3"/"a.png")
    (folder/"P1"/"again").symlink_to(folder) # a link into itself is followed once
    with pytest.raises(ValueError, match=r"no clip: .*left out: late; --recursive"): list_sources(folder/"P2")
    sources, left_out = find_sources(folder, recursive=True)
    assert [source.name for source in sources] == ["P1_video", "P2_late_video", "P3"] and not left_out


def test_pictures_beside_a_link_that_leads_nowhere(tmp_path):
    folder = tmp_path/"photos"
    for number in range(2): picture(folder/f"{number}.png", number)
    (folder/"2.png").symlink_to(tmp_path/"gone.png")
    for _ in range(2): # also where the store is there already
        done = preprocess(folder, tmp_path/"out", **QUICK)
        assert [len(store) for store in done.stores] == [2] and "not there" in reasons(done.skipped)["2.png"]


def test_each_picture_that_cannot_be_read_is_named(tmp_path):
    folder = tmp_path/"photos"
    for number in range(3): picture(folder/f"{number}.png", number)
    for name in ("1a.png", "9.png"): (folder/name).write_bytes(b"no picture")
    done = preprocess(folder, tmp_path/"out", **QUICK)
    found = {Path(entry.source).name: entry for entry in done.skipped}
    assert found["1a.png"].failed and found["9.png"].failed and "9.png" in found["9.png"].reason
    assert [Path(file).name for file in done.frames.file] == ["0.png", "1.png", "2.png"]


def test_what_a_folder_of_pictures_below_holds_besides(tmp_path):
    folder = tmp_path/"study"
    film(folder/"day.mp4"), picture(folder/"shots"/"1.png"), film(folder/"shots"/"2.mp4")
    (folder/"shots"/"list.txt").touch()
    sources, left_out = find_sources(folder)
    assert [source.name for source in sources] == ["day", "shots"]
    assert "a video in a folder of pictures" in reasons(left_out)["2.mp4"] and ".txt" in reasons(left_out)["list.txt"]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, monkeypatch, recursive):
    folder = tmp_path/"study"
    film(folder/"day.mp4"), film(folder/"closed"/"video.mp4")
    listed = Path.iterdir

    def iterdir(self):
        if self.name == "closed": raise PermissionError(13, "Permission denied", str(self))
        return listed(self)
    monkeypatch.setattr(Path, "iterdir", iterdir)
    sources, left_out = find_sources(folder, recursive=recursive)
    assert [source.name for source in sources] == ["day"]
    entry, = left_out
    assert f"{folder/'closed'}: the folder cannot be read: Permission denied" == entry.reason and entry.failed
