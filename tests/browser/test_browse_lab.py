"""The fixture itself: a notebook opens and runs, its kernel answers, and errors do not go unseen."""
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.full]


def test_a_notebook_runs_and_its_kernel_answers(open_notebook):
    notebook = open_notebook("plain.ipynb", "number = 6*7", "print(number)")
    outputs = notebook.run_all()
    assert outputs[1][0]["text"] in ("42\n", ["42\n"])
    assert notebook.ask("print(number + 1)") == "43\n"
    notebook.shot("lab")
    notebook.check()


def test_errors_of_cells_and_of_the_page_are_told(open_notebook):
    notebook = open_notebook("wrong.ipynb", "1/0")
    with pytest.raises(AssertionError, match="ZeroDivisionError"): notebook.run_all()
    notebook.page.evaluate("() => console.error('made by the test')")
    notebook.page.wait_for_timeout(100)
    with pytest.raises(AssertionError, match="made by the test"): notebook.check()
    with pytest.raises(Exception, match="NameError"): notebook.ask("nowhere")
