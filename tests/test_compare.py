"""Comparisons of methods: on the frames that all tables have, against loops over rows, and with tables that do not fit together."""
import warnings

import numpy as np
import pandas as pd
import pytest

from affect_nb.analysis.compare import COMPARED, SCORES, differences, over_seeds, seed_scores
from affect_nb.analysis.evaluate import evaluate
from affect_nb.core.metrics import ccc, mse

PRED = ["valence_pred", "arousal_pred"]


def guess(noise, seed, clips=6, frames=40):
    "Predictions of the same clips; every third frame is hard."
    truth, rng = np.random.default_rng(99).uniform(-1, 1, (clips*frames, 2)), np.random.default_rng(seed)
    hard = np.where(np.arange(len(truth)) % 3 == 0, 5, 1)[:, None]
    pred = truth + noise*hard*rng.standard_normal(truth.shape)
    return pd.DataFrame(dict(clip=np.repeat([f"c{i}" for i in range(clips)], frames), frame=np.tile(np.arange(frames), clips), valence=truth[:, 0],
                             arousal=truth[:, 1], valence_pred=pred[:, 0], arousal_pred=pred[:, 1]))


def only_easy(table, rows):
    "The table without predictions of the hard frames: NaN, or no row."
    hard = table["frame"] % 3 == 0
    return table[~hard] if rows else table.assign(**{name: table[name].mask(hard) for name in PRED})


def by_hand(tables, lost):
    "Pooled scores of each table, from dictionaries of frames."
    read = {key: {(row.clip, row.frame): row for row in table.itertuples()} for key, table in tables.items()}
    every = {place: row for rows in read.values() for place, row in rows.items()}
    found = {}
    for key, rows in read.items():
        scores = []
        for measure in (ccc, mse):
            each = []
            for name in ("valence", "arousal"):
                def predicted(rows, place): return getattr(rows.get(place), f"{name}_pred", np.nan)
                used = [place for place in every if lost == "neutral" or all(not np.isnan(predicted(other, place)) for other in read.values())]
                pred = np.nan_to_num([predicted(rows, place) for place in used])
                each.append(measure(pred, np.array([getattr(every[place], name) for place in used])))
            scores += [*each, np.mean(each)]
        found[key] = scores
    return found


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("lost", ["common", "neutral"])
@pytest.mark.filterwarnings("ignore:.*annotated frames are left out")
def test_methods_are_measured_on_the_same_frames(rows, lost):
    good, bad = guess(.2, 0), only_easy(guess(.22, 1), rows)
    shuffled = bad.sample(frac=1, random_state=0)
    wins = seed_scores({"A": [good], "B": [bad]}, compared="left out")["ccc_mean"]
    assert wins["B", 0] > wins["A", 0] # what it would look like
    scores, expected = seed_scores({"A": [good], "B": [shuffled]}, compared=lost), by_hand({"A": good, "B": bad}, lost)
    for method in "AB": assert scores.loc[method].iloc[0].tolist() == pytest.approx(expected[method])
    assert scores.loc[("A", 0), "ccc_mean"] > scores.loc[("B", 0), "ccc_mean"]
    compared = over_seeds({"A": [good], "B": [shuffled]}, compared=lost, draws=20)
    assert compared["value"].tolist() == pytest.approx([*expected["A"], *expected["B"]])
    hard = (good["frame"] % 3 == 0).sum()
    told = [(len(good) - hard, hard)]*2 if lost == "common" else [(len(good), 0), (len(good), hard)]
    assert [tuple(part[["n_frames", "n_lost"]].drop_duplicates().iloc[0]) for _, part in compared.groupby("method")] == told
    assert len(compared[["method", "n_frames", "n_lost"]].drop_duplicates()) == 2


def test_what_is_left_out_is_said_where_some_table_had_it():
    good, bad = guess(.2, 0), only_easy(guess(.25, 1), False)
    with pytest.warns(UserWarning, match="84 of 240 annotated frames are left out.*B seed 0 has 156"): seed_scores({"A": [good], "B": [bad]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seed_scores({"A": [only_easy(good, False)], "B": [bad]}) # both lost the same
        seed_scores({"A": [good], "B": [bad]}, compared="neutral")


@pytest.mark.filterwarnings("ignore:.*annotated frames are left out")
def test_each_dimension_has_its_own_frames():
    half = guess(.2, 1).assign(valence_pred=lambda table: table["valence_pred"].where(table["frame"] >= 10))
    compared = over_seeds({"A": [guess(.2, 0)], "B": [half]}, draws=5).set_index(["method", "score"])
    assert compared.loc["A", "n_frames"].tolist() == [180, 240, 180]*2 and compared.loc["B", "n_lost"].tolist() == [60, 0, 60]*2


def test_whole_tables_give_what_evaluate_gives():
    tables = {"A": {3: guess(.2, 0), 7: guess(.2, 1)}, "B": [guess(.22, 2)]}
    for lost in COMPARED:
        compared = over_seeds(tables, compared=lost, draws=50)
        assert compared.loc[compared["method"] == "B", ["value", "low", "high"]].to_numpy() == pytest.approx(
            evaluate(tables["B"][0], draws=50).query("reduce == 'pooled'")[["value", "low", "high"]].to_numpy(), abs=1e-12)
        assert set(compared["n_frames"]) == {240} and set(compared["n_lost"]) == {0}
    assert seed_scores(tables).index.tolist() == [("A", 3), ("A", 7), ("B", 0)]
    assert seed_scores(guess_by_clip := {"A": [guess(.2, 0).drop(columns="frame")], "B": [guess(.22, 2).drop(columns="frame")]}).equals(
        seed_scores({method: [table.assign(frame=tables["B"][0]["frame"]) for table in given] for method, given in guess_by_clip.items()}))


def test_utterances_have_no_frame():
    rows = [table.drop(columns="frame").groupby("clip", as_index=False).first() for table in (guess(.2, 0), guess(.22, 1))]
    assert seed_scores({"A": [rows[0]], "B": [rows[1].iloc[::-1]]}).loc["B"].iloc[0].tolist() == pytest.approx(seed_scores({"B": rows[1]}).iloc[0].tolist())
    with pytest.raises(ValueError, match="other numbers of rows of a clip.*give all of them frame"):
        seed_scores({"A": guess(.2, 0), "B": guess(.2, 1).drop(columns="frame").iloc[1:]})


def test_the_number_of_a_face_does_not_matter_where_a_frame_has_one():
    other = guess(.22, 1).assign(face_id=lambda table: table["frame"] % 2)
    alone = seed_scores({"A": guess(.2, 0), "B": guess(.22, 1)})
    assert seed_scores({"A": guess(.2, 0).assign(face_id=0), "B": other}).equals(alone)
    faces = pd.concat([guess(.2, 0).assign(face_id=0), guess(.2, 2).assign(face_id=1)])
    assert over_seeds({"A": faces, "B": faces}, draws=5)["n_frames"].eq(480).all()
    with pytest.raises(ValueError, match="A seed 0 has several faces in one frame"): seed_scores({"A": faces, "B": guess(.2, 0)})


def test_seeds_with_test_data_of_their_own_are_paired_seed_by_seed():
    def of_seed(noise, seed, number): return guess(noise, seed).assign(clip=lambda table: f"s{number} " + table["clip"])
    tables = {method: [of_seed(noise, 10*number + place, number) for number in range(3)] for place, (method, noise) in enumerate(dict(A=.2, B=.22).items())}
    apart = [seed_scores({method: {number: given[number]} for method, given in tables.items()}) for number in range(3)]
    pd.testing.assert_frame_equal(seed_scores(tables), pd.concat(apart).loc[seed_scores(tables).index])


def test_tables_that_do_not_fit_together():
    good = guess(.2, 0)
    odd, even = (good.assign(**{name: good[name].where(good["frame"] % 2 == side) for name in PRED}) for side in (1, 0))
    with pytest.raises(ValueError, match="no annotated frame has predictions in every table; of 240 A seed 0 has 120, B seed 0 has 120"):
        seed_scores({"A": [odd], "B": [even]})
    moved = good.assign(valence=good["valence"].where(good.index != 45, .123456))
    with pytest.raises(ValueError, match=r"B seed 0: valence of c1 5 is annotated as 0.1235.*same labels"):
        over_seeds({"A": [good], "B": [moved]})
    seed_scores({"A": [good], "B": [good.round(4)]}) # rounded in a file
    with pytest.raises(ValueError, match="compared is 'all', it must be one of .'common', 'left out', 'neutral'"): over_seeds({"A": good}, compared="all")
    with pytest.raises(ValueError, match="A has no table"): seed_scores({"A": []})
    with pytest.raises(ValueError, match="A seed 0 has no table of predictions"): seed_scores({"A": ["a.csv"]})
    with pytest.raises(ValueError, match="allowed is a dict"): seed_scores(good)


def test_one_table_is_one_seed_and_methods_are_named():
    each = seed_scores({"A": guess(.2, 0), "B": [guess(.22, 1)]})
    assert each.index.tolist() == [("A", 0), ("B", 0)] and tuple(each) == SCORES
    with pytest.raises(ValueError, match="there is no method 'C', there are A, B"): differences(each, {"c": ("A", "C")})
    with pytest.raises(ValueError, match="there is no score 'ccc', there are ccc_valence"): differences(each, {"c": ("A", "B")}, "ccc")
