"""Commands side by side."""
import sys

import pytest

from affect_nb.files.workers import run_commands


def test_commands_run_side_by_side_and_a_failure_ends_them(tmp_path):
    mark = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
    run_commands([[sys.executable, "-c", mark, str(tmp_path/str(number))] for number in range(3)], processes=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    slow = f"import time; time.sleep(20); {mark}"
    with pytest.raises(RuntimeError, match="ended with 3"):
        run_commands([[sys.executable, "-c", slow, str(tmp_path/"late")], [sys.executable, "-c", "raise SystemExit(3)"]], processes=2)
    assert not (tmp_path/"late").exists()
