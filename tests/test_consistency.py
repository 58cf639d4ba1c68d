"""Do AUs agree with expressions, and Table V from data: against slow loops, and on what a prediction table may look like."""
import io

import matplotlib.pyplot as pyplot
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy, rankdata

from affect_nb.analysis.consistency import consistency, consistency_table, plot_consistency, plot_consistency_over_time, predicted_and_matched
from affect_nb.analysis.inferred import annotated_relatedness, compare_relatedness, plot_relatedness, shares_table, ties_table
from affect_nb.analysis.tasks import EXPRESSION_COLUMNS
from affect_nb.core.coupling import au_divergence, distribution_matching_loss
from affect_nb.core.labels import AUS8, AUS17, AUS17_TABLE5, EXPRESSIONS, AffectOutput
from affect_nb.core.relatedness import AFFWILD2, COGNITIVE, COMPOUND, read_relatedness, relatedness_of, shuffled, write_relatedness

TABLES = {"cognitive": COGNITIVE, "aff-wild2": AFFWILD2, "own": relatedness_of({"Happiness": {12: 1, 6: .3}, "Fear": {1: .7}})}


def predictions(n=60, aus=AUS17, seed=0, lost=0):
    "A table as `predict_clips` makes it, of two clips, and the output that it came from."
    rng = np.random.default_rng(seed)
    output = AffectOutput(expression=torch.tensor(2*rng.standard_normal((n, 7))), aus=torch.tensor(2*rng.standard_normal((n, len(aus)))), au_names=aus)
    table = pd.DataFrame(dict(clip=np.where(np.arange(n) < n//2, "a", "b"), frame=np.arange(n) % (n//2), face_id=0, expression=rng.integers(-1, 7, n)))
    table[list(EXPRESSION_COLUMNS)] = output.expression.softmax(-1).numpy()
    table[[f"prob_au{au}" for au in aus]] = output.aus.sigmoid().numpy()
    table.loc[rng.permutation(n)[:lost], [name for name in table if name.startswith("prob_")]] = np.nan
    return table, output


def slow_q(row, au, relatedness, weighted):
    "q of one AU of one frame, emotion by emotion."
    found = 0.
    for name, column in zip(EXPRESSIONS, EXPRESSION_COLUMNS):
        tie = relatedness.weights_of(name).get(au, 0.) if name in relatedness.emotions else 0.
        found += row[column]*(tie if weighted else float(tie > 0))
    return found


def slow_divergence(p, q, form):
    q = min(max(q, 1e-4), 1 - 1e-4)
    if form == "paper": return -p*np.log(q)
    crossed = -p*np.log(q) - (1 - p)*np.log(1 - q)
    return crossed if form == "bce" else entropy([p, 1 - p], [q, 1 - q])


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("form, weighted", [("paper", False), ("bce", True), ("kl", False), ("kl", True)])
def test_consistency_is_the_slow_loop(name, form, weighted):
    relatedness, (table, _) = TABLES[name], predictions(30)
    said = consistency(table, relatedness, form, weighted)
    tied = [au for au in AUS17 if au in relatedness.aus and relatedness.restrict((au,)).weights.any()]
    assert list(said) == [f"AU{au}" for au in tied]
    for place, row in table.iterrows():
        for au in tied:
            assert said.at[place, f"AU{au}"] == pytest.approx(slow_divergence(row[f"prob_au{au}"], slow_q(row, au, relatedness, weighted), form), abs=1e-7)


@pytest.mark.parametrize("aus", [AUS8, AUS17, AUS17_TABLE5, (12,), (26, 25, 4)], ids=str)
def test_an_output_and_its_table_say_the_same(aus):
    table, output = predictions(aus=aus)
    for relatedness in TABLES.values():
        if not {*aus} & {au for au, tied in zip(relatedness.aus, relatedness.weights.any(0)) if tied}: continue
        pd.testing.assert_frame_equal(consistency(table, relatedness), consistency(output, relatedness), atol=1e-6, check_exact=False)
        pd.testing.assert_frame_equal(consistency_table(table, relatedness), consistency_table(output, relatedness), atol=1e-6, check_exact=False)
        assert consistency_table(output, relatedness, "paper").at["all", "sum"] == pytest.approx(distribution_matching_loss(output, relatedness, form="paper", over="sum").item(), abs=1e-9)


def test_float32_and_leading_axes_and_gradients_do_not_matter():
    _, output = predictions(24)
    shaped = AffectOutput(expression=output.expression.float().reshape(2, 3, 4, 7).requires_grad_(), aus=output.aus.float().reshape(2, 3, 4, 17).requires_grad_())
    pd.testing.assert_frame_equal(consistency(shaped), consistency(output), atol=1e-4, check_exact=False)


@pytest.mark.parametrize("lost", [0, 1, 59, 60])
def test_rows_without_a_face_are_left_out_and_the_others_keep_their_place(lost):
    table, _ = predictions(lost=lost)
    table.index = table.index[::-1]*3 # any index
    seen = table[table["prob_au1"].notna()]
    said = consistency(table)
    assert said.index.tolist() == seen.index.tolist() and said.notna().all(None)
    if lost < 60: pd.testing.assert_frame_equal(said, consistency(seen))
    whole = consistency_table(table)
    assert whole.at["all", "n"] == 60 - lost and whole.loc[list(EXPRESSIONS), "n"].sum() == 60 - lost
    for part in predicted_and_matched(table): assert part.index.tolist() == seen.index.tolist() and part.min(axis=None) >= 0 if lost < 60 else part.empty


def test_table_of_means_is_the_slow_loop():
    table, _ = predictions(200, lost=15)
    said, mean = consistency(table), consistency_table(table)
    for name in EXPRESSIONS:
        rows = [place for place in said.index if max(EXPRESSIONS, key=lambda other: table.at[place, f"prob_{other.lower()}"]) == name]
        assert mean.at[name, "n"] == len(rows)
        for au in said: assert mean.at[name, au] == pytest.approx(np.mean([said.at[place, au] for place in rows]))
        assert mean.at[name, "sum"] == pytest.approx(sum(mean.at[name, au] for au in said))


def test_a_written_table_with_probabilities_of_0_and_1_stays_finite():
    table, _ = predictions()
    table.loc[0, EXPRESSION_COLUMNS] = [0, 0, 0, 0, 1, 0, 0]
    table.loc[0, ["prob_au12", "prob_au25", "prob_au6", "prob_au4"]] = [1, 1, 1, 0]
    again = pd.read_csv(io.StringIO(table.to_csv(index=False, float_format="%.4f")))
    said = consistency(again)
    assert np.isfinite(said.to_numpy()).all()
    assert said.loc[0, ["AU12", "AU25", "AU6", "AU4"]].max() < 2e-4
    pd.testing.assert_frame_equal(said.iloc[1:], consistency(table).iloc[1:], atol=.1, check_exact=False) # q of 0.0007 is written as 0.0007 or 0.0008


def test_kl_is_a_divergence_and_least_where_they_agree():
    _, output = predictions(300)
    assert (consistency(output).to_numpy() >= -1e-9).all()
    agreeing = AffectOutput(expression=output.expression, aus=torch.tensor(predicted_and_matched(output)[1].reindex(columns=[f"AU{au}" for au in AUS17], fill_value=0.).to_numpy()).clamp(1e-4, 1 - 1e-4).logit())
    assert consistency(agreeing).to_numpy().max() < 1e-9
    assert consistency_table(agreeing, shuffled(COGNITIVE)).at["all", "sum"] > 1
    raw = au_divergence(output, COGNITIVE, form="kl").numpy()
    assert np.allclose(raw[:, [AUS17.index(au) for au in AUS17 if au != 14]], consistency(output).to_numpy(), atol=1e-12)


def test_weights_of_a_file_and_a_name_are_taken(tmp_path):
    table, _ = predictions()
    write_relatedness(AFFWILD2, tmp_path/"own.json")
    for weighted in (False, True): pd.testing.assert_frame_equal(consistency(table, str(tmp_path/"own.json"), weighted=weighted), consistency(table, "aff-wild2", weighted=weighted))


@pytest.mark.parametrize("spoil, words", [(lambda table: table.drop(columns="prob_sadness"), "lack prob_sadness"), (lambda table: table[["clip", *EXPRESSION_COLUMNS]], "prob_au<number>"),
                                          (lambda table: table.rename(columns=lambda name: name.replace("prob_au", "au")), "prob_au<number>")])
def test_tables_that_lack_a_task_are_refused(spoil, words):
    with pytest.raises(ValueError, match=words): consistency(spoil(predictions()[0]))


def test_compound_tables_are_refused_by_name():
    with pytest.raises(ValueError, match="'happy'"): consistency(predictions()[0], COMPOUND)


def test_plots_take_axes_and_show_every_number():
    tables = {name: consistency_table(predictions(seed=place)[0]) for place, name in enumerate(("before", "after", "later"))}
    _, axes = pyplot.subplots(1, 3)
    assert plot_consistency(tables, axes) is not None
    for ax, table in zip(axes, tables.values()): np.testing.assert_allclose(ax.images[0].get_array().filled(np.nan), table.drop(columns=["sum", "n"]).to_numpy(float))
    film = predictions()[0].query("clip == 'a'")
    _, axes = pyplot.subplots(4, 1)
    drawn = plot_consistency_over_time(film, most=3, axes=axes)
    np.testing.assert_allclose(drawn[0].lines[0].get_ydata(), consistency(film).sum(axis=1))
    p, q = predicted_and_matched(film)
    for ax in drawn[1:]: np.testing.assert_allclose([line.get_ydata() for line in ax.lines], [p[ax.get_ylabel()], q[ax.get_ylabel()]])
    with pytest.raises(ValueError, match="of 2 clips"): plot_consistency_over_time(predictions()[0])
    with pytest.raises(ValueError): plot_consistency(tables, axes)
    pyplot.close("all")


def test_a_film_without_a_face_is_an_empty_plot_not_an_error():
    film = predictions(lost=60)[0].query("clip == 'a'")
    assert np.isnan(plot_consistency_over_time(film)[0].lines[0].get_ydata()).all()


def slow_count(table, aus, least, threshold):
    "(emotion, AU) -> share, frame by frame."
    found = {}
    for place, name in enumerate(EXPRESSIONS):
        for au in aus:
            probabilities = [prob for label, prob in zip(table["expression"], table[f"prob_au{au}"]) if label == place and prob == prob]
            share = sum(prob >= threshold for prob in probabilities)/len(probabilities) if probabilities else 0
            if name != "Neutral" and share >= least and share > 0: found[name, au] = share
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("least, sure, threshold", [(.1, None, .5), (.4, .6, .3), (0, .5, .9)])
def test_counting_is_the_slow_loop(seed, least, sure, threshold):
    table, _ = predictions(120, aus=AUS8, seed=seed, lost=20)
    counted, slow = annotated_relatedness(table, least, sure, threshold), slow_count(table, AUS8, least, threshold)
    assert {(name, au): weight for name in counted.emotions for au, weight in counted.weights_of(name).items()} == pytest.approx(slow)
    sure_ones = {(counted.emotions[row], AUS8[column]) for row, column in zip(*counted.prototypical.nonzero())}
    assert sure_ones == {pair for pair, share in slow.items() if sure is not None and share >= sure}


def test_counting_does_not_mind_order_rows_without_labels_or_types():
    table, _ = predictions(120, lost=10)
    counted = annotated_relatedness(table).weights
    assert (annotated_relatedness(table.sample(frac=1, random_state=0)).weights == counted).all()
    assert (annotated_relatedness(table[table["expression"] >= 0]).weights == counted).all()
    assert (annotated_relatedness(table.assign(expression=table["expression"].where(table["expression"] >= 0).astype(float))).weights == counted).all()
    assert (annotated_relatedness(table.assign(expression=table["expression"].astype("Int64"))).weights == counted).all()
    some = annotated_relatedness(table, au_names=(12, 1))
    assert some.aus == (12, 1) and (some.weights == counted[:, [AUS17.index(12), AUS17.index(1)]]).all()


def test_an_expression_of_which_nothing_is_known_has_no_row_and_is_not_compared():
    table = predictions(200)[0]
    table.loc[table["expression"] == 3, [name for name in table if name.startswith("prob_au")]] = np.nan # fearful people without a face
    counted = annotated_relatedness(table[table["expression"] != 1])
    assert counted.emotions == ("Neutral", "Disgust", "Happiness", "Sadness", "Surprise")
    full = annotated_relatedness(table)
    for emotion in counted.emotions: assert counted.weights_of(emotion) == full.weights_of(emotion)
    assert compare_relatedness(dict(counted=counted, paper=AFFWILD2))["cells"].item() == 4*17
    assert ties_table(dict(counted=counted, paper=AFFWILD2)).loc[["Fear", "Anger"], "counted"].tolist() == ["", ""]


def test_counting_labels_is_counting_a_faultless_detector():
    table = predictions(200, aus=AUS8, lost=30)[0]
    labelled = table.rename(columns=lambda name: name.replace("prob_au", "au")).copy()
    labels = [f"au{au}" for au in AUS8]
    labelled[labels] = (labelled[labels] >= .5).astype(float).where(labelled[labels].notna())
    said, told = annotated_relatedness(table), annotated_relatedness(labelled, by="labels")
    assert said.aus == told.aus and said.emotions == told.emotions and (said.weights == told.weights).all()
    both = table.join(labelled[labels].iloc[:100])
    assert (annotated_relatedness(both).weights == said.weights).all()
    assert (annotated_relatedness(both, by="labels").weights == annotated_relatedness(labelled.iloc[:100], by="labels").weights).all()


@pytest.mark.parametrize("wrong", [7, 255, "joy", None])
def test_labels_that_are_no_class_ids_are_refused(wrong):
    with pytest.raises(ValueError, match="class ids 0 to 6"): annotated_relatedness(predictions()[0].assign(expression=wrong))


@pytest.mark.parametrize("seed", range(3))
def test_comparison_is_the_slow_loop(seed):
    tables = dict(first=shuffled(COGNITIVE, seed), second=annotated_relatedness(predictions(120, seed=seed)[0]), third=AFFWILD2)
    compared = compare_relatedness(tables)
    assert compared.index.tolist() == [("first", "second"), ("first", "third"), ("second", "third")]
    for one, other in compared.index:
        cells = [[tables[name].weights_of(emotion).get(au, 0.) for name in (one, other)] for emotion in EXPRESSIONS[1:] for au in AUS17_TABLE5 + (14,) if all(au in tables[name].aus for name in (one, other))]
        mine, theirs = np.array(cells).T
        row = compared.loc[(one, other)]
        assert row["cells"] == len(cells)
        assert row["mean_difference"] == pytest.approx(np.mean([abs(left - right) for left, right in cells]))
        assert row["rank_correlation"] == pytest.approx(np.corrcoef(rankdata(mine), rankdata(theirs))[0, 1])
        assert row["common_ties"] == pytest.approx(sum(left > 0 and right > 0 for left, right in cells)/sum(left > 0 or right > 0 for left, right in cells))


def test_comparison_does_not_depend_on_the_order_of_rows_and_columns():
    again = relatedness_of({emotion: COGNITIVE.weights_of(emotion) for emotion in COGNITIVE.emotions[::-1]}, COGNITIVE.aus[::-1])
    row = compare_relatedness(dict(one=COGNITIVE, other=again)).iloc[0]
    assert (row["mean_difference"], row["common_ties"], row["only_first"], row["only_second"]) == (0, 1, "-", "-") and row["rank_correlation"] == pytest.approx(1)
    swapped = compare_relatedness(dict(one=AFFWILD2, other=COGNITIVE)).iloc[0]
    straight = compare_relatedness(dict(one=COGNITIVE, other=AFFWILD2)).iloc[0]
    assert swapped["rank_correlation"] == pytest.approx(straight["rank_correlation"]) and (swapped["only_first"], swapped["only_second"]) == (straight["only_second"], straight["only_first"])


def test_printed_ties_are_all_ties():
    for name, table in {"cognitive": COGNITIVE, "aff-wild2": AFFWILD2, "compound": COMPOUND}.items():
        printed, shares = ties_table({name: table}), shares_table(table)
        for emotion, text in printed[name].items():
            sure, _, partly = text.partition(" | ") if "|" in text else (text, "", "") if "(" not in text else ("", "", text)
            read = {int(au): 1. for au in sure.split(", ") if au} | {int(part.split()[0]): float(part.split("(")[1][:-1]) for part in partly.split(", ") if part}
            assert read == {au: round(weight, 2) for au, weight in table.weights_of(emotion).items()}
            assert read == {int(au[2:]): round(weight, 2) for au, weight in shares.loc[emotion].items() if weight}


def test_a_counted_table_goes_through_its_file_into_the_losses(tmp_path):
    table, output = predictions(120)
    counted = annotated_relatedness(table, sure=.5)
    write_relatedness(counted, tmp_path/"relatedness.json")
    again = read_relatedness(tmp_path/"relatedness.json")
    for weighted in (False, True):
        assert distribution_matching_loss(output, again, weighted=weighted).item() == pytest.approx(distribution_matching_loss(output, counted, weighted=weighted).item())


def test_maps_of_relatedness_show_what_is_unknown():
    own = relatedness_of({"Happiness": {12: 1, 43: .5}})
    axes = plot_relatedness({"cognitive": COGNITIVE, "own": own})
    drawn = [ax.images[0].get_array().filled(np.nan) for ax in axes]
    aus = sorted({*COGNITIVE.aus, 43})
    assert [each.shape for each in drawn] == [(6, len(aus))]*2
    assert np.isnan(drawn[0][:, aus.index(43)]).all() and np.isnan(drawn[1][1:]).all() and drawn[1][0, aus.index(43)] == .5
    assert [len(ax.patches) for ax in axes] == [COGNITIVE.prototypical.sum(), 1]
    pyplot.close("all")
