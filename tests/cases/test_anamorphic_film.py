"Films whose pixels are not square: DV, DVD, HDV."
import cv2
import numpy as np
import pytest
from small_media import corners, face, near, with_matrix, write_small

from affect_nb.analysis.annotated_film import write_annotated
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.pictures import ImageReader
from affect_nb.preprocess.sources import Source, open_clip
from affect_nb.preprocess.video import VideoReader


@pytest.mark.parametrize("ending, aspect, width", [("mp4", "4/3", 85), ("mkv", "4/3", 85), ("mp4", "8/9", 57), ("mp4", "1281/1280", 64), ("mp4", "50", 64)])
def test_pixels_become_square(tmp_path, ending, aspect, width):
    "The shape that a film of even sides has by rounding, and an absurd one, change nothing."
    reader = VideoReader(write_small(tmp_path/f"film.{ending}", [corners()]*2, aspect=aspect))
    assert (reader.width, reader.height) == (width, 48) and bool(reader.notes) == (width != 64)
    for frame in reader: assert near(frame.image, corners(width)) and frame.gray.shape == (48, width)


def test_it_is_turned_after_it_was_stretched(tmp_path):
    reader = VideoReader(with_matrix(write_small(tmp_path/"stored.mp4", [corners()], aspect="2"), tmp_path/"turned.mp4", (0, 1, -1, 0)))
    assert (reader.width, reader.height) == (48, 128)
    assert near(next(iter(reader)).image, np.rot90(corners(128), -1))


def test_the_user_knows_better(tmp_path):
    path = write_small(tmp_path/"film.mp4", [corners()], aspect="4/3")
    assert [VideoReader(path, aspect).width for aspect in ("auto", 1, 1.5)] == [85, 64, 96]
    assert open_clip(Source(path, "film", pixel_aspect=1.5)).width == 96
    cv2.imwrite(str(tmp_path/"frame.png"), corners()[..., ::-1])
    assert next(iter(ImageReader(tmp_path/"frame.png", pixel_aspect=2.))).image.shape == (48, 128, 3)
    frames = Source(tmp_path, "frames", ((7, tmp_path/"frame.png"),), pixel_aspect=.5)
    assert [(frame.index, frame.image.shape[1]) for frame in open_clip(frames)] == [(7, 32)]
    for bad in (0, 9., "wide"):
        with pytest.raises(ValueError, match="allowed are 'auto' and numbers"): VideoReader(path, bad)


def test_faces_and_the_annotated_film_are_not_squeezed(tmp_path):
    frames = [cv2.resize(face(number), (180, 180), interpolation=cv2.INTER_AREA) for number in range(6)]
    path = write_small(tmp_path/"dv.mp4", frames, aspect="4/3")
    store, = (done := preprocess(path, tmp_path/"faces", progress=False, detector_options=dict(upsample=0))).stores
    assert (store.frames.status == "ok").all() and "4" in done.skipped[0].reason
    upright = preprocess(write_small(tmp_path/"whole.mp4", [face(number) for number in range(6)]), tmp_path/"whole", progress=False, detector_options=dict(upsample=0))
    box = ["box_x1", "box_y1", "box_x2", "box_y2"]
    assert np.abs(store.frames[box].to_numpy() - upright.frames[box].to_numpy()).max() < 8
    film = VideoReader(write_annotated(tmp_path/"film.mp4", path, store, store.frames))
    assert (film.width, film.height, film.pixel_aspect) == (240, 180, 1)
