"""The relatedness tables against a second transcription, made from the sources in another form."""
import re

import numpy as np
import pytest

from affect_nb.core.labels import AUS8, AUS17, AUS17_TABLE5, COMPOUND_EMOTIONET, COMPOUND_RAFDB, EXPRESSIONS
from affect_nb.core.relatedness import AFFWILD2, COGNITIVE, COMPOUND, Relatedness

# Du, Tao and Martinez (2014), Table 1, column by column: category number and percentage, P for prototypical
DU_NAMES = """1 happy; 2 sad; 3 fearful; 4 angry; 5 surprised; 6 disgusted; 7 happily surprised; 8 happily disgusted;
9 sadly fearful; 10 sadly angry; 11 sadly surprised; 12 sadly disgusted; 13 fearfully angry; 14 fearfully surprised;
15 fearfully disgusted; 16 angrily surprised; 17 angrily disgusted; 18 disgustedly surprised; 19 appalled; 20 hatred; 21 awed"""
DU_COLUMNS = """
AU1:  2:60 3:P 5:P 7:P 9:P 11:P 12:49 14:P 15:P 18:P 21:P
AU2:  3:57 5:P 7:P 9:46 11:27 14:P 15:64 18:P 21:P
AU4:  2:P 3:P 4:P 6:31 8:32 9:P 10:P 11:P 12:P 13:P 14:47 15:P 16:P 17:P 18:45 19:P 20:P 21:21
AU5:  3:63 5:66 7:64 9:24 13:40 14:P 15:50 16:35 18:P 21:P
AU6:  1:51 2:50 8:61 9:34 10:26 11:31 12:61 15:26 19:25
AU7:  4:P 10:48 13:39 16:50 17:60 20:57
AU9:  6:P 8:59 12:20 15:28 17:57 18:37 19:56 20:27
AU10: 4:26 6:P 8:P 12:P 13:30 14:35 15:P 16:34 17:P 18:P 19:P 20:P
AU11: 2:26 10:20 12:35 13:33 14:22
AU12: 1:P 7:P 8:P
AU15: 2:P 9:30 10:P 12:54 15:33
AU17: 2:67 4:52 6:P 10:50 12:47 17:P 18:66 19:67 20:63
AU20: 3:P 9:P 13:P 14:P 15:P 21:62
AU23: 4:29
AU24: 4:P 6:26 17:36 18:33 19:36 20:37
AU25: 1:P 3:P 5:P 7:P 8:P 9:P 11:P 12:43 13:P 14:P 15:P 16:P 21:P
AU26: 3:33 5:P 7:67 11:P 14:51 16:P 21:56
"""

# Table V as the paper prints it, in its own order of rows
TABLE5 = """
happiness | 12, 25        | 6 (0.51)                                 | 12 (0.82), 25 (0.7), 6 (0.57), 7 (0.83), 10 (0.63)
sadness   | 4, 15         | 1 (0.6), 6 (0.5), 11 (0.26), 17 (0.67)   | 4 (0.53), 15 (0.42), 1 (0.31), 7 (0.13), 17 (0.1)
fear      | 1, 4, 20, 25  | 2 (0.57), 5 (0.63), 26 (0.33)            | 1 (0.52), 4 (0.4), 25 (0.85), 5 (0.38), 7 (0.57), 10 (0.57)
anger     | 4, 7, 24      | 10 (0.26), 17 (0.52), 23 (0.29)          | 4 (0.65), 7 (0.45), 25 (0.4), 10 (0.33), 9 (0.15)
surprise  | 1, 2, 25, 26  | 5 (0.66)                                 | 1 (0.38), 2 (0.37), 25 (0.85), 26 (0.3), 5 (0.5), 7 (0.2)
disgust   | 9, 10, 17     | 4 (0.31), 24 (0.26)                      | 9 (0.21), 10 (0.85), 17 (0.23), 4 (0.6), 7 (0.75), 25 (0.8)
"""


def du():
    "(category, au) -> weight, and the set of prototypical pairs, from the columns above."
    names = dict(entry.strip().split(" ", 1) for entry in DU_NAMES.split(";"))
    weights, sure = {}, set()
    for line in DU_COLUMNS.strip().splitlines():
        au = int(line[2:line.index(":")])
        for number, value in re.findall(r"(\d+):(P|\d+)", line.split(":", 1)[1]):
            weights[names[number], au] = 1. if value == "P" else int(value)/100
            if value == "P": sure.add((names[number], au))
    return names, weights, sure


def pairs(table):
    "(emotion, au) -> weight of a `Relatedness`."
    return {(emotion, au): float(table.weights[row, column]) for row, emotion in enumerate(table.emotions)
            for column, au in enumerate(table.aus) if table.weights[row, column]}


def prototypes(table):
    return {(table.emotions[row], table.aus[column]) for row, column in zip(*table.prototypical.nonzero())}


def printed(cell):
    return {int(au): float(weight) for au, weight in re.findall(r"(\d+) \((0\.\d+)\)", cell)}


def test_du_agrees_with_the_second_transcription():
    names, weights, sure = du()
    assert COMPOUND.emotions == tuple(names.values())
    assert pairs(COMPOUND) == pytest.approx(weights)
    assert prototypes(COMPOUND) == sure


@pytest.mark.parametrize("line", TABLE5.strip().splitlines(), ids=lambda line: line.split()[0])
def test_table5_agrees_with_the_second_transcription(line):
    emotion, sure, partly, seen = (cell.strip() for cell in line.split("|"))
    sure = [int(au) for au in sure.split(",")]
    assert COGNITIVE.weights_of(emotion.capitalize()) == pytest.approx(dict.fromkeys(sure, 1.) | printed(partly))
    assert {au for name, au in prototypes(COGNITIVE) if name == emotion.capitalize()} == set(sure)
    assert AFFWILD2.weights_of(emotion.capitalize()) == pytest.approx(printed(seen))


@pytest.mark.parametrize("table", [COGNITIVE, AFFWILD2], ids=["cognitive", "aff-wild2"])
def test_rows_follow_the_expressions_and_neutral_is_empty(table):
    assert table.emotions == EXPRESSIONS
    assert table.weights[0].sum() == 0 and not table.prototypical[0].any()
    assert table.weights.shape == table.prototypical.shape == table.matrix.shape == (7, 17)


@pytest.mark.parametrize("table", [COGNITIVE, AFFWILD2, COMPOUND], ids=["cognitive", "aff-wild2", "compound"])
@pytest.mark.parametrize("aus", [AUS17, AUS17_TABLE5, AUS8, (25, 12), (14,)], ids=len)
def test_restriction_keeps_numbers_and_renormalises(table, aus):
    narrow = table.restrict(aus)
    assert isinstance(narrow, Relatedness) and narrow.aus == aus
    assert pairs(narrow) == {(emotion, au): weight for (emotion, au), weight in pairs(table).items() if au in aus}
    assert prototypes(narrow) == {(emotion, au) for emotion, au in prototypes(table) if au in aus}
    assert set(np.round(narrow.shares.sum(1), 9)) <= {0., 1.}


def test_matrix_is_one_wherever_there_is_a_tie():
    assert set(np.unique(COGNITIVE.matrix)) == {0., 1.}
    assert ((COMPOUND.matrix > 0) == (COMPOUND.weights > 0)).all()
    assert (COMPOUND.prototypical ^ COMPOUND.observational == COMPOUND.matrix.astype(bool)).all()


def test_compound_vocabularies_are_rows_of_du():
    assert set(COMPOUND_RAFDB) <= set(COMPOUND.emotions) and set(COMPOUND_EMOTIONET) <= set(COMPOUND.emotions)
    assert "fearfully disgusted" not in COMPOUND_RAFDB
    assert set(COMPOUND.emotions[6:]) - set(COMPOUND_EMOTIONET) == {
        "sadly fearful", "sadly surprised", "fearfully disgusted", "disgustedly surprised", "hatred"}


def test_unknown_emotion_is_named():
    with pytest.raises(ValueError, match="'joy'.*happy"): COMPOUND.weights_of("joy")
