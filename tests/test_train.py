"""Training: devices, precision, the schedule, missing labels, fastai's own tools."""
import math

import pytest
import torch
import fastai.callback.hook # gives learners their summary
from fastai.callback.mixup import MixUp
from fastai.interpret import Interpretation
from fastai.losses import MSELossFlat

from affect_nb.models import create_model
from affect_nb.train.callbacks import ExponentialDecayAfter, decay_factor
from affect_nb.train.learner import affect_learner
from affect_nb.train.precision import available_devices, bfloat16_unit, choose_device, choose_precision
from affect_nb.train.toy import toy_dataloaders
from affect_nb.train.recipes import affwildnet_recipe

SMALL = dict(width=1/16, size=32)


def learner(**kwargs):
    torch.manual_seed(0)
    return affect_learner(toy_dataloaders(n=8), **SMALL, **{"precision": "float32", "lr": 2e-3, **kwargs})


def test_a_missing_device_is_an_error():
    assert choose_device("cpu") == torch.device("cpu")
    missing = "cuda:7" if "cuda:7" not in available_devices() else "cuda:99"
    with pytest.raises(ValueError, match="this machine has only"): choose_device(missing)
    with pytest.raises(ValueError, match="this machine has only"): learner(device=missing)


def test_decay_after_ten_epochs():
    assert [decay_factor(epoch, 10, .5) for epoch in (0, 9, 10, 11)] == [1, 1, .5, .25]
    learn = learner(cbs=ExponentialDecayAfter(1, .5), lr=1e-3)
    with learn.no_bar(), learn.no_logging(): learn.fit(3, 1e-3)
    rates = torch.tensor(learn.recorder.lrs).reshape(3, -1)[:, 0]
    torch.testing.assert_close(rates, torch.tensor([1e-3, 5e-4, 2.5e-4]))


def test_the_papers_recipe():
    recipe = affwildnet_recipe("paper")
    assert (recipe.lr, recipe.batch_size, recipe.length, recipe.decay_after, recipe.width, recipe.arguments["dropout"]) == (1e-4, 4, 80, 10, 1., .5)
    with pytest.raises(ValueError, match="lerning"): affwildnet_recipe("paper", lerning_rate=1)


def test_bfloat16_really_runs_in_bfloat16_and_weights_stay_float32():
    learn, seen = learner(precision="bfloat16"), []
    learn.model.cnn.block1.conv1_1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in learn.model.parameters()} == {torch.float32}
    assert math.isfinite(learn.recorder.losses[-1])


CPU = torch.device("cpu")


@pytest.mark.parametrize("flags, unit", [({"amx_bf16", "avx512_bf16"}, "AMX"), ({"avx512_bf16"}, "AVX512-BF16"), ({"avx2"}, "")])
def test_the_processor_decides_the_precision(flags, unit, monkeypatch, machine_precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True for flag in flags} | {"num_sockets": 1, "amx_fp16": False}, raising=False)
    assert bfloat16_unit(CPU) == unit
    assert choose_precision(CPU).name == ("bfloat16, channels_last" if unit else "float32, NCHW")


def test_precision_is_the_same_each_time_and_no_clock_is_read(monkeypatch):
    import time
    for clock in ("time", "perf_counter", "process_time", "monotonic"): monkeypatch.setattr(time, clock, lambda: pytest.fail("a clock was read"))
    assert choose_precision(CPU) == choose_precision(CPU, "auto")


def test_precision_can_be_forced_and_is_checked():
    assert choose_precision(CPU, "float32").name == "float32, NCHW" and choose_precision(CPU, "bfloat16").dtype == torch.bfloat16
    with pytest.raises(ValueError, match="'float16', it must be one of auto, float32, bfloat16"): choose_precision(CPU, "float16")


def test_the_precision_is_in_the_card(tmp_path):
    from affect_nb.models.weights import read_card
    from affect_nb.train.fit import fit
    recipe = affwildnet_recipe("smoke", epochs=1, batch_size=4, length=8, arguments=dict(size=32))
    fit(recipe, toy_dataloaders(n=8), tmp_path)
    notes = read_card(tmp_path/"best").notes
    assert notes["precision"] == choose_precision(CPU).name and notes["threads"] == torch.get_num_threads() and notes["device"] == "cpu"


def test_frames_without_a_label_have_no_gradient():
    learn = learner()
    faces, landmarks, targets = learn.dls.train.one_batch()
    targets.va[:, 5:] = torch.nan
    faces.requires_grad_()
    learn.loss_func(learn.model.eval()(faces, landmarks).va, targets.va).backward()
    assert faces.grad.isfinite().all()
    assert faces.grad[:, :5].abs().sum() > 0 and faces.grad[:, 5:].abs().sum() == 0


def test_it_learns_and_fastais_tools_work():
    learn = learner()
    with learn.no_bar(), learn.no_logging():
        before = learn.validate()[0]
        learn.fit_one_cycle(12, 4e-3)
        after = learn.validate()[0]
        learn.show_results(max_n=1)
        assert learn.lr_find(num_it=5, show_plot=False)
    assert after < before - .1
    assert list(learn.recorder.metric_names)[3:5] == ["ccc_valence", "ccc_arousal"]


def test_fastais_summary_and_what_it_cannot_do_with_ccc():
    assert "Total params" in str(learner().summary()) and "MSELoss" in str(learner(loss_func=MSELossFlat()).summary())
    with pytest.raises(ValueError, match="CCC is a measure of a whole batch"): Interpretation.from_learner(learner())
    learn = learner()
    with learn.no_bar(), pytest.raises(ValueError, match="mix_up makes one face and one label of two"): learn.fit(1, cbs=MixUp(.4))
