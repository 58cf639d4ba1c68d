"""What a run will train, counted before it starts, against what trainings then do; folds; EmotioNet's sheets."""
import json

import numpy as np
import pytest

from affect_nb.analysis.crossdb import emotionet_divisions, study_division, study_divisions, study_loaders
from affect_nb.apps.plan import plan_run
from affect_nb.apps.run import Preset, load_preset
from affect_nb.apps.trainings import Part, Training
from affect_nb.apps.workload import TrainingCounter, checkpoint_bytes, measure_bytes, missing_frames, store_bytes
from affect_nb.data.store import preprocess_database
from affect_nb.databases import emotionet
from affect_nb.databases.base import open_database
from affect_nb.synth.twins import write_database
from affect_nb.train import affwildnet_recipe, train_on
from affect_nb.train.pace import read_paces

TINY = dict(width=96, height=96, media=False, progress=False)


def test_all_folds_test_each_person_once_and_the_first_is_that_of_before(tmp_path):
    for name, published in (("disfa", 3), ("bp4d-plus", 4), ("afew-va", 4)):
        source = open_database(name, write_database(name, tmp_path/name, train=6, frames_per_clip=12, **TINY))
        first, folds = study_division(source, folds=4)[0], study_divisions(source, folds=4, which="all")
        divisions, sentence = folds
        assert len(divisions) == published and divisions[0].hash == first.hash and f"all {published} folds" in sentence
        tested = [clip.name for division in divisions for clip in division.sides["test"]]
        assert sorted(tested) == sorted(clip.name for clip in source.clips if clip.annotated)
        for division in divisions: assert not {c.subject for c in division.sides["train"]} & {c.subject for c in division.sides["test"]}
    with pytest.raises(ValueError, match="which is 'each', allowed are first, all"): study_divisions(source, which="each")


def test_the_sheets_that_emotionet_is_learned_from(tmp_path, monkeypatch):
    monkeypatch.setattr(emotionet, "_PER_CLIP", 6) # so that a small manual sheet has several clips
    source = open_database("emotionet", write_database("emotionet", tmp_path/"net", train=2, validation=2, test=0, frames_per_clip=12, **TINY))
    manual, automatic = {clip.name for clip in source.select("validation", "aus")}, {clip.name for clip in source.select("train", "aus")}
    sides = {sheets: emotionet_divisions(source, sheets, folds=2)[0][0].sides for sheets in ("automatic", "manual", "both")}
    learned = {sheets: {clip.name for clip in own["train"]} for sheets, own in sides.items()}
    assert learned["automatic"] == automatic and learned["manual"] < manual and learned["both"] == automatic | learned["manual"]
    assert {clip.name for clip in sides["automatic"]["test"]} == manual
    folds, sentence = emotionet_divisions(source, "both", folds=2, which="all")
    assert {clip.name for fold in folds for clip in fold.sides["test"]} == manual and "all 2 folds" in sentence
    with pytest.raises(ValueError, match="emotionet is 'all', allowed are automatic, manual, both"): emotionet_divisions(source, "all")
    with pytest.raises(ValueError, match="allowed are 2 to"): emotionet_divisions(source, "manual", folds=99)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "A twin whose faces are not found yet."
    here = tmp_path_factory.mktemp("plan")
    return here, open_database("aff-wild", write_database("aff-wild", here/"data"/"aff-wild", train=4, test=1, frames_per_clip=20, width=128, height=128, difficulty=0, progress=False))


def test_a_plan_counts_the_steps_that_a_training_then_makes(world):
    here, source = world
    preset = Preset(title="two", notebooks={"05_faces": {}, "20_table2_affwildnet": dict(rows=["VGG-16"], epochs=2, seeds=2, batch_size=1, width=1/16, length=8)})
    ahead, = plan_run(preset, run_dir=here).work
    assert (ahead.trainings, ahead.found, ahead.hours) == (2, False, None) and "hours not measured" in str(ahead)
    estimate = plan_run(preset, run_dir=here).disk[0]
    assert estimate.frames == missing_frames(source, source.clips, here/"faces") and estimate.bytes is None and "not measured" in str(estimate)
    size, rows = measure_bytes(source, here/"bytes.json")
    preprocess_database(source, here/"faces", progress=False)
    written, found = store_bytes(here/"faces")
    assert estimate.frames*size/rows == pytest.approx(written, rel=.1) # what preprocess then wrote
    recipe = affwildnet_recipe("smoke", arch="vgg16", width=1/16, length=8, batch_size=1, epochs=2, arguments=dict(dropout=.5))
    dls = study_loaders(recipe, source, study_division(source, tasks=("va",))[0], here/"faces", device="cpu")
    train_on(recipe, dls, here, "a twin")
    pace = json.loads((here/"training"/"vgg16"/"pace.json").read_text())
    plan = plan_run(preset, run_dir=here)
    counted, = plan.work
    assert counted.steps == 2*2*pace["steps_an_epoch"] == ahead.steps == 2*2*len(dls.train) and counted.found
    assert counted.images == len(dls.train)*8 and not plan.disk
    files = [file for folder in (here/"training"/"vgg16", here/"weights") for file in folder.glob("*.safetensors")]
    assert sum(file.stat().st_size for file in files) == pytest.approx(checkpoint_bytes(recipe), rel=.1)
    assert pace["steps"] == 2*(len(dls.train) - 1) and counted.rate == pytest.approx(pace["images"]/pace["seconds"]) # the first of an epoch is not timed


def test_a_plan_says_what_it_does_not_know(tmp_path):
    plan = plan_run(load_preset("paper"), run_dir=tmp_path)
    assert plan.work and all(part.steps is None and part.hours is None for part in plan.work)
    assert "not counted, as the data are not there yet" in str(plan) and "hours: not measured" in str(plan)
    assert {part.notebook[:2] for part in plan.work} == {"20", "30", "40", "50", "60"} and not read_paces(tmp_path)


def test_photographs_are_counted_one_by_one(tmp_path):
    from affect_nb.train.jobs_database import database_loaders
    source = open_database("raf-db", write_database("raf-db", tmp_path/"raf", train=1, test=1, frames_per_clip=14, width=128, height=128, difficulty=0, progress=False))
    preprocess_database(source, tmp_path/"faces", split="train", task="expression", progress=False)
    recipe = affwildnet_recipe("smoke", arch="mt_vgg", width=1/16, length=1, batch_size=4, arguments=dict(tasks=["expression"], dropout=.5))
    dls = database_loaders(recipe, source, tmp_path/"faces", device="cpu")
    training = Training("x", "x", dls and recipe.replace(batch_size=dls.train.bs), (Part("raf-db", source.select("train", "expression")),), "x")
    _, epoch = TrainingCounter({"raf-db": source}, {"raf-db": tmp_path/"faces"}).epoch(training)
    assert epoch.steps == len(dls.train) and epoch.found and np.isclose(epoch.images/epoch.steps, dls.train.bs)


def test_a_detector_s_pictures_are_looked_at(tmp_path):
    "Boxes of faces are no clips: they are counted as pictures, nothing is aligned, no training of affect is counted."
    from affect_nb.apps.plan import plan_run
    from affect_nb.apps.run import load_preset
    from affect_nb.synth.twins import write_database
    root = write_database("wider-face", tmp_path/"twin", size="smoke", seed=2, progress=False)
    preset = load_preset("detector")
    given = preset.model_copy(update=dict(notebooks={"92_detector": preset.notebooks["92_detector"] | dict(wider=str(root))}))
    plan = plan_run(given, run_dir=tmp_path/"run")
    finding, = plan.findings
    assert finding.state == "ok" and "pictures are there" in finding.detail and not plan.work
    next((root/"WIDER_train"/"images").rglob("*.jpg")).unlink()
    before, after = (detail.split(": ")[1].split()[1] for detail in (finding.detail, plan_run(given, run_dir=tmp_path/"run").findings[0].detail))
    assert int(after) == int(before) - 1
