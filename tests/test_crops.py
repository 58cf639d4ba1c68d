"Pictures that are crops of one face each: aligned by landmarks from their own box, or by the box, and none is lost."
import json

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from affect_nb.apps.cli import app
from affect_nb.apps.predict import Predictor
from affect_nb.data.store import preprocess_database
from affect_nb.databases.base import Clip, Database
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess.align import CROP_PLACE, FRONTAL, align_box, box_transform, five_points, place_of
from affect_nb.preprocess.crops import CropAligner, fit_crop
from affect_nb.preprocess.detect import create_detector
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.preprocess.frames import ALIGNED, FRAME_COLUMNS, landmarks_array
from affect_nb.preprocess.landmarks import Landmarks68, fit_face, landmark_error
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.video import VideoFrame
from affect_nb.synth.faces import Identity, Pose, Scene, draw_aus, render_face


def drawn_crop(seed, difficulty=.25, side=48, room=1.):
    "A drawn face, cut out as tightly as FER+'s are, in grey pixels; and its 68 landmarks. `room`: a wider crop."
    drawn = render_face(draw_aus(seed), Identity.draw(seed), Pose.draw(seed, difficulty), Scene.draw(seed, difficulty), seed=seed)
    rng, (x1, y1, x2, y2) = np.random.default_rng(seed), fit_face(drawn.landmarks)[0]
    whole = (x2 - x1)/.8*room*np.exp(rng.normal(0, .06))
    x, y = (x1 + x2)/2 + rng.normal(0, .02)*whole, (y1 + y2)/2 - .07*whole + rng.normal(0, .02)*whole
    to_crop = np.array([[side/whole, 0, side/2 - x*side/whole - .5], [0, side/whole, side/2 - y*side/whole - .5]])
    smooth = cv2.GaussianBlur(drawn.image, (0, 0), max(.45*whole/side, .3))
    grey = cv2.cvtColor(cv2.warpAffine(smooth, to_crop, (side, side), borderMode=cv2.BORDER_REPLICATE), cv2.COLOR_RGB2GRAY)
    return grey, cv2.transform(drawn.landmarks[None].astype(float), to_crop)[0]


def aligned(grey, aligner=None, **options):
    return (aligner or CropAligner())(VideoFrame(0, 0., cv2.merge([grey]*3)), **options)


# landmarks, or the box

def test_landmarks_of_small_grey_crops():
    "Easy faces all have landmarks, as near to the ground truth as in large pictures."
    crops = [drawn_crop(seed) for seed in range(20)]
    fits = [fit_crop(Landmarks68(), grey) for grey, _ in crops]
    assert all(points is not None for points in fits)
    errors = [landmark_error(points, truth) for points, (_, truth) in zip(fits, crops)]
    assert np.median(errors) < .05 and max(errors) < .1


@pytest.mark.parametrize("cover", [None, (slice(28, 48), 60), (slice(22, 48), 120), (slice(10, 24), 120)], ids=["turned", "mask", "below", "eyes"])
def test_turned_and_covered_faces_come_to_the_template(cover):
    "Those with landmarks at least as well as by the box; the others by the box, with landmarks that are missing."
    aligner, by_landmarks, by_box = CropAligner(transform="similarity"), [], []
    for seed in range(100, 112):
        grey, truth = drawn_crop(seed, 1. if cover is None else .25)
        if cover: grey[cover[0]] = cover[1]
        row = aligned(grey, aligner)
        assert (row["status"], row["aligned"] in ALIGNED[1:], row["crop"].shape) == ("ok", True, (96, 96, 3))
        assert ("landmarks" in row) == ("crop_landmarks" in row) == (row["aligned"] == "landmarks")
        box = box_transform(48, 48)
        matrix = box if row["aligned"] == "box" else cv2.estimateAffinePartial2D(five_points(row["landmarks"]), five_points(row["crop_landmarks"]))[0]
        distances = [np.linalg.norm(cv2.transform(five_points(truth)[None], way)[0] - FRONTAL, axis=1).mean() for way in (matrix, box)]
        (by_landmarks if row["aligned"] == "landmarks" else by_box).append(distances)
    assert len(by_landmarks) >= 4 and np.mean(by_landmarks, 0)[0] < np.mean(by_landmarks, 0)[1] # nearer than by the box
    assert all(distance < 14 for distance, _ in by_box + by_landmarks)


@pytest.mark.parametrize("grey", [np.full((48, 48), 90, np.uint8), np.random.default_rng(0).integers(0, 255, (48, 48)).astype(np.uint8),
                                  np.zeros((1, 1), np.uint8), np.zeros((3, 200), np.uint8)], ids=["flat", "noise", "pixel", "strip"])
def test_what_shows_no_face_is_aligned_by_its_box(grey):
    row = aligned(grey)
    assert (row["status"], row["aligned"], row["box"]) == ("ok", "box", (0, 0, *grey.shape[::-1])) and "landmarks" not in row


def test_any_size_and_form_gives_the_same_face():
    "Enlarged four times, and with a strip beside it, a crop has the same landmarks."
    grey, truth = drawn_crop(3, side=192)
    small = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)
    large, little = fit_crop(Landmarks68(), grey), fit_crop(Landmarks68(), small)
    assert landmark_error((little + .5)*4 - .5, large) < .04 and landmark_error(large, truth) < .08
    tall = fit_crop(Landmarks68(), cv2.copyMakeBorder(grey, 0, 40, 0, 0, cv2.BORDER_REPLICATE))
    assert landmark_error(tall, large) < .04


def test_the_place_of_the_template_is_measured_and_used():
    "`place_of` undoes `box_transform`."
    inverse = cv2.invertAffineTransform(box_transform(50, 40, (.4, .5, 1.6)))
    points = np.zeros((68, 2))
    for places, at in zip(([*range(36, 42)], [*range(42, 48)], [30], [48], [54]), cv2.transform(FRONTAL[None], inverse)[0]): points[places] = at
    np.testing.assert_allclose(place_of(points, 50, 40), (.4, .5, 1.6), atol=1e-6)
    whole = align_box(np.full((50, 50, 3), 200, np.uint8), (.5, .5, 1.)) # the picture is the template's square
    assert whole.min() == 200 == align_box(np.full((50, 50, 3), 200, np.uint8)).min() # outside the edge is repeated, no black
    with pytest.raises(ValueError, match=r"crop_place is \(0.5, 0.5, -1\), allowed are x, y and a side above 0"): preprocess("x", "y", crop_place=(.5, .5, -1))


def test_landmarks_that_are_known_are_taken():
    grey, truth = drawn_crop(4)
    row = aligned(grey, landmarks=truth.astype(np.float32))
    np.testing.assert_array_equal(row["landmarks"], truth.astype(np.float32))
    assert aligned(grey, landmarks=np.ones((68, 2), np.float32))["aligned"] == "box" # on one spot: no transform


# folders and databases

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Six crops: four good ones, one that is covered, one without a face; and a file that is no picture."
    folder = tmp_path_factory.mktemp("crops")/"crops"
    folder.mkdir()
    for seed in range(4): Image.fromarray(drawn_crop(seed)[0]).save(folder/f"{seed}.png")
    covered = drawn_crop(5)[0]
    covered[:34] = 230
    Image.fromarray(covered).save(folder/"4.png")
    Image.fromarray(np.full((48, 48), 90, np.uint8)).save(folder/"5.png")
    (folder/"6.png").write_text("a letter")
    return folder


@pytest.fixture(scope="module")
def done(folder): return preprocess(folder, folder.parent/"faces", crops=True, progress=False)


def test_every_picture_of_a_folder_is_a_face(done, folder):
    frames = done.frames
    assert tuple(frames.columns) == FRAME_COLUMNS and frames.status.tolist() == ["ok"]*6 and frames.face_id.tolist() == [0]*6
    assert frames.aligned.tolist() == ["landmarks"]*4 + ["box"]*2 and done.aligned == dict(landmarks=4, box=2)
    assert (frames[["box_x1", "box_y1", "box_x2", "box_y2"]] == (0, 0, 48, 48)).all(axis=None) and frames.score.isna().all()
    for column in ("landmarks", "crop_landmarks"): np.testing.assert_array_equal(np.isfinite(landmarks_array(frames, column)).all((1, 2)), frames.aligned == "landmarks")
    assert [entry.source.endswith("6.png") for entry in done.skipped if entry.source.endswith(".png")] == [True] # as elsewhere, listed
    store, = done.stores
    assert store.present(0, 6).all() and np.ptp(store.read(0, 6).astype(int), axis=-1).max() <= 2 # grey, but for JPEG
    assert store.about["crops"]["place"] == list(CROP_PLACE)
    assert pd.read_parquet(done.dest/"frames.parquet").aligned.tolist() == frames.aligned.tolist()


def test_far_more_than_a_detector_finds(folder):
    "What detection finds in the same pictures as they are."
    detector = create_detector("dlib_hog")
    assert sum(len(detector(cv2.imread(str(folder/f"{number}.png"), cv2.IMREAD_COLOR_RGB)).boxes) > 0 for number in range(6)) < 6


def test_a_crop_does_not_depend_on_those_beside_it(done, folder, tmp_path):
    for number in (2, 4):
        alone = preprocess(folder/f"{number}.png", tmp_path, crops=True, progress=False).stores[0]
        np.testing.assert_array_equal(alone.read(0, 1)[0], done.stores[0].read(number, number + 1)[0])


def test_done_again_only_with_other_settings(done, folder):
    path = done.stores[0].path
    before = path.stat().st_mtime_ns
    preprocess(folder, done.dest, crops=True, progress=False)
    assert path.stat().st_mtime_ns == before
    searched = preprocess(folder, folder.parent/"searched", progress=False)
    assert set(searched.frames.aligned) == {""} and searched.aligned == dict(landmarks=0, box=0)
    again = preprocess(folder, folder.parent/"searched", crops=True, crop_place=(.5, .5, 1.), progress=False)
    assert again.aligned == done.aligned and again.stores[0].about["crops"]["place"] == [.5, .5, 1.]


def test_a_store_of_before_is_read_and_not_made_again(folder, tmp_path):
    store = preprocess(folder/"0.png", tmp_path, progress=False).stores[0]
    table = pa.ipc.open_file(str(store.path)).read_all()
    about = json.loads(table.schema.metadata[b"face_store"])
    for name in ("crops", "crop_place"): del about["about"]["settings"][name]
    table = table.drop_columns(["aligned"]).replace_schema_metadata({"face_store": json.dumps(about)})
    with pa.OSFile(str(store.path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file: file.write_table(table)
    before = store.path.stat().st_mtime_ns
    assert tuple(FaceStore.open(store.path).frames.columns) == FRAME_COLUMNS
    again = preprocess(folder/"0.png", tmp_path, progress=False)
    assert store.path.stat().st_mtime_ns == before and again.frames.aligned.tolist() == [""]*len(again.frames)


def test_a_set_that_is_cut_out_otherwise_is_noted(tmp_path):
    "Wide crops: a note says where their faces are, and with that those without landmarks come to the same size."
    (tmp_path/"wide").mkdir()
    for seed in range(22): Image.fromarray(drawn_crop(seed, room=1.35)[0]).save(tmp_path/"wide"/f"{seed}.png")
    Image.fromarray(np.full((48, 48), 90, np.uint8)).save(tmp_path/"wide"/"22.png")
    done = preprocess(tmp_path/"wide", tmp_path/"faces", crops=True, progress=False)
    assert done.aligned["landmarks"] >= 20 and sum(done.aligned.values()) == 23
    note, = [entry for entry in done.skipped if not entry.failed]
    place = done.stores[0].about["crops"]["median_place"]
    assert f"crop_place=({', '.join(f'{value:g}' for value in place)})" in note.reason and place[2] < CROP_PLACE[2]/1.2
    assert not preprocess(tmp_path/"wide", tmp_path/"faces", crops=True, crop_place=tuple(place), progress=False).skipped


class Crops(Database):
    "A database whose pictures are crops."
    name, still, are_crops = "crops", True, True
    def _find_clips(self): yield Clip("crops", "all", "all", "train", annotations=dict(expression=self.root), images=self.root)
    def images(self, clip): return {number: self.root/f"{number}.png" for number in range(6)}


def test_a_database_of_crops_loses_none(done, folder, tmp_path):
    "By itself; what the caller says counts more."
    assert not Database.are_crops
    found = preprocess_database(Crops(folder), tmp_path/"faces", progress=False)
    assert found.frames.aligned.tolist() == done.frames.aligned.tolist() and set(found.frames.status) == {"ok"}
    np.testing.assert_array_equal(found.stores[0].read(0, 6), done.stores[0].read(0, 6))
    assert set(preprocess_database(Crops(folder), tmp_path/"searched", crops=False, progress=False).frames.aligned) == {""}


# prediction

@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network")/"small"
    save_checkpoint(path, create_model("mt_vgg", width=1/16), {"data": "none: untrained"})
    return path.with_suffix(".json")


def test_predict_crops(folder, network, tmp_path):
    result = CliRunner().invoke(app, ["predict", str(folder), "--model", str(network), "--out", str(tmp_path), "--crops", "--device", "cpu"])
    assert result.exit_code == 1 and result.stdout.splitlines()[-1] == "aligned: 4 by their landmarks, 2 by their box" # 6.png is no picture
    table = pd.read_csv(tmp_path/"crops.csv")
    assert table.aligned.tolist() == ["landmarks"]*4 + ["box"]*2 and table.landmarks_found.tolist() == [True]*4 + [False]*2
    assert table.valence.notna().all() and table.status.tolist() == ["ok"]*6
    predicted = Predictor.load(network, device="cpu").predict(folder/"4.png", crops=True)
    assert predicted.aligned.tolist() == ["box"] and abs(predicted.valence[0] - table.valence[4]) < 1e-4


def test_films_have_no_such_column(folder, network, tmp_path):
    assert "aligned" not in Predictor.load(network, device="cpu").predict(folder/"0.png")


def test_preprocess_says_how_many(folder, tmp_path):
    result = CliRunner().invoke(app, ["preprocess", str(folder), str(tmp_path), "--crops"])
    assert result.stdout.splitlines()[-1] == "aligned: 4 by their landmarks, 2 by their box"
    assert "aligned" not in CliRunner().invoke(app, ["preprocess", str(folder), str(tmp_path/"searched")]).stdout


# real crops

def test_most_crops_of_ferplus_are_aligned_by_landmarks(real):
    path = real/"real"/"ferplus_train_valid.parquet"
    if not path.is_file(): pytest.skip("../shared/data/real/ferplus_train_valid.parquet is absent: no real crops to test on")
    pictures = pq.read_table(path, columns=["png"])["png"].take(np.random.default_rng(5).choice(30_000, 120, replace=False)).to_pylist()
    aligner = CropAligner()
    for picture in pictures: aligned(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE), aligner)
    assert sum(aligner.counts.values()) == 120 and .7 < aligner.counts["landmarks"]/120 < .95
    assert not aligner.notes and abs(aligner.about["median_place"][2]/CROP_PLACE[2] - 1) < .08
