"""A training leaves a record, from which it is made once more: the same numbers, bit for bit, or what differs is named."""
import json

import pytest
import torch
from safetensors.torch import load_file

from affect_nb.synth.twins import write_database
from affect_nb.train import affwildnet_recipe, mt_chain, train_chain, train_database
from affect_nb.train.records import RECORD, tensors_hash
from affect_nb.train.rerun import rerun


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "A tiny training, with its record."
    folder = tmp_path_factory.mktemp("rerun")
    twin = write_database("aff-wild", folder/"twin", train=3, validation=1, test=1, frames_per_clip=16, progress=False)
    recipe = affwildnet_recipe("smoke", width=1/16, epochs=2, batch_size=2, length=8, arguments=dict(size=32, norm="batch"))
    train_database(recipe, "aff-wild", twin, folder/"first", device="cpu")
    return folder/"first"


def test_the_record_says_what_the_training_was(trained):
    record = json.loads((trained/RECORD).read_text())
    assert record["job"] == "train_database" and record["arguments"]["recipe"]["epochs"] == 2 and record["seconds"] > 0
    assert record["split_hash"] and record["device"] == "cpu" and record["threads"] == torch.get_num_threads()
    assert record["environment"]["torch"] and len(record["code"]["modules"]) == 16
    assert record["weights"] == tensors_hash(trained/"weights"/"affwildnet_vgg.safetensors")


def test_the_training_once_more_gives_the_same_numbers_bit_for_bit(trained, tmp_path):
    done = rerun(trained, tmp_path/"again")
    assert done.same, str(done)
    ours, theirs = (load_file(folder/"weights"/"affwildnet_vgg.safetensors") for folder in (trained, tmp_path/"again"))
    assert ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    with pytest.raises(ValueError, match="holds a training already"): rerun(trained, tmp_path/"again")


def test_what_differs_is_named(trained, tmp_path):
    record = json.loads((trained/RECORD).read_text())
    record["arguments"]["recipe"]["seed"] += 1
    record["environment"]["torch"] = "1.0"
    (tmp_path/"other.json").write_text(json.dumps(record))
    done = rerun(tmp_path/"other.json", tmp_path/"again")
    assert not done.same and any(words.startswith("weights was ") for words in done.differences)
    assert [words for words in done.notes if words.startswith("torch was 1.0, now ")]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    "Two stages of a tiny chain, run one after the other, with the record of both."
    folder = tmp_path_factory.mktemp("chain")
    databases = {data: (name, write_database(name, folder/name, train=train, validation=1, test=1, frames_per_clip=16, progress=False))
                 for data, name, train in (("pretrain", "aff-wild", 3), ("train", "aff-wild2", 4))}
    stages = mt_chain("smoke", "visual", width=1/16, epochs=1, arguments=dict(size=32, norm="batch"))[:2]
    for only in (["visual_va"], ["mt_vgg"]): train_chain(stages, databases, folder/"first", device="cpu", only=only)
    return folder/"first"


def test_a_chain_leaves_a_record_of_all_its_stages(chain):
    record = json.loads((chain/RECORD).read_text())
    assert record["job"] == "train_chain" and record["device"] == "cpu" and record["threads"] == torch.get_num_threads()
    assert record["arguments"]["databases"]["pretrain"] == ["aff-wild", str(chain.parent/"aff-wild")]
    for what in ("weights", "measures", "split_hash"): assert list(record[what]) == ["visual_va", "mt_vgg"]
    assert record["weights"]["mt_vgg"] == tensors_hash(chain/"weights"/"mt_vgg.safetensors")


def test_a_chain_once_more_gives_the_same_numbers_whatever_was_asked_for_last(chain, tmp_path):
    done = rerun(chain, tmp_path/"again")
    assert done.same, str(done)
    assert (tmp_path/"again"/"weights"/"visual_va.safetensors").is_file()
    record = json.loads((chain/RECORD).read_text())
    record["measures"]["mt_vgg"] = {name: value + 1e-9 for name, value in record["measures"]["mt_vgg"].items()}
    (tmp_path/"other.json").write_text(json.dumps(record))
    assert "mt_vgg: " in str(rerun(tmp_path/"other.json", tmp_path/"third"))
    record["device"] = dict(visual_va="cpu", mt_vgg="cuda")
    (tmp_path/"other.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="its stages differ in device"): rerun(tmp_path/"other.json", tmp_path/"fourth")
