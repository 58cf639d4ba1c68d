"""The soak: what it holds a round against, and a short one."""
import sys
from pathlib import Path

import pytest

from affect_nb.files.atomic import write_json

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import soak  # noqa: E402


def test_an_input_without_an_account_is_told(tmp_path):
    for name in ("good", "strange"): (tmp_path/f"{name}.csv").touch()
    entries = [dict(source="x/empty.mp4", failed=True), dict(source="x/text.mp4", failed=True), dict(source="x/good.mp4", failed=False), dict(source="x/other.mp4", failed=True)]
    write_json(tmp_path/"skipped.json", entries)
    assert sorted(soak.accounted(tmp_path, tmp_path, {"good", "lost"})) == ["head.mp4 is not in skipped.json", "lost has no table", "noise.png is not in skipped.json",
                                                                           "other.mp4 is in skipped.json", "strange has a table"]


def test_growth_is_the_slope_and_one_odd_round_does_not_count():
    assert soak.growth([100 + .3*number for number in range(20)]) == pytest.approx((.3, .3, .3))
    assert max(map(abs, soak.growth([100.]*10 + [400.] + [100.]*9))) < 1e-9


@pytest.mark.full
@pytest.mark.alone
def test_three_minutes_of_good_and_bad_films():
    found = soak.run(minutes=3)
    assert found["rounds"] >= 8 and found["inputs without an account"] == 0
