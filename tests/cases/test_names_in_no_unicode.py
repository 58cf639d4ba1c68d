"""Names of other systems and of old archives: bytes that are no Unicode, the other form of Unicode, brackets; and stores of before."""
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sources import list_sources
from test_links_and_closed_folders import QUICK, film

COMPOSED, APART = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("pattern, found", [
    ("day [1]/*.mp4", ["day [1]/take [a].mp4"]), ("P[12]/*.mp4", ["P1/take [a].mp4"]), ("P[12]/take [a].mp4", ["P1/take [a].mp4"]),
    ("*/take [a].mp4", ["P1/take [a].mp4", "day [1]/take [a].mp4"]), ("day [1]/take [a].mp4", ["day [1]/take [a].mp4"])])
def test_brackets_in_names_and_patterns(tmp_path, pattern, found):
    for folder in ("day [1]", "P1"):
        (tmp_path/folder).mkdir()
        (tmp_path/folder/"take [a].mp4").touch()
    assert sorted(str(source.path.relative_to(tmp_path)) for source in list_sources(str(tmp_path/pattern))) == found


@pytest.mark.parametrize("asked, there", [(COMPOSED, APART), (APART, COMPOSED)])
def test_a_name_in_the_other_form_of_unicode(tmp_path, asked, there):
    (tmp_path/there).mkdir()
    if (tmp_path/asked).exists(): pytest.skip("this file system makes no difference")
    for given in (film(tmp_path/there/f"{there}.mp4").parent.parent/asked/f"{asked}.mp4", str(tmp_path/asked/"*.mp4"), tmp_path/asked):
        done = preprocess(given, tmp_path/"out", **QUICK)
        assert [store.path.stem for store in done.stores][0] == COMPOSED and not done.skipped
    film(tmp_path/there/f"{asked}.mp4", 5) # two files that look alike
    assert len({store.path.stem for store in preprocess(tmp_path/there, tmp_path/"out", **QUICK).stores}) == 2


def test_names_that_are_no_text(tmp_path):
    names = [os.fsdecode(name) for name in (b"caf\xe9.mp4", b"caf\xe8.mp4", b"r\xe9sum\xe9.txt")]
    film(tmp_path/"x.mp4"), (tmp_path/"in").mkdir()
    try:
        for name in names: (tmp_path/"in"/name).write_bytes((tmp_path/"x.mp4").read_bytes())
    except OSError: pytest.skip("this file system allows no such names")
    for _ in range(2): # what is there is read again
        done = preprocess(tmp_path/"in", tmp_path/"out", **QUICK)
        assert len({store.path.stem for store in done.stores}) == 2 and set(map(len, done.stores)) == {2}
        assert [Path(entry.source).name for entry in done.skipped] == [names[2]]
    assert set(done.frames.file) == {f"{tmp_path}/in/caf\ufffd.mp4"}
    assert json.loads((tmp_path/"out"/"skipped.json").read_text())[0]["source"] == str(tmp_path/"in"/names[2])


def test_stores_of_before_are_still_read(tmp_path):
    new, old = tmp_path/"new.arrow", tmp_path/"out"/"old.arrow"
    with FaceStoreWriter(new, clip="old", encoding="raw", about=dict(source=dict(path="/gone/old.mp4"))) as writer:
        for frame in range(3): writer.add(frame, frame/25, 1, "lost")
    with pa.OSFile(str(new)) as source: table = pa.ipc.open_file(source).read_all()
    table = table.set_column(table.schema.get_field_index("face_id"), "face_id", table["face_id"].cast(pa.int16()))
    table, _ = table.drop_columns(["file"]), old.parent.mkdir()
    with pa.OSFile(str(old), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer: writer.write_table(table)
    frames = FaceStore.open(old).frames
    assert frames.face_id.dtype == np.int32 and set(frames.file) == {""}
    preprocess(film(tmp_path/"film.mp4"), old.parent, **QUICK) # and joined with those of today
    import pandas as pd
    joined = pd.read_parquet(old.parent/"frames.parquet")
    assert joined["clip"].value_counts().to_dict() == {"old": 3, "film": 2}
