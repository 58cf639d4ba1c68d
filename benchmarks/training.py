"""Speed of AffWildNet's training step in each number format, as ratios within one run.

Processes take turns, a step each, so that a slower minute of the machine is slow for all of them; of each the
fastest step counts, because other jobs only slow it down. Their own processes, because memory settings are a process's:

- `plain`: the model as `create_model` returns it, float32, NCHW, a bare PyTorch loop;
- `float32`, `bfloat16`: the formats that `choose_precision` knows, freed memory kept, a bare PyTorch loop;
- `fastai`: `affect_learner(...).fit` in the format of this processor, with its callbacks, metrics and recorder.

`python benchmarks/training.py` prints the measures; `run()` returns them.
"""
import argparse
import json
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import torch
from fastai.callback.core import Callback, CancelValidException

from affect_nb.core.losses import ccc_loss
from affect_nb.models import create_model
from affect_nb.train.callbacks import keep_freed_memory
from affect_nb.train.learner import affect_learner
from affect_nb.train.precision import Precision, choose_precision
from affect_nb.train.toy import toy_dataloaders

HERE = Path(__file__).resolve()


class NoValidation(Callback):
    """Only training is measured."""
    def before_validate(self): raise CancelValidException


def loop(model, dls, precision: Precision):
    """One epoch of a bare PyTorch loop, as a function."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def epoch():
        for faces, landmarks, targets in dls.train:
            with precision.autocast(faces.device): output = model(faces, landmarks)
            ccc_loss(output.va, targets.va).backward()
            optimiser.step()
            optimiser.zero_grad()
    return epoch


def prepare(kind: str, width: float, sequences: int, frames: int, size: int):
    """A function that trains one batch, and the precision that it does it in."""
    torch.manual_seed(0)
    dls = toy_dataloaders(n=sequences, frames=frames, size=size, bs=sequences)
    if kind == "fastai":
        learn = affect_learner(dls, width=width, size=size, cbs=NoValidation())
        def epoch():
            with learn.no_bar(), learn.no_logging(): learn.fit(1)
        return epoch, learn.precision
    model = create_model("affwildnet_vgg", width=width, size=size)
    precision = Precision() if kind == "plain" else choose_precision(torch.device("cpu"), kind)
    if kind != "plain": keep_freed_memory()
    return loop(precision.lay_out(model), dls, precision), precision


def work(kind: str, arguments: dict) -> None:
    """The worker process: a line in is a step, a line out its seconds."""
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        epoch, precision = prepare(kind, **arguments)
        print(json.dumps(precision.name), file=out, flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            epoch()
            print(time.perf_counter() - start, file=out, flush=True)


class Worker:
    """A process that makes a step when it is asked to."""
    def __init__(self, kind: str, **arguments):
        self.process = subprocess.Popen([sys.executable, HERE, "--worker", kind, json.dumps(arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.precision = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line: raise RuntimeError("a worker of benchmarks/training.py ended; its message is above")
        return json.loads(line)

    def step(self) -> float:
        """Seconds of one step."""
        print("step", file=self.process.stdin, flush=True)
        return self._answer()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


KINDS = ("plain", "float32", "bfloat16", "fastai")


def run(width: float = 1.0, sequences: int = 4, frames: int = 80, size: int = 96, rounds: int = 3) -> dict:
    """Images/s of each kind, and their ratios."""
    workers = {}
    try:
        for kind in KINDS: workers[kind] = Worker(kind, width=width, sequences=sequences, frames=frames, size=size)
        for worker in workers.values(): worker.step() # to warm up
        seconds = [{kind: worker.step() for kind, worker in workers.items()} for _ in range(rounds)]
    finally:
        for worker in workers.values(): worker.end()
    best = {kind: min(turn[kind] for turn in seconds) for kind in workers}
    same = "bfloat16" if workers["fastai"].precision.startswith("bfloat16") else "float32"
    return {
        **{f"images_per_second_{kind}": sequences*frames/best[kind] for kind in KINDS},
        "bfloat16_times_float32": best["float32"]/best["bfloat16"],
        "affect_learner_times_plain": best["plain"]/best["fastai"],
        "fastai_share_over_bare_loop": best["fastai"]/best[same] - 1,
        "precision": workers["fastai"].precision,
        "width": width, "batch": f"{sequences} x {frames} at {size}x{size}", "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", nargs=2, metavar=("KIND", "ARGUMENTS"), help=argparse.SUPPRESS)
    parser.add_argument("--width", type=float, default=1.0, help="of the network; 1 is the paper's size")
    parser.add_argument("--rounds", type=int, default=3, help="steps of each process that are measured")
    given = parser.parse_args()
    if given.worker: work(given.worker[0], json.loads(given.worker[1]))
    else: print(json.dumps(run(given.width, rounds=given.rounds), indent=2))
