"""A drawn film with sound and everything that the player shows of it: faces, predictions, labels."""
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from affect_nb.analysis.columns import EXPRESSION_COLUMNS
from affect_nb.preprocess.align import estimate_transform, five_points
from affect_nb.preprocess.face_store import FaceStoreWriter
from affect_nb.synth.films import Person, VideoPlan, draw_video, episode_of, sound_of
from affect_nb.files.film import FilmWriter

RATE = 44100 # Hz
LOST = (60, 75) # frames in which the right face is lost
AUS = (1, 4, 6, 12, 25)


def draw_clip(folder:Path, name:str="talk", seconds:float=6., fps:float=25., gap:float=0.)->Path:
    """<name>.mp4 with two people and their voices; <name>.csv and faces/<name>.arrow in predicted/; <name>.labels.csv of the left one.

    `gap`: seconds without a new frame in the middle, as phones write them."""
    people = (Person(name, "S001", 3, 11), Person(f"{name}_right", "S002", 8, 12))
    plan = VideoPlan("drawn", name, 1, "train", people, round(seconds*fps), fps, 480, 270, .1, 5)
    film, sound, rows = folder/f"{name}.mp4", sound_of(plan, RATE), []
    (folder/"predicted"/"faces").mkdir(parents=True, exist_ok=True)
    about = dict(source=dict(path=str(film)))
    with (FilmWriter(film, plan.width, plan.height, fps=fps, rate=RATE) as writer,
          FaceStoreWriter(folder/"predicted"/"faces"/f"{name}.arrow", name, about=about) as store):
        for frame, drawn in enumerate(draw_video(plan)):
            time = frame/fps + gap*(frame >= plan.n_frames//2)
            writer.add(drawn.image, time if gap else None)
            writer.add_sound(sound[writer.n_samples:round((frame + 1)/fps*RATE)])
            for number, face in enumerate(drawn.faces): rows.append(store_face(store, frame, time, number, face, drawn.image))
    table = predicted(pd.DataFrame(rows), plan).assign(file=str(film))
    table.to_csv(folder/"predicted"/f"{name}.csv", index=False, float_format="%.4f")
    labels_of(plan).to_csv(folder/f"{name}.labels.csv", index=False)
    return film


def store_face(store, frame, time, number, face, image)->dict:
    "Keep a face, or that it was lost; its row of the table."
    place = dict(frame=frame, time_s=time, face_id=number)
    if number and LOST[0] <= frame < LOST[1]:
        store.add(frame, time, number, "lost")
        return place | dict(status="lost")
    matrix = estimate_transform(five_points(face.landmarks))
    store.add(frame, time, number, "ok", cv2.warpAffine(image, matrix, (96, 96)), box=face.box, landmarks=face.landmarks,
              crop_landmarks=face.landmarks @ matrix[:, :2].T + matrix[:, 2])
    return place | dict(status="ok", **dict(zip(("box_x1_px", "box_y1_px", "box_x2_px", "box_y2_px"), face.box.tolist())))


def predicted(rows:pd.DataFrame, plan)->pd.DataFrame:
    "What was drawn as predictions, with a little noise; nothing where a face was lost."
    rng = np.random.default_rng(0)
    parts = []
    for number, person in enumerate(plan.people):
        mine, episode = rows[rows["face_id"] == number].copy(), episode_of(plan, person)
        va = np.clip(episode.va + rng.normal(0, .04, (plan.n_frames, 2)), -1, 1)
        names = dict(valence=va[:, 0], arousal=va[:, 1])
        chances = np.full((plan.n_frames, 7), .05)
        chances[np.arange(plan.n_frames), np.asarray(episode.expression)] = .7
        names |= dict(zip(EXPRESSION_COLUMNS, chances.T))
        names |= {f"prob_au{au}": np.clip(episode.aus[:, drawn_place(au)]/5 + rng.normal(0, .05, plan.n_frames), 0, 1) for au in AUS}
        for name, values in names.items(): mine[name] = np.where(mine["status"] == "ok", values[mine["frame"]], np.nan)
        parts.append(mine)
    return pd.concat(parts).sort_values(["frame", "face_id"], ignore_index=True)


def labels_of(plan)->pd.DataFrame:
    "Labels of the left person; from 4 s to 5 s they say the opposite."
    episode = episode_of(plan, plan.people[0])
    va = np.array(episode.va)
    wrong = slice(round(4*plan.fps), round(5*plan.fps))
    va[wrong, 0] = np.where(va[wrong, 0] < 0, .9, -.9)
    table = pd.DataFrame(dict(frame=np.arange(plan.n_frames), valence=va[:, 0], arousal=va[:, 1], expression=np.asarray(episode.expression)))
    return table.assign(**{f"au{au}": (episode.aus[:, drawn_place(au)] >= 2).astype(float) for au in AUS})


def drawn_place(au):
    "The place of an AU in what an episode draws."
    from affect_nb.synth.action_units import DRAWN_AUS
    return DRAWN_AUS.index(au)
