"""Networks of several tasks in training: gradients, missing labels, fastai's loop, presets, the chain of stages."""
import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from fastai.callback.core import Callback
import fastai.callback.hook # gives learners their summary
from fastai.callback.mixup import MixUp

from affect_nb.core.labels import AUS8, AffectTargets
from affect_nb.core.losses import au_loss, ccc_loss, expression_loss
from affect_nb.databases.base import Clip, open_database
from affect_nb.data.loaders import AffectDL
from affect_nb.models import create_model
from affect_nb.models.weights import load_checkpoint, read_card
from affect_nb.synth.twins import write_database
from affect_nb.train.jobs_chain import ChainSource, Stage, mt_chain, run_chain
from affect_nb.train.jobs_database import clips_of, database_loaders, adapt_recipe, tasks_in, train_database
from affect_nb.train.jobs_chain import train_chain
from affect_nb.train.fastai_losses import MultitaskLoss
from affect_nb.train.fastai_metrics import TaskMean, monitor_of
from affect_nb.train.toy import ToyAffect, toy_dataloaders
from affect_nb.train.learner import affect_learner
from affect_nb.train.callbacks import complete_targets
from affect_nb.train.recipes import av_mt_vgg_gru_recipe, fitting_arguments, mt_vgg_gru_recipe, mt_vgg_recipe
from affect_nb.train.fit import frame_network, fit

ALL = ("va", "expression", "aus")
PLAIN = dict(precision="float32")
SMALL = dict(size=32, au_names=[1, 4, 12], norm="batch")
NETWORKS = ["mt_vgg", "mt_vgg_gru", "mt_vgg_gru_audio", "av_mt_vgg_gru"]


class Kill(Callback):
    "Ends everything in the middle of an epoch."
    def __init__(self, epoch): self.when = epoch
    def after_batch(self):
        if self.epoch == self.when and self.training: raise KeyboardInterrupt


class OneTaskEach(ToyAffect):
    "Each window has labels of one task; the first one of a task has none at all."
    def __getitem__(self, index):
        window, task = super().__getitem__(index), ALL[index % 3]
        field = getattr(window.targets, task)
        if index < 3: field[...] = -1 if task == "expression" else torch.nan
        return replace(window, targets=AffectTargets(**{task: field}, au_names=window.targets.au_names))


def toy(seed=0, frames=4, tasks=ALL, sound=False): return toy_dataloaders(8, frames=frames, seed=seed, tasks=tasks, sound=sound)


def learner(arch="mt_vgg", dls=None, **options):
    torch.manual_seed(0)
    return affect_learner(dls or toy(), arch, 1/16, **{**PLAIN, "lr": 2e-3, **SMALL, **options})


def quietly(learn, do):
    with learn.no_bar(), learn.no_logging(): return do(learn)


def state(model): return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def equal(one, other): return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def labels(n, only=ALL, au_names=(1, 4, 12)):
    "Random labels of some tasks; the others are missing."
    whole = dict(va=torch.rand(n, 1, 2)*2 - 1, expression=torch.randint(7, (n, 1)), aus=torch.randint(2, (n, 1, len(au_names))).float())
    return AffectTargets(**{**AffectTargets.missing((n, 1), ALL, au_names).__dict__, **{task: whole[task] for task in only}})


# --- loss and gradients

@pytest.mark.parametrize("arch", NETWORKS)
@pytest.mark.parametrize("lacks", ALL)
def test_rows_of_a_task_without_labels_have_no_gradient(arch, lacks):
    torch.manual_seed(1)
    model, (faces, landmarks, audio, targets) = create_model(arch, 1/16, **SMALL).train(), toy(sound=True).one_batch()
    hears = dict(audio=audio) if "audio" in arch or arch.startswith("av") else {}
    fields = {task: getattr(targets, task) for task in ALL if task != lacks}
    MultitaskLoss()(model(faces, landmarks, **hears), complete_targets(AffectTargets(**fields, au_names=targets.au_names), ALL, (1, 4, 12))).backward()
    for task in ALL:
        rows = model.output.rows(task)
        for parameter in (model.output.weight, model.output.bias): assert bool(parameter.grad[rows].any()) == (task != lacks)
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_loss_is_each_tasks_own_on_batches_of_one_task():
    torch.manual_seed(0)
    output, loss = create_model("mt_vgg", 1/16, **SMALL).eval()(torch.rand(6, 1, 3, 32, 32)), MultitaskLoss(lambda_au=.5, lambda_va=2.)
    va, expression, aus = (labels(6, (task,)) for task in ALL)
    torch.testing.assert_close(loss(output, va), 2*ccc_loss(output.va, va.va))
    torch.testing.assert_close(loss(output, expression), expression_loss(output.expression, expression.expression))
    torch.testing.assert_close(loss(output, aus), .5*au_loss(output.aus, aus.aus, over="mean"))
    torch.testing.assert_close(MultitaskLoss(au_over="sum")(output, aus), au_loss(output.aus, aus.aus, over="sum"))
    assert loss(output, labels(6, ())) == 0


def test_items_of_different_tasks_may_come_in_any_order():
    torch.manual_seed(0)
    output = create_model("mt_vgg", 1/16, **SMALL).eval()(torch.rand(9, 1, 3, 32, 32))
    mixed = AffectTargets.cat([labels(3, (task,)) for task in ALL])
    order = torch.randperm(9)
    torch.testing.assert_close(MultitaskLoss()(output, mixed), MultitaskLoss()(output[order], mixed[order]))


def test_missing_labels_never_make_a_loss_nan():
    learn, losses = learner(), []
    class Look(Callback):
        def after_loss(self): losses.append(self.loss.item())
    for dataset in (learn.dls.train.dataset, learn.dls.valid.dataset): dataset.__class__ = OneTaskEach
    assert [learn.dls.train.dataset[index].targets.present for index in range(3)] == [[task] for task in ALL]
    quietly(learn, lambda learn: learn.add_cb(Look()).fit(2))
    assert losses and all(map(math.isfinite, losses))
    assert all(parameter.isfinite().all() for parameter in learn.model.parameters())


# --- fastai's loop

@pytest.mark.parametrize("arch", NETWORKS)
def test_fastais_tools_carry_containers(arch):
    sound = "audio" in arch or arch.startswith("av")
    learn = learner(arch, toy(sound=sound))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 2e-3)
        measured = list(learn.recorder.values[-1])[2:]
        preds, targs = learn.get_preds()
        on_train, _ = learn.get_preds(dl=learn.dls.train)
        assert len(learn.validate()) == 1 + len(learn.metrics)
        if arch == "mt_vgg": assert learn.lr_find(num_it=4, show_plot=False)
    assert (preds.present, tuple(preds.shape), tuple(targs.aus.shape), len(on_train)) == (list(ALL), (4, 4), (4, 4, 3), 8)
    names = ["ccc_valence", "ccc_arousal", "ccc_mean", "expression_score", "macro_f1", "accuracy", "au_score", "au_f1", "au_accuracy", "task_mean"]
    assert list(learn.recorder.metric_names)[3:-1] == names
    values = dict(zip(names, measured))
    assert values["task_mean"] == pytest.approx((values["ccc_mean"] + values["expression_score"] + values["au_score"])/3)


def test_summary_and_what_cannot_be_done_with_labels_of_several_tasks():
    learn = learner()
    assert "Total params" in str(learn.summary())
    with learn.no_bar(), pytest.raises(ValueError, match="mix_up makes one face and one label of two"): learn.fit(1, cbs=MixUp(.4))
    with pytest.raises(ValueError, match="CCC is a measure of a whole batch"): learn.get_preds(with_loss=True)


def test_predictions_come_in_the_order_of_the_dataset():
    learn = learner()
    with learn.no_bar(): preds, targs = learn.get_preds(dl=learn.dls.train)
    torch.testing.assert_close(targs.va, learn.dls.train.dataset.va)
    learn.model.eval()
    with torch.no_grad(): own = learn.model(AffectDL(learn.dls.train.dataset, 8).one_batch()[0])
    torch.testing.assert_close(preds.expression, own.expression, atol=1e-4, rtol=1e-4)


def test_several_tasks_are_learned():
    dls = toy_dataloaders(48, frames=1, bs=8, tasks=("expression", "aus"))
    learn = learner("mt_vgg", dls, tasks=["expression", "aus"], dropout=.1)
    before = quietly(learn, lambda learn: learn.validate())[-1]
    quietly(learn, lambda learn: learn.fit_one_cycle(8, 5e-3))
    assert learn.recorder.values[-1][-1] > before + .2
    assert learn.model.output.out_features == 7 + 3


def test_a_task_without_validation_labels_is_left_out_of_the_mean():
    learn = learner(dls=toy(tasks=("va", "aus")))
    values = dict(zip([metric.name for metric in learn.metrics], quietly(learn, lambda learn: learn.validate())[1:]))
    assert math.isnan(values["expression_score"]) and math.isnan(values["accuracy"])
    assert values["task_mean"] == pytest.approx((values["ccc_mean"] + values["au_score"])/2)
    assert math.isnan(TaskMean(("aus",)).value)


def test_valence_and_arousal_alone_go_on_as_before():
    assert monitor_of(("va",)) == "ccc_mean" and {monitor_of(tasks) for tasks in (ALL, ("aus",))} == {"task_mean"}
    learn = learner("mt_vgg", tasks=["va"])
    assert type(learn.loss_func).__name__ == "VALoss" and [metric.name for metric in learn.metrics][-1] == "mse_arousal"
    with learn.no_bar(): preds, _ = learn.get_preds()
    assert isinstance(preds, torch.Tensor) and preds.shape == (4, 4, 2)


def test_what_does_not_go_together():
    with pytest.raises(ValueError, match="alone"): learner(pool="median")
    with pytest.raises(ValueError, match="hold no sound"): learner("av_mt_vgg_gru")


# --- recipes

def test_the_papers_recipes():
    frames, sequences, both = mt_vgg_recipe(), mt_vgg_gru_recipe(), av_mt_vgg_gru_recipe()
    assert (frames.batch_size, frames.length) == (256, 1)
    for one in (sequences, both): assert (one.batch_size, one.length) == (10, 90)
    for one in (frames, sequences, both):
        assert (one.width, one.lr, one.arguments["dropout"], one.lambda_au, one.lambda_va, one.au_over) == (1., 1e-4, .5, 1., 1., "sum")
        assert one.network.output.out_features == 2 + 7 + len(AUS8)
    assert fitting_arguments("mt_vgg_gru_audio", dict(modality="audio", dropout=.1)) == dict(dropout=.1)
    assert frame_network(mt_vgg_gru_recipe("smoke").network)[0] == "mt_vgg"


@pytest.mark.parametrize("preset", ["demo", "smoke"])
def test_small_presets_are_small(preset):
    for make in (mt_vgg_recipe, mt_vgg_gru_recipe, av_mt_vgg_gru_recipe):
        one = make(preset)
        assert one.width == .125 and one.arguments["norm"] == "batch" and one.clip == 1. and one.schedule == "one_cycle"


def test_a_killed_training_of_several_tasks_goes_on(tmp_path):
    plan = mt_vgg_recipe("smoke", width=1/16, batch_size=4, epochs=3, patience=2, arguments=SMALL, **PLAIN)
    loaders = lambda: toy(frames=1, tasks=("va", "aus")) # no expression: NaN in the history
    plan = plan.replace(length=1)
    straight = fit(plan, loaders(), tmp_path/"straight")
    with pytest.raises(KeyboardInterrupt): fit(plan, loaders(), tmp_path/"killed", cbs=Kill(1))
    resumed = fit(plan, loaders(), tmp_path/"killed")
    assert equal(state(straight.model), state(resumed.model))
    card = read_card(tmp_path/"killed"/"best")
    assert card.measures["expression_score"] is None and card.measures["task_mean"] == pytest.approx(max(values[-1] for values in straight.recorder.values))
    json.loads((tmp_path/"killed"/"best.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the card"))


def test_a_validation_without_any_label_is_an_error(tmp_path):
    plan = mt_vgg_recipe("smoke", width=1/16, batch_size=4, arguments=SMALL, **PLAIN)
    dls = toy(frames=1)
    dls.valid.dataset.tasks = ()
    with pytest.raises(ValueError, match="task_mean is NaN after every epoch"): fit(plan, dls, tmp_path)


# --- the chain

STAGES = ["visual_va", "mt_vgg", "mt_vgg_gru", "audio_va", "mt_vgg_audio", "mt_vgg_gru_audio", "av_mt_vgg_gru"]
FRAMES = {name: dict(batch_size=4) for name in STAGES if name not in ("mt_vgg_gru", "mt_vgg_gru_audio", "av_mt_vgg_gru")}


class Worlds:
    "Toy sources that count how often they are learned from."
    def __init__(self, seed=0): self.seed, self.fits = seed, []
    def source(self, tasks):
        def loaders(recipe):
            dls = toy_dataloaders(8, frames=recipe.length, bs=recipe.batch_size, tasks=tasks, sound=recipe.arch.startswith("av") or "audio" in str(recipe))
            dls.split_hash = f"split {self.seed}"
            return dls
        return ChainSource(loaders, "toy world", "free")
    @property
    def sources(self): return dict(pretrain=self.source(("va",)), train=self.source(ALL))


class Count(Callback):
    "The stages that made a step."
    def __init__(self): self.stages = []
    def before_fit(self): self.stages.append(self.learn.path.name)
    def __call__(self, event):
        if event == "after_batch" and self.learn.training and self.learn.path.name not in self.stages: self.stages.append(self.learn.path.name)
        return super().__call__(event)


def chain(streams=("visual", "audio"), **changes):
    each = {name: one for name, one in FRAMES.items() if name.startswith(streams[0]) or len(streams) == 2 or name == "mt_vgg"}
    return mt_chain("smoke", streams, each=each, **{**PLAIN, "width": 1/16, "length": 4, "batch_size": 4, "arguments": dict(size=32, au_names=[1, 4]), **changes})


def test_the_whole_chain(tmp_path):
    seen = Count()
    cards = run_chain(chain(), Worlds().sources, tmp_path, cbs=seen)
    assert list(cards) == STAGES == seen.stages
    first, frames, sequences, both = (load_checkpoint(cards[name])[0] for name in ("visual_va", "mt_vgg", "mt_vgg_gru", "av_mt_vgg_gru"))
    assert first.output.tasks == ("va",) and frames.output.tasks == ALL and both.output.au_names == (1, 4)
    said = {name: [(one["part"], one["file"]) for one in read_card(path).notes["weights"]] for name, path in cards.items()}
    assert said["visual_va"] == [] and said["mt_vgg"] == [("cnn", "visual_va.safetensors"), ("fc", "visual_va.safetensors")]
    assert said["mt_vgg_gru"] == [("cnn", "mt_vgg.safetensors"), ("fc.0", "mt_vgg.safetensors")]
    assert [file for _, file in said["av_mt_vgg_gru"]] == ["mt_vgg_gru.safetensors", "mt_vgg_gru_audio.safetensors"]
    card = read_card(cards["av_mt_vgg_gru"])
    assert card.notes["visual"] == "mt_vgg_gru" and (card.data, card.licence) == ("toy world", "free") and card.au_names == (1, 4)
    again = Count()
    before = {name: path.stat().st_mtime_ns for name, path in cards.items()}
    assert run_chain(chain(), Worlds().sources, tmp_path, cbs=again) == cards and again.stages == []
    assert {name: path.stat().st_mtime_ns for name, path in cards.items()} == before


def test_a_stage_really_starts_from_its_weights(tmp_path):
    start = {}
    class Look(Callback):
        def before_fit(self): start[self.learn.path.name] = state(self.model)
    cards = run_chain(chain(("visual",)), Worlds().sources, tmp_path, cbs=Look())
    before = load_checkpoint(cards["mt_vgg"])[0].state_dict()
    for name, tensor in start["mt_vgg_gru"].items():
        if name.startswith(("cnn.", "fc.0.")): assert torch.equal(tensor, before[name]), name


def test_the_first_stage_of_faces_starts_from_a_checkpoint(tmp_path):
    "As the paper's from VGG-Face; another file under the same name trains all stages anew."
    cards = run_chain(chain(("visual",), seed=3), Worlds().sources, tmp_path/"elsewhere", only=["visual_va"])
    given = tmp_path/"vgg_face"
    for suffix in (".json", ".safetensors"): shutil.copy(cards["visual_va"].with_suffix(suffix), given.with_suffix(suffix))
    start, seen = {}, Count()
    class Look(Callback):
        def before_fit(self): start.setdefault(self.learn.path.name, state(self.model))
    cards = run_chain(chain(("visual",), weights={"cnn": given}), Worlds().sources, tmp_path/"run", cbs=[Look(), seen])
    expected, drawn = load_checkpoint(given)[0].state_dict(), start["visual_va"]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in drawn.items() if name.startswith("cnn."))
    assert not torch.equal(drawn["output.weight"], expected["output.weight"]) # only the part that was named
    assert [(one["part"], one["file"]) for one in read_card(cards["visual_va"]).notes["weights"]] == [("cnn", "vgg_face.safetensors")]
    assert run_chain(chain(("visual",), weights={"cnn": given}), Worlds().sources, tmp_path/"run", cbs=seen) == cards and seen.stages == STAGES[:3]
    shutil.copy(cards["mt_vgg"].with_suffix(".safetensors"), given.with_suffix(".safetensors"))
    shutil.copy(cards["mt_vgg"], given.with_suffix(".json"))
    run_chain(chain(("visual",), weights={"cnn": given}), Worlds().sources, tmp_path/"run", cbs=seen)
    assert seen.stages == STAGES[:3]*2


def test_a_killed_chain_goes_on(tmp_path):
    straight = run_chain(chain(("visual",), epochs=2), Worlds().sources, tmp_path/"straight")
    class Stop(Kill):
        def after_batch(self):
            if self.learn.path.name == "mt_vgg": super().after_batch()
    with pytest.raises(KeyboardInterrupt): run_chain(chain(("visual",), epochs=2), Worlds().sources, tmp_path/"killed", cbs=Stop(1))
    seen = Count()
    killed = run_chain(chain(("visual",), epochs=2), Worlds().sources, tmp_path/"killed", cbs=seen)
    assert seen.stages == ["mt_vgg", "mt_vgg_gru"]
    for name in straight: assert equal(load_checkpoint(straight[name])[0].state_dict(), load_checkpoint(killed[name])[0].state_dict())


def test_what_a_change_runs_again(tmp_path):
    run_chain(chain(("visual",)), Worlds().sources, tmp_path)
    seen = Count()
    run_chain(chain(("visual",)), Worlds(seed=1).sources, tmp_path, cbs=seen) # another split
    assert seen.stages == STAGES[:3]
    for name in ("mt_vgg", "mt_vgg_gru"): seen.stages.clear(); shutil.rmtree(tmp_path/"training"/name)
    run_chain(chain(("visual",)), Worlds(seed=1).sources, tmp_path, cbs=seen) # the weights are there: nothing to do
    assert seen.stages == []
    (tmp_path/"weights"/"mt_vgg.safetensors").unlink()
    run_chain(chain(("visual",)), Worlds(seed=1).sources, tmp_path, cbs=seen)
    assert seen.stages == ["mt_vgg", "mt_vgg_gru"]
    seen.stages.clear()
    run_chain(chain(("visual",), lr=1e-4), Worlds(seed=1).sources, tmp_path, only=["mt_vgg_gru"], cbs=seen)
    assert seen.stages == ["mt_vgg_gru"]


def test_a_folder_of_something_else_is_not_deleted(tmp_path):
    (tmp_path/"training"/"visual_va").mkdir(parents=True)
    (tmp_path/"training"/"visual_va"/"mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="no stage of a chain"): run_chain(chain(("visual",)), Worlds().sources, tmp_path)
    assert (tmp_path/"training"/"visual_va"/"mine.txt").exists()


def test_chains_that_cannot_run():
    one = Stage("a", mt_vgg_recipe("smoke"))
    with pytest.raises(ValueError, match="a name of its own"): run_chain([one, one], {}, "nowhere")
    with pytest.raises(ValueError, match="starts from b"): run_chain([Stage("a", one.recipe, start={"cnn": "b"})], {}, "nowhere")
    with pytest.raises(ValueError, match="visual, audio"): mt_chain(streams=("smell",))
    with pytest.raises(ValueError, match="gone.safetensors: no such weights file"): run_chain(chain(("visual",), weights={"cnn": "gone"}), {}, "nowhere")
    with pytest.raises(ValueError, match="c has weights for cnn, which it takes from b"): run_chain([Stage("b", one.recipe), Stage("c", one.recipe, start={"cnn": "b"}, weights={"cnn": "gone"})], {}, "nowhere")
    assert [stage.data for stage in mt_chain()] == ["pretrain", "train", "train"]*2 + ["train"]


# --- databases

def test_a_clip_that_validates_one_task_validates_all():
    class Source:
        def __init__(self): self.clips = [Clip("d", "1", "1", "validation", splits=dict(va="train", aus="validation")), Clip("d", "2", "2", "train", splits=dict(va="train")), Clip("d", "3", "3", "train", splits=dict(compound="train"))]
        def select(self, split=None, task=None): return [clip for clip in self.clips if split in (None, clip.splits.get(task) if task else clip.split)]
    names = lambda split, *tasks: [clip.name for clip in clips_of(Source(), split, tasks)]
    assert names("train", "va") == ["1", "2"] and names("train", "va", "aus") == ["2"] and names("validation", "va", "aus") == ["1"]


def test_the_twins_of_both_databases_from_folders_to_the_network_that_sees_and_hears(tmp_path):
    size = dict(frames_per_clip=24, progress=False)
    first, second = write_database("aff-wild", tmp_path/"1", train=3, test=1, **size), write_database("aff-wild2", tmp_path/"2", train=5, test=1, **size)
    stages = mt_chain("smoke", width=1/16, length=12, **PLAIN, each={name: dict(batch_size=16) for name in FRAMES})
    databases = dict(pretrain=("aff-wild", first), train=("aff-wild2", second))
    some = STAGES[:3]
    cards, skipped = train_chain(stages, databases, tmp_path/"run", device="cpu", only=some)
    before = {name: path.stat().st_mtime_ns for name, path in cards.items()}
    assert list(cards) == some and not skipped and "drawn twin" in read_card(cards["mt_vgg_gru"]).data
    assert set(read_card(cards["mt_vgg_gru"]).measures) >= {"ccc_mean", "expression_score", "au_score", "task_mean"}
    cards, skipped = train_chain(stages, databases, tmp_path/"run", device="cpu")
    assert list(cards) == STAGES and {name: cards[name].stat().st_mtime_ns for name in some} == before
    both, card = load_checkpoint(cards["av_mt_vgg_gru"])
    assert both.output.tasks == ALL and card.au_names == AUS8
    source, recipe = open_database("aff-wild2", second), av_mt_vgg_gru_recipe("smoke", width=1/16, length=12)
    dls = database_loaders(recipe, source, tmp_path/"run"/"faces"/"aff-wild2", device="cpu")
    faces, landmarks, audio, targets = dls.one_batch()
    assert audio.shape == (2, 12, 1, 96, 96) and audio.max() > -1 and targets.present == list(ALL) and dls.n_inp == 3


@pytest.mark.parametrize("database, tasks, measure", [("affectnet", ["va", "expression"], "accuracy"), ("emotionet", ["aus"], "au_f1")])
def test_photographs_are_single_frames_of_the_tasks_that_they_have(tmp_path, database, tasks, measure):
    folder = write_database(database, tmp_path/"photographs", train=3, test=1, frames_per_clip=12, progress=False)
    source = open_database(database, folder)
    recipe = adapt_recipe(mt_vgg_gru_recipe("smoke", width=1/16, **PLAIN), source)
    assert list(tasks_in(source)) == tasks and (recipe.length, recipe.batch_size, recipe.arguments["tasks"]) == (1, 32, tasks)
    card, _ = train_database(mt_vgg_recipe("smoke", width=1/16, batch_size=4, **PLAIN), database, folder, tmp_path/"out", device="cpu")
    assert card.arguments["tasks"] == tasks and {measure, "task_mean"} <= set(card.measures) and ("ccc_mean" in card.measures) == ("va" in tasks)
    assert "aus" not in tasks or 10 < len(card.au_names) <= 18
