"Tracks that hold: scene cuts, faces that come back, crossings; measured by IDF1 on drawn films, and by hand on a real one."
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment

from affect_nb.files.film import FilmWriter
from affect_nb.preprocess.cuts import CUT, CutDetector
from affect_nb.preprocess.detect import box_overlap, create_detector
from affect_nb.preprocess.landmarks import fit_face
from affect_nb.preprocess.pipeline import Settings, preprocess
from affect_nb.preprocess.recognition import FaceGallery
from affect_nb.preprocess.sides import main_face, sides
from affect_nb.preprocess.track import FaceTracker, TrackLimits
from affect_nb.preprocess.video import VideoReader
from affect_nb.synth.faces import Actor, Identity, Pose, Scene, render_frame

ADA, BEN = 22, 28 # drawn people who differ to dlib's network


def drawn(people, frame, background=5):
    "A frame of people (seed, x, height), from back to front, and the box of each that is not behind another one."
    actors = [Actor(Identity.draw(seed), {12: 2}, Pose(yaw=4*np.sin(frame/9 + seed), x=x, y=92, height=height)) for seed, x, height in people]
    shot = render_frame(actors, Scene.draw(background, 0.), 320, 184, seed=frame)
    boxes = [(seed, fit_face(face.landmarks)[0]) for (seed, *_), face in zip(people, shot.faces)]
    covered = len(boxes) == 2 and box_overlap([boxes[0][1]], [boxes[1][1]])[0, 0] > .3
    return shot.image, boxes[int(covered):]


def crossing(): return [drawn([(ADA, 70 + 3*frame, 80), (BEN, 250 - 3*frame, 95)], frame) for frame in range(60)]
def hidden(): return [drawn([(ADA, 80, 95), (BEN, 240, 95)][:1 if 20 <= frame < 30 else 2], frame) for frame in range(50)]


def with_cuts():
    "There and back: two people, who sit elsewhere after each cut."
    scenes = [(5, [(ADA, 90, 95), (BEN, 240, 90)]), (7, [(BEN, 100, 110), (ADA, 235, 80)])]*2
    return [drawn(people, 12*number + frame, background) for number, (background, people) in enumerate(scenes) for frame in range(12)]


def idf1(truth, found, least=.4):
    "2 IDTP/(frames of people + frames of tracks), with the best assignment of tracks to people (Ristani et al. 2016); frames of (name, box)."
    names, tracks = (sorted({name for frame in frames for name, _ in frame}) for frames in (truth, found))
    hits = np.zeros((len(names), len(tracks)))
    for people, faces in zip(truth, found, strict=True):
        for person, box in people:
            for track, other in faces: hits[names.index(person), tracks.index(track)] += box_overlap([box], [other])[0, 0] >= least
    return 2*hits[linear_sum_assignment(-hits)].sum()/(sum(map(len, truth)) + sum(map(len, found)))


def test_idf1_by_hand():
    left, right = (0, 0, 10, 10), (50, 0, 60, 10)
    truth = [[("a", left), ("b", right)]]*10
    assert idf1(truth, [[(7, left), (8, right)]]*10) == 1
    assert idf1(truth, [[(7, left), (8, right)]]*5 + [[(8, left), (7, right)]]*5) == .5 # motmetrics 1.4: 0.5, two switches
    assert idf1(truth, [[(7, left)]]*10) == 2*10/(20 + 10)
    assert idf1(truth, [[(7, left), (8, right)]]*5 + [[(9, left), (8, right)]]*5) == 2*15/(20 + 20)


@pytest.mark.parametrize("film, cuts, least", [(crossing, [], .95), (hidden, [], .95), (with_cuts, [12, 24, 36], .2)])
def test_people_keep_their_numbers(film, cuts, least):
    frames, truth = zip(*film())
    scores = {}
    for reidentify in (False, True):
        tracker = FaceTracker(create_detector("dlib_hog", upsample=0), limits=TrackLimits(cut=CUT), reidentify=reidentify)
        tracked = [tracker.update(frame) for frame in frames]
        assert tracker.cuts == cuts
        assert all(len({face.face_id for face in faces}) == len(faces) for faces in tracked)
        scores[reidentify] = idf1(truth, [[(face.face_id, face.box) for face in faces if face.status != "lost"] for faces in tracked])
    assert scores[False] >= least and scores[True] >= .95


def test_without_a_limit_no_cut_is_looked_for():
    frames, _ = zip(*with_cuts()[6:18])
    for options, cuts in ((dict(), []), (dict(limits=TrackLimits(cut=CUT)), [6]), (dict(reidentify=True), [6])):
        tracker = FaceTracker(create_detector("dlib_hog", upsample=0), **options)
        for frame in frames: tracker.update(frame)
        assert tracker.cuts == cuts


@pytest.mark.parametrize("name", ["WolfgangLanger_Pexels", "single_face", "street_crowd", "no_face"])
@pytest.mark.parametrize("every", [1, 3, 6])
def test_real_films_without_cuts_have_none(real, name, every):
    "By figures none of the four has a cut (nor by eye the two of which contact sheets were looked at). Every sixth frame moves as much as fast motion."
    detector = CutDetector()
    assert not [number for number, frame in enumerate(VideoReader(real/"videos"/f"{name}.mp4")) if number % every == 0 and detector(frame.gray)]


def test_real_films_spliced_together_have_a_cut_at_each_splice(real):
    parts = [[frame.gray for _, frame in zip(range(25), VideoReader(real/"videos"/f"{name}.mp4"))] for name in ("single_face", "street_crowd", "WolfgangLanger_Pexels", "no_face")]
    detector = CutDetector()
    film = [frame for part in (*parts, parts[0], parts[2]) for frame in part]
    assert [number for number, frame in enumerate(film) if detector(frame)] == [25, 50, 75, 100, 125]


def test_films_without_cuts_are_followed_as_without_looking_for_cuts(real):
    def followed(limits): return [[(face.face_id, face.status, face.box.tolist()) for face in faces] for _, faces in Settings(limits=limits).tracker(False).follow(VideoReader(real/"videos"/"single_face.mp4"))]
    assert followed({}) == followed(dict(cut=CUT))


WHO_IS_WHO = """0 710 604 red, 0 935 680 boy, 15 761 638 red, 15 998 714 boy, 30 670 638 red, 30 1012 736 boy, 45 634 671 red,
45 259 731 white, 45 1022 748 boy, 60 568 668 red, 60 237 722 white, 60 944 744 boy, 60 1154 736 glasses, 75 220 710 white,
75 868 734 boy, 75 1199 717 glasses, 90 253 714 white, 90 809 720 boy, 90 1182 715 glasses, 100 781 741 boy, 100 1204 726 glasses"""
"""Frame, x, y, person: seen by eye in street_crowd.mp4; the hair, the age or the glasses of each."""


@pytest.mark.parametrize("reidentify", [False, True])
def test_nobody_in_a_crowd_takes_the_number_of_another(real, reidentify):
    moments = [(int(frame), int(x), int(y), person) for frame, x, y, person in (entry.split() for entry in WHO_IS_WHO.split(","))]
    numbers, taken = {}, 0
    for frame, (_, faces) in enumerate(Settings(reidentify=reidentify).tracker(False).follow(VideoReader(real/"videos"/"street_crowd.mp4"))):
        for at, x, y, person in moments:
            if at != frame: continue
            here = [face for face in faces if face.status != "lost" and (face.box[:2] < (x, y)).all() and (face.box[2:] > (x, y)).all()]
            here = [face.face_id for face in here if face.status == "ok" or len(here) == 1] # a corner of a box that fits badly is nobody's face
            taken += len(here)
            numbers.setdefault(person, set()).update(here)
    assert taken == len(moments) == 21
    assert [len(found) for found in numbers.values()] == [1]*4 and len(set.union(*numbers.values())) == 4


def test_a_store_says_where_its_cuts_are_and_whom_it_saw_again(tmp_path):
    with FilmWriter(tmp_path/"talk.mp4", 320, 184, fps=25) as film:
        for image, _ in with_cuts()[:36]: film.add(image)
    plain, joined = (preprocess(tmp_path/"talk.mp4", tmp_path/name, progress=False, detector_options=dict(upsample=0), limits=dict(cut=CUT), reidentify=name == "joined") for name in ("plain", "joined"))
    assert plain.stores[0].about["cuts"] == joined.stores[0].about["cuts"] == [12, 24]
    assert plain.stores[0].faces == [0, 1, 2, 3, 4, 5] and joined.stores[0].faces == [0, 1]
    frames = joined.frames
    assert not frames.duplicated(["frame", "face_id"]).any() and frames.groupby("face_id").frame.is_monotonic_increasing.all()
    assert sides(frames[frames.frame < 12]) == sides(frames[frames.frame >= 24]) == sides(frames[frames.frame.between(12, 23)])[::-1]


def test_reidentify_is_a_switch():
    with pytest.raises(ValueError, match="reidentify is 'yes'"): Settings(reidentify="yes")


def test_a_gallery_takes_no_more_memory_with_time():
    gallery, rng = FaceGallery(), np.random.default_rng(0)
    def fill(start):
        for face in range(start, start + 300):
            for quality in range(5): gallery.remember(face, rng.normal(size=128), quality)
        return len(pickle.dumps(gallery))
    assert fill(1000) == pytest.approx(fill(2000), rel=.01)


def test_faces_seen_together_are_never_joined():
    gallery, who = FaceGallery(), np.ones(128)
    gallery.remember(0, who, 1.)
    assert gallery.name([who, who + .001], [set(), set()]) == [0, None]
    assert gallery.name([who], [{0}]) == [None]


def test_the_main_face_is_seen_long_and_is_large():
    frames = pd.DataFrame(dict(face_id=[0]*100 + [1]*95 + [2]*20, status="ok", box_x1=0., box_x2=[50.]*100 + [80.]*95 + [300.]*20))
    assert (main_face(frames), main_face(frames, share=1.)) == (1, 0)
