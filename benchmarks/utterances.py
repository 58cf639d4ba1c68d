"""How an utterance enters the loss: the paper's median of each sequence, its mean, or all of its frames, on the embedded world.

One label for an utterance, a network that predicts frames. The paper compares the medians of the 4 sequences of a batch with
their labels by CCC (Section V.B); the authors' script has their means, 10 at a time. Four ways, the rest of the recipe is the
demo's: the median of 4, the mean of 4, the mean of 10, and all frames of 4, each with the utterance's label. The network is
CNN-3RNN; its CNN and FC start from one AffWildNet, trained on a twin of Aff-Wild. Each seed has utterances, people, first
weights and order of its own. All are judged alike: the mean over an utterance's sequences of the median over frames.

The way is chosen on the validation utterances and reported on the test utterances, which chose nothing. What was
trained is kept in the work folder, so that a study that was stopped goes on. `python benchmarks/utterances.py` prints the measures;
`run()` returns them. Scores of drawn faces are no benchmark results.
"""
import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
WAYS = { # name -> what of the recipe differs
    "median of 4": dict(pool="median", batch_size=4),
    "mean of 4": dict(pool="mean", batch_size=4),
    "mean of 10": dict(pool="mean", batch_size=10),
    "all frames of 4": dict(pool=None, batch_size=4),
}
PAPER = "median of 4"
CLAIMS = {f"{way} > {PAPER}": (way, PAPER) for way in WAYS if way != PAPER}
SCORES = ("ccc_valence", "ccc_arousal")
SIZES = dict(size="demo", train=64, validation=48, test=64, frames_per_clip=20)


def start_network(work: Path, width: float, workers: int) -> Path:
    """The AffWildNet whose CNN and FC all networks start from, trained once."""
    from affect_nb.data.store import preprocess_database
    from affect_nb.databases.base import open_database
    from affect_nb.synth.twins import write_database
    from affect_nb.train.fit import fit
    from affect_nb.train.jobs_database import database_loaders
    from affect_nb.train.recipes import affwildnet_recipe
    best = work/"start"/"best"
    if best.with_suffix(".json").exists(): return best
    root = write_database("aff-wild", work/"data"/"aff-wild", size="demo", seed=7, difficulty=.3, workers=workers, progress=False)
    source = open_database("aff-wild", root)
    preprocess_database(source, work/"faces"/"aff-wild", task="va", workers=workers)
    recipe = affwildnet_recipe("demo", width=width)
    recipe = recipe.replace(arguments={**recipe.arguments, "norm": "batch"})
    loaders = database_loaders(recipe, source, work/"faces"/"aff-wild", device="cpu")
    fit(recipe, loaders, best.parent, dict(data="embedded world, twin of aff-wild"))
    return best


def utterances_of(work: Path, seed: int, workers: int):
    """The utterances of a seed, drawn, their faces found: an open database, and where the faces are."""
    from affect_nb.data.store import preprocess_database
    from affect_nb.databases.base import open_database
    from affect_nb.synth.twins import write_database
    root, faces = work/"data"/f"omg{seed}", work/"faces"/f"omg{seed}"
    write_database("omg-emotion", root, seed=1000 + seed, difficulty=.3, workers=workers, progress=False, **SIZES)
    source = open_database("omg-emotion", root)
    preprocess_database(source, faces, task="va", workers=workers)
    return source, faces


def score_part(checkpoint: Path, source, faces: Path, part: str, length: int) -> dict:
    """CCC of an official part's utterances, all of them pooled."""
    from affect_nb.analysis.utterances import utterance_predictions, utterance_scores
    from affect_nb.apps.predictor import Predictor
    predictor = Predictor.load(checkpoint, device="cpu", precision="float32")
    predictions, skipped = predictor.predict_clips(source, source.select(part, "va"), faces)
    if skipped: raise RuntimeError(f"{checkpoint}: {skipped[0].source}: {skipped[0].reason}")
    scores = utterance_scores(utterance_predictions(predictions, length), draws=0)
    pooled = scores.query("measure == 'ccc' and reduce == 'pooled'").set_index("dimension").value
    return {f"ccc_{name}": float(pooled[name]) for name in ("valence", "arousal")}


def train_one(work: Path, seed: int, way: str, width: float, epochs: int) -> None:
    """Train with one way and one seed, and leave the scores of validation and test."""
    from affect_nb.databases.base import open_database
    from affect_nb.files.atomic import write_json
    from affect_nb.train.fit import fit
    from affect_nb.train.jobs_database import database_loaders
    from affect_nb.train.recipes import omg_recipe
    path, out = work/"scores"/f"{way}.{seed}.json", work/"trained"/f"{way.replace(' ', '_')}.{seed}"
    if path.exists(): return
    source, faces = open_database("omg-emotion", work/"data"/f"omg{seed}"), work/"faces"/f"omg{seed}"
    recipe = omg_recipe("demo", width=width, epochs=epochs, seed=seed)
    recipe = recipe.replace(**WAYS[way], arguments={**recipe.arguments, "norm": "batch"})
    loaders = database_loaders(recipe, source, faces, device="cpu", validation="official")
    start = dict.fromkeys(["cnn", "fc"], work/"start"/"best")
    fit(recipe, loaders, out, dict(data="embedded world, twin of omg-emotion"), weights=start)
    scores = {part: score_part(out/"best", source, faces, part, recipe.length) for part in ("validation", "test")}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, scores)


def work_on(work: Path, seed: int, width: float, epochs: int) -> None:
    """One seed: its utterances, and a network for each way."""
    import torch
    torch.set_num_threads(1)
    utterances_of(work, seed, 1)
    for way in WAYS: train_one(work, seed, way, width, epochs)


def scores_of(work: Path, seeds: int, part: str):
    """Scores of each way and seed on one part, as `analysis.compare` takes them."""
    import pandas as pd
    rows = [dict(method=way, seed=seed, **json.loads((work/"scores"/f"{way}.{seed}.json").read_text())[part])
            for way in WAYS for seed in range(seeds)]
    each = pd.DataFrame(rows).set_index(["method", "seed"])
    return each.assign(ccc_mean=each[list(SCORES)].mean(axis=1))


def report(work: Path, seeds: int) -> dict:
    """Means and spreads of the ways, the way that the validation chose, and the claims on the test part."""
    from affect_nb.analysis.compare import differences
    valid, test = (scores_of(work, seeds, part) for part in ("validation", "test"))
    ways = []
    for way in WAYS:
        row = {"way": way, "validation_mean": round(float(valid.loc[way].ccc_mean.mean()), 4)}
        for score in (*SCORES, "ccc_mean"):
            row |= {score: round(float(test.loc[way][score].mean()), 4), f"{score}_spread": round(float(test.loc[way][score].std()), 4)}
        ways.append(row | {"seeds": test.loc[way].ccc_mean.round(3).tolist()})
    claims = differences(test, CLAIMS, list(SCORES))
    rows = [{"claim": f"{claim}, {row.score}"} | {name: round(float(row[name]), 4) for name in ("difference", "spread", "low", "high", "p", "p_holm")}
            | {"seeds_for": int(row.seeds_for), "n_seeds": int(row.n_seeds), "holds": row.holds} for claim, row in claims.iterrows()]
    return {"ways": ways, "chosen": max(ways, key=lambda row: row["validation_mean"])["way"], "claims": rows}


def run(seeds: int = 10, width: float = .0625, epochs: int = 12, processes: int = 2, work: str = "runs/utterances") -> dict:
    """Every way and seed."""
    from affect_nb.files.workers import run_commands
    work = Path(work).resolve()
    with redirect_stdout(sys.stderr): start_network(work, width, processes)
    run_commands([[sys.executable, HERE, "--one", str(work), str(seed), json.dumps(dict(width=width, epochs=epochs))] for seed in range(seeds)], processes)
    return {"data": "embedded world, difficulty .3; no benchmark result", "seeds": seeds, "width": width, "epochs": epochs,
            "utterances": SIZES["train"], **report(work, seeds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("WORK", "SEED", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=10, help="trainings of each way")
    parser.add_argument("--width", type=float, default=.0625, help="of the networks; 1 is the paper's size")
    parser.add_argument("--epochs", type=int, default=12, help="of each training")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, a core each")
    parser.add_argument("--work", default="runs/utterances", help="folder for data, weights and scores")
    given = vars(parser.parse_args())
    if one := given.pop("one"):
        with redirect_stdout(sys.stderr): work_on(Path(one[0]), int(one[1]), **json.loads(one[2]))
    else: print(json.dumps(run(**given), indent=2))
