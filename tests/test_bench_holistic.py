"""The study of coupling: its people, its steps, its selection, its report; one tiny training of each kind."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import coupling  # noqa: E402
import holistic  # noqa: E402

SIZE = dict(width=1/16, steps=2, batch=24)
PEOPLE = dict(counts=holistic.counts_of(75, 12), parts=1, difficulty=.3, pixels=32)
BASE = dict(lr=1e-3, dropout=.2, lambda_au=1., lambda_va=1.)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    "A few drawn people of each part, at 32 px."
    return holistic.people_of(tmp_path_factory.mktemp("people"), 0, **PEOPLE)


def test_faces_are_crops_with_labels(arrays):
    assert arrays["faces"].shape[1:] == (32, 32, 3) and arrays["faces"].std() > 20
    assert set(np.unique(arrays["aus"])) == {0., 1.} and (np.abs(arrays["va"]) <= 1).all()
    assert len(np.unique(arrays["faces"].reshape(len(arrays["faces"]), -1), axis=0)) == len(arrays["faces"])


def test_no_two_seeds_and_no_two_parts_share_anybody():
    drawn = [job for seed in (0, 1, *holistic.SELECTED_BY) for *_, (job, *_) in holistic.jobs_of(seed, holistic.counts_of(6000), 40, .5)]
    assert len(set(drawn)) == len(drawn)


def test_each_image_keeps_the_labels_of_its_set_alone(arrays):
    (faces, _, targets), *_ = holistic.Steps(arrays, holistic.TASKS, 1., 1, 24, 0)
    labelled = np.stack([targets.annotated(name).flatten().numpy() for name in holistic.SETS])
    assert (labelled.sum(0) == 1).all() and labelled.sum(1).tolist() == [13, 8, 3] and faces.shape == (24, 1, 3, 32, 32)


def test_a_set_is_used_up_before_it_repeats(arrays):
    steps = holistic.Steps(arrays, ("va",), 1., 3, 24, 0)
    order, size = steps.orders("va"), steps.sizes["va"]
    drawn = np.concatenate([next(order) for _ in range(6)])[:2*len(steps.rows["va"])]
    counts = np.bincount(drawn, minlength=len(arrays["part"]))[steps.rows["va"]]
    assert counts.sum() == min(6*size, 2*len(counts)) and counts.max() <= 2
    assert len(holistic.Steps(arrays, ("va",), .1, 3, 24, 0).rows["va"]) == 4


@pytest.mark.parametrize("name", ["AUs alone", "no coupling", "chosen, inferred table", "to the letter"])
def test_a_confirmation_leaves_its_measures(arrays, name, tmp_path, monkeypatch):
    needed = dict.fromkeys(["AUs alone", name])
    monkeypatch.setattr(holistic, "NETWORKS", {each: holistic.NETWORKS[each] for each in needed})
    monkeypatch.setattr(holistic, "people_of", lambda *_, **__: arrays)
    choice = dict(base=BASE, coupled=dict(form="mutual", soft_temperature=.1, lambda_soft=1.))
    holistic.confirm(tmp_path, 0, 1, 1, [1.], choice, PEOPLE, SIZE, "cpu")
    found = json.loads((tmp_path/"confirmed"/f"{name}.0.1.json").read_text())
    wanted = {"au_f1", "au_precision"} if name == "AUs alone" else {*holistic.ENDPOINTS}
    assert wanted <= set(found) and all(np.isfinite(list(found.values())))


def test_the_best_of_the_selection_is_the_largest_mean(tmp_path):
    candidates = [dict(lr=.1), dict(lr=.2)]
    (tmp_path/"selected").mkdir()
    for candidate, values in zip(candidates, ([.9, .1], [.6, .6])):
        for seed, value in enumerate(values):
            found = dict.fromkeys(("au_f1", "au_precision", "expression_f1", "ccc_valence", "ccc_arousal"), value)
            (tmp_path/"selected"/f"base.{holistic.name_of(candidate)}.{seed}.json").write_text(json.dumps(found))
    best, rows = holistic.best_of(tmp_path, "base", candidates, (0, 1))
    assert best == dict(lr=.2) and [row["objective"] for row in rows] == [.6, .5]


def test_the_objective_weighs_tasks_not_measures():
    found = dict(au_f1=1., au_precision=.5, expression_f1=.3, ccc_valence=0., ccc_arousal=.4)
    assert holistic.objective(found) == pytest.approx((.75 + .3 + .2)/3)


def test_no_coupling_has_as_many_settings_as_coupling():
    assert len(holistic.grid(holistic.BASES)) == len(holistic.grid(holistic.COUPLED)) == 54


def test_the_shuffled_and_the_false_table_are_others_for_each_seed(tmp_path):
    from affect_nb.core.relatedness import COGNITIVE
    for name in ("shuffled", "false"):
        first, second = (holistic.table_of(tmp_path, name, seed, 1.).weights for seed in (0, 1))
        assert (first != second).any() and (first != COGNITIVE.weights).any()


def _scores(tmp_path, lift):
    "Made-up results of ten seeds; `lift` (network, score) -> what is added."
    (tmp_path/"confirmed").mkdir()
    rng, scores = np.random.default_rng(0), {}
    for name in holistic.NETWORKS:
        for seed in range(10):
            scores[name, seed] = {score: .5 + .01*rng.random() + lift.get((name, score), 0) for score in holistic.ENDPOINTS}
            (tmp_path/"confirmed"/f"{name}.{seed}.0.1.json").write_text(json.dumps(scores[name, seed]))
    return scores


def test_report_pairs_seed_by_seed_and_corrects_each_family(tmp_path):
    scores = _scores(tmp_path, {("chosen", "au_f1"): .1, ("chosen, shuffled table", "ccc_valence"): -.2})
    found = holistic.report(tmp_path, 10, [.1])
    claims = {row["claim"]: row for row in found["claims"]}
    row, pair = claims["chosen > none, au_f1, 10%"], [[scores[name, seed]["au_f1"] for seed in range(10)] for name in ("chosen", "no coupling")]
    assert row["p"] == pytest.approx(ttest_rel(*pair).pvalue, abs=1e-4) and row["seeds_for"] == 10 and row["holds"] == "yes"
    assert row["difference"] == pytest.approx(np.mean(np.subtract(*pair)), abs=1e-4)
    assert len(claims) == 6*len(holistic.ENDPOINTS) and len(found["networks"]) == len(holistic.NETWORKS)
    assert found["helps"] == [{"share": "10%", "helps": "yes: au_f1"}]


def test_helping_one_task_at_the_cost_of_another_is_no_help(tmp_path):
    _scores(tmp_path, {("chosen", "au_f1"): .1, ("chosen", "ccc_arousal"): -.1})
    assert holistic.report(tmp_path, 10, [.1])["helps"] == [{"share": "10%", "helps": "no: it costs ccc_arousal"}]


def test_better_than_none_and_no_better_than_shuffled_is_open(tmp_path):
    _scores(tmp_path, {("chosen", "au_f1"): .1, ("chosen, shuffled table", "au_f1"): .1})
    assert holistic.report(tmp_path, 10, [.1])["helps"] == [{"share": "10%", "helps": "open"}]


@pytest.mark.full
def test_the_cost_of_coupling_is_measured_against_the_step():
    found = coupling.run(width=1/16, images=24, rounds=1, device="cpu")
    rows = {row["coupling"]: row for row in found["couplings"]}
    assert set(rows) == set(coupling.COUPLINGS) and rows["none"]["step_share"] == 0 and rows["none"]["loss_share"] == 0
    assert all(row["step_ms"] > 0 and row["loss_ms"] > 0 for row in rows.values())
