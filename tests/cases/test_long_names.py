"""Files whose names are nearly as long as a file system allows."""
import os

import pytest

from affect_nb.files.atomic import whole, write_text


@pytest.mark.parametrize("name", ["n"*240 + ".csv", "漢"*80 + ".txt", "n"*251 + ".csv", "." + "s"*244])
def test_a_name_of_up_to_255_bytes_is_written_whole(tmp_path, name):
    assert 240 < len(os.fsencode(name)) <= 255
    assert write_text(tmp_path/name, "frame,valence\n").read_text() == "frame,valence\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_long_names_that_begin_alike_are_written_side_by_side(tmp_path):
    first, second = (tmp_path/("n"*240 + f"{number}.parquet") for number in (1, 2))
    with whole(first) as one, whole(second) as two:
        assert one != two and one.suffix == two.suffix == ".parquet"
        one.with_name(f"{one.name}.rows").write_text("rows") # as stores do
        for aside in (one, two): aside.write_text(aside.name)
        one.with_name(f"{one.name}.rows").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]
