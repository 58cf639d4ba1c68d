"""What tasks give each other and what sound adds, on the embedded world: several seeds of the networks of Section VI.A.

MT-VGG-GRU with one task and with all three; on faces, on spectrograms, and both joined (A/V-MT-VGG-GRU). The data is a
twin of Aff-Wild2 with its partial labels: some clips lack a task, as in the real one. All networks of a seed have the
same width, epochs, batches, learning rate and split, and batch normalisation in the VGGs. The A/V network starts from its
two trained streams, so it is compared with the visual network trained on for as long ("faces, as long"). What was trained
is kept in the work folder, so that a run that was cut off goes on. `python benchmarks/multitask.py` prints the measures;
`run()` returns them. Scores of drawn faces are no benchmark results.
"""
import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
ALL = ("va", "expression", "aus")
NETWORKS = { # name -> network, its tasks, what it starts from
    "valence and arousal alone": ("mt_vgg_gru", ("va",), None),
    "expressions alone": ("mt_vgg_gru", ("expression",), None),
    "AUs alone": ("mt_vgg_gru", ("aus",), None),
    "faces": ("mt_vgg_gru", ALL, None),
    "sound": ("mt_vgg_gru_audio", ALL, None),
    "faces, as long": ("mt_vgg_gru", ALL, "faces"),
    "faces and sound": ("av_mt_vgg_gru", ALL, ["faces", "sound"]),
}
STAGES = [[name for name, (_, _, start) in NETWORKS.items() if start is None], [name for name, (_, _, start) in NETWORKS.items() if start]]
SCORES = {"ccc_valence": ("va", "ccc", "valence"), "ccc_arousal": ("va", "ccc", "arousal"), "expression_score": ("expression", "expression_score", "expression"),
          "au_score": ("aus", "au_score", "aus"), "au_f1": ("aus", "f1", "aus")}
_SINGLE = {"ccc_valence": "valence and arousal alone", "ccc_arousal": "valence and arousal alone", "expression_score": "expressions alone", "au_score": "AUs alone", "au_f1": "AUs alone"}
CLAIMS = {
    "multi-task > single-task": {score: ("faces", single) for score, single in _SINGLE.items()},
    "faces and sound > faces": dict.fromkeys(SCORES, ("faces and sound", "faces, as long")),
    "sound > faces": dict.fromkeys(SCORES, ("sound", "faces")),
}
DATA = dict(train=32, validation=16, test=0, frames_per_clip=100)


def prepare(work: Path, difficulty: float, workers: int, **changes):
    """The twin, drawn, its faces and sound found."""
    from affect_nb.databases.base import open_database
    from affect_nb.data.store import preprocess_database
    from affect_nb.synth.twins import write_database
    root = write_database("aff-wild2", work/"data", seed=7, difficulty=difficulty, workers=workers, progress=False, **{**DATA, **changes})
    preprocess_database(open_database("aff-wild2", root), work/"faces", workers=workers)


def checkpoint(work: Path, name: str, seed: int) -> Path:
    """Where the weights of a network are."""
    return work/f"seed{seed}"/name.replace(" ", "_").replace(",", "")/"best"


def recipe_of(name: str, seed: int, width: float, epochs: int, length: int):
    """How a network is trained."""
    from affect_nb.train.recipes import av_mt_vgg_gru_recipe, mt_vgg_gru_recipe
    arch, tasks, _ = NETWORKS[name]
    make = av_mt_vgg_gru_recipe if arch.startswith("av") else mt_vgg_gru_recipe
    arguments = dict(tasks=tasks, norm="batch", dropout=.5)
    return make("demo", arch=arch, arguments=arguments, width=width, epochs=epochs, length=length, seed=seed, batch_size=4, lr=1e-3, retry=False)


def train_one(work: Path, name: str, seed: int, **size) -> Path:
    """A network with one seed."""
    from affect_nb.databases.base import open_database
    from affect_nb.train.jobs_database import database_loaders
    from affect_nb.train.fit import fit
    recipe, start = recipe_of(name, seed, **size), NETWORKS[name][2]
    # the split is that of seed 0 for all, so that seeds differ in weights, dropout and batches alone
    dls = database_loaders(recipe.replace(seed=0), open_database("aff-wild2", work/"data"), work/"faces", device="cpu")
    weights = [checkpoint(work, stream, seed) for stream in start] if isinstance(start, list) else checkpoint(work, start, seed) if start else None
    fit(recipe, dls, checkpoint(work, name, seed).parent, dict(data="embedded world, twin of aff-wild2"), weights=weights)
    return checkpoint(work, name, seed)


def work_on(work: Path, name: str, seed: int, **size) -> None:
    """Train one network with one seed, and leave its table of the validation part, which serves as test, as Parquet."""
    import torch
    from affect_nb.apps.predict import Predictor
    from affect_nb.databases.base import open_database
    torch.set_num_threads(1)
    path = work/"tables"/f"{name}.{seed}.parquet"
    if path.exists(): return
    source, predictor = open_database("aff-wild2", work/"data"), Predictor.load(train_one(work, name, seed, **size), device="cpu", sound_face="all", precision="float32")
    table, skipped = predictor.predict_clips(source, source.select("validation"), work/"faces")
    if skipped: raise RuntimeError(f"{name}: {skipped[0].source}: {skipped[0].reason}")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)


def scores_of(tables: dict):
    """Index (method, seed), a column each of `SCORES`; NaN where a network lacks the task."""
    import pandas as pd
    from affect_nb.analysis.tasks import task_scores
    rows = {}
    for key, table in tables.items():
        found = task_scores(table).set_index(["task", "measure", "dimension"]).value
        rows[key] = {score: found.get(cell, float("nan")) for score, cell in SCORES.items()}
    return pd.DataFrame(list(rows.values()), pd.MultiIndex.from_tuples(rows, names=["method", "seed"]))


VERDICT = ["difference", "spread", "low", "high", "p", "p_holm", "seeds_for", "n_seeds", "holds"]


def report(work: Path, seeds: int) -> dict:
    """A table of the networks and a table of the claims, from the tables of all seeds."""
    import pandas as pd
    from affect_nb.analysis.compare import differences, verdicts
    each = scores_of({(name, seed): pd.read_parquet(work/"tables"/f"{name}.{seed}.parquet") for name in NETWORKS for seed in range(seeds)})
    networks = []
    for name in NETWORKS:
        one = each.loc[name]
        networks.append({"network": name, **{key: None if pd.isna(value) else round(float(value), 4) for score in SCORES for key, value in ((score, one[score].mean()), (f"{score}_spread", one[score].std(ddof=1)))}})
    cells = {f"{claim}, {score}": (score, pair) for claim, pairs in CLAIMS.items() for score, pair in pairs.items()}
    rows = pd.concat([differences(each, {claim: pair}, score) for claim, (score, pair) in cells.items()])
    claims = [{"claim": claim} | row[VERDICT].to_dict() for claim, row in verdicts(rows).iterrows()]
    return {"networks": networks, "claims": claims}


def run(seeds: int = 3, width: float = .125, epochs: int = 8, length: int = 16, difficulty: float = .3, processes: int = 2, work: str = "runs/multitask", **changes) -> dict:
    """Every network and seed, then means, spreads and whether each claim was found."""
    from affect_nb.files.workers import run_commands
    work = Path(work).resolve()
    with redirect_stdout(sys.stderr): prepare(work, difficulty, processes, **changes)
    size = dict(width=width, epochs=epochs, length=length)
    for stage in STAGES:
        run_commands([[sys.executable, HERE, "--one", name, str(work), str(seed), json.dumps(size)] for seed in range(seeds) for name in stage], processes)
    return {"data": f"embedded world, difficulty {difficulty}; no benchmark result", "seeds": seeds, "width": width, "epochs": epochs, "length": length, **report(work, seeds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=4, metavar=("NETWORK", "WORK", "SEED", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--width", type=float, default=.125, help="of the networks; 1 is the paper's size")
    parser.add_argument("--epochs", type=int, default=8, help="of each training")
    parser.add_argument("--difficulty", type=float, default=.3, help="of the drawn scenes, 0 to 1")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, a core each")
    parser.add_argument("--work", default="runs/multitask", help="folder for data, weights and tables")
    given = parser.parse_args()
    if given.one:
        name, work, seed, size = given.one
        with redirect_stdout(sys.stderr): work_on(Path(work), name, int(seed), **json.loads(size))
    else: print(json.dumps(run(given.seeds, given.width, given.epochs, difficulty=given.difficulty, processes=given.processes, work=given.work), indent=2))
