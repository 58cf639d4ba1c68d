"""Losses: equations, autograd against finite differences, masks, and NaN that never reaches a gradient."""
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from sklearn.metrics import log_loss
from torch.autograd import gradcheck

from affect_nb.core.labels import AUS8, AffectOutput, AffectTargets
from affect_nb.core.losses import au_loss, ccc_loss, expression_loss, multitask_loss, multitask_terms, pooled_ccc_loss
from affect_nb.train.fastai_metrics import CCC, MSE, va_metrics
from affect_nb.core.metrics import ccc, pool_frames

NAN = torch.nan
quick = settings(max_examples=40, deadline=None)


def traces(n=60, seed=0):
    rng = torch.Generator().manual_seed(seed)
    targ = torch.rand(n, 2, generator=rng, dtype=torch.float64)*2 - 1
    return (.5*targ + .3*torch.randn(n, 2, generator=rng, dtype=torch.float64)), targ


# --- equation 2 and 6

def test_ccc_loss_is_equation_2():
    pred, targ = traces()
    rho_v, rho_a = ccc(pred[:, 0], targ[:, 0]), ccc(pred[:, 1], targ[:, 1])
    assert ccc_loss(pred, targ).item() == pytest.approx(1 - .5*(rho_a + rho_v), abs=1e-7)
    assert ccc_loss(pred.view(3, 20, 2), targ.view(3, 20, 2)).item() == pytest.approx(ccc_loss(pred, targ).item())


@pytest.mark.parametrize("missing", [0, 20])
def test_ccc_loss_gradient_is_that_of_finite_differences(missing):
    pred, targ = traces(30)
    targ[:missing, 0] = NAN
    assert gradcheck(lambda x: ccc_loss(x, targ), pred.requires_grad_())


@quick
@given(st.integers(0, 1000), st.floats(0, .9))
def test_missing_targets_change_nothing(seed, share):
    pred, targ = traces(40, seed)
    gone = torch.rand(40, generator=torch.Generator().manual_seed(seed)) < share
    targ[gone] = NAN
    pred = pred.clone()
    pred[gone] = NAN  # what is predicted there must not matter either
    pred.requires_grad_()
    loss = ccc_loss(pred, targ)
    loss.backward()
    assert loss.item() == pytest.approx(ccc_loss(pred[~gone], targ[~gone]).item(), abs=1e-9)
    assert pred.grad.isfinite().all() and (pred.grad[gone] == 0).all()


@pytest.mark.parametrize("pred, targ, expected", [
    (torch.zeros(8, 2), torch.zeros(8, 2), 1.), (torch.full((8, 2), .1), torch.full((8, 2), .1), 1.), (torch.ones(8, 2), torch.zeros(8, 2), 1.),
    (torch.zeros(8, 2), torch.linspace(-1, 1, 16).view(8, 2), 1.), (torch.zeros(8, 2), torch.full((8, 2), NAN), 0.), (torch.zeros(1, 2), torch.ones(1, 2), 1.),
    (torch.zeros(0, 2), torch.zeros(0, 2), 0.)], ids=["zeros", "tenths", "apart", "flat", "unannotated", "one frame", "empty"])
def test_zero_variance_is_zero_concordance_and_a_finite_gradient(pred, targ, expected):
    pred = pred.clone().requires_grad_()
    loss = ccc_loss(pred, targ)
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-6) and pred.grad.isfinite().all()


def test_one_dimension_alone_decides_alone():
    pred, targ = traces()
    only = targ.clone()
    only[:, 1] = NAN
    assert ccc_loss(pred, only).item() == pytest.approx(1 - ccc(pred[:, 0], targ[:, 0]), abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arithmetic_stays_float32(dtype):
    pred, targ = (side.float() for side in traces(500))
    low = (pred + 3).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16): loss = ccc_loss(low, targ + 3)
    loss.backward()
    assert loss.dtype == torch.float32 and low.grad.dtype == dtype
    assert loss.item() == pytest.approx(1 - ccc(low.detach().float(), targ + 3), abs=1e-5)


def test_learning_with_it_reaches_the_target():
    targ = traces(200)[1].float()
    pred = torch.zeros(200, 2).add_(.01*torch.randn(200, 2, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimiser = torch.optim.Adam([pred], lr=.05)
    for _ in range(150):
        optimiser.zero_grad(); ccc_loss(pred, targ).backward(); optimiser.step()
    assert ccc(pred, targ) > .99


# --- equation 4

def test_expression_loss_is_equation_4():
    rng = np.random.default_rng(0)
    logits, targ = rng.normal(size=(50, 7)), rng.integers(-1, 7, 50)
    prob = np.exp(logits)/np.exp(logits).sum(1, keepdims=True)
    loop = np.mean([-np.log(prob[i, t]) for i, t in enumerate(targ) if t >= 0])
    value = expression_loss(torch.tensor(logits), torch.tensor(targ)).item()
    assert value == pytest.approx(loop) == pytest.approx(log_loss(targ[targ >= 0], prob[targ >= 0], labels=range(7)))
    assert gradcheck(lambda x: expression_loss(x, torch.tensor(targ)), torch.tensor(logits, requires_grad=True))


# --- equations 5 and 7

def slow_au_loss(logits, targ, over):
    frames = []
    for row, labels in zip(logits, targ):
        prob = 1/(1 + np.exp(-row))
        terms = [-(y*np.log(p) + (1 - y)*np.log(1 - p)) for p, y in zip(prob, labels) if not np.isnan(y)]
        if terms: frames.append(np.sum(terms) if over == "sum" else np.mean(terms))
    return np.mean(frames)


@pytest.mark.parametrize("over", ["mean", "sum"])
def test_au_loss_is_a_loop_over_equation_7(over):
    rng = np.random.default_rng(0)
    logits, targ = rng.normal(size=(40, 17)), rng.choice([0., 1., np.nan], (40, 17), p=[.3, .2, .5])
    targ[:5] = np.nan
    logits_tensor = torch.tensor(logits, requires_grad=True)
    assert au_loss(logits_tensor, torch.tensor(targ), over=over).item() == pytest.approx(slow_au_loss(logits, targ, over))
    assert gradcheck(lambda x: au_loss(x, torch.tensor(targ), over=over), logits_tensor)


def test_delta_mask_weighs_images_equally():
    few, many = torch.full((1, 17), NAN), torch.zeros(1, 17)
    few[0, 0] = 1
    logits = torch.full((2, 17), -2.)
    one, seventeen = au_loss(logits[:1], few), au_loss(logits[1:], many)
    assert au_loss(logits, torch.cat([few, many])).item() == pytest.approx((one + seventeen).item()/2)


def test_masked_units_get_no_gradient_whatever_they_predict():
    logits = torch.tensor([[0., NAN, torch.inf], [1., 2., 3.]], requires_grad=True)
    targ = torch.tensor([[1., NAN, NAN], [NAN, NAN, NAN]])
    au_loss(logits, targ).backward()
    assert logits.grad.isfinite().all() and logits.grad[0, 0] != 0
    assert (logits.grad.flatten()[1:] == 0).all()


# --- equation 7

def heads(n=6):
    rng = torch.Generator().manual_seed(0)
    draw = lambda width: torch.randn(n, width, generator=rng, requires_grad=True)
    return AffectOutput(va=draw(2), expression=draw(7), aus=draw(17))


def test_multitask_is_the_weighted_sum():
    output = heads()
    targets = AffectTargets(va=torch.rand(6, 2), expression=torch.tensor([0, 1, -1, 3, 4, 5]), aus=torch.randint(0, 2, (6, 17)).float())
    terms = multitask_terms(output, targets)
    assert set(terms) == {"va", "expression", "aus"}
    total = terms["expression"] + 3*terms["aus"] + .5*terms["va"]
    assert multitask_loss(output, targets, lambda_au=3., lambda_va=.5).item() == pytest.approx(total.item())


@pytest.mark.parametrize("field", ["va", "expression", "aus", None])
@pytest.mark.parametrize("how", ["none", "missing"])
def test_a_task_without_labels_adds_zero_and_stays_in_the_graph(field, how):
    labels = dict(va=torch.rand(6, 2), expression=torch.arange(6), aus=torch.ones(6, 17))
    output, targets = heads(), AffectTargets.missing((6,)) if how == "missing" else AffectTargets()
    if field: setattr(targets, field, labels[field])
    loss = multitask_loss(output, targets)
    loss.backward()
    for name in ("va", "expression", "aus"):
        grad = getattr(output, name).grad
        assert grad is not None and grad.isfinite().all() and bool(grad.any()) == (name == field)
    if field is None: assert loss.item() == 0


def test_au_vocabularies_are_matched_by_number():
    output, targets = heads(), AffectTargets(aus=torch.ones(6, 8), au_names=AUS8)
    columns = [output.au_names.index(au) for au in AUS8]
    assert multitask_terms(output, targets)["aus"].item() == pytest.approx(au_loss(output.aus[:, columns], targets.aus).item())


def test_a_network_without_a_head_has_no_term():
    output = AffectOutput(va=torch.rand(2, 5, 2, requires_grad=True))
    targets = AffectTargets(va=torch.rand(2, 5, 2), expression=torch.zeros(2, 5).long())
    assert multitask_loss(output, targets).item() == pytest.approx(ccc_loss(output.va, targets.va).item())
    with pytest.raises(ValueError, match="predicts nothing"): multitask_loss(AffectOutput(), targets)


@pytest.mark.parametrize("call, message", [
    (lambda: ccc_loss(torch.zeros(5), torch.zeros(5)), "must be 2"), (lambda: ccc_loss(torch.zeros(5, 2), torch.zeros(4, 2)), r"\(4, 2\)"),
    (lambda: expression_loss(torch.zeros(5, 7), torch.zeros(4).long()), "without the last axis"), (lambda: au_loss(torch.zeros(5, 7), torch.zeros(5, 8)), "must be equal"),
    (lambda: au_loss(torch.zeros(5, 7), torch.zeros(5, 7), over="all"), "'mean'")])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message): call()


# --- utterances: one pooled value a sequence

def sequences(batch=6, frames=7, share=.3, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    pred, targ = (torch.rand(batch, frames, 2, generator=rng, dtype=dtype)*2 - 1 for _ in range(2))
    targ[torch.rand(batch, frames, 2, generator=rng) < share] = NAN
    return pred, targ


def slow_pool(pred, targ, pool):
    "numpy's median or mean of each sequence and dimension, over annotated frames; a list of (pred, targ) a dimension."
    found = []
    for dimension in range(2):
        pairs = []
        for said, true in zip(pred[..., dimension].numpy(), targ[..., dimension].numpy()):
            seen = ~np.isnan(true)
            if seen.any(): pairs.append((getattr(np, pool)(said[seen]), getattr(np, pool)(true[seen])))
        found.append(pairs)
    return found


def slow_concordance(pairs, eps=0.):
    x, y = np.array(pairs).T
    return 2*((x - x.mean())*(y - y.mean())).mean()/(x.var() + y.var() + (x.mean() - y.mean())**2 + eps)


@quick
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 9), st.floats(0, .8), st.sampled_from(["median", "mean"]))
@example(57, 2, 5, 0., "mean") # a variance of which eps is a millionth
def test_pooled_loss_and_metrics_are_numpys_loop(seed, batch, frames, share, pool):
    pred, targ = sequences(batch, frames, share, seed)
    dimensions = [pairs for pairs in slow_pool(pred, targ, pool) if pairs]
    rho = [slow_concordance(pairs) if len(pairs) > 1 else 0. for pairs in dimensions]
    kept = [slow_concordance(pairs, 1e-8) if len(pairs) > 1 else 0. for pairs in dimensions] # two means may be nearly equal
    assert pooled_ccc_loss(pred, targ, pool).item() == pytest.approx(1 - np.mean(kept) if kept else 0., abs=1e-6)
    if len(dimensions) < 2: return
    measures = {metric.name: metric for metric in [*va_metrics(pool), MSE("mean", pool)]}
    for metric in measures.values():
        for part in (slice(0, batch//2), slice(batch//2, batch)): metric.accumulate(type("Learn", (), dict(pred=pred[part].float().double(), y=targ[part])))
    assert measures["ccc_mean"].value == pytest.approx(np.mean(rho), abs=1e-5)
    errors = [np.mean([(x - y)**2 for x, y in pairs]) for pairs in dimensions]
    assert [measures["mse_valence"].value, measures["mse_arousal"].value] == pytest.approx(errors, abs=1e-5)
    assert measures["mse_mean"].value == pytest.approx(np.mean(errors), abs=1e-5)


@pytest.mark.parametrize("pool", ["median", "mean"])
@pytest.mark.parametrize("frames, share", [(5, 0), (6, 0), (7, .4)])
def test_pooled_gradient_is_that_of_finite_differences(pool, frames, share):
    pred, targ = sequences(5, frames, share)
    targ[2] = NAN # a sequence without annotation
    assert gradcheck(lambda x: pooled_ccc_loss(x, targ, pool), pred.requires_grad_())


@pytest.mark.parametrize("pool", ["median", "mean"])
@pytest.mark.parametrize("targ, expected", [(torch.full((3, 4, 2), NAN), 0.), (torch.rand(1, 4, 2), 1.), (torch.full((3, 4, 2), .3), 1.)], ids=["nothing annotated", "one sequence", "all alike"])
def test_pooled_gradient_is_always_finite(pool, targ, expected):
    for pred in (torch.rand_like(targ), torch.full_like(targ, .3)):
        pred.requires_grad_()
        loss = pooled_ccc_loss(pred, targ, pool)
        loss.backward()
        assert loss.item() == pytest.approx(expected, abs=1e-4) and pred.grad.isfinite().all()


def test_unannotated_predictions_do_not_matter_and_missing_predictions_do():
    pred, targ = sequences(dtype=torch.float32)
    gone = targ.isnan()
    wild = pred.masked_fill(gone, NAN)
    assert torch.equal(pool_frames(wild, ~gone), pool_frames(pred, ~gone))
    pred.requires_grad_()
    pooled_ccc_loss(pred, targ).backward()
    assert (pred.grad[gone] == 0).all()
    lost = pred.detach().clone()
    lost[0] = NAN
    metric = CCC("mean", "median")
    metric.accumulate(type("Learn", (), dict(pred=lost, y=targ)))
    assert np.isnan(metric.value)


def test_pooling_says_what_is_wrong():
    with pytest.raises(ValueError, match="median, mean"): pooled_ccc_loss(torch.zeros(2, 3, 2), torch.zeros(2, 3, 2), "max")
    with pytest.raises(ValueError, match="median, mean"): CCC("mean", "max")
    with pytest.raises(ValueError, match="batch, time"): pooled_ccc_loss(torch.zeros(3, 2), torch.zeros(3, 2))
    assert [metric.name for metric in va_metrics("median")] == [metric.name for metric in va_metrics()]
