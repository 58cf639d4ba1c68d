"""`predict` in a folder that holds no run: the network is found, or the message names where it was looked for."""
import pytest

import affect_nb
from affect_nb.apps.cli import app
from affect_nb.apps.predictor import Predictor
from affect_nb.files.home import DEFAULT_WEIGHTS, MODEL_VARIABLE, default_network
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint

NAME = "affwildnet_vgg.json"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    "A working folder, a package and a data folder without any network; the working folder has run a demo."
    for name in ("work/runs/demo/weights", "checkout", "data"): (tmp_path/name).mkdir(parents=True)
    (tmp_path/"work"/"runs"/"demo"/"weights"/NAME).touch() # a network of drawn faces is not taken unless it is named
    monkeypatch.chdir(tmp_path/"work")
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path/"data"))
    monkeypatch.setattr(affect_nb, "__file__", str(tmp_path/"checkout"/"affect_nb"/"__init__.py"))
    return tmp_path


def test_the_order_in_which_it_is_looked_for(nowhere, monkeypatch):
    installed = nowhere/"checkout"/"affect_nb"/"weights"/f"{DEFAULT_WEIGHTS}.json"
    own, named = nowhere/"data"/"affect_nb"/"networks"/NAME, nowhere/"mine.json"
    with pytest.raises(ValueError, match="no network is named") as error: default_network()
    assert all(str(path) in str(error.value) for path in (own, installed)) and MODEL_VARIABLE in str(error.value)
    monkeypatch.setenv(MODEL_VARIABLE, str(named))
    with pytest.raises(ValueError, match=f"{MODEL_VARIABLE} is .*mine.json, which is no model card"): default_network()
    monkeypatch.delenv(MODEL_VARIABLE)
    for path in (installed, own):
        path.parent.mkdir(parents=True)
        path.touch()
        assert default_network() == path
    named.touch()
    monkeypatch.setenv(MODEL_VARIABLE, str(named))
    assert default_network() == named


def test_a_predictor_and_the_command_take_it(nowhere, monkeypatch):
    from typer.testing import CliRunner
    given = []
    monkeypatch.setattr("affect_nb.apps.predict.predict_files", lambda video, model, *args, **options: given.append(model) or ([nowhere], []))
    with pytest.raises(ValueError, match="no network is named"): Predictor.load()
    refused = CliRunner().invoke(app, ["predict", "x.mp4"])
    assert isinstance(refused.exception, ValueError) and str(nowhere/"checkout") in str(refused.exception) and not given
    installed = nowhere/"checkout"/"affect_nb"/"weights"/DEFAULT_WEIGHTS
    save_checkpoint(installed, create_model("affwildnet_vgg", width=1/16))
    assert Predictor.load(device="cpu").path == installed.with_suffix(".json")
    assert CliRunner().invoke(app, ["predict", "x.mp4"]).exit_code == 0 and given == [Predictor.load(device="cpu").path]
