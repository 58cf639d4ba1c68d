"""Folders that are a level off, codes in the middle of a sequence, pictures that no table lists."""
import numpy as np
import pytest

from affect_nb.databases.base import open_database
from affect_nb.databases.check import check_database
from affect_nb.databases.manifests import load_manifest

COUNTED = load_manifest("bp4d").label("aus", "numbered").header


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def found(report, kind): return [finding.what for finding in report.findings if finding.kind == kind]


def coded(frame, never=(25, 26)):
    cells = ["9"]*100
    for au in load_manifest("bp4d").label("aus").aus: cells[au] = "9" if au in never else str((frame + au) % 2)
    return ",".join([str(frame), *cells[1:]])


def test_codes_in_the_middle_of_a_sequence(tmp_path):
    "The frames that are coded are counted, the others told apart, and an action unit that is never coded is named."
    for task, first in (("T1", 500), ("T2", 1)): write(tmp_path/"AUCoding"/"AU_OCC"/f"F001_{task}.csv", COUNTED, *map(coded, range(first, first + 20)))
    report = check_database("bp4d", tmp_path)
    counts = report.counts[report.counts.split == "all"].set_index("what").found
    assert counts["coded frames"] == 40 and "frames" not in counts # where no image is, nobody knows how many there are
    notes = found(report, "coding")
    assert any("499 of 539 frames up to the last coded ones have no code" in text and "in 1 clip: F001_T1 499" in text for text in notes)
    assert any("never coded in this copy, though others are: AU25, AU26" in text for text in notes)
    aus = report.labels.set_index("label")
    assert aus.loc["au1", "missing"] == 0 and aus.loc["au1", "labelled"] == 40 and aus.loc["au25", "labelled"] == 0
    assert len(open_database("bp4d", tmp_path).labels("F001_T1")) == 519 # by frame number, as ever


def test_a_sequence_with_images_counts_them_too(tmp_path):
    write(tmp_path/"AUCoding"/"AU_OCC"/"F001_T1.csv", COUNTED, *map(coded, range(5, 10)))
    for number in range(1, 13): write(tmp_path/"Sequences_2D+3D"/"F001"/"T1"/f"{number:04d}.jpg")
    counts = check_database("bp4d", tmp_path).counts.query("split == 'all'").set_index("what").found
    assert (counts["frames"], counts["coded frames"]) == (12, 5)


def arrays(folder):
    folder.mkdir(parents=True)
    for kind, value in dict(exp=1, val=.5, aro=.5).items(): np.save(folder/f"7_{kind}.npy", np.array(value))


def test_a_folder_that_is_a_level_off(tmp_path):
    "Each release's layout is listed, and the nearest is named."
    arrays(tmp_path/"affectnet"/"val_set"/"annotations")
    with pytest.raises(ValueError) as error: open_database("affectnet", tmp_path)
    said = str(error.value)
    assert "is {split}_set/annotations/{image}_exp.npy of release npy: give the folder" in said
    assert "csv or csv-without-header: Manually_Annotated_file_lists/training.csv" in said and "; npy: {split}_set/" in said
    assert len(open_database("affectnet", tmp_path/"affectnet").frames()) == 1


@pytest.mark.parametrize("name, split", [("val_set", "validation"), ("mine", "train")])
def test_the_arrays_of_one_folder_are_read_as_they_are(tmp_path, name, split):
    "The folder's name says which part it is."
    arrays(tmp_path/name/"annotations")
    frames = open_database("affectnet", tmp_path/name).frames()
    assert frames.split.tolist() == [split] and frames.valence.tolist() == [.5]


def test_nothing_near_is_no_guess(tmp_path):
    write(tmp_path/"readme.txt", "hello")
    with pytest.raises(ValueError) as error: open_database("bp4d", tmp_path)
    assert "AUCoding/AU_OCC/{subject}_{task}.csv" in str(error.value) and "nearest" not in str(error.value)


def test_a_table_whose_rows_are_all_wrong_says_what_is_wrong(tmp_path):
    write(tmp_path/"labels.csv", "file,valence,split", *(f"{number}.jpg,0.5,fold 7" for number in range(5)))
    with pytest.raises(ValueError, match="no row of own can be used: .*row 2: split is 'fold 7'.*5 like this: rows 2, 3, 4 and 2 more"): open_database("own", tmp_path, on_fault="skip")
    assert "no row of own can be used" in found(check_database("own", tmp_path), "files")[0]


def test_a_picture_that_no_table_lists_is_a_whole_sentence(tmp_path):
    for name in ("faces/a.jpg", "more/b.jpg", "more/notes.txt", "more/c.jpg"): write(tmp_path/name)
    write(tmp_path/"labels.csv", "file,valence", "faces/a.jpg,0.1", "more/b.jpg,0.2")
    notes = {finding.where: finding.what for finding in check_database("own", tmp_path).findings if finding.kind == "surplus"}
    assert notes["more/c.jpg"] == "belongs to no clip" and notes["more/notes.txt"].startswith("is not expected here; allowed are .")
    write(tmp_path/"table"/"labels.csv", "file,valence", "a.jpg,0.1")
    write(tmp_path/"table"/"deep"/"d.jpg")
    for media in (tmp_path/"faces", tmp_path/"table"/"deep"):
        texts = found(check_database("own", tmp_path/"table", media=str(media)), "surplus")
        assert not any(text.rstrip(" ").endswith("are") for text in texts)
