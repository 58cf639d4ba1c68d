"""Speed of prediction from the film to its results: frames/s, the share of each stage, and the network against itself alone.

`python benchmarks/predict.py [VIDEO]` prints the measures; `run()` returns them. The network is MT-VGG-GRU at full width
with random weights. What `affect_nb predict` does is timed while it does it: finding faces (decoding and searching run
beside the rest; their seconds are those of each thread, scaled to what the whole took, and the first search of a clip
counts twice), loading and timing the network, the network, and writing the table, the plot and the film. Then the same windows go through the bare network, in
the same number format and batches, in the same process.
"""
import argparse
import json
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from affect_nb.analysis import annotated_film
from affect_nb.apps import predict
from affect_nb.apps.windows import windows
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess import pipeline
from affect_nb.preprocess.detect import Detector
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.preprocess.track import FaceTracker

VIDEO = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"/"WolfgangLanger_Pexels.mp4"
STAGES = {"load": (predict.Predictor, "load"), "faces": (predict, "preprocess"), "network": (predict.Predictor, "predict_store"), "write_table": (predict, "write_predictions"),
          "write_plot": (annotated_film, "plot_predictions"), "write_film": (annotated_film, "write_annotated")}
WITHIN_FACES = {"sound": (pipeline, "clip_sound"), "follow": (FaceTracker, "update"), "search": (Detector, "__call__"), "align": (pipeline, "crop_face"), "store": (FaceStoreWriter, "add")}


class Clock:
    """Seconds that named functions have taken."""
    def __init__(self): self.seconds = {}

    def timed(self, name: str, work):
        """`work`, which adds its seconds to those of `name`."""
        def call(*args, **options):
            start = time.perf_counter()
            try: return work(*args, **options)
            finally: self.seconds[name] = self.seconds.get(name, 0) + time.perf_counter() - start
        return call

    def decoding(self, frames):
        """Frames of `frames`; the seconds that each took to come are counted."""
        while True:
            start = time.perf_counter()
            frame = next(frames, None)
            self.seconds["decode"] = self.seconds.get("decode", 0) + time.perf_counter() - start
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


def end_to_end(video: Path, card: Path, out: Path, precision: str) -> tuple[float, dict]:
    """Seconds of the whole, and of each stage."""
    start = time.perf_counter()
    with clocked(STAGES | WITHIN_FACES) as clock: predict.predict_files(video, card, out, device="cpu", precision=precision, progress=False)
    whole, seconds = time.perf_counter() - start, clock.seconds
    inside = {name: seconds.pop(name, 0) for name in ("decode", *WITHIN_FACES)}
    faces = seconds.pop("faces")
    write = sum(seconds.pop(name) for name in list(seconds) if name.startswith("write"))
    stages = {name: faces*part/sum(inside.values()) for name, part in inside.items()}
    return whole, stages | seconds | dict(write=write, rest=whole - faces - write - sum(seconds.values()))


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


def run(video: str | Path = VIDEO, architecture: str = "mt_vgg_gru", width: float = 1.0, repeats: int = 3) -> dict:
    """Rates in frames/s, shares of the whole, and the network's rate in it against the bare network's."""
    video = Path(video)
    if not video.exists(): return dict(skipped=f"{video} is not there")
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder)/"network.json"
        save_checkpoint(card, create_model(architecture, width), {"data": "none: untrained"})
        whole, stages = end_to_end(video, card, Path(folder)/"out", "auto")
        store = FaceStore.open(next((Path(folder)/"out"/"faces").glob("*.arrow")))
        frames = int(store.table["frame"].to_numpy().max()) + 1
        found = dict(video=video.name, frames=frames, network=architecture, width=width, end_to_end_per_s=round(frames/whole, 1))
        found |= {f"share_of_{name}": round(part/whole, 3) for name, part in stages.items()}
        return found | network_rates(card, store, frames, repeats)


def network_rates(card: Path, store: FaceStore, frames: int, repeats: int) -> dict:
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", default=VIDEO)
    print(json.dumps(run(parser.parse_args().video), indent=2))
