"""Whom the stages of a row have learned from, against those whom it holds out or is measured on."""
import json
import shutil

import pytest

from affect_nb.databases.base import Clip, open_database
from affect_nb.databases.manifests import load_manifest
from affect_nb.databases.people import family_of
from affect_nb.databases.seen import check_unseen, merged_seen, seen_people, shared_with
from affect_nb.models.starting import seen_before
from affect_nb.models.weights import amend_card, read_card
from affect_nb.preprocess.face_store import FaceStoreWriter
from affect_nb.synth.twins import write_database
from affect_nb.train.jobs_chain import chain_source, mt_chain, run_chain

SMALL = dict(width=1/16, precision="float32", length=4, arguments=dict(size=96))
TINY = dict(frames_per_clip=12, width=96, height=96, media=False, progress=False)


def stores(source, faces):
    "Stores of flat faces for every clip: what is learned from them does not matter here."
    import numpy as np
    faces.mkdir()
    for clip in source.clips:
        if (faces/f"{clip.stem}.arrow").exists(): continue
        with FaceStoreWriter(faces/f"{clip.stem}.arrow", clip.stem, database=source.name) as store:
            for frame in range(12):
                box = dict(box=(0., 0., 96., 96.), score=1.)
                store.add(frame, frame/25, 0, "ok", crop=np.full((96, 96, 3), 40 + frame, np.uint8), **box)
    return faces


def renamed(root, names):
    "Videos of the twin of Aff-Wild under other names: those that Aff-Wild2 has them by."
    for old, new in names.items():
        for file in root.rglob(f"{old}.*"): file.rename(file.with_name(f"{new}{file.suffix}"))
    lines = (root/"subjects.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    (root/"subjects.csv").write_text("\n".join([lines[0], *(",".join([names.get(v, v), names.get(v, s), split]) for v, s, split in rows)]) + "\n")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    "Twins of Aff-Wild and Aff-Wild2 in which videos of the one are those of the other, as in the real ones."
    here = tmp_path_factory.mktemp("leaks")
    second = open_database("aff-wild2", write_database("aff-wild2", here/"wild2", train=6, validation=3, test=0, **TINY))
    single = [clip for clip in second.clips if not clip.side]
    write_database("aff-wild", here/"wild", train=9, test=2, **TINY)
    renamed(here/"wild", {f"{number:03d}": clip.stem for number, clip in enumerate(single[:7], 1)})
    lines = (here/"wild2"/"subjects.csv").read_text().splitlines() # each video its own subject, as where there is no list
    (here/"wild2"/"subjects.csv").write_text("\n".join([lines[0], *(",".join([line.split(",")[0]]*2 + line.split(",")[2:]) for line in lines[1:])]) + "\n")
    sources = {"aff-wild": open_database("aff-wild", here/"wild"), "aff-wild2": open_database("aff-wild2", here/"wild2")}
    return sources, {name: stores(source, here/f"faces_{name}") for name, source in sources.items()}


def chain(): return mt_chain("smoke", "visual", each={name: dict(batch_size=4) for name in ("visual_va", "mt_vgg")}, batch_size=2, **SMALL)[:2]


def given(worlds, **options):
    sources, faces = worlds
    return {part: chain_source(sources[name], faces[name], device="cpu", valid_share=.3, **options)
            for part, name in (("pretrain", "aff-wild"), ("train", "aff-wild2"))}


def test_which_databases_have_the_same_people_is_a_fact_of_a_manifest():
    fact, = load_manifest("aff-wild2").same_people
    assert (fact.database, fact.status, family_of("aff-wild2"), family_of("bp4d-plus")) == ("aff-wild", "verified", "aff-wild", "bp4d-plus")


def test_two_twins_have_no_subject_in_common(tmp_path):
    "Their people are drawn differently, so a name in both would be a false alarm."
    one = open_database("aff-wild", write_database("aff-wild", tmp_path/"one", **TINY))
    two = open_database("aff-wild2", write_database("aff-wild2", tmp_path/"two", **TINY))
    assert not shared_with([seen_people(one.clips, "first")], two.clips)


def test_an_earlier_stage_leaves_out_whom_a_later_one_holds_out(worlds, tmp_path):
    cards = {name: read_card(path) for name, path in run_chain(chain(), given(worlds), tmp_path).items()}
    sources, faces = worlds
    second = chain_source(sources["aff-wild2"], faces["aff-wild2"], device="cpu", valid_share=.3)
    dls = second.loaders(second.adapt(chain()[1].recipe))
    first, = cards["visual_va"].notes["learned_from"]
    assert not shared_with([first], dls.valid_people) and shared_with([first], dls.train_people)
    alone = given(worlds)["pretrain"].loaders(chain()[0].recipe)
    assert shared_with([seen_people(alone.train_people, "alone")], dls.valid_people) # so there was somebody to leave out
    assert cards["visual_va"].notes["split_hash"] != alone.split_hash
    assert [entry["trainings"] for entry in cards["mt_vgg"].notes["learned_from"]] == [["visual_va"], ["mt_vgg"]]
    assert cards["mt_vgg"].notes["people_held_out"] == len({person["subject"] for person in dls.valid_people}) > 1
    assert "held_out_before" not in cards["mt_vgg"].notes and len(json.dumps(cards["mt_vgg"].notes["learned_from"])) < 2000
    before = {path: path.stat().st_mtime_ns for path in (tmp_path/"weights").iterdir()}
    run_chain(chain(), given(worlds), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before # the same call again trains nothing


def test_stages_that_cannot_leave_anybody_out_are_refused_unless_that_is_wanted(worlds, tmp_path):
    from dataclasses import replace
    fixed = {part: replace(source, loaders=lambda recipe, own=source: own.loaders(recipe)) for part, source in given(worlds).items()}
    with pytest.raises(ValueError, match="on both sides of the split: .*visual_va comes first.*allow_overlap=True"): run_chain(chain(), fixed, tmp_path)
    assert not (tmp_path/"training").exists() # before anything is trained
    cards = run_chain(chain(), fixed, tmp_path, allow_overlap=True)
    assert "with what it holds out through visual_va" in read_card(cards["mt_vgg"]).notes["held_out_before"][0]


def test_start_weights_say_whom_they_have_seen(worlds, tmp_path):
    "A stage by itself, from a checkpoint of another run."
    stages, sources = chain(), given(worlds)
    cards = run_chain(stages, sources, tmp_path, only=["visual_va"], allow_overlap=True)
    with pytest.raises(ValueError, match="what mt_vgg holds out shows people whom an earlier training has learned from: visual_va"):
        run_chain(stages, sources, tmp_path, only=["mt_vgg"])
    amend_card(cards["visual_va"], notes={})
    unknown, = seen_before({"cnn": cards["visual_va"]})
    assert not unknown.recorded and unknown.trainings == ("visual_va",)
    run_chain(stages, sources, tmp_path, only=["mt_vgg"]) # a card of before this record loads, and cannot be checked


def test_a_row_says_whom_it_shares_with_its_test_part(worlds):
    sources, _ = worlds
    seen = [seen_people(sources["aff-wild"].select("train"), "visual_va", "Aff-Wild"), seen_people(sources["aff-wild2"].select("train"), "mt_vgg")]
    shared = shared_with(merged_seen(seen), sources["aff-wild2"].select("validation"))
    assert [entry.trainings for entry in shared] == [("visual_va",)] and "with its test part through visual_va, Aff-Wild: " in str(shared[0])
    with pytest.raises(ValueError, match="allow_overlap"): check_unseen(seen, sources["aff-wild2"].select("validation"))
    check_unseen(seen, [Clip("omg-emotion", clip.name, clip.name, "test") for clip in sources["aff-wild"].clips])
