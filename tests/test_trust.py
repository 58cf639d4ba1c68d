"""Trust in a frame: it never grows where something gets worse, unknown parts do not count, and what is left out is counted."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect_nb.analysis.trust import BOX_TRUST, STATUS_TRUST, TRUST_PARTS, TRUST_RAMPS, trust_parts, trusted_frames, with_trust
from affect_nb.train.distance import FeatureDistance
from affect_nb.preprocess.detect import create_detector, face_prob
from affect_nb.preprocess.frames import FRAME_COLUMNS, STATUS, frame_row, frames_dataframe, frames_table
from affect_nb.preprocess.pose import QUALITY_COLUMNS, poor_quality

GOOD = dict(yaw=0., pitch=0., roll=0., face_size=80., sharpness=1., light=.5)
NUMBERS = dict(yaw=st.floats(-90, 90), pitch=st.floats(-90, 90), roll=st.floats(-180, 180), face_size=st.floats(0, 300), sharpness=st.floats(0, 1), light=st.floats(0, 1))
WORSE = dict(yaw=1, pitch=1, roll=1, face_size=-1, sharpness=-1, light=-1) # the sign of a change for the worse, of the size


def table(**columns):
    "A frame table of one row, or of as many as a column has."
    n = max((len(value) for value in columns.values() if isinstance(value, (list, np.ndarray))), default=1)
    frames = frames_dataframe(frames_table([frame_row(i, i/25, 0, "ok", score=2., **GOOD) for i in range(n)]))
    return frames.assign(**columns)


def trust_of(**columns): return with_trust(table(**columns), detector="dlib_hog").trust.to_numpy()


def test_a_good_frame_is_trusted_and_every_part_can_take_it_away():
    assert trust_of()[0] == pytest.approx(1, abs=.01) and with_trust(table()).trust[0] == 1
    bad = dict(status="lost", yaw=70., pitch=-40., roll=60., face_size=0., sharpness=0., light=0., score=-5.)
    for name, value in bad.items():
        row = with_trust(table(**{name: value}), detector="dlib_hog").iloc[0]
        assert row.trust < .01 and row.weakest == {"status": "fit", "score": "detection"}.get(name, name)
    assert with_trust(table(), distance=np.array([5.])).weakest[0] == "distance"
    assert with_trust(table(), visible=np.array([.4])).weakest[0] == "visible" and with_trust(table(), visible=np.array([.97])).trust[0] == 1


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries(NUMBERS), st.floats(-3, 3), st.sampled_from(STATUS), st.floats(0, 4), st.floats(0, 1), st.sampled_from([*WORSE, "score", "distance", "visible"]), st.floats(0, 100))
def test_trust_never_grows_where_something_gets_worse(values, score, status, distance, visible, name, change):
    worse, far, hidden = dict(values, score=score), distance, visible
    if name == "score": worse["score"] -= change
    elif name == "distance": far += change
    elif name == "visible": hidden = max(hidden - change, 0)
    elif WORSE[name] > 0: worse[name] += np.sign(worse[name] or 1)*change
    else: worse[name] = max(worse[name] - change, 0)
    before, after = (with_trust(table(status=status, **row), detector="dlib_hog", distance=np.array([d]), visible=np.array([v])).iloc[0]
                     for row, d, v in ((dict(values, score=score), distance, visible), (worse, far, hidden)))
    assert 0 <= after.trust <= before.trust <= 1
    assert after.weakest in ("", *TRUST_PARTS) and (after.weakest == "") == (after.trust == 1)


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries(NUMBERS), st.sampled_from(QUALITY_COLUMNS))
def test_what_is_not_known_does_not_count_unless_asked(values, name):
    known, unknown = table(**values), table(**dict(values, **{name: np.nan}))
    assert with_trust(unknown).trust[0] >= with_trust(known).trust[0]
    strict = with_trust(unknown, count_unknown=True)
    assert strict.trust[0] == 0 and trust_parts(unknown, count_unknown=True)[name][0] == 0
    assert trust_parts(unknown)[name].isna().all()


def test_half_trust_is_where_quality_begins_to_be_poor():
    "The thresholds of `poor_quality` are the middles of their ramps: what is poor there is trusted by less than one half here, and no other."
    rng = np.random.default_rng(0)
    n = 400
    frames = table(yaw=rng.uniform(-80, 80, n), face_size=rng.uniform(0, 30, n), sharpness=rng.uniform(0, 1, n), light=rng.uniform(0, .3, n))
    only = dict(pitch=None, roll=None)
    pd.testing.assert_series_equal(with_trust(frames, ramps=only).trust < .5, poor_quality(frames), check_names=False)
    assert 0 < poor_quality(frames).mean() < 1


def test_detection_is_the_probability_of_the_detector():
    scores = np.linspace(-1, 2, 7)
    detector = create_detector("dlib_hog")
    for given_ in ("dlib_hog", detector):
        part = trust_parts(table(score=scores), detector=given_).detection
        np.testing.assert_allclose(part, np.clip((face_prob(detector, scores) - .01)/.98, 0, 1), atol=1e-6)
    assert "detection" not in trust_parts(table(score=scores))
    assert trust_parts(table(score=[np.nan, 1.]), detector=detector).detection.isna().tolist() == [True, False]


def test_fit_by_status_and_by_box():
    frames = table(status=list(STATUS), aligned=["", "landmarks", "box", "box", "box"])
    assert trust_parts(frames).fit.tolist() == [STATUS_TRUST["ok"], STATUS_TRUST["no_face"], STATUS_TRUST["lost"], min(STATUS_TRUST["poor_fit"], BOX_TRUST), STATUS_TRUST["degenerate"]]
    assert trust_parts(table(aligned="box")).fit.tolist() == [BOX_TRUST]
    assert set(STATUS_TRUST) == set(STATUS) and set(QUALITY_COLUMNS) < set(TRUST_RAMPS) and set(QUALITY_COLUMNS) < set(FRAME_COLUMNS)


def test_ramps_of_ones_own():
    frames = table(yaw=[10., 20., 30.])
    np.testing.assert_allclose(trust_parts(frames, ramps=dict(yaw=(10, 30))).yaw, [1, .5, 0])
    assert "yaw" not in trust_parts(frames, ramps=dict(yaw=None))
    for ramps, words in ((dict(yaw=(30, 10)), "must be smaller"), (dict(light=(.1, .5)), "must be larger"), (dict(light=(.1, .1)), "must be larger"), (dict(glare=(0, 1)), "no ramp")):
        with pytest.raises(ValueError, match=words): trust_parts(frames, ramps=ramps)
    for columns, options, words in ((["frame"], {}, "no column that tells"), (["yaw"], dict(distance=np.zeros(2)), "one for each row"), (["yaw"], dict(count_unknown="yes"), "True and False")):
        with pytest.raises(ValueError, match=words): trust_parts(frames[columns], **options)


def features(people, seed, shift=0., d=12):
    rng = np.random.default_rng(seed)
    own = np.repeat(rng.standard_normal((people, d)), 30, 0)
    mix = np.random.default_rng(0).standard_normal((d, d))
    return (own + .5*rng.standard_normal(own.shape) + shift)@mix, np.repeat(np.arange(people), 30)


def test_distance_is_mahalanobis_in_any_units_and_knows_new_people_from_strange_ones():
    training, whose = features(30, 1)
    distance = FeatureDistance(training, whose)
    gaps = training - training.mean(0)
    slow = np.sqrt([gap@distance.precision@gap for gap in gaps])
    np.testing.assert_allclose(distance(training), slow/distance.usual)
    new, strange = distance(features(200, 2)[0]), distance(features(200, 3, 4.)[0])
    assert .005 < (new > 1).mean() < .12 and (strange > 1).mean() > .95
    shifts = [distance(features(40, 4, shift)[0]).mean() for shift in (0., 1., 2., 4.)]
    assert (np.diff(shifts) > 0).all()
    part = trust_parts(table(yaw=np.zeros(len(new))), distance=new).distance
    assert part.mean() > .97
    assert np.isnan(FeatureDistance(training)(np.full((1, 12), np.inf))).all()


@pytest.mark.parametrize("make, words", [
    (lambda: FeatureDistance(features(1, 0)[0], np.zeros(30)), "number of people 1"), (lambda: FeatureDistance(np.zeros((3, 2))), "3 rows"),
    (lambda: FeatureDistance(np.zeros(30)), "a row for each frame"), (lambda: FeatureDistance(features(2, 0)[0])(np.zeros((2, 3))), "3 columns")])
def test_bad_features_are_named(make, words):
    with pytest.raises(ValueError, match=words): make()


def test_flat_features_do_not_break():
    "A unit of a network that is always 0 says nothing."
    training, whose = features(10, 1)
    flat = FeatureDistance(np.concatenate([training, np.zeros((len(training), 3))], 1), whose)
    assert np.isfinite(flat(np.concatenate([training, np.zeros((len(training), 3))], 1))).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(np.nan)), min_size=1, max_size=40), st.floats(0, 1))
def test_what_is_left_out_is_counted(trust, level):
    trust = np.array(trust)
    frames = pd.DataFrame(dict(trust=trust, weakest=np.where(trust < 1, np.where(trust < .5, "yaw", "light"), ""), person=np.arange(len(trust)) % 2))
    kept, report = trusted_frames(frames, level, group="person")
    assert len(kept) + report.frames["all"] == len(frames) and not (kept.trust < level).any()
    assert report.frames.drop("all").sum() == report.frames["all"] and report.share["all"] == pytest.approx(1 - len(kept)/len(frames))
    for person, part in frames.groupby("person"): assert report.loc["all", f"person {person}"] == pytest.approx((part.trust < level).mean())
    more, _ = trusted_frames(frames, level/2)
    assert set(kept.index) <= set(more.index) and trust[~frames.index.isin(kept.index)].max(initial=-1) < max(level, 1e-300)


def test_leaving_out_needs_a_level_and_the_columns():
    frames = with_trust(table(yaw=[0., 50.]))
    with pytest.raises(ValueError, match="lie in"): trusted_frames(frames, 1.2)
    with pytest.raises(ValueError, match="no column 'trust'"): trusted_frames(table(), .5)
    with pytest.raises(ValueError, match="no column 'age'"): trusted_frames(frames, .5, group="age")
    assert trusted_frames(frames, .5)[0].index.tolist() == [0]
