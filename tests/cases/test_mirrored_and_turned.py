"Films and photographs that lie on their side, stand on their head or are mirrored."
import numpy as np
import pytest
from PIL import Image, ImageOps
from small_media import corners, face, near, with_matrix, write_small

from affect_nb.preprocess.pictures import read_image
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.video import VideoReader

# (a, b, c, d) of the matrix, and what it does to rows and columns
MATRICES = {(1, 0, 0, 1): lambda image: image, (-1, 0, 0, 1): np.fliplr, (1, 0, 0, -1): np.flipud, (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
            (0, 1, -1, 0): lambda image: np.rot90(image, -1), (0, -1, 1, 0): np.rot90,
            (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2), (0, -1, -1, 0): lambda image: np.rot90(image, 2).transpose(1, 0, 2)}


@pytest.fixture(scope="module")
def plain(tmp_path_factory): return write_small(tmp_path_factory.mktemp("plain")/"plain.mp4", [corners()]*3)


@pytest.mark.parametrize("matrix", MATRICES)
def test_film_by_its_matrix(plain, tmp_path, matrix):
    reader = VideoReader(with_matrix(plain, tmp_path/"film.mp4", matrix))
    expected = MATRICES[matrix](corners())
    for frame in reader:
        assert near(frame.image, expected) and frame.gray.shape == expected.shape[:2]
        gray, blue, red, _ = frame.planes
        assert gray.shape == expected.shape[:2] and blue.shape == red.shape == tuple(side//2 for side in gray.shape)
        assert np.abs(frame.gray.astype(int) - np.asarray(Image.fromarray(frame.image).convert("L"))).mean() < 6
    assert (reader.width, reader.height) == expected.shape[1::-1] and not reader.notes


def test_a_matrix_between_quarter_turns_is_noted(plain, tmp_path):
    angle = np.radians(10)
    reader = VideoReader(with_matrix(plain, tmp_path/"film.mp4", (np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle))))
    assert near(next(iter(reader)).image, corners())
    list(reader)
    assert "10 degrees" in reader.notes[0]


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "deep.tif"])
@pytest.mark.parametrize("number", range(1, 9))
def test_photograph_by_exif(tmp_path, kind, number):
    path, picture = tmp_path/f"face.{kind}", Image.fromarray(corners())
    if kind.endswith("tif"):
        if kind == "tif": picture.save(path, tiffinfo={274: number})
        else: Image.fromarray(corners()[..., 0].astype(np.uint16)*257).save(path, tiffinfo={274: number})
    else:
        exif = Image.Exif()
        exif[274] = number
        picture.save(path, exif=exif)
    picture.getexif()[274] = number
    expected = np.asarray(ImageOps.exif_transpose(picture))
    if kind == "deep.tif": expected = np.repeat(expected[..., :1], 3, 2)
    assert near(read_image(path), expected, 5)


def test_boxes_are_those_of_the_upright_picture(tmp_path):
    "A film that is stored on its head: the same faces at the same places, each frame."
    frames = [face(number) for number in range(12)]
    upright = write_small(tmp_path/"upright.mp4", frames)
    head = with_matrix(write_small(tmp_path/"stored.mp4", [np.ascontiguousarray(frame[::-1]) for frame in frames]), tmp_path/"flipped.mp4", (1, 0, 0, -1))
    how = dict(progress=False, detector_options=dict(upsample=0))
    one, two = (preprocess(path, tmp_path/f"{path.stem}_faces", **how).frames for path in (upright, head))
    assert (two.status == "ok").all() and len(two) == 12
    box = ["box_x1", "box_y1", "box_x2", "box_y2"]
    assert np.abs(one[box].to_numpy() - two[box].to_numpy()).max() < 8
