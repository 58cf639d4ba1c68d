"""Prediction with every network of Section V: memories carried on, missing landmarks, the card's chain, clips beside their labels."""
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from affect_nb.analysis.evaluate import evaluate
from affect_nb.analysis.postprocess import Chain, Step, apply_chain
from affect_nb.analysis.utterances import utterance_predictions
from affect_nb.apps.cli import app
from affect_nb.apps.predict import Predictor, predict_clips, write_predictions
from affect_nb.databases.base import open_database
from affect_nb.data.sequences import SequenceDataset
from affect_nb.data.store import open_faces
from affect_nb.models.registry import create_model, list_models
from affect_nb.models.weights import Card, save_checkpoint
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter

CPU, VA = torch.device("cpu"), ["valence", "arousal"]
REMEMBER = ("affwildnet_vgg", "vgg_face_lstm", "cnn_3rnn", "fusion_rnn", "decision_fusion")


def store_of(path, frames, seed=0, bare=(), lost=()):
    "A store of noise: `frames` is face_id -> frame numbers; without landmarks in the frames of `bare`, without the face in those of `lost`."
    with FaceStoreWriter(path, clip=path.stem, encoding="raw") as writer:
        for face, numbers in frames.items():
            noise = np.random.default_rng((seed, face))
            for frame in numbers:
                crop, points = noise.integers(0, 256, (96, 96, 3), dtype=np.uint8), noise.uniform(0, 95, (68, 2))
                box = (100*face, 0, 100*face + 50, 50)
                if frame in lost: writer.add(frame, frame/25, face, "lost")
                else: writer.add(frame, frame/25, face, "ok", crop, box=box, landmarks=None if frame in bare else points, crop_landmarks=None if frame in bare else points)
    return FaceStore.open(path)


def predictor_of(name, length=10, **options):
    torch.manual_seed(0)
    model = create_model(name, width=1/16).eval()
    for part, weight in model.named_parameters(): # memories that matter: a fresh network hardly listens to them
        if "weight_hh" in part: weight.data *= 3
    return Predictor(model, Card(architecture=name, postprocess=options.pop("chain", {})), CPU, length, **options)


def va(table, face=None):
    table = table if face is None else table[table.face_id == face]
    return table[VA].to_numpy()


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    "24 frames: face 0 in all but one, lost in four; face 1 from frame 6 to 17."
    return store_of(tmp_path_factory.mktemp("stores")/"short.arrow", {0: [frame for frame in range(24) if frame != 3], 1: range(6, 18)}, lost=(12, 13, 14, 15))


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("name", list_models())
def test_every_network(short, name, carry):
    predictor = predictor_of(name, carry=carry)
    if predictor.hears: pytest.skip("tests/test_predict_tasks.py is about networks that hear")
    table, seen = predictor.predict_store(short), short.frames.sort_values(["frame", "face_id"], ignore_index=True).status == "ok"
    assert len(table) == len(short) and table.loc[seen, VA].notna().all(axis=None) and table.loc[~seen, VA].isna().all(axis=None)
    assert table.landmarks.equals(seen.rename("landmarks")) and table.valence.dtype == np.float32


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", REMEMBER)
def test_carried_on_is_at_once(short, name, batch):
    at_once = predictor_of(name, length=24, windows="paper").predict_store(short)
    pieces = predictor_of(name, length=5, batch=batch)
    np.testing.assert_allclose(va(replace(pieces, carry=True).predict_store(short), 0), va(at_once, 0), atol=1e-5)
    assert np.nanmax(abs(va(replace(pieces, windows="paper").predict_store(short), 0) - va(at_once, 0))) > 1e-4 # and anew is not


def test_frame_networks_carry_nothing(short):
    plain = predictor_of("vgg_face", length=5)
    np.testing.assert_allclose(va(replace(plain, carry=True).predict_store(short)), va(plain.predict_store(short)), atol=1e-5)


@pytest.mark.parametrize("away", ["no rows", "rows without the face"])
def test_memory_starts_anew_after_a_window_without_the_face(tmp_path, away):
    unseen = range(10, 15) # the third window of five
    frames = [frame for frame in range(25) if away != "no rows" or frame not in unseen]
    film = store_of(tmp_path/"film.arrow", {0: frames}, lost=unseen)
    predictor, rest = predictor_of("affwildnet_vgg", length=5, carry=True), tmp_path/"rest.arrow"
    with FaceStoreWriter(rest, clip="rest", encoding="raw") as writer:
        for frame in range(15, 25):
            row = film.rows(0).start + frames.index(frame)
            writer.add(frame - 15, (frame - 15)/25, 0, "ok", film.read(row, row + 1)[0], crop_landmarks=film.landmarks(row, row + 1)[0])
    whole, alone = predictor.predict_store(film), predictor.predict_store(FaceStore.open(rest))
    np.testing.assert_allclose(va(whole[whole.frame >= 15]), va(alone), atol=1e-5)


def test_a_shorter_gap_is_lived_through(tmp_path):
    film = store_of(tmp_path/"film.arrow", {0: range(20)}, lost=(6, 7, 8, 9))
    carried = predictor_of("cnn_1rnn", length=5, carry=True)
    np.testing.assert_allclose(va(carried.predict_store(film)), va(replace(carried, length=20).predict_store(film)), atol=1e-5)


@pytest.mark.parametrize("carry", [False, True])
def test_faces_do_not_share_a_memory(tmp_path, carry):
    both = store_of(tmp_path/"both.arrow", {0: range(20), 1: range(3, 18)})
    predictor = predictor_of("fusion_rnn", length=5, carry=carry)
    together = predictor.predict_store(both)
    for face, frames in ((0, range(20)), (1, range(3, 18))):
        alone = predictor.predict_store(store_of(tmp_path/f"only{face}.arrow", {face: frames}))
        np.testing.assert_allclose(va(together, face), va(alone), atol=1e-5)
        np.testing.assert_allclose(va(predictor.predict_store(both, faces=[face])), va(alone), atol=1e-5)


def test_what_is_read_at_a_time_does_not_grow(tmp_path):
    film, sizes = store_of(tmp_path/"film.arrow", {0: range(60)}), []
    predictor = predictor_of("affwildnet_vgg", length=5, batch=2, carry=True)
    predictor.model.cnn.register_forward_hook(lambda layer, given, out: sizes.append(len(given[0])))
    predictor.predict_store(film)
    assert sizes == [10]*6


def test_carry_needs_a_network_that_goes_on():
    with pytest.raises(ValueError, match="carry is True, but Linear has no `continued`"): Predictor(torch.nn.Linear(1, 1), Card(architecture="x"), CPU, carry=True)


# Landmarks

def test_missing_landmarks_are_flagged(tmp_path):
    film = store_of(tmp_path/"film.arrow", {0: range(12)}, bare=(2, 7, 8), lost=(4,))
    with pytest.warns(UserWarning, match="film: 3 of 11 faces have no landmarks") as said: table = predictor_of("affwildnet_vgg", length=5).predict_store(film)
    assert len(said) == 1
    assert table.frame[~table.landmarks].tolist() == [2, 4, 7, 8] and table.valence.isna().tolist() == [frame == 4 for frame in range(12)]
    written = pd.read_csv(write_predictions(tmp_path/"film.csv", table))
    assert written.landmarks_found.tolist() == table.landmarks.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predictor_of("vgg_face", length=5).predict_store(film).landmarks.equals(table.landmarks) # which reads none


def test_zeros_stand_for_missing_landmarks(tmp_path):
    film = store_of(tmp_path/"film.arrow", {0: range(5)}, bare=range(5))
    predictor = predictor_of("decision_fusion", length=5, windows="paper")
    with pytest.warns(UserWarning, match="5 of 5"): table = predictor.predict_store(film)
    with torch.no_grad(): expected = predictor.model(torch.from_numpy(film.read(0, 5)).permute(0, 3, 1, 2)[None], torch.zeros(1, 5, 68, 2)).va[0]
    np.testing.assert_allclose(va(table), expected, atol=1e-6)


@pytest.fixture
def crops(tmp_path):
    "A release's own crops of 12 frames, of which number 5 is not there."
    folder = tmp_path/"cropped"/"walk"
    folder.mkdir(parents=True)
    for frame in [frame for frame in range(12) if frame != 5]: cv2.imwrite(str(folder/f"{frame + 1:05d}.png"), np.random.default_rng(frame).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    return folder


def test_crops_of_a_release(crops):
    with pytest.warns(UserWarning, match="walk: 11 of 11 faces"): table = predictor_of("affwildnet_vgg", length=5).predict_store(open_faces(crops))
    assert table.frame.tolist() == [*range(12)] and table.valence.isna().tolist() == [frame == 5 for frame in range(12)] and not table.landmarks.any()


def test_a_dataset_says_that_it_has_no_landmarks(crops, tmp_path):
    dataset = SequenceDataset(crops.parent, length=5)
    assert not dataset.has_landmarks and not dataset[0].landmarked.any() and not dataset.cut(4).has_landmarks
    assert dataset.notes == ["walk: a folder of crops has no landmarks; networks get zeros"]
    folder = tmp_path/"stores"
    bare = store_of(folder/"bare.arrow", {0: range(20)}, bare=range(20), lost=(0,))
    mixed = SequenceDataset([bare.path, store_of(folder/"some.arrow", {0: range(20)}, bare=(1, 2)).path], length=5)
    assert mixed.has_landmarks and mixed.notes == ["bare: none of 8 faces that were looked at has landmarks; networks get zeros"]
    assert not SequenceDataset([bare.path], length=5).has_landmarks
    window = mixed[[track.clip for track in mixed.tracks].index("some")*4]
    assert window.clip == "some" and window.landmarked.tolist() == [True, False, False, True, True]


# The card's chain

CHAIN = Chain(valence=(Step("median", window=5), Step("shift", numbers=(.1,))), arousal=(Step("scale", numbers=(1.5, .2)), Step("mean", "utterance", 3)), length=6, utterance=True)
FRAMES_ONLY = Chain(valence=CHAIN.valence, arousal=CHAIN.arousal[:1], length=6)


@pytest.mark.parametrize("windows", ["paper", "overlap", "carry"])
def test_chain_of_the_card(short, windows):
    predictor = predictor_of("cnn_3rnn", chain=CHAIN.to_dict(), windows=windows)
    raw, plain = replace(predictor, postprocess=False).predict_store(short), predictor_of("cnn_3rnn", windows=windows).predict_store(short)
    pd.testing.assert_frame_equal(raw, plain)
    chain = FRAMES_ONLY if windows == "paper" else replace(FRAMES_ONLY, length=None) # within sequences, or over all of a run
    expected = apply_chain(chain, raw.rename(columns={name: f"{name}_pred" for name in VA}))
    done = predictor.predict_store(short)
    np.testing.assert_allclose(va(done), expected[[f"{name}_pred" for name in VA]].to_numpy(), atol=1e-6)
    pd.testing.assert_frame_equal(done.drop(columns=VA), raw.drop(columns=VA))
    assert list(done) == list(raw) and np.nanmax(abs(va(done) - va(raw))) > .05


def test_chain_of_utterances_alone_changes_no_frame(short):
    only = Chain(arousal=(Step("mean", "utterance", 3),), utterance=True)
    predictor = predictor_of("vgg_face", chain=only.to_dict())
    assert predictor.chain is None
    pd.testing.assert_frame_equal(predictor.predict_store(short), predictor_of("vgg_face").predict_store(short))


def test_a_wrong_chain_is_named():
    with pytest.raises(ValueError, match="the card's postprocess cannot be read: valence, step 1"): predictor_of("vgg_face", chain={"valence": [{"name": "median", "window": 4}]})


def test_options_of_the_command_line(tmp_path, monkeypatch):
    save_checkpoint(tmp_path/"net", create_model("affwildnet_vgg", width=1/16), {"postprocess": FRAMES_ONLY.to_dict(), "notes": {"recipe": {"length": 12}}})
    loaded = Predictor.load(tmp_path/"net.json", "cpu", carry=True, batch=2, precision="float32")
    assert (loaded.length, loaded.batch, loaded.carry, loaded.chain) == (12, 2, True, FRAMES_ONLY)
    given = []
    monkeypatch.setattr("affect_nb.apps.predict.predict_files", lambda *args, **options: given.append(options) or ([tmp_path], []))
    for flags in ([], ["--carry"], ["--raw"], ["--windows", "paper"]): assert CliRunner().invoke(app, ["predict", "x.mp4", "--model", str(tmp_path/"net.json"), *flags]).exit_code == 0
    assert [(one["carry"], one["postprocess"], one["windows"]) for one in given] == [(False, True, None), (True, True, None), (False, False, None), (False, True, "paper")]


# Clips of a database

@pytest.fixture
def wild(tmp_path):
    "Aff-Wild: two people of the film 5, one of 7, whose labels go on after the film; 9 has no store; 3 has a wrong label."
    for what, sign in (("valence", 1), ("arousal", -1)):
        folder = tmp_path/"wild"/"annotations"/"train"/what
        folder.mkdir(parents=True)
        for name, n in (("5", 20), ("5_left", 20), ("7", 14), ("9", 5), ("3", 5)): (folder/f"{name}.txt").write_text("".join(f"{sign*row/n:.3f}\n" for row in range(n)))
    (tmp_path/"wild"/"annotations"/"train"/"valence"/"3.txt").write_text("0.1\n7.3\n")
    store_of(tmp_path/"faces"/"5.arrow", {0: range(19), 1: range(20)}, seed=5)
    for name in ("7", "3"): store_of(tmp_path/"faces"/f"{name}.arrow", {0: range(12)}, seed=7, lost=(4,))
    return open_database("aff-wild", tmp_path/"wild")


def test_clips_beside_their_labels(wild, tmp_path):
    predictor = predictor_of("affwildnet_vgg", length=5)
    table, skipped = predict_clips(predictor, wild, wild.select("train"), tmp_path/"faces")
    assert sorted(one.source for one in skipped) == ["3", "9"] and "there is no store of its faces, 9.arrow" in {one.source: one.reason for one in skipped}["9"]
    assert list(table) == ["clip", "video", "frame", "time", "face_id", "valence", "arousal", "valence_pred", "arousal_pred"]
    assert table.groupby("clip").size().to_dict() == {"5": 20, "5_left": 20, "7": 14} and set(table.video) == {"5", "7"}
    assert table.groupby("clip").face_id.unique().map(list).to_dict() == {"5": [1], "5_left": [0], "7": [0]} # the one on the left is face 0
    film = replace(predictor, windows="paper").predict_store(FaceStore.open(tmp_path/"faces"/"5.arrow"))
    for clip, face in (("5", 1), ("5_left", 0)):
        rows = table[table["clip"] == clip].set_index("frame")
        one = film[film.face_id == face].set_index("frame")
        np.testing.assert_allclose(rows.valence_pred.reindex(one.index), one.valence, atol=1e-6)
        np.testing.assert_allclose(rows.valence, np.arange(20)/20, atol=1e-6)
    assert table[table["clip"] == "7"].set_index("frame").valence_pred.isna().pipe(lambda lost: lost[lost].index.tolist()) == [4, 12, 13]
    assert evaluate(table).n_lost.iloc[0] == 1 + 1 + 2 # the left one's last frame, and those of 7


def test_clips_by_name_in_order_and_through_the_chain(wild, tmp_path):
    predictor = predictor_of("vgg_face", length=5, chain=FRAMES_ONLY.to_dict())
    raw, _ = predictor.predict_clips(wild, ["7", "5"], tmp_path/"faces")
    done, skipped = predictor.predict_clips(wild, ["7", "5", "nobody"], tmp_path/"faces", postprocess=True)
    assert raw["clip"].unique().tolist() == ["7", "5"] and [one.source for one in skipped] == ["nobody"]
    seen = raw.valence_pred.notna()
    np.testing.assert_allclose(done.arousal_pred[seen], .2 + 1.5*(raw.arousal_pred[seen] - .2), atol=1e-6)
    assert (done.valence_pred[seen] != raw.valence_pred[seen]).any()
    nothing, skipped = predictor.predict_clips(wild, ["9"], tmp_path/"faces")
    assert not len(nothing) and list(nothing) == list(raw) and len(skipped) == 1


def test_a_clip_without_labels_and_one_with_others(wild, tmp_path, monkeypatch):
    tables = {"7": pd.DataFrame(dict(frame=np.arange(0))), "5": pd.DataFrame(dict(frame=[0], expression=[1]))}
    monkeypatch.setattr(wild, "labels", lambda clip: tables[clip.name])
    table, skipped = predict_clips(predictor_of("vgg_face", length=5), wild, ["5", "7"], tmp_path/"faces")
    assert len(table) == 12 and table[VA].isna().all(axis=None) and table.valence_pred.notna().sum() == 11
    assert [one.reason for one in skipped] == ["5 has no labels of valence and arousal; its labels are expression"]


@pytest.mark.parametrize("labelled", [True, False])
def test_one_label_for_a_whole_clip(tmp_path, labelled):
    root, faces = tmp_path/"omg", tmp_path/"faces"
    root.mkdir()
    rows = [("aB-1_x_2", 1, .2, -.3), ("aB-1_x_2", 10, .4, .5), ("zz", 3, .1, .9)]
    head = "link,start,end,video,utterance" + ",arousal,valence,EmotionMaxVote"*labelled
    lines = [f"l,0,1,{video},utterance_{number}.mp4" + f",{arousal},{valence},4"*labelled for video, number, arousal, valence in rows]
    (root/f"omg_TestVideos_With{'' if labelled else 'out'}Labels.csv").write_text("\n".join([head, *lines]) + "\n")
    for number, (video, utterance, *_) in enumerate(rows): store_of(faces/f"{video}_utterance_{utterance}.arrow", {0: range(6 + number)}, seed=number)
    source = open_database("omg-emotion", root)
    table, skipped = predict_clips(predictor_of("fusion_rnn", length=5), source, source.select("test"), faces)
    assert not skipped and table.groupby("clip", sort=False).size().tolist() == [6, 7, 8] and set(table.video) == {"aB-1_x_2", "zz"}
    if labelled: assert table.groupby("clip").valence.unique().map(lambda values: np.round(values.astype(float), 3).tolist()).to_dict() == {"aB-1_x_2_utterance_1": [-.3], "aB-1_x_2_utterance_10": [.5], "zz_utterance_3": [.9]}
    else: assert table[VA].isna().all(axis=None)
    each = utterance_predictions(table, length=5)
    assert each.video.tolist() == ["aB-1_x_2", "aB-1_x_2", "zz"] and each.valence_pred.notna().all()
