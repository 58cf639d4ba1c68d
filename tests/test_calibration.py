"""Temperatures, calibration errors and intervals: against slow loops and scikit-learn, and on people who were not there."""
import json

import matplotlib.pyplot as pyplot
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from affect_nb.train.calibration import (INTERVAL_COLUMNS, LEAST_PEOPLE, METHODS, Intervals, Temperatures, calibration_error, calibration_table, debiased_error,
                                            fit_intervals, fit_temperature, fit_temperatures, interval_coverage, mean_nll, plot_reliability, reliability, with_intervals)
from affect_nb.core.labels import AUS8, AffectOutput, AffectTargets
from affect_nb.synth.episodes import draw_va_path


def logits_and_classes(n=3000, sure=2., seed=0):
    "Logits that are `sure` times too large, and labels drawn from the softmax of the right ones."
    rng = np.random.default_rng(seed)
    right = 1.5*rng.standard_normal((n, 7))
    return sure*right, (right + rng.gumbel(size=right.shape)).argmax(1)


def logits_and_aus(n=3000, sure=2., seed=0):
    rng = np.random.default_rng(seed)
    right = 1.5*rng.standard_normal((n, 8)) - 1
    return sure*right, (rng.random(right.shape) < 1/(1 + np.exp(-right))).astype(float)


def with_holes(values, seed=1, missing=np.nan):
    "The same with a fifth of the entries (rows of classes) missing."
    values = np.array(values)
    values[np.random.default_rng(seed).random(values.shape) < .2] = missing
    return values


@pytest.mark.parametrize("sure", [.4, 1., 3.])
def test_temperature_is_the_least_of_a_general_search(sure):
    logits, classes = logits_and_classes(sure=sure)
    found = fit_temperature(logits, classes)
    slow = minimize(lambda t: mean_nll(logits, classes, float(t[0])), [1.], bounds=[(.06, 19)], tol=1e-10).x[0]
    assert found == pytest.approx(slow, rel=1e-3) and found == pytest.approx(sure, rel=.08)
    assert mean_nll(logits, classes, found) == pytest.approx(log_loss(classes, torch.tensor(logits/found).softmax(1).numpy(), labels=range(7)), abs=1e-9)
    logits, active = logits_and_aus(sure=sure)
    found = fit_temperature(logits, active)
    slow = np.mean([log_loss(active[:, au], 1/(1 + np.exp(-logits[:, au]/found))) for au in range(8)])
    assert found == pytest.approx(sure, rel=.08) and mean_nll(logits, active, found) == pytest.approx(slow, abs=1e-9)


def test_missing_never_counts():
    "Holes in labels or predictions are as if the rows (entries) had never been."
    logits, classes = logits_and_classes()
    gone = with_holes(classes, missing=-1)
    unseen = np.where(np.random.default_rng(2).random((len(logits), 1)) < .1, np.nan, logits)
    kept = (gone >= 0) & ~np.isnan(unseen[:, 0])
    for measure in (fit_temperature, lambda pred, targ: mean_nll(pred, targ, 1.3)):
        assert measure(unseen, gone) == pytest.approx(measure(logits[kept], classes[kept]), abs=1e-9)
    prob = torch.tensor(unseen).softmax(1)
    for measure in (calibration_error, debiased_error, lambda p, t: calibration_error(p, t, 10, "mass")):
        assert measure(prob, gone) == pytest.approx(measure(prob[kept], classes[kept]), abs=1e-12)
    logits, active = logits_and_aus()
    holes = with_holes(active)
    kept = ~np.isnan(holes)
    assert fit_temperature(logits, holes) == pytest.approx(fit_temperature(logits[kept][:, None], active[kept][:, None]), abs=1e-9)
    assert np.isnan(calibration_error(prob, np.full(len(prob), -1))) and np.isnan(debiased_error(prob, np.full(len(prob), -1)))


def slow_error(sure, hit, edges):
    "ECE bin by bin."
    total = 0.
    for low, high in zip(edges[:-1], edges[1:]):
        inside = [(s, h) for s, h in zip(sure, hit) if (low < s <= high) or (s == low == 0)]
        if inside: total += len(inside)/len(sure)*abs(np.mean([s for s, _ in inside]) - np.mean([h for _, h in inside]))
    return total


@pytest.mark.parametrize("n_bins", [1, 5, 15, 100])
def test_calibration_error_is_the_slow_loop_and_scikit_learns(n_bins):
    logits, classes = logits_and_classes(500)
    prob = torch.tensor(logits).softmax(1).numpy()
    edges = [i/n_bins for i in range(n_bins + 1)]
    assert calibration_error(prob, classes, n_bins) == pytest.approx(slow_error(prob.max(1), prob.argmax(1) == classes, edges), abs=1e-12)
    logits, active = logits_and_aus(200)
    prob = 1/(1 + np.exp(-logits))
    bins = reliability(prob, active, n_bins)
    frequency, confidence = calibration_curve(active.ravel(), prob.ravel(), n_bins=n_bins)
    np.testing.assert_allclose(bins.frequency, frequency)
    np.testing.assert_allclose(bins.confidence, confidence)
    assert bins.entries.sum() == active.size


def test_equal_mass_is_equal_and_debiased_is_near_nothing_where_nothing_is_wrong():
    logits, classes = logits_and_classes(4000, sure=1.)
    prob = torch.tensor(logits).softmax(1)
    bins = reliability(prob, classes, binning="mass")
    assert np.ptp(bins.entries) <= 1 and bins.confidence.is_monotonic_increasing
    errors = [(calibration_error(prob[part], classes[part]), debiased_error(prob[part], classes[part])) for part in np.split(np.arange(4000), 20)]
    assert np.mean(errors, 0)[0] > .05 and np.mean(errors, 0)[1] < .04
    wrong = torch.tensor(2.5*logits).softmax(1)
    truth = np.sqrt(np.mean([(wrong.max(1).values - prob.max(1).values).numpy()**2])) # of a calibrated `prob`
    assert debiased_error(wrong, classes, 30) == pytest.approx(truth, abs=.03)


def test_temperatures_keep_decisions_and_help_other_people():
    (logits, classes), (au_logits, active) = logits_and_classes(), logits_and_aus()
    output = AffectOutput(va=torch.zeros(3000, 2), expression=torch.tensor(logits), aus=torch.tensor(au_logits), au_names=AUS8)
    order = AUS8[::-1]
    targets = AffectTargets(expression=torch.tensor(classes), aus=torch.tensor(active[:, ::-1].copy()), au_names=order)
    half = slice(0, 1500)
    temperatures = fit_temperatures(output[half], targets[half])
    rest = calibration_table(output[1500:], targets[1500:], temperatures)
    for task in ("expression", "aus"):
        assert rest.loc[(task, "after"), "ece"] < .5*rest.loc[(task, "before"), "ece"] and rest.loc[(task, "after"), "nll"] < rest.loc[(task, "before"), "nll"]
        assert rest.loc[(task, "after"), "temperature"] == getattr(temperatures, task)
    scaled = temperatures.scaled(output)
    assert (scaled.expression.argmax(1) == output.expression.argmax(1)).all() and ((scaled.aus > 0) == (output.aus > 0)).all() and scaled.va is output.va
    assert Temperatures(**json.loads(json.dumps(temperatures.to_dict()))) == temperatures
    assert Temperatures().scaled(output).expression is output.expression
    blank = AffectTargets.missing((3000,), ("expression", "aus"), AUS8)
    assert fit_temperatures(output, blank) == Temperatures() == fit_temperatures(AffectOutput(va=output.va), targets)


@pytest.mark.parametrize("pred, targ, words", [
    ([[.2, .8]], [2], "class 2"), ([[.2, .8]], [.5], "class 0.5"), ([[.2, .8]], [[0., 3]], "holds 3"), ([[.2, .8]], [[0., 1, 1]], "shape"), ([[.2, 1.8]], [1], "softmax")])
def test_bad_input_is_named(pred, targ, words):
    with pytest.raises(ValueError, match=words): reliability(pred, targ)


def test_reliability_is_drawn():
    logits, classes = logits_and_classes(300)
    bins = reliability(torch.tensor(logits).softmax(1), classes)
    mine = pyplot.figure().subplots()
    assert plot_reliability(dict(before=bins), mine) is mine
    np.testing.assert_allclose(mine.lines[1].get_ydata(), bins.frequency)
    assert plot_reliability(dict(one=bins, two=bins)).get_legend_handles_labels()[1] == ["one", "two"]
    pyplot.close("all")


def drawn_people(people, seed, own=.1, frames=(60, 240)):
    "Predictions and annotations of people about each of whom a network is wrong in their own way; whose they are."
    rng, parts = np.random.default_rng(seed), []
    for person in range(people):
        targ = draw_va_path(int(rng.integers(*frames)), seed=int(rng.integers(2**31)))
        noise = [np.convolve(each, np.ones(10)/10**.5, "valid") for each in rng.standard_normal((2, len(targ) + 9))]
        parts.append((.9*targ + own*rng.standard_normal(2) + .15*rng.lognormal(0, .3)*np.transpose(noise), targ, np.full(len(targ), f"p{person}")))
    return tuple(map(np.concatenate, zip(*parts)))


def mean_coverage(people, own, method, seeds):
    "Of valence and arousal of 40 unseen people each time, a mean over people and seeds."
    means = []
    for seed in range(seeds):
        intervals = fit_intervals(*drawn_people(people, (seed, 0), own), method=method)
        pred, targ, subjects = drawn_people(40, (seed, 1), own)
        means.append(interval_coverage(*intervals.bounds(pred), targ, subjects)[["valence", "arousal"]].to_numpy().mean())
    return np.mean(means)


@pytest.mark.parametrize("people, own", [(12, .1), (20, 0.), (20, .3), (40, .1)])
def test_unseen_people_are_held(people, own):
    "88 to 92 % of their frames, whether a network is wrong about everybody alike or about each in their own way."
    assert .88 <= mean_coverage(people, own, "estimated", 24) <= .92


@pytest.mark.parametrize("own", [0., .5])
def test_the_guarantee_holds(own):
    "At least 90 %, also where each person has one error in all of their frames and where everybody is alike; never narrower than the estimate."
    guaranteed = mean_coverage(12, own, "guaranteed", 24)
    assert guaranteed >= .9 and guaranteed >= mean_coverage(12, own, "estimated", 24)


def test_more_is_added_where_people_differ_more():
    alike, apart = (fit_intervals(*drawn_people(20, 4, own)) for own in (0., .6))
    assert max(alike.alikeness) < min(apart.alikeness) and max(alike.alikeness) < .25


def test_guaranteed_interval_is_the_paper_s_formula():
    "The least score q with sum_k (1/(K+1)) share_k(score <= q) >= .9 (Lee, Barber & Willett 2023), by a slow search."
    pred, targ, subjects = drawn_people(15, 3)
    intervals = fit_intervals(pred, targ, subjects, method="guaranteed")
    scores = np.abs(targ - pred.clip(-1, 1))
    for side in range(2):
        mass = lambda q: sum((scores[subjects == name, side] <= q).mean() for name in set(subjects))/16
        slow = next(q for q in np.sort(scores[:, side]) if mass(q) >= .9 - 1e-12)
        assert intervals.half_widths[side] == pytest.approx(slow, abs=1e-12)


def test_each_person_counts_alike():
    "A film of one person that is five times as long moves nothing."
    pred, targ, subjects = drawn_people(12, 5)
    rows = np.concatenate([np.arange(len(pred)), *[np.flatnonzero(subjects == "p3")]*4])
    assert fit_intervals(pred, targ, subjects).half_widths == pytest.approx(fit_intervals(pred[rows], targ[rows], subjects[rows]).half_widths)


@pytest.mark.parametrize("method", METHODS)
def test_few_people_are_told_so(method):
    least = LEAST_PEOPLE if method == "estimated" else 9
    for people in (1, least - 1, least):
        intervals = fit_intervals(*drawn_people(people, 0), method=method)
        assert (None in intervals.half_widths) == (people < least) or (people == least and method == "estimated")
    few = fit_intervals(*drawn_people(1, 0), method=method)
    low, high = few.bounds([[.2, -.4], [np.nan, .1]])
    np.testing.assert_array_equal(low, [[-1, -1], [np.nan, -1]])
    np.testing.assert_array_equal(high, [[1, 1], [np.nan, 1]])
    assert Intervals(**json.loads(json.dumps(few.to_dict()))).bounds([[.2, -.4]])[0].tolist() == [[-1, -1]]


def test_missing_annotations_and_lost_frames_never_count():
    pred, targ, subjects = drawn_people(12, 6)
    holes, gone = with_holes(targ), np.random.default_rng(0).random(len(pred)) < .1
    unseen = np.where(gone[:, None], np.nan, pred)
    intervals = fit_intervals(unseen, holes, subjects)
    for side in range(2):
        kept = ~gone & ~np.isnan(holes[:, side])
        assert intervals.half_widths[side] == fit_intervals(pred[kept], targ[kept], subjects[kept]).half_widths[side]
    found = interval_coverage(*intervals.bounds(unseen), holes, subjects)
    assert found.frames.sum() == (~gone & ~np.isnan(holes).all(1)).sum() and found.valence.between(0, 1).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(.5, .95))
def test_bounds_are_ordered_clipped_and_grow_with_what_is_asked(seed, covered):
    pred, targ, subjects = drawn_people(10, seed, frames=(5, 20))
    low, high = fit_intervals(pred, targ, subjects, covered=covered).bounds(3*pred)
    assert (low <= high).all() and low.min() >= -1 and high.max() <= 1
    narrow = fit_intervals(pred, targ, subjects, covered=covered/2).half_widths
    wide = fit_intervals(pred, targ, subjects, covered=covered).half_widths
    assert all(w is None or n <= w for n, w in zip(narrow, wide))
    guaranteed = fit_intervals(pred, targ, subjects, covered=covered, method="guaranteed").half_widths
    assert all(g is None or w <= g for w, g in zip(wide, guaranteed))


def test_difficulty_scales_and_must_be_positive():
    pred, targ, subjects = drawn_people(12, 7)
    plain, scaled = fit_intervals(pred, targ, subjects), fit_intervals(pred, targ, subjects, difficulty=np.full(len(pred), 4.))
    np.testing.assert_allclose(scaled.half_widths, np.array(plain.half_widths)/4)
    np.testing.assert_allclose(scaled.bounds(pred[:5], np.full((5, 2), 4.)), plain.bounds(pred[:5]))
    for wrong in (0., -1., np.nan, np.inf):
        with pytest.raises(ValueError, match="above 0"): scaled.bounds(pred[:5], np.full(5, wrong))
    scaled.bounds([[np.nan, np.nan]], [np.nan])


@pytest.mark.parametrize("change, words", [
    (dict(covered=90), "between 0 and 1"), (dict(method="frames"), "estimated, guaranteed"), (dict(targ=np.zeros((3, 2))), "must be equal"),
    (dict(targ=None), "nobody"), (dict(subjects=None), "no subject")])
def test_bad_intervals_are_named(change, words):
    pred, targ, subjects = drawn_people(3, 0)
    given_ = dict(pred=pred, targ=targ, subjects=subjects) | change
    if given_["targ"] is None: given_["targ"] = np.full_like(targ, np.nan)
    if given_["subjects"] is None: given_["subjects"] = np.where(subjects == "p1", "", subjects)
    with pytest.raises(ValueError, match=words): fit_intervals(**given_)


def test_tables_of_both_kinds_get_the_columns():
    pred, targ, subjects = drawn_people(12, 8)
    intervals = fit_intervals(pred, targ, subjects)
    beside = with_intervals(pd.DataFrame(dict(valence=targ[:, 0], arousal=targ[:, 1], valence_pred=pred[:, 0], arousal_pred=pred[:, 1])), intervals)
    alone = with_intervals(pd.DataFrame(pred, columns=["valence", "arousal"]), intervals)
    pd.testing.assert_frame_equal(beside[list(INTERVAL_COLUMNS)], alone[list(INTERVAL_COLUMNS)])
    np.testing.assert_allclose(alone[["valence_low", "arousal_low"]], intervals.bounds(pred)[0])
    assert beside.columns[-4:].tolist() == list(INTERVAL_COLUMNS)
