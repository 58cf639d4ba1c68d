"Following faces with the searches in a thread of their own: the same faces, one search at a time, no thread left behind."
import threading
import time

import numpy as np
import pytest

from affect_nb.preprocess.detect import Detector, create_detector
from affect_nb.preprocess.pipeline import Settings, ahead
from affect_nb.preprocess.track import FaceTracker
from affect_nb.preprocess.video import VideoReader
from affect_nb.synth.faces import Actor, Identity, Pose, Scene, render_frame

HOG = type(create_detector("dlib_hog"))


def told(faces):
    "What the tracker says of a frame, so that equal means equal to the last bit."
    return [(face.face_id, face.status, face.box.tolist(), repr(face.score), None if face.landmarks is None else face.landmarks.tolist()) for face in faces]


@pytest.fixture(scope="module")
def film():
    "Two people; nobody; one person; two again, who are elsewhere after a cut: 70 grey frames in which faces get lost, come back and come anew."
    people = [2]*22 + [0]*9 + [1]*12 + [2]*27
    def head(n, frame): return Actor(Identity.draw(21 + n), {12: 2 + 2*np.sin(frame/5)}, Pose(yaw=9*np.sin(frame/9 + n), x=45 + 125*n + (frame/3 if frame < 52 else 75 + 2*(frame - 52)), y=92, height=105))
    return [render_frame([head(n, frame) for n in range(count)], Scene.draw(5, 0.), 320, 184, seed=frame).image.mean(-1).astype(np.uint8) for frame, count in enumerate(people)]


@pytest.mark.parametrize("detect_every", [1, 4, 15])
def test_following_gives_what_updating_gives(film, detect_every):
    def tracker(): return FaceTracker(create_detector("dlib_hog", upsample=0), detect_every=detect_every)
    plain = tracker()
    expected = [told(plain.update(frame)) for frame in film]
    assert {"ok", "lost"} <= {status for faces in expected for _, status, *_ in faces}
    for look_ahead in (0, 1, 5, 12, 200):
        follower = tracker()
        followed = list(follower.follow(iter(film), look_ahead))
        assert all(frame is shown for (frame, _), shown in zip(followed, film, strict=True))
        assert [told(faces) for _, faces in followed] == expected
        assert (follower.n_searches, follower.n_frames) == (plain.n_searches, len(film))


@pytest.mark.parametrize("name, frames", [("single_face.mp4", 72), ("street_crowd.mp4", 60)])
def test_following_a_real_clip(real, name, frames):
    shown = [frame for _, frame in zip(range(frames), VideoReader(real/"videos"/name))]
    plain, follower = (Settings().tracker(False) for _ in range(2))
    assert [told(faces) for _, faces in follower.follow(shown)] == [told(plain.update(frame)) for frame in shown]


@pytest.mark.parametrize("detect_every, look_ahead, most", [(1, 12, 1), (15, 12, 12), (15, 0, 0), (4, 200, 4)])
def test_few_frames_are_held(film, detect_every, look_ahead, most):
    "A photograph may have 100 MB."
    taken = []
    def frames():
        for number, frame in enumerate(film[:30]): taken.append(number); yield frame
    following = FaceTracker(create_detector("dlib_hog", upsample=0), detect_every=detect_every).follow(frames(), look_ahead)
    ahead_of = [len(taken) - 1 - number for number, _ in enumerate(following)]
    assert max(ahead_of) == most and ahead_of[-1] == 0


class Watched(HOG):
    "Remembers which threads looked, and whether two ever did at once."
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.threads, self.inside, self.most = [], 0, 0

    def _find(self, image, threshold):
        self.threads.append(threading.current_thread())
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(.002)
        found = super()._find(image, threshold)
        self.inside -= 1
        return found


def test_searches_have_their_own_thread_and_come_one_at_a_time(film):
    detector = Watched(upsample=0)
    tracker = FaceTracker(detector, detect_every=6)
    for _ in tracker.follow(film): pass
    here = [thread for thread in detector.threads if thread is threading.current_thread()]
    assert 0 < len(here) < len(detector.threads) > tracker.n_searches # here: the first search, and the checks of single faces
    assert detector.most == 1


def test_one_model_serves_two_trackers_in_two_threads(film):
    "dlib's detectors keep what they look at in themselves."
    expected = [told(faces) for _, faces in FaceTracker(HOG(upsample=0), detect_every=2).follow(film[:20])]
    results = {}
    def work(number): results[number] = [told(faces) for _, faces in FaceTracker(HOG(upsample=0), detect_every=2).follow(film[:20])]
    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert results == dict.fromkeys(range(3), expected)


def test_classes_of_one_family_share_their_turn(film, monkeypatch):
    "They share the model."
    inside, most, find = [], [], HOG._find
    def watched(self, image, threshold):
        inside.append(self)
        most.append(len(inside))
        time.sleep(.002)
        try: return find(self, image, threshold)
        finally: inside.remove(self)
    monkeypatch.setattr(HOG, "_find", watched)
    class Child(HOG): pass
    threads = [threading.Thread(target=lambda kind=kind: [kind(upsample=0)(frame) for frame in film[:8]]) for kind in (HOG, Child)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(most) == 16 and max(most) == 1


class Failing(Detector):
    def _find(self, image, threshold):
        if image.mean() > 100: raise RuntimeError("no memory left")
        return HOG._find(HOG(), image, threshold)


def test_an_error_of_the_searching_thread_is_raised_at_its_frame(film):
    dark, bright = np.full((90, 120), 20, np.uint8), np.full((90, 120), 200, np.uint8)
    tracker, done = FaceTracker(Failing(upsample=0), detect_every=15), []
    with pytest.raises(RuntimeError, match="no memory left"):
        for _, faces in tracker.follow([dark]*5 + [bright]*5): done.append(faces)
    assert done == [[]]*5 # with nobody there, every fifth frame is searched


def test_no_thread_outlives_who_follows(film):
    before = threading.active_count()
    following = FaceTracker(create_detector("dlib_hog", upsample=0)).follow(ahead(iter(film)))
    next(following)
    assert threading.active_count() > before
    following.close()
    del following # `ahead` ends with it
    assert threading.active_count() == before


def test_ahead_holds_few_items():
    made = []
    def items():
        for number in range(200): made.append(number); yield number
    most = 0
    for number in ahead(items(), depth=3):
        time.sleep(.0005)
        most = max(most, len(made) - number - 1)
    assert made == list(range(200)) and 0 < most <= 2*3 + 1 # waiting, taken, and one in the making


def test_ahead_gives_what_came_before_an_error():
    def items():
        yield from range(5)
        raise ValueError("the sixth")
    taken = []
    with pytest.raises(ValueError, match="the sixth"):
        for number in ahead(items(), depth=2): taken.append(number)
    assert taken == list(range(5))


def test_ahead_ends_where_nothing_comes(): assert list(ahead([])) == []
