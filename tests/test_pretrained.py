"""Pretrained weights: every format against a network written here in the source's own layout; what is refused; cards of other versions."""
import builtins
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.io import savemat
from scipy.io.matlab import MatlabObject
from torch import nn

from affect_nb import __version__
from affect_nb.files import matlab
from affect_nb.models import create_model, pretrained, weight_files
from affect_nb.models.backbones import VGG16
from affect_nb.models.pretrained import FORMATS, convert_pretrained, fold_input, import_pretrained
from affect_nb.models.resnet import ResNet50
from affect_nb.models.weights import Card, InputStatistics, load_checkpoint, load_weights, read_card, save_checkpoint
from test_resnet import torchvisions

CARDS = Path(__file__).parent/"cards"
NARROW, CHANNELS = 1/8, (8, 16, 32, 64, 64)
VGG_LAYERS = [(block, index) for block, convs in enumerate((2, 2, 3, 3, 3), 1) for index in range(1, convs + 1)]
RED, GREEN, BLUE = 129.1863, 104.7624, 93.5940 # means of VGG-Face


def close(found, expected):
    "To 1e-5 of the largest number."
    assert found.shape == expected.shape and expected.abs().max() > 1e-3
    assert (found - expected).abs().max() <= 1e-5*expected.abs().max()


@pytest.fixture
def faces():
    return torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(3)).float() # RGB


@pytest.fixture
def vgg():
    "(filters height x width x in x out, bias) by (block, index), as MatConvNet and Keras hold them."
    draw, before, weights = np.random.default_rng(0), 3, {}
    for block, index in VGG_LAYERS:
        channels = CHANNELS[block - 1]
        weights[block, index] = draw.normal(0, (2/9/before)**.5, (3, 3, before, channels)).astype("f4"), draw.normal(0, 1, channels).astype("f4")
        before = channels
    return weights


def vgg_by_hand(weights, seen):
    "VGG-16 with images N x H x W x C, multiplied out with numpy; (N, C, H, W) at the end."
    maps = np.asarray(seen.permute(0, 2, 3, 1), dtype="f8")
    for block, index in VGG_LAYERS:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 2))
        maps = np.maximum(np.einsum("nhwckl,klco->nhwo", windows, weights[block, index][0], optimize=True) + weights[block, index][1], 0)
        if index == (2 if block < 3 else 3): maps = maps.reshape(len(maps), maps.shape[1]//2, 2, maps.shape[2]//2, 2, -1).max((2, 4))
    return torch.from_numpy(maps).permute(0, 3, 1, 2).float()


def seen_by_backbone(found, inputs):
    model = (ResNet50(found.width, caffe=FORMATS[found.format].arguments["caffe"]) if FORMATS[found.format].architecture == "resnet50" else VGG16(found.width)).eval()
    model.load_state_dict(found.tensors)
    with torch.no_grad(): return model(inputs)["last-pool"]


def cell(parts):
    made = np.empty((1, len(parts)), object)
    for index, part in enumerate(parts): made[0, index] = part
    return made


def write_mat(path, weights, newer=True, image=np.float64([[[129.5, 104.5, 93.5]]]), more=()):
    layers = []
    for (block, index), (filters, bias) in weights.items():
        tensors = dict(weights=cell([filters, bias[None]])) if newer else dict(filters=filters, biases=bias[None])
        layers += [dict(name=f"conv{block}_{index}", type="conv", stride=np.ones((1, 2)), **tensors), dict(name=f"relu{block}_{index}", type="relu")]
    layers += [dict(name="fc8", type="conv", **(dict(weights=cell([np.zeros((1, 1, 4, 2622), "f4"), np.zeros((1, 2622), "f4")])))), *more]
    normalization = dict(averageImage=image, imageSize=np.float64([[224, 224, 3]]))
    savemat(path, dict(layers=cell(layers), **(dict(meta=dict(normalization=normalization)) if newer else dict(normalization=normalization))))


def torch_tensors(weights, pattern):
    "The tensors of a port to PyTorch."
    tensors = {}
    for number, ((block, index), (filters, bias)) in enumerate(weights.items()):
        name = pattern.format(block=block, index=index, position=(0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)[number])
        tensors |= {f"{name}.weight": torch.from_numpy(filters.transpose(3, 2, 0, 1).copy()), f"{name}.bias": torch.from_numpy(bias)}
    return tensors


@pytest.mark.parametrize("newer", [True, False])
def test_matconvnet(tmp_path, vgg, faces, newer):
    write_mat(tmp_path/"vgg-face.mat", vgg, newer)
    found = import_pretrained(tmp_path/"vgg-face.mat", width=NARROW)
    assert found.format == "vgg_face_matconvnet" and found.input.channels == "RGB" and found.input.mean == (129.5, 104.5, 93.5) and not found.input.verified
    seen = faces - torch.tensor([129.5, 104.5, 93.5])[:, None, None]
    close(seen_by_backbone(found, seen), vgg_by_hand(vgg, seen))


def test_matconvnet_with_a_whole_average_image_or_none(tmp_path, vgg):
    image = np.broadcast_to(np.float32([129, 105, 94]), (224, 224, 3)) + np.linspace(-1, 1, 224, dtype="f4")[:, None, None]
    write_mat(tmp_path/"net.mat", vgg, image=image)
    np.testing.assert_allclose(import_pretrained(tmp_path/"net.mat", width=NARROW).input.mean, (129, 105, 94), rtol=1e-5)
    write_mat(tmp_path/"net.mat", vgg, image=np.zeros((0, 0)))
    assert import_pretrained(tmp_path/"net.mat", width=NARROW).input.mean == (RED, GREEN, BLUE)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("classifier", ["linear", "convolution", None])
def test_vgg_face_dag(tmp_path, vgg, faces, zipped, classifier):
    tensors = torch_tensors(vgg, "conv{block}_{index}")
    if classifier: tensors |= {"fc6.weight": torch.zeros(8, 49) if classifier == "linear" else torch.zeros(8, 1, 7, 7), "fc8.weight": torch.zeros((2622, 8) if classifier == "linear" else (2622, 8, 1, 1))}
    torch.save(tensors, tmp_path/"vgg_face_dag.pth", _use_new_zipfile_serialization=zipped)
    found = import_pretrained(tmp_path/"vgg_face_dag.pth", width=NARROW)
    assert found.format == "vgg_face_dag" and found.input.channels == "RGB"
    seen = faces - torch.tensor([129.1862793, 104.7623825, 93.5939636])[:, None, None]
    close(seen_by_backbone(found, seen), vgg_by_hand(vgg, seen))


@pytest.mark.parametrize("name, pattern, classifier", [("vgg_face_port", "conv_{block}_{index}", "fc8"), ("vgg_face_port_features", "features.conv_{block}_{index}", "fc.fc8")])
@pytest.mark.parametrize("zipped", [True, False])
def test_ports_of_the_torch_release(tmp_path, vgg, faces, name, pattern, classifier, zipped):
    torch.save({**torch_tensors(vgg, pattern), f"{classifier}.weight": torch.zeros(2622, 8), f"{classifier}.bias": torch.zeros(2622)}, tmp_path/"port.pth", _use_new_zipfile_serialization=zipped)
    found = import_pretrained(tmp_path/"port.pth", width=NARROW)
    assert found.format == name and (found.input.channels, found.input.mean, found.input.verified) == ("BGR", (RED, GREEN, BLUE), False)
    seen = faces.flip(1) - torch.tensor([RED, GREEN, BLUE])[:, None, None]
    close(seen_by_backbone(found, seen), vgg_by_hand(vgg, seen))


@pytest.mark.parametrize("nested", [True, False])
def test_keras(tmp_path, vgg, faces, nested):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path/"vggface.h5", "w") as file:
        root = file.create_group("model_weights") if nested else file
        for (block, index), (filters, bias) in vgg.items():
            layer = root.create_group(f"conv{block}_{index}")
            layer = layer.create_group(f"conv{block}_{index}") if nested else layer
            layer["kernel:0" if nested else f"conv{block}_{index}_W_1:0"], layer["bias:0" if nested else f"conv{block}_{index}_b_1:0"] = filters, bias
        root.create_group("pool1")
        root.create_group("fc8")["kernel:0"] = np.zeros((8, 2622), "f4")
    found = import_pretrained(tmp_path/"vggface.h5", width=NARROW)
    assert found.format == "vgg_face_keras" and (found.input.channels, found.input.mean) == ("BGR", (BLUE, GREEN, RED))
    seen = faces.flip(1) - torch.tensor([BLUE, GREEN, RED])[:, None, None]
    close(seen_by_backbone(found, seen), vgg_by_hand(vgg, seen))


def test_keras_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path/"net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    whole = builtins.__import__
    def without(name, *rest):
        if name == "h5py": raise ImportError(name)
        return whole(name, *rest)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="net.h5.*pip install h5py"): import_pretrained(tmp_path/"net.h5")


def test_imagenet_vgg16(tmp_path, vgg, faces):
    torch.save({**torch_tensors(vgg, "features.{position}"), "classifier.6.weight": torch.zeros(1000, 8)}, tmp_path/"vgg16.pth")
    found = import_pretrained(tmp_path/"vgg16.pth", width=NARROW)
    assert found.format == "imagenet_vgg16" and found.input.pixel_max == 1
    seen = (faces/255 - torch.tensor([.485, .456, .406])[:, None, None])/torch.tensor([.229, .224, .225])[:, None, None]
    close(seen_by_backbone(found, seen), vgg_by_hand(vgg, seen))


def state_of(model): return {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}


def python2_pickle(arrays):
    "Protocol 2 with the text strings of Python 2 and the names of numpy 1, written opcode by opcode."
    def text(raw): return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + len(raw).to_bytes(4, "little") + raw
    def integer(number): return b"J" + number.to_bytes(4, "little")
    out = [b"\x80\x02}("]
    for name, array in arrays.items():
        shape = b"(" + b"".join(map(integer, array.shape)) + b"t"
        dtype = b"cnumpy\ndtype\n" + text(b"f4") + b"K\x00K\x01\x87R(K\x03" + text(b"<") + b"NNN" + integer(2**32 - 1) + integer(2**32 - 1) + b"K\x00tb"
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        out += [text(name.encode()), made, b"(K\x01", shape, dtype, b"\x89", text(array.astype("<f4").tobytes()), b"tb"]
    return b"".join(out) + b"u."


def test_vggface2_pickle_of_python_2_at_full_width(tmp_path, faces):
    source = torchvisions(caffe=True)
    arrays = {name: tensor.numpy() for name, tensor in state_of(source).items()} | {"fc.weight": np.zeros((8631, 2), "f4")}
    (tmp_path/"resnet50_ft_weight.pkl").write_bytes(python2_pickle(arrays))
    found = import_pretrained(tmp_path/"resnet50_ft_weight.pkl")
    assert found.format == "vggface2_pickle" and (found.input.channels, found.input.mean) == ("BGR", (91.4953, 103.8827, 131.0912)) and found.input.verified
    seen = (faces.flip(1) - torch.tensor([91.4953, 103.8827, 131.0912])[:, None, None])/50
    with torch.no_grad(): close(seen_by_backbone(found, seen).flatten(1), source(seen))


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol(tmp_path, protocol):
    arrays = {"order": np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3)), "row": np.arange(4, dtype="f4"), "one": np.float32(2), "none": np.zeros((0, 3), "f4")}
    (tmp_path/"net.pkl").write_bytes(pickle.dumps(arrays, protocol=protocol))
    found = weight_files._pickle_arrays(tmp_path/"net.pkl")
    assert all(np.array_equal(found[name], array) and found[name].shape == array.shape for name, array in arrays.items())


def dag_by_hand(weights, seen):
    "ResNet-50 of the Visual Geometry Group by the names of its own layers: strides in the first 1x1, pooling by ceil."
    def conv(maps, name, stride=1, padding=0):
        maps = F.conv2d(maps, weights[f"{name}.weight"], None, stride, padding)
        mean, var, scale, bias = (weights[f"{name}_bn.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias"))
        return (maps - mean)/(var + 1e-5).sqrt()*scale + bias
    maps = F.max_pool2d(conv(seen, "conv1_7x7_s2", 2, 3).relu(), 3, 2, 0, ceil_mode=True)
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3)):
        for block in range(1, blocks + 1):
            name, stride = f"conv{stage}_{block}", 2 if block == 1 and stage > 2 else 1
            inner = conv(conv(maps, f"{name}_1x1_reduce", stride).relu(), f"{name}_3x3", 1, 1).relu()
            maps = (conv(inner, f"{name}_1x1_increase") + (conv(maps, f"{name}_1x1_proj", stride) if block == 1 else maps)).relu()
    return maps.mean((2, 3))


def dag_tensors():
    "Random tensors under the names of resnet50_ft_dag, an eighth of the channels."
    torch.manual_seed(5)
    tensors = {}
    def layer(name, before, channels, size):
        tensors[f"{name}.weight"] = torch.randn(channels, before, size, size)*(2/(before*size*size))**.5
        tensors.update({f"{name}_bn.{part}": value for part, value in dict(weight=torch.rand(channels)*.3 + .4, bias=torch.randn(channels)*.1,
                        running_mean=torch.randn(channels)*.1, running_var=torch.rand(channels) + .5).items()})
    layer("conv1_7x7_s2", 3, 8, 7)
    before = 8
    for stage, blocks, channels in zip((2, 3, 4, 5), (3, 4, 6, 3), (8, 16, 32, 64)):
        for block in range(1, blocks + 1):
            if block == 1: layer(f"conv{stage}_1_1x1_proj", before, 4*channels, 1)
            layer(f"conv{stage}_{block}_1x1_reduce", before, channels, 1), layer(f"conv{stage}_{block}_3x3", channels, channels, 3)
            layer(f"conv{stage}_{block}_1x1_increase", channels, 4*channels, 1)
            before = 4*channels
    return tensors


@pytest.mark.parametrize("zipped", [True, False])
def test_vggface2_dag(tmp_path, faces, zipped):
    tensors = dag_tensors()
    torch.save({**tensors, "classifier.weight": torch.zeros(8631, 2, 1, 1), "classifier.bias": torch.zeros(8631)}, tmp_path/"resnet50_ft_dag.pth", _use_new_zipfile_serialization=zipped)
    found = import_pretrained(tmp_path/"resnet50_ft_dag.pth", width=NARROW)
    assert found.format == "vggface2_dag" and (found.input.channels, found.input.mean) == ("RGB", (131.0912, 103.8827, 91.4953))
    seen = (faces - torch.tensor([131.0912, 103.8827, 91.4953])[:, None, None])/50
    close(seen_by_backbone(found, seen).flatten(1), dag_by_hand(tensors, seen))


def test_imagenet_resnet50_by_file_and_by_name(tmp_path, faces, monkeypatch):
    source = torchvisions()
    tensors = {**source.state_dict(), "fc.weight": torch.zeros(1000, 2048)}
    torch.save(tensors, tmp_path/"resnet50.pth")
    asked = []
    monkeypatch.setattr(pretrained.torchvision.models.ResNet50_Weights, "get_state_dict", lambda self, **options: asked.append(options) or tensors)
    for path in (tmp_path/"resnet50.pth", "torchvision:resnet50"):
        found = import_pretrained(path)
        assert found.format == "imagenet_resnet50"
        seen = (faces/255 - torch.tensor([.485, .456, .406])[:, None, None])/torch.tensor([.229, .224, .225])[:, None, None]
        with torch.no_grad(): close(seen_by_backbone(found, seen).flatten(1), source(seen))
    assert asked == [dict(progress=False, check_hash=True, weights_only=True)]
    with pytest.raises(ValueError, match="torchvision:resnet50"): import_pretrained("torchvision:resnet51")


def test_the_same_names_need_the_classifier_or_the_caller(tmp_path):
    tensors = {name: tensor for name, tensor in torchvisions().state_dict().items()}
    torch.save(tensors, tmp_path/"net.pth")
    with pytest.raises(ValueError, match="vggface2_pickle or imagenet_resnet50"): import_pretrained(tmp_path/"net.pth")
    assert import_pretrained(tmp_path/"net.pth", format="vggface2_pickle").format == "vggface2_pickle"


# ---- folding

@pytest.mark.parametrize("seen", [made.input for made in FORMATS.values()], ids=list(FORMATS))
@pytest.mark.parametrize("biased", [True, False])
def test_folding_is_exact_inside_and_everywhere_if_padded_with_the_mean(faces, seen, biased):
    torch.manual_seed(1)
    weight, bias = torch.randn(8, 3, 7, 7)/50, torch.randn(8) if biased else None
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (seen.mean, seen.std))
    theirs = F.conv2d(((faces if seen.channels == "RGB" else faces.flip(1))*seen.pixel_max/255 - mean)/std, weight, bias, padding=3)
    ours, scale = fold_input(weight, bias, seen), theirs.abs().max()
    inputs = (faces - 127.5)/127.5
    plain = F.conv2d(inputs, *ours, padding=3)
    assert (plain - theirs)[..., 3:-3, 3:-3].abs().max() < 1e-4*scale < (plain - theirs).abs().max() # the border is another colour
    middle = (mean*255/seen.pixel_max - 127.5)/127.5
    middle = middle if seen.channels == "RGB" else middle.flip(0)
    padded = middle.expand(2, 3, 38, 38).clone()
    padded[..., 3:-3, 3:-3] = inputs
    assert (F.conv2d(padded, *ours) - theirs).abs().max() < 1e-4*scale


def test_a_folded_resnet_has_its_bias_in_the_batch_normalisation(tmp_path, faces):
    torch.save(dag_tensors(), tmp_path/"resnet50_ft_dag.pth")
    found = import_pretrained(tmp_path/"resnet50_ft_dag.pth", width=NARROW)
    folded = pretrained.folded_tensors(found)
    assert folded.keys() == found.tensors.keys()
    def first(tensors, inputs):
        model = ResNet50(NARROW, caffe=True).eval()
        model.load_state_dict(tensors)
        with torch.no_grad(): return model.bn1(model.conv1(inputs))[..., 2:-2, 2:-2]
    expected = first(found.tensors, faces - torch.tensor(found.input.mean)[:, None, None])
    assert (first(folded, (faces - 127.5)/127.5) - expected).abs().max() < 1e-4*expected.abs().max()


def test_a_converted_checkpoint_fills_the_cnn_of_a_network(tmp_path, vgg, faces):
    write_mat(tmp_path/"vgg-face.mat", vgg)
    card = convert_pretrained(tmp_path/"vgg-face.mat", tmp_path/"plain", fold=False, width=NARROW)
    model = create_model("vgg_face", width=NARROW, size=32).eval()
    before = model.output.weight.clone()
    load_weights(model, tmp_path/"plain", parts=("cnn",))
    seen = faces - torch.tensor(card.input.mean)[:, None, None]
    with torch.no_grad(): close(model.cnn(seen)["last-pool"], vgg_by_hand(vgg, seen))
    assert torch.equal(model.output.weight, before) and not card.input.folded and card.parts == ("cnn",)
    card = convert_pretrained(tmp_path/"vgg-face.mat", tmp_path/"folded", width=NARROW)
    load_weights(model, tmp_path/"folded", parts=("cnn",))
    weight, _ = fold_input(torch.from_numpy(vgg[1, 1][0].transpose(3, 2, 0, 1).copy()), torch.from_numpy(vgg[1, 1][1]), card.input)
    assert torch.equal(model.cnn.block1.conv1_1.weight, weight) and read_card(tmp_path/"folded").input.folded
    assert "non-commercial" in card.licence and len(card.notes["sha256"]) == 64 and card.notes["format"] == "vgg_face_matconvnet"
    assert all(name.startswith("cnn.") for name in load_file(tmp_path/"folded.safetensors"))
    with pytest.raises(ValueError, match="only the part cnn .*load_weights"): load_checkpoint(tmp_path/"folded")
    with pytest.raises(ValueError, match="only the part cnn"): load_weights(model, tmp_path/"folded")


def test_caffes_weights_do_not_enter_torchvisions_layout(tmp_path):
    torch.save(dag_tensors(), tmp_path/"dag.pth")
    convert_pretrained(tmp_path/"dag.pth", tmp_path/"faces", width=NARROW)
    load_weights(create_model("resnet50", width=NARROW, caffe=True), tmp_path/"faces", parts=("cnn",))
    with pytest.raises(ValueError, match="faces.safetensors: cnn is a ResNet-50 of Caffe's layout"): load_weights(create_model("resnet50", width=NARROW), tmp_path/"faces", parts=("cnn",))


def test_the_caller_may_know_channels_and_mean_better(tmp_path, vgg):
    torch.save(torch_tensors(vgg, "conv_{block}_{index}"), tmp_path/"port.pth")
    seen = import_pretrained(tmp_path/"port.pth", channels="RGB", mean=(1, 2, 3), width=NARROW).input
    assert (seen.channels, seen.mean) == ("RGB", (1., 2., 3.)) and "given by the caller" in seen.remark
    for wrong in (dict(channels="rgb"), dict(mean=(1, 2)), dict(format="caffe")):
        with pytest.raises(ValueError, match="must be|allowed are"): import_pretrained(tmp_path/"port.pth", width=NARROW, **wrong)


# ---- what is refused

class Malice:
    "Calls `function` when it is unpickled without care."
    def __init__(self, function, *given): self.function, self.given = function, given
    def __reduce__(self): return self.function, self.given


@pytest.mark.parametrize("function, given, name", [(os.system, ("echo > owned.txt",), "system"), (eval, ("open('owned.txt', 'w')",), "eval"), (open, ("owned.txt", "w"), "open")])
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("writer", ["pickle", "zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_malicious_pickles_are_refused_and_not_run(tmp_path, monkeypatch, function, given, name, protocol, writer):
    monkeypatch.chdir(tmp_path)
    content, path = {"conv1_1.weight": Malice(function, *given)}, tmp_path/"net.pth"
    if writer == "pickle": path.write_bytes(pickle.dumps(content, protocol=protocol))
    else: torch.save(content, path, pickle_protocol=max(protocol, 2), _use_new_zipfile_serialization=writer == "zip")
    with pytest.raises(ValueError, match="net.pth.*" + (name if writer == "pickle" or protocol < 4 else "")): import_pretrained(path)
    assert not (tmp_path/"owned.txt").exists()


@pytest.mark.parametrize("content, message", [
    (np.array([{}, Malice(os.getcwd)], dtype=object), "getcwd|objects|type O"),
    (np.array([None, 1], dtype=object), "objects|type O"),
    (np.zeros(3, dtype=[("a", "f4")]), "records|type V"),
    (np.array(["text"]), "type U"),
    (nn.Linear(2, 2), "torch"),
    ({1, 2}, "set"),
    ("only text", "not an array"),
])
@pytest.mark.parametrize("protocol", [2, 5])
def test_only_arrays_of_numbers_are_admitted_from_pickles(tmp_path, content, message, protocol):
    (tmp_path/"net.pkl").write_bytes(pickle.dumps({"conv1.weight": content}, protocol=protocol))
    with pytest.raises(ValueError, match=f"net.pkl.*({message})"): import_pretrained(tmp_path/"net.pkl")


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    small = np.zeros(2, "f4")
    raw = pickle.dumps({"conv1.weight": small}, protocol=2)
    marked = raw.replace(b"K\x02\x85", b"J\xff\xff\xff\x7f\x85") # shape (2,) becomes (2147483647,)
    assert marked != raw
    (tmp_path/"huge.pkl").write_bytes(marked)
    with pytest.raises(ValueError, match="huge.pkl: an array of shape .2147483647,. with 8 bytes"): import_pretrained(tmp_path/"huge.pkl")
    tensors = {name: torch.zeros(1).expand(shape) for name, shape in zip(FORMATS["vgg_face_dag"].names.values(), [(10**6, 10**6)]*26)}
    torch.save(tensors, tmp_path/"wide.pth") # views of single numbers: a few kilobytes
    with pytest.raises(ValueError, match="wide.pth: conv1_1.weight has shape .1000000, 1000000."): import_pretrained(tmp_path/"wide.pth")


def test_archives_that_unpack_to_more_are_refused(tmp_path, vgg, monkeypatch):
    torch.save(torch_tensors(vgg, "conv{block}_{index}"), tmp_path/"net.pth")
    with zipfile.ZipFile(tmp_path/"net.pth") as source, zipfile.ZipFile(tmp_path/"packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in source.namelist(): packed.writestr(entry, source.read(entry))
    with pytest.raises(ValueError, match="packed.pth.*compressed"): import_pretrained(tmp_path/"packed.pth")
    savemat(tmp_path/"packed.mat", dict(layers=np.zeros(2**20)), do_compression=True)
    assert (tmp_path/"packed.mat").stat().st_size < 2**15
    monkeypatch.setattr(matlab, "LARGEST_UNPACKED", 2**20)
    with pytest.raises(ValueError, match="packed.mat.*would unpack to more than"): import_pretrained(tmp_path/"packed.mat")


def test_objects_and_functions_in_a_mat_are_refused(tmp_path, vgg):
    record = np.zeros((1, 1), dtype=[("weights", object)])
    record[0, 0]["weights"] = np.ones(2)
    write_mat(tmp_path/"net.mat", vgg, more=[MatlabObject(record, "dagnn.DagNN")])
    with pytest.raises(ValueError, match="net.mat.*it holds an object"): import_pretrained(tmp_path/"net.mat")
    out = io.BytesIO()
    savemat(out, dict(layers=cell([np.ones((1, 1))])))
    raw = bytearray(out.getvalue())
    raw[raw.index(b"\x06\x00\x00\x00\x08\x00\x00\x00\x01") + 8] = 16 # the flags of the cell: a function handle instead
    (tmp_path/"net.mat").write_bytes(raw)
    with pytest.raises(ValueError, match="net.mat.*it holds a function handle"): import_pretrained(tmp_path/"net.mat")


@pytest.mark.parametrize("kind", ["soft", "external", "inside", "storage", "text"])
def test_an_hdf5_cannot_point_elsewhere(tmp_path, kind):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path/"net.h5", "w") as file:
        layer = file.create_group("conv1_1")
        if kind == "soft": file["conv1_2"] = h5py.SoftLink("/conv1_1")
        if kind == "external": layer["kernel"] = h5py.ExternalLink("other.h5", "/secret")
        if kind == "inside": layer["again"] = h5py.SoftLink("/conv1_1")
        if kind == "storage": layer.create_dataset("kernel", (8,), "f4", external=[(str(tmp_path/"secret.bin"), 0, 32)])
        if kind == "text": layer["kernel"] = "text"
    with pytest.raises(ValueError, match="net.h5.*(link|in the file itself)"): import_pretrained(tmp_path/"net.h5")


def test_an_hdf5_that_unpacks_to_more_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path/"net.h5", "w") as file: file.create_group("conv1_1").create_dataset("kernel", (3, 3, 10**5, 10**5), "f4", chunks=(3, 3, 8, 8))
    assert (tmp_path/"net.h5").stat().st_size < 10_000
    with pytest.raises(ValueError, match="net.h5: its arrays would unpack to more than"): import_pretrained(tmp_path/"net.h5")


def test_a_pickle_that_contains_itself_is_refused(tmp_path):
    content = {}
    content["state_dict"] = content
    (tmp_path/"net.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="net.pkl: entry 'state_dict' is a dict, not an array"): import_pretrained(tmp_path/"net.pkl")


def write_every_container(home, vgg):
    write_mat(home/"net.mat", vgg)
    tensors = torch_tensors(vgg, "conv{block}_{index}")
    torch.save(tensors, home/"zip.pth"), torch.save(tensors, home/"legacy.pth", _use_new_zipfile_serialization=False)
    (home/"net.pkl").write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in tensors.items()}))
    return ["net.mat", "zip.pth", "legacy.pth", "net.pkl"]


def test_files_that_are_cut_off_or_no_weights_are_named(tmp_path, vgg):
    for name in write_every_container(tmp_path, vgg):
        whole = (tmp_path/name).read_bytes()
        for size in (4, 100, 200, len(whole)//2, len(whole) - 40):
            (tmp_path/"cut").write_bytes(whole[:size])
            with pytest.raises(ValueError, match="cut") as raised: import_pretrained(tmp_path/"cut", width=NARROW)
            assert str(tmp_path/"cut") in str(raised.value)
    for content, message in ((b"", "is empty"), (b"<html>Sign in</html>", "web page"), (b"Sign in first", "vgg_face_dag"), (b"MATLAB 7.3 MAT-file", "-v7"), (bytes(range(256)), "cut off, or not")):
        (tmp_path/"net.pth").write_bytes(content)
        with pytest.raises(ValueError, match=f"net.pth.*{message}"): import_pretrained(tmp_path/"net.pth")
    with pytest.raises(ValueError, match="no such file"): import_pretrained(tmp_path/"absent.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_bytes_are_an_error_that_names_the_file_or_other_numbers(tmp_path, vgg):
    draw = np.random.default_rng(7)
    for name in write_every_container(tmp_path, vgg):
        whole = np.frombuffer((tmp_path/name).read_bytes(), "u1")
        for _ in range(15):
            damaged = whole.copy()
            damaged[draw.integers(0, 2000, 3)] = draw.integers(0, 256, 3)
            (tmp_path/"damaged").write_bytes(damaged.tobytes())
            try: assert import_pretrained(tmp_path/"damaged", width=NARROW).tensors
            except ValueError as error: assert str(tmp_path/"damaged") in str(error)


@pytest.mark.parametrize("change, message", [
    (lambda tensors: tensors.pop("conv5_3.bias"), "looks like vgg_face_dag, but has no conv5_3.bias"),
    (lambda tensors: tensors.update({"conv3_4.weight": torch.zeros(2)}), "holds conv3_4.weight"),
    (lambda tensors: tensors.update({"fc8.weight": torch.zeros(1000, 8)}), "1,000 classes, expected were 2,622"),
    (lambda tensors: tensors.update({"conv1_1.weight": torch.zeros(8, 3, 5, 5)}), r"conv1_1.weight has shape \(8, 3, 5, 5\), in vgg_face_dag it has \(8, 3, 3, 3\)"),
    (lambda tensors: tensors["conv4_2.weight"].fill_(torch.nan), "conv4_2.weight holds numbers that cannot be weights"),
    (lambda tensors: tensors.update({"epoch": 3}), "entry 'epoch' is a int"),
])
def test_other_networks_are_told_from_this_one(tmp_path, vgg, change, message):
    tensors = torch_tensors(vgg, "conv{block}_{index}")
    change(tensors)
    torch.save(tensors, tmp_path/"net.pth")
    with pytest.raises(ValueError, match=f"net.pth.*{message}"): import_pretrained(tmp_path/"net.pth", width=NARROW)


def test_another_format_than_named_is_refused(tmp_path, vgg):
    torch.save(torch_tensors(vgg, "conv{block}_{index}"), tmp_path/"net.pth")
    with pytest.raises(ValueError, match="net.pth is not vgg_face_port: conv_1_1.bias is missing"): import_pretrained(tmp_path/"net.pth", format="vgg_face_port", width=NARROW)
    with pytest.raises(ValueError, match="is a torch file, vgg_face_keras comes as hdf5"): import_pretrained(tmp_path/"net.pth", format="vgg_face_keras", width=NARROW)


# ---- cards of other versions, and parts

def test_a_checkpoint_of_version_0_1_loads_and_predicts_the_same():
    model, card = load_checkpoint(CARDS/"v0_1")
    faces, landmarks = torch.linspace(-1, 1, 2*3*32*32).reshape(1, 2, 3, 32, 32), torch.linspace(-.5, .5, 2*136).reshape(1, 2, 68, 2)
    with torch.no_grad(): va = model(faces, landmarks).va
    torch.testing.assert_close(va, torch.tensor([[[-0.17885885, 0.05247532], [-0.19290799, 0.03848663]]]), atol=1e-5, rtol=1e-4)
    assert (card.version, card.parts, card.postprocess, card.input) == ("", (), {}, None)
    assert (card.architecture, card.width, card.notes, card.date) == ("affwildnet_vgg", .01, {"epoch": 0}, "2026-11-24T18:14:12.908019+00:00")


def test_a_card_says_who_wrote_it_and_keeps_what_was_chosen(tmp_path):
    chain = {"valence": [["median", 5], ["shift", .1]]}
    save_checkpoint(tmp_path/"net", create_model("affwildnet_vgg", width=.01, size=32), dict(postprocess=chain))
    card = read_card(tmp_path/"net")
    assert (card.version, card.postprocess) == (__version__, chain)


def test_a_card_of_a_newer_version_is_refused_with_what_it_holds(tmp_path):
    card = json.loads((CARDS/"v0_1.json").read_text())
    tensors = load_file(CARDS/"v0_1.safetensors")
    save_file(tensors, tmp_path/"net.safetensors", metadata=dict(card=json.dumps({**card, "version": "7.1.0", "temperature": 2, "calibration": {}})))
    with pytest.raises(ValueError, match=f"temperature, calibration, unknown to affect_nb {__version__}.*affect_nb 7.1.0"): load_checkpoint(tmp_path/"net")
    save_file(tensors, tmp_path/"net.safetensors", metadata=dict(card=json.dumps({**card, "version": "7.1.0"})))
    assert read_card(tmp_path/"net").version == "7.1.0" # nothing in it that is unknown
    save_file(tensors, tmp_path/"net.safetensors", metadata=dict(card=json.dumps({**card, "version": "7.1.0", "arguments": {"size": 32, "gating": True}})))
    with pytest.raises(ValueError, match=f"net.safetensors.*gating.*affect_nb 7.1.0, this is {__version__}"): load_checkpoint(tmp_path/"net")


def test_parts_are_filled_from_another_architecture_and_only_they(tmp_path):
    source, model = create_model("affwildnet_vgg", width=.01, size=32), create_model("vgg_face", width=.01, size=32)
    save_checkpoint(tmp_path/"net", source)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_weights(model, tmp_path/"net", parts=("cnn",))
    for name, tensor in model.state_dict().items(): assert torch.equal(tensor, source.state_dict()[name] if name.startswith("cnn.") else before[name])


def test_parts_that_do_not_fit_are_named(tmp_path):
    model = create_model("affwildnet_vgg", width=.01, size=32)
    save_checkpoint(tmp_path/"net", model)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wide = create_model("affwildnet_vgg", width=.25, size=32)
    with pytest.raises(ValueError, match=r"cnn.block1.conv1_1.bias is \(8,\), it must be \(16,\).*the checkpoint holds cnn \(26 tensors\), fc \(2 tensors\)"): load_weights(wide, tmp_path/"net", parts=("cnn",))
    with pytest.raises(ValueError, match="fc.0.weight is"): load_weights(create_model("affwildnet_vgg", width=.01, size=64), tmp_path/"net", parts=("cnn", "fc"))
    with pytest.raises(ValueError, match="has no part 'rnn2'; it has cnn, fc, rnn1, output"): load_weights(model, tmp_path/"net", parts=("cnn", "rnn2"))
    tensors = load_file(tmp_path/"net.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if name != "cnn.block2.conv2_1.bias"}, tmp_path/"net.safetensors")
    with pytest.raises(ValueError, match="cnn.block2.conv2_1.bias is missing"): load_weights(model, tmp_path/"net", parts=("cnn",))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())


def test_a_part_cannot_be_named_into_a_card_that_is_no_field():
    with pytest.raises(ValueError, match="mean"): Card(architecture="vgg16", input=dict(channels="RGB"))
    assert Card(architecture="vgg16", input=InputStatistics(mean=(1, 2, 3))).input.std == (1, 1, 1)
