"The table of formats in docs/formats.md: each row that it names still holds on this machine."
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
table = runpy.run_path(str(ROOT/"tests"/"formats_table.py"))
SLOW = ("libsvtav1", "libx265") # half of the time; `python tests/formats_table.py` tries them


def documented(first_heading):
    "The rows of a table of docs/formats.md, split into cells."
    lines = (ROOT/"docs"/"formats.md").read_text(encoding="utf-8").split(f"## {first_heading}")[1].split("## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]


@pytest.mark.parametrize("codec", sorted({codec for codec, *_ in documented("Films")} - {*SLOW}))
def test_films_are_read_as_they_were_written(codec):
    "In every container that this FFmpeg writes; a codec that it lacks is no failure."
    now = {pixels: (held, lost) for _, pixels, held, lost in table["film_rows"]([codec])}
    rows = {pixels: held.split(", ") for name, pixels, held in documented("Films") if name == codec}
    assert len(rows) >= 1 and not any(lost for _, lost in now.values()), now
    if not now: pytest.skip(f"this FFmpeg has no encoder {codec}")
    for pixels in set(rows) & set(now): assert set(now[pixels][0]) >= set(rows[pixels]), "read no longer"


def test_pictures_are_read_as_they_were_written():
    now = {(ending, kind): held for ending, kind, held in table["picture_rows"]()}
    assert all(now.values()), now
    assert all(verdict == "yes" for *_, verdict in documented("Pictures")) and len(now) > 20
    assert {(ending, kind) for ending, kind, _ in documented("Pictures")} == set(table["PICTURES"])
