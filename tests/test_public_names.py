"""The names that other people's code relies on import from where they are promised; doors hand on what a user types; one default each."""
import ast
import importlib
import inspect
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent/"affect_nb"
PROMISED = { # module -> names
    "core.labels": "EXPRESSIONS AUS17 AUS17_TABLE5 AUS8 COMPOUND_RAFDB COMPOUND_EMOTIONET AffectTargets AffectOutput",
    "core.relatedness": "Relatedness COGNITIVE AFFWILD2 COMPOUND",
    "core.metrics": "ccc mse macro_f1 accuracy mean_diagonal uar expression_score au_f1 au_accuracy au_score afa",
    "core.losses": "ccc_loss expression_loss au_loss multitask_loss",
    "core.coupling": "co_annotate matched_au_distribution distribution_matching_loss soft_co_annotation soft_co_annotation_loss",
    "preprocess.pipeline": "preprocess Settings",
    "preprocess.detect": "list_detectors create_detector",
    "models": "list_models create_model register_model",
    "analysis.compound": "compound_scores few_shot_learner",
    "analysis.onsets": "find_events predicted_frames",
    "analysis.summaries": "summarise summarise_files wide_summary mixed_model",
    "analysis.synchrony": "synchrony windowed_synchrony intersubject_correlation output_traces",
    "analysis.exports": "export_predictions events_as_spans",
    "files.exchange": "read_spans write_elan read_elan write_boris read_boris write_bids_events read_bids_events write_bids_traces read_bids_traces",
    "models.export": "export_onnx export_program describe_network",
    "models.onnx_network": "OnnxNetwork open_onnx",
    "models.int8": "quantise_onnx",
    "apps.predict": "Predictor predict_files",
    "apps.doctor": "diagnose",
    "apps.explore": "AUStudio explore_clip explore_map",
    "apps.film_stream": "FilmStream film_url",
    "apps.annotate": "annotate AnnotationPad",
    "apps.annotation_tables": "annotator_tables collect_annotations agreement_view export_annotations",
    "apps.live": "live LivePredictor",
    "apps.batch_inspector": "inspect_batch",
    "apps.dashboard": "DashboardCallback explore_training",
    "apps.comparison": "compare_runs",
    "train.rerun": "rerun",
    "train.precision": "choose_precision choose_device",
}
DOORS = { # room -> names
    "core": "EXPRESSIONS AUS8 AUS17 AffectTargets AffectOutput COGNITIVE AFFWILD2 ccc mse ccc_loss au_loss expression_loss multitask_loss",
    "preprocess": "preprocess Settings create_detector list_detectors FaceStore",
    "databases": "list_databases open_database register_database",
    "models": "list_models create_model",
    "train": "affect_learner Recipe train_database train_joint train_chain",
    "apps": "Predictor",
}
NETWORKS = """vgg16 vgg_face resnet50 vgg_face_lstm resnet_rnn affwildnet_vgg affwildnet_resnet cnn_1rnn cnn_3rnn fusion_fc fusion_rnn
              mt_vgg mt_vgg_gru mt_vgg_gru_audio av_mt_vgg_gru facebehaviornet""".split()
COMMANDS = "synth check preprocess train train-joint train-chain import-weights predict summarise export export-model run rerun bench doctor".split()


@pytest.mark.parametrize("module, names", PROMISED.items(), ids=PROMISED)
def test_promised_names_import_from_where_they_are_listed(module, names):
    found = importlib.import_module(f"affect_nb.{module}")
    assert [name for name in names.split() if not hasattr(found, name)] == []


@pytest.mark.parametrize("room, names", DOORS.items(), ids=DOORS)
def test_doors_hand_on_what_a_user_types(room, names):
    door = importlib.import_module(f"affect_nb.{room}")
    assert [name for name in names.split() if not hasattr(door, name)] == []
    assert set(names.split()) <= set(door.__all__) and all(hasattr(door, name) for name in door.__all__)


def test_networks_and_commands_have_their_names():
    from affect_nb.models import list_models
    assert set(NETWORKS) <= set(list_models())
    helped = subprocess.run([sys.executable, "-c", "from affect_nb.apps.cli import main; main(['--help'])"], capture_output=True, text=True, check=True)
    assert [command for command in COMMANDS if command not in helped.stdout] == []


def test_no_module_name_stands_twice():
    names = [path.stem for path in PACKAGE.rglob("*.py") if path.stem not in ("__init__", "_modidx")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_recipes_come_first():
    "In every public function that takes a recipe, it is the first argument."
    late = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or path.stem == "cli": continue
            arguments = [argument.arg for argument in node.args.args]
            if "recipe" in arguments and arguments[0] != "recipe": late.append(f"{path.stem}.{node.name}")
    assert late == []


# One default for each name that means one thing. A name with several meanings stands here, with what they are.
STRICT = "au_over form match_form match_over weighted shares length temperature"
SEVERAL_MEANINGS = {
    "pixels of different pictures: a face crop, a drawn frame, a map, a toy; lines of text; a network's width":
        "size width height",
    "counts of different things, for a figure or a list to stay readable": "n most columns least first start share layers",
    "what a class of containers holds by itself, an empty one of its kind":
        "arguments labels notes optional parts splits overlap columns clip clips media kind title warnings device",
    "recipes of different trainings: affect, and telling people apart": "batch_size bs epochs lr every steps frozen seeds",
    "networks of valence and arousal alone, and networks of several tasks (Sections V and VI)": "tasks au_names aus",
    "the paper's: layers that a CNN hands on by itself, and those that CNN-1RNN and CNN-3RNN read (Section V.B)": "taps rnn_dropout",
    "which frame, face, table or split: by the function's own subject": "face_id table validation postprocess name names",
    "what else a word says in a sentence of its own": "data what path weights",
    "different measures and thresholds": "measure score threshold active_from reach scale limits noise ambient window draws",
    "rates and formats of different media": "fps rate quality chunk frames sound spectrogram on_frame",
    "True where somebody looks on, False inside other work": "progress shuffle",
    "an object, and the words that make one": "precision relatedness pixel_scale settings modality valence folds",
    "what a network reads, and whose landmarks the faces of a release are cut by; pixels of films and of single pictures":
        "landmarks pixel_aspect",
    "a detector as it was published, and as it is trained here": "trunk stem reads norm weight_decay",
    "a seed whose picture is meant to be looked at": "seed",
}
ALLOWED = {name for names in SEVERAL_MEANINGS.values() for name in names.split()}


def defaults():
    "Name of a parameter -> its default -> the public functions, constructors and settings that have it."
    found = defaultdict(lambda: defaultdict(list))
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if path.stem in ("__init__", "_modidx") or name == "apps.cli": continue
        module = importlib.import_module(f"affect_nb.{name}")
        for public in module.__all__ if hasattr(module, "__all__") else ():
            thing = getattr(module, public)
            if getattr(thing, "__module__", None) != module.__name__ or not callable(thing): continue
            try: parameters = inspect.signature(thing).parameters.values()
            except (TypeError, ValueError): continue
            for parameter in parameters:
                if parameter.default is inspect.Parameter.empty or parameter.default is None: continue
                found[parameter.name][repr(parameter.default)].append(f"{name}.{public}")
    return found


def test_a_name_has_one_default():
    "None means that something else decides; anything else must be equal wherever a name means the same."
    differing = {name: {value: where[:3] for value, where in values.items()} for name, values in defaults().items()
                 if len(values) > 1 and name not in ALLOWED}
    assert differing == {}
    assert not ALLOWED & set(STRICT.split())


def test_the_list_of_several_meanings_is_not_longer_than_it_must_be():
    known = defaults()
    assert sorted(name for name in ALLOWED if len(known[name]) < 2) == []
