"Head pose and quality of faces: conventions, an independent fit, drawn faces, the frame table of films, stills and crops, stores of before."
import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from affect_nb.files.film import FilmWriter
from affect_nb.preprocess.align import align_face
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.preprocess.frames import FRAME_COLUMNS, frame_row, frames_table, landmarks_array
from affect_nb.preprocess.landmarks import MIRROR, Landmarks68, fit_face, interocular, refine_landmarks
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.pose import (HEAD_POINTS, MEAN_HEAD, QUALITY_COLUMNS, face_quality, face_size, head_pose, head_rotation, light, poor_quality,
                                       quality_faults, sharpness)
from affect_nb.synth.faces import Actor, Identity, Scene, draw_aus, render_face, render_frame
from affect_nb.synth.features import Pose

RNG = np.random.default_rng(0)


class Turned(Pose):
    "A pose within 30 degrees about each axis."
    @staticmethod
    def limits(): return dict(yaw=30., roll=30., pitch=30.)


def turned_face(seed, **fixed):
    angles = dict(zip(("yaw", "pitch", "roll"), np.random.default_rng([seed, 9]).uniform(-30, 30, 3))) | fixed
    pose = Turned(**angles, x=128, y=134, height=150)
    return tuple(angles.values()), render_face(draw_aus(seed), Identity.draw(seed), pose, Scene.draw(seed, .2), seed=seed)


def from_afar(angles, scale=80.):
    "Landmarks of the mean head, without perspective; what the pose does not look at is anywhere."
    points = RNG.uniform(0, 300, (68, 2))
    points[HEAD_POINTS] = (MEAN_HEAD @ head_rotation(angles).T)[:, :2]*scale + (200, 150)
    return points


def scaled_orthography(points, steps=30):
    "Angles by least squares of rotation vector and scale, Gauss and Newton with numerical derivatives; nothing of OpenCV."
    def turned(vector):
        angle = np.linalg.norm(vector) + 1e-12
        x, y, z = vector/angle
        cross = np.array([(0, -z, y), (z, 0, -x), (-y, x, 0)])
        return np.eye(3) + np.sin(angle)*cross + (1 - np.cos(angle))*cross @ cross
    centred, head = points[HEAD_POINTS] - points[HEAD_POINTS].mean(0), MEAN_HEAD - MEAN_HEAD.mean(0)
    weights = np.where(HEAD_POINTS < 27, 1, np.sqrt(3))[:, None] # nose and eyes three times
    def misfit(state): return (weights*(centred - np.exp(state[3])*(head @ turned(state[:3]).T)[:, :2])).ravel()
    roll = np.arctan2(*(points[45] - points[36])[::-1])
    state = np.array([0, 0, roll, np.log(np.linalg.norm(points[45] - points[36]))])
    for _ in range(steps):
        here = misfit(state)
        slope = np.stack([(misfit(state + step) - here)/1e-6 for step in np.eye(4)*1e-6], 1)
        state = state - np.linalg.lstsq(slope, here, rcond=None)[0]
    turn = turned(state[:3])
    return np.degrees([np.arcsin(turn[2, 0]), np.arctan2(turn[2, 1], turn[2, 2]), np.arctan2(turn[1, 0], turn[0, 0])])


# pose

@pytest.mark.parametrize("way, angles", [("right", (25, 0, 0)), ("down", (0, 25, 0)), ("clockwise", (0, 0, 25))])
def test_which_way_is_positive(way, angles):
    "On a drawn head, by where its nose and its eyes go in the picture."
    plain, turned = (render_face(None, Identity.draw(2), Turned(**dict(zip(("yaw", "pitch", "roll"), map(float, turn))), x=128, y=134, height=150)).landmarks
                     for turn in ((0, 0, 0), angles))
    nose = (turned[30] - turned[36:48].mean(0)) - (plain[30] - plain[36:48].mean(0))
    if way == "right": assert nose[0] > 5
    if way == "down": assert nose[1] > 2
    if way == "clockwise": assert turned[45, 1] - turned[36, 1] > 20 # the eye on the right is lower
    found = head_pose(turned)
    assert np.abs(found - angles).max() < 7 and np.abs(found).argmax() == np.abs(angles).argmax()


def test_a_rotation_is_three_turns_one_after_the_other():
    def turn(angle, axis):
        matrix, (one, other) = np.eye(3), ((1, 2), (2, 0), (0, 1))[axis]
        matrix[[one, other], [one, other]], (matrix[other, one], matrix[one, other]) = np.cos(angle), (np.sin(angle), -np.sin(angle))
        return matrix
    for yaw, pitch, roll in RNG.uniform(-80, 80, (20, 3)):
        expected = turn(np.radians(roll), 2) @ turn(np.radians(-yaw), 1) @ turn(np.radians(pitch), 0)
        np.testing.assert_allclose(head_rotation((yaw, pitch, roll)), expected, atol=1e-12)


def test_a_head_of_known_angles_comes_back():
    angles = RNG.uniform(-1, 1, (60, 3))*(50, 35, 179)
    found = head_pose([from_afar(each) for each in angles])
    assert np.abs((found - angles + 180) % 360 - 180).max() < 2.5 # the camera is 20 distances between the eyes away, not infinitely far
    assert np.abs((found - angles + 180) % 360 - 180).mean() < .7
    many = head_pose(np.array([from_afar(each) for each in angles]).reshape(6, 10, 68, 2))
    np.testing.assert_allclose(many.reshape(-1, 3), found, atol=1e-6)


def test_an_independent_fit_says_the_same():
    points = np.array([turned_face(seed)[1].landmarks for seed in range(25)], float)
    points += RNG.normal(0, .5, points.shape) # as landmarks are
    assert np.abs(head_pose(points) - [scaled_orthography(each) for each in points]).mean(0).max() < 1


def test_the_mirror():
    points = np.array([turned_face(seed)[1].landmarks for seed in range(10)], float)
    np.testing.assert_allclose(head_pose(points[:, MIRROR]*[-1, 1] + [255, 0]), head_pose(points)*[-1, 1, -1], atol=.05)


def test_where_no_pose_follows():
    points = from_afar((10, 5, 0))
    for place in (17, 30, 47):
        for missing in (np.nan, np.inf):
            broken = points.copy()
            broken[place, 1] = missing
            assert np.isnan(head_pose(broken)).all() and np.isnan(face_size(broken))
    other = points.copy()
    other[[0, 8, 60]] = np.nan # not looked at
    np.testing.assert_array_equal(head_pose(other), head_pose(points))
    line = np.linspace(0, 100, 68)[:, None]*[1, .3]
    for bad in (line, np.zeros((68, 2)), np.full((68, 2), np.nan)): assert np.isnan(head_pose(bad)).all()
    assert head_pose(np.empty((4, 0, 68, 2))).shape == (4, 0, 3)
    for shape in ((68, 3), (5, 2), (136,)):
        with pytest.raises(ValueError, match="allowed is"): head_pose(np.zeros(shape))


def test_with_a_known_picture_the_camera_looks_from_its_middle():
    height, width = 720, 1280
    for angles, place in [((0, 0, 0), (3, -1, 8)), ((20, -15, 10), (-2, 1, 7)), ((-30, 10, -40), (0, 0, 5))]:
        turned = MEAN_HEAD @ head_rotation(angles).T + place
        points = np.zeros((68, 2))
        points[HEAD_POINTS] = turned[:, :2]/turned[:, 2:]*1280 + (639.5, 359.5)
        np.testing.assert_allclose(head_pose(points, (height, width)), angles, atol=.01)
        if place[0]: assert abs(head_pose(points)[0] - angles[0]) > 8 # by its line of sight another


# drawn faces

@pytest.fixture(scope="module")
def drawn(): return [turned_face(seed) for seed in range(100, 140)]


def test_drawn_faces_within_five_degrees(drawn):
    truth = np.array([angles for angles, _ in drawn])
    assert np.abs(head_pose([face.landmarks for _, face in drawn]) - truth).mean(0).max() < 3


def test_landmarks_of_rendered_faces_within_five_degrees(drawn):
    model, truth = Landmarks68(), np.array([angles for angles, _ in drawn])
    points = [refine_landmarks(model, face.image, model(face.image, [fit_face(face.landmarks)[0]])[0]) for _, face in drawn]
    assert np.abs(head_pose(points) - truth).mean(0).max() <= 5


@pytest.mark.parametrize("aus", [{25: 5., 26: 5.}, {1: 5., 2: 5.}, {4: 5.}, {6: 5., 12: 5.}, {9: 5., 17: 5.}], ids=str)
def test_expressions_move_it_little(aus):
    for yaw, pitch in ((0., 0.), (20., -10.), (-12., 15.)):
        pose = Pose(yaw=yaw, pitch=pitch, x=128, y=134, height=150)
        moved = [head_pose(render_face(aus, Identity.draw(seed), pose).landmarks) - head_pose(render_face(None, Identity.draw(seed), pose).landmarks)
                 for seed in range(6)]
        assert np.abs(moved).mean(0).max() < 8


def test_size_is_that_of_a_face_that_looks_at_the_camera():
    for angles in ((0, 0, 0), (50, 0, 0), (-40, 30, 100)): assert abs(face_size(from_afar(angles, 37.)) - 37) < .8
    near, far = (render_face(None, Identity.draw(4), Pose(yaw=yaw, x=128, y=134, height=150)).landmarks for yaw in (0., 25.))
    assert interocular(far) < .93*interocular(near) and abs(face_size(far)/face_size(near) - 1) < .04
    assert abs(face_size(near)/interocular(near) - 1) < .08
    np.testing.assert_allclose(face_size(np.stack([near, far])), [face_size(near), face_size(far)])


# quality

def crop_of(seed, change=lambda image: image, scale=1.):
    face = render_face(draw_aus(seed), Identity.draw(seed), Pose(x=192, y=201, height=250), Scene.draw(seed, .1), size=384, seed=seed)
    image = cv2.resize(change(face.image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return align_face(image, (face.landmarks + .5)*scale - .5)[0]


def blur_effect(gray, width=5):
    "1 - Crete et al. 2007 as printed, equations 1 to 6, in loops over lines; the middle of a crop at 48 px."
    losses = []
    for picture in (gray, gray.T):
        before = after = 0.
        for line in picture.astype(float):
            padded = np.pad(line, width//2, mode="reflect")
            blurred = np.array([padded[place:place + width].mean() for place in range(len(line))])
            old, new = np.abs(line[1:] - line[:-1]), np.abs(blurred[1:] - blurred[:-1])
            before, after = before + old.sum(), after + np.maximum(0, old - new).sum()
        losses.append(after/before)
    return min(losses)


def test_sharpness_is_that_of_the_blur_effect():
    for seed in range(4):
        crop = crop_of(seed)
        gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (48, 48), interpolation=cv2.INTER_AREA)[16:43, 11:37]
        assert abs(sharpness(crop) - np.clip((blur_effect(gray) - .2)/.4, 0, 1)) < 1e-4
        assert sharpness(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)) == sharpness(crop)


def test_sharpness_falls_with_blur_and_not_with_contrast_size_or_noise():
    seeds = range(6)
    plain = np.array([sharpness(crop_of(seed)) for seed in seeds])
    assert plain.min() > .75
    def changed(change, scale=1.): return np.array([sharpness(crop_of(seed, change, scale)) for seed in seeds])
    noise = np.random.default_rng(1).normal(0, 6, (384, 384, 3))
    for same in (changed(lambda image: image//3 + 60), changed(lambda image: image, .35), changed(lambda image: (image + noise).clip(0, 255).astype(np.uint8))):
        assert np.abs(same - plain).mean() < .08
    falling = [plain, *(changed(lambda image, sigma=sigma: cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (3, 6, 12, 24))]
    assert (np.diff(np.mean(falling, 1)) < -.04).all() and falling[-1].max() < .3
    assert (changed(lambda image: cv2.blur(image, (1, 30))) < plain - .15).all() # a nod while the shutter was open
    assert np.isnan(sharpness(np.full((96, 96, 3), 7, np.uint8)))


def test_light_is_the_luma_inside_the_face():
    crop = np.zeros((96, 96, 3), np.uint8)
    crop[32:86, 22:74] = (255, 0, 0)
    assert abs(light(crop) - .299) < .002 and light(np.full((96, 96), 255, np.uint8)) == 1
    assert light(crop_of(1, lambda image: image//2)) == pytest.approx(light(crop_of(1))/2, abs=.01)


# the frame table

def check_quality(frames, images):
    "The columns of rows are what the functions say of the landmarks and of the crop before it became a JPEG."
    assert tuple(frames.columns)[-len(QUALITY_COLUMNS):] == QUALITY_COLUMNS and (frames[list(QUALITY_COLUMNS)].dtypes == np.float32).all()
    points = landmarks_array(frames)
    np.testing.assert_allclose(frames[["yaw", "pitch", "roll"]], head_pose(points), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(frames.face_size, face_size(points), rtol=1e-4)
    for row, image in zip(frames.itertuples(), images):
        if row.status != "ok": continue
        crop, _ = align_face(image, np.reshape(row.landmarks, (68, 2)))
        assert abs(row.sharpness - sharpness(crop)) < .05 and abs(row.light - light(crop)) < .02


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    "A head that turns from one side to the other, then nobody."
    path, poses = tmp_path_factory.mktemp("films")/"turning.mp4", [Pose(yaw=-20 + 2.*number, x=120, y=95, height=120) for number in range(21)]
    images = [render_frame([Actor(Identity.draw(21), {12: 2.}, pose)] if pose else [], Scene.draw(5, 0.), 240, 184, seed=number).image
              for number, pose in enumerate([*poses, *[None]*15])]
    with FilmWriter(path, 240, 184, 25) as writer:
        for image in images: writer.add(image)
    return path, images


def test_a_film_has_the_columns(film, tmp_path):
    path, images = film
    done = preprocess(path, tmp_path, detect_every=5, progress=False)
    faces = done.frames[done.frames.status == "ok"].sort_values("frame")
    assert len(faces) >= 20 and np.corrcoef(faces.yaw, -20 + 2*faces.frame)[0, 1] > .98 and np.abs(faces.yaw - (-20 + 2*faces.frame)).mean() < 5
    check_quality(faces, [images[frame] for frame in faces.frame])
    others = done.frames[~done.frames.landmarks.map(lambda points: np.isfinite(points).all())]
    assert len(others) and others[list(QUALITY_COLUMNS)].isna().all(axis=None) and not poor_quality(others).any()
    written = pd.read_parquet(tmp_path/"frames.parquet")
    np.testing.assert_array_equal(written[list(QUALITY_COLUMNS)], done.frames[list(QUALITY_COLUMNS)])


def test_stills_and_crops_have_them_too(tmp_path):
    import PIL.Image
    folder = tmp_path/"crops"
    folder.mkdir()
    face = render_face({12: 3.}, Identity.draw(3), Pose(yaw=-12, x=128, y=134, height=170), Scene.draw(3, 0.), seed=3)
    PIL.Image.fromarray(face.image).save(folder/"0.png")
    PIL.Image.fromarray(np.random.default_rng(0).integers(60, 120, (64, 64), np.uint8)).save(folder/"1.png")
    still = preprocess(folder/"0.png", tmp_path/"stills", progress=False).frames
    assert abs(still.yaw[0] + 12) < 6
    check_quality(still, [face.image])
    crops = preprocess(folder, tmp_path/"faces", crops=True, progress=False).frames
    assert crops.aligned.tolist() == ["landmarks", "box"] and abs(crops.yaw[0] + 12) < 6
    assert crops.loc[1, ["yaw", "pitch", "roll", "face_size"]].isna().all() and crops.loc[1, ["sharpness", "light"]].notna().all()


def test_a_store_of_before_lacks_them_and_is_not_made_again(film, tmp_path):
    path, _ = film
    store, = preprocess(path, tmp_path, progress=False).stores
    table = pa.ipc.open_file(str(store.path)).read_all().drop_columns(list(QUALITY_COLUMNS))
    with pa.OSFile(str(store.path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file: file.write_table(table)
    before = store.path.stat().st_mtime_ns
    opened = FaceStore.open(store.path)
    assert tuple(opened.frames.columns) == FRAME_COLUMNS and opened.frames[list(QUALITY_COLUMNS)].isna().all(axis=None)
    assert len([*opened.crops(0, len(opened))]) >= 20 and not poor_quality(opened.frames).any()
    again = preprocess(path, tmp_path, progress=False)
    assert store.path.stat().st_mtime_ns == before and again.frames.yaw.isna().all()
    assert pd.read_parquet(tmp_path/"frames.parquet").yaw.isna().all()


def test_a_row_without_them_has_nan():
    table = frames_table([frame_row(0, 0.), frame_row(1, .04, yaw=3., light=.5)]).to_pandas()
    assert table[list(QUALITY_COLUMNS)].notna().sum().to_dict() == dict(yaw=1, pitch=0, roll=0, face_size=0, sharpness=0, light=1)


# poor frames

def test_poor_by_name():
    frames = pd.DataFrame(dict(yaw=[0, 41, -41, 0, 0, 0], face_size=[50, 50, 50, 7.9, 50, 50], sharpness=[.9, .9, .9, .9, .3, .9], light=[.5, .5, .5, .5, .5, .06]),
                          index=[5, 5, 6, 7, 8, 9], dtype=np.float32)
    faults = quality_faults(frames)
    assert faults.to_numpy().tolist() == [[False]*4, [True] + [False]*3, [True] + [False]*3, [False, True, False, False], [False, False, True, False], [False]*3 + [True]]
    assert list(faults) == ["yaw", "face_size", "sharpness", "light"] and faults.index.equals(frames.index)
    assert poor_quality(frames).tolist() == [False] + [True]*5 and len(frames[~poor_quality(frames)]) == 1
    nothing = dict(max_yaw=None, min_size=None, min_sharpness=None, min_light=None)
    for name, rows in dict(max_yaw=[1, 2], min_size=[3], min_sharpness=[4], min_light=[5]).items():
        default = {key: value for key, value in nothing.items() if key != name}
        assert np.flatnonzero(poor_quality(frames, **default)).tolist() == rows
    assert not poor_quality(frames, **nothing, count_unknown=True).any() and not poor_quality(frames.iloc[:0]).any()
    with pytest.raises(TypeError): poor_quality(frames, max_roll=3)
    with pytest.raises(ValueError, match="no column 'yaw'"): poor_quality(frames.drop(columns="yaw"))


def test_unknown_is_poor_only_when_asked():
    frames = pd.DataFrame(np.full((1, 6), np.nan), columns=QUALITY_COLUMNS)
    assert poor_quality(frames).tolist() == [False] and poor_quality(frames, count_unknown=True).tolist() == [True]
    assert poor_quality(frames.assign(light=.01)).tolist() == [True]


def test_a_face_without_landmarks_has_neither_pose_nor_size():
    quality = face_quality(crop_of(2))
    assert tuple(quality) == QUALITY_COLUMNS and [np.isnan(value) for value in quality.values()] == [True]*4 + [False]*2
