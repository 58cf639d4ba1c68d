"""Batches by Dask: the same results wherever they run, lost workers, poisoned items, a scheduler that is gone, jobs of Slurm."""
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from test_cli import affect
from test_grid import house # a fixture

from affect_nb.files import batches
from affect_nb.files.batches import Account, Cluster, in_batches

TESTS = Path(__file__).resolve().parent
TINY = dict(train=3, test=1, frames_per_clip=12, width=96, height=96)
HERE = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}


def die(): os.kill(os.getpid(), signal.SIGKILL)
def double(item): return 2*item
def slow_double(item): time.sleep(.5); return 2*item


def die_once(folder, item):
    "Ends its process the first time that it has item 3."
    if item == 3 and not (folder/"died").exists():
        (folder/"died").touch()
        die()
    return 2*item


def die_of(poison, item): return die() if item == poison else 2*item


@pytest.fixture(scope="module")
def pair():
    "Two processes of this machine."
    with Cluster(2) as cluster: yield cluster


def outcomes(results): return {item: str(done.exception()) if done.exception() else done.result() for item, done in results}
def digests(folder): return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.full
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(pair, tmp_path):
    assert outcomes(pair.run(partial(die_once, tmp_path), range(20))) == {item: 2*item for item in range(20)}
    assert (tmp_path/"died").exists() and str(pair.account) == "20 asked for: 20 done"


@pytest.mark.full
def test_an_item_that_always_ends_its_worker_is_named_and_the_others_are_done(pair):
    found = outcomes(pair.run(partial(die_of, 3), range(8)))
    assert found.pop(3) == "each process that was given it has ended"
    assert found == {item: 2*item for item in range(8) if item != 3}
    assert str(pair.account) == "8 asked for: 7 done, 1 failed" and pair.account.left == 0 and pair.account.tried_again >= 1


def test_the_scheduler_has_never_more_than_two_items_a_worker(pair):
    held, found = 0, {}
    for item, done in pair.run(double, range(100)):
        found[item], held = done.result(), max(held, len(pair.client.futures))
    assert found == {item: 2*item for item in range(100)}
    assert 2 <= pair.account.most_in_flight <= 4 and held <= 8 # those in flight, and those that have just been taken


def test_stopping_early_leaves_the_rest(pair):
    results = pair.run(slow_double, range(50))
    next(results)
    results.close()
    assert pair.account.done < 10 and pair.account.left > 40
    assert outcomes(pair.run(double, range(3))) == {0: 0, 1: 2, 2: 4}


@pytest.mark.full
def test_synth_preprocess_and_checks_come_to_the_same(pair, tmp_path):
    from affect_nb.databases.check import check_database
    from affect_nb.preprocess.check_media import check_media
    from affect_nb.preprocess.pipeline import preprocess
    from affect_nb.synth.twins import write_database
    here, there = tmp_path/"here"/"twin", tmp_path/"there"/"twin"
    write_database("aff-wild", here, progress=False, **TINY)
    write_database("aff-wild", there, progress=False, cluster=pair, **TINY)
    assert digests(here) == digests(there)
    (here/"videos"/"train"/"002.mp4").write_bytes(b"no film")
    one, two = (preprocess(here/"videos", tmp_path/name, recursive=True, progress=False, cluster=cluster) for name, cluster in (("f1", None), ("f2", pair)))
    pd.testing.assert_frame_equal(one.frames, two.frames)
    assert one.account == two.account == Account(4, done=3, failures=1) and [entry.source for entry in one.skipped] == [entry.source for entry in two.skipped]
    pd.testing.assert_frame_equal(check_media(here), check_media(here, cluster=pair))
    found = [check_database("aff-wild", here, **options) for options in ({}, dict(cluster=pair))]
    assert str(found[0]) == str(found[1]) and "002" in str(found[0]) and not found[0].ok
    again = preprocess(here/"videos", tmp_path/"f2", recursive=True, progress=False, cluster=pair)
    assert again.account == Account(4, kept=3, failures=1)


def test_what_is_asked_for_without_what_it_needs_is_one_sentence(tmp_path, monkeypatch):
    affect("preprocess", "x", tmp_path, "--job", "queue=long").refuses("--job queue=long is for --slurm, which is not given")
    affect("preprocess", "x", tmp_path, "--slurm", "--scheduler", "tcp://a:1").refuses("give one of them")
    affect("run", "smoke", "--scheduler", "tcp://a:1").refuses("--scheduler and --slurm are for the runs of a --grid")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path/"film.mp4").write_bytes(b"no film")
    affect("check-media", tmp_path/"film.mp4", "--slurm").refuses("there is no sbatch here")
    monkeypatch.setattr(batches, "_CONNECT", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    affect("check-media", tmp_path/"film.mp4", "--scheduler", address).refuses(f"no scheduler answers at {address}", f"dask worker {address} --nthreads 1")


def test_without_dask_workers_work_as_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "find_spec", lambda name: None)
    affect("check-media", tmp_path, "--scheduler", "tcp://a:1").refuses("--scheduler needs distributed, which is not installed: pip install 'affect_nb[cluster]'")
    affect("check-media", tmp_path, "--slurm").refuses("--slurm needs distributed, which is not installed: pip install 'affect_nb[cluster]'")
    given = []
    monkeypatch.setattr(batches, "in_parallel", lambda *arguments: given.append(arguments) or iter(()))
    list(in_batches(double, [1, 2], workers=2))
    assert given == [(double, [1, 2], 2, None)]


# a scheduler of another process

@contextmanager
def started(*words, folder):
    "A process of Dask, killed at the end."
    with open(folder/f"{words[0]}.log", "a") as log:
        job = subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *map(str, words[1:])], env=HERE, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try: yield job
    finally:
        with_children = os.getpgid(job.pid) if job.poll() is None else None
        if with_children: os.killpg(with_children, signal.SIGKILL)
        job.wait()


@contextmanager
def scheduler(folder, port=0):
    "A scheduler; its process and its address."
    file = folder/"scheduler.json"
    file.unlink(missing_ok=True)
    with started("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--scheduler-file", file, folder=folder) as job:
        deadline = time.monotonic() + 120
        while not file.exists() and job.poll() is None and time.monotonic() < deadline: time.sleep(.1)
        time.sleep(.2)
        yield job, json.loads(file.read_text())["address"]


def command(*words, cwd): return [sys.executable, "-c", "from affect_nb.apps.cli import main; main()", *map(str, words)]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    "Six films of a person."
    from affect_nb.synth.twins import write_database
    folder = tmp_path_factory.mktemp("films")
    return write_database("aff-wild", folder/"twin", progress=False, **TINY | dict(train=5))/"videos"


@pytest.mark.full
@pytest.mark.alone
def test_a_scheduler_of_another_process_gives_the_same_and_its_end_is_told(films, tmp_path):
    "From another folder, by relative paths; killed when the first clip is there; the rest by the next one."
    from affect_nb.preprocess.face_store import FaceStore
    from affect_nb.preprocess.pipeline import preprocess
    place = tmp_path/"elsewhere"
    place.mkdir()
    reference = preprocess(films, tmp_path/"reference", recursive=True, progress=False, detect_every=1)
    (tmp_path/"films").symlink_to(films)
    words = ["preprocess", "films", "faces", "--recursive", "--detect-every", "1", "--scheduler"]
    with scheduler(place) as (job, address), started("worker", address, "--nthreads", 1, "--no-dashboard", folder=place):
        run = subprocess.Popen(command(*words, address, cwd=tmp_path), cwd=tmp_path, env=HERE, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 240
        while not list((tmp_path/"faces").glob("[!.]*.arrow")) and run.poll() is None and time.monotonic() < deadline: time.sleep(.02)
        job.kill()
        said = run.communicate(timeout=120)[1]
    assert run.returncode == 1 and "Traceback" not in said, said
    assert f"affect_nb: the scheduler {address} is gone (6 asked for: " in said and "the same command goes on where it was" in said
    before = {path: path.stat().st_mtime_ns for path in (tmp_path/"faces").glob("[!.]*.arrow")}
    assert 1 <= len(before) < 6
    with scheduler(place) as (_, address), started("worker", address, "--nthreads", 1, "--no-dashboard", folder=place):
        done = subprocess.run(command(*words, address, cwd=tmp_path), cwd=tmp_path, env=HERE, capture_output=True, text=True)
    assert done.returncode == 0 and f"clips: 6 asked for: {6 - len(before)} done, {len(before)} there before" in done.stdout, done.stderr
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    for store in reference.stores:
        other = FaceStore.open(tmp_path/"faces"/store.path.name)
        pd.testing.assert_frame_equal(store.frames.drop(columns="file"), other.frames.drop(columns="file"))


@pytest.mark.full
def test_a_worker_with_several_threads_is_refused(tmp_path):
    with scheduler(tmp_path) as (_, address), started("worker", address, "--nthreads", 2, "--no-dashboard", folder=tmp_path):
        with pytest.raises(RuntimeError, match="has 2 threads, allowed is 1: start it by `dask worker"): list(Cluster(scheduler=address).run(double, [1]))


SBATCH = """#!{python}
import pathlib, shutil, subprocess, sys
folder = pathlib.Path({folder!r})
number = str(len(list(folder.glob("job-*"))) + 1)
shutil.copy(sys.argv[-1], folder/("job-" + number))
with open(folder/("log-" + number), "w") as log:
    job = subprocess.Popen(["bash", str(folder/("job-" + number))], stdout=log, stderr=log, start_new_session=True)
(folder/("pid-" + number)).write_text(str(job.pid))
print("Submitted batch job", number)
"""
SCANCEL = """#!{python}
import os, pathlib, signal, sys
try: os.killpg(int((pathlib.Path({folder!r})/("pid-" + sys.argv[1])).read_text()), signal.SIGTERM)
except ProcessLookupError: sys.exit(1)
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    "Stand-ins for sbatch and scancel that run jobs in the background of this machine."
    folder = tmp_path/"slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder/name).write_text(text.format(python=sys.executable, folder=str(folder)))
        (folder/name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", HERE["PYTHONPATH"])
    yield folder
    for file in folder.glob("pid-*"):
        try: os.killpg(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError: pass


@pytest.mark.full
def test_jobs_that_leave_the_queue_without_a_worker_are_an_end(slurm, tmp_path, monkeypatch, capsys):
    "A job that ends at once: the wait is told, and is over when Slurm lists none of the jobs any more."
    monkeypatch.chdir(tmp_path)
    for name, text in (("sbatch", "echo Submitted batch job 12"), ("squeue", f"test -e {tmp_path}/queued && echo 12 && rm {tmp_path}/queued; true"), ("scancel", "true")):
        (slurm/name).write_text(f"#!/bin/sh\n{text}\n")
        (slurm/name).chmod(0o755)
    (tmp_path/"queued").touch() # at the first look it is still there
    monkeypatch.setattr("affect_nb.files.batches._QUEUE", 1)
    with pytest.raises(RuntimeError, match=r"the jobs 12 of Slurm have left the queue, and no worker has come: .*slurm-<job>.out"):
        list(Cluster(1, slurm=True, job=dict(memory="2GB")).run(double, [1]))
    assert "waiting for Slurm: 1 jobs were sent, none has come yet" in capsys.readouterr().err


@pytest.mark.full
def test_jobs_of_slurm_do_the_work_and_end(slurm, films, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    affect("preprocess", films, "faces", "--recursive", "--slurm", "--workers", 2, "--job", "queue=long", "--job", "walltime=12:00:00", "--job", "memory=2GB").does("clips: 6 asked for: 6 done")
    jobs = [path.read_text() for path in slurm.glob("job-*")]
    assert len(jobs) == 2 and all(line in job for job in jobs for line in ("#SBATCH -p long", "#SBATCH -t 12:00:00", "--nthreads 1"))
    deadline = time.monotonic() + 60
    pids = [int(file.read_text()) for file in slurm.glob("pid-*")]
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline: time.sleep(.2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "slurm"] # nothing of Dask in the working folder
    affect("preprocess", films, "more", "--recursive", "--slurm", "--job", "quue=long").refuses("the settings of a job of Slurm", "quue")


@pytest.mark.full
def test_predict_of_many_films_is_the_same_and_resumes(pair, films, tmp_path):
    from affect_nb.apps.predict import predict_files
    options = dict(recursive=True, progress=False, device="cpu", precision="float32")
    one, _ = predict_files(films, None, tmp_path/"one", **options)
    two, skipped = predict_files(films, None, tmp_path/"two", cluster=pair, **options)
    assert [path.name for path in one] == [path.name for path in two] and len(two) == 18 and not skipped
    for path in two:
        if path.suffix == ".csv": assert path.read_bytes() == (tmp_path/"one"/path.name).read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in two}
    two[0].unlink()
    again, _ = predict_files(films, None, tmp_path/"two", cluster=pair, **options)
    made = {path.stem for path in again if path.stat().st_mtime_ns != stamps[path]}
    assert again == two and made == {two[0].stem}
    third, _ = predict_files(films, None, tmp_path/"two", cluster=pair, film=False, **options) # other settings: all of them
    assert all(path.stat().st_mtime_ns != stamps[path] for path in third if path.suffix == ".csv") and len(third) == 12


@pytest.mark.full
def test_predict_survives_a_table_of_another_program(pair, films, tmp_path):
    from affect_nb.apps.predict import predict_files
    (tmp_path/"out").mkdir()
    (tmp_path/"out"/"001.csv").write_text("my own notes")
    film = next(films.rglob("001.mp4"))
    written, skipped = predict_files(film, None, tmp_path/"out", cluster=pair, progress=False, film=False, device="cpu")
    assert (tmp_path/"out"/"001.csv").read_text() == "my own notes" and [path.suffix for path in written] == [".png"]
    assert "was not written from here" in skipped[0].reason


@pytest.mark.full
def test_runs_of_a_grid_go_to_the_cluster(house, pair, tmp_path):
    from affect_nb.apps.grid import run_grid
    from affect_nb.apps.run import load_preset
    grid, preset = {"20_small.lr": [.001, -1.], "20_small.seed": [4]}, load_preset("small")
    ends = [run_grid(preset, grid, tmp_path/name, progress=False, notebooks=house, cluster=cluster) for name, cluster in (("here", None), ("there", pair))]
    one, two = (pd.read_csv(end.table).drop(columns=["seconds", "error"]) for end in ends)
    pd.testing.assert_frame_equal(one, two)
    assert set(ends[0].failed) == set(ends[1].failed) == {"lr=-1.0,seed=4"}


def test_predictions_by_several_processes_say_what_became_of_each_clip(tmp_path):
    from affect_nb.apps.predict import predict_files
    from affect_nb.synth.twins import SyntheticSize, write_database
    films, out = tmp_path/"films", tmp_path/"out"
    twin = write_database("aff-wild", tmp_path/"twin", SyntheticSize(train=2, test=0, frames_per_clip=12, width=128, height=128), progress=False)
    films.mkdir()
    for film in twin.rglob("*.mp4"): film.rename(films/film.name)
    (films/"broken.mp4").write_bytes(b"no film")
    first, skipped = predict_files(films, None, out, film=False, progress=False, workers=2)
    assert sorted(path.suffix for path in first) == [".csv", ".csv", ".png", ".png"]
    assert [Path(entry.source).name for entry in skipped] == ["broken.mp4"]
    assert predict_files(films, None, out, film=False, progress=False, workers=2)[0] == first # kept


def test_a_film_of_an_earlier_prediction_does_not_stay_beside_another_table(tmp_path):
    from affect_nb.apps.predict import predict_files
    from affect_nb.synth.twins import SyntheticSize, write_database
    out = tmp_path/"out"
    twin = write_database("aff-wild", tmp_path/"twin", SyntheticSize(train=1, test=0, frames_per_clip=12, width=128, height=128), progress=False)
    source = next(twin.rglob("*.mp4"))
    options = dict(progress=False, device="cpu", precision="float32")
    predict_files(source, None, out, **options)
    film, theirs = out/source.name, out/"another.mp4"
    theirs.write_bytes(b"not written from here")
    _, said = predict_files(source, None, out, film=False, **options)
    assert film.exists() and not said # the same table
    _, said = predict_files(source, None, out, film=False, calibrated=True, **options)
    assert not film.exists() and theirs.exists() and "showed an earlier prediction" in said[0].reason and not said[0].failed
