"""The benchmark of all seeds: its order, its figures and its picture, from results made here; what it trains is what the demo trains."""
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import seeds  # noqa: E402


@pytest.fixture
def work(tmp_path):
    "Three trainings of a network, one of which was undone after its first epoch with saturated gates; one of another."
    def result(name, seed, scores, share=None):
        rows = [dict(epoch=number, train_loss=1 - .1*number, valid_loss=1., score=score, chance=.01, threads=1, saturation={} if share is None else dict(rnn1=share))
                for number, score in enumerate(scores)]
        path = seeds.result_path(tmp_path, name, seed, 1.)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict(network=name, seed=seed, times=1., lr=.002, epochs=rows, kept=scores.index(max(scores)), monitor="ccc_mean",
                                        test=max(scores) - .05, precision="float32, NCHW", threads=1, seconds=100.)))
    for seed, scores, share in ((0, (.2, .5, .7), .2), (1, (.45, .1, .05), .94), (2, (.3, .6, .65), .25)): result("vgg_face_lstm", seed, scores, share)
    result("vgg16", 0, (.3, .5, .6))
    return tmp_path


def test_figures_count_what_learned_and_say_what_is_missing(work):
    figures = seeds.collect(work)
    lstm, vgg = figures["networks"]
    assert (lstm["learned"], lstm["gates_highest"], lstm["first_epoch_kept"]) == ("2 of 3", .94, 1) and (vgg["learned"], vgg["gates_highest"]) == ("1 of 1", None)
    assert (figures["precision"], figures["threads"], figures["seeds_asked"]) == ("float32, NCHW", "1", 10)
    assert "affwildnet_vgg" in figures["not_trained"] and "vgg16" not in figures["not_trained"]
    undone = figures["trainings"][1]
    assert undone["words"].startswith("did not learn") and any("saturated" in sentence for sentence in undone["warnings"])


def test_the_picture_has_a_panel_a_network_and_a_line_a_seed(work, tmp_path):
    seeds.plot(work, tmp_path/"seeds.png")
    assert (tmp_path/"seeds.png").stat().st_size < 50_000
    plt.close("all")


def test_each_training_comes_after_what_it_starts_from_and_the_vital_ones_first():
    order = seeds.ordered(list(seeds.NETWORKS), [0, 1], [1.])
    assert len(order) == len(set(order)) == 2*len(seeds.NETWORKS)
    for place, (name, seed, _) in enumerate(order): assert all((start, seed, 1.) in order[:place] for start in seeds.NETWORKS[name].starts)
    assert {name for name, *_ in order[:4]} <= {name for name, network in seeds.NETWORKS.items() if network.vital == 0}
    lower = seeds.ordered(["mt_vgg"], [3], [.5])
    assert lower == [("visual_va", 3, 1.), ("mt_vgg", 3, .5)] # what it starts from keeps the demo's rate


def test_it_trains_by_the_demos_own_numbers(root):
    given = yaml.safe_load((root/"configs"/"demo.yaml").read_text())["notebooks"]
    assert seeds.demo()["20"] == given["20_table2_affwildnet"] and seeds.demo()["20"]["rnn_lr"] < seeds.demo()["20"]["lr"]


def test_without_a_run_it_says_how_one_is_made(tmp_path):
    assert "affect_nb run demo" in seeds.run(tmp_path, tmp_path)["skipped"] and "no training" in seeds.collect(tmp_path)["skipped"]


def test_only_what_the_demo_starts_from_the_installed_network_does_so_here(tmp_path):
    "By the order of arguments a network's seconds were once taken for it."
    made = seeds.Demo(tmp_path, tmp_path)
    known = {name for name in seeds.NETWORKS if made.known(name)}
    assert known == {"fbn", "fbn_cognitive", "fbn_va", "fbn_aus", "fbn_expression", "fbn_printed", "visual_va", "vgg_face", "vgg_face_lstm", "affwildnet_vgg"}
    assert all(network.known in (True, False) and network.seconds >= 5 for network in seeds.NETWORKS.values())
