"""Looking on changes nothing: batches that are inspected, trainings that are watched; what they leave is listed and compared."""
import json
import math

import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.torch_core import set_seed

from affect_nb.apps.batch_inspector import batch_table, inspect_batch, open_batch
from affect_nb.apps.comparison import Curves, compare_runs, curves_of, line_styles, plot_training
from affect_nb.apps.dashboard import DashboardCallback, explore_training
from affect_nb.apps.runs import single_trainings, write_index
from affect_nb.apps.training_folders import find_trainings, read_training
from affect_nb.core.labels import AffectTargets
from affect_nb.data.drawn import DrawnFaces
from affect_nb.data.joint import JointDL, LabelSet
from affect_nb.files.atomic import write_json
from affect_nb.train.curves import Points, TrainingCurves, read_curves
from affect_nb.train.fit import fit
from affect_nb.train.learner import affect_learner
from affect_nb.train.recipes import facebehaviornet_recipe
from affect_nb.train.toy import toy_dataloaders

TASKS, AUS = ("va", "expression", "aus"), (1, 2, 4, 12)
RECIPE = facebehaviornet_recipe("smoke", coupling="none", width=1/16, batch_size=4, epochs=3, lr=2e-3, precision="float32",
                                arguments=dict(size=32, norm="batch", dropout=.5, au_names=list(AUS)))


def loaders(frames=1): return toy_dataloaders(n=8, frames=frames, tasks=TASKS)


def trained(*cbs, dls=None, epochs=2):
    "A short training with dropout, whose every number depends on the random numbers drawn before."
    set_seed(3)
    learn = affect_learner(dls or loaders(), "facebehaviornet", width=1/16, norm="batch", size=32, dropout=.5, lr=2e-3, au_names=AUS,
                           precision="float32", cbs=list(cbs))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs)
    return learn


def assert_same(one, other):
    assert [list(row) for row in one.recorder.values] == [list(row) for row in other.recorder.values]
    assert list(map(float, one.recorder.losses)) == list(map(float, other.recorder.losses))
    for name, tensor in one.model.state_dict().items(): assert torch.equal(tensor, other.model.state_dict()[name]), name


class Kill(Callback):
    "Stops a training as a user does, in its second epoch."
    def before_batch(self):
        if self.epoch == 1 and self.training: raise KeyboardInterrupt


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    "A finished training in a folder as `affect_nb train` leaves it, and a second one with another rate that was stopped."
    folder = tmp_path_factory.mktemp("runs")
    fit(RECIPE, loaders(), folder/"mine"/"training"/"facebehaviornet", card=dict(data="toy world"))
    with pytest.raises(KeyboardInterrupt):
        fit(RECIPE.replace(lr=1e-3), loaders(), folder/"other"/"training"/"facebehaviornet", card=dict(data="toy world"), cbs=Kill())
    return folder


def test_a_watched_training_is_the_same_bit_for_bit():
    watched = DashboardCallback()
    assert_same(trained(), trained(watched))
    shown = watched.view.shown
    assert shown["state"] == "finished, 2 of 2 epochs" and len(shown["table"]) == 3
    for row in watched.points.rows: assert math.isclose(sum(row[task] for task in TASKS), row["loss"], rel_tol=1e-5)
    json.dumps(shown, allow_nan=False) # as the page takes it


def test_an_inspected_batch_is_the_first_of_the_training_that_follows():
    dls = loaders(frames=2)
    batch = open_batch(dls)
    inspect_batch(dls, augment=("flip", "light"))
    inspect_batch(dls, "valid")
    assert_same(trained(dls=dls), trained(dls=loaders(frames=2)))
    again = loaders(frames=2)
    assert torch.equal(again.one_batch()[0].cpu(), batch.seen)


def test_a_joint_batch_is_the_one_that_is_trained_on():
    joint = lambda: JointDL({task: LabelSet([DrawnFaces(n, first, size=32)], fields=(task,)) for task, n, first in
                             (("va", 6, 0), ("aus", 3, 20), ("expression", 3, 40))}, total=4)
    loader = joint()
    table, axes = inspect_batch(loader, n=3)
    faces, *_, targets = next(iter(loader))
    assert torch.equal(faces, open_batch(joint()).seen)
    assert table.loc[("VA-Set", "va"), "windows"] == 2 and table.loc[("AU-Set", "va"), "labels"] == "missing"
    assert table.labelled["VA-Set", "va"] == int(targets.annotated("va").sum()) and axes["faces"].shape == (2, 3)
    assert "no: no label" in table.reaches_loss["EXPR-Set", "aus"]


def test_missing_labels_are_counted_and_said_as_a_word():
    va = torch.tensor([[[.5, .1], [float("nan")]*2], [[float("nan")]*2]*2])
    targets = AffectTargets(va=va, expression=torch.tensor([[3, -1], [-1, -1]]))
    batch = open_batch((torch.zeros(2, 2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 2, 68, 2), targets))
    table = batch_table(batch)
    row = table.loc["batch", "va"]
    assert (row.labelled, row.missing, row.windows_without_label, row.frames_without_face) == (1, 3, 1, 4)
    assert row.reaches_loss == "no: all labels are equal, which have no CCC"
    assert table.labels["batch", "expression"] == "Fear 1" and table.labels["batch", "aus"] == "missing"
    assert table.reaches_loss["batch", "expression"] == "partly: 1 of 4 frames"


def test_a_term_without_a_label_is_missing_and_not_zero():
    curves = TrainingCurves()
    trained(curves, dls=DataLoaders(*toy_dataloaders(n=8, frames=1, tasks=("va",)).loaders, device="cpu"), epochs=1)
    row = curves.points.rows[-1]
    assert math.isnan(row["expression"]) and math.isnan(row["aus"]) and row["va"] == pytest.approx(row["loss"])
    assert curves.epochs[0]["terms"]["valid"]["aus"] is None


def test_a_long_training_keeps_few_points():
    points = Points(most=100)
    for step in range(12_345): points.add(dict(epoch=step, loss=2.*step))
    rows = points.rows
    assert 50 <= len(rows) <= 101 and points.every == 128
    assert rows[0] == dict(epoch=63.5, loss=127.) and all(row["loss"] == 2*row["epoch"] for row in rows)


@pytest.mark.full
def test_a_training_that_goes_on_has_whole_curves(kept, tmp_path):
    watched = DashboardCallback()
    folder = tmp_path/"training"/"facebehaviornet"
    with pytest.raises(KeyboardInterrupt): fit(RECIPE, loaders(), folder, card=dict(data="toy world"), cbs=[watched, Kill()])
    watched.end_of_cell() # what the notebook calls
    assert watched.view.shown["state"] == "stopped, 1 of 3 epochs" and watched.view.picture()[:4] == b"\x89PNG"
    again = DashboardCallback()
    fit(RECIPE, loaders(), folder, card=dict(data="toy world"), cbs=again)
    points, epochs, _ = read_curves(folder/"curves.json")
    whole, all_epochs, _ = read_curves(kept/"mine"/"training"/"facebehaviornet"/"curves.json")
    assert [row["measures"] for row in epochs] == [row["measures"] for row in all_epochs] and len(epochs) == 3
    assert [(row["epoch"], row["loss"], row["lr"]) for row in points] == [(row["epoch"], row["loss"], row["lr"]) for row in whole]
    assert again.view.shown["state"] == "finished, 3 of 3 epochs" and len(again.points.rows) == len(points)


def test_trainings_are_listed_with_score_epoch_and_verdict(kept, capsys):
    from affect_nb.apps.cli import app
    app(["runs", str(kept)], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    mine = next(line for line in lines if "mine" in line)
    training = read_training(kept/"mine"/"training"/"facebehaviornet")
    assert mine.startswith("finished") and f"facebehaviornet, task_mean {training.score:.3f}, epoch {training.kept + 1} of 3 kept" in mine
    assert any(line.startswith("unfinished") and "other" in line for line in lines)
    page = write_index(kept)[0].read_text()
    assert page.count('<tr data-state="finished"') == page.count('<tr data-state="unfinished"') == 1 and "toy world" in page
    write_json(kept/"book"/"run.json", dict(title="A run", parameters={}, begun="2026", ended="2026"))
    (kept/"book"/"training").symlink_to(kept/"mine"/"training")
    assert len(single_trainings(kept)) == 2 and len(find_trainings(kept)) == 2


def test_finished_trainings_are_compared_by_what_differs(kept):
    table, axes = compare_runs([kept/"mine", kept/"other"])
    assert list(table.index) == ["mine", "other"] and table.lr.tolist() == [2e-3, 1e-3]
    assert not {"epochs", "width", "seed", "data"} & {*table.columns} and table.kept["mine"].endswith("of 3")
    assert len({(line.get_linestyle(), line._dash_pattern[1] and tuple(line._dash_pattern[1])) for line in axes[0].lines}) == 2
    assert explore_training(kept/"mine"/"training"/"facebehaviornet").shown["mark"]["word"] == "kept"
    with pytest.raises(ValueError, match="no training has left them there"): explore_training(kept)


def test_a_training_of_before_there_were_curves_is_opened(kept, tmp_path):
    for name in ("best.json", "epochs.json"): (tmp_path/name).write_bytes((kept/"mine"/"training"/"facebehaviornet"/name).read_bytes())
    curves = curves_of(read_training(tmp_path))
    assert curves.points == [] and curves.measures == ["task_mean"] and len(curves.epochs) == 3
    assert len(plot_training(curves)[0].lines) == 2
    assert explore_training(tmp_path).shown["panels"][0]["lines"][0]["name"] == "train_loss"


def test_lines_differ_in_more_than_their_colour():
    names = [*TASKS, "soft_co_annotation", "distribution_matching", "loss", "a", "b", "c", "d"]
    styles = line_styles(names, main=("loss",))
    assert len({style["dashes"] for style in styles.values()}) == 10 and styles["loss"]["colour"] == ""
    assert Curves().measures == []
