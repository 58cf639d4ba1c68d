"""Every network of Sections V and VI.A at full width: images/s, the share of this machine's matrix products, memory, and the RNNs' part.

`python benchmarks/networks.py` prints the measures; `run()` returns them, with one row a network. Each network is in a
process of its own, which reports its peak memory less what the imports took. Between its steps the parent process
multiplies matrices, so that a slower minute of the machine is slow for both; of everything the fastest time counts,
because other jobs only slow it down.

- A training step: forward, CCC loss (of several tasks eq. 4 + 5 + 6), backward, fused Adam. Inference: evaluation mode, `torch.inference_mode`.
- all run in the precision that `choose_precision` takes on this processor.
- A share is floating point operations over time over the rate of `torch.mm`. Operations are those of the layers as they
  are defined, whichever algorithm computes them.
- `recurrent_share`: the RNNs' forward and backward pass on ready features in float32, against the whole step.
"""
import argparse
import json
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
NETWORKS = { # title -> its name if it is another, its arguments, is the CNN frozen, is there something to train
    **{name: {} for name in ("vgg16", "vgg_face_lstm", "affwildnet_vgg", "resnet50", "resnet_rnn", "affwildnet_resnet", "cnn_1rnn", "cnn_3rnn", "fusion_fc", "fusion_rnn")},
    "fusion_rnn, one frozen CNN": dict(name="fusion_rnn", arguments=dict(share_cnn=True), frozen=True),
    "decision_fusion": dict(trained=False),
    **{name: {} for name in ("mt_vgg", "mt_vgg_gru", "mt_vgg_gru_audio", "av_mt_vgg_gru")},
}
COMPARED = { # in pairs, a process for each pair
    "torchvision": dict(name="torchvision"),
    "fusion_rnn, two frozen CNNs": dict(name="fusion_rnn", frozen=True),
}
MEASURED = {"vgg": "affwildnet_vgg", "resnet": "resnet50"} # whose precision holds for all on this CNN


def torchvision_resnet():
    """torchvision's ResNet-50 with two outputs, called as our networks are."""
    import torchvision
    from torch import nn
    from affect_nb.core.labels import AffectOutput
    from affect_nb.models.inputs import scale_pixels

    class Torchvision(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = torchvision.models.resnet50(num_classes=2)

        def forward(self, faces, landmarks=None):
            return AffectOutput(va=self.cnn(scale_pixels(faces.flatten(0, 1))).unflatten(0, faces.shape[:2]))
    return Torchvision()


def cnns(model) -> list:
    """The CNNs of a network, as `cnn`, `members.0.cnn`."""
    return [part for name, part in model.named_modules() if name.split(".")[-1] == "cnn"]


def build(title: str, width: float, size: int = 96):
    """The network of a row of the table."""
    from affect_nb.models import create_model
    given = {**NETWORKS, **COMPARED}[title]
    name = given.get("name", title)
    model = torchvision_resnet() if name == "torchvision" else create_model(name, width, size=size, **given.get("arguments", {}))
    if given.get("frozen"): [cnn.requires_grad_(False) for cnn in cnns(model)]
    return model


def draw_batch(model, sequences: int, frames: int, size: int, device: str = "cpu"):
    """Random inputs (faces, landmarks, sound where the network hears) and targets of all tasks."""
    import torch
    from affect_nb.core.labels import AffectTargets
    from affect_nb.models.inputs import hears
    pictures = lambda channels: torch.randint(1, 256, (sequences, frames, channels, size, size), dtype=torch.uint8, device=device)
    faces, sound = pictures(3), (pictures(1),) if hears(model) else ()
    landmarks, va = (torch.rand(sequences, frames, *shape, device=device)*2 - 1 for shape in ((68, 2), (2,)))
    drawn = lambda classes, *shape: torch.randint(0, classes, (sequences, frames, *shape), device=device)
    return (faces, landmarks, *sound), AffectTargets(va, drawn(7), drawn(2, 17).float())


def step(model, inputs, targets, precision, optimiser=None):
    """One training step."""
    from affect_nb.core.losses import multitask_loss
    with precision.autocast(targets.device): output = model(*inputs)
    multitask_loss(output, targets, over="sum").backward()
    if optimiser: optimiser.step()
    model.zero_grad()


def count_flop(model, inputs, trained: bool = True) -> dict:
    """Floating point operations of inference and of a training step; all on the meta device, where it takes no time."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    found = {}
    with FlopCounterMode(display=False) as counter, torch.no_grad(): model(*inputs)
    found["inference"] = counter.get_total_flops()
    if trained:
        with FlopCounterMode(display=False) as counter:
            output = model(*inputs)
            sum(getattr(output, task).sum() for task in output.present).backward()
        found["training"] = counter.get_total_flops()
    return found


def recurrent_inputs(model, inputs) -> dict:
    """RNN -> shape of what it reads, and whether a gradient goes further down."""
    from torch import nn
    found, hooks = {}, []
    for name, rnn in model.named_modules():
        if not isinstance(rnn, nn.RNNBase): continue
        hooks.append(rnn.register_forward_pre_hook(lambda _, given, name=name: found.update({name: (tuple(given[0].shape), given[0].requires_grad)})))
    model(*inputs)
    for hook in hooks: hook.remove()
    return found


def first_convolution_images(model, inputs) -> float:
    """Images that the first convolutions of all CNNs see, for each image given."""
    import torch
    from torch import nn
    seen, firsts = [], [next(part for part in cnn.modules() if isinstance(part, nn.Conv2d)) for cnn in cnns(model)]
    hooks = [first.register_forward_pre_hook(lambda _, given: seen.append(len(given[0]))) for first in firsts]
    with torch.inference_mode(): model(*inputs)
    for hook in hooks: hook.remove()
    return sum(seen)/inputs[0].shape[:2].numel()


def peak_mb() -> float:
    """The most memory that this process has held."""
    import resource
    status = Path("/proc/self/status") # not ru_maxrss where it can be helped: it starts from the parent's
    if status.exists(): return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))/1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(2**20 if sys.platform == "darwin" else 2**10)


class Bench:
    """A network and a batch; each method is a job, which returns seconds or figures."""
    def __init__(self, title: str, width: float, batch: list, precision: list | None):
        import torch
        from affect_nb.train.callbacks import keep_freed_memory
        from affect_nb.train.precision import Precision
        torch.manual_seed(0)
        self.keep_freed_memory = keep_freed_memory
        self.precision = Precision(getattr(torch, precision[0]), *precision[1:]) if precision else Precision()
        with torch.device("meta"): self.meta = build(title, width, batch[2])
        (self.inputs, self.targets), self.trained = draw_batch(self.meta, *batch), {**NETWORKS, **COMPARED}[title].get("trained", True)
        self.model = self.precision.lay_out(build(title, width, batch[2]))
        self.optimiser = torch.optim.Adam([parameter for parameter in self.model.parameters() if parameter.requires_grad], lr=1e-4, fused=True)

    def precision_chosen(self) -> list:
        from affect_nb.train.precision import choose_precision
        chosen = choose_precision(self.inputs[0].device)
        return [str(chosen.dtype).removeprefix("torch."), chosen.channels_last]

    def inference(self) -> float:
        import torch
        self.model.eval()
        start = time.perf_counter()
        with torch.inference_mode(), self.precision.autocast(self.targets.device): self.model(*self.inputs)
        return time.perf_counter() - start

    def training(self) -> float:
        self.keep_freed_memory() # as `affect_learner` does
        self.model.train()
        start = time.perf_counter()
        step(self.model, self.inputs, self.targets, self.precision, self.optimiser)
        return time.perf_counter() - start

    def recurrent(self) -> float:
        """Seconds of the RNNs alone."""
        import torch
        seconds = 0.
        for name, (shape, further) in recurrent_inputs(self.meta, draw_batch(self.meta, *self._shape(), device="meta")[0]).items():
            rnn, features = self.model.get_submodule(name), torch.randn(shape, requires_grad=further)
            start = time.perf_counter()
            rnn(features)[0].sum().backward()
            seconds += time.perf_counter() - start
            rnn.zero_grad()
        return seconds

    def _shape(self): return (*self.inputs[0].shape[:2], self.inputs[0].shape[-1])

    def flop(self) -> dict: return count_flop(self.meta, draw_batch(self.meta, *self._shape(), device="meta")[0], self.trained)

    def parameters(self) -> int: return sum(parameter.numel() for parameter in self.model.parameters())

    def passes(self) -> float: return first_convolution_images(self.model, self.inputs)


def work(arguments: dict) -> None:
    """The worker process: a line in is a network's number and a job, a line out what the job returns."""
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        import affect_nb.models, affect_nb.train.learner, torch, torch.utils.flop_counter, torchvision # noqa: before memory is counted
        base = peak_mb()
        networks = [Bench(title, arguments["width"], arguments["batch"], arguments["precision"]) for title in arguments["titles"]]
        for line in sys.stdin:
            number, job = json.loads(line)
            print(json.dumps(peak_mb() - base if job == "memory" else getattr(networks[number], job)()), file=out, flush=True)


class Worker:
    """A process with networks that does a job when it is asked to."""
    def __init__(self, titles: list[str], width: float, batch: tuple, precision: list | None = None):
        arguments = json.dumps(dict(titles=titles, width=width, batch=batch, precision=precision))
        self.process = subprocess.Popen([sys.executable, "-W", "ignore::FutureWarning", HERE, "--worker", arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, job: str, number: int = 0):
        try: print(json.dumps([number, job]), file=self.process.stdin, flush=True)
        except BrokenPipeError: pass # the answer is missing, too
        line = self.process.stdout.readline()
        if not line: raise RuntimeError("a worker of benchmarks/networks.py ended; its message is above")
        return json.loads(line)

    def __enter__(self): return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


class Matrices:
    """Square matrices to multiply, in both number formats."""
    def __init__(self, size: int):
        import torch
        self.size, self.formats = size, ("bfloat16", "float32")
        self.operands = {name: [torch.randn(size, size).to(getattr(torch, name)) for _ in range(3)] for name in self.formats}

    def rates(self, repeats: int = 2) -> dict[str, float]:
        """FLOP/s of each format, the best of `repeats`."""
        import torch
        best = {}
        for name, (left, right, out) in self.operands.items():
            for _ in range(repeats):
                start = time.perf_counter()
                torch.mm(left, right, out=out)
                best[name] = max(best.get(name, 0), 2*self.size**3/(time.perf_counter() - start))
        return best


def chosen_precisions(width: float, batch: tuple) -> dict[str, list]:
    """What `choose_precision` says for each CNN."""
    found = {}
    for cnn, title in MEASURED.items():
        with Worker([title], width, (1, 16, batch[2])) as worker: found[cnn] = worker("precision_chosen")
    return found


def precision_of(title: str, precisions: dict) -> list:
    """The precision of the CNN that a network is built on."""
    return precisions["resnet" if "resnet" in title or title == "torchvision" else "vgg"]


def several(job, most: int, patience: float = 10.) -> list:
    """What `job` returns, twice (the first time warms up) and up to `most` times while `patience` seconds have not passed."""
    start, found = time.perf_counter(), []
    while len(found) < 2 or len(found) < most and time.perf_counter() - start < patience: found.append(job())
    return found


def take_turns(worker: Worker, jobs: tuple, steps: int, matrices: Matrices) -> tuple[dict, dict, dict]:
    """Shortest time of each job and the memory after it; the best rates of the matrices, between the runs."""
    best, peaks, rates = {}, {}, []
    for job in jobs:
        def turn():
            if job != "recurrent": rates.append(matrices.rates())
            return worker(job)
        best[job] = min(several(turn, steps if job != "recurrent" else 10)) # many small products, easily disturbed
        peaks[job] = worker("memory")
    return best, peaks, {name: max(some[name] for some in rates) for name in matrices.formats}


def figures(images: int, seconds: float, flop: int, peak: float, rate: dict) -> dict:
    """What a row of the table says about training or inference."""
    return dict(images_per_s=round(images/seconds, 1), gflop_per_image=round(flop/images/1e9, 2),
                **{f"share_of_{name}": round(flop/seconds/rate[name], 3) for name in rate}, peak_mb=round(peak))


def measure(title: str, width: float, batch: tuple, steps: int, precision: list, matrices: Matrices) -> dict:
    """The row of one network."""
    import torch
    from affect_nb.train.precision import Precision
    jobs = ("inference", "training", "recurrent")[:3 if NETWORKS[title].get("trained", True) else 1] # in this order: peak memory only grows
    with Worker([title], width, batch, precision) as worker:
        flop, parameters = worker("flop"), worker("parameters")
        best, peaks, rate = take_turns(worker, jobs, steps, matrices)
    found = {job: figures(batch[0]*batch[1], best[job], flop[job], peaks[job], rate) for job in flop}
    row = dict(network=title, precision=Precision(getattr(torch, precision[0]), *precision[1:]).name, parameters_million=round(parameters/1e6, 1))
    for job in ("training", "inference"): row |= {f"{job}_{name}": found.get(job, {}).get(name) for name in found["inference"]}
    row["recurrent_share"] = round(best["recurrent"]/best["training"], 4) if "recurrent" in best else None
    return row | {f"matmul_{name}_tflops": round(rate[name]/1e12, 3) for name in rate}


def compare(titles: list[str], width: float, batch: tuple, steps: int, precision: list) -> list[float]:
    """Seconds of a training step of each of two networks, which take turns in one process."""
    with Worker(titles, width, batch, precision) as worker:
        turns = several(lambda: [worker("training", number) for number in range(len(titles))], steps, 20.)
    return [min(seconds) for seconds in zip(*turns)]


def passes(title: str, batch: tuple) -> float:
    """Images that the first convolutions see for each image given; a matter of counting, so a small network will do."""
    return Bench(title, 1/16, (1, 3, batch[2]), None).passes()


def run(width: float = 1.0, sequences: int = 2, frames: int = 40, size: int = 96, steps: int = 3, networks: tuple = tuple(NETWORKS), matrix: int = 2048) -> dict:
    """The table and the comparisons."""
    import torch
    batch, matrices = (sequences, frames, size), Matrices(matrix)
    precisions = chosen_precisions(width, batch)
    rows = []
    for title in networks:
        rows.append(measure(title, width, batch, steps, precision_of(title, precisions), matrices))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    found = dict(networks=rows, **{f"matmul_{name}_tflops": max(row[f"matmul_{name}_tflops"] for row in rows) for name in matrices.formats})
    if width == 1: # torchvision's has no other
        ours, theirs = compare(["resnet50", "torchvision"], width, batch, steps, precisions["resnet"])
        found["resnet50_step_against_torchvision"] = round(ours/theirs, 3)
    shared = ["fusion_rnn, one frozen CNN", "fusion_rnn, two frozen CNNs"]
    one, two = compare(shared, width, batch, steps, precisions["vgg"])
    return found | dict(frozen_fusion_step_one_cnn_against_two=round(one/two, 3),
                        first_convolution_images_per_image={title: passes(title, batch) for title in ("cnn_3rnn", *shared)},
                        width=width, batch=f"{sequences} x {frames} at {size}x{size}", threads=torch.get_num_threads())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", metavar="ARGUMENTS", help=argparse.SUPPRESS)
    parser.add_argument("--width", type=float, default=1.0, help="of the networks; 1 is the paper's size")
    parser.add_argument("--sequences", type=int, default=2, help="in a batch")
    parser.add_argument("--frames", type=int, default=40, help="of each sequence")
    parser.add_argument("--steps", type=int, default=3, help="of each kind, at most; fewer where they take long")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NETWORK", help=f"rows of the table: {', '.join(NETWORKS)}")
    given = parser.parse_args()
    if given.worker: work(json.loads(given.worker))
    else: print(json.dumps(run(given.width, given.sequences, given.frames, steps=given.steps, networks=tuple(given.networks)), indent=2))
