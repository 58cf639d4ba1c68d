"""Soft expression labels: shares of raters in containers, losses, coupling, measures; from label tables through windows to a training."""
import json
from dataclasses import fields, replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from hypothesis import given, settings, strategies as st
from scipy.spatial.distance import jensenshannon
from torch.autograd import gradcheck

from affect_nb.core.coupling import co_annotate, soft_co_annotation, soft_co_annotation_loss, tie_matrix, va_from_expressions
from affect_nb.core.labels import AUS17, EXPRESSIONS, SHARE_COLUMNS, AffectOutput, AffectTargets, describe, expression_distribution
from affect_nb.core.losses import (LABEL_SCHEMES, au_loss, draw_expression, expression_loss, labels_by, multi_target_loss, multitask_loss, multitask_terms,
                                   soft_expression_loss)
from affect_nb.core.metrics import accuracy, jensen_shannon, macro_f1
from affect_nb.core.relatedness import AFFWILD2, COGNITIVE, VALENCE_AROUSAL, EmotionVA, implied_va
from affect_nb.data.index import LabelIndex, clip_labels, index_database
from affect_nb.data.joint import JointDL, LabelSet
from affect_nb.data.loaders import AffectDL, read_batch
from affect_nb.data.parts import with_labels
from affect_nb.data.sequences import SequenceDataset
from affect_nb.databases.base import open_database
from affect_nb.preprocess.face_store import FaceStoreWriter
from affect_nb.synth.twins import write_database
from affect_nb.train.callbacks import ResumeCallback
from affect_nb.train.fastai_losses import CoupledLoss, MultitaskLoss
from affect_nb.train.fastai_metrics import SharesMetric
from affect_nb.train.fit import create_learner, fit
from affect_nb.train.gradients import TaskLosses
from affect_nb.train.recipes import deciding_entries, mt_vgg_recipe
from affect_nb.train.toy import ToyAffect, toy_dataloaders

NAN = torch.nan
quick = settings(max_examples=25, deadline=None)


def votes(n=30, seed=0, of=10, missing=.2, dtype=torch.float64):
    "Shares of `of` raters, some of whom choose none of the seven; missing for some frames."
    rng = np.random.default_rng(seed)
    shares = rng.multinomial(of, rng.dirichlet(np.full(8, .5)), n)[:, :7]/of
    shares[rng.random(n) < missing] = np.nan
    return torch.tensor(shares, dtype=dtype)


def classes(n=30, seed=0): return torch.tensor(np.random.default_rng(seed + 1).integers(-1, 7, n))
def logits(n=30, seed=0, dtype=torch.float64): return torch.randn(n, 7, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- containers

def test_shares_are_the_last_field_and_targets_without_them_are_what_they_were():
    assert [field.name for field in fields(AffectTargets)] == ["va", "expression", "aus", "au_names", "au_weights", "expression_shares"]
    plain = AffectTargets(torch.zeros(3, 2), torch.tensor([1, -1, 2]), torch.zeros(3, 17))
    assert plain.present == ["va", "expression", "aus"] and plain.expression_shares is None and plain[0].expression_shares is None
    assert AffectTargets.missing((2,)).present == ["va", "expression", "aus"]
    assert AffectTargets.missing((2, 4), ("expression_shares",)).expression_shares.shape == (2, 4, 7)
    assert not plain.annotated("expression_shares").any() and "shares" not in repr(plain)


def test_shares_move_index_and_join_like_a_field():
    voted = AffectTargets(expression=classes(6), expression_shares=votes(6, missing=.4, dtype=torch.float32))
    assert voted.present == ["expression", "expression_shares"] and voted.shape == (6,)
    torch.testing.assert_close(torch.cat([voted[:2], voted[2:]]).expression_shares, voted.expression_shares, equal_nan=True)
    assert AffectTargets.stack([voted[0], voted[1]]).expression_shares.shape == (2, 7)
    joined = AffectTargets.cat([AffectTargets(va=torch.zeros(2, 2), aus=torch.zeros(2, 17)), voted])
    assert joined.annotated("expression_shares").tolist() == [False]*2 + voted.annotated("expression_shares").tolist()
    assert joined.expression[:2].tolist() == [-1, -1] and joined.annotated("expression").tolist()[2:] == (voted.expression >= 0).tolist()
    assert joined.with_aus((1, 4)).expression_shares is joined.expression_shares
    assert voted.to("cpu").detach().float().expression_shares.dtype == torch.float32
    assert AffectTargets(expression_shares=np.eye(7, dtype=int)).expression_shares.is_floating_point()
    only = AffectTargets(expression_shares=voted.expression_shares[None])
    assert only.shape == (1, 6) and len(only) == 1


@pytest.mark.parametrize("shares, message", [(torch.zeros(3, 6), "one share for each expression"), (torch.zeros(2, 7), "must be equal")])
def test_shares_of_another_shape_are_refused(shares, message):
    with pytest.raises(ValueError, match=message): AffectTargets(expression=torch.zeros(3).long(), expression_shares=shares)


def test_words_name_the_class_and_its_share():
    of = lambda expression, **shares: describe(AffectTargets(expression=expression, expression_shares=[shares.get(name, 0.) for name in EXPRESSIONS]))
    assert of(4, Happiness=.8, Surprise=.2) == "Happiness 80 %"
    assert of(6, Happiness=.8, Surprise=.2) == "Surprise 20 %" # the label of the database is not the largest share
    assert of(-1, Fear=.5, Sadness=.5) == "Fear 50 %"
    assert of(-1) == "not annotated" and of(2) == "Disgust"
    assert describe(AffectTargets(expression=4)) == "Happiness"


# --- losses

@quick
@given(st.integers(0, 10**6))
def test_one_hot_shares_are_the_hard_loss(seed):
    scores, targ = logits(seed=seed), classes(seed=seed)
    one_hot = expression_distribution(targ).double()
    for shares in (one_hot, torch.full_like(one_hot, NAN), torch.where(torch.arange(30)[:, None] % 2 == 0, one_hot, NAN)):
        assert expression_loss(scores, targ, shares).item() == pytest.approx(expression_loss(scores, targ).item(), rel=1e-12)
        assert multi_target_loss(scores, targ, shares).item() == pytest.approx(expression_loss(scores, targ).item(), rel=1e-12)
    assert soft_expression_loss(scores, one_hot).item() == pytest.approx(expression_loss(scores, targ).item(), rel=1e-12)


@quick
@given(st.integers(0, 10**6))
def test_the_soft_loss_is_torchs_with_probabilities(seed):
    scores, shares = logits(seed=seed), votes(seed=seed)
    known = shares.sum(-1) > 0
    assert soft_expression_loss(scores, shares).item() == pytest.approx(F.cross_entropy(scores[known], shares[known]).item(), rel=1e-12)
    by_loop = np.mean([-sum(s*np.log(p) for s, p in zip(share, row)) for share, row in zip(shares[known].tolist(), scores[known].softmax(-1).tolist())])
    assert soft_expression_loss(scores, shares).item() == pytest.approx(by_loop)
    assert soft_expression_loss(scores.view(5, 6, 7), shares.view(5, 6, 7)).item() == pytest.approx(by_loop)


@quick
@given(st.integers(0, 10**6))
def test_the_gradient_is_sum_times_prediction_less_shares_and_0_where_nothing_is_known(seed):
    scores, shares = logits(seed=seed), votes(seed=seed)
    known = shares.sum(-1) > 0
    scores[~known] = NAN # what is predicted there must not matter
    scores.requires_grad_()
    loss = soft_expression_loss(scores, shares)
    loss.backward()
    expected = (shares.sum(-1, keepdim=True)*scores.detach().softmax(-1) - shares)/known.sum()
    torch.testing.assert_close(scores.grad[known], expected[known])
    assert loss.isfinite() and (scores.grad[~known] == 0).all()


def test_gradients_are_those_of_finite_differences():
    shares, targ = votes(8), classes(8)
    for loss in (expression_loss, multi_target_loss): assert gradcheck(lambda x: loss(x, targ, shares), logits(8).requires_grad_())


@quick
@given(st.integers(0, 10**6))
def test_the_soft_loss_is_lowest_at_the_shares(seed):
    shares = votes(1, seed, missing=0) + 1e-6
    best = shares.log().requires_grad_()
    lowest = soft_expression_loss(best, shares)
    lowest.backward()
    assert best.grad.abs().max() < 1e-9
    assert soft_expression_loss(logits(1, seed), shares) >= lowest - 1e-12
    assert soft_expression_loss(best, .3*shares).item() == pytest.approx(.3*lowest.item()) # votes for something else weigh it less


def test_nothing_annotated_is_0_with_a_gradient_of_0_in_low_precision_too():
    for shares in (torch.full((4, 7), NAN), torch.zeros(4, 7)):
        scores = torch.randn(4, 7, dtype=torch.bfloat16, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = expression_loss(scores, torch.full((4,), -1), shares) + multi_target_loss(scores, torch.full((4,), -1), shares)
        loss.backward()
        assert loss.item() == 0 and loss.dtype == torch.float32 and not scores.grad.any()


@quick
@given(st.integers(0, 10**6), st.sampled_from([.1, .3, .5]))
def test_accepted_classes_are_a_loop_over_the_formula(seed, threshold):
    scores, shares, targ = logits(seed=seed), votes(seed=seed), classes(seed=seed)
    terms = []
    for prob, share, label in zip(scores.softmax(-1).tolist(), shares.tolist(), targ.tolist()):
        if np.isnan(share[0]): share = [float(k == label) for k in range(7)]
        accepted = [p for p, s in zip(prob, share) if s >= threshold - 1e-9]
        if accepted: terms.append(-np.log(max(accepted)))
    assert multi_target_loss(scores, targ, shares, threshold).item() == pytest.approx(np.mean(terms))


def test_drawn_labels_follow_the_shares_and_the_generator():
    shares = torch.tensor([[.2, 0, .3, 0, 0, .3, 0], [NAN]*7, [0]*7]).repeat(3000, 1, 1)
    drawn = draw_expression(shares, torch.Generator().manual_seed(3))
    assert torch.equal(drawn, draw_expression(shares, torch.Generator().manual_seed(3)))
    assert not torch.equal(drawn, draw_expression(shares, torch.Generator().manual_seed(4)))
    frequency = torch.bincount(drawn[:, 0], minlength=7)/3000
    assert (frequency - torch.tensor([.25, 0, .375, 0, 0, .375, 0])).abs().max() < .03
    assert (drawn[:, 1:] == -1).all() and draw_expression(torch.empty(0, 7)).shape == (0,)


def test_drawn_labels_are_the_soft_loss_on_average():
    scores, voted = AffectOutput(expression=logits(20)), AffectTargets(expression=classes(20), expression_shares=votes(20))
    drawn = [multitask_loss(scores, labels_by(voted, "probabilistic")).item() for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(multitask_loss(scores, voted).item(), abs=4*np.std(drawn)/20) and np.std(drawn) > .01


@pytest.mark.parametrize("scheme", LABEL_SCHEMES)
def test_schemes_change_nothing_where_nobody_voted(scheme):
    targets, output = AffectTargets(expression=classes()), AffectOutput(expression=logits())
    assert multitask_loss(output, targets, labels=scheme).item() == pytest.approx(multitask_loss(output, targets).item(), rel=1e-12)
    only = AffectTargets(va=torch.zeros(30, 2))
    assert multitask_terms(output, only, labels=scheme)["expression"].item() == 0
    shares_alone = AffectTargets(expression_shares=votes(missing=0))
    assert (multitask_loss(output, shares_alone, labels=scheme).item() == 0) == (scheme == "majority")


def test_an_unknown_scheme_is_named():
    for make in (lambda: MultitaskLoss(labels="votes"), lambda: multitask_loss(AffectOutput(va=torch.zeros(1, 2)), AffectTargets(), labels="votes")):
        with pytest.raises(ValueError, match="labels is 'votes', it must be one of soft, majority, probabilistic, multi_target"): make()


# --- coupling

@pytest.mark.parametrize("table", [COGNITIVE, AFFWILD2], ids=["cognitive", "aff-wild2"])
@pytest.mark.parametrize("weighted, neutral", product([True, False], repeat=2))
def test_certain_raters_co_annotate_as_a_class_does(table, weighted, neutral):
    rng = np.random.default_rng(0)
    aus = torch.tensor(rng.choice([0., 1., np.nan], (40, 17), p=[.2, .2, .6]))
    hard = AffectTargets(expression=classes(40), aus=aus)
    soft = replace(hard, expression_shares=expression_distribution(hard.expression).double())
    one, other = (co_annotate(targets, table, shares=weighted, neutral=neutral) for targets in (hard, soft))
    for name in ("aus", "au_weights", "expression"): torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("weighted, neutral", product([True, False], repeat=2))
def test_shares_co_annotate_the_mean_of_what_each_rater_would(weighted, neutral):
    shares, scores = votes(12, missing=.1), torch.randn(12, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    learned = co_annotate(AffectTargets(expression_shares=shares, aus=torch.full((12, 17), NAN, dtype=torch.float64)), COGNITIVE, weighted, neutral)
    ties = tie_matrix(COGNITIVE, AUS17, shares=weighted, dtype=torch.float64)
    active, inactive = -F.logsigmoid(scores), -F.logsigmoid(-scores)
    found = au_loss(scores, learned.aus, "sum", learned.au_weights)
    each = [sum(share*((ties[k]*active[i]).sum() + (inactive[i].sum() if neutral and k == 0 else 0)) for k, share in enumerate(shares[i])) for i in range(12)]
    kept = [i for i in range(12) if (learned.au_weights[i][~learned.aus[i].isnan()]).sum() > 0]
    assert found.item() == pytest.approx(sum(each[i] for i in kept).item()/len(kept))


def test_annotated_aus_are_never_overwritten_and_missing_shares_leave_the_class():
    targets = AffectTargets(expression=[4, 4], aus=[[0.] + [NAN]*16]*2, expression_shares=[[0, 0, 0, 0, 0, 0, 1], [NAN]*7])
    learned = co_annotate(targets, COGNITIVE)
    assert learned.aus[:, 0].tolist() == [0, 0] and learned.expression.tolist() == [4, 4]
    active = [{au for au, label in zip(AUS17, row.tolist()) if label == 1} for row in learned.aus]
    assert active == [{2, 5, 25, 26}, {6, 12, 25}]


def test_soft_co_annotation_is_a_soft_label_like_any():
    aus = torch.tensor(np.random.default_rng(0).choice([0., 1., np.nan], (30, 17), p=[.3, .3, .4]))
    aus[:4] = NAN
    output = AffectOutput(expression=logits(), aus=torch.zeros(30, 17, dtype=torch.float64))
    soft = soft_co_annotation(AffectTargets(aus=aus), COGNITIVE)
    expected = multitask_terms(output, AffectTargets(expression_shares=soft))["expression"]
    assert soft_co_annotation_loss(output, AffectTargets(aus=aus), COGNITIVE).item() == expected.item()


# --- valence and arousal

def test_means_are_the_published_ones():
    published = dict(Neutral=(0, 0), Anger=(-.51, .59), Disgust=(-.60, .35), Fear=(-.64, .60), Happiness=(.81, .51), Sadness=(-.63, -.27), Surprise=(.40, .67))
    assert {name: tuple(va) for name, va in zip(VALENCE_AROUSAL.emotions, VALENCE_AROUSAL.va.tolist())} == published


@quick
@given(st.integers(0, 10**6))
def test_implied_va_is_a_mean_over_the_raters(seed):
    shares = votes(seed=seed)
    found = implied_va(shares)
    for share, va in zip(shares.numpy(), found.numpy()):
        if np.isnan(share).any() or share.sum() == 0: assert np.isnan(va).all()
        else: assert va == pytest.approx(np.average(VALENCE_AROUSAL.va, axis=0, weights=share))
    ids = classes(seed=seed)
    torch.testing.assert_close(implied_va(ids), implied_va(expression_distribution(ids)), equal_nan=True)


def test_a_table_in_another_order_and_one_that_lacks_an_emotion():
    order = [3, 1, 0, 2, 6, 5, 4]
    other = EmotionVA(tuple(EXPRESSIONS[k] for k in order), VALENCE_AROUSAL.va[order], "test")
    torch.testing.assert_close(implied_va(votes(), other), implied_va(votes()), equal_nan=True)
    with pytest.raises(ValueError, match="the table has no Neutral"): implied_va(votes(), EmotionVA(EXPRESSIONS[1:], VALENCE_AROUSAL.va[1:], "test"))
    with pytest.raises(ValueError, match=r"in \[-1, 1\]"): EmotionVA(("Happiness",), np.array([[2., 0]]), "test")


def test_valence_and_arousal_are_filled_in_only_where_asked_for():
    targets = AffectTargets(va=[[.1, .2], [NAN, NAN], [NAN, NAN]], expression=[4, 4, -1], expression_shares=[[NAN]*7, [0, 0, 0, 0, .5, .5, 0], [NAN]*7])
    expected = torch.tensor([[.1, .2], [(.81 - .63)/2, (.51 - .27)/2], [NAN, NAN]])
    torch.testing.assert_close(va_from_expressions(targets).va, expected, equal_nan=True)
    output = AffectOutput(va=torch.tensor([[.5, .1], [.2, -.3], [.9, .4]]), expression=logits(3))
    off, on = CoupledLoss().terms(output, targets), CoupledLoss(va_from_expressions=True).terms(output, targets)
    assert off == MultitaskLoss().terms(output, targets) == multitask_terms(output, targets)
    torch.testing.assert_close(on["va"], multitask_terms(output, replace(targets, va=expected))["va"])
    assert (on["va"] - off["va"]).abs() > .01


# --- measures

@quick
@given(st.integers(0, 10**6))
def test_the_divergence_is_scipys(seed):
    prob, shares = logits(seed=seed).softmax(-1), votes(seed=seed)
    known = shares.sum(-1) > 0
    expected = np.mean(jensenshannon(prob[known].numpy(), shares[known].numpy(), base=2, axis=1)**2)
    assert jensen_shannon(prob, shares) == pytest.approx(expected, abs=1e-9)
    assert jensen_shannon(shares[known]/shares[known].sum(-1, keepdim=True), shares[known]) == pytest.approx(0, abs=1e-9)


def test_a_missing_prediction_or_no_share_has_no_divergence():
    prob = torch.full((3, 7), 1/7)
    prob[1] = NAN
    assert np.isnan(jensen_shannon(prob, torch.eye(7)[:3])) and np.isnan(jensen_shannon(prob, torch.full((3, 7), NAN)))
    assert not np.isnan(jensen_shannon(prob, torch.stack([torch.eye(7)[0], torch.full((7,), NAN), torch.eye(7)[1]])))
    with pytest.raises(ValueError, match="add up to 1"): jensen_shannon(torch.ones(1, 7), torch.eye(7)[:1])


# --- label tables, index, windows

def share_columns(shares): return dict(zip(SHARE_COLUMNS, np.asarray(shares, np.float32).T))


@pytest.mark.parametrize("shares, message", [
    ([[0, 0, 0, 0, .8, 0, .2]]*2 + [[.6, .6, 0, 0, 0, 0, 0]], "frame 7 are 0.6, 0.6, 0"), ([[-.1, 0, 0, 0, 0, 0, 0]]*3, "frame 3 are -0.1"),
    ([[np.nan, 1, 0, 0, 0, 0, 0]]*3, "seven times NaN")])
def test_wrong_shares_are_named(shares, message):
    table = pd.DataFrame(dict(frame=[3, 5, 7]) | share_columns(shares))
    with pytest.raises(ValueError, match=f"walk: the shares of expressions.*{message}|walk.*{message}"): clip_labels(table, "walk")
    with pytest.raises(ValueError, match="share_neutral and no share_disgust"): clip_labels(table.drop(columns="share_disgust"), "walk")


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return write_database("aff-wild2", tmp_path_factory.mktemp("twin")/"twin", train=3, validation=1, frames_per_clip=12, media=False, progress=False)


class Voted:
    "Gives the tables of a database with shares, for clips that are not in `without`."
    def __init__(self, database, without=()): self.read, self.without = database.labels, without
    def __call__(self, clip):
        table = self.read(clip)
        return table if clip.name in self.without else table.assign(**share_columns(votes(len(table), seed=len(clip.name)).numpy()))


@pytest.mark.parametrize("without", [0, 1, 2])
def test_an_index_has_the_shares_of_all_clips(twin, tmp_path, without):
    "Also where the first clips have none: the file is written anew with room for them."
    database = open_database("aff-wild2", twin)
    names = [clip.name for clip in database.clips if clip.annotated]
    database.labels = Voted(database, names[:without])
    index = index_database(database, tmp_path/"index")
    assert index.about["shares"] is True and list(index) == names
    for place, name in enumerate(names):
        clip = next(clip for clip in database.clips if clip.name == name)
        found, expected = index[name].fields, clip_labels(database.labels(clip), name).fields
        if place < without: assert np.isnan(found["expression_shares"]).all()
        else: np.testing.assert_array_equal(found["expression_shares"], expected["expression_shares"])
        for field in {"va", "expression", "aus"} & {*expected}: np.testing.assert_array_equal(found[field], expected[field])
    again = index_database(database, tmp_path/"index")
    assert again.about == index.about


def age(folder):
    "Make an index one that was written before there were shares."
    about = json.loads((folder/"clips.json").read_text())
    del about["shares"]
    (folder/"clips.json").write_text(json.dumps(about))
    return (folder/"labels.arrow").stat().st_mtime_ns


def test_an_older_index_stays_where_there_are_no_shares_and_is_made_anew_where_there_are(twin, tmp_path):
    database = open_database("aff-wild2", twin)
    index = index_database(database, tmp_path/"index")
    assert index.about["shares"] is False and "expression_shares" not in index[next(iter(index))].fields
    written = age(tmp_path/"index")
    assert "shares" not in index_database(database, tmp_path/"index").about
    assert (tmp_path/"index"/"labels.arrow").stat().st_mtime_ns == written
    database.labels = Voted(database)
    assert "expression_shares" in index_database(database, tmp_path/"index")[next(iter(index))].fields
    assert LabelIndex(tmp_path/"index").about["shares"] is True


def write_clip(folder, name, n, away=()):
    folder.mkdir(parents=True, exist_ok=True)
    with FaceStoreWriter(folder/f"{name}.arrow", clip=name, encoding="raw") as writer:
        for frame in range(n):
            if frame in away: writer.add(frame, frame/30)
            else: writer.add(frame, frame/30, 0, "ok", np.full((96, 96, 3), frame, np.uint8), crop_landmarks=np.zeros((68, 2)))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    "Two folders of clips: one with shares (and a gap), one with valence and arousal and plain classes."
    here, shares = tmp_path_factory.mktemp("sets"), votes(11, seed=5, missing=0).numpy()
    write_clip(here/"voted", "walk", 11, away=(4,))
    write_clip(here/"plain", "talk", 9)
    expression = np.where(shares.max(1) >= .5, shares.argmax(1), -1)
    voted = pd.DataFrame(dict(clip="walk", subject="anna", database="d", frame=range(11), expression=expression) | share_columns(shares))
    plain = pd.DataFrame(dict(clip="talk", subject="bob", database="e", frame=range(9), valence=.5, arousal=.1, expression=3))
    return dict(voted=SequenceDataset(here/"voted", voted, length=4, remainder="pad"), plain=SequenceDataset(here/"plain", plain, length=4)), shares, voted


def test_windows_bring_the_shares_of_their_frames(sets):
    datasets, shares, _ = sets
    batch = read_batch(datasets["voted"], [0, 1, 2])[-1].expression_shares
    expected = np.full((12, 7), np.nan)
    expected[:11] = shares
    expected[4] = np.nan # no face
    np.testing.assert_allclose(batch.reshape(12, 7).numpy(), expected, rtol=1e-6)
    for number in range(3): np.testing.assert_array_equal(datasets["voted"][number].targets.expression_shares.numpy(), batch[number].numpy())
    assert "expression_shares" not in read_batch(datasets["plain"], [0, 1])[-1].present


def test_shares_count_as_a_label_of_the_expression(sets):
    datasets, _, table = sets
    unnamed = SequenceDataset(list({datasets["voted"].tracks[0].path}), table.assign(expression=-1), length=4, remainder="pad")
    assert len(unnamed) == 3 and len(with_labels(unnamed, "expression")) == 3 and len(with_labels(unnamed, "va")) == 0
    nobody = table.assign(expression=-1, **dict.fromkeys(SHARE_COLUMNS, 0.)) # all chose something else
    assert len(SequenceDataset([datasets["voted"].tracks[0].path], nobody, length=4, remainder="pad")) == 0
    columns = table.drop(columns=[*SHARE_COLUMNS]).assign(expression=-1)
    assert len(SequenceDataset([datasets["voted"].tracks[0].path], columns, length=4, remainder="pad")) == 0


@pytest.mark.parametrize("wanted, present", [(("expression",), ["expression", "expression_shares"]), (("va",), ["va"]), (None, ["va", "expression", "expression_shares"])])
def test_a_set_that_keeps_the_expression_keeps_its_shares(sets, wanted, present):
    datasets, *_ = sets
    joined = LabelSet([datasets["voted"], datasets["plain"]], fields=wanted)
    whole = read_batch(joined, np.arange(len(joined)))[-1]
    assert [name for name in whole.present if whole.annotated(name).any()] == present
    for number in range(len(joined)): # one by one the same
        one = joined[number].targets
        for name in one.present: torch.testing.assert_close(getattr(whole, name)[number], getattr(one, name), equal_nan=True)
        assert set(one.present) <= set(present) and ("expression_shares" in one.present) == (number < 3 and wanted != ("va",))
    with pytest.raises(ValueError, match="allowed are va, expression, aus"): LabelSet(datasets["voted"], fields=("expression_shares",))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_joint_step_has_shares_whoever_reads(sets, workers):
    datasets, *_ = sets
    loader = JointDL(dict(expression=LabelSet(datasets["voted"], fields=("expression",)), va=datasets["plain"]), total=5, num_workers=workers, shuffle=False,
                     device=torch.device("cpu"))
    batches = [batch[-1] for batch in loader]
    loader.close()
    total = sum(int(targets.annotated("expression_shares").sum()) for targets in batches)
    assert total == 10 # of 11 frames one has no face
    assert sum(int(targets.annotated("va").sum()) for targets in batches) == 8


def test_pictures_of_a_batch_name_the_share(sets):
    import matplotlib.pyplot as plt
    datasets, shares, _ = sets
    loader = AffectDL(datasets["voted"], bs=1, device=torch.device("cpu"), num_workers=0)
    loader.show_batch(max_n=1)
    named = plt.gcf().axes[0].get_title()
    plt.close("all")
    assert f"{100*shares[2].max():.0f} %" in named # the middle frame of the first window


# --- a training

class ToyVotes(ToyAffect):
    "A toy world whose expressions ten raters chose: two of them the class beside it."
    def __getitem__(self, index):
        window = super().__getitem__(index)
        one_hot = F.one_hot(window.targets.expression, 7).float()
        return replace(window, targets=replace(window.targets, expression_shares=.8*one_hot + .2*one_hot.roll(1, -1)))


def loaders(n=8):
    dls = toy_dataloaders(n, frames=1, bs=4, tasks=("va", "expression", "aus"))
    for loader in dls.loaders: loader.dataset = ToyVotes(len(loader.dataset), frames=1, seed=int(loader is dls.valid), tasks=("va", "expression", "aus"))
    return dls


RECIPE = mt_vgg_recipe("smoke", width=1/16, batch_size=4, epochs=2, lr=2e-3, arguments=dict(size=32, au_names=[1, 4, 12], norm="batch", dropout=.2))


def trained(recipe=RECIPE, cbs=None, **options):
    learn = create_learner(recipe, loaders(), cbs=cbs, **options)
    with learn.no_bar(), learn.no_logging(): learn.fit(recipe.epochs, recipe.lr)
    return learn


def weights(learn): return torch.cat([parameter.detach().flatten() for parameter in learn.model.parameters()])


def test_each_scheme_trains_another_network_and_the_same_again():
    found = {scheme: weights(trained(RECIPE.replace(labels=scheme))) for scheme in LABEL_SCHEMES}
    for one, other in product(LABEL_SCHEMES, repeat=2):
        if one < other and {one, other} != {"majority", "multi_target"}: assert not torch.equal(found[one], found[other]), (one, other)
    assert torch.equal(found["majority"], found["multi_target"]) # eight of ten: one accepted class
    assert torch.equal(found["probabilistic"], weights(trained(RECIPE.replace(labels="probabilistic"))))
    assert torch.equal(found["probabilistic"], weights(trained(RECIPE.replace(labels="probabilistic"), TaskLosses()))) # looking does not draw again


@pytest.mark.parametrize("options", [dict(labels="probabilistic"), dict(coupling="both", labels="multi_target"), dict(coupling="co_annotation", va_from_expressions=True)])
def test_recipes_reach_the_loss(options):
    loss = create_learner(RECIPE.replace(**options), loaders()).loss_func
    assert loss.labels == options.get("labels", "soft") and getattr(loss, "coupling", "none") == options.get("coupling", "none")
    output, targets = AffectOutput(va=torch.rand(4, 2), expression=torch.randn(4, 7), aus=torch.randn(4, 17)), AffectTargets(
        expression=classes(4), expression_shares=votes(4, missing=0, dtype=torch.float32))
    assert loss(output, targets).isfinite() and loss(output, targets) == loss(output, targets)


def test_validation_measures_classes_and_shares():
    learn = create_learner(RECIPE, loaders())
    learn.metrics = [*learn.metrics, SharesMetric()]
    with learn.no_bar(), learn.no_logging(): values = dict(zip(["loss", *learn.metrics.attrgot("name")], learn.validate()))
    preds, targets = learn.get_preds()
    assert values["jensen_shannon"] == pytest.approx(jensen_shannon(preds.expression_prob, targets.expression_shares), abs=1e-6)
    assert values["accuracy"] == pytest.approx(accuracy(preds.expression, targets.expression))
    assert values["macro_f1"] == pytest.approx(macro_f1(preds.expression, targets.expression))


class Kill(Callback):
    def after_batch(self):
        if self.epoch == 1: raise KeyboardInterrupt


def test_a_training_begun_before_there_were_shares_goes_on(tmp_path):
    "Its state lacks the new entries of a recipe; at their defaults these are no difference, otherwise they are."
    dls, recipe = loaders(), RECIPE.replace(retry=False)
    with pytest.raises(KeyboardInterrupt): fit(recipe, dls, tmp_path/"run", cbs=Kill())
    from safetensors import safe_open
    with safe_open(tmp_path/"run"/"state.safetensors", "pt") as state: text = " ".join(state.metadata().values())
    assert "lambda_va" in text and "va_from_expressions" not in text and '"labels"' not in text
    with pytest.raises(ValueError, match="of another training"): fit(recipe.replace(labels="majority"), loaders(), tmp_path/"run")
    fit(recipe, loaders(), tmp_path/"run")
    later = {"labels", "va_from_expressions", "augment", "grey", "weight_decay", "compiled"}
    assert set(recipe.model_dump()) - set(deciding_entries(recipe)) == later
    assert not any(f'"{entry}"' in text for entry in later)
