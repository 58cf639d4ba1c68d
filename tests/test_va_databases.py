"""AFEW-VA, SEWA and OMG-Emotion: adapters against files typed here, and their twins, drawn and read back."""
import json

import numpy as np
import pandas as pd
import pytest

import affect_nb.databases
import affect_nb.synth
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.databases.base import open_database
from affect_nb.synth.twins import twin_truth, write_database

TINY = dict(train=2, validation=1, test=1, frames_per_clip=12, width=128, height=128)
OMG = 'link,start,end,video,utterance,arousal,valence,EmotionMaxVote'


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(str, lines)) + '\n')
    return path


def clip_json(path, frames, **more):
    "A clip of AFEW-VA; `frames` is number -> (valence, arousal)."
    content = {f'{number:05d}': dict(valence=valence, arousal=arousal, landmarks=[[float(point), float(number)] for point in range(68)]) for number, (valence, arousal) in frames.items()}
    return write(path, json.dumps(dict(frames=content, video_id=path.stem, **more), indent=1))


def frame_line(path, number): return 1 + next(place for place, line in enumerate(path.read_text().splitlines()) if f'"{number:05d}"' in line)


def said(error): return str(error.value)


# AFEW-VA

def test_afew_va_clips_in_parts_or_not(tmp_path):
    clip_json(tmp_path/'01'/'001'/'001.json', {0: (0, 0)}, actor='Ann Doe')
    clip_json(tmp_path/'12'/'600'/'600.json', {0: (0, 0)}, actor='Ann Doe')
    clip_json(tmp_path/'077'/'077.json', {0: (0, 0)}, actor='')
    write(tmp_path/'077'/'00000.png', ''); write(tmp_path/'01'/'001_cropped'/'00000.png', ''); write(tmp_path/'02'/'051'/'00000.png', '')
    afew = open_database('afew-va', tmp_path)
    assert [(clip.name, clip.subject, clip.split, clip.annotated) for clip in afew.clips] == [('001', 'Ann Doe', 'train', True), ('051', '051', 'train', False), ('077', '077', 'train', True), ('600', 'Ann Doe', 'train', True)]
    assert any('051' in note for note in afew.notes) and len(afew.labels('051')) == 0 and len(afew.landmarks('051')) == 0
    write(tmp_path/'subjects.csv', 'video,subject', '077,someone', '001,nobody')
    assert [clip.subject for clip in open_database('afew-va', tmp_path).clips] == ['Ann Doe', '051', 'someone', 'Ann Doe']
    clip_json(tmp_path/'03'/'001'/'001.json', {0: (0, 0)})
    with pytest.raises(ValueError, match="'001' is in 01 and in 03"): open_database('afew-va', tmp_path)


def test_afew_va_rows_stay_with_their_frame(tmp_path):
    clip_json(tmp_path/'01'/'001'/'001.json', {4: (-10, 10), 1: (3, -7.), 2: (0, 0)}, actor='Ann')
    for number in (0, 1, 4): write(tmp_path/'01'/'001'/f'{number:05d}.png', '')
    afew = open_database('afew-va', tmp_path)
    labels = afew.labels('001')
    np.testing.assert_allclose(labels[['valence', 'arousal']], [[np.nan]*2, [.3, -.7], [0, 0], [np.nan]*2, [-1, 1]], rtol=1e-6)
    assert labels.frame.tolist() == [0, 1, 2, 3, 4] and sorted(afew.images(afew.clip('001'))) == [0, 1, 4]
    assert [note for note in afew.notes if note.startswith('001')] == ['001: labels without an image, in number 1: 00002', '001: images without a label, in number 1: 00000']
    assert afew.source(afew.clip('001')).fps == 25


@pytest.mark.parametrize('value, shown', [(11, '11'), (.5, '0.5'), ('3', '"3"'), (None, 'null'), (True, 'true'), (float('nan'), 'NaN'), (float('inf'), 'Infinity'), ([1], '[1]'), (10**400, '1000')])
def test_afew_va_names_a_bad_level(tmp_path, value, shown):
    path = clip_json(tmp_path/'01'/'001'/'001.json', {0: (1, 1), 7: (2, value), 8: (3, 3)})
    with pytest.raises(ValueError) as error: open_database('afew-va', tmp_path).labels('001')
    assert f"{path}, row {frame_line(path, 7)}: arousal of frame 00007 is {shown}" in said(error) and 'allowed is one whole number -10 to 10' in said(error)
    afew = open_database('afew-va', tmp_path, on_fault='skip')
    assert afew.labels('001').valence.notna().to_numpy().nonzero()[0].tolist() == [0, 8] and len(afew.faults) == 1


@pytest.mark.parametrize('text, message', [
    ('{"frames": {"00000": {"valence": 1, "arousal": 2}', "row 2: Expecting ',' delimiter"), # the file's end
    ('{"frames": {"00000": {"valence": 1,5, "arousal": 2}}}', 'row 1: Expecting property name'),
    ('[]', "0 entries 'frames'"), ('{"frames": []}', "1 entries 'frames'"), ('{"frames": {}, "frames": {}}', "2 entries 'frames'"),
    ('{"frames": {"00000": 5}}', 'valence of frame 00000 is missing'), ('{"frames": {"first": {}}}', "frame 'first' is no number"),
    ('{"frames": {"00001": {"valence": 1, "arousal": 2}, "1": {"valence": 1, "arousal": 2}}}', "row 2: frame '1' is there twice, first in row 1"),
    ('{"frames": {"00001": {"valence": 1, "arousal": 2, "valence": 3}}}', 'valence of frame 00001 is 1 and 3'),
    ('{"a":'*5000, 'allowed is'), ('', 'is empty'), ('{"frames": {"00001": {"valence": ' + '9'*9000 + ', "arousal": 2}}}', 'allowed is'),
])
def test_afew_va_names_what_is_no_annotation(tmp_path, text, message):
    path = write(tmp_path/'01'/'001'/'001.json', text)
    with pytest.raises(ValueError) as error: open_database('afew-va', tmp_path).labels('001')
    assert str(path) in said(error) and message in said(error)


def test_afew_va_a_frame_there_twice_has_no_label(tmp_path):
    path = write(tmp_path/'01'/'001'/'001.json', '{"frames": {', *(f'"{number:05d}": {{"valence": {level}, "arousal": 0}},' for number, level in ((0, 1), (1, 2), (1, 3))), '"00002": {"valence": 4, "arousal": 0}}}')
    afew = open_database('afew-va', tmp_path, on_fault='skip')
    np.testing.assert_allclose(afew.labels('001').valence, [.1, np.nan, .4], rtol=1e-6)
    assert [(fault.path, fault.row) for fault in afew.faults] == [(str(path), 4)]


def test_afew_va_landmarks_are_not_rescaled_but_doubted(tmp_path):
    path = clip_json(tmp_path/'01'/'001'/'001.json', {1: (0, 0), 2: (0, 0)})
    afew = open_database('afew-va', tmp_path)
    points = afew.landmarks('001')
    assert points.shape == (3, 68, 2) and np.isnan(points[0]).all() and points[2, 67].tolist() == [67, 2]
    assert not [note for note in afew.notes if 'landmarks' in note]
    narrow = (np.array([[.7, 1]])*np.random.default_rng(0).uniform(0, 100, (68, 2))).tolist()
    write(path, json.dumps(dict(frames={'00000': dict(valence=0, arousal=0, landmarks=narrow)})))
    np.testing.assert_allclose(afew.landmarks('001')[0], narrow, rtol=1e-6)
    assert any('landmarks' in note and '960/720' in note for note in afew.notes)
    for wrong in (narrow[:-1], [[1, 2, 3]]*68, [[1, 'x']]*68, None):
        write(path, json.dumps(dict(frames={'00000': dict(valence=0, arousal=0, landmarks=wrong)})))
        with pytest.raises(ValueError, match='row 1: landmarks of frame 00000 .* allowed is one list of 68 pairs'): afew.landmarks('001')
        assert len(afew.labels('001')) == 1


# SEWA

def sequence(root, name, what, source, *lines): return write(root/name/what/f'{name}_{what.title()}_{source}_Aligned.csv', *lines)


@pytest.fixture
def sewa(tmp_path):
    "SEW1 has all, valence a row longer; SEW2 no annotation from the sound; SEW3 is a recording; one folder is something else."
    sequence(tmp_path, 'SEW1', 'valence', 'A', .1, -.2, .3); sequence(tmp_path, 'SEW1', 'arousal', 'A', 1, -1)
    for what, value in (('valence', .5), ('arousal', .6)): sequence(tmp_path, 'SEW1', what, 'V', value)
    sequence(tmp_path, 'SEW2', 'arousal', 'AV', .7)
    write(tmp_path/'SEW3'/'SEW3.avi', 'recording'); write(tmp_path/'SEW1'/'SEW1.mp4', 'recording'); write(tmp_path/'papers'/'a.txt', '')
    return tmp_path


def test_sewa_reads_the_source_that_is_asked_for(sewa):
    sound = open_database('sewa', sewa)
    assert [(clip.name, clip.split, clip.annotated, clip.video and clip.video.name) for clip in sound.clips] == [('SEW1', 'train', True, 'SEW1.mp4'), ('SEW2', 'train', False, None), ('SEW3', 'train', False, 'SEW3.avi')]
    np.testing.assert_allclose(sound.labels('SEW1')[['valence', 'arousal']], [[.1, 1], [-.2, -1]], rtol=1e-6)
    assert any('3 rows of valence, 2 rows of arousal; the first 2 count' in note for note in sound.notes)
    assert 'SEW2: there is no arousal of source A, there are AV' in sound.notes and sound.source(sound.clip('SEW3')).path.name == 'SEW3.avi'
    np.testing.assert_allclose(open_database('sewa', sewa, source='V').labels('SEW1')[['valence', 'arousal']], [[.5, .6]], rtol=1e-6)
    both = open_database('sewa', sewa, source='AV')
    assert both.labels('SEW2').valence.isna().all() and both.labels('SEW2').arousal.notna().all() and len(both.labels('SEW1')) == 0
    with pytest.raises(ValueError, match="source is 'audio', allowed are A, V, AV"): open_database('sewa', sewa, source='audio')
    write(sewa/'subjects.csv', 'video,subject', 'SEW1.mp4,anna')
    assert open_database('sewa', sewa).clip('SEW1').subject == 'anna'


@pytest.mark.parametrize('lines', [('.1', '.2'), ('Valence', '.1', '.2'), ('value', '.1', '.2'), ('0,.1', '.04,.2'), ('time,value', '0,.1', '.04,.2'), ('Time, Valence', '5,.1', '5.02,.2')])
def test_sewa_forms_that_leave_no_doubt(sewa, lines):
    sequence(sewa, 'SEW1', 'valence', 'A', *lines)
    np.testing.assert_allclose(open_database('sewa', sewa).labels('SEW1').valence, [.1, .2], rtol=1e-6)


@pytest.mark.parametrize('lines, message', [
    (('.1;.2', '.1;.2'), "row 1: '.1;.2' is no header of valence"), (('arousal', '.1'), "'arousal' is no header of valence"), (('value,time', '.1,0'), "'value,time' is no header"),
    (('.1,.2,.3', '.1,.2,.3'), '2 rows have 3 cells'), (('value', '.1,.2'), "1 rows have 2 cells under the header 'value'"), (('x.1', '.2'), "row 1: 'x.1' is no header"),
    (('.1', '1.01'), 'row 2: valence is 1.01, allowed are numbers in [-1.0, 1.0]'), (('.1', 'nan'), 'row 2: valence is nan'), (('.1', '', '.2'), "row 2: '' is not numeric"),
    (('0,1', '.2', '.3'), "row 1: '0,1' has 2 values, allowed is 1"), (('0,1', '0,2', '0,3'), 'row 2: time 0 comes after 0'),
    (('0,.1', '.04,.1', '.04,.1', '.08,.1'), 'row 3: time 0.04 comes after 0.04'), (('time,value', '0,.1', '.04,.1', '.08,.1', '.16,.1'), 'row 5: time 0.16 comes after 0.08'),
    (('0,.1', 'x,.1'), "row 2: 'x,.1' is not numeric"), ((), 'is empty'),
])
def test_sewa_every_other_form_is_refused(sewa, lines, message):
    path = sequence(sewa, 'SEW1', 'valence', 'A', *lines)
    with pytest.raises(ValueError) as error: open_database('sewa', sewa).labels('SEW1')
    assert str(path) in said(error) and message in said(error)


def test_sewa_a_bad_row_can_be_left_out(sewa):
    sequence(sewa, 'SEW1', 'valence', 'A', .1, 'x', .3); sequence(sewa, 'SEW1', 'arousal', 'A', 0, 0, 7)
    lenient = open_database('sewa', sewa, on_fault='skip')
    assert lenient.labels('SEW1').valence.isna().tolist() == [False, True, False] and lenient.labels('SEW1').arousal.isna().tolist() == [False, False, True]
    assert len(lenient.faults) == 2


# OMG-Emotion

def utterance(video, number, arousal=.25, valence=-.5, vote=3): return f'https://example.org/{video},0,1.5,{video},utterance_{number}.mp4,{arousal},{valence},{vote}'


@pytest.fixture
def omg(tmp_path):
    "Two lists; utterances of aa with a gap, bb in two parts; the films lie in three kinds of places."
    write(tmp_path/'omg_TrainVideos.csv', OMG, utterance('bb_2', 7, 1, -1, 0), utterance('aa', 4, .17, -.02, 4), utterance('aa', 10, 0, 1, 6), utterance('bb_1', 1))
    write(tmp_path/'omg_ValidationVideos.csv', OMG, utterance('dd', 1))
    write(tmp_path/'omg_TestVideos_WithoutLabels.csv', 'link,start,end,video,utterance', 'x,0,1,cc,utterance_9.mp4', 'x,0,1,cc,utterance_2.mp4')
    for file in ('train/aa/utterance_4.mp4', 'bb_2/utterance_7.mp4', 'films/cc/utterance_2.mp4', 'DetailedAnnotation/train/aa/utterance_10.mp4/0.txt'): write(tmp_path/file, '')
    return tmp_path


def test_omg_a_clip_is_an_utterance(omg):
    database = open_database('omg-emotion', omg)
    assert {clip.name: (clip.subject, clip.split, clip.stem, clip.video and clip.video.parent.parent.name) for clip in database.clips} == {
        'aa_utterance_4': ('aa', 'train', 'aa_utterance_4', 'train'), 'aa_utterance_10': ('aa', 'train', 'aa_utterance_10', None), 'bb_1_utterance_1': ('bb', 'train', 'bb_1_utterance_1', None),
        'bb_2_utterance_7': ('bb', 'train', 'bb_2_utterance_7', omg.name), 'dd_utterance_1': ('dd', 'validation', 'dd_utterance_1', None),
        'cc_utterance_9': ('cc', 'test', 'cc_utterance_9', None), 'cc_utterance_2': ('cc', 'test', 'cc_utterance_2', 'films')}
    labels = database.labels('aa_utterance_4')
    assert list(labels) == ['frame', 'valence', 'arousal', 'expression'] and labels.frame.tolist() == [-1]
    np.testing.assert_allclose(labels[['valence', 'arousal']], [[-.02, .17]], rtol=1e-6)
    assert [EXPRESSIONS[database.labels(name).expression[0]] for name in ('aa_utterance_4', 'aa_utterance_10', 'bb_1_utterance_1', 'bb_2_utterance_7')] == ['Neutral', 'Surprise', 'Happiness', 'Anger']
    assert list(database.labels('cc_utterance_2')) == list(labels) and not len(database.labels('cc_utterance_2'))
    assert database.frames().arousal.between(0, 1).all() and database.source(database.clip('aa_utterance_4')).name == 'aa_utterance_4'


def test_omg_columns_go_by_their_names(omg):
    write(omg/'omg_TrainVideos.csv', 'valence,utterance,EmotionMaxVote,video,arousal,end,start,link', '-.3,utterance_1.mp4,5,ee,.9,1,0,x')
    labels = open_database('omg-emotion', omg).labels('ee_utterance_1')
    np.testing.assert_allclose(labels[['valence', 'arousal', 'expression']], [[-.3, .9, EXPRESSIONS.index('Sadness')]], rtol=1e-6)


def test_omg_labels_of_the_test_set_count_once_they_are_there(omg):
    write(omg/'omg_TestVideos_WithLabels.csv', OMG, utterance('cc', 9, .5, .25), utterance('cc', 2))
    database = open_database('omg-emotion', omg)
    np.testing.assert_allclose(database.labels('cc_utterance_9').valence, [.25])
    assert any('WithLabels' in note and 'the first counts' in note for note in database.notes)


@pytest.mark.parametrize('row, message', [
    (utterance('aa', 5, -.01), 'arousal is -0.01, allowed are numbers in [0.0, 1.0]'), (utterance('aa', 5, valence=1.2), 'valence is 1.2, allowed are numbers in [-1.0, 1.0]'),
    (utterance('aa', 5, 'x'), "arousal is 'x', allowed is a number"), (utterance('aa', 5, valence=''), "valence is '', allowed is a number"), (utterance('aa', 5, 'nan'), "arousal is 'nan'"),
    (utterance('aa', 5, vote=7), 'expression is 7, allowed are whole numbers 0 to 6'), (utterance('aa', 5, vote=2.5), 'expression is 2.5'),
])
def test_omg_a_bad_label_is_told_to_who_asks_for_it(omg, row, message):
    path = write(omg/'omg_TrainVideos.csv', OMG, utterance('aa', 4), row)
    database = open_database('omg-emotion', omg)
    assert len(database.labels('aa_utterance_4')) == 1
    with pytest.raises(ValueError) as error: database.labels('aa_utterance_5')
    assert f'{path}, row 3: {message}' in said(error)
    lenient = open_database('omg-emotion', omg, on_fault='skip')
    labels = lenient.labels('aa_utterance_5')
    assert labels.valence.isna()[0] == labels.arousal.isna()[0] == (labels.expression[0] >= 0) and len(lenient.faults) == 1


@pytest.mark.parametrize('row, message', [
    (utterance('aa', 4, .9), "row 2: 'aa_utterance_4' is listed more than once (rows 2, 3), allowed is one row; they contradict each other (arousal is '0.25' in row 2 and '0.9' in row 3)"), (utterance('a/a', 4), "row 3: video is 'a/a', allowed is"),
    (utterance('aa', 'four'), "row 3: utterance is 'utterance_four.mp4', allowed is a name like utterance_12.mp4"), ('x,0,1,utterance_4.mp4,aa,.1,.1,3', "row 3: video is 'utterance_4.mp4'"),
    (utterance('aa', 5, '0,9'), 'row 3: '), ('x,0,1,aa', 'row 3: '),
])
def test_omg_a_row_without_an_utterance_is_refused(omg, row, message):
    path = write(omg/'omg_TrainVideos.csv', OMG, utterance('aa', 4), row)
    with pytest.raises(ValueError) as error: open_database('omg-emotion', omg)
    assert f'{path}, {message}' in said(error)
    lenient = open_database('omg-emotion', omg, on_fault='skip')
    twice = 'more than once' in message # which row is meant, nobody knows
    assert [clip.name for clip in lenient.select('train')] == ['aa_utterance_4']*(not twice) and len(lenient.faults) == 1 + twice


def test_omg_a_list_that_is_none(omg):
    for text, message in (('', 'is empty'), (OMG.replace('valence', 'v'), "column 'valence' is missing"), (f'{OMG},arousal', "column 'arousal' is there twice")):
        path = write(omg/'omg_TrainVideos.csv', text)
        with pytest.raises(ValueError) as error: open_database('omg-emotion', omg)
        assert str(path) in said(error) and message in said(error)
    write(omg/'omg_TrainVideos.csv', OMG, utterance('dd', 1))
    with pytest.raises(ValueError, match='dd_utterance_1 is in two of omg_TrainVideos.csv, omg_ValidationVideos.csv'): open_database('omg-emotion', omg)
    write(omg/'omg_TrainVideos.csv', OMG)
    assert not open_database('omg-emotion', omg).select('train')


def test_omg_an_unfinished_last_row_is_left_out(omg):
    path, whole = omg/'omg_TestVideos_WithoutLabels.csv', 'link,start,end,video,utterance\nx,0,1,cc,utterance_9.mp4\nx,0,1,cc,utterance_2.mp4'
    path.write_text(whole)
    assert len(open_database('omg-emotion', omg).select('test')) == 2
    path.write_text(whole[:-len('ance_2.mp4')])
    database = open_database('omg-emotion', omg)
    assert len(database.select('test')) == 1 and any('may be cut off' in note for note in database.notes)


def test_omg_predictions_go_out_in_the_order_of_the_list(omg):
    database = open_database('omg-emotion', omg)
    predictions = pd.DataFrame(dict(clip=['cc_utterance_2', 'cc_utterance_9'], valence=[.1, .2], arousal=[.3, .4]))
    assert database.submission(predictions).to_csv(index=False).splitlines() == ['video,utterance,arousal,valence', 'cc,utterance_9.mp4,0.4,0.2', 'cc,utterance_2.mp4,0.3,0.1']
    for wrong, message in ((predictions[:1], 'cc_utterance_9 has no prediction'), (predictions.assign(clip='cc_utterance_9'), 'cc_utterance_9 is predicted twice'),
                           (pd.concat([predictions, predictions[:1].assign(clip='aa_utterance_4')]), 'aa_utterance_4 is not in omg_TestVideos'),
                           (predictions.assign(valence=[np.nan, 0]), 'cc_utterance_2 has a prediction that is no number'), (predictions.drop(columns='arousal'), "no column 'arousal'")):
        with pytest.raises(ValueError, match=message): database.submission(wrong)
    with pytest.raises(ValueError, match="split is 'all'"): database.submission(predictions, 'all')


# twins

TWINS = ('afew-va', 'sewa', 'omg-emotion')


@pytest.mark.parametrize('name', TWINS)
@pytest.mark.parametrize('size', [TINY, dict(train=7, validation=2, test=4, frames_per_clip=16)], ids=['tiny', 'more'])
def test_what_the_twin_writes_is_what_the_adapter_reads(tmp_path, name, size):
    root = write_database(name, tmp_path/'twin', media=False, progress=False, **size)
    found, truth = (table.sort_values(['clip', 'frame'], ignore_index=True) for table in (open_database(name, root).frames(), twin_truth(name, **size)))
    pd.testing.assert_frame_equal(found[list(truth)], truth, check_dtype=False, rtol=0, atol=0)
    assert len(truth) and not [file for file in root.rglob('*') if file.suffix in ('.png', '.mp4')]


def test_twins_have_the_flaws_of_their_originals(tmp_path):
    afew, sewa, omg = (open_database(name, write_database(name, tmp_path/name, media=False, progress=False, train=5, test=1, frames_per_clip=12)) for name in TWINS)
    texts = [clip.annotations['va'].read_text() for clip in afew.clips]
    assert any('"valence": 0.0' in text or '"valence": -1.0' in text or '.0\n' in text for text in texts) and len({clip.subject for clip in afew.clips}) < len(afew.clips)
    sewa.frames()
    assert any('rows of arousal' in note for note in sewa.notes)
    assert [clip.name.rpartition('_')[2] for clip in omg.clips[:3]] == ['1', '2', '4'] and len({clip.subject for clip in omg.clips}) == 3
    assert any('_1_utterance' in clip.name for clip in omg.clips) and all(clip.annotated for clip in omg.clips)


@pytest.mark.parametrize('name', TWINS)
def test_a_twin_with_its_media(tmp_path, name):
    root = write_database(name, tmp_path/'twin', progress=False, **TINY)
    before = {file: file.stat().st_mtime_ns for file in root.rglob('*.*') if file.suffix in ('.png', '.mp4', '.json', '.csv') and file.name not in ('synthetic.json', 'subjects.csv')}
    write_database(name, root, progress=False, **TINY)
    assert before == {file: file.stat().st_mtime_ns for file in before}
    database = open_database(name, root)
    for clip in database.clips:
        source, labels = database.source(clip), database.labels(clip)
        assert source is not None and all(file.is_file() for file in database.images(clip).values()) and len(labels)
    if name == 'afew-va':
        lacking = {clip.name: set(database.labels(clip).frame) - set(database.images(clip)) for clip in database.clips}
        assert lacking['002'] and any('labels without an image' in note and note.startswith('002') for note in database.notes)
        points = database.landmarks('001')
        assert points.shape[1:] == (68, 2) and (points > 0).all() and (points < 128).all() and not [note for note in database.notes if 'landmarks' in note]
