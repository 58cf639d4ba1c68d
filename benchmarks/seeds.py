"""Does every network of the demo learn with every seed? Each is trained at the demo's size, ten times from other random numbers.

`python benchmarks/seeds.py [RUN] --out WORK` trains what is not yet done and prints the summary; `run()` does the same. RUN is the
folder of a run of the book (`affect_nb run demo`), whose twins and faces are used; sizes, epochs and rates are those of
`configs/demo.yaml`. Networks that start from others (Table II, the chain of Section VI.A) start from those of the same seed,
and what the paper starts from VGG-FACE starts from the installed network's CNN. One process, one thread, float32: the same numbers
on every machine, but for the last digits.

One JSON a training in WORK/results: score (CCC, or the mean over tasks) and chance of each epoch on held-out people, the score on the
test part, the kept epoch, the share of the RNNs' gates beyond 3 (`train.gates`), precision, threads, seconds of processor time.
Whether it learned is `train.verdicts.verdict`, fixed beforehand. What is not done can be taken up at any time: `--seeds 0 1 2`,
`--networks NAME ...`, `--rates .5` (times the demo's, for networks where a seed did not learn), `--processes 2`, `--minutes 60`.
`--collect FILE.json` writes what there is, `--plot FILE.png` draws all seeds of all networks.

Scores of drawn faces are no benchmark results.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

RUN, WORK, SEEDS = "runs/demo", "runs/seeds", range(10)
PRECISION, SPLIT_SEED = "float32", 0 # the split is that of the demo, whatever the training's seed


@dataclass(frozen=True)
class Network:
    "One training of the demo."
    table: str             # of the paper; '' of none
    method: str            # its row, for people
    starts: tuple = ()     # names of the trainings whose weights it needs
    known: bool = False    # does it start from the CNN of the installed network?
    seconds: float = 10.   # of processor time, about
    vital: int = 2         # 0: first of all


NETWORKS = {
    "first_look": Network("", "first look", seconds=12, vital=0),
    "fbn": Network("VI", "FaceBehaviorNet, no coupling", seconds=12, vital=0, known=True),
    "fbn_cognitive": Network("VI", "FaceBehaviorNet, coupled", seconds=13, vital=0, known=True),
    "visual_va": Network("IV", "VGG on Aff-Wild", seconds=8, vital=0, known=True),
    "mt_vgg": Network("IV", "MT-VGG", ("visual_va",), seconds=6, vital=0),
    "mt_vgg_gru": Network("IV", "MT-VGG-GRU (visual)", ("mt_vgg",), seconds=8, vital=0),
    "vgg_face_lstm": Network("II", "VGG-FACE-LSTM", seconds=75, vital=0, known=True),
    "affwildnet_vgg": Network("II", "AffWildNet", seconds=75, vital=0, known=True),
    "audio_va": Network("IV", "VGG of sound on Aff-Wild", (), seconds=8, vital=1),
    "mt_vgg_audio": Network("IV", "MT-VGG of sound", ("audio_va",), seconds=6, vital=1),
    "mt_vgg_gru_audio": Network("IV", "MT-VGG-GRU (audio)", ("mt_vgg_audio",), seconds=8, vital=1),
    "av_mt_vgg_gru": Network("IV", "A/V-MT-VGG-GRU", ("mt_vgg_gru", "mt_vgg_gru_audio"), seconds=18, vital=1),
    "cnn_1rnn": Network("III", "CNN-1RNN", ("affwildnet_vgg",), seconds=9, vital=1),
    "cnn_3rnn": Network("III", "CNN-3RNN", ("affwildnet_vgg",), seconds=9, vital=1),
    "fusion_fc": Network("III", "fusion, FC", ("cnn_1rnn", "cnn_3rnn"), seconds=10, vital=1),
    "fusion_rnn": Network("III", "fusion, RNN", ("cnn_1rnn", "cnn_3rnn"), seconds=10, vital=1),
    "detector": Network("V", "AU detector", (), seconds=12, vital=2),
    "fbn_va": Network("VI", "one task: valence, arousal", seconds=5, vital=2, known=True),
    "fbn_aus": Network("VI", "one task: AUs", seconds=5, vital=2, known=True),
    "fbn_expression": Network("VI", "one task: expressions", seconds=5, vital=2, known=True),
    "fbn_printed": Network("VI", "FaceBehaviorNet, as printed", seconds=13, vital=2, known=True),
    "vgg_face": Network("II", "VGG-FACE", seconds=70, vital=2, known=True),
    "vgg16": Network("II", "VGG-16", (), seconds=100, vital=2),
    "resnet50": Network("II", "ResNet-50", (), seconds=110, vital=2),
    "omg_resnet50": Network("III", "ResNet-50 on OMG", ("resnet50",), seconds=8, vital=2),
    "omg_resnet_rnn": Network("III", "ResNet-RNN on OMG", ("resnet50",), seconds=8, vital=2),
}


@dataclass(frozen=True)
class Training:
    "What a training needs: a recipe, its loaders, a loader of the test part, weights to start from."
    recipe: object
    dls: object
    test: object
    weights: object = None


@lru_cache
def demo() -> dict:
    """The parameters of the demo, notebook by notebook."""
    from affect_nb.apps.run import load_preset
    return {name.partition("_")[0]: given for name, given in load_preset("demo").notebooks.items()}


class Demo:
    "Makes every training of the demo from the twins and faces of a run."
    def __init__(self, run: Path, work: Path):
        self.run, self.work = run, work

    def known(self, name: str) -> dict | None:
        """Weights of the installed network, for a training that starts from its CNN."""
        from affect_nb.models.shipped import weights_path
        return {"cnn": weights_path("facebehaviornet-small")} if NETWORKS[name].known else None

    def card(self, name: str, seed: int) -> Path:
        """The weights of a finished training at the demo's rate."""
        path = self.work/"trainings"/f"{name}-{seed}-1"/"weights"
        return next(path.glob("*.json"))

    @lru_cache
    def source(self, name: str):
        """An open twin."""
        from affect_nb.databases.base import open_database
        prepared = json.loads((self.run/"data.json").read_text())
        return open_database(name, prepared["folder"] if name == prepared["database"] else self.run/"data"/name)

    def faces(self, name: str) -> Path:
        """The stores of a twin."""
        if name == "aff-wild": return self.run/"faces"
        return self.run/("faces_omg" if name == "omg-emotion" else f"faces_{name}")

    @lru_cache
    def division(self, name: str, seed: int, folds: int = 3, tasks: tuple = None):
        """The parts of a twin."""
        from affect_nb.analysis.crossdb import study_division
        return study_division(self.source(name), seed=seed, folds=folds, tasks=tasks)[0]

    def test_loader(self, recipe, name: str, clips: list):
        """Windows of the test part, as the recipe reads them."""
        from affect_nb.data.index import index_database
        from affect_nb.data.loaders import AffectDL
        from affect_nb.data.sequences import SequenceDataset
        labels = index_database(self.source(name), self.faces(name)/"labels").only(clip.name for clip in clips)
        options = dict(length=recipe.length, remainder=recipe.remainder, sound=recipe.sound)
        return AffectDL(SequenceDataset(self.faces(name), labels, **options), recipe.batch_size)

    def study(self, recipe, name: str, division, every: int = 1, weights=None) -> Training:
        """A training on one database, as Tables II and IV have it."""
        from affect_nb.analysis.crossdb import study_loaders
        from affect_nb.train import adapt_recipe
        recipe = adapt_recipe(recipe, self.source(name))
        dls = study_loaders(recipe.replace(seed=SPLIT_SEED), self.source(name), division, self.faces(name), every=every, device="cpu")
        return Training(recipe, dls, self.test_loader(recipe, name, division.sides["test"]), weights)

    def first_look(self, seed: int, times: float) -> Training:
        """Single drawn faces: `02_first_look`."""
        from affect_nb.data.drawn import DrawnFaces
        from affect_nb.data.loaders import AffectDL
        from affect_nb.train import facebehaviornet_recipe
        from fastai.data.core import DataLoaders
        given = demo()["02"]
        faces = partial(DrawnFaces, difficulty=.3, seed=SPLIT_SEED)
        people, held_out, size = given["people"], given["held_out"], given["batch_size"]
        recipe = facebehaviornet_recipe("demo", coupling="none", width=given["width"], batch_size=size, epochs=given["epochs"],
                                        lr=given.get("lr", .004)*times, seed=seed, precision=PRECISION)
        sides = AffectDL(faces(people), size, shuffle=True, seed=seed, drop_last=True), AffectDL(faces(held_out, first=people), held_out)
        return Training(recipe, DataLoaders(*sides, device="cpu"), AffectDL(faces(held_out, first=people + held_out), held_out))

    def table2(self, name: str, seed: int, times: float) -> Training:
        """`20_table2_affwildnet`."""
        from affect_nb.train import affwildnet_recipe, fitting_arguments
        from affect_nb.train.recipes import shape_arguments
        given = demo()["20"]
        passes = given["known_epochs"] if NETWORKS[name].known else given["epochs"]
        shared = {entry: given[entry] for entry in ("width", "length", "batch_size")}
        lr = given[dict(vgg_face_lstm="rnn_lr", affwildnet_vgg="rnn_lr", resnet50="resnet_lr").get(name, "lr")]
        recipe = affwildnet_recipe(given["recipe"], **shared, arch=name, epochs=passes, lr=lr*times, seed=seed, precision=PRECISION,
                                   arguments=fitting_arguments(name, dict(dropout=.5, **shape_arguments(given["norm"], given["size"]))))
        return self.study(recipe, "aff-wild", self.division("aff-wild", SPLIT_SEED, 5, ("va",)), weights=self.known(name))

    def table3(self, name: str, seed: int, times: float) -> Training:
        """`30_table3_multi_rnn`."""
        from affect_nb.databases.splits import official_split
        from affect_nb.train import database_loaders, fitting_arguments, omg_recipe
        from affect_nb.train.recipes import shape_arguments
        given, arch, source = demo()["30"], name.removeprefix("omg_"), self.source("omg-emotion")
        shared = {entry: given[entry] for entry in ("width", "length", "batch_size", "epochs", "regime", "pool")}
        arguments = dict(dropout=.5, rnn_dropout=.2, **shape_arguments(given["norm"], given["size"]))
        fused = arch.startswith("fusion")
        arguments = dict(share_cnn=True, **arguments) if fused else fitting_arguments(arch, arguments)
        recipe = omg_recipe(given["recipe"], **shared, arch=arch, lr=given["lr"]*times, seed=seed, precision=PRECISION, arguments=arguments)
        if fused: weights = [self.card(member, seed) for member in NETWORKS[name].starts]
        elif arch.startswith("cnn"): weights = dict.fromkeys(("cnn", "fc"), self.card("affwildnet_vgg", seed))
        else: weights = {"cnn": self.card("resnet50", seed)}
        dls = database_loaders(recipe, source, self.faces("omg-emotion"), device="cpu", validation="official")
        test = official_split(source, "va").sides["test"]
        return Training(recipe, dls, self.test_loader(recipe, "omg-emotion", test), weights)

    def table4(self, name: str, seed: int, times: float) -> Training:
        """`40_table4_multitask`: a stage of the chain."""
        from affect_nb.train import mt_chain
        from affect_nb.train.recipes import shape_arguments
        given = demo()["40"]
        frame_batch = dict(batch_size=given["frames_a_batch"])
        first = frame_batch | dict(epochs=given["pretrain_epochs"])
        each = dict(visual_va=first, audio_va=first, mt_vgg=frame_batch, mt_vgg_audio=frame_batch)
        shared = {entry: given[entry] for entry in ("width", "length", "batch_size", "epochs")}
        chain = mt_chain(given["recipe"], each=each, weights=self.known(name), seed=seed, lr=given["lr"]*times, precision=PRECISION,
                         arguments=shape_arguments(given["norm"], given["size"]), **shared)
        stage, = [stage for stage in chain if stage.name == name]
        weights = [self.card(other, seed) for other in stage.start] if not isinstance(stage.start, dict) else {
            **{part: self.card(other, seed) for part, other in stage.start.items()}, **stage.weights}
        database = "aff-wild" if stage.data == "pretrain" else "aff-wild2"
        every = given["every"] if stage.data == "pretrain" else 1
        return self.study(stage.recipe, database, self.division(database, 7), every, weights or None)

    def joint(self, recipe, parts, tests, weights) -> Training:
        """Several databases at once, and the windows of their test parts."""
        from affect_nb.core.labels import AUS17
        from affect_nb.data.joint import LabelSet
        from affect_nb.data.loaders import AffectDL
        from affect_nb.train.jobs_joint import joint_loaders
        dls = joint_loaders(recipe, parts, "cpu")
        sets = [LabelSet([self.test_loader(recipe, name, clips).dataset], recipe.au_names or AUS17, fields=(task,)) for name, task, clips in tests]
        return Training(recipe, dls, AffectDL(LabelSet(sets, recipe.au_names or AUS17), recipe.batch_size), weights)

    def detector(self, seed: int, times: float) -> Training:
        """`50_table5_relatedness`."""
        from affect_nb.core import AUS17, AUS17_TABLE5
        from affect_nb.train import mt_vgg_recipe
        from affect_nb.train.jobs_database import clips_of
        from affect_nb.train.jobs_joint import joint_sides
        from affect_nb.train.recipes import shape_arguments
        given, names = demo()["50"], ("aff-wild2", "gft")
        aus = sorted({au for name in names for au in self.source(name).au_names} & {*AUS17, *AUS17_TABLE5})
        recipe = mt_vgg_recipe(given["recipe"], width=given["width"], batch_size=given["batch_size"], epochs=given["epochs"],
                               lr=given["lr"]*times, precision=PRECISION, coupling="none", seed=seed)
        recipe = recipe.replace(arguments=recipe.arguments | dict(tasks=["aus"], au_names=aus) | shape_arguments(given["norm"], given["size"]))
        split = recipe.replace(seed=SPLIT_SEED)
        parts = [(name, "aus", *joint_sides(split, self.source(name), self.faces(name), "aus")) for name in names]
        return self.joint(recipe, parts, [("aff-wild2", "aus", clips_of(self.source("aff-wild2"), "validation", ("aus",)))], None)

    def table6(self, name: str, seed: int, times: float) -> Training:
        """`60_table6_facebehaviornet`."""
        from affect_nb.analysis.crossdb import database_tasks, study_databases
        from affect_nb.train import facebehaviornet_recipe
        from affect_nb.train.jobs_joint import joint_loaders, joint_sides
        from affect_nb.train.recipes import shape_arguments
        given, task = demo()["60"], name.removeprefix("fbn_")
        recipe = facebehaviornet_recipe(given["recipe"], width=given["width"], batch_size=given["batch_size"], epochs=given["epochs"],
                                        lr=given["lr"]*times, precision=PRECISION, seed=seed, coupling="none")
        recipe = recipe.replace(arguments=recipe.arguments | shape_arguments(given["norm"], given["size"]))
        parts, tests, split = [], [], recipe.replace(seed=SPLIT_SEED)
        for database in study_databases("VI"):
            division, source = self.division(database, 7), self.source(database)
            for own in database_tasks(database, "VI"):
                step = 1 if source.still else given["every_aus"] if own == "aus" else given["every"]
                sides = joint_sides(split, source, self.faces(database), own, clips=division.sides["train"], every=step)
                parts.append((database, own, *sides))
                tests.append((database, own, division.sides["test"]))
        if name == "fbn_cognitive": recipe = recipe.replace(coupling="both", relatedness="cognitive")
        if name == "fbn_printed":
            recipe = recipe.replace(coupling="both", match_form="paper", match_over="sum", soft_temperature=1.)
        if task in ("va", "aus", "expression"):
            size = joint_loaders(recipe, parts, "cpu").train.plan["size"][task]
            recipe = recipe.replace(arguments=recipe.arguments | dict(tasks=[task]), batch_size=int(size), set_sizes=None)
            tests = [test for test in tests if test[1] == task]
        return self.joint(recipe, parts, tests, self.known(name))

    def training(self, name: str, seed: int, times: float) -> Training:
        """Everything of one training."""
        if name in ("first_look", "detector"): return getattr(self, name)(seed, times)
        return getattr(self, f"table{dict(II=2, III=3, IV=4, VI=6)[NETWORKS[name].table]}")(name, seed, times)


def result_path(work: Path, name: str, seed: int, times: float) -> Path:
    """Where the result of a training lies."""
    return work/"results"/f"{name}-{seed}-{times:g}.json"


def train_one(made: Demo, name: str, seed: int, times: float) -> dict:
    """Train one network, measure it on the test part, and write the result."""
    import torch
    from affect_nb.files.atomic import write_json
    from affect_nb.models.weights import read_card
    from affect_nb.train import train_on
    out = made.work/"trainings"/f"{name}-{seed}-{times:g}"
    given = made.training(name, seed, times)
    recipe, start = given.recipe.replace(retry=False), time.process_time()
    learn = train_on(recipe, given.dls, out, "embedded world", licence="free: drawn faces", weights=given.weights)
    seconds = time.process_time() - start
    learn.remove_cbs([callback for callback in learn.cbs if callback.name in ("resume", "save_checkpoint", "epoch_log")])
    with learn.no_bar(): measures = dict(zip(list(learn.recorder.metric_names)[2:-1], map(float, learn.validate(dl=given.test))))
    card = read_card(out/"weights"/recipe.name)
    result = dict(network=name, seed=seed, times=times, lr=recipe.lr, epochs=card.notes["learning"]["epochs"], kept=card.notes["epoch"], monitor=recipe.monitor,
                  test=round(measures[recipe.monitor], 4), precision=learn.precision.name, threads=torch.get_num_threads(),
                  seconds=round(seconds, 1))
    write_json(result_path(made.work, name, seed, times), result)
    return result


def ordered(names: list, seeds: list, rates: list) -> list:
    """(name, seed, times): what matters most first, then what costs least, each after what it starts from."""
    groups, done = sorted({NETWORKS[name].vital for name in names}), []

    def add(name, seed, times):
        for start in NETWORKS[name].starts: add(start, seed, 1.)
        if (name, seed, times) not in done: done.append((name, seed, times))
    for group in groups:
        of_group = sorted((name for name in names if NETWORKS[name].vital == group), key=lambda name: NETWORKS[name].seconds)
        for times in rates:
            for name in of_group:
                for seed in seeds: add(name, seed, times)
    return done


def train_all(made: Demo, jobs: list, minutes: float = None):
    """Train what is not yet done, until the time is over."""
    import torch
    torch.set_num_threads(1)
    end = time.monotonic() + 60*(minutes or 1e9)
    for name, seed, times in jobs:
        path = result_path(made.work, name, seed, times)
        if path.exists(): continue
        if time.monotonic() > end: return
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere): result = train_one(made, name, seed, times)
        print(f"{name}, seed {seed}, x{times:g}: kept {result['kept']} of {len(result['epochs'])}, test {result['test']:.2f}, "
              f"{result['seconds']:.0f} s", file=sys.stderr, flush=True)


def results(work: Path) -> list[dict]:
    """Every finished training, in the order of `NETWORKS`, with its verdict."""
    from affect_nb.train.verdicts import verdict
    found = [json.loads(path.read_text()) for path in sorted((work/"results").glob("*.json"))]
    for row in found:
        judged = verdict(row["epochs"], row["kept"])
        row |= dict(learned=judged.learned, words=judged.words, warnings=list(judged.warnings))
    return sorted(found, key=lambda row: (list(NETWORKS).index(row["network"]), row["times"], row["seed"]))


def gates(row: dict) -> float | None:
    """The share of the most saturated RNN at the end; None without an RNN."""
    return max(row["epochs"][-1]["saturation"].values(), default=None)


def training_row(row: dict) -> dict:
    """One training, short."""
    scores, kept = [round(epoch["score"], 3) for epoch in row["epochs"]], row["epochs"][row["kept"]]
    share = gates(row)
    return dict(training=f"{row['network']}, seed {row['seed']}, lr {row['lr']:g}", kept=f"{row['kept'] + 1} of {len(scores)}", test=row["test"],
                chance=round(kept["chance"] or 0, 3), scores=scores, gates=None if share is None else round(share, 3), words=row["words"],
                warnings=row["warnings"], seconds=row["seconds"])


def network_row(rows: list) -> dict:
    """All seeds of a network at one rate."""
    first, tests, shares = rows[0], [row["test"] for row in rows], [share for row in rows if (share := gates(row)) is not None]
    network = NETWORKS[first["network"]]
    return dict(network=f"{network.method} ({first['network']}), lr {first['lr']:g}", table=network.table,
                learned=f"{sum(row['learned'] for row in rows)} of {len(rows)}", test_mean=round(sum(tests)/len(tests), 3),
                test_lowest=min(tests), test_highest=max(tests), gates_highest=round(max(shares), 3) if shares else None,
                first_epoch_kept=sum(row["kept"] == 0 and len(row["epochs"]) > 1 for row in rows), warned=sum(bool(row["warnings"]) for row in rows),
                seconds=round(sum(row["seconds"] for row in rows)/len(rows), 1))


def grouped(found: list) -> dict:
    """(network, rate) -> its trainings."""
    groups = {}
    for row in found: groups.setdefault((row["network"], row["times"]), []).append(row)
    return groups


def collect(work: Path) -> dict:
    """What there is, as figures."""
    found = results(work)
    if not found: return dict(skipped=f"{work} holds no training")
    settings = {name: " and ".join(dict.fromkeys(str(row[name]) for row in found)) for name in ("precision", "threads")}
    missing = [name for name in NETWORKS if not any(row["network"] == name for row in found)]
    return dict(data="embedded world; no benchmark result", **settings, seeds_asked=len(SEEDS), not_trained=", ".join(missing),
                networks=[network_row(rows) for rows in grouped(found).values()], trainings=[training_row(row) for row in found])


def plot(work: Path, path: Path):
    """All seeds of all networks."""
    from affect_nb.analysis.plots import plot_seeds
    from affect_nb.analysis.tables import save_figure
    panels = {f"{NETWORKS[name].method}\nlr {rows[0]['lr']:g}": rows for (name, _), rows in grouped(results(work)).items()}
    save_figure(plot_seeds(panels)[0].figure, path, dpi=70)


def run(run_dir: str | Path = RUN, work: str | Path = WORK) -> dict:
    """Train what is missing, and collect."""
    run_dir, work = Path(run_dir).resolve(), Path(work).resolve()
    if not (run_dir/"data.json").exists(): return dict(skipped=f"{run_dir} holds no run; `affect_nb run demo` makes it")
    train_all(Demo(run_dir, work), ordered(list(NETWORKS), list(SEEDS), [1.]))
    return collect(work)


def arguments():
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", default=RUN, help="folder of a run of the demo")
    parser.add_argument("--out", default=WORK, help="folder of the trainings and their results")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS, metavar="NAME")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--rates", nargs="*", type=float, default=[1.], help="times the demo's learning rate")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time, each on one thread")
    parser.add_argument("--minutes", type=float, help="begin no further training after so many")
    parser.add_argument("--collect", metavar="FILE.json", help="train nothing, write the figures")
    parser.add_argument("--plot", metavar="FILE.png", help="train nothing, draw all seeds")
    return parser.parse_args()


def main(given):
    """Train, collect or draw."""
    work = Path(given.out).resolve()
    if given.collect or given.plot:
        from affect_nb.apps.report import environment
        from affect_nb.files.atomic import write_json
        if given.collect: write_json(Path(given.collect), dict(figures=collect(work), where=environment()))
        if given.plot: plot(work, Path(given.plot))
        return
    if given.processes > 1: # each takes some of the seeds, which are chains of their own
        shares = [given.seeds[part::given.processes] for part in range(given.processes)]
        started = [subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--processes", "1", "--seeds", *map(str, share)],
                                    env={**os.environ, "OMP_NUM_THREADS": "1"}) for share in shares if share]
        sys.exit(max(process.wait() for process in started))
    train_all(Demo(Path(given.run).resolve(), work), ordered(given.networks, given.seeds, given.rates), given.minutes)
    print(json.dumps(collect(work).get("networks", []), indent=2))


if __name__ == "__main__": main(arguments())
