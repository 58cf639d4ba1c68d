"""A collection of 20,000 files: names are found without comparing each file with each."""
from pathlib import Path

from affect_nb.preprocess.sources import Source, find_sources, list_sources, output_names


def test_twenty_thousand_names(tmp_path):
    "All alike: quadratic naming would take minutes."
    paths = [tmp_path/f"person{number}"/"video.mp4" for number in range(10_000)] + [tmp_path/f"clip{number}.avi" for number in range(10_000)]
    sources = list_sources([str(path) for path in paths])
    names = [source.name for source in sources]
    assert len(set(names)) == 20_000 and names[-1] == "clip9999" and all("video" in name for name in names[:10_000])
    again = output_names(sources, {}, lambda name, source: True)
    assert again == names
    known = {str(path): f"known{number}" for number, path in enumerate(paths)}
    assert output_names(sources, known, lambda name, source: True) == list(known.values())


def test_a_folder_of_many_files(tmp_path):
    for number in range(2_000): (tmp_path/f"clip{number}.mp4").touch()
    for number in range(2_000): (tmp_path/f"note{number}.txt").touch()
    sources, left_out = find_sources(tmp_path)
    assert [source.name for source in sources[:3]] == ["clip0", "clip1", "clip2"] and len(sources) == 2_000
    assert len(left_out) == 2_000 and isinstance(sources[0], Source) and sources[0].path == Path(tmp_path/"clip0.mp4")
