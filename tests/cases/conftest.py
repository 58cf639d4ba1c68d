"""What several cases share."""
import pytest
import torch

from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    "A small network that has learned nothing."
    path = tmp_path_factory.mktemp("network")/"small"
    torch.manual_seed(0)
    save_checkpoint(path, create_model("affwildnet_vgg", width=1/16))
    return path.with_suffix(".json")
