"""The book as a user runs it: the smoke preset and every lesson once. With `-m full`: killed runs, lessons twice, the demo."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import papermill
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
SMOKE = yaml.safe_load((ROOT/"tests"/"lessons.yaml").read_text())
HANGS = 4*3600 # s
LESSONS = sorted((ROOT/"nbs"/"90_tutorials").glob("*.ipynb"))


def run_preset(preset, out, **kwargs):
    "Run a preset in a process group of its own."
    return subprocess.Popen([str(Path(sys.executable).parent/"affect_nb"), "run", preset, "--out", str(out)], cwd=out.parent,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **kwargs)


def finished(job):
    "What a run printed; its last lines where it failed. The limit is for runs that hang, not for slow machines."
    printed, _ = job.communicate(timeout=HANGS)
    assert job.returncode == 0, printed[-3000:]
    return printed


def check_book(out):
    "Everything that a run of the book leaves."
    metrics = json.loads((out/"metrics.json").read_text())
    assert all("embedded" in metrics[name]["data"] for name in ("02_first_look", "20_table2_affwildnet", "30_table3_multi_rnn"))
    assert {"VGG-16: ccc_mean", "ResNet-50: ccc_mean", "VGG-FACE: ccc_mean", "VGG-FACE-LSTM: ccc_mean", "AffWildNet: ccc_mean"} <= metrics["20_table2_affwildnet"].keys()
    assert {"Decision-Level Fusion: ccc_mean", "Model-Level Fusion + FC: ccc_mean", "Model-Level Fusion + RNN: ccc_mean"} <= metrics["30_table3_multi_rnn"].keys()
    assert (out/"weights"/"affwildnet_vgg.safetensors").exists() and (out/"weights"/"affwildnet_vgg.json").exists()
    page = (out/"report.html").read_text()
    assert "embedded world" in page and "data:image/png;base64" in page and "is missing" not in page
    assert not [path for path in out.rglob(".part-*")]
    return metrics


def check_steps(out, name):
    "Every training made the steps that `run --check` counts for it."
    from affect_nb.apps.plan import parameters_of, run_sources
    from affect_nb.apps.run import load_preset
    from affect_nb.apps.trainings import trainings_of
    from affect_nb.apps.workload import TrainingCounter
    preset = load_preset(name)
    given = {notebook: parameters_of(preset, notebook) for notebook in preset.notebooks}
    counter = TrainingCounter(*run_sources(given, "aff-wild", out))
    listed = [training for notebook, one in given.items() for training in trainings_of(notebook, one, "aff-wild", counter.sources)]
    made = {training.folder: json.loads((out/training.folder/"pace.json").read_text())["steps_an_epoch"] for training in listed}
    assert {training.folder: counter.epoch(training)[1].steps for training in listed} == made and len(made) == len(listed)


@pytest.mark.slow
def test_the_book_runs_at_smoke_size_and_is_kept(tmp_path):
    out = tmp_path/"smoke"
    printed = finished(run_preset("smoke", out))
    assert re.search(r"02_first_look: \d+ s; look at .*stranger.png", printed)
    check_book(out)
    check_steps(out, "smoke")
    assert "0 notebooks run" in finished(run_preset("smoke", out))


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs(lesson, tmp_path):
    papermill.execute_notebook(str(lesson), str(tmp_path/lesson.name), SMOKE.get(lesson.stem, {}), kernel_name="python3", cwd=str(tmp_path), progress_bar=False)


@pytest.mark.full
@pytest.mark.alone
def test_a_killed_run_goes_on(tmp_path):
    out = tmp_path/"smoke"
    first = run_preset("smoke", out)
    deadline = time.monotonic() + HANGS
    while not (out/"state"/"05_faces.json").exists() and first.poll() is None and time.monotonic() < deadline: time.sleep(.2)
    assert first.poll() is None, first.stdout.read()[-3000:]
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    faces = {path.name: path.stat().st_mtime_ns for path in (out/"faces").glob("[!.]*.arrow")}
    assert faces
    printed = finished(run_preset("smoke", out))
    assert int(re.search(r"(\d+) kept from before", printed).group(1)) >= 1
    assert {path.name: path.stat().st_mtime_ns for path in (out/"faces").glob("[!.]*.arrow")} == faces
    check_book(out)


@pytest.mark.full
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_twice_in_a_row(lesson, tmp_path):
    for _ in range(2):
        papermill.execute_notebook(str(lesson), str(tmp_path/lesson.name), kernel_name="python3", cwd=str(tmp_path), progress_bar=False)


@pytest.mark.full
@pytest.mark.alone
def test_the_demo_learns(tmp_path):
    out = tmp_path/"demo"
    finished(run_preset("demo", out))
    metrics = check_book(out)
    assert min(metrics["02_first_look"][name] for name in ("ccc_valence", "ccc_arousal")) > .5
    assert metrics["20_table2_affwildnet"]["AffWildNet: ccc_mean"] > .6
