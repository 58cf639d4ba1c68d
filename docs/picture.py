"""Draws docs/affect_nb.png, the README's picture: what the installed network says of drawn people. `python docs/picture.py`"""
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from affect_nb.analysis.plots import plot_va_trace
from affect_nb.apps.predictor import Predictor
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.preprocess.frames import landmarks_array
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.video import VideoReader
from affect_nb.synth.films import Person, VideoPlan, episode_of, film_video

SEED, FRAMES, FPS = 7, 175, 25.


def plan_of(number):
    "A film of one person."
    person = Person(clip=f"clip{number}", subject=f"clip{number}", identity=SEED*1000 + number, seed=SEED*1000 + number)
    return VideoPlan(database="drawn", name=person.clip, number=number + 1, split="test", people=(person,), seed=SEED*1000 + number,
                     n_frames=FRAMES, fps=FPS, width=256, height=256, difficulty=.3)


def draw_face(top, bottom, store, table, row, drawn):
    "A frame with the landmarks found in it; the crop, and what the network says of it."
    frame = int(store.frames.frame[row])
    image = next(one.image for one in VideoReader(store.about["source"]["path"]) if one.index == frame)
    top.imshow(image)
    top.scatter(*landmarks_array(store.frames.iloc[[row]])[0].T, s=2.5, color="#50dc78")
    bottom.imshow(store.read(row, row + 1)[0])
    said = table.iloc[row]
    share = said[f"prob_{said.expression.lower()}"]
    bottom.set_title(f"{said.expression} {share:.0%}\n(drawn: {drawn})", fontsize=8)
    for ax in (top, bottom): ax.axis("off")


def picture(folder, clips=5):
    "Frames, crops with predictions, one trace; of each person a moment with an expression that is not shown yet."
    predictor = Predictor.load(device="cpu", precision="float32")
    fig = plt.figure(figsize=(9, 5.6), layout="constrained")
    grid, shown = fig.add_gridspec(3, clips, height_ratios=[1.2, 1.2, 1.1]), set()
    for column in range(clips):
        plan = plan_of(column)
        film_video(plan, folder/f"{plan.name}.mp4")
        store, = preprocess(folder/f"{plan.name}.mp4", folder/"faces", progress=False).stores
        table, truth = predictor.predict_store(store), episode_of(plan, plan.people[0])
        strength = np.abs(truth.va[:len(store)]).sum(1)*(table.status == "ok").to_numpy()
        fresh = ~np.isin(truth.expression[:len(store)], list(shown))
        row = int(np.argmax(strength*fresh if (strength*fresh).any() else strength))
        shown.add(int(truth.expression[row]))
        drawn = EXPRESSIONS[int(truth.expression[row])]
        draw_face(fig.add_subplot(grid[0, column]), fig.add_subplot(grid[1, column]), store, table, row, drawn)
        if column: continue
        said = table[["valence", "arousal"]].to_numpy()
        plot_va_trace(table["time"].to_numpy(), said, truth.va[table["frame"]], ax=fig.add_subplot(grid[2, :]))
    return fig


if __name__ == "__main__":
    path = Path(__file__).with_name("affect_nb.png")
    with tempfile.TemporaryDirectory() as folder: picture(Path(folder)).savefig(path, dpi=80)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True) # a third of the bytes
