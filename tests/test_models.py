"""Every registered network: shapes, independence of sequences, checkpoints; Winograd's algorithm against torch's convolution."""
import json
import pickle

import pytest
import torch
import torch.nn.functional as F

from affect_nb.models import create_model, list_models
from affect_nb.models.backbones import TAPS, VGG16
from affect_nb.models.weights import load_checkpoint, save_checkpoint
from affect_nb.models.winograd import WinogradConvolution

NARROW = 1/16


def batch(sequences=2, frames=3):
    torch.manual_seed(0)
    return torch.rand(sequences, frames, 3, 96, 96)*2 - 1, torch.rand(sequences, frames, 68, 2)*2 - 1


@pytest.mark.parametrize("name", list_models())
def test_shapes_and_finite_gradients(name):
    model = create_model(name, width=NARROW)
    va = model(*batch()).va
    assert va.shape == (2, 3, 2)
    va.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", list_models())
def test_a_sequence_does_not_see_its_neighbours(name):
    model = create_model(name, width=NARROW).eval()
    faces, landmarks = batch()
    with torch.no_grad(): torch.testing.assert_close(model(faces, landmarks).va[1:], model(faces[1:], landmarks[1:]).va, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", list_models())
def test_a_checkpoint_is_the_same_network(name, tmp_path):
    model = create_model(name, width=NARROW).eval()
    save_checkpoint(tmp_path/"net", model, {"data": "none"})
    back, card = load_checkpoint(tmp_path/"net.json")
    with torch.no_grad(): assert torch.equal(back(*batch()).va, model(*batch()).va)
    assert (card.architecture, card.width) == (name, NARROW)
    assert json.loads((tmp_path/"net.json").read_text())["torch_version"] == torch.__version__


def test_the_papers_size():
    "Hand-computed: 13 convolutions, FC of 4608 + 136 inputs, two GRU layers of 128 (torch's two bias vectors a gate)."
    with torch.device("meta"): model = create_model("affwildnet_vgg")
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(9*before*after + after for before, after in zip(channels, channels[1:]))
    fc = (3*3*512 + 136)*4096 + 4096
    gru = 3*(4096*128 + 128*128 + 2*128) + 3*(128*128 + 128*128 + 2*128)
    assert sum(parameter.numel() for parameter in model.parameters()) == convolutions + fc + gru + 2*128 + 2
    with torch.device("meta"): taps = VGG16(taps=TAPS)(torch.empty(5, 3, 96, 96))
    assert {name: tuple(tap.shape[1:]) for name, tap in taps.items()} == {"2nd-pool": (128, 24, 24), "last-conv": (512, 6, 6), "last-pool": (512, 3, 3)}


def test_unknown_names_are_listed():
    with pytest.raises(ValueError, match="affwildnet_vgg"): create_model("affwildnet_vg")


class Malice:
    def __reduce__(self): return (open, ("owned.txt", "w"))


def test_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"net.pth").write_bytes(pickle.dumps(Malice()))
    with pytest.raises(ValueError, match="pickle"): load_checkpoint(tmp_path/"net.pth")
    (tmp_path/"net.safetensors").write_bytes(pickle.dumps(Malice()))
    with pytest.raises(ValueError, match="net.safetensors"): load_checkpoint(tmp_path/"net.safetensors")
    assert not (tmp_path/"owned.txt").exists()


def test_a_checkpoint_of_another_shape_is_named(tmp_path):
    save_checkpoint(tmp_path/"net", create_model("affwildnet_vgg", width=NARROW), {"data": "none"})
    other = save_checkpoint(tmp_path/"wide", create_model("affwildnet_vgg", width=1/8), {"data": "none"})
    (tmp_path/"wide.safetensors").replace(tmp_path/"net.safetensors")
    (tmp_path/"net.json").write_text(other.model_copy(update={"width": NARROW}).model_dump_json())
    with pytest.raises(ValueError, match="must be"): load_checkpoint(tmp_path/"net")


def convolution_inputs(dtype):
    torch.manual_seed(1)
    return (torch.randn(2, 4, 6, 8, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_(),
            torch.randn(5, 4, 3, 3, dtype=dtype, requires_grad=True), torch.randn(5, dtype=dtype, requires_grad=True))


def test_winograd_is_a_convolution_forward_and_backward():
    inputs = convolution_inputs(torch.float64)
    ours, torchs = WinogradConvolution.apply(*inputs), F.conv2d(*inputs, padding=1)
    torch.testing.assert_close(ours, torchs)
    direction = torch.randn_like(torchs)
    for mine, theirs in zip(torch.autograd.grad(ours, inputs, direction), torch.autograd.grad(torchs, inputs, direction)):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4) # gradients of weights are summed in float32


def test_winograd_in_bfloat16_is_about_as_exact_as_the_direct_convolution():
    images, weight, bias = (tensor.detach() for tensor in convolution_inputs(torch.float32))
    true = F.conv2d(images, weight, bias, padding=1)
    direct = F.conv2d(images.bfloat16(), weight.bfloat16(), bias.bfloat16(), padding=1).float()
    short = WinogradConvolution.apply(images.bfloat16(), weight, bias).float()
    assert (short - true).norm() < 4*(direct - true).norm()
