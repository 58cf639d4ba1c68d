"""Label files of others: every mistake of a file is told at once, and what is listed twice follows one rule."""
import pytest

from affect_nb.databases.base import open_database
from affect_nb.databases.check import check_database

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
OMG = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote"


def write(path, *lines, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + end)
    return path


def face(name, expression=1, valence=.5, arousal=.5): return f"{name},0,0,9,9,1;2,{expression},{valence},{arousal}"
def utterance(video, number, arousal=.25, valence=-.5, vote=3): return f"x,0,1,{video},utterance_{number}.mp4,{arousal},{valence},{vote}"
def errors(report): return [finding.what for finding in report.findings if finding.level == "error" and finding.kind == "rows"]


def raf(folder, *rows): return write(folder/"basic"/"EmoLabel"/"list_patition_label.txt", *rows)


def test_the_first_mistake_does_not_hide_the_others(tmp_path):
    path = write(tmp_path/"training.csv", HEADER, face("1/a.jpg", 11), face("1/b.jpg", 12), "x", face("1/c.jpg", 1, 7), face("1/d.jpg"), face("1/e.jpg", 13), face("1/f.jpg", 14))
    with pytest.raises(ValueError) as error: open_database("affectnet", tmp_path).frames()
    said = str(error.value) # the row that is too short ends the opening
    assert f"{path}, row 4: 'x' has 1 cells, allowed are 9" in said
    path.write_text(path.read_text().replace("\nx\n", "\n"))
    with pytest.raises(ValueError) as error: open_database("affectnet", tmp_path).frames()
    said = str(error.value)
    assert f"{path}, row 2: category is 11, allowed are whole numbers 0 to 10 (4 like this: rows 2, 3, 6 and 1 more)" in said
    assert f"{path}, row 4: valence is 7" in said and "on_fault='skip'" in said


def test_a_check_has_one_finding_for_each_kind_and_file(tmp_path):
    raf(tmp_path, *(f"train_{number:05d}.jpg 9" for number in range(1, 6)), "train_00006.jpg x", "train_00007.jpg 1", "seven 1")
    found = errors(check_database("raf-db", tmp_path))
    assert sorted(text.partition(", row ")[2].partition(" (")[0].partition(",")[0] for text in found) == [
        "1: expression is 9", "6: class is 'x'", "8: 'seven' is not the name of an image"]
    assert any("5 like this: rows 1, 2, 3 and 2 more" in text for text in found)


@pytest.mark.parametrize("name, write_twice", [
    ("raf-db", lambda folder, first, second: raf(folder, f"train_00001.jpg {first}", "train_00002.jpg 1", f"train_00001.jpg {second}")),
    ("affectnet", lambda folder, first, second: write(folder/"training.csv", HEADER, face("1/a.jpg", first), face("1/b.jpg"), face("1/a.jpg", second))),
    ("omg-emotion", lambda folder, first, second: write(folder/"omg_TrainVideos.csv", OMG, utterance("aa", 1, vote=first), utterance("aa", 2), utterance("aa", 1, vote=second)))])
def test_listed_twice_is_one_rule(tmp_path, name, write_twice):
    "Rows that agree count once; rows that contradict each other do not count, and both are named."
    path = write_twice(tmp_path, 3, 3)
    first = 1 if name == "raf-db" else 2
    database = open_database(name, tmp_path, on_fault="skip")
    assert len(database.frames()) == 2 and [fault.row for fault in database.faults] == [first + 2]
    assert "the labels agree, the first row counts" in database.faults[0].message
    with pytest.raises(ValueError, match=f"row {first + 2}: .* is listed more than once \\(rows {first}, {first + 2}\\)"): open_database(name, tmp_path)

    write_twice(tmp_path, 3, 5)
    database = open_database(name, tmp_path, on_fault="skip")
    assert len(database.frames()) == 1 and sorted(fault.row for fault in database.faults) == [first, first + 2]
    assert all(f"'3' in row {first} and '5' in row {first + 2}" in fault.message for fault in database.faults)
    with pytest.raises(ValueError, match="contradict each other"): open_database(name, tmp_path)
    assert path.is_file()


def test_the_means_below_a_list_are_called_so(tmp_path):
    write(tmp_path/"omg_TrainVideos.csv", OMG, utterance("aa", 1), utterance("aa", 2), ",,,,,0.4536,0.1670,", ",,,,,0.21,0.3,")
    with pytest.raises(ValueError, match="row 4: video and utterance are empty .*sums or means of a spreadsheet.*on_fault='skip'.*rows 4, 5"): open_database("omg-emotion", tmp_path)
    assert len(open_database("omg-emotion", tmp_path, on_fault="skip").frames()) == 2
    assert len(errors(check_database("omg-emotion", tmp_path))) == 1


def test_an_intensity_is_one_digit(tmp_path):
    "DISFA's files end without a line end: `4845,0` is whole, `4845,` is not."
    for au in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26): write(tmp_path/"ActionUnit_Labels"/"SN001"/f"SN001_au{au}.txt", "1,0", "2,3", "3,0", end="")
    database = open_database("disfa", tmp_path)
    assert database.labels("LeftVideoSN001_comp").notna().all(axis=None) and len(database.labels("LeftVideoSN001_comp")) == 3 and not database.notes
    write(tmp_path/"ActionUnit_Labels"/"SN001"/"SN001_au1.txt", "1,0", "2,3", "3", end="")
    assert open_database("disfa", tmp_path).labels("LeftVideoSN001_comp").au1.isna().tolist() == [False, False, True]


@pytest.mark.parametrize("last, whole", [("-0.1250", True), ("0.125", False), ("0.12", False), ("-0", False)])
def test_a_column_of_fixed_digits_tells_a_whole_number(tmp_path, last, whole):
    for what in ("valence", "arousal"): write(tmp_path/"annotations"/"train"/what/"7.txt", "0.1000", "-0.2500", "0.3000", "0.4000", last, end="")
    wild = open_database("aff-wild", tmp_path)
    assert wild.labels("7").valence.notna().tolist() == [True]*4 + [whole]
    assert any("may be cut off" in note for note in wild.notes) == (not whole)


def test_a_frame_that_is_listed_twice(tmp_path):
    path = tmp_path/"AUCoding"/"AU_OCC"/"F001_T1.csv"
    write(path, "1,1,2,4", "5,0,1,0", "6,1,1,0", "6,1,1,0", "7,1,0,0")
    database = open_database("bp4d", tmp_path, on_fault="skip")
    assert database.labels("F001_T1").au1[4:].tolist() == [0, 1, 1] and [fault.row for fault in database.faults] == [4]
    write(path, "1,1,2,4", "5,0,1,0", "6,1,1,0", "6,0,1,0", "7,1,0,0")
    database = open_database("bp4d", tmp_path, on_fault="skip")
    assert database.labels("F001_T1").au1.isna()[4:].tolist() == [False, True, False] and len(database.faults) == 2
