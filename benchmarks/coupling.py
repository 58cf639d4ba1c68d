"""What the coupling losses cost of a training step of FaceBehaviorNet, on a CPU and on a GPU.

The network at full width, a batch of the three sets in the paper's proportion (751 images on a GPU, 48 on a CPU), forward,
loss, backward and Adam, in the precision that is fastest here. The steps of all couplings take turns, so that a slower
minute of the machine is slow for all; of each the median counts. As a second, quieter figure the losses alone, forward and
backward on the network's output, are set against the step. `python benchmarks/coupling.py` prints the measures; `run()` returns them.
"""
import argparse
import json
import time
from statistics import median

import torch

from affect_nb.core.labels import AUS17, AffectTargets
from affect_nb.models import create_model
from affect_nb.train.callbacks import keep_freed_memory
from affect_nb.train.fastai_losses import COUPLINGS, CoupledLoss
from affect_nb.train.precision import Precision, available_devices, choose_device

SETS = (401, 247, 103) # valence and arousal, AUs, expressions


def targets_of(images: int, device) -> AffectTargets:
    """Labels as the joint batches have them: each image those of its set."""
    va, aus, expression = (round(images*share/sum(SETS)) for share in SETS)
    parts = [AffectTargets(va=torch.rand(va, 1, 2)*2 - 1), AffectTargets(aus=torch.randint(0, 2, (aus, 1, len(AUS17))).float()),
             AffectTargets(expression=torch.randint(0, 7, (images - va - aus, 1)))]
    return AffectTargets.cat(parts).to(device)


def clock(work, device) -> float:
    """Seconds that `work` takes."""
    if device.type == "cuda": torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda": torch.cuda.synchronize()
    return time.perf_counter() - start


def alone(loss, output, targets, device, repeats: int = 20) -> float:
    """Seconds of the loss and of its gradient with respect to the network's output."""
    fields = [getattr(output, name) for name in output.present]

    def work():
        for _ in range(repeats): torch.autograd.grad(loss(output, targets), fields, allow_unused=True)
    work()
    return min(clock(work, device) for _ in range(3))/repeats


def run(width: float = 1.0, images: int = 0, rounds: int = 0, device: str = "") -> dict:
    """Steps with each coupling, and the losses alone, as shares of a step without coupling."""
    device = choose_device(device or None)
    images, rounds = images or (751 if device.type == "cuda" else 48), rounds or (30 if device.type == "cuda" else 4)
    torch.manual_seed(0)
    if device.type == "cpu": keep_freed_memory()
    precision = Precision(torch.bfloat16, True)
    model = precision.lay_out(create_model("facebehaviornet", width=width).to(device)).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    faces, targets = torch.rand(images, 1, 3, 96, 96, device=device)*2 - 1, targets_of(images, device)
    losses = {coupling: CoupledLoss(coupling) for coupling in COUPLINGS}

    def step(loss):
        with precision.autocast(device): output = model(faces)
        loss(output.float(), targets).backward()
        optimiser.step()
        optimiser.zero_grad()

    for loss in losses.values(): step(loss) # to warm up
    seconds = {name: [] for name in losses}
    for _ in range(rounds):
        for name, loss in losses.items(): seconds[name].append(clock(lambda: step(loss), device))
    with torch.no_grad(), precision.autocast(device): output = model(faces).float()
    for name in output.present: getattr(output, name).requires_grad_()
    own, plain = {name: alone(loss, output, targets, device) for name, loss in losses.items()}, median(seconds["none"])
    rows = [{"coupling": name, "step_ms": round(1000*median(seconds[name]), 3), "step_share": round(median(a/b for a, b in zip(seconds[name], seconds["none"])) - 1, 4),
             "loss_ms": round(1000*own[name], 3), "loss_share": round((own[name] - own["none"])/plain, 5)} for name in COUPLINGS]
    where = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {"device": where, "torch": torch.__version__, "width": width, "images": images, "rounds": rounds, "precision": precision.name, "threads": torch.get_num_threads(), "couplings": rows}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=1.0, help="of the network; 1 is the paper's size")
    parser.add_argument("--images", type=int, default=0, help="of a batch; 0: 751 on a GPU, 48 on a CPU")
    parser.add_argument("--rounds", type=int, default=0, help="steps of each; 0: 30 on a GPU, 4 on a CPU")
    parser.add_argument("--device", default="", help=f"one of {', '.join(available_devices())}; empty: the fastest")
    given = parser.parse_args()
    print(json.dumps(run(given.width, given.images, given.rounds, given.device), indent=2))
