"""The orderings that the paper claims, on the embedded world: several seeds, each from the first weights to the test part.

Section V.A on the twin of Aff-Wild: landmarks help, GRU against LSTM, end to end against a frozen CNN and against a CNN
that was trained first. Section V.B on the twin of OMG-Emotion, at utterance level, after training on Aff-Wild:
CNN-3RNN > CNN-1RNN > ResNet-RNN, and model-level fusion + RNN > + FC > decision-level fusion.

All networks of one seed have the same width, epochs, batches and learning rate, and batch normalisation in the VGGs
(without it some seeds end in a constant at this learning rate). They start from random weights; in place of VGG-FACE's
fixed weights stands a CNN that was trained to tell the people of the training part apart. What was trained is kept in
the work folder, so that a run that was cut off goes on. `python benchmarks/orderings.py` prints the measures; `run()` returns
them. Scores of drawn faces are no benchmark results.
"""
import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

HERE = Path(__file__).resolve()
FUSED = ("decision-level fusion", "model-level fusion + FC", "model-level fusion + RNN")
CLAIMS = {
    "aff-wild": {
        "landmarks help": ("AffWildNet", "AffWildNet without landmarks"),
        "GRU > LSTM": ("AffWildNet", "AffWildNet with LSTM"),
        "end to end > CNN frozen, both from the CNN that knows people": ("AffWildNet from the CNN that knows people", "CNN frozen"),
        "end to end > CNN trained first": ("AffWildNet", "CNN trained first"),
    },
    "omg-emotion": {
        "CNN-1RNN > ResNet-RNN": ("CNN-1RNN", "ResNet-RNN"),
        "CNN-3RNN > CNN-1RNN": ("CNN-3RNN", "CNN-1RNN"),
        "decision-level fusion > CNN-3RNN": (FUSED[0], "CNN-3RNN"),
        "model-level + FC > decision-level": (FUSED[1], FUSED[0]),
        "model-level + RNN > model-level + FC": (FUSED[2], FUSED[1]),
    },
}
DATA = {"aff-wild": dict(size="demo"), "omg-emotion": dict(size="demo", train=96, validation=24, test=72, frames_per_clip=30)}


def prepare(work: Path, name: str, seed: int, difficulty: float, workers: int, **changes):
    """The twin of one database, drawn, its faces found; an open `Database`."""
    from affect_nb.databases.base import open_database
    from affect_nb.data.store import preprocess_database
    from affect_nb.synth.twins import write_database
    root = write_database(name, work/"data"/name, seed=seed, difficulty=difficulty, workers=workers, progress=False, **{**DATA[name], **changes})
    source = open_database(name, root)
    preprocess_database(source, work/"faces"/name, task="va", workers=workers)
    return source


class Laboratory:
    """One seed: recipes, loaders, and what each network predicts for the test part."""
    def __init__(self, work: Path, name: str, seed: int, width: float, epochs: int, length: int):
        from affect_nb.databases.base import open_database
        from affect_nb.train.jobs_database import database_loaders
        from affect_nb.train.recipes import affwildnet_recipe, omg_recipe
        self.name, self.seed, self.faces, self.out = name, seed, work/"faces"/name, work/f"seed{seed}"
        self.source = open_database(name, work/"data"/name)
        changes = dict(width=width, epochs=epochs, length=length, seed=seed, lr=1e-3, retry=False) # each seed counts
        self.recipe = affwildnet_recipe("demo", **changes) if name == "aff-wild" else omg_recipe("demo", **changes)
        # the split is that of seed 0 for all, so that seeds differ in weights, dropout and batches alone
        self.dls = database_loaders(self.recipe.replace(seed=0), self.source, self.faces, device="cpu", validation="official" if name == "omg-emotion" else "holdout")

    def checkpoint(self, method: str) -> Path:
        """Where the weights of a method are."""
        return self.out/self.name/method.lower().replace(" ", "_")/"best"

    def train(self, method: str, arch: str, changes: dict) -> Path:
        """The checkpoint of a trained network; `changes` of the recipe."""
        from affect_nb.models.registry import model_arguments
        from affect_nb.train.recipes import fitting_arguments
        from affect_nb.train.fit import fit
        wanted = {**self.recipe.arguments, "norm": "batch", **changes.get("arguments", {})}
        arguments = wanted if "common" in model_arguments(arch) else fitting_arguments(arch, wanted) # a fusion hands its own to its members
        recipe = self.recipe.replace(**{**changes, "arch": arch, "arguments": arguments, "cnn_epochs": self.recipe.epochs})
        fit(recipe, self.dls, self.checkpoint(method).parent, dict(data=f"embedded world, twin of {self.name}"), weights=start_of(self, method))
        return self.checkpoint(method)

    def table(self, checkpoint: Path, split: str):
        """Its predictions for one part: frames, or utterances where the labels are theirs."""
        from affect_nb.analysis.utterances import utterance_predictions, videos_as_clips
        from affect_nb.apps.predict import Predictor
        predictor = Predictor.load(checkpoint, device="cpu", precision="float32")
        predictions, skipped = predictor.predict_clips(self.source, self.source.select(split, "va"), self.faces)
        if skipped: raise RuntimeError(f"{checkpoint}: {skipped[0].source}: {skipped[0].reason}")
        if self.name == "aff-wild": return predictions
        return videos_as_clips(utterance_predictions(predictions, self.recipe.length)) # intervals draw videos


PEOPLE, AFFWILDNET = "the people of the training part", "AffWildNet"
ARCHS = { # database -> method -> network and what of the recipe differs
    "aff-wild": {
        AFFWILDNET: ("affwildnet_vgg", {}),
        "AffWildNet without landmarks": ("affwildnet_vgg", dict(arguments=dict(landmarks=False))),
        "AffWildNet with LSTM": ("affwildnet_vgg", dict(arguments=dict(rnn="lstm"))),
        "AffWildNet from the CNN that knows people": ("affwildnet_vgg", {}),
        "CNN frozen": ("affwildnet_vgg", dict(regime="cnn_frozen")),
        "CNN trained first": ("affwildnet_vgg", dict(regime="cnn_first")),
        "ResNet-RNN": ("resnet_rnn", {}),
    },
    "omg-emotion": {"CNN-1RNN": ("cnn_1rnn", {}), "CNN-3RNN": ("cnn_3rnn", {}), "ResNet-RNN": ("resnet_rnn", {}), FUSED[1]: ("fusion_fc", {}), FUSED[2]: ("fusion_rnn", {})},
}
STAGES = ( # what may be trained side by side
    [("aff-wild", PEOPLE)],
    [("aff-wild", method) for method in ARCHS["aff-wild"]],
    [("omg-emotion", method) for method in ("CNN-1RNN", "CNN-3RNN", "ResNet-RNN")],
    [("omg-emotion", method) for method in FUSED],
)


def start_of(lab: Laboratory, method: str):
    """What a network starts from: nothing, a CNN, parts of AffWildNet, a whole network, or its members."""
    if method in ("AffWildNet from the CNN that knows people", "CNN frozen"): return {"cnn": lab.out/"people"}
    if lab.name == "aff-wild": return None
    if method in FUSED: return [lab.checkpoint("CNN-1RNN"), lab.checkpoint("CNN-3RNN")]
    before = lab.out/"aff-wild"
    return before/"resnet-rnn"/"best" if method == "ResNet-RNN" else dict.fromkeys(["cnn", "fc"], before/"affwildnet"/"best")


def learn_people(lab: Laboratory, width: float, epochs: int) -> None:
    """The CNN that stands in the place of VGG-FACE's."""
    from affect_nb.train.jobs_identity import pretrain_on_identities
    pretrain_on_identities(lab.dls.train.dataset, lab.out/"people", width=width, norm="batch", epochs=epochs, seed=lab.seed, device="cpu")


def fuse(lab: Laboratory):
    """The test table of decision-level fusion."""
    from affect_nb.analysis.compare import fuse_decisions, seed_scores
    members = [lab.checkpoint("CNN-1RNN"), lab.checkpoint("CNN-3RNN")]
    valid = seed_scores({str(number): [lab.table(path, "validation")] for number, path in enumerate(members)})[["ccc_valence", "ccc_arousal"]]
    return fuse_decisions([lab.table(path, "test") for path in members], valid.to_numpy())


def work_on(section: str, method: str, work: Path, seed: int, **size) -> None:
    """Train one network with one seed, and leave its test table as Parquet."""
    import torch
    torch.set_num_threads(1)
    path = work/"tables"/section/f"{method}.{seed}.parquet"
    if path.exists(): return
    lab = Laboratory(work, section, seed, **size)
    if method == PEOPLE: return learn_people(lab, size["width"], size["epochs"])
    table = fuse(lab) if method == FUSED[0] else lab.table(lab.train(method, *ARCHS[section][method]), "test")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)


VERDICT = ["difference", "spread", "low", "high", "p", "p_holm", "seeds_for", "n_seeds", "holds"]


def report(work: Path, seeds: int) -> dict:
    """A table of the networks and a table of the claims, from the test tables of all seeds."""
    import pandas as pd
    from affect_nb.analysis.compare import differences, over_seeds, seed_scores, verdicts
    networks, found = [], []
    for section, claims in CLAIMS.items():
        methods = list(dict.fromkeys(method for pair in claims.values() for method in pair))
        tables = {method: [pd.read_parquet(work/"tables"/section/f"{method}.{seed}.parquet") for seed in range(seeds)] for method in methods}
        compared, each = over_seeds(tables).set_index(["method", "score"]), seed_scores(tables)
        for method in methods:
            row = {"network": method, "data": section}
            for score in ("ccc_valence", "ccc_arousal", "ccc_mean"):
                row |= {score: compared.value[method, score], f"{score}_spread": compared.spread[method, score]}
            networks.append(row | {"low": compared.low[method, "ccc_mean"], "high": compared.high[method, "ccc_mean"], "seeds": each.loc[method].ccc_mean.round(4).tolist()})
        found.append(differences(each, claims))
    claims = verdicts(pd.concat(found))[VERDICT]
    return {"networks": networks, "claims": [{"claim": claim} | row.to_dict() for claim, row in claims.iterrows()]}


def run(seeds: int = 3, width: float = .125, epochs: int = 4, length: int = 20, difficulty: float = .3, processes: int = 2, work: str = "runs/orderings", changes: dict | None = None) -> dict:
    """Every network and seed, then means, spreads and whether each ordering was found."""
    from affect_nb.files.workers import run_commands
    work = Path(work).resolve()
    with redirect_stdout(sys.stderr):
        for name in DATA: prepare(work, name, 7, difficulty, processes, **(changes or {}).get(name, {}))
    size = dict(width=width, epochs=epochs, length=length)
    for stage in STAGES:
        run_commands([[sys.executable, HERE, "--one", section, method, str(work), str(seed), json.dumps(size)] for seed in range(seeds) for section, method in stage], processes)
    return {"data": f"embedded world, difficulty {difficulty}; no benchmark result", "seeds": seeds, "width": width, "epochs": epochs, "length": length, **report(work, seeds)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=5, metavar=("SECTION", "METHOD", "WORK", "SEED", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--width", type=float, default=.125, help="of the networks; 1 is the paper's size")
    parser.add_argument("--epochs", type=int, default=4, help="of each training")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, a core each")
    parser.add_argument("--work", default="runs/orderings", help="folder for data, weights and tables")
    given = parser.parse_args()
    if given.one:
        section, method, work, seed, size = given.one
        with redirect_stdout(sys.stderr): work_on(section, method, Path(work), int(seed), **json.loads(size))
    else: print(json.dumps(run(given.seeds, given.width, given.epochs, processes=given.processes, work=given.work), indent=2))
