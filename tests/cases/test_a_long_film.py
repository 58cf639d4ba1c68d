"""A film that is longer than a window: no seams by default, and the paper's windows where they are asked for."""
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from affect_nb.analysis.postprocess import Chain, Step
from affect_nb.apps.predictor import Predictor
from affect_nb.apps.windows import fade_weights, overlapping_starts
from affect_nb.data.sequences import scale_landmarks
from affect_nb.models.registry import create_model
from affect_nb.models.weights import Card
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter

CPU, VA, LENGTH = torch.device("cpu"), ["valence", "arousal"], 20
RECURRENT = ("affwildnet_vgg", "fusion_rnn", "av_mt_vgg_gru")


def store_of(path, crops, lost=()):
    "One face with these crops, frame by frame."
    with FaceStoreWriter(path, clip=path.stem, encoding="raw") as writer:
        for frame, (crop, points) in enumerate(crops):
            if frame in lost: writer.add(frame, frame/25, 0, "lost")
            else: writer.add(frame, frame/25, 0, "ok", crop, box=(0, 0, 50, 50), landmarks=points, crop_landmarks=points)
    return FaceStore.open(path)


def drawn(seed, n):
    "Crops of noise with landmarks."
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8), rng.uniform(0, 95, (68, 2))) for _ in range(n)]


def predictor_of(name, length=LENGTH, **options):
    torch.manual_seed(0)
    model = create_model(name, width=1/16).eval()
    for part, weight in model.named_parameters(): # outputs that differ by more than rounding
        if part.endswith("output.weight") or "va.weight" in part: weight.data *= 10
    return Predictor(model, Card(architecture=name, postprocess=options.pop("chain", {})), CPU, length, **options)


def va(table): return table[VA].to_numpy(float)


def quietly(work, *arguments):
    "Its result; a network that hears warns of the missing sound."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work(*arguments)


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    "A face that does not move, for three windows and some frames."
    return store_of(tmp_path_factory.mktemp("still")/"still.arrow", drawn(0, 1)*66)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    "A face that changes with each frame, and is lost for a while."
    return store_of(tmp_path_factory.mktemp("moving")/"moving.arrow", drawn(1, 53), lost=range(17, 23))


@pytest.mark.parametrize("name", RECURRENT)
def test_a_face_that_does_not_move_has_no_seams(still, name):
    steps = {windows: abs(np.diff(va(quietly(predictor_of(name, windows=windows).predict_store, still)), axis=0)).max(1) for windows in ("overlap", "carry", "paper")}
    later = np.arange(1, len(still)) > LENGTH # after what the beginning of the film does to the hidden state
    edges = later & (np.arange(1, len(still)) % (LENGTH//4) == 0) # of windows that overlap; the paper's are among them
    seam = steps["paper"][edges].max()
    assert seam > 1e-4 and seam > 2*steps["paper"][later & ~edges].max()
    for windows in ("overlap", "carry"):
        at_edges, elsewhere = steps[windows][edges].max(), steps[windows][later & ~edges].max()
        assert at_edges < 1.3*elsewhere + seam/100 and at_edges < seam/8, (windows, seam, at_edges, elsewhere)


@pytest.mark.parametrize("name", RECURRENT)
def test_the_paper_s_windows_are_what_they_were(moving, name):
    "Each window by itself, put through the network by hand."
    predictor = predictor_of(name, windows="paper")
    faces, points = torch.from_numpy(moving.read(0, 53).copy()).permute(0, 3, 1, 2), torch.from_numpy(scale_landmarks(moving.landmarks(0, 53)).copy())
    table, expected = quietly(predictor.predict_store, moving), []
    for start in range(0, 53, LENGTH):
        window = [torch.nn.functional.pad(part[start:start + LENGTH], (0, 0)*(part.ndim - 1) + (0, LENGTH - len(part[start:start + LENGTH])))[None] for part in (faces, points)]
        if predictor.hears: window.append(torch.zeros(1, LENGTH, 1, 96, 96, dtype=torch.uint8))
        with torch.no_grad(): expected.append(predictor.model(*window).va[0])
    seen = (table.status == "ok").to_numpy().copy()
    np.testing.assert_allclose(va(table)[seen], torch.cat(expected)[:53][seen], atol=1e-5)


def test_a_frame_is_the_mean_of_two_windows(moving):
    "By hand: frame 32 is in the third quarter of the window from 20, and in the fourth of that from 15."
    predictor = predictor_of("vgg_face_lstm")
    faces = torch.from_numpy(moving.read(0, 53).copy()).permute(0, 3, 1, 2)
    with torch.no_grad(): rising, falling = (predictor.model(faces[None, start:start + LENGTH]).va[0, 32 - start] for start in (20, 15))
    np.testing.assert_allclose(va(predictor.predict_store(moving))[32], rising*2/5 + falling*3/5, atol=1e-5)
    assert abs(rising - falling).max() > 1e-3


@pytest.mark.parametrize("length", [2, 3, 7, 20])
@pytest.mark.parametrize("n", [1, 6, 20, 61])
def test_weights_of_a_frame_sum_to_one(length, n):
    total = np.zeros(n + length)
    for start in overlapping_starts(n, length): total[start:start + length] += fade_weights(length, start == 0)
    np.testing.assert_allclose(total[:n], 1, atol=1e-6)


@pytest.mark.parametrize("name", ["fusion_rnn", "mt_vgg_gru"])
def test_the_cnn_sees_each_frame_once_and_few_at_a_time(moving, name):
    predictor, seen = predictor_of(name, length=8, batch=2), []
    cnn = next(part for where, part in predictor.model.named_modules() if where.split(".")[-1] == "cnn")
    cnn.register_forward_hook(lambda layer, given, out: seen.append(len(given[0])))
    at_once = quietly(replace(predictor, batch=9).predict_store, moving)
    assert sum(seen) == 53
    seen.clear()
    table = quietly(predictor.predict_store, moving)
    assert sum(seen) == 53 and max(seen) == 16
    np.testing.assert_allclose(va(table), va(at_once), atol=1e-5)


@pytest.mark.parametrize("name", ["affwildnet_vgg", "decision_fusion", "av_mt_vgg_gru"])
def test_a_network_that_cannot_tell_cnn_and_rnn_apart(moving, name):
    "One of somebody else, without `from_features`, gives the same, for more work."
    class Theirs(torch.nn.Module):
        def __init__(self, model): super().__init__(); self.model, self.tasks = model, getattr(model, "tasks", ("va",))
        def forward(self, *inputs): return self.model(*inputs)
    predictor = predictor_of(name, length=8)
    theirs = replace(predictor, model=Theirs(predictor.model))
    np.testing.assert_allclose(va(quietly(theirs.predict_store, moving)), va(quietly(predictor.predict_store, moving)), atol=1e-5)


def test_networks_of_single_frames_are_not_run_twice(moving):
    predictor, seen = predictor_of("vgg_face", chain=Chain(valence=(Step("shift", numbers=(.1,)),), length=5).to_dict()), []
    predictor.model.cnn.register_forward_hook(lambda layer, given, out: seen.append(len(given[0])))
    table = predictor.predict_store(moving)
    assert sum(seen) == 60 # three windows of 20
    pd.testing.assert_frame_equal(table, replace(predictor, windows="paper").predict_store(moving))


def test_a_face_that_was_away_begins_anew(tmp_path):
    crops = drawn(2, 70)
    whole = store_of(tmp_path/"whole.arrow", crops, lost=range(20, 20 + LENGTH))
    rest = store_of(tmp_path/"rest.arrow", crops[40:])
    predictor = predictor_of("affwildnet_vgg")
    np.testing.assert_allclose(va(predictor.predict_store(whole))[40:], va(predictor.predict_store(rest)), atol=1e-5)


@pytest.mark.parametrize("name", ["vgg_face", "affwildnet_vgg"])
def test_post_processing_reaches_over_the_whole_run(moving, name):
    chain = Chain(valence=(Step("median", window=9),), length=5)
    predictor = predictor_of(name, chain=chain.to_dict())
    raw, done = replace(predictor, postprocess=False).predict_store(moving), predictor.predict_store(moving)
    expected = raw.valence.rolling(9, center=True, min_periods=1).median().where(raw.valence.notna())
    np.testing.assert_allclose(done.valence, expected, atol=1e-6)
    assert abs(replace(predictor, windows="paper").predict_store(moving).valence - expected).max() > 1e-4


def test_runs_of_several_faces_are_filtered_apart(tmp_path):
    path, chain = tmp_path/"two.arrow", Chain(valence=(Step("mean", window=41),), length=5)
    with FaceStoreWriter(path, clip="two", encoding="raw") as writer:
        for face in (0, 1):
            for frame, (crop, points) in enumerate(drawn(face, 60)):
                if 10 <= frame < 12: writer.add(frame, frame/25, face, "lost") # both faces at once
                elif not 25 <= frame < 50: writer.add(frame, frame/25, face, "ok", crop, box=(0, 0, 9, 9), crop_landmarks=points)
    predictor = predictor_of("affwildnet_vgg", chain=chain.to_dict())
    table, raw = predictor.predict_store(FaceStore.open(path)), replace(predictor, postprocess=False).predict_store(FaceStore.open(path))
    for face in (0, 1):
        for part in (range(25), range(50, 60)): # 25 frames away: more than a window of 20
            one = raw[(raw.face_id == face) & raw.frame.isin(part)].valence
            np.testing.assert_allclose(table.valence[one.index], one.rolling(41, center=True, min_periods=1).mean().where(one.notna()), atol=1e-6)


def test_the_options(moving):
    predictor = predictor_of("affwildnet_vgg")
    carried = replace(predictor, carry=True)
    np.testing.assert_array_equal(va(carried.predict_store(moving)), va(replace(predictor, windows="carry").predict_store(moving)))
    with pytest.raises(ValueError, match="windows is 'seamless', allowed are overlap, carry, paper"): replace(predictor, windows="seamless")
    with pytest.raises(ValueError, match="carry is True and windows is 'paper': give one of the two"): replace(carried, windows="paper")
