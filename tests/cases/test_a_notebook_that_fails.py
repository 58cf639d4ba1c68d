"""One notebook of a run fails: the others, their metrics and the report are not lost; side by side as well as in turn."""
import json

import nbformat
import pytest

from affect_nb.apps.run import Preset, run_book


def notebook(path, code):
    cells = [nbformat.v4.new_code_cell("run_dir:str = 'x' # the run", metadata=dict(tags=["parameters"])), nbformat.v4.new_code_cell(code)]
    kernel = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_others_are_reported(tmp_path, workers):
    notebook(tmp_path/"10_fails.ipynb", "raise ValueError('no faces in 103.mp4')")
    for name in ("20_alone", "30_after"):
        notebook(tmp_path/f"{name}.ipynb", f"from affect_nb.analysis.tables import record\nrecord(run_dir, '{name}', 'One', data='nothing', metrics=dict(a=1))")
    book = Preset(title="Three", notebooks=dict.fromkeys(("10_fails", "20_alone", "30_after"), {}),
                  needs={"20_alone": [], "30_after": ["10_fails"]}, workers=workers)
    with pytest.raises(RuntimeError, match="(?s)no faces in 103.mp4.*1 more did not end well: 30_after"):
        run_book(book, tmp_path/"run", progress=False, folder=tmp_path)
    assert list(json.loads((tmp_path/"run"/"metrics.json").read_text())) == ["20_alone"]
    assert "One" in (tmp_path/"run"/"report.html").read_text()
    notebook(tmp_path/"10_fails.ipynb", "1")
    done = run_book(book, tmp_path/"run", progress=False, folder=tmp_path)
    assert done.kept == ["20_alone"] and sorted(done.ran) == ["10_fails", "30_after"]
