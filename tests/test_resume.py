"""A training that is killed with SIGKILL ends as if it had not been."""
import os
import signal
import subprocess
import sys

import pytest
import torch

from affect_nb.models.weights import load_checkpoint

SCRIPT = """
import os, signal, sys, torch
from fastai.callback.core import Callback
from affect_nb.train.callbacks import ResumeCallback, SaveCheckpointCallback
from affect_nb.train.learner import affect_learner
from affect_nb.train.toy import toy_dataloaders
folder, kill, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
class Kill(Callback):
    def after_batch(self):
        if self.epoch == kill and self.training: os.kill(os.getpid(), signal.SIGKILL)
torch.manual_seed(seed)
learn = affect_learner(toy_dataloaders(n=8), width=.125, size=32, lr=2e-3, precision='float32',
                       cbs=[SaveCheckpointCallback(folder + '/best'), ResumeCallback(folder + '/state'), Kill()])
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(4)
print([[round(float(value), 6) for value in row] for row in learn.recorder.values], len(learn.recorder.losses))
"""


def script(folder, kill=-1, seed=0):
    return subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(kill), str(seed)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.alone
def test_a_killed_training_ends_as_if_it_had_not_been(tmp_path):
    undisturbed = script(tmp_path/"undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert script(tmp_path/"killed", kill=2).returncode == -signal.SIGKILL
    resumed = script(tmp_path/"killed", seed=99)
    assert resumed.stdout == undisturbed.stdout, resumed.stderr
    first, second = (load_checkpoint(tmp_path/folder/"best") for folder in ("undisturbed", "killed"))
    assert first[1].measures == second[1].measures and first[1].notes == second[1].notes
    for name, tensor in first[0].state_dict().items(): assert torch.equal(tensor, second[0].state_dict()[name])
    assert sorted(path.name for path in (tmp_path/"killed").iterdir()) == ["best.json", "best.safetensors", "state.safetensors"]
