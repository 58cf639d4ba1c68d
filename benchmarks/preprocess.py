"""Speed of preprocessing, as ratios within one run, by the clock and of the processor: with the default detector and with dlib's HOG,
which was the default before; end to end against detection by the same detector on every frame, against decoding alone, and with the
clip's sound against without.

`python benchmarks/preprocess.py [VIDEO]` prints the measures; `run()` returns them. Where dlib's landmarks come to lie in memory differs from process
to process, and with it the ratio of two detectors by a tenth: it is measured in several processes.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from scipy.stats import t as student

from affect_nb.preprocess.detect import DEFAULT_DETECTOR, EARLIER_DEFAULTS, create_detector
from affect_nb.preprocess.frames import landmarks_array
from affect_nb.preprocess.landmarks import Landmarks68, landmark_error
from affect_nb.preprocess.pipeline import Settings, preprocess_clip
from affect_nb.preprocess.sound import sound_beside
from affect_nb.preprocess.video import VideoReader

BEFORE = EARLIER_DEFAULTS[-1]
VIDEO = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"/"WolfgangLanger_Pexels.mp4"


def in_turn(repeats: int, **works) -> dict[str, np.ndarray]:
    """Best seconds, by the clock and of the processor, of each of `works`: in turn, so that other jobs slow all; the best, because they only slow."""
    def seconds(work) -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - start[0], time.process_time() - start[1]
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats)]
    return {name: np.min([seconds_of[name] for seconds_of in rounds], axis=0) for name in works}


def whole_size(name: str):
    """A detector that looks at pictures as they are."""
    return create_detector(name, **(dict(upsample=0, max_side=10**6) if name == BEFORE else {}))


def detect_everywhere(video: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) and landmarks (n, 68, 2) of the largest face, detected on every frame at full size; NaN where none."""
    detector, model = whole_size(DEFAULT_DETECTOR), Landmarks68()
    boxes, landmarks = [], []
    for frame in VideoReader(video):
        found = detector(frame.image)
        largest = np.argmax(np.ptp(found.boxes[:, ::2], axis=1)) if len(found) else None
        boxes.append(np.full(4, np.nan) if largest is None else found.boxes[largest])
        landmarks.append(np.full((68, 2), np.nan) if largest is None else model(frame.image, found.boxes[largest])[0])
    return np.array(boxes), np.array(landmarks)


def count_decoded(video: Path) -> int:
    """Decode with PyAV as it comes, and nothing else; the number of frames."""
    with av.open(str(video)) as container: return sum(1 for _ in container.decode(video=0))


def count_detections(video: Path, name: str) -> int:
    """Detect on every frame, and nothing else; the number of frames."""
    detector = whole_size(name)
    return sum(len(detector(frame.image)) >= 0 for frame in VideoReader(video))


def difference(video: Path, store) -> float:
    """Mean distance of the landmarks in `store` from those of detection on every frame, in inter-ocular distances."""
    _, slow = detect_everywhere(video)
    frames = store.frames
    faces = frames[frames.status == "ok"]
    longest = faces[faces.face_id == faces.face_id.mode()[0]]
    error = landmark_error(landmarks_array(longest), slow[longest.frame.to_numpy()])
    return float(np.nanmean(error))


def pair(video: Path, repeats: int) -> list[float]:
    """The frames/s of the default detector against those of the one before, by the clock and of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        works = {name: lambda name=name: preprocess_clip(video, Path(folder)/"clip.arrow", Settings(sound=True, detector=name)) for name in (BEFORE, DEFAULT_DETECTOR)}
        for work in works.values(): work()  # the models are loaded
        best = in_turn(repeats, **works)
    return (best[BEFORE]/best[DEFAULT_DETECTOR]).tolist()


def pairs(video: Path, processes: int, repeats: int) -> dict:
    """`pair` in processes of their own, one after the other: geometric means with their 95 % intervals (Student's t)."""
    command = [sys.executable, __file__, str(video), "--pair", str(repeats)]
    ratios = np.log([json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(processes)])
    margins = student.ppf(.975, processes - 1)*ratios.std(0, ddof=1)/processes**.5
    return {f"{kind}: {DEFAULT_DETECTOR} against {BEFORE}, {processes} processes": np.exp([mean, mean - margin, mean + margin]).round(3).tolist()
            for kind, mean, margin in zip(("clock", "processor"), ratios.mean(0), margins)}


def run(video: str | Path = VIDEO, repeats: int = 7, processes: int = 6) -> dict:
    """Rates in frames/s, their ratios (by the clock, of the processor), and how far the landmarks are from those of detection on every frame."""
    video = Path(video)
    if not video.exists(): return dict(skipped=f"{video} is not there")
    with tempfile.TemporaryDirectory() as folder:
        def make(file, **settings): return preprocess_clip(video, Path(folder)/file, Settings(**settings))
        store = make("clip.arrow", sound=True)  # the models are loaded
        frames, works = int(store.frames.frame.nunique()), dict(decoding=lambda: count_decoded(video), silent=lambda: make("turn.arrow", sound=False))
        for name in (DEFAULT_DETECTOR, BEFORE):
            works[name] = lambda name=name: make("turn.arrow", sound=True, detector=name)
            works[f"{name} on every frame"] = lambda name=name: count_detections(video, name)
        best = in_turn(repeats, **works)
        figures = dict(video=video.name, frames=frames, has_sound=sound_beside(store.path) is not None, landmark_difference=round(difference(video, store), 4))
        for place, kind in enumerate(("clock", "processor")):
            rate = {name: frames/seconds[place] for name, seconds in best.items()}
            figures |= {f"{kind}: {name}, frames/s": round(each, 1) for name, each in rate.items()}
            for name in (DEFAULT_DETECTOR, BEFORE): figures[f"{kind}: {name} against itself on every frame"] = round(rate[name]/rate[f"{name} on every frame"], 2)
            figures |= {f"{kind}: {DEFAULT_DETECTOR} against {BEFORE}": round(rate[DEFAULT_DETECTOR]/rate[BEFORE], 2),
                        f"{kind}: share of decoding": round(rate[DEFAULT_DETECTOR]/rate["decoding"], 3),
                        f"{kind}: sound adds": round(rate["silent"]/rate[DEFAULT_DETECTOR] - 1, 3)}
    return figures | (pairs(video, processes, repeats) if processes > 1 else {})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", nargs="?", default=VIDEO)
    parser.add_argument("--pair", type=int, metavar="REPEATS", help="only the ratio of the two detectors, of the best of so many rounds")
    given = parser.parse_args()
    print(json.dumps(pair(Path(given.video), given.pair) if given.pair else run(given.video), indent=2))
