"""Prediction of all tasks at once, with and without sound: columns, whose sound it is, fallbacks, the film's sound, clips beside their labels."""
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from affect_nb.analysis.evaluate import evaluate
from affect_nb.analysis.annotated_film import plot_predictions, write_annotated
from affect_nb.analysis.columns import EXPRESSION_COLUMNS, prediction_columns
from affect_nb.analysis.inferred import annotated_relatedness
from affect_nb.train.precision import choose_precision
from affect_nb.apps import predictor as predictor_module
from affect_nb.apps.predict import CLIP_COLUMNS, CSV_COLUMNS, Predictor, csv_columns, predict_files, write_predictions
from affect_nb.core.labels import AUS8, AUS17, EXPRESSIONS
from affect_nb.databases.base import open_database
from affect_nb.data.sequences import SequenceDataset
from affect_nb.data.store import release_crops
from affect_nb.files.film import FilmWriter, write_film
from affect_nb.models.registry import create_model
from affect_nb.models.weights import Card, load_checkpoint, save_checkpoint
from affect_nb.preprocess.audio import read_audio
from affect_nb.preprocess.sound import sound_beside, sound_path, write_sound
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.preprocess.video import VideoReader
from affect_nb.synth.twins import write_database
from affect_nb.synth.faces import Identity, expression_aus, render_face

CPU, RATE, ALL = torch.device("cpu"), 44100, prediction_columns(("va", "expression", "aus"), AUS8)
ROUNDING = 5e-5 # of float32, where the same frames are in batches of other shapes: processors add in other orders
NETWORKS = ("mt_vgg", "mt_vgg_gru", "mt_vgg_gru_audio", "av_mt_vgg_gru")


def tone(seconds, pitch=440): return .3*np.sin(2*np.pi*pitch*np.arange(round(seconds*RATE))/RATE).astype(np.float32)


def store_of(path, faces, sound=None, n=50, seed=0, lost=()):
    "A store of noise at 25 Hz: face -> its frames; the sound of a real film beside it."
    if sound is not None:
        write_film(path.with_suffix(".mp4"), (np.full((32, 32, 3), 90, np.uint8) for _ in range(n)), 25, sound)
        write_sound(path.with_suffix(".mp4"), sound_path(path))
    with FaceStoreWriter(path, clip=path.stem, encoding="raw") as writer:
        for face, frames in faces.items():
            noise = np.random.default_rng((seed, face))
            for frame in frames:
                crop, points = noise.integers(0, 256, (96, 96, 3), dtype=np.uint8), noise.uniform(0, 95, (68, 2))
                if frame in lost: writer.add(frame, frame/25, face, "lost")
                else: writer.add(frame, frame/25, face, "ok", crop, box=(60*face, 0, 60*face + 50, 50), landmarks=points, crop_landmarks=points)
    return FaceStore.open(path)


def loud(model):
    "The weights of a network that has learned something: every input matters."
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if name.startswith("output") and "bias" not in name: weight.data = torch.randn_like(weight)*3
        if "weight_hh" in name or "weight_ih" in name: weight.data *= 3
    return model


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    "Checkpoints of each network, the one that sees and hears naming the visual one."
    folder = tmp_path_factory.mktemp("cards")
    for seed, name in enumerate(NETWORKS):
        torch.manual_seed(seed)
        save_checkpoint(folder/name, loud(create_model(name, width=1/16)), {"notes": {"recipe": {"length": 10}, **({"visual": "mt_vgg_gru"} if name.startswith("av") else {})}})
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    "two: face 1 is seen most, the tone ends after half a second; one: a single face, all of it with a tone; mute: no sound."
    folder = tmp_path_factory.mktemp("stores")
    return dict(two=store_of(folder/"two.arrow", {0: range(5, 45), 1: range(50)}, np.r_[tone(.5), np.zeros(3*RATE//2, np.float32)], seed=1),
                one=store_of(folder/"one.arrow", {0: range(50)}, tone(2), seed=2, lost=(3, 4)), mute=store_of(folder/"mute.arrow", {0: range(50)}, seed=3))


def quiet(work):
    "What `work` returns, and the one warning that it gave, or ''."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = work()
    assert len(said) <= 1, [str(one.message) for one in said]
    return found, "".join(str(one.message) for one in said)


def numbers(table, face=None, columns=ALL): return (table if face is None else table[table.face_id == face])[columns].to_numpy(float)


# Columns

@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_tasks_in_one_row(cards, stores, name, carry):
    table, said = quiet(lambda: Predictor.load(cards/name, "cpu", carry=carry, precision="float32").predict_store(stores["one"]))
    seen = table.status == "ok"
    assert not said and (~seen).sum() == 2 and np.isfinite(numbers(table[seen])).all() and np.isnan(numbers(table[~seen])).all()
    np.testing.assert_allclose(table.loc[seen, list(EXPRESSION_COLUMNS)].sum(axis=1), 1, atol=1e-5)
    assert table.loc[seen].filter(like="prob_").pipe(lambda prob: ((prob >= 0) & (prob <= 1)).all(axis=None))
    assert table.expression[seen].tolist() == [EXPRESSIONS[best] for best in table.loc[seen, list(EXPRESSION_COLUMNS)].to_numpy().argmax(1)] and table.expression[~seen].isna().all()
    hears = "audio" in name or name.startswith("av")
    assert ("sound" in table) == ("scored_with" in table) == hears
    if hears: assert set(table.sound) == {"ok"} and set(table.scored_with[seen]) == {"faces and sound" if name.startswith("av") else "sound"} and set(table.scored_with[~seen]) == {""}


@pytest.mark.parametrize("carry", [False, True])
def test_a_network_that_gives_no_number_is_an_error(cards, stores, tmp_path, carry):
    "Empty cells mean that nobody was found: a network whose weights hold NaN may not pass for that."
    model = load_checkpoint(cards/"mt_vgg_gru")[0]
    next(iter(model.parameters())).data[:] = np.nan
    save_checkpoint(tmp_path/"broken", model, {"notes": {"recipe": {"length": 10}}})
    broken = Predictor.load(tmp_path/"broken", "cpu", carry=carry, precision="float32")
    with pytest.raises(ValueError, match="one: the network gave no number for 48 of 48 faces: its weights hold NaN"): broken.predict_store(stores["one"])


@pytest.mark.parametrize("tasks", [("va",), ("expression",), ("aus",), ("va", "aus"), ("expression", "aus")])
def test_some_tasks(stores, tasks, tmp_path):
    model = create_model("mt_vgg", width=1/16, tasks=tasks, au_names=AUS17)
    table = Predictor(model.eval(), Card(architecture="mt_vgg"), CPU, 10).predict_store(stores["one"])
    assert [name for name in table if name in prediction_columns(("va", "expression", "aus"), AUS17)] == prediction_columns(tasks, AUS17)
    assert ("expression" in table) == ("expression" in tasks)
    plot_predictions(table)
    film = write_annotated(tmp_path/"film.mp4", stores["one"].path.with_suffix(".mp4"), stores["one"], table)
    assert VideoReader(film).height == 32 + 72*("va" in tasks)


def test_networks_of_section_five_write_what_they_wrote(stores, tmp_path):
    torch.manual_seed(0)
    table = Predictor(create_model("affwildnet_vgg", width=1/16).eval(), Card(architecture="affwildnet_vgg"), CPU, 10).predict_store(stores["one"])
    assert list(table)[-3:] == ["valence", "arousal", "landmarks"] and not {"sound", "sound_tracks", "sound_channels", "expression"} & set(table)
    assert list(pd.read_csv(write_predictions(tmp_path/"one.csv", table))) == list(CSV_COLUMNS.values())[:13]


def test_csv_of_all_tasks(cards, stores, tmp_path):
    table = Predictor.load(cards/"av_mt_vgg_gru", "cpu", precision="float32").predict_store(stores["one"])
    written = pd.read_csv(write_predictions(tmp_path/"one.csv", table))
    assert list(written) == list(csv_columns(table).values()) and list(written)[10:13] == ["valence", "arousal", "landmarks_found"]
    assert list(written)[13:] == [*EXPRESSION_COLUMNS, *(f"prob_au{au}" for au in AUS8), "expression", "sound", "scored_with"]
    np.testing.assert_allclose(numbers(written), numbers(table), atol=1e-4)


# Whose sound it is

def test_the_main_face_gets_the_sound(cards, stores):
    both, visual = Predictor.load(cards/"av_mt_vgg_gru", "cpu", precision="float32"), Predictor.load(cards/"mt_vgg_gru", "cpu", precision="float32").predict_store(stores["two"])
    table, said = quiet(lambda: both.predict_store(stores["two"]))
    assert said == "two: the sound goes with face 1; face 0: scored by the visual network mt_vgg_gru"
    np.testing.assert_allclose(numbers(table, 0), numbers(visual, 0), atol=ROUNDING)
    assert np.abs(numbers(table, 1) - numbers(visual, 1)).max() > .01
    main = table[table.face_id == 1]
    assert set(table.scored_with[table.face_id == 0]) == {"faces"} and main.scored_with.iloc[0] == "faces and sound"
    ended = main.sound != "ok" # more than a second after the tone
    assert ended.any() and set(main.scored_with[ended]) == {"faces"} and set(main.scored_with[~ended]) == {"faces and sound"}
    for choice, faces in ((0, {0}), ("all", {0, 1})):
        table, _ = quiet(lambda: replace(both, sound_face=choice).predict_store(stores["two"]))
        assert set(table.face_id[table.scored_with == "faces and sound"]) == faces
    with pytest.raises(ValueError, match="two: sound_face is 5, its faces are 0, 1"): replace(both, sound_face=5).predict_store(stores["two"])
    with pytest.raises(ValueError, match="sound_face is 'left', allowed are None, 'all' and the number"): replace(both, sound_face="left")


def test_of_two_equal_faces_the_lower_number(cards, tmp_path):
    store = store_of(tmp_path/"equal.arrow", {2: range(20), 1: range(20)}, tone(1), n=20)
    table, _ = quiet(lambda: Predictor.load(cards/"av_mt_vgg_gru", "cpu", precision="float32").predict_store(store))
    assert set(table.face_id[table.scored_with == "faces and sound"]) == {1}


@pytest.mark.parametrize("name", ["mt_vgg_gru_audio", "av_mt_vgg_gru"])
def test_prediction_hears_what_training_heard(cards, stores, name):
    "The windows of `SequenceDataset`, put through the network by hand."
    predictor = Predictor.load(cards/name, "cpu", precision="float32", windows="paper")
    dataset = SequenceDataset([stores["one"].path], length=10, sound=True)
    with torch.no_grad(): expected = torch.cat([predictor.model(window.faces[None], window.landmarks[None], window.audio[None]).va[0] for window in dataset])
    table = predictor.predict_store(stores["one"])
    seen = (table.status == "ok").to_numpy()
    np.testing.assert_allclose(numbers(table, columns=["valence", "arousal"])[seen], expected.numpy()[seen], atol=ROUNDING)


@pytest.mark.parametrize("name", ["mt_vgg_gru_audio", "av_mt_vgg_gru"])
def test_sound_is_carried_on(cards, stores, name):
    whole = Predictor.load(cards/name, "cpu", precision="float32")
    at_once = replace(whole, length=50, windows="paper").predict_store(stores["one"])
    for batch in (1, 3): np.testing.assert_allclose(numbers(replace(whole, length=8, batch=batch, carry=True).predict_store(stores["one"])), numbers(at_once), atol=ROUNDING)
    assert np.nanmax(abs(numbers(replace(whole, windows="paper").predict_store(stores["one"])) - numbers(at_once))) > 1e-4


# Without sound

@pytest.mark.parametrize("sound, why", [(None, "no sound was read with its faces"), (np.zeros(RATE, np.float32), "its sound is silent")])
def test_missing_sound_falls_back_to_the_visual_network(cards, tmp_path, sound, why):
    store = store_of(tmp_path/"mute.arrow", {0: range(20)}, sound, n=20)
    table, said = quiet(lambda: Predictor.load(cards/"av_mt_vgg_gru", "cpu", precision="float32").predict_store(store))
    assert said == f"mute: {why}; face 0: scored by the visual network mt_vgg_gru" and set(table.scored_with) == {"faces"}
    np.testing.assert_allclose(numbers(table), numbers(Predictor.load(cards/"mt_vgg_gru", "cpu", precision="float32").predict_store(store)), atol=ROUNDING)


@pytest.mark.parametrize("notes, lacks", [({}, "its card names no visual network"), ({"visual": "gone"}, "the visual network gone is not beside it")])
def test_without_a_visual_network_zeros_are_heard(stores, tmp_path, notes, lacks):
    save_checkpoint(tmp_path/"av", loud(create_model("av_mt_vgg_gru", width=1/16)), {"notes": {"recipe": {"length": 10}, **notes}})
    predictor = Predictor.load(tmp_path/"av", "cpu", precision="float32", windows="paper")
    table, said = quiet(lambda: predictor.predict_store(stores["mute"]))
    assert said == f"mute: no sound was read with its faces; face 0: scored with zeros instead of sound, as {lacks}" and set(table.scored_with) == {"faces"}
    faces = torch.from_numpy(stores["mute"].read(0, 10)).permute(0, 3, 1, 2)[None]
    with torch.no_grad(): expected = predictor.model(faces, audio=torch.zeros(1, 10, 1, 96, 96, dtype=torch.uint8)).va[0]
    np.testing.assert_allclose(numbers(table, columns=["valence", "arousal"])[:10], expected, atol=ROUNDING)


def test_a_network_that_only_hears_says_nothing_of_a_mute_clip(cards, stores, tmp_path):
    predictor = Predictor.load(cards/"mt_vgg_gru_audio", "cpu", precision="float32")
    table, said = quiet(lambda: predictor.predict_store(stores["mute"]))
    assert "not scored, as the network reads nothing but sound" in said and np.isnan(numbers(table)).all() and set(table.scored_with) == {""} and table.expression.isna().all()
    written = pd.read_csv(write_predictions(tmp_path/"mute.csv", table))
    assert len(written) == 50 and written.prob_au1.isna().all()
    plot_predictions(table)
    table, said = quiet(lambda: predictor.predict_store(stores["two"]))
    assert np.isnan(numbers(table, 0)).all() and np.isfinite(numbers(table, 1)).all() and said.startswith("two: the sound goes with face 1; face 0: not scored")


def test_sound_can_be_switched_off(cards, stores):
    table, said = quiet(lambda: Predictor.load(cards/"av_mt_vgg_gru", "cpu", sound=False, precision="float32").predict_store(stores["one"]))
    assert said.startswith("one: sound is switched off") and set(table.scored_with) == {"faces", ""} and set(table.sound) == {"ok"}


def test_the_visual_network_is_loaded_once(cards, stores, monkeypatch):
    loads, load = [], predictor_module.load_checkpoint
    monkeypatch.setattr(predictor_module, "load_checkpoint", lambda path, *args: loads.append(path) or load(path, *args))
    predictor = Predictor.load(cards/"av_mt_vgg_gru", "cpu", precision="float32")
    for _ in range(2): quiet(lambda: replace(predictor, batch=2).predict_store(stores["mute"]))
    assert [path.name for path in loads] == ["av_mt_vgg_gru", "mt_vgg_gru"]


# From a film on

def film_of(path, sound=None, start=0, n=25):
    "One face that smiles."
    with FilmWriter(path, 160, 160, 25, RATE if sound is not None else None) as film:
        if start: film.add_sound(np.zeros(round(start*RATE), np.float32))
        for step in range(n): film.add(render_face(expression_aus("Happiness", 5*step/(n - 1)), Identity.draw(3), size=160, seed=step).image)
        if sound is not None: film.add_sound(sound)
    return path


def test_films_keep_their_sound(cards, tmp_path):
    film = film_of(tmp_path/"films"/"late.mp4", tone(.5), start=.5)
    film_of(tmp_path/"films"/"mute.mp4")
    with pytest.warns(UserWarning, match="mute: it has no sound track; face 0: scored by the visual network"):
        written, skipped = predict_files(tmp_path/"films", cards/"av_mt_vgg_gru.json", tmp_path/"out", device="cpu", progress=False)
    assert not skipped and len(written) == 6
    tables = {name: pd.read_csv(tmp_path/"out"/f"{name}.csv") for name in ("late", "mute")}
    assert set(tables["late"].scored_with) == {"faces and sound"} and (set(tables["mute"].scored_with), set(tables["mute"].sound)) == ({"faces"}, {"no_track"})
    before, after = read_audio(film), read_audio(tmp_path/"out"/"late.mp4")
    assert np.corrcoef(before.at(.3, .6), after.at(.3, .6))[0, 1] > .95
    with pytest.raises(ValueError, match="holds no sound"): read_audio(tmp_path/"out"/"mute.mp4")
    assert sum(1 for _ in VideoReader(tmp_path/"out"/"late.mp4")) == 25


# Number formats

@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_is_close(stores, tmp_path, name):
    torch.manual_seed(0)
    save_checkpoint(tmp_path/name, create_model(name, width=1/16))
    exact = Predictor.load(tmp_path/name, "cpu", precision="float32").predict_store(stores["one"])
    for precision in ("bfloat16", "auto"):
        short = Predictor.load(tmp_path/name, "cpu", precision=precision).predict_store(stores["one"])
        off = abs(numbers(short) - numbers(exact))
        assert np.nanmax(off) < .05 and np.nanmean(off) < .005 and short.valence.dtype == np.float32
    with pytest.raises(ValueError, match="precision is 'half', it must be one of auto, float32, bfloat16"): choose_precision(torch.device("cpu"), "half")


# Clips of a database

def test_clips_with_labels_of_all_tasks(cards, tmp_path, monkeypatch):
    for what in ("valence", "arousal"):
        folder = tmp_path/"wild"/"annotations"/"train"/what
        folder.mkdir(parents=True)
        for name in ("a", "b"): (folder/f"{name}.txt").write_text("0.5\n"*20)
    source = open_database("aff-wild", tmp_path/"wild")
    given = dict(a=pd.DataFrame(dict(frame=range(20), valence=.5, arousal=-.5, expression=[-1]*5 + [4]*15, au12=1., au1=[np.nan]*3 + [0.]*17)), b=pd.DataFrame(dict(frame=range(20), expression=2)))
    monkeypatch.setattr(source, "labels", lambda clip: given[clip.name])
    for name in given: store_of(tmp_path/"faces"/f"{name}.arrow", {0: range(10), 1: range(19)}, tone(.8), n=20)
    table, skipped = Predictor.load(cards/"av_mt_vgg_gru", "cpu", precision="float32").predict_clips(source, ["a", "b"], tmp_path/"faces")
    assert not skipped and set(CLIP_COLUMNS) <= set(table)
    assert list(table) == [*CLIP_COLUMNS[:7], "expression", "au1", "au12", *CLIP_COLUMNS[7:], *ALL[2:], "scored_with"]
    first, second = (table[table["clip"] == name].set_index("frame") for name in "ab")
    assert first.expression.tolist() == [-1]*5 + [4]*15 and set(second.expression) == {2} and table.expression.dtype == np.int16
    assert first.au1.isna().sum() == 3 and second.au1.isna().all() and second.valence.isna().all()
    assert set(table.face_id) == {1} and set(table.scored_with.dropna()) == {"faces and sound"} # the labelled face gets the sound
    assert first.prob_au12.isna().tolist() == [False]*19 + [True] and evaluate(table[table["clip"] == "a"]).n_lost.iloc[0] == 1


def test_photographs_beside_their_labels(cards, tmp_path):
    write_database("raf-db", tmp_path/"raf", train=1, test=1, frames_per_clip=12, progress=False)
    source = open_database("raf-db", tmp_path/"raf")
    table, skipped = Predictor.load(cards/"mt_vgg", "cpu", precision="float32").predict_clips(source, source.select("test"), release_crops(source, "test"))
    assert not skipped and len(table) and (table.expression >= 0).any() and table.prob_neutral.notna().all()
    assert table.valence.isna().all() and table.valence_pred.notna().all() and table["time"].notna().all()


def test_a_detector_annotates_a_database_of_expressions(tmp_path):
    "An AU network and RAF-DB, which has expressions alone: refused, or annotated with `foreign`."
    write_database("raf-db", tmp_path/"raf", train=1, test=1, frames_per_clip=12, progress=False)
    source = open_database("raf-db", tmp_path/"raf")
    detector = Predictor(create_model("mt_vgg", width=1/16, tasks=("aus",), au_names=AUS17).eval(), Card(architecture="mt_vgg"), CPU, 1)
    clips, crops = source.select("train", "expression"), release_crops(source, "train", "expression")
    nothing, skipped = detector.predict_clips(source, clips, crops)
    assert not len(nothing) and [entry.reason for entry in skipped] == [f"{clips[0].name} has no labels of action units; its labels are expression"]
    table, skipped = detector.predict_clips(source, clips, crops, foreign=True)
    labels = source.labels(clips[0])
    assert not skipped and table.expression.tolist() == labels.expression.tolist() and table.valence_pred.isna().all()
    np.testing.assert_allclose(numbers(table, columns=detector.columns), numbers(detector.predict_store(crops[0]), columns=detector.columns), atol=ROUNDING)
    counted = annotated_relatedness(table, least=.01, threshold=.45)
    assert set(counted.emotions) == {EXPRESSIONS[place] for place in set(labels.expression)} and counted.aus == AUS17
    happy = table[table.expression == 4]
    if len(happy): assert counted.weights[counted.position("Happiness")].tolist() == pytest.approx((numbers(happy, columns=detector.columns) >= .45).mean(0).tolist())
    whole, _ = Predictor(create_model("mt_vgg", width=1/16).eval(), Card(architecture="mt_vgg"), CPU, 1).predict_clips(source, clips, crops)
    assert whole.expression.tolist() == table.expression.tolist() # what was not foreign stays as it was
