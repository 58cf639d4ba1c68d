"Tables as people bring them: names of other data sets, votes, rows that are there twice, options typed on a command line."
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from affect_nb.apps.cli import app
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.databases.base import open_database
from affect_nb.databases.check import check_database


@pytest.fixture
def table(tmp_path):
    "Writes a table, and gives its path."
    def write(text, name="labels.csv"):
        (tmp_path/name).write_text(text)
        return tmp_path/name
    return write


def named(own, clip="train"): return [EXPRESSIONS[place] if place >= 0 else None for place in own.labels(clip).expression]


@pytest.mark.parametrize("word, split", [("Training", "train"), ("TRAIN", "train"), ("PublicTest", "validation"), ("Public Test", "validation"), ("val", "validation"), ("dev", "validation"), ("Development", "validation"), ("devel", "validation"), ("PrivateTest", "test"), ("private_test", "test"), ("Testing", "test")])
def test_common_names_of_splits(table, word, split):
    own = open_database("own", table(f"file,expression,split\na.jpg,happy,{word}\n"))
    assert [clip.split for clip in own.clips] == [split]


def test_splits_can_be_given(table):
    path = table("file,expression,split\na.jpg,happy,fold 1\nb.jpg,sad,fold 2\nc.jpg,fear,train\nd.jpg,fear,fold 9\n")
    for splits in ({"fold 1": "validation", "fold 2": "test", "fold 9": None}, "fold 1:validation,fold 2:test,fold 9:"):
        own = open_database("own", path, splits=splits)
        assert {clip.split: named(own, clip) for clip in own.clips} == {"train": ["Fear"], "validation": ["Happiness"], "test": ["Sadness"]}
        assert any("1 rows are of splits that splits= leaves out" in note for note in own.notes)
    with pytest.raises(ValueError, match="splits= makes 'learn' of 'fold 1', allowed are train, validation, test, or None"): open_database("own", path, splits={"fold 1": "learn"})


def test_a_table_without_a_usable_row_tells_why(table):
    path = table("file,expression,split\na.jpg,happy,1st\nb.jpg,sad,1st\n")
    with pytest.raises(ValueError) as error: open_database("own", path, on_fault="skip")
    assert "split is '1st'" in str(error.value) and "PublicTest".lower() in str(error.value).lower() and "holds no clip" not in str(error.value)
    finding, = [finding for finding in check_database("own", path).findings if finding.level == "error"]
    assert "split is '1st'" in finding.what and "2 like this" in finding.what


def test_other_names_of_columns(table):
    own = open_database("own", table("Image_Path,emotion,Usage,participant\na.jpg,happy,Training,S1\n"))
    assert (own.clips[0].subject, own.clips[0].split, named(own, own.clips[0])) == ("S1", "train", ["Happiness"])
    both = open_database("own", table("file,emotion,expression\na.jpg,sad,happy\n"))
    assert named(both) == ["Happiness"] and any("left aside: emotion" in note for note in both.notes) # the first name wins
    with pytest.raises(ValueError, match="columns 'emotion' and 'expr' both mean 'expression'"): open_database("own", table("file,emotion,expr\na.jpg,sad,happy\n"))


VOTES = "file,votes_neutral,votes_happiness,votes_contempt,votes_nf\na.jpg,1,8,1,0\nb.jpg,5,5,0,0\nc.jpg,1,2,7,0\nd.jpg,,,,\ne.jpg,0,0,0,10\n"


@pytest.mark.parametrize("votes", [["votes_neutral", "votes_happiness", "votes_contempt", "votes_nf"], "votes_neutral,votes_happiness,votes_contempt,votes_nf", dict(votes_neutral="Neutral", votes_happiness="happy", votes_contempt="contempt", votes_nf="nf")])
def test_votes(table, votes):
    own = open_database("own", table(VOTES), votes=votes)
    labels = own.labels("train")
    assert named(own) == ["Happiness", None, None, None, None] # a tie, contempt, nobody voted, no face
    np.testing.assert_allclose(labels[["share_neutral", "share_happiness", "share_contempt", "share_nf"]], [[.1, .8, .1, 0], [.5, .5, 0, 0], [.1, .2, .7, 0], [np.nan]*4, [0, 0, 0, 1]], rtol=1e-6)
    note, = [note for note in own.notes if "share_" in note]
    assert "1 rows have as many votes for two classes" in note and "2 most votes for contempt, nf" in note and "share_*" in note
    assert own.clips[0].splits == dict(expression="train")


@pytest.mark.parametrize("typed", ["neutral,happy,sad", "0:neutral,1:happy,2:sad", " neutral , happy,sad", "{0: neutral, 1: happy, 2: sad}", "[neutral, happy, sad]"])
def test_classes_as_they_are_typed(table, typed):
    from affect_nb.apps.cli import app
    from typer.testing import CliRunner
    result = CliRunner().invoke(app, ["check", "own", str(table("file,emotion\na.jpg,1\nb.jpg,2\n")), "-s", f"classes={typed}"])
    assert "train expression: 2 labelled" in result.output and "Happiness 1, Sadness 1" in result.output, (result.output, result.exception)


def test_classes_that_are_refused(table):
    path = table("file,emotion\na.jpg,1\n")
    for classes, said in (("happy", "typed as classes=neutral,happy or classes=0:neutral,1:happy"), ("happy,", "typed as"), ("happy:0,sad:1", "classes has the number 'happy', allowed are whole numbers"),
                          (["neutral", "angery"], "'angery' is none of the seven expressions; did you mean 'angry'?"), ({0: "Suprise", 1: "sad"}, "did you mean 'surprise'"),
                          ("neutral,netural", "did you mean 'neutral'")):
        with pytest.raises(ValueError, match=said): open_database("own", path, classes=classes)
    own = open_database("own", path, classes=["neutral", "unhappy", "contempt", "calm"]) # classes of their own: a note
    assert any("without one: unhappy, contempt, calm" in note for note in own.notes)
    with pytest.raises(ValueError, match="votes: 'angery' is none of the seven expressions; did you mean 'angry'"): open_database("own", table("file,votes_happy,votes_sad,votes_angery\na.jpg,1,2,3\n"))


def test_a_list_of_compound_classes_as_it_is_typed(table):
    own = open_database("own", table("file,compound\na.jpg,sadly angry\n"), compound_classes="happily surprised, sadly angry")
    assert own.labels("train").compound.tolist() == [1]


def test_votes_that_are_refused(table):
    path = table(VOTES)
    for votes, said in ((["votes_neutral"], "two or more columns"), (["votes_neutral", "votes_sad"], "there is no column 'votes_sad' of votes"), (dict(votes_neutral="fear", votes_nf="fear"), "each of a class of its own")):
        with pytest.raises(ValueError, match=said): open_database("own", path, votes=votes)
    with pytest.raises(ValueError, match="row 2: votes for happy are -1"): open_database("own", table("file,happy,sad\na.jpg,-1,2\n"), votes=["happy", "sad"])
    own = open_database("own", table("file,emotion,happy,sad\na.jpg,sad,2,2\n"), votes=["happy", "sad"]) # the class is the column's
    assert named(own) == ["Sadness"] and own.labels("train")[["share_happiness", "share_sadness"]].values.tolist() == [[.5, .5]]


def test_rows_that_are_there_twice(table):
    "Rows that agree count once; of rows that contradict each other none counts, and both are named."
    rows = [f"{name}.jpg,fear" for name in "abcdefgh"]*2 + ["x.jpg,surprise", "x.jpg,sadness", "y.jpg,anger"]
    path = table("file,expression\n" + "\n".join(rows) + "\n")
    with pytest.raises(ValueError) as error: open_database("own", path)
    assert "8 like this: rows 10, 11, 12 and 5 more" in str(error.value) and "expression is 'surprise' in row 18 and 'sadness' in row 19" in str(error.value)
    own = open_database("own", path, on_fault="skip")
    assert named(own) == ["Fear"]*8 + ["Anger"] and own.labels("train").image.tolist() == [f"{name}.jpg" for name in "abcdefghy"]
    assert sorted(fault.row for fault in own.faults) == [*range(10, 18), 18, 19]
    findings = [finding.what for finding in check_database("own", path).findings if finding.level == "error"]
    assert len(findings) == 2 and any("8 like this" in what for what in findings) and any("rows 18, 19" in what for what in findings)


def test_rows_that_are_there_twice_in_a_film(table):
    own = open_database("own", table("file,frame,valence,arousal\na.mp4,0,.1,.1\na.mp4,1,.2,.2\na.mp4,1,.3,.2\na.mp4,2,.4,.4\na.mp4,2,.4,.4\n"), on_fault="skip")
    assert own.labels("a")[["frame", "valence"]].values.tolist() == [[0, np.float32(.1)], [2, np.float32(.4)]] and sorted(fault.row for fault in own.faults) == [3, 4, 6]


def test_options_typed_on_a_command_line(table, tmp_path):
    for name in "ab": Image.new("L", (8, 8), 99).save(tmp_path/f"{name}.jpg")
    path = table("name;feeling;part\na.jpg;joy;learn\nb.jpg;sad;hold\n")
    options = ["columns=name:file,feeling:expression,part:split", "splits=learn:train,hold:test", "separator=;"]
    result = CliRunner().invoke(app, ["check", "own", str(path), *(word for option in options for word in ("--set", option))])
    assert result.exit_code == 0 and "Happiness 1" in result.output, result.output
    result = CliRunner().invoke(app, ["check", "own", str(path), "--set", "columns=name", "--set", "separator=;"])
    assert result.exit_code and "columns is 'name', allowed are pairs" in result.output + str(result.exception)
    assert "columns=emotion:expression" in " ".join(CliRunner().invoke(app, ["check", "--help"], env=dict(COLUMNS="200")).output.split())
