"""Labels and windows: the index of a full-size Aff-Wild2 twin, memory of reading windows, and how fast windows and single frames come.

`python benchmarks/data.py` prints the measures; `run()` returns them. `python benchmarks/data.py --single [OTHER]` measures single frames
alone, OTHER being another checkout of the project: one after the other in one run. Single frames are counted by the
seconds of the processor, of this process and of those that read ahead. The index is measured on annotation files only:
558 videos, 2.8 million frames, three tasks. Its windows are read from one drawn clip that stands in for every video,
since 2.8 million faces would be 14 GB. Rates are of one core; what 16 workers give is 16 times that, and not measured.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FRAMES, CLIPS = 2_800_000, 558

INDEX = """
import sys, time
from affect_nb.databases.base import open_database
from affect_nb.data.index import index_database
start = time.perf_counter()
index = index_database(open_database("aff-wild2", sys.argv[1]), sys.argv[2])
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))/1024
print(time.perf_counter() - start, peak, len(index), len(index.clips))
"""

REOPEN = """
import sys, time
from affect_nb.data.index import LabelIndex
start = time.perf_counter()
index = LabelIndex(sys.argv[1])
first = index[next(iter(index))].along(80)
opened = time.perf_counter() - start
from affect_nb.databases.base import open_database
from affect_nb.data.index import index_database
start = time.perf_counter()
index_database(open_database("aff-wild2", sys.argv[2]), sys.argv[1])
print(opened, time.perf_counter() - start)
"""

# Random windows through a loader, with the labels of the first so many clips: private memory after it has settled.
TRAIN = """
import sys, torch
from pathlib import Path
from affect_nb.data.index import LabelIndex
from affect_nb.data.loaders import AffectDL
from affect_nb.data.sequences import SequenceDataset
torch.set_num_threads(1)
def private(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))/1024
index, faces, clips = LabelIndex(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
index = index.only(list(index)[:clips])
before = private()
data = SequenceDataset([faces/f"{name}.arrow" for name in index], index, length=80)
dataset = private() - before
for step, batch in enumerate(AffectDL(data, 4, shuffle=True, device=torch.device("cpu"))):
    if step == 100: break
print(len(data), dataset, private())
"""


# Single frames: what OpenCV's decoder alone does, batches of bytes, batches on their way into a network, by 2 processes, three sets, scoring.
SINGLE = """
import json, os, sys, time
import cv2, numpy as np, pandas as pd, torch
from pathlib import Path
from affect_nb.apps.predictor import Predictor
from affect_nb.apps.windows import predict_rows
from affect_nb.data.joint import JointDL, LabelSet
from affect_nb.data.loaders import AffectDL
from affect_nb.data.sequences import SequenceDataset
from affect_nb.models.registry import create_model
from affect_nb.models.weights import Card
from affect_nb.preprocess.face_store import FaceStore
cv2.setNumThreads(1); torch.set_num_threads(1)
here, n, found, cpu = Path(sys.argv[1]), int(sys.argv[2]), {}, torch.device("cpu")
def seconds(): return sum(os.times()[:4]) # of ended children, too
def rate(work, repeats=2):
    rates = []
    for _ in range(repeats):
        start = seconds()
        rates.append(work()/(seconds() - start))
    return round(max(rates))
def labels(name, **columns): return pd.DataFrame(dict(clip=name, subject=name, database="d", frame=range(n), **columns))
def data(name, **columns): return SequenceDataset([here/f"{name}.arrow"], labels(name, **columns), length=1)
def count(loader):
    frames = sum(len(batch[0]) for batch in loader)
    if hasattr(loader, "close"): loader.close()
    return frames
every = dict(valence=np.float32(0), arousal=np.float32(0), expression=1, au1=np.float32(1), au4=np.float32(0), au12=np.float32(0))
crops = [row.as_buffer() for row in FaceStore.open(here/"jpeg.arrow")._table["crop"]]
def decode(): return len([cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR_RGB) for crop in crops])
found["decoder_alone"] = rate(decode, 4)
for kind in ("jpeg", "raw"):
    one = data(kind, **every)
    found[f"{kind}_batches"] = rate(lambda: count(AffectDL(one, 256, shuffle=True, device=cpu, num_workers=0, after_batch=[])), 4)
    found[f"{kind}_loader"] = rate(lambda: count(AffectDL(one, 256, shuffle=True, device=cpu, num_workers=0)))
    found[f"{kind}_loader_2_workers"] = rate(lambda: count(AffectDL(one, 256, shuffle=True, device=cpu, num_workers=2)))
    sets = dict(va=LabelSet(data(kind, valence=np.float32(0), arousal=np.float32(0)), fields=("va",)),
                aus=LabelSet(data(kind, au1=np.float32(1), au4=np.float32(0)), fields=("aus",)), expression=LabelSet(data(kind, expression=1), fields=("expression",)))
    found[f"{kind}_joint_751"] = rate(lambda: count(JointDL(sets, total=751, device=cpu, num_workers=0)))
passes = []
class Tiny(torch.nn.Module):
    tasks = ("va",)
    def __init__(self): super().__init__(); self.output = torch.nn.Linear(3, 2)
    def forward(self, faces, landmarks=None):
        from affect_nb.core.labels import AffectOutput
        passes.append(len(faces))
        return AffectOutput(va=self.output(faces[..., ::8, ::8].mean((-2, -1))))
network = Predictor(Tiny().eval(), Card(architecture="vgg_face"), cpu, length=1, windows="paper")
store = FaceStore.open(here/"raw.arrow")
found["scoring"] = rate(lambda: len(predict_rows(network, store).values))
found["frames_a_pass"] = max(passes)
print(json.dumps(found))
"""


def program(text: str, *arguments) -> list[float]:
    """The numbers that a program prints in its last line."""
    done = subprocess.run([sys.executable, "-c", text, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr[-2000:])
    return [float(word) for word in done.stdout.splitlines()[-1].split()]


def index_figures(folder: Path) -> dict:
    """Time and memory of the index of a full-size twin, made and reopened, and of training from it."""
    from affect_nb.synth.twins import write_database
    root = write_database("aff-wild2", folder/"twin", train=CLIPS - 71, validation=71, test=0, frames_per_clip=round(FRAMES/CLIPS/1.075), media=False, workers=2, progress=False)
    made, peak, rows, clips = program(INDEX, root, folder/"index")
    opened, looked_up = program(REOPEN, folder/"index", root)
    names = [row["clip"] for row in json.loads((folder/"index"/"clips.json").read_text())["clips"]]
    faces = stand_ins(folder, names)
    few, many = (program(TRAIN, folder/"index", faces, count) for count in (len(names)//10, len(names)))
    return dict(index_clips=int(clips), index_frames=int(rows), index_made_s=round(made, 1), index_peak_mb=round(peak), index_mb=round((folder/"index"/"labels.arrow").stat().st_size/2**20),
                index_opened_s=round(opened, 3), database_and_index_opened_s=round(looked_up, 2),
                windows=[int(few[0]), int(many[0])], dataset_mb=[round(few[1], 1), round(many[1], 1)], reading_memory_mb=[round(few[2]), round(many[2])], reading_memory_ratio=round(many[2]/few[2], 3))


def draw_clip(folder: Path, n: int) -> tuple[Path, Path]:
    """One drawn person for n frames: as a store, and as a folder of the release's crops (112x112 JPEG)."""
    from affect_nb.preprocess.face_store import FaceStoreWriter
    from affect_nb.synth.films import Person, VideoPlan, aligned_crop, draw_video, write_image
    plan, crops = VideoPlan("aff-wild2", "0", 1, "train", (Person("0", "S001", 3, 3),), n, 25., 192, 192, .3, 3), folder/"crops"/"0"
    crops.mkdir(parents=True)
    with FaceStoreWriter(folder/"0.arrow", clip="0") as writer:
        for number, frame in enumerate(draw_video(plan)):
            points = frame.faces[0].landmarks
            write_image(crops/f"{number + 1:05d}.jpg", aligned_crop(frame.image, points, 112))
            writer.add(number, number/25, 0, "ok", aligned_crop(frame.image, points, 96), box=frame.faces[0].box, landmarks=points, crop_landmarks=points)
    return folder/"0.arrow", crops


def stand_ins(folder: Path, names: list[str]) -> Path:
    """A store for each clip: links to one clip as long as the shortest video."""
    from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
    short, crops = FaceStore.open(draw_clip(folder/"drawn", 200)[0]), folder/"faces"
    faces = short.read(0, 200)
    with FaceStoreWriter(folder/"long.arrow", clip="long") as writer:
        for number in range(4600): writer.add(number, number/25, 0, "ok", faces[number % 200], box=(0, 0, 96, 96), landmarks=short.landmarks(0, 1)[0], crop_landmarks=short.landmarks(0, 1)[0])
    crops.mkdir()
    for name in names: (crops/f"{name}.arrow").symlink_to(folder/"long.arrow")
    return crops


def best_rate(work, repeats: int = 5, clock=time.perf_counter) -> float:
    """The best frames/s of `work()`, which returns a number of frames: other jobs only slow it down."""
    rates = []
    for _ in range(repeats):
        start = clock()
        rates.append(work()/(clock() - start))
    return max(rates)


def window_rates(folder: Path) -> dict:
    """Frames/s of random windows of 80 frames, one core, from a store, from JPEG folders, and through a loader."""
    import cv2
    import numpy as np
    import torch
    from affect_nb.data.loaders import AffectDL
    from affect_nb.data.sequences import SequenceDataset
    cv2.setNumThreads(1); torch.set_num_threads(1)
    n, draw = 2000, np.random.default_rng(0)
    store, crops = draw_clip(folder, n)
    import pandas as pd
    labels = pd.DataFrame(dict(clip="0", frame=range(n), valence=np.float32(0), arousal=np.float32(0)))
    sets = dict(store=SequenceDataset([store], labels, length=80, step=1), folder=SequenceDataset([crops], labels, length=80, step=1))
    def read(data): return sum(len(data[int(index)]) for index in draw.integers(0, len(data), 40))
    found = {f"{name}_frames_per_s": round(best_rate(lambda: read(data), clock=time.process_time)) for name, data in sets.items()}
    def through(workers, batches=40):
        loader = AffectDL(sets["store"], 4, shuffle=True, num_workers=workers, device=torch.device("cpu"), n=4*batches)
        start, count = None, 0
        for batch in loader: # the first batch waits for the workers to start
            if start is None: start = time.perf_counter()
            else: count += batch[0].shape[0]*batch[0].shape[1]
        return count/(time.perf_counter() - start)
    for workers in (0, 1, 2): found[f"loader_{workers}_workers_frames_per_s"] = round(max(through(workers) for _ in range(2)))
    return found


def single_frames(folder: Path, other: str = "", n: int = 1000) -> dict:
    """Single frames/s of processor time, of this checkout and of another one right after it; and their ratios."""
    from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
    drawn = FaceStore.open(draw_clip(folder, 500)[0])
    faces, points = drawn.read(0, 500), drawn.landmarks(0, 500)
    for kind in ("jpeg", "raw"):
        with FaceStoreWriter(folder/f"{kind}.arrow", clip=kind, encoding=kind) as writer:
            for frame in range(n): writer.add(frame, frame/25, 0, "ok", faces[frame % 500], box=(0, 0, 96, 96), landmarks=points[frame % 500], crop_landmarks=points[frame % 500])
    def measured(checkout):
        environment = os.environ | (dict(PYTHONPATH=str(checkout)) if checkout else {})
        done = subprocess.run([sys.executable, "-c", SINGLE, str(folder), str(n)], capture_output=True, text=True, env=environment,
                              cwd=checkout or Path(__file__).parents[1]) # what is there comes before what is installed
        if done.returncode: raise RuntimeError(done.stderr[-2000:])
        return json.loads(done.stdout.splitlines()[-1])
    sides = dict(now="", **({"before": other} if other else {}))
    best = {name: measured(checkout) for name, checkout in sides.items()}
    now = {f"single_{figure}": value for figure, value in best["now"].items()}
    now["single_jpeg_batches_against_decoder"] = round(best["now"]["jpeg_batches"]/best["now"]["decoder_alone"], 2)
    if not other: return now
    ratios = {f"single_{figure}_against_before": round(value/best["before"][figure], 2) for figure, value in best["now"].items()}
    return now | {f"single_{figure}_before": value for figure, value in best["before"].items()} | ratios


def model_rates() -> dict:
    """Frames/s of training by `affect_learner`, at the precision that it chooses here."""
    from fastai.callback.core import Callback, CancelValidException
    from affect_nb.train.learner import affect_learner
    from affect_nb.train.toy import toy_dataloaders

    class NoValidation(Callback):
        def before_validate(self): raise CancelValidException

    found = {}
    for width, batches in ((1., 1), (.125, 8), (.0625, 16)):
        learn = affect_learner(toy_dataloaders(n=4*batches, frames=80, size=96, bs=4), width=width, cbs=NoValidation())
        def epoch():
            with learn.no_bar(), learn.no_logging(): learn.fit(1)
            return 320*batches
        found[f"training_width_{width:g}_frames_per_s"] = round(best_rate(epoch, 3), 1)
    return found


def run() -> dict:
    """All figures; the last ones say up to which speed of a GPU the loader holds."""
    with tempfile.TemporaryDirectory() as folder: index = index_figures(Path(folder))
    with tempfile.TemporaryDirectory() as folder: windows = window_rates(Path(folder))
    with tempfile.TemporaryDirectory() as folder: windows |= single_frames(Path(folder))
    models = model_rates()
    fastest = max(models.values())
    return index | windows | models | dict(loader_against_fastest_model=round(windows["loader_0_workers_frames_per_s"]/fastest, 1),
                                           gpu_frames_per_s_with_16_workers_extrapolated=16*windows["loader_1_workers_frames_per_s"])


if __name__ == "__main__":
    if "--single" in sys.argv:
        with tempfile.TemporaryDirectory() as folder: print(json.dumps(single_frames(Path(folder), *sys.argv[2:3]), indent=2))
    else: print(json.dumps(run(), indent=2))
