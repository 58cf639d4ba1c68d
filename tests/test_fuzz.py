"""Damaged and invented files and commands: each parser gives a value, or an error that names the file; a command ends with a sentence, never with a traceback."""
import functools
import gzip
import json
import os
import pickle
import re
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from affect_nb.analysis.annotators import read_annotations
from affect_nb.analysis.summaries import summarise_files
from affect_nb.apps.annotation_log import AnnotatedFilm, AnnotationLog, log_table
from affect_nb.apps.grid import load_grid
from affect_nb.apps.player_data import read_predictions
from affect_nb.apps.run import load_preset
from affect_nb.apps.runs import read_run
from affect_nb.core.relatedness import COGNITIVE, read_relatedness, write_relatedness
from affect_nb.databases.base import open_database
from affect_nb.databases.manifests import read_manifest
from affect_nb.databases.peers import read_peer
from affect_nb.files.exchange import read_bids_traces, read_spans, read_traces, spans_table, write_bids_events, write_bids_traces, write_boris, write_elan, write_traces
from affect_nb.files.matlab import read_mat
from affect_nb.models.weight_files import read_arrays
from affect_nb.models.weights import Card, read_card, write_tensors
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.preprocess.packed import PixelTable
from affect_nb.preprocess.pictures import read_image
from affect_nb.preprocess.sound import SoundStore, sound_path

sys.path.insert(0, str(Path(__file__).parent/"cases"))
from commands import command # noqa: E402

FEW = settings(max_examples=4, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
MOST_MEMORY = 700 # MB that reading a few KB may take


# seeds: a whole file of each kind, and who reads it

def spans(): return spans_table([dict(start=0, end=1, label="AU12", tier="face 0", annotator="Eve"), dict(start=1.5, end=1.5, label="x", tier="t", annotator="")])
def written(path, text): path.write_text(text); return path


def bids(path):
    times = np.arange(8)/25
    return write_bids_traces(path, pd.DataFrame(dict(time=times, valence=np.sin(times))), None, dict(valence=dict(Description="v")))


def openface(path):
    points = {f"{axis}_{number}": [20. + number]*3 for axis in "xy" for number in range(68)}
    pd.DataFrame(dict(frame=[1, 2, 3], timestamp=[0, .04, .08], confidence=[.9]*3, success=[1, 1, 0], **points, AU01_r=[.5]*3, AU12_c=[1, 0, 1])).to_csv(path, index=False)
    return path


def openface3(path):
    row = dict(timestamp=0, face_detection="[10, 10, 50, 60, 0.9]", landmarks=str([1.5]*196), emotion=3, gaze_yaw=.1, gaze_pitch=.1, action_units=str([.5]*8))
    pd.DataFrame([dict(frame=number, **row) for number in range(3)]).to_csv(path, index=False)
    return path


def pyfeat(path):
    points = {f"{axis}_{number}": [20. + number]*2 for axis in "xy" for number in range(68)}
    pd.DataFrame(dict(frame=[0, 1], FaceRectX=[1, 2], FaceRectY=[1, 2], FaceRectWidth=[50, 50], FaceRectHeight=[50, 50], FaceScore=[.9, .8], **points, AU01=[.1, .9], AU12=[1, 0],
                      anger=[.1]*2, disgust=[.1]*2, fear=[.1]*2, happiness=[.5]*2, sadness=[.1]*2, surprise=[.05]*2, neutral=[.05]*2)).to_csv(path, index=False)
    return path


def labels(path): return written(path, "file,frame,valence,arousal,expression,AU12\nfilms/a.mp4,0,.5,-.25,happy,1\nfilms/a.mp4,1,.5,-.25,sad,0\nb.mp4,0,0,0,,\n")


def parquet(path):
    pd.DataFrame(dict(file=["a.jpg", "b.jpg"], valence=[.1, .2], arousal=[.1, .2])).to_parquet(path)
    return path


def store(path):
    with FaceStoreWriter(path, "c", about=dict(source=dict(path="x"))) as out:
        for frame in range(3): out.add(frame, frame/25, 0, "ok", np.full((96, 96, 3), 90, np.uint8), box=(1, 2, 50, 60), score=.9)
    return path


def whole_store(path):
    opened = FaceStore.open(path)
    return opened.frames, opened.faces, opened.about, opened.read(0, len(opened)), opened.landmarks(0, len(opened))


def mat(path):
    from scipy.io import savemat
    savemat(path, dict(a=np.arange(6.).reshape(2, 3), s=dict(x=1, y="text"), c=np.array([["p"], ["q"]], object)))
    return path


def log(path):
    film = AnnotatedFilm(path.parent.name, Path("x.mp4"), np.arange(50)/25)
    made = AnnotationLog(path.parent.parent, film, path.stem)
    made.append([dict(take="t1", at=[0, .5, 1], valence=[.1, .2, .3]), dict(undo="t1"), dict(take="t2", at=[0], au12=[1])])
    return path


def read_log(path): return log_table(AnnotationLog(path.parent.parent, AnnotatedFilm(path.parent.name, Path("x.mp4"), np.arange(50)/25), path.stem))
def facts(path): return written(path, json.dumps(dict(clip="c", film="x.mp4", fps=25, times=[0, .04])))
def read_facts(path): return AnnotatedFilm.read(path.parent.parent, path.parent.name)


def card(path):
    write_tensors(path.with_suffix(".safetensors"), {"fc.weight": torch.zeros(3, 2)}, Card(architecture="mt_vgg", data="x", licence="free"))
    return path


def predictions(path): return written(path, "file,frame,time_s,face_id,status,valence,arousal,prob_au12\nx.mp4,0,0,0,ok,.5,.1,.9\nx.mp4,1,.04,0,ok,.5,.1,.9\nx.mp4,2,.08,0,ok,.5,.1,.1\n")


def pickled(path): path.write_bytes(pickle.dumps({"fc.weight": np.zeros((3, 2), np.float32)}, 2)); return path
def torched(path): torch.save({"fc.weight": torch.zeros(3, 2)}, path); return path


def picture(path):
    from PIL import Image
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).save(path)
    return path


def copy_of(name): return lambda path: written(path, (Path(__file__).resolve().parent.parent/name).read_text())


SKIP = dict(on_fault="skip")
KINDS = { # file name -> what writes it, what reads it
    "a.eaf": (lambda path: write_elan(path, spans()), read_spans), "a.boris": (lambda path: write_boris(path, spans()), read_spans),
    "a.tsv": (lambda path: write_boris(path, spans()), read_spans), "a.csv": (lambda path: write_boris(path, spans()), read_spans),
    "a_events.tsv": (lambda path: write_bids_events(path, spans()), read_spans), "a_physio.tsv.gz": (bids, read_bids_traces),
    "b_physio.json": (lambda path: bids(path.with_suffix(".tsv.gz")).with_name(path.name), lambda path: read_bids_traces(path.with_suffix(".tsv.gz"))),
    "traces.csv": (lambda path: write_traces(path, pd.DataFrame(dict(time=[0, .1, .2], valence=[0., .5, 1]))), read_traces),
    "openface.csv": (openface, read_peer), "openface3.csv": (openface3, read_peer), "pyfeat.csv": (pyfeat, read_peer),
    "labels.csv": (labels, lambda path: open_database("own", path, **SKIP).frames()), "table.parquet": (parquet, lambda path: open_database("own", path, **SKIP).frames()),
    "c.arrow": (store, whole_store), "m.mat": (mat, lambda path: read_mat(path, ("a",), ("s", "c"))), "clip/ann.jsonl": (log, read_log), "clip/film.json": (facts, read_facts),
    "net.json": (card, read_card), "net2.safetensors": (card, read_card), "p.csv": (predictions, read_predictions), "q.csv": (predictions, lambda path: summarise_files([path])),
    "w.pkl": (pickled, read_arrays), "w.pt": (torched, read_arrays), "pixels.csv": (lambda path: written(path, "emotion,pixels,Usage\n0,1 2 3 4,Training\n"),
                                                                                                             lambda path: PixelTable(path, ("Usage",)).picture(0, "x").read_bytes()),
    "r.json": (lambda path: write_relatedness(COGNITIVE, path) or path, read_relatedness), "own.yaml": (copy_of("data_manifests/own.yaml"), read_manifest),
    "preset.yaml": (copy_of("configs/smoke.yaml"), lambda path: load_preset(str(path))), "grid.yaml": (copy_of("configs/grid.yaml"), lambda path: load_grid(str(path))),
    "track/ann.csv": (lambda path: written(path, "frame,valence,arousal\n0,.1,.2\n1,.1,.2\n"), lambda path: read_annotations(path.parent, 25)),
    "run.json": (lambda path: written(path, '{"title": "t", "parameters": {"a": {}}, "failed": {}, "process": {"pid": 1}, "ended": null, "seconds": 1}'), lambda path: read_run(path.parent)),
    "p.png": (picture, read_image),
}

TOKENS = [b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b",", b"\t", b'"', b"'", b"{", b"["*3000, b"]", b"nan", b"inf", b"-1e400", b"1e308", b"99999999999999999999", b"-9", b"1_0", b"\xd9\xa3",
          b"!!python/object/apply:os.system [x]", b"&a [*a]", b"*a", b"null", b"true", b"<!ENTITY a 'b'>", b"&lt;", b"\xe2\x80\xa8", b"../../x", b"\x80\x02", b"=1+1", b"2147483648", b"0x10", b"NaN", b"%s"]
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from(TOKENS) | st.binary(max_size=6)), min_size=1, max_size=4)
CUT = st.none() | st.integers(0, 10**6)


def damaged(content, changes, cut):
    "Bytes with pieces replaced, and cut off."
    for place, length, piece in changes:
        place %= len(content) + 1
        content = content[:place] + piece + content[place + length:]
    return content if cut is None else content[:cut % (len(content) + 1)]


class Hangs(BaseException): "More processor time than any small file is worth."

def stop(*_): raise Hangs


def answers(read, path):
    "A value, or a ValueError or OSError that names the file, in bounded memory and processor time."
    before, handler = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)
    try: read(path)
    except (ValueError, OSError) as error:
        names = (path.name, path.with_suffix("").stem, str(path.parent))
        assert any(name in str(error) for name in names), f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY*1024


def fuzz(folder, name, profile):
    make, read = KINDS[name]
    path = folder/name
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    whole, zipped = path.read_bytes(), name.endswith(".gz")
    read(path)

    @profile
    @given(changes=CHANGES, cut=CUT, outside=st.booleans())
    @example(changes=[(0, 10**6, b"")], cut=None, outside=True)
    @example(changes=[(0, 10**6, b"["*20_000)], cut=None, outside=True)
    @example(changes=[(0, 10**6, b"null")], cut=None, outside=True)
    @example(changes=[(0, 10**6, b"[]")], cut=None, outside=True)
    @example(changes=[(0, 10**6, b"\xff\xfe\x00")], cut=None, outside=True)
    def one(changes, cut, outside):
        if zipped and not outside: content = gzip.compress(damaged(gzip.decompress(whole), changes, cut))
        else: content = damaged(whole, changes, cut)
        path.unlink(missing_ok=True) # stores are mapped: a new file each time
        path.write_bytes(content)
        answers(read, path)

    one()


SLOW = ("openface.csv", "openface3.csv", "pyfeat.csv", "q.csv", "table.parquet", "labels.csv") # to read; in the full form alone

@pytest.mark.parametrize("name", [name for name in KINDS if name not in SLOW])
def test_a_damaged_file_is_read_or_named(tmp_path, name): fuzz(tmp_path, name, FEW)


@pytest.mark.full
@pytest.mark.parametrize("name", KINDS)
def test_many_damaged_files_are_read_or_named(tmp_path, name): fuzz(tmp_path, name, MANY)


# the command line

OPTIONS = {"check": ["--json", "--set", "-s"], "check-media": ["--csv", "--json"], "preprocess": ["--detector", "--transform", "--detect-every", "--film-fps", "--recursive", "--crops"],
           "predict": ["--model", "--out", "--film-fps", "--crops", "--windows", "--compound", "--detector"], "export": ["--to", "--out", "--film", "--rate", "--threshold"],
           "summarise": ["--out", "--each", "--spans", "--wide", "--threshold"], "runs": [], "rerun": ["--out"], "import-weights": ["--format", "--channels", "--width", "--mean"],
           "export-model": ["--int8"], "train": ["--out", "--set"], "no-such-command": ["--help"], "": ["--version", "--nothing"]}
WORDS = ["0", "-1", "nan", "1e400", "affine", "own", "aff-wild2", "columns=a:b", "active_from=x", "x=[", "elan", "bids", "face", "ssh:none", "RGB", "../up", "a\nb", "*.mp4", "[", "~", "ä", "--"]
PATHS = ["film.mp4", "text.mp4", "empty.mp4", "picture.png", "labels.csv", "p.csv", "a.eaf", "net.json", "w.pkl", "grid.yaml", "folder", "missing", "out", "folder/below", "."]


@pytest.fixture(scope="module")
def universe(tmp_path_factory):
    "A folder of a few small files, good and bad."
    from affect_nb.files.film import write_film
    folder = tmp_path_factory.mktemp("universe")
    write_film(folder/"film.mp4", [np.full((48, 64, 3), 90, np.uint8)]*2, 25)
    (folder/"text.mp4").write_text("no film")
    (folder/"empty.mp4").touch()
    (folder/"folder").mkdir()
    picture(folder/"picture.png"), labels(folder/"labels.csv"), predictions(folder/"p.csv"), card(folder/"net.json"), pickled(folder/"w.pkl")
    write_elan(folder/"a.eaf", spans())
    copy_of("configs/grid.yaml")(folder/"grid.yaml")
    return folder


def fuzz_commands(universe, monkeypatch, profile):
    monkeypatch.chdir(universe)
    monkeypatch.setenv("NO_COLOR", "1")

    @profile
    @given(st.data())
    def one(data):
        name = data.draw(st.sampled_from(sorted(OPTIONS)))
        words = data.draw(st.lists(st.sampled_from([*PATHS, *PATHS, *OPTIONS[name], *OPTIONS[name], *WORDS]), max_size=6))
        code, out, err = command(*[name]*bool(name), *words)
        assert code in (0, 1, 2) and "Traceback" not in out + err
        assert code == 0 or (out + err).strip()

    one()


def test_a_command_ends_with_a_sentence(universe, monkeypatch): fuzz_commands(universe, monkeypatch, settings(FEW, max_examples=5))

@pytest.mark.full
def test_many_commands_end_with_a_sentence(universe, monkeypatch): fuzz_commands(universe, monkeypatch, settings(MANY, max_examples=150))
