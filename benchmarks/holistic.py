"""What coupling gives FaceBehaviorNet, on the embedded world: several seeds, two tables of relatedness and a shuffled one, scarce labels.

Three sets of drawn people who have nothing in common: one with valence and arousal, one with AUs, one with expressions, as
the databases of Section VI.B have them, in the paper's proportion of 401, 247 and 103. FaceBehaviorNet without coupling is
compared with three single-task networks that see the same images in as many steps, and with itself under each coupling:
by the cognitive table, by one that is counted from what the AU network sees in the expression set, and by a shuffled one,
a control that must not help. All of it again with a tenth and a hundredth of the images. Every network of a seed starts from the same random
weights (but for the rows of its output). Tested on other people with all labels, and, without one label of them, on the
compound expressions of RAF-DB and EmotioNet (eq. 10), against chance and the nearest prototype. What was trained is kept in
the work folder. `python benchmarks/holistic.py` prints the measures; `run()` returns them. Scores of drawn faces are no
benchmark results.
"""
import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
SETS = {"va": 401, "aus": 247, "expression": 103} # images of a step, of 751
NETWORKS = { # name -> tasks, coupling, table, further arguments of the loss
    "valence and arousal alone": (("va",), "none", "cognitive", {}),
    "AUs alone": (("aus",), "none", "cognitive", {}),
    "expressions alone": (("expression",), "none", "cognitive", {}),
    "no coupling": (("va", "expression", "aus"), "none", "cognitive", {}),
    "co-annotation": (("va", "expression", "aus"), "co_annotation", "cognitive", {}),
    "soft co-annotation": (("va", "expression", "aus"), "soft_co_annotation", "cognitive", {}),
    "distribution matching": (("va", "expression", "aus"), "distribution_matching", "cognitive", {}),
    "both, cognitive": (("va", "expression", "aus"), "both", "cognitive", {}),
    "both, inferred": (("va", "expression", "aus"), "both", "inferred", {}),
    "both, shuffled": (("va", "expression", "aus"), "both", "shuffled", {}),
    "both, matching at a tenth, cognitive": (("va", "expression", "aus"), "both", "cognitive", dict(lambda_match=.1)),
    "divergence alone, cognitive": (("va", "expression", "aus"), "distribution_matching", "cognitive", dict(match_form="kl")),
    "divergence alone, shuffled": (("va", "expression", "aus"), "distribution_matching", "shuffled", dict(match_form="kl")),
    "both as a divergence, cognitive": (("va", "expression", "aus"), "both", "cognitive", dict(match_form="kl")),
    "both as a divergence, shuffled": (("va", "expression", "aus"), "both", "shuffled", dict(match_form="kl")),
}
SINGLE = {"va": "valence and arousal alone", "aus": "AUs alone", "expression": "expressions alone"}
SCORES = ("ccc_valence", "ccc_arousal", "expression_score", "au_f1", "divergence", "rafdb_uar", "emotionet_uar", "rafdb_prototype", "emotionet_prototype")
_CLAIMED = ("ccc_valence", "ccc_arousal", "expression_score", "au_f1", "rafdb_uar", "emotionet_uar")
PAIRS = {
    "FaceBehaviorNet > single-task": ("no coupling", None),
    "co-annotation > none": ("co-annotation", "no coupling"),
    "soft co-annotation > none": ("soft co-annotation", "no coupling"),
    "distribution matching > none": ("distribution matching", "no coupling"),
    "both, cognitive > none": ("both, cognitive", "no coupling"),
    "both, inferred > none": ("both, inferred", "no coupling"),
    "both, shuffled > none": ("both, shuffled", "no coupling"),
    "both, cognitive > shuffled": ("both, cognitive", "both, shuffled"),
    "both, matching at a tenth > none": ("both, matching at a tenth, cognitive", "no coupling"),
    "divergence alone, cognitive > none": ("divergence alone, cognitive", "no coupling"),
    "divergence alone, cognitive > shuffled": ("divergence alone, cognitive", "divergence alone, shuffled"),
    "as a divergence, cognitive > none": ("both as a divergence, cognitive", "no coupling"),
    "as a divergence, cognitive > shuffled": ("both as a divergence, cognitive", "both as a divergence, shuffled"),
}
TEST, PARTS = 1500, 40 # images of the test set, and of each compound class


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
    plan = PhotoPlan("drawn", "", "", 1, 0, 0, 1, 192, difficulty, seed)
    photo = moment(plan, 0)
    if kind: photo = replace(photo, aus=compound_aus(kind, photo.seed))
    drawn = draw_photo(plan, photo)
    active = [float(photo.aus[DRAWN_AUS.index(au)] >= ACTIVE_FROM) for au in AUS17]
    return aligned_crop(drawn.image, drawn.landmarks, 96), photo.va.astype(np.float32), photo.expression, np.array(active, np.float32)


def prepare(work: Path, images: int, difficulty: float, workers: int):
    """Training sets, a test set and the compounds, each with people of its own, in one file."""
    import numpy as np
    from affect_nb.core.labels import COMPOUND_EMOTIONET, COMPOUND_RAFDB
    from affect_nb.files.atomic import whole
    from affect_nb.files.workers import in_parallel
    path = work/"faces.npz"
    if path.exists(): return path
    counts = {name: round(images*share/sum(SETS.values())) for name, share in SETS.items()} | {"test": TEST}
    jobs = [(1_000_000*place + number, "", difficulty) for place, count in enumerate(counts.values(), 1) for number in range(count)]
    compounds = {"rafdb": COMPOUND_RAFDB, "emotionet": COMPOUND_EMOTIONET}
    for place, names in enumerate(compounds.values(), 8): jobs += [(1_000_000*place + 1000*row + number, name, difficulty) for row, name in enumerate(names) for number in range(PARTS)]
    chunks = [jobs[start:start + 100] for start in range(0, len(jobs), 100)]
    found = {tuple(chunk[0]): done.result() for chunk, done in in_parallel(_chunk, chunks, workers)}
    rows = [row for chunk in chunks for row in found[tuple(chunk[0])]]
    arrays = {name: np.stack([row[place] for row in rows]) for place, name in enumerate(("faces", "va", "expression", "aus"))}
    parts = [name for name, count in counts.items() for _ in range(count)] + [name for name, names in compounds.items() for _ in names for _ in range(PARTS)]
    compound = [-1]*sum(counts.values()) + [row for names in compounds.values() for row in range(len(names)) for _ in range(PARTS)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as aside, open(aside, "wb") as file: np.savez(file, part=np.array(parts), compound=np.array(compound), **arrays)
    return path


def _chunk(jobs): return [_drawn(job) for job in jobs]


class Photographs:
    """Images of one set in memory, as `data.joint` reads them; each is a person of its own."""
    length, has_sound, notes = 1, False, []
    def __init__(self, arrays, rows, task):
        import torch
        self.rows, self.faces = rows, torch.from_numpy(arrays["faces"][rows]).permute(0, 3, 1, 2).contiguous()
        self.labels = {name: torch.from_numpy(arrays[name][rows]) for name in ("va", "expression", "aus") if task in (None, name)}
        self.nobody, self.there = torch.zeros(1, 68, 2), torch.ones(1, dtype=torch.bool)
    def __len__(self): return len(self.rows)
    def __getitem__(self, index):
        from affect_nb.core.labels import AffectTargets
        from affect_nb.data.sequences import Sequence
        return Sequence(self.faces[index][None], self.nobody, AffectTargets(**{name: values[index][None] for name, values in self.labels.items()}), self.there)
    @property
    def people(self): return [dict(database="drawn", clip=f"{row}", subject=f"{row}") for row in self.rows]


def loaders(arrays, tasks, share, batch, seed, device):
    """Joint loaders over the sets of `tasks`, of which the first `share` of the images are there."""
    import numpy as np
    from fastai.data.core import DataLoaders
    from affect_nb.data.joint import JointDL, LabelSet
    from affect_nb.data.loaders import PIXEL_SCALE, AffectDL, ToNetwork
    sets, sizes = {}, {}
    for task in [task for task in SETS if task in tasks]:
        rows = np.flatnonzero(arrays["part"] == task)
        rows = rows[:max(2, round(share*len(rows)))]
        sets[task], sizes[task] = Photographs(arrays, rows, task), max(2, round(batch*SETS[task]/sum(SETS.values())))
    sets = {task: LabelSet([data]) for task, data in sets.items()}
    shared = dict(device=device, after_batch=[ToNetwork(PIXEL_SCALE)])
    few = Photographs(arrays, np.flatnonzero(arrays["part"] == "test")[:8], None)
    return DataLoaders(JointDL(sets, sizes, seed=seed, **shared), AffectDL(few, 8, **shared), device=device)


def table_of(work: Path, name: str, seed: int, share: float):
    """The relatedness of a network: by name, counted from what the AU network of this seed saw, or shuffled."""
    from affect_nb.core.relatedness import COGNITIVE, read_relatedness, shuffled
    if name == "inferred": return read_relatedness(work/"results"/f"inferred.{seed}.{share:g}.json")
    return shuffled(COGNITIVE, seed) if name == "shuffled" else COGNITIVE


def train_one(work, arrays, name, seed, share, width, steps, batch, lr, device):
    """A network, trained for as many steps whatever the number of images."""
    from fastai.callback.core import Callback, CancelValidException
    from fastai.callback.training import GradientClip
    from fastai.torch_core import set_seed
    from affect_nb.train.fastai_losses import CoupledLoss
    from affect_nb.train.learner import affect_learner

    class WithoutValidation(Callback):
        def before_validate(self): raise CancelValidException()

    tasks, coupling, table, more = NETWORKS[name]
    set_seed(seed)
    dls = loaders(arrays, tasks, share, batch, seed, device)
    loss = CoupledLoss(coupling, table_of(work, table, seed, share), **more) if coupling != "none" else None
    learn = affect_learner(dls, "facebehaviornet", width, lr, "bfloat16", device=device, loss_func=loss, au_over="mean", metrics=[],
                           cbs=[WithoutValidation(), GradientClip(1.)], tasks=tasks, norm="batch", dropout=.5, size=arrays["faces"].shape[1])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(max(1, round(steps/len(dls.train))), lr)
    return learn.model.eval()


def outputs(model, arrays, rows, device):
    """What a network says of images; `AffectOutput` on the CPU."""
    import torch
    from affect_nb.core.labels import AffectOutput
    from affect_nb.data.loaders import PIXEL_SCALE
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), 256):
            faces = torch.from_numpy(arrays["faces"][rows[start:start + 256]]).permute(0, 3, 1, 2)[:, None].to(device)
            found.append(model((faces.float() - PIXEL_SCALE[0])/PIXEL_SCALE[1]).cpu())
    return AffectOutput.cat(found)[:, 0]


def measured(model, arrays, device):
    """The measures of `SCORES` that the network has the tasks for."""
    import numpy as np
    from affect_nb.analysis.compound import EMOTIONET_CLASSES, RAFDB_CLASSES, compound_measures, compound_scores, nearest_prototype
    from affect_nb.core.coupling import au_divergence
    from affect_nb.core.metrics import au_f1, ccc, expression_score
    from affect_nb.core.relatedness import COGNITIVE
    rows = np.flatnonzero(arrays["part"] == "test")
    said, found = outputs(model, arrays, rows, device), {}
    if said.va is not None: found |= {f"ccc_{name}": ccc(said.va[:, place], arrays["va"][rows, place]) for place, name in enumerate(("valence", "arousal"))}
    if said.expression is not None: found["expression_score"] = expression_score(said.expression, arrays["expression"][rows])
    if said.aus is not None: found["au_f1"] = au_f1(said.au_prob, arrays["aus"][rows])
    if len(said.present) < 3: return found
    found["divergence"] = au_divergence(said, COGNITIVE, form="kl").mean().item()
    for name, classes in (("rafdb", RAFDB_CLASSES), ("emotionet", EMOTIONET_CLASSES)):
        rows = np.flatnonzero(arrays["part"] == name)
        said, true = outputs(model, arrays, rows, device), arrays["compound"][rows]
        for ending, predicted in (("uar", compound_scores(said, classes).predicted), ("prototype", nearest_prototype(said, classes))):
            found[f"{name}_{ending}"] = compound_measures(predicted, true, len(classes))["uar"]
    return found


def work_on(work: Path, name: str, seed: int, share: float, arrays, device: str, **size) -> None:
    """Train one network, and leave its measures; the AU network also leaves the table that it infers."""
    import numpy as np
    from affect_nb.core.labels import AUS17
    from affect_nb.core.relatedness import counted_relatedness, write_relatedness
    from affect_nb.files.atomic import write_json
    path = work/"results"/f"{name}.{seed}.{share:g}.json"
    if path.exists(): return
    path.parent.mkdir(parents=True, exist_ok=True)
    model = train_one(work, arrays, name, seed, share, device=device, **size)
    if name == "AUs alone":
        rows = np.flatnonzero(arrays["part"] == "expression")
        rows = rows[:max(2, round(share*len(rows)))]
        seen = outputs(model, arrays, rows, device).au_prob.numpy() > .5
        write_relatedness(counted_relatedness(arrays["expression"][rows], seen.astype(float), AUS17), work/"results"/f"inferred.{seed}.{share:g}.json")
    write_json(path, {key: float(value) for key, value in measured(model, arrays, device).items()})


def smaller(faces, pixels: int):
    """Crops of another size."""
    import cv2
    import numpy as np
    return faces if faces.shape[1] == pixels else np.stack([cv2.resize(face, (pixels, pixels), interpolation=cv2.INTER_AREA) for face in faces])


def work_through(work: Path, number: int, of: int, seeds: int, shares, device: str, pixels: int, size: dict) -> None:
    """One worker's part of all trainings: whole (seed, share) pairs, so that what is inferred is there."""
    import numpy as np
    import torch
    torch.set_num_threads(1)
    with np.load(work/"faces.npz") as file: arrays = dict(file)
    arrays["faces"] = smaller(arrays["faces"], pixels)
    pairs = [(seed, share) for seed in range(seeds) for share in shares]
    order = ["AUs alone", *[name for name in NETWORKS if name != "AUs alone"]]
    for seed, share in pairs[number::of]:
        for name in order: work_on(work, name, seed, share, arrays, device, **size)


def report(work: Path, seeds: int, shares) -> dict:
    """A table of the networks, and one of the differences seed by seed with a paired t-test."""
    import pandas as pd
    from scipy.stats import ttest_rel
    rows = [{"network": name, "share": share, "seed": seed} | json.loads((work/"results"/f"{name}.{seed}.{share:g}.json").read_text()) for name in NETWORKS for share in shares for seed in range(seeds)]
    each = pd.DataFrame(rows).set_index(["share", "network", "seed"]).reindex(columns=list(SCORES)).sort_index()
    networks, found = [], []
    for share in shares:
        for name in NETWORKS:
            one = each.loc[share, name]
            networks.append({"row": f"{name}, {share:.0%} of the images"} | {key: None if pd.isna(value) else round(float(value), 4) for score in SCORES for key, value in ((score, one[score].mean()), (f"{score}_spread", one[score].std(ddof=1)))})
        for claim, (better, worse) in PAIRS.items():
            for score in _CLAIMED:
                other = worse or SINGLE[{"ccc_valence": "va", "ccc_arousal": "va", "expression_score": "expression"}.get(score, "aus")]
                gap = (each.loc[share, better][score] - each.loc[share, other][score]).dropna()
                if not len(gap): continue
                p = ttest_rel(each.loc[share, better][score], each.loc[share, other][score]).pvalue if len(gap) > 1 else float("nan")
                found.append({"claim": f"{claim}, {score}, {share:.0%}", "difference": round(float(gap.mean()), 4), "spread": round(float(gap.std(ddof=1)), 4), "seeds_for": int((gap > 0).sum()), "n_seeds": len(gap), "p": None if pd.isna(p) else round(float(p), 4)})
    return {"networks": networks, "claims": found}


def run(seeds: int = 5, shares=(1., .1, .01), images: int = 6000, width: float = .125, pixels: int = 48, steps: int = 300, batch: int = 128, lr: float = 2e-3, difficulty: float = .5, processes: int = 2, device: str = "", work: str = "runs/holistic") -> dict:
    """Every network, seed and share, then means, spreads and paired differences."""
    import torch
    from affect_nb.files.workers import run_commands
    work, device = Path(work).resolve(), device or ("cuda" if torch.cuda.is_available() else "cpu")
    run_commands([[sys.executable, HERE, "--draw", str(work), json.dumps(dict(images=images, difficulty=difficulty, workers=max(processes, min(16, os.cpu_count()))))]], 1)
    size = dict(width=width, steps=steps, batch=batch, lr=lr)
    run_commands([[sys.executable, HERE, "--part", str(work), json.dumps(dict(number=number, of=processes, seeds=seeds, shares=list(shares), device=device, pixels=pixels, size=size))] for number in range(processes)], processes)
    where = torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"
    return {"data": f"embedded world, difficulty {difficulty}; no benchmark result", "device": where, "seeds": seeds, "images": images, "width": width, "pixels": pixels, "steps": steps, "batch": batch, "chance_rafdb": round(1/11, 4), "chance_emotionet": round(1/16, 4), **report(work, seeds, shares)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", nargs=2, metavar=("WORK", "HOW"), help=argparse.SUPPRESS)
    parser.add_argument("--part", nargs=2, metavar=("WORK", "HOW"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each network")
    parser.add_argument("--shares", type=float, nargs="+", default=[1., .1, .01], help="of the images that are there")
    parser.add_argument("--images", type=int, default=6000, help="of the three training sets together")
    parser.add_argument("--width", type=float, default=.125, help="of the networks; 1 is the paper's size")
    parser.add_argument("--pixels", type=int, default=48, help="of the side of a crop; the paper's are 96")
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--difficulty", type=float, default=.5, help="of the drawn scenes, 0 to 1")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time")
    parser.add_argument("--device", default="", help="cpu or cuda; empty: cuda where there is one")
    parser.add_argument("--work", default="runs/holistic", help="folder for data and results")
    given = parser.parse_args()
    if given.draw: prepare(Path(given.draw[0]), **json.loads(given.draw[1]))
    elif given.part:
        with redirect_stdout(sys.stderr): work_through(Path(given.part[0]), **json.loads(given.part[1]))
    else: print(json.dumps(run(given.seeds, given.shares, given.images, given.width, given.pixels, given.steps, given.batch, difficulty=given.difficulty, processes=given.processes, device=given.device, work=given.work), indent=2))
