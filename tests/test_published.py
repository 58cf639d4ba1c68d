"""The paper's Table II against a second transcription, column by column as a reader of the PDF meets it."""
import pytest

from affect_nb.analysis.published import published_table

METHODS = ["FATAUVA-Net", "VGG-16", "ResNet-50", "VGG-FACE", "VGG-FACE-LSTM", "AffWildNet"]
COLUMNS = """
ccc_valence 0.40 0.40 0.43 0.51 0.52 0.57
ccc_arousal 0.28 0.30 0.30 0.33 0.38 0.43
ccc_mean    0.34 0.35 0.37 0.42 0.45 0.50
mse_valence 0.12 0.13 0.11 0.10 0.10 0.08
mse_arousal 0.10 0.11 0.11 0.08 0.09 0.06
mse_mean    0.11 0.12 0.11 0.09 0.10 0.07
"""


def test_table2_agrees_with_the_second_transcription():
    table = published_table("II")
    columns = {name: [float(value) for value in values] for name, *values in (line.split() for line in COLUMNS.strip().splitlines())}
    assert list(table.index) == METHODS and list(table.columns) == list(columns)
    assert {name: table[name].tolist() for name in table} == columns
    assert "Table II" in table.attrs["source"] and "Aff-Wild" in table.attrs["data"]


def test_unknown_table_is_named():
    with pytest.raises(ValueError, match="'XII'"): published_table("XII")
