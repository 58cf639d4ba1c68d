"""A CNN that learns to tell people apart before it sees affect: from whom, what it leaves, and what it refuses."""
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from safetensors.torch import load_file

from affect_nb.databases.base import open_database
from affect_nb.databases.splits import holdout, split_hash
from affect_nb.data.store import preprocess_database
from affect_nb.models import create_model
from affect_nb.models.weights import load_checkpoint, read_card, save_checkpoint
from affect_nb.synth.twins import write_database
from affect_nb.train.jobs_identity import PersonFrames, PersonNetwork, pretrain_on_identities
from affect_nb.train.jobs_database import database_loaders
from affect_nb.models.starting import cnn_parts, start_from
from affect_nb.train.recipes import affwildnet_recipe
from affect_nb.train.fit import fit

PLAIN = dict(precision="float32")
TINY = dict(width=1/16, every=2, batch_size=8, epochs=1, **PLAIN)


class Kill(Callback):
    "Ends everything in the middle of an epoch."
    def __init__(self, epoch): self.when = epoch
    def after_batch(self):
        if self.epoch == self.when and self.training: raise KeyboardInterrupt


class Never(Callback):
    "Nothing may be trained."
    def before_fit(self): raise AssertionError("trained once more")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    "Aff-Wild's twin with five people to train on, its faces, and the loaders that a training gets."
    folder = tmp_path_factory.mktemp("identity")
    write_database("aff-wild", folder/"twin", train=5, test=1, frames_per_clip=32, difficulty=0, progress=False)
    source = open_database("aff-wild", folder/"twin")
    preprocess_database(source, folder/"faces", progress=False)
    plan = affwildnet_recipe("smoke", width=1/16, length=8, epochs=1, **PLAIN)
    return source, folder/"faces", plan, database_loaders(plan, source, folder/"faces", device="cpu")


@pytest.fixture(scope="module")
def faces(world): return world[3].train.dataset


@pytest.fixture(scope="module")
def learned(faces, tmp_path_factory):
    "The CNN of a training of seconds."
    return pretrain_on_identities(faces, tmp_path_factory.mktemp("learned")/"people", device="cpu", data="a twin", licence="free",
                                  **{**TINY, "epochs": 14, "dropout": .2, "lr": 2e-3})


def same(one, other): return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# whom it learns from

def test_only_people_of_the_training_side(world, faces):
    source, folder, plan, dls = world
    kept, held = holdout(source.select("train", "va"), .2, plan.seed)
    train = PersonFrames(faces, 2)
    assert set(train.people) == {clip.subject for clip in kept} == set(dls.train.dataset.subjects) and len(train.people) >= 3
    others = {clip.subject for clip in held} | {clip.subject for clip in source.clips if clip.split != "train"}
    assert others and not others & set(train.people)


def test_every_kth_frame_and_the_last_fifth(faces):
    train, held = PersonFrames(faces, 2), PersonFrames(faces, 2, held_out=True)
    for track in faces.tracks:
        clip = {side: [(window.start, label) for row, label in zip(frames.rows, frames.labels) if (window := frames.frames[row]).clip == track.clip]
                for side, frames in dict(train=train, held=held).items()}
        starts = {side: [start for start, _ in found] for side, found in clip.items()}
        there = set(track.frames[track.seen].tolist())
        assert starts["train"] + starts["held"] == sorted(frame for frame in there if frame % 2 == 0 and frame < track.n)
        assert len(starts["held"]) == (len(starts["train"]) + len(starts["held"]))//5 > 0
        assert {train.people[label] for found in clip.values() for _, label in found} == {track.subject}
    face, label = train[0]
    assert face.shape == (3, 96, 96) and face.dtype == torch.uint8 and face.any() and isinstance(label, int)


def test_faces_without_a_label_count(faces):
    blank = faces.cut(8)
    blank.tracks = [replace(track, labels={name: np.full_like(array, np.nan) for name, array in track.labels.items()}) for track in faces.tracks]
    assert not len(blank.cut(8)) and len(PersonFrames(blank, 4)) == len(PersonFrames(faces, 4))


# what it leaves

def test_it_tells_people_apart(learned, faces):
    card = read_card(learned)
    assert card.measures["accuracy"] >= card.measures["chance"] + .25, card.measures
    assert card.notes["people"] == len(faces.subjects) and card.notes["split_hash"] == split_hash(dict(train=faces.people))
    assert (card.architecture, card.width, card.parts, card.data, card.licence) == ("vgg_face", 1/16, ("cnn",), "a twin", "free")
    assert card.notes["identities"]["epochs"] == 14 and card.notes["identities"]["people"] == card.notes["people"]
    assert (card.notes["precision"], card.notes["threads"], card.notes["device"]) == ("float32, NCHW", torch.get_num_threads(), "cpu")
    assert sorted(path.name for path in learned.parent.iterdir()) == ["people.json", "people.safetensors"]


@pytest.mark.parametrize("arch", ["vgg_face", "affwildnet_vgg", "cnn_3rnn", "fusion_fc"])
def test_its_cnn_fits_the_networks(learned, arch):
    tensors = load_file(learned)
    model = start_from(create_model(arch, 1/16), {"cnn": learned})
    for part in cnn_parts(model).values(): assert same({f"cnn.{name}": tensor for name, tensor in part.state_dict().items()}, tensors)


def test_another_width_or_layout_does_not_fit(learned):
    with pytest.raises(ValueError, match="does not fit"): start_from(create_model("affwildnet_vgg", 1/8), {"cnn": learned})
    with pytest.raises(ValueError, match="does not fit"): start_from(create_model("affwildnet_resnet", 1/16), {"cnn": learned})
    with pytest.raises(ValueError, match="only the part cnn"): load_checkpoint(learned)


@pytest.mark.parametrize("numbers, arch, arguments", [(dict(cnn="resnet50_caffe"), "resnet_rnn", dict(caffe=True)), (dict(norm="batch"), "affwildnet_vgg", dict(norm="batch"))], ids=str)
def test_other_cnns(faces, tmp_path, numbers, arch, arguments):
    path = pretrain_on_identities(faces, tmp_path/"people.v1", device="cpu", **{**TINY, **numbers, "every": 6})
    assert path.name == "people.v1.safetensors" and (tmp_path/"people.v1.json").is_file()
    start_from(create_model(arch, 1/16, **arguments), {"cnn": path})
    if "caffe" in arguments:
        with pytest.raises(ValueError, match="layout"): start_from(create_model(arch, 1/16, caffe=False), {"cnn": path})


def test_affect_starts_from_it(world, learned, tmp_path):
    source, folder, plan, dls = world
    plan = plan.replace(regime="cnn_frozen")
    model = fit(plan, dls, tmp_path/"run", weights={"cnn": learned}).model
    assert same({f"cnn.{name}": tensor for name, tensor in model.cnn.state_dict().items()}, load_file(learned))
    assert [one["file"] for one in read_card(tmp_path/"run"/"best").notes["weights"]] == ["people.safetensors"]


# once more

def test_the_same_call_does_not_train_again(learned, faces, tmp_path):
    for path in learned.parent.iterdir(): shutil.copy(path, tmp_path)
    again = {**TINY, "epochs": 14, "dropout": .2, "lr": 2e-3}
    written = (tmp_path/"people.safetensors").read_bytes()
    for out in ("people", "people.safetensors", "people.json"):
        assert pretrain_on_identities(faces, tmp_path/out, device="cpu", cbs=Never(), **again) == tmp_path/"people.safetensors"
    (tmp_path/"people.json").unlink() # the card is in the weights, too
    pretrain_on_identities(faces, tmp_path/"people", device="cpu", cbs=Never(), **again)
    assert (tmp_path/"people.safetensors").read_bytes() == written
    with pytest.raises(ValueError, match="seed was 0, now 1"): pretrain_on_identities(faces, tmp_path/"people", cbs=Never(), **again, seed=1)
    fewer = faces.cut(8)
    fewer.tracks = fewer.tracks[:-1]
    with pytest.raises(ValueError, match="people was"): pretrain_on_identities(fewer, tmp_path/"people", cbs=Never(), **again)


def test_a_killed_training_goes_on(faces, tmp_path):
    numbers = {**TINY, "epochs": 2, "every": 4}
    with pytest.raises(KeyboardInterrupt): pretrain_on_identities(faces, tmp_path/"killed", device="cpu", cbs=Kill(1), **numbers)
    assert [path.name for path in tmp_path.iterdir()] == ["killed-state.safetensors"]
    seen = []
    class Look(Callback):
        def before_batch(self): seen.append(self.epoch)
    paths = [pretrain_on_identities(faces, tmp_path/name, device="cpu", cbs=Look() if name == "killed" else None, **numbers) for name in ("killed", "straight")]
    assert set(seen) == {1} and same(*map(load_file, paths))
    assert read_card(paths[0]).measures == read_card(paths[1]).measures and not list(tmp_path.glob("*state*"))


# refusals

def test_it_refuses(faces, tmp_path):
    one = faces.cut(8)
    one.tracks = [track for track in faces.tracks if track.subject == faces.subjects[0]]
    with pytest.raises(ValueError, match=f"one person only, {faces.subjects[0]}"): pretrain_on_identities(one, tmp_path/"x", **TINY)
    with pytest.raises(ValueError, match="no clip has 5 frames with a face at every=30"): pretrain_on_identities(faces, tmp_path/"x", **{**TINY, "every": 30})
    with pytest.raises(ValueError, match="vgg16"): pretrain_on_identities(faces, tmp_path/"x", cnn="alexnet")
    with pytest.raises(ValueError, match="epochs"): pretrain_on_identities(faces, tmp_path/"x", **{**TINY, "epochs": 0})
    with pytest.raises(ValueError, match="was asked for"): pretrain_on_identities(faces, tmp_path/"x", device="cuda:99", **TINY)
    with pytest.raises(ValueError, match="option of 'vgg16'"): pretrain_on_identities(faces, tmp_path/"x", device="cpu", cnn="resnet50", norm="batch", **TINY)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_it_does_not_write_over_other_weights(faces, tmp_path):
    save_checkpoint(tmp_path/"vgg_face", create_model("vgg_face", 1/16, size=32))
    with pytest.raises(ValueError, match="was not made by"): pretrain_on_identities(faces, tmp_path/"vgg_face", **TINY)


def test_the_network_reads_bytes_and_scaled_faces():
    model = PersonNetwork(4, width=1/16, size=32).eval()
    bytes_ = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8))
    torch.testing.assert_close(model(bytes_), model((bytes_.float() - 127.5)/127.5))
    torch.testing.assert_close(model(bytes_[None]), model(bytes_))
