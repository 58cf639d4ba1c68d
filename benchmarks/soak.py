"""`predict` in one process, again and again, over a folder of good and bad films: is memory flat, and is every input told of?

`python benchmarks/soak.py --minutes 120` prints the measures; `run(minutes)` returns them. `make soak` takes 2 hours. Each
round predicts all films and pictures anew into a folder of its own, which is removed, and holds three things against
what must be: which inputs have a table, which are in skipped.json as failed, and that none is in neither. After it the
process's own memory, open files, threads and children are read. The first rounds load models and fill caches; the growth
is the median slope between rounds after that (Theil and Sen) with its interval: a short soak sees a large leak only, and one
odd round does not count.
"""
import argparse
import gc
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from scipy.stats import theilslopes

from affect_nb.apps.predict import predict_files
from affect_nb.files.film import write_film
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.synth.action_units import expression_aus
from affect_nb.synth.faces import Identity, Scene, render_face, render_frame

WARM_UP = 5 # rounds, at the least
MOST_GROWTH = .2 # MB a round: less than the pictures of one film take; the lower end of the interval must stay below it
BAD = {"empty.mp4", "text.mp4", "head.mp4", "noise.png"} # cannot be read: no table, an entry in skipped.json


def smile(person: int, n_frames: int, size: int = 144):
    """A drawn face that begins to smile."""
    return [render_face(expression_aus("Happiness", 5*number/n_frames), Identity.draw(person), size=size, seed=number).image for number in range(n_frames)]


def draw_inputs(folder: Path) -> set:
    """Films and pictures, good and bad; the names of those that have a prediction."""
    folder.mkdir(parents=True)
    face = smile(3, 10)
    write_film(folder/"good.mp4", face, 25)
    write_film(folder/"sound.mp4", face, 25, sound=np.sin(np.arange(17_640)/20).astype(np.float32)*.3)
    write_film(folder/"nobody.mp4", (render_frame([], Scene.draw(1, .3), 144, 144, seed=number).image for number in range(6)), 25)
    write_film(folder/"turned.mp4", [np.ascontiguousarray(np.rot90(frame)) for frame in face], 25)
    write_film(folder/"one.mp4", face[:1], 25)
    whole = (folder/"good.mp4").read_bytes()
    (folder/"head.mp4").write_bytes(whole[:len(whole)//3]) # the index lies at the end
    (folder/"empty.mp4").touch()
    (folder/"text.mp4").write_text("this is no film\n"*40)
    pictures = folder/"pictures"
    pictures.mkdir()
    for number in (0, 9): Image.fromarray(face[number]).save(pictures/f"face{number}.png")
    (pictures/"noise.png").write_bytes(np.random.default_rng(0).bytes(3000))
    return {"good", "sound", "nobody", "turned", "one", "pictures"}


def state(process: psutil.Process) -> dict:
    """What a process holds: memory of its own in MB, open files, threads, children."""
    return dict(memory=process.memory_full_info().uss/2**20, files=process.num_fds(), threads=process.num_threads(), children=len(process.children()))


def accounted(folder: Path, out: Path, good: set) -> list:
    """Inputs that a round has not told of as it must."""
    tables = {path.stem for path in out.glob("*.csv")}
    failed = {Path(entry["source"]).name for entry in json.loads((out/"skipped.json").read_text()) if entry["failed"]}
    wrong = [f"{name} has no table" for name in good - tables] + [f"{name} is not in skipped.json" for name in BAD - failed]
    return wrong + [f"{name} has a table" for name in tables - good] + [f"{name} is in skipped.json" for name in failed - BAD]


def growth(values: list) -> tuple[float, float, float]:
    """Median slope by round, and its interval of 95 %."""
    slope, _, low, high = theilslopes(values)
    return float(slope), float(low), float(high)


def run(minutes: float = 120, report: bool = False) -> dict:
    """Measures of a soak of so many minutes, at least `WARM_UP` + 3 rounds; an AssertionError where something leaks or is lost."""
    process, rounds, begun = psutil.Process(), [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        inputs, card, out = Path(folder)/"inputs", Path(folder)/"network.json", Path(folder)/"out"
        good = draw_inputs(inputs)
        torch.manual_seed(0)
        save_checkpoint(card.with_suffix(""), create_model("affwildnet_vgg", width=1/16), {"data": "none: untrained"})
        while len(rounds) < WARM_UP + 3 or time.monotonic() - begun < minutes*60:
            predict_files(inputs, card, out, device="cpu", progress=False, recursive=True)
            lost = accounted(inputs, out, good)
            assert not lost, f"round {len(rounds) + 1}: {'; '.join(lost)}"
            shutil.rmtree(out)
            gc.collect()
            rounds.append(state(process))
            if report: print(len(rounds), {name: round(value, 1) for name, value in rounds[-1].items()}, flush=True)
    seconds = time.monotonic() - begun
    # what is loaded and cached in the first rounds is no leak: a fifth of a long soak, five rounds of a short one
    settled = rounds[max(WARM_UP, len(rounds)//5):]
    series = {name: [each[name] for each in settled] for name in settled[0]}
    measures = {"minutes measured": round(seconds/60, 1), "rounds": len(rounds), "rounds after the first ones": len(settled),
                "inputs a round": len(good) + len(BAD), "inputs without an account": 0,
                "memory after the first ones (MB)": round(series["memory"][0], 1), "memory at the end (MB)": round(series["memory"][-1], 1),
                "memory: growth a round (MB), from, to": ", ".join(f"{value:.2f}" for value in growth(series["memory"])),
                **{f"{name}: least, most, last": f"{min(values)}, {max(values)}, {values[-1]}" for name, values in series.items() if name != "memory"}}
    assert growth(series["memory"])[1] < MOST_GROWTH, measures
    for name in ("files", "threads", "children"): assert series[name][-1] <= series[name][0] and growth(series[name])[0] <= 0, (name, series[name])
    return measures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--out", type=Path, help="write the measures there, as JSON with the machine")
    chosen = parser.parse_args()
    found = run(chosen.minutes, report=True)
    print(json.dumps(found, indent=2))
    if chosen.out:
        from affect_nb.apps.report import environment
        from affect_nb.files.atomic import write_json
        write_json(chosen.out, {"figures": found, "where": environment()})
