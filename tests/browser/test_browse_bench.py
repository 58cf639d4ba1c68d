"""The measurement of player and map at a small size: each seek shows the frame that the cursor names, by the number in the picture."""
import runpy

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.full]


def test_cursor_and_picture_agree(chromium, root):
    figures = runpy.run_path(str(root/"benchmarks"/"player.py"))["measure_in"](chromium, minutes=.5, seeks=5)
    assert figures["seeks"] == 5 and figures["cursor within a frame, share"] == 1
    assert figures["kernel, MiB more"] < 50


def test_the_map_counts_as_drawn_when_points_are_on_the_screen(chromium, root):
    figures = runpy.run_path(str(root/"benchmarks"/"player.py"))["measure_map"](chromium, points=20_000)
    assert figures["map, points"] == 20_000 and figures["map, s until it is drawn"] > 0
