"""The formats that were tried: small films and pictures are written, read back and compared. `python tests/formats_table.py` writes
docs/formats.md; tests/cases/test_formats.py says that each row of it still holds."""
import sys
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"tests"/"cases"))

from small_media import add_video, corners, flat, packets_of, save_animation  # noqa: E402

from affect_nb.preprocess.sources import open_clip  # noqa: E402

CONTAINERS = ("mp4", "mov", "m4v", "3gp", "mkv", "webm", "avi", "ts", "mpg", "vob", "flv", "wmv", "mxf", "ogv")
CODECS = {
    "libx264": ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "gray"), "libx265": ("yuv420p", "yuv420p10le"), "libsvtav1": ("yuv420p", "yuv420p10le"),
    "libvpx": ("yuv420p",), "libvpx-vp9": ("yuv420p", "yuv444p", "yuv420p10le", "gbrp"), "mpeg4": ("yuv420p",), "mpeg2video": ("yuv420p", "yuv422p"), "mpeg1video": ("yuv420p",),
    "mjpeg": ("yuvj420p", "yuvj444p"), "wmv2": ("yuv420p",), "msmpeg4v2": ("yuv420p",), "flv": ("yuv420p",), "huffyuv": ("yuv422p", "rgb24"), "utvideo": ("yuv420p", "gbrp"),
    "ffv1": ("yuv420p", "yuv420p10le", "yuv422p16le", "gray", "gray10le", "gray16le", "rgb48le", "gbrp12le", "bgra", "yuva420p"),
    "prores_ks": ("yuv422p10le", "yuva444p10le"), "dnxhd": ("yuv422p",), "png": ("rgb24", "rgba", "rgb48be", "gray16be"), "qtrle": ("rgb24", "argb", "gray"), "v210": ("yuv422p10le",),
    "jpeg2000": ("yuv420p", "gray16le"), "rawvideo": ("yuv420p", "uyvy422", "bgr24")}
OPTIONS = {"dnxhd": dict(profile="dnxhr_sq"), "libsvtav1": dict(preset="12"), "libx265": {"x265-params": "log-level=none"}}
SIZES, RATES = {"dnxhd": (256, 128)}, dict(mpg=25, vob=25)
N = 5


def grey_of(picture): return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)


def film_holds(folder, codec, pixels, ending):
    "Are frames, times and colours of a film as they were written? None where FFmpeg does not write it."
    picture, path = corners(*SIZES.get(codec, (96, 64))), folder/f"film.{ending}"
    try:
        with av.open(str(path), "w") as out:
            stream = add_video(out, picture.shape[1::-1], codec, pixels, 25, None, **OPTIONS.get(codec, {}))
            for packet in packets_of(stream, [picture]*N, np.arange(N)/25): out.mux(packet)
    except (ValueError, OSError, av.error.FFmpegError): return None
    if n_decoded(path) != N: return None # FFmpeg does not read what it wrote: a codec that the container has no name for
    try: frames = list(reader := open_clip(path))
    except ValueError: return False
    expected = grey_of(picture) if pixels.startswith("gray") else picture
    right = len(frames) == N and np.allclose([frame.time for frame in frames], np.arange(N)/25, atol=2e-3) and not reader.fault
    return right and all(frame.image.shape == picture.shape and np.abs(frame.image.astype(int) - expected).mean() < 15 for frame in frames)


def n_decoded(path):
    "Frames by FFmpeg alone."
    try:
        with av.open(str(path)) as container: return sum(1 for _ in container.decode(video=0))
    except (ValueError, OSError, IndexError, av.error.FFmpegError): return 0


def film_rows(codecs=None):
    "(codec, pixel format, containers in which it is read as it was written, those in which it is not) of each kind that FFmpeg writes here."
    with tempfile.TemporaryDirectory() as folder:
        for codec in CODECS if codecs is None else codecs:
            for pixels in CODECS[codec]:
                tried = {ending: film_holds(Path(folder), codec, pixels, ending) for ending in CONTAINERS}
                held, lost = ([ending for ending in CONTAINERS if tried[ending] is not None and bool(tried[ending]) == verdict] for verdict in (True, False))
                if held or lost: yield codec, pixels, held, lost


def deep(values): return lambda path: cv2.imwrite(str(path), np.ascontiguousarray(values[..., ::-1] if values.ndim == 3 else values))
def pillow(mode, **how): return lambda path: Image.fromarray(corners()).convert(mode).save(path, **how)
def animated(path): save_animation(path, [flat(level) for level in (40, 120, 200)], (.1, .2, .3))


def heic(bits=8):
    def save(path):
        import pillow_heif
        if bits == 8: pillow_heif.from_pillow(Image.fromarray(corners())).save(path, quality=95)
        else: pillow_heif.from_bytes("RGB;16", (64, 48), (corners().astype(np.uint16)*257).tobytes()).save(path, quality=95)
    return save


SIXTEEN, FLOATS = corners().astype(np.uint16)*257, corners().astype(np.float32)/255
GREY = grey_of(corners())
PICTURES = { # (suffix, kind) -> how it is written, what is read
    ("jpg", "grey"): (pillow("L", quality=95), GREY), ("jpg", "RGB"): (pillow("RGB", quality=95), corners()), ("jpg", "CMYK"): (pillow("CMYK", quality=95), corners()),
    ("jfif", "RGB"): (lambda path: Image.fromarray(corners()).save(path, format="JPEG", quality=95), corners()),
    ("png", "1 bit"): (lambda path: Image.fromarray(GREY[..., 0] > 90).save(path), np.where(GREY > 90, 255, 0)),
    ("png", "grey"): (pillow("L"), GREY), ("png", "palette"): (lambda path: Image.fromarray(corners()).quantize(16).save(path), corners()), ("png", "RGB"): (pillow("RGB"), corners()), ("png", "RGBA"): (pillow("RGBA"), corners()),
    ("png", "16-bit grey"): (deep(SIXTEEN[..., 0]), corners()[..., :1].repeat(3, 2)), ("png", "16-bit RGB"): (deep(SIXTEEN), corners()),
    ("tif", "grey"): (pillow("L"), GREY), ("tif", "RGB"): (pillow("RGB"), corners()), ("tif", "RGB, LZW"): (pillow("RGB", compression="tiff_lzw"), corners()), ("tif", "CMYK"): (pillow("CMYK"), corners()),
    ("tif", "16-bit grey"): (deep(SIXTEEN[..., 0]), corners()[..., :1].repeat(3, 2)), ("tif", "16-bit RGB"): (deep(SIXTEEN), corners()),
    ("tif", "12 bits in 16, RGB"): (deep((corners()*(4095/255)).round().astype(np.uint16)), corners()),
    ("tif", "float grey"): (deep(FLOATS[..., 0].copy()), corners()[..., :1].repeat(3, 2)), ("tif", "float RGB"): (deep(FLOATS), corners()),
    ("webp", "RGB"): (pillow("RGB", quality=95), corners()), ("webp", "RGBA"): (pillow("RGBA", lossless=True), corners()), ("gif", "palette"): (pillow("RGB"), corners()),
    ("bmp", "RGB"): (pillow("RGB"), corners()), ("ppm", "RGB"): (pillow("RGB"), corners()), ("pgm", "16-bit grey"): (deep(SIXTEEN[..., 0]), corners()[..., :1].repeat(3, 2)),
    ("jp2", "RGB"): (pillow("RGB"), corners()), ("avif", "RGB"): (pillow("RGB", quality=95), corners()), ("heic", "RGB"): (heic(), corners()), ("heic", "10-bit RGB"): (heic(10), corners()),
    **{(ending, "animation"): (animated, None) for ending in ("gif", "webp", "png", "avif")}}


def picture_holds(folder, ending, kind):
    "Is a picture or an animation read as it was written? None where it cannot be written here."
    save, expected = PICTURES[ending, kind]
    path = folder/f"picture.{ending}"
    try: save(path)
    except Exception: return None
    reader = open_clip(path)
    frames = list(reader)
    if expected is None: return len(frames) == 3 and np.allclose([frame.time for frame in frames], (0, .1, .3)) and np.allclose([frame.image.mean() for frame in frames], (40, 120, 200), atol=5)
    return len(frames) == 1 and frames[0].image.shape == expected.shape and np.abs(frames[0].image.astype(int) - expected).mean() < 15


def picture_rows():
    "(suffix, kind, is it read as it was written) of each that can be written here."
    with tempfile.TemporaryDirectory() as folder:
        for ending, kind in PICTURES:
            held = picture_holds(Path(folder), ending, kind)
            if held is not None: yield ending, kind, held


def page():
    "The text of docs/formats.md."
    yes = lambda held: "yes" if held else "**no**"
    wrong = lambda lost: f"; **not** {', '.join(lost)}" if lost else ""
    films = [f"| {codec} | {pixels} | {', '.join(held)}{wrong(lost)} |" for codec, pixels, held, lost in film_rows()]
    pictures = [f"| {ending} | {kind} | {yes(held)} |" for ending, kind, held in picture_rows()]
    return "\n".join([
        "# Formats that were tried", "", "Made by `python tests/formats_table.py`: each was written, read back, and compared in frames, times and colours. What is not here",
        "may work as well; `affect_nb check-media FILE` says what the readers see.", "", "## Films", "",
        "| codec | pixel format | read as written |", "|---|---|---|", *films, "", "Where a pair is in neither column, FFmpeg does not write it, or not so that it reads it again.", "",
        "## Pictures", "", "| suffix | kind | read as written |", "|---|---|---|", *pictures, "",
        "HEIC needs `pip install pillow-heif`. A TIFF of several pages is refused. More than 8 bits become 8 by the range that is used; a guess is noted."]) + "\n"


if __name__ == "__main__": (ROOT/"docs"/"formats.md").write_text(page(), encoding="utf-8")
