"One broken file among many: it is named, or read with a note, and the batch goes on."
import struct

import numpy as np
import pytest
from PIL import Image, features
from small_media import clicks, corners, flat, near, save_animation, save_deep, with_matrix, write_small

from affect_nb.files.containers import guarded
from affect_nb.preprocess import pictures
from affect_nb.preprocess.audio import read_audio
from affect_nb.preprocess.check_media import COLUMNS, check_media, media_facts
from affect_nb.preprocess.pictures import ImageReader, read_picture
from affect_nb.preprocess.sources import open_clip
from affect_nb.preprocess.video import VideoReader


def with_exif(path, tiff):
    "A JPEG whose EXIF block is `tiff`."
    Image.fromarray(corners()).save(path, quality=95)
    data, block = path.read_bytes(), b"Exif\0\0" + tiff
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    return path


def ifd(*entries): return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)


EXIF = {"no TIFF": b"garbage", "cut off": ifd((274, 3, 1, 6))[:14], "orientation is text": ifd((274, 2, 3, 0x414141)), "two orientations": ifd((274, 3, 2, 0x30006)),
        "orientation 99": ifd((274, 3, 1, 99)), "far pointer": ifd((274, 3, 1, 6), (34665, 4, 1, 0x7fffffff)), "unknown kind": ifd((274, 77, 1, 6)),
        "zero by zero": ifd((282, 5, 1, 0), (283, 5, 1, 0)), "count of 4 billion": ifd((274, 3, 0xffffffff, 6)), "endless": ifd((34665, 4, 1, 8), (274, 3, 1, 1)), "big nonsense": bytes(range(256))*20}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", EXIF)
def test_the_picture_of_a_broken_exif_is_read(tmp_path, kind):
    pixels, _ = read_picture(with_exif(tmp_path/"photo.jpg", EXIF[kind]))
    assert near(pixels, corners()) or near(pixels, np.rot90(corners(), -1))


@pytest.mark.parametrize("error", [ValueError("bad"), TypeError("unhashable"), AttributeError("no tag"), struct.error("short"), ZeroDivisionError(), KeyError(1), OverflowError(), RecursionError("deep")])
def test_whatever_a_foreign_decoder_raises(tmp_path, monkeypatch, error):
    "In the EXIF it costs a note; in the pixels the picture, and no other one."
    for name in ("one.png", "two.png", "three.png"): Image.fromarray(corners()).save(tmp_path/name)
    def fails(*given, **named): raise error
    monkeypatch.setattr(Image.Image, "getexif", fails)
    reader = ImageReader(tmp_path)
    assert len(list(reader)) == 3 and "its EXIF data cannot be read" in reader.notes[0]
    monkeypatch.undo()
    decode = pictures._as_values
    monkeypatch.setattr(pictures, "_as_values", lambda image, calls=iter(range(9)): fails() if next(calls) == 1 else decode(image))
    reader = ImageReader(tmp_path, unrelated=True)
    assert len(list(reader)) == 2 and "1 of 3 images could not be read" in reader.fault and ".png is no image" in reader.fault


def test_an_own_message_stays_as_it_is():
    with pytest.raises(ValueError, match="^a.png: no such file$"), guarded("a.png", "is no image"): raise ValueError("a.png: no such file")


# a corpus of every kind, damaged at random

def corpus(folder):
    "A small file of each kind."
    pages = [flat(40*number) for number in range(4)]
    write_small(folder/"sound.mp4", pages, sound=clicks([.05], .3))
    write_small(folder/"varying.mkv", pages, [0, .1, .13, .5], sound=clicks([.05], .6))
    write_small(folder/"part.ts", pages, codec="mpeg2video", tick=None, sound=clicks([.05], .3))
    (folder/"joined.ts").write_bytes((folder/"part.ts").read_bytes()*2)
    write_small(folder/"webcam.avi", pages, [0, 2/25, 3/25, 6/25], codec="mjpeg", pix_fmt="yuvj420p", tick=None)
    write_small(folder/"recorder.webm", pages, [0, .033, .067, .1], rate=1000, codec="libvpx", tick=None)
    write_small(folder/"anamorphic.mp4", pages, aspect="4/3")
    write_small(folder/"deep.mkv", pages, codec="ffv1", pix_fmt="gray16le")
    with_matrix(folder/"anamorphic.mp4", folder/"mirrored.mp4", (-1, 0, 0, 1))
    for ending in ("gif", "webp", "png"): save_animation(folder/f"moving.{ending}", pages, [.1]*4)
    save_deep(folder/"deep.tif", corners().astype(np.uint16)*16)
    save_deep(folder/"float.tif", corners().astype(np.float32))
    Image.fromarray(corners()).save(folder/"pages.tif", save_all=True, append_images=[Image.fromarray(corners())])
    with_exif(folder/"photo.jpg", ifd((274, 3, 1, 6), (282, 5, 1, 60)))
    if features.check("avif"): Image.fromarray(corners()).save(folder/"photo.avif")
    try: import pillow_heif
    except ImportError: return sorted(folder.iterdir())
    pillow_heif.from_pillow(Image.fromarray(corners())).save(folder/"photo.heic")
    return sorted(folder.iterdir())


def damaged(data, rng):
    "Bytes changed, cut off, doubled or left out."
    data, kind = bytearray(data), rng.integers(4)
    if kind == 0:
        for place in rng.integers(len(data), size=rng.integers(1, 12)): data[place] = rng.integers(256)
    elif kind == 1: del data[rng.integers(1, len(data)):]
    else:
        start, stop = np.sort(rng.integers(len(data), size=2))
        if kind == 2: del data[start:stop]
        else: data[start:start] = data[start:stop]
    return bytes(data)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_media_are_read_or_named(tmp_path):
    "Whatever is done to a file, it gives frames of one size at ascending times, or one ValueError that names it."
    (tmp_path/"whole").mkdir()
    rng, outcomes = np.random.default_rng(15), {True: 0, False: 0}
    for path in corpus(tmp_path/"whole"):
        for round_ in range(14):
            bad = tmp_path/f"bad{round_}{path.suffix}"
            bad.write_bytes(damaged(path.read_bytes(), rng))
            try:
                frames = [(frame.time, frame.image.shape, frame.gray.shape) for frame in open_clip(bad)]
                assert (np.diff([time for time, *_ in frames]) > 0).all()
                assert len({shape for _, shape, _ in frames}) <= 1 and all(shape[:2] == gray for _, shape, gray in frames)
            except ValueError as error: assert bad.name in str(error); frames = None
            try: assert np.isfinite(read_audio(bad, 8000).samples).all()
            except ValueError as error: assert bad.name in str(error)
            outcomes[frames is not None] += 1
            bad.unlink()
    assert min(outcomes.values()) > 20, outcomes


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_check_media_has_a_row_for_each(tmp_path):
    names = corpus(tmp_path)
    (tmp_path/"letter.mp4").write_text("Dear reader")
    (tmp_path/"notes.txt").write_text("Dear reader")
    (tmp_path/"empty.jpg").touch()
    table = check_media(tmp_path).set_index("file")
    table.index = [name.rsplit("/", 1)[-1] for name in table.index]
    assert len(table) == len(names) + 3 and [*table.columns] == [*COLUMNS[1:]]
    unread = table[~table.readable]
    assert set(unread.index) == {"letter.mp4", "notes.txt", "empty.jpg", "pages.tif"} and unread.fault.str.len().min() > 10
    assert table.loc["joined.ts"].frames == 8 and "starts anew" in table.loc["joined.ts"].notes
    assert (table.loc["mirrored.mp4"].orientation, table.loc["anamorphic.mp4"].pixel_aspect, table.loc["anamorphic.mp4"].width) == ("mirrored", 1.3333, 85)
    assert (table.loc["recorder.webm"].fps, table.loc["recorder.webm"].fps_declared) == (29.94, 1000) or abs(table.loc["recorder.webm"].fps - 30) < 1
    assert table.loc["deep.mkv"].bits == 16 and table.loc["moving.gif"].kind == "animation" and "1 channels" in table.loc["sound.mp4"].sound
    assert media_facts(tmp_path/"gone.mp4")["fault"].endswith("no such file")
    assert VideoReader(tmp_path/"deep.mkv").pixel_format == "gray16le"


def test_check_media_as_a_command(tmp_path):
    import json

    import pandas as pd
    from typer.testing import CliRunner

    from affect_nb.apps.cli import app
    write_small(tmp_path/"film.mp4", [flat(90)]*5)
    (tmp_path/"letter.mp4").write_text("Dear reader")
    run = lambda *given: CliRunner().invoke(app, ["check-media", *map(str, given)])
    good = run(tmp_path/"film.mp4", "--csv", tmp_path/"seen.csv", "--json", tmp_path/"seen.json")
    assert good.exit_code == 0 and "codec" in good.output and "h264" in good.output
    assert pd.read_csv(tmp_path/"seen.csv").frames[0] == 5 and json.loads((tmp_path/"seen.json").read_text())[0]["frames"] == 5
    bad = run(tmp_path/"film.mp4", tmp_path/"letter.mp4")
    assert bad.exit_code == 1 and "letter.mp4: cannot be read" in bad.output and "film.mp4: read" in bad.output
