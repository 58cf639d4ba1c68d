"""Step time of two processes that train together, against one process with half the batch.

`python benchmarks/processes.py` prints the measures; `run()` returns them. Both processes hold AffWildNet and the same
number of sequences for each, and take turns: `together` (one training over both, `train.processes`), `beside` (each a
training of its own, at the same time, so that they disturb each other as much) and `alone` (one of them, the other
waits). Of each the fastest step counts, by the clock and by the processor's time. On a CPU they speak gloo, on GPUs
NCCL, one GPU each; on a machine whose cores others use the clock says little.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
PROCESSES = 2
MODES = ("together", "beside", "alone")


class Trainings:
    """What one process trains: its half of a batch alone, or its share of the whole one."""
    def __init__(self, number: int, meet: str, width: float, sequences: int, frames: int, size: int, steps: int, gpu: bool):
        import torch
        import torch.distributed as dist
        from affect_nb.train.learner import affect_learner
        from affect_nb.train.toy import toy_dataloaders
        device = torch.device("cuda", number) if gpu else torch.device("cpu")
        if gpu: torch.cuda.set_device(device)
        else: torch.set_num_threads(1)
        dist.init_process_group("nccl" if gpu else "gloo", init_method=f"file://{meet}", rank=number, world_size=PROCESSES)
        def learner(share):
            torch.manual_seed(0)
            dls = toy_dataloaders(n=share*sequences*steps, frames=frames, size=size, bs=share*sequences)
            return affect_learner(dls, "affwildnet_vgg", width, size=size, device=device)
        self.learners = {"together": learner(PROCESSES), "alone": learner(1)}
        self.device, self.dist = device, dist

    def steps(self, mode: str) -> list:
        """Seconds of each step of an epoch but the first: by the clock, of the processor."""
        from fastai.callback.core import Callback, CancelValidException
        from affect_nb.train.processes import over_processes
        times = []

        class Clock(Callback):
            order = 1000
            def before_validate(self): raise CancelValidException
            def after_batch(self):
                if self.dls.device.type == "cuda": import torch; torch.cuda.synchronize()
                times.append((time.perf_counter(), time.process_time()))

        learn = self.learners["together" if mode == "together" else "alone"]
        with over_processes(learn) if mode == "together" else nullcontext(), learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=Clock())
        return [[later - earlier for earlier, later in zip(*pair)] for pair in zip(times, times[1:])]


def work(arguments: dict) -> None:
    """The worker process: a line in is a mode, a line out the seconds of its steps."""
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        trainings = Trainings(**arguments)
        for line in sys.stdin: print(json.dumps(trainings.steps(line.strip())), file=out, flush=True)
        trainings.dist.destroy_process_group()


class Worker:
    """A process that trains when it is asked to."""
    def __init__(self, **arguments):
        self.process = subprocess.Popen([sys.executable, "-W", "ignore", HERE, "--worker", json.dumps(arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, mode: str): print(mode, file=self.process.stdin, flush=True)

    def answer(self) -> list:
        line = self.process.stdout.readline()
        if not line: raise RuntimeError("a worker of benchmarks/processes.py ended; its message is above")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def turn(workers: list, mode: str) -> list:
    """Steps of one mode: the slowest process of each step counts, since all wait for it."""
    asked = workers[:1] if mode == "alone" else workers
    for worker in asked: worker.ask(mode)
    return [[max(times) for times in zip(*step)] for step in zip(*(worker.answer() for worker in asked))]


def run(width: float = .25, sequences: int = 2, frames: int = 20, size: int = 96, steps: int = 4, rounds: int = 3, gpu: bool = False) -> dict:
    """Seconds of a step of each mode, and the ratios."""
    import torch
    if gpu and torch.cuda.device_count() < PROCESSES:
        raise ValueError(f"there are {torch.cuda.device_count()} GPUs, {PROCESSES} are needed; gpu=False measures on the CPU")
    arguments = dict(width=width, sequences=sequences, frames=frames, size=size, steps=steps, gpu=gpu)
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(number=number, meet=f"{folder}/meet", **arguments) for number in range(PROCESSES)]
        try: turns = [{mode: turn(workers, mode) for mode in MODES} for _ in range(rounds)]
        finally:
            for worker in workers: worker.end()
    best = {mode: [min(times) for times in zip(*(step for each in turns for step in each[mode]))] for mode in MODES}
    found = {f"step_{mode}_{kind}_s": round(best[mode][place], 4) for mode in MODES for place, kind in enumerate(("clock", "processor"))}
    for mode in MODES[1:]:
        for place, kind in enumerate(("clock", "processor")): found[f"together_against_{mode}_{kind}"] = round(best["together"][place]/best[mode][place], 3)
    return found | dict(width=width, half_batch=f"{sequences} x {frames} at {size}x{size}", device="GPUs" if gpu else "CPU, one thread each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", metavar="ARGUMENTS", help=argparse.SUPPRESS)
    parser.add_argument("--width", type=float, default=.25, help="of the network; 1 is the paper's size")
    parser.add_argument("--rounds", type=int, default=3, help="of each mode")
    parser.add_argument("--gpu", action="store_true", help="two GPUs instead of the CPU")
    given = parser.parse_args()
    if given.worker: work(json.loads(given.worker))
    else: print(json.dumps(run(given.width, rounds=given.rounds, gpu=given.gpu), indent=2))
