"""Notebooks of a run where JUPYTER_PATH belongs to another environment, and where the process of a notebook dies."""
import json
import sys

import pytest

from affect_nb.apps.run import execute


def notebook(path, *cells):
    made = [dict(cell_type="code", id=f"cell{number}", metadata={}, source=source, outputs=[], execution_count=None) for number, source in enumerate(cells)]
    path.write_text(json.dumps(dict(cells=made, metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")), nbformat=4, nbformat_minor=5)))
    return path


def test_the_interpreter_of_the_command_runs_it(tmp_path, monkeypatch):
    kernel = tmp_path/"jupyter"/"kernels"/"python3"
    kernel.mkdir(parents=True)
    (kernel/"kernel.json").write_text(json.dumps(dict(argv=["/bin/false", "{connection_file}"], display_name="theirs", language="python")))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path/"jupyter"))
    monkeypatch.chdir(tmp_path)
    execute(notebook(tmp_path/"a.ipynb", "import sys, pathlib; pathlib.Path('python.txt').write_text(sys.executable)"), tmp_path/"out"/"a.ipynb", {}, progress=False)
    assert (tmp_path/"python.txt").read_text() == sys.executable
    assert [path.name for path in (tmp_path/"out").iterdir()] == ["a.ipynb"] # and no log


def test_a_kernel_that_cannot_start_is_quoted(tmp_path, monkeypatch):
    (tmp_path/"ipykernel_launcher.py").write_text("raise SystemExit('no kernel today')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="(?s)a stopped: .*no kernel today"): execute(notebook(tmp_path/"a.ipynb", "1"), tmp_path/"out"/"a.ipynb", {}, progress=False)


def test_a_kernel_that_dies_is_quoted(tmp_path):
    dies = "import ctypes; ctypes.string_at(0)"
    with pytest.raises(RuntimeError, match="(?s)b stopped: .*Segmentation fault"): execute(notebook(tmp_path/"b.ipynb", dies), tmp_path/"out"/"b.ipynb", {}, progress=False)
    assert (tmp_path/"out"/"b.kernel.log").exists()
