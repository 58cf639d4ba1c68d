"""Seams of prediction: the ways in which windows can follow each other, on the validation part of the twins of a run.

`python benchmarks/seams.py [RUN]` prints the measures; `run()` returns them, with one row a network and way. RUN is the folder of
a run of the book (`affect_nb run demo`), whose trained networks with an RNN are measured, each on the part that its best
epoch was chosen on: AffWildNet and VGG-FACE-LSTM on the held-out people of Aff-Wild, the networks of Section V.B on the
validation part of OMG-Emotion, those of Section VI.A on that of Aff-Wild2.

- `ccc_*`: of all frames, without post-processing; `after_*` with the card's chain over frames, where it has one.
- `edge_step`, `other_step`: mean size of the step of valence and arousal from one frame to the next at the edges of the paper's
  windows, and elsewhere. The labels have no edges, so a seam is what the first has more than the second.
- `times_paper`: what prediction takes, against the paper's way in the same run.

Scores of drawn faces are no benchmark results.
"""
import argparse
import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

RUN = "runs/demo"
WEIGHTS = { # database -> where a run has trained networks for it, and their faces
    "aff-wild": ("weights/*.json", "seed*/weights/*.json"),
    "omg-emotion": ("omg/seed*/weights/*.json",),
    "aff-wild2": ("multitask/seed*/weights/*.json",),
}
FACES = {"aff-wild": "faces", "omg-emotion": "faces_omg", "aff-wild2": "faces_aff-wild2"}


def trained_networks(run: Path):
    """(database, card) of every trained network with an RNN that predicts valence and arousal."""
    from affect_nb.apps.predictor import Predictor
    for database, patterns in WEIGHTS.items():
        for card in (path for pattern in patterns for path in sorted(run.glob(pattern))):
            predictor = Predictor.load(card, device="cpu", precision="float32", windows="overlap")
            if predictor.needed_windows == "overlap" and "valence" in predictor.columns: yield database, card


def validation_clips(source, database: str, card: Path, faces: Path) -> list[str]:
    """The clips by which the best epoch of a network was chosen."""
    from affect_nb.models.weights import read_card
    from affect_nb.train.jobs_database import database_loaders
    from affect_nb.train.recipes import Recipe
    if database != "aff-wild": return [clip.name for clip in source.select("validation", "va")]
    notes = read_card(card).notes
    recipe = Recipe(**notes["recipe"])
    for seed in dict.fromkeys((recipe.seed, 0)): # further seeds are trained on the split of the first
        loaders = database_loaders(recipe.replace(seed=seed), source, faces, device="cpu")
        if loaders.split_hash == notes["split_hash"]: return list(dict.fromkeys(track.clip for track in loaders.valid.dataset.tracks))
    raise ValueError(f"{card}: it was trained on another split than that of seed {recipe.seed} or 0")


def steps(table, length: int) -> dict:
    """Mean size of the step from a frame to the next, at the edges of windows of `length` frames and elsewhere."""
    ordered = table.sort_values(["clip", "face_id", "frame"])
    step = ordered.groupby(["clip", "face_id"])[["valence_pred", "arousal_pred"]].diff().abs().mean(axis=1)
    step, edge = step[ordered.groupby(["clip", "face_id"]).frame.diff() == 1], ordered.frame % length == 0
    return dict(edge_step=float(step[edge[step.index]].mean()), other_step=float(step[~edge[step.index]].mean()))


def measure(predictor, source, clips: list, faces: Path) -> tuple[dict, float]:
    """Scores and steps of one network in one way, and seconds."""
    from affect_nb.analysis.evaluate import as_row, evaluate
    start = time.perf_counter()
    table, skipped = predictor.predict_clips(source, clips, faces)
    seconds = time.perf_counter() - start
    if skipped: print(*skipped, sep="\n", file=sys.stderr)
    row = as_row(evaluate(table, draws=1), "")[["ccc_valence", "ccc_arousal", "ccc_mean"]].iloc[0].round(4).to_dict()
    chained = predictor.predict_clips(source, clips, faces, postprocess=True)[0] if predictor.chain else table
    after = as_row(evaluate(chained, draws=1), "")
    row |= {f"after_{name}": round(float(after[f"ccc_{name}"].iloc[0]), 4) for name in ("valence", "arousal", "mean")}
    return row | {name: round(value, 4) for name, value in steps(table, predictor.length).items()}, seconds


def network_rows(run: Path, database: str, card: Path):
    """One row for each way."""
    from affect_nb.apps.predictor import Predictor
    from affect_nb.apps.windows import WINDOWS
    from affect_nb.databases.base import open_database
    from affect_nb.models.weights import read_card
    folder = json.loads((run/"data.json").read_text())["folder"] if database == "aff-wild" else run/"data"/database
    source, faces, paper = open_database(database, folder), run/FACES[database], None
    clips = validation_clips(source, database, card, faces)
    Predictor.load(card, device="cpu", precision="float32").predict_clips(source, clips[:1], faces) # to warm up
    for windows in reversed(WINDOWS): # the paper's first
        predictor = Predictor.load(card, device="cpu", precision="float32", windows=windows)
        row, seconds = measure(predictor, source, clips, faces)
        paper = paper or seconds
        name = f"{read_card(card).architecture}, {card.parents[1].relative_to(run)}, {windows}"
        yield dict(network=name, windows=windows, data=database, clips=len(clips), **row, times_paper=round(seconds/paper, 2))


def summary(rows: list[dict]) -> dict:
    """For each way, over networks, the mean of what it gains on the paper's."""
    import pandas as pd
    table = pd.DataFrame(rows)
    columns = ["ccc_valence", "ccc_arousal", "ccc_mean", "after_mean"]
    table["of"] = table.network.str.rpartition(",")[0]
    gained = table.set_index(["of", "windows"])[columns]
    gained = gained - gained.xs("paper", level="windows").reindex(gained.index, level="of")
    means, best = gained.groupby(level="windows").mean().round(4), (gained.ccc_mean > 0).groupby(level="windows").sum()
    return {f"{name} over the paper's, {windows}": float(means.loc[windows, name]) for windows in ("overlap", "carry") for name in columns} | {
        f"networks that gain by {windows}": f"{best[windows]} of {table.of.nunique()}" for windows in ("overlap", "carry")}


def run(run_dir: str | Path = RUN) -> dict:
    """The table of networks and ways, and what each way gains."""
    run_dir = Path(run_dir).resolve()
    if not (run_dir/"data.json").exists(): return dict(skipped=f"{run_dir} holds no run; `affect_nb run demo` makes it")
    rows = []
    with redirect_stdout(sys.stderr):
        for database, card in trained_networks(run_dir):
            for row in network_rows(run_dir, database, card):
                rows.append(row)
                print(json.dumps(row), flush=True)
    if not rows: return dict(skipped=f"{run_dir} holds no trained network with an RNN")
    return dict(data="embedded world; no benchmark result", networks=rows, **summary(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default=RUN, help="folder of a run of the book")
    print(json.dumps(run(parser.parse_args().run), indent=2))
