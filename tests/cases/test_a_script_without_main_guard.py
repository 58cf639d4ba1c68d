"""A script that asks for workers at its top level: each worker imports it, and would ask for workers again."""
import os
import subprocess
import sys
from pathlib import Path

import affect_nb
from affect_nb.synth.faces import Identity, expression_aus, render_face
from affect_nb.files.film import write_film

SCRIPT = """
from affect_nb.preprocess.pipeline import preprocess
preprocess("films", "faces", workers=2, progress=False)
"""
SMALL = """
from affect_nb.files.workers import in_parallel
if {guard}: print(sorted(done.result() for _, done in in_parallel(abs, [-1, -2], workers=2)))
"""


def films(folder):
    folder.mkdir()
    face = render_face(expression_aus("Happiness", 3), Identity.draw(3), size=160, seed=0).image
    for name in "ab": write_film(folder/f"{name}.mp4", [face]*3, fps=25)


def run(folder, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(Path(affect_nb.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, **options)


def test_one_sentence_instead_of_a_storm(tmp_path):
    films(tmp_path/"films")
    (tmp_path/"mine.py").write_text(SCRIPT)
    done = run(tmp_path, "mine.py")
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: ") and "mine.py" in last and '`if __name__ == "__main__":`' in last and "workers=1" in last


def test_with_a_guard_it_works(tmp_path):
    (tmp_path/"mine.py").write_text(SMALL.format(guard="__name__ == '__main__'"))
    done = run(tmp_path, "mine.py")
    assert (done.returncode, done.stdout) == (0, "[1, 2]\n"), done.stderr


def test_a_program_from_a_pipe(tmp_path):
    done = run(tmp_path, "-", input=SMALL.format(guard=True))
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1, done.stderr
    assert "this program is <stdin>, which worker processes cannot import" in done.stderr
