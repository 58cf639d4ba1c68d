"""Drawn faces: how fast they are rendered on one core, how often dlib finds them, how well dlib's landmarks agree."""
import time

import cv2
import dlib
import numpy as np

from affect_nb.preprocess.landmarks import find_landmark_model
from affect_nb.synth.faces import DEFAULT_DIFFICULTY, Identity, Pose, Scene, draw_aus, draw_face, render_face


def speed(n:int=200, # faces of each kind
         )->dict:
    "Faces per second of processor time (one thread) at 256x256: one person in one scene, and everybody new."
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    draw_face(0)
    who, scene = Identity.draw(1), Scene.draw(1)
    kinds = {"video": lambda i: render_face(draw_aus(i), who, Pose.draw(i), scene, seed=i), "new": lambda i: draw_face(1000 + i)}
    rates = {}
    for kind, draw in kinds.items():
        start = time.process_time()
        for i in range(n): draw(i)
        rates[kind] = n/(time.process_time() - start)
    cv2.setNumThreads(threads)
    return rates


def overlap(a, b):
    "Intersection over union of two boxes."
    shared = np.prod(np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])))
    return shared/(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def agreement(n:int=500, difficulty:float=DEFAULT_DIFFICULTY)->dict:
    "Share of random faces that dlib's HOG detector finds, and the mean error of dlib's landmarks on these."
    detector, model, errors = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(find_landmark_model())), []
    for seed in range(n):
        drawn = draw_face(seed, difficulty)
        for box in detector(drawn.image, 0):
            if overlap(np.array([box.left(), box.top(), box.right(), box.bottom()]), drawn.box) > .5:
                found = np.array([(p.x, p.y) for p in model(drawn.image, box).parts()], float)
                errors.append(np.linalg.norm(found - drawn.landmarks, axis=1).mean()/np.linalg.norm(drawn.landmarks[45] - drawn.landmarks[36]))
                break
    return dict(found=len(errors)/n, landmark_error=float(np.mean(errors)))


def run()->dict:
    "All measures of the drawn faces."
    rates, truth = speed(), agreement()
    return dict(faces_per_second=round(rates["video"], 1), faces_per_second_all_new=round(rates["new"], 1),
                detected=round(truth["found"], 4), landmark_error=round(truth["landmark_error"], 4), faces=500, difficulty=DEFAULT_DIFFICULTY)


if __name__ == "__main__":
    for name, value in run().items(): print(f"{name:28} {value}")
