"HEIC, AVIF and JFIF of telephones; animations, pages, bursts."
import sys

import numpy as np
import pytest
from PIL import Image, features
from small_media import corners, face, flat, near, save_animation

from affect_nb.preprocess.pictures import AnimationReader, ImageReader, read_image, read_picture
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sources import open_clip
from affect_nb.preprocess.video import VideoReader

QUICK = dict(progress=False, detector_options=dict(upsample=0))
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def save_heic(path, picture):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(picture)).save(path, quality=90, format="HEIF")
    return path


def test_heic_is_whole(tmp_path):
    "FFmpeg shows the first tile, 512x512; it is never asked."
    picture = corners(1100, 700)
    for name in ("photo.heic", "photo.HEIF", "sent.jpg"):
        assert near(read_image(save_heic(tmp_path/name, picture)), picture), name
    assert isinstance(open_clip(tmp_path/"photo.heic"), ImageReader)


def test_heic_under_a_films_name_is_refused(tmp_path):
    path = save_heic(tmp_path/"photo.mp4", corners())
    with pytest.raises(ValueError, match="photo.mp4 is a HEIF picture, not a film: its name must end in .heic"): VideoReader(path)


def test_heic_without_its_package_is_refused_by_name(tmp_path, monkeypatch):
    "The other picture of the folder is read all the same."
    (tmp_path/"photo.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(64))
    Image.fromarray(corners()).save(tmp_path/"photo.png")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match="photo.heic is a HEIF picture .*pip install pillow-heif"): read_image(tmp_path/"photo.heic")
    reader = ImageReader(tmp_path)
    assert len(list(reader)) == 1 and "1 of 2 images could not be read" in reader.fault and "photo.heic" in reader.fault


@pytest.mark.parametrize("name", [pytest.param("photo.avif", marks=needs_avif), "photo.jfif", "photo.jpe"])
def test_other_names_of_pictures(tmp_path, name):
    Image.fromarray(corners()).save(tmp_path/name, quality=95)
    assert near(next(iter(open_clip(tmp_path/name))).image, corners()) and len(list(ImageReader(tmp_path))) == 1


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "apng", pytest.param("avif", marks=needs_avif)])
def test_an_animation_is_a_film_with_its_own_times(tmp_path, ending):
    levels, seconds = (40, 90, 140, 230), (.1, .25, .05, .2)
    path = save_animation(tmp_path/f"moving.{ending}", [flat(level) for level in levels], seconds)
    reader = open_clip(path)
    frames = list(reader)
    assert isinstance(reader, AnimationReader) and (reader.width, reader.height, reader.n_frames, reader.fault) == (64, 48, 4, None)
    assert np.allclose([frame.time for frame in frames], np.cumsum((0, *seconds[:3]))) and abs(reader.duration - .6) < 1e-6
    assert np.allclose([frame.image.mean() for frame in frames], levels, atol=8)
    with pytest.raises(ValueError, match=f"moving.{ending} is an animation of 4 frames"): read_image(path)


def test_a_gif_is_preprocessed_as_a_film(tmp_path):
    path = save_animation(tmp_path/"smile.gif", [face(number) for number in range(8)], [.1]*8)
    done = preprocess(path, tmp_path/"faces", **QUICK)
    assert done.frames.status.tolist() == ["ok"]*8 and set(done.frames.face_id) == {0}
    assert np.allclose(done.frames.time, np.arange(8)/10) and not done.skipped


def test_a_gif_without_times_runs_as_in_a_browser(tmp_path):
    reader = AnimationReader(save_animation(tmp_path/"fast.gif", [flat(40), flat(90)], [0, 0]))
    assert [frame.time for frame in reader] == [0, .1] and "2 frames without a time" in reader.notes[0]


def test_what_is_transparent_is_shown_on_white(tmp_path):
    first, second = (Image.fromarray(np.dstack([flat(level), np.full((48, 64), alpha, np.uint8)])) for level, alpha in ((40, 255), (90, 0)))
    first.save(tmp_path/"clear.webp", save_all=True, append_images=[second], duration=100, lossless=True)
    assert [round(frame.image.mean()) for frame in AnimationReader(tmp_path/"clear.webp")] == [40, 255]


def test_pages_are_refused_by_name(tmp_path):
    page = Image.fromarray(corners())
    page.save(tmp_path/"scan.tif", save_all=True, append_images=[page]*3)
    with pytest.raises(ValueError, match="scan.tif holds 4 pages"): preprocess(tmp_path/"scan.tif", tmp_path/"faces", **QUICK)
    page.save(tmp_path/"small.tif", save_all=True, append_images=[page.resize((16, 12))], tiffinfo={})
    assert "holds 2 pages" in str(pytest.raises(ValueError, read_image, tmp_path/"small.tif").value)


def test_a_smaller_copy_in_a_tiff_is_no_page(tmp_path):
    from PIL import TiffImagePlugin
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path/"camera.tif"), True) as out:
        Image.fromarray(corners()).save(out, format="TIFF")
        out.newFrame()
        Image.fromarray(corners(16, 12)).save(out, format="TIFF", tiffinfo={254: 1})
        out.newFrame()
    assert near(read_image(tmp_path/"camera.tif"), corners())


def test_a_burst_shows_its_first_picture(tmp_path):
    first, second = Image.fromarray(corners()), Image.fromarray(flat(9))
    first.save(tmp_path/"burst.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    pixels, notes = read_picture(tmp_path/"burst.jpg")
    assert near(pixels, corners()) and "holds 2 pictures" in notes[0]
