"""Peak memory of preprocessing and of predicting a short and a long clip; it must not grow with the length.

`python benchmarks/memory.py [VIDEO]` prints the measures; `run()` returns them. The long clip is the given one, looped
without encoding it anew. Each job runs in a process of its own, which reports its peak resident memory; that of the
process that finds the faces is added. Prediction is the whole of `affect_nb predict`: faces, network (a small untrained
one), table, annotated film, plot.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av

VIDEO = Path(__file__).resolve().parents[2]/"shared"/"data"/"videos"/"WolfgangLanger_Pexels.mp4"

PREPROCESS = """
import resource, sys
from affect_nb.preprocess.pipeline import preprocess_clip
store = preprocess_clip(sys.argv[1], sys.argv[2])
print(store.table["frame"].to_numpy().max() + 1, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

PREDICT = """
import resource, sys
from pathlib import Path
from affect_nb.apps.predict import predict_files
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
out = Path(sys.argv[2])
save_checkpoint(out/"network", create_model("affwildnet_vgg", width=1/16), {"data": "none: untrained"})
table = predict_files(sys.argv[1], out/"network.json", out, device="cpu", progress=False)[0][0]
print(sum(1 for line in open(table)) - 1, sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""
JOBS = {"preprocess": PREPROCESS, "predict": PREDICT}


def loop_clip(video: Path, path: Path, n_frames: int) -> Path:
    """`n_frames` frames (at least) of the picture of `video`, again and again, copied packet by packet."""
    with av.open(str(path), "w") as out:
        target, written, offset, end = None, 0, 0, 0
        while written < n_frames:
            with av.open(str(video)) as source:
                stream = source.streams.video[0]
                if target is None: target = out.add_stream_from_template(stream)
                step = round(1/(stream.average_rate*stream.time_base))
                for packet in source.demux(stream):
                    if packet.dts is None or written >= n_frames: continue
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, target
                    end = max(end, packet.pts + step)
                    out.mux(packet)
                    written += 1
                offset = end
    return path


def peak(program: str, *arguments) -> tuple[int, float]:
    """Frames and peak memory in MB that a program reports in its last line."""
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr[-2000:])
    frames, kilobytes = done.stdout.split()[-2:]
    return int(frames), int(kilobytes)/1024


def run(video: str | Path = VIDEO, lengths: tuple[int, int] = (500, 20_000)) -> dict:
    """Peak memory in MB of each job at both lengths, and their ratio."""
    video, found = Path(video), {}
    if not video.exists(): return dict(skipped=f"{video} is not there")
    with tempfile.TemporaryDirectory() as folder:
        clips = [loop_clip(video, Path(folder)/f"{length}.mp4", length) for length in lengths]
        for job, program in JOBS.items():
            peaks = [peak(program, clip, Path(folder)/f"{job}_{clip.stem}") for clip in clips]
            found |= {f"{job}_peak_mb": [round(size, 1) for _, size in peaks], f"{job}_ratio": round(peaks[1][1]/peaks[0][1], 3)}
    return dict(video=video.name, frames=list(lengths), **found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", nargs="?", default=VIDEO)
    print(json.dumps(run(parser.parse_args().video), indent=2))
