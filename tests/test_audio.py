"Sound on disk: clicks where the frames are, independent spectrograms, bad tracks, memory."
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pyarrow as pa
import pytest
from scipy import signal

from affect_nb.preprocess.audio import SoundReader, MonoConverter, read_audio, sound_track
from affect_nb.preprocess.frames import NO_SOUND, SOUND
from affect_nb.preprocess.pipeline import preprocess
from affect_nb.preprocess.sound import SoundStore, sound_beside, write_sound
from affect_nb.preprocess.spectrogram import BAND_SCALES, Spectrogram, band_shares, columns_of, spectrogram_images
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.preprocess.video import VideoReader

RATE = 44100
TICK = Fraction(1, 90_000)
QUICK = dict(detector_options=dict(upsample=0), progress=False)


def regular(fps, seconds): return np.arange(round(seconds*fps))/float(fps)


def packed(samples, place, rate, layout="mono", form="fltp"):
    "(channels, n) or (n,) samples as a frame for an encoder, the first being sample `place`."
    planes = np.atleast_2d(samples)
    if form == "s16": planes = (planes.T.reshape(1, -1)*32767).astype(np.int16)
    elif form == "flt": planes = planes.T.reshape(1, -1).astype(np.float32)
    else: planes = planes.astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format=form, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
    return frame


def film(path, tracks, times=regular(25, 2), flashes=(), video_start=0., codec="pcm_s16le", form="s16", rate=RATE, layout="mono", offset=0., header=None, default=0):
    """A grey film whose frames lie at `times`, white at `flashes`; `tracks` of (n,) or (channels, n) samples begin at `offset` s.
    `header`: Hz that the file says, where it lies about the timestamps."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=30, options=dict(crf="30", preset="veryfast"))
        video.width = video.height = 64
        video.pix_fmt, video.codec_context.time_base = "yuv420p", TICK
        streams = [out.add_stream(codec, rate=header or rate, layout=layout) for _ in tracks]
        for number, stream in enumerate(streams): stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        packets = []
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 235 if number in flashes else 60, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round((time + video_start)/TICK), TICK
            packets += video.encode(frame)
        packets += video.encode(None)
        for stream, samples in zip(streams, tracks):
            samples, size = np.atleast_2d(samples), stream.codec_context.frame_size or 1024
            for place in range(0, samples.shape[1], size):
                frame = packed(samples[:, place:place + size], round(offset*rate) + place, rate, layout, form)
                if header: frame.sample_rate = header
                packets += stream.encode(frame)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts*packet.time_base): out.mux(packet)
    return path


def ticking(moments, length, rate=RATE):
    "(n,) silence with a click of 4 ms around each moment (s)."
    samples, click = np.zeros(round(length*rate)), signal.windows.hann(round(.004*rate))*.9
    click *= np.cos(2*np.pi*3000/rate*np.arange(len(click)))
    for moment in moments:
        first = round(moment*rate) - len(click)//2
        samples[first:first + len(click)] += click
    return samples


def tone(seconds=2., hertz=440., loudness=.5, rate=RATE): return loudness*np.sin(2*np.pi*hertz*np.arange(round(seconds*rate))/rate)


# alignment

rng = np.random.default_rng(3)
CLOCKS = {"30": regular(30, 12), "25": regular(25, 12), "23.976": regular(Fraction(24000, 1001), 12),
          "variable": np.cumsum(np.r_[0, rng.choice([1/60, 1/30, 1/24, 1/12], 320)])}
FILES = {"aac": ("mp4", dict(codec="aac", form="fltp")), "pcm": ("mkv", {}), "48 kHz": ("mkv", dict(rate=48000)), "flac": ("mkv", dict(codec="flac")), "8 kHz": ("mov", dict(rate=8000))}


def middle_of(image):
    "Where the click lies in an image, in columns from the middle: by its level above 50 dB below its peak."
    level = image[60:90, 36:60].max(0).astype(float)
    level = np.clip(level - level.max() + 127, 0, None)
    return (level*(np.arange(36, 60) - 47.5)).sum()/level.sum()


@pytest.mark.parametrize("starts", [(0., 0.), (.37, 0.), (0., .53)], ids=["together", "sound later", "picture later"])
@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("kind", FILES)
def test_clicks_lie_in_the_middle_of_their_frames_images(tmp_path, kind, clock, starts):
    times, (ending, how), (offset, video_start) = CLOCKS[clock], FILES[kind], starts
    flashes = np.flatnonzero(np.diff(np.floor((times - .9)/1.7), prepend=0) > 0)[:5]
    rate = how.get("rate", RATE)
    moments = times[flashes] + video_start - offset
    path = film(tmp_path/f"clicks.{ending}", [ticking(moments, times[-1] + 1, rate)], times, set(flashes.tolist()), video_start, offset=offset, **how)
    frames = list(VideoReader(path))
    bright = [frame.time for frame in frames if frame.gray.mean() > 150]
    assert len(bright) == len(flashes) == 5 and len(frames) == len(times)
    store = write_sound(path, tmp_path/"clicks.sound")
    assert store.about["fault"] is None and abs(store.about["start"] - (offset - video_start)) < .03
    error = np.array([middle_of(image) for image in store.images(bright)])*store.about["hop"]
    frame_length = 1/60 if clock == "variable" else np.diff(times).min()
    assert np.abs(error).max() <= frame_length/2, error
    assert store.status(bright) == ["ok"]*5


def test_gap_in_the_timestamps_moves_nothing(tmp_path):
    "A second of sound is not in the file; what follows stays where its timestamps are."
    path, part = tmp_path/"gap.mkv", ticking([.5, 2.5], 3)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for place in range(0, len(part), 441):
            if not RATE <= place < 2*RATE: out.mux(stream.encode(packed(part[place:place + 441], place, RATE, form="s16")))
    audio = read_audio(path)
    assert len(audio.samples) == 3*RATE
    assert np.abs(audio.samples - part).max() < 1e-3 or np.abs(np.argmax(audio.samples[2*RATE:]) - np.argmax(part[2*RATE:])) < .002*RATE
    store = write_sound(path, tmp_path/"gap.sound")
    assert np.abs([middle_of(image) for image in store.images([.5, 2.5])]).max()*store.about["hop"] < .01


@pytest.mark.parametrize("ending", ["mov", "mkv"])
def test_sound_that_begins_long_before_the_picture(tmp_path, ending):
    "The header of a .mkv does not say when such a picture starts; then its frames do not count from 0 either."
    path = film(tmp_path/f"early.{ending}", [ticking([20.52], 22)], regular(25, 2), video_start=20.)
    store, frames = write_sound(path, tmp_path/"early.sound"), list(VideoReader(path))
    assert abs(middle_of(store.images([frames[13].time])[0]))*store.about["hop"] < .01
    if ending == "mov": assert store.about["start"] == -3 and abs(store.about["end"] - 2) < .03


# the transform

@pytest.mark.parametrize("bands", BAND_SCALES)
def test_power_against_scipy(bands):
    sound = np.random.default_rng(1).normal(0, .1, 30_000).astype(np.float32)
    ours, window = Spectrogram(bands=bands), signal.windows.hann(1455)
    _, _, theirs = signal.stft(sound.astype(float), RATE, window, 1455, 485, ours.n_fft, boundary=None, padded=False)
    expected = (np.abs(theirs.T)**2*window.sum()**2) @ band_shares(bands, ours.n_fft)*4/(ours.n_fft*(window**2).sum())
    assert np.allclose(ours.power(sound), expected, rtol=1e-3)
    levels = np.concatenate([columns for columns, _ in columns_of(ours, [sound])])
    assert np.abs(levels[1:1 + len(expected)].astype(float) - (255 + 25.5*np.log10(ours.power(sound[970 - 727:])[:len(expected)]))[:len(levels) - 1]).max() < .6


@pytest.mark.parametrize("loudness", [1., .1, .001])
def test_level_of_a_sine(loudness):
    "A sine of full scale in the middle of a band is 0 dB, whatever the clip: loudness survives."
    levels = np.concatenate([columns for columns, _ in columns_of(Spectrogram(), [tone(1, 20.5*22050/96, loudness).astype(np.float32)])])
    assert (levels[5:-5].argmax(1) == 20).all()
    assert np.abs(levels[5:-5, 20]/2.55 - 100 - 20*np.log10(loudness)).max() < .3


def test_images_against_a_slow_loop():
    columns = np.random.default_rng(0).integers(0, 256, (150, 96)).astype(np.uint8)
    places = np.array([-40., 0., 47.5, 60.3, 149., 230.2])
    images = spectrogram_images(columns, places)
    value = lambda row, band: int(columns[row, band]) if 0 <= row < 150 else 0
    for image, place in zip(images, places):
        for column in range(0, 96, 5):
            at = place + column - 47.5
            low = int(np.floor(at))
            for band in range(0, 96, 7):
                assert abs(image[95 - band, column] - ((low + 1 - at)*value(low, band) + (at - low)*value(low + 1, band))) <= 1.1


# tracks of every kind

def holed(samples):
    "Samples with a tenth of a second that are no numbers, and some that are infinite."
    samples = samples.copy()
    samples[RATE:RATE + RATE//10] = np.nan
    samples[:3] = np.inf
    return samples


def cut(path, share):
    path.write_bytes(path.read_bytes()[:int(path.stat().st_size*share)])
    return path


def scrambled(path, target):
    "The same film; the packets of its sound from the second half on are noise."
    noise = np.random.default_rng(0)
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None: continue
            if packet.stream.type == "audio" and packet.pts*packet.time_base > 1:
                broken = av.Packet(noise.bytes(packet.size))
                broken.pts, broken.dts, broken.time_base, broken.duration = packet.pts, packet.dts, packet.time_base, packet.duration
                packet = broken, streams[packet.stream.index]
            else: packet = packet, streams[packet.stream.index]
            packet[0].stream = packet[1]
            out.mux(packet[0])
    return target


KINDS = {
    "good.mp4": lambda path: film(path, [tone()], codec="aac", form="fltp"),
    "none.mp4": lambda path: film(path, []),
    "silent.mp4": lambda path: film(path, [np.zeros(2*RATE)], codec="aac", form="fltp"),
    "short.mkv": lambda path: film(path, [tone(1.)]),
    "several.mkv": lambda path: film(path, [tone(), tone(hertz=3000), np.zeros(2*RATE)], default=1),
    "around.mkv": lambda path: film(path, [np.stack([tone()]*6)], layout="5.1", codec="pcm_f32le", form="flt"),
    "telephone.mov": lambda path: film(path, [tone(rate=8000)], rate=8000, codec="pcm_mulaw"),
    "numbers.mkv": lambda path: film(path, [holed(tone())], codec="pcm_f32le", form="flt"),
    "liar.mkv": lambda path: film(path, [tone()], header=22050),
    "slow.mov": lambda path: film(path, [tone(20., rate=8000)], rate=8000),
    "cut.mkv": lambda path: cut(film(path, [tone(6)], regular(25, 6)), .5),
    "scrambled.mkv": lambda path: scrambled(film(path.with_name("whole.mp4"), [tone()], codec="aac", form="fltp"), path),
}


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    "All kinds in one batch."
    root = tmp_path_factory.mktemp("kinds")
    (root/"clips").mkdir()
    for name, make in KINDS.items(): make(root/"clips"/name)
    (root/"clips"/"whole.mp4").unlink()
    return preprocess(root/"clips", root/"faces", **QUICK)


def sounds(batch, clip): return batch.frames[batch.frames["clip"] == clip].sound.tolist()


def test_no_kind_of_sound_ends_a_batch(batch):
    assert {store.clip for store in batch.stores} == {name.split(".")[0] for name in KINDS}
    assert set(batch.frames.sound) == set(SOUND) - {""}
    assert not list(batch.dest.glob(".part-*"))
    assert {path.stem for path in batch.dest.glob("*.sound")} == {store.clip for store in batch.stores} - {"none"}
    said = {entry.source.split("/")[-1]: entry.reason for entry in batch.skipped if "sound" in entry.reason}
    assert set(said) >= {"numbers.mkv", "liar.mkv", "slow.mov"} and not set(said) & {"good.mp4", "none.mp4", "silent.mp4", "short.mkv", "several.mkv", "around.mkv", "telephone.mov"}
    assert "samples were no numbers" in said["numbers.mkv"] and "22050 Hz do not go with the timestamps" in said["liar.mkv"] and "lasts 20.00 s, the picture" in said["slow.mov"]


def test_flags_of_the_frame_table(batch):
    assert set(sounds(batch, "good")) == set(sounds(batch, "several")) == set(sounds(batch, "around")) == set(sounds(batch, "telephone")) == {"ok"}
    assert set(sounds(batch, "none")) == {"no_track"} and set(sounds(batch, "silent")) == {"silent"}
    assert set(sounds(batch, "liar")) == {"broken"}
    short, numbers = sounds(batch, "short"), sounds(batch, "numbers")
    assert short[:24] == ["ok"]*24 and short[-20:] == ["outside"]*20
    assert numbers[26] == "broken" and numbers[10:20] == numbers[35:45] == ["ok"]*10
    facts = batch.frames.groupby("clip")[["sound_tracks", "sound_channels"]].first()
    assert facts.loc["several"].tolist() == [3, 1] and facts.loc["around"].tolist() == [1, 6] and facts.loc["none"].tolist() == [0, 0]


def test_sound_of_every_kind(batch):
    "The tone lies in its band, as loud as it was; six channels that are the same are as loud as one."
    level = {clip: sound_beside(batch.dest/f"{clip}.arrow").images([.8])[0, :, 48] for clip in ("good", "short", "several", "around", "telephone", "numbers")}
    for clip, column in level.items(): assert 95 - column.argmax() == int((3000 if clip == "several" else 440)*96/22050), clip
    for clip, column in level.items(): assert abs(column.max() - level["short"].max()) < 5, clip


def test_lost_packets_are_said(batch):
    facts = sound_beside(batch.dest/"scrambled.arrow").about
    assert facts["fault"] is None or "packets of the sound" in facts["fault"]
    assert sounds(batch, "scrambled")[:20] == ["ok"]*20


def test_sound_that_breaks_off_before_the_picture(tmp_path):
    "The sound's packets end early, but its header promises more."
    path = film(tmp_path/"whole.mp4", [tone(6)], regular(25, 6), codec="aac", form="fltp")
    reader = SoundReader(path)
    kept = sum(map(len, reader))
    assert reader.fault is None
    reader.track = type(reader.track)(**{**vars(reader.track), "duration": 60.})
    assert sum(map(len, reader)) == kept and reader.broke_off and "ended after" in reader.fault


def test_header_of_one_hertz_is_a_fault():
    frame = packed(np.zeros(100), 0, RATE)
    frame.sample_rate = 1
    with pytest.raises(ValueError, match="its header says 1 Hz, allowed are 1000"): MonoConverter(frame, RATE)


def test_timestamps_far_away_do_not_fill_the_disk(tmp_path):
    path = tmp_path/"far.mkv"
    film(tmp_path/"near.mkv", [tone(1)], regular(25, 1))
    with av.open(str(tmp_path/"near.mkv")) as source, av.open(str(path), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None: continue
            late = 10**8 if packet.stream.type == "audio" and packet.pts*packet.time_base > .5 else 0 # ms: a day
            packet.pts, packet.dts, packet.stream = packet.pts + late, packet.dts + late, streams[packet.stream.index]
            out.mux(packet)
    reader = SoundReader(path, 8000)
    assert 8000*.4 < sum(map(len, reader)) <= 200_000*8000
    assert max(map(len, reader)) <= 65536


# files

def test_sound_is_part_of_what_is_done(tmp_path):
    source = film(tmp_path/"one.mp4", [tone()], codec="aac", form="fltp")
    changed = lambda: (tmp_path/"faces"/"one.arrow").stat().st_mtime_ns
    preprocess(source, tmp_path/"faces", **QUICK)
    first = changed()
    preprocess(source, tmp_path/"faces", **QUICK)
    assert changed() == first
    (tmp_path/"faces"/"one.sound").unlink()
    preprocess(source, tmp_path/"faces", **QUICK)
    assert changed() > first and sound_beside(tmp_path/"faces"/"one.arrow")
    mute = preprocess(source, tmp_path/"faces", sound=False, **QUICK)
    assert sound_beside(tmp_path/"faces"/"one.arrow") is None
    assert set(mute.frames.sound) == {""} and set(mute.frames.sound_tracks) == {0}
    mel = preprocess(source, tmp_path/"faces", spectrogram=dict(bands="mel"), **QUICK)
    assert sound_beside(mel.stores[0].path).about["spectrogram"]["bands"] == "mel"


def test_images_have_no_sound(real, tmp_path):
    assert set(preprocess(real/"images"/"no_face_grass.jpg", tmp_path, progress=False).frames.sound) == {""}


def test_stores_of_before_get_the_columns(tmp_path):
    source = film(tmp_path/"one.mp4", [])
    store = preprocess(source, tmp_path/"faces", **QUICK).stores[0]
    table = store._table.drop_columns(list(NO_SOUND))
    with pa.OSFile(str(tmp_path/"old.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file: file.write_table(table)
    old = FaceStore.open(tmp_path/"old.arrow")
    assert list(old.frames.columns) == list(store.frames.columns) and old.table.schema.equals(store.table.schema)
    assert old.frames[list(NO_SOUND)].drop_duplicates().to_dict("records") == [NO_SOUND]
    assert old.clip == store.clip and len(old.read(0, 5)) == 5


def test_store_travels_to_another_process(tmp_path):
    import pickle
    store = write_sound(film(tmp_path/"one.mkv", [tone()]), tmp_path/"one.sound")
    times = np.arange(20)/10
    assert (pickle.loads(pickle.dumps(store)).images(times) == SoundStore.open(store.path).images(times)).all()


def test_unreadable_files_are_named(tmp_path):
    (tmp_path/"letter.mp4").write_text("Dear reader\n"*50)
    with pytest.raises(ValueError, match="letter.mp4 is no file that FFmpeg reads"): sound_track(tmp_path/"letter.mp4")
    with pytest.raises(ValueError, match="letter.mp4 is not a sound store"): SoundStore.open(tmp_path/"letter.mp4")


MEMORY = "import sys, resource; from affect_nb.preprocess.sound import write_sound; store = write_sound(sys.argv[1], sys.argv[2]); store.status([1.]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def test_memory_does_not_grow(tmp_path):
    "A minute against eight: eighteen million samples more."
    peaks = []
    for minutes in (1, 8):
        path = tmp_path/f"{minutes}.mov"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("pcm_mulaw", rate=8000, layout="mono")
            for second in range(60*minutes): out.mux(stream.encode(packed(tone(1, rate=8000), 8000*second, 8000, form="s16")))
        done = subprocess.run([sys.executable, "-c", MEMORY, path, tmp_path/f"{minutes}.sound"], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout)/1024)
    assert len(SoundStore.open(tmp_path/"8.sound")) == -(-8*60*RATE//970)
    assert peaks[1] - peaks[0] < 8, peaks
