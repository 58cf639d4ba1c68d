"Containers with a cover, two cameras, two languages."
import io

import av
import numpy as np
import pytest
from PIL import Image
from small_media import RATE, add_video, clicks, flat, packets_of, sound_packets

from affect_nb.preprocess.audio import read_audio, sound_track
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.video import VideoReader

Mark = av.stream.Disposition


def with_cover(path, codec="mpeg4", film=True):
    "A cover, then a film of 10 frames; .mp4 keeps that it is one."
    with av.open(str(path), "w") as out:
        cover = add_video(out, (32, 32), "mjpeg", "yuvj420p", 1, None)
        cover.disposition = Mark.attached_pic
        packets = packets_of(cover, [flat(200, 32, 32)], [0])
        if film: packets += packets_of(add_video(out, (64, 48), codec, tick=None), [flat(20*number) for number in range(10)], np.arange(10)/25)
        else: packets += sound_packets(out.add_stream("aac", rate=RATE, layout="mono"), np.zeros(RATE, np.float32))
        for packet in packets: out.mux(packet)
    return path


def cover_first(path, target):
    "The boxes of a .mp4 with the metadata, which hold the cover, before the tracks: then the cover is stream 0."
    data = path.read_bytes()
    start = data.index(b"moov") - 4
    end, place, boxes = start + int.from_bytes(data[start:start + 4], "big"), start + 8, []
    while place < end:
        size = int.from_bytes(data[place:place + 4], "big")
        boxes.append(data[place:place + size])
        place += size
    boxes.sort(key=lambda box: box[4:8] != b"udta")
    target.write_bytes(data[:start + 8] + b"".join(boxes) + data[end:])
    return target


@pytest.mark.parametrize("kind", ["mp4", "cover first", "mkv"])
def test_the_cover_is_passed_over(tmp_path, kind):
    path = with_cover(tmp_path/f"film.{'mkv' if kind == 'mkv' else 'mp4'}")
    if kind == "cover first": path = cover_first(path, tmp_path/"first.mp4")
    reader = VideoReader(path)
    frames = list(reader)
    assert (len(frames), reader.width, reader.fps, reader.fault) == (10, 64, 25, None)
    assert "mjpeg" in reader.streams["left_out"][0] and reader.streams["picture"]["codec"] == "mpeg4"
    if kind != "mp4": assert reader.streams["picture"]["stream"] == 1
    done = preprocess(path, tmp_path/"faces", progress=False)
    about = done.stores[0].about["streams"]
    assert len(done.frames) == 10 and about["picture"]["codec"] == "mpeg4" and "mjpeg" in about["left_out"][0]
    assert [entry.reason.partition(";")[0] for entry in done.skipped] == ["noted: stream 1 is read"]*(kind == "mkv") # it is not marked as a cover


def test_a_song_with_a_cover_is_no_film(tmp_path):
    path = with_cover(tmp_path/"song.mp4", film=False)
    with pytest.raises(ValueError, match="song.mp4 holds no video stream, only audio and a cover"): VideoReader(path)


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_camera_and_language(tmp_path, default):
    with av.open(str(tmp_path/"two.mkv"), "w") as out:
        cameras = [add_video(out, (64, 48)) for _ in range(2)]
        sounds = [out.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for streams in (cameras, sounds):
            for number, stream in enumerate(streams): stream.disposition = Mark.default if number == default else Mark(0)
        packets = [packet for stream, level in zip(cameras, (60, 180)) for packet in packets_of(stream, [flat(level)]*25, np.arange(25)/25)]
        packets += [packet for stream, loud in zip(sounds, (0, 1)) for packet in sound_packets(stream, loud*clicks([.5], 1))]
        for packet in sorted(packets, key=lambda packet: packet.dts*packet.time_base): out.mux(packet)
    reader = VideoReader(tmp_path/"two.mkv")
    assert {round(frame.image.mean(), -1) for frame in reader} == {(60, 180)[default]}
    assert (np.abs(read_audio(tmp_path/"two.mkv").samples).max() > .3) == bool(default)
    assert (sound_track(tmp_path/"two.mkv").stream, reader.streams["sound"]["stream"]) == (2 + default,)*2
    assert f"stream {default} is read; left out: stream {1 - default}: pictures" in reader.notes[0]
    done = preprocess(tmp_path/"two.mkv", tmp_path/"faces", progress=False)
    about = done.stores[0].about
    assert about["streams"]["picture"] == dict(stream=default, of=2, codec="h264", default=True) and about["streams"]["sound"]["stream"] == 2 + default
    assert "left out" in done.skipped[0].reason
