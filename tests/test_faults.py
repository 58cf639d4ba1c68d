"""Kills, full disks, targets that cannot be written or vanish, too little memory, two commands on one target: a sentence and no half file, and a rerun comes to the undisturbed result, byte for byte."""
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from affect_nb.apps.cli import main
from affect_nb.files.film import write_film
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.synth.action_units import expression_aus
from affect_nb.synth.faces import Identity, render_face

CONTEXT = multiprocessing.get_context("forkserver") # a process that has imported everything, and of which each command is a copy
CONTEXT.set_forkserver_preload(["affect_nb.apps.cli", "affect_nb.apps.predict", "affect_nb.databases.check", "affect_nb.analysis.annotated_film", "matplotlib.pyplot"])


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    "Three small films of one face each."
    folder = tmp_path_factory.mktemp("films")
    for person in range(3):
        faces = [render_face(expression_aus("Happiness", 5*number/11), Identity.draw(person + 3), size=144, seed=number).image for number in range(12)]
        write_film(folder/f"film{person}.mp4", faces, 25, threads=1)
    return folder


def run(arguments, said, most_bytes, most_memory):
    "A command in a process of its own; what it says goes to a file at its end, when its files are limited no longer."
    torch.set_num_threads(1)
    words, most = io.StringIO(), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if most_bytes: # of a file, as on a disk that is full
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most))
    if most_memory:
        now = int(Path("/proc/self/statm").read_text().split()[0])*resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + most_memory, resource.RLIM_INFINITY))
    try:
        with redirect_stdout(words), redirect_stderr(words): main([str(argument) for argument in arguments])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        said.write_text(words.getvalue())


def start(arguments, folder, most_bytes=0, most_memory=0):
    said = Path(folder)/f"said{random.random()}.txt"
    process = CONTEXT.Process(target=run, args=(arguments, said, most_bytes, most_memory))
    process.start()
    process.said = said
    return process


def command(arguments, folder, **limits):
    "Exit code, and what was said."
    process = start(arguments, folder, **limits)
    process.join()
    return process.exitcode, process.said.read_text()


def content(folder): return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_same(found, wanted):
    assert sorted(found) == sorted(wanted)
    assert not [name for name in wanted if found[name] != wanted[name]]


def in_any_order(found):
    "The same, whichever command wrote its line first."
    def sorted_lines(name, data):
        if name.endswith("written.txt"): return sorted(set(data.split()))
        return json.loads(data) if name.endswith("sources.json") else data
    return {name: sorted_lines(name, data) for name, data in found.items()}


def assert_whole(folder):
    "No unfinished file is left, and every store can be read to its end."
    assert not [*folder.rglob(".part-*")]
    for path in folder.rglob("*.arrow"):
        store = FaceStore.open(path)
        store.read(0, len(store))


def job(kind, films, card, out):
    if kind == "one film": return ["preprocess", films/"film0.mp4", out]
    if kind == "preprocess": return ["preprocess", films, out]
    return ["predict", films, "--model", card, "--out", out]


@pytest.fixture(scope="module")
def undisturbed(films, card, tmp_path_factory):
    "Command -> what it leaves."
    made = {}
    def of(kind):
        if kind not in made:
            out = tmp_path_factory.mktemp("undisturbed")/"out"
            code, said = command(job(kind, films, card, out), out.parent)
            assert code == 0, said
            made[kind] = content(out)
        return made[kind]
    return of


def kill_at_some_moment(arguments, folder, rng, longest):
    "Was it killed, and after how many seconds it had ended if not."
    begun = time.perf_counter()
    process = start(arguments, folder)
    process.join(rng.random()*longest)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL, time.perf_counter() - begun


def kill_and_go_on(kind, films, card, undisturbed, tmp_path, moments):
    "Kill as often, each time at another moment; whoever ended before its kill tells how long it takes."
    wanted, rng, out, longest, killed = undisturbed(kind), random.Random(0), tmp_path/"out", 60., 0
    while killed < moments:
        was_killed, seconds = kill_at_some_moment(job(kind, films, card, out), tmp_path, rng, longest)
        killed += was_killed
        if not was_killed: longest = min(longest, seconds)
        code, said = command(job(kind, films, card, out), tmp_path)
        assert code == 0, said
        assert_same(content(out), wanted)
        shutil.rmtree(out)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["preprocess", "predict"])
def test_killed_at_any_of_20_moments_the_result_is_the_undisturbed_one(films, card, undisturbed, tmp_path, kind): kill_and_go_on(kind, films, card, undisturbed, tmp_path, 20)


@pytest.mark.full
def test_killed_at_3_moments_the_result_is_the_undisturbed_one(films, card, undisturbed, tmp_path): kill_and_go_on("one film", films, card, undisturbed, tmp_path, 3)


# the disk

@pytest.mark.full
@pytest.mark.parametrize("kind", ["preprocess", "predict"])
@pytest.mark.parametrize("most_bytes", [100, 3000, 20_000, 60_000])
def test_a_full_disk_stops_with_a_sentence_and_leaves_nothing_half(films, card, undisturbed, tmp_path, kind, most_bytes):
    out, wanted = tmp_path/"out", undisturbed(kind)
    code, said = command(job(kind, films, card, out), tmp_path, most_bytes=most_bytes)
    assert code == 1 and "Traceback" not in said and ("too large" in said or "space" in said), said
    assert_whole(out)
    code, said = command(job(kind, films, card, out), tmp_path)
    assert code == 0, said
    assert_same(content(out), wanted)


@contextmanager
def mounted(folder, options):
    "A small file system in memory; skipped where nobody may mount one."
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode: pytest.skip("mounting is not allowed here")
    try: yield folder
    finally: subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["preprocess", "predict"])
def test_a_real_disk_that_is_full(films, card, undisturbed, tmp_path, kind):
    wanted = undisturbed(kind)
    with mounted(tmp_path/"disk", "size=100k") as disk:
        code, said = command(job(kind, films, card, disk/"out"), tmp_path)
        assert code == 1 and "Traceback" not in said and "No space left" in said, said
        if (disk/"out").exists(): assert_whole(disk/"out")
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True) # somebody makes room
        code, said = command(job(kind, films, card, disk/"out"), tmp_path)
        assert code == 0, said
        assert_same(content(disk/"out"), wanted)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["preprocess", "predict"])
def test_a_target_that_cannot_be_written(films, card, tmp_path, kind):
    (tmp_path/"file").write_text("kept")
    for out in (tmp_path/"file", tmp_path/"file"/"below", Path("/proc/no_such_folder")):
        code, said = command(job(kind, films, card, out), tmp_path)
        assert code in (1, 2) and "Traceback" not in said and "file" in said.lower() and len(said.splitlines()) < 12, said
    assert (tmp_path/"file").read_text() == "kept"
    with mounted(tmp_path/"disk", "size=1m,ro") as disk:
        code, said = command(job(kind, films, card, disk/"out"), tmp_path)
        assert code == 1 and "Traceback" not in said and "Read-only" in said and str(disk) in said, said


@pytest.mark.full
@pytest.mark.parametrize("kind", ["preprocess", "predict"])
def test_a_target_that_vanishes_while_it_is_written(films, card, undisturbed, tmp_path, kind):
    "As a network folder that is lost."
    wanted, out = undisturbed(kind), tmp_path/"out"
    for wait in (0, 2, 6): # times that something new was seen in the folder
        process, seen = start(job(kind, films, card, out), tmp_path), set()
        while process.is_alive() and len(seen) <= wait:
            seen |= {path.name for path in out.rglob("*")} if out.exists() else set()
            time.sleep(.002)
        shutil.rmtree(out, ignore_errors=True)
        process.join()
        said = process.said.read_text()
        assert process.exitcode in (0, 1) and "Traceback" not in said, said
        code, said = command(job(kind, films, card, out), tmp_path)
        assert code == 0, said
        assert_same(in_any_order(content(out)), in_any_order(wanted))
        shutil.rmtree(out)


# two at once

@pytest.mark.full
@pytest.mark.parametrize("kind", ["preprocess", "predict"])
def test_two_commands_on_one_target_come_to_one_result(films, card, undisturbed, tmp_path, kind):
    wanted = undisturbed(kind)
    for round in range(3):
        out = tmp_path/f"out{round}"
        both = [start(job(kind, films, card, out), tmp_path) for _ in range(2)]
        for process in both: process.join()
        for process in both: assert process.exitcode == 0, process.said.read_text()
        assert_whole(out)
        assert_same(in_any_order(content(out)), in_any_order(wanted))


# memory

@pytest.mark.full
def test_too_little_memory_is_told(films, tmp_path):
    pictures = tmp_path/"pictures"
    pictures.mkdir()
    Image.new("L", (9000, 9000)).save(pictures/"large.png")
    for megabytes in (30, 150):
        code, said = command(["preprocess", pictures, tmp_path/f"out{megabytes}"], tmp_path, most_memory=megabytes*2**20)
        assert code == 1 and "Traceback" not in said and "memory" in said.lower(), said
        assert not [*tmp_path.rglob(".part-*")]


def test_a_command_without_memory_says_so(monkeypatch, tmp_path):
    def nothing_left(*_, **__): raise MemoryError("Unable to allocate 4.2 TiB")
    monkeypatch.setattr("affect_nb.preprocess.check_media.check_media", nothing_left)
    said = io.StringIO()
    with redirect_stderr(said), pytest.raises(SystemExit) as end: main(["check-media", str(tmp_path)])
    assert end.value.code == 1 and said.getvalue().startswith("affect_nb: the memory is full (Unable to allocate 4.2 TiB)")


# a disk that is full at the last moment

@pytest.mark.parametrize("last", ["_write_sorted", "rows"])
def test_a_store_that_cannot_be_finished_does_not_appear(tmp_path, monkeypatch, last):
    "Its rows are sorted when the block has ended well, and then the disk may be full."
    def full(*_): raise OSError(28, "No space left on device")
    def write():
        with FaceStoreWriter(tmp_path/"clip.arrow", "clip") as writer:
            writer.add(0, 0., 0, "ok", np.zeros((96, 96, 3), np.uint8))
            if last == "_write_sorted":
                writer._aside.write_bytes(b"half")
                monkeypatch.setattr(writer, "_write_sorted", full)
            else: monkeypatch.setattr(writer._rows, "close", full)
    with pytest.raises(OSError, match="No space left"): write()
    assert not [*tmp_path.iterdir()]


def test_a_damaged_store_that_was_made_anew_is_no_longer_listed(films, tmp_path):
    first, second = sorted(films.glob("*.mp4"))[:2]
    out = tmp_path/"out"
    out.mkdir()
    (out/f"{first.stem}.arrow").write_bytes(b"cut off")
    code, said = command(["preprocess", second, out], tmp_path)
    listed = json.loads((out/"skipped.json").read_text())
    assert code == 1 and [Path(entry["source"]).name for entry in listed] == [f"{first.stem}.arrow"], said
    (out/f"{first.stem}.arrow").unlink() # what is no store of ours is not overwritten
    code, said = command(["preprocess", first, out], tmp_path)
    assert code == 0 and json.loads((out/"skipped.json").read_text()) == [], said
