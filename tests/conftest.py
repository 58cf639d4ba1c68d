"""Where real media lie, and settings that every test shares."""
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("agg")
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


@pytest.hookimpl(trylast=True) # after those that are not asked for have been left out
def pytest_collection_modifyitems(items):
    "What takes minutes begins first on both workers, each of which gets one half of the list, so that neither waits for the other at the end."
    long = [item for item in items if any(name in item.nodeid for name in ("test_lesson", "test_the_book", "test_wheel"))]
    short, middle = [item for item in items if item not in long], len(items)//2
    first, second = long[::2], long[1::2]
    items[:] = first + short[:middle - len(first)] + second + short[middle - len(first):]
