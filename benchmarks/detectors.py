"""Face detectors beside each other: average precision, what they find and what they take for a face, and processor time.

`affect_nb bench detectors -s detectors="dlib_hog yunet:FILE" -s wider=ROOT`, or `python benchmarks/detectors.py --detectors dlib_hog
yunet:FILE --wider ROOT`, prints the measures; `run()` returns them. Without detectors: all that need no file and no seconds a picture.

- On photographs (`wider`: a folder in WIDER FACE's layout; `split` train or validation; `count` of its pictures, drawn with a fixed
  seed; `events`: only those, e.g. the ones that a detector has not learned from): average precision as the benchmark computes it, from
  scores far below the detector's threshold on, and on the lists of `preprocess.detection.lists_by_size`, which are ours: the release has
  none for its train part. Recall, by attribute too, and false alarms per picture are those at the detector's threshold, over all faces
  that are not marked invalid; `recall at .1 alarms` at the score from which on there is one false alarm in ten pictures. `recall .3`:
  with an overlap of .3 in place of .5, since a detector may draw another box around the same face.
- On drawn faces: recall against one exact parameter at a time, one face in a picture of 640x480 px, from an overlap of .3 on.
- Time: processor time of one thread for pictures of 640x480 px, in turn, the median over rounds, and as a ratio within the run.
"""
import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from affect_nb.preprocess.detection import false_alarms, match_pictures, recall_at, recall_by, size_classes, wider_precision
from affect_nb.preprocess.detect import Detections, Detector, create_detector, list_detectors
from affect_nb.preprocess.pictures import read_image
from affect_nb.synth.faces import Actor, Identity, Pose, Scene, render_frame
from affect_nb.synth.identity import SKIN_TONES, with_skin_tone
from affect_nb.synth.scene import grain

SLOW = ("dlib_mmod",) # seconds a picture: when named only
LOW = dict(dlib_hog=-.5, yunet=.02, ssh=.02, ssh_small=.02) # thresholds for average precision; others keep all they have
ALIKE = .3 # overlap of different boxes around the same face
BORNE = .1 # false alarms a picture, at which detectors with different thresholds are compared
FRAME = (640, 480) # px


def detectors_named(names: str | list | None = None) -> list[str]:
    """Names of detectors, in a text or a list; none: all that need neither a file nor much time."""
    if not names: return [name for name in list_detectors() if "<" not in name and name not in SLOW]
    return names.split() if isinstance(names, str) else list(names)


def titled(name: str) -> str:
    """A detector's name, without the folder of its file."""
    kind, colon, argument = name.partition(":")
    return f"{kind}{colon}{Path(argument).name}"


# photographs

COLUMNS = ("blur", "expression", "illumination", "invalid", "occlusion", "pose") # in the order of the release


def read_pictures(root: str | Path, split: str) -> tuple[list, dict | None]:
    """Pictures of a part with boxes and attributes, and the release's lists of the faces that count, where it has them."""
    from affect_nb.databases.base import open_database
    source = open_database("wider-face", root)
    return source.pictures(split), source.evaluation_lists(split) if split == "validation" else None


def chosen(pictures: list, count: int | None, events: str | list | None = None, seed: int = 0) -> list[int]:
    """Places of those of the named events (folders), and `count` of them by chance, always the same."""
    places = np.arange(len(pictures))
    if events:
        names = set(events.split(",") if isinstance(events, str) else events)
        unknown = names - {picture.file.parent.name for picture in pictures}
        if unknown: raise ValueError(f"no picture is of the events {', '.join(sorted(unknown))}")
        places = np.array([place for place in places if pictures[place].file.parent.name in names])
    if count is not None and count < len(places): places = places[np.random.default_rng(seed).choice(len(places), count, replace=False)]
    return sorted(places.tolist())


def detected(name: str, pictures: list) -> tuple[list[Detections], float]:
    """What a detector finds in pictures, also with scores far below its threshold, and that threshold."""
    kind, own = name.partition(":")[0], create_detector(name).threshold
    detector = create_detector(name, **(dict(threshold=LOW[kind]) if kind in LOW else {}))
    return [detector(read_image(picture.file)) for picture in pictures], own


def on_photographs(names: list[str], pictures: list, lists: dict | None = None) -> dict:
    """The tables of photographs: by detector, and recall by attribute; `lists` as `wider_precision` takes them."""
    valid = [~picture.invalid for picture in pictures]
    known = {name: [picture.attributes[name] for picture in pictures] for name in COLUMNS if name != "invalid"}
    known["height, px from"] = [size_classes(picture.boxes) for picture in pictures]
    table, by_attribute, truth = [], [], None
    for name in names:
        found, own = detected(name, pictures)
        truth, alike = match_pictures(found, pictures), match_pictures(found, pictures, ALIKE)
        precision = {f"AP {level}": round(value, 4) for level, value in wider_precision(found, pictures, lists).items()}
        table.append(dict(detector=titled(name), **precision, threshold=own, recall=round(recall_at(truth, own, counts=valid), 4),
                          **{f"recall at {BORNE} alarms": round(recall_at(truth, alarms=BORNE, counts=valid), 4), "recall .3": round(recall_at(alike, own, counts=valid), 4), "false alarms a picture": round(false_alarms(truth, own, valid), 3),
                             "false alarms a picture .3": round(false_alarms(alike, own, valid), 3)}))
        by_attribute += rows_by_attribute(f"{titled(name)}, ", recall_by(truth, known, own, valid), "recall")
    return {"photographs": table, "recall by attribute": by_attribute, "faces by attribute": rows_by_attribute("", recall_by(truth, known, 0, valid), "n")}


def rows_by_attribute(title: str, table, column: str) -> list[dict]:
    """A row for each attribute, with a cell for each of its values."""
    return [{"attribute": f"{title}{attribute}", **{str(value): round(cell, 4) for value, cell in zip(rows["value"], rows[column].tolist())}}
            for attribute, rows in table.groupby("attribute", sort=False)]


# drawn faces

def drawn(seed: int, height: float = 160., yaw: float = 0., blur: float = 0., tone: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A picture without noise, with one neutral person in its middle, and the true box."""
    who, (width, tall) = Identity.draw(seed), FRAME
    if tone is not None: who = with_skin_tone(who, tone)
    actor = Actor(who, pose=Pose(yaw=yaw, x=width/2, y=tall/2, height=height))
    frame = render_frame([actor], Scene(background=seed, blur=blur, noise=0.), width=width, height=tall, seed=seed)
    return frame.image, frame.box.astype(float)


def darkened(seed: int, light: float, tone: int | None = None) -> tuple:
    """Less light on everything."""
    image, box = drawn(seed, tone=tone)
    return cv2.convertScaleAbs(image, alpha=light), box


def rolled(seed: int, degrees: float) -> tuple:
    """The whole picture turned about the face, half of the people either way. The box is a square of the same area, which turning leaves as it is."""
    image, box = drawn(seed)
    centre, half = (box[:2] + box[2:])/2, np.sqrt(np.prod(box[2:] - box[:2]))/2
    turn = cv2.getRotationMatrix2D(tuple(centre.tolist()), degrees if seed % 2 else -degrees, 1)
    return cv2.warpAffine(image, turn, FRAME, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.r_[centre - half, centre + half]


def covered(seed: int, share: float) -> tuple:
    """A share of the height of the face hidden from the chin up, by a plain colour."""
    image, box = drawn(seed)
    (left, _, right, bottom), height = box.round().astype(int).tolist(), box[3] - box[1]
    if share: image[round(bottom - share*height):bottom + 1, left:right + 1] = np.random.default_rng([seed, 7]).integers(20, 230, 3)
    return image, box


AXES = { # what changes -> its values, and the picture and the true box of a seed at one of them
    "light, share": ((1., .5, .25, .12, .06, .03), darkened),
    "roll, degrees": ((0, 15, 30, 45, 60, 90, 135, 180), rolled),
    "yaw, degrees": ((0, 5, 10, 15, 20, 25), lambda seed, degrees: drawn(seed, yaw=degrees)), # what `Pose` can turn to
    "blur, px of 160": ((0, 1, 2, 4, 8, 12), lambda seed, spread: drawn(seed, blur=spread)),
    "hairline to chin, px": ((320, 160, 80, 40, 28, 20, 14, 10), lambda seed, height: drawn(seed, height=height)),
    "hidden from below, share": ((0, .2, .4, .6, .8), covered),
    "skin tone, light to very dark": (tuple(range(len(SKIN_TONES))), lambda seed, tone: drawn(seed, tone=tone)),
    "skin tone, at .12 of the light": (tuple(range(len(SKIN_TONES))), lambda seed, tone: darkened(seed, .12, tone)),
}


def sweep(detectors: dict[str, Detector], draw: Callable, values, n: int) -> dict[str, tuple[list, int]]:
    """By detector: recall at each value, and all false alarms."""
    every = {name: ([], 0) for name in detectors}
    for value in values:
        pictures, boxes = zip(*[draw(seed, value) for seed in range(n)])
        pictures = [grain(picture, 2., seed) for seed, picture in enumerate(pictures)] # a camera's noise, whatever the light
        for name, detector in detectors.items():
            matches = match_pictures([detector(picture) for picture in pictures], [box[None] for box in boxes], ALIKE)
            recalls, alarms = every[name]
            every[name] = [*recalls, round(recall_at(matches, -np.inf), 4)], alarms + int((matches.verdicts() < 0).sum())
    return every


def on_drawn_faces(names: list[str], n: int) -> dict:
    """The tables of drawn faces: recall by value, and false alarms."""
    detectors, rows, alarms = {titled(name): create_detector(name) for name in names}, [], dict.fromkeys(map(titled, names), 0)
    for axis, (values, draw) in AXES.items():
        for name, (recalls, wrong) in sweep(detectors, draw, values, n).items():
            rows.append({"axis": f"{name}, {axis}", **{f"{value:g}": recall for value, recall in zip(values, recalls)}})
            alarms[name] += wrong
    shown = n*sum(len(values) for values, _ in AXES.values())
    return {"recall on drawn faces": rows, "false alarms on drawn faces": [dict(detector=name, pictures=shown, number=wrong) for name, wrong in alarms.items()]}


# time

def seconds_a_frame(detectors: dict[str, Detector], rounds: int, least: float = .2) -> dict[str, float]:
    """Processor time for a picture, the median over rounds in which the detectors take turns; a clock tick is 10 ms."""
    pictures = [grain(drawn(seed)[0], 2., seed) for seed in range(4)]
    threads, taken = cv2.getNumThreads(), {name: [] for name in detectors}
    cv2.setNumThreads(1)
    if "torch" in sys.modules: sys.modules["torch"].set_num_threads(1)
    for number in range(rounds + 1):
        for name, detector in detectors.items():
            start, done = time.process_time(), 0
            while (spent := time.process_time() - start) < least or done % len(pictures):
                detector(pictures[done % len(pictures)])
                done += 1
            if number: taken[name].append(spent/done) # the first round loads and warms up
    cv2.setNumThreads(threads)
    return {name: float(np.median(values)) for name, values in taken.items()}


def timed(names: list[str], rounds: int) -> dict:
    """The table of times, as ratios to YuNet where it is among them, else to the first."""
    seconds = seconds_a_frame({titled(name): create_detector(name) for name in names}, rounds)
    basis = next((name for name in seconds if name.startswith("yunet:")), next(iter(seconds)))
    rows = [{"detector": name, "ms a frame": round(1000*value, 2), "ratio": round(value/seconds[basis], 2)} for name, value in seconds.items()]
    return {"time at 640x480, one thread": rows, "ratios are to": basis}


def run(detectors: str | list | None = None, wider: str | Path | None = None, split: str = "train", count: int | None = None,
        events: str | list | None = None, faces: int = 20, rounds: int = 7, seed: int = 0) -> dict:
    """All tables: of photographs where `wider` is given, of `faces` drawn people for each value, and of times."""
    names, figures = detectors_named(detectors), {}
    for name in names: create_detector(name) # a wrong name is told before anything is measured
    if wider:
        everything, lists = read_pictures(wider, split)
        places = chosen(everything, count and int(count), events, int(seed))
        pictures = [everything[place] for place in places]
        if lists: lists = {level: [masks[place] for place in places] for level, masks in lists.items()}
        figures |= dict(data=f"WIDER FACE's layout, {split}, {len(pictures)} pictures of {len({p.event for p in pictures})} events",
                        lists="of the release" if lists else "by size and occlusion (ours)")
        figures |= on_photographs(names, pictures, lists)
    if faces: figures |= on_drawn_faces(names, int(faces))
    if rounds: figures |= timed(names, int(rounds))
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", metavar="NAME", help="as create_detector takes them, e.g. dlib_hog yunet:FILE")
    parser.add_argument("--wider", metavar="ROOT", help="pictures and boxes in WIDER FACE's layout")
    parser.add_argument("--split", default="train", choices=("train", "validation"))
    parser.add_argument("--count", type=int, help="so many of the pictures, by chance; none: all")
    parser.add_argument("--events", help="only pictures of these, separated by commas")
    parser.add_argument("--faces", type=int, default=20, help="drawn people for each value; 0: none")
    parser.add_argument("--rounds", type=int, default=7, help="of the times; 0: none are taken")
    parser.add_argument("--seed", type=int, default=0, help="by which pictures are chosen")
    print(json.dumps(run(**vars(parser.parse_args())), indent=1))
