"""Networks as ONNX files and as programs of torch.export: the same numbers, for any batch and length, in pieces, without PyTorch."""
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from affect_nb.apps.cli import app
from affect_nb.apps.predictor import Predictor
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.data.drawn import DrawnFaces
from affect_nb.models import create_model, list_models, load_pretrained, save_checkpoint
from affect_nb.models.export import TensorNetwork, export_onnx, export_program
from affect_nb.models.onnx_network import OnnxNetwork, open_onnx
from affect_nb.models.shipped import weights_path
from affect_nb.preprocess.align import align_face, five_points
from affect_nb.synth.faces import draw_face

needs_onnx = pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")),
                                reason="needs the extra onnx: pip install 'affect_nb[onnx]'")
EXAMPLE = Path(__file__).resolve().parent.parent/"docs"/"onnx_example.py"
NARROW, CLOSE = 1/16, dict(atol=1e-4, rtol=0)


def valid_inputs(ready, batch, frames):
    "Random faces, landmarks (one is missing) and sound, and a random state."
    torch.manual_seed(batch*frames)
    tensors = [torch.rand_like(tensor)*2 - 1 for tensor in ready.zeros(batch, frames)]
    if "landmarks" in ready.inputs: tensors[ready.inputs.index("landmarks")][0, 0] = torch.nan
    return tensors


def in_onnx(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *tensors: [torch.from_numpy(value) for value in session.run(None, {name: tensor.numpy() for name, tensor in zip(names, tensors)})]


def check_same(ready, exported):
    "Other sizes than those it was traced with, and a clip in pieces with the state handed on."
    with torch.no_grad():
        for batch, frames in ((1, 1), (3, 5)):
            tensors = valid_inputs(ready, batch, frames)
            for ours, theirs in zip(exported(*tensors), ready(*tensors), strict=True): torch.testing.assert_close(ours, theirs, **CLOSE)
        whole, reads, predicts = exported(*tensors), len(ready.reads), len(ready.tasks)
        state, pieces = tensors[reads:], []
        for start, stop in ((0, 2), (2, 5)):
            *outputs, = exported(*(tensor[:, start:stop] for tensor in tensors[:reads]), *state)
            pieces.append(outputs[:predicts])
            state = outputs[predicts:]
        for number in range(predicts):
            torch.testing.assert_close(torch.cat([piece[number] for piece in pieces], 1), whole[number], **CLOSE)
        for ours, theirs in zip(state, whole[predicts:], strict=True): torch.testing.assert_close(ours, theirs, **CLOSE)


@needs_onnx
@pytest.mark.parametrize("name", list_models())
def test_every_network_is_the_same_in_onnx(name, tmp_path):
    network = create_model(name, width=NARROW)
    check_same(TensorNetwork(network), in_onnx(export_onnx(network, tmp_path/"net.onnx")))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_network_is_the_same_as_a_program(name, tmp_path):
    network = create_model(name, width=NARROW)
    path = export_program(network, tmp_path/"net.pt2")
    check_same(TensorNetwork(network), torch.export.load(path).module())


@needs_onnx
@pytest.mark.parametrize("rnn, options", [("lstm", {}), ("gru", dict(landmarks=False))])
def test_options_of_a_network_are_exported(rnn, options, tmp_path):
    network = create_model("affwildnet_vgg", width=NARROW, rnn=rnn, **options)
    ready = TensorNetwork(network)
    assert [name for name in ready.inputs if name.startswith("state")] == (["state.rnn1"] if rnn == "gru" else ["state.rnn1.0", "state.rnn1.1"])
    check_same(ready, in_onnx(export_onnx(network, tmp_path/"net.onnx")))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    "The shipped network as ONNX."
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    return export_onnx(weights_path("facebehaviornet-small"), tmp_path_factory.mktemp("shipped")/"net.onnx")


def test_the_file_describes_itself(shipped):
    import onnx
    onnx.checker.check_model(str(shipped))
    about, card = {entry.key: entry.value for entry in onnx.load(shipped).metadata_props}, load_pretrained().card
    assert about["licence"] == card.licence and json.loads(about["postprocess"]) == card.postprocess
    assert about["pixel_scale"] == "(x - 127.5) / 127.5" and json.loads(about["alignment"])["size"] == 96
    va, expression, aus = json.loads(about["outputs"])
    assert va["columns"] == ["valence", "arousal"] and expression["columns"] == list(EXPRESSIONS)
    assert aus["columns"] == [f"AU{au}" for au in card.au_names] and json.loads(about["au_names"]) == list(card.au_names)


ALONE = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'torchvision', 'affect_nb', 'onnx', 'fastai'): raise ImportError(f'{name} is blocked')
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def said_by_the_example(*arguments):
    done = subprocess.run([sys.executable, "-c", ALONE, EXAMPLE, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


def predicted_by_torch(face):
    "Name of each column -> value; of an aligned face (96, 96, 3)."
    network = load_pretrained()
    with torch.no_grad(): output = network(torch.from_numpy(face).permute(2, 0, 1)[None, None])
    values = torch.cat([output.va.clamp(-1, 1), output.expression_prob, output.au_prob], -1)[0, 0].tolist()
    return dict(zip(["valence", "arousal", *EXPRESSIONS, *(f"AU{au}" for au in output.au_names)], values))


def test_the_example_has_40_lines_and_needs_neither_torch_nor_this_package(shipped, tmp_path):
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    face = DrawnFaces(1, first=50_000_000).faces[0].permute(1, 2, 0).numpy().copy()
    cv2.imwrite(str(tmp_path/"face.png"), face[..., ::-1])
    said, expected = said_by_the_example(shipped, tmp_path/"face.png"), predicted_by_torch(face)
    assert list(said) == list(expected)
    for name, value in expected.items(): assert said[name] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("size", [140, 500, 900])
def test_the_example_aligns_a_photograph(shipped, tmp_path, size):
    "A face that is much larger than the crop is reduced as the library reduces it."
    drawn = draw_face(3, difficulty=.1, size=size)
    cv2.imwrite(str(tmp_path/"photo.png"), drawn.image[..., ::-1])
    said = said_by_the_example(shipped, tmp_path/"photo.png", *five_points(drawn.landmarks).ravel())
    expected = predicted_by_torch(align_face(drawn.image, drawn.landmarks)[0])
    for name, value in expected.items(): assert said[name] == pytest.approx(value, abs=1e-3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in (3, 4): cv2.imwrite(str(folder/f"{seed}.png"), draw_face(seed, difficulty=.1).image[..., ::-1])
    return folder


def test_a_prediction_is_the_same_with_either_runtime(shipped, photos):
    tables = [Predictor.load(path, device="cpu", precision="float32", runtime=runtime).predict(photos)
              for path, runtime in ((weights_path("facebehaviornet-small"), "torch"), (weights_path("facebehaviornet-small"), "onnx"), (shipped, "torch"))]
    columns = Predictor.load(shipped).columns
    assert len(tables[0]) == 2 and tables[0][columns].notna().all(axis=None)
    for table in tables[1:]: np.testing.assert_allclose(table[columns], tables[0][columns], **CLOSE)


def test_the_commands(tmp_path, photos, monkeypatch):
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from typer.testing import CliRunner
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["export-model", "facebehaviornet-small", "net.onnx"])
    assert answer.exit_code == 0 and answer.stdout.strip() == "net.onnx", answer.output
    answer = CliRunner().invoke(app, ["predict", str(photos/"3.png"), "--model", "net.onnx", "--out", "out"])
    assert answer.exit_code == 0 and (tmp_path/"out"/"3.csv").is_file(), answer.output
    assert "float32, onnxruntime" in answer.stderr
    for arguments, words in ((["export-model", "facebehaviornet-small", "net.pt"], "net.pt should end in .onnx or .pt2"),
                             (["export-model", "facebehaviornet-small", "net.pt2", "--int8"], "net.pt2 should end in .onnx"),
                             (["export-model", "nobody.json", "net.onnx"], "nobody.json: no such model card")):
        assert words in str(CliRunner().invoke(app, arguments).exception)


@pytest.mark.parametrize("library, work", [("onnxruntime", lambda path: open_onnx(path)), ("onnx", lambda path: export_onnx(path, path.with_suffix(".onnx")))])
def test_a_missing_library_is_named_with_what_installs_it(library, work, tmp_path, monkeypatch):
    save_checkpoint(tmp_path/"net", create_model("vgg16", width=NARROW), {"data": "none"})
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=f"pip install {library}"): work(tmp_path/"net.json")
    assert not list(tmp_path.glob("*.onnx"))


@needs_onnx
def test_files_of_others_and_broken_ones_are_refused(shipped, tmp_path):
    import onnx
    bare = onnx.load(shipped)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path/"bare.onnx")
    with pytest.raises(ValueError, match="does not describe itself"): OnnxNetwork(tmp_path/"bare.onnx")
    (tmp_path/"cut.onnx").write_bytes(shipped.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cut.onnx is no ONNX file"): OnnxNetwork(tmp_path/"cut.onnx")


@needs_onnx
def test_an_onnx_file_beside_other_weights_is_not_taken(tmp_path):
    first, second = create_model("vgg16", width=NARROW), create_model("vgg16", width=NARROW)
    save_checkpoint(tmp_path/"net", first, {"data": "first"})
    export_onnx(tmp_path/"net", tmp_path/"net.onnx")
    save_checkpoint(tmp_path/"net", second, {"data": "second"})
    assert open_onnx(tmp_path/"net").card.data == "second" and open_onnx(tmp_path/"net.onnx").card.data == "first"


@pytest.mark.slow
def test_int8_holds_what_it_promises_or_writes_nothing(shipped, tmp_path, monkeypatch):
    from affect_nb.models import int8
    found = int8.quantise_onnx(shipped, tmp_path/"int8.onnx")
    assert (tmp_path/"int8.onnx").stat().st_size < .3*shipped.stat().st_size
    people = DrawnFaces(150, first=50_000_000)
    for place, name in enumerate(("valence", "arousal")): # on people of neither its calibration nor its own measurement
        before, after = (int8.ccc(OnnxNetwork(path)(people.faces[:, None]).va[:, 0, place], people.targets.va[:, place])
                         for path in (shipped, tmp_path/"int8.onnx"))
        assert abs(before - after) <= int8.MOST_LOST and abs(found["before"][name] - found["after"][name]) <= int8.MOST_LOST
    monkeypatch.setattr(int8, "MOST_LOST", -1.)
    with pytest.raises(ValueError, match="less than before; at most -1.0 is allowed, so nothing is written"): int8.quantise_onnx(shipped, tmp_path/"none.onnx")
    assert not (tmp_path/"none.onnx").exists()
