"""Measures of detection against the reference's loops and an exact computation; detectors by name and file; their benchmark."""
import math
import pickle
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import detectors  # noqa: E402

from affect_nb.preprocess.detection import (average_precision, false_alarms, lists_by_size, match_pictures, pixel_overlap, precision_recall, recall_at,
                                          recall_by, size_classes, voc_area, wider_precision)
from affect_nb.apps.bench import list_benchmarks, script_options
from affect_nb.files.workers import in_parallel
from affect_nb.preprocess import detect
from affect_nb.preprocess.detect import Detections, Detector, announce_detector, box_overlap, create_detector, list_detectors, register_detector
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.preprocess.landmarks import landmark_error
from affect_nb.preprocess.pictures import read_image
from affect_nb.preprocess.pipeline import Settings, preprocess
from affect_nb.preprocess.track import FaceTracker
from affect_nb.synth.faces import draw_face

ROOT = Path(__file__).resolve().parent.parent
few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 10**6)


def some_pictures(seed, distinct=False):
    "Pictures with true boxes of whole pixels, detections near them and elsewhere, and faces that count; empty ones among them."
    rng = np.random.default_rng(seed)
    truth, found, counts = [], [], []
    for _ in range(rng.integers(1, 7)):
        corner, side = rng.integers(0, 60, (rng.integers(0, 5), 2)), rng.integers(4, 30, 2)
        boxes = np.hstack([corner, corner + side]).astype(float)
        near = boxes[rng.integers(0, len(boxes), rng.integers(0, 8))] if len(boxes) else np.zeros((0, 4))
        near = near + rng.integers(-5, 6, near.shape)
        stray = rng.integers(0, 60, (rng.integers(0, 4), 2))
        shown = np.vstack([near, np.hstack([stray, stray + 10])])
        truth.append(boxes)
        found.append((shown, rng.random(len(shown)) if distinct else rng.choice([.05, .1, .3, .5, .80001, .9, 1.], len(shown))))
        counts.append(rng.random(len(boxes)) < .6)
    return truth, [Detections.of(*each) for each in found], counts


# the reference: eval_tools of WIDER FACE, number by number

def pixels_shared(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0: return 0.
    shared = width*height
    return shared/((a[2] - a[0] + 1)*(a[3] - a[1] + 1) + (b[2] - b[0] + 1)*(b[3] - b[1] + 1) - shared)


def picture_of_the_reference(boxes, truth, counted):
    "For each detection, how many faces are found up to it, and is it a proposal (1) or none (-1)?"
    found_so_far, proposal, state = [], [], [0]*len(truth)
    for box in boxes:
        overlaps = [pixels_shared(other, box) for other in truth]
        best = overlaps.index(max(overlaps))
        proposal.append(1)
        if overlaps[best] >= .5:
            if not counted[best]: state[best] = proposal[-1] = -1
            elif state[best] == 0: state[best] = 1
        found_so_far.append(state.count(1))
    return found_so_far, proposal


def reference_ap(found, truth, counts, n_thresholds=1000):
    "Average precision by the reference's own loops over pictures and thresholds."
    every = [float(score) for each in found for score in each.scores]
    least, most = min(every, default=0.), max(every, default=0.)
    curve, n_faces = [[0, 0] for _ in range(n_thresholds)], 0
    for each, boxes, counted in zip(found, truth, counts):
        n_faces += sum(map(bool, counted))
        if len(boxes) == 0 or len(each) == 0: continue
        scores = [(float(score) - least)/(most - least) if most > least else 1. for score in each.scores]
        found_so_far, proposal = picture_of_the_reference([[float(edge) for edge in box] for box in each.boxes], boxes.tolist(), counted)
        for step in range(n_thresholds):
            reached = [place for place, score in enumerate(scores) if score >= 1 - (step + 1)/n_thresholds]
            if not reached: continue
            curve[step][0] += proposal[:reached[-1] + 1].count(1)
            curve[step][1] += found_so_far[reached[-1]]
    if n_faces == 0: return math.nan
    recall = [0.] + [right/n_faces for _, right in curve] + [1.]
    precision = [0.] + [right/shown if shown else 0. for shown, right in curve] + [0.]
    for place in range(len(precision) - 1, 0, -1): precision[place - 1] = max(precision[place - 1], precision[place])
    return sum((recall[place + 1] - recall[place])*precision[place + 1] for place in range(len(recall) - 1))


def exact_ap(found, truth, counts):
    "Average precision over all scores that occur: each detection in the order of its score, all pictures together."
    events, n_faces = [], 0 # (score, finds a face, counts)
    for each, boxes, counted in zip(found, truth, counts):
        n_faces += sum(map(bool, counted))
        taken = set()
        for score, box in zip(each.scores.tolist(), each.boxes.tolist()):
            if len(boxes) == 0: continue
            overlaps = [pixels_shared(other, box) for other in boxes.tolist()]
            best = max(range(len(overlaps)), key=lambda place: (overlaps[place], -place))
            near = overlaps[best] >= .5
            if near and not counted[best]: continue
            events.append((score, near and best not in taken))
            if near: taken.add(best)
    if n_faces == 0: return math.nan
    points = []
    for score in sorted({score for score, _ in events}, reverse=True):
        shown = [right for other, right in events if other >= score]
        points.append((sum(shown)/n_faces, sum(shown)/len(shown)))
    area, last = 0., 0.
    for place, (recall, _) in enumerate(points):
        area += (recall - last)*max(precision for _, precision in points[place:])
        last = recall
    return area


@few
@given(seeds)
def test_average_precision_is_that_of_the_reference(seed):
    truth, found, counts = some_pictures(seed, distinct=seed % 2 == 0)
    matches = match_pictures(found, truth)
    np.testing.assert_allclose(average_precision(matches, counts, 50), reference_ap(found, truth, counts, 50), atol=1e-12)


def test_a_thousand_thresholds_as_the_reference_has():
    truth, found, counts = some_pictures(12, distinct=True)
    ours = average_precision(match_pictures(found, truth), counts)
    assert 0 < ours < 1 and abs(ours - reference_ap(found, truth, counts)) < 1e-12


@few
@given(seeds)
def test_exact_average_precision(seed):
    truth, found, counts = some_pictures(seed)
    matches = match_pictures(found, truth)
    np.testing.assert_allclose(average_precision(matches, counts, None), exact_ap(found, truth, counts), atol=1e-12)


@few
@given(seeds)
def test_exact_average_precision_depends_on_the_order_of_scores_only(seed):
    truth, found, counts = some_pictures(seed)
    other = [Detections(each.boxes, np.float32(7*each.scores**3 - 2)) for each in found]
    values = [average_precision(match_pictures(each, truth), counts, None) for each in (found, other)]
    np.testing.assert_allclose(*values, atol=1e-12)


@few
@given(seeds)
def test_the_order_of_pictures_and_of_detections_does_not_matter(seed):
    truth, found, counts = some_pictures(seed, distinct=True)
    rng = np.random.default_rng(seed)
    places = rng.permutation(len(truth))
    shuffled = []
    for place in places:
        order = rng.permutation(len(found[place]))
        shuffled.append(SimpleNamespace(boxes=found[place].boxes[order], scores=found[place].scores[order]))
    other = match_pictures(shuffled, [truth[place] for place in places])
    values = average_precision(match_pictures(found, truth), counts), average_precision(other, [counts[place] for place in places])
    np.testing.assert_allclose(*values, atol=1e-12)


@few
@given(seeds)
def test_faces_that_do_not_count_change_nothing(seed):
    "Detections of an ignored face count neither way, whatever their scores, as long as the range of scores is the same."
    truth, found, counts = some_pictures(seed, distinct=True)
    rng = np.random.default_rng(seed)
    far = np.array([500., 500, 519, 519])
    ranged = [Detections.of(np.vstack([each.boxes, [900, 900, 950, 950], [900, 900, 950, 950]]), [*each.scores, 0, 1]) for each in found]
    more = [Detections.of(np.vstack([each.boxes, far + rng.uniform(-2, 2, 4), far]), [*each.scores, *rng.random(2)]) for each in ranged]
    with_ignored, more_counts = [np.vstack([boxes, far]) for boxes in truth], [np.append(counted, False) for counted in counts]
    before = match_pictures(ranged, with_ignored), match_pictures(more, with_ignored)
    np.testing.assert_allclose(*[average_precision(each, more_counts) for each in before], atol=1e-12)
    np.testing.assert_allclose(*[false_alarms(each, counts=more_counts) for each in before])


def test_a_face_found_twice_is_a_false_alarm_and_half_an_overlap_is_enough():
    twice = match_pictures([Detections.of([(0, 0, 9, 9)]*2, [.9, .8])], [[(0, 0, 9, 9)]])
    assert twice.verdicts().tolist() == [1, -1] and average_precision(twice) == 1 and false_alarms(twice) == 1
    half = [(0, 0, 9, 4)] # 50 of 100 pixels
    assert match_pictures([Detections.of(half, [.5])], [[(0, 0, 9, 9)]]).verdicts().tolist() == [1]
    assert match_pictures([Detections.of([(0, 0, 9, 3.9)], [.5])], [[(0, 0, 9, 9)]]).verdicts().tolist() == [-1]


@few
@given(seeds)
def test_overlap_of_pixels(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (9, 2))
    boxes, others = np.split(np.hstack([corners, corners + rng.integers(0, 12, (9, 2))]), [5])
    overlap = pixel_overlap(boxes, others)
    assert overlap.shape == (5, 4)
    for i, j in np.ndindex(5, 4): assert overlap[i, j] == pytest.approx(pixels_shared(boxes[i], others[j]), abs=1e-12)


@few
@given(seeds)
def test_recall_and_false_alarms_fall_with_the_threshold(seed):
    truth, found, counts = some_pictures(seed)
    matches, steps = match_pictures(found, truth), np.linspace(0, 1.1, 12)
    if not np.concatenate(counts).any():
        assert np.isnan(recall_at(matches, .5, counts=counts)) and np.isnan(average_precision(matches, counts))
        return
    recalls = [recall_at(matches, step, counts=counts) for step in steps]
    alarms = [false_alarms(matches, step, counts) for step in steps]
    assert (np.diff(recalls) <= 0).all() and (np.diff(alarms) <= 0).all() and recalls[-1] == alarms[-1] == 0
    borne = [recall_at(matches, alarms=number, counts=counts) for number in (0, .5, 1, 100)]
    assert (np.diff(borne) >= 0).all() and borne[-1] == recalls[0]
    for score in np.unique(matches.scores): # the largest recall among the thresholds that give few enough
        if false_alarms(matches, score, counts) <= .5: assert recall_at(matches, score, counts=counts) <= borne[1] + 1e-12


@few
@given(seeds)
def test_recall_by_an_attribute_adds_up(seed):
    truth, found, counts = some_pictures(seed)
    matches, rng = match_pictures(found, truth), np.random.default_rng(seed)
    table = recall_by(matches, dict(blur=[rng.integers(0, 3, len(boxes)) for boxes in truth], size=[size_classes(boxes) for boxes in truth]), .3, counts)
    whole, n = recall_at(matches, .3, counts=counts), int(np.concatenate(counts).sum())
    for _, rows in table.groupby("attribute"):
        assert rows["n"].sum() == n and (rows["recall"]*rows["n"]).sum()/n == pytest.approx(whole)
    assert set(table["attribute"]) == (set() if n == 0 else {"blur", "size"})


def test_curve_of_precision_and_recall():
    truth, found, counts = some_pictures(5, distinct=True)
    curve = precision_recall(match_pictures(found, truth), counts)
    assert list(curve) == ["threshold", "precision", "recall"] and len(curve) == 1000
    assert (np.diff(curve.threshold) < 0).all() and (np.diff(curve.recall) >= 0).all() and curve.precision.between(0, 1).all()
    assert voc_area([.5, .5, 1], [1, .25, .5]) == .75 and voc_area([], []) == 0


def test_nothing_found_nothing_there():
    none = Detections.of([], [])
    assert average_precision(match_pictures([none], [[(0, 0, 9, 9)]])) == 0
    assert np.isnan(average_precision(match_pictures([none], [np.zeros((0, 4))])))
    assert len(match_pictures([], [])) == 0 and np.isnan(false_alarms(match_pictures([], [])))
    assert average_precision(match_pictures([Detections.of([(0, 0, 9, 9)], [.3])], [[(0, 0, 9, 9)]])) == 1 # one score only


def test_what_cannot_be_measured_is_told():
    one, box = Detections.of([(0, 0, 9, 9)], [.5]), [[(0, 0, 9, 9)]]
    with pytest.raises(ValueError, match="detections of 1 pictures and true boxes of 2"): match_pictures([one], box*2)
    with pytest.raises(ValueError, match=r"least_overlap is 0, it must be in \(0, 1\]"): match_pictures([one], box, 0)
    with pytest.raises(ValueError, match="picture 0: 1 boxes with 2 scores"): match_pictures([SimpleNamespace(boxes=[(0, 0, 1, 1)], scores=[1, 2])], box)
    with pytest.raises(ValueError, match="picture 0: 1 boxes with 1 scores; as many, all finite"): match_pictures([Detections.of([(0, 0, np.nan, 1)], [1])], box)
    matches = match_pictures([one], box)
    with pytest.raises(ValueError, match="one of them must be given"): recall_at(matches, .5, 1)
    with pytest.raises(ValueError, match="alarms is -1"): recall_at(matches, alarms=-1)
    with pytest.raises(ValueError, match=r"shape \(2,\) for 1 true faces"): average_precision(matches, np.ones(2, bool))
    with pytest.raises(ValueError, match="n_thresholds is 0"): average_precision(matches, n_thresholds=0)


def test_lists_by_size_hold_each_other_and_leave_out_what_is_invalid():
    rng = np.random.default_rng(3)
    tall = np.r_[rng.uniform(1, 120, 300), 10, 30, 50]
    boxes = np.stack([np.zeros(303), np.zeros(303), tall, tall], 1)
    picture = SimpleNamespace(boxes=boxes, attributes=dict(occlusion=rng.integers(0, 3, 303), invalid=rng.integers(0, 2, 303)))
    easy, medium, hard = (lists_by_size([picture])[level][0] for level in ("easy", "medium", "hard"))
    assert (easy <= medium).all() and (medium <= hard).all() and not hard[picture.attributes["invalid"] == 1].any()
    assert tall[easy].min() > 50 and tall[medium].min() > 30 and tall[hard].min() > 10 and not hard[tall == 10].any()
    assert picture.attributes["occlusion"][medium].max() == 1 and picture.attributes["occlusion"][hard].max() == 2
    assert wider_precision([Detections.of(boxes, np.ones(303))], [picture]) == dict(easy=1., medium=1., hard=1.)
    blind = wider_precision([Detections.of(boxes[tall < 40], np.ones((tall < 40).sum()))], [picture])
    assert blind["easy"] == 0 < blind["medium"] < blind["hard"] < 1


# detectors by name

@pytest.fixture
def registry(monkeypatch):
    "A copy of the registry, which the test may change."
    monkeypatch.setattr(detect, "_DETECTORS", dict(detect._DETECTORS))


def test_names_with_an_argument(registry):
    @register_detector("echo", argument="word")
    class Echo(Detector):
        def __init__(self, word, **arguments):
            super().__init__(**arguments)
            self.word = word
    made = create_detector("echo:a:b", upsample=0)
    assert made.word == "a:b" and made.upsample == 0 and "echo:<word>" in list_detectors()
    for name in ("echo", "echo:"):
        with pytest.raises(ValueError, match=f"the detector is '{name}', it must be echo:<word>"): create_detector(name)
    for name in ("dlib_hog:", "dlib_hog:x"):
        with pytest.raises(ValueError, match=f"the detector is '{name}', it must be dlib_hog$"): create_detector(name)
    with pytest.raises(ValueError, match="no detector is called 'ecko:a', there are .*echo:<word>"): create_detector("ecko:a")


def test_an_announced_detector_is_imported_when_it_is_created(registry, monkeypatch, tmp_path):
    (tmp_path/"later_detector.py").write_text(
        "from affect_nb.preprocess.detect import Detector, register_detector\n"
        "@register_detector('later', argument='file')\nclass Later(Detector):\n    def __init__(self, file): self.file = file\n")
    (tmp_path/"idle_detector.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    announce_detector("later", "later_detector", argument="file")
    announce_detector("idle", "idle_detector")
    assert "later:<file>" in list_detectors() and "later_detector" not in sys.modules
    assert create_detector("later:x").file == "x" and type(create_detector("later:y")).__name__ == "Later"
    announce_detector("later", "elsewhere") # what is there already stays
    assert create_detector("later:z").file == "z"
    with pytest.raises(ValueError, match="the module idle_detector does not register the detector 'idle'"): create_detector("idle")


def test_announced_detectors_are_in_the_package():
    "The default registry names modules that exist, and none of them imports torch before it is used."
    for name, entry in detect._DETECTORS.items():
        assert (ROOT/f"{entry.module.replace('.', '/')}.py").is_file(), name
    look = "import sys, affect_nb.preprocess.detect as detect; detect.list_detectors(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split() == ["False"]


# YuNet

@pytest.fixture(scope="module")
def yunet(real):
    "The name of the detector with the weights that lie beside the checkout."
    file = real/"models"/"yunet_n.onnx"
    if not file.is_file(): pytest.skip("../shared/data/models/yunet_n.onnx is absent: no weights of YuNet to test with")
    return f"yunet:{file}"


def field(number, value):
    "A field of protobuf: a number, or bytes."
    if isinstance(value, int): return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def identity_network():
    "An ONNX file whose network hands its input on: (1, 3, 64, 64) float32."
    shape = b"".join(field(1, field(1, size)) for size in (1, 3, 64, 64))
    def tensor(name): return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))
    node = field(1, b"input") + field(2, b"output") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, tensor(b"input")) + field(12, tensor(b"output"))
    return field(1, 7) + field(7, graph) + field(8, field(1, b"") + field(2, 11))


def test_files_that_are_no_yunet(tmp_path):
    contents = dict(text=b"not a network", empty=b"", other=identity_network())
    for name, content in contents.items():
        (tmp_path/f"{name}.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.onnx is not an ONNX file of YuNet"): create_detector(f"yunet:{tmp_path/name}.onnx")
    assert cv2.dnn.readNetFromONNX(str(tmp_path/"other.onnx")).getUnconnectedOutLayersNames() # it is a network, but another one
    with pytest.raises(ValueError, match=r"gone\.onnx: there is no such file"): create_detector(f"yunet:{tmp_path}/gone.onnx")
    with pytest.raises(ValueError, match="there is no such file"): Settings(detector=f"yunet:{tmp_path}")


def test_yunet_finds_drawn_faces(yunet):
    detector, drawn = create_detector(yunet), draw_face(3, .2, 320)
    for image in (drawn.image, cv2.cvtColor(drawn.image, cv2.COLOR_RGB2GRAY), np.dstack([drawn.image]*2)[..., :3]):
        found = detector(image)
        assert found.boxes.dtype == np.float32 and len(found) == 1 and .9 <= found.scores[0] <= 1
        assert box_overlap([drawn.box], found.boxes)[0, 0] > .5
    near = detector.near(drawn.image, drawn.box)
    assert box_overlap([drawn.box], near.boxes[:1])[0, 0] > .5 and len(detector.near(drawn.image, (-900, 0, -800, 99))) == 0
    half = detector(drawn.image, reduction=.5)
    assert box_overlap([drawn.box], half.boxes)[0, 0] > .5
    tracked, = FaceTracker(create_detector(yunet)).update(drawn.image)
    assert landmark_error(tracked.landmarks, drawn.landmarks) < .08


def test_yunet_sees_the_same_whatever_it_saw_before(yunet):
    "One model serves all sizes and thresholds in turn; of both sides at most 32 px OpenCV would read memory that nobody wrote."
    detector, loose = create_detector(yunet), create_detector(yunet, threshold=.05)
    drawn, rng = draw_face(5, .2, 320), np.random.default_rng(0)
    before, low = detector(drawn.image), loose(drawn.image)
    assert len(low) >= len(before) == 1
    for width, height in [(1, 1), (31, 31), (32, 300), (9, 270), (33, 64), *rng.integers(1, 90, (10, 2)).tolist()]:
        assert len(detector(np.zeros((height, width, 3), np.uint8))) == 0
        small = detector(cv2.resize(drawn.image, (width, height)))
        assert np.isfinite(small.boxes).all() and (np.abs(small.boxes) < 1000).all()
        again = detector(drawn.image)
        np.testing.assert_array_equal(again.boxes, before.boxes)
    np.testing.assert_array_equal(loose(drawn.image).scores, low.scores)


def boxes_of(task):
    detector, image = task
    return detector(image).boxes


def test_yunet_goes_into_other_processes(yunet):
    drawn, detector = draw_face(3, .2, 320), create_detector(yunet, threshold=.7, max_side=900)
    copy = pickle.loads(pickle.dumps(detector))
    assert (copy.threshold, copy.max_side, copy.file) == (.7, 900, detector.file) and b"FaceDetectorYN" not in pickle.dumps(detector)
    results = [done.result() for _, done in in_parallel(boxes_of, [(detector, drawn.image)]*2, 2)]
    for boxes in results: np.testing.assert_allclose(boxes, detector(drawn.image).boxes, atol=1e-3)


def test_yunet_in_a_store(yunet, tmp_path):
    "Its name is in the store's settings, and makes the same settings again; a finished clip is not done again."
    cv2.imwrite(str(tmp_path/"face.png"), draw_face(3, .2, 320).image[..., ::-1])
    def made(**how): return preprocess(tmp_path/"face.png", tmp_path/"faces", detector=yunet, progress=False, **how)
    store, = made(detector_options=dict(threshold=.8)).stores
    about = FaceStore.open(store.path).about["settings"]
    assert about["detector"] == yunet and asdict(Settings(**about | dict(crop_place=tuple(about["crop_place"])))) == asdict(Settings(detector=yunet, detector_options=dict(threshold=.8)))
    assert store.table["status"].to_pylist() == ["ok"]
    stamp = store.path.stat().st_mtime_ns
    assert made(detector_options=dict(threshold=.8)).stores[0].path.stat().st_mtime_ns == stamp
    assert made().stores[0].path.stat().st_mtime_ns != stamp


def test_yunet_and_dlib_find_about_the_same_faces(yunet, real):
    "On real pictures: all pairs within two faces, dlib's faces nearly all found by YuNet, and nothing where nobody is."
    hog, net, shared, n_hog = create_detector("dlib_hog"), create_detector(yunet), 0, 0
    for name in ("2007_007763.jpg", "2008_001322.jpg", "2008_002506.jpg", "2008_007676.jpg", "2009_004587.jpg", "two_people.jpg", "obama-240p.jpg"):
        image = read_image(real/"images"/name)
        dlib, ours = hog(image), net(image)
        assert abs(len(dlib) - len(ours)) <= 2, name
        shared, n_hog = shared + int((box_overlap(dlib.boxes, ours.boxes).max(1, initial=0) > .3).sum()), n_hog + len(dlib)
    assert n_hog >= 20 and shared >= .9*n_hog
    for name in ("no_face_grass.jpg", "no_face_mountain.jpg", "dogs.jpg"): assert len(net(read_image(real/"images"/name))) == 0


# the benchmark

@pytest.fixture(scope="module")
def release(tmp_path_factory):
    "Four drawn faces, a face that nobody can find and a picture without any, in WIDER FACE's layout; the folder and the true boxes."
    root = tmp_path_factory.mktemp("release")
    lines, truth = [], []
    for number in range(5):
        event, name = f"{number % 2}--Event", f"{number}.jpg"
        (root/"WIDER_train"/"images"/event).mkdir(parents=True, exist_ok=True)
        drawn = draw_face(number, 0, 200)
        image = np.full((100, 100, 3), 128, np.uint8) if number == 4 else drawn.image
        cv2.imwrite(str(root/"WIDER_train"/"images"/event/name), image[..., ::-1])
        x, y, right, bottom = drawn.box.round().astype(int).tolist()
        rows = [f"{x} {y} {right - x} {bottom - y} {number % 3} 0 1 0 0 0 "] + ["0 0 40 40 2 0 0 0 2 1 "]*(number == 0) + ["5 5 4 4 2 0 0 1 2 0 "]*(number == 1)
        lines += [f"{event}/{name}", *(["0", "0 0 0 0 0 0 0 0 0 0 "] if number == 4 else [str(len(rows)), *rows])]
        truth.append((x, y, right, bottom))
    (root/"wider_face_split").mkdir()
    (root/"wider_face_split"/"wider_face_train_bbx_gt.txt").write_text("\n".join(lines) + "\n")
    return root, truth


def test_pictures_of_the_release_are_read(release):
    root, truth = release
    pictures, lists = detectors.read_pictures(root, "train")
    assert lists is None
    assert [picture.file.is_file() for picture in pictures] == [True]*5 and [len(picture.boxes) for picture in pictures] == [2, 2, 1, 1, 0]
    assert [tuple(picture.boxes[0]) for picture in pictures[:4]] == truth[:4]
    assert pictures[1].attributes["invalid"].tolist() == [0, 1] and pictures[0].attributes["occlusion"].tolist() == [0, 2] and len(pictures[4].attributes["pose"]) == 0
    assert [picture.attributes["blur"][0] for picture in pictures[:4]] == [0, 1, 2, 0] and pictures[0].attributes["pose"].tolist() == [0, 1]
    for split in ("validation", "test"):
        with pytest.raises(ValueError, match=f"split is '{split}'"): detectors.read_pictures(root, split)


def test_the_lists_of_a_validation_part_are_the_release_s(tmp_path):
    from affect_nb.synth.twins import write_database
    root = write_database("wider-face", tmp_path/"twin", size="smoke", seed=1, progress=False)
    figures = detectors.run("opencv_haar", wider=root, split="validation", count=3, faces=0, rounds=0)
    assert figures["lists"] == "of the release" and 0 <= figures["photographs"][0]["AP easy"] <= 1


def test_the_same_pictures_are_chosen_each_time(release):
    pictures = detectors.read_pictures(release[0], "train")[0]
    some = [detectors.chosen(pictures, 3) for _ in range(2)]
    assert some[0] == some[1] and len(some[0]) == 3 and detectors.chosen(pictures, None) == list(range(len(pictures)))
    assert {pictures[place].event for place in detectors.chosen(pictures, None, "1--Event")} == {"1--Event"}
    with pytest.raises(ValueError, match="2--Event"): detectors.chosen(pictures, 1, "2--Event")


def test_benchmark_on_photographs(release):
    figures = detectors.run("dlib_hog", wider=release[0], faces=0, rounds=0)
    row, = figures["photographs"]
    assert row["AP easy"] == row["AP medium"] == 1 and row["AP hard"] == .8 and row["recall"] == .8 and row["false alarms a picture"] == 0
    tables = {row["attribute"]: row for row in figures["recall by attribute"]}
    assert tables["dlib_hog, blur"] == {"attribute": "dlib_hog, blur", "0": 1., "1": 1., "2": .5} # the mark `invalid` leaves one face out
    assert tables["dlib_hog, height, px from"]["40"] == 0 and {row["attribute"]: row for row in figures["faces by attribute"]}["pose"]["1"] == 1
    assert figures["data"] == "WIDER FACE's layout, train, 5 pictures of 2 events"


def test_low_scores_change_nothing_above_the_threshold(yunet):
    "What a detector finds at its own threshold is what it finds with a lower one, cut there."
    for name in ("dlib_hog", yunet):
        for seed in range(3):
            drawn = draw_face(seed, .4, 320)
            own = create_detector(name)
            low = create_detector(name, threshold=detectors.LOW[name.partition(":")[0]])(drawn.image)
            np.testing.assert_allclose(low.boxes[low.scores >= own.threshold], own(drawn.image).boxes, atol=1e-3)


def test_one_parameter_at_a_time():
    image, box = detectors.drawn(1)
    assert image.shape == (480, 640, 3) and 120 < box[3] - box[1] < 150 and np.abs((box[:2] + box[2:])/2 - (320, 250)).max() < 20
    np.testing.assert_array_equal(detectors.darkened(1, 1.)[0], image)
    assert detectors.darkened(1, .25)[0].mean() == pytest.approx(image.mean()/4, rel=.02)
    turned, square = detectors.rolled(1, 0)
    np.testing.assert_array_equal(turned, image)
    assert np.prod(square[2:] - square[:2]) == pytest.approx(np.prod(box[2:] - box[:2]))
    x, y = ((box[:2] + box[2:])/2).round().astype(int).tolist()
    before, after = (each[y - 40:y + 41, x - 40:x + 41].astype(int) for each in (image, detectors.rolled(1, 180)[0]))
    assert np.abs(after[::-1, ::-1] - before).mean() < .4*np.abs(after - before).mean()
    changed = (detectors.covered(1, .4)[0] != image).any(-1).any(1)
    assert changed.sum() == pytest.approx(.4*(box[3] - box[1]), abs=2)
    small = detectors.drawn(1, height=40)[1]
    assert (small[3] - small[1])/(box[3] - box[1]) == pytest.approx(.25, abs=.01)
    tones = [detectors.drawn(1, tone=tone)[0][y - 20:y + 20, x - 20:x + 20].mean() for tone in range(6)]
    assert all(lighter > darker + 5 for lighter, darker in zip(tones, tones[1:]))
    assert detectors.darkened(1, .5, 5)[0].mean() < detectors.darkened(1, .5, 0)[0].mean()


def test_benchmark_on_drawn_faces(monkeypatch):
    monkeypatch.setattr(detectors, "AXES", {"light, share": ((1., .01), detectors.darkened)})
    figures = detectors.run(["dlib_hog"], faces=2, rounds=1)
    assert figures["recall on drawn faces"] == [{"axis": "dlib_hog, light, share", "1": 1., "0.01": 0.}]
    assert figures["false alarms on drawn faces"] == [dict(detector="dlib_hog", pictures=4, number=0)]
    assert figures["time at 640x480, one thread"][0]["ratio"] == 1 and figures["ratios are to"] == "dlib_hog"


@pytest.mark.parametrize("axis", detectors.AXES)
def test_benchmark_can_draw_all_that_it_asks_for(axis):
    values, draw = detectors.AXES[axis]
    for value in values[:1] + values[-1:]:
        image, box = draw(1, value)
        assert image.shape == (480, 640, 3) and box.shape == (4,) and (box[2:] > box[:2]).all()


def test_benchmark_is_found_and_names_its_detectors():
    assert "detectors" in list_benchmarks()
    assert {"detectors", "wider", "split", "count"} <= set(script_options(ROOT/"benchmarks"/"detectors.py"))
    assert detectors.detectors_named() == ["dlib_hog", "opencv_haar", "ssh_small"] and detectors.detectors_named("a yunet:b") == ["a", "yunet:b"]
    assert detectors.titled("yunet:/far/away/net.onnx") == "yunet:net.onnx" and detectors.titled("dlib_hog") == "dlib_hog"
    with pytest.raises(ValueError, match="no detector is called 'magic'"): detectors.run("magic")
