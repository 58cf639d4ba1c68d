"""The view of a training in a browser: it grows while the cell runs, is moved through by keys, and stays when the training is stopped."""
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.full]

LEARNER = """from fastai.torch_core import set_seed
from affect_nb.apps.dashboard import DashboardCallback, explore_training
from affect_nb.train import affect_learner, toy_dataloaders
set_seed(0)
dls = toy_dataloaders(n=16, tasks=("va", "expression", "aus"))
learn = affect_learner(dls, "facebehaviornet", width=1/16, norm="batch", size=32, lr=2e-3, au_names=(1, 2, 4, 12), precision="float32")
learn.remove_cb(learn.progress)"""
STOPPED = """from fastai.callback.core import Callback
class Stop(Callback):
    def after_batch(self):
        if self.epoch == 1 and self.training: raise KeyboardInterrupt
again = DashboardCallback("stopped by hand")
try: learn.fit(3, cbs=[again, Stop()])
except KeyboardInterrupt: pass"""
FINISHED = """from affect_nb.train.fit import fit
from affect_nb.train.recipes import facebehaviornet_recipe
recipe = facebehaviornet_recipe("smoke", coupling="none", width=1/16, batch_size=4, epochs=2, lr=2e-3, precision="float32",
                                arguments=dict(size=32, norm="batch", au_names=[1, 2, 4, 12]))
fit(recipe, toy_dataloaders(n=8, frames=1, tasks=("va", "expression", "aus")), "kept", card=dict(data="toy world")).dls
view = explore_training("kept")
view"""


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_a_training_is_watched_stopped_and_opened_again(open_notebook, scheme):
    notebook = open_notebook(f"watched_{scheme}.ipynb", LEARNER, "watched = DashboardCallback()\nlearn.fit(3, cbs=watched)", STOPPED, FINISHED, scheme=scheme)
    notebook.run_all()
    page = notebook.page
    boards = page.locator(".affect-board")
    page.wait_for_function("() => document.querySelectorAll('.affect-board[data-state]').length == 3")
    page.wait_for_function("() => document.querySelector('.affect-board').dataset.state == 'finished, 3 of 3 epochs'")
    page.wait_for_function("() => document.querySelectorAll('.affect-board')[1].dataset.state == 'stopped, 1 of 3 epochs'")
    assert boards.nth(2).get_attribute("data-state").startswith("finished: task_mean")
    first = boards.nth(0)
    assert first.locator("figure").count() == 4 and first.locator("[data-panel='loss, by task'] path[data-line]").count() == 5
    dashes = first.locator("[data-panel='loss, by task'] path[data-line]").evaluate_all("paths => paths.map(path => path.getAttribute('stroke-dasharray'))")
    assert len(set(dashes)) == 5 # not told by colour alone
    notebook.shot(f"dashboard_{scheme}", first)
    first.locator("[data-panel='validation'] svg.panel").focus()
    page.keyboard.press("Home")
    said = first.locator("[data-panel='validation'] .values")
    assert said.inner_text().startswith("epoch 1: ") and "task mean" in said.inner_text()
    page.keyboard.press("ArrowRight")
    assert said.inner_text().startswith("epoch 2: ")
    other = first.get_by_role("checkbox", name="accuracy", exact=True)
    assert not other.is_checked()
    other.focus()
    page.keyboard.press("Space")
    assert first.locator("path[data-line=accuracy]").count() == 1
    first.locator("summary").click()
    assert first.locator("tr").count() == 4
    notebook.shot(f"dashboard_read_{scheme}", first)
    boards.nth(1).scroll_into_view_if_needed()
    notebook.shot(f"dashboard_stopped_{scheme}", boards.nth(1))
    boards.nth(2).scroll_into_view_if_needed()
    notebook.shot(f"dashboard_finished_{scheme}", boards.nth(2))
    assert page.locator("details img[src^='data:image/png']").count() == 2 # the pictures that stay
    notebook.check()
