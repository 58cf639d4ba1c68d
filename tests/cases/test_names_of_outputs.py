"""Files that could be taken for each other: relative paths, copies, two suffixes; and a store that is damaged."""
import os
from pathlib import Path

import pandas as pd
import pytest

from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sources import list_sources
from test_links_and_closed_folders import QUICK, film, picture


def names(done): return [store.path.stem for store in done.stores]


def frames_of(out): return pd.read_parquet(out/"frames.parquet", columns=["clip", "file"]).groupby("clip", sort=False)["file"].agg(["first", "size"])


@pytest.fixture
def people(tmp_path):
    "Two people, each with a video.mp4."
    return [film(tmp_path/"study"/person/"video.mp4", seed, frames=2 + seed) for seed, person in enumerate(("P1", "P2"))]


@pytest.mark.parametrize("indexed", [True, False])
def test_the_same_relative_path_in_two_folders_is_two_sources(tmp_path, people, monkeypatch, indexed):
    out = tmp_path/"out"
    for path in people:
        monkeypatch.chdir(path.parent)
        preprocess("video.mp4", out, **QUICK)
        if not indexed: (out/"sources.json").unlink() # as in a folder of before
    assert sorted(frames_of(out)["size"]) == [2, 3]


def test_copies_of_the_same_size_and_date_are_two_sources(tmp_path, people):
    out, first = tmp_path/"out", people[0]
    people[1].write_bytes(first.read_bytes())
    for path in people: os.utime(path, ns=(10**18, 10**18))
    preprocess(first, out, **QUICK)
    (out/"sources.json").unlink()
    assert names(preprocess(people[1], out, **QUICK)) != ["video"]
    first.unlink() # a file that was moved is the same one
    (out/"sources.json").unlink()
    for store in list(out.glob("video_*.arrow")): store.unlink()
    assert names(preprocess(people[1], out, **QUICK)) == ["video"]


def test_two_suffixes_in_either_order(tmp_path):
    film(tmp_path/"in"/"a.mp4"), film(tmp_path/"in"/"a.mkv", 5)
    both = [source.name for source in list_sources(tmp_path/"in")]
    reverse = list_sources([tmp_path/"in"/"a.mp4", tmp_path/"in"/"a.mkv"])
    assert sorted(both) == ["a_mkv", "a_mp4"] and [source.name for source in reverse] == ["a_mp4", "a_mkv"]


def test_a_store_that_is_damaged_is_named(tmp_path, people):
    out = tmp_path/"out"
    for path in people: preprocess(path, out, **QUICK)
    (out/"video.arrow").write_bytes((out/"video.arrow").read_bytes()[:100])
    done = preprocess(people[1], out, **QUICK)
    assert len(frames_of(out)) == 1 and [Path(entry.source).name for entry in done.skipped] == ["video.arrow"]
    assert "not in the frame table" in done.skipped[0].reason
