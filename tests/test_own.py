"Tables of one's own, and those of OpenFace and py-feat, typed here by hand; damaged ones never give a wrong label."
import unicodedata

import numpy as np
import pandas as pd
import pytest

from affect_nb.core.labels import COMPOUND_EMOTIONET, COMPOUND_RAFDB, EXPRESSIONS
from affect_nb.apps.cli import _settings
from affect_nb.databases.base import database_options, list_databases, open_database
from affect_nb.databases.check import check_database
from affect_nb.databases.manifests import load_manifest
from affect_nb.databases.own import Own
from affect_nb.databases.peers import peer_labels, peer_stores, read_openface, read_peer, read_pyfeat
from affect_nb.data.sequences import SequenceDataset
from affect_nb.data.store import preprocess_database
from affect_nb.preprocess.frames import FRAME_COLUMNS, FRAME_SCHEMA, frames_dataframe, landmarks_array
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.synth.twins import twin_truth, write_database
from affect_nb.synth.films import Person, VideoPlan, film_video

TINY = dict(train=3, validation=1, test=1, frames_per_clip=12, width=96, height=96)
LABELS = ("valence", "arousal", "expression", "category", "compound", *(f"au{unit}" for unit in range(1, 46)))


@pytest.fixture
def opened(tmp_path):
    "Opens a table that is typed as text, or given as a DataFrame, as a CSV or as Parquet."
    def open_table(content, suffix="csv", **options):
        path = tmp_path/f"my.{suffix}"
        if isinstance(content, str): path.write_text(content)
        elif suffix == "csv": content.to_csv(path, index=False)
        else: content.to_parquet(path)
        return open_database("own", path, **options)
    return open_table


def sorted_frames(table): return table.sort_values(["clip", "frame"], ignore_index=True)


def same(found, truth):
    found, truth = sorted_frames(found), sorted_frames(truth)
    assert found[["clip", "subject", "split", "frame"]].equals(truth[["clip", "subject", "split", "frame"]].astype(found[["clip", "subject", "split", "frame"]].dtypes))
    columns = [name for name in LABELS if name in truth]
    assert [name for name in LABELS if name in found] == columns
    for name in columns: np.testing.assert_array_equal(found[name].to_numpy(), truth[name].to_numpy(found[name].dtype), name)


# the twin

def test_twin_round_trip(tmp_path):
    root = write_database("own", tmp_path/"own", media=False, progress=False, **TINY)
    own = open_database("own", root)
    same(own.frames(), twin_truth("own", **TINY))
    assert any("rater" in note for note in own.notes) and any("files are not in" in note for note in own.notes)
    assert {clip.split for clip in own.clips} == {"train", "validation", "test"} and any(clip.subject == clip.name for clip in own.clips)
    assert sorted(own.select("validation", "aus"), key=str) == sorted(own.select("validation"), key=str) != []


def test_twin_with_media(tmp_path):
    root = write_database("own", tmp_path/"own", progress=False, **TINY)
    own = open_database("own", root)
    assert all(clip.video.is_file() and own.source(clip).name == clip.stem for clip in own.clips) and not any("files are not" in note for note in own.notes)
    same(own.frames(), twin_truth("own", **TINY))
    left, right = (own.clip(f"talk_2_{side}") for side in ("left", "right"))
    assert left.video == right.video and left.stem == right.stem == "talk_2" and (left.side, right.side) == ("left", "right")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    write_database("own", root, progress=False, **TINY)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def damaged(text):
    "Name and bytes of tables that somebody or something spoilt."
    lines = text.splitlines()
    for cut in np.linspace(0, len(text) - 1, 16).astype(int): yield f"cut at {cut}", text[:cut].encode()
    for row in (1, len(lines) - 1):
        yield f"row {row} twice", "\n".join([*lines[:row + 1], *lines[row:]]).encode() + b"\n"
        yield f"row {row} gone", "\n".join(lines[:row] + lines[row + 1:]).encode() + b"\n"
        yield f"blank after {row}", "\n".join([*lines[:row], "", *lines[row:]]).encode() + b"\n"
    cells = lines[5].split(",")
    for place in (0, 1, 2, 4, 6, 7, 8):
        for value in ("x", "7,5", "1e9", "-5", "inf", "1_0"): yield f"{value} in cell {place}", "\n".join([*lines[:5], ",".join([*cells[:place], value, *cells[place + 1:]]), *lines[6:]]).encode() + b"\n"
    for one, other in ((0, 2), (5, 6), (6, 7), (8, 14)):
        table = [line.split(",") for line in lines]
        for line in table: line[one], line[other] = line[other], line[one]
        yield f"columns {one} and {other} swapped", "\n".join(map(",".join, table)).encode() + b"\n"
    yield from dict(utf16=text.encode("utf-16"), utf16le=text.encode("utf-16-le"), bom=b"\xef\xbb\xbf" + text.encode(), crlf=text.replace("\n", "\r\n").encode(), empty=b"", blank=b"\n \n", semicolons=text.replace(",", ";").encode(),
                    commas=text.replace(".", ",").encode(), latin=text.replace("HAPPY", "\xe9").replace("sad", "\xe9").encode("latin-1"), headless="\n".join(lines[1:]).encode()).items()


def test_a_damaged_table_never_gives_a_wrong_label(tmp_path):
    root = write_database("own", tmp_path/"own", media=False, progress=False, **TINY)
    truth, path, outcomes = twin_truth("own", **TINY).set_index(["clip", "frame"]), root/"labels.csv", {}
    for name, content in damaged(path.read_text()):
        path.write_bytes(content)
        try: found = open_database("own", root).frames().set_index(["clip", "frame"])
        except ValueError as error:
            assert str(root) in str(error), f"{name}: {error}"
            outcomes[name] = "refused"
            continue
        outcomes[name] = "read"
        for label in [name for name in LABELS if name in found]:
            given = found[label] >= 0 if label == "expression" else found[label].notna()
            assert (found[label] == truth[label].reindex(found.index))[given].all(), f"{name}: {label}"
    assert all(outcomes[name] == "read" for name in ("bom", "crlf", "semicolons", "row 1 gone", "blank after 1", "columns 0 and 2 swapped", "columns 5 and 6 swapped"))
    assert all(outcomes[name] == "refused" for name in outcomes if " in cell " in name or "twice" in name or name in ("utf16", "utf16le", "empty", "blank", "commas", "latin", "headless"))


# columns

def test_names_of_columns(opened):
    own = opened(" Path , FRAME,Valence , AROUSAL,au01,AU 2,AU12_r,Expression\na.mp4,0,.1,.2,1,1,3,ANGRY\n")
    assert list(own.labels("a").columns) == ["frame", "valence", "arousal", "expression", "au1"] and own.au_names == (1,)
    assert own.notes[0].endswith("left aside: AU 2, AU12_r")
    own = opened("who,v,a,clip\nx,.1,.2,a.mp4\n", columns=dict(who="subject", v="valence", a="AROUSAL"))
    assert own.clips[0].subject == "x" and own.labels("a").arousal[0] == np.float32(.2)
    own = opened("file,valence,arousal,AU1\na.mp4,.1,.2,5\n", columns=dict(AU1=None))
    assert own.au_names == () and not any("AU1" in note for note in own.notes)


@pytest.mark.parametrize("text, options, said", [
    ("file,path,valence\na.mp4,b.mp4,0\n", {}, "columns 'file' and 'path' both mean 'file'; leave one out by columns={'path': None}"),
    ("file,AU1,au01\na.mp4,0,1\n", {}, "columns 'AU1' and 'au01' both mean 'au1'"),
    ("file,valence,valence\na.mp4,0,1\n", {}, "column 'valence' is there twice"),
    ("name,valence\na.mp4,0\n", {}, "no column names the files"),
    ("file,mood\na.mp4,0\n", {}, "no column has labels"),
    ("file,valence\na.mp4,0\n", dict(columns=dict(mood="valence")), "there is no column 'mood' to rename, there are file, valence"),
    ("file,mood\na.mp4,0\n", dict(columns=dict(mood="happy")), "makes 'happy' of a column, allowed are file, clip"),
    ("bild;valence\na.mp4;0\n", {}, "the header is one cell: if ; stands between its names, say separator=;"),
    ("file\tvalence\na.mp4\t0\n", dict(separator=","), "say separator=tab"), ("file,valence\na.mp4,0\n", dict(separator=";"), "say separator=,"),
    ("file,valence\n", {}, "my.csv has no rows"),
])
def test_headers_that_are_refused(opened, text, options, said):
    with pytest.raises(ValueError) as error: opened(text, **options)
    assert said in str(error.value) and "my.csv" in str(error.value) or "columns=" in str(error.value) or "no clip" in str(error.value)


@pytest.mark.parametrize("options, said", [
    (dict(first_frame=2), "first_frame is 2, allowed are 0 and 1"), (dict(active_from=9), "active_from is 9"), (dict(compound_classes="rafdb"), "allowed are raf-db, emotionet"),
    (dict(missing=dict(mood=1)), "missing= names 'mood'"), (dict(missing=dict(file=1)), "missing= names 'file'"), (dict(ranges=dict(mood=(0, 1))), "ranges= names 'mood'"),
    (dict(ranges=dict(valence=(1, 0))), "the range of valence is (1, 0)"), (dict(ranges=dict(valence=(1, 9))), "rescale=True stretches it"),
    (dict(classes="Happy"), "allowed is a list of names"), (dict(classes=["sad", "Sad"]), "each name once"), (dict(on_fault="no"), "on_fault is 'no'"),
])
def test_options_that_are_refused(opened, options, said):
    with pytest.raises(ValueError) as error: opened("file,valence,arousal\na.mp4,0,0\n", **options)
    assert said in str(error.value)


WRONG = (7, -5, "x", "", "1,9", "a:b", "valence:x", [1], [None, 1], {}, {"a": ["x"]}, {1: 2}, {"valence": [1, "a"]}, {"valence": None}, {"valence": [[1]]}, True, 1.5, float("nan"))


@pytest.mark.parametrize("option", [name for name in database_options("own") if name != "on_fault"])
def test_a_wrong_kind_of_value_is_an_error_that_names_the_option(opened, option):
    refused = []
    for value in WRONG:
        try: opened("file,frame,valence,arousal,au1\na.mp4,0,0,0,1\n", **{option: value})
        except ValueError as error: refused.append((value, str(error)))
    assert refused and all(option.rstrip("s") in text for _, text in refused), refused # whatever else is raised fails


@pytest.mark.parametrize("name", list_databases())
def test_no_reader_breaks_down_at_a_wrong_kind_of_value(tmp_path, name):
    for option in database_options(name):
        for value in WRONG:
            with pytest.raises(ValueError): open_database(name, tmp_path, **{option: value}) # nothing is in the folder, too


@pytest.mark.parametrize("option, said", [
    (dict(ranges="1,9"), "typed as ranges=valence:1:9"), (dict(separator=7), "or tab (also as \\t)"), (dict(classes=7), "typed as classes=neutral,happy or classes=0:neutral,1:happy"),
    (dict(active_from="x"), "active_from is 'x', allowed are intensities in (0, 5], such as active_from=2"), (dict(missing=-5), "{'valence': -5}, typed as missing=valence:-5,aus:9"),
    (dict(missing="valence:x"), "missing= gives 'x' to valence, allowed is a number"), (dict(splits=1), "typed as splits=fold 1:train,fold 2:test"), (dict(compound_classes=7), "typed as compound_classes=happily surprised"),
    (dict(votes=7), "typed as votes=votes_sad,votes_fear"), (dict(rescale="perhaps"), "rescale is 'perhaps', allowed are True and False"), (dict(media=["a"]), "typed as media="),
])
def test_what_is_said_of_a_wrong_option_shows_the_right_spelling(opened, option, said):
    with pytest.raises(ValueError) as error: opened("file,valence,arousal\na.mp4,0,0\n", **option)
    assert said in str(error.value)


@pytest.mark.parametrize("ranges", ["valence:1:9", "valence:1..9", "valence:1-9", {"valence": [1, 9]}])
def test_ranges_as_they_are_typed(opened, ranges):
    assert opened("file,valence,arousal\n1.jpg,1,0\n2.jpg,9,0\n", ranges=ranges, rescale=True).frames().valence.tolist() == [-1, 1]


def test_the_command_line_takes_a_separator_alone():
    assert _settings([r"separator=\t", "separator2=\t", "separator3=,", "separator4=|", "separator5=;"]) == dict(separator=r"\t", separator2="\t", separator3=",", separator4="|", separator5=";")


# labels

@pytest.mark.parametrize("word, place", [("happy", 4), ("Happiness", 4), ("JOY", 4), (" sad ", 5), ("Sadness", 5), ("angry", 1), ("fearful", 3), ("afraid", 3), ("surprised", 6), ("disgusted", 2), ("neutral", 0), ("", -1), ("NaN", -1)])
def test_words_for_expressions(opened, word, place): assert opened(f"file,expression\n1.jpg,{word}\n").labels("train").expression[0] == place


def test_numbers_of_expressions(opened):
    text = "file,expression\n1.jpg,0\n2.jpg,2.0\n3.jpg,\n4.jpg,Sad\n5.jpg,3\n"
    with pytest.raises(ValueError, match=r"my.csv, row 2: expression is 0; every database numbers them differently.*classes="): opened(text)
    with pytest.raises(ValueError, match="classes="): opened(text, on_fault="skip") # not one bad row: none of them means anything
    own = opened(text, classes=["Fear", "sadness", "Happy", "Contempt"])
    assert own.frames().expression.tolist() == [3, 4, -1, 5, -1] and own.frames().category.tolist() == [0, 2, -1, 1, 3]
    assert "category" not in opened(text, classes=["Fear", "sadness", "Happy", "anger"]).frames()
    assert opened(text, classes={3: "Fear", 2: "Sadness", 0: "Neutral"}).frames().expression.tolist() == [0, 5, -1, 5, 3]
    with pytest.raises(ValueError, match="row 6: expression is '3', allowed are Fear, Sad, Happy, or their numbers"): opened(text, classes=["Fear", "Sad", "Happy"])
    for name, classes in (("raf-db", None), ("affectnet", None), ("omg-emotion", None)): # as the databases number them
        label = load_manifest(name).label("expression")
        numbers = range(label.first_id, label.first_id + len(label.classes))
        read = opened("file,expression\n" + "".join(f"{number}.jpg,{number}\n" for number in numbers), classes=dict(zip(numbers, label.classes))).frames()
        assert [EXPRESSIONS[place] if place >= 0 else None for place in read.expression] == [name if name in EXPRESSIONS else None for name in label.classes]


def test_compound_expressions(opened):
    text = "file,compound\n1.jpg,Happily surprised\n2.jpg,\n"
    assert [opened(text, compound_classes=names).frames().compound.tolist() for names in ("raf-db", "emotionet", ["happily surprised"])] == [
        [COMPOUND_RAFDB.index("happily surprised"), -1], [COMPOUND_EMOTIONET.index("happily surprised"), -1], [0, -1]]
    with pytest.raises(ValueError, match="needs compound_classes=, allowed are raf-db, emotionet"): opened(text)
    with pytest.raises(ValueError, match="row 2: compound is 'Happily surprised', allowed are angry"): opened(text, compound_classes=["angry"])
    with pytest.raises(ValueError, match="row 2: compound is '1', allowed"): opened("file,compound\n1.jpg,1\n", compound_classes="raf-db")


@pytest.mark.parametrize("name, value", [("valence", -5), ("arousal", -2), ("au4", 9), ("au4", 999), ("au4", -1)])
def test_a_sentinel_is_recognised(opened, name, value):
    text = f"file,{name}\n1.jpg,1\n2.jpg,{value}\n3.jpg,{value}\n4.jpg,0\n"
    with pytest.raises(ValueError) as error: opened(text)
    assert f"row 3: {name} is {value}, allowed are" in str(error.value) and f"all 2 such values are {value}: if that means no annotation, declare it by missing={{'{name}': {value}}}" in str(error.value)
    assert opened(text, missing={name: value}).frames()[name].isna().tolist() == [False, True, True, False]
    skipped = opened(text, on_fault="skip")
    assert [fault.row for fault in skipped.faults] == [3, 4] and skipped.frames()[name].isna().tolist() == [False, True, True, False] and any("declare it" in note for note in skipped.notes)


def test_different_wrong_values_are_no_sentinel(opened):
    with pytest.raises(ValueError) as error: opened("file,valence\n1.jpg,-5\n2.jpg,3\n")
    assert "declare" not in str(error.value) and "2 like this: rows 2, 3" in str(error.value)
    with pytest.raises(ValueError) as error: opened("file,valence\n1.jpg,1.25\n")
    assert "declare" not in str(error.value)


@pytest.mark.parametrize("cell", ["n/a", "N/A", "NA", "nan", "NaN", "-", "null", "None", "#N/A", "<NA>"])
def test_spellings_of_nothing(opened, cell):
    own = opened(f"file,subject,split,valence,arousal,expression,compound,au1\n1.jpg,ann,train,.1,.1,sad,sadly angry,1\n2.jpg,ann,train,{cell},{cell},{cell},{cell},{cell}\n", compound_classes="raf-db")
    second = own.frames().iloc[1]
    assert second[["valence", "arousal", "au1"]].isna().all() and second[["expression", "compound"]].tolist() == [-1, -1]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_found_in_the_header(opened, separator):
    text = "Bild,valence,arousal,emotion\n1.jpg,.5,-.5,sad\n2.jpg,0,1,happy\n".replace(",", separator)
    assert opened(text, columns="Bild:file").frames().valence.tolist() == [.5, 0]
    assert opened(text.replace("Bild", "image")).frames().expression.tolist() == [5, 4]


def test_a_decimal_comma(opened):
    text = "file;frame;valence;arousal;AU12;emotion\na,b.mp4;0;0,5;-0,25;1,0;1,0\na,b.mp4;1;-1;,125;0,0;0,0\n"
    frames = opened(text, classes="fear,sadness").frames()
    assert (frames.valence.tolist(), frames.arousal.tolist(), frames.au12.tolist(), frames.expression.tolist()) == ([.5, -1], [-.25, .125], [1, 0], [5, 3])
    with pytest.raises(ValueError, match="row 3: valence is '0,5', allowed is a number"): opened("file;valence\n1.jpg;0.5\n2.jpg;0,5\n")
    with pytest.raises(ValueError, match="frame is '1,234', allowed is a number|frame is '1,234'"): opened("file;frame;valence\na.mp4;1,234;0\n") # thousands
    with pytest.raises(ValueError, match="valence is '0,5'"): opened('file,valence\n1.jpg,"0,5"\n')


@pytest.mark.parametrize("in_table, on_disk", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_an_accent_may_be_one_sign_or_two(tmp_path, in_table, on_disk):
    def spelt(form, name): return unicodedata.normalize(form, name)
    folder = tmp_path/spelt(on_disk, "\u00e9t\u00e9")
    folder.mkdir()
    for name in ("entretien_\u00e9.mp4", "a.mp4"): (folder/spelt(on_disk, name)).write_bytes(b"x")
    (tmp_path/"labels.csv").write_text(spelt(in_table, "file,frame,valence\n\u00e9t\u00e9/entretien_\u00e9.mp4,0,.5\n\u00e9t\u00e9/a.mp4,0,0\n"))
    own = open_database("own", tmp_path)
    assert [clip.name for clip in own.clips] == ["a", "entretien_\u00e9"] and all(clip.video.is_file() and clip.stem == clip.name for clip in own.clips)
    said = str(check_database("own", tmp_path))
    assert "there is no video" not in said and "belong" not in said
    for name in ("\u00fc.jpg", "b.jpg"): (folder/spelt(on_disk, name)).write_bytes(b"x")
    (tmp_path/"labels.csv").write_text(spelt(in_table, "file,valence\n\u00e9t\u00e9/\u00fc.jpg,.5\n\u00e9t\u00e9/b.jpg,0\n"))
    own = open_database("own", tmp_path)
    assert all(file.is_file() for file in own.images(own.clips[0]).values()) and not any("files are not" in note for note in own.notes)


def test_a_video_of_a_release_whose_name_has_an_accent(tmp_path):
    for file in ("videos/train/caf\u0065\u0301.mp4", "annotations/train/valence/caf\u00e9.txt", "annotations/train/arousal/caf\u0065\u0301.txt"):
        (tmp_path/file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/file).write_text("0.5\n")
    clip, = open_database("aff-wild", tmp_path).clips
    assert clip.name == clip.stem == "caf\u00e9" and clip.video.is_file() and len(clip.annotations) == 2


@pytest.mark.parametrize("header, said", [("time", "'time' is not read: of seconds, frame is round(time * frames per second of the video)"), ("rater", "needs the column frame, numbers from 0")])
def test_times_are_no_frames_and_that_is_said(opened, header, said):
    text = f"video,{header},valence\na.mp4,0.0,.1\na.mp4,0.04,.2\nb.mp4,0,0\n"
    with pytest.raises(ValueError) as error: opened(text)
    assert said in str(error.value)
    assert any(said in note for note in opened(text, on_fault="skip").notes)


def test_a_part_without_a_clip_is_no_part_without_videos(opened, tmp_path):
    own = opened("file,split,valence\na.mp4,train,0\nb.mp4,validation,0\n")
    with pytest.raises(ValueError, match=r"no clip of own is in test; the parts of it are train \(1\), validation \(1\)"): preprocess_database(own, tmp_path/"faces", "test")
    with pytest.raises(ValueError, match="no clip of own with labels of aus is there"): preprocess_database(own, tmp_path/"faces", task="aus")
    with pytest.raises(ValueError, match="neither videos nor images of own for train, only annotations"): preprocess_database(own, tmp_path/"faces", "train")


@pytest.mark.parametrize("rows", [1, 3000])
def test_an_older_encoding_is_named_with_what_to_do(tmp_path, rows):
    path = tmp_path/"old.csv"
    path.write_bytes("file,valence\n".encode() + b"".join(b"%d.jpg,0\n" % row for row in range(rows)) + "m\xfcde.jpg,0\n".encode("latin-1"))
    with pytest.raises(ValueError, match=rf"old.csv is not a text file in UTF-8 \(row {rows + 2} has the byte 0xfc.*save it as UTF-8"): open_database("own", path)


def test_a_class_may_be_called_none_and_nobody_is_no_subject(opened):
    assert opened("file,expression\n1.jpg,none\n2.jpg,sad\n3.jpg,-\n", classes=["None", "Sad"]).frames().category.tolist() == [0, 1, -1]
    assert [clip.subject for clip in opened("file,subject,valence\na.mp4,n/a,0\nb.mp4,n/a,0\nc.mp4,NA,0\n").clips] == ["a", "b", "NA"]


def test_binary_units_beside_intensities_are_noted(opened):
    text = "file,AU1,AU2,AU4,AU5\n1.jpg,1,3,0,1\n2.jpg,0,1,0,.5\n3.jpg,,0,0,0\n"
    notes = " ".join(opened(text, active_from=2).notes)
    assert "nothing but 0 and 1 is in au1, so active_from=2 makes these never active" in notes # au4 never shows, au5 is weak
    assert not any("active" in note for note in opened(text, active_from=1).notes)


def test_declared_sentinels(opened):
    own = opened("file,valence,arousal,expression,AU1,AU2\n1.jpg,-5,.5,Other,9,1\n2.jpg,.5,-5,-1,1,9\n3.jpg,.1,.1,x,0,0\n", missing=dict(valence=-5, arousal=[-5, -2], expression=["other", -1, "X"], aus=9))
    frames = own.frames()
    assert frames.valence.isna().tolist() == [True, False, False] and frames.arousal.isna().tolist() == [False, True, False] # only the value, not the row
    assert frames.expression.tolist() == [-1]*3 and frames.au1.isna().tolist() == [True, False, False] and frames.au2.isna().tolist() == [False, True, False]


def test_ranges(opened):
    text = "file,valence,arousal\n1.jpg,1,0\n2.jpg,5,.5\n3.jpg,9,1\n"
    frames = opened(text, ranges=dict(valence=(1, 9), arousal=(0, 1)), rescale=True).frames()
    assert frames.valence.tolist() == frames.arousal.tolist() == [-1, 0, 1]
    kept = "file,valence,arousal\n1.jpg,0,0\n2.jpg,0,.5\n"
    assert opened(kept, ranges=dict(arousal=(0, 1))).frames().arousal.tolist() == [0, .5]
    with pytest.raises(ValueError, match=r"row 3: arousal is -0.5, allowed are numbers in \[0.0, 1.0\]"): opened("file,valence,arousal\n1.jpg,0,0\n2.jpg,0,-.5\n", ranges=dict(arousal=(0, 1)))


def test_action_units(opened):
    text = "file,AU1,AU12\n1.jpg,0,2\n2.jpg,5,1.9\n3.jpg,NA,nan\n"
    with pytest.raises(ValueError, match="row 3: au1 is 5, allowed are 0 or 1.*intensities need active_from="): opened(text)
    frames = opened(text, active_from=2).frames()
    assert frames.au1.tolist()[:2] == [0, 1] and frames.au12.tolist()[:2] == [1, 0] and frames[["au1", "au12"]].isna().sum().tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"row 2: au1 is 9, allowed are numbers in \[0.0, 5.0\]"): opened("file,AU1\n1.jpg,9\n", active_from=2)
    with pytest.raises(ValueError, match="au1 is 0.4, allowed are 0 or 1"): opened("file,AU1\n1.jpg,.4\n")


def test_one_of_valence_and_arousal(opened):
    own = opened("file,arousal\n1.jpg,.5\n")
    assert list(own.frames().columns[5:7]) == ["valence", "arousal"] and own.frames().valence.isna().all() and any("no column valence" in note for note in own.notes)


# places

def test_a_row_a_frame(opened):
    own = opened("file,frame,subject,split,valence,arousal\nx/a.mp4,2,S1,val,.2,0\nx\\a.mp4,0,,val,.1,0\n./y//b.avi,7,S2,TRAIN,.3,0\n")
    assert [(clip.name, clip.subject, clip.split, clip.video) for clip in own.clips] == [("b", "S2", "train", None), ("a", "S1", "validation", None)]
    assert own.labels("a").frame.tolist() == [0, 2] and own.labels("b").frame.tolist() == [7] and own.labels("a").dtypes.astype(str).tolist() == ["int32", "float32", "float32"]
    assert opened("file,frame,valence,arousal\na.mp4,1,0,0\n", first_frame=1).labels("a").frame.tolist() == [0]
    assert any("say first_frame=1" in note for note in opened("file,frame,valence,arousal\na.mp4,1,0,0\n").notes)


def test_names_of_clips(opened):
    own = opened("file,valence\na/1.mp4,0\nb/1.mp4,0\nc/2.mp4,0\nc/2.avi,0\nc/3 x.mp4,0\n")
    assert [clip.name for clip in own.clips] == ["3_x", "a_1", "b_1", "c_2_avi", "c_2_mp4"] and all(clip.stem == clip.name for clip in own.clips)
    own = opened("file,clip,valence\na.mp4,talk_left,0\na.mp4,talk_right,1\nb.mp4,mine,1\n")
    assert [(clip.name, clip.stem, clip.side) for clip in own.clips] == [("mine", "mine", ""), ("talk_left", "talk", "left"), ("talk_right", "talk", "right")]


def test_photographs(opened, tmp_path):
    (tmp_path/"x").mkdir(); (tmp_path/"x"/"2.jpg").write_bytes(b"picture")
    own = opened("image,split,valence,arousal\nx/2.jpg,,0,0\n".replace(",,", ",train,") + "x/1.PNG,train,.1,0\ny/1.jpg,test,.2,0\n")
    assert own.still and [(clip.name, clip.subject, clip.split) for clip in own.clips] == [("train_x", "train_x", "train"), ("test_y", "test_y", "test")]
    assert own.labels("train_x")[["frame", "image"]].values.tolist() == [[0, "x/2.jpg"], [1, "x/1.PNG"]] and list(own.labels("train_x").columns)[-1] == "image"
    assert own.images(own.clip("train_x")) == {0: tmp_path/"x"/"2.jpg", 1: tmp_path/"x"/"1.PNG"}
    assert own.source(own.clip("train_x")).frames == ((0, tmp_path/"x"/"2.jpg"),) and own.source(own.clip("test_y")) is None
    assert any(f"2 of 3 files are not in {tmp_path}, first 'x/1.PNG' (row 3)" in note for note in own.notes)
    by_subject = opened("image,subject,valence\n1.jpg,A,0\n2.jpg,B,0\n3.jpg,A,0\n4.jpg,,0\n")
    assert [(clip.name, clip.subject, len(by_subject.labels(clip))) for clip in by_subject.clips] == [("train", "train", 1), ("train_A", "A", 2), ("train_B", "B", 1)]
    many = opened("image,valence\n" + "".join(f"p/{number}.jpg,0\n" for number in range(4500)))
    assert [(clip.name, len(many.labels(clip))) for clip in many.clips] == [("train_p_001", 2000), ("train_p_002", 2000), ("train_p_003", 500)]
    assert many.labels("train_p_003").image[0] == "p/4000.jpg" and many.labels("train_p_003").frame.tolist() == list(range(500))


def test_images_in_a_row(opened, tmp_path):
    own = opened("image,frame,valence,arousal\nc/0009.jpg,9,.9,0\nc/0004.jpg,4,.4,0\nd/1.jpg,0,0,0\n", media=tmp_path/"elsewhere")
    assert not own.still and own.images(own.clip("c")) == {4: tmp_path/"elsewhere"/"c"/"0004.jpg", 9: tmp_path/"elsewhere"/"c"/"0009.jpg"}
    assert own.labels("c").frame.tolist() == [4, 9] and own.labels("c").valence.tolist() == pytest.approx([.4, .9]) and "image" not in own.labels("c")


@pytest.mark.parametrize("text, said", [
    ("file,frame,valence\na.mp4,0,0\na.mp4,,0\n", "row 3: frame is '', allowed are whole numbers from 0"),
    ("file,frame,valence\na.mp4,0.5,0\n", "row 2: frame is '0.5', allowed are whole numbers from 0"),
    ("file,frame,valence\na.mp4,3e9,0\n", "row 2: frame is '3e9', allowed are whole numbers from 0"),
    ("file,frame,valence\na.mp4,one,0\n", "row 2: frame is 'one', allowed is a number"),
    ("file,frame,valence\na.mp4,0,0\nb.mp4,0,0\na.mp4,0,1\n", "row 2: clip 'a', frame 0 is listed more than once (rows 2, 4), allowed is one row; they contradict each other"),
    ("file,valence\na.mp4,0\na.mp4,1\n", "row 2: 'a' is listed more than once (rows 2, 3), allowed is one row; they contradict each other (valence is '0' in row 2 and '1' in row 3), none counts; a video with a row for each frame needs the column frame"),
    ("file,valence\na.jpg,0\na.jpg,1\n", "row 2: 'a.jpg' is listed more than once (rows 2, 3), allowed is one row"),
    ("file,valence\na,0\n", "row 2: file is 'a', allowed are images ("), ("file,valence\n,0\n", "row 2: file is '', allowed are images"),
    ("file,valence\na.jpg,0\nb.mp4,0\n", "there is the video 'b.mp4' in row 3, and the image 'a.jpg' in row 2"),
    ("file,split,valence\na.jpg,trained,0\n", "row 2: split is 'trained', allowed are train, validation, test, also as training"),
    ("file,frame,split,valence\na.mp4,0,train,0\na.mp4,1,dev,0\n", "row 3: clip 'a' has split 'validation', but 'train' in row 2"),
    ("file,frame,subject,valence\na.mp4,0,S1,0\na.mp4,1,S2,0\n", "row 3: clip 'a' has subject 'S2', but 'S1' in row 2"),
    ("file,clip,valence\na.mp4,one,0\na.mp4,two,0\n", "row 3: file 'a.mp4' has media 'two', but 'one' in row 2"),
    ("file,clip,frame,valence\na.mp4,one,0,0\nb.mp4,one,1,0\n", "row 3: clip 'one' has file 'b.mp4', but 'a.mp4' in row 2"),
    ("file,clip,valence\na.mp4,,0\n", "row 2: clip is '', allowed is a name"),
    ("file,valence,arousal\na.mp4,0\n", "row 2: 'a.mp4,0' has 2 cells, allowed are 3"),
])
def test_places_that_are_refused(opened, text, said):
    with pytest.raises(ValueError) as error: opened(text)
    assert said in str(error.value) and "my.csv" in str(error.value)


def test_bad_rows_can_be_skipped(opened):
    own = opened("file,frame,valence,arousal\na.mp4,0,.1,.1\na.doc,1,.1,.1\na.mp4,x,.1,.1\na.mp4,3,7,.3\na.mp4,3,.3,.3\n", on_fault="skip")
    assert [fault.row for fault in own.faults] == [3, 4, 5, 6] and own.log.counts().tolist() == [4]
    assert own.labels("a").frame.tolist() == [0] and own.labels("a").valence.isna().tolist() == [False] # frame 3 has two rows, of which neither counts


def test_which_table(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"): Own(tmp_path/"none")
    (tmp_path/"other.csv").write_text("file,valence\na.mp4,0\n")
    with pytest.raises(ValueError, match=r"holds neither labels.csv nor labels.parquet.*there are: other.csv"): Own(tmp_path)
    (tmp_path/"labels.csv").write_text("file,valence\na.mp4,0\n"); (tmp_path/"labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="holds both labels.csv and labels.parquet"): Own(tmp_path)
    with pytest.raises(ValueError, match="labels.parquet cannot be read as Parquet"): Own(tmp_path/"labels.parquet")
    (tmp_path/"a.txt").write_text("x")
    with pytest.raises(ValueError, match="the suffix is '.txt', allowed are .csv and .parquet"): Own(tmp_path/"a.txt")
    assert len(Own(str(tmp_path/"other.csv")).clips) == 1


def test_parquet_is_checked_the_same(opened):
    table = pd.DataFrame(dict(File=["a.mp4", "a.mp4", "b.mp4"], frame=[0, 1, 0], subject=[1, 1, 2], valence=[.5, np.nan, -1], arousal=np.float32([0, 0, 0]), expression=pd.Categorical(["Happy", None, "Fear"]), AU1=[True, False, None]))
    own, csv = opened(table, "parquet"), opened(table.assign(AU1=[1, 0, None]), "csv")
    assert own.frames().equals(csv.frames()) and own.frames().au1.tolist()[:2] == [1, 0] and [clip.subject for clip in own.clips] == ["1", "2"]
    for change, said in ((dict(valence=[0, 0, -5]), "row 3: valence is -5"), (dict(frame=[0, 0, 0]), "clip 'a', frame 0 is listed more than once (rows 1, 2), allowed is one row"), (dict(expression=[1., np.nan, 2.]), "row 1: expression is 1;")):
        with pytest.raises(ValueError) as error: opened(table.assign(**change), "parquet")
        assert said in str(error.value) and "my.parquet" in str(error.value)


def test_options_tell_indices_apart(opened):
    text = "file,expression\n1.jpg,1\n"
    one, other = (vars(opened(text, classes=classes))["stated_options"] for classes in (["Sad", "Fear"], ["Fear", "Sad"]))
    assert one != other


# OpenFace and py-feat

FACE = np.stack([20 + 60*np.random.default_rng(1).random(68), 30 + 50*np.random.default_rng(2).random(68)], 1).round(2)
POINTS = {f"{axis}_{place}": FACE[place, column] for column, axis in enumerate("xy") for place in range(68)}
FEAT = dict(FaceRectX=20, FaceRectY=30, FaceRectWidth=60, FaceRectHeight=50, FaceScore=.99, **POINTS, AU01=.2, AU12=.5, anger=.1, disgust=0, fear=0, happiness=.7, sadness=0, surprise=.1, neutral=.1)


def openface(path, rows, blank=" "):
    pd.DataFrame(rows).rename(columns=(blank + "{}").format).to_csv(path, index=False)
    return path


def one(frame=1, **changes): return dict(frame=frame, timestamp=(frame - 1)/25, confidence=.9, success=1, **POINTS, AU01_r=.5, AU12_r=3.25, AU01_c=0, AU12_c=1, AU28_c=1) | changes


@pytest.mark.parametrize("blank", ["", " "])
def test_openface_by_hand(tmp_path, blank):
    frames = read_openface(openface(tmp_path/"talk.csv", [one(1), one(3, success=0, confidence=.1), one(7, AU12_c=0)], blank), subject="S1")
    assert tuple(frames.columns[:len(FRAME_COLUMNS)]) == FRAME_COLUMNS and frames.frame.tolist() == [0, 2, 6] and frames.time.tolist() == [0, .08, .24]
    scalars = [name for name in FRAME_COLUMNS if not name.endswith("landmarks")]
    assert frames[scalars].dtypes.equals(frames_dataframe(FRAME_SCHEMA.empty_table())[scalars].dtypes)
    assert frames.status.tolist() == ["ok", "lost", "ok"] and frames.face_id.tolist() == [0]*3 and frames[["clip", "subject"]].iloc[0].tolist() == ["talk", "S1"]
    np.testing.assert_allclose(landmarks_array(frames)[[0, 2]], [FACE, FACE], atol=1e-5)
    assert np.isnan(landmarks_array(frames)[1]).all() and np.isnan(landmarks_array(frames, "crop_landmarks")).all() and frames.box_x1.isna().all()
    np.testing.assert_array_equal(frames[["au1", "au12", "au28"]], [[0, 1, 1], [np.nan]*3, [0, 0, 1]]) # zeros of a lost face are no labels
    np.testing.assert_array_equal(frames[["au1_intensity", "au12_intensity"]], np.float32([[.5, 3.25], [np.nan]*2, [.5, 3.25]]))
    assert "au28_intensity" not in frames and any("no boxes" in note for note in frames.attrs["notes"])


def test_openface_versions(tmp_path):
    faces = read_peer(openface(tmp_path/"many.csv", [one(1, face_id=0), one(1, face_id=1), one(2, face_id=1)]))
    assert faces[["frame", "face_id"]].values.tolist() == [[0, 0], [0, 1], [1, 1]]
    photo = read_peer(openface(tmp_path/"photo.csv", [dict(face=number, confidence=.9, **POINTS, AU12_c=number) for number in (0, 1)]))
    assert photo[["frame", "face_id", "au12"]].values.tolist() == [[0, 0, 0], [0, 1, 1]] and photo.time.isna().all()
    bare = read_peer(openface(tmp_path/"bare.csv", [{name: value for name, value in one().items() if name not in POINTS}]))
    assert np.isnan(landmarks_array(bare)).all() and bare.status.tolist() == ["ok"] and any("no landmarks" in note for note in bare.attrs["notes"])
    broken = read_peer(openface(tmp_path/"broken.csv", [one(1), one(2, x_5="nan")]))
    assert broken.status.tolist() == ["ok", "degenerate"] and np.isnan(landmarks_array(broken)[1]).all() and broken.au12.tolist() == [1, 1]


@pytest.mark.parametrize("rows, said", [
    ([one(0)], "row 2: frame is 0, allowed are whole numbers from 1"), ([one(1), one(1)], "row 3: frame is 1, allowed are ascending numbers"), ([one(2), one(1)], "row 3: frame is 1"),
    ([one(1.5)], "row 2: frame is 1.5"), ([one(success=2)], "row 2: success is 2"), ([one(confidence=1.5)], "row 2: confidence is 1.5"), ([one(AU12_c=.5)], "row 2: AU12_c is 0.5, allowed are whole numbers in [0, 1]"),
    ([one(AU12_r=-1)], "row 2: AU12_r is -1, allowed are numbers in [0, 5]"), ([one(x_3="left")], "row 2: x_3 is 'left', allowed is a number"),
    ([{name: value for name, value in one().items() if name != "y_67"}], "column 'y_67' is missing; allowed are all of"), ([{name: value for name, value in one().items() if name != "frame"}], "neither a column frame"),
])
def test_openface_refused(tmp_path, rows, said):
    with pytest.raises(ValueError) as error: read_peer(openface(tmp_path/"bad.csv", rows))
    assert said in str(error.value) and "bad.csv" in str(error.value)


def pyfeat(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_pyfeat_by_hand(tmp_path):
    nobody = {name: np.nan for name in FEAT}
    frames = read_peer(pyfeat(tmp_path/"talk.csv", [dict(frame=0, **FEAT, input="talk.mp4"), dict(frame=1, **nobody, input="talk.mp4"), dict(frame=2, **FEAT | dict(AU12=.49, happiness=0, fear=.9), input="talk.mp4")]))
    assert frames.status.tolist() == ["ok", "no_face", "ok"] and frames.face_id.tolist() == [0, -1, 0] and frames.frame.tolist() == [0, 1, 2]
    assert frames.loc[0, ["box_x1", "box_y1", "box_x2", "box_y2"]].tolist() == [20, 30, 80, 80] and frames.expression.tolist() == [4, -1, 3] and frames.expression.dtype == np.int16
    np.testing.assert_array_equal(frames[["au1", "au12"]], [[0, 1], [np.nan]*2, [0, 0]])
    assert frames.au12_probability.tolist()[::2] == pytest.approx([.5, .49]) and frames.happiness_probability[0] == np.float32(.7)
    assert read_pyfeat(tmp_path/"talk.csv", active_from=.1).au1[0] == 1 and frames.time.isna().all()
    np.testing.assert_allclose(landmarks_array(frames)[0], FACE, atol=1e-5)


def test_pyfeat_faces(tmp_path):
    small = FEAT | dict(FaceRectWidth=10)
    frames = read_peer(pyfeat(tmp_path/"two.csv", [dict(frame=0, **small), dict(frame=0, **FEAT), dict(frame=1, **FEAT)]))
    assert frames.face_id.tolist() == [1, 0, 0] and any("not tracked" in note for note in frames.attrs["notes"])
    named = read_peer(pyfeat(tmp_path/"named.csv", [dict(frame=0, **small, Identity="Person_0"), dict(frame=0, **FEAT, Identity="Person_1"), dict(frame=1, **FEAT, Identity="Person_1")]))
    assert named.face_id.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="row 3: frame 0 has this face in a row before"): read_peer(pyfeat(tmp_path/"twice.csv", [dict(frame=0, **FEAT)]*2))
    with pytest.raises(ValueError, match=r"frame 0 is of 2 inputs \(a.jpg, b.jpg\)"): read_peer(pyfeat(tmp_path/"inputs.csv", [dict(frame=0, **FEAT, input="a.jpg"), dict(frame=0, **small, input="b.jpg")]))
    with pytest.raises(ValueError, match=r"row 2: AU12 is 2, allowed are numbers in \[0, 1\]"): read_peer(pyfeat(tmp_path/"high.csv", [dict(frame=0, **FEAT | dict(AU12=2))]))


def test_neither(tmp_path):
    (tmp_path/"x.csv").write_text("frame,valence\n1,0\n")
    with pytest.raises(ValueError, match="x.csv, row 1: .*OpenFace writes a column confidence, py-feat FaceRectX"): read_peer(tmp_path/"x.csv")
    with pytest.raises(ValueError, match="no such file"): read_peer(tmp_path/"none.csv")
    (tmp_path/"head.csv").write_text("frame,confidence\n")
    with pytest.raises(ValueError, match="has a header and no row"): read_peer(tmp_path/"head.csv")


@pytest.mark.parametrize("cut", range(2, 60, 3))
def test_a_cut_openface_file_never_gives_a_wrong_label(tmp_path, cut):
    path = openface(tmp_path/"talk.csv", [one(1), one(2, AU12_c=0), one(3)])
    whole, text = read_peer(path), path.read_text()
    path.write_text(text[:-cut])
    try: frames = read_peer(path)
    except ValueError as error: assert "talk.csv" in str(error); return
    assert frames.drop(columns=["landmarks", "crop_landmarks"]).equals(whole[:len(frames)].drop(columns=["landmarks", "crop_landmarks"]))


def drawn(folder, **changes):
    "A drawn video of one person, and its true landmarks as OpenFace writes them."
    plan = VideoPlan("drawn", "talk", 1, "train", (Person("talk", "S001", 7, 11),), 20, 25., 160, 128, 0., 3, absent=(5, 7))
    rows, truth = [], []
    def note(number, frame):
        truth.append(frame.landmarks if frame.faces else None)
        if frame.faces: rows.append(one(number, AU12_c=number % 2) | {f"{axis}_{place}": round(float(frame.landmarks[place, column]), 1) for column, axis in enumerate("xy") for place in range(68)})
    film_video(plan, folder/"talk.mp4", note, sound=False)
    openface(folder/"talk.csv", rows)
    return truth, rows


def test_their_landmarks_for_ours(tmp_path):
    truth, rows = drawn(tmp_path)
    store, = peer_stores(tmp_path/"talk.csv", tmp_path/"talk.mp4", tmp_path/"faces", subjects=dict(talk="S001"))
    assert isinstance(store, FaceStore) and (store.clip, store.subject, store.about["landmarks"]["tool"]) == ("talk", "S001", "OpenFace")
    frames = store.frames.sort_values("frame", ignore_index=True)
    assert frames.frame.tolist() == list(range(20)) and [status == "ok" for status in frames.status] == [points is not None for points in truth]
    found = landmarks_array(frames)
    assert max(np.abs(found[number] - points).max() for number, points in enumerate(truth) if points is not None) < 1
    np.testing.assert_allclose(frames.loc[0, ["box_x1", "box_y1"]].astype(float), found[0].min(0), atol=.01)

    labels = peer_labels(tmp_path/"talk.csv")
    assert labels[["clip", "subject", "frame", "au12"]].iloc[:2].values.tolist() == [["talk", "talk", 0, 1], ["talk", "talk", 1, 0]]
    windows = SequenceDataset(tmp_path/"faces", labels, length=5)
    window = windows[1]
    assert window.start == 5 and window.mask.tolist() == [False]*2 + [True]*3
    units = window.targets.aus[:, window.targets.au_names.index(12)]
    assert units[2:].tolist() == [0, 1, 0] and units[:2].isnan().all()
    face = window.landmarks[3].numpy()
    assert np.abs(face[30]).max() < .5 and face[36, 0] < face[45, 0] and window.faces[3].float().std() > 10 # the nose is in the middle, and there is something to see


def test_tables_of_another_video(tmp_path):
    truth, rows = drawn(tmp_path)
    openface(tmp_path/"long.csv", [*rows, one(25)])
    openface(tmp_path/"far.csv", [row | {f"y_{place}": 500 + place for place in range(68)} for row in rows])
    openface(tmp_path/"bare.csv", [{name: value for name, value in row.items() if name not in POINTS} for row in rows])
    for name, said in (("long", "goes on to frame 24 (from 0)"), ("far", "has no face inside of the 160x128 pictures"), ("bare", "has no landmarks")):
        with pytest.raises(ValueError) as error: peer_stores(tmp_path/f"{name}.csv", tmp_path/"talk.mp4", tmp_path/"faces")
        assert said in str(error.value) and f"{name}.csv" in str(error.value)
    assert not list((tmp_path/"faces").glob("*"))
    for arguments, said in ((([tmp_path/"talk.csv"]*2, tmp_path/"talk.mp4"), "2 tables and 1 videos"), (([tmp_path/"talk.csv"]*2, [tmp_path/"talk.mp4"]*2), "the same name")):
        with pytest.raises(ValueError, match=said): peer_stores(*arguments, tmp_path/"faces")
    with pytest.raises(ValueError, match="transform is 'x', allowed are affine, similarity"): peer_stores(tmp_path/"talk.csv", tmp_path/"talk.mp4", tmp_path/"faces", "x")


def test_labels_of_several_faces(tmp_path):
    path = openface(tmp_path/"two.csv", [one(1, face_id=0), one(1, face_id=1, AU12_c=0), one(2, face_id=1, AU12_c=0)])
    assert peer_labels(path).au12.tolist() == [0, 0] and peer_labels(path, face=0).au12.tolist() == [1] and peer_labels(path, "x")["clip"].tolist() == ["x", "x"]
    with pytest.raises(ValueError, match="has no face 5, it has 0, 1"): peer_labels(path, face=5)
    with pytest.raises(ValueError, match="has no labels"): peer_labels(openface(tmp_path/"none.csv", [dict(frame=1, confidence=.9, success=1)]))
    with pytest.raises(ValueError, match="no frame with a face"): peer_labels(openface(tmp_path/"lost.csv", [one(1, success=0)]))


# what the two programs really wrote

def test_real_openface(real):
    frames = read_peer(real/"peer_outputs"/"OpenFace_Test.csv")
    assert frames.attrs["tool"] == "OpenFace" and frames.frame.tolist() == list(range(100)) and set(frames.status) == {"ok"}
    assert landmarks_array(frames)[0, 0].tolist() == pytest.approx([277.276, 181.19]) and landmarks_array(frames)[0, 67].tolist() == pytest.approx([329.36, 236.823])
    assert frames.score[0] == np.float32(.883333) and frames.au1_intensity[0] == np.float32(.6773) and frames[["au1", "au2", "au5", "au23"]].iloc[0].tolist() == [0, 1, 1, 1]
    assert "au28" in frames and "au28_intensity" not in frames and frames[[f"au{unit}" for unit in (1, 12, 45)]].isin((0, 1)).all(axis=None)
    assert len(peer_labels(real/"peer_outputs"/"OpenFace_Test.csv")) == 100


def test_real_pyfeat(real, tmp_path):
    path = real/"peer_outputs"/"Feat_Test.csv"
    frames = read_peer(path)
    assert frames.attrs["tool"] == "py-feat" and EXPRESSIONS[frames.expression[0]] == "Happiness" and frames.happiness_probability[0] == np.float32(.98699605)
    assert (frames.au12[0], frames.au4[0], frames.au43[0]) == (1, 0, 0) and frames.box_x2[0] == np.float32(196.97684 + 173.81049)
    store, = peer_stores(path, real/"images"/"pyfeat_single_face.jpg", tmp_path)
    assert store.frames.status.tolist() == ["ok"] and np.abs(store.landmarks(0, 1)[0, 30] - 96*np.array([56, 68.493])/112).max() < 6
