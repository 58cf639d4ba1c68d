"""Two processes with gloo train as one with the same whole batch: losses, gradients, weights, measures; shards; what is refused."""
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from hypothesis import given, settings, strategies as st

from affect_nb.core.coupling import distribution_matching_loss, soft_co_annotation_loss
from affect_nb.core.labels import AUS17, AffectOutput, AffectTargets
from affect_nb.core.losses import ccc_loss, multitask_terms
from affect_nb.core.reduction import adding
from affect_nb.core.relatedness import COGNITIVE
from affect_nb.data import devices
from affect_nb.data.joint import LabelSet, joint_dataloaders
from affect_nb.data.loaders import AffectDL
from affect_nb.data.sequences import SequenceDataset
from affect_nb.models.weights import read_card
from affect_nb.preprocess.face_store import FaceStoreWriter
from affect_nb.train.compiled import CompiledNetwork
from affect_nb.train.fastai_losses import CoupledLoss
from affect_nb.train.fit import fit
from affect_nb.train.learner import affect_learner
from affect_nb.train.processes import join_processes, over_processes, process_number, sum_over_processes
from affect_nb.train.recipes import affwildnet_recipe
from affect_nb.train.records import tensors_hash
from affect_nb.train.toy import toy_dataloaders

PROCESSES = 2
ROOT = Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class StepLosses(Callback):
    "The loss of every step, and of every batch of a validation."
    order = 200
    def before_fit(self): self.values, self.rows = [], []
    def after_loss(self): self.values.append(self.loss.item())
    def after_epoch(self): self.rows.append([float(value) for value in self.recorder.values[-1]])


def trained(learn, epochs):
    "Losses, measures of each epoch, and the last weights, as float64."
    steps = StepLosses()
    with over_processes(learn), learn.no_bar(), learn.no_logging(): learn.fit(epochs, cbs=steps)
    weights = {name: tensor.double() for name, tensor in learn.model.state_dict().items()}
    return dict(losses=torch.tensor(steps.values, dtype=torch.float64), rows=torch.tensor(steps.rows, dtype=torch.float64), weights=weights)


def affwildnet(folder):
    "Four steps an epoch; the last batch of the validation has one window, too few for two processes."
    torch.manual_seed(0)
    dls = toy_dataloaders(18, frames=4, size=32, bs=4)
    assert [len(batch[0]) for batch in dls.valid] == [4, 4, 1]
    return trained(affect_learner(dls, "affwildnet_vgg", 1/16, lr=1e-3, precision="float32", size=32, dropout=0.), 5)


def drawn_set(folder, name, n, seed, **labels):
    "Photographs of noise, in a store: with landmarks, and the labels of one task."
    draw = np.random.default_rng(seed)
    with FaceStoreWriter(folder/name/f"{name}.arrow", clip=name) as writer:
        for frame in range(n):
            crop = draw.integers(0, 255, (96, 96, 3), dtype=np.uint8)
            writer.add(frame, frame/30, 0, "ok", crop, crop_landmarks=np.zeros((68, 2)))
    labels = {column: values(draw, n) for column, values in labels.items()}
    return SequenceDataset(folder/name, pd.DataFrame(dict(clip=name, subject=name, database=name, frame=range(n), **labels)), length=1)


def three_sets(folder):
    "The sets of Section VI.B, small; 45, 27 and 13 windows."
    value = lambda draw, n: draw.uniform(-1, 1, n)
    active = lambda draw, n: draw.integers(0, 2, n).astype(float)
    sets = dict(va=drawn_set(folder, "wild", 45, 1, valence=value, arousal=value),
                aus=drawn_set(folder, "disfa", 27, 2, **{f"au{au}": active for au in (1, 2, 4, 6, 12)}),
                expression=drawn_set(folder, "raf", 13, 3, expression=lambda draw, n: draw.integers(0, 7, n)))
    return {name: LabelSet(data) for name, data in sets.items()}


def joint_loaders(folder):
    valid = drawn_set(folder, "others", 12, 4, valence=lambda draw, n: draw.uniform(-1, 1, n), arousal=lambda draw, n: draw.uniform(-1, 1, n),
                      expression=lambda draw, n: draw.integers(0, 7, n))
    return joint_dataloaders(three_sets(folder), valid, sizes=dict(va=9, aus=6, expression=3), device="cpu", num_workers=0, seed=3)


class DoubleInputs(Callback):
    "Faces for a network in float64; what fastai's recorder keeps of the loss is float32."
    order = 7
    def before_batch(self): self.learn.xb = tuple(part.double() for part in self.xb)
    def after_loss(self): self.learn.loss = self.loss.float()


def facebehaviornet(folder):
    "Five steps an epoch, three sets in each, every term of the coupling; in float64 Adam has no rounding to make steps of."
    torch.manual_seed(0)
    learn = affect_learner(joint_loaders(folder), "facebehaviornet", 1/32, lr=1e-3, precision="float32", loss_func=CoupledLoss("both", lambda_match=.5), dropout=0.)
    learn.model.double()
    learn.multitask.after_pred = lambda: None # it makes float32 of predictions
    learn.add_cb(DoubleInputs())
    return trained(learn, 4)


def some_outputs():
    "A batch of 7 x 3 frames with gaps in every label, and weights that make its predictions."
    draw = torch.Generator().manual_seed(5)
    features = torch.randn(7, 3, 6, generator=draw, dtype=torch.float64)
    weights = torch.randn(6, 2 + 7 + len(AUS17), generator=draw, dtype=torch.float64)
    va, aus = torch.rand(7, 3, 2, generator=draw, dtype=torch.float64)*2 - 1, torch.randint(0, 2, (7, 3, len(AUS17)), generator=draw).double()
    expression = torch.randint(-1, 7, (7, 3), generator=draw)
    va[:3, 1], va[4, :, 0], aus[::2], aus[1, 0, 3] = torch.nan, torch.nan, torch.nan, torch.nan
    return features, weights, AffectTargets(va=va, expression=expression, aus=aus)


def every_loss(part=slice(None)):
    "Value and gradient by the weights of each loss, over the windows of one process."
    features, weights, targets = some_outputs()
    found = {}
    for name in ("ccc", "expression", "aus", "va", "matching", "soft"):
        leaf = weights.clone().requires_grad_()
        predicted = features[part]@leaf
        output, labels = AffectOutput(va=predicted[..., :2], expression=predicted[..., 2:9], aus=predicted[..., 9:]), targets[part]
        if name == "ccc": loss = ccc_loss(output.va, labels.va)
        elif name == "matching": loss = distribution_matching_loss(output, COGNITIVE)
        elif name == "soft": loss = soft_co_annotation_loss(output, labels, COGNITIVE)
        else: loss = multitask_terms(output, labels)[name]
        loss.backward()
        found[name] = (loss.detach(), leaf.grad)
    return found


def together(folder):
    "What a process computes while the other one does its part."
    number = process_number()
    with adding(sum_over_processes): losses = every_loss(slice(number, None, PROCESSES))
    found = dict(losses=losses, affwildnet=affwildnet(folder), facebehaviornet=facebehaviornet(folder/f"{number}"))
    learn = affect_learner(toy_dataloaders(8, frames=2), "affwildnet_vgg", 1/32, precision="float32", size=32, norm="batch")
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        with over_processes(learn): pass
    return found | dict(warned=[str(warning.message) for warning in raised])


def work(number, folder):
    "A process of the two."
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder/'meet'}", rank=number, world_size=PROCESSES)
    torch.save(together(folder), folder/f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    "What each of two processes has found."
    folder, context = tmp_path_factory.mktemp("two"), multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(number, folder)) for number in range(PROCESSES)]
    for process in processes: process.start()
    for process in processes: process.join(900)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder/f"{number}.pt", weights_only=False) for number in range(PROCESSES)]


def test_every_loss_and_its_gradient_are_those_of_the_whole_batch(two):
    "The mean of the processes' gradients, as DistributedDataParallel takes it, is the gradient of one process."
    for name, (value, gradient) in every_loss().items():
        values, gradients = zip(*(found["losses"][name] for found in two))
        assert all(torch.allclose(other, value, atol=1e-12, rtol=0) for other in values), name
        assert torch.allclose(sum(gradients)/PROCESSES, gradient, atol=1e-12, rtol=1e-9), name
        assert gradient.abs().max() > 1e-4, name # there was something to compare
        assert not torch.allclose(gradients[0], gradient, atol=1e-3, rtol=0), name


def test_a_mean_of_the_processes_losses_would_be_another_loss(two):
    parts = [every_loss(slice(number, None, PROCESSES)) for number in range(PROCESSES)]
    whole = every_loss()
    for name in ("ccc", "expression", "aus"):
        assert abs(sum(part[name][0] for part in parts)/PROCESSES - whole[name][0]) > 1e-4, name


@pytest.mark.parametrize("name", ["affwildnet", "facebehaviornet"])
def test_twenty_steps_of_two_processes_are_those_of_one(name, two, tmp_path):
    alone = globals()[name](tmp_path)
    for found in two:
        assert len(alone["losses"]) >= 20 and alone["losses"].std() > 1e-3
        for part in ("losses", "rows"): assert torch.allclose(found[name][part], alone[part], atol=1e-5, rtol=0, equal_nan=True), part
        assert found[name]["weights"].keys() == alone["weights"].keys()
        for key, weight in alone["weights"].items(): assert torch.allclose(found[name]["weights"][key], weight, atol=1e-5, rtol=0), key


def test_batch_norm_on_cpus_is_said_to_be_another_training(two):
    assert all(any("each BatchNorm takes the statistics of its own part" in warning for warning in found["warned"]) for found in two)


@given(n=st.integers(0, 40), bs=st.integers(1, 9), processes=st.integers(1, 5), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_processes_divide_every_batch_without_overlap(n, bs, processes, seed):
    "Disjoint, and together the batch; as many steps for all; whoever has nothing gets a window that is not counted."
    def loader():
        made = AffectDL(range(n), bs, shuffle=True, num_workers=0, seed=seed)
        made.randomize()
        return made
    whole, loaders = loader().batches(), [loader() for _ in range(processes)]
    for process, one in enumerate(loaders): one.share_among(process, processes)
    shares = [one._shares(one.batches()) for one in loaders]
    for number, batch in enumerate(whole):
        counted = [share[number] for share, one in zip(shares, loaders) if processes == 1 or not one.uncounted[number]]
        assert sorted(window for share in counted for window in share) == sorted(batch)
        assert max(map(len, counted)) - min(map(len, counted)) <= 1
        assert all(set(share[number]) <= set(batch) and share[number] for share in shares)
    assert {len(share) for share in shares} == {len(whole)}


@pytest.mark.parametrize("tasks", [("va",), ("va", "expression", "aus")])
def test_accumulated_gradients_are_refused(tasks):
    learn = affect_learner(toy_dataloaders(4, 1, tasks=tasks), "mt_vgg", 1/32, precision="float32", size=32, tasks=list(tasks), cbs=GradientAccumulation(8))
    with pytest.raises(ValueError, match="CCC and means over labels are of a whole one"): learn.fit(1)


def test_a_launcher_that_has_started_one_process_of_several_is_an_error(monkeypatch):
    "As accelerate launch --cpu --num_processes 2 does without MPI."
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert join_processes("cpu") == torch.device("cpu") # one was asked for
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ValueError, match="torchrun --nproc_per_node 2"): join_processes("cpu")


def test_of_several_processes_each_takes_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(devices, "available_devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    assert str(devices.choose_device()) == str(devices.choose_device("cuda")) == "cuda:0"
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(devices.choose_device()) == str(devices.choose_device("cuda")) == "cuda:1"
    assert [str(devices.choose_device(name)) for name in ("cuda:0", "cpu")] == ["cuda:0", "cpu"]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="has only cuda:0, cuda:1, cpu"): devices.choose_device()


@pytest.mark.full
def test_what_was_compiled_stands_in_the_card(tmp_path, monkeypatch):
    "Also where the compiler fails: then the training is the eager one, bit by bit."
    def broken(graph, inputs): raise RuntimeError("no compiler here")
    monkeypatch.setattr("affect_nb.train.fit.CompiledNetwork", partial(CompiledNetwork, backend=broken))
    recipe = affwildnet_recipe("smoke", batch_size=2, length=4, width=1/32, arguments=dict(size=32))
    for name, mode in (("eager", "no"), ("compiled", "default")):
        fit(recipe.replace(compiled=mode), toy_dataloaders(4, 4, bs=2), tmp_path/name, card=dict(data="toy world"))
    state, = read_card(tmp_path/"compiled"/"best").notes["compiled"].values()
    assert state.startswith("eager (") and "no compiler here" in state
    assert "compiled" not in read_card(tmp_path/"eager"/"best").notes
    assert tensors_hash(tmp_path/"compiled"/"best.safetensors") == tensors_hash(tmp_path/"eager"/"best.safetensors")


@pytest.mark.full
def test_two_processes_train_by_the_command_and_print_once(tmp_path):
    "From a database's folder to weights; the files are those of one process."
    affect = [sys.executable, "-m", "affect_nb"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port()), "-m", "affect_nb"]
    subprocess.run([*affect, "synth", "aff-wild", tmp_path/"wild", "--size", "smoke", "--workers", "1"], check=True, cwd=ROOT)
    command = ["train", "aff-wild", tmp_path/"wild", "--recipe", "smoke", "--device", "cpu", "--set", "dropout=0", "--seed", "3"]
    printed = {}
    for name, start in (("one", affect), ("two", launch)):
        done = subprocess.run([*start, *command, "--out", tmp_path/name], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr[-2000:]
        printed[name] = done.stdout
    said = {name: [line.partition(": ")[0] for line in text.splitlines() if ": " in line and "Epoch" not in line] for name, text in printed.items()}
    assert said["two"].count("ccc_mean") == 1 and said["one"] == said["two"] # the report of the first process, once
    files = {name: sorted(path.relative_to(tmp_path/name).as_posix() for path in (tmp_path/name).rglob("*") if path.is_file()) for name in printed}
    assert files["one"] == files["two"]
    one, two = (read_card(next((tmp_path/name/"weights").glob("*.json"))) for name in printed)
    assert (two.notes["processes"], one.measures.keys()) == (2, two.measures.keys())
    for measure, value in one.measures.items(): assert two.measures[measure] == pytest.approx(value, abs=1e-3), measure # float32, through Adam
    first, second = (card.notes["learning"]["epochs"][0]["train_loss"] for card in (one, two))
    assert second == pytest.approx(first, abs=1e-4)


@pytest.mark.full
def test_every_check_of_a_gpu_runs_at_toy_sizes(tmp_path):
    done = subprocess.run([sys.executable, ROOT/"benchmarks"/"gpu.py", "--tiny", "--out", tmp_path/"gpu.json"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads((tmp_path/"gpu.json").read_text())
    assert {"date", "device", "torch"} <= set(written["where"])
    failed = {name: value for name, value in written["figures"].items() if isinstance(value, str) and value.startswith("not measured")}
    assert set(failed) <= {"evaluation_peak_growth"}, failed # memory is a GPU's
    rows = written["figures"]["networks"] + written["figures"]["compiled"]
    assert rows and not any(row.get("note") for row in rows), rows
