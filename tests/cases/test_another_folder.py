"""`predict` in a folder that holds no run: the network is found, or the message names where it was looked for."""
import pytest

import affect_nb
from affect_nb.apps.cli import app
from affect_nb.apps.predictor import Predictor
from affect_nb.files.home import MODEL_VARIABLE, default_network
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint

NAME = "affwildnet_vgg.json"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    "A working folder, a checkout and a data folder without any network."
    for name in ("work", "checkout", "data"): (tmp_path/name).mkdir()
    monkeypatch.chdir(tmp_path/"work")
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path/"data"))
    monkeypatch.setattr(affect_nb, "__file__", str(tmp_path/"checkout"/"affect_nb"/"__init__.py"))
    return tmp_path


def test_the_order_in_which_it_is_looked_for(nowhere, monkeypatch):
    places = [nowhere/"data"/"affect_nb"/"networks"/NAME, nowhere/"checkout"/"runs"/"demo"/"weights"/NAME,
              nowhere/"work"/"runs"/"demo"/"weights"/NAME, nowhere/"mine.json"]
    with pytest.raises(ValueError, match="no network is named") as error: default_network()
    assert all(str(path) in str(error.value) for path in places[:3]) and MODEL_VARIABLE in str(error.value)
    monkeypatch.setenv(MODEL_VARIABLE, str(places[3]))
    with pytest.raises(ValueError, match=f"{MODEL_VARIABLE} is .*mine.json, which is no model card"): default_network()
    monkeypatch.delenv(MODEL_VARIABLE)
    for path in places[:3]:
        path.parent.mkdir(parents=True)
        path.touch()
        assert default_network() == path
    places[3].touch()
    monkeypatch.setenv(MODEL_VARIABLE, str(places[3]))
    assert default_network() == places[3]


def test_a_predictor_and_the_command_take_it(nowhere, monkeypatch):
    from typer.testing import CliRunner
    given = []
    monkeypatch.setattr("affect_nb.apps.predict.predict_files", lambda video, model, *args, **options: given.append(model) or ([nowhere], []))
    with pytest.raises(ValueError, match="no network is named"): Predictor.load()
    refused = CliRunner().invoke(app, ["predict", "x.mp4"])
    assert isinstance(refused.exception, ValueError) and str(nowhere/"checkout") in str(refused.exception) and not given
    save_checkpoint(nowhere/"checkout"/"runs"/"demo"/"weights"/NAME.removesuffix(".json"), create_model("affwildnet_vgg", width=1/16))
    assert Predictor.load(device="cpu").path == nowhere/"checkout"/"runs"/"demo"/"weights"/NAME
    assert CliRunner().invoke(app, ["predict", "x.mp4"]).exit_code == 0 and given == [Predictor.load(device="cpu").path]
