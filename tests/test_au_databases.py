"""DISFA, BP4D, BP4D+ and GFT: adapters against hand-made fixtures, and against the truth of their twins."""
import re

import cv2
import numpy as np
import pandas as pd
import pytest

import affect_nb.synth
from affect_nb.databases.label_files import ReadingLog
from affect_nb.databases.bp4d import read_codes
from affect_nb.databases.check import check_database
from affect_nb.databases.base import open_database
from affect_nb.databases.disfa import LAST_FRAME, ordered_frames
from affect_nb.databases.manifests import load_manifest
from affect_nb.synth.twins import SyntheticSize, get_twin, plan_database, twin_truth, write_database

TINY = dict(train=2, test=1, frames_per_clip=12, width=128, height=128)
TWINS = ("disfa", "bp4d", "bp4d-named", "bp4d-plus", "gft")
DISFA_AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
COUNTED = ",".join(map(str, range(100)))


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, lines)) + "\n" if lines else "an image")
    return path


def numbered(frame, **codes):
    "A row of 100 cells."
    cells = [str(frame), *["9"]*99]
    for name, code in codes.items(): cells[int(name[2:])] = str(code)
    return ",".join(cells)


def values(column): return column.astype(float).fillna(-1).tolist()


@pytest.fixture
def disfa(tmp_path):
    "One subject with both videos, one without; each AU has its own number as the frame that is active."
    for subject in ("SN001", "SN032"):
        for place, au in enumerate(DISFA_AUS): write(tmp_path/"ActionUnit_Labels"/subject/f"{subject}_au{au}.txt", *(f"{frame},{5*(frame == place + 1)}" for frame in range(1, 13)))
    write(tmp_path/"Videos_LeftCamera"/"LeftVideoSN001_comp.avi"), write(tmp_path/"RightVideoSN001_comp.avi"), write(tmp_path/"Videos_LeftCamera"/"LeftVideoSN002_comp.avi")
    return tmp_path


@pytest.fixture
def bp4d(tmp_path):
    "Two sequences in the numbered form, frames 3, 4 and 6 of the first; four and three digits."
    codes = tmp_path/"AUCoding"/"AU_OCC"
    write(codes/"F001_T1.csv", COUNTED, numbered(3, au1=0, au12=1, au23=9), numbered(4, au1=1, au12=0, au23=1), numbered(5, au1=1, au12=9, au3=7), numbered(7, au1=0, au12=1))
    write(codes/"M018_T8.csv", COUNTED, numbered(100, au39=1), numbered(101, au39=0))
    for number in (1, 2, 3, 4, 5): write(tmp_path/"Sequences_2D+3D"/"F001"/"T1"/f"{number:04d}.jpg")
    for number in (99, 100, 101): write(tmp_path/"Sequences_2D+3D"/"M018"/"T8"/f"{number:03d}.jpg")
    return tmp_path


# frame numbers

@pytest.mark.parametrize("numbers, expected", [
    ([1, 2, 3], [0, 1, 2]), ([5, 6, 9, 10], [4, 5, 8, 9]), ([1, 2, 30, 4, 5], [0, 1, -1, 3, 4]), ([1, 2, 2, 3], [0, -1, -1, 2]), ([2, 1], [-1, -1]),
    ([1, 2, 3, 99], [0, 1, 2, -1]), ([1, 40, 41, 42], [-1, 39, 40, 41]), ([1, 2, 4], [0, 1, 3]), ([0, 1, 2], [-1, 0, 1]), ([1.5, 2], [-1, 1]),
    ([1, 2, LAST_FRAME + 1], [0, 1, -1]), ([np.nan, 1], [-1, 0]), ([np.inf, -np.inf, 3], [-1, -1, 2]), ([], []), ([7], [6])])
def test_a_row_belongs_to_the_frame_that_it_names(numbers, expected):
    assert ordered_frames(np.array(numbers, float), "a.csv", log=ReadingLog("skip")).tolist() == expected


def test_out_of_line_frames_are_named():
    for numbers, said in (([1, 2, 2, 3], "row 4: frame is 2 after 2"), ([1, 9, 3, 4], "row 3: frame is 9 after 1"), ([0, 1], "row 2: frame is 0, allowed are whole numbers 1 to")):
        with pytest.raises(ValueError, match=f"a.csv, {said}"): ordered_frames(numbers, "a.csv", 2)


def test_ordered_frames_agrees_with_brute_force():
    "A row counts where every longest ascending run has it."
    from itertools import combinations
    rng = np.random.default_rng(3)
    for _ in range(150):
        numbers = rng.integers(1, 9, rng.integers(2, 8))
        runs = [set(places) for size in range(len(numbers), 0, -1) for places in combinations(range(len(numbers)), size) if (np.diff(numbers[list(places)]) > 0).all()]
        always = set.intersection(*(run for run in runs if len(run) == len(runs[0])))
        found = set(np.flatnonzero(ordered_frames(numbers, "a", log=ReadingLog("skip")) >= 0).tolist())
        assert found <= always and len(always - found) <= 2 # two: a lone row at each end


# DISFA

def test_disfa_clips_and_labels(disfa):
    database = open_database("disfa", disfa)
    assert [(clip.name, clip.subject, clip.split, clip.video and clip.video.name) for clip in database.clips] == [
        ("LeftVideoSN001_comp", "SN001", "train", "LeftVideoSN001_comp.avi"), ("LeftVideoSN032_comp", "SN032", "train", None),
        ("RightVideoSN001_comp", "SN001", "train", "RightVideoSN001_comp.avi"), ("RightVideoSN032_comp", "SN032", "train", None)]
    assert any("LeftVideoSN002_comp has no annotation" in note for note in database.notes)
    labels = database.labels("LeftVideoSN001_comp")
    assert list(labels) == ["frame", *(f"au{au}" for au in DISFA_AUS)] and database.au_names == DISFA_AUS
    assert np.array_equal(labels.filter(like="au").to_numpy(), np.eye(12)) and labels.au1.dtype == np.float32
    pd.testing.assert_frame_equal(labels, database.labels("RightVideoSN001_comp"))
    assert len(database.select("train", "aus")) == 4 and database.select("test") == []


@pytest.mark.parametrize("active_from, expected", [(1, [0, 1, 1, 1]), (2, [0, 0, 1, 1]), (5, [0, 0, 0, 1]), (None, [0, 1, 2, 5])])
def test_disfa_active_from(disfa, active_from, expected):
    write(disfa/"ActionUnit_Labels/SN001/SN001_au6.txt", "1,0", "2,1", "3,2", "4,5")
    database = open_database("disfa", disfa, active_from=active_from)
    assert values(database.labels("LeftVideoSN001_comp").au6) == expected + [-1]*8
    assert "SN001: 12 frames, but some files end earlier and have no label of the rest: au6 after 4" in database.notes


@pytest.mark.parametrize("wrong", [0, 6, 1.5, "2"])
def test_disfa_refuses_other_thresholds(disfa, wrong):
    with pytest.raises(ValueError, match=re.escape(f"active_from is {wrong!r}, allowed are 1, 2, 3, 4, 5, or None")): open_database("disfa", disfa, active_from=wrong)


@pytest.mark.parametrize("line, said", [("2,6", "aus is 6, allowed are"), ("2,-1", "aus is -1"), ("2,1.5", "aus is 1.5, allowed are whole numbers"), ("2,x", "'2,x' is not numeric"),
                                        ("2", "has 1 values, allowed is 2"), ("2,0,0", "has 3 values"), ("1,0", "frame is 1 after 1"), ("2,nan", "aus is nan"), ("nan,0", "frame is nan")])
def test_disfa_bad_rows_are_named_or_counted(disfa, line, said):
    write(disfa/"ActionUnit_Labels/SN001/SN001_au1.txt", "1,5", line, *(f"{frame},0" for frame in range(3, 13)))
    with pytest.raises(ValueError, match=re.escape("SN001_au1.txt, row 2: ") + ".*" + re.escape(said)): open_database("disfa", disfa).labels("LeftVideoSN001_comp")
    database = open_database("disfa", disfa, on_fault="skip")
    for clip in ("LeftVideoSN001_comp", "RightVideoSN001_comp"): # the same file is read twice, and counted once
        assert values(database.labels(clip).au1)[1:] == [-1] + [0]*10 and values(database.labels(clip).au2)[1] == 1
    assert [fault.row for fault in database.faults if fault.row != 1] == [2]


def test_disfa_says_which_file_is_missing(disfa):
    (disfa/"ActionUnit_Labels/SN001/SN001_au26.txt").unlink()
    database = open_database("disfa", disfa)
    assert values(database.labels("LeftVideoSN001_comp").au26) == [-1]*12
    assert any("there is no au26 of this clip" in finding.what for finding in check_database("disfa", disfa).findings)


# BP4D

def test_bp4d_numbered(bp4d):
    database = open_database("bp4d", bp4d)
    assert database.release == "numbered" and database.fps == 25 and len(database.au_names) == 27
    assert [(clip.name, clip.subject, clip.split, clip.splits) for clip in database.clips] == [("F001_T1", "F001", "train", {"aus": "train"}), ("M018_T8", "M018", "train", {"aus": "train"})]
    labels = database.labels("F001_T1")
    assert labels.frame.tolist() == list(range(7)) and list(labels) == ["frame", *(f"au{au}" for au in database.au_names)]
    assert values(labels.au1) == [-1, -1, 0, 1, 1, -1, 0] and values(labels.au12) == [-1, -1, 1, 0, -1, -1, 1] and values(labels.au23) == [-1]*3 + [1] + [-1]*3
    assert labels.au39.isna().all() # 9 in all rows
    assert values(database.labels("M018_T8").au39)[-2:] == [1, 0]


def test_bp4d_images_by_number(bp4d):
    database = open_database("bp4d", bp4d)
    assert {frame: file.name for frame, file in database.images(database.clip("F001_T1")).items()} == {frame: f"{frame + 1:04d}.jpg" for frame in range(5)}
    assert sorted(database.images(database.clip("M018_T8"))) == [98, 99, 100]
    assert database.source(database.clip("M018_T8")).frames[0][0] == 98
    database.labels("F001_T1")
    assert database.notes == ["F001_T1: 1 of 4 rows have no image in Sequences_2D+3D/F001/T1 (the first is number 7)"]


def test_bp4d_named(bp4d):
    write(bp4d/"AUCoding/AU_OCC/F001_T1.csv", "1,1,2,4,28,39", "11,0,1,9,0,1", "12,1,0,9,0,0")
    database = open_database("bp4d", bp4d)
    assert database.release == "named"
    labels = database.labels("F001_T1")
    assert values(labels.au1)[10:] == [0, 1] and values(labels.au2)[10:] == [1, 0] and values(labels.au39)[10:] == [1, 0]
    assert labels.au4.isna().all() and labels.au5.isna().all() and "au28" not in labels
    assert any("there are tables without AU 5, 6," in note for note in database.notes)


@pytest.mark.parametrize("text, said", [
    (COUNTED.replace("3,4,", "4,3,", 1) + "\n", "row 1: the header has 100 columns"), (",".join(map(str, range(101))) + "\n", "row 1: the header has 101 columns"),
    (f"{COUNTED}\n{numbered(3)},9\n", "row 2: .* has 101 values"), (f"{COUNTED}\n{numbered(3, au1=2)}\n", "row 2: aus is 2, allowed are 0 or 1, or 9 for no annotation"),
    (f"{COUNTED}\n{numbered(3)}\n{numbered(3)}\n", "row 3: frame is 3 after 3"), (f"{COUNTED}\n{numbered(0)}\n", "row 2: frame is 0"),
    ("a,b\n1,0\n", "needed is the number of an action unit"), ("frame,1,1\n1,0,0\n", "columns 2 and 3 are both '1'"), ("", "is empty"), ("\n\n", "is empty"), ("\n1,1,2\n", "row 1: the header is ''")])
def test_bp4d_bad_files_are_named(bp4d, text, said):
    (bp4d/"AUCoding/AU_OCC/M018_T8.csv").write_text(text)
    database = open_database("bp4d", bp4d)
    with pytest.raises(ValueError, match=f"M018_T8.csv.*{said}"): database.labels("M018_T8")
    assert len(database.labels("F001_T1")) == 7


def test_bp4d_skips_and_counts(bp4d):
    write(bp4d/"AUCoding/AU_OCC/M018_T8.csv", COUNTED, numbered(1, au1=1), numbered(2, au1=4, au2=1), numbered("x"), numbered(4, au1=0), numbered(5, au1=1))
    database = open_database("bp4d", bp4d, on_fault="skip")
    labels = database.labels("M018_T8")
    assert values(labels.au1) == [1, -1, -1, 0, 1] and values(labels.au2) == [-1]*5 # a row with one bad value has none
    assert [fault.row for fault in database.faults] == [4, 3]


def test_strange_files_and_uncoded_images_are_noted(bp4d):
    write(bp4d/"AUCoding/AU_OCC/notes.csv", "a"), write(bp4d/"Sequences_2D+3D/F002/T1/001.jpg")
    database = open_database("bp4d", bp4d)
    assert len(database.clips) == 2
    assert [note.split(" ")[0] for note in database.notes] == ["AUCoding/AU_OCC/notes.csv", "folders"] and database.notes[1].endswith("1 (F002_T1)")


# BP4D+ and GFT

def test_bp4d_plus_header_counts(tmp_path):
    write(tmp_path/"AUCoding/AU_OCC/F082_T6.csv", "frame, AU1 ,au02,L12,R12,25", "1,0,1,1,0,1", "2,9,0,0,0,0", "3,1,1,9,0,0", "4,1,1,9,1,9")
    write(tmp_path/"2D+3D/F082/T6/0003.jpg")
    database = open_database("bp4d-plus", tmp_path)
    assert database.au_names == (*load_manifest("bp4d-plus").label("aus").aus, 25)
    labels = database.labels("F082_T6")
    assert values(labels.au1) == [0, -1, 1, 1] and values(labels.au2) == [1, 0, 1, 1] and values(labels.au12) == [1, 0, -1, 1] and values(labels.au25) == [1, 0, 0, -1]
    assert sorted(database.images(database.clips[0])) == [2]


def test_a_header_number_that_is_no_action_unit_is_none(tmp_path):
    assert list(read_codes(write(tmp_path/"a.csv", "f,99,112,1e9,-3,12,64", "1,0,0,0,0,1,0"), load_manifest("gft").label("aus"))) == [12, 64]


def test_read_codes_takes_one_column_for_each_side(tmp_path):
    aus = load_manifest("gft").label("aus")
    for header in ("f,L12,L12", "f,12,AU12", "f,12L,L12"):
        with pytest.raises(ValueError, match="columns 2 and 3 are both"): read_codes(write(tmp_path/"a.csv", header, "1,0,0"), aus)


def test_gft_by_hand(tmp_path):
    write(tmp_path/"AUCoding/001A.csv", "frame,1,2,12", "1,0,1,9", "2,1,1,0"), write(tmp_path/"AUCoding/001C.csv", "AU12,Frame", "1,2", "0,3")
    write(tmp_path/"001A/1.jpg"), write(tmp_path/"images/001C/10.jpg"), write(tmp_path/"images/001C/2.jpg")
    database = open_database("gft", tmp_path)
    assert [(clip.name, clip.subject, clip.split, sorted(database.images(clip))) for clip in database.clips] == [("001A", "001A", "train", [0]), ("001C", "001C", "train", [1, 9])]
    assert values(database.labels("001A").au2) == [1, 1] and values(database.labels("001A").au12) == [-1, 0] and values(database.labels("001C").au12) == [-1, 1, 0]
    write(tmp_path/"AUCoding/001A.csv", "1,2,12", "1,0,1")
    with pytest.raises(ValueError, match="001A.csv, row 1: .*needed is one column 'frame'"): open_database("gft", tmp_path).labels("001A")


# twins

@pytest.fixture(scope="module", params=TWINS)
def twin(request, tmp_path_factory):
    "Name, folder and truth of a tiny twin without media."
    root = tmp_path_factory.mktemp(request.param)/"twin"
    return request.param, write_database(request.param, root, media=False, progress=False, **TINY), sort(twin_truth(request.param, **TINY))


def sort(table): return table.sort_values(["clip", "frame"], ignore_index=True)


def test_adapter_reads_what_the_twin_means(twin):
    name, root, truth = twin
    database = open_database(get_twin(name).database, root)
    found = sort(database.frames())
    pd.testing.assert_frame_equal(found[list(truth)], truth, check_dtype=False)
    assert sorted(found) == sorted([*truth, "database"]) and found.filter(regex=r"^au\d").dtypes.eq(np.float32).all()
    assert database.release == {"bp4d": "numbered", "bp4d-named": "named"}.get(name) and not database.faults
    assert not list(root.rglob("*.jpg")) and not list(root.rglob("*.mp4"))


def test_protocols_have_people_on_both_sides():
    for name, protocols in (("disfa", ["three-fold"]), ("bp4d", ["three-fold", "fera2015"])):
        subjects = set(twin_truth(name).subject)
        for protocol in map(load_manifest(name).protocol, protocols):
            assert all(subjects & set(part) for part in (*protocol.folds, *protocol.parts.values()))
            assert subjects <= {subject for part in (*protocol.folds, *protocol.parts.values()) for subject in part}


def test_full_twins_have_the_people_of_the_databases():
    manifest = load_manifest("bp4d")
    known = {subject for fold in manifest.protocol("three-fold").folds for subject in fold}
    assert set(twin_truth("bp4d", train=54, test=0, frames_per_clip=12).subject) == known
    known = {subject for fold in load_manifest("disfa").protocol("three-fold").folds for subject in fold}
    table = twin_truth("disfa", train=54, test=0, frames_per_clip=12)
    assert set(table.subject) == known and table["clip"].nunique() == 54
    assert len({plan.name for plan in plan_database("bp4d", SyntheticSize(train=600, test=0))}) == 600 # more than there were: invented names


@pytest.mark.parametrize("name", ["bp4d-plus", "gft", "disfa"])
def test_twin_with_media(name, tmp_path):
    write_database(name, tmp_path/"twin", progress=False, **TINY)
    database = open_database(name, tmp_path/"twin")
    rows = len(database.frames())
    if name == "disfa":
        assert all(clip.video for clip in database.clips)
        return
    for plan in plan_database(name, SyntheticSize(**TINY)):
        images = database.images(database.clip(plan.name))
        assert set(range(plan.n_frames)) - set(images) == {get_twin(name).lost_image(plan)} - {-1}
        assert cv2.imread(str(images[0])).shape == (128, 128, 3)
    assert any("rows have no image" in note for note in database.notes) and rows


# spoilt files

def spoilt(text, rng):
    "Ways in which a file may be broken, by name."
    lines, place = text.splitlines(keepends=True), int(rng.integers(len(text.splitlines())))
    cells = lines[place].rstrip("\n").split(",")
    cell = int(rng.integers(len(cells)))
    def with_cell(value): return "".join([*lines[:place], ",".join([*cells[:cell], value, *cells[cell + 1:]]) + "\n", *lines[place + 1:]])
    first, second = sorted(rng.choice(len(cells), 2, replace=False))
    def swapped(line):
        parts = line.rstrip("\n").split(",")
        parts[first], parts[second] = parts[second], parts[first]
        return ",".join(parts) + "\n"
    yield "cut", text[:int(rng.integers(len(text)))].encode()
    yield "swapped", "".join(map(swapped, lines)).encode()
    yield "utf-16", text.encode("utf-16")
    yield "bom", b"\xef\xbb\xbf" + text.encode()
    yield "crlf", text.replace("\n", "\r\n").encode()
    yield "empty", b""
    yield "twice", "".join([*lines[:place], lines[place], *lines[place:]]).encode()
    yield "deleted", "".join([*lines[:place], *lines[place + 1:]]).encode()
    yield "blank", "".join([*lines[:place], "\n", *lines[place:]]).encode()
    for name, value in (("letter", "1O"), ("large", "99"), ("huge", "1e9"), ("negative", "-3"), ("comma", "1,5"), ("nothing", "")): yield name, with_cell(value).encode()


@pytest.mark.parametrize("on_fault", ["raise", "skip"])
def test_no_broken_file_gives_a_wrong_label(twin, on_fault):
    name, root, truth = twin
    rng, columns = np.random.default_rng(len(name)), [column for column in truth if column.startswith("au")]
    files = sorted(file for file in root.rglob("*.*") if file.parent != root)
    for _ in range(2):
        file = files[int(rng.integers(len(files)))]
        good = file.read_bytes()
        for how, bad in spoilt(good.decode(), rng):
            file.write_bytes(bad)
            try:
                database = open_database(get_twin(name).database, root, on_fault=on_fault)
                clip = next(clip for clip in database.clips if file in clip.annotations.values())
                found = database.labels(clip)
            except ValueError as error: assert file.name in str(error), f"{how}: {error}"
            else:
                true = truth[truth["clip"] == clip.name].set_index("frame")[columns].reindex(found.frame).to_numpy()
                given = found[columns].to_numpy()
                assert (np.isnan(given) | (given == true)).all(), f"{file.name}, {how}"
            finally: file.write_bytes(good)
