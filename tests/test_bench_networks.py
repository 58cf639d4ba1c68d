"""The benchmark of the networks: it runs, and it counts what it says it counts. No test asserts a time."""
import importlib.util
import json
import math

import pytest
import torch
from torch import nn

WIDTH, BATCH = 1/16, (1, 3, 32)
GATES = {nn.GRU: 3, nn.LSTM: 4}


@pytest.fixture(scope="module")
def bench(root):
    spec = importlib.util.spec_from_file_location("bench_networks", root/"benchmarks"/"networks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_hand(model, inputs):
    "Multiplications and additions of inference and of a training step, layer by layer."
    found, hooks = {"inference": 0, "training": 0}, []

    def count(layer, given, out):
        reads = given[0]
        if isinstance(layer, nn.Conv2d): read = flop = 2*out.numel()*layer.in_channels*math.prod(layer.kernel_size)
        elif isinstance(layer, nn.Linear): read = flop = 2*reads.numel()*layer.out_features
        else:
            unit = 2*reads.shape[0]*reads.shape[1]*GATES[type(layer)]*layer.hidden_size # for each number that a layer reads
            read = unit*reads.shape[-1] # what the first layer reads from outside
            flop = read + unit*layer.hidden_size*(2*layer.num_layers - 1)
        learns = any(parameter.requires_grad for parameter in layer.parameters())
        backward = learns*flop + (flop if learns or reads.requires_grad else 0) - (0 if reads.requires_grad else learns*read)
        found["inference"] += flop
        found["training"] += flop + backward
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.RNNBase)): hooks.append(layer.register_forward_hook(count))
    model(*inputs)
    for hook in hooks: hook.remove()
    return found


def test_operations_are_those_counted_by_hand(bench):
    for title in ("vgg16", "vgg_face_lstm", "affwildnet_resnet", "cnn_1rnn", "cnn_3rnn", "fusion_fc", "fusion_rnn, one frozen CNN", "mt_vgg", "mt_vgg_gru_audio", "av_mt_vgg_gru"):
        with torch.device("meta"): model = bench.build(title, WIDTH, 64)
        inputs, _ = bench.draw_batch(model, 2, 4, 64, device="meta")
        assert bench.count_flop(model, inputs) == pytest.approx(by_hand(model, inputs), rel=.002), title


def test_the_rnns_are_timed_on_what_they_read(bench):
    with torch.device("meta"): model = bench.build("fusion_rnn, one frozen CNN", WIDTH, 32)
    found = bench.recurrent_inputs(model, bench.draw_batch(model, 1, 3, 32, device="meta")[0])
    assert set(found) == {"members.0.rnn1", "members.1.rnn1", "members.1.rnn2", "members.1.rnn3", "rnn1"}
    assert all(shape[:2] == (1, 3) for shape, _ in found.values())
    assert found["members.1.rnn1"][1] and not found["members.1.rnn2"][1] # fc learns, the frozen CNN's last pooling does not


@pytest.mark.parametrize("title, expected", [("cnn_3rnn", 1), ("fusion_rnn, one frozen CNN", 1), ("fusion_rnn", 2), ("decision_fusion", 2)])
def test_passes_over_the_images(bench, title, expected):
    assert bench.passes(title, BATCH) == expected


@pytest.mark.full
def test_rows_of_the_table(bench):
    matrices, plain = bench.Matrices(64), ["float32", False]
    for title, trains in (("cnn_3rnn", True), ("decision_fusion", False)):
        row = json.loads(json.dumps(bench.measure(title, WIDTH, BATCH, 1, plain, matrices)))
        assert (row["network"], row["precision"]) == (title, "float32, NCHW")
        for column, value in list(row.items())[2:]:
            if trains or not column.startswith(("training", "recurrent")): assert value >= 0, column
            else: assert value is None, column
    assert list(matrices.rates()) == ["bfloat16", "float32"] and all(rate > 0 for rate in matrices.rates().values())


@pytest.mark.full
def test_two_networks_take_turns(bench):
    assert all(seconds > 0 for seconds in bench.compare(["resnet50", "torchvision"], 1., (1, 2, 32), 1, ["float32", False]))
    assert bench.precision_of("torchvision", {"vgg": 1, "resnet": 2}) == bench.precision_of("resnet_rnn", {"vgg": 1, "resnet": 2}) == 2
    assert bench.precision_of("cnn_3rnn", {"vgg": 1, "resnet": 2}) == bench.precision_of("fusion_rnn, one frozen CNN", {"vgg": 1, "resnet": 2}) == 1


@pytest.mark.full
def test_a_worker_that_ends_is_an_error(bench):
    with bench.Worker(["cnn_3rnn"], WIDTH, BATCH, ["float32", False]) as worker:
        with pytest.raises(RuntimeError, match="worker"): worker("sing")
