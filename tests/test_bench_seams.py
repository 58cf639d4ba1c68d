"""The benchmark of seams: its figures from tables made here, and that it says where there is no run. Nothing is trained."""
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import seams  # noqa: E402


def test_steps_at_edges_and_elsewhere():
    frames = np.arange(40)
    trace = .01*frames + .5*(frames//10) # half a unit more at each edge
    table = pd.DataFrame(dict(clip=np.repeat(["a", "b"], 40), face_id=0, frame=np.tile(frames, 2), valence_pred=np.tile(trace, 2), arousal_pred=np.tile(trace, 2)))
    found = seams.steps(table.sample(frac=1, random_state=0), 10)
    assert found["edge_step"] == pytest.approx(.51) and found["other_step"] == pytest.approx(.01)


def test_what_each_way_gains():
    rows = [dict(network=f"{name}, out, {windows}", windows=windows, ccc_valence=base + gain, ccc_arousal=base, ccc_mean=base + gain/2, after_mean=base)
            for name, base in (("one", .2), ("two", .4)) for windows, gain in (("paper", 0), ("carry", -.1), ("overlap", .02))]
    found = seams.summary(rows)
    assert found["ccc_valence over the paper's, overlap"] == pytest.approx(.02) and found["ccc_mean over the paper's, carry"] == pytest.approx(-.05)
    assert found["networks that gain by overlap"] == "2 of 2" and found["networks that gain by carry"] == "0 of 2"


def test_a_folder_without_a_run(tmp_path):
    assert "holds no run" in seams.run(tmp_path)["skipped"]
