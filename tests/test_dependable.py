"""Trainings that can be relied on: whether one learned, saturated gates, a second try that is told, one precision, one thread."""
import json

import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from affect_nb.analysis.tables import TRAININGS, learned_words, learning_warnings, record, training_table
from affect_nb.apps.report import write_report
from affect_nb.apps.run import load_preset
from affect_nb.core.labels import AffectOutput, AffectTargets
from affect_nb.models import create_model
from affect_nb.models.weights import read_card, save_checkpoint
from affect_nb.train import affwildnet_recipe, av_mt_vgg_gru_recipe, facebehaviornet_recipe, mt_vgg_gru_recipe, mt_vgg_recipe, omg_recipe, train_on
from affect_nb.train.callbacks import ResumeCallback, StopAtNaN
from affect_nb.train.fastai_metrics import AUMetric
from affect_nb.train.fit import RETRY_SEED, fit
from affect_nb.train.gates import GateSaturation, gate_inputs, saturated_share
from affect_nb.train.learner import affect_learner
from affect_nb.train.learning import chance_score, measured
from affect_nb.train.toy import toy_dataloaders
from affect_nb.train.verdicts import verdict

SMALL = dict(width=1/16, epochs=3, batch_size=4, length=4, arguments=dict(size=32, norm="batch"), lr=2e-3)
RECIPES = (affwildnet_recipe, omg_recipe, mt_vgg_recipe, mt_vgg_gru_recipe, av_mt_vgg_gru_recipe, facebehaviornet_recipe)


def recipe(**changes): return affwildnet_recipe("smoke", **{**SMALL, **changes})
def toy(n=8): return toy_dataloaders(n, frames=4)


def quietly(learn, epochs):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return learn


# gates

@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_pre_activations_of_two_layers_give_torchs_own_outputs(kind):
    torch.manual_seed(0)
    rnn, values = getattr(nn, kind)(3, 4, num_layers=2, batch_first=True), torch.randn(2, 6, 3)
    state = torch.randn(2, 2, 4) if kind == "GRU" else (torch.randn(2, 2, 4), torch.randn(2, 2, 4))
    inputs, numbers = values, gate_inputs(rnn, values, state)
    for layer in range(2): # by hand, from the gates and the candidate
        weights = [getattr(rnn, f"{name}_l{layer}") for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
        gates, outputs = numbers[layer].sigmoid(), []
        h, c = (state[layer], None) if kind == "GRU" else (state[0][layer], state[1][layer])
        for t in range(6):
            own, recurrent = (inputs[:, t] @ weights[0].T + weights[1]).chunk(3 if kind == "GRU" else 4, -1), (h @ weights[2].T + weights[3]).chunk(3 if kind == "GRU" else 4, -1)
            if kind == "GRU":
                reset, update = gates[:, t].unbind(1)
                h = (1 - update)*torch.tanh(own[2] + reset*recurrent[2]) + update*h
            else:
                into, forget, out = gates[:, t].unbind(1)
                c = forget*c + into*torch.tanh(own[2] + recurrent[2])
                h = out*torch.tanh(c)
            outputs.append(h)
        inputs = torch.stack(outputs, 1)
    torch.testing.assert_close(inputs, rnn(values, state)[0], atol=1e-5, rtol=1e-4)


def test_the_share_of_saturated_gates_counted_by_hand():
    rnn = nn.LSTM(1, 2, batch_first=True)
    with torch.no_grad():
        for weight in rnn.parameters(): weight.zero_()
        rnn.bias_ih_l0.copy_(torch.tensor([3.5, 0, -3.5, 2.9, 9, 9, 0, 3.5])) # input, forget, (cell), output, two units each
    assert saturated_share(rnn, torch.zeros(1, 3, 1)) == pytest.approx(3/6)


def test_a_saturated_rnn_is_told_in_card_and_table(tmp_path):
    fit(recipe(lr=1., epochs=2), toy(), tmp_path)
    notes = read_card(tmp_path/"best").notes["learning"]
    assert notes["epochs"][-1]["saturation"]["rnn1"] > .8 and any("the gates of rnn1" in sentence for sentence in notes["warnings"])
    assert any("are saturated" in sentence for sentence in learning_warnings({"AffWildNet": tmp_path/"best"}))
    assert training_table({"AffWildNet": tmp_path/"best"}).gates.iloc[0] > .8


def test_watching_the_gates_changes_no_training():
    def weights(cbs):
        torch.manual_seed(0)
        learn = affect_learner(toy(), width=1/16, size=32, precision="float32", cbs=cbs)
        torch.manual_seed(1)
        return quietly(learn, 2).model.state_dict()
    plain, watched = weights(None), weights(GateSaturation())
    assert all(torch.equal(value, watched[name]) for name, value in plain.items())

# what the epochs say

def epochs(scores, losses, chance=0., share=0.):
    return [dict(epoch=number, train_loss=loss, valid_loss=1., score=score, chance=chance, saturation=dict(rnn1=share))
            for number, (score, loss) in enumerate(zip(scores, losses))]


@pytest.mark.parametrize("scores, losses, chance, kept, learned, warned", [
    ((.2, .5, .6), (1., .6, .4), 0., 2, True, ()),
    ((.40, .43, .45), (1., .9, .85), .41, 2, False, ("disagree",)),  # AUs by their base rate: .45 is no more than chance
    ((.45, .1, .05), (1., .95, .93), 0., 0, False, ("is the first of 3",)), # what the demo did at .002
    ((.6, .58, .59), (1., .99, .98), 0., 0, True, ("is the first of 3",)), # it started from trained weights
    ((.3, .5, .2), (1., .5, .1), 0., 1, True, ("disagree",)),
])
def test_verdicts(scores, losses, chance, kept, learned, warned):
    found = verdict(epochs(scores, losses, chance), kept)
    assert found.learned == learned and len(found.warnings) == len(warned), found
    assert all(part in sentence for part, sentence in zip(warned, found.warnings))


def test_aus_by_their_base_rate_have_a_score_and_learned_nothing(tmp_path):
    "A network that answers 'no AU' everywhere: au_score .45 was above the old limit of .1."
    torch.manual_seed(0)
    targets = AffectTargets(aus=(torch.rand(200, 1, 17) < .1).float())
    never = AffectOutput(aus=torch.full((200, 1, 17), -3.))
    score, chance = (score_of(AUMetric("au_score"), never, targets) for score_of in (measured, chance_score))
    assert score == pytest.approx(chance) and score > .4
    rows = epochs((score,), (1.,), chance)
    save_checkpoint(tmp_path/"net", create_model("mt_vgg", 1/16, tasks=["aus"]), dict(data="x", licence="free", measures=dict(task_mean=score), notes=dict(
        epoch=0, learning=dict(learned=verdict(rows, 0).learned, words=verdict(rows, 0).words, warnings=[], epochs=rows))))
    assert "MT-VGG, seed 0 did not learn" in learning_warnings({("MT-VGG", 0): tmp_path/"net"})[0]


@pytest.mark.parametrize("people, words", [(1, " (judged by one person held out)."), (2, " (judged by 2 people held out)."), (6, "by chance."), (None, "by chance.")])
def test_a_verdict_by_few_people_says_so(people, words, tmp_path):
    learning = dict(learned=False, words="did not learn: 0.65 on the validation part, 0.58 by chance", warnings=[], epochs=epochs((.65,), (1.,), .58))
    notes = dict(epoch=0, learning=learning) | ({} if people is None else dict(people_held_out=people))
    save_checkpoint(tmp_path/"net", create_model("mt_vgg", 1/16, tasks=["aus"]), dict(data="x", licence="free", measures=dict(task_mean=.65), notes=notes))
    sentence, = learning_warnings({"MT-VGG on bp4d": tmp_path/"net"})
    assert sentence.startswith("MT-VGG on bp4d did not learn: 0.65 on the validation part, 0.58 by chance") and sentence.endswith(words)


class Stop(Callback):
    "Ends a training in the middle of an epoch, as a kill does."
    def __init__(self, epoch): self.epoch_to_stop = epoch
    def after_batch(self):
        if self.training and self.epoch == self.epoch_to_stop: raise KeyboardInterrupt


def test_every_epoch_is_written_down_over_a_kill(tmp_path):
    fit(recipe(), toy(), tmp_path/"whole")
    with pytest.raises(KeyboardInterrupt): fit(recipe(), toy(), tmp_path/"cut", cbs=Stop(2))
    fit(recipe(), toy(), tmp_path/"cut")
    assert read_card(tmp_path/"cut"/"best").notes["learning"] == read_card(tmp_path/"whole"/"best").notes["learning"]
    before = (tmp_path/"cut"/"best.safetensors").read_bytes()
    fit(recipe(), toy(), tmp_path/"cut") # nothing is left to do, and nothing is written
    assert (tmp_path/"cut"/"best.safetensors").read_bytes() == before


def test_an_older_state_goes_on_without_a_verdict(tmp_path):
    fit(recipe(), toy(), tmp_path)
    (tmp_path/"epochs.json").unlink()
    notes = read_card(tmp_path/"best").notes
    save_checkpoint(tmp_path/"best", create_model("affwildnet_vgg", 1/16, **SMALL["arguments"]), dict(data="x", notes={key: value for key, value in notes.items() if key != "learning"}))
    fit(recipe(), toy(), tmp_path)
    assert "learning" not in read_card(tmp_path/"best").notes


# once more

def test_what_did_not_learn_is_trained_once_more_and_told(tmp_path):
    train_on(recipe(lr=1e-9, retry=True), toy(), tmp_path, "toy world")
    first, counted = read_card(tmp_path/"training"/"affwildnet_vgg"/"best"), read_card(tmp_path/"weights"/"affwildnet_vgg")
    assert first.notes["recipe"]["seed"] == 0 and first.notes["replaced_by"]["seed"] == RETRY_SEED == counted.notes["recipe"]["seed"]
    assert counted.notes["replaces"]["seed"] == 0 and counted.notes["replaces"]["words"].startswith("did not learn")
    assert not (tmp_path/"training"/"affwildnet_vgg"/"again"/"again").exists() # never twice
    cards = {("AffWildNet", 0): tmp_path/"weights"/"affwildnet_vgg"}
    assert any(f"is of seed {RETRY_SEED}, in the place of seed 0, which did not learn" in sentence for sentence in learning_warnings(cards))
    row = training_table(cards).iloc[0]
    assert row.seed == RETRY_SEED and "did not learn" in row.learned and (row.rate, row.precision, row.threads) == (1e-9, "float32, NCHW", "1")
    table = pd.DataFrame({("paper", "ccc"): [.5]}, ["AffWildNet"])
    assert learned_words(table, cards)["paper", "learned"].tolist() == ["did not learn"]


def test_without_retry_and_where_it_learned_there_is_one_training(tmp_path):
    fit(recipe(lr=1e-9), toy(), tmp_path/"asked not to")
    fit(recipe(lr=1e-9, epochs=1, retry=True), toy(), tmp_path/"one epoch says little")
    fit(recipe(epochs=3, lr=1e-2, retry=True), toy(16), tmp_path/"learned")
    assert read_card(tmp_path/"learned"/"best").notes["learning"]["words"] == "learned"
    assert not list(tmp_path.glob("*/again"))


def test_demo_and_paper_retry_and_smoke_does_not():
    assert [[make(preset).retry for preset in ("paper", "demo", "smoke")] for make in RECIPES] == [[True, True, False]]*len(RECIPES)


# one precision, one thread

def test_another_precision_is_not_gone_on_with(tmp_path):
    with pytest.raises(KeyboardInterrupt): fit(recipe(precision="bfloat16"), toy(), tmp_path, cbs=Stop(1))
    with pytest.raises(ValueError, match="precision was bfloat16.* now float32"): fit(recipe(precision="float32"), toy(), tmp_path)


@pytest.mark.parametrize("facts", [{}, dict(precision="auto")], ids=["no facts", "what was asked for"])
def test_a_callback_by_itself_refuses_another_precision_too(facts, tmp_path):
    def learner(precision): return affect_learner(toy(), width=1/16, size=32, precision=precision, cbs=ResumeCallback(tmp_path/"state", facts=facts))
    quietly(learner("bfloat16"), 1)
    with pytest.raises(ValueError, match="precision was bfloat16, channels_last, now float32, NCHW"): quietly(learner("float32"), 1)


def test_threads_are_in_the_card_epoch_by_epoch(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt): fit(recipe(), toy(), tmp_path, cbs=Stop(2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2) # really two would wait for each other on a busy machine
    fit(recipe(), toy(), tmp_path)
    assert [row["threads"] for row in read_card(tmp_path/"best").notes["learning"]["epochs"]] == [1, 1, 2]
    assert training_table({"x": tmp_path/"best"}).threads.iloc[0] == "1, then 2"


def test_demo_and_smoke_fix_precision_and_threads():
    assert {make(preset).precision for make in RECIPES for preset in ("demo", "smoke")} == {"float32"}
    for name in ("demo", "smoke"):
        preset = load_preset(name)
        assert preset.threads == 1 and {given["precision"] for given in preset.notebooks.values() if "precision" in given} <= {"float32"}
    assert torch.get_num_threads() == 1 # of these tests


# table and report

def test_warnings_stand_before_the_numbers_of_the_report(tmp_path):
    table = pd.DataFrame({"CCC": [.1]}, ["VGG-FACE-LSTM"])
    record(tmp_path, "20_table2", "Table II", data="x", tables={TRAININGS: table}, warnings=["VGG-FACE-LSTM, 0: the kept epoch is the first of 4."])
    old = json.loads((tmp_path/"records"/"20_table2.json").read_text()) | dict(notebook="30_old")
    del old["warnings"] # a record of before
    (tmp_path/"records"/"30_old.json").write_text(json.dumps(old))
    page = write_report(tmp_path).read_text()
    assert "(1 warning)" in page and 0 < page.index("the kept epoch is the first of 4") < page.index("How each network was trained")
    assert page.count('class="warning"') == 1


def test_the_score_of_several_tasks_is_their_mean_not_the_concordance(tmp_path):
    "A card of before, with measures of three tasks: the concordance alone was judged."
    save_checkpoint(tmp_path/"net", create_model("mt_vgg", 1/16), dict(data="x", licence="free", measures=dict(ccc_mean=.02, task_mean=.4), notes=dict(epoch=2, recipe=dict(epochs=3))))
    assert learning_warnings({"MT-VGG": tmp_path/"net"}) == [] and training_table({"MT-VGG": tmp_path/"net"}).score.iloc[0] == .4


class PlantNaN(Callback):
    "Faces that are no numbers, in one batch."
    def __init__(self, epoch=1, batch=0): self.where = epoch, batch
    def before_batch(self):
        if self.training and (self.epoch, self.iter) == self.where: self.learn.xb = (self.xb[0].float()*torch.nan, *self.xb[1:])


def test_a_loss_of_nan_stops_at_its_batch_which_is_kept_and_the_training_can_go_on(tmp_path):
    with pytest.raises(ValueError, match=r"epoch 1, batch 0: the loss of va is nan; not finite are faces, prediction; the batch is kept in .*nan_epoch1_batch0.safetensors"):
        fit(recipe(), toy(), tmp_path/"cut", cbs=PlantNaN())
    with safe_open(tmp_path/"cut"/"nan_epoch1_batch0.safetensors", framework="pt") as file:
        assert file.metadata() == dict(epoch="1", batch="0", loss="nan")
        assert file.get_tensor("faces").isnan().all() and file.get_tensor("target").isfinite().all()
    fit(recipe(), toy(), tmp_path/"cut") # goes on after the last whole epoch
    fit(recipe(), toy(), tmp_path/"whole")
    cut, whole = (load_file(tmp_path/name/"best.safetensors") for name in ("cut", "whole"))
    assert cut.keys() == whole.keys() and all(torch.equal(tensor, whole[name]) for name, tensor in cut.items())


def test_a_rate_that_is_looked_for_may_end_in_nan(tmp_path):
    "lr_find raises the rate until the loss is anything: that is no fault."
    learn = affect_learner(toy(), width=1/16, size=32, precision="float32", path=tmp_path, cbs=[StopAtNaN(), PlantNaN(0, 1)])
    with learn.no_bar(): learn.lr_find(num_it=8, show_plot=False)
    assert not list(tmp_path.glob("nan_*"))
