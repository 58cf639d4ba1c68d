"""Photographs: one, a folder, a pattern. They have nothing to do with each other, and no time."""
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from affect_nb.analysis.annotated_film import plot_predictions
from affect_nb.apps.predict import predict_files
from affect_nb.apps.predictor import Predictor
from affect_nb.models.registry import create_model
from affect_nb.models.weights import load_checkpoint, save_checkpoint
from affect_nb.synth.faces import Identity, expression_aus, render_face

VA, EMOTIONS = ["valence", "arousal"], ("Happiness", "Sadness", "Surprise", "Anger", "Fear")


def photo(person, emotion, size=160): return render_face(expression_aus(emotion, 4), Identity.draw(person), size=size, seed=person).image


def loud(model):
    "Weights with which every input, and every picture before, would matter."
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if name.startswith("output") and "bias" not in name: weight.data = torch.randn_like(weight)*.3
        if "weight_hh" in name or "weight_ih" in name: weight.data *= 3
    return model


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    "A small recurrent network that reads windows of ten frames, and smooths over five."
    path = tmp_path_factory.mktemp("network")/"small"
    smooth = dict(name="median", level="frame", window=5)
    torch.manual_seed(1)
    save_checkpoint(path, loud(create_model("affwildnet_vgg", width=1/16)), {
        "notes": {"recipe": {"length": 10}}, "postprocess": dict(valence=[smooth], arousal=[smooth], length=10)})
    return path.with_suffix(".json")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "Five photographs of five people."
    folder = tmp_path_factory.mktemp("album")/"photos"
    folder.mkdir()
    for number, emotion in enumerate(EMOTIONS): Image.fromarray(photo(number, emotion)).save(folder/f"{emotion.lower()}.png")
    return folder


@pytest.fixture(scope="module")
def table(photos, card, tmp_path_factory):
    "What `predict` writes of the folder, and where."
    out = tmp_path_factory.mktemp("out")
    written, skipped = predict_files(photos, card, out, device="cpu", progress=False)
    assert [path.name for path in written] == ["photos.csv", "photos.png"] and not skipped # and no film
    return pd.read_csv(out/"photos.csv"), out


def test_each_row_has_its_file_and_no_time(table, photos):
    rows, out = table
    assert list(rows)[:3] == ["file", "frame", "time_s"]
    assert rows.file.tolist() == sorted(str(path) for path in photos.iterdir())
    assert rows.time_s.isna().all() and set(rows.face_id) == {0} and set(rows.status) == {"ok"}
    frames = pd.read_parquet(out/"faces"/"frames.parquet")
    assert frames.time.isna().all() and frames.file.tolist() == rows.file.tolist()


def test_one_picture_a_folder_and_a_pattern_give_the_same_numbers(table, photos, card, tmp_path):
    rows, _ = table
    assert np.ptp(rows[VA].to_numpy(), axis=0).min() > .01 # they are not alike, as neighbours in a film are
    written, _ = predict_files(f"{photos}/*.png", card, tmp_path/"pattern", device="cpu", progress=False)
    tables = [pd.read_csv(path) for path in written if path.suffix == ".csv"]
    assert len(tables) == len(EMOTIONS)
    pattern = pd.concat(tables, ignore_index=True)
    predict_files(photos/"surprise.png", card, tmp_path/"one", device="cpu", progress=False)
    one = pd.read_csv(tmp_path/"one"/"surprise.csv")
    for others in (pattern, one):
        both = rows.merge(others, on="file", suffixes=("", "_other"))
        assert len(both) == len(others)
        for name in VA: np.testing.assert_allclose(both[name], both[f"{name}_other"], atol=2e-4)


def test_what_is_written_lies_where_labels_lie(photos, card, tmp_path):
    "The output is linear, and a small network may say 1.35: the table says 1, and that of `--raw` what the network says."
    model, facts = load_checkpoint(card)
    for name, weight in model.named_parameters():
        if name.startswith("output"): weight.data *= 30
    save_checkpoint(tmp_path/"louder", model, facts)
    tables = []
    for raw in (False, True):
        predict_files(photos, tmp_path/"louder.json", tmp_path/f"raw_{raw}", device="cpu", progress=False, postprocess=not raw)
        tables.append(pd.read_csv(tmp_path/f"raw_{raw}"/"photos.csv")[VA].to_numpy())
    assert abs(tables[1]).max() > 1
    np.testing.assert_allclose(tables[0], tables[1].clip(-1, 1))


def test_the_predictor_takes_a_picture_and_a_folder(table, photos, card):
    rows, _ = table
    predictor = Predictor.load(card, "cpu")
    together = predictor.predict(photos)
    np.testing.assert_allclose(together[VA], rows[VA], atol=2e-4)
    assert together.file.tolist() == rows.file.tolist() and together.time.isna().all()
    np.testing.assert_allclose(predictor.predict(photos/"fear.png")[VA], rows[rows.file.str.endswith("fear.png")][VA], atol=2e-4)


def test_pictures_of_a_film_are_a_film_where_it_is_said(table, photos, card, tmp_path):
    predict_files(photos, card, tmp_path, device="cpu", progress=False, film_fps=10, windows="paper")
    film = pd.read_csv(tmp_path/"photos.csv")
    assert film.time_s.drop_duplicates().tolist() == [0, .1, .2, .3, .4]
    assert film.frame.tolist() == table[0].frame.tolist() and np.abs(film[VA].to_numpy() - table[0][VA].to_numpy()).max() > .01


def test_two_faces_in_one_photograph(photos, card, tmp_path):
    "They are numbered by their size, and none is followed into the next photograph."
    (tmp_path/"two").mkdir()
    small, large = photo(0, "Happiness", 130), photo(1, "Sadness", 200)
    pair = np.full((200, 340, 3), 128, np.uint8)
    pair[35:165, :130], pair[:, 140:] = small, large
    Image.fromarray(pair).save(tmp_path/"two"/"pair.png")
    Image.fromarray(small).save(tmp_path/"two"/"single.png")
    rows = Predictor.load(card, "cpu").predict(tmp_path/"two")
    assert [(path.rpartition("/")[2], face) for path, face in zip(rows.file, rows.face_id)] == [("pair.png", 0), ("pair.png", 1), ("single.png", 0)]
    assert rows.box_x1[0] > rows.box_x1[1]


def test_a_network_that_hears_predicts_photographs_one_by_one_too(photos, tmp_path):
    "It has a visual network for clips without sound, which was trained on longer windows."
    for name in ("mt_vgg_gru", "av_mt_vgg_gru"):
        save_checkpoint(tmp_path/name, loud(create_model(name, width=1/16)), {"notes": {"recipe": {"length": 10}, "visual": "mt_vgg_gru"}})
    predictor = Predictor.load(tmp_path/"av_mt_vgg_gru", "cpu", precision="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore") # that there is no sound
        together, alone = predictor.predict(photos), predictor.predict(photos/"surprise.png")
    np.testing.assert_allclose(together[together.file.str.endswith("surprise.png")][predictor.columns], alone[predictor.columns], atol=1e-4)


@pytest.mark.parametrize("n", [1, 7, 200])
def test_plots_of_photographs_name_the_files(n, tmp_path):
    rng = np.random.default_rng(0)
    files = [f"album/cost $5 or $6 number {number}.jpg" for number in range(n)]
    figure = plot_predictions(pd.DataFrame(dict(
        frame=range(n), time=np.nan, face_id=0, status="ok", file=files, valence=rng.uniform(-1, 1, n), arousal=rng.uniform(-1, 1, n))), "album $x$")[0].figure
    figure.savefig(tmp_path/"plot.png")
    ax = figure.axes[0]
    shown = [label.get_text() for label in ax.get_xticklabels()] if n == 7 else [text.get_text() for text in ax.texts]
    assert sum("$5" in text for text in shown) >= (0 if n == 1 else 7)
    assert len(ax.patches) <= 2*16 and len(shown) <= 50
