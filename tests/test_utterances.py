"""Utterances from frames: against loops over frames, sequences and videos, and tables with flaws."""
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from affect_nb.analysis.evaluate import as_row
from affect_nb.analysis.utterances import predicted_va, utterance_predictions, utterance_scores

NAMES = ("valence", "arousal")


def frames(seed=0, videos=5, faces=1):
    "Utterances of 1 to 4 a video, of 30 to 250 frames, a fifth of them without a prediction."
    rng, rows = np.random.default_rng(seed), []
    for video in range(videos):
        for number in range(1, 2 + video % 4 if video else 2):
            label, n = (rng.uniform(-1, 1), rng.uniform(0, 1)), int(rng.integers(30, 250))
            for face in range(faces):
                table = pd.DataFrame(dict(clip=f"v{video}_utterance_{3*number}", video=f"v{video}", frame=np.arange(n), face_id=face, valence=label[0], arousal=label[1]))
                for name in NAMES: table[f"{name}_pred"] = .7*table[name] + rng.normal(0, .3, n)
                table.loc[rng.random(n) < .2, ["valence_pred", "arousal_pred"]] = np.nan
                rows.append(table)
    return pd.concat(rows, ignore_index=True)


def by_loop(table, length, middle):
    "clip -> valence_pred, arousal_pred, n_sequences, n_frames: one row at a time."
    found = {}
    for row in table.itertuples():
        sequences = found.setdefault(row.clip, {})
        if not np.isnan(row.valence_pred): sequences.setdefault((row.face_id, row.frame//length), []).append((row.valence_pred, row.arousal_pred))
    rows = {}
    for clip, sequences in found.items():
        each = [[middle(column) for column in zip(*values)] for values in sequences.values()]
        rows[clip] = (*(sum(column)/len(each) for column in zip(*each)), len(each), sum(map(len, sequences.values())))
    return rows


@pytest.mark.parametrize("pool, middle", [("median", statistics.median), ("mean", statistics.fmean)])
@pytest.mark.parametrize("length, faces", [(80, 1), (17, 1), (80, 2)])
def test_utterances_are_those_of_a_slow_loop(pool, middle, length, faces):
    table = frames(faces=faces)
    ours = utterance_predictions(table, length, pool).set_index("clip")
    for clip, row in by_loop(table, length, middle).items():
        assert ours.loc[clip, ["valence_pred", "arousal_pred", "n_sequences", "n_frames"]].tolist() == pytest.approx(row)
        assert ours.at[clip, "valence"] == table[table["clip"] == clip].valence.iloc[0]


def test_a_lost_frame_moves_no_other_into_another_sequence():
    table = pd.DataFrame(dict(clip="a", frame=np.arange(8), valence=0., arousal=0., valence_pred=[0, 0, 0, 4, 9, 9, 9, 9.], arousal_pred=0.))
    assert utterance_predictions(table, 4).valence_pred[0] == 4.5
    assert utterance_predictions(table.drop(index=[0, 1]), 4).valence_pred[0] == (2 + 9)/2
    assert utterance_predictions(table, None).valence_pred[0] == 6.5 and utterance_predictions(table, None).n_sequences[0] == 1


def test_the_order_of_rows_and_their_index_do_not_matter():
    table = frames()
    pd.testing.assert_frame_equal(utterance_predictions(table), utterance_predictions(table.sample(frac=1, random_state=0)))
    pd.testing.assert_frame_equal(utterance_predictions(table), utterance_predictions(table.set_index(np.zeros(len(table), int))))
    assert utterance_predictions(table).groupby("video", sort=False)["clip"].apply(list)["v3"] == [f"v3_utterance_{n}" for n in (3, 6, 9, 12)]


def test_an_utterance_without_a_prediction_stays():
    table = frames()
    table.loc[table["clip"] == "v1_utterance_3", ["valence_pred", "arousal_pred"]] = np.nan
    row = utterance_predictions(table).set_index("clip").loc["v1_utterance_3"]
    assert np.isnan(row.valence_pred) and np.isnan(row.arousal_pred) and (row.n_sequences, row.n_frames) == (0, 0) and not np.isnan(row.valence)
    assert (utterance_scores(utterance_predictions(table), draws=5).query("reduce == 'pooled'").n_lost == 1).all()


def test_flaws_are_named():
    table = frames()
    wrong = table.assign(arousal=table.arousal + (table["clip"].eq("v2_utterance_3") & table["frame"].eq(7)))
    with pytest.raises(ValueError, match="clip 'v2_utterance_3': arousal goes from"): utterance_predictions(wrong)
    with pytest.raises(ValueError, match="occurs twice"): utterance_predictions(pd.concat([table, table.head(1)]))
    with pytest.raises(ValueError, match="no column .*frame"): utterance_predictions(table.drop(columns="frame"))
    with pytest.raises(ValueError, match="length is 0"): utterance_predictions(table, 0)
    with pytest.raises(ValueError, match="'v0_utterance_3' must have one video"): utterance_predictions(table.assign(video=table["frame"]))
    assert "video" not in utterance_predictions(table.drop(columns="video"))
    assert utterance_predictions(table.drop(columns="video"), video=table.groupby("clip").video.first()).video.tolist() == utterance_predictions(table).video.tolist()


# the two scripts

def concordance_by_hand(pred, targ):
    "The formula of the scripts."
    rho = pearsonr(pred, targ)[0]
    return 2*rho*np.std(pred)*np.std(targ)/(np.var(pred) + np.var(targ) + (np.mean(pred) - np.mean(targ))**2)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_two_scripts(name):
    table = utterance_predictions(frames(videos=8))
    scores = utterance_scores(table, draws=20).query("measure == 'ccc' and dimension == @name").set_index("reduce")
    assert scores.at["pooled", "value"] == pytest.approx(concordance_by_hand(table[f"{name}_pred"], table[name]))
    several = [rows for _, rows in table.groupby("video") if len(rows) > 1]
    assert len(several) < table.video.nunique() # some videos have one utterance
    assert scores.at["clips", "value"] == pytest.approx(np.mean([concordance_by_hand(rows[f"{name}_pred"], rows[name]) for rows in several]))
    assert scores.at["clips", "n_videos"] == len(several) and scores.at["pooled", "n_utterances"] == len(table)
    assert (scores.n_alone == table.video.nunique() - len(several)).all()


def test_a_video_with_one_utterance_would_be_0_by_0_in_the_script():
    with np.errstate(invalid="ignore"): assert np.isnan(np.float64(2*np.cov([.3], [.2], ddof=0)[0, 1])*0/(np.var([.3]) + np.var([.2])))
    table = utterance_predictions(frames(videos=8))
    alone = table.groupby("video")["clip"].transform("size") == 1
    def mean(rows): return utterance_scores(rows, draws=5).query("reduce == 'clips'").value.tolist()
    assert alone.any() and mean(table) == mean(table[~alone])
    assert np.isnan(mean(table[alone])).all()


def test_a_video_whose_others_are_lost_is_alone_too():
    table = utterance_predictions(frames(videos=8))
    others = table.index[table.video == "v3"][1:]
    table.loc[others, ["valence_pred", "arousal_pred"]] = np.nan
    before, after = (utterance_scores(table, lost=lost, draws=5) for lost in ("neutral", "left out"))
    assert after.n_alone[0] == before.n_alone[0] + 1 and after.n_lost[0] == len(others)


def test_scores_fit_a_row_of_table_3():
    scores = utterance_scores(utterance_predictions(frames(videos=8)), draws=5)
    assert as_row(scores, "ours").loc["ours", "ccc_valence"] == scores.value[0] and as_row(scores, "ours", "clips").shape == (1, 6)


def test_the_answer_has_predictions_and_no_labels():
    table = utterance_predictions(frames())
    answer = predicted_va(table)
    assert list(answer) == ["clip", "valence", "arousal"] and answer.valence.equals(table.valence_pred.rename("valence")) and answer.arousal.equals(table.arousal_pred.rename("arousal"))
