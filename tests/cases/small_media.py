"Small films and pictures for the tests of this folder, made by PyAV, Pillow and numpy."
from fractions import Fraction

import av
import cv2
import numpy as np
from PIL import Image

from affect_nb.synth.faces import Actor, Identity, Pose, Scene, render_frame

RATE = 44100
TICK = Fraction(1, 90_000)


def flat(level, width=64, height=48): return np.full((height, width, 3), level, np.uint8)


def corners(width=64, height=48):
    "Four quarters of different colours: tells how a picture lies."
    picture = np.zeros((height, width, 3), np.uint8)
    for place, colour in enumerate(((200, 40, 40), (40, 200, 40), (40, 40, 200), (220, 220, 220))):
        y, x = divmod(place, 2)
        picture[y*height//2:(y + 1)*height//2, x*width//2:(x + 1)*width//2] = colour
    return picture


def face(number=0, width=240, height=180):
    "A drawn face that moves a little."
    actor = Actor(Identity.draw(11), {12: 2 + 2*np.sin(number/5)}, Pose(yaw=10*np.sin(number/9), x=width/2 + number/2, y=height/2 + 5, height=110))
    return render_frame([actor], Scene.draw(4, 0.), width, height, seed=number).image


def clicks(moments, length, rate=RATE):
    "(n,) silence with a loud click of 10 ms at each moment (s)."
    samples = np.zeros(round(length*rate), np.float32)
    for moment in moments: samples[round(moment*rate):round((moment + .01)*rate)] = .9*np.sin(np.arange(round(.01*rate))*.8)[:len(samples) - round(moment*rate)]
    return samples


def add_video(out, size, codec="libx264", pix_fmt="yuv420p", rate=25, tick=TICK, aspect=None, **options):
    stream = out.add_stream(codec, rate=rate, options={key: str(value) for key, value in options.items()})
    stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
    if tick: stream.codec_context.time_base = tick
    if aspect: stream.codec_context.sample_aspect_ratio = Fraction(aspect)
    return stream


def packets_of(stream, frames, times, tick=TICK):
    packets = []
    for frame, time in zip(frames, times):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = round(time/tick), tick
        packets += stream.encode(picture)
    return packets + stream.encode(None)


def sound_packets(stream, samples, rate=RATE):
    packets, size = [], stream.codec_context.frame_size or 1024
    for place in range(0, len(samples), size):
        frame = av.AudioFrame.from_ndarray(samples[None, place:place + size], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def write_small(path, frames, times=None, sound=None, rate=25, format=None, start=0, **video):
    "A film of RGB frames at `times` (s), with mono sound; its clock begins at `start` s."
    frames = list(frames)
    times = np.arange(len(frames))/rate if times is None else times
    tick = video.setdefault("tick", TICK)
    with av.open(str(path), "w", format=format) as out:
        stream = add_video(out, frames[0].shape[1::-1], rate=rate, **video)
        audio = None if sound is None else out.add_stream("aac", rate=RATE, layout="mono")
        packets = packets_of(stream, frames, times, tick or Fraction(1, rate))
        if audio is not None: packets += sound_packets(audio, sound)
        for packet in sorted(packets, key=lambda packet: packet.dts*packet.time_base):
            packet.pts, packet.dts = (ticks + round(start/packet.time_base) for ticks in (packet.pts, packet.dts))
            out.mux(packet)
    return path


def with_matrix(path, target, matrix):
    "The same .mp4 with another matrix (a, b, c, d) in its track's header."
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(value*65536) for value in matrix)
    for number, value in enumerate((a, b, 0, c, d, 0, 0, 0, 1 << 30)):
        data[place + 4*number:place + 4*number + 4] = value.to_bytes(4, "big", signed=True)
    target.write_bytes(data)
    return target


def save_deep(path, values):
    "RGB or grey values of any kind as OpenCV writes them."
    assert cv2.imwrite(str(path), np.ascontiguousarray(values[..., ::-1] if values.ndim == 3 else values))
    return path


def save_animation(path, frames, seconds):
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others, duration=[round(1000*length) for length in seconds])
    return path


def near(picture, expected, most=12): return picture.shape == expected.shape and np.abs(picture.astype(int) - expected).mean() < most
