"""The study of coupling: its data, its loaders, its report; one tiny training of each kind of loss."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import coupling  # noqa: E402
import holistic  # noqa: E402

SIZE = dict(width=1/16, steps=2, batch=24, lr=1e-3)


@pytest.fixture(scope="module")
def arrays():
    "A few drawn people of each part, at 32 px."
    from affect_nb.core.labels import COMPOUND_EMOTIONET, COMPOUND_RAFDB
    parts = ["va"]*40 + ["aus"]*25 + ["expression"]*10 + ["test"]*12
    jobs = [(number, "", .3) for number in range(len(parts))]
    compounds = [(part, row, name) for part, names in (("rafdb", COMPOUND_RAFDB), ("emotionet", COMPOUND_EMOTIONET)) for row, name in enumerate(names)]
    rows = [holistic._drawn(job) for job in jobs + [(1000 + place, name, .3) for place, (*_, name) in enumerate(compounds)]]
    found = {name: np.stack([row[place] for row in rows]) for place, name in enumerate(("faces", "va", "expression", "aus"))}
    found |= dict(part=np.array(parts + [part for part, *_ in compounds]), compound=np.array([-1]*len(parts) + [row for _, row, _ in compounds]))
    return found | dict(faces=holistic.smaller(found["faces"], 32))


def test_faces_are_crops_with_labels(arrays):
    assert arrays["faces"].shape[1:] == (32, 32, 3) and arrays["faces"].std() > 20
    assert set(np.unique(arrays["aus"])) == {0., 1.} and (np.abs(arrays["va"]) <= 1).all()
    assert len(np.unique(arrays["faces"].reshape(len(arrays["faces"]), -1), axis=0)) == len(arrays["faces"])


def test_each_image_keeps_the_labels_of_its_set_alone(arrays):
    dls = holistic.loaders(arrays, tuple(holistic.SETS), 1., 24, 0, "cpu")
    *_, targets = dls.train.one_batch()
    labelled = np.stack([targets.annotated(name).flatten().numpy() for name in ("va", "aus", "expression")])
    assert (labelled.sum(0) == 1).all() and labelled.any(1).all()
    scarce = holistic.loaders(arrays, ("va",), .1, 24, 0, "cpu")
    assert len(scarce.train.dataset.sets["va"]) == 4 and set(scarce.train.dataset.sets) == {"va"}


@pytest.mark.parametrize("name", ["AUs alone", "valence and arousal alone", "both, inferred"])
def test_a_training_leaves_its_measures(arrays, name, tmp_path):
    for needed in dict.fromkeys(["AUs alone", name]): holistic.work_on(tmp_path, needed, 0, 1., arrays, "cpu", **SIZE)
    found = json.loads((tmp_path/"results"/f"{name}.0.1.json").read_text())
    wanted = {"AUs alone": {"au_f1"}, "valence and arousal alone": {"ccc_valence", "ccc_arousal"}}.get(name, set(holistic.SCORES))
    assert set(found) == wanted and all(np.isfinite(list(found.values())))


def test_the_shuffled_table_is_another_one_for_each_seed(tmp_path):
    from affect_nb.core.relatedness import COGNITIVE
    first, second = (holistic.table_of(tmp_path, "shuffled", seed, 1.).weights for seed in (0, 1))
    assert (first != second).any() and (first != COGNITIVE.weights).any()


def test_report_pairs_seed_by_seed(tmp_path):
    (tmp_path/"results").mkdir()
    rng, scores = np.random.default_rng(0), {}
    for name, (tasks, *_) in holistic.NETWORKS.items():
        for seed in range(5):
            scores[name, seed] = {score: float(rng.random() + (name == "both, cognitive")) for score in holistic.SCORES}
            if len(tasks) == 1: scores[name, seed] = {key: value for key, value in scores[name, seed].items() if key in dict(va=("ccc_valence", "ccc_arousal"), aus=("au_f1",), expression=("expression_score",))[tasks[0]]}
            (tmp_path/"results"/f"{name}.{seed}.0.1.json").write_text(json.dumps(scores[name, seed]))
    found = holistic.report(tmp_path, 5, [.1])
    claims = {row["claim"]: row for row in found["claims"]}
    row, pair = claims["both, cognitive > none, au_f1, 10%"], [[scores[name, seed]["au_f1"] for seed in range(5)] for name in ("both, cognitive", "no coupling")]
    assert row["p"] == pytest.approx(ttest_rel(*pair).pvalue, abs=1e-4) and row["seeds_for"] == sum(a > b for a, b in zip(*pair))
    assert row["difference"] == pytest.approx(np.mean(np.subtract(*pair)), abs=1e-4)
    alone = claims["FaceBehaviorNet > single-task, ccc_valence, 10%"]["difference"]
    assert alone == pytest.approx(np.mean([scores["no coupling", seed]["ccc_valence"] - scores["valence and arousal alone", seed]["ccc_valence"] for seed in range(5)]), abs=1e-4)
    assert "FaceBehaviorNet > single-task, rafdb_uar, 10%" not in claims # a network of one task has no compounds
    assert len(found["networks"]) == len(holistic.NETWORKS)


def test_the_cost_of_coupling_is_measured_against_the_step():
    found = coupling.run(width=1/16, images=24, rounds=1, device="cpu")
    rows = {row["coupling"]: row for row in found["couplings"]}
    assert set(rows) == set(coupling.COUPLINGS) and rows["none"]["step_share"] == 0 and rows["none"]["loss_share"] == 0
    assert all(row["step_ms"] > 0 and row["loss_ms"] > 0 for row in rows.values())
