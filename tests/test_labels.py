"""Containers of labels and predictions: joining, vocabularies, and what fastai does to them."""
import copy
import pickle

import pytest
import torch
from fastai.torch_core import find_bs, to_concat

from affect_nb.core.labels import AUS8, AUS17, AffectOutput, AffectTargets


def targets(n=3):
    return AffectTargets(va=torch.rand(n, 2), expression=torch.arange(n), aus=torch.ones(n, 17))


def test_survives_copy_and_pickle():
    before = targets()
    for after in (copy.deepcopy(before), pickle.loads(pickle.dumps(before))):
        assert torch.equal(after.va, before.va) and after.au_names == before.au_names


def test_fastai_counts_and_joins_batches():
    assert find_bs((targets(5),)) == 5
    joined = to_concat([targets(2), targets(3)])
    assert isinstance(joined, AffectTargets) and joined.va.shape == (5, 2)


def test_joining_different_databases_fills_with_missing():
    aff_wild, emotionet = AffectTargets(va=torch.zeros(2, 2)), AffectTargets(aus=torch.ones(1, 8), au_names=AUS8)
    both = AffectTargets.cat([aff_wild, emotionet])
    assert both.va.isnan().tolist() == [[False]*2, [False]*2, [True]*2]
    assert both.aus.isnan().all(1).tolist() == [True, True, False]
    assert both.au_names == AUS8


def test_vocabularies_unite_when_joined():
    joined = AffectTargets.cat([AffectTargets(aus=torch.ones(1, 2), au_names=(1, 2)), AffectTargets(aus=torch.zeros(1, 2), au_names=(2, 4))])
    assert joined.au_names == (1, 2, 4)
    assert joined.aus.nan_to_num(-1).tolist() == [[1, 1, -1], [-1, 0, 0]]


@pytest.mark.parametrize("index", [0, -1, slice(1, 3), [0, 2], torch.tensor([True, False, True])], ids=str)
def test_index_reaches_every_field(index):
    whole = AffectOutput(va=torch.rand(3, 4, 2), expression=torch.rand(3, 4, 7), aus=torch.rand(3, 4, 17))
    part = whole[index]
    for name in whole.present: assert torch.equal(getattr(part, name), getattr(whole, name)[index])


def test_missing_is_not_annotated():
    blank = AffectTargets.missing((2, 3))
    assert blank.shape == (2, 3) and blank.au_names == AUS17
    assert not any(blank.annotated(name).any() for name in ("va", "expression", "aus"))


@pytest.mark.parametrize("fields, message", [
    (dict(va=torch.zeros(3, 3)), "last axis must be 2"),
    (dict(aus=torch.zeros(3, 8)), "last axis must be 17"),
    (dict(expression=torch.tensor([.5])), "class ids"),
    (dict(va=torch.zeros(3, 2), expression=torch.zeros(2).long()), "must be equal")])
def test_bad_shapes_are_named(fields, message):
    with pytest.raises(ValueError, match=message): AffectTargets(**fields)
