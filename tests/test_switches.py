"""Options that are on or off: whatever is neither True nor False is refused, by its name, before anything is done."""
import pytest
import torch
from PIL import Image

from affect_nb.apps.predict import predict_files
from affect_nb.apps.predictor import Predictor
from affect_nb.databases.base import check_switches, open_database
from affect_nb.databases.check import check_database
from affect_nb.models import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess.pipeline import preprocess

WORDS = ("no", "true", 2, None, [])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model")/"small"
    save_checkpoint(path, create_model("mt_vgg", width=1/32), {"notes": {}})
    return path.with_name("small.json")


@pytest.mark.parametrize("given", WORDS)
def test_refused(given):
    with pytest.raises(ValueError, match=r"crops is .*, allowed are True and False"): check_switches(progress=True, crops=given)
    check_switches(crops=True, recursive=False, film=1)


@pytest.mark.parametrize("switch", ["postprocess", "sound", "carry"])
def test_of_a_predictor(model, switch):
    with pytest.raises(ValueError, match=f"{switch} is 'no', allowed are True and False"): Predictor.load(model, device="cpu", **{switch: "no"})


@pytest.mark.parametrize("switch", ["crops", "recursive", "overwrite", "sound"])
def test_of_predict_and_preprocess(model, tmp_path, switch):
    picture = tmp_path/"face.png"
    Image.new("RGB", (48, 48)).save(picture)
    said = f"{switch} is 'no', allowed are True and False"
    with pytest.raises(ValueError, match=said): Predictor.load(model, device="cpu").predict(picture, **{switch: "no"})
    with pytest.raises(ValueError, match=said): preprocess(picture, tmp_path/"faces", **{switch: "no"})
    with pytest.raises(ValueError, match=said): predict_files(picture, model, tmp_path/"out", device="cpu", **{switch: "no"})
    assert not (tmp_path/"faces").exists() and not (tmp_path/"out").exists()


@pytest.mark.parametrize("switch", ["film", "progress"])
def test_of_predict_files(model, tmp_path, switch):
    with pytest.raises(ValueError, match=f"{switch} is 'no'"): predict_files(tmp_path, model, tmp_path/"out", device="cpu", **{switch: "no"})


def test_of_check_and_adapters(tmp_path):
    (tmp_path/"labels.csv").write_text("file,expression\na.jpg,fear\n")
    with pytest.raises(ValueError, match="copies is 'no', allowed are True and False"): check_database("own", tmp_path, copies="no")
    with pytest.raises(ValueError, match="crops is 'no', allowed are True and False"): open_database("own", tmp_path, crops="no")
