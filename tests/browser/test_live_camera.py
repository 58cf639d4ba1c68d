"""The camera of the browser, a drawn film instead of a person, predicted and drawn over; rate and lag are reported, not asserted."""
import cv2
import pandas as pd
import pytest

from affect_nb.synth.films import Person, VideoPlan, draw_video
from lab import CHROMIUM, PATIENCE, OpenNotebook

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.full]


@pytest.fixture(scope="module")
def camera(lab, chromium, tmp_path_factory):
    "A chromium whose camera shows a drawn person."
    file = tmp_path_factory.mktemp("camera")/"person.mjpeg"
    plan = VideoPlan("drawn", "camera", 1, "train", (Person("camera", "S001", 3, 5),), 90, 30., 640, 480, .2, 7)
    pictures = (cv2.imencode(".jpg", frame.image[..., ::-1])[1].tobytes() for frame in draw_video(plan))
    file.write_bytes(b"".join(pictures))
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, timeout=PATIENCE*1000, args=[
        "--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={file}"])
    yield browser
    browser.close()


def test_the_camera_is_predicted_and_nothing_is_kept_unasked(lab, camera):
    before = {*lab.folder.rglob("*.csv")} # of other tests
    lab.write("live.ipynb", "from affect_nb.apps.live import live\nview = live(keep='kept.csv')\nview", "other = live()\nother")
    notebook = OpenNotebook(lab, camera.new_context(viewport=dict(width=1280, height=1400), permissions=["camera"]).new_page(), "live.ipynb")
    notebook.run_all()
    pads = notebook.page.locator(".affect-live")
    assert "nothing is kept" in pads.nth(1).inner_text() and "kept.csv" in pads.nth(0).inner_text()
    pads.nth(0).get_by_role("button", name="Start the camera").click()
    notebook.page.wait_for_function("() => Number(document.querySelector('.affect-live').dataset.answers) >= 60")
    facts = notebook.page.evaluate("() => ({...document.querySelector('.affect-live').dataset})")
    print(f"live: {facts['rate']} predictions/s, median lag from picture to overlay {facts['lag']} ms (of the last 30)")
    notebook.shot("live", pads.nth(0))
    assert facts["faces"] == "1" and "valence" in pads.nth(0).locator("p").inner_text()
    pads.nth(0).get_by_role("button", name="Stop the camera").click()
    notebook.page.wait_for_timeout(500)
    table = pd.read_csv(lab.folder/"kept.csv")
    assert len(table) >= 55 and (table.status == "ok").mean() > .9 and table.valence.between(-1, 1).any()
    assert table.frame.is_monotonic_increasing and table.time.is_monotonic_increasing
    assert {*lab.folder.rglob("*.csv")} - before == {lab.folder/"kept.csv"}
    notebook.check()
    notebook.page.context.close()


def test_a_browser_without_a_camera_says_so(lab, chromium):
    lab.write("no_camera.ipynb", "from affect_nb.apps.live import live\nlive()")
    page = chromium.new_context(viewport=dict(width=1280, height=1100)).new_page()
    page.add_init_script("navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('none', 'NotFoundError') }")
    notebook = OpenNotebook(lab, page, "no_camera.ipynb")
    notebook.run_all()
    page.get_by_role("button", name="Start the camera").click()
    page.wait_for_function("() => document.querySelector('.affect-live [role=alert]').textContent.includes('there is none')")
    notebook.check()
    notebook.page.context.close()
