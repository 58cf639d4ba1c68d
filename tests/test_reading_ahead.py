"""Batches from mapped stores: whole ones at once, in this process or in others that read ahead."""
import json
import multiprocessing
import pickle
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from affect_nb.apps.predictor import Predictor, predict_clips
from affect_nb.apps.run import Preset, _environment, load_preset
from affect_nb.apps.windows import FRAMES_A_PASS, _MappedInTurn, predict_rows
from affect_nb.core.labels import AffectTargets
from affect_nb.data import devices
from affect_nb.data.devices import WORKERS_VARIABLE, choose_workers
from affect_nb.data.index import LabelIndex
from affect_nb.data.joint import JointDL, LabelSet
from affect_nb.data.loaders import AffectDL, ToNetwork, _Workers, close_workers, collate_sequences, read_batch
from affect_nb.data.parts import SomeWindows, with_labels
from affect_nb.data.sequences import SequenceDataset, batch_parts, has_own_items, scale_landmarks
from affect_nb.data.store import CroppedAligned
from affect_nb.models.registry import create_model
from affect_nb.models.weights import Card
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.train.learner import affect_learner

CPU = torch.device("cpu")


def write_clip(folder, name, n=40, encoding="raw", away=(), batch=16):
    "A store of n frames in batches of so many rows; each crop has its frame's number, and none in `away`."
    rng = np.random.default_rng(n + len(name))
    folder.mkdir(parents=True, exist_ok=True)
    with FaceStoreWriter(folder/f"{name}.arrow", clip=name, encoding=encoding, batch=batch) as writer:
        for frame in range(n):
            if frame in away: writer.add(frame, frame/30, 0, "lost")
            else:
                points = rng.uniform(0, 95, (68, 2))
                writer.add(frame, frame/30, 0, "ok", np.full((96, 96, 3), frame % 251, np.uint8), box=(0, 0, 9, 9), landmarks=points, crop_landmarks=points)
    return folder/f"{name}.arrow"


def labels_of(name, n, *columns, seed=0):
    rng = np.random.default_rng(seed + n)
    drawn = dict(valence=rng.uniform(-1, 1, n).astype(np.float32), expression=rng.integers(-1, 7, n))
    drawn |= dict(arousal=np.where(rng.random(n) < .2, np.nan, drawn["valence"]).astype(np.float32))
    drawn |= {au: np.where(rng.random(n) < .3, np.nan, rng.integers(0, 2, n)).astype(np.float32) for au in columns if au.startswith("au")}
    return pd.DataFrame(dict(clip=name, subject=f"subject of {name}", database="d", frame=range(n)) | {column: drawn[column] for column in columns})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "Three folders of clips with gaps: for valence and arousal, for AUs with expressions, for expressions with other AUs."
    here = tmp_path_factory.mktemp("world")
    columns = dict(va=("valence", "arousal"), aus=("au1", "au4", "expression"), expression=("expression", "au4", "au12"))
    tables = {}
    for folder in columns:
        for number, n in enumerate((37, 51, 20)): write_clip(here/folder, f"{folder}{number}", n, away=(3, 4, 17))
        tables[folder] = pd.concat([labels_of(f"{folder}{number}", n + 2, *columns[folder]) for number, n in enumerate((37, 51, 20))])
    return SimpleNamespace(datasets=lambda length=1, **options: {name: SequenceDataset(here/name, table, length=length, **options) for name, table in tables.items()}, here=here, tables=tables)


def flat(batch):
    *inputs, targets = batch
    return [*inputs, *(getattr(targets, name).nan_to_num(9) for name in targets.present), torch.tensor(targets.au_names)]


def assert_same(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other):
        assert first[-1].present == second[-1].present and [part.dtype for part in flat(first)] == [part.dtype for part in flat(second)]
        for a, b in zip(flat(first), flat(second)): assert torch.equal(a, b)


def loaders(world, workers):
    "A loader of every kind: single frames, padded windows, some windows, several databases, three sets a step."
    single, windows = world.datasets(), world.datasets(length=6, remainder="pad")
    options = dict(num_workers=workers, seed=3, device=CPU)
    yield AffectDL(single["va"], 16, shuffle=True, **options)
    yield AffectDL(windows["aus"], 4, shuffle=True, drop_last=True, **options)
    yield AffectDL(SomeWindows(with_labels(single["aus"], "aus"), range(0, 40, 3)), 5, **options)
    yield AffectDL(LabelSet(list(windows.values()), au_names=(1, 2, 12)), 6, shuffle=True, **options)
    yield JointDL({name: LabelSet(data, fields=(name,)) for name, data in single.items()}, total=40, **options)


def by_hand(dataset, number):
    "The parts of one window, read row by row from its store and its table."
    track, start, T = dataset.tracks[dataset.track_numbers[number]], int(dataset.first_frames[number]), dataset.length
    store, rows = FaceStore.open(track.path), {int(frame): track.first_row + place for place, frame in enumerate(track.frames)}
    faces, points, seen = np.zeros((T, 96, 96, 3), np.uint8), np.full((T, 68, 2), np.nan, np.float32), np.zeros(T, bool)
    for place in range(T):
        row = rows.get(start + place) if start + place < track.n else None
        if row is not None:
            faces[place], points[place], seen[place] = store.read(row, row + 1)[0], store.landmarks(row, row + 1)[0], store.present(row, row + 1)[0]
    return torch.from_numpy(faces).permute(0, 3, 1, 2), torch.from_numpy(scale_landmarks(points)), seen, track, start


@pytest.mark.parametrize("length,remainder", [(1, "drop"), (6, "pad"), (7, "drop")])
def test_a_batch_is_its_windows_one_by_one(world, length, remainder):
    for name, data in world.datasets(length=length, remainder=remainder).items():
        numbers = np.random.default_rng(0).permutation(len(data))[:25]
        faces, landmarks, targets = read_batch(data, numbers)
        assert faces.dtype == torch.uint8 # floats are made on the device
        table = world.tables[name].set_index(["clip", "frame"])
        for place, number in enumerate(numbers):
            pixels, points, seen, track, start = by_hand(data, number)
            assert torch.equal(faces[place], pixels) and torch.equal(landmarks[place], points)
            for frame in range(length):
                row = table.loc[(track.clip, start + frame)] if seen[frame] else None
                for field in targets.present:
                    value = getattr(targets, field)[place, frame]
                    if row is None: assert (value == -1 if field == "expression" else value.isnan().all())
                    elif field == "expression": assert value == row.expression
                    else:
                        columns = ["valence", "arousal"] if field == "va" else [f"au{au}" for au in targets.au_names]
                        np.testing.assert_array_equal(value.numpy(), row[columns].to_numpy(np.float32))
        assert_same([read_batch(data, numbers)], [collate_sequences([data[int(number)] for number in numbers])])


def test_results_do_not_depend_on_who_reads(world):
    epochs = []
    for workers in (0, 1, 2):
        torch.manual_seed(0)
        made = list(loaders(world, workers))
        epochs.append([[list(loader) for _ in range(2)] for loader in made] + [torch.rand(3)])
        assert [loader.fake_l.num_workers for loader in made] == [workers]*5
        for loader in made: loader.close()
    for other in epochs[1:]:
        for here, there in zip(epochs[0][:-1], other[:-1]):
            for first, second in zip(here, there): assert_same(first, second)
        assert torch.equal(epochs[0][-1], other[-1]) # what is drawn after them, as dropout is
    assert not torch.equal(epochs[0][0][0][0][0], epochs[0][0][1][0][0]) # the second epoch has another order


def test_processes_stay_between_epochs_and_end_with_the_training(world):
    before, data = set(multiprocessing.active_children()), world.datasets()
    loader = AffectDL(data["va"], 8, shuffle=True, num_workers=2, seed=1, device=CPU)
    list(loader)
    first = set(multiprocessing.active_children()) - before
    expected = AffectDL(data["va"], 8, shuffle=True, num_workers=0, seed=1, device=CPU)
    list(expected)
    for batch in loader: break # a training that breaks off in the middle of an epoch
    next(iter(expected))
    assert_same(list(loader), list(expected))
    assert len(first) == 2 and set(multiprocessing.active_children()) - before == first
    for one, other in zip(loader, loader): pass # the second one reads for itself
    loader.close()
    assert not set(multiprocessing.active_children()) - before


def test_a_fit_leaves_no_process_behind(world):
    from fastai.data.core import DataLoaders
    before, data = set(multiprocessing.active_children()), world.datasets()
    sides = [AffectDL(data["va"], 8, num_workers=1, device=CPU) for _ in range(2)]
    learn = affect_learner(DataLoaders(*sides, device=CPU), "vgg_face", width=1/64, precision="float32")
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
        assert not set(multiprocessing.active_children()) - before
        learn.validate()
        assert not set(multiprocessing.active_children()) - before
    list(sides[0])
    assert len(set(multiprocessing.active_children()) - before) == 1
    close_workers(learn.dls)
    assert not set(multiprocessing.active_children()) - before


def test_a_process_that_is_spawned_reads_the_same(world):
    data = LabelSet(list(world.datasets(length=6).values()))
    here, there = (AffectDL(data, 6, num_workers=workers, device=CPU) for workers in (0, 1))
    there._workers = _Workers(there.dataset, 1, False)
    there._workers.loader.multiprocessing_context = "spawn"
    assert_same(list(there), list(here))
    there.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_names_the_file(tmp_path, workers):
    path = write_clip(tmp_path, "walk", 20, encoding="jpeg")
    content = bytearray(path.read_bytes())
    start = content.rindex(b"\xff\xd8\xff\xe0")
    content[start:start + 2] = b"no"
    path.write_bytes(content)
    loader = AffectDL(SequenceDataset(tmp_path, length=1), 8, num_workers=workers, device=CPU)
    with pytest.raises(ValueError, match=r"walk.arrow: the crop of row 19 cannot be read"): list(loader)
    loader.close()


def test_pictures_are_read_by_the_same_interface(tmp_path):
    (tmp_path/"crops"/"5").mkdir(parents=True)
    for number in (1, 2, 3, 5): cv2.imwrite(str(tmp_path/"crops"/"5"/f"{number:05}.png"), np.full((112, 112, 3), 20*number, np.uint8))
    write_clip(tmp_path/"stores", "6", 9)
    stores = [CroppedAligned(tmp_path/"crops"/"5"), tmp_path/"stores"/"6.arrow"]
    data = SequenceDataset(stores, pd.concat([labels_of("5", 5, "valence", "arousal"), labels_of("6", 9, "valence", "arousal")]), length=1)
    batches = [list(AffectDL(data, 5, num_workers=workers, device=CPU, after_batch=[])) for workers in (0, 1)]
    assert_same(*batches)
    assert [int(face[0, 0, 0, 0]) for batch in batches[0] for face in batch[0]][:4] == [20, 40, 60, 100]
    (tmp_path/"crops"/"5"/"00003.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="00003.png is not an image"): list(AffectDL(data, 5, num_workers=1, device=CPU))


def test_each_store_is_opened_once(world, monkeypatch):
    data, opened, reads = world.datasets()["va"], [], []
    really = FaceStore.open.__func__
    monkeypatch.setattr(FaceStore, "open", classmethod(lambda cls, path: opened.append(path) or really(cls, path)))
    crops = FaceStore.crops
    monkeypatch.setattr(FaceStore, "crops", lambda self, start, stop: reads.append((self.path, start)) or crops(self, start, stop))
    for _ in range(2): list(AffectDL(data, 16, shuffle=True, device=CPU, num_workers=0))
    assert len(opened) == 3 == len(set(opened)) and len(reads) == 2*len(data)
    reads.clear()
    read_batch(data, np.random.default_rng(0).permutation(len(data)))
    assert reads == sorted(reads) # a batch goes through each file from its beginning to its end


def index_of(folder, clips, n):
    "The index of clips of n frames with all labels, as `index_database` writes it."
    folder.mkdir()
    rows = [dict(clip=name, subject=name, split="train", splits={}, media=name, rows=n, batch=number) for number, name in enumerate(clips)]
    (folder/"clips.json").write_text(json.dumps(dict(database="d", au_names=[1, 4], clips=rows, skipped=[], fingerprint={})))
    va, aus = pa.array(np.tile(np.float32([.5, -.5]), n)), pa.array(np.tile(np.float32([1, 0]), n))
    columns = dict(frame=pa.array(np.arange(n, dtype=np.int32)), va=pa.FixedSizeListArray.from_arrays(va, 2),
                   expression=pa.array(np.arange(n, dtype=np.int16) % 7), aus=pa.FixedSizeListArray.from_arrays(aus, 2))
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    with pa.OSFile(str(folder/"labels.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as file:
        for _ in clips: file.write_batch(batch)
    return LabelIndex(folder)


def test_a_hundred_thousand_windows_travel_in_some_kilobytes(tmp_path):
    write_clip(tmp_path, "long", 4000, encoding="jpeg", away=range(0, 4000, 10), batch=500)
    (tmp_path/"faces").mkdir()
    names = [f"clip{number}" for number in range(28)]
    for name in names: (tmp_path/"faces"/f"{name}.arrow").symlink_to(tmp_path/"long.arrow")
    data = SequenceDataset(tmp_path/"faces", index_of(tmp_path/"index", names, 4000), length=1)
    some = SomeWindows(data, np.sort(np.random.default_rng(0).permutation(len(data))[:80_000]))
    joint = JointDL(dict(va=LabelSet([some], fields=("va",)), aus=LabelSet([data], fields=("aus",))), device=CPU).dataset
    assert len(data) > 100_000
    for sent, most in ((data, 40_000), (some, 60_000), (joint, 80_000)): assert len(pickle.dumps(sent)) < most
    arrived, numbers = pickle.loads(pickle.dumps(some)), np.arange(5, 80_000, 9000)
    assert arrived.first_frames.tolist() == some.first_frames.tolist() and arrived.dataset.notes == data.notes
    assert_same([read_batch(arrived, numbers)], [read_batch(some, numbers)])
    arrived._open(data.tracks[0].path) # open stores do not go with it
    assert len(pickle.dumps(arrived)) < 60_000


def test_who_reads_is_decided_in_one_place(world, monkeypatch):
    monkeypatch.setattr(devices, "available_cores", lambda: 12)
    assert [choose_workers(frames=frames) for frames in (1000, 50_000, 10**7)] == [0, 11, 11]
    assert [choose_workers(asked, frames=10**6) for asked in (0, 3, "auto", None)] == [0, 3, 11, 11]
    monkeypatch.setattr(devices, "available_cores", lambda: 2)
    assert choose_workers(frames=10**7) == 0
    monkeypatch.setenv(WORKERS_VARIABLE, "4")
    assert (choose_workers(), choose_workers(1)) == (4, 1)
    assert AffectDL(world.datasets()["va"], 4, device=CPU).fake_l.num_workers == 4
    monkeypatch.setenv(WORKERS_VARIABLE, "many")
    with pytest.raises(ValueError, match="'many', allowed are whole numbers from 0"): choose_workers()


def _chosen_by_a_daemon(queue): queue.put(choose_workers(3))


def test_a_process_that_may_start_none_reads_for_itself():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_chosen_by_a_daemon, args=(queue,), daemon=True)
    process.start()
    assert queue.get(timeout=30) == 0
    process.join()


def test_presets_say_who_reads(monkeypatch):
    assert [load_preset(name).num_workers for name in ("smoke", "demo", "paper")] == [0, 0, "auto"]
    monkeypatch.delenv(WORKERS_VARIABLE, raising=False)
    with _environment(**{WORKERS_VARIABLE: 5}): assert choose_workers() == 5
    with _environment(**{WORKERS_VARIABLE: None}): assert choose_workers(frames=10) == 0
    with pytest.raises(ValueError, match="num_workers"): Preset(title="t", notebooks={}, num_workers=-1)


def test_bytes_go_to_the_device_and_targets_with_them():
    batch = torch.full((2, 1, 3, 96, 96), 255, dtype=torch.uint8), torch.zeros(2, 1, 68, 2), AffectTargets(va=torch.zeros(2, 1, 2))
    faces, _, targets = ToNetwork()(tuple(part.to("meta") for part in batch))
    assert (faces.device.type, targets.device.type, faces.dtype) == ("meta", "meta", torch.float32)


class Counted(torch.nn.Module):
    "A network of valence and arousal that counts its passes and the frames of each."
    def __init__(self, model):
        super().__init__()
        self.model, self.frames = model, []

    def forward(self, faces, landmarks=None, audio=None):
        self.frames.append(faces.shape[0]*faces.shape[1])
        return self.model(faces, landmarks) if audio is None else self.model(faces, landmarks, audio)

    def __getattr__(self, name):
        try: return super().__getattr__(name)
        except AttributeError: return getattr(super().__getattr__("model"), name)


def test_single_frames_are_scored_many_a_pass(tmp_path, monkeypatch):
    store, opened = FaceStore.open(write_clip(tmp_path, "walk", 700, away=range(600, 620))), []
    model = Counted(create_model("vgg_face", width=1/64).eval())
    predictor = Predictor(model, Card(architecture="vgg_face"), CPU, length=1, windows="paper")
    really = FaceStore.open.__func__
    monkeypatch.setattr(FaceStore, "open", classmethod(lambda cls, path: opened.append(path) or really(cls, path)))
    at_once = predict_rows(predictor, store)
    assert model.frames == [80]*8 + [40] and len(opened) == 1 # four a pass, and a store each time, would be 170
    assert at_once.predicted.sum() == 680
    four = predict_rows(Predictor(model, predictor.card, CPU, length=1, windows="paper", batch=4), store)
    np.testing.assert_allclose(at_once.values, four.values, atol=1e-5)
    assert len(model.frames) == 9 + 170
    assert [Predictor(model, predictor.card, CPU, length=length).windows_a_pass for length in (80, 20, 1, 500)] == [4, 16, 80, 1]


def test_a_long_film_is_mapped_anew_now_and_then(tmp_path):
    mapped = _MappedInTurn(FaceStore.open(write_clip(tmp_path, "walk", 10)), most=100)
    stores = [mapped.rows(40) for _ in range(6)]
    assert [stores[number] is stores[number - 1] for number in range(1, 6)] == [True, True, False, True, True]


def test_photographs_that_are_scored_are_not_read_sixteen_at_a_time(tmp_path, monkeypatch):
    import affect_nb.apps.predictor as predictor_module
    passes = []
    monkeypatch.setattr(predictor_module, "labelled_predictions", lambda predictor, *_: passes.append(predictor.stills) or pd.DataFrame())
    predictor = Predictor(create_model("vgg_face", width=1/64).eval(), Card(architecture="vgg_face"), CPU)
    write_clip(tmp_path, "walk", 3)
    predict_clips(predictor, SimpleNamespace(clip=lambda name: SimpleNamespace(name=name)), ["walk"], tmp_path)
    assert passes == [FRAMES_A_PASS] and predictor.stills == 16


def test_items_that_a_class_gives_anew_are_in_its_batches():
    class Pairs:
        def __getitem__(self, number): return number
        def read_batch(self, numbers): return "whole"
        def batch_parts(self, numbers): return []
    class Darker(Pairs):
        def __getitem__(self, number): return super().__getitem__(number)//2
    class Both(Darker):
        def read_batch(self, numbers): return "of both"
        def batch_parts(self, numbers): return ["of both"]
    assert [has_own_items(made(), "read_batch") for made in (Pairs, Darker, Both)] == [False, True, False]
    assert [batch_parts(made(), [0]) for made in (Pairs, Darker, Both)] == [[], None, ["of both"]]
