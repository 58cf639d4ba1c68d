"Tables that other programs write today: py-feat's Detectorv2 and MPDetector, LibreFace, scripts with OpenFace 3."
import numpy as np
import pandas as pd
import pytest

from affect_nb.core.labels import EXPRESSIONS
from affect_nb.databases.label_files import ReadingLog
from affect_nb.databases.peers import mesh_landmarks, peer_labels, peer_stores, read_peer
from affect_nb.preprocess.frames import landmarks_array
from affect_nb.preprocess.landmarks import MIRROR
from affect_nb.synth.films import Person, VideoPlan, film_video

AUS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 20, 23, 24, 25, 26, 27, 28, 43, 45)
EMOTIONS = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
POINTS = {f"{axis}_{place}": 10. + place + 50*(axis == "y") for axis in "xy" for place in range(68)}


def detector_v2(frame, x=20., identity="", **changes):
    "A row as `Detectorv2.detect` writes it: box, points, pose, AUs, classes, valence, arousal, gaze, identity, mesh."
    row = dict(FaceRectX=x, FaceRectY=30., FaceRectWidth=60., FaceRectHeight=50., FaceScore=.99) | POINTS
    row |= dict(Pitch=.1, Roll=.2, Yaw=.3, X=1., Y=2., Z=3.) | {f"AU{unit:02d}": .1 for unit in AUS} | dict.fromkeys(EMOTIONS, .05)
    row |= dict(valence=.5, arousal=-.25, gaze_pitch=.01, gaze_yaw=.02, gaze_angle=.03)
    row |= {f"Identity_{place}": np.nan for place in range(1, 5)} | {f"mesh_{axis}_{place}": 1. for axis in "xyz" for place in range(6)}
    return row | dict(FrameHeight=100., FrameWidth=200., input="talk.mp4", frame=frame, approx_time=f"00:{frame//25:02d}", Identity=identity) | changes


NOBODY = dict.fromkeys(("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"), np.nan) | dict(FaceScore=0., AU12=.9, Happy=.9, valence=.9)


def written(path, rows, **options):
    pd.DataFrame(rows).to_csv(path, index=False, **options)
    return path


def notes_of(frames): return "\n".join(frames.attrs["notes"])


def test_pyfeat_detector_v2(tmp_path):
    rows = [detector_v2(0, Happy=.9, AU12=.8), detector_v2(25, Contempt=.9), detector_v2(50, **NOBODY), detector_v2(51, Fear=.7, valence=-1.)]
    frames = read_peer(written(tmp_path/"talk.csv", rows))
    assert frames.attrs["tool"] == "py-feat" and frames.status.tolist() == ["ok", "ok", "no_face", "ok"] and frames.frame.tolist() == [0, 25, 50, 51]
    assert [EXPRESSIONS[place] if place >= 0 else None for place in frames.expression] == ["Happiness", None, None, "Fear"]
    np.testing.assert_allclose(frames[["valence", "arousal"]], [[.5, -.25], [.5, -.25], [np.nan]*2, [-1, -.25]])
    np.testing.assert_allclose(frames[["pose_pitch", "pose_yaw", "pose_roll", "gaze_pitch", "gaze_yaw", "gaze_angle"]].iloc[0], [.1, .3, .2, .01, .02, .03], rtol=1e-6)
    assert frames.time.tolist() == [0, 1, 2, 2] and frames.au12.tolist()[::3] == [1, 0] and frames[["au12", "happiness_probability", "score", "box_x1"]].iloc[2].isna().all()
    assert frames.contempt_probability[1] == np.float32(.9) and "au45" in frames
    np.testing.assert_allclose(landmarks_array(frames)[0, 67], [77, 127])
    for named in ("mesh_x_0 ... mesh_x_5 (6)", "Identity_1 ... Identity_4 (4)", "X, Y, Z", "FrameHeight, FrameWidth", "contempt is the most probable in 1 rows", "whole seconds"): assert named in notes_of(frames).replace("X, Y, Z, ", "X, Y, Z ")
    used = {*POINTS, *(f"AU{unit:02d}" for unit in AUS), *EMOTIONS}
    assert not any(f" {name}," in notes_of(frames) for name in used)
    labels = peer_labels(tmp_path/"talk.csv")
    assert [name for name in labels if name in ("valence", "arousal", "expression", "au12")] == ["valence", "arousal", "expression", "au12"]


def test_pyfeat_two_faces_without_identity(tmp_path):
    "No identity model: the column is there and empty. The larger face is number 0."
    rows = [detector_v2(0), detector_v2(0, x=100., FaceRectWidth=90.), detector_v2(1, x=101., FaceRectWidth=90.), detector_v2(1)]
    frames = read_peer(written(tmp_path/"two.csv", rows))
    assert frames[["frame", "face_id"]].values.tolist() == [[0, 1], [0, 0], [1, 0], [1, 1]] and set(frames.status) == {"ok"} and "not tracked" in notes_of(frames)
    mixed = read_peer(written(tmp_path/"mixed.csv", [detector_v2(0, identity="Person_0"), detector_v2(0, x=100., identity="Person_0", FaceRectWidth=90.), detector_v2(1, identity="Person_0"), detector_v2(1, x=9.)]))
    assert mixed.face_id.tolist() == [1, 0, 0, 1] and "2 faces have no Identity, or that of a larger face" in notes_of(mixed)


def test_pyfeat_values_are_checked(tmp_path):
    for change, said in ((dict(valence=1.5), r"row 2: valence is 1.5, allowed are numbers in \[-1, 1\]"), (dict(Happy=2.), "row 2: Happy is 2"), (dict(approx_time="soon"), "row 2: approx_time is 'soon'")):
        with pytest.raises(ValueError, match=said): read_peer(written(tmp_path/"bad.csv", [detector_v2(0, **change)]))
    log = ReadingLog("skip")
    assert read_peer(written(tmp_path/"bad.csv", [detector_v2(0, valence=1.5), detector_v2(1)]), log=log).valence.isna().tolist() == [True, False] and len(log.faults) == 1


@pytest.mark.parametrize("points", [478, 468])
def test_pyfeat_mesh_is_no_68_points(tmp_path, points):
    "MPDetector: x_0, y_0, z_0, x_1, ... of the face mesh, and zeros where there is no face."
    mesh = {f"{axis}_{place}": place + 1000*(axis == "y") for place in range(points) for axis in "xyz"}
    row = dict(FaceRectX=1., FaceRectY=2., FaceRectWidth=3., FaceRectHeight=4., FaceScore=.9) | mesh | dict(jawOpen=.5, mouthSmileLeft=.25, anger=np.nan, input="a.mp4")
    frames = read_peer(written(tmp_path/"mesh.csv", [row | dict(frame=0), row | dict(frame=1, FaceRectWidth=0., FaceRectHeight=0., FaceScore=0.)]))
    found = landmarks_array(frames)
    assert frames.status.tolist() == ["ok", "no_face"] and np.isnan(found[1]).all() and "MediaPipe's face mesh" in notes_of(frames) and "jawOpen, mouthSmileLeft" in notes_of(frames)
    assert found[0, [8, 30, 36, 39, 42, 45, 48, 51, 54, 57], 0].tolist() == [152, 4, 33, 133, 362, 263, 61, 0, 291, 17] # chin, nose, corners of eyes and mouth, lips
    np.testing.assert_array_equal(found[0, :, 1], found[0, :, 0] + 1000)
    with pytest.raises(ValueError, match=r"the points x_0 ... x_97; allowed are 68 points, or the 468 or 478"): read_peer(written(tmp_path/"wflw.csv", [{name: value for name, value in row.items() if not name[2:].isdigit() or int(name[2:]) < 98} | dict(frame=0)]))


def test_the_mesh_has_a_left_and_a_right():
    "The mapped points of a symmetric mesh are symmetric: pairs of MediaPipe's own, typed from its canonical face."
    pairs = dict(zip((127, 234, 93, 132, 58, 172, 136, 150, 176, 70, 63, 105, 66, 107, 98, 97, 33, 160, 158, 133, 153, 144, 61, 39, 37, 84, 91, 78, 82, 87), (356, 454, 323, 361, 288, 397, 365, 379, 400, 300, 293, 334, 296, 336, 327, 326, 263, 387, 385, 362, 380, 373, 291, 269, 267, 314, 321, 308, 312, 317)))
    mesh = np.zeros((478, 2))
    for left, right in pairs.items(): mesh[left], mesh[right] = (-left, left), (left, left)
    points = mesh_landmarks(mesh)
    np.testing.assert_array_equal(points[MIRROR]*[-1, 1], points)
    assert (points[[0, 17, 36, 48]] != 0).all()


def libreface(frame, **changes):
    row = dict(frame_idx=frame, frame_time_in_ms=frame*40., pitch=1., yaw=2., roll=3.) | {f"lm_mp_{place}_{axis}": place/1000 for place in range(478) for axis in "xyz"}
    return row | {f"au_{unit}": 0 for unit in (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)} | {f"au_{unit}_intensity": 1.5 for unit in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)} | dict(facial_expression="Sadness") | changes


def test_libreface(tmp_path):
    path = written(tmp_path/"libre.csv", [libreface(0, au_12=1), libreface(1, facial_expression="Contempt", au_12_intensity=4.)])
    frames = read_peer(path, size=(200, 100))
    assert frames.attrs["tool"] == "LibreFace" and frames.time.tolist() == pytest.approx([0, .04]) and frames.expression.tolist() == [5, -1] and frames.au12.tolist() == [1, 0]
    assert frames.au12_intensity.tolist() == [1.5, 4] and "au5" not in frames and "au5_intensity" in frames and frames.pose_yaw.tolist() == [2, 2]
    np.testing.assert_allclose(landmarks_array(frames)[0, 36], [.033*200, .033*100], rtol=1e-5)
    bare = read_peer(path)
    assert np.isnan(landmarks_array(bare)).all() and "size is not known" in notes_of(bare) and "lm_mp_0_z ... lm_mp_477_z (478)" in notes_of(bare)
    seconds = read_peer(written(tmp_path/"ffmpeg.csv", [libreface(number, frame_time_in_ms=number/25) for number in range(3)]))
    assert seconds.time.tolist() == pytest.approx([0, .04, .08]) and "so it is in seconds" in notes_of(seconds)
    assert peer_labels(path)[["expression", "au12"]].values.tolist() == [[5, 1], [-1, 0]]
    with pytest.raises(ValueError, match="row 2: facial_expression is 'Bored', allowed are Neutral, .*Contempt"): read_peer(written(tmp_path/"bad.csv", [libreface(0, facial_expression="Bored")]))
    with pytest.raises(ValueError, match=r"row 2: au_4_intensity is 6, allowed are numbers in \[0, 5\]"): read_peer(written(tmp_path/"bad.csv", [libreface(0, au_4_intensity=6.)]))


def test_libreface_landmarks_cut_the_faces(tmp_path):
    plan = VideoPlan("drawn", "talk", 1, "train", (Person("talk", "S001", 7, 11),), 4, 25., 160, 128, 0., 3)
    rows, truth = [], []
    def note(number, frame):
        mesh = np.full((478, 2), .5)
        truth.append(frame.landmarks)
        for place, point in zip((33, 133, 362, 263, 4, 61, 291, 152), frame.landmarks[[36, 39, 42, 45, 30, 48, 54, 8]]/[160, 128]): mesh[place] = point
        for place, point in zip((160, 158, 153, 144, 385, 387, 373, 380), frame.landmarks[[37, 38, 40, 41, 43, 44, 46, 47]]/[160, 128]): mesh[place] = point
        rows.append(libreface(number - 1) | {f"lm_mp_{place}_{axis}": point for place in range(478) for axis, point in zip("xy", mesh[place])})
    film_video(plan, tmp_path/"talk.mp4", note, sound=False)
    store, = peer_stores(written(tmp_path/"talk.csv", rows), tmp_path/"talk.mp4", tmp_path/"faces")
    assert store.frames.status.tolist() == ["ok"]*4 and store.about["landmarks"]["tool"] == "LibreFace"
    np.testing.assert_allclose(landmarks_array(store.frames)[0][[30, 36, 45, 48, 54]], truth[0][[30, 36, 45, 48, 54]], atol=.01)


def test_openface_3(tmp_path):
    "As scripts of its users write it: lists in cells, separated by tabs."
    points = [[100. + place, 50.] for place in range(98)]
    rows = [dict(timestamp=1.7e9, image_path=f"talk.mp4_frame_{number:05d}.jpg", face_id=0, face_detection=[1, 2, 30, 40, .9, *range(10)], landmarks=points, emotion=emotion, gaze_yaw=.1, gaze_pitch=.2, action_units=[[0, .6, 0, 0, 0, .4, 0, .5]]) for number, emotion in ((7, 1), (8, 7), (9, 0))]
    frames = read_peer(written(tmp_path/"talk.tsv", rows, sep="\t"))
    assert frames.attrs["tool"] == "OpenFace 3" and frames.frame.tolist() == [7, 8, 9] and frames.expression.tolist() == [4, -1, 0] and frames.score.tolist() == pytest.approx([.9]*3)
    assert frames[["au1", "au2", "au12", "au26"]].iloc[0].tolist() == [0, 1, 0, 1] and frames.loc[0, ["box_x1", "box_y2"]].tolist() == [1, 40] and "not documented" in notes_of(frames) and "timestamp" in notes_of(frames)
    assert landmarks_array(frames)[0, [8, 27, 36, 45, 48, 60, 67], 0].tolist() == [116, 151, 160, 172, 176, 188, 195] # of the 98: chin, nose, eyes, mouth
    with pytest.raises(ValueError, match=r"row 2: action_units is '\[1, 2\]', allowed is a list of 8 numbers"): read_peer(written(tmp_path/"bad.tsv", [rows[0] | dict(action_units=[1, 2])], sep="\t"))
    with pytest.raises(ValueError, match="row 2: emotion is 8"): read_peer(written(tmp_path/"bad.tsv", [rows[0] | dict(emotion=8)], sep="\t"))


def test_a_table_of_nobody(tmp_path):
    (tmp_path/"x.csv").write_text("frame,valence\n1,0\n")
    with pytest.raises(ValueError, match="OpenFace writes a column confidence, py-feat FaceRectX, LibreFace facial_expression"): read_peer(tmp_path/"x.csv")
