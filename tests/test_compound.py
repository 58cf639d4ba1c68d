"""Compound expressions: eq. 10 against a plain loop, its symmetries and blind spots; tables of predictions; few-shot learning."""
import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score

from affect_nb.analysis.compound import (COMPOUND_COLUMNS, EMOTIONET_CLASSES, RAFDB_CLASSES, CompoundClasses, compound_classes, compound_confusion, compound_measures, compound_scores,
                                         du_classes, few_shot_learner, nearest_prototype, outputs_of, plot_confusion, score_compounds, with_compounds, worst_mistakes)
from affect_nb.analysis.few_shot import CompoundPhotographs, FrozenFeatures, FewShotNetwork, OnlyLast, k_shot, k_shot_curve, start_network
from affect_nb.apps.predict import Predictor
from affect_nb.core.labels import AUS8, AUS17, AUS17_TABLE5, COMPOUND_EMOTIONET, COMPOUND_RAFDB, EXPRESSIONS, AffectOutput
from affect_nb.core.relatedness import COMPOUND, read_relatedness, relatedness_of, write_relatedness
from affect_nb.databases.base import open_database
from affect_nb.data.loaders import normalise_faces
from affect_nb.databases.manifests import load_manifest
from affect_nb.data.store import preprocess_database, release_crops
from affect_nb.models.registry import create_model
from affect_nb.models.weights import save_checkpoint
from affect_nb.synth.twins import write_database

ALL = du_classes()


def random_output(shape=(40,), au_names=AUS17, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    part = lambda width: 2*torch.randn(*shape, width, generator=draw, dtype=dtype)
    return AffectOutput(va=part(2).tanh(), expression=part(7), aus=part(len(au_names)), au_names=au_names)


def score_by_hand(aus, emotions, valence, name, weighted=False, prototypical_only=False, basic="once", with_valence=True):
    "Eq. 10 of one image and class, read off the table of Du et al.: `aus` and `emotions` are probabilities by name."
    row, above, below = COMPOUND.emotions.index(name), 0., 0.
    for column, au in enumerate(COMPOUND.aus):
        weight = COMPOUND.weights[row, column]
        if au not in aus or weight == 0 or (prototypical_only and not COMPOUND.prototypical[row, column]): continue
        above, below = above + aus[au]*(weight if weighted else 1), below + (weight if weighted else 1)
    mixed = ALL.components[row]
    felt = sum(emotions[emotion] for emotion in mixed)*(2 if basic == "twice" and len(mixed) == 1 else 1)
    pleasant = with_valence and name in ("happily surprised", "happily disgusted", "happy") and valence > 0
    return above/below + felt + pleasant


SWITCHES = [dict(weighted=weighted, prototypical_only=only, basic=basic) for weighted, only, basic in itertools.product((False, True), (False, True), ("once", "twice"))]


@pytest.mark.parametrize("au_names", [AUS17, AUS17_TABLE5, tuple(reversed(AUS17)), (1, 4, 6, 9, 12, 25, 2, 30)], ids=["AUS17", "table V", "reversed", "few"])
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_equation_10_is_what_a_loop_says(switches, au_names):
    output = random_output((12,), au_names)
    found = compound_scores(output, ALL, **switches).scores
    for image in range(12):
        aus = dict(zip(au_names, output.au_prob[image].tolist()))
        emotions = dict(zip(EXPRESSIONS, output.expression_prob[image].tolist()))
        wanted = [score_by_hand(aus, emotions, float(output.va[image, 0]), name, **switches) for name in ALL.names]
        assert found[image].tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("classes", [RAFDB_CLASSES, EMOTIONET_CLASSES], ids=["raf-db", "emotionet"])
def test_any_leading_shape(classes, shape):
    output = random_output(shape)
    scores = compound_scores(output, classes)
    assert scores.scores.shape == (*shape, len(classes)) and scores.predicted.shape == shape and scores.emotion_parts.shape == (*shape, len(classes), 2)
    assert len(scores.frame()) == max(1, int(np.prod(shape)))
    for index in itertools.product(*map(range, shape)):
        one = compound_scores(output[index], classes) if index else scores
        assert torch.allclose(one.scores, scores.scores[index])
        table = scores.explain(index)
        assert table.index[0] == classes.names[int(scores.predicted[index])] and table["score"].is_monotonic_decreasing
        assert table["score"].to_numpy() == pytest.approx(table[["au_term", "emotion_terms", "valence_term"]].sum(axis=1).to_numpy(), abs=1e-6)


def test_explain_wants_one_image():
    with pytest.raises(ValueError, match=r"must pick one image of \(2, 3\)"): compound_scores(random_output((2, 3)), RAFDB_CLASSES).explain(0)


def test_each_part_keeps_its_range():
    scores = compound_scores(random_output((300,)), EMOTIONET_CLASSES)
    for part, top in ((scores.au_term, 1), (scores.emotion_terms, 1), (scores.valence_term, 1)): assert part.min() >= 0 and part.max() <= top + 1e-6
    assert set(scores.valence_term.unique().tolist()) == {0., 1.}
    assert not scores.valence_term[:, ~np.array(EMOTIONET_CLASSES.positive)].any()


@pytest.mark.parametrize("au", AUS17)
def test_an_au_is_an_indicator_of_its_classes_alone(au):
    output = random_output((20,))
    more = copy.deepcopy(output)
    more.aus[:, AUS17.index(au)] += 1
    change = compound_scores(more, ALL).scores - compound_scores(output, ALL).scores
    tied = COMPOUND.restrict([au]).weights[:, 0] > 0
    assert (change[:, tied] > 0).all() and not change[:, ~tied].any()


def test_a_unit_for_au11_changes_only_the_classes_that_have_it():
    wide = random_output((20,), AUS17_TABLE5)
    narrow = wide.with_aus(tuple(au for au in AUS17_TABLE5 if au != 11))
    change = (compound_scores(wide, ALL).scores - compound_scores(narrow, ALL).scores).abs().amax(0)
    assert {name for name, most in zip(ALL.names, change) if most > 1e-9} == {name for name in ALL.names if 11 in COMPOUND.weights_of(name)}


@pytest.mark.parametrize("names", [COMPOUND_RAFDB, COMPOUND_EMOTIONET], ids=["raf-db", "emotionet"])
def test_a_perfect_network_is_right(names):
    "It shows the AUs of the class and no others, says its two expressions with one half each, and knows the sign of valence."
    classes = du_classes(names)
    felt = torch.tensor([[float(emotion in mixed)/len(mixed) for emotion in EXPRESSIONS] for mixed in classes.components], dtype=torch.float64)
    valence = torch.tensor(classes.positive).double() - .5
    perfect = AffectOutput(va=torch.stack([valence, valence], -1), expression=felt.clamp(min=1e-12).log(), aus=torch.as_tensor(classes.table.matrix).logit(), au_names=classes.table.aus)
    scores = compound_scores(perfect, classes)
    behind = scores.scores.amax(-1) - scores.scores.diagonal()
    assert behind.max() < 1e-6 # no class is ahead of the right one
    wrong = {names[place]: names[found] for place, found in enumerate(scores.predicted.tolist()) if place != found}
    # awed has the AUs of fearful, and all of its own are among those of fearfully surprised, which mixes the same two: ties
    assert wrong == ({} if names is COMPOUND_RAFDB else dict.fromkeys(("fearful", "fearfully surprised"), "awed"))


def test_classes_are_those_of_the_databases():
    for name, classes in (("raf-db", RAFDB_CLASSES), ("emotionet", EMOTIONET_CLASSES)):
        assert [one.lower().replace("_", " ") for one in load_manifest(name).label("compound").classes] == list(classes.names)


def test_another_table_and_one_from_a_file(tmp_path):
    output = random_output()
    write_relatedness(COMPOUND, tmp_path/"du.json")
    again = compound_scores(output, RAFDB_CLASSES, relatedness=read_relatedness(tmp_path/"du.json"))
    assert torch.allclose(again.scores, compound_scores(output, RAFDB_CLASSES).scores)
    mine = relatedness_of({name: {12: 1, 4: .5} for name in RAFDB_CLASSES.names})
    assert torch.allclose(compound_scores(output, RAFDB_CLASSES, relatedness=mine).au_term, output.au_prob[:, [AUS17.index(12), AUS17.index(4)]].mean(-1, keepdim=True))
    assert torch.equal(compound_scores(output, RAFDB_CLASSES.with_table(mine)).scores, compound_scores(output, RAFDB_CLASSES, relatedness=mine).scores)


def test_own_classes_equal_the_built_in_ones_where_they_say_the_same():
    rows = {name: dict(emotions=mixed, aus=COMPOUND.weights_of(name), positive=positive) for name, mixed, positive in zip(RAFDB_CLASSES.names, RAFDB_CLASSES.components, RAFDB_CLASSES.positive)}
    output = random_output()
    for switches in SWITCHES: assert torch.allclose(compound_scores(output, compound_classes(rows), **switches).scores, compound_scores(output, RAFDB_CLASSES, **switches).scores)


@pytest.mark.parametrize("changes, says", [(dict(names=("a", "a")), "each needs a name of its own"), (dict(components=(("Anger",),)), "each needs a name of its own and one of the others"),
                                           (dict(components=(("Anger",), ("Anger", "Fear", "Sadness"))), "one or two different of"), (dict(names=("a", "c")), "they must be the classes")])
def test_wrong_classes_are_refused(changes, says):
    good = dict(names=("a", "b"), components=(("Anger",), ("Fear",)), positive=(False, False), table=relatedness_of(dict(a={4: 1}, b={1: 1})))
    assert len(CompoundClasses(**good)) == 2
    with pytest.raises(ValueError, match=says): CompoundClasses(**(good | changes))


def test_a_missing_number_gives_no_class():
    output = random_output((4,))
    output.va[0, 0], output.aus[1, 3], output.expression[2, 5] = torch.nan, torch.nan, torch.nan
    scores = compound_scores(output, RAFDB_CLASSES)
    assert (scores.predicted < 0).tolist() == [True, True, True, False]
    assert scores.frame()["predicted"].isna().tolist() == [True, True, True, False]
    assert compound_scores(output, RAFDB_CLASSES, valence=False).predicted[0] >= 0
    assert (nearest_prototype(output, RAFDB_CLASSES) < 0).tolist() == [False, True, False, False]


def test_a_network_of_few_aus():
    "AUS8 lacks every prototypical AU of disgusted; nothing is made up for it."
    output = random_output((3,), AUS8)
    assert compound_scores(output, EMOTIONET_CLASSES).scores.isfinite().all()
    with pytest.raises(ValueError, match="disgusted has no prototypical AU that the network predicts"): compound_scores(output, EMOTIONET_CLASSES, prototypical_only=True)


def test_half_precision_and_gradients():
    output = random_output((8,), dtype=torch.float32)
    half = AffectOutput(va=output.va.bfloat16(), expression=output.expression.bfloat16(), aus=output.aus.bfloat16(), au_names=AUS17)
    assert torch.allclose(compound_scores(half, RAFDB_CLASSES).scores, compound_scores(output, RAFDB_CLASSES).scores, atol=.05)
    output.aus.requires_grad_(True)
    compound_scores(output, RAFDB_CLASSES).scores.sum().backward()
    assert output.aus.grad[:, AUS17.index(25)].gt(0).all() and not output.aus.grad[:, AUS17.index(14)].any() # no class has AU14


@pytest.mark.parametrize("seed", range(8))
def test_measures_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    n_classes, n = int(rng.integers(2, 17)), int(rng.integers(1, 200))
    annotated = rng.choice(rng.choice(n_classes, max(1, n_classes//2), replace=False), n) if seed % 2 else rng.integers(0, n_classes, n)
    said = np.where(rng.random(n) < .4, annotated, rng.integers(0, n_classes, n))
    found = compound_measures(said, annotated, n_classes)
    hits = [(said[annotated == label] == label).mean() for label in set(annotated)]
    assert found["uar"] == found["mean_diagonal"] == pytest.approx(np.mean(hits)) == pytest.approx(recall_score(annotated, said, average="macro", labels=sorted(set(annotated))))
    assert found["f1"] == pytest.approx(f1_score(annotated, said, average="macro"))
    assert found["accuracy"] == pytest.approx(accuracy_score(annotated, said))
    table = compound_confusion(said, annotated, [f"c{place}" for place in range(n_classes)])
    assert table.to_numpy().sum() == n and np.trace(table) == (said == annotated).sum()


def test_measures_with_gaps():
    annotated, said = np.array([0, 0, 1, 1, -1, 2]), np.array([0, -1, 1, 0, 2, -1])
    assert compound_measures(said, annotated, 3) == pytest.approx(dict(mean_diagonal=.75, uar=.75, f1=(2/3 + 2/3)/2, accuracy=2/3, n=3, n_lost=2))
    # class 0: 1 of 2, said twice; class 1: 1 of 2, said once; class 2: 0 of 1, never said
    assert compound_measures(said, annotated, 3, "wrong") == pytest.approx(dict(mean_diagonal=1/3, uar=1/3, f1=(2/4 + 2/3 + 0)/3, accuracy=2/5, n=5, n_lost=2))
    assert np.isnan(compound_measures([-1, -1], [0, 1], 2)["uar"]) and np.isnan(compound_measures([0], [-1], 2)["f1"])
    with pytest.raises(ValueError, match="'left out', 'wrong'"): compound_measures(said, annotated, 3, "gone")


def test_worst_mistakes_are_the_worst():
    output = random_output((60,))
    scores, annotated = compound_scores(output, RAFDB_CLASSES), np.random.default_rng(0).integers(0, 11, 60)
    annotated[:5] = -1
    worst, margins = worst_mistakes(scores, annotated, 5), {}
    for image in range(5, 60):
        values = scores.scores[image].tolist()
        if int(np.argmax(values)) != annotated[image]: margins[image] = max(values) - values[annotated[image]]
    assert worst.index.tolist() == sorted(margins, key=margins.get, reverse=True)[:5]
    assert worst["margin"].tolist() == pytest.approx(sorted(margins.values(), reverse=True)[:5])
    with pytest.raises(ValueError, match="must be equal"): worst_mistakes(scores, annotated[:4])


def test_plot_confusion_draws_shares():
    ax = plot_confusion(compound_confusion([0, 1, 1, 1], [0, 0, 1, 2], ("a", "b", "c")))
    np.testing.assert_allclose(ax.images[0].get_array(), [[.5, .5, 0], [0, 1, 0], [0, 1, 0]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]


# databases and networks

@pytest.fixture(scope="module")
def raf(tmp_path_factory):
    root = tmp_path_factory.mktemp("twins")/"raf-db"
    write_database("raf-db", root, train=1, test=1, frames_per_clip=33, progress=False)
    return open_database("raf-db", root, images="aligned")


@pytest.fixture(scope="module")
def emotionet(tmp_path_factory):
    root = tmp_path_factory.mktemp("twins")/"emotionet"
    write_database("emotionet", root, train=1, test=1, frames_per_clip=20, progress=False)
    return open_database("emotionet", root)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network")/"facebehaviornet"
    save_checkpoint(path, create_model("facebehaviornet", 1/16), dict(data="nothing", licence="free", notes=dict(recipe=dict(length=1))))
    return path.with_suffix(".json")


def test_zero_shot_from_photographs_to_measures(raf, emotionet, card):
    predictor = Predictor.load(card, "cpu", precision="float32")
    for source, classes in ((raf, RAFDB_CLASSES), (emotionet, EMOTIONET_CLASSES)):
        predictions, skipped = predictor.predict_clips(source, source.select("test", "compound"), release_crops(source, "test", "compound"))
        table = with_compounds(predictions, source)
        assert not skipped and len(table) == len(source.frames("test", "compound"))
        truth = source.frames("test", "compound").set_index(["clip", "frame"])["compound"]
        assert table.set_index(["clip", "frame"])["compound"].to_dict() == truth.to_dict()
        scores, n = compound_scores(outputs_of(table), classes), int(table["prob_au1"].notna().sum())
        assert (scores.predicted >= 0).sum() == n # EmotioNet's twin lacks some images, as the database does
        found = compound_measures(scores.predicted, table["compound"], len(classes))
        assert found["n"] == n and found["n_lost"] == len(table) - n and 0 <= found["uar"] <= 1


def test_outputs_of_a_table_are_the_outputs(raf, card):
    predictor = Predictor.load(card, "cpu", precision="float32")
    store = release_crops(raf, "test", "compound")[0]
    table = predictor.predict_store(store)
    with torch.no_grad():
        direct = predictor.model(normalise_faces(torch.from_numpy(store.read(0, 4)).permute(0, 3, 1, 2))[:, None])[:, 0]
    for classes in (RAFDB_CLASSES, EMOTIONET_CLASSES):
        assert torch.allclose(compound_scores(outputs_of(table), classes).scores[:4].float(), compound_scores(direct, classes).scores, atol=1e-4)


def test_the_best_class_in_a_table_of_frames(raf, card):
    "Each row against the loop; rows without a face, whole tables without one, and no rows at all."
    table = Predictor.load(card, "cpu", precision="float32").predict_store(release_crops(raf, "test", "compound")[0])
    table.loc[2:4, table.columns.str.contains("prob|valence|arousal")] = np.nan
    for name, classes in (("raf-db", RAFDB_CLASSES), ("emotionet", EMOTIONET_CLASSES)):
        found = score_compounds(table, name)
        assert list(found) == [*table, *COMPOUND_COLUMNS] and found.loc[2:4, list(COMPOUND_COLUMNS)].isna().all(axis=None)
        for row in found.drop(index=[2, 3, 4]).itertuples():
            aus, emotions = {au: getattr(row, f"prob_au{au}") for au in AUS17}, {name: getattr(row, f"prob_{name.lower()}") for name in EXPRESSIONS}
            scores = {name: score_by_hand(aus, emotions, row.valence, name) for name in classes.names}
            assert scores[row.compound] == pytest.approx(max(scores.values()), abs=1e-5) and row.compound_score == pytest.approx(max(scores.values()), abs=1e-5)
            assert row.compound_au_term + row.compound_emotion_terms + row.compound_valence_term == pytest.approx(row.compound_score, abs=1e-6)
    nobody = table.assign(**{column: np.nan for column in table if "prob" in column or column in ("valence", "arousal")})
    assert score_compounds(nobody, "raf-db")[list(COMPOUND_COLUMNS)].isna().all(axis=None) and list(score_compounds(table[:0], "raf-db")) == [*table, *COMPOUND_COLUMNS]


def test_a_table_without_valence(raf, tmp_path):
    save_checkpoint(tmp_path/"n", create_model("facebehaviornet", 1/16, tasks=("expression", "aus")), dict(data="nothing", licence="free", notes=dict(recipe=dict(length=1))))
    predictions, _ = Predictor.load(tmp_path/"n.json", "cpu", precision="float32").predict_clips(raf, raf.select("test", "compound"), release_crops(raf, "test", "compound"))
    with pytest.raises(ValueError, match="valence=False leaves out"): compound_scores(outputs_of(predictions), RAFDB_CLASSES)
    assert (compound_scores(outputs_of(predictions), RAFDB_CLASSES, valence=False).predicted >= 0).all()


def test_labels_of_a_database_without_compounds(tmp_path):
    write_database("aff-wild", tmp_path/"a", train=1, test=1, frames_per_clip=12, media=False, progress=False)
    source = open_database("aff-wild", tmp_path/"a")
    with pytest.raises(ValueError, match="has no compound labels, it has frame, valence, arousal"): with_compounds(pd.DataFrame(dict(clip=[source.clips[0].name], frame=[0])), source)
    with pytest.raises(ValueError, match="no compound labels for train"): CompoundPhotographs(source)


def test_photographs_through_the_pipeline(raf, card, tmp_path):
    originals = open_database("raf-db", raf.root)
    preprocess_database(originals, tmp_path, split="test", task="compound", progress=False)
    found, own = CompoundPhotographs(originals, tmp_path, "test"), CompoundPhotographs(raf, split="test")
    assert set(found.photographs) <= set(own.photographs) and len(found) > .8*len(own)
    labels = dict(zip(own.photographs, own.labels))
    assert [labels[key] for key in found.photographs] == found.labels.tolist()
    near = [np.abs(found[place][0].float() - own[own.photographs.index(key)][0].float()).mean() for place, key in enumerate(found.photographs)]
    other = [np.abs(found[place][0].float() - own[(own.photographs.index(key) + 5) % len(own)][0].float()).mean() for place, key in enumerate(found.photographs)]
    assert np.mean(near) < np.mean(other) # the same faces, found and aligned once more


def test_photographs_of_emotionet(emotionet):
    photographs = CompoundPhotographs(emotionet, split="test")
    truth = emotionet.frames("test", "compound").set_index(["clip", "frame"])["compound"]
    assert photographs.labels.tolist() == [truth[key[1:]] for key in photographs.photographs]
    assert photographs.n_lost == len(truth) - len(photographs) > 0 # every tenth image of the twin is gone
    assert photographs.labels.max() == 15 and [name.replace("_", " ") for name in photographs.classes] == list(COMPOUND_EMOTIONET)


@pytest.fixture(scope="module")
def sides(raf):
    return CompoundPhotographs(raf, split="train"), CompoundPhotographs(raf, split="test")


@pytest.mark.parametrize("seed", range(4))
def test_k_shot_is_nested_and_balanced(sides, seed):
    before, counts = set(), sides[0].counts
    for k in (1, 2, 3, None):
        few = k_shot(sides[0], k, seed)
        assert few.counts == {name: n if k is None else min(k, n) for name, n in counts.items()}
        assert before <= set(few.photographs) and len(set(few.photographs)) == len(few)
        assert all(few.labels[place] == sides[0].labels[sides[0].photographs.index(key)] for place, key in enumerate(few.photographs))
        assert torch.equal(few[0][0], sides[0][sides[0].photographs.index(few.photographs[0])][0])
        before = set(few.photographs)


def quiet_fit(learn, epochs):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs)
    return learn


@pytest.mark.parametrize("frozen", [True, False])
def test_what_learns(sides, card, frozen):
    network = start_network(card)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learn = quiet_fit(few_shot_learner(network, RAFDB_CLASSES, *sides, frozen=frozen, device="cpu", cbs=OnlyLast()), 1)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items()) # the network that was given stays as it is
    changed = {name for name, tensor in learn.model.body.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not changed if frozen else changed == {name for name in before if not name.startswith("output")}
    assert learn.model.output.weight.shape == (11, network.output.in_features)
    with learn.no_bar(): scores, _ = learn.get_preds()
    assert torch.allclose(scores, learn.model.eval()(sides[1].faces(range(len(sides[1])))), atol=1e-4) # features and faces give the same


@pytest.mark.parametrize("frozen", [True, False])
def test_the_same_seed_gives_the_same_learner_and_leaves_randomness_alone(sides, card, frozen):
    train = sides[0].only(range(12))
    state = torch.get_rng_state()
    tables = [k_shot_curve(card, RAFDB_CLASSES, train, sides[1], ks=(1,), seeds=seeds, steps=3, frozen=frozen, device="cpu") for seeds in ((3,), (3,), (4,))]
    assert torch.equal(torch.get_rng_state(), state)
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert tables[0]["start"].tolist() == ["trained"] and tables[0]["frozen"].tolist() == [frozen] and tables[0]["n"].tolist() == [11]


@pytest.mark.parametrize("arch, options", [("mt_vgg", {}), ("mt_vgg_gru", {}), ("affwildnet_vgg", dict(landmarks=False)), ("resnet50", {}), ("vgg_face", {})])
def test_other_networks_can_be_fine_tuned(sides, arch, options):
    model = FewShotNetwork(create_model(arch, 1/16, **options), 11, frozen=True)
    values = FrozenFeatures(model, sides[1].only(range(3))).values
    assert values.shape == (3, model.output.in_features) and values.isfinite().all()


class Lit(CompoundPhotographs):
    "Every other photograph is dark, and that is its class."
    def __init__(self, photographs):
        vars(self).update(vars(photographs))
        self.labels = np.arange(len(self)) % 2
    def __getitem__(self, index): return super().__getitem__(index)[0]//(1 + 7*int(self.labels[index])), int(self.labels[index])


@pytest.mark.parametrize("frozen, lr, epochs", [(True, .01, 60), (False, .001, 20)])
def test_learning_separates_what_can_be_separated(sides, card, frozen, lr, epochs):
    "On photographs that were not learnt."
    learn = quiet_fit(few_shot_learner(card, ("bright", "dark"), *map(Lit, sides), frozen=frozen, lr=lr, device="cpu", cbs=OnlyLast()), epochs)
    assert learn.final_record[2] > .9


def test_refusals(sides, card):
    train, test = sides
    with pytest.raises(ValueError, match="are on both sides"): few_shot_learner(card, RAFDB_CLASSES, train, train.only([0]))
    with pytest.raises(ValueError, match="each side needs one"): few_shot_learner(card, RAFDB_CLASSES, train.only([]), test)
    with pytest.raises(ValueError, match="there are 3 classes"): few_shot_learner(card, ("a", "b", "c"), train, test)
    with pytest.raises(ValueError, match="width are for a network with random weights"): few_shot_learner(card, RAFDB_CLASSES, train, test, width=1/8)
    with pytest.raises(ValueError, match="reads sound"): FewShotNetwork(create_model("mt_vgg_gru_audio", 1/16), 11)
    with pytest.raises(ValueError, match="no such weights file"): few_shot_learner(card.with_name("nothing.json"), RAFDB_CLASSES, train, test)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(sides, card):
    output = random_output((5,), dtype=torch.float32)
    assert torch.allclose(compound_scores(output.to("cuda"), ALL).scores.cpu(), compound_scores(output, ALL).scores, atol=1e-5)
    for frozen in (True, False): assert 0 <= quiet_fit(few_shot_learner(card, RAFDB_CLASSES, *sides, frozen=frozen, device="cuda"), 1).final_record[2] <= 1
    table, skipped = Predictor.load(card, "cpu", precision="float32").predict_clips(originals, originals.select("test", "compound"), tmp_path)
    scored = score_compounds(with_compounds(table, originals).rename(columns=dict(compound="label")), "raf-db")
    assert not skipped and len(table) == len(own) and scored["compound"].notna().sum() == len(found) and (scored["label"] >= 0).all()
