"""The networks that are installed with the package: small, described, read back alike, and better than chance on faces."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from affect_nb.analysis.window_scores import most_voted, smile_auc, window_outputs, window_scores
from affect_nb.core.labels import AUS17, EXPRESSIONS
from affect_nb.data.drawn import DrawnFaces
from affect_nb.files.home import DEFAULT_WEIGHTS, MODEL_VARIABLE, shipped_weights
from affect_nb.models.inputs import luma
from affect_nb.models.shipped import list_weights, load_pretrained, weights_path
from affect_nb.models.weights import read_card

MOST_BYTES = 8_000_000
SHARED = Path(__file__).resolve().parent.parent.parent/"shared"/"data"/"real"/"ferplus_train_valid.parquet"


@pytest.fixture(scope="module")
def drawn():
    "What the shipped network predicts for drawn people whom it has not seen."
    return window_outputs(load_pretrained(DEFAULT_WEIGHTS), DrawnFaces(150, first=50_000_000, difficulty=.3))


@pytest.mark.parametrize("name", list_weights())
def test_each_is_small_and_has_a_card(name):
    path, card = weights_path(name), read_card(weights_path(name))
    assert path.with_suffix(".safetensors").stat().st_size <= MOST_BYTES
    assert path.with_suffix(".json").stat().st_size < 100_000
    assert card.licence != "not stated" and card.measures and card.notes["recipe"] and card.notes["limits"]
    assert load_pretrained(name).card == card and not load_pretrained(name).training


def test_the_card_of_the_default_network_is_whole():
    assert DEFAULT_WEIGHTS in list_weights()
    card = read_card(weights_path(DEFAULT_WEIGHTS))
    recipe, notes = card.notes["recipe"], card.notes
    assert "FER+" in card.data and recipe["augment"] and notes["split_hash"] and "Not for decisions about people" in notes["limits"]
    assert set(notes["by_class"]) == set(EXPRESSIONS) and notes["confusion"]


def test_the_card_says_what_the_issue_asked_for():
    "Scores of the official validation part, by both rules for a majority."
    measures = read_card(weights_path(DEFAULT_WEIGHTS)).measures
    assert measures["fer-plus: n_expression"] < measures["fer-plus: n_expression_voted"] < 3_600
    assert measures["fer-plus: accuracy"] > .8 and measures["fer-plus: macro_f1"] > .6


def test_the_unknown_is_named():
    with pytest.raises(ValueError, match=f"'resnet-large', allowed are .*{DEFAULT_WEIGHTS}"): load_pretrained("resnet-large")


def test_it_reads_colours_by_their_luma():
    model, faces = load_pretrained(DEFAULT_WEIGHTS), torch.rand(4, 1, 3, 96, 96)*2 - 1
    with torch.inference_mode(): colours, grey = model(faces), model(luma(faces))
    torch.testing.assert_close(colours.va, grey.va, atol=2e-3, rtol=0)
    torch.testing.assert_close(colours.au_prob, grey.au_prob, atol=2e-3, rtol=0)


def test_it_reads_drawn_faces(drawn):
    output, targets = drawn
    assert output.au_names == AUS17 and output.expression.shape[-1] == 7
    scores = window_scores(output, targets)
    assert scores["ccc_valence"] > .6 and scores["ccc_arousal"] > .5 and scores["au_f1"] > .4
    assert smile_auc(output, targets.with_aus(AUS17).aus[..., AUS17.index(12)] > .5) > .85


def test_a_prediction_takes_it_from_any_folder(tmp_path, monkeypatch):
    from affect_nb.apps.predictor import Predictor
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    predictor = Predictor.load(device="cpu")
    assert predictor.path.parent == shipped_weights() and predictor.card.architecture == "facebehaviornet"


@pytest.mark.skipif(not SHARED.is_file(), reason="needs the real pictures, which are not in the repository")
def test_it_reads_real_faces(tmp_path):
    "200 pictures of the official validation part, from the file to the scores."
    from affect_nb.apps.predict import predict_files
    import pandas as pd
    rows = pd.read_parquet(SHARED)
    rows = rows[rows["split"] == "valid"].iloc[:200]
    column, = [name for name in rows if isinstance(rows[name].iloc[0], (bytes, dict))]
    for number, picture in enumerate(rows[column]):
        (tmp_path/f"{number:04d}.png").write_bytes(picture["bytes"] if isinstance(picture, dict) else picture)
    written, skipped = predict_files(tmp_path, None, tmp_path/"predicted", crops=True, progress=False)
    table = pd.read_csv(next(path for path in written if path.suffix == ".csv"))
    votes = rows[[f"votes_{name.lower()}" for name in EXPRESSIONS]].to_numpy()
    truth = np.where(rows.filter(like="votes_").max(axis=1) == votes.max(axis=1), votes.argmax(axis=1), -1)
    said = table.sort_values("file")["expression"].to_numpy()
    known = truth >= 0
    assert not skipped and len(table) == 200 and (said[known] == np.array(EXPRESSIONS)[truth[known]]).mean() > .7


def test_the_detector_reaches_what_was_asked_of_it():
    "On an event that it has not learned from, by lists of ours; the last epoch of its last cycle was not chosen there."
    card = read_card(weights_path("ssh-small"))
    for level, goal in dict(easy=.85, medium=.80, hard=.60).items(): assert card.measures[f"AP {level}"] >= goal
    assert card.notes["recipe"]["keep"] == "last" and sum(epochs for epochs, _ in card.notes["cycles"]) == 64
