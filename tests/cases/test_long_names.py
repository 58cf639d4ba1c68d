"""Files whose names are nearly as long as a file system allows."""
import os

import pandas as pd
import pytest

from affect_nb.apps.predict import predict_files
from affect_nb.files.atomic import whole, write_text
from affect_nb.files.film import write_film
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess.sources import list_sources
from affect_nb.synth.faces import Identity, render_face


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


def test_a_film_of_a_long_name_through_preprocess_and_predict(tmp_path):
    name = "n"*240 + ".mp4"
    write_film(tmp_path/name, (render_face({}, Identity.draw(3), size=120, seed=step).image for step in range(2)), 25)
    save_checkpoint(tmp_path/"small", create_model("affwildnet_vgg", width=1/16))
    for _ in range(2): written, skipped = predict_files(tmp_path/name, tmp_path/"small.json", tmp_path/"out", device="cpu", progress=False)
    assert not skipped and [path.suffix for path in written] == [".csv", ".mp4", ".png"] and len({path.stem for path in written}) == 1
    assert set(pd.read_csv(written[0]).file) == {str(tmp_path/name)}
    assert len(list((tmp_path/"out"/"faces").glob("*.arrow"))) == 1


def test_long_names_that_begin_alike_have_outputs_of_their_own(tmp_path):
    for end in ("one", "two"): (tmp_path/("n"*230 + f"{end}.mp4")).touch()
    names = [source.name for source in list_sources(tmp_path)]
    assert len(set(names)) == 2 and all(len(os.fsencode(name)) < 200 for name in names)
