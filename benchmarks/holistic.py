"""What coupling gives FaceBehaviorNet, on the embedded world: its settings selected first, then confirmed on other people.

Three sets of drawn people who have nothing in common: one with valence and arousal, one with AUs, one with expressions, as
the databases of Section VI.B have them, in the paper's proportion of 401, 247 and 103; measured on others with all labels,
and, without one label of them, on the compound expressions of RAF-DB and EmotioNet (eq. 10).

1. Selection, at a tenth of the images, on people and seeds that are used for nothing else. First the network without
   coupling: 54 settings of learning rate, dropout and the weights of the tasks. Then, with the best of these, 54 settings
   of the coupling: six forms, three temperatures and three weights of soft co-annotation. The best has the largest mean over
   the seeds of `objective`.
2. Confirmation of that one choice: people redrawn for each seed, three amounts of labels. Against no coupling, against the
   same with a shuffled table, with the table that an AU network infers, with a table of which 30 % is false, and against
   eq. 9 to the letter. `ENDPOINTS` and `PRIMARY` were fixed beforehand; Holm's correction is over all primary tests, and
   over all secondary ones.

`python benchmarks/holistic.py` prints the measures; `run()` returns them. What was trained is kept in the work folder, so
that a study that was stopped goes on. Scores of drawn faces are no benchmark results.
"""
import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve()
SETS = {"va": 401, "aus": 247, "expression": 103} # images of a step, of 751
TASKS = ("va", "expression", "aus")
SELECTED_BY = (100, 101, 102) # seeds of the selection, for nothing else
SELECTED_AT = .1              # share of the images there
FORMS = { # of coupling, in the selection; each with soft co-annotation
    "as printed": dict(coupling="both", match_form="paper", match_over="sum"),
    "as printed, p fixed": dict(coupling="both", match_form="paper", match_over="sum", match_fixed="aus"),
    "divergence, sum": dict(coupling="both", match_form="kl", match_over="sum"),
    "divergence, mean": dict(coupling="both", match_form="kl", match_over="mean"),
    "mutual": dict(coupling="both", match_form="mutual", match_over="mean"),
    "co-annotation": dict(coupling="co_annotations"),
}
TO_THE_LETTER = dict(FORMS["as printed"], soft_temperature=1., lambda_soft=1.)
BASES = dict(lr=(.004, .008, .016), dropout=(.2, .5), lambda_au=(.5, 1., 2.), lambda_va=(.5, 1., 2.))
COUPLED = dict(form=tuple(FORMS), soft_temperature=(1., .3, .1), lambda_soft=(.1, .3, 1.))
NETWORKS = { # of the confirmation -> coupling ('chosen', 'printed' or ''), table
    "AUs alone": ("", ""),
    "no coupling": ("", ""),
    "chosen": ("chosen", "cognitive"),
    "chosen, shuffled table": ("chosen", "shuffled"),
    "chosen, inferred table": ("chosen", "inferred"),
    "chosen, 30 % of the ties false": ("chosen", "false"),
    "to the letter": ("printed", "cognitive"),
}
ENDPOINTS = ("au_f1", "au_precision", "expression_f1", "ccc_valence", "ccc_arousal", "rafdb_uar", "emotionet_uar")
PRIMARY = {"chosen > none": ("chosen", "no coupling"), "chosen > shuffled": ("chosen", "chosen, shuffled table")}
SECONDARY = {
    "inferred table > none": ("chosen, inferred table", "no coupling"),
    "30 % of the ties false > none": ("chosen, 30 % of the ties false", "no coupling"),
    "to the letter > none": ("to the letter", "no coupling"),
    "chosen > to the letter": ("chosen", "to the letter"),
}
TEST, PARTS = 1500, 40 # images of the test set, and of each compound class
SCENE = 128            # px of a drawn scene


def _drawn(job):
    """A crop of 96x96 px with its labels: `kind` '' or a compound expression."""
    from dataclasses import replace
    import cv2
    import numpy as np
    from affect_nb.core.labels import AUS17
    from affect_nb.synth.action_units import DRAWN_AUS
    from affect_nb.synth.episodes import ACTIVE_FROM
    from affect_nb.synth.films import aligned_crop
    from affect_nb.synth.photo_twins import PhotoPlan, compound_aus, draw_photo, moment
    cv2.setNumThreads(1)
    seed, kind, difficulty = job
    plan = PhotoPlan("drawn", "", "", 1, 0, 0, 1, SCENE, difficulty, seed)
    photo = moment(plan, 0)
    if kind: photo = replace(photo, aus=compound_aus(kind, photo.seed))
    drawn = draw_photo(plan, photo)
    active = [float(photo.aus[DRAWN_AUS.index(au)] >= ACTIVE_FROM) for au in AUS17]
    crop = aligned_crop(drawn.image, drawn.landmarks, 96)
    return crop, photo.va.astype(np.float32), photo.expression, np.array(active, np.float32)


def smaller(faces, pixels: int):
    """Crops of another size."""
    import cv2
    import numpy as np
    if faces.shape[1] == pixels: return faces
    return np.stack([cv2.resize(face, (pixels, pixels), interpolation=cv2.INTER_AREA) for face in faces])


def counts_of(images: int, test: int = TEST) -> dict:
    """How many images each part has."""
    return {name: round(images*share/sum(SETS.values())) for name, share in SETS.items()} | {"test": test}


def jobs_of(seed: int, counts: dict, parts: int, difficulty: float) -> list:
    """(part, class of a compound or -1, what to draw) of everybody whom a seed needs; no two seeds share anybody."""
    from affect_nb.core.labels import COMPOUND_EMOTIONET, COMPOUND_RAFDB
    first, people = 100_000_000*(seed + 1), []
    for place, (part, count) in enumerate(counts.items(), 1):
        people += [(part, -1, (first + 1_000_000*place + number, "", difficulty)) for number in range(count)]
    for place, (part, names) in enumerate((("rafdb", COMPOUND_RAFDB), ("emotionet", COMPOUND_EMOTIONET)), 8):
        people += [(part, row, (first + 1_000_000*place + 1000*row + number, name, difficulty))
                   for row, name in enumerate(names) for number in range(parts)]
    return people


def people_of(work: Path, seed: int, counts: dict, parts: int, difficulty: float, pixels: int) -> dict:
    """Everybody of a seed as arrays, drawn once: faces, labels, part and compound class."""
    import numpy as np
    from affect_nb.files.atomic import whole
    path = work/f"faces.{seed}.npz"
    if not path.exists():
        people = jobs_of(seed, counts, parts, difficulty)
        rows = [_drawn(job) for *_, job in people]
        arrays = {name: np.stack([row[place] for row in rows]) for place, name in enumerate(("faces", "va", "expression", "aus"))}
        arrays["faces"] = smaller(arrays["faces"], pixels)
        arrays |= dict(part=np.array([part for part, *_ in people]), compound=np.array([row for _, row, _ in people]))
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as aside, open(aside, "wb") as file: np.savez(file, **arrays)
    with np.load(path) as file: return dict(file)


class Steps:
    """The steps of one training: of each set its part of a step, anew in another order when the set is used up."""
    n_inp = 2

    def __init__(self, arrays, tasks, share, steps, batch, seed):
        import numpy as np
        self.arrays, self.n, self.rng, self.rows, self.device = arrays, steps, np.random.default_rng(seed), {}, None
        for task in [task for task in SETS if task in tasks]:
            rows = np.flatnonzero(arrays["part"] == task)
            self.rows[task] = rows[:max(2, round(share*len(rows)))]
        self.sizes = {task: max(2, round(batch*SETS[task]/sum(SETS.values()))) for task in self.rows}

    def __len__(self): return self.n
    def to(self, device): self.device = device

    def orders(self, task):
        """Rows of a set without end, each order of them new."""
        import numpy as np
        waiting = np.empty(0, int)
        while True:
            while len(waiting) < self.sizes[task]: waiting = np.concatenate([waiting, self.rng.permutation(self.rows[task])])
            yield waiting[:self.sizes[task]]
            waiting = waiting[self.sizes[task]:]

    def targets(self, chosen):
        """Labels of a step: of each image those of its set alone."""
        import torch
        from affect_nb.core.labels import AUS17, AffectTargets
        n, start = sum(map(len, chosen.values())), 0
        blank = AffectTargets.missing((n, 1), ["va", "expression", "aus"], AUS17, None)
        fields = {name: getattr(blank, name).clone() for name in chosen}
        for task, rows in chosen.items():
            fields[task][start:start + len(rows), 0] = torch.from_numpy(self.arrays[task][rows]).to(fields[task].dtype)
            start += len(rows)
        return AffectTargets(**fields)

    def __iter__(self):
        import numpy as np
        import torch
        orders = {task: self.orders(task) for task in self.rows}
        for _ in range(self.n):
            chosen = {task: next(order) for task, order in orders.items()}
            faces = as_input(self.arrays["faces"][np.concatenate(list(chosen.values()))])
            yield faces, torch.zeros(len(faces), 1, 68, 2), self.targets(chosen)


def as_input(faces):
    """Crops (n, h, w, 3) as a network reads them: (n, 1, 3, h, w)."""
    import torch
    from affect_nb.data.loaders import PIXEL_SCALE
    return (torch.from_numpy(faces).permute(0, 3, 1, 2)[:, None].float() - PIXEL_SCALE[0])/PIXEL_SCALE[1]


def table_of(work: Path, name: str, seed: int, share: float):
    """The relatedness of a network: by name, counted from what the AU network of this seed saw, shuffled, or partly false."""
    from affect_nb.core.relatedness import COGNITIVE, falsified, read_relatedness, shuffled
    if name == "inferred": return read_relatedness(work/"confirmed"/f"inferred.{seed}.{share:g}.json")
    return {"cognitive": COGNITIVE, "shuffled": shuffled(COGNITIVE, seed), "false": falsified(COGNITIVE, .3, seed)}[name]


def train_one(arrays, tasks, base, coupling, table, seed, share, width, steps, batch, device):
    """A network, trained for as many steps whatever the number of images; `coupling` {}: none."""
    from fastai.callback.core import Callback, CancelValidException
    from fastai.callback.training import GradientClip
    from fastai.data.core import DataLoaders
    from fastai.torch_core import set_seed
    from affect_nb.train.fastai_losses import CoupledLoss
    from affect_nb.train.learner import affect_learner

    class WithoutValidation(Callback):
        def before_validate(self): raise CancelValidException()

    set_seed(seed)
    train = Steps(arrays, tasks, share, steps, batch, seed)
    weights = dict(lambda_au=base["lambda_au"], lambda_va=base["lambda_va"], au_over="mean")
    loss = CoupledLoss(relatedness=table, **coupling, **weights) if coupling else None
    learn = affect_learner(DataLoaders(train, train, device=device), "facebehaviornet", width, base["lr"], "bfloat16", device=device,
                           loss_func=loss, **weights, metrics=[], cbs=[WithoutValidation(), GradientClip(1.)], tasks=tasks,
                           norm="batch", dropout=base["dropout"], size=arrays["faces"].shape[1])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, base["lr"])
    return learn.model.eval()


def outputs(model, faces, device):
    """What a network predicts for images; `AffectOutput` on the CPU."""
    import torch
    from affect_nb.core.labels import AffectOutput
    with torch.inference_mode():
        found = [model(as_input(faces[start:start + 256]).to(device)).cpu() for start in range(0, len(faces), 256)]
    return AffectOutput.cat(found)[:, 0]


def au_precision(probability, active) -> float:
    """Average precision of each AU that someone shows, and the mean of these; it knows no threshold."""
    import numpy as np
    from sklearn.metrics import average_precision_score
    return float(np.mean([average_precision_score(active[:, au], probability[:, au]) for au in np.flatnonzero(active.any(0))]))


def measured(model, arrays, device) -> dict:
    """The measures that a network has the tasks for; compounds where there are any."""
    import numpy as np
    from affect_nb.analysis.compound import EMOTIONET_CLASSES, RAFDB_CLASSES, compound_measures, compound_scores, nearest_prototype
    from affect_nb.core.coupling import au_divergence
    from affect_nb.core.metrics import au_f1, ccc, macro_f1
    from affect_nb.core.relatedness import COGNITIVE
    test = {name: arrays[name][arrays["part"] == "test"] for name in ("faces", "va", "expression", "aus")}
    predicted, found = outputs(model, test["faces"], device), {}
    if predicted.aus is not None:
        found |= dict(au_f1=au_f1(predicted.au_prob, test["aus"]), au_precision=au_precision(predicted.au_prob.numpy(), test["aus"]))
    if predicted.expression is not None: found["expression_f1"] = macro_f1(predicted.expression, test["expression"])
    if predicted.va is not None:
        found |= {f"ccc_{name}": ccc(predicted.va[:, place], test["va"][:, place]) for place, name in enumerate(("valence", "arousal"))}
    if len(predicted.present) < 3: return {name: float(value) for name, value in found.items()}
    found["divergence"] = au_divergence(predicted, COGNITIVE, form="kl").mean()
    for name, classes in (("rafdb", RAFDB_CLASSES), ("emotionet", EMOTIONET_CLASSES)):
        rows = arrays["part"] == name
        if not rows.any(): continue
        predicted, true = outputs(model, arrays["faces"][rows], device), arrays["compound"][rows]
        for ending, guess in (("uar", compound_scores(predicted, classes).predicted), ("prototype", nearest_prototype(predicted, classes))):
            found[f"{name}_{ending}"] = compound_measures(guess, true, len(classes))["uar"]
    return {name: float(value) for name, value in found.items()}


def objective(found: dict) -> float:
    """What the selection goes by: the mean of the three tasks."""
    tasks = (found["au_f1"], found["au_precision"]), (found["expression_f1"],), (found["ccc_valence"], found["ccc_arousal"])
    return sum(sum(task)/len(task) for task in tasks)/len(tasks)


def grid(choices: dict) -> list[dict]:
    """Every combination of the choices."""
    return [dict(zip(choices, values)) for values in product(*choices.values())]


def name_of(settings: dict) -> str:
    """Settings as part of a file's name."""
    return " ".join(f"{name}={value}" for name, value in settings.items())


def loss_settings(coupled: dict) -> dict:
    """A row of the selection as `CoupledLoss` takes it."""
    return {**FORMS[coupled["form"]], **{name: value for name, value in coupled.items() if name != "form"}}


def trained_scores(path: Path, arrays, device: str, trained) -> dict:
    """The measures in a file; where there is none, of the network that `trained()` gives."""
    from affect_nb.files.atomic import write_json
    if not path.exists(): write_json(path, measured(trained(), arrays, device))
    return json.loads(path.read_text())


def best_of(work: Path, kind: str, candidates: list[dict], seeds) -> tuple[dict, list[dict]]:
    """The candidate with the largest mean objective over the seeds, and all of them with their means, best first."""
    rows = []
    for candidate in candidates:
        found = [json.loads((work/"selected"/f"{kind}.{name_of(candidate)}.{seed}.json").read_text()) for seed in seeds]
        means = {name: round(sum(each[name] for each in found)/len(found), 4) for name in found[0]}
        rows.append({"settings": name_of(candidate), "objective": round(sum(map(objective, found))/len(found), 4)} | means)
    order = sorted(range(len(rows)), key=lambda place: -rows[place]["objective"])
    return candidates[order[0]], [rows[place] for place in order]


def select(work: Path, kind: str, number: int, of: int, seeds, people: dict, size: dict, device: str) -> None:
    """One worker's part of the selection: bases without coupling, or couplings with the chosen base."""
    candidates, base = (grid(BASES), None) if kind == "base" else (grid(COUPLED), best_of(work, "base", grid(BASES), seeds)[0])
    jobs = [(candidate, seed) for seed in seeds for candidate in candidates][number::of]
    for candidate, seed in jobs:
        path = work/"selected"/f"{kind}.{name_of(candidate)}.{seed}.json"
        if path.exists(): continue
        arrays = people_of(work, seed, **people)
        coupling = loss_settings(candidate) if base else {}
        trained_scores(path, arrays, device, lambda: train_one(
            arrays, TASKS, base or candidate, coupling, "cognitive", seed, 1., device=device, **size))


def infer_table(path: Path, model, arrays, share: float, device: str) -> None:
    """The table that an AU network infers from the expression set, as a file."""
    import numpy as np
    from affect_nb.core.labels import AUS17
    from affect_nb.core.relatedness import counted_relatedness, write_relatedness
    rows = np.flatnonzero(arrays["part"] == "expression")
    rows = rows[:max(2, round(share*len(rows)))]
    active = outputs(model, arrays["faces"][rows], device).au_prob.numpy() > .5
    write_relatedness(counted_relatedness(arrays["expression"][rows], active.astype(float), AUS17), path)


def confirm(work: Path, number: int, of: int, seeds: int, shares, choice: dict, people: dict, size: dict, device: str) -> None:
    """One worker's part of the confirmation: whole seeds, so that people are drawn once and what is inferred is there."""
    couplings = {"chosen": loss_settings(choice["coupled"]), "printed": TO_THE_LETTER, "": {}}
    for seed, share, (name, (coupling, table)) in product(range(number, seeds, of), shares, NETWORKS.items()):
        arrays = people_of(work, seed, **people)
        path = work/"confirmed"/f"{name}.{seed}.{share:g}.json"
        if path.exists(): continue
        tasks = ("aus",) if name == "AUs alone" else TASKS
        path.parent.mkdir(parents=True, exist_ok=True)
        model = train_one(arrays, tasks, choice["base"], couplings[coupling], table and table_of(work, table, seed, share), seed,
                          share, device=device, **size)
        if name == "AUs alone": infer_table(work/"confirmed"/f"inferred.{seed}.{share:g}.json", model, arrays, share, device)
        trained_scores(path, arrays, device, lambda: model)


def report(work: Path, seeds: int, shares) -> dict:
    """Means and spreads of the networks, the claims with intervals and corrected p, and whether the coupling helps."""
    import pandas as pd
    from affect_nb.analysis.compare import differences, verdicts
    rows = [{"method": name, "share": share, "seed": seed} | json.loads((work/"confirmed"/f"{name}.{seed}.{share:g}.json").read_text())
            for name in NETWORKS for share in shares for seed in range(seeds)]
    each = pd.DataFrame(rows).set_index(["share", "method", "seed"]).sort_index()
    scores = [name for name in each if each[name].notna().any()]
    networks = [{"row": f"{name}, {share:.0%} of the images"} | {
        key: None if pd.isna(value) else round(float(value), 4) for score in scores
        for key, value in ((score, each.loc[share, name][score].mean()), (f"{score}_spread", each.loc[share, name][score].std()))}
        for share in shares for name in NETWORKS]
    families = []
    for claims in (PRIMARY, SECONDARY):
        parts = [differences(each.loc[share], claims, list(ENDPOINTS)).assign(share=share) for share in shares]
        family = pd.concat(parts)
        families.append(verdicts(family).assign(share=family["share"].to_numpy()))
    return {"networks": networks, "claims": [claim_row(claim, row) for family in families for claim, row in family.iterrows()],
            "helps": [{"share": f"{share:.0%}", "helps": helps(families[0][families[0]["share"] == share])} for share in shares]}


def claim_row(claim: str, row) -> dict:
    """A test as it is written down."""
    numbers = {name: round(float(row[name]), 4) for name in ("difference", "spread", "low", "high", "p", "p_holm")}
    counted = {name: int(row[name]) for name in ("seeds_for", "n_seeds")}
    return {"claim": f"{claim}, {row['score']}, {row['share']:.0%}", **numbers, **counted, "holds": row["holds"]}


def helps(primary) -> str:
    """'yes' where some endpoint is above none and above the shuffled table, and none is below none; else what was found."""
    none, mixed = (primary.loc[claim].set_index("score")["holds"] for claim in PRIMARY)
    gained = [score for score in none.index if none[score] == "yes" and mixed[score] == "yes"]
    lost = [score for score in none.index if none[score] == "reversed"]
    if gained and not lost: return f"yes: {', '.join(gained)}"
    return f"no: it costs {', '.join(lost)}" if lost else "open"


def choice_of(work: Path) -> tuple[dict, dict]:
    """The frozen choice, and the tables of the selection."""
    base, bases = best_of(work, "base", grid(BASES), SELECTED_BY)
    coupled, coupleds = best_of(work, "coupled", grid(COUPLED), SELECTED_BY)
    return dict(base=base, coupled=coupled), dict(bases=bases, couplings=coupleds)


def run(seeds: int = 10, shares=(1., .1, .01), images: int = 6000, width: float = .0625, pixels: int = 32, steps: int = 200, batch: int = 64,
        difficulty: float = .5, processes: int = 2, device: str = "", work: str = "runs/holistic") -> dict:
    """Selection, then confirmation."""
    import torch
    from affect_nb.files.atomic import write_json
    from affect_nb.files.workers import run_commands
    work, device = Path(work).resolve(), device or ("cuda" if torch.cuda.is_available() else "cpu")
    size = dict(width=width, steps=steps, batch=batch)
    shared = dict(of=processes, size=size, device=device)

    def workers(part, **more):
        run_commands([[sys.executable, HERE, "--part", part, str(work), json.dumps(dict(number=number, **shared, **more))]
                      for number in range(processes)], processes)

    few = dict(counts=counts_of(round(SELECTED_AT*images)), parts=0, difficulty=difficulty, pixels=pixels)
    for kind in ("base", "coupled"): workers("select", kind=kind, seeds=SELECTED_BY, people=few)
    choice, selection = choice_of(work)
    write_json(work/"choice.json", choice)
    workers("confirm", seeds=seeds, shares=list(shares), choice=choice,
            people=dict(counts=counts_of(images), parts=PARTS, difficulty=difficulty, pixels=pixels))
    where = torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"
    return {"data": f"embedded world, difficulty {difficulty}; no benchmark result", "device": where, "seeds": seeds, "images": images,
            "width": width, "pixels": pixels, "steps": steps, "batch": batch, "chance_rafdb": round(1/11, 4),
            "chance_emotionet": round(1/16, 4), "choice": name_of(choice["base"] | choice["coupled"]), **selection, **report(work, seeds, shares)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs=3, metavar=("PART", "WORK", "HOW"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=10, help="of the confirmation")
    parser.add_argument("--shares", type=float, nargs="+", default=[1., .1, .01], help="of the images that are there")
    parser.add_argument("--images", type=int, default=6000, help="of the three training sets together")
    parser.add_argument("--width", type=float, default=.0625, help="of the networks; 1 is the paper's size")
    parser.add_argument("--pixels", type=int, default=32, help="of the side of a crop; the paper's are 96")
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--difficulty", type=float, default=.5, help="of the drawn scenes, 0 to 1")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time")
    parser.add_argument("--device", default="", help="cpu or cuda; empty: cuda where there is one")
    parser.add_argument("--work", default="runs/holistic", help="folder for data and results")
    given = vars(parser.parse_args())
    if part := given.pop("part"):
        import torch
        torch.set_num_threads(1)
        with redirect_stdout(sys.stderr): {"select": select, "confirm": confirm}[part[0]](Path(part[1]), **json.loads(part[2]))
    else: print(json.dumps(run(**given), indent=2))
