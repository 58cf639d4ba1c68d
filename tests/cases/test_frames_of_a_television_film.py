"AFEW-VA's frames are stored narrower than they are shown; the release's points tell how much. And: a bad fit is not `ok`."
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from affect_nb.databases.afew_va import pixel_aspect_of
from affect_nb.databases.base import open_database
from affect_nb.preprocess.detect import create_detector
from affect_nb.preprocess.frames import landmarks_array
from affect_nb.preprocess.landmarks import Landmarks68, fit_spread, landmark_error, width_factor
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.track import FaceTracker
from affect_nb.synth.faces import Identity, Pose, Scene, render_face

WIDE = 64/45


def head(number, identity=21): return render_face({12: number/2., 25: 1.}, Identity.draw(identity), Pose(yaw=2*number - 5, x=128, y=128, height=140), Scene.draw(3, 0.), seed=number)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    "A clip of six drawn frames, squeezed to 45/64 of their width, with its points; and the true ones as shown."
    root, frames, truth = tmp_path_factory.mktemp("afew"), {}, []
    (root/"01"/"001").mkdir(parents=True)
    for number in range(6):
        drawn = head(number)
        stored = cv2.resize(drawn.image, (round(256/WIDE), 256), interpolation=cv2.INTER_AREA)
        Image.fromarray(stored).save(root/"01"/"001"/f"{number:05d}.png")
        frames[f"{number:05d}"] = dict(valence=1, arousal=2, landmarks=(drawn.landmarks*[1/WIDE, 1]).round(3).tolist())
        truth.append(drawn.landmarks)
    (root/"01"/"001"/"001.json").write_text(json.dumps(dict(frames=frames, actor="Ann")))
    return root, np.array(truth)


def cut(root, folder, **options):
    database = open_database("afew-va", root, **options)
    made = preprocess([database.source(clip) for clip in database.clips], folder, progress=False)
    return made.stores[0], made.frames


def test_the_points_tell_the_pixel_aspect(film):
    root, truth = film
    database = open_database("afew-va", root)
    assert database.pixel_aspect("001") == WIDE and any("1.422 times as wide as high" in note for note in database.notes)
    assert pixel_aspect_of(truth) == 1 and np.abs(width_factor(truth) - 1).max() < .12
    assert pixel_aspect_of(truth*[1/WIDE, 1], (720, 576)) == WIDE and pixel_aspect_of(truth*[15/16, 1], (720, 576)) == 16/15
    assert pixel_aspect_of(np.full((3, 68, 2), np.nan)) is None


def test_faces_are_found_as_they_are_shown(film, tmp_path):
    root, truth = film
    store, frames = cut(root, tmp_path/"faces")
    assert frames.status.tolist() == ["ok"]*6 and set(frames.face_id) == {0}
    assert landmark_error(landmarks_array(frames), truth).max() < .09
    faces, before = store.read(0, 6), store.path.stat().st_mtime_ns
    assert faces.shape == (6, 96, 96, 3)
    cut(root, tmp_path/"faces")
    assert store.path.stat().st_mtime_ns == before # nothing to be done again
    cut(root, tmp_path/"faces", pixel_aspect=1)
    assert store.path.stat().st_mtime_ns > before # another width is another source


def test_the_release_s_own_landmarks(film, tmp_path):
    root, truth = film
    store, frames = cut(root, tmp_path/"faces", landmarks="release")
    assert frames.status.tolist() == ["ok"]*6 and landmark_error(landmarks_array(frames), truth).max() < .005
    assert np.isfinite(landmarks_array(frames, "crop_landmarks")).all() and store.read(0, 1).std() > 10


def test_without_the_right_width_nothing_bad_is_ok(film, tmp_path):
    root, truth = film
    store, frames = cut(root, tmp_path/"faces", pixel_aspect=1)
    ok = (frames.status == "ok").to_numpy()
    errors = landmark_error(landmarks_array(frames)[ok], (truth/[WIDE, 1])[frames.frame[ok]])
    assert not ok.any() or np.max(errors) < .2


def test_points_of_other_pictures_are_not_used(film, tmp_path):
    root, truth = film
    content = json.loads((root/"01"/"001"/"001.json").read_text())
    for frame in content["frames"].values(): frame["landmarks"] = (np.array(frame["landmarks"]) + [150, 0]).tolist()
    (tmp_path/"001").mkdir()
    (tmp_path/"001"/"001.json").write_text(json.dumps(content))
    for file in (root/"01"/"001").glob("*.png"): (tmp_path/"001"/file.name).write_bytes(file.read_bytes())
    database = open_database("afew-va", tmp_path)
    source = database.source(database.clips[0])
    assert (source.pixel_aspect, source.landmarks) == (None, None) and any("outside of the images" in note for note in database.notes)
    content["frames"]["00003"]["landmarks"] = [[1, 2]]
    (tmp_path/"001"/"001.json").write_text(json.dumps(content))
    database = open_database("afew-va", tmp_path)
    assert database.source(database.clips[0]).landmarks is None and any("cannot be read" in note for note in database.notes) and len(database.labels("001")) == 6


@pytest.mark.parametrize("options, said", [(dict(pixel_aspect="wide"), "pixel_aspect is 'wide', allowed are 'auto'"), (dict(pixel_aspect=0), "pixel_aspect is 0"), (dict(landmarks="mine"), "landmarks is 'mine', allowed are detected, release")])
def test_options_that_mean_nothing(film, options, said):
    with pytest.raises(ValueError, match=said): open_database("afew-va", film[0], **options)


def test_a_fit_that_depends_on_its_start_is_not_ok():
    "A drawn face squeezed to .6 of its width: found, and with landmarks a sixth of the inter-ocular distance off."
    drawn = render_face({1: 2., 12: 3., 25: 2.}, Identity.draw(4), scene=Scene.draw(4, 0.), seed=4)
    squeezed, model = cv2.resize(drawn.image, None, fx=.6, fy=1, interpolation=cv2.INTER_AREA), Landmarks68()
    box, = create_detector("dlib_hog")(squeezed).boxes
    points = model(squeezed, box)[0]
    assert landmark_error(points, drawn.landmarks*[.6, 1]) > .12 < fit_spread(model, squeezed, points)
    tracker = FaceTracker("dlib_hog", detect_every=15)
    assert [[face.status for face in tracker.update(squeezed)] for _ in range(3)] == [["poor_fit"]]*3


def test_good_fits_stay_ok():
    "Twenty drawn faces of many poses: hardly one is doubted."
    statuses = []
    for seed in range(20):
        pose = Pose(yaw=2*(seed % 11) - 10, roll=seed % 7 - 3, x=128, y=128, height=110 + 2*seed)
        drawn = render_face({12: seed % 4, 4: seed % 3}, Identity.draw(200 + seed), pose, Scene.draw(seed, 0.), seed=seed)
        statuses += [face.status for face in FaceTracker("dlib_hog", detect_every=1).update(drawn.image)]
    assert len(statuses) == 20 and statuses.count("ok") >= 19
