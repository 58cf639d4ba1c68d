"""Every registered network: shapes, independence of sequences, checkpoints."""
import json
import pickle
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from affect_nb.models import create_model, list_models
from affect_nb.models.backbones import TAPS, VGG16
from affect_nb.models.inputs import hears, sees
from affect_nb.models.outputs import AffectLayer, aus_of, tasks_of
from affect_nb.models.weights import load_checkpoint, save_checkpoint

NARROW = 1/16


def batch(sequences=2, frames=3):
    torch.manual_seed(0)
    return torch.rand(sequences, frames, 3, 96, 96)*2 - 1, torch.rand(sequences, frames, 68, 2)*2 - 1


def sound_of(faces):
    "The sound at each frame: it follows from the face, so that whatever changes one changes the other."
    return (faces[:, :, :1] + faces[:, :, 1:2])/2


def call(model, faces, landmarks):
    "The network's output for what it reads."
    return model(faces, landmarks, sound_of(faces) if hears(model) else None)


def go_on(model, faces, landmarks, state):
    return model.continued(faces, landmarks, state, **(dict(audio=sound_of(faces)) if hears(model) else {}))


@pytest.mark.parametrize("name", list_models())
def test_shapes_and_finite_gradients(name):
    model = create_model(name, width=NARROW)
    output = call(model, *batch())
    shapes = dict(va=(2, 3, 2), expression=(2, 3, 7), aus=(2, 3, len(aus_of(model))))
    assert {task: getattr(output, task).shape for task in output.present} == {task: shapes[task] for task in tasks_of(model)}
    sum(getattr(output, task).square().sum() for task in output.present).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", list_models())
def test_a_sequence_does_not_see_its_neighbours(name):
    model = create_model(name, width=NARROW).eval()
    faces, landmarks = batch()
    with torch.no_grad(): torch.testing.assert_close(call(model, faces, landmarks).va[1:], call(model, faces[1:], landmarks[1:]).va, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", list_models())
def test_a_checkpoint_is_the_same_network(name, tmp_path):
    model = create_model(name, width=NARROW).eval()
    save_checkpoint(tmp_path/"net", model, {"data": "none"})
    back, card = load_checkpoint(tmp_path/"net.json")
    with torch.no_grad(): assert torch.equal(call(back, *batch()).va, call(model, *batch()).va)
    assert (card.architecture, card.width) == (name, NARROW)
    assert json.loads((tmp_path/"net.json").read_text())["torch_version"] == torch.__version__


REMEMBERING = [name for name in list_models() if "rnn" in name or "lstm" in name or "affwildnet" in name or "fusion" in name or "gru" in name]


@pytest.mark.parametrize("name", list_models())
def test_what_comes_after_a_sequence_never_changes_it(name):
    "Padding behind the end, other faces or none, missing landmarks there, and other sequences of the batch."
    model = create_model(name, width=NARROW).eval()
    faces, landmarks = batch(sequences=3, frames=6)
    with torch.no_grad():
        alone = call(model, faces[:1, :4], landmarks[:1, :4]).va
        for fill, points in ((-1., 0.), (1., torch.nan), (0., .5)):
            padded, there = faces.clone(), landmarks.clone()
            padded[0, 4:], there[0, 4:] = fill, points
            padded[1:], there[1:] = padded[1:].flip(1), torch.nan
            torch.testing.assert_close(call(model, padded, there).va[:1, :4], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("cuts", [(6,), (3, 3), (1, 4, 1)])
def test_a_clip_in_windows_with_carried_state_is_the_clip(name, cuts):
    model = create_model(name, width=NARROW).eval()
    faces, landmarks = batch(frames=6)
    with torch.no_grad():
        said, state = [], None
        for window, points in zip(faces.split(cuts, 1), landmarks.split(cuts, 1)):
            output, state = go_on(model, window, points, state)
            said.append(output.va)
        torch.testing.assert_close(torch.cat(said, 1), call(model, faces, landmarks).va, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", REMEMBERING)
def test_the_past_counts(name):
    "Else the two tests above would be passed by a network that remembers nothing."
    model = create_model(name, width=NARROW).eval()
    faces, landmarks = batch(frames=6)
    with torch.no_grad(): assert not torch.allclose(call(model, faces[:, 3:], landmarks[:, 3:]).va, call(model, faces, landmarks).va[:, 3:], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in list_models() if getattr(create_model(name, width=NARROW), "landmarks", False)])
def test_missing_landmarks_are_zeros_and_only_for_their_frame_and_after(name):
    model = create_model(name, width=NARROW).eval()
    faces, landmarks = batch(frames=4)
    gone, zero = landmarks.clone(), landmarks.clone()
    gone[0, 2], zero[0, 2] = torch.nan, 0
    with torch.no_grad():
        whole, said = model(faces, landmarks).va, model(faces, gone).va
        assert said.isfinite().all() and torch.equal(said, model(faces, zero).va)
    torch.testing.assert_close(said[0, :2], whole[0, :2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(said[1], whole[1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(said[0, 2:], whole[0, 2:])


def test_shapes_alone_draw_no_weights():
    "On the meta device PyTorch would import its compiler to draw them: more than a second before every prediction."
    look = ("import sys, torch; from affect_nb.models import create_model; before = {*sys.modules}; torch.set_default_device('meta'); "
            "[create_model(name, width=1/16) for name in ('affwildnet_vgg', 'cnn_3rnn', 'mt_vgg_gru', 'facebehaviornet')]; "
            "print(*{'torch._dynamo', 'sympy', 'triton'} & {*sys.modules} - before)")
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


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


def rnn_parameters(features, gates=3, layers=2, units=128):
    "Weights from the inputs and from the frame before, and torch's two bias vectors, of each gate and layer."
    return sum(gates*units*(before + units + 2) for before in [features] + [units]*(layers - 1))


VGG, RESNET = 14_714_688, 23_508_032 # without what comes after the last pooling
ONE, THREE = VGG + 4745*4096 + rnn_parameters(82_432), VGG + 4745*4096 + rnn_parameters(4096) + rnn_parameters(4608) + rnn_parameters(73_728)
SIZES = {
    "vgg16": VGG + 4609*4096 + 4097*4096 + 4097*2, "vgg_face": VGG + 4609*4096 + 4097*4096 + 4097*2, "resnet50": RESNET + 2049*2,
    "vgg_face_lstm": VGG + 4609*4096 + rnn_parameters(4096, gates=4) + 258, "resnet_rnn": RESNET + rnn_parameters(2048) + 258,
    "affwildnet_vgg": VGG + 4745*4096 + rnn_parameters(4096) + 258, "affwildnet_resnet": RESNET + 2185*1500 + rnn_parameters(1500) + 258,
    "cnn_1rnn": ONE + 258, "cnn_3rnn": THREE + 2*385, "decision_fusion": ONE + 258 + THREE + 2*385,
    "fusion_fc": ONE + THREE + 513*128 + 258, "fusion_rnn": ONE + THREE + rnn_parameters(512, layers=1) + 258,
}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_the_size_of_every_network_of_section_5(name):
    with torch.device("meta"):
        model = create_model(name)
        assert model(torch.empty(4, 80, 3, 96, 96), torch.empty(4, 80, 68, 2)).va.shape == (4, 80, 2)
    assert sum(parameter.numel() for parameter in model.parameters()) == SIZES[name]


STREAM = VGG + 4609*4096 + rnn_parameters(4096)
MULTITASK = {"mt_vgg": VGG + 4609*4096 + 4097*4096 + 4097*17, "mt_vgg_gru": STREAM + 129*17, "mt_vgg_gru_audio": STREAM + 129*17,
             "av_mt_vgg_gru": 2*STREAM + rnn_parameters(256) + 129*17, "facebehaviornet": VGG + 4609*4096 + 4097*4096 + 4097*26}


@pytest.mark.parametrize("name", sorted(MULTITASK))
def test_the_size_of_every_network_of_section_6(name):
    with torch.device("meta"):
        model = create_model(name)
        output = model(torch.empty(10, 90, 3, 96, 96), None, torch.empty(10, 90, 1, 96, 96) if hears(model) else None)
    assert (output.va.shape, output.expression.shape, output.aus.shape) == ((10, 90, 2), (10, 90, 7), (10, 90, 17 if name == "facebehaviornet" else 8))
    assert sum(parameter.numel() for parameter in model.parameters()) == MULTITASK[name]
    assert (sees(model), hears(model)) == (name != "mt_vgg_gru_audio", name in ("mt_vgg_gru_audio", "av_mt_vgg_gru"))


def test_every_network_of_the_paper_is_in_the_lists_of_sizes():
    assert {*SIZES, *MULTITASK} == set(list_models())


@pytest.mark.parametrize("name", sorted(MULTITASK))
@pytest.mark.parametrize("tasks, aus", [(("va",), (1,)), (("expression",), (1,)), (("va", "aus"), (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26))])
def test_any_tasks_and_any_vocabulary_and_a_card_that_knows_them(name, tasks, aus, tmp_path):
    model = create_model(name, NARROW, tasks=tasks, au_names=aus).eval()
    save_checkpoint(tmp_path/"net", model, {"data": "none"})
    back, _ = load_checkpoint(tmp_path/"net")
    assert tuple(call(back, *batch()).present) == tasks == tasks_of(back) and aus_of(back) == (aus if "aus" in tasks else ())


def test_the_units_of_the_output_layer_are_where_their_names_say():
    layer = AffectLayer(3, ("aus", "va", "expression"), (4, 12))
    features = torch.randn(5, 3)
    plain, named = features@layer.weight.T + layer.bias, layer(features)
    for task, columns in dict(va=slice(0, 2), expression=slice(2, 9), aus=slice(9, 11)).items():
        assert layer.rows(task) == columns
        torch.testing.assert_close(getattr(named, task), plain[:, columns])


def test_the_streams_of_the_audio_visual_network_are_two_that_were_trained_alone(tmp_path):
    torch.manual_seed(3)
    for name in ("mt_vgg_gru", "mt_vgg_gru_audio"): save_checkpoint(tmp_path/name, create_model(name, NARROW), {"data": "none"})
    both = create_model("av_mt_vgg_gru", NARROW).load_members([tmp_path/"mt_vgg_gru", tmp_path/"mt_vgg_gru_audio"])
    for stream, name in ((both.visual, "mt_vgg_gru"), (both.audio, "mt_vgg_gru_audio")):
        alone = load_checkpoint(tmp_path/name)[0].state_dict()
        assert all(torch.equal(tensor, alone[key]) for key, tensor in stream.state_dict().items())
        assert {key for key in alone if not key.startswith("output")} == set(stream.state_dict())


def test_what_is_heard_counts_and_silence_is_a_missing_track():
    model = create_model("av_mt_vgg_gru", NARROW).eval()
    faces, _ = batch(frames=5)
    sound = sound_of(faces)
    gone = sound.clone()
    gone[0, 3] = -1
    with torch.no_grad(): whole, part = model(faces, audio=sound).expression, model(faces, audio=gone).expression
    torch.testing.assert_close(part[1], whole[1])
    torch.testing.assert_close(part[0, :3], whole[0, :3])
    assert not torch.allclose(part[0, 3:], whole[0, 3:])
    bytes_of = lambda scaled: (scaled*127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    with torch.no_grad(): assert torch.equal(model(bytes_of(faces), audio=bytes_of(gone)).va, model((bytes_of(faces).float() - 127.5)/127.5, audio=(bytes_of(gone).float() - 127.5)/127.5).va)


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
