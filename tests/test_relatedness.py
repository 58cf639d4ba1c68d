"""The relatedness tables against a second transcription, made from the sources in another form."""
import json
import re

import numpy as np
import pytest

from affect_nb.core.labels import AUS8, AUS17, AUS17_TABLE5, COMPOUND_EMOTIONET, COMPOUND_RAFDB, EXPRESSIONS
from affect_nb.core.relatedness import AFFWILD2, COGNITIVE, COMPOUND, Relatedness, counted_relatedness, read_relatedness, relatedness_of, shuffled, write_relatedness

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


# Files

def drawn_table(seed):
    "A table with every kind of tie: none, below 1 and 1, prototypical and not; an emotion without any, an AU of nobody."
    rng = np.random.default_rng(seed)
    weights = np.round(rng.choice([0., 1., .5], (5, 7))*rng.choice([1., rng.random()], (5, 7)), 3)
    weights[0], weights[:, 3] = 0., 0.
    return Relatedness(tuple(f"emotion {row}" for row in range(5)), tuple(rng.permutation(AUS17)[:7].tolist()), (weights > 0) & (rng.random((5, 7)) < .5), weights)


def same(table, other):
    return table.emotions == other.emotions and table.aus == other.aus and np.array_equal(table.weights, other.weights) and np.array_equal(table.prototypical, other.prototypical)


def counts(sure):
    rng = np.random.default_rng(3)
    emotions = rng.integers(0, 7, 500)
    return counted_relatedness(emotions, rng.random((500, 17)) < AFFWILD2.weights[emotions]*1.15, AUS17, sure=sure)


TABLES = dict(cognitive=COGNITIVE, films=AFFWILD2, compound=COMPOUND, control=shuffled(AFFWILD2), counted=counts(None), sure=counts(.7), **{f"drawn {seed}": drawn_table(seed) for seed in range(20)})


@pytest.mark.parametrize("name", TABLES)
def test_a_file_keeps_the_table(name, tmp_path):
    table = TABLES[name]
    write_relatedness(table, tmp_path/"table.json")
    again = read_relatedness(tmp_path/"table.json")
    assert again.aus == tuple(sorted(au for au, tied in zip(table.aus, table.weights.any(0)) if tied)) # those of nobody are dropped
    assert same(again.restrict(table.aus), table)
    write_relatedness(again, tmp_path/"again.json")
    assert same(read_relatedness(tmp_path/"again.json"), again) and not list(tmp_path.glob("*.aside"))


def test_the_tables_to_be_kept_have_every_kind_of_tie():
    kinds = {(bool(sure), bool(weight == 1)) for table in TABLES.values() for sure, weight in zip(table.prototypical[table.weights > 0], table.weights[table.weights > 0])}
    assert len(kinds) == 4
    assert TABLES["sure"].prototypical.any() and (TABLES["sure"].weights[TABLES["sure"].prototypical] < 1).any()


@pytest.mark.parametrize("name", TABLES)
def test_a_file_is_plain_wherever_a_weight_says_all(name, tmp_path):
    table = TABLES[name]
    write_relatedness(table, tmp_path/"table.json")
    for emotion, ties in json.loads((tmp_path/"table.json").read_text()).items():
        for au, value in ties.items():
            sure, weight = (values[table.position(emotion), table.aus.index(int(au))] for values in (table.prototypical, table.weights))
            assert value == (weight if sure == (weight == 1) else dict(weight=weight, prototypical=bool(sure)))


@pytest.mark.parametrize("value", ["1.2", "0", "-1", "NaN", "Infinity", "null", "true", '"0.5"', "[0.5]", "{}", '{"prototypical": true}', '{"weight": 2, "prototypical": true}',
                                   '{"weight": true}', '{"weight": 0.5, "prototypical": 1}', '{"weight": 0.5, "prototypical": null}', '{"weight": 0.5, "sure": true}'])
def test_wrong_weights_in_a_file_are_named(value, tmp_path):
    (tmp_path/"wrong.json").write_text('{"Fear": {"1": 0.5, "2": %s}}' % value)
    with pytest.raises(ValueError, match=r"wrong\.json: Fear: AU2 has .*weights must be above 0 and at most 1.*'prototypical': True"): read_relatedness(tmp_path/"wrong.json")


@pytest.mark.parametrize("text, words", [("", "no JSON"), ("{'Fear': 1}", "no JSON"), ("[]", "it must be {emotion: {au: weight}}"), ('{"Fear": 1}', "Fear has 1, it must be {au: weight}"),
                                         ('{"Fear": {"AU1": 1}}', "Fear: 'AU1' is no action unit"), ('{"Fear": {"1.5": 1}}', "'1.5' is no action unit"), ('{"Fear": {}}', "no emotion with an AU"), ("{}", "no emotion with an AU")])
def test_wrong_files_are_named(text, words, tmp_path):
    (tmp_path/"wrong.json").write_text(text)
    with pytest.raises(ValueError, match=f"wrong\\.json: .*{re.escape(words)}"): read_relatedness(tmp_path/"wrong.json")


def test_numbers_of_numpy_are_numbers():
    table = relatedness_of({"Fear": {np.int64(1): np.float32(.5), 2: dict(weight=np.float64(.25), prototypical=np.True_)}})
    assert table.weights.tolist() == [[.5, .25]] and table.prototypical.tolist() == [[False, True]]
