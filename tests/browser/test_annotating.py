"""A film is annotated in the browser, the tab is killed, and the annotator goes on: what is on the disk counts."""
import time

import numpy as np
import pytest

from affect_nb.apps.annotation_log import AnnotatedFilm, AnnotationLog
from affect_nb.apps.annotation_tables import annotation_table
from affect_nb.synth.films import Person, VideoPlan, film_video

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.full]
FPS, SECONDS = 25., 16
DEAD = .12 # of a stick, as `annotate.js` has it


@pytest.fixture(scope="module")
def film(lab):
    "A drawn film with sound, where JupyterLab serves it."
    plan = VideoPlan("drawn", "talk", 1, "train", (Person("talk", "S001", 3, 5),), int(SECONDS*FPS), FPS, 320, 240, .2, 7)
    film_video(plan, lab.folder/"talk.mp4")
    return lab.folder/"talk.mp4"


def pad_of(open_notebook, name, annotator, task="va", more="", **view):
    "A notebook with the pad, run; and the pad in its page."
    code = f"from affect_nb.apps.annotate import annotate\npad = annotate('talk.mp4', annotator={annotator!r}, task={task!r}, root='notes'{more})\npad"
    notebook = open_notebook(name, code, **view)
    notebook.run_all()
    pad = notebook.page.locator(".affect-annotate")
    pad.wait_for()
    notebook.page.wait_for_function("() => document.querySelector('.affect-annotate video').readyState >= 3")
    return notebook, pad


def entries_of(lab, film, annotator):
    return AnnotationLog(lab.folder/"notes", AnnotatedFilm.read(lab.folder/"notes", "talk"), annotator).entries()


def film_time(notebook): return notebook.page.evaluate("() => document.querySelector('.affect-annotate video').currentTime")


def wait_until(notebook, seconds):
    "Until the film is at a time, as the page itself sees it."
    notebook.page.wait_for_function(f"() => document.querySelector('.affect-annotate video').currentTime >= {seconds}")


def test_ten_seconds_then_the_tab_is_killed_and_the_annotator_goes_on(lab, film, open_notebook):
    notebook, pad = pad_of(open_notebook, "annotate.ipynb", "A1")
    box = pad.locator(".pad").bounding_box()
    pad.locator("video").click()
    notebook.page.keyboard.press("r")
    while (share := film_time(notebook)/10) < 1: # from left to right in ten seconds of the film, up and down
        notebook.page.mouse.move(box["x"] + box["width"]*(.1 + .8*share), box["y"] + box["height"]*(.5 + .3*np.sin(6*share)))
        notebook.page.wait_for_timeout(100)
    notebook.shot("annotate", pad)
    killed_at = film_time(notebook)
    notebook.check()
    notebook.page.close() # without a word to the page, as when a tab is killed
    time.sleep(1) # what is on its way to the kernel arrives
    table = annotation_table(lab.folder/"notes", "talk", "A1")
    noted = table.time[table.valence.notna() & table.arousal.notna()]
    print(f"annotated up to {noted.max():.2f} s of {killed_at:.2f} s; {len(noted)} frames, {len(entries_of(lab, film, 'A1'))} pieces")
    assert killed_at - noted.max() <= 1.
    assert len(noted) >= .5*killed_at*FPS # on a busy machine stretches without a frame for half a second are left open
    assert table.valence.min() < -.5 and table.valence.max() > .5 and table.arousal.abs().max() > .3

    notebook, pad = pad_of(open_notebook, "annotate.ipynb", "A1") # the same notebook, in another tab
    notebook.page.wait_for_function(f"() => document.querySelector('.affect-annotate video').currentTime > {noted.max() - .2}")
    assert abs(film_time(notebook) - noted.max()) < .1
    assert "goes on at" in pad.locator("[role=status]").inner_text()
    before = len(entries_of(lab, film, "A1"))
    pad.get_by_role("button", name="Record").click()
    pad.press("ArrowUp")
    wait_until(notebook, noted.max() + 2)
    pad.press("Space")
    notebook.page.wait_for_function("() => document.querySelector('.affect-annotate [role=status]').textContent.startsWith('saved')")
    assert len(entries_of(lab, film, "A1")) > before
    later = annotation_table(lab.folder/"notes", "talk", "A1")
    assert later.time[later.valence.notna()].max() >= noted.max() + 1.5
    assert later.valence[noted.index[:-2]].equals(table.valence[noted.index[:-2]]) # what was there is as it was
    pad.press("z")
    notebook.page.wait_for_function("() => !document.querySelectorAll('.affect-annotate button')[3].disabled")
    notebook.page.wait_for_timeout(500)
    assert annotation_table(lab.folder/"notes", "talk", "A1").valence.notna().sum() == table.valence.notna().sum()
    notebook.check()


def test_expressions_by_key_per_frame_and_span(lab, film, open_notebook):
    notebook, pad = pad_of(open_notebook, "expressions.ipynb", "A2", "expressions", scheme="dark")
    pad.focus()
    pad.press("5") # the frame that is shown, the first
    pad.press("m")
    for _ in range(3): pad.press(".")
    notebook.page.wait_for_function("() => document.querySelector('.affect-annotate video').currentTime > .1 && !document.querySelector('.affect-annotate video').seeking")
    notebook.page.wait_for_timeout(300)
    pad.press("7")
    notebook.page.wait_for_timeout(700)
    notebook.shot("annotate_expressions_dark", pad)
    table = annotation_table(lab.folder/"notes", "talk", "A2")
    assert table.expression[:4].tolist() == [6, 6, 6, 6] and set(table.expression[4:]) == {-1} # the span replaces the first frame
    pad.press("z")
    notebook.page.wait_for_timeout(700)
    assert annotation_table(lab.folder/"notes", "talk", "A2").expression[:4].tolist() == [4, -1, -1, -1]
    assert "A1" not in pad.inner_text() # blind: nothing of the other annotator
    notebook.check()


def test_a_button_that_was_clicked_leaves_space_to_the_film(lab, film, open_notebook):
    "Space plays after a click, presses a button that Tab has reached, and arrows move the value, not a slider that was dragged."
    notebook, pad = pad_of(open_notebook, "space.ipynb", "A6")
    paused = "() => document.querySelector('.affect-annotate video').paused"
    def took(): return len([entry for entry in entries_of(lab, film, "A6") if "undo" in entry])
    for begun in (0, 1): # two takes
        pad.get_by_role("button", name="Record").click()
        wait_until(notebook, begun + 1)
        notebook.page.keyboard.press("Space")
        notebook.page.wait_for_function(paused)
        notebook.page.keyboard.press("r")
    pad.get_by_role("button", name="Undo").click()
    notebook.page.keyboard.press("Space")
    notebook.page.wait_for_function(paused.replace("=> ", "=> !"))
    notebook.page.keyboard.press("Space")
    notebook.page.wait_for_function(paused)
    notebook.page.wait_for_timeout(700)
    assert took() == 1
    slider = pad.locator("input[type=range]").first.bounding_box()
    notebook.page.mouse.click(slider["x"] + .5*slider["width"], slider["y"] + slider["height"]/2)
    at = film_time(notebook)
    notebook.page.keyboard.press("ArrowRight")
    notebook.page.wait_for_function("() => document.querySelector('.affect-annotate').innerText.includes('valence +')")
    assert film_time(notebook) == at
    pad.get_by_role("button", name="Undo").focus()
    notebook.page.keyboard.press("Shift+Tab")
    notebook.page.keyboard.press("Tab")
    notebook.page.keyboard.press("Space") # by Tab: the button's own
    notebook.page.wait_for_timeout(700)
    assert took() == 2
    notebook.check()


def test_what_is_taken_away_is_annotated_no_more(lab, film, open_notebook):
    notebook, pad = pad_of(open_notebook, "away.ipynb", "A7", "expressions")
    pad.focus()
    pad.press("5")
    pad.press("r")
    wait_until(notebook, 2)
    pad.press("x")
    wait_until(notebook, 3)
    pad.press("j") # back, over what was noted, without a label
    wait_until(notebook, 1)
    pad.press("Space")
    notebook.page.wait_for_timeout(700)
    table = annotation_table(lab.folder/"notes", "talk", "A7")
    share = round(100*(table.expression >= 0).mean())
    shown = int(pad.inner_text().split(" % annotated")[0].split()[-1])
    print(f"{share} % of the frames have a label, {shown} % are shown")
    assert 0 < share < 12 and abs(shown - share) <= 1
    notebook.check()


def test_a_kernel_that_is_busy_loses_nothing(lab, film, open_notebook):
    notebook, pad = pad_of(open_notebook, "busy.ipynb", "A3", "aus", ", aus=(4, 12)")
    pad.focus()
    notebook.page.evaluate("""() => { const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
        window.busy = kernel.requestExecute({code: "import time; time.sleep(6)", store_history: false}).done.then(() => true) }""")
    pad.press("2")
    pad.press("r")
    wait_until(notebook, 4)
    notebook.page.wait_for_function("() => document.querySelector('.affect-annotate [role=alert]').textContent.includes('does not answer')")
    notebook.shot("annotate_busy", pad)
    pad.press(" ")
    notebook.page.evaluate("() => window.busy")
    notebook.page.wait_for_function("() => !document.querySelector('.affect-annotate [role=alert]').textContent")
    table = annotation_table(lab.folder/"notes", "talk", "A3")
    assert (table.au12[:75] == 1).all() and (table.au4[:75] == 0).all()
    notebook.check()


def test_the_stick_of_a_gamepad_is_followed_and_its_button_halts(lab, film, open_notebook):
    notebook, pad = pad_of(open_notebook, "gamepad.ipynb", "A4")
    notebook.page.evaluate("""() => { window.stick = {connected: true, axes: [0, 0], buttons: [{pressed: false}]}
        navigator.getGamepads = () => [null, window.stick] }""") # chromium has no fake one, as it has a fake camera
    held = {}
    pad.focus()
    pad.press("r")
    for axes in ([.8, -.5], [-1, 1], [.05, .05]): # its y points down; so near to the middle it counts as let go
        notebook.page.evaluate("axes => { window.stick.axes = axes }", axes)
        begun = film_time(notebook)
        wait_until(notebook, begun + 1.5)
        held[begun + .7, begun + 1.2] = [np.sign(axis)*max(0, abs(axis) - DEAD)/(1 - DEAD) for axis in (axes[0], -axes[1])]
    notebook.page.evaluate("() => { window.stick.buttons[0].pressed = true }")
    notebook.page.wait_for_function("() => document.querySelector('.affect-annotate video').paused")
    notebook.page.wait_for_function("() => document.querySelector('.affect-annotate [role=status]').textContent.startsWith('saved')")
    table = annotation_table(lab.folder/"notes", "talk", "A4")
    for (start, end), values in held.items():
        np.testing.assert_allclose(table.loc[table.time.between(start, end), ["valence", "arousal"]].median(), values, atol=1e-3)
    notebook.check()
