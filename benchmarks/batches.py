"""What a batch of many small clips costs beside the clips: the scheduler's overhead a clip, and the memory of the client.

`python benchmarks/batches.py [CLIPS]` prints the measures; `run()` returns them. Each row is a batch in a process of its
own, with two workers: tasks that do nothing, annotation-only pieces of a twin (a text file each), and films of one second
that are preprocessed. `client ms a clip` is processor time of the process that hands out, with Dask's scheduler in it;
`workers ms a clip` that of the workers, with the work.
100,000 clips: `affect_nb bench batches -s clips=100000`.
"""
import argparse
import json
import subprocess
import sys
import tempfile

BATCH = """
import json, os, sys, time
from functools import partial
from pathlib import Path
import psutil
from affect_nb.files.batches import Cluster
from affect_nb.synth.twins import SyntheticSize, plan_database, write_database, write_piece

def processor(processes): return sum(sum(process.cpu_times()[:2]) for process in processes)

def nothing(item): return item

def film_task(source, folder, number):
    from affect_nb.preprocess.pipeline import Settings, preprocess_clip
    preprocess_clip(source, Path(folder)/f"{number}.arrow", Settings(detect_every=5))

if __name__ == "__main__":
    kind, number, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if kind == "nothing": work, items = nothing, range(number)
    elif kind == "films":
        twin = write_database("aff-wild", folder/"twin", SyntheticSize(train=1, test=0, frames_per_clip=25, width=128, height=128), progress=False)
        work, items = partial(film_task, str(next(twin.rglob("*.mp4"))), folder), range(number)
    else:
        items = plan_database("aff-wild", SyntheticSize(train=number, test=0, frames_per_clip=25))
        work = partial(write_piece, "aff-wild", folder/"twin", False, False)
    me = psutil.Process()
    with Cluster(2) as cluster:
        for _ in cluster.run(nothing, range(20)): pass # everything is imported
        workers, rss, peak = me.children(recursive=True), me.memory_info().rss, 0
        start, own, theirs, done = time.perf_counter(), time.process_time(), processor(workers), 0
        for place, (item, future) in enumerate(cluster.run(work, items)):
            future.result()
            done += 1
            if place % 50 == 0: peak = max(peak, me.memory_info().rss)
        seconds, own, theirs = time.perf_counter() - start, time.process_time() - own, processor(workers) - theirs
        assert cluster.account.done == done == len(items) and cluster.account.left == 0
    print(json.dumps({"what": f"{kind}, {number:,} clips", "seconds": round(seconds, 1), "clips a second": round(number/seconds, 1),
                      "client ms a clip": round(1000*own/number, 2), "workers ms a clip": round(1000*theirs/number, 2),
                      "client MB before": round(rss/2**20, 1), "client MB at its peak": round(peak/2**20, 1),
                      "most in flight": cluster.account.most_in_flight}))
"""


def batch(kind: str, number: int) -> dict:
    """One row, measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        script = f"{folder}/batch.py" # workers import it
        with open(script, "w") as file: file.write(BATCH)
        done = subprocess.run([sys.executable, script, kind, str(number), folder], capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def run(clips: int = 10_000, films: int = 100) -> dict:
    """Rows of a tenth of the clips and of all of them."""
    rows = [batch(kind, number) for number in (max(1, clips//10), clips) for kind in ("nothing", "annotations")]
    few, many = (row["client MB at its peak"] - row["client MB before"] for row in (rows[1], rows[3]))
    return dict(batches=[*rows, batch("films", films)], memory_growth_kb_a_clip=round(1024*(many - few)/(clips - clips//10), 2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="?", type=int, default=10_000)
    print(json.dumps(run(parser.parse_args().clips), indent=2))
