"""Names with [ ], which patterns use for something else: as in what download programs write."""
import pytest

from affect_nb.files.film import write_film
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sources import list_sources
from affect_nb.synth.faces import Identity, render_face


@pytest.fixture
def folder(tmp_path):
    (tmp_path/"talks [2024]").mkdir()
    for name in ("one [dQw4w9WgXcQ].mp4", "two.mp4"): (tmp_path/"talks [2024]"/name).touch()
    return tmp_path/"talks [2024]"


def names(source): return [source.path.name for source in list_sources(source)]


def test_a_file_with_brackets_is_that_file(folder):
    assert names(folder/"one [dQw4w9WgXcQ].mp4") == ["one [dQw4w9WgXcQ].mp4"]
    assert names(str(folder)) == ["one [dQw4w9WgXcQ].mp4", "two.mp4"]


def test_brackets_inside_a_pattern(folder, tmp_path):
    both = ["one [dQw4w9WgXcQ].mp4", "two.mp4"]
    assert names(f"{folder}/*.mp4") == both and names(f"{tmp_path}/talks [2024]/*.mp4") == both
    assert names(f"{folder}/one [[]*.mp4") == names(f"{folder}/one*") == both[:1]
    assert [source.name for source in list_sources(f"{tmp_path}/talks [2024]/*.mp4")] == ["one [dQw4w9WgXcQ]", "two"]
    assert names(f"{tmp_path}/*/t[vw]o.mp4") == ["two.mp4"] # a pattern all the same
    with pytest.raises(ValueError, match=r"\[x\]\*\.mp4: no file matches"): names(f"{folder}/[x]*.mp4")


def test_a_missing_file_with_brackets_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone \[1\]"): preprocess(tmp_path/"gone [1].mp4", tmp_path/"faces", progress=False)


def test_a_store_has_the_name_with_brackets(tmp_path):
    write_film(tmp_path/"one [1].mp4", (render_face({}, Identity.draw(3), size=120, seed=step).image for step in range(2)), 25)
    for _ in range(2): assert [store.clip for store in preprocess(str(tmp_path/"one [1].mp4"), tmp_path/"faces", progress=False).stores] == ["one [1]"]
    assert [path.name for path in (tmp_path/"faces").glob("*.arrow")] == ["one [1].arrow"]
