"""Two machines, or two containers, that write into one folder."""
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from affect_nb.files import atomic
from affect_nb.files.atomic import LEASE, sweep, whole

NEW_NAMESPACES = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def unfinished(folder, monkeypatch, host):
    "An unfinished file of a process that has ended, on another host."
    with monkeypatch.context() as forged, pytest.raises(KeyboardInterrupt):
        forged.setattr(platform, "node", lambda: host)
        forged.setattr(os, "getpid", lambda: 999_999_999)
        forged.setattr(atomic, "_remove_path", lambda path: None) # as if it were killed
        with whole(folder/"clip.arrow") as aside:
            aside.write_text("half")
            raise KeyboardInterrupt
    return aside


def test_files_of_another_host_are_kept_while_they_are_young(tmp_path, monkeypatch):
    ours, theirs = unfinished(tmp_path, monkeypatch, platform.node()), unfinished(tmp_path, monkeypatch, "another")
    assert sweep(tmp_path) == 1 and theirs.exists() and not ours.exists()
    os.utime(theirs, (time.time() - LEASE - 60,)*2)
    assert sweep(tmp_path) == 1 and not theirs.exists()


def test_a_folder_lives_as_long_as_something_in_it(tmp_path, monkeypatch):
    theirs = unfinished(tmp_path, monkeypatch, "another")
    theirs.unlink()
    theirs.mkdir()
    (theirs/"00001.jpg").write_text("fresh")
    os.utime(theirs, (time.time() - LEASE - 60,)*2)
    assert sweep(tmp_path) == 0
    os.utime(theirs/"00001.jpg", (time.time() - LEASE - 60,)*2)
    assert sweep(tmp_path) == 1 and not theirs.exists()


def test_names_of_older_versions_are_swept_by_their_process(tmp_path):
    (tmp_path/".part-999999999-clip.arrow").write_text("half")
    (tmp_path/f".part-{os.getpid()}-clip.arrow").write_text("in work")
    assert sweep(tmp_path) == 1 and [path.name for path in tmp_path.iterdir()] == [f".part-{os.getpid()}-clip.arrow"]


@pytest.mark.skipif(not shutil.which("unshare") or subprocess.run([*NEW_NAMESPACES, "true"], capture_output=True).returncode != 0,
                    reason="no PID namespaces here")
def test_another_pid_namespace_does_not_see_our_process(tmp_path):
    "In there, no process has our number, and the file system is the same."
    package = Path(atomic.__file__).parents[2]
    look = f"import sys; sys.path.insert(0, {str(package)!r}); from affect_nb.files.atomic import sweep; print(sweep(sys.argv[1]))"
    with whole(tmp_path/"clip.arrow") as aside:
        aside.write_text("in work")
        done = subprocess.run([*NEW_NAMESPACES, sys.executable, "-c", look, str(tmp_path)], capture_output=True, text=True)
        assert done.stdout.strip() == "0", done.stderr
        assert aside.exists()
    assert (tmp_path/"clip.arrow").read_text() == "in work"
