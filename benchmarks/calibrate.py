"""Calibration of the network that is shipped: temperatures, intervals and the distance from training data, from people whom its training held out.

`affect_nb bench calibrate -s ferplus=FER+ -s pictures=DiffusionFER -s write=true` fits them anew and writes them into the card of `model`; without
`write` it measures. The parts are those of `affect_nb run real_faces`: FER+'s official validation part (of a Parquet every third picture), the fifth of
the photographs that seed 0 holds out, and drawn people from number 1,000,000 on.

- Expressions: FER+ and the photographs together. AUs: drawn people, as nobody has labelled others.
- Valence and arousal: the photographs and the drawn people. `held_*` is the share that the intervals hold of either: drawn people are harder, the
  photographs easier than what they hold together. Nobody has labelled real people's valence and arousal here.
- `strange`: whether the distance from training data tells what is no aligned face from held-out faces (`auc`), and the share of either beyond 1.
- `groups`: what differs by tone of skin, wrinkles and beard of the drawn people (`analysis.groups`, needs affect_nb[fair]); in the card as well.
- The epoch of the network was chosen by the same parts, so all figures flatter a little.
"""
import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger") # as DiffusionFER numbers them
WORDS = ("expressions: {fer} pictures of FER+'s validation part and {pictures} held-out photographs of DiffusionFER (synthetic people); valence and arousal: "
         "these photographs and {drawn} drawn people; AUs: the drawn people")


DRAWN_FROM = 1_000_000 # number of the first drawn person who is held out


def some_of(ferplus: str, work: Path, valid: int, train: int) -> Path:
    """Of a Parquet every so many-th picture of either part, as a file of its own; any other form of FER+ as it is."""
    import pandas as pd
    if Path(ferplus).suffix != ".parquet": return Path(ferplus)
    path, table = work/f"ferplus_{valid}_{train}.parquet", pd.read_parquet(ferplus)
    held = table["split"].isin(["valid", "validation"])
    if not path.exists(): pd.concat([table[~held].iloc[::train], table[held].iloc[::valid]]).to_parquet(path, index=False)
    return path


def sides_of(work: Path, recipe, ferplus: str, pictures: str, every: tuple) -> dict:
    """Set -> windows that were learned from (some of them), and held-out ones."""
    from affect_nb.data.drawn import drawn_photographs
    from affect_nb.data.store import preprocess_database
    from affect_nb.databases import open_database
    from affect_nb.train.jobs_joint import joint_sides
    fer = open_database("fer-plus", some_of(ferplus, work, *every))
    small = open_database("own", pictures, crops=True, classes=CLASSES)
    for split in ("train", "validation"): preprocess_database(fer, work/"faces"/"fer-some", split=split)
    preprocess_database(small, work/"faces"/"pictures")
    drawn = [drawn_photographs(work/"faces"/"drawn", people, first, .4, tones=True) for people, first in ((400, 0), (400, DRAWN_FROM))]
    return dict(fer=joint_sides(recipe, fer, work/"faces"/"fer-some", "expression", validation="official"),
                pictures=joint_sides(recipe, small, work/"faces"/"pictures", "va"), drawn=drawn)


def joined(parts: list):
    """Several `HeldOut` as one."""
    import numpy as np
    from affect_nb.core.labels import AffectOutput, AffectTargets
    from affect_nb.train.held_out import HeldOut
    arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in ("subjects", "features")]
    return HeldOut(AffectOutput.cat([part.output for part in parts]), AffectTargets.cat([part.targets for part in parts]), *arrays)


def only(held, *tasks):
    """The same frames with labels of some tasks alone."""
    from dataclasses import replace
    gone = {name: None for name in held.targets.present if name not in tasks}
    return replace(held, targets=replace(held.targets, **gone))


def fitted(model, sides: dict) -> tuple[dict, dict, list]:
    """The section of the card, the shares that its intervals hold, and scores by group."""
    import numpy as np
    from affect_nb.data.joint import LabelSet
    from affect_nb.data.loaders import ToNetwork
    from affect_nb.databases.people import all_people
    from affect_nb.databases.splits import split_hash
    from affect_nb.train.calibration import Intervals, interval_coverage
    from affect_nb.train.held_out import calibration_of, held_out_outputs, training_distance
    held = {name: held_out_outputs(model, valid, ToNetwork(), 10**6) for name, (_, valid) in sides.items()}
    faces = calibration_of(only(joined([held["fer"], held["pictures"]]), "expression"))
    va, aus = calibration_of(only(joined([held["pictures"], held["drawn"]]), "va")), calibration_of(only(held["drawn"], "aus"))
    everybody = joined([*held.values()])
    notes = dict(temperatures=dict(expression=faces["temperatures"]["expression"], aus=aus["temperatures"]["aus"]), errors=faces["errors"] | aus["errors"],
                 intervals=va["intervals"], coverage=va["coverage"], people=len(np.unique(everybody.subjects)), frames=len(everybody.subjects),
                 fitted_on=WORDS.format(**{name: len(side.subjects) for name, side in held.items()}),
                 split_hash=split_hash([all_people(side[place].people for side in sides.values()) for place in (0, 1)]),
                 training=training_distance(LabelSet([side[0] for side in sides.values()]), everybody, most=10**6).to_dict())
    shares = {}
    for name in ("pictures", "drawn"):
        bounds = Intervals(**va["intervals"]).bounds(held[name].output.va.numpy())
        inside = interval_coverage(*bounds, held[name].targets.va.numpy(), held[name].subjects).mean()
        shares |= {f"held_{name}_{side}": round(float(inside[side]), 4) for side in ("valence", "arousal")}
    return notes, shares, groups_of(held["drawn"])


def strange_crops(faces) -> dict:
    """What is no aligned face, made of faces (n, 3, 96, 96) bytes."""
    import torch
    draw = torch.Generator().manual_seed(0)
    mixed = torch.stack([face.flatten(1)[:, torch.randperm(96*96, generator=draw)].view(face.shape) for face in faces])
    return {"noise": torch.randint(0, 256, faces.shape, generator=draw, dtype=torch.uint8), "pixels mixed": mixed, "upside down": faces.flip(-2),
            "turned by 90 degrees": faces.transpose(-1, -2), "a quarter to the side": torch.roll(faces, 24, -1),
            "lower half covered": torch.cat([faces[..., :48, :], torch.full_like(faces[..., 48:, :], 90)], -2)}


def told_apart(notes: dict, sides: dict) -> list[dict]:
    """How well the distance tells strange crops from held-out faces: area under the curve, and the share beyond 1."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score
    from affect_nb.data.loaders import read_batch
    from affect_nb.train.distance import FeatureDistance, crop_features
    distance = FeatureDistance.from_dict(notes["training"])
    faces = torch.cat([read_batch(valid, np.arange(min(200, len(valid))))[0][:, 0] for _, valid in sides.values()])
    usual = distance(crop_features(faces))
    rows = [{"crop": "held-out faces", "auc": None, "beyond": round(float((usual > 1).mean()), 3)}]
    for name, crops in strange_crops(faces).items():
        far = distance(crop_features(crops))
        auc = roc_auc_score(np.r_[np.zeros(len(usual)), np.ones(len(far))], np.r_[usual, far])
        rows.append({"crop": name, "auc": round(float(auc), 3), "beyond": round(float((far > 1).mean()), 3)})
    return rows


def groups_of(held) -> list[dict]:
    """Sections for the card: the scores of drawn people by their parameters, and what differs."""
    import pandas as pd
    from affect_nb.analysis.columns import EXPRESSION_COLUMNS
    from affect_nb.apps.by_group import by_group
    from affect_nb.data.drawn import drawn_people
    output, targets = held.output, held.targets.with_aus(held.output.au_names)
    columns = dict(zip(("valence", "arousal", "valence_pred", "arousal_pred"), [*targets.va.T.numpy(), *output.va.T.numpy()]))
    columns |= dict(expression=targets.expression.numpy()) | dict(zip(EXPRESSION_COLUMNS, output.expression_prob.T.numpy()))
    for au, label, prob in zip(output.au_names, targets.aus.T.numpy(), output.au_prob.T.numpy()): columns |= {f"au{au}": label, f"prob_au{au}": prob}
    people = drawn_people(len(targets), DRAWN_FROM, tones=True)
    table = people.assign(subject=people["number"].astype(str), clip=people["number"].astype(str), frame=0, **columns)
    cards = by_group(table, ["skin_tone", "wrinkles", "beard"])
    return [card | dict(data=f"{len(table)} drawn people: parameters of drawings, nobody's age or gender") for card in cards.values()]


def run(ferplus: str = "", pictures: str = "", model: str = "facebehaviornet-small", valid: int = 3, train: int = 30, work: str = "runs/calibrate",
        write: bool = False) -> dict:
    """Fit, measure, and write into the card if that is wanted; {} where the pictures are not given."""
    import torch
    from affect_nb.files.home import named_network
    from affect_nb.models.weights import amend_card, load_checkpoint
    from affect_nb.train.recipes import Recipe
    if not (ferplus and pictures): return {"skipped": "needs ferplus and pictures: your copies of FER+ and DiffusionFER"}
    torch.set_num_threads(1)
    path, work = named_network(model), Path(work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    network, card = load_checkpoint(path)
    with redirect_stdout(sys.stderr): sides = sides_of(work, Recipe(**card.notes["recipe"]), ferplus, pictures, (valid, train))
    notes, shares, groups = fitted(network.eval(), sides)
    if write: amend_card(path, notes={**card.notes, "calibration": notes, "groups": groups})
    errors = {f"{task}_{name}": value for task, row in notes["errors"].items() for name, value in row.items()}
    widths = dict(zip(("half_valence", "half_arousal"), notes["intervals"]["half_widths"]))
    crossed = {f"coverage_{name}": value for name, value in notes["coverage"].items()}
    return {"fitted_on": notes["fitted_on"], "split": notes["split_hash"], **{f"temperature_{name}": value for name, value in notes["temperatures"].items()},
            **errors, **widths, **crossed, **shares, "strange": told_apart(notes, sides),
            "groups": [dict(says=sentence) for card in groups for sentence in card["sentences"]], "written": bool(write)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ferplus", default="", help="your copy of FER+, in any of its forms")
    parser.add_argument("--pictures", default="", help="DiffusionFER's Parquet")
    parser.add_argument("--model", default="facebehaviornet-small", help="an installed network's name, or a card")
    parser.add_argument("--valid", type=int, default=3, help="one in so many pictures of FER+'s validation part")
    parser.add_argument("--train", type=int, default=30, help="one in so many of its training part")
    parser.add_argument("--work", default="runs/calibrate", help="folder for faces")
    parser.add_argument("--write", action="store_true", help="write the result into the card")
    print(json.dumps(run(**vars(parser.parse_args())), indent=2))
