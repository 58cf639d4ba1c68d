"""Speed of preprocessing, as ratios within one run: end to end against decoding alone and against detection on every frame,
and with the clip's sound against without.

`python benchmarks/preprocess.py [VIDEO]` prints the measures; `run()` returns them.
"""
import argparse
import json
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from affect_nb.preprocess.detect import create_detector
from affect_nb.preprocess.frames import landmarks_array
from affect_nb.preprocess.landmarks import Landmarks68, landmark_error
from affect_nb.preprocess.pipeline import Settings, preprocess_clip
from affect_nb.preprocess.sound import sound_beside
from affect_nb.preprocess.video import VideoReader

VIDEO = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"/"WolfgangLanger_Pexels.mp4"


def in_turn(repeats: int, **works) -> dict[str, np.ndarray]:
    """Best seconds, by the clock and of the processor, of each of `works`: in turn, so that other jobs slow all; the best, because they only slow."""
    def seconds(work) -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - start[0], time.process_time() - start[1]
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(repeats)]
    return {name: np.min([seconds_of[name] for seconds_of in rounds], axis=0) for name in works}


def detect_everywhere(video: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) and landmarks (n, 68, 2) of the largest face, detected on every frame at full size; NaN where none."""
    detector, model = create_detector("dlib_hog", upsample=0, max_side=10**6), Landmarks68()
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


def count_detections(video: Path) -> int:
    """Detect on every frame at full size, and nothing else; the number of frames."""
    detector = create_detector("dlib_hog", upsample=0, max_side=10**6)
    return sum(len(detector(frame.image)) >= 0 for frame in VideoReader(video))


def difference(video: Path, store) -> float:
    """Mean distance of the landmarks in `store` from those of detection on every frame, in inter-ocular distances."""
    _, slow = detect_everywhere(video)
    frames = store.frames
    faces = frames[frames.status == "ok"]
    longest = faces[faces.face_id == faces.face_id.mode()[0]]
    error = landmark_error(landmarks_array(longest), slow[longest.frame.to_numpy()])
    return float(np.nanmean(error))


def run(video: str | Path = VIDEO, repeats: int = 7) -> dict:
    """Rates in frames/s, their ratios with and without sound, what share of the time sound adds, and how far the landmarks are from those of detection on every frame."""
    video = Path(video)
    if not video.exists(): return dict(skipped=f"{video} is not there")
    with tempfile.TemporaryDirectory() as folder:
        make = lambda name, sound: preprocess_clip(video, Path(folder)/name, Settings(sound=sound))
        store = make("clip.arrow", True)  # the models are loaded
        frames = int(store.frames.frame.nunique())
        best = in_turn(repeats, decoding=lambda: count_decoded(video), sound=lambda: make("turn.arrow", True), silent=lambda: make("turn.arrow", False), detecting=lambda: count_detections(video))
        decoding, whole, silent, detecting = (frames/best[name][0] for name in ("decoding", "sound", "silent", "detecting"))
        adds = (best["sound"]/best["silent"] - 1).round(3).tolist()
        return dict(video=video.name, frames=frames, decoding_per_s=round(decoding, 1), end_to_end_per_s=round(whole, 1),
                    without_sound_per_s=round(silent, 1), sound_adds_share=adds[0], sound_adds_processor_share=adds[1], has_sound=sound_beside(store.path) is not None,
                    detection_on_every_frame_per_s=round(detecting, 1), times_detection=round(whole/detecting, 2), times_detection_without_sound=round(silent/detecting, 2),
                    share_of_decoding=round(whole/decoding, 3), share_of_decoding_without_sound=round(silent/decoding, 3),
                    landmark_difference=round(difference(video, store), 4))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", nargs="?", default=VIDEO)
    print(json.dumps(run(parser.parse_args().video), indent=2))
