"""Draws docs/affect_nb.png, the README's picture, from a demo run: `python docs/picture.py runs/demo`."""
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from affect_nb.analysis.plots import plot_va_trace
from affect_nb.apps.predict import Predictor
from affect_nb.databases.base import open_database
from affect_nb.preprocess.frames import landmarks_array
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.preprocess.video import VideoReader


def draw_face(top, bottom, store, row):
    "A frame with the landmarks found in it, and the crop that the network reads."
    frame = int(store.frames.frame[row])
    picture = next(one.image for one in VideoReader(store.about["source"]["path"]) if one.index == frame)
    top.imshow(picture)
    top.scatter(*landmarks_array(store.frames.iloc[[row]])[0].T, s=2.5, color="#50dc78")
    bottom.imshow(store.read(row, row + 1)[0])
    for ax in (top, bottom): ax.axis("off")


def picture(run_dir, clips=5):
    "Frames, crops, and one trace of a person the network has never seen."
    prepared = json.loads((run_dir/"data.json").read_text())
    source = open_database(prepared["database"], prepared["folder"])
    test = [clip for clip in source.clips if clip.split == "test"][:clips]
    fig = plt.figure(figsize=(9, 5.2), layout="constrained")
    grid = fig.add_gridspec(3, clips, height_ratios=[1.2, 1.2, 1.1])
    for column, clip in enumerate(test):
        store = FaceStore.open(run_dir/"faces"/f"{clip.stem}.arrow")
        strongest = int(np.nanargmax(np.abs(source.labels(clip)[["valence", "arousal"]].to_numpy()).sum(1)[:len(store)]))
        row = min(strongest, len(store) - 1)
        draw_face(fig.add_subplot(grid[0, column]), fig.add_subplot(grid[1, column]), store, row)
    clip = test[0]
    rows = Predictor.load(run_dir/"weights"/"affwildnet_vgg.json", device="cpu").predict_store(FaceStore.open(run_dir/"faces"/f"{clip.stem}.arrow"))
    joined = rows.merge(source.labels(clip), on="frame", suffixes=("_pred", ""))
    plot_va_trace(joined["time"].to_numpy(), joined[["valence_pred", "arousal_pred"]].to_numpy(), joined[["valence", "arousal"]].to_numpy(), ax=fig.add_subplot(grid[2, :]))
    return fig


if __name__ == "__main__":
    path = Path(__file__).with_name("affect_nb.png")
    picture(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")).savefig(path, dpi=80)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True) # a third of the bytes
