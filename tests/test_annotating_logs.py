"""What is annotated in the notebook, without a browser: logs that are killed in the middle, labels against a slow reading, the widgets in a kernel."""
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from affect_nb.apps.annotation_log import MOST_GAP, AnnotatedFilm, AnnotationLog, fill_labels, log_table
from affect_nb.apps.annotation_tables import annotator_tables, collect_annotations, export_annotations
from affect_nb.apps.live import LivePredictor
from affect_nb.apps.film_stream import FilmStream, film_url
from affect_nb.databases.base import open_database
from affect_nb.files.film import write_film
from affect_nb.synth.faces import Identity, Scene, render_face

FILM = AnnotatedFilm("talk", "talk.mp4", np.arange(60)/30)
SAMPLES = st.lists(st.tuples(st.integers(0, 2400), st.sampled_from([-1., -.5, 0., .25, 1., None])), min_size=1, max_size=12, unique_by=lambda pair: pair[0])


def slow_labels(entries, held):
    "The same by a loop over frames: later entries win, a gap leaves what was there."
    labels, near = np.full(len(FILM), np.nan), .5/FILM.fps
    for entry in entries:
        at, values = entry["at"], [np.nan if value is None else value for value in entry["valence" if not held else "au12"]]
        for frame, now in enumerate(FILM.times):
            before = [place for place, moment in enumerate(at) if moment <= now]
            after = [place for place, moment in enumerate(at) if moment > now]
            distance = min(abs(moment - now) for moment in at)
            inside = before and after and at[after[0]] - at[before[-1]] <= MOST_GAP
            if not (inside or distance <= near): continue
            if held:
                begun = [place for place, moment in enumerate(at) if moment <= now + near]
                labels[frame] = values[begun[-1] if begun else 0]
            elif not before: labels[frame] = values[0]
            elif not after: labels[frame] = values[-1]
            else:
                first, last = before[-1], after[0]
                share = (now - at[first])/(at[last] - at[first])
                labels[frame] = values[first] if share == 0 else values[first]*(1 - share) + values[last]*share
    return labels


@settings(max_examples=60, deadline=None)
@given(takes=st.lists(SAMPLES, min_size=1, max_size=4), held=st.booleans())
def test_labels_are_those_of_a_slow_reading(takes, held):
    entries, labels = [], {}
    for number, samples in enumerate(takes):
        samples = sorted(samples)
        values = [value if value is None or not held else float(value > 0) for _, value in samples]
        entries.append({"take": f"t{number}", "at": [(moment + .137)/1000 for moment, _ in samples], "au12" if held else "valence": values})
        fill_labels(labels, FILM, entries[-1])
    np.testing.assert_allclose(labels["au12" if held else "valence"], slow_labels(entries, held), atol=1e-9)


WRITER = """
import sys
import numpy as np
from affect_nb.apps.annotation_log import AnnotatedFilm, AnnotationLog
log = AnnotationLog(sys.argv[1], AnnotatedFilm("talk", "talk.mp4", np.arange(10_000)/30), "A1")
for number in range(10_000):
    log.append([dict(take="a", at=[number/30], valence=[number/10_000])])
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_has_lost_no_entry_that_was_answered(tmp_path):
    film = AnnotatedFilm("talk", "talk.mp4", np.arange(10_000)/30)
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as writer:
        for line in writer.stdout:
            if int(line) >= 40: break
        writer.send_signal(signal.SIGKILL)
        told = [int(line), *(int(rest) for rest in writer.stdout.read().split())]
    log = AnnotationLog(tmp_path, film, "A1")
    assert len(log.entries()) >= max(told) + 1 and log.broken <= 1
    log.append([dict(take="b", at=[300.], valence=[-1.])])
    table = log_table(AnnotationLog(tmp_path, film, "A1"))
    assert table.valence[9000] == -1 and table.valence[:max(told)].notna().all()


def test_a_name_that_leaves_the_folder_is_refused_everywhere(tmp_path):
    film = AnnotatedFilm("talk", "talk.mp4", FILM.times).write(tmp_path/"notes")
    for wrong in ("../x", "..", "/x", "a/../../b", "x\0y"):
        for call in (lambda: AnnotationLog(tmp_path/"notes", film, wrong), lambda: AnnotatedFilm(wrong, "x.mp4", FILM.times),
                     lambda: collect_annotations(tmp_path/"notes", wrong), lambda: export_annotations({wrong: None}, "own", tmp_path/"out")):
            with pytest.raises(ValueError, match="the (clip|annotator) is"): call()
    (tmp_path/"elsewhere").mkdir()
    (tmp_path/"notes"/"way_out").symlink_to(tmp_path/"elsewhere")
    with pytest.raises(ValueError, match="a folder of its own"): AnnotationLog(tmp_path/"notes", AnnotatedFilm("way_out", "x.mp4", FILM.times), "A1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "notes"] and not any((tmp_path/"elsewhere").iterdir())


def test_partial_labels_come_back_from_both_layouts(tmp_path):
    "Missing rows, one of the AUs missing, uneven frame times."
    rng, times = np.random.default_rng(2), np.cumsum(np.random.default_rng(1).uniform(.02, .05, 80))
    film = AnnotatedFilm("1-30-64x48", "1-30-64x48.mp4", times).write(tmp_path/"notes")
    log = AnnotationLog(tmp_path/"notes", film, "Zoë")
    va = rng.uniform(-1, 1, (80, 2)).round(3)
    log.append([dict(take="a", at=times[10:60].tolist(), valence=va[10:60, 0].tolist(), arousal=va[10:60, 1].tolist()),
                dict(take="b", at=[times[20], times[30]], expression=[5, 5], span=True)])
    table = annotator_tables(tmp_path/"notes")["1-30-64x48", "Zoë"]
    assert table.valence.notna().sum() in range(50, 53) and (table.expression == 5).sum() in range(11, 14)
    export_annotations({film.clip: table}, "aff-wild2", tmp_path/"affwild2", split="validation")
    export_annotations({film.clip: table}, "own", tmp_path/"own")
    for name in ("affwild2", "own"):
        database = open_database("aff-wild2" if name == "affwild2" else "own", tmp_path/name)
        labels = database.labels(database.clip(film.clip)).set_index("frame").reindex(range(80))
        for column in ("valence", "arousal"): np.testing.assert_allclose(labels[column], table[column], atol=1e-5)
        assert labels.expression.fillna(-1).astype(int).tolist() == table.expression.tolist()


def test_a_film_is_streamed_to_one_token_alone(tmp_path):
    write_film(tmp_path/"talk.mp4", [np.zeros((48, 64, 3), np.uint8)]*5)
    with FilmStream(tmp_path/"talk.mp4") as one, FilmStream(tmp_path/"talk.mp4") as other:
        assert one.url != other.url and one.url.startswith("http://127.0.0.1:")
    with pytest.raises(ValueError, match="no such file"): film_url(tmp_path/"none.mp4")


def test_live_follows_a_face_and_forgets_one_that_is_gone():
    smile = render_face({6: 3, 12: 4, 25: 3}, Identity.draw(3), scene=Scene(noise=0), size=256).image
    jpeg = lambda image: cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    predictor, empty = LivePredictor(detect_every=2), np.full((256, 256, 3), 120, np.uint8)
    with_face = [predictor.step(jpeg(smile), number/10) for number in range(3)]
    assert [[face["face_id"] for face in result["faces"]] for result in with_face] == [[0]]*3
    assert with_face[0]["faces"][0]["expressions"].keys() >= {"Happiness"} and with_face[-1]["seconds"] > 0
    gone = [predictor.step(jpeg(empty)) for _ in range(40)][-1]
    assert gone["faces"] == [] and predictor._states == {}
    predictor.reset()
    assert predictor.step(jpeg(smile))["frame"] == 0


def test_a_kernel_shows_pad_and_camera(tmp_path):
    write_film(tmp_path/"talk.mp4", [np.zeros((48, 64, 3), np.uint8)]*25)
    code = ["from affect_nb.apps.annotate import annotate\npad = annotate('talk.mp4', annotator='A1', task='aus')\npad", "from affect_nb.apps.live import live\nview = live()\nview"]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in code])
    NotebookClient(notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    for cell, word in zip(notebook.cells, ("affect-annotate", "affect-live")):
        state = states[cell.outputs[0]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]]
        assert state["model_name"] == "AnyModel" and word in state["state"]["_esm"]
    assert not (tmp_path/"annotations"/"talk"/"A1.jsonl").exists() # nothing is noted before somebody does
