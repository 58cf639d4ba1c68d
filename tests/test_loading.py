"""From labels to batches: the index says what the tables say, utterances and photographs are windows too, several sets run out together."""
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from affect_nb.core.labels import AUS17
from affect_nb.databases.base import open_database
from affect_nb.data.index import LabelIndex, clip_labels, index_database, label_arrays
from affect_nb.data.joint import JointDL, LabelSet, joint_dataloaders, proportional_sizes
from affect_nb.data.sequences import SequenceDataset, sequences_of
from affect_nb.databases.splits import official_split, protocol_divisions
from affect_nb.data.store import CroppedAligned, preprocess_database, release_crops
from affect_nb.preprocess.face_store import FaceStoreWriter
from affect_nb.synth.twins import get_twin, list_synthetic, write_database
from affect_nb.train.jobs_database import database_loaders, train_database
from affect_nb.train.recipes import affwildnet_recipe

SMALL = dict(train=2, validation=1, test=1, frames_per_clip=14, width=144, height=144, progress=False)


# the index

@pytest.mark.parametrize('name', list_synthetic())
def test_the_index_says_what_the_tables_say(name, tmp_path):
    root = write_database(name, tmp_path/'twin', media=False, **SMALL)
    database = open_database(get_twin(name).database, root)
    index = index_database(database, tmp_path/'index')
    tables = {clip.name: table for clip in database.clips if len(table := database.labels(clip))}
    assert list(index) == list(tables) and not index.skipped
    for clip, table in tables.items():
        found, said = index[clip], clip_labels(table, clip)
        np.testing.assert_array_equal(found.frames, said.frames)
        for field in said.fields:
            if field == 'aus': np.testing.assert_array_equal(found.fields['aus'][:, [index.au_names.index(au) for au in said.au_names]], said.fields['aus'])
            else: np.testing.assert_array_equal(found.fields[field], said.fields[field])


def test_an_index_is_made_anew_when_something_has_changed(tmp_path):
    root = write_database('disfa', tmp_path/'twin', media=False, **SMALL)
    def stamp(**options): return (index_database(open_database('disfa', root, **options), tmp_path/'index').path/'labels.arrow').stat().st_mtime_ns
    first = stamp()
    assert stamp() == first
    assert stamp(active_from=1) != first, 'another threshold is another index'
    again = stamp()
    file = next(root.rglob('*_au1.txt'))
    file.write_text(file.read_text().replace(',0\n', ',3\n', 1))
    assert stamp() != again
    assert not list(tmp_path.glob('.part-*'))


def test_a_bad_clip_is_listed_in_the_index(tmp_path):
    root = write_database('aff-wild', tmp_path/'twin', media=False, **SMALL)
    file = root/'annotations'/'train'/'valence'/'001.txt'
    file.write_text('0.5\n7.3\n')
    index = index_database(open_database('aff-wild', root), tmp_path/'index')
    assert '001' not in index and [one.source for one in index.skipped] == ['001'] and 'valence is 7.3' in index.skipped[0].reason


def test_labels_along_a_clip_agree_with_a_slow_loop():
    rng = np.random.default_rng(0)
    for _ in range(50):
        frames = np.sort(rng.choice(30, int(rng.integers(1, 30)), replace=False))
        table = pd.DataFrame(dict(frame=frames, valence=rng.uniform(-1, 1, len(frames)), arousal=0., expression=rng.integers(0, 7, len(frames))))
        n = int(rng.integers(1, 35))
        along = clip_labels(table).along(n)
        by_frame = dict(zip(table.frame, table.itertuples()))
        for frame in range(n):
            row = by_frame.get(frame)
            assert along['expression'][frame] == (row.expression if row else -1)
            assert np.isnan(along['va'][frame, 0]) if row is None else abs(along['va'][frame, 0] - row.valence) < 1e-6
        np.testing.assert_array_equal(along['va'], label_arrays(table, n)['va'])


# windows of every kind of database

def test_an_indexed_dataset_gives_the_same_windows(tmp_path):
    database = open_database('aff-wild2', write_database('aff-wild2', tmp_path/'twin', **SMALL))
    preprocess_database(database, tmp_path/'faces', progress=False)
    for split in ('train', 'validation'):
        plain, indexed = (sequences_of(database, tmp_path/'faces', split, 'va', length=5, remainder='pad', index=index) for index in (None, tmp_path/'index'))
        assert len(plain) == len(indexed) > 0 and plain.people == indexed.people
        for one, other in zip(plain, indexed):
            assert torch.equal(one.faces, other.faces) and torch.equal(one.mask, other.mask)
            for field in ('va', 'aus'): assert torch.equal(getattr(one.targets, field).nan_to_num(9), getattr(other.targets, field).nan_to_num(9))
            assert torch.equal(one.targets.expression, other.targets.expression)


def test_an_utterance_labels_all_its_frames(tmp_path):
    database = open_database('omg-emotion', write_database('omg-emotion', tmp_path/'twin', **SMALL))
    preprocess_database(database, tmp_path/'faces', split='train', progress=False)
    windows = sequences_of(database, tmp_path/'faces', 'train', length=5)
    assert {window.clip for window in windows} == {clip.name for clip in database.select('train')}
    for window in windows:
        label = database.labels(window.clip).iloc[0]
        seen = window.targets.va[window.mask]
        assert len(seen) and torch.allclose(seen, torch.tensor([label.valence, label.arousal], dtype=torch.float32).expand_as(seen)) and window.targets.va[~window.mask].isnan().all()


@pytest.mark.parametrize('name', ['raf-db', 'affectnet-npy'])
def test_photographs_are_windows_of_one_frame(name, tmp_path):
    options = dict(images='aligned') if name == 'raf-db' else {}
    database = open_database(get_twin(name).database, write_database(name, tmp_path/'twin', **SMALL), **options)
    found = preprocess_database(database, tmp_path/'faces', progress=False)
    assert set(found.frames.face_id) <= {-1, 0, 1} and (found.frames.status == 'ok').mean() > .7
    ours, theirs = (SequenceDataset(stores, database.frames(), length=1) for stores in (tmp_path/'faces', release_crops(database)))
    assert len(theirs) >= len(ours) > 0
    labels = database.frames().set_index(['clip', 'frame'])
    for data in (ours, theirs):
        for window in data: assert len(window) == 1 and int(window.targets.expression[0]) == labels.loc[(window.clip, window.start), 'expression']


def test_image_sequences_keep_their_numbers(tmp_path):
    database = open_database('bp4d', write_database('bp4d', tmp_path/'twin', **SMALL))
    stores = preprocess_database(database, tmp_path/'faces', progress=False).stores
    clip = database.clip(stores[0].clip)
    assert sorted(set(stores[0].frames.frame)) == sorted(frame for frame, file in database.images(clip).items() if file.exists())
    window = SequenceDataset(tmp_path/'faces', database.frames(), length=4)[0]
    labels = database.labels(window.clip).set_index('frame')
    assert set(range(window.start, window.start + 4)) & set(labels.index)


def test_a_photograph_database_trains(tmp_path):
    database = open_database('affectnet', write_database('affectnet', tmp_path/'twin', **{**SMALL, 'train': 4}))
    preprocess_database(database, tmp_path/'faces', split='train', progress=False)
    dls = database_loaders(affwildnet_recipe('smoke'), database, tmp_path/'faces', device='cpu')
    faces, _, targets = dls.one_batch()
    assert faces.shape[1] == 1 and 1 < len(faces) <= 32 and targets.annotated('va').any()
    card, skipped = train_database(affwildnet_recipe('smoke', width=1/16), 'affectnet', database.root, tmp_path/'out', device='cpu')
    assert card.architecture == 'affwildnet_vgg' and not skipped and (tmp_path/'out'/'weights'/'affwildnet_vgg.safetensors').exists()
    raf = write_database('raf-db', tmp_path/'raf', media=False, **SMALL)
    with pytest.raises(ValueError, match='raf-db has nobody with valence and arousal'): train_database(affwildnet_recipe('smoke'), 'raf-db', raf, tmp_path/'none', device='cpu')


def test_a_folder_of_crops_remembers_bytes_not_paths(tmp_path):
    import cv2
    for number in (1, 2, 5): cv2.imwrite(str(tmp_path/f'{number:05d}.jpg'), np.full((96, 96, 3), number, np.uint8))
    store = pickle.loads(pickle.dumps(CroppedAligned(tmp_path)))
    assert len(store) == 5 and store.present(0, 5).tolist() == [True, True, False, False, True] and store._names.dtype.itemsize == 9


# several sets

@pytest.fixture
def sets(tmp_path):
    def one(name, n, **labels):
        with FaceStoreWriter(tmp_path/name/f'{name}.arrow', clip=name, encoding='raw') as writer:
            for frame in range(n): writer.add(frame, frame/30, 0, 'ok', np.full((96, 96, 3), frame, np.uint8), crop_landmarks=np.zeros((68, 2)))
        return SequenceDataset(tmp_path/name, pd.DataFrame(dict(clip=name, subject=name, database=name, frame=range(n), **labels)), length=1)
    return dict(va=one('wild', 67, valence=.5, arousal=0.), aus=one('disfa', 41, au1=1., au30=0.), expression=one('raf', 17, expression=4))


@pytest.mark.parametrize('workers', [0, 2])
def test_all_sets_run_out_together(sets, workers):
    dl = JointDL(sets, total=20, device=torch.device('cpu'), num_workers=workers)
    assert dl.dataset.sizes == proportional_sizes({name: len(data) for name, data in sets.items()}, 20) and sum(dl.dataset.sizes.values()) == 20
    for _ in range(2):
        counts, seen = [], {name: [] for name in sets}
        for faces, _, targets in dl:
            counts.append([int(targets.annotated(field).sum()) for field in ('va', 'aus', 'expression')])
            assert targets.au_names == AUS17 and targets.aus[targets.annotated('aus')][:, 0].eq(1).all()
            pixels = (faces[:, 0, 0, 0, 0]*127.5 + 127.5).round().int()
            for name, field in (('va', 'va'), ('aus', 'aus'), ('expression', 'expression')): seen[name] += pixels[targets.annotated(field)[:, 0]].tolist()
        assert len(counts) == len(dl) and np.ptp(counts, axis=0).max() <= 1, 'a set differs by one image at most from step to step'
        assert {name: sorted(found) for name, found in seen.items()} == {name: list(range(len(data))) for name, data in sets.items()}


def test_the_papers_batches():
    sizes = proportional_sizes(dict(va=401*300, aus=247*300, expression=103*300), 751)
    assert sizes == dict(va=401, aus=247, expression=103)


@pytest.mark.parametrize('seed', range(20))
def test_sizes_add_up(seed):
    rng = np.random.default_rng(seed)
    counts = {str(number): int(rng.integers(1, 10**int(rng.integers(1, 7)))) for number in range(int(rng.integers(1, 6)))}
    total = int(rng.integers(len(counts), 1000))
    sizes = proportional_sizes(counts, total)
    assert sum(sizes.values()) == total and min(sizes.values()) >= 1


def test_a_joint_learner_trains(sets, tmp_path):
    from affect_nb.core.losses import multitask_loss
    from affect_nb.core.labels import AffectOutput
    from fastai.learner import Learner
    class Tiny(torch.nn.Module):
        def __init__(self): super().__init__(); self.fc = torch.nn.Linear(3, 2 + 7 + 17)
        def forward(self, faces, landmarks=None):
            out = self.fc(faces.mean((-1, -2)))
            return AffectOutput(out[..., :2], out[..., 2:9], out[..., 9:])
    other = SequenceDataset(sets['va']._open(sets['va'].tracks[0].path).path.parent, pd.DataFrame(dict(clip='wild', subject='somebody', database='other', frame=range(9), valence=0., arousal=0.)), length=1)
    dls = joint_dataloaders(sets, other, total=20, device='cpu')
    learn = Learner(dls, Tiny(), loss_func=multitask_loss, lr=1e-2)
    with learn.no_logging(), learn.no_bar(): learn.fit(1)
    assert np.isfinite(learn.recorder.losses[-1] if learn.recorder.losses else 0)


# divisions

def test_the_papers_folds_share_nobody(tmp_path):
    disfa = open_database('disfa', write_database('disfa', tmp_path/'disfa', media=False, **{**SMALL, 'train': 9}))
    folds = protocol_divisions(disfa, 'three-fold')
    tested = [clip.subject for fold in folds for clip in fold.sides['test']]
    assert len(folds) == 3 and len(set(tested)) == len({clip.subject for clip in disfa.clips}) and len({fold.hash for fold in folds}) == 3
    bp4d = open_database('bp4d', write_database('bp4d', tmp_path/'bp4d', media=False, **{**SMALL, 'train': 8}))
    fera, = protocol_divisions(bp4d, 'fera2015')
    assert all(int(clip.subject[1:]) % 2 == (side == 'train') for side, clips in fera.sides.items() for clip in clips)
    plus = open_database('bp4d-plus', write_database('bp4d-plus', tmp_path/'plus', media=False, **{**SMALL, 'train': 8}))
    with pytest.raises(ValueError, match='not published'): protocol_divisions(plus, 'fera2017')
    made = protocol_divisions(plus, 'fera2017', generated=2)
    assert 'generated' in made[0].name and made[0].aus == (1, 4, 6, 7, 10, 12, 14, 15, 17, 23)


def test_official_parts_with_somebody_in_both_are_refused(tmp_path):
    root = write_database('aff-wild', tmp_path/'twin', media=False, **SMALL)
    assert set(official_split(open_database('aff-wild', root)).sides) == {'train', 'test'}
    listed = (root/'subjects.csv').read_text().splitlines()
    (root/'subjects.csv').write_text('\n'.join([listed[0], *(','.join([line.split(',')[0], 'anna', line.split(',')[2]]) for line in listed[1:])]) + '\n')
    with pytest.raises(ValueError, match='subject anna'): official_split(open_database('aff-wild', root))
