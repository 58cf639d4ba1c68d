"""Runs as papermill users want them: grids, dry runs, parts of the book, the index of all runs, papermill's own command line."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import papermill
import pytest
from bs4 import BeautifulSoup
from test_cli import affect

from affect_nb.apps import run as book
from affect_nb.apps.grid import dry_run_grid, grid_points, load_grid, run_grid
from affect_nb.apps.plan import dry_run, parameters_of
from affect_nb.apps.run import Preset, book_steps, load_preset, override, run_book
from affect_nb.apps.run_again import rerun_book
from affect_nb.apps.runs import RUN_FILE, RunLog, find_runs, read_run, write_index
from affect_nb.apps.trainings import trainings_of
from affect_nb.apps.workload import TrainingCounter, training_key
from affect_nb.databases.base import open_database
from affect_nb.files import home
from affect_nb.files.atomic import read_json, this_place, write_json
from affect_nb.synth.twins import write_database

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = sorted((ROOT/"nbs"/"80_experiments").glob("*.ipynb"))
PRESET = "title: small <b>ones</b>\nneeds: {30_other: [10_data]}\nnotebooks: {10_data: {}, 20_small: {}, 30_other: {}}\n"
COUNTED = "import json\nfrom pathlib import Path\nwith open(log, 'a') as file: file.write('{name} ')\n" # how often a notebook is really run
RECORD = "(Path(run_dir)/'records').mkdir(exist_ok=True)\n(Path(run_dir)/'records'/'{name}.json').write_text(json.dumps(dict(notebook='{name}', title='{name}', data='nothing', metrics={metrics}, tables={{}}, figures={{}})))" # as `record` does, without its imports
TRAINS = "import time\nif lr < 0: raise ValueError('lr is negative: <script>')\ntime.sleep(pause)\n"


def write_notebook(folder, name, parameters, code, metrics):
    "An experiment notebook of two cells."
    sources = (f"run_dir:str = '' # folder\nlog:str = '{folder}/log' # of what was run\n{parameters}",
               f"{COUNTED.format(name=name)}{code}{RECORD.format(name=name, metrics=metrics)}")
    cells = [dict(cell_type="code", id=f"cell{i}", metadata={"tags": ["parameters"]*(i == 0)}, source=source, outputs=[], execution_count=None) for i, source in enumerate(sources)]
    about = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    (folder/f"{name}.ipynb").write_text(json.dumps(dict(cells=cells, metadata=about, nbformat=4, nbformat_minor=5)))


@pytest.fixture
def house(tmp_path, monkeypatch):
    "A book of three quick notebooks in the place of the project's own; 20_small trains, 30_other needs 10_data alone."
    folder = tmp_path/"house"/"nbs"/"80_experiments"
    folder.mkdir(parents=True)
    write_notebook(folder, "10_data", "n:int = 3 # of samples\nseed:int = 0 # of the data", "", "dict(samples=n)")
    write_notebook(folder, "20_small", "lr:float = .1 # rate\nseed:int = 0 # of the training\npause:float = 0. # s", TRAINS, "dict(ccc_mean=lr/2, seed=seed)")
    write_notebook(folder, "30_other", "n:int = 3 # of others", "", "dict(others=n)")
    (tmp_path/"house"/"configs").mkdir()
    (tmp_path/"house"/"configs"/"small.yaml").write_text(PRESET)
    for module in (home, book): monkeypatch.setattr(module, "home", lambda: tmp_path/"house")
    return folder


def ran(house):
    "How often each notebook was run since this was last asked."
    names = (house/"log").read_text().split() if (house/"log").exists() else []
    (house/"log").unlink(missing_ok=True)
    return {name: names.count(name) for name in sorted(set(names))}


def written(folder):
    "Every file below a folder, and when it was written."
    return {path: path.stat().st_mtime_ns for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_a_grid_goes_on_past_a_failed_run_and_where_it_stopped(house, tmp_path):
    (tmp_path/"grid.yaml").write_text("20_small.lr: [1e-3, -1, .002]\n20_small.seed: [0, 1]\n")
    said = affect("run", "small", "--grid", tmp_path/"grid.yaml", "--out", tmp_path/"out")
    assert said.code == 1 and "4 runs done, 2 failed" in said.out and "failed: lr=-1,seed=0: 20_small stopped: ValueError: lr is negative" in said.err, said
    assert ran(house) == {"10_data": 1, "20_small": 6, "30_other": 1} # what no run can change is done once
    table = pd.read_csv(tmp_path/"out"/"grid.csv")
    assert table.run.tolist() == ["lr=0.001,seed=0", "lr=0.001,seed=1", "lr=-1,seed=0", "lr=-1,seed=1", "lr=0.002,seed=0", "lr=0.002,seed=1"]
    assert table.state.tolist() == ["finished", "finished", "failed", "failed", "finished", "finished"]
    assert table["20_small.lr"].tolist() == [.001, .001, -1, -1, .002, .002] and table["20_small: ccc_mean"].dropna().tolist() == [.0005, .0005, .001, .001]
    assert table["10_data: samples"].tolist() == [3]*6 and table.error.str.contains("lr is negative").sum() == 2
    page = (tmp_path/"out"/"grid.html").read_text()
    assert "<script" not in page and "lr is negative: &lt;script&gt;" in page and "small &lt;b&gt;ones" in page and 'href="lr%3D0.001%2Cseed%3D0/report.html"' in page
    reports = written(tmp_path/"out"/"lr=0.001,seed=0")
    said = affect("run", "small", "--grid", tmp_path/"grid.yaml", "--out", tmp_path/"out")
    assert said.code == 1 and "0 runs done, 4 kept from before, 2 failed" in said.out and ran(house) == {"20_small": 2}
    assert {path for path, stamp in written(tmp_path/"out"/"lr=0.001,seed=0").items() if reports[path] != stamp} <= {tmp_path/"out"/"lr=0.001,seed=0"/name for name in ("report.html", "metrics.json")}
    (tmp_path/"grid.yaml").write_text("20_small.lr: [.003, 1e-3]\n20_small.seed: [1]\n") # names do not depend on what else a grid holds
    affect("run", "small", "--grid", tmp_path/"grid.yaml", "--out", tmp_path/"out").does("1 run done, 1 kept from before, 0 failed", "grid.html")
    assert ran(house) == {"20_small": 1}


@pytest.mark.full
def test_runs_side_by_side_come_to_the_same(house, tmp_path):
    grid, preset = {"20_small.lr": [.001, -1.], "20_small.seed": [4]}, load_preset("small")
    ends = [run_grid(preset.model_copy(update=dict(workers=workers)), grid, tmp_path/str(workers), progress=False, notebooks=house) for workers in (1, 2)]
    one, two = (pd.read_csv(end.table).drop(columns=["seconds", "error"]) for end in ends)
    pd.testing.assert_frame_equal(one, two)
    assert set(ends[0].failed) == set(ends[1].failed) == {"lr=-1.0,seed=4"} and one.state.tolist() == ["finished", "failed"]


def test_shared_files_are_one_file_until_they_are_made_anew(house, tmp_path):
    preset, grid, out = load_preset("small"), {"20_small.lr": [.001]}, tmp_path/"out"
    run_grid(preset, grid, out, progress=False)
    shared, own = (out/folder/"records"/"10_data.json" for folder in ("common", "lr=0.001"))
    assert shared.samefile(own) and not (out/"common"/"report.html").samefile(out/"lr=0.001"/"report.html")
    run_grid(override(preset, ["10_data.n=5"]), grid, out, progress=False)
    assert read_json(own)["metrics"] == {"samples": 5} and ran(house) == {"10_data": 2, "20_small": 2, "30_other": 2}
    assert read_run(out/"lr=0.001").metrics["10_data"] == {"samples": 5}


def test_a_grid_says_what_is_wrong_before_it_begins(house, tmp_path):
    for text, *told in (("20_small.rl: [1]", "20_small: unknown parameter 'rl'", "allowed: log, lr, pause, seed"), ("sed: [1]", "did you mean seed?"),
                        ("20_smal.lr: [1]", "did you mean 20_small?"), ("20_small.lr: .1", "allowed is a list of values"), ("- 3", "no grid"), ("a: [", "is no grid in YAML")):
        (tmp_path/"grid.yaml").write_text(text)
        affect("run", "small", "--grid", tmp_path/"grid.yaml", "--out", tmp_path/"out").refuses(*told)
    affect("run", "small", "--grid", tmp_path/"none.yaml").refuses("none.yaml: no such grid file")
    affect("run", "small", "--grid", tmp_path/"grid.yaml", "--check").refuses("--grid and --check: give one of them")
    assert not (tmp_path/"out").exists()


def test_the_example_fits_the_book():
    "`configs/grid.yaml` is no preset, and its parameters are those of the demo."
    assert "grid" not in book.list_presets() and {"smoke", "demo", "paper"} <= set(book.list_presets())
    points = grid_points(load_preset("demo"), load_grid("grid"))
    assert len(points) == 6 and points[0].name == "lr=0.001,seed=0"
    ahead = dry_run_grid(load_preset("demo"), load_grid("grid"), ROOT/"runs"/"none")
    assert all(notebooks[0] == "20_table2_affwildnet" for notebooks in ahead.to_run.values()) and "05_faces" in ahead.common.to_run


def test_a_part_of_a_grid_brings_what_it_needs(house, tmp_path):
    (tmp_path/"grid.yaml").write_text("20_small.lr: [.001, .002]\n")
    affect("run", "small", "--grid", tmp_path/"grid.yaml", "--out", tmp_path/"out", "--only", "20_small").does("2 runs done, 0 failed")
    assert ran(house) == {"10_data": 1, "20_small": 2}


def test_a_part_of_the_book(house, tmp_path):
    out = tmp_path/"out"
    affect("run", "small", "--out", out, "--only", "20_small").refuses("20_small needs 10_data, not finished in")
    affect("run", "small", "--out", out, "--from", "20_smal").refuses("'20_smal'", "did you mean 20_small?")
    affect("run", "small", "--out", out, "--from", "20_small", "--only", "10_data").refuses("--only and --from: give one of them")
    assert not out.exists()
    affect("run", "small", "--out", out, "--only", "10_data").does("1 notebook run")
    affect("run", "small", "--out", out, "--from", "20_small").does("2 notebooks run")
    affect("run", "small", "--out", out).does("0 notebooks run, 3 kept from before")
    assert ran(house) == {"10_data": 1, "20_small": 1, "30_other": 1}
    said = affect("run", "small", "--out", out, "--only", "30_other", "-s", "10_data.n=4", "--force") # built on what is there, and that is told
    said.does("1 notebook run", "note: changed since, or what they need has, but taken as they are: 10_data")
    affect("run", "small", "--out", out, "-s", "10_data.n=4").does("3 notebooks run") # and made anew when the rest is
    assert set(read_json(out/"metrics.json")) == {"10_data", "20_small", "30_other"}


def test_a_dry_run_tells_and_leaves_no_trace(house, tmp_path):
    out = tmp_path/"out"
    affect("run", "small", "--out", out, "--dry-run", "-s", "20_small.lr=1e-3").does("1. 10_data: to run", "2. 20_small: to run", "lr=0.001", "3. 30_other: to run", "3 notebooks to run, 0 done")
    assert not out.exists() and ran(house) == {}
    affect("run", "small", "--out", out)
    before = written(out)
    affect("run", "small", "--out", out, "--dry-run").does("20_small: done; it took", "0 notebooks to run, 3 done")
    affect("run", "small", "--out", out, "--dry-run", "-s", "20_small.lr=1e-3").does("20_small: to run again: it or what it needs has changed; it took", "1 notebook to run, 2 done")
    affect("run", "small", "--out", out, "--dry-run", "--only", "20_small", "--force").does("10_data: not asked for: taken as it is", "20_small: to run again: asked for by force", "1 notebook to run")
    (tmp_path/"grid.yaml").write_text("20_small.lr: [.001, .002]\n")
    affect("run", "small", "--grid", tmp_path/"grid.yaml", "--out", out, "--dry-run").does("lr=0.001: to run: 20_small", "2 runs to do")
    affect("run", "small", "--out", out, "--dry-run", "--check").refuses("--check and --dry-run: give one of them")
    assert written(out) == before


def test_a_dry_run_counts_hours_by_the_measured_rate(tmp_path):
    source = open_database("aff-wild", write_database("aff-wild", tmp_path/"data"/"aff-wild", train=4, test=1, frames_per_clip=20, media=False, progress=False))
    given = dict(rows=["VGG-16"], epochs=2, batch_size=1, width=1/16, length=8)
    preset = Preset(title="two", notebooks={"05_faces": {}, "20_table2_affwildnet": given})
    parameters = {name: parameters_of(preset, name) for name in preset.notebooks}
    training, = trainings_of("20_table2_affwildnet", parameters["20_table2_affwildnet"], "aff-wild", {"aff-wild": source})
    recipe, epoch = TrainingCounter({"aff-wild": source}, {"aff-wild": tmp_path/"faces"}).epoch(training)
    write_json(tmp_path/"measured"/"pace_test.json", training_key(recipe) | dict(images=1000, seconds=10., steps=10)) # 100 images per second
    ahead = dry_run(preset, tmp_path)
    work, = ahead.plan.work
    assert work.hours == pytest.approx(2*epoch.images/100/3600) and work.steps == 2*epoch.steps and f"{work.hours:.1f} h at 100 images/s" in str(ahead)
    assert "2. 20_table2_affwildnet: to run" in str(ahead) and "rows=['VGG-16']" in str(ahead)
    grid = dry_run_grid(preset, {"20_table2_affwildnet.seed": [0, 1, 2]}, tmp_path)
    hours = [part.hours for plan in grid.plans for part in plan.work]
    assert len(hours) == 3 and grid.common.to_run == ["05_faces"]


def test_unknown_parameters_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError) as refused: run_book(Preset(title="", notebooks={"02_first_look": {"peopel": 3}}), tmp_path/"out", progress=False)
    known = "batch_size, difficulty, epochs, frames, held_out, lr, people, seed, width"
    assert str(refused.value) == f"02_first_look: unknown parameter 'peopel'; did you mean people? allowed: {known}" and not (tmp_path/"out").exists()


# the index

def test_the_index_lists_every_state(house, tmp_path):
    preset, runs = load_preset("small"), tmp_path/"runs"
    run_book(preset, runs/"good", progress=False)
    with pytest.raises(RuntimeError): run_book(override(preset, ["20_small.lr=-1"]), runs/"deep"/"bad", progress=False)
    run_book(preset, runs/"part", progress=False, only=["10_data"])
    shutil.copytree(runs/"good", runs/"old")
    (runs/"old"/RUN_FILE).unlink() # of before there was such a file
    shutil.copytree(runs/"deep"/"bad", runs/"old_bad")
    (runs/"old_bad"/RUN_FILE).unlink()
    (runs/"good"/"inner"/"state").mkdir(parents=True) # below a run no other is looked for
    with RunLog(runs/"now", "now", "small", preset.notebooks, list(preset.notebooks)): index, found = write_index(runs)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_json(runs/"killed"/RUN_FILE, dict(title="killed", ended=None, process=dict(pid=ended.pid, begun=time.time(), place=this_place())))
    (runs/"damaged").mkdir()
    (runs/"damaged"/RUN_FILE).write_text('{"title": "cut o')
    (runs/"damaged"/"metrics.json").write_text("[1, 2]")
    index, again = write_index(runs)
    states = {run.folder.name: run.state for run in found}
    assert states == {"good": "finished", "bad": "failed", "part": "part", "old": "finished", "old_bad": "failed", "now": "running"}
    assert {run.folder.name: run.state for run in again} == states | {"now": "part", "killed": "stopped", "damaged": "finished"}
    good = read_run(runs/"good")
    assert (good.preset, good.title, good.data, good.total, good.main) == ("small", "small <b>ones</b>", ("nothing",), 3, {"20_small": {"ccc_mean": .05}})
    page = index.read_text()
    assert 'href="deep/bad/report.html"' in page and "lr is negative: &lt;script&gt;" in page and "ccc_mean 0.050" in page and "<b>ones" not in page


def test_a_run_that_fails_and_is_mended(house, tmp_path):
    preset = load_preset("small")
    with pytest.raises(RuntimeError, match="lr is negative"): run_book(override(preset, ["20_small.lr=-1"]), tmp_path, progress=False)
    assert [step.state for step in book_steps(override(preset, ["20_small.lr=-1"]), tmp_path)] == ["done", "failed", "done"]
    before = read_run(tmp_path)
    run_book(preset, tmp_path, progress=False, only=["30_other"])
    assert read_run(tmp_path).failed.keys() == {"20_small"} and read_run(tmp_path).state == before.state == "failed"
    run_book(preset, tmp_path, progress=False)
    assert (read_run(tmp_path).state, read_run(tmp_path).failed) == ("finished", {}) and read_run(tmp_path).seconds >= before.seconds


def test_the_index_escapes_what_others_wrote(tmp_path):
    log = dict(title="<script>alert(1)</script>", preset="\"><img src=x>", parameters={"a": {}}, begun="<i>", ended="x", failed={"</td>": "<script>'"})
    odd = [tmp_path/"<script>x", tmp_path/"javascript:alert(1)", tmp_path/"a b#c?d%20é"]
    for folder in odd:
        write_json(folder/RUN_FILE, log)
        write_json(folder/"metrics.json", {"<script>nb": {"data": "<script>data", "<script>ccc_mean": .5}})
        write_json(folder/"weights"/"net.json", {"architecture": "<script>net"})
        (folder/"report.html").write_text("")
    page = write_index(tmp_path)[0].read_text()
    assert page.count("<script") == page.count("</script") == 1 and "<img" not in page and "<i>" not in page
    assert "http" not in page.lower() and not re.search(r"(src|@import|url\()", page.replace("src=x", "")) # nothing from elsewhere
    read = BeautifulSoup(page, "html.parser")
    assert sorted(unquote(a["href"]) for a in read("a")) == sorted(f"{folder.name}/report.html" for folder in odd)
    assert all(":" not in a["href"] for a in read("a")) and len(read.select("tbody tr")) == 3


FILTER = """
const fs = require("fs"), page = fs.readFileSync(process.argv[1], "utf-8");
const rows = [...page.matchAll(/<tr data-state="(\\w+)">([^]*?)<\\/tr>/g)].map(m => ({dataset: {state: m[1]}, textContent: m[2].replace(/<[^>]*>/g, " ")}));
const parts = {words: {value: ""}, state: {value: ""}, shown: {}};
globalThis.document = {getElementById: name => parts[name], querySelectorAll: () => rows};
(0, eval)(page.match(/<script>([^]*)<\\/script>/)[1]);
for (const [words, state] of JSON.parse(process.argv[2])) {
  parts.words.value = words; parts.state.value = state; parts.words.oninput();
  console.log(JSON.stringify([rows.filter(row => !row.hidden).length, parts.shown.textContent]));
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: the page's filter is not run")
def test_the_filter_of_the_index(tmp_path):
    for name, failed in (("demo-lr", {}), ("demo-seed", {}), ("paper", {"20": "no memory"})):
        write_json(tmp_path/name/RUN_FILE, dict(title=f"A {name}", parameters={"20": {}}, begun="2026", ended="2026", failed=failed))
        if not failed: write_json(tmp_path/name/"state"/"20.json", dict(fingerprint="x", seconds=1))
    asked = {("", ""): 3, ("demo", ""): 2, ("DEMO seed", ""): 1, ("", "failed"): 1, ("demo", "failed"): 0, ("memory", "failed"): 1}
    done = subprocess.run(["node", "-e", FILTER, str(write_index(tmp_path)[0]), json.dumps(list(asked))], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[number, number] for number in asked.values()]


def test_runs_lists_and_refuses(house, tmp_path):
    run_book(load_preset("small"), tmp_path/"runs"/"one", progress=False)
    affect("runs", tmp_path/"runs").does("finished ", tmp_path/"runs"/"one", tmp_path/"runs"/"index.html")
    affect("runs", tmp_path/"none").refuses("none is no folder: there are no runs to list")
    (tmp_path/"empty").mkdir()
    affect("runs", tmp_path/"empty").does("index.html")
    assert find_runs(tmp_path/"empty") == []


GRID = """
import sys
from pathlib import Path
from affect_nb.apps.grid import run_grid
from affect_nb.apps.run import load_preset
house, out = Path(sys.argv[1]), sys.argv[2]
run_grid(load_preset(str(house.parent.parent/"configs"/"small.yaml")), {"20_small.lr": [.001, .002, .003], "20_small.pause": [3.]}, out, progress=False, notebooks=house)
"""


@pytest.mark.alone
def test_a_killed_grid_goes_on(house, tmp_path):
    out = tmp_path/"out"
    command = [sys.executable, "-c", GRID, str(house), str(out)]
    first = subprocess.Popen(command, start_new_session=True)
    second, deadline = out/"lr=0.002,pause=3.0"/"notebooks"/"20_small.failed.ipynb", time.monotonic() + 120
    while not second.exists() and first.poll() is None and time.monotonic() < deadline: time.sleep(.1)
    assert first.poll() is None and second.exists()
    assert read_run(out/"lr=0.002,pause=3.0").state == "running"
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert pd.read_csv(out/"grid.csv").state.tolist()[0] == "finished" and read_run(out/"lr=0.002,pause=3.0").state == "stopped"
    ran(house)
    subprocess.run(command, check=True)
    assert ran(house) == {"20_small": 2} and set(pd.read_csv(out/"grid.csv").state) == {"finished"}


@pytest.mark.full
def test_a_grid_of_a_real_experiment(tmp_path):
    (tmp_path/"look.yaml").write_text("title: look\nworkers: 1\nthreads: 1\nnotebooks: {02_first_look: {people: 16, held_out: 8, frames: 8}}\n")
    (tmp_path/"grid.yaml").write_text("02_first_look.lr: [1e-3, 4e-3]\n")
    affect("run", tmp_path/"look.yaml", "--grid", tmp_path/"grid.yaml", "--out", tmp_path/"runs"/"grid").does("2 runs done, 0 failed")
    table = pd.read_csv(tmp_path/"runs"/"grid"/"grid.csv")
    assert table.state.tolist() == ["finished"]*2 and table["02_first_look: ccc_valence"].nunique() == 2
    run = read_run(tmp_path/"runs"/"grid"/"lr=0.001")
    assert run.networks == ("facebehaviornet",) and "embedded world" in run.data[0] and run.report and run.main["02_first_look"]
    assert 'href="grid/grid.html"' in write_index(tmp_path/"runs")[0].read_text()


# papermill's own command line

@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_papermill_lists_what_an_experiment_takes(path):
    known = papermill.inspect_notebook(str(path))
    assert known["run_dir"]["inferred_type_name"] == "str" and all(one["inferred_type_name"] != "None" and one["default"] for one in known.values())


@pytest.mark.slow
def test_papermill_s_own_command_runs_an_experiment(tmp_path):
    folder = write_database("aff-wild", tmp_path/"twin", train=2, test=1, frames_per_clip=12, media=False, progress=False)
    write_json(tmp_path/"run"/"data.json", dict(database="aff-wild", drawn=True, folder=str(folder), data="embedded world"))
    command = [str(Path(sys.executable).parent/"papermill"), str(ROOT/"nbs"/"80_experiments"/"10_table1_databases.ipynb"), str(tmp_path/"out.ipynb"),
               "-p", "run_dir", str(tmp_path/"run"), "-p", "run_dri", "x", "-k", "python3", "--no-progress-bar"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Passed unknown parameter: run_dri" in done.stderr # it warns, and goes on
    assert read_json(tmp_path/"run"/"records"/"10_table1_databases.json")["metrics"]["videos"] > 0
    assert {cell.get("metadata", {}).get("papermill", {}).get("status") for cell in read_json(tmp_path/"out.ipynb")["cells"] if cell["cell_type"] == "code"} == {"completed"}


def test_a_run_of_the_book_once_more_is_compared_measure_by_measure(house, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_book(override(load_preset("small"), ["20_small.lr=.3"]), "runs/one", progress=False, only=["10_data", "20_small"])
    kept = json.loads(Path("runs/one", RUN_FILE).read_text())
    assert kept["settings"]["needs"] == {"30_other": ["10_data"]} and kept["environment"]["torch"] and kept["code"]["modules"]
    monkeypatch.chdir("/") # paths among the parameters are relative to where the run was started
    done = rerun_book(tmp_path/"runs"/"one", progress=False)
    assert done.same and done.record == tmp_path/"runs"/"one-rerun"/RUN_FILE and not done.notes
    assert (tmp_path/"house"/"nbs"/"80_experiments"/"log").read_text() == "10_data 20_small 10_data 20_small "
    with pytest.raises(ValueError, match="holds a run already"): rerun_book(tmp_path/"runs"/"one", progress=False)
    metrics = json.loads((tmp_path/"runs"/"one"/"metrics.json").read_text())
    metrics["20_small"]["ccc_mean"] += 1e-12
    write_json(tmp_path/"runs"/"one"/"metrics.json", metrics)
    found = rerun_book(tmp_path/"runs"/"one"/RUN_FILE, tmp_path/"third", progress=False)
    assert [words.partition(" was ")[0] for words in found.differences] == ["20_small: ccc_mean"]
