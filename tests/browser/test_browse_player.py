"""The player, as it is used: it plays and seeks, traces are drawn, spans and names come back in the kernel, its keys stay its own."""
import shutil

import pytest
from drawn import LOST, draw_clip

pytestmark = [pytest.mark.browser, pytest.mark.alone]

OPEN = """import pandas as pd
from affect_nb.apps import explore_clip
player = explore_clip({clip!r}, labels=pd.read_csv({labels!r}))
player"""


@pytest.fixture(scope="module")
def clip(lab):
    "A film of six seconds in the lab's folder, with predictions, store and labels."
    return draw_clip(lab.folder)


@pytest.fixture
def opened(open_notebook, clip, lab):
    "`opened(name, clip=...)`: the notebook whose player is ready."
    def open_player(name, given="predicted/talk.csv", **page):
        notebook = open_notebook(name, OPEN.format(clip=str(given), labels=str(lab.folder/"talk.labels.csv")), **page)
        notebook.run_all()
        notebook.page.wait_for_selector(".affect-player[data-ready=true][data-traces]")
        return notebook
    return open_player


def player_of(notebook): return notebook.page.locator(".affect-player")


def wait_for(notebook, what):
    "Until a sentence about the player's element `node` is true."
    notebook.page.wait_for_function(f"() => {{ const node = document.querySelector('.affect-player'); return {what} }}")


def point(notebook, seconds, row, start=0., stop=6.):
    "Where a time lies in a row of the timeline, in px of the page; rows as the module has them."
    box = notebook.page.locator(".affect-player .timeline").bounding_box()
    gutter = 76 if box["width"] < 520 else 104
    heights = dict(va=118, expression=18, label=18, au1=16, au4=16, au6=16, au12=16, au25=16, seen=12, event=22, exclude=22, axis=18, overview=14)
    names = list(heights)
    top = 2 + sum(heights[name] + 3 for name in names[:names.index(row)])
    return box["x"] + gutter + (seconds - start)/(stop - start)*(box["width"] - gutter - 6), box["y"] + top + heights[row]/2


def drag(notebook, row, first, last):
    "From one time to another in a row."
    notebook.page.locator(".affect-player .timeline").scroll_into_view_if_needed()
    mouse = notebook.page.mouse
    mouse.move(*point(notebook, first, row))
    mouse.down()
    mouse.move(*point(notebook, (first + last)/2, row), steps=3)
    mouse.move(*point(notebook, last, row), steps=3)
    mouse.up()


def test_a_clip_is_sought_zoomed_and_marked_and_the_table_comes_back(opened):
    notebook = opened("player.ipynb")
    page = notebook.page
    drag(notebook, "va", 1., 2.02) # a drag seeks
    wait_for(notebook, "node.dataset.frame == '50' && node.dataset.presented == '50' && node.dataset.boxes == '2'")
    before = player_of(notebook).get_attribute("data-traces")
    page.keyboard.press("+")
    wait_for(notebook, f"node.dataset.traces != '{before}'")
    page.keyboard.press("0")
    wait_for(notebook, f"node.dataset.traces == '{before}'")
    drag(notebook, "event", 1., 3.)
    drag(notebook, "exclude", 3.2, 4.)
    page.locator(".affect-player summary", has_text="Events").click()
    page.get_by_label("Label", exact=True).first.fill("a smile")
    page.get_by_label("Label", exact=True).first.press("Enter")
    notebook.shot("player_light", player_of(notebook))
    assert notebook.ask("print(*player.events.tier, *player.events.label, sep='|')") == "event|exclude|a smile|\n"
    first, last = map(int, notebook.ask("print(*player.events.iloc[0][['first_frame', 'last_frame']])").split())
    assert abs(first - 25) <= 1 and abs(last - 75) <= 1
    notebook.check()


@pytest.mark.full
def test_a_film_plays_with_its_picture_and_its_cursor_together(opened):
    notebook = opened("plays.ipynb")
    notebook.page.locator(".affect-player .timeline").focus()
    notebook.page.keyboard.press("Space")
    wait_for(notebook, "node.querySelector('video').ended")
    wait_for(notebook, "Number(node.dataset.frame) >= 148")
    assert notebook.page.evaluate("() => document.querySelector('.affect-player video').currentSrc").startswith(notebook.lab.url + "/files/talk.mp4")
    notebook.check()


@pytest.mark.full
def test_keys_move_the_player_and_not_the_notebook(opened):
    notebook = opened("keys.ipynb")
    page = notebook.page
    cells = page.locator(".jp-Notebook-cell").count()
    page.locator(".affect-player .timeline").click(position=dict(x=300, y=60))
    for key in ("Home", "ArrowRight", "ArrowRight", "Shift+ArrowRight"): page.keyboard.press(key)
    wait_for(notebook, "node.dataset.frame == '27'")
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("x")
    wait_for(notebook, "node.querySelectorAll('.spans li').length == 1")
    assert notebook.ask("print(*player.events.iloc[0][['tier', 'first_frame', 'last_frame']])") == "exclude 27 52\n"
    page.keyboard.press("l")
    wait_for(notebook, "node.querySelector('.message').textContent.includes('found in every frame')")
    page.keyboard.press("w")
    wait_for(notebook, "node.querySelector('.message').textContent.startsWith('Disagreement 1 of')")
    assert 95 <= int(player_of(notebook).get_attribute("data-frame")) <= 126
    page.keyboard.press("End")
    wait_for(notebook, "node.dataset.frame == '149'")
    assert page.locator(".jp-Notebook-cell").count() == cells
    notebook.check()


@pytest.mark.full
def test_what_was_clicked_leaves_the_keys_to_the_film(opened):
    "Space plays after a click on a button, a box or a face; letters go into no field."
    notebook = opened("keys.ipynb")
    page = notebook.page
    def space_plays_and_halts():
        for paused in ("false", "true"):
            page.keyboard.press("Space")
            page.wait_for_function(f"() => document.querySelector('.affect-player video').paused == {paused}")
    whole = player_of(notebook).get_attribute("data-traces")
    page.get_by_role("button", name="Zoom in").click()
    wait_for(notebook, f"node.dataset.traces != '{whole}'")
    before = player_of(notebook).get_attribute("data-traces")
    space_plays_and_halts()
    page.wait_for_timeout(300)
    assert player_of(notebook).get_attribute("data-traces") == before # and did not zoom again
    box = page.get_by_label("landmarks")
    box.click()
    checked = box.is_checked()
    space_plays_and_halts()
    assert box.is_checked() == checked
    page.locator(".affect-player .who select").select_option("0")
    page.keyboard.press("Home")
    wait_for(notebook, "node.dataset.boxes > 0")
    place = page.evaluate("""() => { const node = document.querySelector('.affect-player'), edge = node.querySelector('canvas').getBoundingClientRect(); return [edge.x, edge.y, edge.width, edge.height] }""")
    for across in range(2, 18): # a face lies somewhere on the middle line
        page.mouse.click(place[0] + place[2]*across/20, place[1] + place[3]/2)
        if page.locator(".affect-player details[open]", has_text="Faces: name, merge").count(): break
    else: raise AssertionError("no face was hit")
    page.evaluate("() => document.querySelector('.affect-player video').pause()")
    page.keyboard.type("+")
    assert page.get_by_label("Name of this face").input_value() != "+"
    space_plays_and_halts()
    notebook.check()


@pytest.mark.full
def test_every_control_is_reached_by_tab_and_has_a_name(opened):
    notebook = opened("tab.ipynb")
    page = notebook.page
    for summary in page.locator(".affect-player summary").all(): summary.evaluate("node => node.parentElement.open = true")
    page.locator(".affect-player .who select").focus()
    reached = page.evaluate("""() => [...document.querySelectorAll('.affect-player button, .affect-player input, .affect-player select, .affect-player summary, .affect-player [tabindex="0"]')]
        .filter(node => !node.disabled).map(node => [node.tabIndex, node.getAttribute('aria-label') || node.closest('label')?.textContent || node.textContent])""")
    assert len(reached) > 20 and all(place == 0 and name.strip() for place, name in reached), reached
    seen = set()
    for _ in range(len(reached) + 2):
        seen.add(page.evaluate("() => document.activeElement.getAttribute('aria-label') || document.activeElement.closest('label')?.textContent || document.activeElement.textContent"))
        page.keyboard.press("Tab")
    assert {"Timeline", "Worst disagreement", "Play (space)", "Next lost frames"} <= seen
    notebook.check()


@pytest.mark.full
def test_faces_are_named_and_merged_and_kept(opened, lab):
    notebook = opened("faces.ipynb")
    page = notebook.page
    page.locator(".affect-player summary", has_text="Faces").click()
    page.get_by_label("Name of this face").fill("<img src=x onerror=alert(1)>")
    page.get_by_label("Name of this face").press("Enter")
    wait_for(notebook, "node.querySelector('.who select').textContent.includes('<img src=x')")
    assert page.locator(".affect-player img").count() == 0
    page.get_by_label("The same person as").select_option("1")
    page.get_by_role("button", name="Merge").click()
    wait_for(notebook, "node.querySelectorAll('.who option').length == 1")
    assert "\"merged\"" in (lab.folder/"predicted"/"talk.faces.json").read_text()
    page.get_by_role("button", name="Part").click()
    wait_for(notebook, "node.querySelectorAll('.who option').length == 2")
    page.locator(".affect-player .who select").select_option("1")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Next lost frames").click()
    wait_for(notebook, f"node.dataset.frame == '{LOST[0]}' && node.dataset.boxes == '1'")
    notebook.shot("player_lost", player_of(notebook))
    (lab.folder/"predicted"/"talk.faces.json").unlink()
    notebook.check()


@pytest.mark.full
@pytest.mark.parametrize("scheme, width", [("dark", 1280), ("light", 420)])
def test_dark_and_narrow(opened, scheme, width):
    notebook = opened(f"{scheme}{width}.ipynb", scheme=scheme, width=width)
    notebook.page.keyboard.press("Escape")
    drag(notebook, "va", .5, 2.5)
    wait_for(notebook, "node.dataset.presented == node.dataset.frame")
    inner, outer = notebook.page.evaluate("() => { const node = document.querySelector('.affect-player'); return [node.scrollWidth, node.clientWidth] }")
    assert inner <= outer + 1
    notebook.shot(f"player_{scheme}_{width}", player_of(notebook))
    notebook.check()


@pytest.mark.full
def test_a_film_outside_of_the_server_is_lent_by_the_kernel(opened, clip, tmp_path, lab):
    film = shutil.copy(clip, tmp_path/"elsewhere.mp4")
    notebook = opened("lent.ipynb", film)
    drag(notebook, "va", 1., 3.02)
    wait_for(notebook, "node.dataset.presented == '75'")
    assert notebook.page.evaluate("() => document.querySelector('.affect-player video').currentSrc").split("/")[2] != f"127.0.0.1:{lab.port}"
    notebook.check()


@pytest.mark.full
def test_a_film_whose_frames_are_not_even_keeps_its_cursor(opened, lab):
    draw_clip(lab.folder, "phone", seconds=3., gap=.73)
    notebook = opened("phone.ipynb", "predicted/phone.csv")
    assert notebook.ask("print(len(player.times))") == f"{75*8}\n"
    notebook.page.locator(".affect-player .timeline").focus()
    for key, frame in (("End", 74), ("ArrowLeft", 73), ("Home", 0), ("ArrowRight", 1)):
        notebook.page.keyboard.press(key)
        wait_for(notebook, f"node.dataset.frame == '{frame}' && node.dataset.presented == '{frame}'")
    notebook.ask("player.seek(1.6)")
    wait_for(notebook, "node.dataset.frame == '36' && node.dataset.presented == '36'")
    notebook.check()
