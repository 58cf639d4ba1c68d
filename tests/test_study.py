"The databases of an experiment: copies are only read, what is prepared is not prepared again, what is drawn is drawn once."
import json

import pytest

from affect_nb.data.study import RunDatabases
from affect_nb.synth.twins import write_database

SIZE = dict(train=1, validation=0, test=1, frames_per_clip=12)
DRAWING = dict(width=120, height=120, difficulty=0, seed=3)


def times(folder): return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(tmp_path):
    "A run's folder in which 05_faces prepared a copy of AFEW-VA, which is not drawn."
    (tmp_path/"run").mkdir()
    (tmp_path/"run"/"data.json").write_text(json.dumps(dict(database="afew-va", folder=str(tmp_path/"afew"), drawn=False)))
    return tmp_path/"run"


def test_a_copy_is_only_read(run, tmp_path):
    mine = write_database("raf-db", tmp_path/"mine", progress=False, **SIZE, **DRAWING)
    before = times(mine)
    here, left_out = RunDatabases(run, ["raf-db"], {"raf-db": str(mine)}), []
    source = here.open("raf-db", dict(SIZE, train=9), "expression", left_out, **DRAWING)
    assert times(mine) == before and source.root == mine and (here.drawn, here.world, left_out) == ([], "your copies", [])
    assert here.faces["raf-db"] == run/"faces_raf-db" and len(list(here.faces["raf-db"].glob("basic*.arrow"))) == 2
    assert not list(here.faces["raf-db"].glob("compound*")) and not (run/"data").exists()
    assert here.described(.3, 7) == f"raf-db at {mine}"


def test_a_twin_is_drawn_once(run):
    here = RunDatabases(run, ["raf-db"], twins={"raf-db": "raf-db-annotated"})
    here.open("raf-db", SIZE, "expression", **DRAWING)
    before = times(run)
    here.open("raf-db", SIZE, "expression", **DRAWING)
    after = times(run)
    assert {path: after[path] for path in before if path.suffix in (".jpg", ".arrow")} == {path: time for path, time in before.items() if path.suffix in (".jpg", ".arrow")}
    assert here.folders["raf-db"] == run/"data"/"raf-db-annotated" and here.faces["raf-db"] == run/"faces_raf-db-annotated"
    assert (here.drawn, here.world) == (["raf-db"], "embedded world") and here.described(.3, 7) == "the embedded world (drawn faces; twins of raf-db; difficulty 0.3, seed 7)"


def test_what_is_prepared_is_opened_as_it_is(run, tmp_path):
    write_database("afew-va", tmp_path/"afew", progress=False, train=2, frames_per_clip=12, **DRAWING)
    here = RunDatabases(run, ["afew-va", "raf-db"])
    source = here.open("afew-va", SIZE)
    assert source.root == tmp_path/"afew" and here.faces["afew-va"] == run/"faces" and not (run/"faces").exists()
    assert (here.drawn, here.world) == (["raf-db"], "your copies and twins")
    assert here.described(0, 1, "drawn faces and voices") == f"the embedded world (drawn faces and voices; twins of raf-db; difficulty 0, seed 1); afew-va at {tmp_path/'afew'}"
    elsewhere = RunDatabases(run, ["afew-va"], {"afew-va": "my/copy"}) # another copy than the one that is prepared
    assert elsewhere.faces["afew-va"] == run/"faces_afew-va" and not elsewhere.prepared
