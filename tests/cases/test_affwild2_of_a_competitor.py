"""Aff-Wild2 as participants of the competitions keep it, whole or in part."""
import cv2
import numpy as np
import pytest

from affect_nb.data.sequences import SequenceDataset
from affect_nb.data.store import faces_of, preprocess_database
from affect_nb.databases.base import open_database
from affect_nb.databases.check import check_database
from affect_nb.databases.manifests import load_manifest
from affect_nb.train import affwildnet_recipe
from affect_nb.train.jobs_database import database_loaders

VA = "valence,arousal"
EXPRESSION = load_manifest("aff-wild2").label("category", "2021").header
EDITIONS = ["annotations", "6th ABAW Annotations", "5th_ABAW_Annotations", "3rd ABAW Annotations/Third ABAW Annotations", "ABAW Annotations", "."]


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def annotate(root, names=("1-30-640x480", "2-30-640x480", "3-30-640x480"), rows=6):
    "Two clips to learn from, one to validate."
    for place, name in enumerate(names):
        part = "Train_Set" if place < 2 else "Validation_Set"
        write(root/"VA_Estimation_Challenge"/part/f"{name}.txt", VA, *["0.5,0.25"]*rows)
        write(root/"EXPR_Recognition_Challenge"/part/f"{name}.txt", EXPRESSION, *["4"]*rows)


def crops(folder, name, numbers=range(1, 7)):
    (folder/name).mkdir(parents=True)
    for number in numbers: cv2.imwrite(str(folder/name/f"{number:05d}.jpg"), np.full((112, 112, 3), 40*number, np.uint8))


@pytest.mark.parametrize("edition", EDITIONS)
def test_annotations_are_found_under_the_name_of_any_edition(tmp_path, edition):
    annotate(tmp_path/edition)
    for folder, name in (("batch1", "1-30-640x480.mp4"), ("batch2", "2-30-640x480.avi"), ("new_vids", "3-30-640x480.mp4")): write(tmp_path/folder/name)
    database = open_database("aff-wild2", tmp_path)
    assert database.release == "2021" and len(database.clips) == 3 and len(database.frames()) == 18
    assert [clip.video.parent.name for clip in database.clips] == ["batch1", "batch2", "new_vids"]
    assert {clip.split for clip in database.clips} == {"train", "validation"} and database.frames().valence.eq(.5).all()


def test_two_editions_are_a_question_that_an_option_answers(tmp_path):
    annotate(tmp_path/"5th_ABAW_Annotations")
    annotate(tmp_path/"6th ABAW Annotations", names=("1-30-640x480",))
    with pytest.raises(ValueError, match="5th_ABAW_Annotations, 6th ABAW Annotations; say which one by annotations='6th ABAW Annotations'"): open_database("aff-wild2", tmp_path)
    assert len(open_database("aff-wild2", tmp_path, annotations="6th ABAW Annotations").clips) == 1
    with pytest.raises(ValueError, match="annotations is '4th', but .* holds no folder of a task"): open_database("aff-wild2", tmp_path, annotations="4th")


@pytest.mark.parametrize("home", ["cropped_aligned", "cropped_aligned/cropped_aligned", "Faces/cropped_aligned", "batch1/cropped_aligned", "cropped_aligned_new_50_vids"])
def test_crops_are_found_without_a_video_and_can_be_learned_from(tmp_path, home):
    annotate(tmp_path/"6th ABAW Annotations")
    for name in ("1-30-640x480", "2-30-640x480", "3-30-640x480"): crops(tmp_path/home, name)
    database = open_database("aff-wild2", tmp_path)
    assert [clip.crops.relative_to(tmp_path).as_posix() for clip in database.clips] == [f"{home}/{clip.name}" for clip in database.clips]
    report = check_database("aff-wild2", tmp_path)
    assert report.ok and any("aligned faces of 3 of 3 clips" in finding.what for finding in report.findings)
    assert preprocess_database(database, tmp_path/"faces", split="train").stores == []
    recipe = affwildnet_recipe("smoke", width=1/16, length=3, batch_size=2)
    dls = database_loaders(recipe, database, tmp_path/"faces", validation="official", device="cpu")
    assert (len(dls.train.dataset), len(dls.valid.dataset)) == (4, 2) and dls.valid.dataset[0].faces.float().mean() > 0


def test_a_partial_copy_takes_each_clip_as_it_is(tmp_path):
    "One with a store of its video, one with crops, one with labels alone."
    annotate(tmp_path/"annotations")
    write(tmp_path/"videos"/"batch1"/"1-30-640x480.mp4")
    crops(tmp_path/"cropped_aligned", "2-30-640x480")
    database = open_database("aff-wild2", tmp_path)
    assert [(clip.video is not None, clip.crops is not None) for clip in database.clips] == [(True, False), (False, True), (False, False)]
    (tmp_path/"faces").mkdir()
    stores = faces_of(database, tmp_path/"faces", database.clips)
    assert [track.clip for track in SequenceDataset(stores, database.frames(), length=3).tracks] == ["2-30-640x480"]
    report = check_database("aff-wild2", tmp_path)
    assert [finding.where for finding in report.findings if finding.kind == "media"] == ["3-30-640x480"]


def test_labels_alone_say_what_can_be_done_with_them(tmp_path):
    annotate(tmp_path/"6th ABAW Annotations")
    report = check_database("aff-wild2", tmp_path)
    assert report.ok and any("annotations only" in finding.what and "faces cannot be found" in finding.what for finding in report.findings)
    with pytest.raises(ValueError, match="only annotations: labels, statistics and splits can be used"): preprocess_database(open_database("aff-wild2", tmp_path), tmp_path/"faces")


def test_pictures_alone_say_what_is_missing(tmp_path):
    crops(tmp_path/"cropped_aligned", "1-30-640x480", [1])
    write(tmp_path/"batch1"/"1-30-640x480.mp4")
    with pytest.raises(ValueError, match="There are 1 videos and aligned faces of 1 clips, but no annotation of this database: a film can be predicted"): open_database("aff-wild2", tmp_path)


def test_folders_of_pictures_are_not_looked_through(tmp_path, monkeypatch):
    annotate(tmp_path)
    for home in ("cropped", "cropped_aligned", "batch1"): crops(tmp_path/home, "1-30-640x480", [1])
    listed, listdir = [], __import__("os").listdir
    monkeypatch.setattr("os.listdir", lambda path=".": listed.append(str(path)) or listdir(path))
    open_database("aff-wild2", tmp_path)
    assert not any("1-30-640x480" in path for path in listed)
