"""The chain: its filters against slow loops, what it may not see, what it may not lose, and its plain form."""
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from affect_nb.analysis.postprocess import ALL_STEPS, PAPER_STEPS, Chain, Step, apply_chain, fit_chain
from affect_nb.analysis.utterances import utterance_predictions
from affect_nb.core.metrics import ccc

NAMES = ("valence", "arousal")
PREDICTED = [f"{name}_pred" for name in NAMES]


def frames(seed=0, clips=6, n=100, faces=1, lost=.1):
    "A slow truth; predictions that are noisy, small and shifted; a part of the faces lost."
    rng, tables = np.random.default_rng(seed), []
    for clip in range(clips):
        for face in range(faces):
            table = pd.DataFrame(dict(clip=f"c{clip}", frame=np.arange(n), face_id=face))
            for name in NAMES:
                table[name] = .5*np.sin(np.linspace(0, rng.uniform(2, 9), n) + rng.uniform(0, 6))
                table[f"{name}_pred"] = .6*table[name] + rng.uniform(-.2, .2) + rng.normal(0, .2, n)
            table.loc[rng.random(n) < lost, PREDICTED] = np.nan
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def spoken(seed=0, videos=5, each=6, n=60):
    "The same of utterances: a mood that goes on through a video."
    rng, tables = np.random.default_rng(seed), []
    for video in range(videos):
        mood = rng.normal(0, .3, 2) + .1*rng.normal(0, 1, (each, 2)).cumsum(0)
        for number, label in enumerate(mood):
            table = pd.DataFrame(dict(clip=f"v{video}_utterance_{5*number + 3}", video=f"v{video}", frame=np.arange(n), face_id=0, valence=label[0], arousal=label[1]))
            for name in NAMES: table[f"{name}_pred"] = .5*table[name] + .2 + rng.normal(0, .15) + rng.normal(0, .2, n)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def score(table, name):
    "CCC of the rows that have a prediction."
    table = table.dropna(subset=[f"{name}_pred"])
    return ccc(table[f"{name}_pred"], table[name])


def filtered(table, step, length=80):
    return apply_chain(Chain(valence=(step,), length=length), table).valence_pred


# filters

@pytest.mark.parametrize("name, middle", [("median", np.nanmedian), ("mean", np.nanmean)])
@pytest.mark.parametrize("window, length", [(3, 80), (9, 30), (25, None), (201, 80)])
def test_a_filter_is_that_of_a_slow_loop(name, middle, window, length):
    table = frames(faces=2).drop(index=[3, 4, 50, 51, 52, 99, 130]).sample(frac=1, random_state=0) # rows that are not there, in any order
    ours = filtered(table, Step(name, window=window), length)
    for row, value in zip(table.itertuples(), ours):
        near = table[(table["clip"] == row.clip) & (table["face_id"] == row.face_id) & ((table["frame"] - row.frame).abs() <= window//2)]
        if length: near = near[near["frame"]//length == row.frame//length]
        assert np.isnan(value) if np.isnan(row.valence_pred) else value == pytest.approx(middle(near["valence_pred"]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([3, 5, 9, 21]), st.integers(1, 60), st.sampled_from(["median", "mean"]))
def test_a_filter_stays_in_its_sequence_and_its_range(seed, window, length, name):
    table = frames(seed % 1000, clips=3, faces=2)
    rng = np.random.default_rng(seed)
    place = int(rng.integers(len(table)))
    before = filtered(table, Step(name, window=window), length)
    changed = table.copy()
    changed.loc[place, "valence_pred"] = 50. # one frame's prediction is wild
    moved = ~np.isclose(before, filtered(changed, Step(name, window=window), length), equal_nan=True)
    here = table.loc[place]
    same = (table["clip"] == here["clip"]) & (table["face_id"] == here["face_id"]) & (table["frame"]//length == here["frame"]//length) & ((table["frame"] - here["frame"]).abs() <= window//2)
    assert not (moved & ~same).any()
    assert before.isna().equals(table.valence_pred.isna()) # a gap stays and does not spread
    assert before.min() >= table.valence_pred.min() - 1e-12 and before.max() <= table.valence_pred.max() + 1e-12


def test_a_median_leaves_steps_and_takes_spikes():
    table = frames(clips=1, lost=0).assign(valence_pred=lambda rows: np.where(rows["frame"] < 40, -.5, .5))
    assert filtered(table, Step("median", window=9)).equals(table.valence_pred)
    spiked = table.assign(valence_pred=table.valence_pred.where(~table["frame"].isin([10, 20, 60, 90]), 9.))
    assert filtered(spiked, Step("median", window=9)).equals(table.valence_pred)


def test_utterances_are_smoothed_in_their_order_within_their_video():
    table, chain = spoken(), Chain(valence=(Step("mean", "utterance", 3),), utterance=True)
    raw, after = utterance_predictions(table), apply_chain(chain, table.sample(frac=1, random_state=1))
    for video, rows in raw.groupby("video"):
        assert rows["clip"].tolist() == sorted(rows["clip"], key=lambda clip: int(clip.split("_")[-1])) # 13 after 8
        expected = [rows.valence_pred.iloc[max(0, i - 1):i + 2].mean() for i in range(len(rows))]
        assert after.set_index("clip").valence_pred[rows["clip"]].tolist() == pytest.approx(expected)
    assert np.allclose(after.arousal_pred, raw.arousal_pred)


def test_an_utterance_without_a_prediction_stays_without():
    table, chain = spoken(), Chain(valence=(Step("mean", "utterance", 3),), utterance=True)
    table.loc[table["clip"] == "v1_utterance_8", PREDICTED] = np.nan
    after = apply_chain(chain, table).set_index("clip").valence_pred
    assert after.index[after.isna()].tolist() == ["v1_utterance_8"]


# what apply may see

@pytest.mark.parametrize("utterance", [False, True])
def test_labels_of_the_test_part_are_not_looked_at(utterance):
    make = spoken if utterance else frames
    chain, test = fit_chain(make(0), utterance=utterance, steps=ALL_STEPS), make(1)
    plain = apply_chain(chain, test)
    labels = test.groupby("clip")[list(NAMES)].first().sample(frac=1, random_state=0).set_axis(sorted(test["clip"].unique()))
    permuted = test.assign(**{name: test["clip"].map(labels[name]) for name in NAMES})
    for other in (permuted, test.assign(valence=np.nan, arousal=np.nan), test.drop(columns=list(NAMES))):
        pd.testing.assert_frame_equal(apply_chain(chain, other)[PREDICTED], plain[PREDICTED])
    if not utterance:
        assert list(apply_chain(chain, test.drop(columns=list(NAMES)))) == [name for name in test if name not in NAMES]
        shuffled = test.assign(valence=test.valence.sample(frac=1, random_state=0).to_numpy())
        pd.testing.assert_frame_equal(apply_chain(chain, shuffled)[PREDICTED], plain[PREDICTED])


def test_one_clip_alone_is_what_it_is_among_others():
    chain, test = fit_chain(frames(0)), frames(1)
    alone = pd.concat([apply_chain(chain, rows) for _, rows in test.groupby("clip")])
    pd.testing.assert_frame_equal(alone, apply_chain(chain, test), check_exact=False, atol=1e-12)


def test_rows_columns_and_index_stay():
    table = frames().assign(note="kept").set_index(pd.RangeIndex(1000, 1600)).sample(frac=1, random_state=2)
    after = apply_chain(fit_chain(frames(0)), table)
    pd.testing.assert_frame_equal(after.drop(columns=PREDICTED), table.drop(columns=PREDICTED))
    pd.testing.assert_frame_equal(apply_chain(Chain(), table), table)


# fit

@pytest.mark.parametrize("utterance", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_validation_part_never_scores_below_the_raw_one(seed, utterance):
    table = spoken(seed) if utterance else frames(seed)
    if seed % 2: table[PREDICTED] = table[PREDICTED].sample(frac=1, random_state=seed).to_numpy() # predictions that are worth nothing
    chain = fit_chain(table, utterance=utterance)
    raw, after, report = utterance_predictions(table) if utterance else table, apply_chain(chain, table), chain.report()
    for name in NAMES:
        mine = report[report.dimension == name]
        assert score(after, name) >= score(raw, name)
        assert mine.before.iloc[0] == pytest.approx(score(raw, name)) and score(after, name) == pytest.approx(max(mine.before.iloc[0], *mine.after[mine.kept]) if mine.kept.any() else mine.before.iloc[0])


def test_each_step_is_kept_only_if_it_helps_and_all_are_reported():
    report = fit_chain(frames(), windows=(3, 9, 15), steps=ALL_STEPS).report()
    assert list(report) == ["dimension", "step", "level", "window", "before", "after", "kept"]
    for name in NAMES:
        mine = report[report.dimension == name]
        assert mine.step.tolist() == ["median"]*3 + ["mean"]*3 + ["shift", "scale"] and mine.window.tolist() == [3, 9, 15]*2 + [0, 0]
        score_now = mine.before.iloc[0]
        for step, rows in mine.groupby("step", sort=False):
            assert (rows.before == score_now).all() and rows.kept.sum() <= 1
            assert rows.kept.any() == (rows.after.max() > score_now + 1e-4)
            if rows.kept.any(): score_now = rows.after[rows.kept].iloc[0]; assert score_now == rows.after.max()


def test_a_perfect_prediction_needs_no_chain():
    table = frames(lost=0)
    for name in NAMES: table[f"{name}_pred"] = table[name]
    assert (lambda chain: chain.valence + chain.arousal)(fit_chain(table)) == ()


def test_centring_and_scaling_take_back_what_was_done():
    table = frames(lost=0)
    for name, (factor, shift) in zip(NAMES, ((.5, .2), (2, -.3))): table[f"{name}_pred"] = factor*table[name] + shift
    assert {step.name for name in NAMES for step in getattr(fit_chain(table), name)} <= {*PAPER_STEPS} # not the paper's
    chain = fit_chain(table, steps=ALL_STEPS)
    for name in NAMES: assert [step.name for step in getattr(chain, name)][-2:] == ["shift", "scale"]
    after = apply_chain(fit_chain(table, windows=(), steps=ALL_STEPS), table)
    assert np.allclose(after[PREDICTED], table[list(NAMES)])


def test_valence_and_arousal_have_each_their_own():
    table = frames(lost=0).assign(arousal_pred=lambda rows: rows.arousal)
    chain = fit_chain(table)
    assert chain.valence and not chain.arousal


def test_constant_and_absent_predictions():
    chain = fit_chain(frames().assign(valence_pred=.3), steps=ALL_STEPS)
    assert "scale" not in set(chain.report().query("dimension == 'valence'").step) # a constant cannot be stretched
    with pytest.raises(ValueError, match="label and a prediction of valence"): fit_chain(frames().assign(valence_pred=np.nan))
    with pytest.raises(ValueError, match="window of median is 8"): fit_chain(frames(), windows=(8,))
    with pytest.raises(ValueError, match="allowed is one label"): fit_chain(frames(), utterance=True)


def test_utterances_without_known_videos_are_not_smoothed():
    table = spoken().drop(columns="video")
    assert set(fit_chain(table, utterance=True).report().step) == {"median"}
    assert set(fit_chain(table, utterance=True, steps=ALL_STEPS).report().step) == {"median", "shift", "scale"}
    video = {clip: clip.split("_")[0] for clip in table["clip"].unique()}
    assert fit_chain(table, utterance=True, video=video) == fit_chain(spoken(), utterance=True)
    with pytest.raises(ValueError, match="not known which video"): apply_chain(Chain(arousal=(Step("mean", "utterance", 3),), utterance=True), table)


# its plain form

@pytest.mark.parametrize("chain", [Chain(), fit_chain(frames()), fit_chain(spoken(), utterance=True, length=30, pool="mean", steps=ALL_STEPS), Chain(length=None)], ids=["empty", "frames", "utterances", "whole clips"])
def test_a_chain_comes_back_from_json(chain):
    back = Chain.from_dict(json.loads(json.dumps(chain.to_dict(), allow_nan=False)))
    assert back == chain and Chain.from_dict(chain.to_dict()) == chain
    pd.testing.assert_frame_equal(back.report(), chain.report())


def test_an_empty_dict_is_a_chain_without_steps(): assert Chain.from_dict({}) == Chain() and len(Chain().report()) == 0


@pytest.mark.parametrize("content, said", [
    ({"dominance": []}, "no entry 'dominance', allowed are"),
    ({"valence": {"name": "median"}}, "valence is .*allowed is a list"),
    ({"valence": [3]}, "valence, step 1 is 3"),
    ({"valence": [{"name": "median", "window": 3}, {"name": "median", "width": 3}]}, "valence, step 2 .*width"),
    ({"arousal": [{"name": "gauss", "window": 3}]}, "arousal, step 1 .*name is 'gauss', allowed are"),
    ({"arousal": [{"name": "median", "window": 4}]}, "window of median is 4, allowed are odd"),
    ({"arousal": [{"name": "median", "window": "5"}]}, "window is '5'"),
    ({"arousal": [{"name": "shift", "window": 3, "numbers": [.1]}]}, "window of shift is 3"),
    ({"arousal": [{"name": "shift", "numbers": []}]}, "numbers of shift are"),
    ({"arousal": [{"name": "scale", "numbers": [1, "2"]}]}, "numbers of scale are"),
    ({"arousal": [{"name": "mean", "level": "video", "window": 3}]}, "level is 'video'"),
    ({"arousal": [{"name": "mean", "level": "utterance", "window": 3}]}, "arousal has a step over utterances"),
    ({"utterance": True, "arousal": [{"name": "mean", "level": "utterance", "window": 3}, {"name": "mean", "window": 3}]}, "after one over utterances"),
    ({"tried": [{"step": "median"}]}, "tried has {'step': 'median'}"),
    ({"length": 0}, "length is 0"), ({"pool": "max"}, "pool is 'max'"), ({"utterance": "yes"}, "utterance is 'yes'"),
])
def test_a_wrong_entry_is_named(content, said):
    with pytest.raises(ValueError, match=said): Chain.from_dict(content)
