"""Drawn faces: the same seed gives the same pixels, each action unit moves its own region, dlib finds faces and landmarks."""
import dlib
import numpy as np
import pytest

from affect_nb.core.labels import EXPRESSIONS
from affect_nb.preprocess.landmarks import find_landmark_model
from affect_nb.synth.action_units import AU_REGION, FACE_REGIONS
from affect_nb.synth.faces import (DEFAULT_DIFFICULTY, DRAWN_AUS, Actor, Identity, Pose, Scene, draw_face, expression_aus, region_mask,
                                   render_face, render_frame)

PLAIN = Scene(noise=0)


@pytest.fixture(scope="module")
def sample():
    return [draw_face(seed) for seed in range(60)]


def overlap(a, b):
    "Intersection over union of two boxes."
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(0, high - low))
    return shared/(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def test_the_same_seed_gives_the_same_pixels():
    first, again, other = draw_face(11), draw_face(11), draw_face(12)
    assert (first.image == again.image).all() and (first.landmarks == again.landmarks).all()
    assert (first.image != other.image).any()
    actors = [Actor(Identity.draw(1), {12: 2}, Pose(x=100, y=120, height=130))]
    one, two = (render_frame(actors, Scene.draw(4), 320, 240, seed=seed).image for seed in (0, 1))
    assert one.shape == (240, 320, 3) and one.dtype == np.uint8
    assert (one != two).any(), "each frame has its own noise"
    assert np.abs(one.astype(int) - two).mean() < 6, "and nothing else of its own"


@pytest.mark.parametrize("au", DRAWN_AUS)
@pytest.mark.parametrize("person", [1, 8, 19])
def test_each_action_unit_changes_its_own_region_and_more_with_intensity(au, person):
    identity, pose = Identity.draw(person), Pose()
    rest = render_face(None, identity, pose, PLAIN)
    change = [np.abs(render_face({au: k}, identity, pose, PLAIN).image - rest.image.astype(float)).mean(2) for k in (1, 2, 3, 4, 5)]
    own = region_mask(rest, pose, AU_REGION[au])
    assert change[3][own].sum() > .6*change[3].sum()
    assert change[3][own].mean() > 10*change[3][~own].mean()
    totals = [part[own].sum() for part in change]
    assert totals == sorted(totals) and totals[0] > 0


def test_regions_are_inside_the_map_of_the_face():
    assert set(AU_REGION) == set(DRAWN_AUS) and len(DRAWN_AUS) == 18
    assert all(left < right and top < bottom for left, top, right, bottom in FACE_REGIONS.values())


@pytest.mark.parametrize("au, point, axis, sign", [(1, 21, 1, -1), (2, 18, 1, -1), (4, 21, 1, 1), (5, 37, 1, -1), (12, 48, 1, -1), (15, 48, 1, 1),
                                                   (20, 48, 0, -1), (23, 48, 0, 1), (25, 66, 1, 1), (26, 8, 1, 1)])
def test_dlib_sees_what_moved(au, point, axis, sign):
    model = dlib.shape_predictor(str(find_landmark_model()))
    seen = [point_of(model, render_face({au: k} if k else None, Identity.draw(person), scene=PLAIN), point)[axis] for person in range(5) for k in (0, 5)]
    moved = np.diff(np.reshape(seen, (-1, 2)))
    assert sign*moved.mean() > .8, f"pixels: {moved.ravel()}"


def point_of(model, drawn, point):
    return landmarks_of(model, drawn.image, drawn.box)[point]


def landmarks_of(model, image, box):
    shape = model(image, dlib.rectangle(*(int(round(float(v))) for v in box)))
    return np.array([(p.x, p.y) for p in shape.parts()], float)


def test_landmarks_lie_inside_the_box(sample):
    for drawn in sample:
        assert (drawn.landmarks >= drawn.box[:2]).all() and (drawn.landmarks <= drawn.box[2:]).all()
        assert drawn.landmarks.shape == (68, 2) and drawn.box.shape == (4,)


def test_detector_and_landmark_model_agree_with_the_truth(sample):
    detector, model, errors, found = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(find_landmark_model())), [], 0
    for drawn in sample:
        boxes = [np.array([r.left(), r.top(), r.right(), r.bottom()], float) for r in detector(drawn.image, 0)]
        boxes = [box for box in boxes if overlap(box, drawn.box) > .5]
        found += bool(boxes)
        if not boxes: continue
        distance = np.linalg.norm(landmarks_of(model, drawn.image, boxes[0]) - drawn.landmarks, axis=1).mean()
        errors.append(distance/np.linalg.norm(drawn.landmarks[45] - drawn.landmarks[36]))
    assert found >= .95*len(sample)
    assert np.mean(errors) <= .06


def test_poses_stay_within_25_degrees_and_grow_with_difficulty():
    easy, hard = ([Pose.draw(seed, difficulty) for seed in range(200)] for difficulty in (0, 1))
    assert max(abs(p.yaw) for p in hard) <= 25 and max(abs(p.roll) for p in hard) <= 25
    assert np.std([p.yaw for p in hard]) > 2*np.std([p.yaw for p in easy])
    for yaw in (-25, 25):
        for roll in (-25, 25): assert np.isfinite(render_face(None, Identity.draw(0), Pose(yaw, roll)).landmarks).all()


def test_a_turned_head_shows_more_of_the_near_cheek():
    points = render_face(None, Identity.draw(0), Pose(yaw=20)).landmarks
    assert points[30, 0] - points[2, 0] > 1.5*(points[14, 0] - points[30, 0])


def test_slow_movement_is_slow():
    frames = [render_frame([Actor(Identity.draw(2), {12: 2 + .02*k}, Pose(.2*k - 6, .05*k, 160 + .13*k, 125, 150))], PLAIN).image.astype(int) for k in range(40)]
    steps = [np.abs(b - a).mean() for a, b in zip(frames, frames[1:])]
    assert max(steps) < 1.5*np.median(steps)


def test_frames_with_nobody_with_two_and_with_somebody_outside():
    assert render_frame([], None, 64, 48).faces == []
    people = [Actor(Identity.draw(s), None, Pose(x=x, y=120, height=110)) for s, x in ((1, 90), (2, 230))]
    two = render_frame(people, PLAIN)
    assert len(two.faces) == 2 and two.faces[0].box[2] < two.faces[1].box[0]
    for x, y in ((-400, 0), (0, 900), (310, 5)): assert len(render_frame([Actor(Identity.draw(1), None, Pose(x=x, y=y))], PLAIN).faces) == 1


def test_arrays_and_mappings_mean_the_same():
    array = np.zeros(18, np.float32)
    array[DRAWN_AUS.index(12)] = 3
    assert (render_face(array, Identity.draw(0)).image == render_face({12: 3}, Identity.draw(0)).image).all()


@pytest.mark.parametrize("aus, message", [({3: 1}, "AU 3 is not drawn"), ({12: 7}, "AU12 has intensity 7"), ({4: float("nan")}, "AU4 has intensity nan"),
                                          ({4: -1}, "AU4 has intensity -1"), (np.zeros(17), "shape"), (np.full(18, np.inf), "AU1 has intensity inf")])
def test_wrong_action_units_are_named(aus, message):
    with pytest.raises(ValueError, match=message): render_face(aus, Identity.draw(0))


def test_other_wrong_values_are_named():
    with pytest.raises(ValueError, match="yaw 26"): Pose(yaw=26)
    with pytest.raises(ValueError, match="roll nan"): Pose(roll=float("nan"))
    with pytest.raises(ValueError, match="difficulty 1.5"): Scene.draw(0, 1.5)
    with pytest.raises(ValueError, match="'hat'"): Scene(occlusion="hat")
    with pytest.raises(ValueError, match="'Joy'"): expression_aus("Joy")
    with pytest.raises(ValueError, match="intensity 9"): expression_aus("Fear", 9)
    with pytest.raises(ValueError, match="2x2"): render_frame([], None, 2, 2)


def test_expressions_are_told_apart():
    assert DEFAULT_DIFFICULTY == .3
    images = [render_face(expression_aus(name, 3), Identity.draw(6), scene=PLAIN).landmarks for name in EXPRESSIONS]
    for i, a in enumerate(images):
        for b in images[:i]: assert np.abs(a - b).max() > 2
