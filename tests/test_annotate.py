"""Several annotators: their agreement against slow formulas and scikit-learn, their lags, their files, their one label."""
from itertools import combinations, permutations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import f as f_distribution
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

from affect_nb.analysis.agreement import (annotator_confusion, fleiss_kappa, icc, mean_agreement, mean_pair, pairwise_accuracy, pairwise_ccc,
                                          pairwise_f1, pairwise_kappa, pairwise_mean_f1, plot_agreement, rating_counts)
from affect_nb.analysis.annotators import Annotations, read_annotations, write_annotations
from affect_nb.analysis.consensus import (METHODS, _mean_of_others, agreement_matrix, agreement_report, agreement_weights, align, consensus,
                                          lagged_correlation, merge, outliers, plot_tracks, plot_votes, reaction_lags)
from affect_nb.core.labels import AUS8
from affect_nb.core.metrics import ccc
from affect_nb.synth.raters import Annotator, annotate_aus, annotate_expression, annotate_va, confusion_chances, draw_annotators
from affect_nb.synth.episodes import make_episode

NOTE = dict(va=annotate_va, expression=annotate_expression, aus=annotate_aus)
FORMS = ["ICC1", "ICC2", "ICC3", "ICC1k", "ICC2k", "ICC3k"]
CLASSIC = pd.DataFrame([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], columns=list("ABCD"))


def annotated(kind, people, episode):
    return Annotations("drawn", episode.fps, kind, {person.name: NOTE[kind](episode, person) for person in people}, AUS8 if kind == "aus" else ())


def true_lags(people): return pd.Series({person.name: person.lag for person in people})


def with_gaps(values, seed, share=.2):
    "A float copy in which some frames are missing."
    values = np.array(values, float)
    values[np.random.default_rng(seed).random(len(values)) < share] = np.nan
    return values


def draw_ratings(seed, n=40, k=4, n_classes=5):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    return {f"A{one}": with_gaps(np.where(rng.random(n) < .6, truth, rng.integers(0, n_classes, n)), seed + one) for one in range(k)}


# ---- the science of agreement

def slow_icc(table):
    "Sums of squares of the two-way analysis of variance, cell by cell, then the six formulas as printed."
    n, k = len(table), len(table[0])
    grand = sum(map(sum, table))/(n*k)
    rows = [sum(row)/k for row in table]
    columns = [sum(row[judge] for row in table)/n for judge in range(k)]
    total = sum((cell - grand)**2 for row in table for cell in row)
    of_rows, of_columns = k*sum((mean - grand)**2 for mean in rows), n*sum((mean - grand)**2 for mean in columns)
    b, w = of_rows/(n - 1), (total - of_rows)/(n*(k - 1))
    j, e = of_columns/(k - 1), (total - of_rows - of_columns)/((n - 1)*(k - 1))
    return [(b - w)/(b + (k - 1)*w), (b - e)/(b + (k - 1)*e + k*(j - e)/n), (b - e)/(b + (k - 1)*e), (b - w)/b, (b - e)/(b + (j - e)/n), (b - e)/b], (b, w, j, e)


def test_icc_of_shrout_and_fleiss():
    found = icc(CLASSIC)
    assert list(found.index) == FORMS
    assert found.value.round(2).tolist() == [.17, .29, .71, .44, .62, .91]
    # the limits that R's psych prints for the same table
    assert found.low.tolist() == pytest.approx([-.133, .019, .342, -.884, .071, .676], abs=6e-4)
    assert found.high.tolist() == pytest.approx([.72, .76, .95, .91, .93, .99], abs=6e-3)
    assert (found.frames == 6).all() and (found.judges == 4).all()


@pytest.mark.parametrize("seed", range(5))
def test_icc_against_slow_analysis_of_variance(seed):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(5, 40)), int(rng.integers(2, 9))
    table = rng.normal(size=(n, 1)) + rng.normal(size=k)*.5 + rng.normal(size=(n, k))*.7
    found, (values, (b, w, j, e)) = icc(pd.DataFrame(table)), slow_icc(table.tolist())
    assert found.value.tolist() == pytest.approx(values)
    assert ((found.low < found.value) & (found.value < found.high)).all()
    r = values[1]  # the interval of ICC(2,1) in McGraw and Wong's letters
    a_, b_ = k*r/(n*(1 - r)), 1 + k*r*(n - 1)/(n*(1 - r))
    v = (a_*j + b_*e)**2/((a_*j)**2/(k - 1) + (b_*e)**2/((n - 1)*(k - 1)))
    upper, lower = f_distribution.ppf(.975, n - 1, v), f_distribution.ppf(.975, v, n - 1)
    assert found.low["ICC2"] == pytest.approx(n*(b - upper*e)/(upper*(k*j + (k*n - k - n)*e) + n*b))
    assert found.high["ICC2"] == pytest.approx(n*(lower*b - e)/(k*j + (k*n - k - n)*e + n*lower*b))


def test_icc_finds_the_variances_that_were_drawn():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4000, 1)) + np.array([-.6, 0, .6, .2, -.2, 0]) + .5*rng.normal(size=(4000, 6))
    found = icc(pd.DataFrame(table)).value
    assert found["ICC3"] == pytest.approx(1/1.25, abs=.02) and found["ICC2"] == pytest.approx(1/(1.25 + .176), abs=.02)
    assert found["ICC1"] < found["ICC2"] < found["ICC3"] < found["ICC3k"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(4)))
def test_raters_have_no_order(seed, order):
    traces = {f"A{one}": with_gaps(values/4, seed + one, .1) for one, values in enumerate(draw_ratings(seed).values())}
    shuffled = {list(traces)[one]: traces[list(traces)[one]] for one in order}
    assert icc(shuffled)[["value", "low", "high"]].to_numpy() == pytest.approx(icc(traces)[["value", "low", "high"]].to_numpy())
    ratings = draw_ratings(seed)
    mixed = {name: ratings[name] for name in shuffled}
    assert fleiss_kappa(rating_counts(mixed)) == pytest.approx(fleiss_kappa(rating_counts(ratings)))
    for measure, of, other in ((pairwise_ccc, traces, shuffled), (pairwise_kappa, ratings, mixed), (pairwise_accuracy, ratings, mixed)):
        table = measure(of)
        assert measure(other).loc[list(of), list(of)].to_numpy() == pytest.approx(table.to_numpy(), nan_ok=True)
        assert np.array_equal(table, table.T, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(.05, 2))
def test_a_constant_shift_is_penalised_by_absolute_agreement_only(seed, shift):
    trace = np.random.default_rng(seed).normal(size=30)
    found = icc(dict(A=trace, B=trace + shift)).value
    assert found["ICC3"] == pytest.approx(1) and found["ICC3k"] == pytest.approx(1)
    assert found["ICC2"] < 1 - 1e-4 and found["ICC1"] < found["ICC2"]
    assert pairwise_ccc(dict(A=trace, B=trace + shift)).loc["A", "B"] < 1 - 1e-4


def test_perfect_agreement_is_one():
    trace, classes, rng = np.linspace(-1, 1, 20), np.arange(20) % 7, np.random.default_rng(0)
    same, named = dict(A=trace, B=trace, C=trace), dict(A=classes, B=classes, C=classes)
    assert icc(same)[["value", "low", "high"]].to_numpy() == pytest.approx(1)
    assert fleiss_kappa(rating_counts(named)) == pytest.approx(1)
    units = (rng.random((20, 3)) < .5).astype(float)
    for table in (pairwise_ccc(same), pairwise_kappa(named), pairwise_accuracy(named), pairwise_mean_f1(dict(A=units, B=units))): assert table.to_numpy() == pytest.approx(1)
    assert np.isnan(icc(dict(A=[1., 1, 1], B=[1., 1, 1])).value).all()


def test_ccc_against_lins_formula():
    rng = np.random.default_rng(1)
    traces = {name: with_gaps(rng.normal(size=50), seed) for seed, name in enumerate("ABC")}
    table = pairwise_ccc(traces)
    for first, second in combinations(traces, 2):
        both = [(x, y) for x, y in zip(traces[first], traces[second]) if x == x and y == y]
        x_mean, y_mean = (sum(pair[side] for pair in both)/len(both) for side in (0, 1))
        cross = sum((x - x_mean)*(y - y_mean) for x, y in both)/len(both)
        spread = sum((x - x_mean)**2 + (y - y_mean)**2 for x, y in both)/len(both)
        assert table.loc[first, second] == pytest.approx(2*cross/(spread + (x_mean - y_mean)**2))
    planes = {name: np.stack([values, -values], 1) for name, values in traces.items()}
    assert pairwise_ccc(planes).to_numpy() == pytest.approx(table.to_numpy())
    assert np.isnan(pairwise_ccc(dict(A=[.1, np.nan], B=[np.nan, .1])).loc["A", "B"])


def slow_fleiss(ratings, n_classes):
    "Pairs of raters, item by item."
    agreements, votes = [], []
    for item in zip(*ratings.values()):
        said = [int(value) for value in item if value == value and value >= 0]
        if len(said) < 2: continue
        pairs = list(permutations(said, 2))
        agreements.append(sum(one == other for one, other in pairs)/len(pairs))
        votes += said
    chance = sum((votes.count(one)/len(votes))**2 for one in range(n_classes))
    return (sum(agreements)/len(agreements) - chance)/(1 - chance)


@pytest.mark.parametrize("seed", range(5))
def test_kappas_against_slow_pairs_and_scikit_learn(seed):
    ratings = draw_ratings(seed)
    assert fleiss_kappa(rating_counts(ratings)) == pytest.approx(slow_fleiss(ratings, 7))
    as_ids = {name: np.nan_to_num(values, nan=-1).astype(int) for name, values in ratings.items()}
    assert fleiss_kappa(rating_counts(as_ids, 5)) == pytest.approx(slow_fleiss(ratings, 5))
    kappas, shares = pairwise_kappa(as_ids), pairwise_accuracy(ratings)
    for first, second in combinations(ratings, 2):
        kept = (as_ids[first] >= 0) & (as_ids[second] >= 0)
        one, other = as_ids[first][kept], as_ids[second][kept]
        assert kappas.loc[first, second] == pytest.approx(cohen_kappa_score(one, other))
        assert shares.loc[second, first] == pytest.approx((one == other).mean())
        assert (annotator_confusion(as_ids[first], as_ids[second]).to_numpy() == confusion_matrix(one, other, labels=range(7))).all()


def test_fleiss_of_1971s_textbook_example():
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
              [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    assert round(fleiss_kappa(counts), 3) == .210
    assert fleiss_kappa([*counts, [1, 0, 0, 0, 0], [0]*5]) == fleiss_kappa(counts), "items with fewer than two ratings are left out"
    assert np.isnan(fleiss_kappa([[1, 0]])) and np.isnan(fleiss_kappa([[2, 0], [3, 0]]))


@pytest.mark.parametrize("seed", range(3))
def test_f1_of_pairs_against_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    marks = {name: with_gaps(rng.random((60, 3)) < (.3, .6, 0), seed + one) for one, name in enumerate("ABC")}
    table = pairwise_f1(marks, (1, 12, 25))
    assert list(table) == ["AU1", "AU12", "AU25"] and table["AU25"].isna().all()
    for first, second in table.index:
        kept = ~np.isnan(marks[first][:, 0]) & ~np.isnan(marks[second][:, 0])
        for unit, name in enumerate(("AU1", "AU12")):
            assert table.loc[(first, second), name] == pytest.approx(f1_score(marks[first][kept, unit], marks[second][kept, unit]))
        assert pairwise_mean_f1(marks).loc[second, first] == pytest.approx(table.loc[(first, second), ["AU1", "AU12"]].mean())


def test_missing_pairs_reach_no_mean():
    pairs = pairwise_ccc(dict(A=[.1, .2, np.nan, np.nan], B=[.1, .2, .3, .4], C=[np.nan, np.nan, .3, .4]))
    assert np.isnan(pairs.loc["A", "C"]) and mean_pair(pairs) == pytest.approx(1) and mean_agreement(pairs).tolist() == pytest.approx([1, 1, 1])
    assert (icc(CLASSIC.assign(D=[8, np.nan, 8, 6, 9, 7])).frames == 5).all()


@pytest.mark.parametrize("call, said", [
    (lambda: pairwise_ccc(dict(A=[1.])), "two annotators"), (lambda: pairwise_kappa(dict(A=[1, 2], B=[1])), "must be equal"),
    (lambda: icc(dict(A=[1., np.nan], B=[np.nan, 1.])), "0 of 2 targets"), (lambda: icc(dict(A=np.zeros((3, 2)), B=np.zeros((3, 2)))), "one number per target"),
    (lambda: rating_counts(dict(A=[0, 1.5], B=[0, 1])), "frame 1: a rating is 1.5"), (lambda: pairwise_f1(dict(A=np.zeros((3, 2)), B=np.zeros((3, 2))), (1,)), "one for each AU")])
def test_ratings_that_mean_nothing_are_refused(call, said):
    with pytest.raises(ValueError, match=said): call()


def test_pictures_return_their_axes():
    assert plot_agreement(pairwise_ccc(CLASSIC.astype(float))) is plt.gca()
    va, aus = (annotated(kind, draw_annotators(3), make_episode(90)) for kind in ("va", "aus"))
    own = plt.subplots()[1]
    assert plot_tracks(va, "arousal", merge(va), make_episode(90).va, own) is own and plot_votes(aus, merge(aus), au=12) is plt.gca()
    with pytest.raises(ValueError, match="au99"): plot_votes(aus, au=99)
    plt.close("all")


# ---- the annotators

@pytest.mark.parametrize("kind", NOTE)
def test_annotators_are_seeded(kind):
    episode, people = make_episode(300, seed=3), draw_annotators(4, seed=2)
    assert people == draw_annotators(8, seed=2)[:4] and people != draw_annotators(4, seed=3)
    note = NOTE[kind]
    assert np.array_equal(note(episode, people[1]), note(episode, people[1]), equal_nan=True)
    assert not np.array_equal(note(episode, people[1]), note(episode, people[2]), equal_nan=True)


def test_annotations_are_valid_and_lapses_are_shared():
    episode, person = make_episode(6000, seed=3), Annotator("A1", seed=4, lag=.5, gain=(3., 3.), noise=.2, lapses=.1, confusion=.5, miss=.3, false_alarm=.1)
    va, expression, aus = (NOTE[kind](episode, person) for kind in NOTE)
    absent = np.isnan(va).all(1)
    assert abs(absent.mean() - .1) < .03 and (np.isnan(va).any(1) == absent).all() and (np.isnan(aus).all(1) == absent).all() and ((expression == -1) == absent).all()
    assert np.nanmax(np.abs(va)) == 1 and set(expression) <= set(range(-1, 7)) and set(np.unique(aus[~absent])) == {0, 1}
    assert expression.dtype == np.int64 and va.shape == (6000, 2) and aus.shape == (6000, 8)


def test_mistakes_are_as_frequent_as_the_profile_says():
    episode = make_episode(30000, seed=5)
    expression = annotate_expression(episode, Annotator("A1", confusion=.3))
    starts = np.flatnonzero(np.diff(episode.expression, prepend=-1))
    assert abs((expression[starts] != episode.expression[starts]).mean() - .3) < .06
    active = episode.activations(AUS8)
    marked = annotate_aus(episode, Annotator("A1", miss=.25, false_alarm=.1))
    assert abs(marked[active == 0].mean() - .1) < .02 and abs(marked[active == 1].mean() - (1 - .25*.9)) < .05
    assert (annotate_aus(episode, Annotator("A1")) == active).all()
    chances = confusion_chances(.3)
    assert np.diag(chances) == pytest.approx(.7) and chances.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("call, said", [(lambda: draw_annotators(0), "n is 0"), (lambda: draw_annotators(2, careless=(2,)), "positions 0 to 1"),
                                        (lambda: Annotator("A1", lag=-1.), "lag is -1"), (lambda: Annotator("A1", miss=1.), "miss is 1")])
def test_impossible_annotators_are_refused(call, said):
    with pytest.raises(ValueError, match=said): call()


# ---- lags, alignment, outliers

@pytest.mark.parametrize("kind, n", [("va", 8), ("expression", 7), ("aus", 3)])
@pytest.mark.parametrize("fps", [25, 30])
def test_lags_are_found_within_two_frames(kind, n, fps):
    for seed in range(5):
        people, episode = draw_annotators(n, seed), make_episode(30*fps, fps, seed + 100)
        lags = np.random.default_rng(seed).uniform(0, 1.2, n) # wider than what is drawn by default
        people = [Annotator(**vars(person) | dict(lag=float(lag))) for person, lag in zip(people, lags)]
        error = reaction_lags(annotated(kind, people, episode)) - true_lags(people)
        assert (error - error.median()).abs().max()*fps <= 2, (seed, error)


def test_only_differences_between_lags_can_be_known():
    episode, people = make_episode(900, seed=8), draw_annotators(5, seed=8)
    later = [Annotator(**vars(person) | dict(lag=person.lag + 1)) for person in people]
    found, again = (reaction_lags(annotated("va", who, episode)) for who in (people, later))
    assert found.min() == 0 and (found - again).abs().max() <= 2/30 + 1e-9
    assert reaction_lags(annotated("va", people, episode), fastest=.4).tolist() == pytest.approx((found + .4).tolist())


def slow_correlation(late, reference, lag):
    pairs = [(late[t + lag], reference[t]) for t in range(len(reference)) if 0 <= t + lag < len(late)]
    kept = np.array([pair for pair in pairs if not np.isnan(pair).any()])
    return np.corrcoef(kept.T)[0, 1]


def test_lagged_correlation_against_a_slow_loop():
    rng = np.random.default_rng(0)
    late, reference = (with_gaps(np.cumsum(rng.normal(size=80)), seed) for seed in (1, 2))
    fast = lagged_correlation(late[:, None], reference[:, None], 12)
    assert fast == pytest.approx([slow_correlation(late, reference, lag) for lag in range(-12, 13)])
    assert (lagged_correlation(late[:, None], reference[:, None], 79)[[0, -1]] == -1).all(), "too few frames overlap at the ends"


def test_gaps_and_a_careless_annotator_do_not_move_the_lags_of_others():
    people, episode = draw_annotators(6, seed=4, careless=(2,)), make_episode(1200, seed=4)
    tracks = annotated("va", people, episode).tracks
    tracks = {name: with_gaps(values, seed, .3) for seed, (name, values) in enumerate(tracks.items())}
    lags = reaction_lags(Annotations("drawn", 30, "va", tracks))
    error = (lags - true_lags(people)).drop("A3")
    assert (error - error.median()).abs().max()*30 <= 2
    assert lags.drop("A3").min() == 0 and lags.attrs["correlation"]["A3"] < .5 < lags.attrs["correlation"]["A1"]


def test_who_follows_nobody_is_no_reference():
    signals = np.stack([np.full((5, 1), value) for value in (1., 3., 9.)])
    signals[1, 4] = np.nan
    others = lambda heard: _mean_of_others(signals, np.zeros(3, int), np.array(heard), 0, .3)[:, 0].tolist()
    assert others([1, 1, 1]) == [6, 6, 6, 6, 9]
    assert others([1, 1, .1]) == pytest.approx([3, 3, 3, 3, np.nan], nan_ok=True)
    assert others([1, .1, .1]) == [6, 6, 6, 6, 9], "where there is nobody else, they are all there is"


def test_nobody_who_follows_anybody_has_no_lags():
    rng = np.random.default_rng(0)
    noise = Annotations("noise", 30, "va", {name: rng.uniform(-1, 1, (600, 2)) for name in "ABC"})
    still = Annotations("still", 30, "va", {name: np.zeros((600, 2)) for name in "ABC"})
    empty = Annotations("empty", 30, "expression", {name: np.full(600, -1) for name in "ABC"})
    for case in (noise, still, empty): assert reaction_lags(case).tolist() == [0, 0, 0]


def test_align_shifts_whole_frames_and_fills_nothing_in():
    noted = Annotations("c", 10, "va", dict(A=np.arange(10)[:, None]*[.1, -.1], B=np.arange(10)[:, None]*[.1, -.1]))
    moved = align(noted, dict(A=.3, B=-.2)).tracks
    assert moved["A"][:7] == pytest.approx(noted.tracks["A"][3:]) and np.isnan(moved["A"][7:]).all()
    assert moved["B"][2:] == pytest.approx(noted.tracks["B"][:8]) and np.isnan(moved["B"][:2]).all()
    assert np.isnan(align(noted, dict(A=5., B=0.)).tracks["A"]).all()
    with pytest.raises(ValueError, match="'B'"): align(noted, dict(A=0))
    with pytest.raises(ValueError, match="lag of A is nan"): align(noted, dict(A=np.nan, B=0))


@pytest.mark.parametrize("kind, n", [("va", 8), ("expression", 7)])
def test_careless_annotators_are_found(kind, n):
    right = 0
    for seed in range(4):
        for careless in ((), (1,), (1, 4)):
            noted = annotated(kind, draw_annotators(n, seed, careless), make_episode(1800, seed=seed))
            found = outliers(align(noted, reaction_lags(noted)))
            names = [f"A{position + 1}" for position in careless]
            assert set(found.index[found.outlier]) <= set(names), "nobody else is blamed"
            right += list(found.index[found.outlier]) == names
    assert right >= 11, f"{right} of 12"


def test_outliers_need_something_to_be_judged_by():
    same = Annotations("c", 30, "expression", {name: np.zeros(50, int) for name in "ABC"}) # kappa is NaN
    assert not outliers(same).outlier.any()
    half = np.where(np.arange(50) < 25, np.sin(np.arange(50)), np.nan)
    apart = Annotations("c", 30, "va", {name: np.stack([trace, trace], 1) for name, trace in dict(A=half, B=half, C=half[::-1]).items()})
    assert not outliers(apart).outlier["C"]
    assert not outliers(same.select(["A"])).outlier.any() and not outliers(apart.select(["A", "C"])).outlier.any()


# ---- one label

def test_the_merged_label_is_nearer_to_the_truth_than_an_annotator():
    for seed in range(4):
        episode = make_episode(900, seed=seed)
        noted = annotated("va", draw_annotators(8, seed, careless=(seed,)), episode)
        truth = lambda values: ccc(values, np.where(np.isnan(values), np.nan, episode.va))
        single = np.mean([truth(values) for values in noted.tracks.values()])
        whole = consensus(noted)
        assert truth(whole.labels[["valence", "arousal"]].to_numpy()) > truth(merge(noted)[["valence", "arousal"]].to_numpy()) > single
        for method in METHODS["va"]: assert truth(merge(align(noted, whole.lags), method)[["valence", "arousal"]].to_numpy()) > single
        report = whole.report.loc["pairwise CCC, valence"]
        assert report["aligned"] > report["as noted"] and report["without outliers"] >= report["aligned"]


@pytest.mark.parametrize("kind, n, measure", [("expression", 7, "Fleiss' kappa"), ("aus", 3, "pairwise F1")])
def test_alignment_raises_agreement_and_merging_helps(kind, n, measure):
    for seed in range(4):
        episode = make_episode(1500, seed=seed)
        noted = annotated(kind, draw_annotators(n, seed), episode)
        whole, truth = consensus(noted), episode.expression if kind == "expression" else episode.activations(AUS8)
        right = lambda values: np.mean((values == truth)[~np.isnan(values) & (values >= 0)])
        merged = whole.labels.drop(columns="frame").to_numpy(float).reshape(truth.shape)
        assert right(merged) > np.mean([right(track.astype(float)) for track in noted.tracks.values()])
        assert whole.report.loc[measure, "aligned"] > whole.report.loc[measure, "as noted"]


def test_a_merged_label_is_a_label_table():
    people, episode = draw_annotators(3), make_episode(60)
    va, expression, aus = (merge(annotated(kind, people, episode)) for kind in NOTE)
    assert va.dtypes.astype(str).to_dict() == dict(frame="int32", valence="float32", arousal="float32")
    assert expression.dtypes.astype(str).to_dict() == dict(frame="int32", expression="int16")
    assert list(aus) == ["frame", *[f"au{au}" for au in AUS8]] and set(aus.dtypes.astype(str)[1:]) == {"float32"}
    assert (va.frame == np.arange(60)).all()


def test_means_are_of_those_present():
    noted = Annotations("c", 30, "va", dict(A=[[.2, 0], [np.nan]*2, [.4, .1], [np.nan]*2], B=[[.4, .1], [.6, .2], [.5, .3], [np.nan]*2], C=[[.9, .2], [.8, .4], [np.nan]*2, [np.nan]*2]))
    assert merge(noted, "mean").valence.tolist() == pytest.approx([.5, .7, .45, np.nan], nan_ok=True)
    assert merge(noted, "median").valence.tolist() == pytest.approx([.4, .7, .45, np.nan], nan_ok=True)
    weights = agreement_weights(noted)
    assert weights.sum().tolist() == pytest.approx([1, 1]) and (weights >= 0).all(axis=None)
    w = weights.arousal
    expected = [(0*w["A"] + .1*w["B"] + .2*w["C"]), (.2*w["B"] + .4*w["C"])/(w["B"] + w["C"]), (.1*w["A"] + .3*w["B"])/(w["A"] + w["B"]), np.nan]
    assert merge(noted, "weighted").arousal.tolist() == pytest.approx(expected, nan_ok=True)
    assert merge(noted, min_votes=3).valence.isna().tolist() == [False, True, True, True]
    assert merge(noted.select(["A"]), "weighted").valence.tolist() == pytest.approx([.2, np.nan, .4, np.nan], nan_ok=True)
    against = Annotations("c", 30, "va", dict(A=[[.1, .1], [.5, .5]], B=[[.5, .5], [.1, .1]]))
    with pytest.raises(ValueError, match="nobody agrees"): merge(against, "weighted")


def slow_majority(column, ties):
    "One frame's votes, in the annotators' order."
    said = [int(vote) for vote in column if vote >= 0]
    if not said: return -1
    most = max(said.count(vote) for vote in said)
    leading = [vote for vote in dict.fromkeys(said) if said.count(vote) == most]
    return leading[0] if len(leading) == 1 or ties == "first" else -1


@pytest.mark.parametrize("ties", ["missing", "first"])
def test_majority_against_a_slow_count(ties):
    rng = np.random.default_rng(0)
    noted = Annotations("c", 30, "expression", {name: rng.integers(-1, 4, 300) for name in "ABCDE"})
    expected = [slow_majority(column, ties) for column in zip(*noted.tracks.values())]
    assert merge(noted, ties=ties).expression.tolist() == expected
    enough = np.array([max(np.bincount(np.maximum(column, 0), weights=np.array(column) >= 0)) >= 3 for column in zip(*noted.tracks.values())])
    assert merge(noted, ties=ties, min_votes=3).expression.tolist() == np.where(enough, expected, -1).tolist()
    marks = Annotations("c", 30, "aus", {name: with_gaps(rng.integers(0, 2, (300, 2)), seed) for seed, name in enumerate("ABCD")}, (4, 12))
    columns = list(zip(*(np.nan_to_num(track[:, 1], nan=-1) for track in marks.tracks.values())))
    assert merge(marks, ties=ties).au12.fillna(-1).tolist() == [slow_majority(column, ties) for column in columns]
    assert merge(marks, "any").au12.fillna(-1).tolist() == [max(column) for column in columns]
    assert merge(marks, "all").au12.fillna(-1).tolist() == [min([vote for vote in column if vote >= 0], default=-1) for column in columns]


@pytest.mark.parametrize("change, said", [(dict(method="median"), "allowed for expression are majority"), (dict(ties="last"), "ties is 'last'"),
                                          (dict(min_votes=0), "allowed are 1 to 2"), (dict(min_votes=3), "allowed are 1 to 2")])
def test_impossible_merges_are_refused(change, said):
    with pytest.raises(ValueError, match=said): merge(Annotations("c", 30, "expression", dict(A=[0], B=[1])), **change)


def test_a_report_where_no_frame_has_everybody():
    gaps = Annotations("c", 30, "va", dict(A=[[.1, .1], [.2, .2], [np.nan]*2], B=[[np.nan]*2, [np.nan]*2, [.3, .3]]))
    report = agreement_report(gaps)
    assert report["frames of all, valence"] == 0 and np.isnan(report["ICC(2,1), valence"]) and np.isnan(report["pairwise CCC, arousal"])
    assert np.isnan(agreement_matrix(gaps).loc["A", "B"])


# ---- container and files

@pytest.mark.parametrize("arguments, said", [
    (("c", 30, "mood", dict(A=[0])), "kind is 'mood'"), (("c", 0, "va", dict(A=[[0, 0]])), "fps is 0"), (("c", 30, "va", {}), "no annotator"),
    (("c", 30, "va", {"a/b": [[0, 0]]}), "a/b"), (("..", 30, "va", dict(A=[[0, 0]])), "name is '..'"), (("c", 30, "va", dict(A=[[0, 0, 0]])), "valence, arousal"),
    (("c", 30, "va", dict(A=[[0, -1.01]])), "annotator A, frame 0: arousal is -1.01, allowed are numbers in"), (("c", 30, "va", dict(A=[[np.inf, 0]])), "valence is inf"),
    (("c", 30, "expression", dict(A=[0, -2])), "frame 1: expression is -2"), (("c", 30, "expression", dict(A=[0, 1.5])), "expression is 1.5"),
    (("c", 30, "aus", dict(A=[[0, 2]]), (1, 2)), "au2 is 2, allowed are 0 or 1"), (("c", 30, "aus", dict(A=[[0, 1]]), (1,)), "allowed is"),
    (("c", 30, "expression", dict(A=[0], B=[0, 1])), "same number")])
def test_tracks_that_mean_nothing_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said): Annotations(*arguments)


def test_the_container_keeps_its_own_copy():
    track = np.zeros((5, 2))
    noted = Annotations("c", 30, "va", dict(A=track))
    track[:] = 7
    assert (noted.tracks["A"] == 0).all() and len(noted) == 5 and noted.columns == ["valence", "arousal"]
    with pytest.raises(ValueError, match="no annotator"): noted.select(["B"])


@pytest.mark.parametrize("kind", NOTE)
def test_what_was_written_is_read(kind, tmp_path):
    noted = annotated(kind, [Annotator(**vars(person) | dict(lapses=.2)) for person in draw_annotators(3)], make_episode(300))
    assert np.isnan(noted.stack()).any()
    again = read_annotations(write_annotations(noted, tmp_path), 30, n_frames=300)
    assert (again.clip, again.kind, again.annotators, again.aus) == (noted.clip, kind, noted.annotators, noted.aus)
    for name in noted.tracks: assert np.array_equal(again.tracks[name], noted.tracks[name], equal_nan=kind != "expression")
    text = (tmp_path/"drawn"/"A1.csv").read_text()
    assert text.startswith(dict(va="frame,valence,arousal\n", expression="frame,expression\n", aus="frame,AU1,AU2,AU4")[kind]) and "-5" not in text and "nan" not in text.lower()


def test_writing_one_annotator_leaves_the_others(tmp_path):
    noted = Annotations("c", 30, "expression", dict(A=[0, 1], B=[2, -1]))
    write_annotations(noted, tmp_path)
    write_annotations(Annotations("c", 30, "expression", dict(B=[4, 4])), tmp_path)
    again = read_annotations(tmp_path/"c", 30).tracks
    assert again["A"].tolist() == [0, 1] and again["B"].tolist() == [4, 4]


def write_files(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items(): (folder/f"{name}.csv").write_bytes(text.encode())
    return folder


def test_files_of_other_programs_are_read(tmp_path):
    folder = write_files(tmp_path/"c", A="\ufeff" + "frame,valence,arousal\r\n0,0.5,-0.5\r\n2,,\r\n", B='Arousal , frame,valence\n"0.1",1,0.2\n\n\n')
    read = read_annotations(folder, 25)
    assert read.tracks["A"].tolist()[0] == [.5, -.5] and np.isnan(read.tracks["A"][1:]).all()
    assert len(read) == 3 and read.tracks["B"][1].tolist() == [.2, .1] and np.isnan(read.tracks["B"][[0, 2]]).all()
    folder = write_files(tmp_path/"d", A="frame,AU12,AU4\n0,1,0\n", B="frame,AU4,AU12\n0,1,0\n")
    marks = read_annotations(folder, 25, n_frames=2)
    assert marks.aus == (12, 4) and marks.tracks["B"][0].tolist() == [0, 1] and np.isnan(marks.tracks["A"][1]).all()


@pytest.mark.parametrize("text, said", [
    ("frame,valence\n0,0.1\n", r"A.csv, row 1: the header is 'frame,valence', allowed is 'frame,valence,arousal'"),
    ("valence,arousal\n0,0.1\n", "row 1: the header"), ("frame,AU1,AU1\n0,1,1\n", "row 1: the header"), ("frame;valence;arousal\n0;0;0\n", "row 1: the header"),
    ("frame,valence,arousal\n0,0.1,0.2\n1,0.1\n", "row 3: '1,0.1' has 2 values, allowed is 3"), ("frame,valence,arousal\n0,0.1,0.2,9\n", "row 2: .* has 4 values"),
    ("frame,valence,arousal\n0,0.1,0.2\n\n2,0,0\n", "row 3: '' has 1 values"),
    ("frame,valence,arousal\n0,0.1,0.2\n1,high,0\n", "row 3: valence is 'high', allowed are numbers in"), ("frame,valence,arousal\n0,1.01,0\n", "row 2: valence is '1.01'"),
    ("frame,valence,arousal\n0,0,-5\n", "row 2: arousal is '-5', .* or an empty cell"), ("frame,valence,arousal\n0,nan,0\n", "valence is 'nan'"),
    ("frame,expression\n0,7\n", "row 2: expression is '7', allowed are whole numbers 0 to 6"), ("frame,expression\n0,-1\n", "expression is '-1'"),
    ("frame,AU1\n0,0.5\n", "row 2: au1 is '0.5', allowed are 0 or 1"), ("frame,expression\n0,1\n0,1\n", "row 3: frame is '0', allowed is each frame once"),
    ("frame,expression\n-1,1\n", "row 2: frame is '-1', allowed is whole numbers"), ("frame,expression\n,1\n", "row 2: frame is ''"),
    ("frame,expression\n0.5,1\n", "row 2: frame is '0.5'"), ("frame,expression\n1e12,1\n", "row 2: frame is '1e12'"), ("", "is empty"), ("frame,expression\n0,1\n9,1\n", "row 3: frame is 9, allowed are 0 to 4"),
    ("frame,expression\n0,\x00\n", "A.csv")])
def test_bad_files_are_named_with_row_and_content(text, said, tmp_path):
    with pytest.raises(ValueError, match=said): read_annotations(write_files(tmp_path/"c", A=text), 30, n_frames=5)


def test_folders_that_are_none_of_ours(tmp_path):
    with pytest.raises(ValueError, match="has no annotation"): read_annotations(tmp_path, 30)
    with pytest.raises(ValueError, match="B.csv holds expression, A.csv holds valence, arousal"):
        read_annotations(write_files(tmp_path/"c", A="frame,valence,arousal\n0,0,0\n", B="frame,expression\n0,1\n"), 30)
    assert len(read_annotations(write_files(tmp_path/"d", A="frame,expression\n"), 30)) == 0
