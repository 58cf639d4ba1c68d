"""Where real media lie, and settings that every test shares: one thread and one precision, so that every machine computes the same."""
import os
import signal
import sys
from pathlib import Path

import matplotlib
import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"): os.environ[name] = "1" # before torch is imported
matplotlib.use("agg")
# a shell that starts the tests in the background ignores Ctrl-C for them, and what they start would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent/"shared"/"data"


@pytest.fixture(scope="session")
def root():
    "The checkout."
    return ROOT


@pytest.fixture(scope="session")
def real():
    "Images and clips of real people; they are not part of the repository."
    if not REAL.is_dir(): pytest.skip("../shared/data is absent: no real images and videos to test on")
    return REAL


@pytest.fixture(scope="session", autouse=True)
def one_precision():
    "Precision 'auto' is float32 on every machine, in fixtures of modules too; a test that names a precision has that."
    from affect_nb.train import precision
    decides = precision.bfloat16_unit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "bfloat16_unit", lambda device: "")
        yield decides


@pytest.fixture
def machine_precision(one_precision, monkeypatch):
    "For a test that wants the precision of this machine's processor."
    from affect_nb.train import precision
    monkeypatch.setattr(precision, "bfloat16_unit", one_precision)


@pytest.hookimpl(trylast=True) # after those that are not asked for have been left out
def pytest_collection_modifyitems(items):
    "What takes minutes begins first on both workers, each of which gets one half of the list, so that neither waits for the other at the end."
    long = [item for item in items if any(name in item.nodeid for name in ("test_lesson", "test_the_book", "test_wheel"))]
    short, middle = [item for item in items if item not in long], len(items)//2
    first, second = long[::2], long[1::2]
    items[:] = first + short[:middle - len(first)] + second + short[middle - len(first):]


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    "A small network that has learned nothing."
    import torch
    from affect_nb.models.registry import create_model
    from affect_nb.models.weights import save_checkpoint
    path = tmp_path_factory.mktemp("network")/"small"
    torch.manual_seed(0)
    save_checkpoint(path, create_model("affwildnet_vgg", width=1/16))
    return path.with_suffix(".json")
