"""Scores from prediction tables: against loops over clips, draws by hand, and tables with flaws."""
import numpy as np
import pandas as pd
import pytest
import torch

from affect_nb.analysis.evaluate import as_row, evaluate, per_clip
from affect_nb.analysis.scores import clip_moments, drawn_scores, stacked_moments
from affect_nb.core.metrics import ccc, concordance, mse

LENGTHS = {"a": 40, "b": 90, "c": 25, "d": 3}


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    table = pd.DataFrame([dict(clip=clip, frame=frame, face_id=0) for clip, n in LENGTHS.items() for frame in range(n)])
    for name in ("valence", "arousal"):
        table[name] = rng.uniform(-1, 1, len(table))
        table[f"{name}_pred"] = .6*table[name] + rng.normal(0, .2, len(table)) + table["clip"].map({"a": .3, "b": -.2, "c": 0, "d": 0}).astype(float)
    table.loc[[3, 50, 51], ["valence", "arousal"]] = np.nan
    table.loc[60, "arousal"] = np.nan
    return table


def cell(evaluated, measure, dimension, reduce):
    return evaluated.query("measure == @measure and dimension == @dimension and reduce == @reduce").iloc[0]


@pytest.mark.parametrize("name, function", [("ccc", ccc), ("mse", mse)])
@pytest.mark.parametrize("dimension", ["valence", "arousal"])
def test_scores_are_those_of_the_metrics(predictions, name, function, dimension):
    evaluated, pred, targ = evaluate(predictions, draws=50), predictions[f"{dimension}_pred"], predictions[dimension]
    assert cell(evaluated, name, dimension, "pooled").value == pytest.approx(function(pred, targ))
    assert cell(evaluated, name, dimension, "clips").value == pytest.approx(function(pred, targ, "clips", predictions["clip"]))
    loop = [function(rows[f"{dimension}_pred"], rows[dimension]) for _, rows in predictions.groupby("clip")]
    assert per_clip(predictions)[f"{name}_{dimension}"].tolist() == pytest.approx(loop)


def test_draws_equal_tables_with_repeated_clips(predictions):
    moments, rng = stacked_moments(clip_moments(predictions).values()), np.random.default_rng(1)
    for _ in range(5):
        clips = rng.choice(list(LENGTHS), 4)
        drawn = pd.concat([predictions[predictions["clip"] == clip] for clip in clips])
        counts = torch.tensor([[float((clips == clip).sum()) for clip in LENGTHS]], dtype=torch.float64)
        got = drawn_scores(moments, counts, concordance)["pooled"][0]
        assert got.tolist() == pytest.approx([ccc(drawn[f"{name}_pred"], drawn[name]) for name in ("valence", "arousal")])


def test_interval_holds_the_value_and_narrows_with_clips(predictions):
    many = pd.concat([predictions.assign(clip=predictions["clip"] + f" {i}") for i in range(16)])
    few, more = (cell(evaluate(table), "ccc", "valence", "pooled") for table in (predictions, many))
    assert few.low <= few.value <= few.high and more.value == pytest.approx(few.value)
    assert more.high - more.low < few.high - few.low


def test_lost_frames_are_counted(predictions):
    predictions.loc[10:19, ["valence_pred", "arousal_pred"]] = np.nan
    left_out, neutral = evaluate(predictions, draws=5), evaluate(predictions, lost="neutral", draws=5)
    assert (left_out.n_lost == 10).all() and (neutral.n_lost == 10).all()
    assert neutral.n_frames[0] - left_out.n_frames[0] == 10
    filled = predictions.valence_pred.fillna(0)
    assert cell(neutral, "mse", "valence", "pooled").value == pytest.approx(mse(filled, predictions.valence))


def test_index_of_the_table_does_not_matter(predictions):
    shuffled = predictions.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(evaluate(shuffled, draws=20), evaluate(predictions, draws=20))


def test_row_of_table_2(predictions):
    row = as_row(evaluate(predictions, draws=5), "ours")
    assert list(row.index) == ["ours"] and row.loc["ours", "ccc_mean"] == pytest.approx((row.ccc_valence + row.ccc_arousal).iloc[0]/2)


def test_flaws_are_named(predictions):
    with pytest.raises(ValueError, match="valence_pred"): evaluate(predictions.drop(columns="valence_pred"))
    with pytest.raises(ValueError, match="row 158.*'clip': 'a'.*twice"): evaluate(pd.concat([predictions, predictions.head(2)]))
    with pytest.raises(ValueError, match="'zero'"): evaluate(predictions, lost="zero")


@pytest.fixture
def of_people(predictions):
    "Twelve clips of three people, and of one who is not known; clips of a person are alike in their bias."
    rng, bias = np.random.default_rng(2), dict(ann=.5, ben=-.4, cleo=0.)
    parts = [predictions.assign(clip=predictions["clip"] + f" {who}", subject=who).assign(
        **{f"{name}_pred": predictions[name]*.6 + shift + rng.normal(0, .2, len(predictions)) for name in ("valence", "arousal")}) for who, shift in bias.items()]
    return pd.concat([*parts, predictions[predictions["clip"] == "b"].assign(clip="nobody's", subject=None)], ignore_index=True)


@pytest.mark.parametrize("reduce", ["pooled", "clips"])
def test_people_are_drawn_with_all_of_their_clips(of_people, reduce):
    draws, people = 60, ["ann", "ben", "cleo", None] # in the order of their first clips, which are sorted
    drawn = []
    for times in np.random.default_rng(7).multinomial(4, [1/4]*4, draws):
        parts = [of_people[of_people["subject"].isna() if who is None else of_people["subject"] == who].assign(copy=copy) for who, n in zip(people, times) for copy in range(n)]
        table = pd.concat(parts)
        drawn.append(ccc(table["valence_pred"], table["valence"], *(["clips", table["clip"] + table["copy"].astype(str)] if reduce == "clips" else [])))
    row = cell(evaluate(of_people, draws=draws, seed=7, unit="subject"), "ccc", "valence", reduce)
    assert [row.low, row.high] == pytest.approx(np.quantile(drawn, [.025, .975]).tolist(), abs=1e-6)
    by_clip = cell(evaluate(of_people, draws=1000), "ccc", "valence", "pooled")
    by_person = cell(evaluate(of_people, draws=1000, unit="subject"), "ccc", "valence", "pooled")
    assert by_person.value == by_clip.value and by_person.high - by_person.low > 1.2*(by_clip.high - by_clip.low)


def test_drawing_people_where_each_has_one_clip_is_drawing_clips(predictions):
    pd.testing.assert_frame_equal(evaluate(predictions, draws=30), evaluate(predictions.assign(subject=predictions["clip"]), draws=30, unit="subject"))
    alone = evaluate(predictions.assign(subject="ann"), draws=30, unit="subject")
    assert alone[["low", "high"]].isna().all(axis=None) and alone["value"].notna().all()


def test_other_scales_are_told_and_labels_on_them_refused(predictions):
    nine = predictions.assign(valence_pred=5 + 4*predictions["valence_pred"])
    for lost in ("left out", "neutral"):
        with pytest.warns(UserWarning, match="valence_pred goes from .* is it another scale"): evaluate(nine, lost=lost)
    with pytest.raises(ValueError, match=r"arousal is annotated from 1.* to 9.*allowed is \[-1, 1\]"): evaluate(predictions.assign(arousal=5 + 4*predictions["arousal"].round()))
    with pytest.warns(UserWarning, match="valence_pred goes from .* is it another scale"): per_clip(nine)
    wild = predictions.assign(valence_pred=predictions["valence_pred"].where(predictions.index > 5, 9.))
    assert evaluate(wild.assign(arousal_pred=1.4*wild["arousal"]), draws=5)["value"].notna().all() # six of 158 frames


def test_counts_are_those_of_each_dimension(predictions):
    predictions.loc[10:19, "valence_pred"] = np.nan
    first = evaluate(predictions, draws=5).head(3) # labels are missing in 3 frames, of arousal in 4
    assert first["n_frames"].tolist() == [145, 154, 145] and first["n_lost"].tolist() == [10, 0, 10]
    assert evaluate(predictions, "neutral", draws=5).head(3)["n_frames"].tolist() == [155, 154, 155]
    predictions.loc[predictions["clip"] == "d", "valence_pred"] = np.nan
    assert evaluate(predictions, draws=5).head(3)["n_clips"].tolist() == [3, 4, 4]
