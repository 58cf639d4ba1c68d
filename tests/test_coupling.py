"""The coupling of expressions and AUs, for every table and vocabulary: against loops, with gaps, at extremes, by gradients."""
import numpy as np
import pytest
import torch

from affect_nb.core.coupling import (MATCH_FORMS, au_divergence, co_annotate, distribution_matching_loss, matched_au_distribution, soft_co_annotation,
                                     soft_co_annotation_loss, tie_matrix)
from affect_nb.core.labels import AUS8, AUS17, AUS17_TABLE5, EXPRESSIONS, AffectOutput, AffectTargets
from affect_nb.core.losses import multitask_loss
from affect_nb.core.relatedness import AFFWILD2, COGNITIVE, relatedness_of, shuffled

MINE = relatedness_of({"Surprise": {1: 1, 2: .5, 26: .25}, "Happiness": {12: 1, 6: .8}}) # lacks five emotions
TABLES = {"cognitive": COGNITIVE, "aff-wild2": AFFWILD2, "shuffled": shuffled(COGNITIVE, 3), "own": MINE}
VOCABULARIES = {"17": AUS17, "table 5": AUS17_TABLE5, "8": AUS8, "two": (12, 2)}
both = pytest.mark.parametrize("aus", VOCABULARIES.values(), ids=VOCABULARIES)
tables = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def weight(table, emotion, au):
    return table.weights_of(emotion).get(au, 0.) if emotion in table.emotions else 0.


def predictions(aus, n=11, scale=2., dtype=torch.float64):
    torch.manual_seed(len(aus))
    return AffectOutput(va=torch.rand(n, 2, dtype=dtype), expression=scale*torch.randn(n, 7, dtype=dtype), aus=scale*torch.randn(n, len(aus), dtype=dtype), au_names=aus)


def labels(aus, n=40, active=.7, gaps=.3, seed=0):
    rng = np.random.default_rng(seed)
    found = (rng.random((n, len(aus))) < active).astype(float)
    found[rng.random(found.shape) < gaps] = np.nan
    return AffectTargets(aus=torch.from_numpy(found), au_names=aus)


@tables
@both
def test_rows_by_name_and_columns_by_number(table, aus):
    found = tie_matrix(table, aus, dtype=torch.float64)
    expected = [[weight(table, emotion, au) for au in aus] for emotion in EXPRESSIONS]
    assert found.tolist() == expected
    assert tie_matrix(table, aus, shares=False).tolist() == [[float(value > 0) for value in row] for row in expected]


@tables
@both
@pytest.mark.parametrize("weighted", [False, True])
def test_equation_8_is_a_mixture(table, aus, weighted):
    prob = predictions(aus).expression.softmax(-1)
    found = matched_au_distribution(prob, table, weighted, aus)
    for sample in range(len(prob)):
        for place, au in enumerate(aus):
            ties = [weight(table, emotion, au) for emotion in EXPRESSIONS]
            assert found[sample, place].item() == pytest.approx(sum(p*(w if weighted else w > 0) for p, w in zip(prob[sample].tolist(), ties)))
    assert (found >= 0).all() and (found <= 1 + 1e-9).all()


@tables
@both
def test_matching_is_zero_where_the_aus_are_those_of_the_expressions(table, aus):
    output = predictions(aus)
    matched = matched_au_distribution(output.expression.softmax(-1), table, au_names=aus).clamp(1e-4, 1 - 1e-4)
    fitting = AffectOutput(expression=output.expression, aus=matched.logit(), au_names=aus)
    assert distribution_matching_loss(fitting, table, form="kl").abs() < 1e-6
    assert (au_divergence(output, table, form="kl") >= -1e-9).all()
    assert distribution_matching_loss(output, table, form="kl") > distribution_matching_loss(fitting, table, form="kl")


@pytest.mark.parametrize("form", ["paper", "bce", "kl"])
@pytest.mark.parametrize("fixed", [None, "aus", "expression"])
def test_gradients_are_those_of_finite_differences(form, fixed):
    output = predictions((1, 2, 6, 12), n=3)
    fields = [output.expression.requires_grad_(), output.aus.requires_grad_()]
    def loss(expression, aus): return distribution_matching_loss(AffectOutput(expression=expression, aus=aus, au_names=(1, 2, 6, 12)), COGNITIVE, form=form, fixed=fixed)
    if fixed is None: assert torch.autograd.gradcheck(loss, fields)
    else:
        pulls = dict(zip(("expression", "aus"), torch.autograd.grad(loss(*fields), fields, allow_unused=True)))
        assert pulls[fixed] is None and pulls[next(name for name in pulls if name != fixed)].abs().sum() > 0


@tables
def test_all_is_finite_at_extreme_logits(table):
    targets = co_annotate(AffectTargets.cat([labels(AUS17, 5), AffectTargets(expression=torch.arange(7))]), table)
    for scale, dtype in ((1e30, torch.float32), (1e4, torch.bfloat16), (1e300, torch.float64)):
        output = predictions(AUS17, 12, scale, dtype)
        fields = [output.expression.requires_grad_(), output.aus.requires_grad_()]
        losses = [distribution_matching_loss(output, table, form=form) for form in MATCH_FORMS] + [soft_co_annotation_loss(output, targets, table)]
        if dtype != torch.float64: losses.append(multitask_loss(output, targets))
        for loss in losses:
            assert loss.isfinite()
            assert all(pull is None or pull.isfinite().all() for pull in torch.autograd.grad(loss, fields, allow_unused=True, retain_graph=True))


def shares(table, row, aus, weighted):
    "Each emotion's weighted share of active AUs, by the words of Section VI.B.3; None where it has no annotated AU."
    found = {}
    for emotion in EXPRESSIONS[1:]:
        known = [(weight(table, emotion, au), label) for au, label in zip(aus, row) if weight(table, emotion, au) and label == label]
        known = [(w if weighted else 1., label) for w, label in known]
        found[emotion] = sum(w*label for w, label in known)/sum(w for w, _ in known) if known else None
    return found


@tables
@both
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [6, 7])
@pytest.mark.parametrize("temperature", [1., .1])
def test_soft_labels_are_the_softmax_of_shares(table, aus, weighted, classes, temperature):
    targets = labels(aus)
    found = soft_co_annotation(targets, table, weighted, classes, temperature=temperature)
    for row, soft in zip(targets.aus.tolist(), found.tolist()):
        score = shares(table, row, aus, weighted)
        known = {emotion: value for emotion, value in score.items() if value is not None}
        if not known:
            assert np.isnan(soft).all()
            continue
        if classes == 7: known["Neutral"] = 1 - max(known.values())
        known = {emotion: value/temperature for emotion, value in known.items()}
        total = sum(np.exp(value) for value in known.values())
        assert soft == pytest.approx([np.exp(known[emotion])/total if emotion in known else 0. for emotion in EXPRESSIONS])


def test_labels_without_aus_have_no_soft_label_and_no_part_in_the_loss():
    targets, output = labels(AUS17, 6), predictions(AUS17, 6)
    targets.aus[2:4] = torch.nan
    output.expression.requires_grad_()
    loss = soft_co_annotation_loss(output, targets, COGNITIVE)
    loss.backward()
    assert (output.expression.grad[2:4] == 0).all() and output.expression.grad[[0, 1, 4, 5]].abs().sum(1).min() > 0
    kept = torch.tensor([0, 1, 4, 5])
    assert loss.item() == pytest.approx(soft_co_annotation_loss(output[kept], targets[kept], COGNITIVE).item())


@tables
@both
def test_co_annotation_never_touches_what_was_annotated(table, aus):
    targets = labels(aus, 60)
    targets.expression = torch.arange(60) % 8 - 1
    coupled, seen = co_annotate(targets, table), ~targets.aus.isnan()
    assert torch.equal(coupled.aus[seen], targets.aus[seen]) and (coupled.au_weights[seen] == 1).all()
    assert torch.equal(coupled.expression[targets.expression >= 0], targets.expression[targets.expression >= 0])
    for row in range(60):
        emotion = EXPRESSIONS[targets.expression[row]] if targets.expression[row] >= 0 else "Neutral"
        for place, au in enumerate(aus):
            if seen[row, place]: continue
            tie = weight(table, emotion, au)
            assert coupled.aus[row, place].isnan() if not tie else (coupled.aus[row, place] == 1 and coupled.au_weights[row, place].item() == pytest.approx(tie))


@tables
def test_co_annotation_is_the_same_for_sequences_and_any_order_of_aus(table):
    targets, order = labels(AUS17, 24), torch.randperm(17)
    flat = co_annotate(targets, table).expression
    folded = co_annotate(AffectTargets(aus=targets.aus.view(4, 6, 17), au_names=AUS17), table)
    assert torch.equal(folded.expression.flatten(), flat)
    turned = AffectTargets(aus=targets.aus[:, order], au_names=tuple(AUS17[place] for place in order))
    assert torch.equal(co_annotate(turned, table).expression, flat)


def test_an_extra_au_never_makes_a_smaller_emotion_win():
    "With more AUs active, the emotion given never needs fewer of them."
    rng, size = np.random.default_rng(1), {emotion: len(COGNITIVE.weights_of(emotion)) for emotion in COGNITIVE.emotions}
    for _ in range(300):
        few = (rng.random(17) < .8).astype(float)
        more = np.maximum(few, rng.random(17) < .3)
        first, second = co_annotate(AffectTargets(aus=np.stack([few, more]), au_names=COGNITIVE.aus), COGNITIVE).expression.tolist()
        if first >= 0 and second >= 0: assert size[EXPRESSIONS[second]] >= size[EXPRESSIONS[first]]


@tables
def test_the_printed_form_only_pushes_aus_off_and_mutual_pulls_them_to_the_emotions(table):
    output = predictions(AUS17, n=40)
    output.aus.requires_grad_()
    q = matched_au_distribution(output.expression.softmax(-1), table, au_names=AUS17).clamp(1e-4, 1 - 1e-4)
    pull = {form: torch.autograd.grad(distribution_matching_loss(output, table, form=form), output.aus)[0] for form in ("paper", "mutual")}
    assert (pull["paper"] >= 0).all()
    tied = (tie_matrix(table, AUS17) > 0).any(0)
    expected = (output.aus.sigmoid() - q)*tied/output.aus.numel()/2
    assert torch.allclose(pull["mutual"], expected, atol=1e-9)


@pytest.mark.parametrize("weight", [.1, .5, 1.])
def test_a_label_is_never_turned_by_mutual_matching(weight):
    "Labels and matching at rest: p = (y + w q)/(1 + w), with half of the weight, as each side has a half of the loss."
    output = predictions(AUS17, n=30)
    y = (torch.rand(30, 17, generator=torch.Generator().manual_seed(0)) < .4).double()
    q = matched_au_distribution(output.expression.softmax(-1), COGNITIVE, au_names=AUS17).clamp(1e-4, 1 - 1e-4)
    tied, half = (tie_matrix(COGNITIVE, AUS17) > 0).any(0), weight/2
    rest = torch.where(tied, (y + half*q)/(1 + half), y.clamp(1e-6, 1 - 1e-6))
    logits = rest.logit().requires_grad_()
    there = AffectOutput(expression=output.expression, aus=logits, au_names=AUS17)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y) + weight*distribution_matching_loss(there, COGNITIVE, form="mutual")
    assert torch.autograd.grad(loss, logits)[0].abs().max() < 1e-8
    assert torch.equal(rest > .5, y == 1)


def test_an_emotion_needs_its_prototypical_aus_annotated():
    frown = AffectTargets(aus=[[0., 0, 1, 0, 0, 0, 0, 0]], au_names=AUS8)
    assert EXPRESSIONS[co_annotate(frown, COGNITIVE, lenient=True).expression[0]] == "Anger"
    assert co_annotate(frown, COGNITIVE).expression[0] == -1


def test_unknown_emotions_are_named():
    with pytest.raises(ValueError, match="'Joy'"): matched_au_distribution(torch.ones(1, 7)/7, relatedness_of({"Joy": {12: 1}}))
    with pytest.raises(ValueError, match="form is 'KL'"): distribution_matching_loss(predictions(AUS8), COGNITIVE, form="KL")
    with pytest.raises(ValueError, match="lacks expressions or AUs"): distribution_matching_loss(AffectOutput(va=torch.zeros(2, 2)), COGNITIVE)
