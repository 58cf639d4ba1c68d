"""Measures against scikit-learn, SciPy and slow loops; properties; speed, memory and fastai."""
import gc
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import pearsonr
from sklearn import metrics as sk
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from affect_nb.core.labels import AffectOutput, AffectTargets
from affect_nb.core.losses import multitask_loss
from affect_nb.train.fastai_metrics import CCC, MSE, AUMetric, ExpressionMetric, va_metrics
from affect_nb.core.metrics import Moments, accuracy, afa, au_accuracy, au_f1, au_score, ccc, concordance, expression_score, macro_f1, mean_diagonal, mse, uar

quick = settings(max_examples=60, deadline=None)


def slow_ccc(pred, targ):
    "Equation 1, letter by letter, with Pearson's correlation from SciPy."
    keep = ~np.isnan(targ)
    x, y = np.asarray(pred, float)[keep], np.asarray(targ, float)[keep]
    rho = pearsonr(x, y).statistic
    return 2*x.std()*y.std()*rho/(x.std()**2 + y.std()**2 + (x.mean() - y.mean())**2)


@pytest.fixture
def traces():
    rng = np.random.default_rng(0)
    targ = rng.uniform(-1, 1, (2000, 2))
    pred = .6*targ + rng.normal(0, .2, targ.shape)
    targ[rng.random(targ.shape) < .1] = np.nan
    return pred, targ


# --- valence and arousal

def test_ccc_is_equation_1(traces):
    pred, targ = traces
    for column in (0, 1): assert ccc(pred[:, column], targ[:, column]) == pytest.approx(slow_ccc(pred[:, column], targ[:, column]), abs=1e-12)
    assert ccc(pred, targ) == pytest.approx(np.mean([slow_ccc(pred[:, i], targ[:, i]) for i in (0, 1)]), abs=1e-12)


def test_mse_is_sklearns(traces):
    pred, targ = traces
    keep = ~np.isnan(targ[:, 0])
    assert mse(pred[:, 0], targ[:, 0]) == pytest.approx(sk.mean_squared_error(targ[keep, 0], pred[keep, 0]), rel=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, list, pd.Series, lambda x: torch.tensor(x, requires_grad=True)])
def test_any_container_will_do(traces, kind):
    pred, targ = traces[0][:, 0], traces[1][:, 0]
    value = ccc(kind(pred), kind(targ))
    assert type(value) is float and value == pytest.approx(slow_ccc(pred, targ))


def test_read_only_and_reversed_arrays(traces, recwarn):
    pred, targ = (side[:, 0].astype("float32") for side in traces)
    for side in (pred, targ): side.setflags(write=False)
    assert ccc(pred[::-1], targ[::-1]) == pytest.approx(ccc(pred, targ))
    assert not [w for w in recwarn if "writ" in str(w.message)]


@pytest.mark.parametrize("offset", [0., 1e4, -1e4])
def test_an_offset_costs_no_digits(offset):
    rng = np.random.default_rng(1)
    targ = rng.uniform(-1, 1, 50_000)
    pred = .7*targ + rng.normal(0, .1, targ.shape)
    assert ccc(pred + offset, targ + offset) == pytest.approx(slow_ccc(pred, targ), abs=1e-10)
    batches = sum((Moments.of(pred[i:i+999] + offset, targ[i:i+999] + offset) for i in range(0, 50_000, 999)), Moments.zero())
    assert concordance(batches).item() == pytest.approx(slow_ccc(pred, targ), abs=1e-10)


series = hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(-1, 1).map(lambda x: round(x, 3)))


@quick
@given(series, st.integers(0, 40), st.randoms(use_true_random=False))
def test_moments_of_parts_join_to_the_whole(targ, cut, random):
    pred = np.array([random.uniform(-1, 1) for _ in targ])
    targ[::5] = np.nan
    whole, parts = Moments.of(pred, targ), Moments.of(pred[:cut], targ[:cut]) + Moments.of(pred[cut:], targ[cut:])
    for a, b in zip(vars(whole).values(), vars(parts).values()): assert torch.allclose(a, b, atol=1e-12)


@quick
@given(series, series)
def test_ccc_is_bounded_symmetric_and_below_correlation(a, b):
    n = min(len(a), len(b)); a, b = a[:n], b[:n]
    value = ccc(a, b)
    assert -1 - 1e-9 <= value <= 1 + 1e-9
    assert value == pytest.approx(ccc(b, a), abs=1e-9)
    if a.std() > 1e-6 and b.std() > 1e-6: assert abs(value) <= abs(np.corrcoef(a, b)[0, 1]) + 1e-9


@quick
@given(series, st.floats(.01, 1.))
def test_constant_shift_is_penalised(a, shift):
    if a.std() > 1e-3: assert ccc(a + shift, a) < ccc(a, a) == pytest.approx(1)


def test_squared_error_and_concordance_disagree_on_a_flat_line():
    targ = np.sin(np.linspace(0, 20, 500))
    assert ccc(np.full(500, targ.mean()), targ) == pytest.approx(0) and mse(np.full(500, targ.mean()), targ) < mse(-targ, targ)


@pytest.mark.parametrize("value", [0., .1, -.3, 1e4 + .1])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_two_constants_are_0(value, kind):
    constant = np.full(70_001, value, kind)
    assert ccc(constant, constant) == 0. and ccc(constant, constant + 1) == pytest.approx(0, abs=1e-12)
    assert mse(constant, constant) == 0.


def test_nothing_annotated_and_lost_predictions_are_nan():
    trace, gone = np.linspace(-1, 1, 9), np.full(9, np.nan)
    for pred, targ in ((trace, gone), (gone, trace), (np.where(trace > .9, np.nan, trace), trace), ([], [])):
        assert np.isnan(ccc(np.asarray(pred), np.asarray(targ))) and np.isnan(mse(np.asarray(pred), np.asarray(targ)))
    assert ccc(np.where(trace > .9, np.nan, trace), np.where(trace > .9, np.nan, trace)) == pytest.approx(1)


def test_clip_mean_is_a_loop_over_clips(traces):
    pred, targ = traces
    clips = np.random.default_rng(2).choice(["b", "a", "c"], len(pred))
    loop = [np.mean([slow_ccc(pred[clips == c, i], targ[clips == c, i]) for c in "abc"]) for i in (0, 1)]
    assert ccc(pred, targ, reduce="clips", clips=clips) == pytest.approx(np.mean(loop), abs=1e-12)
    targ[clips == "b"] = np.nan
    assert ccc(pred[:, 0], targ[:, 0], "clips", clips) == pytest.approx(np.mean([slow_ccc(pred[clips == c, 0], targ[clips == c, 0]) for c in "ac"]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_are_left_as_they_were(traces, dtype):
    pred, targ = (side.astype(dtype) for side in traces)
    before = pred.copy(), targ.copy()
    for gap in (True, False):
        ccc(pred, targ if gap else pred), mse(pred[:, 0], targ[:, 0]), ccc(pred, targ, "clips", np.zeros(len(pred)))
    np.testing.assert_array_equal(pred, before[0])
    np.testing.assert_array_equal(targ, before[1])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"\(5,\).*\(6,\)"): ccc(np.zeros(5), np.zeros(6))
    with pytest.raises(ValueError, match="'pooled' or 'clips'"): ccc(np.zeros(5), np.zeros(5), reduce="mean")
    with pytest.raises(ValueError, match="4 frames, there are 5"): ccc(np.zeros(5), np.zeros(5), "clips", list("aabb"))
    with pytest.raises(ValueError, match="numbers"): ccc(["a"], ["b"])


class Operations(TorchDispatchMode):
    "Counts what is computed, whatever the sizes."
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("measure", [ccc, mse])
def test_a_million_frames_are_computed_at_once_or_in_large_parts(measure):
    "No frame has a step of its own in Python."
    with Operations() as counted: measure(torch.rand(1_000_000), torch.rand(1_000_000))
    assert 0 < counted.count < 1000


# --- expressions

classes = st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6)), min_size=1, max_size=60).filter(lambda rows: any(t >= 0 for _, t in rows))


@quick
@given(classes)
def test_expression_measures_are_sklearns(rows):
    pred, targ = np.array(rows).T
    p, t = pred[targ >= 0], targ[targ >= 0]
    recall = np.mean([np.mean(p[t == c] == c) for c in np.unique(t)])
    assert accuracy(pred, targ) == pytest.approx(sk.accuracy_score(t, p))
    assert macro_f1(pred, targ) == pytest.approx(sk.f1_score(t, p, average="macro"))
    assert mean_diagonal(pred, targ) == uar(pred, targ) == pytest.approx(recall)
    assert expression_score(pred, targ) == pytest.approx(.67*sk.f1_score(t, p, average="macro") + .33*sk.accuracy_score(t, p))
    assert macro_f1(np.eye(7)[pred]*3 - 1, targ) == macro_f1(pred, targ)


def test_sequences_of_scores_and_other_class_counts():
    scores, targ = torch.randn(3, 8, 16), torch.randint(-1, 16, (3, 8))
    keep = targ >= 0
    assert uar(scores, targ) == uar(scores.argmax(-1), targ, n_classes=16)
    assert accuracy(scores, targ) == pytest.approx((scores.argmax(-1)[keep] == targ[keep]).float().mean().item())


def test_lost_expressions_and_sentinels():
    targ = np.array([0, 1, -1])
    assert np.isnan(accuracy(np.array([0, -1, 2]), targ)) and accuracy(np.array([0, 1, -1]), targ) == 1
    assert np.isnan(macro_f1(np.array([0, 1, 2]), np.full(3, -1)))
    for sentinel in (-5, 7, 999):
        with pytest.raises(ValueError, match=f"class {sentinel} at position 1"): accuracy(np.array([0, 1, 2]), np.array([0, sentinel, 1]))


# --- action units

@st.composite
def units(draw):
    shape = draw(st.tuples(st.integers(1, 30), st.integers(1, 6)))
    pred = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    targ = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0., 1., np.nan])))
    targ[0, 0] = 1
    return pred, targ


@quick
@given(units())
def test_au_measures_are_sklearns(case):
    pred, targ = case
    seen, said = ~np.isnan(targ), pred >= .5
    units = [i for i in range(targ.shape[1]) if seen[:, i].any()]
    f1 = np.mean([sk.f1_score(targ[seen[:, i], i], said[seen[:, i], i], zero_division=0.) for i in units])
    each = np.mean([sk.accuracy_score(targ[seen[:, i], i], said[seen[:, i], i]) for i in units])
    total = np.mean(said[seen] == targ[seen])
    assert au_f1(pred, targ) == pytest.approx(f1)
    assert au_accuracy(pred, targ) == pytest.approx(total)
    assert au_score(pred, targ) == pytest.approx(.5*f1 + .5*total)
    assert afa(pred, targ) == pytest.approx((f1 + each)/2)
    assert afa(said, targ) == afa(pred, targ)


def test_complete_labels_equal_sklearns_macro():
    rng = np.random.default_rng(0)
    pred, targ = rng.random((500, 12)), (rng.random((500, 12)) < .3).astype(int)
    assert au_f1(pred, targ) == pytest.approx(sk.f1_score(targ, pred >= .5, average="macro"))


def test_lost_units_logits_and_intensities():
    targ = np.array([[1., 0], [0, np.nan]])
    assert np.isnan(au_f1(np.array([[.5, np.nan], [.5, .5]]), targ))
    assert au_f1(np.array([[.9, .1], [.1, np.nan]]), targ) == .5
    assert np.isnan(afa(np.zeros((2, 2)), np.full((2, 2), np.nan)))
    with pytest.raises(ValueError, match="sigmoid"): au_f1(np.full((2, 2), 3.), targ)
    with pytest.raises(ValueError, match="999"): au_f1(np.zeros((2, 2)), np.full((2, 2), 999.))
    with pytest.raises(ValueError, match="axis for the units"): au_f1(np.zeros(2), np.zeros(2))


# --- fastai

class TinyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.output = nn.Linear(5, 2 + 7 + 17)
    def forward(self, x): return AffectOutput(*self.output(x).split([2, 7, 17], -1))


class Batches:
    def __init__(self, n=10, seed=0):
        rng = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, 4, 5, generator=rng)
        self.y = AffectTargets(va=torch.rand(n, 4, 2, generator=rng), expression=torch.randint(-1, 7, (n, 4), generator=rng),
                               aus=torch.randint(0, 2, (n, 4, 17), generator=rng).float())
        self.y.va[0, :2] = torch.nan
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i], self.y[i]


def collate(items): return torch.stack([x for x, _ in items]), AffectTargets.stack([y for _, y in items])


def learner(metrics, net=None):
    data = Batches()
    loaders = [DataLoader(data, bs=4, shuffle=shuffle, create_batch=collate) for shuffle in (True, False)]
    return Learner(DataLoaders(*loaders, device="cpu"), net or TinyNet(), loss_func=multitask_loss, metrics=metrics), data


def test_metrics_in_a_learner_equal_the_functions_on_everything():
    torch.manual_seed(0)
    learn, data = learner([*va_metrics(), MSE("mean"), ExpressionMetric("macro_f1"), AUMetric("afa")])
    learn.remove_cbs(ProgressCallback)
    with learn.no_logging(): learn.fit(1, 1e-3)
    _, *values = learn.validate()
    with torch.no_grad(): out = learn.model.eval()(data.x)
    expected = [ccc(out.va[..., 0].flatten(), data.y.va[..., 0].flatten()), ccc(out.va[..., 1].flatten(), data.y.va[..., 1].flatten()), ccc(out.va, data.y.va),
                mse(out.va[..., 0].flatten(), data.y.va[..., 0].flatten()), mse(out.va[..., 1].flatten(), data.y.va[..., 1].flatten()), mse(out.va, data.y.va),
                macro_f1(out.expression, data.y.expression), afa(out.au_prob, data.y.aus)]
    assert values == pytest.approx(expected, abs=1e-6)
    assert [m.name for m in learn.metrics][:3] == ["ccc_valence", "ccc_arousal", "ccc_mean"]


def test_plain_tensors_will_do():
    metric = CCC()
    pred, targ = torch.randn(50, 2), torch.randn(50, 2)
    for part in (slice(0, 20), slice(20, 50)):
        learn = type("Learn", (), dict(pred=pred[part], y=targ[part]))
        metric.accumulate(learn)
    assert metric.value == pytest.approx(ccc(pred, targ))


@pytest.mark.alone
def test_metric_memory_does_not_grow():
    metric = CCC("valence")
    learn = type("Learn", (), dict(pred=torch.randn(4, 80, 2), y=torch.randn(4, 80, 2)))
    for _ in range(20): metric.accumulate(learn)
    gc.collect(); tracemalloc.start()
    def grows():
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(500): metric.accumulate(learn)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    grown = min(grows() for _ in range(3)) # threads of other tests may allocate something beside it, once
    tracemalloc.stop()
    held = sum(field.numel()*field.element_size() for field in vars(metric.sums).values())
    assert grown < 20_000 and held == 6*2*8
