"The embedded world: films, voices, episodes, and twins of databases in their official layouts."
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from affect_nb.core.labels import AUS8, EXPRESSIONS
from affect_nb.core.relatedness import COGNITIVE
from affect_nb.files.film import FilmWriter, write_film
from affect_nb.synth.twins import SIZES, SyntheticSize, get_twin, list_synthetic, plan_database, present, write_database
from affect_nb.synth.episodes import ACTIVE_FROM, PROTOTYPES, affect_aus, draw_va_path, emotion_probabilities, make_episode
from affect_nb.synth.faces import DRAWN_AUS
from affect_nb.synth.voices import make_voice

TINY = dict(train=4, validation=2, test=2, frames_per_clip=20, width=96, height=96)


def frames_of(path):
    with av.open(str(path)) as container: return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound_of(path):
    with av.open(str(path)) as container: return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def files_of(root): return {str(path.relative_to(root)): path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file()}


# films

@pytest.mark.parametrize("fps", [12, 23.976, 25, 29.97, 60])
def test_film_keeps_times(tmp_path, fps):
    write_film(tmp_path/"film.mp4", (np.full((48, 64, 3), value, np.uint8) for value in range(0, 240, 8)), fps=fps)
    with av.open(str(tmp_path/"film.mp4")) as container: times = [float(frame.pts*frame.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(30)/fps, atol=2e-3)


def test_film_pads_odd_sides(tmp_path):
    frame = np.zeros((51, 65, 3), np.uint8); frame[:, :, 0] = 200
    write_film(tmp_path/"film.mp4", [frame]*3)
    read = frames_of(tmp_path/"film.mp4")[0]
    assert read.shape == (52, 66, 3) and abs(int(read[51, 65, 0]) - 200) < 8


def test_film_sound_is_as_long_as_the_picture(tmp_path):
    tone = np.sin(np.arange(44100*2)*.05).astype(np.float32)
    write_film(tmp_path/"film.mp4", (np.zeros((48, 64, 3), np.uint8) for _ in range(50)), fps=25, sound=tone)
    heard = sound_of(tmp_path/"film.mp4")
    assert abs(len(heard) - len(tone)) <= 2048
    assert np.corrcoef(heard[4000:8000], tone[4000:8000])[0, 1] > .99, "sound is not shifted against the picture"


@pytest.mark.parametrize("bad, said", [(np.zeros((48, 64), np.uint8), "(48, 64)"), (np.zeros((48, 64, 3)), "float64"), (np.zeros((48, 64, 4), np.uint8), "(48, 64, 4)")])
def test_film_names_a_wrong_frame(tmp_path, bad, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        with FilmWriter(tmp_path/"film.mp4", 64, 48) as film: film.add(bad)
    assert not list(tmp_path.iterdir())


def test_film_refuses_wrong_sound(tmp_path):
    frames = [np.zeros((48, 64, 3), np.uint8)]
    for sound, said in ((np.zeros((2, 10)), "mono"), (np.array([0, np.nan]), "sample 1 is not finite")):
        with pytest.raises(ValueError, match=said): write_film(tmp_path/"film.mp4", frames, sound=sound)
    with pytest.raises(ValueError, match="silent"), FilmWriter(tmp_path/"film.mp4", 64, 48) as film: film.add_sound(np.zeros(9))
    for settings in (dict(width=1, height=9), dict(width=64, height=48, fps=0)):
        with pytest.raises(ValueError): FilmWriter(tmp_path/"film.mp4", **settings)
    with pytest.raises(ValueError, match="empty"): write_film(tmp_path/"film.mp4", iter(()))
    assert not list(tmp_path.iterdir())


@pytest.mark.alone
def test_film_memory_does_not_grow(tmp_path):
    script = ("import resource, sys, numpy as np\nfrom affect_nb.files.film import FilmWriter\n"
              "noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3)).astype(np.uint8)\n"
              "with FilmWriter(sys.argv[1], 160, 120, 30, 44100, threads=1) as film:\n"
              "    for step in range(int(sys.argv[2])): film.add(np.roll(noise, step, 1)); film.add_sound(np.zeros(1470, np.float32))\n"
              "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
    peak = [int(subprocess.run([sys.executable, "-c", script, str(tmp_path/"film.mp4"), str(count)], capture_output=True, text=True, check=True).stdout) for count in (150, 1500)]
    assert peak[1] < 1.1*peak[0], f"{peak[0]} kB for 150 frames, {peak[1]} kB for 1500"


# episodes and voices

@pytest.mark.parametrize("n_frames, fps", [(1, 30), (2, 1), (7, 5), (100, 240)])
def test_episodes_of_any_length(n_frames, fps):
    episode = make_episode(n_frames, fps, seed=3)
    assert episode.va.shape == (n_frames, 2) and np.abs(episode.va).max() <= 1 and np.isfinite(episode.aus).all()
    assert len(make_voice(episode, rate=8000)) == round(n_frames/fps*8000)


def test_own_path_is_kept_and_checked():
    path = draw_va_path(50, seed=1)
    assert np.array_equal(make_episode(va=path, seed=9).va, path)
    for wrong in (path*3, path[:, :1], path*np.nan):
        with pytest.raises(ValueError): make_episode(va=wrong)
    for wrong in (dict(n_frames=0), dict(n_frames=9, fps=0)):
        with pytest.raises(ValueError): draw_va_path(**wrong)


def test_paths_cover_the_plane():
    points = np.concatenate([draw_va_path(150, 25, seed) for seed in range(60)])
    cells = np.histogram2d(*points.T, bins=3, range=[(-1, 1)]*2)[0]/len(points)
    assert cells.min() > .01 and points.std(0).min() > .35


def test_smooth_changes():
    for seed in range(5):
        episode = make_episode(300, 30, seed)
        assert np.abs(np.diff(episode.va, axis=0)).max() < .15 and np.abs(np.diff(episode.aus, axis=0)).max() < 1.5


def test_emotion_probabilities_sum_to_one_everywhere():
    plane = np.stack(np.meshgrid(*[np.linspace(-1, 1, 21)]*2), -1)
    np.testing.assert_allclose(emotion_probabilities(plane).sum(-1), 1)
    assert [EXPRESSIONS[emotion_probabilities(point).argmax()] for point in PROTOTYPES.values()] == list(PROTOTYPES)


def test_table_v_is_in_the_episodes():
    episodes = [make_episode(250, 25, seed) for seed in range(100)]
    shown, active = (np.concatenate(parts) for parts in zip(*((episode.expression, episode.activations(COGNITIVE.aus)) for episode in episodes)))
    counted = np.stack([active[shown == EXPRESSIONS.index(name)].mean(0) for name in COGNITIVE.emotions])
    assert np.abs(counted - COGNITIVE.weights).mean() < .03 and np.abs(counted - COGNITIVE.weights).max() < .2


def test_traces_never_count_as_active():
    for valence, arousal in np.random.default_rng(0).uniform(-1, 1, (50, 2)):
        assert max(affect_aus(valence, arousal, "Neutral").values(), default=0) < ACTIVE_FROM


def test_a_stronger_feeling_is_a_stronger_face():
    for au, weak, strong in ((12, (.4, 0), (.9, 0)), (15, (-.4, -.2), (-.9, -.2)), (26, (.3, .5), (.3, .9))):
        assert affect_aus(*weak)[au] < affect_aus(*strong)[au]


def test_voices_differ_by_speaker_and_repeat_by_seed():
    episode = make_episode(60, seed=2)
    assert np.array_equal(make_voice(episode, seed=1), make_voice(episode, seed=1)) and not np.array_equal(make_voice(episode, seed=1), make_voice(episode, seed=2))
    with pytest.raises(ValueError, match="8000"): make_voice(episode, rate=100)


# databases

@pytest.fixture(scope="module")
def affwild(tmp_path_factory): return write_database("aff-wild", tmp_path_factory.mktemp("twin")/"aff-wild", progress=False, **TINY)

@pytest.fixture(scope="module")
def affwild2(tmp_path_factory): return write_database("aff-wild2", tmp_path_factory.mktemp("twin")/"aff-wild2", progress=False, face_files=True, **TINY)


def test_affwild_layout(affwild):
    names = set(files_of(affwild))
    clips = {"train": [f"{number:03d}" for number in range(1, 7)], "test": ["007", "008"]}
    wanted = {f"videos/{split}/{clip}.mp4" for split in clips for clip in clips[split]}
    wanted |= {f"annotations/{split}/{what}/{clip}.txt" for split in clips for clip in clips[split] for what in ("valence", "arousal")}
    assert names == wanted | {"SYNTHETIC.txt", "synthetic.json", "subjects.csv"}


def test_affwild_rows_are_plain_numbers_and_off_by_one(affwild):
    rows = {plan.name: plan.n_frames + plan.extra_rows for plan in plan_database("aff-wild", SyntheticSize(**TINY))}
    for path in affwild.glob("annotations/*/*/*.txt"):
        values = np.array([float(line) for line in path.read_text().splitlines()])
        assert len(values) == rows[path.stem] and np.abs(values).max() <= 1
    frames = {path.stem: len(frames_of(path)) for path in affwild.glob("videos/*/*.mp4")}
    assert {rows[name] - count for name, count in frames.items()} == {-1, 0, 1}


def test_every_video_has_sound(affwild):
    for path in affwild.glob("videos/*/*.mp4"):
        heard = sound_of(path)
        assert np.sqrt(np.mean(heard**2)) > .005 and np.abs(heard).max() <= 1.05


def test_no_subject_on_two_sides(affwild, affwild2):
    for root in (affwild, affwild2):
        table = pd.read_csv(root/"subjects.csv")
        assert (table.groupby("subject")["split"].nunique() == 1).all() and table["video"].is_unique
        assert table["subject"].nunique() < len(table), "some subjects have several videos"


def test_affwild2_layout(affwild2):
    names = {name for name in files_of(affwild2) if not name.startswith("cropped_aligned")}
    assert {"videos/batch2/1-25-96x96.mp4", "videos/batch1/2-25-192x96.mp4", "annotations/VA_Set/Training_Set/1-25-96x96.txt",
            "annotations/EXPR_Set/Training_Set/2-25-192x96_left.txt", "annotations/AU_Set/Training_Set/2-25-192x96_right.txt",
            "annotations/VA_Set/Validation_Set/5-25-96x96.txt", "va_test_set.txt", "expression_test_set.txt", "aus_test_set.txt"} <= names
    assert (affwild2/"va_test_set.txt").read_text().split() == ["7-25-96x96", "8-25-192x96_left", "8-25-192x96_right"]
    assert "no person was recorded" in (affwild2/"SYNTHETIC.txt").read_text()


def test_affwild2_headers_and_values(affwild2):
    headers = {"VA_Set": "valence,arousal", "EXPR_Set": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise", "AU_Set": "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25"}
    for path in affwild2.glob("annotations/*/*/*.txt"):
        task = path.relative_to(affwild2).parts[1]
        header, *rows = path.read_text().splitlines()
        values = np.array([[float(cell) for cell in row.split(",")] for row in rows])
        assert header == headers[task] and values.shape[1] == (2, 1, len(AUS8))[list(headers).index(task)]
        allowed = {"VA_Set": (np.abs(values) <= 1) | (values == -5), "EXPR_Set": np.isin(values, range(-1, 7)), "AU_Set": np.isin(values, (-1, 0, 1))}[task]
        assert allowed.all()


def test_sentinels_stand_where_nobody_is(affwild2):
    away = next(plan for plan in plan_database("aff-wild2", SyntheticSize(**TINY)) if plan.absent[1])
    rows = (affwild2/f"annotations/VA_Set/Training_Set/{away.name}.txt").read_text().splitlines()[1:]
    assert [row == "-5,-5" for row in rows] == list(~present(away))
    rows = (affwild2/f"annotations/EXPR_Set/Training_Set/{away.name}.txt").read_text().splitlines()[1:]
    assert [row == "-1" for row in rows] == list(~present(away))
    crops = {int(path.stem) - 1 for path in (affwild2/"cropped_aligned"/away.name).iterdir()}
    assert crops == set(np.flatnonzero(present(away))), "image k belongs to row k after the header"
    frames = frames_of(next(affwild2.glob(f"videos/*/{away.name}.mp4")))
    inside, outside = np.mean(frames[away.absent[0] + 1:away.absent[1] - 1], 0), np.mean(frames[:away.absent[0] - 1], 0)
    assert np.abs(inside - outside)[24:72, 24:72].mean() > 10, "the face is really gone"


def test_left_and_right_are_two_people(affwild2):
    left, right = (np.loadtxt(affwild2/f"annotations/VA_Set/Training_Set/2-25-192x96_{side}.txt", delimiter=",", skiprows=1) for side in ("left", "right"))
    assert left.shape == right.shape and np.abs(left - right).mean() > .05


def test_same_seed_same_bytes_in_any_process(affwild, tmp_path):
    again = write_database("aff-wild", tmp_path/"twin", workers=2, progress=False, **TINY)
    assert files_of(again) == files_of(affwild)
    other = plan_database("aff-wild", SyntheticSize(**TINY), seed=1)
    assert other[0].people[0].identity != plan_database("aff-wild", SyntheticSize(**TINY))[0].people[0].identity


def test_a_lost_file_comes_back(affwild2):
    before = files_of(affwild2)
    changed = {path: (affwild2/path).stat().st_mtime_ns for path in before if path.endswith(".mp4")}
    lost = ["videos/batch2/1-25-96x96.mp4", "annotations/AU_Set/Training_Set/1-25-96x96.txt"]
    for path in lost: (affwild2/path).unlink()
    write_database("aff-wild2", affwild2, progress=False, face_files=True, **TINY)
    assert files_of(affwild2) == before
    redrawn = {path for path, stamp in changed.items() if (affwild2/path).stat().st_mtime_ns != stamp}
    assert redrawn == {lost[0]}, "finished videos are not drawn again"


@pytest.mark.alone
def test_kill_and_go_on(tmp_path, affwild):
    script = f"from affect_nb.synth.twins import write_database\nwrite_database('aff-wild', {str(tmp_path/'twin')!r}, progress=False, **{TINY})"
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
    started = time.monotonic()
    while not list(tmp_path.rglob("videos/train/0*.mp4")) and process.poll() is None and time.monotonic() - started < 60: time.sleep(.01)
    process.kill(); process.wait()
    write_database("aff-wild", tmp_path/"twin", progress=False, **TINY)
    assert files_of(tmp_path/"twin") == files_of(affwild), "nothing broken, nothing left over"


def test_other_parameters_and_foreign_folders_are_refused(affwild, tmp_path):
    with pytest.raises(ValueError, match="difficulty 0.3 there, 0.9 wanted"): write_database("aff-wild", affwild, difficulty=.9, **TINY)
    (tmp_path/"mine.txt").write_text("x")
    with pytest.raises(ValueError, match="real database"): write_database("aff-wild", tmp_path, **TINY)
    assert json.loads((affwild/"synthetic.json").read_text())["train"] == TINY["train"]


@pytest.mark.parametrize("wrong, said", [(dict(name="aff-wild9"), "aff-wild, aff-wild2"), (dict(size="huge"), "smoke, demo"), (dict(train=0), "train is 0"), (dict(frame=3), "'frame'"),
                                         (dict(difficulty=2), "difficulty is 2"), (dict(workers=0), "workers is 0"), (dict(width=9), "width is 9")])
def test_wrong_arguments_are_named(tmp_path, wrong, said):
    with pytest.raises(ValueError, match=said): write_database(**{"name": "aff-wild", "root": tmp_path/"twin", **wrong})
    assert not (tmp_path/"twin").exists()


FILMS = ("aff-wild", "aff-wild2", "aff-wild2-2021")


@pytest.mark.parametrize("name", list_synthetic())
def test_every_twin_grows_with_its_size(name):
    few, many = (plan_database(name, replace(SIZES["smoke"], train=train, validation=2)) for train in (4, 24))
    assert len(many) > len(few) and len(set(many)) == len(many), "each piece is another one"
    assert plan_database(name, replace(SIZES["smoke"], train=4, validation=2)) == few != plan_database(name, replace(SIZES["smoke"], train=4, validation=2), seed=1)
    assert {plan.split for plan in many} <= set(get_twin(name).splits)


@pytest.mark.parametrize("name", FILMS)
def test_plans_scale(name):
    plans = plan_database(name, replace(SIZES["demo"], train=60))
    assert len({plan.name for plan in plans}) == len(plans) == 60 + SIZES["demo"].validation + SIZES["demo"].test
    assert all(plan.tasks for plan in plans) and DRAWN_AUS
    assert min(plan.n_frames for plan in plans) >= SIZES["demo"].frames_per_clip
    frames = sum(plan.n_frames for plan in plans)
    assert 0 < sum(plan.absent[1] - plan.absent[0] for plan in plans) < .05*frames
