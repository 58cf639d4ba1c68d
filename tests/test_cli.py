"""The library from the command line: what each command writes, and what it says when the input is bad."""
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import affect_nb
from affect_nb.analysis.compound import COMPOUND_COLUMNS, COMPOUND_SETS, score_compounds
from affect_nb.apps.cli import main
from affect_nb.analysis.annotated_film import strip_height
from affect_nb.analysis.columns import EXPRESSION_COLUMNS
from affect_nb.apps.confidence import CONFIDENCE_COLUMNS
from affect_nb.apps.predict import CSV_COLUMNS
from affect_nb.files.film import write_film
from affect_nb.models.backbones import VGG16
from affect_nb.models.registry import create_model
from affect_nb.models.weights import read_card, save_checkpoint
from affect_nb.preprocess.audio import read_audio
from affect_nb.preprocess.face_store import FaceStore
from affect_nb.preprocess.video import VideoReader
from affect_nb.synth.twins import write_database
from affect_nb.synth.faces import Identity, Scene, draw_face, expression_aus, render_face, render_frame

COMMANDS = ("synth", "check", "check-media", "preprocess", "import-weights", "train", "train-chain", "train-joint", "predict", "summarise", "export", "export-model", "run", "runs", "bench", "doctor", "rerun")
AFFECT_NB = Path(sys.executable).parent/"affect_nb"


@dataclass
class Said:
    code: int
    out: str
    err: str

    def refuses(self, *texts, code=1):
        "The command ended with `code` and one short message on stderr that holds all `texts`."
        assert self.code == code, (self.code, self.out, self.err)
        assert "Traceback" not in self.err and "Errno" not in self.err, self.err
        message = self.err[self.err.index("affect_nb: "):] if code == 1 else self.err
        assert len(message.strip().splitlines()) <= (3 if code == 1 else 8), message
        flat = " ".join(message.replace("│", " ").split()) # typer draws a frame and breaks lines in it
        for text in texts: assert str(text) in flat, (text, message)

    def does(self, *texts):
        "The command ended well and printed all `texts`."
        assert self.code == 0 and "Traceback" not in self.err, (self.code, self.out, self.err)
        for text in texts: assert str(text) in self.out, (text, self.out)
        return self

    @property
    def left_out(self):
        "The lines below 'left out'."
        return self.err[self.err.index("left out"):].strip().splitlines()[1:]


def affect(*arguments)->Said:
    "Run a command in this process."
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        with pytest.raises(SystemExit) as end: main(list(map(str, arguments)))
    return Said(end.value.code or 0, out.getvalue(), err.getvalue())


def smile(n_frames, size=160, person=3):
    for number in range(n_frames): yield render_face(expression_aus("Happiness", 5*(number % 20)/19), Identity.draw(person), size=size, seed=number % 20).image


def cut_in_half(source, target):
    target.write_bytes(source.read_bytes()[:source.stat().st_size//2])


def with_index_first(source, target):
    "The same film; cut off, its first part can still be read."
    with av.open(str(source)) as old, av.open(str(target), "w", options=dict(movflags="faststart")) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None: packet.stream = stream; new.mux(packet)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    "A film of 40 frames, one without a face, broken ones, images of several kinds."
    folder = tmp_path_factory.mktemp("media")
    write_film(folder/"good.mp4", smile(40), 25)
    write_film(folder/"nobody.mp4", (render_frame([], Scene.draw(1, .3), 160, 160, seed=number).image for number in range(8)), 25)
    (folder/"empty.mp4").touch()
    (folder/"letter.mp4").write_text("Dear reader\n"*40)
    cut_in_half(folder/"good.mp4", folder/"half.mp4")
    face = draw_face(1).image
    grey = np.asarray(Image.fromarray(face).convert("L"))
    Image.fromarray(np.dstack([face, np.full(face.shape[:2], 255, np.uint8)])).save(folder/"four.png")
    Image.fromarray(grey).save(folder/"grey.png")
    Image.fromarray(grey.astype(np.uint16)*257).save(folder/"deep.png")
    return folder


@pytest.fixture(scope="module")
def mixed(media, tmp_path_factory):
    "A folder of good and bad clips, with an image and a note that lie about."
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("good.mp4", "nobody.mp4", "empty.mp4", "letter.mp4", "half.mp4", "grey.png"): shutil.copy(media/name, folder)
    (folder/"notes.txt").write_text("to do")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    "The card of a tiny network that has learned nothing."
    torch.manual_seed(0)
    stem = tmp_path_factory.mktemp("model")/"small"
    save_checkpoint(stem, create_model("affwildnet_vgg", width=1/16), {"data": "none: untrained"})
    return stem.with_suffix(".json")


# the program itself

def test_version_and_help():
    affect("--version").does(affect_nb.__version__)
    affect("--help").does(*COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    affect(command, "--help").does("Usage: affect_nb", command)


def test_help_does_not_wait_for_torch():
    code = "import sys, affect_nb.apps.cli; sys.exit('torch' in sys.modules or 'fastai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_misspelt_words():
    affect("predikt", "talk.mp4").refuses("No such command 'predikt'", "predict", code=2)
    affect("predict", "talk.mp4", "--modle", "x.json").refuses("--modle", "--model", code=2)
    affect("preprocess", "talk.mp4", "faces", "--workers", "0").refuses("--workers", "greater than or equal to 1", code=2)
    affect("synth").refuses("Missing argument", code=2)


def test_traceback_for_developers(monkeypatch, tmp_path):
    arguments = ["preprocess", str(tmp_path/"gone.mp4"), str(tmp_path/"faces")]
    affect(*arguments).refuses("gone.mp4: no such file")
    monkeypatch.setenv("AFFECT_NB_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no such file"): main(arguments)


# synth

@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    "Aff-Wild's twin, smoke size."
    folder = tmp_path_factory.mktemp("synth")/"twin"
    affect("synth", "aff-wild", folder, "--size", "smoke", "--workers", 1).does(folder)
    return folder


def test_synth_goes_on_where_it_stopped(twin, tmp_path):
    copy = tmp_path/"twin"
    shutil.copytree(twin, copy)
    (copy/"videos"/"train"/"001.mp4").unlink()
    (copy/"videos"/"train"/".part-999999-001.mp4").write_text("a killed run's")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.mp4") if not path.name.startswith(".")}
    affect("synth", "aff-wild", copy, "--size", "smoke", "--workers", 1).does()
    assert (copy/"videos"/"train"/"001.mp4").read_bytes() == (twin/"videos"/"train"/"001.mp4").read_bytes()
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items()) and not list(copy.rglob(".part-*"))


def test_synth_refuses(twin, tmp_path, model):
    (tmp_path/"mine").mkdir()
    (tmp_path/"mine"/"thesis.txt").write_text("mine")
    affect("synth", "aff-wild", tmp_path/"mine", "--size", "smoke").refuses("mine", "'thesis.txt'", "give an empty or new folder")
    affect("synth", "aff-wild", twin, "--size", "smoke", "--seed", 4).refuses(twin, "seed 0 there, 4 wanted", "give another folder")
    affect("synth", "aff-wild3", tmp_path/"new").refuses("'aff-wild3'", "aff-wild, aff-wild2")
    affect("synth", "aff-wild", tmp_path/"new", "--size", "huge").refuses("'huge'", "smoke, demo")
    affect("synth", "aff-wild", tmp_path/"new", "--difficulty", 3).refuses("difficulty is 3.0", "0 to 1")
    affect("synth", "aff-wild", model, "--size", "smoke").refuses("is a file", code=2)
    assert not (tmp_path/"new").exists()


# check

def test_check_of_a_good_copy(twin, tmp_path):
    said = affect("check", "aff-wild", twin, "--json", tmp_path/"report.json").does("aff-wild in", ": ok", "synthetic twin")
    assert "error" not in said.out
    report = json.loads((tmp_path/"report.json").read_text())
    assert report["ok"] and len(report["clips"]) == 6 and {finding["level"] for finding in report["findings"]} == {"note"}


def replace_line(path, number, line):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:number - 1], line, *lines[number:]]) + "\n")


def repeat(path, times): path.write_text(path.read_text()*times)


TRAIN = "annotations/train"
FAULTS = {
    "nan": (lambda root: replace_line(root/TRAIN/"valence/001.txt", 5, "nan"), "valence/001.txt, row 5: valence is nan, allowed are numbers in [-1.0, 1.0]"),
    "7.3": (lambda root: replace_line(root/TRAIN/"arousal/002.txt", 7, "7.3"), "arousal/002.txt, row 7: arousal is 7.3, allowed are numbers in [-1.0, 1.0]"),
    "text": (lambda root: replace_line(root/TRAIN/"valence/001.txt", 9, "high"), "valence/001.txt, row 9: 'high' is not numeric, allowed is a number"),
    "longer": (lambda root: [repeat(root/TRAIN/what/"001.txt", 5) for what in ("valence", "arousal")], "rows of labels for 81 frames of videos/train/001.mp4; allowed is a difference of"),
    "shorter": (lambda root: [(root/TRAIN/what/"001.txt").write_text("0\n"*20) for what in ("valence", "arousal")], "valence/001.txt and 1 more file: 20 rows of labels for 81 frames"),
    "empty": (lambda root: (root/TRAIN/"valence/001.txt").write_text(""), "valence/001.txt is empty; an annotation is lines of text"),
    "no annotation": (lambda root: [(root/TRAIN/what/"003.txt").unlink() for what in ("valence", "arousal")], "003: there is no annotation of this clip below"),
    "half an annotation": (lambda root: (root/TRAIN/"valence/004.txt").unlink(), "004: there is no valence of this clip beside annotations/train/arousal/004.txt"),
    "no video": (lambda root: (root/"videos/train/002.mp4").unlink(), "002: there is no video 002 below"),
    "video cut": (lambda root: cut_in_half(root/"videos/train/001.mp4", root/"videos/train/001.mp4"), "001.mp4 is no video that FFmpeg reads"),
    "video empty": (lambda root: (root/"videos/train/001.mp4").write_bytes(b""), "001.mp4 is empty: 0 bytes"),
    "surplus annotation": (lambda root: (root/TRAIN/"valence/999.txt").write_text("0\n"), "999: there is no video 999 below"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_of_a_broken_copy(twin, tmp_path, fault):
    broken, text = FAULTS[fault]
    copy = tmp_path/"copy"
    shutil.copytree(twin, copy)
    broken(copy)
    said = affect("check", "aff-wild", copy, "--json", tmp_path/"report.json")
    errors = [line for line in said.out.splitlines() if line.startswith("error: ")]
    assert said.code == 1 and "Traceback" not in said.err
    assert any(text in line for line in errors), said.out
    assert len(errors) == (2 if fault == "surplus annotation" else 1)
    assert not json.loads((tmp_path/"report.json").read_text())["ok"]


def test_check_lists_surplus_files_and_goes_on(twin, tmp_path):
    shutil.copytree(twin, tmp_path/"copy")
    (tmp_path/"copy"/"videos"/"train"/"thumbs.db").write_text("x")
    affect("check", "aff-wild", tmp_path/"copy").does("note: videos/train/thumbs.db: is not expected here; allowed are")


def test_check_names_every_broken_file_of_a_clip(tmp_path):
    root = write_database("aff-wild2", tmp_path/"twin", train=1, test=0, frames_per_clip=12, width=96, height=96, progress=False)
    affect("check", "aff-wild2", root).does(": ok")
    replace_line(next((root/"annotations").glob("VA_Set/*/*.txt")), 1, "arousal,valence")
    replace_line(next((root/"annotations").glob("EXPR_Set/*/*.txt")), 4, "9")
    replace_line(next((root/"annotations").glob("AU_Set/*/*.txt")), 4, "1,0,1")
    said = affect("check", "aff-wild2", root)
    assert said.code == 1 and "3 errors" in said.out
    for text in ("row 1: the header is 'arousal,valence', allowed is 'valence,arousal'", "row 4: expression is 9, allowed are whole numbers 0 to 6",
                 "row 4: '1,0,1' has 3 values, allowed is 8"): assert text in said.out, said.out


def test_check_refuses(twin, tmp_path):
    affect("check", "aff-wyld", twin).refuses("'aff-wyld'", "aff-wild, aff-wild2")
    said = affect("check", "aff-wild", tmp_path/"gone")
    assert said.code == 1 and f"error: {tmp_path/'gone'}: no such file or folder; aff-wild is expected there: videos/" in said.out
    said = affect("check", "aff-wild2", twin)
    assert said.code == 1 and "holds no clip of aff-wild2; expected are 2020: videos/batch1" in said.out


# preprocess

BAD_CLIPS = {"gone.mp4": "no such file", "empty.mp4": "is empty: 0 bytes", "letter.mp4": "is no video that FFmpeg reads", "half.mp4": "is no video that FFmpeg reads"}


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_preprocess_refuses(media, tmp_path, name):
    affect("preprocess", media/name, tmp_path/"faces").refuses(media/name, BAD_CLIPS[name])
    assert not list((tmp_path/"faces").iterdir())


def test_preprocess_keeps_what_can_be_read(media, tmp_path):
    with_index_first(media/"good.mp4", tmp_path/"whole.mp4")
    cut_in_half(tmp_path/"whole.mp4", tmp_path/"half.mp4")
    said = affect("preprocess", tmp_path/"half.mp4", tmp_path/"faces").does("1 clip,", "100.0% with a face")
    assert len(said.left_out) == 1 and "half.mp4" in said.left_out[0] and "kept in part" in said.left_out[0] and "of 40" in said.left_out[0]


def test_preprocess_without_a_face(media, tmp_path):
    affect("preprocess", media/"nobody.mp4", tmp_path).does("1 clip, 8 rows, 0.0% with a face")
    assert set(pd.read_parquet(tmp_path/"frames.parquet").status) == {"no_face"}


def test_preprocess_of_a_real_film_without_a_face(real, tmp_path):
    affect("preprocess", real/"videos"/"no_face.mp4", tmp_path, "--detector", "dlib_hog").does("0.0% with a face")


@pytest.mark.parametrize("name", ["four.png", "grey.png", "deep.png"])
def test_preprocess_of_images(media, tmp_path, name):
    affect("preprocess", media/name, tmp_path).does("1 clip, 1 row, 100.0% with a face")


def test_preprocess_of_a_folder_goes_on(mixed, tmp_path):
    "With what can be read; the exit code tells that there was more."
    for _ in range(2):
        said = affect("preprocess", mixed, tmp_path)
        assert said.code == 1 and "2 clips, 48 rows" in said.out and "Traceback" not in said.err
        assert len(said.left_out) == 5
        for text in ("grey.png: a picture beside videos", "notes.txt: .txt is no format that is looked for; allowed are videos", "empty.mp4 is empty", "half.mp4 is no video", "letter.mp4 is no video"):
            line, = [line for line in said.left_out if text in line]
            assert line.replace(f"{mixed}/*", "").count(str(mixed)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.parquet", "good.arrow", "nobody.arrow", "skipped.json", "sources.json"]


def test_preprocess_of_bad_clips_alone(media, tmp_path):
    (tmp_path/"bad").mkdir()
    for name in ("empty.mp4", "letter.mp4"): shutil.copy(media/name, tmp_path/"bad")
    said = affect("preprocess", tmp_path/"bad", tmp_path/"faces")
    assert said.code == 1 and len(said.left_out) == 2 and "Traceback" not in said.err
    (tmp_path/"none").mkdir()
    affect("preprocess", tmp_path/"none", tmp_path/"faces").refuses(tmp_path/"none", "holds no clip", ".mp4", ".png")
    affect("preprocess", tmp_path/"*.xyz", tmp_path/"faces").refuses("*.xyz: no file matches")


def test_preprocess_refuses_options(media, tmp_path, model):
    affect("preprocess", media/"good.mp4", tmp_path, "--detector", "magic").refuses("'magic'", "dlib_hog, dlib_mmod, opencv_haar, ssh:<file>, ssh_small, yunet:<file>")
    affect("preprocess", media/"good.mp4", tmp_path, "--detector", "yunet:nowhere.onnx").refuses("yunet:", "nowhere.onnx", "no such file")
    affect("preprocess", media/"good.mp4", tmp_path, "--transform", "twist").refuses("'twist'", "affine, similarity")
    affect("preprocess", media/"good.mp4", model).refuses("is a file", code=2)


# a job that is stopped

@pytest.fixture(scope="module")
def many(tmp_path_factory):
    "Four clips that take about a second each."
    folder = tmp_path_factory.mktemp("many")
    write_film(folder/"clip0.mp4", smile(200, size=200), 25)
    for number in range(1, 4): shutil.copy(folder/"clip0.mp4", folder/f"clip{number}.mp4")
    return folder


def stopped(clips, faces, how, workers):
    "Start the command, stop it when the first clip is done; the process, what it said, and its workers."
    job = subprocess.Popen([AFFECT_NB, "preprocess", clips, faces, "--workers", str(workers), "--detect-every", "2"],
                           stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) # a test run in the background ignores Ctrl-C, and children inherit that
    deadline = time.monotonic() + 90
    while not list(faces.glob("[!.]*.arrow")) and job.poll() is None and time.monotonic() < deadline: time.sleep(.02)
    children = psutil.Process(job.pid).children(recursive=True)
    if how == signal.SIGINT: os.killpg(job.pid, how) # as Ctrl-C does
    else: job.kill()
    said = job.communicate(timeout=30)[1]
    return job, said, children


def goes_on(clips, faces):
    "The same command again: the rest is done, and only that."
    before = {path: path.stat().st_mtime_ns for path in faces.glob("[!.]*.arrow")}
    assert 1 <= len(before) < 4 and all(len(FaceStore.open(path)) == 200 for path in before)
    affect("preprocess", clips, faces, "--detect-every", "2").does("4 clips, 800 rows, 100.0% with a face")
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    assert sorted(path.name for path in faces.iterdir()) == [*(f"clip{number}.arrow" for number in range(4)), "frames.parquet", "skipped.json", "sources.json"]


@pytest.mark.alone
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_job_goes_on(many, tmp_path, workers):
    job, said, children = stopped(many, tmp_path/"faces", signal.SIGINT, workers)
    assert job.returncode == 130, said
    assert "affect_nb: stopped. The same command goes on where it was." in said and "Traceback" not in said
    assert "leaked semaphore" not in said and not psutil.wait_procs(children, timeout=10)[1]
    assert not list((tmp_path/"faces").glob(".part-*"))
    goes_on(many, tmp_path/"faces")


@pytest.mark.alone
def test_killed_job_goes_on(many, tmp_path):
    job, _, children = stopped(many, tmp_path/"faces", signal.SIGKILL, 2)
    assert job.returncode == -signal.SIGKILL and len(children) >= 2
    assert not psutil.wait_procs(children, timeout=10)[1], "workers outlive the job"
    assert list((tmp_path/"faces").glob(".part-*"))
    goes_on(many, tmp_path/"faces")


# import-weights and train

@pytest.fixture(scope="module")
def published(tmp_path_factory):
    "A narrow VGG-16 as torchvision would write it, without its classifier."
    path, convs = tmp_path_factory.mktemp("published")/"vgg16.pth", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    torch.manual_seed(3)
    tensors = list(VGG16(1/16).state_dict().values())
    torch.save({f"features.{layer}.{what}": tensors[2*number + second] for number, layer in enumerate(convs) for second, what in enumerate(("weight", "bias"))}, path)
    return path


def test_import_weights(published, tmp_path):
    said = affect("import-weights", published, tmp_path/"imagenet", "--width", 1/16)
    said.does("imagenet_vgg16: part cnn of vgg16, width 0.0625, from vgg16.pth", "licence: ", "input: RGB", "folded into the first convolution", tmp_path/"imagenet.json")
    card = read_card(tmp_path/"imagenet")
    assert card.parts == ("cnn",) and card.input.folded
    affect("import-weights", published, tmp_path/"plain.safetensors", "--width", 1/16, "--no-fold", "--format", "imagenet_vgg16", "--channels", "BGR", "--mean", .4, .5, .6).does("BGR", "mean 0.4, 0.5, 0.6", "not folded", "remark: ")
    assert not read_card(tmp_path/"plain").input.folded
    assert not torch.equal(*(load_file(tmp_path/f"{name}.safetensors")["cnn.block1.conv1_1.weight"] for name in ("imagenet", "plain")))


def test_import_weights_refuses(published, media, tmp_path):
    affect("import-weights", tmp_path/"gone.pth", tmp_path/"out").refuses(tmp_path/"gone.pth")
    affect("import-weights", media/"letter.mp4", tmp_path/"out").refuses("letter.mp4")
    affect("import-weights", published, tmp_path/"out").refuses("features.0.weight has shape", "it has (64, 3, 3, 3)")
    affect("import-weights", published, tmp_path/"out", "--format", "alexnet").refuses("'alexnet'", "vgg_face_matconvnet")
    affect("import-weights", published, tmp_path/"out", "--width", 1/16, "--channels", "GBR").refuses("'GBR'", "'RGB' or 'BGR'")
    affect("import-weights", "torchvision:vgg19", tmp_path/"out").refuses("torchvision:vgg19", "torchvision:resnet50")
    affect("import-weights", published, tmp_path/"out", "--mean", 1, 2).refuses("--mean", code=2)
    assert not list(tmp_path.glob("out*"))


SMALL = ("--recipe", "smoke", "--width", 1/16, "--length", 12, "--device", "cpu")


@pytest.fixture(scope="module")
def trained(published, tmp_path_factory):
    "A folder with a tiny twin, and what `train` makes of it with an imported CNN that stays as it is."
    folder = tmp_path_factory.mktemp("trained")
    write_database("aff-wild", folder/"twin", train=4, test=1, frames_per_clip=24, progress=False)
    affect("import-weights", published, folder/"imagenet", "--width", 1/16).does()
    affect("train", "aff-wild", folder/"twin", "--out", folder/"run", *SMALL, "--weights", f"cnn={folder/'imagenet.json'}", "--regime", "cnn_frozen",
           "--set", "dropout=0.25").does("ccc_mean: ", folder/"run"/"weights"/"affwildnet_vgg.json")
    return folder


def test_train_starts_from_parts(trained):
    card, cnn = read_card(trained/"run"/"weights"/"affwildnet_vgg"), load_file(trained/"imagenet.safetensors")
    after = load_file(trained/"run"/"weights"/"affwildnet_vgg.safetensors")
    assert cnn and all(torch.equal(after[name], tensor) for name, tensor in cnn.items())
    assert [(one["part"], one["file"]) for one in card.notes["weights"]] == [("cnn", "imagenet.safetensors")]
    recipe = card.notes["recipe"]
    assert (recipe["regime"], recipe["arguments"], recipe["length"], recipe["pool"]) == ("cnn_frozen", {"dropout": .25}, 12, None)


def test_train_starts_from_members(trained):
    for arch in ("cnn_1rnn", "cnn_3rnn"): save_checkpoint(trained/arch, create_model(arch, 1/16))
    affect("train", "aff-wild", trained/"twin", "--out", trained/"run", *SMALL, "--arch", "fusion_fc", "--weights", trained/"cnn_1rnn", "--weights", trained/"cnn_3rnn.json").does("fusion_fc.json")
    assert [one["file"] for one in read_card(trained/"run"/"weights"/"fusion_fc").notes["weights"]] == ["cnn_1rnn.safetensors", "cnn_3rnn.safetensors"]


def test_train_a_network_of_timm(trained, tmp_path):
    "The colon of its name stays out of the file names."
    pytest.importorskip("timm")
    small = ("--recipe", "smoke", "--width", 1, "--epochs", 1, "--length", 4, "--device", "cpu")
    said = affect("train", "aff-wild", trained/"twin", "--out", tmp_path/"run", *small, "--arch", "timm:test_resnet")
    said.does("ccc_mean: ", "precision: ", tmp_path/"run"/"weights"/"timm_test_resnet.json")
    card = read_card(tmp_path/"run"/"weights"/"timm_test_resnet")
    assert card.architecture == "timm:test_resnet" and f"precision: {card.notes['precision']}" in said.out
    assert not [path for path in tmp_path.rglob("*") if ":" in path.name]


def test_train_on_utterances(trained, tmp_path):
    "OMG-Emotion has its own recipe and its own validation part."
    write_database("omg-emotion", tmp_path/"omg", train=4, validation=3, test=1, frames_per_clip=12, progress=False)
    affect("train", "omg-emotion", tmp_path/"omg", "--out", tmp_path/"run", *SMALL, "--arch", "affwildnet_vgg", "--weights", trained/"run"/"weights"/"affwildnet_vgg.json").does("ccc_mean: ")
    recipe = read_card(tmp_path/"run"/"weights"/"affwildnet_vgg").notes["recipe"]
    assert (recipe["pool"], recipe["remainder"], recipe["regime"]) == ("median", "pad", "end_to_end")
    assert len(list((tmp_path/"run"/"faces").glob("*.arrow"))) == 7 # the validation part, too; the test part is for the last measurement


def test_train_refuses(trained, model, tmp_path):
    def refuses(*texts, options=(), database="aff-wild", code=1): affect("train", database, trained/"twin", "--out", tmp_path/"run", *SMALL, *options).refuses(*texts, code=code)
    refuses("'aff-wyld'", "aff-wild, aff-wild2", database="aff-wyld")
    refuses("'quick'", "'paper', 'demo', 'smoke'", options=("--recipe", "quick"))
    refuses("'affwildnet'", "affwildnet_vgg", options=("--arch", "affwildnet"))
    refuses("gone.safetensors: no such weights file", options=("--weights", f"cnn={tmp_path/'gone.json'}"))
    refuses("gone.safetensors: no such weights file", options=("--weights", tmp_path/"gone"))
    refuses("--weights is 'cnn='", "cnn=vgg_face.json", options=("--weights", "cnn="))
    refuses("'cnn' more than once", options=("--weights", f"cnn={model}", "--weights", f"cnn={model}"))
    refuses("2 whole networks and the part cnn", options=("--weights", model, "--weights", model, "--weights", f"cnn={model}"))
    refuses("--set dropuot: affwildnet_vgg has no such argument", "dropout", options=("--set", "dropuot=.1"))
    refuses("--set dropuot", "entries of a recipe are", "augment", "weight_decay", options=("--set", "dropuot=.1"))
    refuses("augment", "'twist'", "'flip'", options=("--set", "augment=[twist]"))
    refuses("epochs is 0", options=("--set", "epochs=0"))
    refuses("--set is 'dropout'", "norm=batch", options=("--set", "dropout"))
    refuses("--regime", "cnn_frozen", options=("--regime", "frozen"), code=2)
    refuses("--validation", "official", options=("--validation", "test"), code=2)
    refuses("aff-wild has nobody", "validation='holdout'", options=("--validation", "official"))
    assert not (tmp_path/"run").exists()


def test_train_says_which_weights_do_not_fit(trained, model):
    options = ("--out", trained/"run", *SMALL, "--arch", "cnn_1rnn")
    affect("train", "aff-wild", trained/"twin", *options, "--weights", f"rnn9={model}").refuses("'cnn_1rnn'", "has no part 'rnn9'")
    affect("train", "aff-wild", trained/"twin", *options, "--weights", model, "--weights", model).refuses("2 checkpoints", "one for each member")
    affect("train", "aff-wild", trained/"twin", *options, "--regime", "cnn_frozen").refuses("'cnn_frozen'", "give weights")


# train-chain

CHAIN = ("--recipe", "smoke", "--width", 1/16, "--length", 4, "--batch-size", 2, "--device", "cpu")


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    "Twins of Aff-Wild and Aff-Wild2, as the chain's two arguments."
    folder = tmp_path_factory.mktemp("releases")
    for name, clips in {"aff-wild": 3, "aff-wild2": 4}.items(): write_database(name, folder/name, train=clips, test=0, frames_per_clip=16, difficulty=0, width=160, height=160, progress=False)
    return f"aff-wild={folder/'aff-wild'}", f"aff-wild2={folder/'aff-wild2'}"


def test_train_chain_stage_after_stage(releases, tmp_path):
    said = affect("train-chain", *releases, "--out", tmp_path/"run", *CHAIN, "--streams", "visual", "--set", "dropout=0.25", "--only", "visual_va", "--only", "mt_vgg")
    said.does("visual_va: ", "ccc_mean", "mt_vgg: ", "task_mean", tmp_path/"run"/"weights"/"mt_vgg.json")
    assert "mt_vgg_gru" not in said.out
    before = {file: file.stat().st_mtime_ns for file in (tmp_path/"run"/"weights").iterdir()}
    affect("train-chain", *releases, "--out", tmp_path/"run", *CHAIN, "--streams", "visual", "--set", "dropout=0.25").does("mt_vgg_gru: ")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    recipe = read_card(tmp_path/"run"/"weights"/"mt_vgg_gru").notes["recipe"]
    assert (recipe["length"], recipe["batch_size"], recipe["arguments"]["dropout"]) == (4, 2, .25) and {file.name for file in (tmp_path/"run"/"faces").iterdir()} == {"aff-wild", "aff-wild2"}
    start = tmp_path/"run"/"weights"/"mt_vgg.json"
    affect("train-chain", *releases, "--out", tmp_path/"again", *CHAIN, "--streams", "visual", "--only", "visual_va", "--weights", f"cnn={start}").does("visual_va: ")
    assert [(one["part"], one["file"]) for one in read_card(tmp_path/"again"/"weights"/"visual_va").notes["weights"]] == [("cnn", "mt_vgg.safetensors")]


def test_train_chain_refuses(releases, tmp_path):
    def refuses(*texts, options=(), databases=releases, code=1): affect("train-chain", *databases, "--out", tmp_path/"run", *CHAIN, *options).refuses(*texts, code=code)
    refuses("'aff-wild2' is no database with its folder", databases=(releases[0], "aff-wild2"))
    refuses("gone: no such file or folder", databases=(releases[0], f"aff-wild2={tmp_path/'gone'}"))
    refuses("only has 'mt_vg', the stages are visual_va", options=("--only", "mt_vg"))
    refuses("allowed is part=path", options=("--weights", "vgg_face"))
    refuses("gone.safetensors: no such weights file", options=("--weights", f"cnn={tmp_path/'gone'}"))
    refuses("weights are given for the first stage of the visual stream", options=("--weights", "cnn=vgg_face", "--streams", "audio"))
    refuses("no argument dropuot", options=("--set", "dropuot=.1"))
    refuses("'quick'", options=("--recipe", "quick"))
    refuses("--streams", "visual", options=("--streams", "smell"), code=2)
    affect("train-chain", releases[0]).refuses("Missing argument", "DATABASE=FOLDER", code=2)
    assert not (tmp_path/"run").exists()


# train-joint

@pytest.fixture(scope="module")
def two(tmp_path_factory):
    "Twins of AffectNet and DISFA, which together have all tasks, and of Aff-Wild."
    folder = tmp_path_factory.mktemp("two")
    sizes = {"affectnet": dict(train=1, validation=1, test=0, frames_per_clip=20), "disfa": dict(train=3, test=0, frames_per_clip=12), "aff-wild": dict(train=1, test=0, frames_per_clip=12)}
    for name, size in sizes.items(): write_database(name, folder/name, difficulty=0, width=160, height=160, progress=False, **size)
    return folder


def both(two): return f"affectnet={two/'affectnet'}", f"disfa={two/'disfa'}"


JOINT = ("--recipe", "smoke", "--width", 1/16, "--batch-size", 12, "--device", "cpu")


@pytest.fixture(scope="module")
def joined(two):
    said = affect("train-joint", *both(two), "--out", two/"run", *JOINT, "--match-form", "bce", "--relatedness", "aff-wild2", "--set", "dropout=0.25", "--set", "augment=[flip, light]", "--every", 2)
    said.does("VA-Set: affectnet, ", "AU-Set: disfa, ", "EXPR-Set: affectnet, ", "task_mean: ", two/"run"/"weights"/"facebehaviornet.json")
    return two/"run"


def test_train_joint_follows_its_options(joined):
    card = read_card(joined/"weights"/"facebehaviornet")
    recipe = card.notes["recipe"]
    assert (recipe["coupling"], recipe["match_form"], recipe["relatedness"], recipe["batch_size"], recipe["epochs"], recipe["seed"]) == ("both", "bce", "aff-wild2", 12, 1, 0)
    assert card.width == 1/16 and recipe["arguments"] == dict(dropout=.25, norm="batch") and recipe["augment"] == ["flip", "light"] and (card.notes["every"], card.notes["validation"]) == (2, "holdout")
    assert {part["database"] for part in card.notes["parts"]} == {"affectnet", "disfa"} and {path.name for path in (joined/"faces").iterdir()} == {"affectnet", "disfa"}


def test_train_joint_on_one_task_says_what_it_left_out(two, joined, tmp_path):
    "Faces that are there are not looked for again; a database that has nothing to teach is listed."
    shutil.copytree(joined/"faces", tmp_path/"faces")
    said = affect("train-joint", *both(two), f"aff-wild={two/'aff-wild'}", "--out", tmp_path, *JOINT, "--coupling", "none", "--set", "tasks=[aus]", "--every", 2, "--weights", f"cnn={joined/'weights'/'facebehaviornet.json'}")
    said.does("AU-Set: disfa, ", "au_score: ")
    assert "VA-Set" not in said.out and sorted(path.name for path in (tmp_path/"faces").iterdir()) == ["affectnet", "disfa"]
    assert [line.strip() for line in said.left_out] == [f"{name}: has nothing that facebehaviornet learns (aus)" for name in ("affectnet", "aff-wild")]
    card = read_card(tmp_path/"weights"/"facebehaviornet")
    assert card.notes["recipe"]["coupling"] == "none" and [one["part"] for one in card.notes["weights"]] == ["cnn"]


def test_train_joint_refuses(two, tmp_path):
    def refuses(*texts, options=(), databases=both(two), code=1): affect("train-joint", *databases, "--out", tmp_path/"run", *JOINT, *options).refuses(*texts, code=code)
    (tmp_path/"joy.json").write_text('{"Joy": {"12": 1}}')
    (tmp_path/"high.json").write_text('{"Happiness": {"12": 7}}')
    refuses("no database for action units (AU-Set), which facebehaviornet learns", databases=both(two)[:1])
    refuses("'disfa' is no database with its folder", "affectnet=data/affectnet", databases=("disfa",))
    refuses("disfa is given more than once", databases=both(two)[1:]*2)
    refuses("no database 'disfar'", "aff-wild, aff-wild2", databases=("disfar=x",))
    refuses("gone: no such file or folder", databases=(f"disfa={tmp_path/'gone'}",))
    refuses("'quick'", "'paper', 'demo', 'smoke'", options=("--recipe", "quick"))
    refuses("relatedness is 'du'", "cognitive, aff-wild2, or a JSON file", options=("--relatedness", "du"))
    refuses("Joy", options=("--relatedness", tmp_path/"joy.json"))
    refuses("high.json: Happiness: AU12 has 7", options=("--relatedness", tmp_path/"high.json"))
    refuses("coupling is 'both', and the network learns aus", "allowed is 'none'", options=("--set", "tasks=[aus]"))
    refuses("--set dropuot: facebehaviornet has no such argument", options=("--set", "dropuot=.1"))
    refuses("gone.safetensors: no such weights file", options=("--weights", f"cnn={tmp_path/'gone'}"))
    refuses("--coupling", "soft_co_annotation", options=("--coupling", "all"), code=2)
    refuses("--match-form", "bce", options=("--match-form", "l2"), code=2)
    refuses("--validation", "official", options=("--validation", "test"), code=2)
    refuses("--epochs", options=("--epochs", 0), code=2)
    refuses("--width", options=("--width", -1), code=2)
    affect("train-joint").refuses("Missing argument", "DATABASE=FOLDER", code=2)
    assert not (tmp_path/"run").exists()


@pytest.mark.parametrize("options, workers", [((), 2), (("--workers", 3), 3)])
def test_run_takes_as_many_notebooks_at_a_time(tmp_path, monkeypatch, options, workers):
    from affect_nb.apps import run
    given = []
    monkeypatch.setattr(run, "load_preset", lambda name: run.Preset(title="small", notebooks={}, workers=2))
    monkeypatch.setattr(run, "run_book", lambda preset, out, force: given.append(preset) or run.BookRun(out, {}, [], [], out/"report.html"))
    affect("run", "small", "--out", tmp_path, *options).does("0 notebooks run")
    assert [preset.workers for preset in given] == [workers]


# predict

def test_predict_writes_table_film_and_plot(media, model, tmp_path):
    said = affect("predict", media/"good.mp4", "--model", model, "--out", tmp_path)
    assert said.err.startswith("precision: ")
    said.does(*(tmp_path/f"good.{suffix}" for suffix in ("csv", "mp4", "png")))
    assert "Warning" not in said.err
    table = pd.read_csv(tmp_path/"good.csv")
    assert list(table) == [*list(CSV_COLUMNS.values())[:13], "trust", "weakest"] and {"time_s", "box_x1_px", "valence", "arousal"} < set(table)
    assert len(table) == 40 and table[["valence", "arousal"]].abs().lt(1.5).all(axis=None)
    assert np.allclose(np.diff(table.time_s), 1/25, atol=1e-3)
    film = VideoReader(tmp_path/"good.mp4")
    assert (film.width, film.height, sum(1 for _ in film)) == (160, 160 + strip_height(160), 40)
    assert Image.open(tmp_path/"good.png").size == (900, 280)
    assert not list(tmp_path.rglob(".part-*"))


def test_predict_says_how_sure_it_is_and_leaves_out_what_it_is_told_to(tmp_path):
    dim = [image if number < 8 else (image*.12).astype(np.uint8) for number, image in enumerate(smile(14))]
    write_film(tmp_path/"dim.mp4", dim, 25)
    out, tables = tmp_path/"out", {}
    for name, options in (("plain", []), ("picky", ["--trust-at-least", ".95", "--calibrated"])):
        said = affect("predict", tmp_path/"dim.mp4", "--out", out, "--model", "facebehaviornet-small", "--no-film", "--precision", "float32", *options).does("dim.csv")
        assert "calibration: expressions: " in said.err and "are to hold 90%" in said.err
        assert ("trust below" in said.out) == (name == "picky") == (out/"trust.json").exists()
        tables[name] = pd.read_csv(out/"dim.csv")
    before, after = tables["plain"], tables["picky"]
    assert list(before) == list(after) and list(before)[-7:] == list(CONFIDENCE_COLUMNS)
    seen = before.valence.notna()
    assert (before.valence_low[seen] <= before.valence[seen] + 1e-4).all() and (before.arousal_high[seen] >= before.arousal[seen] - 1e-4).all()
    low, noted = seen & (before.trust < .95), json.loads((out/"trust.json").read_text())["dim"]
    assert low.any() and (seen & ~low).any() and after.valence.isna().eq(~seen | low).all()
    assert after[low][["expression", "confidence", "valence_low"]].isna().all(axis=None) and len(after) == len(before)
    assert (noted["left_out"], noted["faces"], noted["share"]) == (low.sum(), seen.sum(), pytest.approx(low.sum()/seen.sum(), abs=1e-4))
    assert f"dim: trust below 0.95 in {low.sum()} of {seen.sum()} faces, left out" in said.out
    kept, prob = seen & ~low, list(EXPRESSION_COLUMNS)
    assert np.allclose(after.trust, before.trust) and np.allclose(after[prob].max(axis=1)[kept], before.confidence[kept], atol=1e-3)
    assert not np.allclose(after[prob][kept], before[prob][kept], atol=1e-3)


def test_predict_makes_no_interval_up(media, model, tmp_path):
    said = affect("predict", media/"nobody.mp4", "--model", model, "--out", tmp_path, "--no-film").does("nobody.csv")
    assert "calibration: none (its card has none): no intervals" in said.err
    assert not {*CONFIDENCE_COLUMNS[:5]} & {*pd.read_csv(tmp_path/"nobody.csv")}


@pytest.fixture(scope="module")
def hearing(tmp_path_factory):
    "The card of a tiny network that sees and hears, beside the visual one that it names."
    folder = tmp_path_factory.mktemp("hearing")
    save_checkpoint(folder/"mt_vgg_gru", create_model("mt_vgg_gru", width=1/16))
    save_checkpoint(folder/"av_mt_vgg_gru", create_model("av_mt_vgg_gru", width=1/16), {"notes": {"visual": "mt_vgg_gru"}})
    return folder/"av_mt_vgg_gru.json"


def test_predict_all_tasks_with_sound(hearing, tmp_path):
    tone = np.sin(2*np.pi*440*np.arange(44100)/44100).astype(np.float32)
    write_film(tmp_path/"talk.mp4", smile(25), 25, tone)
    said = affect("predict", tmp_path/"talk.mp4", "--model", hearing, "--out", tmp_path/"out").does("talk.csv", "talk.mp4", "talk.png")
    assert "note:" not in said.err and "Warning" not in said.err
    table = pd.read_csv(tmp_path/"out"/"talk.csv")
    assert list(table)[:13] == list(CSV_COLUMNS.values())[:13] and list(table)[-5:] == ["expression", "sound", "scored_with", "trust", "weakest"]
    assert table.filter(like="prob_").shape[1] == 7 + 8 and table.filter(like="prob_").min(axis=None) >= 0
    assert set(table.scored_with) == {"faces and sound"} and set(table.sound) == {"ok"}
    assert len(read_audio(tmp_path/"out"/"talk.mp4").samples) >= .95*44100
    assert Image.open(tmp_path/"out"/"talk.png").size[0] == 900 and Image.open(tmp_path/"out"/"talk.png").size[1] > 500


def test_predict_compound_expressions(media, hearing, tmp_path):
    visual = hearing.with_name("mt_vgg_gru.json")
    for name, classes in COMPOUND_SETS.items():
        affect("predict", media/"good.mp4", "--model", visual, "--out", tmp_path/name, "--no-film", "--compound", name).does("good.csv")
        table = pd.read_csv(tmp_path/name/"good.csv")
        assert list(table)[-8:] == ["expression", *COMPOUND_COLUMNS, "trust", "weakest"] and set(table["compound"].dropna()) <= set(classes.names)
        seen = table.status == "ok"
        assert seen.any() and table.loc[seen, list(COMPOUND_COLUMNS)].notna().all(axis=None) and table.loc[~seen, list(COMPOUND_COLUMNS)].isna().all(axis=None)
        again = score_compounds(table[seen].drop(columns=list(COMPOUND_COLUMNS)), name) # of what the file says of the rest
        assert np.allclose(again["compound_score"], table["compound_score"][seen], atol=1e-3)
        assert np.allclose(table[list(COMPOUND_COLUMNS[1:4])].sum(axis=1)[seen], table["compound_score"][seen], atol=1e-3)
    affect("predict", media/"nobody.mp4", "--model", visual, "--out", tmp_path, "--no-film", "--compound", "raf-db").does("nobody.csv")
    assert pd.read_csv(tmp_path/"nobody.csv")[list(COMPOUND_COLUMNS)].isna().all(axis=None)


def test_predict_refuses_compound_expressions(media, model, hearing, tmp_path):
    affect("predict", media/"good.mp4", "--model", model, "--out", tmp_path/"out", "--compound", "raf-db").refuses("affwildnet_vgg does not predict the expression and action units", "compound expressions are scored from")
    affect("predict", media/"good.mp4", "--model", hearing, "--out", tmp_path/"out", "--compound", "rafdb").refuses("compound is 'rafdb'", "raf-db, emotionet")
    assert not (tmp_path/"out").exists()


def test_predict_without_sound_says_so(media, hearing, tmp_path):
    said = affect("predict", media/"good.mp4", "--model", hearing, "--out", tmp_path, "--no-film").does("good.csv")
    assert "note: good: it has no sound track; face 0: scored by the visual network mt_vgg_gru" in said.err
    assert set(pd.read_csv(tmp_path/"good.csv").scored_with) == {"faces"}
    assert "note: good: sound is switched off" in affect("predict", media/"good.mp4", "--model", hearing, "--out", tmp_path, "--no-film", "--no-sound").err
    affect("predict", media/"good.mp4", "--model", hearing, "--out", tmp_path, "--sound-face", "left").refuses("sound_face is 'left'", "'all'")
    affect("predict", media/"good.mp4", "--model", hearing, "--out", tmp_path, "--precision", "half").refuses("'half'", "bfloat16")


def test_predict_finds_nobody(media, model, tmp_path):
    affect("predict", media/"nobody.mp4", "--model", model, "--out", tmp_path).does("nobody.csv", "nobody.mp4", "nobody.png")
    table = pd.read_csv(tmp_path/"nobody.csv")
    assert table.status.tolist() == ["no_face"]*8 and table[["valence", "arousal", "box_x1_px"]].isna().all(axis=None)
    assert sum(1 for _ in VideoReader(tmp_path/"nobody.mp4")) == 8


def test_predict_of_a_still(media, model, tmp_path):
    affect("predict", media/"four.png", "--model", model, "--out", tmp_path).does("four.csv", "four.png")
    row, = pd.read_csv(tmp_path/"four.csv").to_dict("records")
    assert row["file"] == str(media/"four.png") and np.isnan(row["time_s"]) and not (tmp_path/"four.mp4").exists()


def test_predict_of_a_folder_goes_on(mixed, model, tmp_path):
    said = affect("predict", mixed, "--model", model, "--out", tmp_path, "--no-film")
    assert said.code == 1 and len(said.left_out) == 5 and not list(tmp_path.glob("*.mp4"))
    for name in ("good.csv", "good.png", "nobody.csv"): assert str(tmp_path/name) in said.out


def test_predict_does_not_replace_its_source(media, model, tmp_path):
    shutil.copy(media/"good.mp4", tmp_path)
    affect("predict", tmp_path/"good.mp4", "--model", model, "--out", tmp_path).refuses(tmp_path/"good.mp4", "would be overwritten", "give another folder")
    assert (tmp_path/"good.mp4").read_bytes() == (media/"good.mp4").read_bytes()


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_predict_refuses_clips(media, model, tmp_path, name):
    affect("predict", media/name, "--model", model, "--out", tmp_path).refuses(media/name, BAD_CLIPS[name])


@pytest.fixture
def refuses_model(media, tmp_path):
    def refuses(path, *texts): affect("predict", media/"good.mp4", "--model", path, "--out", tmp_path/"out").refuses(*texts)
    yield refuses
    assert not (tmp_path/"out").exists()


def altered(model, path, **changes):
    "A copy of a checkpoint whose card says something else."
    card = json.dumps(json.loads(model.read_text()) | changes)
    save_file(load_file(model.with_suffix(".safetensors")), path.with_suffix(".safetensors"), metadata={"card": card})
    path.write_text(card)
    return path


def test_predict_refuses_models(model, tmp_path, refuses_model):
    refuses_model(tmp_path/"none.json", "none.json: no such model card", "facebehaviornet-small", "--model")
    refuses_model(model.parent, "is a folder", "cards in it: small.json")
    refuses_model(altered(model, tmp_path/"new.json", architecture="affwildnet_resnet99"), "'affwildnet_resnet99'", "affwildnet_vgg")
    refuses_model(altered(model, tmp_path/"wide.json", width=.25), "wide.safetensors does not fit 'affwildnet_vgg'", "it must be")
    refuses_model(altered(model, tmp_path/"colour.json", colour="red"), "colour", "'red'", "allowed are architecture")
    shutil.copy(model, tmp_path/"lonely.json")
    refuses_model(tmp_path/"lonely.json", "lonely.safetensors: no such weights file")


def test_predict_opens_no_pickle(model, tmp_path, refuses_model):
    class Trap:
        def __reduce__(self): return (Path.touch, (tmp_path/"sprung",))
    (tmp_path/"weights.pkl").write_bytes(pickle.dumps(Trap()))
    torch.save({"weight": torch.zeros(1)}, tmp_path/"weights.pth")
    for name in ("weights.pkl", "weights.pth"): refuses_model(tmp_path/name, name, "is a pickle", "only .safetensors")
    (tmp_path/"disguised.safetensors").write_bytes(pickle.dumps(Trap()))
    shutil.copy(model, tmp_path/"disguised.json")
    refuses_model(tmp_path/"disguised.json", "disguised.safetensors: not a safetensors file")
    assert not (tmp_path/"sprung").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_predict_never_falls_back(media, model, tmp_path):
    affect("predict", media/"good.mp4", "--model", model, "--out", tmp_path, "--device", "cuda").refuses("'cuda' was asked for", "has only", "cpu")
    assert not list(tmp_path.iterdir())


def test_predict_knows_its_devices(media, model, tmp_path):
    affect("predict", media/"good.mp4", "--model", model, "--out", tmp_path, "--device", "gpu").refuses("'gpu' was asked for", "cpu")


# run and bench

def test_run_refuses(tmp_path):
    affect("run", "dmeo", "--out", tmp_path/"run").refuses("'dmeo'", "demo, detector, paper, real_faces, smoke, visibility")
    affect("run", tmp_path/"mine.yaml").refuses("mine.yaml: no such preset file")
    (tmp_path/"mine.yaml").write_text("title: mine\nnotebook: {}\n")
    affect("run", tmp_path/"mine.yaml").refuses("mine.yaml", "notebook: Extra inputs", "allowed keys are title, notebooks")
    for setting, *texts in (("epochs=1", "write notebook.parameter=value"), ("20_table2_affwildnet.epochs", "write notebook.parameter=value"),
                            ("20_table2_afwildnet.epochs=1", "no notebook '20_table2_afwildnet'", "did you mean 20_table2_affwildnet?", "allowed: 02_first_look"),
                            ("20_table2_affwildnet.epoch=1", "20_table2_affwildnet: unknown parameter 'epoch'", "did you mean epochs?")):
        affect("run", "smoke", "--set", setting, "--out", tmp_path/"run").refuses(*texts)
    assert not (tmp_path/"run"/"state").exists()


def test_bench_refuses_before_it_measures(tmp_path):
    affect("bench", "faces", "speeed", "--out", tmp_path/"bench").refuses("'speeed'", "faces", "memory", "preprocess")
    assert not (tmp_path/"bench").exists()
