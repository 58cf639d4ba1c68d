"""What experiments leave behind: records, the words and tables they share, the pictures of a table, and the report."""
import re

import numpy as np
import pandas as pd
import pytest

from affect_nb.analysis.tables import (beside, cell_metrics, cells_over_seeds, data_note, gather_metrics, labelled_rows,
                                       left_out_notes, load_records, named_metrics, paper_caption, plot_cells, plot_rows,
                                       record, save_figure, seeds_note, spread_caption, trained_in, training_note)
from affect_nb.apps.report import write_report
from affect_nb.files.atomic import Skipped

CELLS = [("disfa", "f1", "aus"), ("raf-db", "mean_diagonal", "expression")]


def score(database, measure, dimension, method, value, seed):
    "One row of `task_scores`, with its interval."
    return dict(database=database, measure=measure, dimension=dimension, method=method, value=value, seed=seed, low=value - .1,
                high=value + .1, n_frames=90, n_clips=3, n_lost=1)


@pytest.fixture
def spread():
    "Two networks, two seeds; AU1 is no cell of the table."
    rows = [[score(*cell, method, value + seed/10, seed) for cell in CELLS for method, value in (("MT-VGG", .4), ("MT-VGG-GRU", .6))]
            for seed in (0, 1)]
    rows[0].append(score("disfa", "f1", "au1", "MT-VGG", .9, 0))
    return cells_over_seeds([pd.DataFrame(table) for table in rows], CELLS)


def test_cells_are_means_over_seeds_in_the_order_of_the_table(spread):
    assert list(dict.fromkeys(zip(spread.database, spread.measure, spread.dimension))) == CELLS
    first = spread.iloc[0]
    assert first["value"] == pytest.approx(.45) and first["spread"] == pytest.approx(np.std([.4, .5], ddof=1))
    assert (first["low"], first["high"]) == pytest.approx((.35, .55)) and first["n_seeds"] == 2 and first["n_lost"] == 1
    assert set(cell_metrics(spread)) == {f"{database}: {method}: {measure} {dimension}" for database, measure, dimension in CELLS
                                         for method in ("MT-VGG", "MT-VGG-GRU")}


def test_rows_are_named_by_their_columns_and_empty_columns_go():
    frame = pd.DataFrame({"method": ["a", "b"], "seed": [0, 1], "value": [.25, np.nan], "spread": np.nan})
    named = labelled_rows(frame, "method", "seed")
    assert list(named.index) == ["a: 0", "b: 1"] and list(named) == ["value"]
    assert list(labelled_rows(frame, "method", keep=["value", "seed"])) == ["value", "seed"]
    assert named_metrics(frame.head(1), "method", "seed") == {"a: 0": .25}


def test_notes_and_captions_in_words(tmp_path):
    assert paper_caption("Table II", True).startswith("Table II: ") and paper_caption("Table II", False) == "Table II"
    assert "1 seed," in spread_caption(1) and "3 seeds," in spread_caption(3, "test videos") and "test videos" in spread_caption(3, "test videos")
    assert training_note(1., "6 epochs", norm="batch", seeds=2, seed=4, trained="float32").endswith("6 epochs, 2 seeds from 4, trained in float32.")
    assert "normalisation" not in training_note(1., "6 epochs")
    assert "standard deviation over 3" in seeds_note(3) and seeds_note(1, "see there").endswith("; see there.")
    assert data_note(False, "Ours.") == "Ours." and "disfa, gft" in data_note(["disfa", "gft"]) and "Drawn faces" in data_note(True)
    assert left_out_notes([Skipped("a", "empty"), Skipped("b", "dark"), Skipped("a", "empty")]) == ["Left out: a: empty", "Left out: b: dark"]


def test_the_precision_of_a_training_is_read_from_its_card(tmp_path):
    from affect_nb.models import create_model, save_checkpoint
    for name, notes in (("a", dict(precision="float32, NCHW")), ("b", {}), ("c", dict(precision="float32, NCHW"))):
        save_checkpoint(tmp_path/name, create_model("vgg16", 1/16), dict(data="drawn", licence="free", notes=notes))
    assert trained_in([tmp_path/"a", tmp_path/"c"]) == "float32, NCHW"
    assert trained_in([tmp_path/"a", tmp_path/"b"]) == "float32, NCHW and a precision not recorded"


def test_pictures_of_a_table(spread, tmp_path):
    published = pd.DataFrame([[.3, .4, .5]], ["MT-VGG"], pd.MultiIndex.from_tuples([*CELLS, ("gft", "f1", "aus")]))
    figure = plot_cells(spread, published, ["MT-VGG", "MT-VGG-GRU"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [" ".join(cell) for cell in CELLS]
    compared = pd.DataFrame([dict(method="VGG-16", score="ccc_mean", value=.5, low=np.nan, high=np.nan)]) # of one clip
    each = pd.DataFrame({"ccc_mean": [.5]}, pd.MultiIndex.from_tuples([("VGG-16", 0)], names=["method", "seed"]))
    save_figure(plot_rows(compared, each, pd.Series({"VGG-16": .4}), "Aff-Wild"), tmp_path/"figures"/"rows.png")
    assert [path.name for path in (tmp_path/"figures").iterdir()] == ["rows.png"]


def test_the_report_holds_every_record_once_and_fits_a_phone(tmp_path):
    table = beside(pd.DataFrame({"ccc": [.5]}, ["a"]), pd.DataFrame({"ccc": [.4]}, ["a"]), data="embedded world")
    record(tmp_path, "20_first", "First", data="embedded world", metrics={"an unprinted measure": .123456, "split_hash": "abc"},
           tables={"Table II": table}, notes=["A note.", *left_out_notes([Skipped("a", "<empty>")])])
    record(tmp_path, "30_second", "Second", data="yours", metrics={}, tables={"Words": pd.DataFrame({"text": ["a sentence of many words " * 4]})})
    page = write_report(tmp_path).read_text()
    assert 'name="viewport"' in page and "an unprinted measure" not in page and page.count('href="metrics.json"') == 2
    assert "Table II (split abc)" in page and "&lt;empty&gt;" in page and '<td class="words">' in page
    assert page.count("<table") == page.count('<div class="wide"><table') and not re.search(r"<img(?![^>]*alt=)", page)
    assert gather_metrics(tmp_path)["20_first"]["an unprinted measure"] == .123456 and len(load_records(tmp_path)) == 2
