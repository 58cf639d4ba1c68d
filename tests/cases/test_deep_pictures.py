"Pictures and films of more or fewer than eight bits."
import av
import cv2
import numpy as np
import pytest
from PIL import Image
from small_media import corners, near, save_deep, write_small

from affect_nb.preprocess.pictures import ImageReader, read_picture
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.video import VideoReader

GREY = corners()[..., 0]
COLOURS = {"8": corners(), "16": corners().astype(np.uint16)*257, "12 in 16": (corners()*(4095/255)).round().astype(np.uint16),
           "10 in 16": (corners()*(1023/255)).round().astype(np.uint16), "float": corners().astype(np.float32)/255,
           "float to 255": corners().astype(np.float32), "float of any range": corners().astype(np.float32)*40 - 3000}
GUESSES = {"12 in 16": "16 bits of which 12", "10 in 16": "16 bits of which 10", "float": "0 to 1", "float to 255": "0 to 255, a guess", "float of any range": "a guess"}


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "grey"])
@pytest.mark.parametrize("ending", ["tif", "png"])
@pytest.mark.parametrize("kind", COLOURS)
def test_every_depth_by_its_own_range(tmp_path, kind, ending, colour):
    "A float TIFF was black, 12 bits in 16 were a sixteenth as bright."
    values = COLOURS[kind] if colour else np.ascontiguousarray(COLOURS[kind][..., 0])
    if ending == "png" and "float" in kind: pytest.skip("PNG holds no floats")
    pixels, notes = read_picture(save_deep(tmp_path/f"deep.{ending}", values))
    expected = corners() if colour else np.repeat(GREY[..., None], 3, 2)
    if kind == "float of any range": expected = ((expected.astype(float) - expected.min())*255/(expected.max() - expected.min())).round().astype(np.uint8)
    assert near(pixels, expected, 1.5)
    assert (GUESSES[kind] in notes[0]) if kind in GUESSES else notes == []


@pytest.mark.parametrize("kind, values, expected", [
    ("one bit", Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0)),
    ("signed", (GREY.astype(np.int16) - 128)*200, None), ("32 bits", GREY.astype(np.int32)*100_000, None), ("black", np.zeros((48, 64), np.uint16), np.zeros((48, 64)))])
def test_rare_depths(tmp_path, kind, values, expected):
    path = tmp_path/"rare.tif"
    if isinstance(values, Image.Image): values.save(path)
    else: save_deep(path, values)
    pixels, notes = read_picture(path)
    if expected is None: expected = (GREY.astype(float) - GREY.min())*255/(int(GREY.max()) - int(GREY.min()))
    if kind == "32 bits": expected = (GREY.astype(float) - GREY.min())*255/(int(GREY.max()) - int(GREY.min()))
    assert near(pixels[..., 0], np.asarray(expected), 1.5) and bool(notes) == (kind in ("signed", "32 bits"))


def test_not_a_number_is_black(tmp_path):
    values = COLOURS["float"][..., 0].copy()
    values[:5] = np.nan
    pixels, _ = read_picture(save_deep(tmp_path/"holes.tif", values))
    assert not pixels[:5].any() and near(pixels[5:, :, 0], GREY[5:], 1.5)


def test_transparency_of_sixteen_bits(tmp_path):
    values = np.dstack([COLOURS["16"][..., ::-1], np.where(np.arange(64) < 32, 65535, 0).astype(np.uint16)*np.ones((48, 1), np.uint16)])
    cv2.imwrite(str(tmp_path/"clear.png"), values)
    pixels, _ = read_picture(tmp_path/"clear.png")
    assert near(pixels[:, :32], corners()[:, :32], 1.5) and (pixels[:, 32:] == 255).all()


def test_a_clip_of_deep_pictures_has_one_range(tmp_path):
    "A dark frame of 12 bits would be taken for 10 and be brightened."
    for number, level in enumerate((900, 4000, 300)): Image.fromarray(np.full((8, 8), level, np.uint16)).save(tmp_path/f"{number}.png")
    reader = ImageReader(tmp_path)
    assert [int(frame.gray[0, 0]) for frame in reader] == [56, 249, 19] and "and 2 more" in reader.notes[0]
    alone = ImageReader(tmp_path, unrelated=True)
    assert [int(frame.gray[0, 0]) for frame in alone] == [224, 249, 75]


def test_a_guess_is_in_the_record_of_the_clip(tmp_path):
    save_deep(tmp_path/"deep.png", COLOURS["12 in 16"])
    done = preprocess(tmp_path/"deep.png", tmp_path/"faces", progress=False)
    assert "12 are used" in done.stores[0].about["notes"][0] and "noted: 16 bits" in done.skipped[0].reason


@pytest.mark.parametrize("codec, pixels", [("ffv1", name) for name in ("gray", "gray10le", "gray12le", "gray16le", "yuv420p10le", "yuv422p16le", "rgb48le", "bgr0", "gbrp12le", "bgra", "yuva420p")])
def test_films_of_any_pixel_format(tmp_path, codec, pixels):
    reader = VideoReader(write_small(tmp_path/"film.mkv", [corners()]*2, codec=codec, pix_fmt=pixels))
    expected = corners() if "gray" not in pixels else np.repeat(cv2.cvtColor(corners(), cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    for frame in reader: assert near(frame.image, expected, 6) and near(frame.gray, cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), 4)
    assert reader.notes == []


@pytest.mark.parametrize("pixels", ["gray16le", "rgb48le"])
def test_a_film_of_twelve_bits_in_sixteen(tmp_path, pixels):
    with av.open(str(tmp_path/"film.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        values = COLOURS["12 in 16"] if pixels == "rgb48le" else np.ascontiguousarray(COLOURS["12 in 16"][..., 0])
        out.mux(stream.encode(av.VideoFrame.from_ndarray(values, format=pixels)))
        out.mux(stream.encode(None))
    reader = VideoReader(tmp_path/"film.mkv")
    expected = corners() if pixels == "rgb48le" else np.repeat(GREY[..., None], 3, 2)
    assert near(next(iter(reader)).image, expected, 3) and "uses 12 bits" in reader.notes[0]
