"""All that is to be measured on a GPU, in ten minutes and one dated file: `benchmarks/gpu.sh`.

`python benchmarks/gpu.py` measures on the first GPU and writes `benchmarks/results/gpu-YYYY-MM-DD.json` after every
check, so that what is measured is kept when the time is up; a check that fails or has no time left says so in its place.
`--tiny` runs the same code at toy sizes on whatever there is, a CPU too: a test of this script, its figures mean nothing
and go to `runs/gpu-tiny.json`; the compiler is not the GPU's there. `run()` returns the figures.

- `matmul`: square matrices by `torch.mm`, in bfloat16 and float32. Shares below are of the bfloat16 rate.
- `networks`: a training step of each network at full size, on random faces that are on the device already: images/s,
  floating point operations over time over the rate of `torch.mm` (goal: 45 %), peak memory. Operations are those of the
  layers as they are defined (`benchmarks/networks.py`).
- `compiled`: a step with `torch.compile` on the CNNs against the eager one, in each mode, and what fell back.
- `loader`: faces/s from a store onto the device through processes that read ahead, against the fastest network.
- `evaluation`: peak memory of a validation of many batches against one of few: 1 means that nothing piles up.
- `agreement`: 20 steps of a small network on the device against the CPU, float32: the largest difference of a loss.
- `processes`: two GPUs that train together against one with half the batch (`benchmarks/processes.py`).
- `film`: a drawn film of 1920x1080 through `affect_nb predict` with its defaults: frames/s from the prompt to the end.
"""
import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT = 570. # seconds for all
GOAL = .45   # of the matrix product's rate


def beside(name: str):
    """Another script of this folder."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", HERE/f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(rows: list) -> list:
    """Rows with the same columns, None where one has nothing."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


class Sizes:
    """What is measured: the paper's sizes, or toys."""
    def __init__(self, tiny: bool):
        self.matrix, self.width, self.size, self.steps = (128, 1/16, 32, 2) if tiny else (8192, 1., 96, 8)
        self.recurrent, self.single = ((1, 4), (4, 1)) if tiny else ((4, 80), (256, 1)) # sequences, frames
        self.networks = ("affwildnet_vgg", "facebehaviornet") if tiny else (
            "affwildnet_vgg", "facebehaviornet", "affwildnet_resnet", "mt_vgg", "mt_vgg_gru", "av_mt_vgg_gru", "mt_vgg_gru_audio",
            "vgg16", "resnet50", "vgg_face_lstm", "resnet_rnn", "cnn_1rnn", "cnn_3rnn", "fusion_fc", "fusion_rnn")
        self.compiled, self.modes, self.backend = self.networks[:3], ("default",) if tiny else ("default", "reduce-overhead"), "aot_eager" if tiny else "inductor"
        self.frames, self.workers = (40, 1) if tiny else (4000, min(16, max(1, (os.cpu_count() or 2) - 1)))
        self.batches = (2, 4) if tiny else (4, 40)
        self.film = (12, 320, 180) if tiny else (500, 1920, 1080) # frames, width, height
        self.processes = dict(width=1/16, sequences=1, frames=2, size=32, steps=2, rounds=1) if tiny else dict(width=1., sequences=4, frames=80, rounds=2)


class Gpu:
    """The device and the sizes; every method but the first ones is a check, which returns figures."""
    CHECKS = ("matmul", "networks", "agreement", "evaluation", "loader", "film", "processes", "compiled") # the last may take long

    def __init__(self, tiny: bool, started: float):
        import torch
        from affect_nb.data.devices import choose_device
        from affect_nb.train.precision import choose_precision
        self.device = choose_device(None if tiny else "cuda") # an error where there is none
        self.sizes, self.tiny, self.started, self.torch = Sizes(tiny), tiny, started, torch
        self.precision, self.bench = choose_precision(self.device), beside("networks")
        self.rate, self.fastest = None, 0.

    def left(self) -> float: return LIMIT - (time.perf_counter() - self.started)

    def wait(self):
        if self.device.type == "cuda": self.torch.cuda.synchronize()

    def seconds(self, work, repeats: int) -> float:
        """The median time of `work`, the device's part included, after two times to warm up."""
        for _ in range(2): work()
        times = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return sorted(times)[len(times)//2]

    def peak_mb(self) -> float | None:
        return round(self.torch.cuda.max_memory_allocated()/2**20) if self.device.type == "cuda" else None

    def forget_peak(self):
        if self.device.type == "cuda": self.torch.cuda.empty_cache(), self.torch.cuda.reset_peak_memory_stats()

    def matmul(self) -> dict:
        found = {}
        for name in ("bfloat16", "float32"):
            left, right = (self.torch.randn(self.sizes.matrix, self.sizes.matrix, device=self.device, dtype=getattr(self.torch, name)) for _ in range(2))
            found[f"matmul_{name}_tflops"] = 2*self.sizes.matrix**3/self.seconds(lambda: self.torch.mm(left, right), 10)/1e12
        self.rate = found["matmul_bfloat16_tflops"]*1e12
        return {name: round(value, 4) for name, value in found.items()}

    def trainer(self, name: str, parts=lambda model: ()):
        """A training step of a network as a function, images of it, floating point operations of it."""
        from affect_nb.models.registry import create_model
        shape = self.sizes.single if name in ("facebehaviornet", "mt_vgg", "vgg16", "resnet50") else self.sizes.recurrent
        make = lambda: create_model(name, self.sizes.width, size=self.sizes.size)
        with self.torch.device("meta"): meta = make()
        flop = self.bench.count_flop(meta, self.bench.draw_batch(meta, *shape, self.sizes.size, device="meta")[0])["training"]
        model = self.precision.lay_out(make().to(self.device)).train()
        inputs, targets = self.bench.draw_batch(model, *shape, self.sizes.size, device=self.device)
        optimiser = self.torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        return (lambda: self.bench.step(model, inputs, targets, self.precision, optimiser)), shape[0]*shape[1], flop, parts(model)

    def networks(self) -> dict:
        rows = []
        for name in self.sizes.networks:
            if self.left() < 200 and not self.tiny:
                rows.append(dict(network=name, note="not measured: the time was up"))
                continue
            self.forget_peak()
            try: rows.append(self.row(name))
            except Exception as error: rows.append(dict(network=name, note=f"not measured: {type(error).__name__}: {error}"[:200]))
        return dict(networks=table(rows), goal_share_of_bfloat16=GOAL)

    def row(self, name: str) -> dict:
        step, images, flop, _ = self.trainer(name)
        seconds = self.seconds(step, self.sizes.steps)
        self.fastest = max(self.fastest, images/seconds)
        return dict(network=name, precision=self.precision.name, images=images, step_ms=round(1e3*seconds, 3), images_per_s=round(images/seconds, 1),
                    share_of_bfloat16=round(flop/seconds/self.rate, 4) if self.rate else None, peak_mb=self.peak_mb())

    def compiled(self) -> dict:
        """Ratios of a compiled step to the eager one; where the compiler fails, what it said."""
        from affect_nb.models.starting import cnn_parts
        from affect_nb.train.compiled import CompiledPart
        rows = []
        for name in self.sizes.compiled:
            for mode in self.sizes.modes:
                if self.left() < 60 and not self.tiny:
                    rows.append(dict(network=name, mode=mode, note="not measured: the time was up"))
                    continue
                step, _, _, cnns = self.trainer(name, lambda model: list(cnn_parts(model).values()))
                eager = self.seconds(step, self.sizes.steps)
                compiled = [CompiledPart(cnn, mode, self.sizes.backend) for cnn in cnns]
                start = time.perf_counter()
                try: step(); self.wait()
                except Exception as error:
                    rows.append(dict(network=name, mode=mode, note=f"fails: {type(error).__name__}: {error}"[:200]))
                    continue
                first = time.perf_counter() - start
                rows.append(dict(network=name, mode=mode, state=", ".join(sorted({part.state for part in compiled})), first_step_s=round(first, 1),
                                 step_against_eager=round(self.seconds(step, self.sizes.steps)/eager, 3)))
                self.torch._dynamo.reset()
        return dict(compiled=table(rows))

    def toy_learner(self, device, **loaders):
        from affect_nb.train.learner import affect_learner
        from affect_nb.train.toy import toy_dataloaders
        self.torch.manual_seed(0)
        options = dict(precision="float32", size=32, dropout=0., lr=1e-3)
        return affect_learner(toy_dataloaders(frames=4, size=32, **loaders), "affwildnet_vgg", 1/16, device=device, **options)

    def agreement(self) -> dict:
        losses = {}
        for name in ("cpu", self.device):
            learn = self.toy_learner(name, n=16, bs=4)
            with learn.no_bar(), learn.no_logging(): learn.fit(5)
            losses[str(name)] = self.torch.tensor([float(loss) for loss in learn.recorder.losses])
        first, second = (*losses.values(), losses["cpu"])[:2]
        return dict(agreement_steps=len(first), agreement_largest_difference=float((first - second).abs().max()), agreement_last_loss=round(float(second[-1]), 4))

    def evaluation(self) -> dict:
        """Peak memory of validations, by their number of batches."""
        from affect_nb.train.learner import affect_learner
        from affect_nb.train.toy import toy_dataloaders
        peaks, (few, many) = {}, self.sizes.batches
        for batches in (few, many):
            sequences, frames = self.sizes.recurrent
            learn = affect_learner(toy_dataloaders(n=2*sequences*batches, frames=frames, size=self.sizes.size, bs=sequences), "mt_vgg_gru", self.sizes.width,
                                   size=self.sizes.size, device=self.device)
            self.forget_peak()
            with learn.no_bar(), learn.no_logging(): learn.validate()
            peaks[batches] = self.peak_mb()
        if peaks[few] is None: return dict(evaluation_batches=many, evaluation_peak_growth="not measured: no GPU")
        return dict(evaluation_batches=many, evaluation_peak_mb=peaks[many], evaluation_peak_growth=round(peaks[many]/peaks[few], 3))

    def loader(self) -> dict:
        """Faces/s from a JPEG store to the device, read ahead; against the fastest network of `networks`."""
        import numpy as np
        import pandas as pd
        from affect_nb.data.loaders import AffectDL
        from affect_nb.data.sequences import SequenceDataset
        n, frames = self.sizes.frames, 4 if self.tiny else 80
        with tempfile.TemporaryDirectory() as folder:
            store, _ = beside("data").draw_clip(Path(folder), n)
            labels = pd.DataFrame(dict(clip="0", frame=range(n), valence=np.float32(0), arousal=np.float32(0)))
            data, count = SequenceDataset([store], labels, length=frames, step=1), 0
            dl = AffectDL(data, 4, shuffle=True, num_workers=self.sizes.workers, device=self.device, pin_memory=self.device.type == "cuda")
            for number, batch in enumerate(dl):
                if number == 2: start = time.perf_counter() # processes have started
                if number > 2: count += batch[0].shape[0]*batch[0].shape[1]
                if number > 2 and time.perf_counter() - start > 20: break
            self.wait()
            rate = count/(time.perf_counter() - start)
            dl.close()
        return dict(loader_workers=self.sizes.workers, loader_faces_per_s=round(rate), loader_against_fastest_network=round(rate/self.fastest, 2) if self.fastest else None)

    def film(self) -> dict:
        """Frames/s of a drawn film from the prompt to the table, by the command in a process of its own."""
        from affect_nb.models.registry import create_model
        from affect_nb.models.weights import save_checkpoint
        from affect_nb.synth.films import Person, VideoPlan, film_video
        frames, width, height = self.sizes.film
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            person = Person("talk", "S001", identity=3, seed=5)
            film_video(VideoPlan("film", "talk", 1, "test", (person,), frames, 25., width, height, .3, seed=7), folder/"film.mp4")
            save_checkpoint(folder/"network", create_model("mt_vgg_gru", self.sizes.width), dict(data="random weights", licence="none"))
            command = [sys.executable, "-m", "affect_nb", "predict", folder/"film.mp4", "--model", folder/"network.json", "--out", folder/"out", "--device", str(self.device)]
            start = time.perf_counter()
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=max(30, self.left()))
            seconds = time.perf_counter() - start
            if done.returncode: raise RuntimeError(done.stderr[-300:])
        return dict(film=f"{frames} frames of {width}x{height}, one face", film_seconds=round(seconds, 2), film_frames_per_s=round(frames/seconds, 1))

    def processes(self) -> dict:
        gpus = self.torch.cuda.device_count() if self.device.type == "cuda" else 0
        if gpus < 2 and not self.tiny: return dict(processes=f"not measured: {gpus} GPU")
        return {f"processes_{name}": value for name, value in beside("processes").run(**self.sizes.processes, gpu=gpus > 1).items()}


def run(tiny: bool = False, out: str | Path | None = None, checks: tuple = Gpu.CHECKS) -> dict:
    """The figures of all checks; with `out` they are written there after each."""
    from affect_nb.apps.report import environment
    from affect_nb.files.atomic import write_json
    unknown = [name for name in checks if name not in Gpu.CHECKS]
    if unknown: raise ValueError(f"checks has {unknown[0]!r}, allowed are {', '.join(Gpu.CHECKS)}")
    started = time.perf_counter()
    gpu, found = Gpu(tiny, started), dict(note="toy sizes: these figures mean nothing") if tiny else {}
    for name in checks:
        if gpu.left() < 20: found[name] = "not measured: the time was up"
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try: found |= getattr(gpu, name)()
            except Exception as error: found[name] = f"not measured: {type(error).__name__}: {error}"[:300]
        found["seconds"] = round(time.perf_counter() - started, 1)
        if out: write_json(Path(out), {"figures": found, "where": environment()})
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="the same code at toy sizes, on a CPU too")
    parser.add_argument("--out", type=Path, help="the file; none: benchmarks/results/gpu-YYYY-MM-DD.json, with --tiny runs/gpu-tiny.json")
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(Gpu.CHECKS)}; none: all")
    given = parser.parse_args()
    out = given.out or (Path("runs/gpu-tiny.json") if given.tiny else HERE/"results"/f"gpu-{date.today()}.json")
    try: print(json.dumps(run(given.tiny, out, tuple(given.checks) or Gpu.CHECKS), indent=2))
    except ValueError as error: sys.exit(f"benchmarks/gpu.py: {error}")
    print(out)
