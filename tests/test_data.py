"""Room 30_data: adapters against hand-made fixtures (not against our own writer), windows, loaders, the check."""
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from affect_nb.core.labels import AffectOutput
from affect_nb.databases.check import check_database
from affect_nb.databases.base import SPLITS, Clip, open_database
from affect_nb.data.index import index_database
from affect_nb.data.loaders import affect_dataloaders
from affect_nb.databases.manifests import list_manifests, load_manifest, read_manifest
from affect_nb.data.sequences import SequenceDataset, choose_face, sequences_of, window_starts
from affect_nb.databases.splits import check_split, holdout, overlap, split_hash, subject_kfold
from affect_nb.data.store import open_faces
from affect_nb.preprocess.face_store import FaceStoreWriter

ROOT = Path(__file__).resolve().parents[1]
VA, AU = 'valence,arousal', 'AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25'
EXPR = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise'


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(str, lines)) + '\n')
    return path


def video(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'the adapters do not open it')


@pytest.fixture
def affwild(tmp_path):
    "Aff-Wild by hand: 105 has one row of arousal too many, 106 is an .avi, 200 is an unannotated test video."
    for name in ('train/105.mp4', 'train/106.avi', 'test/200.mp4'): video(tmp_path/'videos'/name)
    train = tmp_path/'annotations'/'train'
    write(train/'valence'/'105.txt', .1, -.2, .3); write(train/'arousal'/'105.txt', -.5, .5, 1, -1)
    write(train/'valence'/'106.txt', 0, 0); write(train/'arousal'/'106.txt', 0, 0)
    return tmp_path


@pytest.fixture
def affwild2(tmp_path):
    "Aff-Wild2 by hand: 7 has all three tasks, two people in 30-30-1920x1080, 102 comes from Aff-Wild, 9 is listed for the test."
    for name in ('batch1/7-60-1920x1080.mp4', 'batch1/30-30-1920x1080.mp4', 'batch2/102.avi', 'batch2/9-24-640x360.mp4'): video(tmp_path/'videos'/name)
    sets = tmp_path/'annotations'
    write(sets/'VA_Set'/'Training_Set'/'7-60-1920x1080.txt', VA, '0.25,-0.5', '-5,-5', '-5,0.1', '1,-1')
    write(sets/'EXPR_Set'/'Training_Set'/'7-60-1920x1080.txt', EXPR, 6, -1, 0)
    write(sets/'AU_Set'/'Training_Set'/'7-60-1920x1080.txt', AU, '1,0,0,0,1,0,0,1', '-1,-1,-1,-1,-1,-1,-1,-1', '0,0,0,0,0,0,0,0', '0,1,0,0,0,0,0,-1')
    write(sets/'VA_Set'/'Validation_Set'/'30-30-1920x1080.txt', VA, '0,0')
    write(sets/'VA_Set'/'Validation_Set'/'30-30-1920x1080_right.txt', VA, '0.5,0.5')
    write(sets/'VA_Set'/'Training_Set'/'102.txt', VA, '0,0')
    write(sets/'EXPR_Set'/'Validation_Set'/'102.txt', EXPR, 4)
    write(tmp_path/'va_test_set.txt', '9-24-640x360')
    return tmp_path


# manifests

def test_manifests_say_what_the_paper_says():
    wild, wild2 = load_manifest('aff-wild'), load_manifest('aff-wild2')
    assert (wild.counts.videos, wild.counts.frames, wild.counts.subjects, wild.counts.annotators) == (298, 1_224_100, 200, 8)
    assert (wild2.counts.videos, wild2.counts.subjects, wild2.counts.frames) == (558, 458, 2_800_000)
    assert {name: (count.videos, count.frames, count.annotators) for name, count in wild2.counts_by_label.items()} == {'expression': (539, 2_595_572, 7), 'aus': (63, 398_835, 3)}
    table2 = {row.network: (*row.ccc, *row.mse) for row in wild.baselines if row.table == 'II'}
    assert table2['AffWildNet'] == (.57, .43, .08, .06) and table2['FATAUVA-Net'] == (.40, .28, .12, .10) and len(table2) == 6
    assert wild2.label('aus').aus == (1, 2, 4, 6, 12, 15, 20, 25) and wild2.label('valence').missing == -5


@pytest.mark.parametrize('name', list_manifests())
def test_every_manifest_is_complete(name):
    manifest = load_manifest(name)
    assert manifest.name == name and manifest.licence and manifest.citation and manifest.access.url.startswith('http')
    assert {fact.status for fact in manifest.facts} == {'verified', 'unverified'}


@pytest.mark.parametrize('change', [dict(extra=1), dict(counts=dict(video=3)), dict(labels=[dict(name='valence', kind='continuous', meaning='x')]), dict(kind='audio')])
def test_a_wrong_manifest_is_refused_with_its_file(tmp_path, change):
    content = yaml.safe_load((ROOT/'data_manifests'/'aff-wild.yaml').read_text()) | change
    (tmp_path/'wrong.yaml').write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match='wrong.yaml'): read_manifest(tmp_path/'wrong.yaml')


# adapters

def test_affwild_as_the_release_lays_it_out(affwild):
    wild = open_database('aff-wild', affwild)
    assert [(clip.name, clip.split, clip.video.suffix, clip.annotated) for clip in wild.clips] == [('105', 'train', '.mp4', True), ('106', 'train', '.avi', True), ('200', 'test', '.mp4', False)]
    labels = wild.labels('105')
    assert labels.frame.tolist() == [0, 1, 2]
    np.testing.assert_allclose(labels[['valence', 'arousal']], [[.1, -.5], [-.2, .5], [.3, 1]], rtol=1e-6)
    assert any('105' in note and '3' in note and '4' in note for note in wild.notes)
    assert len(wild.labels('200')) == 0 and list(wild.frames('train')['clip'].unique()) == ['105', '106']


def test_subjects_come_from_the_list_or_are_the_clips(affwild):
    assert [clip.subject for clip in open_database('aff-wild', affwild).clips] == ['105', '106', '200']
    write(affwild/'subjects.csv', 'video,subject,split', '105,anna,train', '106.avi,ben,train')
    assert [clip.subject for clip in open_database('aff-wild', affwild).clips] == ['anna', 'ben', '200']
    write(affwild/'subjects.csv', 'name,who', '105,anna')
    with pytest.raises(ValueError, match="subjects.csv, row 1: column 'video' is missing"): open_database('aff-wild', affwild)


def test_affwild2_as_the_release_lays_it_out(affwild2):
    wild2 = open_database('aff-wild2', affwild2)
    clips = {clip.name: clip for clip in wild2.clips}
    assert {name: clip.split for name, clip in clips.items()} == {'7-60-1920x1080': 'train', '30-30-1920x1080': 'validation', '30-30-1920x1080_right': 'validation', '102': 'validation', '9-24-640x360': 'test'}
    assert clips['30-30-1920x1080_right'].video == clips['30-30-1920x1080'].video and clips['30-30-1920x1080_right'].side == 'right'
    assert clips['102'].video.name == '102.avi' and '102' in {clip.name for clip in wild2.select('train', 'va')}
    labels = wild2.labels('7-60-1920x1080')
    np.testing.assert_allclose(labels[['valence', 'arousal']], [[.25, -.5], [np.nan]*2, [np.nan]*2, [1, -1]])
    assert labels.expression.tolist() == [6, -1, 0, -1]
    assert labels.au12.tolist()[::2] == [1, 0] and labels.filter(like='au').isna().all(axis=1).tolist() == [False, True, False, True]
    assert [name for name in labels if name.startswith('au')] == ['au1', 'au2', 'au4', 'au6', 'au12', 'au15', 'au20', 'au25']


def test_clips_of_a_task_are_those_that_have_it(affwild2):
    "With no split as well: faces of clips that have nothing of a task are not looked for."
    wild2 = open_database('aff-wild2', affwild2)
    index = index_database(wild2, affwild2.parent/'labels')
    for task in ('va', 'expression', 'aus'):
        having = [clip.name for clip in wild2.clips if task in clip.splits]
        assert [clip.name for clip in wild2.select(task=task)] == having and (0 < len(having) < len(wild2.clips) or task == 'va')
        assert sorted(clip.name for split in SPLITS for clip in wild2.select(split, task)) == sorted(having)
        assert set(index.select(task=task).clips['clip']) == set(having) & set(index.clips['clip'])
    assert wild2.select() == wild2.clips and len(index.select().clips) == len(index.clips)


def test_no_sentinel_travels_further(affwild2):
    table = open_database('aff-wild2', affwild2).frames()
    assert table[['valence', 'arousal']].abs().max().max() <= 1
    assert set(table.filter(like='au').stack().dropna().unique()) == {0., 1.}
    assert table.expression.min() == -1 and table.valence.isna().any()


@pytest.mark.parametrize('lines, said', [
    ((.1, 7.3), ['row 2', 'valence is 7.3', 'numbers in [-1.0, 1.0]']),
    ((.1, 'nan'), ['row 2', 'valence is nan']),
    ((.1, 'inf'), ['row 2', 'valence is inf']),
    ((.1, -5), ['row 2', 'valence is -5']),
    (('valence', .1), ['row 1', "'valence' is not numeric"]),
    ((.1, '', .2), ['row 2', 'not numeric']),
    ((.1, '.2,.3'), ['row 2', 'has 2 values']),
    ((.1, '# .2'), ['row 2', 'not numeric']),
])
def test_a_wrong_row_is_named(affwild, lines, said):
    write(affwild/'annotations'/'train'/'valence'/'105.txt', *lines)
    with pytest.raises(ValueError) as error: open_database('aff-wild', affwild).labels('105')
    assert all(text in str(error.value) for text in ['105.txt', *said]), error.value


@pytest.mark.parametrize('task, lines, said', [
    ('VA', ['arousal,valence', '0,0'], ['row 1', "'arousal,valence'", "allowed is 'valence,arousal'"]),
    ('VA', ['0,0'], ['row 1', 'the header']),
    ('VA', [VA, '0,0', '0.1,-1.01'], ['row 3', '-1.01', 'or -5']),
    ('EXPR', [EXPR, 7], ['row 2', 'expression is 7', 'whole numbers 0 to 6']),
    ('EXPR', [EXPR, 2.5], ['row 2', 'expression is 2.5']),
    ('AU', [AU, '0,0,0,0,0,0,0,2'], ['row 2', 'aus is 2', '0 or 1']),
    ('AU', [AU, '0,0,0'], ['row 2', 'has 3 values, allowed is 8']),
])
def test_a_wrong_row_of_affwild2_is_named(affwild2, task, lines, said):
    write(affwild2/'annotations'/f'{task}_Set'/'Training_Set'/'7-60-1920x1080.txt', *lines)
    with pytest.raises(ValueError) as error: open_database('aff-wild2', affwild2).labels('7-60-1920x1080')
    assert all(text in str(error.value) for text in ['7-60-1920x1080.txt', *said]), error.value


@pytest.mark.parametrize('content, said', [(b'', 'is empty'), (b'\x00\xff\xfe\x80', 'is not a text file')])
def test_a_file_that_is_no_text_is_named(affwild, content, said):
    (affwild/'annotations'/'train'/'valence'/'105.txt').write_bytes(content)
    with pytest.raises(ValueError, match=said): open_database('aff-wild', affwild).labels('105')


def test_windows_line_ends_and_a_byte_order_mark_are_fine(affwild2):
    path = affwild2/'annotations'/'VA_Set'/'Training_Set'/'102.txt'
    path.write_bytes(b'\xef\xbb\xbfvalence,arousal\r\n0.5,0.25\r\n\r\n')
    assert open_database('aff-wild2', affwild2).labels('102').valence.tolist() == [.5]


# splits

def clip(name, subject, database='aff-wild'): return Clip(database, name, subject, 'train')


def test_a_leak_is_refused_by_name():
    train = [clip('1', 'anna'), clip('2', 'ben')]
    check_split(train, [clip('3', 'cleo')])
    for valid, said in (([clip('3', 'ben')], 'subject ben'), ([clip('2', 'dora')], 'clip 2'), ([clip('1_left', 'dora')], 'video 1')):
        with pytest.raises(ValueError, match=said): check_split(train, valid)
        check_split(train, valid, allow_overlap=True)


def test_the_same_name_in_two_databases_is_not_a_leak_but_in_affwild_and_affwild2_it_is():
    assert not any(overlap([clip('1', '1', 'disfa')], [clip('1', '1', 'bp4d')]).values())
    assert overlap([clip('102', 'x')], [clip('102', 'y', 'aff-wild2')])['clip'] == ['102']
    assert overlap([clip('102', 'x')], ['102'])['clip'] == ['102']


def test_folds_share_no_subject_and_no_video():
    rng = np.random.default_rng(0)
    clips = [clip(f'{number//2}_{side}', f's{rng.integers(200)}') for number in range(0, 80, 2) for side in ('left', 'right')][:40]
    for train, valid in [*subject_kfold(clips, 2), holdout(clips)]:
        check_split(train, valid)
        assert len(train) + len(valid) == len(clips)
    assert split_hash(holdout(clips)) == split_hash(holdout(clips[::-1])) != split_hash(holdout(clips, seed=1))


def test_a_split_is_the_same_in_every_process():
    "Python draws the order of a set anew in each; a training that goes on in another process must find its people again."
    code = ("from types import SimpleNamespace as Clip; from affect_nb.databases.splits import holdout, split_hash; "
            "print(split_hash(holdout([Clip(database='d', name=f'c{n}', subject=f's{n % 17}', stem=f'c{n}') for n in range(40)])))")
    said = {subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONHASHSEED': str(number)}, capture_output=True, text=True, check=True).stdout for number in range(3)}
    assert len(said) == 1


# faces and windows

def painted(frame, face=0):
    "A crop that says which frame and face it is."
    return np.full((96, 96, 3), (frame % 250, face*100, 7), np.uint8)


def write_store(path, n, faces, away=()):
    "faces: face id -> x of its box; nobody is there in the frames `away`."
    with FaceStoreWriter(path, clip=path.stem, encoding='raw') as writer:
        for frame in range(n):
            if frame in away: writer.add(frame, frame/30)
            else:
                for face, x in faces.items():
                    writer.add(frame, frame/30, face, 'ok', painted(frame, face), box=(x, 0, x + 9, 9), landmarks=np.zeros((68, 2)), crop_landmarks=np.full((68, 2), frame % 96))
    return path


def label_table(name, n, subject=''):
    "Labels that say which frame they belong to."
    return pd.DataFrame(dict(clip=name, subject=subject or name, frame=range(n), valence=np.float32(np.arange(n)/1000), arousal=np.float32(-np.arange(n)/1000)))


@pytest.mark.parametrize('seed', range(5))
def test_no_label_ever_slides(tmp_path, seed):
    rng = np.random.default_rng(seed)
    n, rows, length = (int(number) for number in rng.integers((30, 30, 3), (120, 120, 20)))
    away = set(rng.choice(n, n//4, replace=False).tolist())
    write_store(tmp_path/'a.arrow', n, {0: 5.}, away)
    dataset = SequenceDataset(tmp_path, label_table('a', rows), length=length, remainder='pad')
    seen = []
    for window in dataset:
        frames = window.start + np.arange(length)
        here = window.mask.numpy()
        assert (window.faces[:, 0, 0, 0].numpy()[here] == frames[here]).all() and not window.faces[~window.mask].any()
        np.testing.assert_allclose(window.targets.va[window.mask, 0], frames[here]/1000, atol=1e-6)
        np.testing.assert_allclose(window.landmarks[window.mask, 0, 0], frames[here] % 96*2/95 - 1, atol=1e-5)
        assert window.targets.va[~window.mask].isnan().all() and not window.landmarks[~window.mask].any()
        seen += frames[here].tolist()
    assert seen == [frame for frame in range(min(n, rows)) if frame not in away]
    assert (n == rows) or any(f'the first {min(n, rows)} count' in note for note in dataset.notes)


def test_two_people_in_one_video(tmp_path):
    write_store(tmp_path/'5.arrow', 20, {0: 300., 1: 10., 2: 150.}, away=(3,))
    faces = {name: SequenceDataset(tmp_path, pd.concat([label_table(other, 20) for other in names]), length=10)
             for name, names in dict(both=['5_left', '5_right'], main=['5'], beside=['5', '5_right']).items()}
    chosen = {name: {window.clip: int(window.faces[0, 1, 0, 0])//100 for window in dataset} for name, dataset in faces.items()}
    assert chosen == dict(both={'5_left': 1, '5_right': 0}, main={'5': 0}, beside={'5': 1, '5_right': 0})


def test_the_main_person_is_the_one_seen_most():
    frames = pd.DataFrame(dict(face_id=[0]*3 + [1]*5 + [2]*9, status=['ok']*8 + ['lost']*9, box_x1=0., box_x2=1.))
    assert choose_face(frames) == 1


def test_a_folder_of_crops_reads_like_a_store(tmp_path):
    folder = tmp_path/'cropped_aligned'/'7'
    folder.mkdir(parents=True)
    for frame in set(range(25)) - {4, 5}: cv2.imwrite(str(folder/f'{frame + 1:05}.png'), painted(frame)[..., ::-1])
    write_store(tmp_path/'stores'/'7.arrow', 25, {0: 0.}, away=(4, 5))
    there, here = (SequenceDataset(path, label_table('7', 26), length=10, remainder='pad') for path in (folder.parent, tmp_path/'stores'))
    for one, other in zip(there, here, strict=True):
        assert torch.equal(one.faces, other.faces) and torch.equal(one.mask, other.mask)
        assert torch.equal(one.targets.va.nan_to_num(9), other.targets.va.nan_to_num(9))
    assert open_faces(folder).read(0, 3)[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_bad_clip_does_not_stop_the_others(affwild, tmp_path):
    write(affwild/'annotations'/'train'/'valence'/'106.txt', 9, 9)
    dataset = sequences_of(open_database('aff-wild', affwild), write_store(tmp_path/'faces'/'105.arrow', 6, {0: 0.}), length=2)
    assert len(dataset) == 1 and [one.source for one in dataset.skipped] == ['106'] and 'valence is 9' in dataset.skipped[0].reason
    with pytest.raises(ValueError, match='not annotated'): sequences_of(open_database('aff-wild', affwild), tmp_path/'faces', split='test')


def test_a_damaged_store_is_left_out_and_named(tmp_path):
    write_store(tmp_path/'good.arrow', 20, {0: 0.})
    (tmp_path/'bad.arrow').write_bytes((tmp_path/'good.arrow').read_bytes()[:2000])
    write_store(tmp_path/'empty.arrow', 20, {0: 0.}, away=range(20))
    dataset = SequenceDataset(tmp_path, pd.concat([label_table(name, 20) for name in ('good', 'bad', 'empty', 'gone')]), length=10)
    assert {one.source for one in dataset.skipped} == {'bad', 'empty', 'gone'} and {track.clip for track in dataset.tracks} == {'good'}


@pytest.mark.parametrize('remainder, covered', [('drop', 160), ('pad', 200)])
def test_windows_of_the_papers_length(remainder, covered):
    starts = window_starts(200, remainder=remainder)
    assert min(200, starts[-1] + 80) == covered and (np.diff(starts) == 80).all()


def test_a_dataset_travels_to_another_process(tmp_path):
    write_store(tmp_path/'a.arrow', 40, {0: 0.})
    dataset = SequenceDataset(tmp_path, label_table('a', 40), length=10)
    dataset[0]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[1].faces, dataset[1].faces)


# loaders

@pytest.fixture
def sides(tmp_path):
    for name in ('anna', 'ben', 'cleo'): write_store(tmp_path/f'{name}.arrow', 60, {0: 0.}, away=(7, 8))
    train = SequenceDataset(tmp_path, pd.concat([label_table('anna', 60), label_table('ben', 60)]), length=10)
    return train, SequenceDataset(tmp_path, label_table('cleo', 61), length=10)


class Red(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, faces, landmarks):
        assert type(faces) is torch.Tensor and faces.dtype == torch.float32 and faces.abs().max() <= 1
        return AffectOutput(va=self.layer(faces.mean((3, 4))) + 0*landmarks.sum())


def squared(output, targets):
    known = targets.annotated('va')
    return (output.va[known].float() - targets.va[known]).square().mean()


def test_workers_bring_the_same_batches(sides):
    epochs = [[batch[2].va.nan_to_num(9) for batch in affect_dataloaders(*sides, bs=2, num_workers=workers, seed=1, device='cpu').train] for workers in (0, 2)]
    assert len(epochs[0]) == 6 and all(torch.equal(one, other) for one, other in zip(*epochs, strict=True))


def test_reading_warns_of_nothing(sides):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        sides[0][0]


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_a_learner_trains_validates_and_predicts(sides, precision):
    from fastai.callback.fp16 import AMPMode, MixedPrecision
    from fastai.learner import Learner
    dls = affect_dataloaders(*sides, bs=2, device='cpu')
    learn = Learner(dls, Red(), loss_func=squared, lr=1e-2, cbs=[MixedPrecision(amp_mode=AMPMode.BF16)] if precision == 'bfloat16' else [])
    if precision == 'bfloat16': learn.mixed_precision.autocast = torch.autocast('cpu', torch.bfloat16)
    with learn.no_logging(): learn.fit(2)
    assert np.isfinite(learn.recorder.values).all() and np.isfinite(learn.validate()).all()
    output, targets = learn.get_preds(reorder=False)
    assert output.va.shape == targets.va.shape == (6, 10, 2) and int(targets.annotated('va').sum()) == 58


def test_batches_and_pictures(sides, monkeypatch):
    import matplotlib
    import matplotlib.pyplot as plt
    monkeypatch.setattr(plt, 'show', lambda: None)
    matplotlib.use('agg')
    dls = affect_dataloaders(*sides, bs=3, device='cpu', valid_bs=2)
    faces, landmarks, targets = batch = dls.one_batch()
    assert dls.n_inp == 2 and faces.shape == (3, 10, 3, 96, 96) and landmarks.shape == (3, 10, 68, 2) and targets.shape == (3, 10)
    dls.show_batch(max_n=2)
    assert len(plt.gcf().axes) == 4
    dls.valid.show_results(batch, AffectOutput(va=torch.zeros(3, 10, 2)), max_n=1)
    assert len(plt.gcf().axes[1].lines) == 4
    plt.close('all')


def test_what_loaders_refuse(sides):
    train, valid = sides
    with pytest.raises(ValueError, match='on both sides of the split: subject anna'): affect_dataloaders(train, train)
    with pytest.raises(ValueError, match='this machine has only'): affect_dataloaders(train, valid, device='cuda:77')
    with pytest.raises(ValueError, match='they must be equal'): affect_dataloaders(train, valid.cut(5))
    assert affect_dataloaders(train, valid, device='cpu').split_hash == affect_dataloaders(train, valid, device='cpu', seed=5).split_hash


# the check

def test_check_collects_everything(affwild2):
    write(affwild2/'annotations'/'VA_Set'/'Training_Set'/'7-60-1920x1080.txt', VA, '9,9')
    (affwild2/'annotations'/'EXPR_Set'/'Validation_Set'/'102.txt').write_bytes(b'\xff\x00')
    (affwild2/'videos'/'batch2'/'9-24-640x360.mp4').unlink()
    report = check_database('aff-wild2', affwild2)
    said = '\n'.join(f'{finding.where}: {finding.what}' for finding in report.findings if finding.level == 'error')
    for text in ('7-60-1920x1080', 'valence is 9', '102.txt is not a text file', '9-24-640x360: there is no video', 'no video that FFmpeg reads'): assert text in said, said
    assert not report.ok and len(report.clips) == 5 and str(report).startswith('aff-wild2')


def test_a_twin_passes_the_adapters_and_the_check(tmp_path):
    databases = pytest.importorskip('affect_nb.synth.twins')
    for name in ('aff-wild', 'aff-wild2'):
        root = databases.write_database(name, tmp_path/name, train=2, test=1, frames_per_clip=12, width=96, height=96, progress=False)
        report = check_database(name, root)
        assert report.ok, str(report)
        clips = open_database(name, root).clips
        train, test = ([clip for clip in clips if (clip.split == 'test') == held] for held in (False, True))
        check_split(train, test)
