"""Does a GRU on the installed network's CNN follow films better than that network, frame by frame and smoothed? On drawn films.

MT-VGG-GRU takes the CNN of `facebehaviornet-small`, which stays as it is, and learns valence and arousal of a twin of Aff-Wild.
Beside it the network itself: frame by frame; smoothed by the steps that the validation people chose (Section V.B); and smoothed and
moved to the films' range (centred and scaled, chosen there too), so that a GRU does not win by knowing the films' mean alone. Each seed
has films, people, first weights and order of its own; all are tested on people whom nobody has seen.

`python benchmarks/traces.py` prints the measures; `run()` returns them. Scores of drawn films are no benchmark results.
"""
import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
WAYS = ("frame by frame", "smoothed", "smoothed, moved", "GRU", "GRU, smoothed")
CLAIMS = {"GRU > smoothed": ("GRU", "smoothed"), "GRU, smoothed > smoothed, moved": ("GRU, smoothed", "smoothed, moved")}
SCORES = ("ccc_valence", "ccc_arousal")
SHIPPED = "facebehaviornet-small"


def films_of(work: Path, seed: int):
    """The films of a seed, drawn, their faces found: an open database, and where the faces are."""
    from affect_nb.data.store import preprocess_database
    from affect_nb.databases.base import open_database
    from affect_nb.synth.twins import write_database
    root, faces = work/"data"/f"films{seed}", work/"faces"/f"films{seed}"
    write_database("aff-wild", root, size="demo", seed=3000 + seed, difficulty=.3, progress=False)
    source = open_database("aff-wild", root)
    preprocess_database(source, faces, task="va")
    return source, faces


def train_gru(work: Path, seed: int, source, faces: Path, epochs: int):
    """Train the GRU; its checkpoint, and the loaders, whose validation people choose the smoothing too."""
    from affect_nb.models.shipped import weights_path
    from affect_nb.models.weights import read_card
    from affect_nb.train.fit import fit
    from affect_nb.train.jobs_database import database_loaders
    from affect_nb.train.recipes import mt_vgg_gru_recipe
    card = read_card(weights_path(SHIPPED))
    shape = {name: card.arguments[name] for name in ("norm", "size")}
    recipe = mt_vgg_gru_recipe("demo", width=card.width, epochs=epochs, seed=seed, regime="cnn_frozen", lr=.002,
                               arguments=dict(dropout=.2, tasks=["va"], **shape))
    loaders = database_loaders(recipe, source, faces, device="cpu")
    fit(recipe, loaders, work/"trained"/f"gru{seed}", dict(data="embedded world, twin of aff-wild"), weights={"cnn": weights_path(SHIPPED)})
    return work/"trained"/f"gru{seed}"/"best", loaders


def scores_of(predictions) -> dict:
    """CCC over all frames."""
    from affect_nb.analysis.evaluate import evaluate
    pooled = evaluate(predictions, draws=0).query("measure == 'ccc' and reduce == 'pooled'").set_index("dimension").value
    return {score: float(pooled[score.removeprefix("ccc_")]) for score in SCORES}


def work_on(work: Path, seed: int, epochs: int) -> None:
    """One seed: its films, the GRU, and the scores of all ways."""
    import torch
    from affect_nb.analysis.postprocess import ALL_STEPS, PAPER_STEPS, apply_chain, fit_chain
    from affect_nb.apps.predictor import Predictor
    from affect_nb.files.atomic import write_json
    from affect_nb.models.shipped import weights_path
    torch.set_num_threads(1)
    path = work/"scores"/f"{seed}.json"
    if path.exists(): return
    source, faces = films_of(work, seed)
    best, loaders = train_gru(work, seed, source, faces, epochs)
    valid, test = [track.clip for track in loaders.valid.dataset.tracks], source.select("test", "va")
    found = {}
    for name, checkpoint in (("shipped", weights_path(SHIPPED)), ("GRU", best)):
        predictor = Predictor.load(checkpoint, device="cpu", precision="float32")
        on_valid, on_test = (predictor.predict_clips(source, clips, faces)[0] for clips in (valid, test))
        chains = {steps: fit_chain(on_valid, length=None, steps=steps) for steps in (PAPER_STEPS, ALL_STEPS)}
        smooth = {steps: scores_of(apply_chain(chain, on_test)) for steps, chain in chains.items()}
        if name == "GRU": found |= {"GRU": scores_of(on_test), "GRU, smoothed": smooth[PAPER_STEPS]}
        else: found |= {"frame by frame": scores_of(on_test), "smoothed": smooth[PAPER_STEPS], "smoothed, moved": smooth[ALL_STEPS]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)


def report(work: Path, seeds: int) -> dict:
    """Means and spreads of the ways, and the claims."""
    import math
    import pandas as pd
    from affect_nb.analysis.compare import differences
    rows = [dict(method=way, seed=seed, **json.loads((work/"scores"/f"{seed}.json").read_text())[way]) for way in WAYS for seed in range(seeds)]
    each = pd.DataFrame(rows).set_index(["method", "seed"])
    ways = [{"way": way} | {key: round(float(value), 4) for score in SCORES
                            for key, value in ((score, each.loc[way][score].mean()), (f"{score}_spread", each.loc[way][score].std()))} for way in WAYS]
    claims = [{"claim": f"{claim}, {row.score}"} | {name: None if math.isnan(row[name]) else round(float(row[name]), 4)
                                                   for name in ("difference", "spread", "low", "high", "p", "p_holm")}
              | {"seeds_for": int(row.seeds_for), "n_seeds": int(row.n_seeds), "holds": row.holds}
              for claim, row in differences(each, CLAIMS, list(SCORES)).iterrows()]
    return {"ways": ways, "claims": claims}


def run(seeds: int = 10, epochs: int = 12, processes: int = 2, work: str = "runs/traces") -> dict:
    """Every seed."""
    from affect_nb.files.workers import run_commands
    work = Path(work).resolve()
    run_commands([[sys.executable, HERE, "--one", str(work), str(seed), str(epochs)] for seed in range(seeds)], processes)
    return {"data": "embedded world, twins of aff-wild, difficulty .3; no benchmark result", "seeds": seeds, "epochs": epochs, **report(work, seeds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("WORK", "SEED", "EPOCHS"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=10, help="films, people and trainings")
    parser.add_argument("--epochs", type=int, default=12, help="of each training")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, a core each")
    parser.add_argument("--work", default="runs/traces", help="folder for data, weights and scores")
    given = vars(parser.parse_args())
    if one := given.pop("one"):
        with redirect_stdout(sys.stderr): work_on(Path(one[0]), int(one[1]), int(one[2]))
    else: print(json.dumps(run(**given), indent=2))
