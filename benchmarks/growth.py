"""How the cost of a prediction grows: with frames, with films, with faces in the picture, with frames in a batch, with processes.

`python benchmarks/growth.py` prints the measures; `run()` returns them; `--plot FILE.png` draws them. Drawn films, 320x240, 25 Hz,
without sound; the installed network and detector; the films are drawn beforehand. Each point is a median over `rounds`, which go through
all points in turn, so that a busy neighbour meets all of them. Cost is processor time of all threads of this process (one thread is asked
for), and for processes the clock, since theirs is not this process's. Beside each row: the straight line through its points, the
share of the largest cost that its start makes, and how far the points lie from it.
"""
import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS = dict(frames=(25, 50, 100, 200), films=(1, 2, 4, 8), faces=(1, 2, 3, 4), batch=(1, 8, 32, 128), processes=(1, 2))
TITLES = dict(frames="frames of a film", films="films of 25 frames", faces="faces in 50 frames", batch="faces in a batch, of 512",
              processes="processes, 4 films of 500")
SLICES = 512 # faces that the network reads in all, in each point of `batch`


def draw_films(folder: Path, count: int, frames: int, faces: int = 1) -> Path:
    """So many films in a folder; those that are there are not drawn again."""
    from affect_nb.synth.films import Person, VideoPlan, film_video
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if (folder/f"{number}.mp4").exists(): continue
        people = tuple(Person(f"{number}", f"S{face}", 10*number + face, 20*number + face) for face in range(faces))
        film_video(VideoPlan("drawn", f"{number}", 1, "train", people, frames, 25., 320, 240, .1, number), folder/f"{number}.mp4", sound=False)
    return folder


def predict_all(films: Path, out: Path, predictor):
    """Find the faces of all films and predict them, in this process."""
    from affect_nb.preprocess.pipeline import preprocess
    done = preprocess(films, out, progress=False, transform=predictor.card.preprocessing.transform)
    for store in done.stores: predictor.predict_store(store, False)
    return len(done.frames)


def spent(work) -> tuple:
    """Seconds of this process, and by the clock."""
    begun = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - begun[0], time.perf_counter() - begun[1]


class Costs:
    """The points of every row."""
    def __init__(self, folder: Path):
        import torch
        from affect_nb.apps.predictor import Predictor
        torch.set_num_threads(1)
        self.folder, self.predictor = folder, Predictor.load(None, device="cpu", precision="float32")
        self.faces = torch.rand(SLICES, 1, 3, 96, 96)*2 - 1

    def films_of(self, row: str, value: int) -> Path:
        """The films of a point."""
        count, frames, faces = dict(frames=(1, value, 1), films=(value, 25, 1), faces=(1, 50, value), processes=(4, 500, 1))[row]
        return draw_films(self.folder/f"films-{count}-{frames}-{faces}", count, frames, faces)

    def read_in(self, size: int):
        """The network's forward pass over the same faces, in batches of a size."""
        import torch
        with torch.inference_mode():
            for batch in self.faces.split(size): self.predictor.model(batch)

    def point(self, row: str, value: int) -> float:
        """The cost of one point, s; a throw-away folder takes what it writes."""
        from affect_nb.preprocess.pipeline import preprocess
        if row == "batch": return spent(lambda: self.read_in(value))[0]
        films = self.films_of(row, value)
        out = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            if row == "processes": return spent(lambda: preprocess(films, out, workers=value, progress=False))[1]
            return spent(lambda: predict_all(films, out, self.predictor))[0]
        finally: shutil.rmtree(out)


def line_of(values, costs) -> dict:
    """The straight line through the points: cost of one more, of the start, and the largest distance from it, as a share of the cost."""
    slope, start = np.polyfit(values, costs, 1)
    off = np.abs(np.polyval([slope, start], values) - costs)/np.asarray(costs)
    return dict(each=round(float(slope), 5), start=round(float(start), 4), farthest=round(float(off.max()), 3))


def run(rounds: int = 3) -> dict:
    """All rows."""
    with tempfile.TemporaryDirectory() as folder:
        costs = Costs(Path(folder))
        points = [(row, value) for row, values in ROWS.items() for value in values]
        for row, value in points:
            if row != "batch": costs.films_of(row, value)
        costs.point("frames", 25) # what is loaded at the first use is in no point
        found = {point: [costs.point(*point) for _ in range(1)] for point in points}
        for _ in range(rounds - 1):
            for point in points: found[point].append(costs.point(*point))
    rows = []
    for row, values in ROWS.items():
        seconds = [float(np.median(found[row, value])) for value in values]
        fitted = line_of(values, seconds) if row in ("frames", "films", "faces") else {}
        rows.append(dict(row=TITLES[row], values=list(values), seconds=[round(cost, 3) for cost in seconds], **fitted))
    return dict(growth=rows, rounds=rounds, measure="processor time; of processes the clock", data="drawn films; no benchmark result")


def plot(figures: dict, path: Path):
    """A panel for each row."""
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, len(figures["growth"]), figsize=(12, 2.6), dpi=72, layout="constrained")
    for ax, row in zip(axes, figures["growth"]):
        ax.plot(row["values"], row["seconds"], "o-", color="#4477aa")
        if "each" in row: ax.plot(row["values"], np.polyval([row["each"], row["start"]], row["values"]), ":", color="#333333")
        if row["values"][-1] > 100*row["values"][0]: ax.set_xscale("log", base=2)
        ax.set(xlabel=row["row"], ylim=(0, None), xticks=row["values"], xticklabels=row["values"])
        ax.minorticks_off()
        ax.set_ylabel("s" if row is figures["growth"][0] else "")
    fig.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="a .png to draw")
    given = parser.parse_args()
    measured = run(given.rounds)
    if given.plot: plot(measured, given.plot)
    print(json.dumps(measured, indent=1))
