"""Every database, through the twin of each of its releases: what the twin wrote comes back exactly, and a damaged file never becomes a wrong label."""
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect_nb.databases.base import list_databases, open_database
from affect_nb.databases.manifests import list_manifests
from affect_nb.synth.twins import get_twin, list_synthetic, twin_truth, write_database

TWINS = [name for name in list_synthetic() if name != 'omg-emotion-overlap'] # it has the layout of omg-emotion
TINY = dict(train=2, validation=1, test=1, frames_per_clip=12, width=96, height=96)
ROUNDS = (50, pytest.param(200, marks=pytest.mark.full)) # the first ones of the longer are the shorter
NOT_LABELS = ('SYNTHETIC.txt', 'synthetic.json', 'subjects.csv')
POSITIONAL = ('aff-wild', 'aff-wild2', 'aff-wild2-2021', 'sewa') # line k is frame k: a line too many shifts what follows, which only the number of lines can tell


def test_every_database_of_the_paper_has_manifest_adapter_and_twin():
    paper = {'aff-wild', 'aff-wild2', 'affectnet', 'raf-db', 'emotionet', 'disfa', 'bp4d', 'bp4d-plus', 'afew-va', 'sewa', 'omg-emotion', 'gft'}
    assert paper <= set(list_databases()) and paper <= set(list_manifests()) and paper <= {get_twin(name).database for name in TWINS}
    assert {get_twin(name).database for name in TWINS} <= set(list_databases()) <= set(list_manifests())


@pytest.fixture(scope='module', params=TWINS)
def twin(request, tmp_path_factory):
    "Annotation files of a twin, and what must be read from them."
    root = write_database(request.param, tmp_path_factory.mktemp('twin')/request.param, media=False, progress=False, **TINY)
    return request.param, root, twin_truth(request.param, **TINY)


def label_columns(table): return [name for name in table if name in ('valence', 'arousal', 'expression', 'category', 'compound') or re.fullmatch(r'au\d+', name)]


def keyed(table):
    "Labels indexed by what they belong to: an image where there is one, else a frame of a clip."
    return table.set_index(['image'] if 'image' in table else ['clip', 'frame'])[label_columns(table)].astype(float)


def wrong_labels(found, truth):
    "Entries that are present and differ from the truth, or that the truth does not have."
    found, truth = keyed(found), keyed(truth)
    expected = truth[~truth.index.duplicated()].reindex(found.index).reindex(columns=found.columns)
    present = found.notna() & ~((found == -1) & np.isin(found.columns, ['expression', 'category', 'compound']))
    return (present & ~np.isclose(found, expected, atol=1e-6)).to_numpy()


def test_round_trip(twin):
    name, root, truth = twin
    database = open_database(get_twin(name).database, root)
    table = database.frames()
    truth, table = truth[truth['clip'].isin(set(table['clip']))], table
    order = ['clip', 'frame']
    truth, table = (part.sort_values(order).reset_index(drop=True) for part in (truth, table))
    assert set(label_columns(truth)) <= set(label_columns(table))
    assert len(table) == len(truth) and len(table)
    for column in [*order, 'subject', 'split']: assert table[column].astype(str).tolist() == truth[column].astype(str).tolist(), column
    for column in label_columns(truth): np.testing.assert_array_equal(table[column].to_numpy(float), truth[column].to_numpy(float), err_msg=column)
    assert not wrong_labels(table, truth).any() and not database.faults
    assert set(twin_truth(name, **TINY).query('frame >= 0 or frame == -1').dropna(how='all')['clip']) >= set(table['clip'])


# mutations: each takes the bytes of a file and gives other bytes, or None where it has nothing to change

def lines_of(data): return data.decode().splitlines(keepends=True)


def body(lines, rng):
    "Number of a line that is not the first."
    return int(rng.integers(1, len(lines))) if len(lines) > 1 else None


def truncated(data, rng): return data[:int(rng.integers(1, len(data)))] if len(data) > 1 else None
def emptied(data, rng): return b''
def with_bom(data, rng): return b'\xef\xbb\xbf' + data
def windows_ends(data, rng): return data.replace(b'\r\n', b'\n').replace(b'\n', b'\r\n')
def utf16(data, rng): return data.decode().encode('utf-16')
def foreign_byte(data, rng):
    place = int(rng.integers(len(data)))
    return data[:place] + b'\xe9' + data[place:]


def on_lines(change):
    def mutate(data, rng):
        lines = lines_of(data)
        row = body(lines, rng)
        if row is None: return None
        changed = change(lines, row, rng)
        return None if changed is None else ''.join(changed).encode()
    mutate.__name__ = change.__name__
    return mutate


@on_lines
def duplicated_row(lines, row, rng): return lines[:row + 1] + lines[row:]


@on_lines
def deleted_row(lines, row, rng): return lines[:row] + lines[row + 1:]


@on_lines
def blank_line(lines, row, rng): return lines[:row] + ['\n'] + lines[row:]


@on_lines
def letter_in_number(lines, row, rng):
    numbers = [*re.finditer(r'(?<![\w/])-?\d+(\.\d+)?', lines[row])]
    if not numbers: return None
    found = numbers[int(rng.integers(len(numbers)))]
    return lines[:row] + [lines[row][:found.start()] + 'x' + lines[row][found.start():]] + lines[row + 1:]


@on_lines
def decimal_comma(lines, row, rng):
    return None if not re.search(r'\d\.\d', lines[row]) else [re.sub(r'(\d)\.(\d{2,})', r'\1,\2', line) for line in lines]


@on_lines
def other_separator(lines, row, rng): return [line.replace(',', ';').replace('\t', ' ') for line in lines]


@on_lines
def far_out_of_range(lines, row, rng):
    "The last number of a line becomes 7777, which no database has."
    changed = re.sub(r'-?\d+(\.\d+)?(?=\D*$)', '7777', lines[row], count=1)
    return None if changed == lines[row] else lines[:row] + [changed] + lines[row + 1:]


def swapped_columns(data, rng):
    "Two columns change places, with their names where they have any; without names only where the two are of different kinds."
    text = data.decode()
    separator = next((mark for mark in ('\t', ',', ' ') if mark in text.split('\n')[0]), None)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator)] if separator else []
    if not rows or len({len(row) for row in rows}) != 1: return None
    named, width = bool(re.match(r'\W*[A-Za-z_]', text)) and not re.search(r'\.jpg|\.png|://', rows[0][0]), len(rows[0])
    one, other = rng.permutation(width)[:2]
    number = lambda cell: bool(re.fullmatch(r'-?\d+(\.\d+)?', cell.strip()))
    if not named and number(rows[-1][one]) == number(rows[-1][other]) and width > 2: return None
    for row in rows: row[one], row[other] = row[other], row[one]
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator='\n').writerows(rows)
    return out.getvalue().encode()


TEXT = [truncated, emptied, with_bom, windows_ends, utf16, foreign_byte, duplicated_row, deleted_row, blank_line, letter_in_number, decimal_comma, other_separator, far_out_of_range, swapped_columns]
BYTES = [truncated, emptied, foreign_byte]
KEEPS_ALL = (with_bom, windows_ends) # nothing is lost by these


@pytest.mark.parametrize('rounds', ROUNDS)
def test_fuzz(twin, rounds):
    name, root, truth = twin
    rng = np.random.default_rng(TWINS.index(name))
    files = [file for file in sorted(root.rglob('*')) if file.is_file() and file.name not in NOT_LABELS]
    rows, done, failed = truth.groupby('clip').size(), 0, []
    while done < rounds:
        file = files[int(rng.integers(len(files)))]
        data = file.read_bytes()
        if not data: files.remove(file); continue
        mutate = (BYTES if file.suffix in ('.npy', '.parquet') else TEXT)[int(rng.integers(14)) % (3 if file.suffix in ('.npy', '.parquet') else 14)]
        changed = mutate(data, rng)
        if changed is None or changed == data: continue
        file.write_bytes(changed)
        case = f'{name}, {mutate.__name__}, {file.relative_to(root)}, round {done}'
        shifted = name in POSITIONAL and len(data.splitlines()) != len(changed.splitlines())
        try: judge(name, root, file, truth, rows, mutate, 'skip' if rng.random() < .5 else 'raise', shifted, case)
        except Exception as error: failed.append(f'{case}: {type(error).__name__}: {error}')
        finally: file.write_bytes(data)
        done += 1
    assert not failed, f'{len(failed)} of {rounds} mutations: ' + '\n\n'.join(failed[:8])


def judge(name, root, file, truth, rows, mutate, on_fault, shifted, case):
    "A clean table or a clear error, never a wrong label; only where lines have no number but their place can none of them know of a line too many."
    try:
        database = open_database(get_twin(name).database, root, on_fault=on_fault)
        table = database.frames()
    except ValueError as error:
        assert mutate not in KEEPS_ALL, f'{case}: {error}'
        assert file.name in str(error) or file.stem in str(error) or root.name in str(error), f'{case}: the error does not name the file: {error}'
        return
    wrong = wrong_labels(table, truth)
    assert shifted or not wrong.any(), f'{case}: wrong labels\n{table[wrong.any(1)].head()}'
    if mutate in KEEPS_ALL: assert len(table) == sum(rows[clip] for clip in set(table['clip'])) and not database.faults, case
