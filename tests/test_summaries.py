"""Summaries, onsets and synchrony of predictions: against other ways to compute them, and the properties that a null must have."""
import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from affect_nb.analysis.onsets import active_runs, find_events, frame_period, predicted_frames
from affect_nb.analysis.summaries import mixed_model, successive_difference, summarise, wide_summary
from affect_nb.analysis.synchrony import (circular_shifts, intersubject_correlation, lagged_correlation, output_traces, shift_p, synchrony,
                                          windowed_synchrony)
from affect_nb.core.metrics import ccc


def slow_noise(rng, n, keep=.9):
    "An autoregressive process."
    values = rng.standard_normal(n + 200)
    for number in range(1, len(values)): values[number] += keep*values[number - 1]
    return values[200:]


def drawn(seed, n=300, holes=.2, fps=30.):
    "A table of two faces with random traces, lost values and lost rows."
    rng = np.random.default_rng(seed)
    faces = [pd.DataFrame(dict(clip="talk", frame=np.arange(n), time=np.arange(n)/fps, face_id=face, valence=np.tanh(slow_noise(rng, n)/2),
                               arousal=np.tanh(slow_noise(rng, n)/2), prob_happiness=rng.random(n), prob_au4=1/(1 + np.exp(-slow_noise(rng, n)))))
             for face in (0, 1)]
    table = pd.concat(faces, ignore_index=True)
    table.loc[rng.random(len(table)) < holes, ["valence", "arousal", "prob_happiness", "prob_au4"]] = np.nan
    table = table[rng.random(len(table)) >= .05]
    none = pd.DataFrame(dict(clip="talk", frame=np.arange(n), time=np.arange(n)/fps, face_id=-1)) # a row for each frame without a face
    return pd.concat([table, none[~none.frame.isin(table.frame)]]).sample(frac=1, random_state=seed)


# summaries

@pytest.mark.parametrize("seed", range(5))
def test_summaries_against_a_loop_over_frames(seed):
    table = drawn(seed)
    summary = summarise(table)
    n_frames = table.frame.nunique()
    for row in summary.itertuples():
        face = table[table.face_id == row.face_id].set_index("frame")[row.output].to_dict()
        values = {frame: value for frame, value in face.items() if value == value}
        steps = [abs(values[frame + 1] - value) for frame, value in values.items() if frame + 1 in values]
        assert row.mean == pytest.approx(sum(values.values())/len(values)) and row.missing == pytest.approx(1 - len(values)/n_frames)
        assert row.masd == pytest.approx(sum(steps)/len(steps)) and row.sd == pytest.approx(np.std(list(values.values()), ddof=1))
        assert row.highest == max(values.values()) and values[round(row.lowest_time*30)] == row.lowest == min(values.values())


def test_missing_values_count_nowhere():
    "What stands in no frame changes no number but the share that is missing; rows of NaN are as if they were not there."
    table = drawn(1)
    bare = table.dropna(subset="valence")
    frames = table.drop_duplicates("frame")[["clip", "frame", "time"]].assign(face_id=-1)
    same = pd.concat([bare, frames[~frames.frame.isin(bare.frame)]])
    pd.testing.assert_frame_equal(summarise(table), summarise(same))


def test_faces_spans_and_clips_add_up():
    table = drawn(2, holes=0)
    halves = summarise(table, spans=[dict(start=0, end=5, label="a"), dict(start=5, end=10, label="b")])
    whole = summarise(table)
    count = halves.frames*(1 - halves.missing)
    pooled = (halves["mean"]*count).groupby([halves.face_id, halves.output]).sum()/count.groupby([halves.face_id, halves.output]).sum()
    expected = whole.set_index(["face_id", "output"])["mean"]
    np.testing.assert_allclose(pooled.sort_index(), expected.sort_index())
    assert halves.groupby(["face_id", "output"]).onsets.sum().sort_index().tolist() == whole.set_index(["face_id", "output"]).onsets.sort_index().tolist()
    clip = summarise(table, each="clip").set_index("output")
    assert clip.loc["valence", "mean"] == pytest.approx(table.valence.mean())
    assert clip.loc["valence", "onsets"] == whole[whole.output == "valence"].onsets.sum()
    both = pd.concat([table, table.assign(clip="other")])
    assert len(wide_summary(summarise(both))) == 4


def test_a_frame_of_one_face_is_no_neighbour_of_another_face():
    table = pd.DataFrame(dict(clip="x", frame=[0, 1, 2, 3], time=[0, .1, .2, .3], face_id=[0, 0, 1, 1], valence=[0., 0., 1., 1.]))
    assert summarise(table, each="clip")["masd"].tolist() == [0.]


# onsets

@pytest.mark.parametrize("seed", range(5))
def test_events_against_their_rule(seed):
    table = drawn(seed, holes=.02)
    events = find_events(table)
    assert len(events) > 10 and set(events.direction) == {"high", "low"}
    for event in events.itertuples():
        face = table[(table.face_id == event.face_id)].sort_values("frame")
        level = face[event.output].median()
        on = {"valence": {"high": lambda v: v >= level + .2, "low": lambda v: v <= level - .2}}.get(
            "valence" if event.output in ("valence", "arousal") else "", {"high": lambda v: v >= .5})[event.direction]
        inside = face[(face.time > event.onset - 1e-6) & (face.time < event.offset - 1e-6)]
        assert on(inside[event.output]).all() and event.offset - event.onset >= .2 - 1e-6
        assert len(inside) == round((event.offset - event.onset)*30) # neighbours, none missing
        best = inside[event.output].min() if event.direction == "low" else inside[event.output].max()
        assert event.peak == best and inside.set_index("time")[event.output][event.peak_time] == best
        for edge in (event.onset - 1/30, event.offset): # just outside it is not active, or missing
            beside = face[(face.time - edge).abs() < 1e-6][event.output]
            assert not on(beside).any()


def test_planted_onsets_are_found_at_any_rate():
    for fps in (15, 29.97, 60):
        frame = np.arange(int(10*fps))
        active = (frame/fps >= 3) & (frame/fps < 4.5)
        table = pd.DataFrame(dict(clip="x", frame=frame, time=np.round(frame/fps, 4), face_id=0, prob_au12=.2 + .5*active))
        event, = find_events(table).itertuples()
        assert abs(event.onset - 3) <= 1/fps and abs(event.offset - 4.5) <= 1/fps


@pytest.mark.parametrize("fps", [23.976, 25, 29.97, 30, 50, 59.94, 60, 120])
def test_where_an_event_begins_does_not_decide_whether_it_counts(fps):
    "Just as long as asked for, at every place, with the four digits that a CSV has; a gap that is just as long is bridged."
    n = round(.2*fps)
    times, shortest = np.round(np.arange(400)/fps, 4), n/fps
    table = pd.DataFrame(dict(clip="x", frame=range(400), time=times, face_id=0, prob_au4=.1))
    assert frame_period(table) == pytest.approx(1/fps, rel=1e-5)
    for first in range(3, 63):
        here = table.assign(prob_au4=np.where((table.frame >= first) & (table.frame < first + n), .9, .1))
        assert len(find_events(here, shortest=shortest)) == 1 and len(find_events(here, shortest=shortest + .5/fps)) == 0
        gap = here.assign(prob_au4=np.where(here.prob_au4 > .5, np.nan, .9))
        assert [len(find_events(gap, bridge=shortest - less, shortest=0)) for less in (0, .5/fps)] == [1, 2]


def test_missing_frames_are_bridged_by_hand():
    "AU12 at 10 Hz: 4 active, 2 missing, 4 active, 1 not, 3 active; frames 4 and 5 once without a value, once without a row."
    values = [.9]*4 + [np.nan]*2 + [.8]*4 + [.1] + [.7]*3
    table = pd.DataFrame(dict(clip="x", frame=range(14), time=np.arange(14)/10, face_id=0, prob_au12=values))
    for given in (table, table.drop(index=[4, 5])):
        assert [tuple(event) for event in find_events(given)[["onset", "offset"]].round(6).itertuples(index=False)] == [(0, .4), (.6, 1.), (1.1, 1.4)]
        assert len(find_events(given, bridge=.1)) == 3 # two frames are more
        events = find_events(given, bridge=.2)
        assert events.onset.tolist() == pytest.approx([0, 1.1]) and events.offset.tolist() == pytest.approx([1., 1.4])
        assert events.peak.tolist() == [.9, .7] and events.peak_time.tolist() == pytest.approx([0, 1.1])
        assert len(find_events(given, bridge=.2, shortest=.5)) == 1 and len(find_events(given, bridge=9)) == 2 # what is seen as inactive is no gap
    with pytest.raises(ValueError, match="bridge is nan"): find_events(table, bridge=np.nan)


@pytest.mark.parametrize("seed", range(5))
def test_bridges_against_filled_frames(seed):
    "A gap of missing frames that may be bridged, between two active frames, is as if it had been active."
    table, frames = drawn(seed, holes=.1).query("face_id == 0").sort_values("frame"), 4
    bridged = find_events(table[["clip", "frame", "time", "face_id", "prob_au4"]], bridge=frames/30)
    full = pd.DataFrame(dict(frame=range(table.frame.min(), table.frame.max() + 1))).merge(table, "left")
    on, missing = (full.prob_au4 >= .5).to_numpy(), full.prob_au4.isna().to_numpy()
    filled, place = on.copy(), 0
    while place < len(on):
        end = place
        while end < len(on) and missing[end]: end += 1
        if 0 < place < end < len(on) and end - place <= frames and on[place - 1] and on[end]: filled[place:end] = True
        place = max(end, place + 1)
    runs = [run for run in active_runs(filled, full.frame.to_numpy()) if run[1] - run[0] + 1 >= 6]
    assert bridged.onset.tolist() == pytest.approx([full.frame[first]/30 for first, _ in runs], abs=1e-3)
    assert bridged.offset.tolist() == pytest.approx([(full.frame[last] + 1)/30 for _, last in runs], abs=1e-3)
    assert missing.any() and not bridged.equals(find_events(table[["clip", "frame", "time", "face_id", "prob_au4"]]))


def test_runs_end_at_gaps():
    rng = np.random.default_rng(0)
    for _ in range(200):
        frames = np.sort(rng.choice(30, 20, replace=False))
        active = rng.random(20) < .6
        runs = active_runs(active, frames)
        assert sorted(place for first, last in runs for place in range(first, last + 1)) == np.flatnonzero(active).tolist()
        assert all((np.diff(frames[first:last + 1]) == 1).all() for first, last in runs)
        assert all(frames[after[0]] - frames[before[1]] > 1 or not active[before[1] + 1] for before, after in zip(runs, runs[1:]))


def test_predictions_twice_or_in_words_are_refused(tmp_path):
    table = drawn(0)
    with pytest.raises(ValueError, match="occurs twice"): predicted_frames(pd.concat([table, table[table.face_id == 0].head(1)]))
    (tmp_path/"x.csv").write_text("frame,time_s,face_id,valence\n0,0.0,0,high\n")
    with pytest.raises(ValueError, match="x.csv holds a prediction that is no number"): predicted_frames(tmp_path/"x.csv")


# synchrony

@pytest.mark.parametrize("lag", (-40, -7, 0, 1, 33))
@pytest.mark.parametrize("holes", (0, .2))
def test_a_planted_lag_is_found(lag, holes):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        source = slow_noise(rng, 4100)
        first, second = source[50:4050].copy(), source[50 - lag:4050 - lag] + .5*rng.standard_normal(4000)
        for trace in (first, second): trace[rng.random(4000) < holes] = np.nan
        found = synchrony(first, second, rate=25, draws=999, seed=seed)
        assert found.lag == pytest.approx(lag/25) and found.p == pytest.approx(found.least_p, abs=.02) and found.least_p == 101/4000
        assert synchrony(second, first, rate=25, draws=9).lag == pytest.approx(-lag/25)


def test_correlation_and_concordance_are_those_of_others():
    rng = np.random.default_rng(0)
    first, second = slow_noise(rng, 500), slow_noise(rng, 500)
    curve, found = lagged_correlation(first, second, rate=10, longest=1), synchrony(first, second, rate=10, longest=1, draws=9)
    assert found.r == pytest.approx(pearsonr(first, second).statistic) and found.ccc == pytest.approx(ccc(first, second))
    assert curve[.3] == pytest.approx(pearsonr(first[:-3], second[3:]).statistic) and curve[-.3] == pytest.approx(pearsonr(first[3:], second[:-3]).statistic)
    whole = windowed_synchrony(first, second, rate=10, window=50, longest=1)
    assert whole.loc[0, ["r", "peak_r", "lag", "ccc"]].tolist() == pytest.approx([found.r, found.peak_r, found.lag, found.ccc])


@pytest.mark.parametrize("keep", (0., .9))
def test_independent_noise_has_uniform_p(keep):
    "Mean .5 with a standard error of .015; small values as rare as they say, also where they would be cheap: few frames, many lags."
    p = []
    for seed in range(400):
        rng = np.random.default_rng(1000 + seed)
        p.append(synchrony(slow_noise(rng, 500, keep), slow_noise(rng, 500, keep), rate=25, longest=.4, draws=199, seed=seed).p)
    p = np.array(p)
    assert abs(p.mean() - .5) < .06 and (p <= .05).mean() < .09 and (p <= .01).mean() < .03


def test_independent_viewers_have_uniform_p():
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = intersubject_correlation(np.stack([slow_noise(rng, 300) for _ in range(4)], 1), draws=99, seed=seed)
        p.append(table.p)
    p = np.array(p)
    assert abs(p[:, -1].mean() - .5) < .12 and abs(p[:, :-1].mean() - .5) < .12 and (p[:, -1] <= .05).mean() < .15


def test_shifting_keeps_values_and_autocorrelation():
    rng = np.random.default_rng(0)
    trace = slow_noise(rng, 800, .97)
    circular = lambda values, lag: np.corrcoef(values, np.roll(values, lag))[0, 1]
    neighbour = lambda values: np.corrcoef(values[1:], values[:-1])[0, 1]
    for shift in circular_shifts(800, 20):
        moved = np.roll(trace, shift)
        assert sorted(moved) == sorted(trace)
        assert all(circular(moved, lag) == pytest.approx(circular(trace, lag)) for lag in (1, 5, 50))
        assert neighbour(moved) == pytest.approx(neighbour(trace), abs=.02)
    assert abs(neighbour(rng.permutation(trace))) < .1 # what shuffling frames would do


def test_shifts_are_all_alike_and_seeded():
    shifts = circular_shifts(50, 20000, seed=3)
    assert np.bincount(shifts, minlength=50).min() > 300 and shifts.max() == 49 and (shifts == circular_shifts(50, 20000, 3)).all()
    assert (shifts != circular_shifts(50, 20000, 4)).any()
    rng = np.random.default_rng(0)
    first, second = slow_noise(rng, 300), slow_noise(rng, 300)
    assert synchrony(first, second, 25, seed=1).equals(synchrony(first, second, 25, seed=1))


def test_p_is_never_nought():
    assert shift_p(1., np.zeros(999)) == .001 and shift_p(0., np.zeros(999)) == 1. and np.isnan(shift_p(np.nan, np.zeros(9)))


def test_constant_and_missing_traces_have_no_synchrony():
    trace = slow_noise(np.random.default_rng(0), 300)
    for other in (np.ones(300), np.full(300, np.nan)):
        found = synchrony(trace, other, rate=25, draws=9)
        assert np.isnan(found.r) and np.isnan(found.peak_r) and np.isnan(found.lag) and np.isnan(found.p)
    table = intersubject_correlation(np.stack([trace, trace, trace, np.full(300, np.nan)], 1), draws=9)
    assert table.r[:3].tolist() == pytest.approx([1]*3) and np.isnan(table.r[3]) and np.isnan(table.p[3]) and table.r["mean"] == pytest.approx(1)


def test_viewers_are_compared_with_the_mean_of_the_others():
    rng = np.random.default_rng(0)
    traces = pd.DataFrame(rng.standard_normal((50, 4)), columns=list("abcd"))
    traces.loc[3:8, "b"] = np.nan
    found = intersubject_correlation(traces, draws=9)
    for name in traces:
        others = traces.drop(columns=name).mean(axis=1) # pandas leaves out what is missing
        assert found.r[name] == pytest.approx(traces[name].corr(others))


def test_traces_of_predictions_side_by_side():
    table = drawn(0)
    traces = output_traces([table, table.assign(clip="other")], "prob_au4")
    assert list(traces) == ["talk 0", "talk 1", "other 0", "other 1"] and traces.attrs["rate"] == pytest.approx(30) and len(traces) == 300
    expected = table[table.face_id == 1].set_index("frame").prob_au4.reindex(range(300))
    np.testing.assert_array_equal(traces["talk 1"], expected)
    found = synchrony(traces["talk 0"], traces["other 0"], traces.attrs["rate"], draws=99)
    assert found.lag == 0 and found.ccc == pytest.approx(1)
    with pytest.raises(ValueError, match="more than one table"): output_traces([table, table], "valence")


def test_traces_that_drift_apart_are_refused():
    "30 and 29.97 Hz are a frame apart after 33 s; rates come out of the four digits of a CSV."
    def film(fps, n): return pd.DataFrame(dict(clip=f"{fps} Hz", frame=range(n), time=np.round(np.arange(n)/fps, 4), face_id=0, valence=.1))
    for fps in (23.976, 29.97, 30, 60): assert output_traces(film(fps, 500), "valence").attrs["rate"] == pytest.approx(fps, rel=1e-5)
    assert output_traces([film(30, 900), film(29.97, 900)], "valence").shape == (900, 2)
    with pytest.raises(ValueError, match="'29.97 Hz' has a frame every 0.03337 s.*drift apart by 0.06 s"):
        output_traces([film(30, 1800), film(29.97, 1800)], "valence")


# mixed models

def people(rng, n=20, clips=10, effect=.3, between=.2, within=.1):
    table = pd.DataFrame(dict(person=np.repeat(np.arange(n), clips), funny=np.tile([0, 1], n*clips//2)))
    return table.assign(y=effect*table.funny + between*rng.standard_normal(n)[table.person] + within*rng.standard_normal(len(table)))


def test_a_mixed_model_against_the_balanced_analysis_by_hand():
    "In a balanced design the effect is the mean difference, and the variances are those of the mean squares (Searle 1971)."
    table = people(np.random.default_rng(0))
    model = mixed_model(table, "y ~ funny", "person")
    means = table.groupby(["person", "funny"]).y.mean().unstack()
    assert model.loc["funny", "estimate"] == pytest.approx((means[1] - means[0]).mean(), abs=1e-6)
    effect, person = table.groupby("funny").y.transform("mean"), table.groupby("person").y.transform("mean")
    residual = ((table.y - effect - person + table.y.mean())**2).sum()/(200 - 20 - 1)
    between = (10*table.groupby("person").y.mean().var() - residual)/10
    assert model.loc["variance within person", "estimate"] == pytest.approx(residual, rel=1e-3)
    assert model.loc["variance between person", "estimate"] == pytest.approx(between, rel=1e-2)
    assert model.loc["funny", "se"] == pytest.approx(np.sqrt(4*residual/200), rel=1e-3)


def test_intervals_of_mixed_models_hold_the_truth():
    held = []
    for seed in range(40):
        model = mixed_model(people(np.random.default_rng(seed), n=12, clips=6), "y ~ funny", "person")
        held.append(model.loc["funny", "low"] <= .3 <= model.loc["funny", "high"])
    assert np.mean(held) >= .85


REFUSED = {
    "few groups": (lambda table: table[table.person < 3], "y ~ funny", "person has 3 groups"),
    "one row each": (lambda table: table.drop_duplicates("person"), "y ~ funny", "has one complete row"),
    "all missing": (lambda table: table.assign(y=np.nan), "y ~ funny", "person has 0 groups"),
    "constant": (lambda table: table.assign(y=1.), "y ~ funny", "'y ~ funny'"),
    "no such column": (lambda table: table, "y ~ sunny", "cannot be fitted"),
    "no formula": (lambda table: table, "y ~~ funny +", "cannot be fitted"),
    "the same twice": (lambda table: table.assign(twice=2*table.funny), "y ~ funny + twice", "'y ~ funny + twice'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_mixed_model_cannot_tell_is_said(name):
    change, formula, says = REFUSED[name]
    with pytest.raises(ValueError) as error: mixed_model(change(people(np.random.default_rng(0))), formula, "person")
    assert says in str(error.value), error.value


def test_successive_differences_see_the_order():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(100)
    assert successive_difference(np.sort(values), np.arange(100)) == pytest.approx(np.ptp(values)/99)
