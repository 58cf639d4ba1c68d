"Preprocessing: real images and clips, bad input, interrupted jobs, several faces."
import json
import os
import signal
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from affect_nb.files.film import write_film
from affect_nb.preprocess.align import FRONTAL, align_face, estimate_transform
from affect_nb.preprocess.audio import read_audio
from affect_nb.preprocess.detect import box_overlap, create_detector, list_detectors
from affect_nb.preprocess.frames import FRAME_COLUMNS, SOUND, STATUS, landmarks_array
from affect_nb.preprocess.landmarks import landmark_error
from affect_nb.preprocess.pipeline import _is_unchanged, fingerprint, preprocess, preprocess_clip
from affect_nb.preprocess.sound import sound_beside
from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
from affect_nb.preprocess.track import FaceTracker
from affect_nb.preprocess.pictures import read_image
from affect_nb.preprocess.video import VideoReader
from affect_nb.synth.faces import Actor, Identity, Pose, Scene, render_frame

SMALL = dict(detector_options=dict(upsample=0), progress=False)


def drawn_frame(number, people=1, width=240, height=180):
    heads = [Actor(Identity.draw(11 + n), {12: 2 + 2*np.sin(number/5)}, Pose(yaw=10*np.sin(number/9), x=width*(n + .5)/people + number/2, y=height/2 + 5, height=110)) for n in range(people)]
    return render_frame(heads, Scene.draw(4, 0.), width, height, seed=number)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    "40 frames of one drawn face."
    path = tmp_path_factory.mktemp("clip")/"one.mp4"
    write_film(path, (drawn_frame(number).image for number in range(40)), fps=25)
    return path


# real images

@pytest.mark.parametrize("name, faces", [("obama.jpg", 1), ("biden.jpg", 1), ("two_people.jpg", 2), ("pyfeat_single_face.jpg", 1),
                                         ("no_face_grass.jpg", 0), ("no_face_mountain.jpg", 0)])
def test_faces_of_images(real, tmp_path, name, faces):
    result = preprocess(real/"images"/name, tmp_path, progress=False)
    found = result.frames.query("status == 'ok'")
    assert len(found) == faces
    assert len(result.frames) == max(1, faces)
    assert set(result.frames.status) == {"ok" if faces else "no_face"}


def test_a_man_in_the_dark(real, tmp_path):
    "Behind Einstein a man sits, 61 px from hairline to chin, turned away too far for landmarks."
    frames = preprocess(real/"images"/"einstein.jpg", tmp_path, progress=False).frames
    assert frames.status.tolist() == ["ok", "poor_fit"] and 130 < frames.box_x1[1] < 150


def test_dogs_are_no_people(real, tmp_path):
    "The earlier default takes none of four dogs for a person; the present one one at most."
    found = {name: (preprocess(real/"images"/"dogs.jpg", tmp_path/name, progress=False, detector=name).frames.status == "ok").sum() for name in ("dlib_hog", "ssh_small")}
    assert found["dlib_hog"] == 0 and found["ssh_small"] <= 1


def test_landmarks_of_einstein(real, tmp_path):
    "The hand-set points count pixels from 1, as all .pts files do."
    text = (real/"images"/"einstein.pts").read_text().split("{")[1].split("}")[0]
    true = np.array([line.split() for line in text.strip().splitlines()], float) - 1
    found = landmarks_array(preprocess(real/"images"/"einstein.jpg", tmp_path, progress=False).frames)
    assert landmark_error(found[0], true) < .06


def test_dlib_example_faces(real):
    "Most faces that a person marked are found, in dlib's own test images."
    import xml.etree.ElementTree as tree
    found, marked = 0, 0
    for image in tree.parse(real/"images"/"dlib_testing_boxes.xml").iter("image"):
        boxes = [[float(box.get(side)) for side in ("left", "top", "width", "height")] for box in image.iter("box") if box.get("ignore") != "1"]
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes])
        seen = create_detector("dlib_hog")(read_image(real/"images"/image.get("file"))).boxes
        marked += len(boxes)
        found += int((box_overlap(boxes, seen).max(1, initial=0) > .3).sum())
    assert found >= .9*marked


def test_four_channels(real, tmp_path):
    assert read_image(real/"images"/"32bit.png").shape == (1200, 626, 3)
    assert len(preprocess(real/"images"/"32bit.png", tmp_path, progress=False).frames.query("status == 'ok'")) == 1


@pytest.mark.parametrize("change", ["rgba", "gray", "deep", "exif", "palette", "cmyk"])
def test_modes_of_images(tmp_path, change):
    picture = Image.fromarray(drawn_frame(0).image)
    path = tmp_path/("face.jpg" if change in ("exif", "cmyk") else "face.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    changed = dict(rgba=lambda: picture.convert("RGBA"), gray=lambda: picture.convert("L"), palette=lambda: picture.convert("P"), cmyk=lambda: picture.convert("CMYK"),
                   deep=lambda: Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16)*257), exif=lambda: picture.transpose(Image.ROTATE_90))
    changed[change]().save(path, **(dict(exif=exif) if change == "exif" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8 and image.shape == (180, 240, 3)
    expected = np.asarray(picture.convert("L").convert("RGB") if change in ("gray", "deep") else picture)
    assert np.abs(image.astype(int) - expected).mean() < 25
    assert len(preprocess(path, tmp_path/"faces", progress=False).frames.query("status == 'ok'")) == 1


# real clips

def test_clip_without_faces(real, tmp_path):
    n_frames = len(list(VideoReader(real/"videos"/"no_face.mp4")))
    result = preprocess(real/"videos"/"no_face.mp4", tmp_path/"hog", progress=False, detector="dlib_hog")
    assert len(result.frames) == n_frames
    assert set(result.frames.status) == {"no_face"} and set(result.frames.face_id) == {-1}
    assert not result.stores[0].present(0, len(result.stores[0])).any()
    by_default = preprocess(real/"videos"/"no_face.mp4", tmp_path/"ssh", progress=False).frames # letters of a title move
    assert set(by_default.status) == {"no_face"} and len(by_default) == n_frames


def test_clip_with_one_face(real, tmp_path):
    result = preprocess(real/"videos"/"single_face.mp4", tmp_path, progress=False)
    frames = result.frames
    assert frames.status.tolist() == ["ok"]*72 and set(frames.face_id) == {0}
    assert np.allclose(np.diff(frames.time), 1/30, atol=1e-3)
    faces = result.stores[0].read(0, 72)
    assert faces.shape == (72, 96, 96, 3) and faces.std() > 20


def test_people_in_the_street_keep_their_identities(real, tmp_path):
    "Against detection on every frame: a detection belongs to one identity only, and an identity does not jump."
    store = preprocess_clip(real/"videos"/"street_crowd.mp4", tmp_path/"street.arrow")
    frames = store.frames.query("status == 'ok'")
    assert len(store.faces) >= 4 and frames.groupby("frame").face_id.nunique().max() >= 3
    for _, face in frames.groupby("face_id"):
        middle = face[["box_x1", "box_y1", "box_x2", "box_y2"]].to_numpy() @ np.array([[.5, 0], [0, .5], [.5, 0], [0, .5]])
        steps = np.linalg.norm(np.diff(middle, axis=0), axis=1)/np.diff(face.frame)
        assert (steps < .6*(face.box_x2 - face.box_x1).to_numpy()[1:]).all()
    for _, together in frames.groupby("frame"):
        boxes = together[["box_x1", "box_y1", "box_x2", "box_y2"]].to_numpy()
        assert (box_overlap(boxes, boxes) - np.eye(len(boxes))).max() < .5


def test_landmarks_carried_are_landmarks_searched(real, tmp_path):
    video, short = real/"videos"/"single_face.mp4", dict(progress=False)
    carried = preprocess(video, tmp_path/"carried", **short).frames
    searched = preprocess(video, tmp_path/"searched", detect_every=1, **short).frames
    assert landmark_error(landmarks_array(carried), landmarks_array(searched)).mean() < .03


def test_sound_of_real_clips(real):
    audio = read_audio(real/"videos"/"WolfgangLanger_Pexels.mp4")
    assert audio.rate == 44100 and abs(audio.duration - 19.7) < .3
    assert np.abs(audio.samples).max() <= 1


def test_sound_of_a_real_clip_in_the_frame_table(real, tmp_path):
    "The sound of this clip starts 10 ms after the picture."
    result = preprocess(real/"videos"/"street_crowd.mp4", tmp_path, **SMALL)
    assert abs(sound_beside(result.stores[0].path).about["start"] - .01) < .001
    assert result.frames.sound.iloc[0] == "ok" and set(result.frames.sound) <= set(SOUND)
    assert set(result.frames.sound_tracks) == {1} and set(result.frames.sound_channels) == {2}


# bad input

def test_bad_files_are_named(tmp_path):
    (tmp_path/"empty.mp4").touch()
    (tmp_path/"letter.mp4").write_text("Dear reader\n"*50)
    (tmp_path/"letter.jpg").write_text("Dear reader\n"*50)
    for name, reason in (("gone.mp4", "no such file"), ("empty.mp4", "is empty"), ("letter.mp4", "is no video"), ("letter.jpg", "is no image")):
        with pytest.raises(ValueError, match=f"{name}.*{reason}"): preprocess(tmp_path/name, tmp_path/"faces", progress=False)
    with pytest.raises(ValueError, match="no clip"):
        (tmp_path/"nothing").mkdir()
        preprocess(tmp_path/"nothing", tmp_path/"faces")
    with pytest.raises(ValueError, match="allowed are affine, similarity"): preprocess(tmp_path/"letter.mp4", tmp_path/"faces", transform="none")
    assert not list((tmp_path/"faces").glob("*.arrow")) and not list((tmp_path/"faces").glob(".part-*"))


def test_sound_only_is_no_video(tmp_path):
    with av.open(str(tmp_path/"tone.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(ValueError, match="no video stream, only audio"): VideoReader(tmp_path/"tone.wav")


def cut(source, target, share=.5):
    target.write_bytes(source.read_bytes()[:int(source.stat().st_size*share)])
    return target


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_clip_cut_in_half_keeps_its_first_part(tmp_path, clip, ending):
    "The index of the .mp4 lies in front, so that the first half can be read at all."
    whole = tmp_path/f"whole.{ending}"
    with av.open(str(clip)) as source, av.open(str(whole), "w", options=dict(movflags="faststart") if ending == "mp4" else {}) as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None: packet.stream = target; out.mux(packet)
    result = preprocess(cut(whole, tmp_path/f"half.{ending}"), tmp_path/"faces", **SMALL)
    kept = result.frames.frame.max() + 1
    assert 5 < kept < 38
    assert (result.frames.status == "ok").all()
    assert "half" in result.skipped[0].source and str(kept) in result.skipped[0].reason
    assert "half" in (tmp_path/"faces"/"skipped.json").read_text()


def test_clip_whose_index_was_cut_off(real, tmp_path):
    half = cut(real/"videos"/"single_face.mp4", tmp_path/"half.mp4")
    with pytest.raises(ValueError, match="half.mp4 is no video"): preprocess(half, tmp_path/"faces", progress=False)


def test_batch_goes_on(tmp_path, clip):
    clips = tmp_path/"clips"
    clips.mkdir()
    (clips/"a_good.mp4").write_bytes(clip.read_bytes())
    (clips/"b_empty.mp4").touch()
    (clips/"c_letter.mp4").write_text("Dear reader\n"*50)
    (clips/"d_good.mp4").write_bytes(clip.read_bytes())
    for workers in (1, 2):
        result = preprocess(clips, tmp_path/f"faces{workers}", workers=workers, **SMALL)
        assert [store.clip for store in result.stores] == ["a_good", "d_good"]
        assert sorted(entry.source.split("/")[-1] for entry in result.skipped) == ["b_empty.mp4", "c_letter.mp4"]
        assert len(json.loads((tmp_path/f"faces{workers}"/"skipped.json").read_text())) == 2
        assert len(pd.read_parquet(tmp_path/f"faces{workers}"/"frames.parquet")) == len(result.frames) == 80


# interrupted jobs

JOB = "import sys; from affect_nb.preprocess.pipeline import preprocess; preprocess(sys.argv[1], sys.argv[2], progress=False, detector_options=dict(upsample=0))"


@pytest.mark.alone
def test_killed_job_goes_on_where_it_stopped(tmp_path, clip):
    clips, faces = tmp_path/"clips", tmp_path/"faces"
    clips.mkdir()
    for number in range(6): (clips/f"clip{number}.mp4").write_bytes(clip.read_bytes())
    job = subprocess.Popen([sys.executable, "-c", JOB, clips, faces], env=dict(os.environ, OMP_NUM_THREADS="1"))
    deadline = time.time() + 60
    while not list(faces.glob("clip1.arrow")) and job.poll() is None and time.time() < deadline: time.sleep(.01)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in faces.glob("[!.]*.arrow")}
    assert "clip0.arrow" in finished
    for name in finished: assert len(FaceStore.open(faces/name)) == 40
    result = preprocess(clips, faces, **SMALL)
    assert len(result.stores) == 6 and not result.skipped
    assert all((faces/name).stat().st_mtime_ns == changed for name, changed in finished.items())
    assert not list(faces.glob(".part-*"))


def test_changed_source_or_setting_is_done_again(tmp_path, clip):
    source = tmp_path/"one.mp4"
    source.write_bytes(clip.read_bytes())
    def changed(**options):
        preprocess(source, tmp_path/"faces", **SMALL, **options)
        return (tmp_path/"faces"/"one.arrow").stat().st_mtime_ns
    first = changed()
    assert changed() == first
    second = changed(encoding="raw")
    assert second > first
    os.utime(source, (1, 1))
    assert changed(encoding="raw") > second


# stores

def test_a_folder_under_another_spelling_is_not_done_again(tmp_path, clip, monkeypatch):
    "Relative, absolute, from another folder; a store of before, that did not note where its source lies, is its own too."
    (tmp_path/"films").mkdir()
    (tmp_path/"elsewhere").mkdir()
    (tmp_path/"films"/"talk.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    store = preprocess("films", tmp_path/"out").stores[0].path
    before = store.stat().st_mtime_ns
    assert preprocess(tmp_path/"films", tmp_path/"out").account.kept == 1
    monkeypatch.chdir(tmp_path/"elsewhere")
    assert preprocess("../films", tmp_path/"out").account.kept == 1 and store.stat().st_mtime_ns == before
    monkeypatch.chdir(tmp_path)
    made_from = dict(FaceStore.open(store).about["source"])
    now = fingerprint(tmp_path/"films"/"talk.mp4")
    assert _is_unchanged(made_from, now) and _is_unchanged({name: fact for name, fact in made_from.items() if name != "at"}, now)
    assert not _is_unchanged(made_from | dict(bytes=1), now) and not _is_unchanged(made_from, now | dict(at="/other/talk.mp4"))


def test_store_keeps_order_with_many_faces(tmp_path):
    rng = np.random.default_rng(0)
    with FaceStoreWriter(tmp_path/"many.arrow", clip="many", encoding="raw", batch=4) as writer:
        for frame in range(30):
            for face in rng.permutation(9)[:rng.integers(0, 9)]:
                writer.add(frame, frame/30, int(face), "ok", np.full((96, 96, 3), 10*face + frame % 10, np.uint8))
    store = FaceStore.open(tmp_path/"many.arrow")
    keys = list(zip(store.frames.face_id, store.frames.frame))
    assert keys == sorted(keys)
    assert (store.read(0, len(store))[:, 0, 0, 0] == [10*face + frame % 10 for face, frame in keys]).all()
    assert tuple(store.frames.columns) == FRAME_COLUMNS and set(store.frames.status) <= set(STATUS)
    assert set(store.frames.sound) == {""}


def test_store_travels_to_another_process(tmp_path):
    import pickle
    with FaceStoreWriter(tmp_path/"one.arrow", clip="one") as writer: writer.add(0, 0., 0, "ok", np.zeros((96, 96, 3), np.uint8))
    store = pickle.loads(pickle.dumps(FaceStore.open(tmp_path/"one.arrow")))
    assert len(store) == 1 and store.present(0, 1).all()


# alignment

def slow_umeyama(start, end):
    "Umeyama 1991 as printed, with a singular value decomposition."
    mean_start, mean_end = start.mean(0), end.mean(0)
    covariance = (end - mean_end).T @ (start - mean_start)/len(start)
    left, values, right = np.linalg.svd(covariance)
    signs = np.diag([1, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ signs @ right
    scale = np.trace(np.diag(values) @ signs)/np.square(start - mean_start).sum(1).mean()
    return np.c_[scale*turn, mean_end - scale*turn @ mean_start]


def test_transforms_against_second_implementations():
    rng = np.random.default_rng(1)
    for _ in range(20):
        points = rng.normal(100, 40, (5, 2))
        assert np.allclose(estimate_transform(points, "similarity"), slow_umeyama(points, FRONTAL), atol=1e-9)
        design = np.zeros((10, 6))
        design[::2, :3] = design[1::2, 3:] = np.c_[points, np.ones(5)]
        assert np.allclose(estimate_transform(points, "affine").ravel(), np.linalg.solve(design.T @ design, design.T @ FRONTAL.ravel()), atol=1e-6)


def test_degenerate_landmarks_are_a_status(tmp_path):
    with pytest.raises(ValueError, match="one line"): align_face(np.zeros((50, 50, 3), np.uint8), np.ones((68, 2)))
    from affect_nb.preprocess.pipeline import crop_face
    from affect_nb.preprocess.track import TrackedFace
    from affect_nb.preprocess.video import VideoFrame
    flat = TrackedFace(0, np.zeros(4), 1., np.ones((68, 2), np.float32), "ok")
    assert crop_face(VideoFrame(0, 0., np.zeros((50, 50, 3), np.uint8)), flat, "affine") == dict(status="degenerate")


def test_face_outside_of_the_frame_is_black():
    crop, _ = align_face(np.full((80, 80, 3), 200, np.uint8), drawn_frame(0).faces[0].landmarks + 2000)
    assert not crop.any()


# detectors

@pytest.mark.parametrize("name", [name for name in list_detectors() if "<" not in name]) # with a file: tests/test_detection.py
def test_every_detector(name):
    drawn = drawn_frame(0)
    for image in (drawn.image, cv2.cvtColor(drawn.image, cv2.COLOR_RGB2GRAY)):
        found = create_detector(name, upsample=0)(image)
        assert found.boxes.dtype == np.float32 and (np.diff(found.scores) <= 0).all()
        assert box_overlap([drawn.faces[0].box], found.boxes).max() > .3
    tracked = FaceTracker(create_detector(name, upsample=0)).update(drawn.image)
    assert landmark_error(tracked[0].landmarks, drawn.faces[0].landmarks) < .08


def test_two_neighbours_keep_their_identities(tmp_path):
    write_film(tmp_path/"two.mp4", (drawn_frame(number, 2, 300).image for number in range(40)), fps=25)
    frames = preprocess(tmp_path/"two.mp4", tmp_path/"faces", **SMALL).frames
    middle = frames.assign(x=(frames.box_x1 + frames.box_x2)/2).pivot(index="frame", columns="face_id", values="x")
    assert middle.shape == (40, 2) and middle.notna().all().all()
    assert len(set(np.sign(middle[1] - middle[0]))) == 1
