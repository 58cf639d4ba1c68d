"""Speed of sound on one core, as times real time: the spectrogram alone, decoding alone, and a whole file into its store.

`python benchmarks/sound.py [VIDEO]` prints the measures; `run()` returns them. Seconds are those of the processor that this
process has used, so that other jobs on the machine count little; threads are held to one.
"""
import argparse
import json
import os
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"): os.environ.setdefault(name, "1")

import av
import numpy as np
from threadpoolctl import threadpool_limits

from affect_nb.preprocess.audio import SoundReader
from affect_nb.preprocess.sound import SoundStore, write_sound
from affect_nb.preprocess.spectrogram import Spectrogram, columns_of

VIDEO = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"/"WolfgangLanger_Pexels.mp4"


def seconds(work, repeats: int) -> float:
    """Processor seconds of `work()`, the best of some: other jobs only slow it down."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def decode(video: Path):
    """Decode the first sound track with PyAV as it comes, and nothing else."""
    with av.open(str(video)) as container:
        for _ in container.decode(audio=0): pass


def images(store: SoundStore, frames: int = 80, windows: int = 20):
    """Read the images of some windows of consecutive frames."""
    for number in range(windows): store.images(number/3 + np.arange(frames)/30)


def run(video: str | Path = VIDEO, repeats: int = 7) -> dict:
    """Times real time on one core, and microseconds to read the image of a frame."""
    video = Path(video)
    if not video.exists(): return dict(skipped=f"{video} is not there")
    noise = np.random.default_rng(0).normal(0, .1, (60, 44100)).clip(-1, 1).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        make = lambda: write_sound(video, Path(folder)/"clip.sound")
        store = make()
        length = store.about["end"] - store.about["start"]
        return dict(video=video.name, sound_s=round(length, 2), channels=store.about["channels"], rate_hz=store.about["rate"],
                    spectrogram_times_real_time=round(60/seconds(lambda: list(columns_of(Spectrogram(), noise)), repeats)),
                    decoding_times_real_time=round(length/seconds(lambda: decode(video), repeats)),
                    mono_times_real_time=round(length/seconds(lambda: list(SoundReader(video)), repeats)),
                    file_to_store_times_real_time=round(length/seconds(make, repeats)),
                    image_of_a_frame_us=round(seconds(lambda: images(store), repeats)/1600*1e6, 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", nargs="?", default=VIDEO)
    print(json.dumps(run(parser.parse_args().video), indent=2))
