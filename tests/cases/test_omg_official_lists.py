"""OMG-Emotion as it is given out: people on both sides of the official split, and a test list without labels."""
import numpy as np
import pytest
from typer.testing import CliRunner

from affect_nb.apps.cli import app
from affect_nb.databases.base import open_database
from affect_nb.databases.check import check_database
from affect_nb.databases.splits import apart_from, check_split, official_split, release_sides
from affect_nb.preprocess.face_store import FaceStoreWriter
from affect_nb.synth.twins import write_database
from affect_nb.train import omg_recipe
from affect_nb.train.fit import split_notes
from affect_nb.train.jobs_database import database_loaders, train_database, used_parts

TINY = dict(train=5, validation=4, test=2, frames_per_clip=12, width=96, height=96, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory): return write_database("omg-emotion-overlap", tmp_path_factory.mktemp("omg")/"omg", media=False, **TINY)


@pytest.fixture
def strange(tmp_path):
    "A database whose release is not known to share people: Aff-Wild2, with one subject in two parts."
    folder = write_database("aff-wild2", tmp_path/"wild", media=False, **TINY)
    source = open_database("aff-wild2", folder)
    one, other = (next(clip for clip in source.select(split, "va") if not clip.side) for split in ("train", "validation"))
    lines = [line for line in (folder/"subjects.csv").read_text().splitlines() if not line.startswith(f"{other.stem},")]
    (folder/"subjects.csv").write_text("\n".join([*lines, f"{other.stem},{one.subject},validation"]) + "\n")
    return folder


def test_the_official_split_is_used_as_it_is_and_says_so(folder):
    source = open_database("omg-emotion", folder)
    division, exclusive = official_split(source, "va"), official_split(source, "va", subject_exclusive=True)
    shared, = division.shared
    assert (shared.left, shared.right, len(shared.subjects)) == ("train", "validation", 1) and shared.clips/shared.total == .75
    assert "3 of 4 clips of validation (75%)" in repr(division)
    assert not exclusive.shared and exclusive.sides["validation"] == division.sides["validation"] and exclusive.hash != division.hash
    assert exclusive.sides["train"] == apart_from(division.sides["train"], division.sides["validation"]) and 0 < len(exclusive.sides["train"]) < 5
    check_split(exclusive.sides["train"], exclusive.sides["validation"] + exclusive.sides["test"])


def test_the_manifest_has_the_numbers_of_the_release(folder):
    entry, = open_database("omg-emotion", folder).manifest.overlaps
    assert (entry.between, entry.subjects, entry.clips, entry.status) == (("train", "validation"), 23, 392, "verified")


def test_a_good_copy_has_no_error(folder):
    report = check_database("omg-emotion", folder)
    assert report.ok and any(finding.kind == "splits" and "the release has it so, 23 by the manifest" in finding.what for finding in report.findings)


def test_a_test_list_without_labels_is_a_note(tmp_path):
    folder = write_database("omg-emotion", tmp_path/"omg", media=False, **TINY)
    (folder/"omg_TestVideos_WithLabels.csv").unlink()
    report = check_database("omg-emotion", folder)
    assert report.ok and sum("none of 2 clips has a label in this copy" in finding.what for finding in report.findings) == 1


def test_training_takes_the_parts_it_is_told(folder):
    source = open_database("omg-emotion", folder)
    official, exclusive = (used_parts(source, ("va",), validation) for validation in ("official", "subject_exclusive"))
    assert official["validation"] == exclusive["validation"] and len(exclusive["train"]) < len(official["train"])
    check_split(exclusive["train"], exclusive["validation"])
    assert list(used_parts(source, ("va",), "holdout")) == ["train"]
    with pytest.raises(ValueError, match="holdout, official, subject_exclusive"): used_parts(source, ("va",), "all")


def test_the_loaders_and_the_card_have_it(folder, tmp_path):
    "With faces: the loaders of the official parts, and the sentence that goes into the card."
    source = open_database("omg-emotion", folder)
    (tmp_path/"faces").mkdir()
    for clip in source.clips:
        with FaceStoreWriter(tmp_path/"faces"/f"{clip.stem}.arrow", clip=clip.stem) as writer:
            for frame in range(4): writer.add(frame, frame/25, 0, "ok", np.zeros((96, 96, 3), np.uint8), crop_landmarks=np.zeros((68, 2)))
    recipe = omg_recipe("smoke", width=1/16, length=4, batch_size=2)
    official, exclusive = (database_loaders(recipe, source, tmp_path/"faces", device="cpu", validation=validation) for validation in ("official", "subject_exclusive"))
    note, = split_notes(official)["shared_people"]
    assert note.startswith("1 subject is in train and in validation: 3 of 4 clips") and "shared_people" not in split_notes(exclusive)
    assert len(official.valid.dataset) == len(exclusive.valid.dataset) and official.split_hash != exclusive.split_hash


def test_what_no_manifest_knows_is_refused_before_anything_is_preprocessed(strange, tmp_path, monkeypatch):
    monkeypatch.setattr("affect_nb.train.jobs_database.find_faces", lambda *args, **options: pytest.fail("preprocessed"))
    recipe = omg_recipe("smoke", arch="affwildnet_vgg", width=1/16)
    with pytest.raises(ValueError, match="on both sides of the split: subject .*subject_exclusive.*allow_overlap=True"): train_database(recipe, "aff-wild2", strange, tmp_path/"out", validation="official", device="cpu")
    source = open_database("aff-wild2", strange)
    with pytest.raises(ValueError, match="subject_exclusive"): official_split(source, "va")
    assert official_split(source, "va", allow_overlap=True).shared and not official_split(source, "va", subject_exclusive=True).shared
    report = check_database("aff-wild2", strange)
    assert not report.ok and any("allowed is none" in finding.what for finding in report.findings)


def test_nobody_left_is_an_error(folder):
    source = open_database("omg-emotion", folder)
    validation = source.select("validation")
    train = [clip for clip in source.select("train") if clip.subject in {other.subject for other in validation}]
    with pytest.raises(ValueError, match="everybody in train is in a later part"): release_sides(source, dict(train=train, validation=validation), subject_exclusive=True)


@pytest.mark.parametrize("command", ["train", "train-joint", "train-chain"])
def test_every_way_out_is_an_option_of_the_command(command):
    "What the message names exists where it is read."
    text = CliRunner().invoke(app, [command, "--help"], terminal_width=200).output
    assert "subject_exclusive" in text and "--on-fault" in text and "--reader" in text
    if command != "train-joint": assert "--allow-overlap" in text # there nobody who is held out is learned from
