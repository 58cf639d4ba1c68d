"""Names with accents, written as one character (NFC) or as two (NFD, as macOS does): outputs are found by either."""
import os
import shutil
import unicodedata

import pandas as pd
import pytest
import torch

from affect_nb.apps.predict import predict_files
from affect_nb.files.film import write_film
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sources import list_sources
from affect_nb.synth.faces import Identity, render_face

NFC, NFD = (unicodedata.normalize(form, "Zoë café") for form in ("NFC", "NFD"))


def film(path):
    write_film(path, (render_face({}, Identity.draw(3), size=120, seed=step).image for step in range(2)), 25)
    return path


@pytest.mark.parametrize("name", [NFC, NFD, "表情 🙂", "عاطفة"])
def test_a_name_of_any_script_through_the_whole_way(name, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path/"small", create_model("affwildnet_vgg", width=1/16))
    written, skipped = predict_files(film(tmp_path/f"{name}.mp4"), tmp_path/"small.json", tmp_path/"out", device="cpu", progress=False, film=False)
    stem = unicodedata.normalize("NFC", name)
    assert not skipped and [path.name for path in written] == [f"{stem}.csv", f"{stem}.png"]
    assert set(pd.read_csv(tmp_path/"out"/f"{stem}.csv").file) == {str(tmp_path/f"{name}.mp4")} # the file as it is


def test_a_subject_is_found_by_the_name_in_either_form(tmp_path):
    for form in (NFC, NFD):
        store, = preprocess(film(tmp_path/f"{NFD}.mp4"), tmp_path/f"faces{len(form)}", progress=False, subjects={NFC: "zoe"}).stores
        assert store.clip == NFC and store.subject == "zoe"


def test_two_files_that_look_alike_keep_two_outputs(tmp_path):
    for form in (NFC, NFD): (tmp_path/f"{form}.mp4").touch()
    if len(list(tmp_path.iterdir())) == 1: pytest.skip("this file system takes both forms for one name")
    names = [source.name for source in list_sources(tmp_path)]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == 2


def test_a_name_that_is_no_unicode(tmp_path):
    "As of old archives: the byte becomes the sign for an unknown character, and the rest of the folder is read."
    (tmp_path/"films").mkdir()
    film(tmp_path/"films"/"good.mp4")
    try: shutil.copy(tmp_path/"films"/"good.mp4", os.fsencode(tmp_path/"films") + b"/caf\xe9.mp4")
    except OSError: pytest.skip("this file system takes only Unicode")
    done = preprocess(tmp_path/"films", tmp_path/"faces", progress=False)
    assert [store.clip for store in done.stores] == ["caf\ufffd", "good"] and not done.skipped
    assert len(preprocess(tmp_path/"films", tmp_path/"faces", progress=False).stores) == len(list((tmp_path/"faces").glob("*.arrow"))) == 2
