"A card names the detectors that found the faces a network learned from; a prediction of faces that another one found says so."
import warnings

import cv2
import numpy as np
import pytest

from affect_nb.apps.predictor import Predictor
from affect_nb.data.joint import LabelSet
from affect_nb.data.sequences import SequenceDataset
from affect_nb.models.registry import create_model
from affect_nb.models.weights import read_card, save_checkpoint
from affect_nb.preprocess import pipeline
from affect_nb.preprocess.detect import DEFAULT_DETECTOR, create_detector, face_prob
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.synth.crowds import draw_crowd
from affect_nb.synth.faces import Identity, draw_aus, render_face
from affect_nb.train import affwildnet_recipe
from affect_nb.train.fit import fit
from affect_nb.train.toy import toy_dataloaders


def store(path, **settings):
    "One face of eight frames."
    with FaceStoreWriter(path, clip=path.stem, encoding="raw", about=dict(settings=settings) if settings else {}) as writer:
        for frame in range(8): writer.add(frame, frame/25, 0, "ok", np.full((96, 96, 3), 20*frame, np.uint8), box=(0, 0, 96, 96))
    return FaceStore.open(path)


@pytest.mark.parametrize("settings, name", [
    (dict(detector="dlib_hog"), "dlib_hog"), (dict(detector="yunet:/home/somebody/yunet.onnx"), "yunet:yunet.onnx"),
    (dict(detector="dlib_hog", crops=True), ""), ({}, "")])
def test_a_store_says_what_found_its_faces_without_anybodys_folder(tmp_path, settings, name):
    assert store(tmp_path/"clip.arrow", **settings).detector == name


def test_windows_of_several_databases_know_all(tmp_path):
    for number, settings in enumerate([dict(detector="dlib_hog"), dict(detector="opencv_haar"), {}]):
        store(tmp_path/str(number)/f"clip{number}.arrow", **settings)
    sets = [SequenceDataset(tmp_path/str(number), length=4) for number in range(3)]
    assert [data.detectors for data in sets] == [["dlib_hog"], ["opencv_haar"], []]
    assert LabelSet(sets).detectors == ["dlib_hog", "opencv_haar"]


def test_a_training_writes_it_into_the_card(tmp_path):
    dls = toy_dataloaders(8, frames=4)
    dls.train.dataset.detectors = ["opencv_haar"]
    recipe = affwildnet_recipe("smoke", width=1/16, epochs=1, batch_size=4, length=4, arguments=dict(size=32, norm="batch"))
    fit(recipe, dls, tmp_path, card=dict(preprocessing=dict(transform="similarity")))
    assert read_card(tmp_path/"best").preprocessing.model_dump() | dict(transform="similarity", detectors=("opencv_haar",)) == \
           read_card(tmp_path/"best").preprocessing.model_dump()


@pytest.mark.parametrize("learned, found, told", [
    (["dlib_hog"], "dlib_hog", False), (["dlib_hog"], "opencv_haar", True), (["dlib_hog", "opencv_haar"], "opencv_haar", False),
    ([], "opencv_haar", False), (["dlib_hog"], None, False)])
def test_a_prediction_says_when_another_one_found_the_faces(tmp_path, learned, found, told):
    save_checkpoint(tmp_path/"net", create_model("vgg_face", width=1/16, size=32), dict(preprocessing=dict(detectors=learned)))
    faces = store(tmp_path/"clip.arrow", **(dict(detector=found) if found else {}))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        Predictor.load(tmp_path/"net", precision="float32").predict_store(faces)
    said = [str(note.message) for note in notes if "found by" in str(note.message)]
    assert said == ["the faces were found by opencv_haar, those that the network learned from by dlib_hog: its predictions may be off a little"]*told


def test_stores_of_an_earlier_default_stay_unless_another_detector_is_asked_for(tmp_path, monkeypatch):
    "A change of the default makes nobody's faces anew; who names a detector gets that one."
    cv2.imwrite(str(tmp_path/"face.png"), render_face(draw_aus(0), Identity.draw(0), seed=0).image[..., ::-1])
    def made(**options): return preprocess(tmp_path/"face.png", tmp_path/"faces", progress=False, **options).stores[0].detector
    assert made(detector="opencv_haar") == "opencv_haar"
    assert made() == DEFAULT_DETECTOR
    assert made(detector="opencv_haar") == "opencv_haar"
    monkeypatch.setattr(pipeline, "EARLIER_DEFAULTS", ("opencv_haar",))
    assert made() == "opencv_haar"
    assert made(detector=DEFAULT_DETECTOR) == DEFAULT_DETECTOR and made() == DEFAULT_DETECTOR


@pytest.mark.parametrize("name", ["dlib_hog", "opencv_haar"])
def test_sure_is_the_same_probability_for_all(name):
    "Of a detector's finds those are left that are faces with this probability, by the calibration of its scores."
    image = draw_crowd(3).image
    everything, doubtful, sure = (create_detector(name, sure=prob)(image) for prob in (.01, .5, .95))
    assert len(everything) >= len(doubtful) >= len(sure) and len(everything) > 0
    assert all((face_prob(create_detector(name), found.scores) >= least).all() for found, least in ((doubtful, .4999), (sure, .9499)))
    with pytest.raises(ValueError, match="must lie between 0 and 1"): create_detector(name, sure=1.5)
    with pytest.raises(ValueError, match="DlibMmod have not been calibrated"): create_detector("dlib_mmod", sure=.5)
