"Clocks: joined recordings, a webcam's empty packets, a browser's recording, a varying rate, an edit list."
import sys

import av
import cv2
import numpy as np
import pytest
from small_media import RATE, clicks, corners, face, flat, near, write_small

from affect_nb.analysis.annotated_film import write_annotated
from affect_nb.files.film import FilmWriter
from affect_nb.preprocess.audio import read_audio
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sound import write_sound
from affect_nb.preprocess.video import VideoReader, counted

QUICK = dict(progress=False, detector_options=dict(upsample=0))


def flash_film(path, flash, n, times=None, sound=True, rate=25, **video):
    "Grey, white at frame `flash`, with a click at its time."
    times = np.arange(n)/rate if times is None else np.asarray(times)
    samples = clicks([times[flash]], times[-1] + .04) if sound else None
    return write_small(path, [flat(230 if number == flash else 60) for number in range(n)], times, samples, rate=rate, **video)


def flashes(frames): return [frame.time for frame in frames if frame.gray.mean() > 150]


def click_times(path, least=.3):
    "Times of the loud places, s."
    audio = read_audio(path)
    loud = np.flatnonzero(np.abs(audio.samples) > least)/audio.rate + audio.start
    return loud[np.diff(loud, prepend=-1) > .2]


def ascend(frames): return (np.diff([frame.time for frame in frames]) > 0).all()


# joined recordings

@pytest.mark.parametrize("parts", [2, 3])
def test_joined_transport_streams(tmp_path, parts):
    "Each part counts from its own start; pictures and sound stay together in all of them."
    for number in range(parts): flash_film(tmp_path/f"{number}.ts", 20 + 5*number, 50)
    joined = tmp_path/"joined.ts"
    joined.write_bytes(b"".join((tmp_path/f"{number}.ts").read_bytes() for number in range(parts)))
    reader = VideoReader(joined)
    frames = list(reader)
    assert len(frames) == reader.n_frames == 50*parts and ascend(frames) and reader.fault is None
    assert abs(frames[-1].time - 2*parts) < .2 and "starts anew" in reader.notes[0]
    seen, heard = flashes(frames), click_times(joined)
    assert len(seen) == len(heard) == parts and np.abs(np.array(seen) - heard).max() < .06
    sound = write_sound(joined, tmp_path/"joined.sound")
    assert sound.about["fault"] is None and not sound.about["unreliable"]


def test_a_part_from_another_hour(tmp_path):
    "The second part is of an hour later, or its clock is: nobody waits an hour."
    flash_film(tmp_path/"one.ts", 10, 30)
    flash_film(tmp_path/"two.ts", 10, 30, start=3600)
    (tmp_path/"joined.ts").write_bytes((tmp_path/"one.ts").read_bytes() + (tmp_path/"two.ts").read_bytes())
    reader = VideoReader(tmp_path/"joined.ts")
    frames = list(reader)
    assert len(frames) == 60 and ascend(frames) and frames[-1].time < 3
    assert np.abs(np.array(flashes(frames)) - click_times(tmp_path/"joined.ts")).max() < .06


def test_one_recording_is_not_touched(tmp_path):
    reader = VideoReader(flash_film(tmp_path/"one.ts", 20, 50))
    assert np.allclose([frame.time for frame in reader], np.arange(50)/25, atol=1e-4)
    assert reader.notes == [] and reader.n_frames == 50


# empty packets

def webcam(path, kept, n=60, rate=30):
    "An .avi whose other packets are empty: FFmpeg writes them so where a time has no frame."
    frames = [flat(60 + number) for number in kept]
    return write_small(path, frames, np.array(kept)/rate, rate=rate, codec="mjpeg", pix_fmt="yuvj420p", tick=None)


def test_a_webcam_that_skips_frames_is_complete(tmp_path):
    kept = [number for number in range(60) if number % 10 not in (3, 4, 7)]
    reader = VideoReader(webcam(tmp_path/"cam.avi", kept))
    times = [frame.time for frame in reader]
    assert reader.fault is None and np.allclose(times, np.array(kept)/30, atol=1e-3) and reader.n_frames == len(kept)


def test_a_webcam_that_was_cut_off_is_not(tmp_path):
    path = webcam(tmp_path/"cam.avi", range(60))
    path.write_bytes(path.read_bytes()[:path.stat().st_size*2//3])
    reader = VideoReader(path)
    n = len(list(reader))
    assert 20 < n < 50 and f"broke off after {n} frames of 60" in reader.fault


# a browser's recorder

def test_a_recording_of_1000_hz(tmp_path):
    "MediaRecorder declares its clock as the rate, and no length."
    times = np.round(np.arange(40)/30, 3)
    path = tmp_path/"recorder.webm"
    write_small(path, [flat(60 + number) for number in range(40)], times, rate=1000, codec="libvpx", tick=None)
    reader = VideoReader(path)
    assert abs(reader.declared_fps - 1000) < 1 and abs(reader.fps - 30) < .5 and "1000 Hz" in reader.notes[0]
    assert np.allclose([frame.time for frame in reader], times, atol=1e-3) and reader.fault is None


# a varying rate

def test_a_picture_that_ends_before_its_sound_is_complete(tmp_path):
    reader = VideoReader(write_small(tmp_path/"long.mkv", [flat(60)]*50, sound=clicks([1], 10)))
    assert len(list(reader)) == 50 and reader.fault is None


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_annotated_film_flashes_when_the_film_did(tmp_path, ending):
    "The flash at 3.0 s was at 5.3 s of the annotated film."
    rng = np.random.default_rng(5)
    times = np.cumsum(np.r_[0, rng.choice([1/60, 1/30, 1/10], 59)]).round(3)
    flash = int(np.searchsorted(times, 2.))
    path = flash_film(tmp_path/f"varying.{ending}", flash, 60, times)
    reader = VideoReader(path)
    frames = list(reader)
    assert np.allclose([frame.time for frame in frames], times, atol=2e-3) and reader.fault is None
    store, = preprocess(path, tmp_path/"faces", **QUICK).stores
    table = store.frames.assign(valence=np.nan, arousal=np.nan)
    film = write_annotated(tmp_path/"film.mp4", path, store, table)
    written = list(VideoReader(film))
    assert len(written) == 60 and np.allclose([frame.time for frame in written], times, atol=2e-3)
    top = [frame.time for frame in written if frame.gray[:40].mean() > 150]
    assert np.allclose(top, times[flash], atol=.01) and abs(click_times(film)[0] - times[flash]) < .05


def test_times_must_ascend_in_a_film_that_is_written(tmp_path):
    for times, said in (((0., .1, .1), "times must ascend"), ((0., None), "all frames have one, or none"), ((None, 1.), "all frames have one, or none")):
        with pytest.raises(ValueError, match=said), FilmWriter(tmp_path/"film.mp4", 64, 48) as film:
            for time in times: film.add(flat(9), time)
    assert not list(tmp_path.iterdir())


# an edit list

def test_a_header_that_counts_what_is_not_shown(tmp_path):
    "A film that was trimmed without encoding: the header counts 120 frames, an edit list shows 70."
    write_small(tmp_path/"whole.mp4", [flat(60 + number) for number in range(120)], bf=0, g=200)
    with av.open(str(tmp_path/"whole.mp4")) as source, av.open(str(tmp_path/"trimmed.mp4"), "w", options=dict(avoid_negative_ts="disabled", use_editlist="1")) as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None: continue
            packet.dts, packet.pts, packet.stream = packet.dts - round(2/packet.time_base), packet.pts - round(2/packet.time_base), target
            out.mux(packet)
    reader = VideoReader(tmp_path/"trimmed.mp4")
    with av.open(str(tmp_path/"trimmed.mp4")) as container: assert container.streams.video[0].frames == 120
    n = len(list(reader))
    assert n == 70 and reader.n_frames == n and reader.fault is None


def test_the_count_is_an_estimate_and_shown_so(capsys, monkeypatch):
    "The bar stopped at 35 %: 55 of 158. Into a file there is none."
    assert list(counted(range(55), 158, "film")) == list(range(55)) and not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False) # a terminal
    assert list(counted(range(55), 158, "film")) == list(range(55))
    shown = capsys.readouterr().err
    assert "/~158" in shown and "100%" in shown and "55/~55" in shown
    assert list(counted(range(5), 0, "film", progress=False)) == list(range(5)) and not capsys.readouterr().err


# another size

def test_a_stream_that_changes_its_size(tmp_path):
    "The faces of both halves are found; the second half is shown between bars."
    small = [cv2.resize(face(number), (160, 180)) for number in range(8)]
    write_small(tmp_path/"one.ts", [face(number) for number in range(8)], codec="mpeg2video", tick=None, b="4000000")
    write_small(tmp_path/"two.ts", small, codec="mpeg2video", tick=None, b="4000000")
    (tmp_path/"film.ts").write_bytes((tmp_path/"one.ts").read_bytes() + (tmp_path/"two.ts").read_bytes())
    reader = VideoReader(tmp_path/"film.ts")
    frames = list(reader)
    assert {frame.image.shape for frame in frames} == {frame.gray.shape + (3,) for frame in frames} == {(180, 240, 3)}
    assert near(frames[-1].image[:, 40:200], small[-1]) and not frames[-1].image[:, :38].any()
    assert "changes from 240x180 to 160x180" in reader.notes[-1]
    done = preprocess(tmp_path/"film.ts", tmp_path/"faces", **QUICK)
    assert (done.frames.status == "ok").all() and len(done.frames) == len(frames) >= 15
    assert any("changes from" in entry.reason for entry in done.skipped)
    assert VideoReader(write_annotated(tmp_path/"film.mp4", tmp_path/"film.ts", done.stores[0], done.frames)).width == 240
