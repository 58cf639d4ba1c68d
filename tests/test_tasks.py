"""Scores of several tasks: against scikit-learn and plain loops, with missing labels, lost frames, and other AUs on each side."""
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from affect_nb.analysis.crossdb import NETWORKS, database_measures, database_tasks, study_databases
from affect_nb.analysis.crossdb import tested_on as networks_tested_on
from affect_nb.analysis.evaluate import evaluate
from affect_nb.analysis.groups import group_scores
from affect_nb.analysis.inferred import annotated_relatedness
from affect_nb.analysis.published import published_table
from affect_nb.analysis.tasks import au_table, confusion_table, photographs_as_clips, shared_aus, task_scores, tasks_in
from affect_nb.core.labels import EXPRESSIONS

PROBS = [f"prob_{name.lower()}" for name in EXPRESSIONS]
LENGTHS = {"a": 60, "b": 90, "c": 45, "unlabelled": 20}


@pytest.fixture
def predictions():
    "Four clips, one without labels; some labels and some predictions are missing. AU 9 has labels only, AU 20 predictions only."
    rng, table = np.random.default_rng(5), pd.DataFrame([dict(clip=clip, frame=frame, face_id=0) for clip, n in LENGTHS.items() for frame in range(n)])
    n, unlabelled = len(table), (table["clip"] == "unlabelled").to_numpy()
    va, expression, aus = rng.uniform(-1, 1, (n, 2)), rng.integers(0, 7, n), (rng.random((n, 4)) < [.4, .3, .5, 0]).astype(float)
    scores = np.exp(rng.standard_normal((n, 7)) + 1.5*np.eye(7)[expression])
    table[["valence_pred", "arousal_pred"]] = va*.7 + .3*rng.standard_normal(va.shape)
    table[PROBS] = scores/scores.sum(1, keepdims=True)
    for place, au in enumerate((1, 4, 12, 25)): table[f"prob_au{au}"] = (.5*aus[:, place] + .7*rng.random(n)).clip(0, 1)
    table["prob_au20"] = .5
    missing = [unlabelled | (rng.random(n) < share) for share in (.1, .2, .3, .05)]
    table["valence"], table["arousal"] = np.where(missing[0], np.nan, va.T)
    table["expression"] = np.where(missing[1], -1, expression)
    for place, au in enumerate((1, 4, 12, 25)): table[f"au{au}"] = np.where(missing[2 if place else 3], np.nan, aus[:, place])
    table["au9"] = np.where(unlabelled, np.nan, 1.)
    return table


@pytest.fixture
def lossy(predictions):
    "Frames 30 to 39 of a clip have no prediction."
    lost = (predictions["clip"] == "b") & predictions["frame"].between(30, 39)
    return predictions.mask(predictions.columns.to_series().str.contains("prob_|_pred").to_numpy() & lost.to_numpy()[:, None])


def value(scores, measure, dimension):
    return scores.set_index(["measure", "dimension"])["value"].loc[(measure, dimension)]


def test_expressions_as_scikit_learn_counts_them(predictions):
    scores, kept = task_scores(predictions), predictions[predictions["expression"] >= 0]
    truth, said = kept["expression"], kept[PROBS].to_numpy().argmax(1)
    macro, total = f1_score(truth, said, average="macro"), accuracy_score(truth, said)
    assert value(scores, "f1", "expression") == pytest.approx(macro)
    assert value(scores, "accuracy", "expression") == pytest.approx(total)
    assert value(scores, "expression_score", "expression") == pytest.approx(.67*macro + .33*total)
    assert value(scores, "mean_diagonal", "expression") == value(scores, "uar", "expression") == pytest.approx(recall_score(truth, said, average="macro"))
    assert [value(scores, "f1", name) for name in EXPRESSIONS] == pytest.approx(f1_score(truth, said, average=None, labels=range(7)).tolist())
    np.testing.assert_array_equal(confusion_table(predictions)[list(EXPRESSIONS)], confusion_matrix(truth, said, labels=range(7)))
    assert scores.query("task == 'expression'")["n_frames"].iloc[0] == len(kept)
    assert scores.query("dimension == 'Fear'")["n_frames"].item() == (truth == EXPRESSIONS.index("Fear")).sum()


def test_action_units_as_scikit_learn_counts_them(predictions):
    scores, each, right, entries = task_scores(predictions), [], 0, 0
    for au in (1, 4, 12, 25):
        kept = predictions[predictions[f"au{au}"].notna()]
        truth, said = kept[f"au{au}"], kept[f"prob_au{au}"] >= .5
        each.append(f1_score(truth, said, zero_division=0))
        assert value(scores, "f1", f"AU{au}") == pytest.approx(each[-1])
        assert scores.query(f"dimension == 'AU{au}'")["n_frames"].item() == len(kept)
        right, entries = right + (truth == said).sum(), entries + len(kept)
    assert value(scores, "f1", "aus") == pytest.approx(np.mean(each))
    assert value(scores, "accuracy", "aus") == pytest.approx(right/entries)
    assert value(scores, "au_score", "aus") == pytest.approx(.5*np.mean(each) + .5*right/entries)
    assert au_table(predictions)["f1"].tolist() == pytest.approx(each)


def test_valence_and_arousal_as_evaluate_counts_them(lossy):
    for lost in ("left out", "neutral"):
        other = evaluate(lossy, lost=lost, draws=80, seed=3).query("reduce == 'pooled'")
        mine = task_scores(lossy, lost=lost, draws=80, seed=3).query("task == 'va'")
        np.testing.assert_allclose(mine[["value", "low", "high"]], other[["value", "low", "high"]], atol=1e-12)
        assert (mine["n_lost"].tolist(), mine["n_clips"].tolist()) == (other["n_lost"].tolist(), other["n_clips"].tolist())


def test_intervals_are_those_of_tables_with_repeated_clips(predictions):
    clips, draws = sorted(LENGTHS), 40
    counts = np.random.default_rng(9).multinomial(4, np.full(4, .25), draws)
    repeated = []
    for row in counts:
        parts = [predictions[predictions["clip"] == clip].assign(clip=f"{clip}{copy}") for clip, n in zip(clips, row) for copy in range(n)]
        table = task_scores(pd.concat(parts, ignore_index=True)) if set(clips) - {"unlabelled"} & {clip for clip, n in zip(clips, row) if n} else None
        repeated.append([value(table, *cell) if table is not None and cell in set(zip(table["measure"], table["dimension"])) else np.nan
                         for cell in (("expression_score", "expression"), ("au_score", "aus"), ("f1", "AU12"), ("f1", "Anger"))])
    drawn = task_scores(predictions, [("expression_score", "expression"), ("au_score", "aus"), ("f1", "AU12"), ("f1", "Anger")], draws=draws, seed=9)
    np.testing.assert_allclose(drawn[["low", "high"]].to_numpy().T, np.nanquantile(repeated, [.025, .975], axis=0), atol=1e-9)


def test_what_only_one_side_has_is_listed_and_not_measured(predictions):
    assert shared_aus(predictions) == {"both": [1, 4, 12, 25], "only labelled": [9], "only predicted": [20]}
    assert not {"AU9", "AU20"} & set(task_scores(predictions)["dimension"])
    some = task_scores(predictions, aus=(12, 4, 9))
    assert [name for name in some["dimension"] if name.startswith("AU")] == ["AU4", "AU12"]
    assert value(some, "f1", "aus") == pytest.approx(np.mean([value(some, "f1", "AU4"), value(some, "f1", "AU12")]))


def test_lost_frames_are_left_out_or_neutral(lossy):
    without = lossy[lossy["valence_pred"].notna()]
    left_out, neutral, plain = task_scores(lossy), task_scores(lossy, lost="neutral"), task_scores(without)
    np.testing.assert_allclose(left_out["value"], plain["value"], atol=1e-12)
    assert set(left_out.query("task == 'expression'")["n_lost"]) == {(lossy.loc[lossy["valence_pred"].isna(), "expression"] >= 0).sum()}
    filled = lossy.assign(**{name: lossy[name].fillna(float(name == "prob_neutral")) for name in lossy if name.startswith("prob_") or name.endswith("_pred")})
    np.testing.assert_allclose(neutral["value"], task_scores(filled)["value"], atol=1e-12)
    assert confusion_table(lossy)["no prediction"].sum() == left_out.query("task == 'expression'")["n_lost"].iloc[0]


def test_a_table_of_one_task_has_one_task(predictions):
    alone = predictions[["clip", "frame", "expression", *PROBS]]
    assert tasks_in(alone) == ["expression"] and set(task_scores(alone)["task"]) == {"expression"}
    assert set(photographs_as_clips(alone)["clip"].value_counts()) == {1}
    with pytest.raises(ValueError, match="ccc valence cannot be measured"): task_scores(alone, [("ccc", "valence")])
    with pytest.raises(ValueError, match="no task that it has labels and predictions of"): task_scores(alone.drop(columns="prob_fear"))
    with pytest.raises(ValueError, match="occurs twice"): task_scores(pd.concat([alone, alone.tail(1)]))
    with pytest.raises(ValueError, match="'left out', 'neutral'"): task_scores(alone, lost="wrong")


def test_nothing_annotated_is_nan_and_no_error(predictions):
    blank = task_scores(predictions.assign(expression=-1), draws=10).query("task == 'expression'")
    assert blank["value"].isna().all() and (blank["n_frames"] == 0).all()


def test_the_cells_of_table_four():
    cells = [(name, *measure) for name in study_databases() for measure in database_measures(name)]
    assert cells == list(published_table("IV").columns) and len(study_databases()) == 9
    numbers = published_table("IV").loc[list(NETWORKS)]
    for name in study_databases():
        measured = numbers[name].notna().all(axis=1)
        assert networks_tested_on(name) == list(measured.index[measured])
    assert database_tasks("affectnet") == ("va", "expression") and database_tasks("bp4d-plus") == ("aus",)
    with pytest.raises(ValueError, match="no database 'omg-emotion'"): database_measures("omg-emotion")


def test_people_are_drawn_with_all_of_their_clips(predictions):
    table = pd.concat([predictions.assign(clip=predictions["clip"] + str(copy), subject=who) for copy, who in enumerate(("ann", "ben", "ann"))], ignore_index=True)
    table[PROBS[0]] = table[PROBS[0]].where(table["subject"] == "ann", 1.) # ben is taken for neutral
    wanted, draws = [("expression_score", "expression"), ("f1", "AU12"), ("ccc", "arousal")], 40
    got = task_scores(table, wanted, draws=draws, seed=4, unit="subject")
    values = [task_scores(pd.concat([table[table["subject"] == who].assign(clip=lambda rows: rows["clip"] + f"-{copy}") for who, n in zip(("ann", "ben"), times)
                                     for copy in range(n)]), wanted)["value"].to_numpy() for times in np.random.default_rng(4).multinomial(2, [.5, .5], draws)]
    np.testing.assert_allclose(got[["low", "high"]].to_numpy().T, np.quantile(values, [.025, .975], axis=0), atol=1e-6)
    assert got["n_subjects"].tolist() == [2, 2, 2] and got["n_clips"].tolist() == [9, 9, 9]
    narrow = task_scores(table, wanted, draws=draws, seed=4)
    assert "n_subjects" not in narrow and (narrow["value"] == got["value"]).all()
    assert task_scores(table[table["subject"] == "ann"], wanted, draws=draws, unit="subject")[["low", "high"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="needs a column 'subject'"): task_scores(predictions, unit="subject")


def test_valence_and_arousal_have_their_own_counts_and_scale(predictions):
    whole = task_scores(predictions).query("measure == 'ccc'")
    holed = predictions.assign(valence_pred=predictions["valence_pred"].where(predictions.index % 7 > 0))
    lost = int((holed["valence"].notna() & holed["valence_pred"].isna()).sum())
    rows = task_scores(holed).query("measure == 'ccc'")
    assert rows["n_lost"].tolist() == [lost, 0, lost] and rows["n_frames"].tolist() == (whole["n_frames"] - [lost, 0, lost]).tolist()
    with pytest.warns(UserWarning, match="valence_pred goes from"): task_scores(predictions.assign(valence_pred=5 + 4*predictions["valence_pred"]))


def test_expressions_may_have_names(predictions):
    "As tables of an own database have them, wherever the column is read."
    names = predictions["expression"].map(dict(enumerate(EXPRESSIONS)))
    named = predictions.assign(expression=names.str.upper(), group=predictions["clip"].isin(["a"]).astype(str), subject=predictions["clip"])
    pd.testing.assert_frame_equal(task_scores(named), task_scores(predictions))
    pd.testing.assert_frame_equal(confusion_table(named.assign(expression=names.fillna(""))), confusion_table(predictions))
    by_id = named.assign(expression=predictions["expression"])
    for measure in (lambda table: annotated_relatedness(table, by="labels").weights, lambda table: group_scores(table, "group", ["macro_f1"], draws=5).value):
        np.testing.assert_array_equal(measure(named), measure(by_id))
    for wrong in ("contempt", 7, 1.5):
        with pytest.raises(ValueError, match=f"row 3: expression is .*{wrong}.*allowed are class ids 0 to 6 or Neutral, Anger"):
            task_scores(predictions.astype(dict(expression=object)).assign(expression=lambda table: table["expression"].where(table.index != 3, wrong)))
