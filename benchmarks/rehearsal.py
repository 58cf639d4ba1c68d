"""The dress rehearsal of `affect_nb run paper`: every database at a share of its size, every experiment for some steps.

Twins of the paper's databases in their official layouts, a tenth of the real films and photographs (films of the real
length, with all their annotations). Of pictures a few hundred faces are drawn once: every clip gets a store of its own
that is filled with them again and again, films repeat one of two seconds, frames of films are links to a few files.
Photographs differ in a corner, since what is held out is not learned from under another name, pixel for pixel.
So the stores are written, not preprocessed; how fast preprocessing is, is measured on two drawn films.

Then, each in a process of its own: `affect_nb check` of each copy, `affect_nb run paper --check` of all, and for each
experiment at an eighth of the width its loaders alone, its training step alone on a batch that is there already, and
both together, with the time that the step waited for data; the whole epoch where that takes less than `epoch_limit`.
Limits and rates are of processor time, as others use the machine too; what waited for what is by the clock.
From these, what the real counts need: images and hours of loading, by one core's rate; hours of an H100 only where
`results/coupling_gpu.json` has measured the step.

`python benchmarks/rehearsal.py --work FOLDER` prints the figures and draws `rehearsal.png` there; `run()` returns them.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve()
POOL, SIDE = 256, 160       # faces that are drawn, px of their photographs
UTTERANCE = 200             # frames of an utterance: no source of ours counts OMG-Emotion's frames, an assumption
CODED_TASKS = 4             # of the ten recordings of each person of BP4D+, those with coded AUs
VALIDATION = 71             # of Aff-Wild2's 558 videos; the manifest has no counts of its parts
FILMS = ("aff-wild", "aff-wild2", "omg-emotion", "afew-va", "disfa", "bp4d", "bp4d-plus", "gft")
PHOTOGRAPHS = ("affectnet", "raf-db", "emotionet")
DATABASES = FILMS + PHOTOGRAPHS
SOUNDING = ("aff-wild", "aff-wild2") # whose stores have sound: those that the audio streams learn from
RATE = 25.                  # frames/s of the twins


# --- how much of each database ---------------------------------------------------------------------------------------

def real_counts(name: str) -> dict:
    """Films or sets of each part and all frames, or images of each part, as the manifest states them."""
    from affect_nb.databases.manifests import load_manifest
    manifest = load_manifest(name)
    counts, splits = manifest.counts, manifest.splits
    if name in PHOTOGRAPHS: return {split: part.images for split, part in splits.items()}
    if name == "aff-wild": return {split: part.videos for split, part in splits.items()} | dict(frames=counts.frames)
    if name == "aff-wild2": return dict(train=counts.videos - VALIDATION, validation=VALIDATION, frames=counts.frames)
    if name == "omg-emotion":
        parts = {split: part.utterances for split, part in splits.items()}
        return parts | dict(frames=UTTERANCE*sum(parts.values()))
    if name == "bp4d": return dict(train=manifest.counts_by_label["aus"].clips, frames=counts.frames)
    if name == "bp4d-plus": return dict(train=CODED_TASKS*counts.subjects, frames=counts.frames)
    return dict(train=counts.videos or counts.subjects, frames=counts.frames)


LEAST = {"train": 6, "validation": 3, "test": 3}    # clips of a part, however small the share
SHORTEST = 108                                      # frames of a film, of those that are longer: a sequence has 90


def twin_size(name: str, share: float) -> dict:
    """Arguments of `write_database` for a share of the real counts; lengths vary by 15 %, so they start 7 % lower."""
    real = real_counts(name)
    if name in PHOTOGRAPHS: return _photograph_size(name, real, share)
    parts = {split: max(LEAST[split], round(share*count)) for split, count in real.items() if split != "frames"}
    films = sum(parts.values())
    usual = real["frames"]/sum(count for split, count in real.items() if split != "frames")
    frames = max(share*real["frames"]/films, min(SHORTEST, usual))
    return {**dict(validation=0, test=0), **parts, "frames_per_clip": round(frames/1.075)}


def _photograph_size(name, real, share):
    """Sets of equal size, so many of them in each part that the parts have their share."""
    unit = dict(affectnet=real.get("validation"), emotionet=real.get("validation"))
    images = max(share*(unit.get(name) or 792), 48) # of RAF-DB: its smallest list, the compound test part
    sets = {split: max(1, round(share*count/images)) for split, count in real.items()}
    return {**dict(validation=0, test=0), **sets, "frames_per_clip": round(images/1.075)}


def register_own_twins() -> None:
    """Twins of Aff-Wild2 and RAF-DB in the real proportions of tasks and lists; the library's have more of some."""
    from affect_nb.synth.affwild_twins import AffWild2Twin
    from affect_nb.synth.photo_twins import RAFDBTwin
    from affect_nb.synth.twins import list_synthetic, register_twin
    if "aff-wild2-rehearsal" in list_synthetic(): return

    @register_twin
    class AffWild2Rehearsal(AffWild2Twin):
        """AUs in 63 of 558 videos, expressions in 539."""
        name = "aff-wild2-rehearsal"

        def tasks(self, position):
            own = dict(va=True, expression=position % 29 != 28, aus=position == 4 or position % 11 == 0)
            return tuple(task for task, has in own.items() if has)

    @register_twin
    class RAFDBRehearsal(RAFDBTwin):
        """A quarter as many photographs of compound expressions as of basic ones."""
        name = "raf-db-rehearsal"

        def plans(self, size, difficulty, seed):
            def kept(plan): return plan.kind == "basic" or 4*plan.position < self.counts(size)[plan.split]
            return [plan for plan in super().plans(size, difficulty, seed) if kept(plan)]


def twin_name(name: str) -> str:
    """The twin of a database, as `write_database` takes it."""
    return f"{name}-rehearsal" if name in ("aff-wild2", "raf-db") else name


# --- the pictures, drawn once ----------------------------------------------------------------------------------------

def draw_pool(folder: Path) -> Path:
    """`POOL` faces as photographs, aligned, in a store; a film, a sound; drawn where they are not there yet."""
    from affect_nb.files.atomic import whole
    if folder.exists(): return folder
    with whole(folder) as aside:
        (aside/"photographs").mkdir(parents=True)
        (aside/"aligned").mkdir()
        _draw_faces(aside)
        _draw_sound(aside)
    return folder


def _draw_faces(folder):
    """The photographs, and a film of some of them."""
    from affect_nb.files.film import write_film
    from affect_nb.preprocess.face_store import FaceStoreWriter
    from affect_nb.synth.films import aligned_crop, write_image
    from affect_nb.synth.photo_twins import PhotoPlan, draw_photo, moment
    plan = PhotoPlan("rehearsal", "", "train", 1, 0, 0, POOL, SIDE, .3, 7)
    with FaceStoreWriter(folder/"pool.arrow", clip="pool", about=dict(rehearsal="drawn faces, repeated")) as writer:
        for number in range(POOL):
            drawn = draw_photo(plan, moment(plan, number))
            points = drawn.faces[0].landmarks if drawn.faces else drawn.landmarks
            write_image(folder/"photographs"/f"{number:04d}.jpg", drawn.image)
            write_image(folder/"aligned"/f"{number:04d}.jpg", aligned_crop(drawn.image, points, 100))
            box = (*points.min(0), *points.max(0))
            writer.add(number, number/RATE, 0, "ok", aligned_crop(drawn.image, points, 96), box=box, score=1.,
                       landmarks=points, crop_landmarks=_in_crop(points))
            if number < 50: film = [*(film if number else []), drawn.image]
    write_film(folder/"film.mp4", film, RATE, threads=1)


def _in_crop(points):
    """Landmarks scaled into a crop of 96 px."""
    low, high = points.min(0), points.max(0)
    return 16 + 64*(points - low)/(high - low)


def _draw_sound(folder):
    """A minute of a voice, as the store that the pipeline makes of a film's sound."""
    import wave

    import numpy as np
    from affect_nb.preprocess.sound import write_sound
    from affect_nb.synth.episodes import make_episode
    from affect_nb.synth.voices import make_voice
    rate = 16_000
    voice = make_voice(make_episode(round(60*RATE), RATE, 1), rate, 1)
    with wave.open(str(folder/"voice.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        for _ in range(5): file.writeframes((32_000*voice).astype(np.int16).tobytes()) # as long as the longest film
    write_sound(folder/"voice.wav", folder/"voice.sound")


class Pool:
    """The drawn files: stores and links are made of them."""
    def __init__(self, folder: Path):
        import pyarrow as pa
        self.folder, self.n_pictures, self.decoded = folder, 0, {}
        self.table = pa.ipc.open_file(pa.memory_map(str(folder/"pool.arrow"))).read_all().combine_chunks()
        self.pictures = {kind: sorted((folder/kind).glob("*.jpg")) for kind in ("photographs", "aligned")}

    def store(self, path: Path, n: int, still: bool) -> None:
        """A store of `n` rows of the pool's faces in turn, as the writer of stores leaves it: a file of its own."""
        import numpy as np
        import pyarrow as pa
        from affect_nb.files.atomic import whole
        first = sum(map(ord, path.stem)) % POOL
        table = self.table.take((np.arange(n) + first) % POOL).combine_chunks()
        columns = dict(frame=pa.array(np.arange(n, dtype=np.int32)),
                       time=pa.array(np.full(n, np.nan) if still else np.arange(n)/RATE),
                       clip=pa.array([path.stem]*n, pa.string()))
        for name, values in columns.items():
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
        about = json.loads(table.schema.metadata[b"face_store"]) | dict(clip=path.stem)
        table = table.replace_schema_metadata({"face_store": json.dumps(about)})
        with whole(path) as aside, pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table, max_chunksize=128)

    def link(self, target: Path, source: Path) -> None:
        """`target` becomes a second name of `source`, unless it is there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try: os.link(source, target)
        except FileExistsError: pass

    def film(self, target: Path, n: int) -> None:
        """A film of `n` frames: the drawn one again and again, copied packet by packet."""
        sys.path.insert(0, str(HERE.parent))
        from affect_nb.files.atomic import whole
        from memory import loop_clip
        if target.exists(): return
        with whole(target) as aside: loop_clip(self.folder/"film.mp4", aside, n)

    def picture(self, target: Path, own: bool) -> None:
        """The next of the drawn photographs under another name; `own`: with its number in black and white in a corner."""
        kind, number = "aligned" if target.stem.endswith("_aligned") else "photographs", self.n_pictures
        self.n_pictures += 1
        source = self.pictures[kind][number % POOL]
        if not own: return self.link(target, source)
        if target.exists(): return
        import cv2
        import numpy as np
        if source not in self.decoded: self.decoded[source] = cv2.imread(str(source))
        image, bits = self.decoded[source].copy(), np.unpackbits(np.array([number], ">u4").view(np.uint8)).reshape(4, 8)
        image[:32, :64] = 255*np.kron(bits, np.ones((8, 8), np.uint8))[..., None] # blocks of JPEG: they survive it
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())


# --- the copies ------------------------------------------------------------------------------------------------------

def unseen(plan, number: int):
    """A photograph of a set without what it shows: enough for the name of its file."""
    from affect_nb.synth.films import plan_seed
    from affect_nb.synth.photo_twins import Photo
    return Photo(number, plan_seed(plan.seed, number), va=None, expression=0, aus=None)


def media_of(name: str, twin, plan):
    """Every file of a piece that is no annotation: films, frames, photographs."""
    if name in PHOTOGRAPHS:
        for photo in map(partial(unseen, plan), range(plan.n_images)):
            if twin.has_file(photo): yield from twin.files(plan, photo)
    elif name == "disfa":
        for side in ("Left", "Right"): yield f"Videos_{side}Camera/{side}Video{plan.name}_comp.mp4"
    elif name == "afew-va":
        folder = f"{(plan.number - 1)//50 + 1:02d}/{plan.name}"
        names = (twin.image_name(plan, frame) for frame in range(plan.n_frames))
        yield from (f"{folder}/{file}" for file in names if file)
    elif name in ("bp4d", "bp4d-plus", "gft"):
        digits, lost, folder = twin.digits(plan), twin.lost_image(plan), twin.folder(plan)
        yield from (f"{folder}/{frame + 1:0{digits}d}.jpg" for frame in range(plan.n_frames) if frame != lost)
    else: yield twin.video(plan)


def write_copy(name: str, root: Path, share: float, pool: Pool) -> None:
    """The twin of a database: its annotations, and in the place of its pictures those of the pool."""
    from affect_nb.synth.twins import get_twin, plan_database, write_database, SyntheticSize
    register_own_twins()
    size = dict(twin_size(name, share), fps=RATE, width=SIDE, height=SIDE)
    write_database(twin_name(name), root, media=False, progress=False, seed=7, **size)
    twin = get_twin(twin_name(name))
    for plan in plan_database(twin_name(name), SyntheticSize(**size), seed=7):
        for file in map(root.__truediv__, media_of(name, twin, plan)):
            if file.suffix == ".mp4": pool.film(file, plan.n_frames)
            else: pool.picture(file, own=name in PHOTOGRAPHS)


def write_stores(source, folder: Path, pool: Pool, sound: bool) -> dict:
    """The index of the labels, and a store for each recording that has any; clips, rows, bytes."""
    from affect_nb.data.index import index_database
    folder.mkdir(parents=True, exist_ok=True)
    index = index_database(source, folder/"labels")
    lengths = {}
    for name in index:
        stem = source.clip(name).stem
        n = UTTERANCE if index[name].whole_clip else index[name].n
        lengths[stem] = max(n, lengths.get(stem, 0))
    for stem, n in lengths.items():
        path = folder/f"{stem}.arrow"
        if not path.exists(): pool.store(path, n, source.still)
        if sound: pool.link(folder/f"{stem}.sound", pool.folder/"voice.sound")
    size = sum(path.stat().st_size for path in folder.glob("*.arrow"))
    return dict(stores=len(lengths), faces=sum(lengths.values()), store_mb=round(size/2**20, 1))


class Place:
    """The copies and their stores in a work folder."""
    def __init__(self, work: Path, share: float):
        self.work, self.share = Path(work).resolve(), share
        self.pool = self.work/"pool"

    def root(self, name: str) -> Path: return self.work/f"share{self.share:g}"/name
    def faces(self, name: str) -> Path: return self.work/f"share{self.share:g}"/"faces"/name

    def source(self, name: str):
        """The open database."""
        from affect_nb.databases.base import open_database
        return open_database(name, self.root(name))

    def prepare(self, name: str) -> dict:
        """Write one copy with its stores, unless it is there; what there is, and how long that took."""
        from affect_nb.files.atomic import write_json
        record = self.root(name).with_suffix(".json")
        if not record.exists(): write_json(record, self._write(name))
        return json.loads(record.read_text())

    def _write(self, name):
        """Both, and what came of it."""
        start, pool = time.process_time(), Pool(draw_pool(self.pool))
        write_copy(name, self.root(name), self.share, pool)
        drawn = time.process_time() - start
        source = self.source(name)
        found = write_stores(source, self.faces(name), pool, name in SOUNDING)
        kinds = {split: len(source.select(split)) for split in ("train", "validation", "test")}
        people = len({clip.subject for clip in source.clips})
        return dict(database=name, clips=len(source.clips), **{k: n for k, n in kinds.items() if n}, people=people,
                    **found, annotations_s=round(drawn, 1), stores_s=round(time.process_time() - start - drawn, 1))


# --- the experiments -------------------------------------------------------------------------------------------------

class Experiment:
    """One kind of training of the book: its loaders and its learner, made as the notebook makes them."""
    def __init__(self, place: Place, width: float):
        self.place, self.width = place, width

    def recipe_loaders(self):
        """The recipe, and loaders."""
        raise NotImplementedError

    def learner(self):
        """A learner on one thread of the CPU."""
        from affect_nb.train.fit import create_learner
        recipe, dls = self.recipe_loaders()
        return create_learner(recipe.replace(patience=None), dls, device="cpu", path=self.place.work)

    def study(self, recipe, name: str, **options):
        """Loaders over the training side of a database, as in Tables II and IV."""
        from affect_nb.analysis.crossdb import study_division, study_loaders
        source = self.place.source(name)
        division, _ = study_division(source, folds=5, tasks=options.pop("tasks", None))
        return study_loaders(recipe, source, division, self.place.faces(name), device="cpu", **options)


class TableII(Experiment):
    """AffWildNet: four sequences of 80 frames of Aff-Wild."""
    def recipe_loaders(self):
        from affect_nb.train.recipes import affwildnet_recipe
        recipe = affwildnet_recipe("paper", width=self.width)
        return recipe, self.study(recipe, "aff-wild", tasks=("va",))


class TableIIIFirst(Experiment):
    """CNN-3RNN on Aff-Wild2, before OMG-Emotion."""
    def recipe_loaders(self):
        from affect_nb.train.jobs_database import database_loaders
        from affect_nb.train.recipes import affwildnet_recipe
        recipe, name = affwildnet_recipe("paper", arch="cnn_3rnn", width=self.width), "aff-wild2"
        return recipe, database_loaders(recipe, self.place.source(name), self.place.faces(name), device="cpu")


class TableIII(Experiment):
    """CNN-3RNN on the utterances of OMG-Emotion."""
    def recipe_loaders(self):
        from affect_nb.train.jobs_database import database_loaders
        from affect_nb.train.recipes import omg_recipe
        recipe, name = omg_recipe("paper", width=self.width), "omg-emotion"
        return recipe, database_loaders(recipe, self.place.source(name), self.place.faces(name), device="cpu",
                                        validation="official")


class Stage(Experiment):
    """A stage of Section VI.A; the subclasses say which, and on what."""
    stage, database = "", "aff-wild2"

    def recipe_loaders(self):
        from affect_nb.train.jobs_chain import mt_chain
        from affect_nb.train.jobs_database import adapt_recipe
        each = {name: dict(batch_size=256) for name in ("visual_va", "audio_va", "mt_vgg", "mt_vgg_audio")}
        chain = mt_chain("paper", each=each, width=self.width, length=90, batch_size=10)
        stage, = [stage for stage in chain if stage.name == self.stage]
        recipe = adapt_recipe(stage.recipe, self.place.source(self.database))
        return recipe, self.study(recipe, self.database)


class FirstCNN(Stage):
    """The first CNN of faces: single frames of Aff-Wild."""
    stage, database = "visual_va", "aff-wild"


class MTVGG(Stage):
    """MT-VGG: single frames of Aff-Wild2."""
    stage = "mt_vgg"


class MTVGGGRU(Stage):
    """MT-VGG-GRU: ten sequences of 90 frames of Aff-Wild2."""
    stage = "mt_vgg_gru"


class AVMTVGGGRU(Stage):
    """A/V-MT-VGG-GRU: the same with the sound."""
    stage = "av_mt_vgg_gru"


class OnAffectNet(Experiment):
    """MT-VGG adapted to photographs."""
    name = "affectnet"

    def recipe_loaders(self):
        from affect_nb.analysis.crossdb import database_tasks
        from affect_nb.train.jobs_database import adapt_recipe
        from affect_nb.train.recipes import mt_vgg_recipe
        own = dict(dropout=.5, tasks=list(database_tasks(self.name)))
        recipe = mt_vgg_recipe("paper", width=self.width, remainder="pad", arguments=own)
        return adapt_recipe(recipe, self.place.source(self.name)), self.study(recipe, self.name)


class Joint(Experiment):
    """Batches of several databases' sets; the subclasses have the network and the databases with their tasks."""
    def parts(self, recipe): raise NotImplementedError
    def start(self): raise NotImplementedError

    def recipe_loaders(self):
        from affect_nb.train.jobs_joint import joint_loaders
        recipe = self.start()
        return recipe, joint_loaders(recipe, list(self.parts(recipe)), "cpu")


class TableV(Joint):
    """The detector of AUs: single frames of Aff-Wild2 and GFT."""
    def start(self):
        from affect_nb.core import AUS17, AUS17_TABLE5
        from affect_nb.train.recipes import mt_vgg_recipe
        aus = {au for name in ("aff-wild2", "gft") for au in self.place.source(name).au_names}
        own = dict(dropout=.5, tasks=["aus"], au_names=sorted(aus & {*AUS17, *AUS17_TABLE5}))
        return mt_vgg_recipe("paper", width=self.width, coupling="none", arguments=own)

    def parts(self, recipe):
        from affect_nb.train.jobs_joint import joint_sides
        for name in ("aff-wild2", "gft"):
            yield name, "aus", *joint_sides(recipe, self.place.source(name), self.place.faces(name), "aus")


class TableVI(Joint):
    """FaceBehaviorNet with its coupling: 751 images a step of seven databases."""
    def start(self):
        from affect_nb.train.recipes import facebehaviornet_recipe
        return facebehaviornet_recipe("paper", width=self.width, set_sizes=(401, 247, 103))

    def parts(self, recipe):
        from affect_nb.analysis.crossdb import database_tasks, study_databases, study_division
        from affect_nb.train.jobs_joint import joint_sides
        for name in study_databases("VI"):
            source = self.place.source(name)
            division, _ = study_division(source, folds=5)
            for task in database_tasks(name, "VI"):
                sides = joint_sides(recipe, source, self.place.faces(name), task, clips=division.sides["train"])
                yield name, task, *sides


class Compound(Experiment):
    """Few-shot learning of RAF-DB's compound expressions with the whole network."""
    def learner(self):
        from affect_nb.analysis.compound import RAFDB_CLASSES
        from affect_nb.analysis.few_shot import CompoundPhotographs, few_shot_learner
        source, faces = self.place.source("raf-db"), self.place.faces("raf-db")
        sides = [CompoundPhotographs(source, faces, split) for split in ("train", "test")]
        return few_shot_learner(None, RAFDB_CLASSES, *sides, frozen=False, device="cpu", width=self.width)


EXPERIMENTS = {
    "II: AffWildNet": TableII, "III: CNN-3RNN, first on Aff-Wild2": TableIIIFirst, "III: CNN-3RNN": TableIII,
    "IV: first CNN": FirstCNN, "IV: MT-VGG": MTVGG, "IV: MT-VGG-GRU": MTVGGGRU, "IV: A/V-MT-VGG-GRU": AVMTVGGGRU,
    "IV: MT-VGG on AffectNet": OnAffectNet, "V: detector of AUs": TableV, "VI: FaceBehaviorNet": TableVI,
    "VI: compound expressions": Compound}


# --- what is measured ------------------------------------------------------------------------------------------------

def memory(when: str) -> dict:
    """MB of this process: peak, private, mapped from files."""
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith(("VmHWM", "Rss")))
    names = dict(peak="VmHWM", private="RssAnon", mapped="RssFile")
    return {f"{when}_{what}_mb": round(int(lines[name].split()[0])/1024) for what, name in names.items()}


def reset_peak() -> None:
    """The peak of `memory` begins anew, where the system allows it."""
    try: Path("/proc/self/clear_refs").write_text("5")
    except OSError: pass


def images_in(batch) -> int:
    """Faces of a batch: of (n, T, 3, H, W) or (n, 3, H, W)."""
    count = 1
    for side in batch[0].shape[:-3]: count *= side
    return count


def again(loader):
    """Batches of one epoch after the other."""
    while True: yield from loader


def time_loader(loader, batches: int, seconds: float) -> dict:
    """Images per second of processor time of a loader in this process, and the batches that were read."""
    n = images = 0
    with loader.fake_l.no_multiproc():
        stream = again(loader)
        next(stream)                            # opens stores
        start = time.process_time()
        while n < batches and time.process_time() - start < seconds:
            images += images_in(next(stream))
            n += 1
    used = time.process_time() - start
    return dict(batches=n, images=images, images_per_s=images/used, ms_per_batch=1000*used/n)


class Resident:
    """The same batch again and again, in the place of a loader."""
    def __init__(self, loader, batch, n: int): self.loader, self.batch, self.n = loader, batch, n
    def __getattr__(self, name):
        if name == "loader": raise AttributeError(name)
        return getattr(self.loader, name)
    def __len__(self): return self.n
    def __iter__(self): return iter([self.batch]*self.n)


def make_clock(batches: int, seconds: float, least: int):
    """A callback that takes the time of each step, and of what was waited for before it; it ends the training."""
    from fastai.callback.core import Callback, CancelFitException, CancelValidException

    class Clock(Callback):
        order = 1000

        def before_fit(self): self.waits, self.steps, self.images, self.last = [], [], [], None
        def before_epoch(self): self.last = self.now()
        def now(self): return time.perf_counter(), time.process_time()

        def before_batch(self):
            self.images.append(images_in(self.learn.xb))
            self._note(self.waits)

        def after_batch(self):
            self._note(self.steps)
            spent = sum(used for _, used in self.waits + self.steps)
            if len(self.steps) >= batches or (spent > seconds and len(self.steps) >= least): raise CancelFitException()

        def before_validate(self): raise CancelValidException()

        def _note(self, where):
            now = self.now()
            where.append((now[0] - self.last[0], now[1] - self.last[1]))
            self.last = now

    return Clock()


def time_fit(learn, loader, batches: int, seconds: float, skipped: int = 1) -> dict:
    """Some steps of a training: milliseconds of a step and of the wait before it, by clock and by processor."""
    from fastai.data.core import DataLoaders
    before, clock = learn.dls, make_clock(batches + skipped, seconds, skipped + 2)
    learn.dls = DataLoaders(loader, before.valid, device=before.device)
    with learn.no_bar(), learn.no_logging(), learn.added_cbs([clock]): learn.fit(1)
    learn.dls = before
    n = max(1, len(clock.steps) - skipped)      # the first opens stores and chooses kernels
    found = dict(batches=n, images=sum(clock.images[-n:]))
    for name, times in (("step", clock.steps), ("wait", clock.waits)):
        wall, used = (1000*sum(part)/n for part in zip(*times[-n:]))
        found |= {f"{name}_ms": wall, f"{name}_processor_ms": used}
    return found


def measure(name: str, place: Place, width: float, batches: int, seconds: float, epoch_limit: float) -> dict:
    """One experiment, in this process: set up, loading alone, steps alone, both."""
    import torch
    torch.set_num_threads(1)
    found = dict(experiment=name, **imported_memory())
    start = time.process_time()
    learn = EXPERIMENTS[name](place, width).learner()
    loader, steps = learn.dls.train, len(learn.dls.train)
    found |= dict(ready_processor_s=round(time.process_time() - start, 1), **memory("ready"))
    found |= dict(steps_per_epoch=steps, workers=loader.fake_l.num_workers, **measure_loading(loader, batches, seconds))
    found |= measure_steps(learn, batches, seconds)
    expected = steps*(found["loading_ms"] + found["step_processor_ms"])/1000
    found |= measure_both(learn, steps, seconds, batches=None if expected < epoch_limit else batches)
    return found | measure_ahead(learn, batches, seconds)


def imported_memory() -> dict:
    """Memory of the process with everything imported and nothing opened."""
    import affect_nb.analysis.crossdb
    import affect_nb.analysis.few_shot
    import affect_nb.train.fit
    import affect_nb.train.jobs_chain
    import affect_nb.train.jobs_joint # noqa: F401
    return memory("imports")


def measure_loading(loader, batches: int, seconds: float) -> dict:
    """The loader alone, in this process."""
    reset_peak()
    alone = time_loader(loader, batches, seconds)
    images = alone["images"]/alone["batches"]
    return dict(images_per_step=round(images), images_per_epoch=round(images*len(loader)),
                loaded_batches=alone["batches"], loading_images_per_s=round(alone["images_per_s"]),
                loading_ms=round(alone["ms_per_batch"], 1), **memory("loading"))


def measure_steps(learn, batches: int, seconds: float) -> dict:
    """Steps alone, on a batch that is there."""
    loader = learn.dls.train
    with loader.fake_l.no_multiproc(): batch = next(iter(loader))
    reset_peak()
    step = time_fit(learn, Resident(loader, batch, batches + 1), batches, seconds)
    rate = 1000*images_in(batch)/step["step_processor_ms"]
    return dict(timed_steps=step["batches"], step_ms=round(step["step_ms"], 1),
                step_processor_ms=round(step["step_processor_ms"], 1), training_images_per_s=round(rate))


def measure_both(learn, steps: int, seconds: float, batches: int | None) -> dict:
    """Loading and training together; the whole epoch where `batches` is None."""
    whole = batches is None
    loader = learn.dls.train
    both = time_fit(learn, loader, steps if whole else batches, 3600. if whole else seconds)
    busy, waited = (both[f"{name}_processor_ms"] for name in ("step", "wait"))
    wall, images = both["step_ms"] + both["wait_ms"], 1000*both["images"]/both["batches"]
    return dict(both_batches=both["batches"] + 1, whole_epoch=whole, both_images_per_s=round(images/(busy + waited)),
                both_images_per_s_by_the_clock=round(images/wall),
                both_step_ms=round(both["step_ms"], 1), both_wait_ms=round(both["wait_ms"], 1),
                waiting_share=round(both["wait_ms"]/wall, 3), waiting_share_processor=round(waited/(busy + waited), 3),
                **memory("training"))


def measure_ahead(learn, batches: int, seconds: float) -> dict:
    """The same with one process that reads ahead: does the step still wait? Its first steps wait for it to start."""
    from affect_nb.data.loaders import AffectDL
    loader = learn.dls.train
    if not isinstance(loader, AffectDL): return {}
    before, loader.fake_l.num_workers = loader.fake_l.num_workers, 1
    both = time_fit(learn, loader, batches, seconds, skipped=3)
    loader.fake_l.num_workers = before
    wall = both["step_ms"] + both["wait_ms"]
    return dict(ahead_batches=both["batches"], ahead_waiting_share=round(both["wait_ms"]/wall, 3),
                ahead_images_per_s_by_the_clock=round(1000*both["images"]/both["batches"]/wall))


# --- other processes -------------------------------------------------------------------------------------------------

def timed_command(arguments: list, out: Path) -> dict:
    """Run a command into files; how it ended, clock and processor seconds, peak memory in MB."""
    out.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with open(out, "w") as text, open(out.with_suffix(".err"), "w") as errors:
        process = subprocess.Popen(list(map(str, arguments)), stdout=text, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
    return dict(code=os.waitstatus_to_exitcode(status), seconds=round(time.perf_counter() - start, 1),
                processor_s=round(used.ru_utime + used.ru_stime, 1), peak_mb=round(used.ru_maxrss/1024))


COMMAND = "import sys; from affect_nb.apps.cli import main; main(sys.argv[1:])"


def check_copies(place: Place, names=DATABASES) -> list[dict]:
    """`affect_nb check` of each copy: time, memory, number of errors; the reports stay in the work folder."""
    rows = []
    for name in names:
        out = place.work/f"share{place.share:g}"/"check"/f"{name}.txt"
        used = timed_command([sys.executable, "-c", COMMAND, "check", name, place.root(name)], out)
        rows.append(dict(database=name, **used, errors=sum(line.startswith("error") for line in out.open())))
    return rows


def run_settings(place: Place) -> list[str]:
    """`--set` of every root and of every weight (random, by name) of the paper's preset."""
    from affect_nb.apps.plan import WEIGHTS, parameters_of
    from affect_nb.apps.run import load_preset
    preset, settings = load_preset("paper"), {}
    for notebook in preset.notebooks:
        given = parameters_of(preset, notebook)
        own = {"roots": {name: str(place.root(name)) for name in given["roots"]}} if given.get("roots") else {}
        own |= {weights: "random" for weights in WEIGHTS if weights in given}
        settings[notebook] = own
    settings["05_faces"]["root"] = str(place.root("aff-wild"))
    settings["30_table3_multi_rnn"] |= dict(root=str(place.root("omg-emotion")),
                                            pretrain_on=str(place.root("aff-wild2")))
    return [f"{notebook}.{name}={json.dumps(value)}" for notebook, own in settings.items()
            for name, value in own.items()]


def check_run(place: Place) -> dict:
    """`affect_nb run paper --check` on the copies; its output stays in the work folder."""
    settings = [part for setting in run_settings(place) for part in ("-s", setting)]
    out = place.work/f"share{place.share:g}"/"run_paper_check.txt"
    used = timed_command([sys.executable, "-c", COMMAND, "run", "paper", "--check", *settings], out)
    return {f"run_check_{name}": value for name, value in used.items()} | dict(run_check_verdict=last_line(out))


def last_line(path: Path) -> str:
    """The last line of a file, '' of an empty one."""
    lines = path.read_text().strip().splitlines()
    return lines[-1] if lines else ""


def preprocess_rate(work: Path, frames: int = 150) -> dict:
    """Frames/s of processor time of finding faces in two drawn films of 640x480, and photographs/s."""
    from affect_nb.preprocess.pipeline import preprocess, preprocess_clip
    from affect_nb.synth.films import Person, VideoPlan, film_video
    folder, paths = work/"preprocess", []
    folder.mkdir(parents=True, exist_ok=True)
    for seed in (1, 2):
        name = f"film{seed}"
        people = (Person(name, f"S{seed}", seed, seed),)
        plan = VideoPlan("drawn", name, seed, "train", people, frames, RATE, 640, 480, .3, seed)
        paths.append(folder/f"{name}.mp4")
        if not paths[-1].exists(): film_video(plan, paths[-1])
    def films(): return sum(len(preprocess_clip(path, folder/f"{path.stem}.arrow")) for path in paths)
    films()                                     # loads the models
    start = time.process_time()
    rows = films()
    of_films = rows/(time.process_time() - start)
    photographs = folder/"photographs"
    shutil.rmtree(folder/"stores", ignore_errors=True)
    if not photographs.exists(): shutil.copytree(work/"pool"/"photographs", photographs)
    start = time.process_time()
    preprocess([photographs], folder/"stores", progress=False)
    of_photographs = POOL/(time.process_time() - start)
    return dict(film_frames_per_cpu_s=round(of_films, 1), photographs_per_cpu_s=round(of_photographs, 1))


# --- the real counts -------------------------------------------------------------------------------------------------

def passes(preset, folds: dict) -> dict:
    """Experiment -> (trainings, epochs) in the paper's preset that read as many images; `folds` of each database."""
    from affect_nb.analysis.crossdb import study_databases, tested_on
    given = preset.notebooks
    two, three, four = given["20_table2_affwildnet"], given["30_table3_multi_rnn"], given["40_table4_multitask"]
    five, six, few = given["50_table5_relatedness"], given["60_table6_facebehaviornet"], given["70_compound"]
    planned = {
        "II: AffWildNet": (5*two["seeds"], two["epochs"]),
        "III: CNN-3RNN, first on Aff-Wild2": (4*three["seeds"], three["pretrain_epochs"]),
        "III: CNN-3RNN": (6*three["seeds"], three["epochs"]),
        "IV: first CNN": (2*four["seeds"], four["pretrain_epochs"]),
        "IV: MT-VGG": (2*four["seeds"], four["epochs"]), "IV: MT-VGG-GRU": (2*four["seeds"], four["epochs"]),
        "IV: A/V-MT-VGG-GRU": (four["seeds"], four["epochs"]),
        "V: detector of AUs": (1, five["epochs"]),
        # three single tasks read what one network of all three does; each is trained once for every fold
        "VI: FaceBehaviorNet": ((5 + six["as_printed"])*six["seeds"]*six["folds"], six["epochs"]),
        "VI: compound expressions": (3*len(few["fine_tune"])*few["shots"]*few["seeds"], 1)} # three starts
    adapted = {f"IV: adapted to {name}": (len(tested_on(name))*four["seeds"]*folds.get(name, 1), four["adapt_epochs"])
               for name in study_databases() if name != "aff-wild2"}
    return planned | adapted


def measured_on_gpu() -> dict:
    """Experiment -> images/s of its training step at full width on an H100, where a committed benchmark has it."""
    path = HERE.parent/"results"/"coupling_gpu.json"
    if not path.exists(): return {}
    figures = json.loads(path.read_text())["figures"]
    both = next(row for row in figures["couplings"] if row["coupling"] == "both")
    return {"VI: FaceBehaviorNet": 1000*figures["images"]/both["step_ms"]}


def count_adapted(place: Place) -> dict:
    """Database of Table IV -> images of an epoch of MT-VGG on it, and folds; only the stores' tables are read."""
    from affect_nb.analysis.crossdb import database_tasks, study_databases, study_divisions
    from affect_nb.apps.run import load_preset
    from affect_nb.train.jobs_database import adapt_recipe
    from affect_nb.train.recipes import mt_vgg_recipe
    found, experiment = {}, Experiment(place, 1.)
    given = load_preset("paper").notebooks["40_table4_multitask"]
    for name in study_databases():
        if name == "aff-wild2": continue
        own = dict(dropout=.5, tasks=list(database_tasks(name)))
        recipe = mt_vgg_recipe("paper", remainder="pad", arguments=own)
        source = place.source(name)
        dls = experiment.study(adapt_recipe(recipe, source), name)
        which = "first" if name == "aff-wild" else given["folds_used"]
        divisions, _ = study_divisions(source, folds=given["folds"], which=which)
        found[name] = dict(images=len(dls.train)*recipe.batch_size, folds=len(divisions))
    return found


def set_up(row: dict, share: float) -> dict:
    """Seconds that one training needs before its first batch, and MB of its datasets, if both grow with the counts."""
    return dict(ready_s=round(row["ready_processor_s"]/share),
                datasets_mb=round((row["ready_private_mb"] - row["imports_private_mb"])/share))


CORES = 16 # of the machine beside the H100 in `results/*_gpu.json`


def extrapolate(rows: list[dict], adapted: dict, share: float) -> list[dict]:
    """What each experiment needs at the real counts: images, hours of loading, hours of the GPU where measured."""
    from affect_nb.apps.run import load_preset
    preset, by_name = load_preset("paper"), {row["experiment"]: row for row in rows}
    images = {name: row["images_per_epoch"]/share for name, row in by_name.items()}
    images |= {f"IV: adapted to {name}": own["images"]/share for name, own in adapted.items()}
    folds = {name: own["folds"] for name, own in adapted.items()}
    images["VI: compound expressions"] = preset.notebooks["70_compound"]["steps"]*32 # a batch has 32
    like = {f"IV: adapted to {name}": "IV: MT-VGG on AffectNet" if name in PHOTOGRAPHS else "IV: MT-VGG"
            for name in adapted}
    found, gpu = [], measured_on_gpu()
    for name, (trainings, epochs) in passes(preset, folds).items():
        row = by_name.get(like.get(name, name))
        if row is None or name not in images: continue
        total, rate, speed = images[name]*trainings*epochs, row["loading_images_per_s"], gpu.get(name)
        found.append(dict(
            experiment=name, images_per_epoch=round(images[name]), trainings=trainings, epochs_at_most=epochs,
            images_in_all=round(total), **(set_up(row, share) if name not in like else {}),
            loading_minutes_an_epoch=round(images[name]/rate/60, 1),
            loading_hours_one_core=round(total/rate/3600, 1),
            loading_hours_16_cores_assumed=round(total/rate/CORES/3600, 1),
            gpu_images_per_s=round(speed) if speed else "not measured",
            gpu_hours=round(total/speed/3600, 1) if speed else "not measured",
            cores_that_the_gpu_needs=round(speed/rate, 1) if speed else "not measured"))
    return found


def disk_and_preprocessing(copies: list[dict], rates: dict) -> list[dict]:
    """Of each database at its real size: frames or photographs, GB of stores, hours of preprocessing on one core."""
    found = []
    for row in copies:
        real, still = real_counts(row["database"]), row["database"] in PHOTOGRAPHS
        faces = sum(real.values()) if still else real["frames"]
        rate = rates["photographs_per_cpu_s" if still else "film_frames_per_cpu_s"]
        found.append(dict(database=row["database"], real_faces=faces,
                          store_gb=round(faces*row["store_mb"]/max(1, row["faces"])/1024, 2),
                          preprocessing_hours_one_core=round(faces/rate/3600, 1)))
    return found


def draw_figure(rows: list[dict], path: Path) -> None:
    """Images/s of loading, of training and of both, and memory, of each experiment."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
    places, names = np.arange(len(rows))[::-1], [row["experiment"] for row in rows]
    fig, (speed, size) = plt.subplots(1, 2, figsize=(9.5, .42*len(rows) + 1.2), sharey=True, layout="constrained",
                                      width_ratios=(3, 2))
    kinds = (("loading_images_per_s", "loading alone", "#336699"),
             ("training_images_per_s", "training step alone", "#cc6633"), ("both_images_per_s", "both", "#999999"))
    for shift, (key, label, colour) in zip((.27, 0, -.27), kinds):
        speed.barh(places + shift, [row[key] for row in rows], .25, label=label, color=colour)
    speed.set(xscale="log", xlabel="images per second of processor time")
    speed.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    speed.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    speed.xaxis.set_minor_locator(NullLocator())
    speed.set_yticks(places, names, fontsize=8)
    left = np.zeros(len(rows))
    for label, colour, values in memory_parts(rows):
        size.barh(places, values, .5, left=left, label=label, color=colour)
        left = left + values
    size.set(xlabel="MB in the process that loads")
    for ax in (speed, size):
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(.45, 1), ncol=3)
    fig.savefig(path, dpi=70)
    plt.close(fig)


def memory_parts(rows: list[dict]):
    """Label, colour and MB of each part of the memory while loading."""
    import numpy as np
    private, imports, mapped = (np.array([row[f"{key}_mb"] for row in rows]) for key in
                                ("loading_private", "imports_private", "loading_mapped"))
    own = np.maximum(private - imports, 0)
    return (("imports", "#dddddd", private - own), ("private", "#336699", own), ("mapped files", "#9bb8d3", mapped))


# --- all of it -------------------------------------------------------------------------------------------------------

def in_own_process(kind: str, *arguments) -> dict:
    """The last line of this script with `--one`, as JSON; an error as an entry."""
    command = [sys.executable, str(HERE), "--one", kind, *map(str, arguments)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | threads)
    if done.returncode: return dict(failed=(done.stderr.strip().splitlines() or ["no message"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def one(kind: str, work: str, share: str, *rest: str) -> dict:
    """What a process of its own does."""
    place = Place(Path(work), float(share))
    if kind == "prepare": return place.prepare(rest[0])
    if kind == "preprocess": return preprocess_rate(place.work)
    if kind == "count": return count_adapted(place)
    name, options = rest[0], json.loads(rest[1])
    return measure(name, place, **options)


def kept(path: Path, make):
    """What `make()` gives, kept as JSON: a run that was cut off goes on. What failed is tried again."""
    from affect_nb.files.atomic import write_json
    if path.exists(): return json.loads(path.read_text())
    value = make()
    print(path.stem, value, file=sys.stderr, flush=True)
    if "failed" not in value: write_json(path, value)
    return value


def run(work: str = "runs/rehearsal", share: float = .1, width: float = .125, batches: int = 200, seconds: float = 15.,
        epoch_limit: float = 60., only: list | None = None) -> dict:
    """All figures, and `rehearsal.png` in the work folder; a run that was cut off goes on."""
    place = Place(Path(work), share)
    place.work.mkdir(parents=True, exist_ok=True)
    draw_pool(place.pool)
    measured = place.work/f"share{share:g}"/"measured"
    copies = [dict(database=name) | in_own_process("prepare", place.work, share, name) for name in DATABASES]
    checks = kept(measured/"checks.json", lambda: check_copies(place))
    planned = kept(measured/"run_check.json", lambda: check_run(place))
    rates, adapted = (kept(measured/f"{kind}.json", lambda: in_own_process(kind, place.work, share))
                      for kind in ("preprocess", "count"))
    if "failed" in adapted: adapted = {} # said above; its rows are then not there
    size = dict(width=width, batches=batches, seconds=seconds, epoch_limit=epoch_limit)
    options, mark = json.dumps(size), "-".join(f"{value:g}" for value in size.values())
    rows = []
    for name in only or EXPERIMENTS:
        file = measured/mark/f"{name.replace(':', '').replace('/', '')}.json"
        found = kept(file, lambda: in_own_process("measure", place.work, share, name, options))
        rows.append(dict(experiment=name) | found)
    good = [row for row in rows if "failed" not in row]
    if good: draw_figure(good, place.work/"rehearsal.png")
    return dict(share=share, width=width, seconds=seconds, copies=copies, checks=checks, **planned, **rates,
                experiments=rows, adapted_images_per_epoch=adapted, real=extrapolate(good, adapted, share),
                disk=disk_and_preprocessing([row for row in copies if "failed" not in row], rates))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--work", default="runs/rehearsal", help="folder of copies, stores, figures; 5 GB at a tenth")
    parser.add_argument("--share", type=float, default=.1, help="of the real counts")
    parser.add_argument("--width", type=float, default=.125, help="of the networks; 1 is the paper's size")
    parser.add_argument("--batches", type=int, default=200, help="of each measurement, at most")
    parser.add_argument("--seconds", type=float, default=15., help="of processor time of each measurement, at most")
    parser.add_argument("--epoch-limit", type=float, default=60., help="seconds up to which an epoch is run whole")
    parser.add_argument("--only", nargs="*", help="experiments")
    given = vars(parser.parse_args())
    if given.pop("one") is None: print(json.dumps(run(**given), indent=2))
    else:
        arguments = parser.parse_args().one
        with redirect_stdout(sys.stderr): found = one(*arguments)
        print(json.dumps(found))
