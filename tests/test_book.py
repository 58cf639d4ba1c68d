"""The book as a user runs it: the smoke preset, cut off and taken up again; every lesson, twice."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import papermill
import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT/"nbs"/"90_tutorials").glob("*.ipynb"))


def run_smoke(out, **kwargs):
    "Run the smoke preset in a process group of its own."
    return subprocess.Popen([str(Path(sys.executable).parent/"affect_nb"), "run", "smoke", "--out", str(out)], cwd=out.parent,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **kwargs)


@pytest.mark.slow
@pytest.mark.alone
def test_a_killed_run_goes_on_and_a_finished_one_is_kept(tmp_path):
    out = tmp_path/"smoke"
    first = run_smoke(out)
    deadline = time.monotonic() + 240
    while not (out/"state"/"05_faces.json").exists() and first.poll() is None and time.monotonic() < deadline: time.sleep(.2)
    assert first.poll() is None, first.stdout.read()[-3000:]
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    faces = {path.name: path.stat().st_mtime_ns for path in (out/"faces").glob("[!.]*.arrow")}
    assert faces

    second = run_smoke(out)
    said, _ = second.communicate(timeout=400)
    assert second.returncode == 0, said[-3000:]
    assert "1 kept from before" in said
    assert {path.name: path.stat().st_mtime_ns for path in (out/"faces").glob("[!.]*.arrow")} == faces
    metrics = json.loads((out/"metrics.json").read_text())
    assert "embedded" in metrics["20_table2_affwildnet"]["data"]
    assert "embedded" in metrics["30_table3_multi_rnn"]["data"]
    assert {"VGG-16: ccc_mean", "ResNet-50: ccc_mean", "VGG-FACE: ccc_mean", "VGG-FACE-LSTM: ccc_mean", "AffWildNet: ccc_mean"} <= metrics["20_table2_affwildnet"].keys()
    assert {"Decision-Level Fusion: ccc_mean", "Model-Level Fusion + FC: ccc_mean", "Model-Level Fusion + RNN: ccc_mean"} <= metrics["30_table3_multi_rnn"].keys()
    assert (out/"weights"/"affwildnet_vgg.safetensors").exists() and (out/"weights"/"affwildnet_vgg.json").exists()
    page = (out/"report.html").read_text()
    assert "embedded world" in page and "data:image/png;base64" in page and "is missing" not in page
    assert not [path for path in out.rglob(".part-*")]

    third = run_smoke(out)
    said, _ = third.communicate(timeout=100)
    assert third.returncode == 0 and "0 notebooks run" in said, said[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_lesson_runs_twice_in_a_row(lesson, tmp_path):
    for _ in range(2):
        start = time.monotonic()
        papermill.execute_notebook(str(lesson), str(tmp_path/lesson.name), kernel_name="python3", cwd=str(tmp_path), progress_bar=False)
        assert time.monotonic() - start < 240 # twice the two minutes promised, for a busy machine
