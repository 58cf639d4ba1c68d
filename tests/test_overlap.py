"""Stages of a prediction that run side by side: the same results, and none is left behind when one of them ends badly."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from affect_nb.analysis import annotated_film
from affect_nb.apps import predict
from affect_nb.apps.predict import predict_files
from affect_nb.apps.windows import EarlyWindows, WindowNetwork
from affect_nb.files.film import FilmWriter, write_film
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.preprocess.pipeline import ahead, face_helper, preprocess
from affect_nb.synth.faces import Actor, Identity, Pose, Scene, expression_aus, render_frame

CHECKOUT = Path(__file__).resolve().parents[1]


def running():
    "Python's threads, without the one that tqdm has for all bars."
    return [thread for thread in threading.enumerate() if type(thread).__name__ != "TMonitor"]


def frames_of(n_frames, people, width=320):
    "People side by side; each turns a little, and the first is away for some frames."
    scene = Scene.draw(5, .2)
    for frame in range(n_frames):
        here = [person for person in range(people) if person or not 22 <= frame < 31]
        actors = [Actor(Identity.draw(person + 3), expression_aus("Happiness", intensity=2), Pose(yaw=8*np.sin(frame/9 + person), x=width*(person + .5)/people, y=80, height=105)) for person in here]
        yield render_frame(actors, scene, width=width, height=160, seed=frame).image


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "A film of two faces with a tone, the same broken off, and a frame-by-frame network that was trained on windows of 5 frames."
    folder = tmp_path_factory.mktemp("overlap")
    tone = .2*np.sin(np.arange(2*44100)/30).astype(np.float32)
    write_film(folder/"two.mp4", frames_of(50, 2), 25, tone, threads=1)
    (folder/"broken.mp4").write_bytes((folder/"two.mp4").read_bytes())
    with open(folder/"broken.mp4", "r+b") as film: # its middle is noise
        film.seek((folder/"two.mp4").stat().st_size//2)
        film.write(np.random.default_rng(0).integers(0, 256, 4000, np.uint8).tobytes())
    torch.manual_seed(0)
    network = create_model("facebehaviornet", 1/16, norm="batch", size=48)
    save_checkpoint(folder/"net", network, {"data": "none: untrained", "notes": {"recipe": {"length": 5}}})
    return folder


@pytest.fixture(scope="module")
def helper():
    with face_helper() as process: yield process


def predict_film(world, out, name="two.mp4", **options):
    options = dict(device="cpu", progress=False, film=False, batch=2, precision="float32") | options
    return predict_files(world/name, world/"net.json", out, **options)


def spied(monkeypatch, store):
    "Was the store there already, at each batch that a network predicts?"
    run, there = WindowNetwork.run, []
    monkeypatch.setattr(WindowNetwork, "run", lambda self, *given: there.append(store.exists()) or run(self, *given))
    return there


@pytest.mark.parametrize("name", ["two.mp4", "broken.mp4"])
def test_results_are_the_same_beside_and_in_turn(world, tmp_path, helper, name, monkeypatch):
    stem = Path(name).stem
    there = spied(monkeypatch, tmp_path/"beside"/"faces"/f"{stem}.arrow")
    _, noted = predict_film(world, tmp_path/"beside", name, helper=helper)
    assert False in there and True in there # the first batches, and what is left of the first face and of the others
    beside = len(there)
    _, before = predict_film(world, tmp_path/"turn", name)
    assert len(there) == 2*beside # none was predicted twice
    for file in (f"{stem}.csv", f"faces/{stem}.arrow", f"{stem}.png"): assert (tmp_path/"beside"/file).read_bytes() == (tmp_path/"turn"/file).read_bytes()
    assert [entry.reason for entry in noted] == [entry.reason for entry in before]
    assert pd.read_csv(tmp_path/"beside"/f"{stem}.csv").face_id.nunique() >= 2


def test_a_network_that_fails_early_fails_once_and_the_faces_stay(world, tmp_path, helper, monkeypatch):
    def run(self, *given): raise ValueError("not enough memory for this batch")
    monkeypatch.setattr(WindowNetwork, "run", run)
    threads = running()
    written, failed = predict_film(world, tmp_path, helper=helper)
    assert written == [] and [entry.failed for entry in failed] == [True]
    assert "two.mp4: not enough memory for this batch" in failed[0].reason
    assert len(FaceStore.open(tmp_path/"faces"/"two.arrow")) > 50 and running() == threads


def test_a_process_that_is_killed_is_named_and_the_next_film_gets_another(world, tmp_path):
    threads, children = running(), psutil.Process().children()
    with face_helper() as helper:
        def watch(path, rows): psutil.Process(helper._process.pid).kill()
        with pytest.raises(ValueError, match="two.mp4: RuntimeError: the process beside this one ended with -9"):
            preprocess(world/"two.mp4", tmp_path, progress=False, helper=helper, watch=watch)
        done = preprocess(world/"two.mp4", tmp_path, progress=False, helper=helper)
    assert [store.clip for store in done.stores] == ["two"]
    assert not list(tmp_path.glob(".part-*")) and running() == threads and psutil.Process().children() == children


def test_who_watches_may_end_it(world, tmp_path):
    threads, children = running(), psutil.Process().children()
    def watch(path, rows): raise KeyboardInterrupt
    with face_helper() as helper, pytest.raises(KeyboardInterrupt): preprocess(world/"two.mp4", tmp_path, progress=False, helper=helper, watch=watch)
    assert not list(tmp_path.glob(".part-*")) and not list(tmp_path.glob("*.arrow"))
    assert running() == threads and psutil.Process().children() == children


def test_a_short_film_and_a_foreign_detector_have_no_process(world, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "face_helper", lambda: pytest.fail("a process was started"))
    predict_film(world, tmp_path)
    monkeypatch.setattr(predict, "_WORTH_A_PROCESS", 10)
    monkeypatch.setattr(predict, "_is_our_own", lambda detector: False)
    predict_film(world, tmp_path/"foreign")


def until(true, seconds=60):
    "Wait until something is true."
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(.02)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_leaves_no_process(world, tmp_path, sent):
    long = tmp_path/"long.mp4"
    write_film(long, list(frames_of(25, 1, 160))*40, 25)
    program = "from affect_nb.apps.cli import main; main()"
    words = [sys.executable, "-c", program, "predict", str(long), "--model", str(world/"net.json"), "--out", str(tmp_path/"out")]
    command = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: list((tmp_path/"out"/"faces").glob(".part-*")))
        children = psutil.Process(command.pid).children(recursive=True)
        assert children
        command.send_signal(sent) # to it alone, as in a terminal: the other has a session of its own
        said = command.communicate(timeout=60)[1]
    finally: command.kill()
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))
    if sent == signal.SIGINT:
        assert command.returncode == 130 and "affect_nb: stopped." in said
        assert not list((tmp_path/"out"/"faces").glob(".part-*"))


def test_rows_that_wait_are_few_however_long_the_clip_is(world):
    network = WindowNetwork(create_model("vgg_face", 1/64).eval(), None, torch.device("cpu"), length=5, batch=2)
    early, crop, most = EarlyWindows(network), (world/"grey.jpg"), 0
    cv2.imwrite(str(crop), np.full((96, 96, 3), 90, np.uint8))
    row = dict(face_id=0, crop=crop.read_bytes(), crop_landmarks=None)
    for frame in range(400):
        early.add([dict(row, frame=frame, crop=None if 100 < frame < 180 else row["crop"]), dict(row, frame=frame, face_id=1)])
        most = max(most, len(early.rows))
    assert len(early.done) == 32 and most <= 95 # two windows of five frames, and a gap of sixteen


@pytest.mark.parametrize("depth", ["drawing", "encoding"])
def test_an_error_while_a_film_is_drawn_ends_its_threads(world, tmp_path, monkeypatch, depth):
    store, = preprocess(world/"two.mp4", tmp_path/"faces", progress=False).stores
    table = store.frames.assign(valence=.5, arousal=.1)
    def broken(*given): raise OSError("no space left on device")
    if depth == "drawing": monkeypatch.setattr(annotated_film, "draw_faces", broken)
    else: monkeypatch.setattr(FilmWriter, "add", broken)
    threads = running()
    with pytest.raises(OSError, match="no space left"): annotated_film.write_annotated(tmp_path/"film.mp4", world/"two.mp4", store, table)
    assert running() == threads and not list(tmp_path.glob("*film*"))


def test_rows_of_a_frame_are_those_of_the_table(world, tmp_path):
    store, = preprocess(world/"two.mp4", tmp_path/"faces", progress=False).stores
    table = store.frames.assign(valence=np.float32(.5), expression="Fear").sort_values(["frame", "face_id"], ignore_index=True)
    faces = annotated_film._FacesByFrame(store, table)
    for frame in (0, 25, 49):
        rows, landmarks = faces.at(frame)
        wanted = table[(table["frame"] == frame) & (table.status == "ok")]
        assert [list(map(str, row.values())) for row in rows] == [list(map(str, row.values())) for row in wanted.to_dict("records")]
        np.testing.assert_array_equal(landmarks.reshape(len(wanted), -1), np.stack(wanted["landmarks"]))


def test_sound_before_the_first_picture_does_not_change_the_pictures(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {}
    for rate in (None, 16000):
        with FilmWriter(tmp_path/"film.mp4", 64, 48, 25, rate, threads=1) as film:
            if rate: film.add_sound(np.zeros(4*rate, np.float32))
            for number in range(40): film.add(np.roll(rng.integers(0, 200, (48, 64, 3), np.uint8)//(1 + number//39), number, 1), number/25)
        rng = np.random.default_rng(0)
        with av.open(str(tmp_path/"film.mp4")) as container: sizes[rate] = [packet.size for packet in container.demux(video=0)]
    assert sizes[None] == sizes[16000]


def test_items_ahead_of_items_ahead_end_together():
    closed, threads = [], running()
    def items():
        try: yield from range(10**6)
        finally: closed.append(True)
    twice = ahead(ahead(items()))
    assert next(twice) == 0
    twice.close()
    until(lambda: closed == [True] and running() == threads, 10)
