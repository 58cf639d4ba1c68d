"""The AU studio, the AU face and the map in a browser: they appear, answer, and write no error."""
import pytest
from drawn import draw_clip

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.full]

MAP = """import numpy as np
import pandas as pd
from affect_nb.apps import explore_map
rng = np.random.default_rng(0)
va = np.clip(rng.normal(.2, .35, ({n}, 2)), -1, 1)
table = pd.DataFrame(dict(clip="drawn", frame=np.arange({n}), time=np.arange({n})/25, face_id=0, valence=va[:, 0], arousal=va[:, 1]))
map_ = explore_map(table)
map_"""


def test_the_studio_and_the_au_face_follow_their_sliders(open_notebook, lab):
    draw_clip(lab.folder, "face", seconds=2.)
    notebook = open_notebook("faces_drawn.ipynb", "from affect_nb.apps import AUStudio, au_face\nface = au_face('predicted/face.csv')\nface",
                             "studio = AUStudio({12: 4, 25: 3, 1: 4, 2: 4})\nstudio")
    notebook.run_all()
    notebook.page.wait_for_selector(".jp-OutputArea img[src^=blob]")
    before = notebook.ask("print(hash(face.drawn.value))")
    notebook.page.locator(".jp-OutputArea").first.get_by_role("slider").first.focus()
    for _ in range(5): notebook.page.keyboard.press("ArrowRight")
    notebook.page.wait_for_function("() => [...document.querySelectorAll('.widget-readout')].some(node => node.textContent.trim() == '5')")
    while notebook.ask("print(face.slider.value)") != "5\n": notebook.page.wait_for_timeout(100) # it follows one by one
    assert notebook.ask("print(hash(face.drawn.value))") != before
    notebook.shot("au_face_and_studio")
    notebook.check()


def test_a_region_of_the_map_is_selected_listed_and_played(open_notebook):
    notebook = open_notebook("map.ipynb", MAP.format(n=300_000))
    notebook.run_all()
    page = notebook.page
    page.wait_for_selector(".jp-OutputArea canvas")
    notebook.ask("map_.ranges['valence'].value = (.5, 1.)")
    page.get_by_role("button", name="Select this region").click()
    page.wait_for_function("() => document.querySelector('.jp-OutputArea').textContent.includes('of 300000 frames are selected')")
    assert notebook.ask("print(len(map_.selected) == (map_.points.valence >= .5).sum())") == "True\n"
    notebook.ask("map_.select(valence=(.3, 1.))") # .3 lies inside of a cell, and the browser says what it has selected
    page.wait_for_timeout(2000)
    assert notebook.ask("print(len(map_.selected) == (map_.points.valence >= .3).sum())") == "True\n"
    page.get_by_role("button", name="Open in the player").click()
    page.wait_for_selector(".affect-player[data-traces]")
    notebook.shot("map")
    notebook.check()
