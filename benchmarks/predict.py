"""Speed of `affect_nb predict` from the prompt to its results: times real time, shares of the stages, memory, first row.

`python benchmarks/predict.py [VIDEO]` prints the measures; `run()` returns them. The network is FaceBehaviorNet at the
width, size and normalisation of the one that is installed, with random weights; the films are drawn (one face, 640x360,
25 Hz, with a voice), 20 and 60 seconds long. Each is predicted by the command itself, in a process of its own that notes
when it does what. A stage is a part of the way of the main thread; faces are found in a process beside it, so that
`faces` is what remains of waiting for them. `--beside FOLDER` predicts the same films by another checkout too, in turn.

Then faces are found once more in this process, to see what that work is made of, and the windows of a film go through
the bare network, in the same number format and batches.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from affect_nb.apps import predict
from affect_nb.apps.windows import windows
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess import pipeline
from affect_nb.preprocess.detect import Detector
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.preprocess.track import FaceTracker
from affect_nb.synth.films import Person, VideoPlan, film_video

HERE = Path(__file__).resolve().parents[1]
NETWORK = dict(name="facebehaviornet", width=.34, norm="batch", size=48) # as the installed one
WITHIN_FACES = {"sound": (pipeline, "clip_sound"), "follow": (FaceTracker, "update"), "search": (Detector, "__call__"),
                "align": (pipeline, "crop_face"), "store": (FaceStoreWriter, "add")}

PREDICT = """
import json, resource, sys, time
started, notes, arguments = float(sys.argv[1]), sys.argv[2], sys.argv[3:]
stages, under_way, first, watched = {}, [], [], set()

def now(): return time.perf_counter(), time.process_time()

def timed(owner, name, stage):
    work = getattr(owner, name)
    def call(*args, **options):
        begun = now()
        under_way.append([0, 0])
        try: return work(*args, **options)
        finally:
            took, inside = [end - start for start, end in zip(begun, now())], under_way.pop()
            entry = stages.setdefault(stage, [0, 0])
            for kind in (0, 1):
                entry[kind] += took[kind] - inside[kind]
                if under_way: under_way[-1][kind] += took[kind]
            if stage == "network" and not first: first.append(time.time() - started)
    setattr(owner, name, call)

def watch():
    from affect_nb.apps import predict, windows
    stages["start"] = [time.time() - started, time.process_time()]
    timed(windows.WindowNetwork, "run", "network")
    timed(predict, "preprocess", "faces")
    timed(predict.Predictor, "predict_store", "table")
    timed(predict, "write_predictions", "table")
    makers = predict._product_makers
    def product_makers(*arguments, **options): # which imports what draws: after the first row
        from affect_nb.analysis import annotated_film
        if "film" not in watched: timed(annotated_film, "write_annotated", "film")
        watched.add("film")
        return makers(*arguments, **options)
    predict._product_makers = product_makers
    timed(predict, "_write_plot", "plot")
    timed(predict.Predictor, "load", "load")

from affect_nb.apps import cli
if hasattr(cli, "_helper_for"): # it begins before the long imports
    begin = cli._helper_for
    def helper_for(*options):
        helper = begin(*options)
        watch()
        return helper
    cli._helper_for = helper_for
else: watch()
try: cli.main(["predict", *arguments])
except SystemExit as end: assert not end.code, end.code
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
json.dump(dict(seconds=time.time() - started, first_row=first[0], stages=stages,
               processor=[use.ru_utime + use.ru_stime for use in used],
               peak_mb=[use.ru_maxrss/1024 for use in used]), open(notes, "w"))
"""


def draw_film(path: Path, seconds: int, fps: float = 25.) -> Path:
    """A drawn person who talks."""
    person = Person("talk", "S001", identity=3, seed=5)
    film_video(VideoPlan("film", "talk", 1, "test", (person,), round(seconds*fps), fps, 640, 360, .3, seed=7), path)
    return path


def predicted(film: Path, card: Path, out: Path, checkout: Path = HERE) -> dict:
    """What the command notes of itself; the folder `out` is new."""
    program, notes = out.with_suffix(".py"), out.with_suffix(".notes")
    program.write_text(PREDICT)
    command = [sys.executable, str(program), str(time.time()), str(notes), str(film), "--model", str(card), "--out", str(out)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr[-2000:])
    return json.loads(notes.read_text())


def film_seconds(film: Path) -> float:
    """How long a film lasts."""
    reader = pipeline.open_clip(film)
    return reader.n_frames/reader.fps


def shares(notes: dict) -> dict:
    """Share of each stage in the time of the main thread, and in the processor time of both processes."""
    whole, work, stages = notes["seconds"], sum(notes["processor"]), notes["stages"]
    found = {f"share_of_{name}": round(clock/whole, 3) for name, (clock, _) in stages.items()}
    found |= {f"processor_share_of_{name}": round(used/work, 3) for name, (_, used) in stages.items()}
    return found | dict(processor_share_of_faces_beside=round(notes["processor"][1]/work, 3))


def end_to_end(film: Path, card: Path, folder: Path, beside: Path | None, repeats: int) -> dict:
    """The best of some predictions, in turn with those of another checkout: other jobs only slow them down."""
    runs = {"": [], "other_": []} if beside else {"": []}
    for number in range(repeats):
        for name, checkout in zip(runs, (HERE, beside)):
            runs[name].append(predicted(film, card, folder/f"{film.stem}_{name}{number}", checkout))
    seconds, found = film_seconds(film), {}
    for name, all_notes in runs.items():
        notes, work = min(all_notes, key=lambda one: one["seconds"]), min(sum(one["processor"]) for one in all_notes)
        found |= {f"{name}seconds": round(notes["seconds"], 2), f"{name}times_real_time": round(seconds/notes["seconds"], 2),
                  f"{name}processor_s": round(work, 2), f"{name}times_real_time_if_2_cores_shared_it": round(2*seconds/work, 2),
                  f"{name}first_row_s": round(min(one["first_row"] for one in all_notes), 2),
                  f"{name}peak_mb": round(max(sum(one["peak_mb"]) for one in all_notes), 1)}
        found |= {f"{name}{share}": value for share, value in shares(notes).items()}
    return found


class Clock:
    """Seconds that named functions have taken."""
    def __init__(self): self.seconds = {}

    def timed(self, name: str, work):
        """`work`, which adds its seconds to those of `name`."""
        def call(*args, **options):
            start = time.thread_time()
            try: return work(*args, **options)
            finally: self.seconds[name] = self.seconds.get(name, 0) + time.thread_time() - start
        return call

    def decoding(self, frames):
        """Frames of `frames`; the seconds that each took to come are counted."""
        while True:
            start = time.thread_time()
            frame = next(frames, None)
            self.seconds["decode"] = self.seconds.get("decode", 0) + time.thread_time() - start
            if frame is None: return
            yield frame


@contextmanager
def clocked(places: dict):
    """Time the functions in `places`, name -> (owner, attribute), inside the block."""
    clock, decoded = Clock(), pipeline.decoded_frames
    with ExitStack() as opened:
        for name, (owner, attribute) in places.items(): opened.enter_context(patch.object(owner, attribute, clock.timed(name, getattr(owner, attribute))))
        opened.enter_context(patch.object(pipeline, "decoded_frames", lambda reader: clock.decoding(decoded(reader))))
        yield clock


def within_faces(film: Path, path: Path) -> dict:
    """Shares of what finding faces is made of, in processor time; the first search of a clip counts twice."""
    pipeline.preprocess_clip(film, path) # the models are loaded
    with clocked(WITHIN_FACES) as clock: pipeline.preprocess_clip(film, path)
    whole = sum(clock.seconds.values())
    return {f"faces_share_of_{name}": round(part/whole, 3) for name, part in clock.seconds.items()}


@torch.inference_mode()
def bare(predictor, store: FaceStore) -> np.ndarray:
    """Seconds, by the clock and of the processor, that the network alone takes for the windows of a store."""
    cuts, seconds = windows(store, predictor.length), np.zeros(2)
    for start in range(0, len(cuts), predictor.windows_a_pass):
        faces = torch.zeros(len(cuts[start:start + predictor.windows_a_pass]), predictor.length, 3, 96, 96)
        for number, window in enumerate(cuts[start:start + predictor.windows_a_pass]): faces[number, :len(window)] = torch.from_numpy(store.read(window.start, window.stop)).permute(0, 3, 1, 2)/127.5 - 1
        begin = now()
        with predictor.precision.autocast(predictor.device): predictor.model(faces)
        seconds += now() - begin
    return seconds


def now() -> np.ndarray:
    """Seconds, by the clock and of the processor: the latter do not grow when other jobs take it away."""
    return np.array([time.perf_counter(), time.process_time()])


def network_rates(card: Path, store: FaceStore, repeats: int) -> dict:
    """The network inside `predict_store` and alone, which take turns, and the same in float32; the best of each, because other jobs only slow it down."""
    def within(predictor):
        start = now()
        predictor.predict_store(store)
        return now() - start
    fast, slow = (predict.Predictor.load(card, "cpu", precision, windows="paper") for precision in ("auto", "float32"))
    turns = np.array([[within(fast), bare(fast, store)] for _ in range(repeats)]).min(0) # (within, bare) by (clock, processor)
    exact, rows = within(slow)[0], sum(len(window) for window in windows(store, fast.length))
    (inside, inside_work), (alone, alone_work) = turns
    return dict(precision=fast.precision.name, network_within_per_s=round(rows/inside, 1), network_bare_per_s=round(rows/alone, 1), within_against_bare=round(alone/inside, 3),
                within_against_bare_of_processor_time=round(alone_work/inside_work, 3), network_float32_per_s=round(rows/exact, 1), times_float32=round(exact/inside, 2))


def run(video: str | Path | None = None, beside: str | Path | None = None, repeats: int = 3, seconds: tuple = (20, 60)) -> dict:
    """The measures of each film: drawn ones of so many seconds, or a video."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        card, options = folder/"network.json", dict(NETWORK)
        save_checkpoint(card, create_model(options.pop("name"), options.pop("width"), **options), {"data": "none: untrained"}, half=True)
        films = [draw_film(folder/f"{length}s.mp4", length) for length in seconds] if video is None else [Path(video)]
        found = dict(network=f"{NETWORK['name']}, width {NETWORK['width']}", film=", ".join(film.name for film in films))
        measured = [end_to_end(film, card, folder, beside and Path(beside).resolve(), repeats) for film in films]
        for film, figures in zip(films, measured): found |= {f"{film.stem}: {name}": value for name, value in figures.items()}
        peaks = [figures["peak_mb"] for figures in measured]
        if len(peaks) > 1: found["peak_ratio"] = round(peaks[-1]/peaks[0], 3)
        found |= within_faces(films[0], folder/"faces.arrow")
        return found | network_rates(card, FaceStore.open(folder/"faces.arrow"), repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", help="a video of one's own; none: drawn films")
    parser.add_argument("--beside", help="another checkout, which predicts the same films in turn")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(json.dumps(run(options.video, options.beside, options.repeats), indent=2))
