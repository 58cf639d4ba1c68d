"""Evaluation by group: the measures are those of core.metrics, resampling goes by people, a planted bias is found and no other."""
import json
import sys

import matplotlib.pyplot as pyplot
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from affect_nb.analysis.columns import EXPRESSION_COLUMNS
from affect_nb.analysis.groups import EVERYBODY, GROUP_MEASURES, alarm_share, group_card, group_frame, group_scores, group_test, planted_table, plot_groups
from affect_nb.core.metrics import accuracy, au_accuracy, au_f1, ccc, macro_f1, mse

BIAS = .8 # errors of group b are 1.8 times as large
AUS = (12, 26)


def measured(table):
    "Each measure of a table, straight from core.metrics."
    prob, aus = table[list(EXPRESSION_COLUMNS)].to_numpy(), [f"au{au}" for au in AUS]
    lost = np.isnan(prob).any(1)
    ids, pred = np.where(lost, -1, table.expression), table[[f"prob_{au}" for au in aus]].to_numpy()
    targ = np.where(np.isnan(pred), np.nan, table[aus].to_numpy())
    va = {f"{kind}_{name}": measure(table[f"{name}_pred"].to_numpy(), table[name].where(table[f"{name}_pred"].notna()).to_numpy())
          for kind, measure in (("ccc", ccc), ("mse", mse)) for name in ("valence", "arousal")}
    expression = {name: measure(np.nan_to_num(prob), ids) for name, measure in (("accuracy", accuracy), ("macro_f1", macro_f1))}
    return va | expression | {name: measure(np.nan_to_num(pred), targ) for name, measure in (("au_f1", au_f1), ("au_accuracy", au_accuracy))}


def holed(table, seed=0):
    "The same with a tenth of labels and a tenth of predictions missing."
    rng, table = np.random.default_rng(seed), table.copy()
    for names, missing in ((["valence"], np.nan), (["arousal"], np.nan), (["expression"], -1), (["au12"], np.nan), (["au26"], np.nan),
                           (["valence_pred", "arousal_pred", *EXPRESSION_COLUMNS, "prob_au12", "prob_au26"], np.nan)):
        table.loc[rng.random(len(table)) < .1, names] = missing
    return table


@pytest.mark.parametrize("change", [lambda table: table, holed], ids=["whole", "holes"])
def test_values_are_those_of_core_metrics(change):
    "By fairlearn, and by the sums of people behind the test."
    table = change(planted_table(12, .5))
    frame, tested = group_frame(table, "group"), group_test(table, "group", draws=20).set_index(["measure", "group"])
    for name, part in [*table.groupby("group"), (EVERYBODY, table)]:
        for measure, value in measured(part).items():
            mine = frame.overall[measure] if name == EVERYBODY else frame.by_group.loc[name, measure]
            assert mine == pytest.approx(value, abs=1e-12)
            if name != EVERYBODY: assert tested.value[measure, name] == pytest.approx(value, abs=1e-9)
    assert tested.others["au_f1", "a"] == pytest.approx(tested.value["au_f1", "b"], abs=1e-12)


def test_intervals_are_those_of_a_slow_bootstrap_of_people():
    table = holed(planted_table(14, .4, seed=3))
    scores = group_scores(table, "group", ["macro_f1", "ccc_valence"], draws=400, seed=5).set_index(["measure", "group"])
    rng = np.random.default_rng(0)
    people = dict(list(table[table.group == "b"].groupby("subject")))
    drawn = pd.DataFrame([measured(pd.concat([people[name] for name in rng.choice(list(people), len(people))])) for _ in range(400)])
    for measure in ("macro_f1", "ccc_valence"):
        row = scores.loc[measure, "b"]
        width = row.high - row.low
        assert [row.low, row.high] == pytest.approx(drawn[measure].quantile([.025, .975]).tolist(), abs=.2*width)
        assert row.people == 7 and row.low <= row.value <= row.high


def test_the_same_seed_gives_the_same_and_another_one_nearly():
    table = planted_table(12, .5)
    for make in (group_scores, group_test):
        first, again, other = (make(table, "group", seed=seed) for seed in (1, 1, 2))
        pd.testing.assert_frame_equal(first, again)
        assert not first.equals(other) and (first.value == other.value).all()


def test_the_order_of_rows_and_the_names_of_groups_change_nothing():
    table = planted_table(12, .5)
    mixed = table.sample(frac=1, random_state=0).replace({"group": dict(a="z", b="c")})
    first = group_test(table, "group").set_index(["measure", "group"])
    second = group_test(mixed, "group").set_index(["measure", "group"]).rename(dict(z="a", c="b"), level=1).loc[first.index]
    assert second.difference.to_numpy() == pytest.approx(first.difference.to_numpy(), abs=1e-9)
    assert second.p_adjusted.to_numpy() == pytest.approx(first.p_adjusted.to_numpy(), abs=.06)


def test_a_planted_bias_is_found_and_no_other():
    "Of 40 people, over six measures: at least 95 % of seeds with the bias, at most 5 % without (`benchmarks/trust.py` has more)."
    assert alarm_share(range(40), excess=BIAS, draws=100) >= .95
    assert alarm_share(range(100), excess=0., draws=300) <= .05


def test_many_measures_and_groups_do_not_cry_wolf():
    "With eight groups of five alike people, uncorrected p would find something in most tables; corrected they do not."
    plain = corrected = 0
    for seed in range(30):
        found = group_test(planted_table(40, 0., seed, groups=tuple("abcdefgh")), "group", draws=100)
        plain, corrected = plain + (found.p < .05).any(), corrected + found.differs.any()
        assert (found.p_adjusted >= found.p - 1e-12).all()
    assert plain > 15 and corrected <= 2


def test_frames_as_if_independent_would_cry_wolf():
    "The same null tables, each frame a person of its own: most would be alarms, which is why people are exchanged."
    tables = [planted_table(20, 0., seed).assign(subject=lambda table: table.subject + "/" + table.frame.astype(str)) for seed in range(5)]
    assert sum(group_test(table, "group", ["accuracy", "au_accuracy"], draws=100).differs.any() for table in tables) >= 3


def test_p_of_few_people_is_counted_by_hand():
    "Two and three people, all frames right or none: of the 10 exchanges only the real one has a gap as large."
    table = pd.DataFrame(dict(clip="c", subject=np.repeat(list("abcde"), 3), frame=np.tile(range(3), 5), group=np.repeat(list("xxyyy"), 3), expression=4))
    table[list(EXPRESSION_COLUMNS)] = np.eye(7)[np.where(table.group == "x", 4, 0)]
    found = group_test(table, "group", ["accuracy"], draws=3000)
    assert found.p.tolist() == pytest.approx([.1, .1], abs=.02) and found.p_adjusted.tolist() == found.p.tolist() and not found.differs.any()
    assert found.difference.tolist() == [1, -1] and found.people.tolist() == [2, 3]


def test_groups_within_people_have_scores_and_no_test():
    table = planted_table(10).assign(half=lambda table: np.where(table.frame < 30, "first", "second"))
    scores = group_scores(table, "half", ["accuracy"], draws=50)
    assert scores.people.tolist() == [10, 10, 10] and scores.frames.tolist()[2] == len(table)
    with pytest.raises(ValueError, match="several groups of 'half'"): group_test(table, "half")


def test_unknown_groups_unknown_people_and_other_bad_input():
    table = planted_table(8, .5)
    for blank in (None, np.nan, ""):
        holes = table.assign(group=table.group.where(table.subject != "person2", blank))
        scores = group_scores(holes, "group", ["accuracy"], draws=20)
        assert scores.unknown.unique().tolist() == [(table.subject == "person2").sum()]
        assert scores.people.tolist() == [3, 4, 7]
        assert group_test(holes, "group", ["accuracy"], draws=20).people.tolist() == [3, 4]
    for change, words in ((table.drop(columns="group"), "no column 'group'"), (table.assign(subject=""), "row 0 has no subject"), (table.assign(group="a"), "two groups"),
                          (table[["clip", "subject", "group", "frame"]], "none of ccc_valence")):
        for make in (group_scores, group_test):
            with pytest.raises(ValueError, match=words): make(change, "group", draws=5)
    with pytest.raises(ValueError, match="measured by kappa.*accuracy"): group_test(table, "group", ["kappa"])
    assert group_scores(table.assign(subject=""), "group", ["accuracy"], subject_column="clip", draws=5).people.tolist() == [4, 4, 8]


def test_a_task_that_only_some_people_have():
    "Group b has no expressions: NaN there, and the other measures are tested all the same."
    table = planted_table(16, BIAS)
    table.loc[table.group == "b", "expression"] = -1
    scores = group_scores(table, "group", draws=30).set_index(["measure", "group"])
    assert np.isnan(scores.value["accuracy", "b"]) and scores.people["accuracy", "b"] == 0 and np.isfinite(scores.low["ccc_valence", "b"])
    found = group_test(table, "group", draws=100).set_index(["measure", "group"])
    assert found.p[["accuracy", "macro_f1"]].isna().all() and found.p[["au_f1", "ccc_valence"]].notna().all() and not found.differs["accuracy", "b"]
    json.dumps(group_card(scores.reset_index(), found.reset_index()), allow_nan=False)


def test_a_table_with_one_task():
    table = planted_table(8)[["clip", "subject", "group", "frame", "valence", "arousal", "valence_pred", "arousal_pred"]]
    assert list(group_frame(table, "group").by_group) == ["ccc_valence", "ccc_arousal", "mse_valence", "mse_arousal"]


def test_errors_that_concordance_hides_are_found():
    "Labels that wander far: CCC of those with five times the error stays high; the exchange by hand is scipy's."
    rng = np.random.default_rng(0)
    person, group = np.repeat(range(12), 100), np.repeat(list("fm")*6, 100)
    truth = np.clip(.7*np.sin(np.arange(1200)/9 + person), -1, 1)
    error = rng.standard_normal(1200)*np.where(group == "f", .05, .25)
    table = pd.DataFrame(dict(clip="c", subject=person.astype(str), group=group, frame=np.arange(1200), valence=truth, arousal=np.nan,
                              valence_pred=truth + error, arousal_pred=0.))
    found = group_test(table, "group", draws=2000).set_index(["measure", "group"])
    assert found.value["ccc_valence", "m"] > .8 and found.value["mse_valence", "m"] == pytest.approx((error[group == "m"]**2).mean())
    own = np.array([(error[person == number]**2).mean() for number in range(12)])
    gap = lambda a, b: a.mean() - b.mean()
    exact = stats.permutation_test((own[::2], own[1::2]), gap, n_resamples=np.inf).pvalue
    assert found.p["mse_valence", "m"] == pytest.approx(exact, abs=.003) and found.differs["mse_valence", "m"]
    worse, = [sentence for sentence in group_card(group_scores(table, "group", draws=20), found.reset_index())["sentences"] if sentence.startswith("mse")]
    assert worse.startswith("mse_valence of group m is 0.057, of all others 0.003")


def test_card_and_plot():
    table = planted_table(24, 1.2)
    scores, tested = group_scores(table, "group", draws=50), group_test(table, "group")
    card = group_card(scores, tested)
    assert json.loads(json.dumps(card, allow_nan=False)) == card and len(card["table"]) == 3*len(GROUP_MEASURES)
    found = [sentence for sentence in card["sentences"] if "of all others" in sentence]
    assert found and all(" group b is" in sentence for sentence in found)
    everybody = [row for row in card["table"] if row["group"] == EVERYBODY]
    assert {row["measure"]: row["value"] for row in everybody} == pytest.approx(measured(table), abs=1e-4) and everybody[0]["p_adjusted"] is None
    alike = planted_table(24)
    sentences = group_card(group_scores(alike, "group", draws=20), group_test(alike, "group"))["sentences"]
    assert sentences == [f"None of {', '.join(GROUP_MEASURES)} differs by group more than people do; that is no proof that none does."]
    axes = plot_groups(scores)
    assert len(axes) == 8 and axes[0].get_xlabel() == "ccc_valence"
    mine = pyplot.figure().subplots(1, 1)
    plot_groups(group_scores(table, "group", ["accuracy"], draws=20), [mine])
    assert [label.get_text() for label in mine.get_yticklabels()] == ["a (12)", "b (12)"]
    with pytest.raises(ValueError): plot_groups(scores, [mine])
    pyplot.close("all")


def test_without_fairlearn_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "fairlearn.metrics", None)
    with pytest.raises(ValueError, match="pip install fairlearn"): group_frame(planted_table(4), "group")
    assert len(group_test(planted_table(4), "group", draws=10)) == 16


@pytest.fixture(scope="module")
def faces_of_two_groups(tmp_path_factory):
    "Sixteen drawn photographs of eight people as a table of one's own, with a group, and a network of one's own."
    from PIL import Image
    from affect_nb.files.home import shipped_weights
    from affect_nb.synth.faces import Identity, expression_aus, render_face
    folder = tmp_path_factory.mktemp("two_groups")
    rows = []
    for number in range(16):
        person, happy = number//2, number % 2
        face = render_face(expression_aus("Happiness" if happy else "Sadness"), Identity.draw(seed=person), size=160)
        Image.fromarray(face.image).save(folder/f"{number}.png")
        rows.append(dict(file=f"{number}.png", subject=f"S{person}", expression=["sadness", "happiness"][happy], valence=happy - .5, arousal=.1*person - .4, sex="fm"[person % 2]))
    pd.DataFrame(rows).to_csv(folder/"labels.csv", index=False)
    for path in shipped_weights().glob("facebehaviornet-small.*"): (folder/f"mine{path.suffix}").write_bytes(path.read_bytes())
    return folder


def test_an_evaluation_by_group_from_the_files_on(faces_of_two_groups, tmp_path):
    "Scores of the whole part, of each group, in the files and, where asked for, in the card."
    from affect_nb.analysis.columns import expression_ids
    from affect_nb.apps.by_group import evaluate_database
    from affect_nb.core.metrics import accuracy
    from affect_nb.models.weights import read_card
    here = faces_of_two_groups
    done = evaluate_database("own", here/"labels.csv", tmp_path, here/"mine.json", groups=["sex"], draws=20, into_card=True)
    table = pd.read_csv(tmp_path/"predictions.csv")
    assert len(table) == 16 and set(table.sex) == {"f", "m"}
    found = done.scores.set_index(["measure", "dimension"]).value
    assert found["ccc", "valence"] == pytest.approx(ccc(table.valence_pred.to_numpy(), table.valence.to_numpy()), abs=1e-5)
    assert table.expression.tolist() == ["Sadness", "Happiness"]*8 # names in a file, ids in memory
    mine = accuracy(table[list(EXPRESSION_COLUMNS)].to_numpy(), expression_ids(table.expression))
    assert found["accuracy", "expression"] == pytest.approx(mine, abs=1e-6)
    stored = json.loads((tmp_path/"groups.json").read_text())
    noted, = read_card(here/"mine").notes["evaluated"]
    assert noted["split"] == stored["split"] == done.split and noted["groups"] == stored["groups"]
    assert noted["scores"]["ccc valence"][0] == pytest.approx(found["ccc", "valence"], abs=1e-4)
    assert read_card(here/"mine").notes["calibration"] # what stood there stays


def test_an_installed_card_is_refused_before_the_hours(faces_of_two_groups, tmp_path):
    "Nothing is read or written."
    from affect_nb.apps.by_group import evaluate_database
    from affect_nb.models.shipped import check_weights
    with pytest.raises(ValueError, match="copy its .json"):
        evaluate_database("own", faces_of_two_groups/"labels.csv", tmp_path/"out", "facebehaviornet-small", into_card=True)
    assert not (tmp_path/"out").exists() and set(check_weights().values()) == {"ok"}


def test_tables_that_predict_wrote_have_the_scores_of_the_network(faces_of_two_groups, tmp_path):
    "Evaluated from the network and from its tables: the same, photographs by their files, and whoever has no row is lost."
    from affect_nb.apps.by_group import evaluate_database
    from affect_nb.apps.predictor import Predictor
    here = faces_of_two_groups
    network = Predictor.load(here/"mine.json")
    wanted = evaluate_database("own", here/"labels.csv", tmp_path/"network", here/"mine.json", as_predict=True, draws=20)
    table = network.predict(here)
    table.to_csv(tmp_path/"given.csv", index=False)
    found = evaluate_database("own", here/"labels.csv", tmp_path/"tables", predictions=tmp_path/"given.csv", draws=20)
    pd.testing.assert_frame_equal(found.scores, wanted.scores, atol=1e-5)
    assert found.split == wanted.split and found.lost == {"": {"all": 0.}}
    table.assign(file=table.file.str.rpartition("/")[2]).iloc[4:].to_csv(tmp_path/"fewer.csv", index=False)
    fewer = evaluate_database("own", here/"labels.csv", tmp_path/"fewer", predictions=tmp_path/"fewer.csv", draws=20)
    assert fewer.lost == {"": {"all": .25}} and len(fewer.skipped) == 2
    table.assign(file="other.png").to_csv(tmp_path/"none.csv")
    with pytest.raises(ValueError, match="belong to no clip of this part"):
        evaluate_database("own", here/"labels.csv", tmp_path/"none", predictions=tmp_path/"none.csv")


def test_groups_are_looked_for_before_the_hours(faces_of_two_groups, tmp_path):
    "Nothing is found or predicted where no group is known; one group alone is a sentence beside the scores."
    from affect_nb.apps.by_group import evaluate_database
    here = faces_of_two_groups
    with pytest.raises(ValueError, match="not the column 'age'"):
        evaluate_database("own", here/"labels.csv", tmp_path/"out", here/"mine.json", groups=["age"])
    assert not (tmp_path/"out").exists()
    labels = pd.read_csv(here/"labels.csv")
    labels.assign(Sex="f").drop(columns="sex").to_csv(here/"women.csv", index=False, sep=";")
    done = evaluate_database("own", here/"women.csv", tmp_path/"women", here/"mine.json", groups=["sex"], draws=20, separator=";")
    assert done.groups["sex"]["sentences"] == ["sex: everybody is f in this part, so there is nothing to compare."]
    assert (tmp_path/"women"/"scores.csv").is_file() and "everybody is f" in str(done)
