"""What each set and each loss gives the network that is shipped: an ablation at a reduced size, on real and drawn faces.

Expressions of FER+ alone; with valence, arousal and AUs of drawn faces; with a small set of photographs that have valence
and arousal (DiffusionFER); with the valence and arousal that an expression implies (class means); with each form of coupling; and
with both forms by a shuffled table. Each seed has a part of FER+, drawn people, first weights and an order of its own.

Measured on FER+'s official validation part, by the most votes; on drawn people whom nobody has seen; and on held-out photographs.
Nobody has labelled AUs of real people here: `smile_auc` is how well AU12 tells faces that voters called happy from others. Nor
valence and arousal: `fer_ccc_*` is the CCC with what the voters' expressions imply by class means, which networks that learn
from it are favoured by; of the others it tells how far what they learned from drawings and photographs reaches real people.
The pictures are not in this repository: `--ferplus` and `--pictures` say where yours are. What was trained is kept in the work
folder, so that a study that was stopped goes on. `python benchmarks/real_faces.py` prints the measures; `run()` returns them.
"""
import argparse
import json
import math
import sys
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
ALL = ("fer-plus", "drawn", "pictures")
NETWORKS = { # name -> sets that it learns from, what of the recipe differs
    "EXPR alone": (("fer-plus",), dict(coupling="none")),
    "+ drawn": (("fer-plus", "drawn"), dict(coupling="none")),
    "+ photographs": (ALL, dict(coupling="none")),
    "+ implied VA": (ALL, dict(coupling="none", va_from_expressions=True)),
    "+ co-annotation": (ALL, dict(coupling="soft_co_annotation")),
    "+ matching": (ALL, dict(coupling="distribution_matching")),
    "+ both": (ALL, dict(coupling="both")),
    "+ both, shuffled table": (ALL, dict(coupling="both", relatedness="shuffled")),
    "+ both, implied VA": (ALL, dict(coupling="both", va_from_expressions=True)),
    "+ matching, implied VA": (ALL, dict(coupling="distribution_matching", va_from_expressions=True)),
}
CLAIMS = {
    "+ drawn > EXPR alone": ("+ drawn", "EXPR alone"),
    "+ photographs > + drawn": ("+ photographs", "+ drawn"),
    "+ implied VA > + photographs": ("+ implied VA", "+ photographs"),
    "+ co-annotation > + photographs": ("+ co-annotation", "+ photographs"),
    "+ matching > + photographs": ("+ matching", "+ photographs"),
    "+ both > + photographs": ("+ both", "+ photographs"),
    "+ both > shuffled table": ("+ both", "+ both, shuffled table"),
    "+ both, implied VA > + implied VA": ("+ both, implied VA", "+ implied VA"),
    "+ matching, implied VA > + implied VA": ("+ matching, implied VA", "+ implied VA"),
}
SCORES = ("fer_accuracy", "fer_macro_f1", "smile_auc", "fer_ccc_valence", "fer_ccc_arousal", "drawn_ccc_valence", "drawn_ccc_arousal", "drawn_au_f1",
          "pictures_ccc_valence", "pictures_ccc_arousal", "pictures_macro_f1")
CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger") # as DiffusionFER numbers them
STEP = {"va": 24, "aus": 16, "expression": 88} # faces of a step
HELD_OUT = 500 # drawn people


def opened(ferplus: str, pictures: str) -> dict:
    """The two sets of pictures, by name."""
    from affect_nb.databases import open_database
    return {"fer-plus": open_database("fer-plus", ferplus), "pictures": open_database("own", pictures, crops=True, classes=CLASSES)}


def find_faces(work: Path, ferplus: str, pictures: str, workers: int = 1) -> None:
    """Align all pictures, once."""
    from affect_nb.data.store import preprocess_database
    for name, source in opened(ferplus, pictures).items(): preprocess_database(source, work/"faces"/name, workers=workers)


def sides_of(work: Path, recipe, source, task: str) -> tuple:
    """The windows of one set for a task: to learn from, held out."""
    from affect_nb.train.jobs_joint import joint_sides
    return joint_sides(recipe, source, work/"faces"/("fer-plus" if source.name == "fer-plus" else "pictures"), task, validation="official")


def data_of(work: Path, recipe, sources: dict, share: float, people: int, seed: int) -> dict:
    """(set, task) -> windows to learn from, held-out windows: FER+ a part by lot, drawn people of this seed."""
    import numpy as np
    from affect_nb.data.drawn import drawn_photographs
    from affect_nb.data.parts import SomeWindows
    from affect_nb.data.repeats import more_of_rare, repeated
    train, valid = sides_of(work, recipe, sources["fer-plus"], "expression")
    chosen = np.random.default_rng(seed).permutation(len(train))[:round(share*len(train))]
    some = more_of_rare(SomeWindows(train, chosen), .4, seed)
    first = 10_000_000*(seed + 1)
    drawn = tuple(drawn_photographs(work/"faces"/"drawn", count, start, .4) for count, start in ((people, first), (HELD_OUT, first + 1_000_000)))
    small = {task: sides_of(work, recipe, sources["pictures"], task) for task in ("va", "expression")}
    return {("fer-plus", "expression"): (some, valid), ("drawn", "va"): drawn, ("drawn", "aus"): drawn,
            ("pictures", "va"): (repeated(small["va"][0], 2), small["va"][1]), ("pictures", "expression"): small["expression"]}


def measured(model, data: dict) -> dict:
    """The measures that a network has the tasks for."""
    from affect_nb.analysis.window_scores import most_voted, smile_auc, window_outputs, window_scores
    from affect_nb.core.labels import EXPRESSIONS
    from affect_nb.core.metrics import ccc
    from affect_nb.core.relatedness import implied_va
    output, targets = window_outputs(model, data["fer-plus", "expression"][1])
    fer, truth = window_scores(output, targets), most_voted(targets).flatten()
    found = {"fer_accuracy": fer["accuracy_voted"], "fer_macro_f1": fer["macro_f1_voted"]}
    if output.aus is not None:
        known = (truth >= 0).nonzero()[:, 0]
        found["smile_auc"] = smile_auc(output[known], truth[known] == EXPRESSIONS.index("Happiness"))
    if output.va is not None:
        implied = implied_va(targets.expression_shares)
        found |= {f"fer_ccc_{axis}": ccc(output.va[..., place].flatten(), implied[..., place].flatten()) for place, axis in enumerate(("valence", "arousal"))}
    for name, task in (("drawn", "aus"), ("pictures", "va")):
        scores = window_scores(*window_outputs(model, data[name, task][1]))
        found |= {f"{name}_{measure}": value for measure, value in scores.items() if f"{name}_{measure}" in SCORES}
    return found


def train_one(work: Path, name: str, seed: int, data: dict, recipe) -> None:
    """Train a network and leave its scores."""
    from affect_nb.core.relatedness import COGNITIVE, shuffled, write_relatedness
    from affect_nb.files.atomic import write_json
    from affect_nb.models.shipped import read_by_luma
    from affect_nb.train.fit import fit
    from affect_nb.train.jobs_joint import joint_loaders
    path, (sets, changes) = work/"scores"/f"{name}.{seed}.json", NETWORKS[name]
    if path.exists(): return
    if changes.get("relatedness") == "shuffled":
        table = work/f"shuffled.{seed}.json"
        write_relatedness(shuffled(COGNITIVE, seed), table)
        changes = changes | dict(relatedness=str(table))
    parts = [(of, task, *sides) for (of, task), sides in data.items() if of in sets]
    tasks = [task for task in STEP if task in {part[1] for part in parts}]
    if len(tasks) < 3: changes = changes | dict(arguments=recipe.arguments | dict(tasks=tasks))
    sizes = dict(batch_size=sum(STEP[task] for task in tasks), set_sizes=tuple(STEP.values()) if len(tasks) == 3 else None)
    chosen = recipe.replace(**changes, **sizes)
    learn = fit(chosen, joint_loaders(chosen, parts, "cpu", 0), work/"trained"/f"{name}.{seed}", dict(data="FER+ and others"))
    write_json(path, measured(read_by_luma(learn.model).float().eval(), data))


def work_on(work: Path, seed: int, ferplus: str, pictures: str, share: float, people: int, width: float, epochs: int) -> None:
    """One seed: its data, and every network."""
    import torch
    from affect_nb.train.augment import AUGMENTATIONS
    from affect_nb.train.recipes import facebehaviornet_recipe
    torch.set_num_threads(1)
    recipe = facebehaviornet_recipe("demo", coupling="none", width=width, epochs=epochs, seed=seed, batch_size=sum(STEP.values()), lr=.002,
                                    weight_decay=.02, precision="auto", retry=False, grey=True, augment=AUGMENTATIONS,
                                    arguments=dict(dropout=.2, norm="batch", size=48))
    data = data_of(work, recipe, opened(ferplus, pictures), share, people, seed)
    (work/"scores").mkdir(parents=True, exist_ok=True)
    for name in NETWORKS: train_one(work, name, seed, data, recipe)


def report(work: Path, seeds: int) -> dict:
    """Means and spreads of the networks, and the claims with intervals and corrected p."""
    import pandas as pd
    from affect_nb.analysis.compare import differences
    rows = [dict(method=name, seed=seed, **json.loads((work/"scores"/f"{name}.{seed}.json").read_text())) for name in NETWORKS for seed in range(seeds)]
    each = pd.DataFrame(rows).set_index(["method", "seed"])
    networks = [{"network": name} | {key: round(float(value), 4) for score in SCORES if each.loc[name][score].notna().all()
                                     for key, value in ((score, each.loc[name][score].mean()), (f"{score}_spread", each.loc[name][score].std()))}
                for name in NETWORKS]
    claims = []
    for claim, pair in CLAIMS.items():
        scores = [score for score in SCORES if all(each.loc[name][score].notna().all() for name in pair)]
        claims += [(claim, pair, scores)]
    found = [differences(each, {claim: pair}, scores) for claim, pair, scores in claims]
    return {"networks": networks, "claims": claim_rows(pd.concat(found))}


def claim_rows(found) -> list[dict]:
    """The tests as they are written down, corrected over all of them."""
    from affect_nb.analysis.compare import verdicts
    rows = []
    for claim, row in verdicts(found).iterrows():
        numbers = {name: None if math.isnan(row[name]) else round(float(row[name]), 4) for name in ("difference", "spread", "low", "high", "p", "p_holm")}
        rows.append({"claim": f"{claim}, {row['score']}", **numbers, "seeds_for": int(row["seeds_for"]), "n_seeds": int(row["n_seeds"]), "holds": row["holds"]})
    return rows


def run(ferplus: str = "", pictures: str = "", seeds: int = 3, share: float = .25, people: int = 1500, width: float = .2, epochs: int = 8,
        processes: int = 2, work: str = "runs/real_faces_ablation") -> dict:
    """Every network and seed; {} where the pictures are not given."""
    from affect_nb.files.workers import run_commands
    if not (ferplus and pictures): return {"skipped": "needs --ferplus and --pictures: your copies of FER+ and DiffusionFER"}
    work = Path(work).resolve()
    with redirect_stdout(sys.stderr): find_faces(work, ferplus, pictures, processes)
    size = dict(ferplus=ferplus, pictures=pictures, share=share, people=people, width=width, epochs=epochs)
    run_commands([[sys.executable, HERE, "--one", str(work), str(seed), json.dumps(size)] for seed in range(seeds)], processes)
    return {"data": f"{share:.0%} of FER+'s training part, DiffusionFER, {people} drawn people", "seeds": seeds, "width": width, "epochs": epochs,
            **report(work, seeds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("WORK", "SEED", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--ferplus", default="", help="your copy of FER+, in any of its forms")
    parser.add_argument("--pictures", default="", help="DiffusionFER's Parquet, or another that `own` reads")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--share", type=float, default=.25, help="of FER+'s training part")
    parser.add_argument("--people", type=int, default=1500, help="drawn to learn from")
    parser.add_argument("--width", type=float, default=.2, help="of the networks; 1 is the paper's size")
    parser.add_argument("--epochs", type=int, default=8, help="of each training")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, a core each")
    parser.add_argument("--work", default="runs/real_faces_ablation", help="folder for data, weights and scores")
    given = vars(parser.parse_args())
    if one := given.pop("one"):
        with redirect_stdout(sys.stderr): work_on(Path(one[0]), int(one[1]), **json.loads(one[2]))
    else: print(json.dumps(run(**given), indent=2))
