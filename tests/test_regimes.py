"""End to end, a frozen CNN, the CNN first; starting weights; a training that stops early; adaptation to utterances."""
import pytest
import torch
from fastai.callback.core import Callback

from affect_nb.databases.base import open_database
from affect_nb.databases.splits import overlap
from affect_nb.data.store import preprocess_database
from affect_nb.models import create_model
from affect_nb.models.weights import load_checkpoint, read_card, save_checkpoint
from affect_nb.synth.twins import write_database
from affect_nb.train.jobs_database import database_loaders, train_database
from affect_nb.train.learner import affect_learner, affect_splitter
from affect_nb.models.starting import cnn_parts, start_from, weights_record
from affect_nb.train.toy import toy_dataloaders
from affect_nb.train.recipes import Recipe, affwildnet_recipe, omg_recipe
from affect_nb.train.fit import frame_network, fit

PLAIN = dict(precision="float32")
TINY = dict(width=1/16, batch_size=4, length=8, lr=2e-3, **PLAIN)
NETWORKS = {"affwildnet_vgg": {}, "affwildnet_resnet": {}, "vgg_face_lstm": {}, "resnet_rnn": {}, "vgg16": {}, "vgg_face": {}, "resnet50": {},
            "cnn_1rnn": {}, "cnn_3rnn": {}, "fusion_fc": {}, "fusion_rnn": dict(share_cnn=True), "decision_fusion": {}}


class Kill(Callback):
    "Ends everything in the middle of an epoch."
    def __init__(self, epoch): self.when = epoch
    def after_batch(self):
        if self.epoch == self.when and self.training: raise KeyboardInterrupt


def recipe(**changes):
    return affwildnet_recipe("smoke", **{**TINY, "arguments": dict(size=32), "epochs": 2, **changes})


def toy(seed=0): return toy_dataloaders(n=8, seed=seed)




def state(model): return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def moved(before, after): return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def checkpoint(path, arch, seed=1, **arguments):
    torch.manual_seed(seed)
    model = create_model(arch, 1/16, size=32, **arguments)
    for name, tensor in model.state_dict().items():
        if "running" in name: tensor.add_(.1)
    save_checkpoint(path, model)
    return path


# --- every network

@pytest.mark.parametrize("arch", NETWORKS)
def test_every_network_trains_and_remembers_in_float32(arch):
    learn = affect_learner(toy(), arch, 1/16, lr=1e-3, precision="bfloat16", size=32, **NETWORKS[arch])
    formats, before = set(), state(learn.model)
    for part in learn.model.modules():
        if isinstance(part, torch.nn.RNNBase): part.register_forward_hook(lambda module, inputs, output: formats.update((inputs[0].dtype, output[0].dtype)))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert formats <= {torch.float32} and all(torch.isfinite(torch.tensor(learn.recorder.values[-1])))
    assert moved(before, state(learn.model))


# --- a frozen CNN

@pytest.mark.parametrize("arch, arguments", [("affwildnet_vgg", dict(norm="batch")), ("resnet_rnn", {}), ("fusion_rnn", dict(share_cnn=True)), ("fusion_fc", {})], ids=str)
def test_a_frozen_cnn_keeps_every_bit(tmp_path, arch, arguments):
    start = checkpoint(tmp_path/"start", arch, **arguments)
    seen = []
    class Look(Callback):
        def after_backward(self): seen.append({name for name, parameter in self.model.named_parameters() if parameter.grad is not None})
        def after_pred(self):
            modes = {part.training for cnn in cnn_parts(self.model).values() for part in cnn.modules()}
            assert modes == {False} and self.model.output.training == self.training
    plan = recipe(arch=arch, arguments=dict(size=32, **arguments), regime="cnn_frozen")
    learn = fit(plan, toy(), tmp_path/"run", weights=start, cbs=Look())
    before, after = load_checkpoint(start)[0].state_dict(), state(learn.model)
    cnn = {name for name in after if "cnn" in name.split(".")}
    assert cnn and not moved(before, after) & cnn
    assert moved(before, after) == {name for name in after if name not in cnn}
    assert seen and all(not names & cnn for names in seen)
    held = {id(parameter) for group in learn.opt.opt.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for name, parameter in learn.model.named_parameters() if name not in cnn}


def test_no_graph_goes_through_a_frozen_cnn():
    learn = affect_learner(toy(), width=1/16, size=32, frozen=True, **PLAIN)
    maps = []
    learn.model.cnn.register_forward_hook(lambda module, inputs, output: maps.extend(output.values()))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert maps and all(one.grad_fn is None and not one.requires_grad for one in maps)


def test_freezing_needs_a_cnn_that_has_learned(tmp_path):
    with pytest.raises(ValueError, match="has learned nothing"): fit(recipe(regime="cnn_frozen"), toy(), tmp_path/"run")
    with pytest.raises(ValueError, match="no part called 'cnn'"): affect_learner(toy(), torch.nn.Sequential(torch.nn.Linear(2, 2)), frozen=True, **PLAIN)


def test_the_splitter_still_gives_every_parameter():
    model = create_model("fusion_fc", 1/16, size=32)
    assert sum(map(len, affect_splitter(model))) == len(list(model.parameters()))


# --- the CNN first

@pytest.mark.parametrize("arch, arguments, frames", [
    ("affwildnet_vgg", dict(dropout=.3), ("vgg_face", dict(size=32, dropout=.3, norm=None))), ("affwildnet_vgg", dict(norm="batch"), ("vgg_face", dict(size=32, norm="batch"))),
    ("affwildnet_resnet", dict(caffe=True), ("resnet50", dict(size=32, caffe=True))), ("cnn_3rnn", {}, ("vgg_face", dict(size=32, norm=None))),
    ("fusion_fc", {}, ("vgg_face", dict(size=32, norm=None)))], ids=str)
def test_the_network_of_frames_has_the_same_cnn(arch, arguments, frames):
    plan = recipe(arch=arch, arguments=dict(size=32, **arguments))
    assert frame_network(plan.network) == frames
    own, alone = create_model(arch, plan.width, **plan.arguments), create_model(frames[0], plan.width, **frames[1])
    for cnn in cnn_parts(own).values(): assert {name: tensor.shape for name, tensor in cnn.state_dict().items()} == {name: tensor.shape for name, tensor in alone.cnn.state_dict().items()}


@pytest.mark.parametrize("arch", ["affwildnet_vgg", "fusion_fc"])
def test_the_cnn_first_then_the_rest(tmp_path, arch):
    start = checkpoint(tmp_path/"start", "vgg_face")
    plan = recipe(arch=arch, regime="cnn_first", cnn_epochs=1)
    with pytest.raises(KeyboardInterrupt): fit(plan, toy(), tmp_path/"run", weights={"cnn": start}, cbs=Kill(1)) # in the second stage: the first has one epoch
    learn = fit(plan, toy(), tmp_path/"run", weights={"cnn": start})
    straight = fit(plan, toy(), tmp_path/"straight", weights={"cnn": start})
    assert not moved(state(straight.model), state(learn.model))
    frames, said = load_checkpoint(tmp_path/"run"/"cnn"/"best")
    for cnn in cnn_parts(learn.model).values(): assert not moved(state(frames.cnn), state(cnn))
    assert moved(load_checkpoint(start)[0].cnn.state_dict(), state(frames.cnn))
    assert said.architecture == "vgg_face" and [one["file"] for one in said.notes["weights"]] == ["start.safetensors"]
    assert [(one["part"], one["file"]) for one in read_card(tmp_path/"run"/"best").notes["weights"]] == [("cnn", "best.safetensors")]


def test_a_killed_first_stage_goes_on(tmp_path):
    plan = recipe(regime="cnn_first", cnn_epochs=2)
    with pytest.raises(KeyboardInterrupt): fit(plan, toy(), tmp_path/"run", cbs=Kill(1))
    assert (tmp_path/"run"/"cnn"/"state.safetensors").exists() and not (tmp_path/"run"/"state.safetensors").exists()
    assert not moved(state(fit(plan, toy(), tmp_path/"straight").model), state(fit(plan, toy(), tmp_path/"run").model))


# --- weights to start from

def test_weights_are_data(tmp_path):
    vgg, whole = checkpoint(tmp_path/"vgg", "vgg_face"), checkpoint(tmp_path/"whole", "affwildnet_vgg", seed=2)
    fresh = lambda: create_model("affwildnet_vgg", 1/16, size=32)
    assert not moved(state(start_from(fresh(), whole)), load_checkpoint(whole)[0].state_dict())
    mixed = start_from(fresh(), {"": whole, "cnn": vgg})
    assert not moved(state(mixed.cnn), load_checkpoint(vgg)[0].cnn.state_dict()) and not moved(state(mixed.rnn1), load_checkpoint(whole)[0].rnn1.state_dict())
    members = [checkpoint(tmp_path/name, name) for name in ("cnn_1rnn", "cnn_3rnn")]
    fusion = start_from(create_model("fusion_fc", 1/16, size=32), members)
    assert not moved(state(fusion.members[1].cnn), load_checkpoint(members[1])[0].cnn.state_dict())
    with pytest.raises(ValueError, match="one for each member"): start_from(fresh(), members)
    with pytest.raises(ValueError, match="no part 'rnn9'"): start_from(fresh(), {"rnn9": whole})
    with pytest.raises(ValueError, match="no such weights file"): weights_record(tmp_path/"nothing")
    assert [one["part"] for one in weights_record(members)] == ["members.0", "members.1"]
    with pytest.raises(ValueError, match="bring their CNNs"): fit(recipe(arch="fusion_fc", regime="cnn_first"), toy(), tmp_path/"run", weights=members)


def test_a_training_is_not_continued_from_other_weights(tmp_path):
    one, other = checkpoint(tmp_path/"a"/"start", "affwildnet_vgg"), checkpoint(tmp_path/"b"/"start", "affwildnet_vgg", seed=5)
    with pytest.raises(KeyboardInterrupt): fit(recipe(), toy(), tmp_path/"run", weights=one, cbs=Kill(1))
    with pytest.raises(ValueError, match="weights was"): fit(recipe(), toy(), tmp_path/"run", weights=other)
    (tmp_path/"moved").mkdir()
    for suffix in ("json", "safetensors"): (tmp_path/"a"/f"start.{suffix}").rename(tmp_path/"moved"/f"start.{suffix}")
    learn = fit(recipe(), toy(), tmp_path/"run", weights=tmp_path/"moved"/"start.json") # the same bytes elsewhere
    assert len(learn.recorder.values) == 2


# --- stopping early

@pytest.mark.parametrize("schedule", ["decay", "one_cycle"])
def test_a_killed_training_stops_at_the_same_epoch(tmp_path, schedule):
    plan = recipe(epochs=40, patience=2, schedule=schedule, decay_after=1, lr=8e-3, pool="median", seed=3)
    straight = fit(plan, toy(), tmp_path/"straight")
    epochs = len(straight.recorder.values)
    assert 3 <= epochs < 40
    with pytest.raises(KeyboardInterrupt): fit(plan, toy(), tmp_path/"killed", cbs=Kill(epochs - 1))
    resumed = fit(plan, toy(), tmp_path/"killed")
    assert resumed.recorder.values == straight.recorder.values and resumed.recorder.lrs == straight.recorder.lrs
    scores = [values[4] for values in straight.recorder.values]
    best = read_card(tmp_path/"killed"/"best")
    assert best.notes["epoch"] == scores.index(max(scores)) == epochs - 3
    assert not moved(state(resumed.model), load_checkpoint(tmp_path/"straight"/"best")[0].state_dict())
    written = (tmp_path/"killed"/"state.safetensors").read_bytes()
    again = fit(plan, toy(), tmp_path/"killed", cbs=Kill(epochs - 1)) # nothing is trained once more
    assert again.recorder.values == straight.recorder.values and not moved(state(again.model), state(straight.model))
    assert (tmp_path/"killed"/"state.safetensors").read_bytes() == written


# --- recipes, and OMG-Emotion

def test_recipes_of_utterances():
    plan = omg_recipe()
    assert (plan.batch_size, plan.length, plan.lr, plan.pool, plan.remainder, plan.patience, plan.regime) == (4, 80, 1e-4, "median", "pad", 5, "end_to_end")
    assert plan.arguments == dict(dropout=.5, rnn_dropout=.2) and affwildnet_recipe().pool is None
    assert omg_recipe(arch="resnet_rnn").arguments == dict(rnn_dropout=.2)
    with pytest.raises(ValueError, match="'paper', 'demo', 'smoke'"): omg_recipe("quick")
    with pytest.raises(ValueError, match="at least 2"): omg_recipe(batch_size=1)
    with pytest.raises(ValueError, match="regime"): Recipe(regime="frozen")


def test_the_card_of_an_adapted_network_names_its_source(tmp_path):
    first = fit(recipe(), toy(), tmp_path/"first")
    plan = omg_recipe("smoke", arch="affwildnet_vgg", **{**TINY, "arguments": dict(size=32)})
    fit(plan, toy(4), tmp_path/"second", weights=tmp_path/"first"/"best")
    said, = read_card(tmp_path/"second"/"best").notes["weights"]
    assert said == weights_record(tmp_path/"first"/"best")[0] and said["file"] == "best.safetensors"
    assert first.loss_func.loss.__name__ == "ccc_loss" and read_card(tmp_path/"second"/"best").notes["recipe"]["pool"] == "median"


def test_the_releases_own_validation_part(tmp_path):
    folder = write_database("omg-emotion", tmp_path/"omg", train=4, validation=3, test=1, frames_per_clip=12, progress=False)
    source = open_database("omg-emotion", folder)
    for split in ("train", "validation"): preprocess_database(source, tmp_path/"faces", split=split, progress=False)
    plan = omg_recipe("smoke", arch="affwildnet_vgg", width=1/16, length=16)
    dls = database_loaders(plan, source, tmp_path/"faces", validation="official", device="cpu")
    sides = [{track.clip for track in side.dataset.tracks} for side in (dls.train, dls.valid)]
    assert [side <= {clip.name for clip in source.select(split)} for side, split in zip(sides, ("train", "validation"))] == [True, True] and all(sides)
    assert not any(overlap(dls.train.dataset.people, dls.valid.dataset.people).values())
    faces, _, targets = dls.one_batch()
    padded = targets.va.isnan().all(-1)
    assert faces.shape[1] == 16 and padded.any(1).all() and not padded.all(1).any() # shorter than a sequence, none without a label
    for values in targets.va.flatten(0, 0): assert len(values[~values.isnan().any(1)].unique(dim=0)) == 1 # one annotation an utterance
    with pytest.raises(ValueError, match="holdout, official"): database_loaders(plan, source, tmp_path/"faces", validation="test", device="cpu")
    twin = write_database("aff-wild", tmp_path/"twin", media=False, train=2, test=1, frames_per_clip=12, progress=False)
    with pytest.raises(ValueError, match="validation='holdout'"): train_database(plan, "aff-wild", twin, tmp_path/"out", validation="official", device="cpu")
    with pytest.raises(ValueError, match="no such weights file"): train_database(plan, "omg-emotion", folder, tmp_path/"out", weights=tmp_path/"nothing", device="cpu")
    assert not (tmp_path/"out").exists()
    start = tmp_path/"start"
    save_checkpoint(start, create_model("affwildnet_vgg", 1/16))
    card, skipped = train_database(plan, "omg-emotion", folder, tmp_path/"run", weights={"cnn": start, "rnn1": start}, validation="official", device="cpu")
    assert [one["part"] for one in card.notes["weights"]] == ["cnn", "rnn1"] and not skipped and set(card.measures) >= {"ccc_mean"}


def test_a_frozen_network_stays_so_in_the_precision_of_this_machine(machine_precision):
    learn = affect_learner(toy(), width=1/16, size=32, norm="batch", frozen=True)
    before = state(learn.model.cnn)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert not moved(before, state(learn.model.cnn)) and learn.precision.name


def test_a_network_that_reads_landmarks_warns_where_there_are_none(recwarn):
    dls = toy_dataloaders(n=2, frames=4, bs=2)
    dls.train.dataset.has_landmarks = False
    affect_learner(dls, "affwildnet_vgg", width=1/16, size=32, precision="float32", landmarks=False)
    assert not [one for one in recwarn if "landmarks" in str(one.message)]
    with pytest.warns(UserWarning, match="affwildnet_vgg reads landmarks, and none of the faces has any"):
        affect_learner(dls, "affwildnet_vgg", width=1/16, size=32, precision="float32")
