"""FaceBehaviorNet's data: parts of databases, three sets a step, nobody on both sides; its training from folders; terms and gradients while it trains."""
import pickle
import tracemalloc
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback

from affect_nb.analysis.crossdb import study_division, study_loaders
from affect_nb.core.labels import AUS17
from affect_nb.databases.base import Clip, open_database
from affect_nb.data.joint import LabelSet
from affect_nb.data.parts import SomePhotographs, SomeWindows, hold_out, split_photographs, window_people, with_labels, without_people
from affect_nb.data.sequences import SequenceDataset
from affect_nb.databases.people import strangers
from affect_nb.databases.splits import check_split, holdout, split_hash
from affect_nb.data.store import preprocess_database
from affect_nb.models.weights import load_checkpoint, read_card
from affect_nb.preprocess.face_store import FaceStoreWriter
from affect_nb.synth.twins import write_database
from affect_nb.train.gradients import GradientConflict, TaskLosses, cosines, plot_conflict, term_gradients
from affect_nb.train.fastai_losses import COUPLINGS, CoupledLoss
from affect_nb.train.jobs_joint import SETS, joint_loaders, joint_sides, train_joint
from affect_nb.train.jobs_database import database_loaders, adapt_recipe
from affect_nb.train.learner import affect_learner
from affect_nb.train.toy import toy_dataloaders
from affect_nb.train.recipes import facebehaviornet_recipe, mt_vgg_recipe

PLAIN = dict(precision="float32")
SIZES = {"affectnet": dict(train=1, validation=1, frames_per_clip=24), "raf-db": dict(train=1, test=1, frames_per_clip=16), "disfa": dict(train=3, frames_per_clip=12),
         "aff-wild": dict(train=3, test=1, frames_per_clip=24)}
PARTS = [("aff-wild", "va"), ("affectnet", "va"), ("disfa", "aus"), ("affectnet", "expression"), ("raf-db", "expression")]


def recipe(**changes): return facebehaviornet_recipe("smoke", **{**dict(width=1/16, batch_size=48, **PLAIN), **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "Four twins, and the folder of their faces, as `train_joint` lays them out."
    folder = tmp_path_factory.mktemp("joint")
    for name, size in SIZES.items(): write_database(name, folder/name, difficulty=0, progress=False, **size)
    sources = {name: open_database(name, folder/name) for name in SIZES}
    for name, source in sources.items(): preprocess_database(source, folder/"faces"/name, split="train", task="expression" if name == "raf-db" else None, progress=False)
    return SimpleNamespace(folder=folder, faces=folder/"faces", sources=sources, folders={name: folder/name for name in SIZES})


def sides(world, name, task, **options): return joint_sides(options.pop("recipe", recipe()), world.sources[name], world.faces/name, task, **options)


@pytest.fixture(scope="module")
def parts(world): return [(name, task, *sides(world, name, task)) for name, task in PARTS]


def shown(dataset): return [(person["database"], person["clip"]) for person in window_people(dataset)]


def state(model): return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def equal(one, other): return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


class Kill(Callback):
    "Ends everything in the middle of an epoch."
    def __init__(self, epoch): self.when = epoch
    def after_batch(self):
        if self.epoch == self.when and self.training: raise KeyboardInterrupt


# --- parts of a dataset

def some_clips(folder, people, frames=3, database="d"):
    "A dataset of single frames: clip -> subject."
    for name in people:
        with FaceStoreWriter(folder/f"{name}.arrow", clip=name) as writer:
            for frame in range(frames): writer.add(frame, frame/30, 0, "ok", np.zeros((96, 96, 3), np.uint8), crop_landmarks=np.zeros((68, 2)))
    table = pd.concat([pd.DataFrame(dict(database=database, clip=name, subject=subject, frame=range(frames), valence=.5, arousal=0.)) for name, subject in people.items()])
    return SequenceDataset(folder, table, length=1)


@pytest.mark.parametrize("length", [1, 5])
def test_windows_with_a_label_are_those_that_one_finds_by_looking(world, length):
    for name, source in world.sources.items():
        if source.still and length > 1: continue
        dataset = SequenceDataset(world.faces/name, source.frames("train", "expression" if name == "raf-db" else None), length=length)
        some = SomeWindows(dataset, np.random.default_rng(0).permutation(len(dataset))[:len(dataset)//2])
        for data in (dataset, some):
            for task in SETS: assert with_labels(data, task).chosen.tolist() == [number for number, window in enumerate(data) if window.targets.annotated(task).any()]
            for aus in ((12,), (1, 25), (99,)):
                looked = [number for number, window in enumerate(data) if window.targets.with_aus(aus).annotated("aus").any()]
                assert with_labels(data, "aus", aus).chosen.tolist() == (looked if source.au_names else [])


def test_nobody_of_a_list_is_left(tmp_path):
    "The two films 2_left and 2_right are two cameras: a store of its own for each."
    data = some_clips(tmp_path, {"1": "Ann", "2_left": "Bob", "2_right": "Cem", "3": "Ann", "4": "Dee"})
    person = lambda **changes: {**dict(database="d", clip="none", subject="nobody"), **changes}
    clips = lambda *people: [track.clip for track in without_people(data, people).tracks]
    assert clips() == clips(person()) == ["1", "2_left", "2_right", "3", "4"]
    assert clips(person(subject="Ann")) == clips(person(clip="1", subject="Ann")) == ["2_left", "2_right", "4"]
    assert clips(person(clip="x", video="2_left", subject="somebody")) == clips(person(clip="2_left", subject="somebody")) == ["1", "2_right", "3", "4"]
    assert clips(person(database="e", subject="Ann", clip="4")) == ["1", "2_left", "2_right", "3", "4"]
    assert clips(person(database="", subject="Dee")) == ["1", "2_left", "2_right", "3"] # of no known database


def test_aff_wild2_holds_the_videos_of_aff_wild(tmp_path):
    data = some_clips(tmp_path, {"1": "Ann", "2": "Bob"}, database="aff-wild2")
    assert without_people(data, [dict(database="aff-wild", clip="1", subject="x")]).subjects == ["Bob"]


def test_people_by_window_are_those_of_a_loop(tmp_path):
    data = some_clips(tmp_path, {"1": "Ann", "2_left": "Bob", "3": "Ann"})
    few = SomeWindows(SomeWindows(data, [8, 3, 4, 0]), [1, 3])
    assert [(window.clip, window.start) for window in few] == [("2_left", 0), ("1", 0)] and few.subjects == ["Ann", "Bob"]
    names = {track.clip: track.subject for track in data.tracks}
    assert [person["subject"] for person in window_people(data)] == [names[window.clip] for window in data]
    again = pickle.loads(pickle.dumps(few))
    assert again.people == few.people and len(again) == 2 and again.length == 1
    assert len(LabelSet([few, SomeWindows(data, [])])) == 2 and not SomeWindows(data, []).people


@pytest.mark.parametrize("share", [.1, .5, .99])
def test_photographs_are_divided_one_by_one(tmp_path, share):
    data = some_clips(tmp_path, {"set1": "set1", "set2": "set2"}, frames=10)
    train, held = split_photographs(data, share, 3)
    assert sorted([*train.chosen, *held.chosen]) == list(range(20)) and len(held) == min(19, round(20*share)) and len(train) >= 1
    check_split(train.people, held.people)
    assert shown(held) == [("d", f"{window.clip}, photograph {window.start}") for window in held]
    with pytest.raises(ValueError, match="on both sides"): check_split(train.people, split_photographs(data, .5, 4)[1].people + train.people[:1])
    again = split_photographs(data, share, 3)
    assert (again[0].chosen == train.chosen).all() and not set(shown(SomeWindows(train, [0]))) & set(shown(held))


def test_what_cannot_be_divided(tmp_path):
    data = some_clips(tmp_path, {"set": "set"}, frames=4)
    for share in (0, 1, -.1, float("nan")):
        with pytest.raises(ValueError, match="share is"): split_photographs(data, share)
    with pytest.raises(ValueError, match="windows of 1"): split_photographs(data.cut(2), .5)
    with pytest.raises(ValueError, match="needs 2"): split_photographs(SomeWindows(data, [1]), .5)
    with pytest.raises(ValueError, match="cut the whole dataset"): SomePhotographs(data, [1]).cut(1)


def test_named_people_are_held_out_whole(tmp_path):
    subjects = {"a": "Ann", "b": "Ann", "c": "Cem", "d": "Dee"}
    data, clips = some_clips(tmp_path, subjects), [Clip("d", name, subject, "train") for name, subject in subjects.items()]
    make = lambda part: SomeWindows(data, [number for number, window in enumerate(data) if window.clip in {clip.name for clip in part}])
    train, held = hold_out(SimpleNamespace(still=True), clips, make, .4, 1)
    assert set(held.subjects) == {clip.subject for clip in holdout(clips, .4, 1)[1]} and not set(train.subjects) & set(held.subjects)
    strangers = [Clip("d", name, name, "train") for name in subjects]
    assert isinstance(hold_out(SimpleNamespace(still=True), strangers, make, .4)[0], SomePhotographs)
    assert not isinstance(hold_out(SimpleNamespace(still=False), strangers, make, .4)[0], SomePhotographs)


def test_a_training_of_one_database_holds_out_the_photographs_of_the_study(world):
    source, faces = world.sources["affectnet"], world.faces/"affectnet"
    plan = adapt_recipe(mt_vgg_recipe("smoke", width=1/16, batch_size=4, seed=3, **PLAIN), source)
    alone = database_loaders(plan, source, faces, device="cpu", valid_share=.25)
    study = study_loaders(plan, source, study_division(source)[0], faces, device="cpu", valid_share=.25)
    assert shown(alone.valid.dataset) == shown(study.valid.dataset) and shown(alone.train.dataset) == shown(study.train.dataset)
    assert len(alone.valid.dataset) == round(.25*24) and len(source.select("train")) == 1 and alone.split_hash == study.split_hash


# --- one database, one task

@pytest.mark.parametrize("name, task", PARTS)
def test_sides_have_labels_of_the_task_and_nobody_in_common(world, name, task):
    train, held = sides(world, name, task)
    check_split(train.people, held.people)
    assert len(train) > len(held) > 0 and all(len(window) == 1 and window.targets.annotated(task).all() for side in (train, held) for window in side)
    source = world.sources[name]
    labels = source.frames("train", task)
    known = dict(va=lambda rows: rows.valence.notna(), expression=lambda rows: rows.expression >= 0, aus=lambda rows: rows.filter(regex=r"^au\d+$").notna().any(axis=1))[task](labels)
    assert 0 <= known.sum() - len(train) - len(held) <= .3*known.sum() # without those whose face was not found
    assert len(sides(world, name, task, every=3)[0]) == -(-len(train)//3)
    other = sides(world, name, task, recipe=recipe(seed=5))
    assert source.name == "disfa" or set(shown(other[1])) != set(shown(held))


def test_whoever_is_held_out_is_so_for_both_tasks(parts):
    by = {(name, task): (train, held) for name, task, train, held in parts}
    for one, other in (("va", "expression"), ("expression", "va")): assert not set(shown(by["affectnet", one][0])) & set(shown(by["affectnet", other][1]))


def test_clips_may_be_given_and_the_release_may_validate(world):
    source = world.sources["aff-wild"]
    some = source.select("train", "va")[:2]
    train, held = sides(world, "aff-wild", "va", clips=some, valid_share=.5)
    assert {clip for _, clip in shown(train) + shown(held)} <= {clip.name for clip in some} and len(held)
    preprocess_database(world.sources["affectnet"], world.faces/"affectnet", split="validation", progress=False)
    train, held = sides(world, "affectnet", "expression", validation="official")
    assert {track.clip for track in held.tracks} <= {clip.name for clip in world.sources["affectnet"].select("validation")} and len(train) > len(sides(world, "affectnet", "expression")[0])
    assert shown(sides(world, "disfa", "aus", validation="official")[1]) == shown(sides(world, "disfa", "aus")[1]) # it has no such part


def test_people_are_held_out_for_all_tasks_where_each_then_has_labels_on_both_sides(tmp_path):
    database = open_database("aff-wild2", write_database("aff-wild2", tmp_path/"twin", train=6, frames_per_clip=12, difficulty=0, progress=False))
    preprocess_database(database, tmp_path/"faces", split="train", progress=False)
    some, kinds = [clip for clip in database.select("train") if clip.subject in ("P002", "P003", "P004", "P005")], set()
    assert [len(clip.splits) for clip in some] == [3, 2, 3, 1]
    for seed in range(6):
        learnt, held = holdout(some, .25, seed)
        whole = all(any(task in clip.splits for clip in side) for task in SETS for side in (learnt, held))
        found = {task: joint_sides(recipe(seed=seed), database, tmp_path/"faces", task, some, .25) for task in SETS}
        for train, valid in found.values(): assert len(train) and len(valid) and not set(train.subjects) & set(valid.subjects)
        if whole: assert all(set(valid.subjects) <= {clip.subject for clip in held} for _, valid in found.values())
        kinds.add(whole)
    assert kinds == {True, False} # both cases were seen


@pytest.mark.parametrize("name, task, changes, message", [("disfa", "va", {}, "disfa has no clip with valence and arousal"), ("disfa", "smile", {}, "allowed are va, aus, expression"),
    ("affectnet", "va", dict(recipe=recipe(length=3)), "length=1"), ("disfa", "aus", dict(recipe=recipe(arguments=dict(au_names=[24]))), "no face of disfa"),
    ("disfa", "aus", dict(validation="test"), "holdout, official"), ("disfa", "aus", dict(clips=[]), "no clip with action units")])
def test_sides_that_there_cannot_be(world, name, task, changes, message):
    with pytest.raises(ValueError, match=message): sides(world, name, task, **changes)


# --- three sets

def test_an_epoch_is_every_image_of_every_set_once(parts):
    dls = joint_loaders(recipe(), parts, device="cpu")
    counts = {task: sum(len(train) for _, own, train, _ in parts if own == task) for task in SETS}
    assert dls.train.plan["windows"].to_dict() == counts and list(dls.train.plan.index) == list(SETS)
    seen = dict.fromkeys(SETS, 0)
    for faces, _, targets in dls.train:
        annotated = torch.stack([targets.annotated(task) for task in SETS])
        assert (annotated.sum(0) == 1).all() and annotated.any(1).all() and targets.au_names == AUS17
        order = annotated.int().argmax(0).flatten()
        assert (order.diff() >= 0).all() # VA, AU, EXPR
        for task, there in zip(SETS, annotated): seen[task] += int(there.sum())
    assert seen == counts and int(dls.train.plan["size"].sum()) == 48
    assert dls.parts[["train", "valid"]].values.tolist() == [[len(train), len(held)] for task in SETS for _, own, train, held in parts if own == task]
    judged = [batch[2] for batch in dls.valid]
    assert sum(int(targets.annotated(task).sum()) for targets in judged for task in SETS) == sum(len(held) for *_, held in parts)


def test_a_network_of_one_task_learns_from_the_same_images(parts):
    whole = joint_loaders(recipe(), parts, device="cpu")
    for task in SETS:
        alone = joint_loaders(recipe(coupling="none", arguments=dict(tasks=[task])), parts, device="cpu")
        assert list(alone.train.plan.index) == [task] and (alone.train.plan["windows"] == whole.train.plan["windows"][task]).all()
        mine, theirs = ([name for part in dls.train.dataset.sets[task].datasets for name in shown(part)] for dls in (alone, whole))
        assert mine == theirs and set(alone.parts.set) == {SETS[task]}


def test_whoever_is_held_out_anywhere_is_learned_from_nowhere(world, parts):
    others = [("affectnet", "expression", *sides(world, "affectnet", "expression", recipe=recipe(seed=seed))) for seed in (5, 6)]
    mixed = [*parts, *others]
    dls = joint_loaders(recipe(), mixed, device="cpu")
    held = {name for *_, valid in mixed for name in shown(valid)}
    assert dls.parts.left_out.sum() == sum(name in held for _, _, train, _ in mixed for name in shown(train)) > 0
    assert not {name for data in dls.train.dataset.sets.values() for part in data.datasets for name in shown(part)} & held
    everywhere = (*parts[0][:2], parts[0][2], parts[0][2])
    with pytest.raises(ValueError, match="has no window to learn from"): joint_loaders(recipe(), [everywhere, *parts[1:]], device="cpu")


def test_parts_that_do_not_make_three_sets(parts):
    with pytest.raises(ValueError, match=r"no database for expressions \(EXPR-Set\)"): joint_loaders(recipe(), parts[:3], device="cpu")
    with pytest.raises(ValueError, match="the parts are none"): joint_loaders(recipe(), [], device="cpu")
    with pytest.raises(ValueError, match="'compound', allowed are va, aus, expression"): joint_loaders(recipe(), [("raf-db", "compound", *parts[-1][2:])], device="cpu")
    with pytest.raises(ValueError, match="at least 3"): joint_loaders(recipe(batch_size=2), parts, device="cpu")
    nothing = [(name, task, train, SomeWindows(train, [])) for name, task, train, _ in parts]
    with pytest.raises(ValueError, match="nothing is held out"): joint_loaders(recipe(), nothing, device="cpu")


def test_the_same_seed_gives_the_same_steps(parts):
    one, same, other = (joint_loaders(recipe(seed=seed), parts, device="cpu") for seed in (0, 0, 1))
    first = [next(iter(dls.train))[0] for dls in (one, same, other)]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert one.split_hash == same.split_hash == other.split_hash # the sides are the parts'


# --- from folders to weights

def test_a_killed_joint_training_goes_on(world, tmp_path):
    plan = recipe(epochs=2, coupling="both")
    (tmp_path/"straight").mkdir(); (tmp_path/"killed").mkdir()
    for out in ("straight", "killed"): (tmp_path/out/"faces").symlink_to(world.faces)
    card, skipped = train_joint(plan, world.folders, tmp_path/"straight", device="cpu", every=2)
    with pytest.raises(KeyboardInterrupt): train_joint(plan, world.folders, tmp_path/"killed", device="cpu", every=2, cbs=Kill(1))
    losses = TaskLosses()
    again, _ = train_joint(plan, world.folders, tmp_path/"killed", device="cpu", every=2, cbs=losses)
    weights = [load_checkpoint(tmp_path/out/"weights"/"facebehaviornet")[0] for out in ("straight", "killed")]
    assert equal(*map(state, weights)) and card.measures == again.measures and list(losses.table.index) == [1]
    assert {"ccc_mean", "expression_score", "au_score", "task_mean"} <= {name for name, value in card.measures.items() if value is not None}
    assert not skipped and card.data.count("drawn twin") == 4 and card.licence == "free: drawn faces" and card.au_names == AUS17
    assert {(part["set"], part["database"]) for part in card.notes["parts"]} == {(SETS[task], name) for name, task in PARTS} and card.notes["recipe"]["coupling"] == "both"
    class Never(Callback):
        def after_batch(self): assert not self.training
    assert train_joint(plan, world.folders, tmp_path/"killed", device="cpu", every=2, cbs=Never())[0].measures == again.measures


def test_one_task_of_many_databases(world):
    card, skipped = train_joint(recipe(coupling="none", arguments=dict(tasks=["va"])), world.folders, world.folder, device="cpu", every=4)
    assert [entry.source for entry in skipped] == ["raf-db", "disfa"] and {part["database"] for part in card.notes["parts"]} == {"affectnet", "aff-wild"}
    assert card.arguments["tasks"] == ["va"] and "task_mean" not in card.measures and card.measures["ccc_mean"] is not None
    assert read_card(world.folder/"weights"/"facebehaviornet").notes["every"] == 4


def test_what_cannot_be_trained_is_refused_at_once(world, tmp_path):
    with pytest.raises(ValueError, match="no database for action units"): train_joint(recipe(), dict(affectnet=world.folders["affectnet"]), tmp_path/"out", device="cpu")
    with pytest.raises(ValueError, match="cuda:99"): train_joint(recipe(), world.folders, tmp_path/"out", device="cuda:99")
    with pytest.raises(ValueError, match="no such weights file"): train_joint(recipe(), world.folders, tmp_path/"out", device="cpu", weights=tmp_path/"nothing")
    with pytest.raises(ValueError, match="holdout, official"): train_joint(recipe(), world.folders, tmp_path/"out", device="cpu", validation="test")
    assert not (tmp_path/"out").exists()


# --- terms and gradients while it trains

def learner(arch="facebehaviornet", coupling="both", cbs=None, tasks=tuple(SETS), frames=1, device=None, **options):
    torch.manual_seed(0)
    dls = toy_dataloaders(24, frames=frames, bs=8, tasks=tasks)
    return affect_learner(dls, arch, 1/16, lr=2e-3, loss_func=CoupledLoss(coupling), cbs=cbs, au_names=(1, 4, 12), size=32, device=device, **PLAIN, **options)


def fit(learn, epochs=2):
    torch.manual_seed(1)
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return learn


@pytest.mark.parametrize("arch, frames, parts", [("facebehaviornet", 1, ("cnn", "fc")), ("facebehaviornet", 1, ("fc",)), ("mt_vgg_gru", 3, ("cnn", "rnn1"))])
def test_looking_does_not_disturb(arch, frames, parts):
    plain, looked = fit(learner(arch, frames=frames)), fit(learner(arch, frames=frames, cbs=[TaskLosses(), GradientConflict(1, parts)]))
    assert equal(state(plain.model), state(looked.model)) and plain.recorder.losses == looked.recorder.losses
    table = looked.gradient_conflict.table
    assert len(table) == 2*3*10 and table.cosine.between(-1, 1).all() and len(looked.gradient_conflict.norms) == 2*3*5


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_cosines_are_those_of_a_slow_loop(coupling):
    torch.manual_seed(3)
    learn = learner(coupling=coupling)
    faces, _, targets = learn.dls.one_batch()
    model, shared = learn.model.eval(), [*learn.model.cnn.parameters(), *learn.model.fc.parameters()]
    names, dots = term_gradients(learn.loss_func.terms(model(faces), targets), shared)
    between, gradients = cosines(dots), {}
    for name in names:
        model.zero_grad()
        learn.loss_func.terms(model(faces), targets)[name].backward()
        gradients[name] = torch.cat([parameter.grad.flatten().double() for parameter in shared])
    for one, other in combinations(range(len(names)), 2):
        slow = torch.nn.functional.cosine_similarity(gradients[names[one]], gradients[names[other]], dim=0)
        assert between[one, other] == pytest.approx(slow.item(), abs=2e-4)
    assert dots.diagonal().sqrt().tolist() == pytest.approx([gradient.norm().item() for gradient in gradients.values()], rel=1e-4)
    assert set(names) >= set(SETS) and len(names) == 3 + dict(soft_co_annotation=1, co_annotations=1, distribution_matching=1, both=2).get(coupling, 0)


def test_pairs_of_a_linear_network_by_hand():
    weight = torch.tensor([[1., 2.], [0., 1.]], requires_grad=True)
    x = torch.tensor([1., 2.])
    out = weight @ x # gradients of out[0]: x in row 0; of out[1]: x in row 1; of their difference: both
    names, dots = term_gradients(dict(a=out[0], b=out[1], c=out[0] - out[1], d=-3*out[0]), [weight])
    expected = torch.tensor([[1, 0, .5**.5, -1], [0, 1, -.5**.5, 0], [.5**.5, -.5**.5, 1, -.5**.5], [-1, 0, -.5**.5, 1]], dtype=torch.float64)
    torch.testing.assert_close(cosines(dots), expected)
    assert names == list("abcd") and weight.grad is None
    out.sum().backward() # the graph is still there
    assert weight.grad.tolist() == [[1., 2.], [1., 2.]]


@pytest.mark.parametrize("lacks", list(SETS))
def test_a_task_without_labels_has_neither_loss_nor_angle(lacks):
    tasks = tuple(task for task in SETS if task != lacks)
    learn = fit(learner(coupling="none", tasks=tasks, cbs=[TaskLosses(), GradientConflict(2)]), 1)
    table = learn.task_losses.table
    for side in ("train", "valid"): assert table[side].isna().iloc[0].to_dict() == {task: task == lacks for task in ("expression", "aus", "va")}
    assert set(learn.gradient_conflict.norms.term) == set(tasks) and len(learn.gradient_conflict.table) == 2


def test_what_a_coupling_labels_counts():
    learn = fit(learner(coupling="co_annotation", tasks=("expression",), cbs=TaskLosses()), 1)
    row = learn.task_losses.table["train"].iloc[0]
    assert row["aus"] > 0 and row["expression"] > 0 and np.isnan(row["va"])


def test_the_log_of_terms_is_their_mean_over_an_epoch():
    seen = []
    class Look(Callback):
        order = 6
        def after_loss(self):
            if self.training: seen.append({name: term.item() for name, term in self.learn.loss_func.terms(self.pred, *self.yb).items()})
    learn = fit(learner(cbs=[Look(), TaskLosses()]), 3)
    table = learn.task_losses.table
    assert list(table.index) == [0, 1, 2] and len(seen) == 9
    for epoch in range(3):
        for name in seen[0]: assert table.loc[epoch, ("train", name)] == pytest.approx(np.mean([one[name] for one in seen[3*epoch:3*epoch + 3]]), rel=1e-5)
    assert table["valid"].sum(axis=1).tolist() == pytest.approx([row[1] for row in learn.recorder.values], rel=1e-4)
    before = table.copy()
    with learn.no_bar(): learn.validate()
    assert learn.task_losses.table.equals(before)
    fit(learn, 1)
    assert list(learn.task_losses.table.index) == [0]


def test_conflict_of_what_is_frozen_or_not_there():
    with pytest.raises(ValueError, match="no part 'rnn1'.*cnn, fc, output"): fit(learner(cbs=GradientConflict(parts=("cnn", "rnn1"))))
    frozen = learner(cbs=GradientConflict(parts=("cnn",)))
    frozen.model.cnn.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing learns in cnn"): fit(frozen)
    with pytest.raises(ValueError, match="the table is empty"): plot_conflict(GradientConflict().table)
    assert list(GradientConflict().table) == ["epoch", "batch", "term_a", "term_b", "cosine"] and not len(TaskLosses().table)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_on_a_gpu():
    learn = fit(learner(cbs=[TaskLosses(), GradientConflict(1)], device="cuda"))
    assert len(learn.gradient_conflict.table) == 60 and learn.task_losses.table.notna().all().all()


def test_a_joint_training_is_looked_at(parts):
    plan = recipe(coupling="both")
    torch.manual_seed(0)
    dls = joint_loaders(plan, parts, device="cpu")
    learn = fit(affect_learner(dls, "facebehaviornet", 1/16, loss_func=CoupledLoss("both"), cbs=[TaskLosses(), GradientConflict(2)], norm="batch", **PLAIN), 1)
    pairs = learn.gradient_conflict.table.groupby(["epoch", "batch"]).size()
    assert (pairs == 10).all() and learn.task_losses.table.notna().all().all() # every step has labels of every task


def test_the_guard_of_a_million_strangers_fits_into_a_hundred_megabytes():
    order, sets = np.random.default_rng(0).permutation(1_000_000), ["manual", "automatic", "validation"]
    side = lambda part: strangers(["affectnet"]*3, sets, part % 3, part)
    tracemalloc.start()
    train, valid = side(order[:800_000]), side(order[800_000:])
    check_split(train, valid)
    assert split_hash((train, valid)) != split_hash((valid, train))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    with pytest.raises(ValueError, match="manual, photograph"): check_split(train, valid + train.take(np.flatnonzero(train.codes["clip"] == 0)[:1]))
