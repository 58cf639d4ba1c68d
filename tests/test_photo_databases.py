"""Rooms 10_synth and 30_data: the databases of photographs, against hand-made fixtures, and their twins there and back."""
import cv2
import numpy as np
import pytest

from affect_nb.core.labels import COMPOUND_EMOTIONET, COMPOUND_RAFDB, EXPRESSIONS
from affect_nb.databases.base import open_database
from affect_nb.synth.twins import get_twin, list_synthetic, twin_truth, write_database

HEADER = 'subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal'
POINTS = ';'.join(['1.5']*136)
TINY = dict(train=2, validation=1, test=1, frames_per_clip=12)
TWINS = ('affectnet', 'affectnet-csv-without-header', 'affectnet-npy', 'raf-db', 'emotionet')


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(str, lines)) + '\n')
    return path


def said_by(name, root, **options):
    "The message of the error that reading everything ends with."
    with pytest.raises(ValueError) as error: open_database(name, root, **options).frames()
    return str(error.value)


# AffectNet

def face(image, expression, valence=0., arousal=0.): return f'{image},10,20,100,120,{POINTS},{expression},{valence},{arousal}'


@pytest.fixture
def lists(tmp_path):
    "Folder 12 has three training images and one to validate, folder 3 one; validation.csv has no header."
    folder = tmp_path/'Manually_Annotated_file_lists'
    write(folder/'training.csv', HEADER, face('12/a.jpg', 3, .25, .5), face('3/b.JPG', 4, -.5, .5), face('12/c.png', 7, -.75, .25), face('12/d.bmp', 9, -2, -2))
    write(folder/'validation.csv', face('12/e.jpeg', 5, -.5, .25))
    return tmp_path


def test_affectnet_lists(lists):
    affectnet = open_database('affectnet', lists)
    assert (affectnet.release, affectnet.still) == ('csv-without-header', True)
    assert [(clip.name, clip.subject, clip.split, clip.splits) for clip in affectnet.clips] == [
        (name, name, split, {'va': split, 'expression': split}) for name, split in (('train_12', 'train'), ('train_3', 'train'), ('validation_12', 'validation'))]
    table = affectnet.labels('train_12')
    assert list(table) == ['frame', 'valence', 'arousal', 'expression', 'category', 'image']
    assert table.frame.tolist() == [0, 1, 2] and table.category.tolist() == [3, 7, 9]
    assert [EXPRESSIONS[place] if place >= 0 else None for place in table.expression] == ['Surprise', None, None]
    np.testing.assert_array_equal(table[['valence', 'arousal']], np.array([(.25, .5), (-.75, .25), (np.nan, np.nan)], np.float32))
    assert table.image.tolist() == [f'Manually_Annotated_Images/12/{name}' for name in ('a.jpg', 'c.png', 'd.bmp')]
    assert list(affectnet.images(affectnet.clip('train_12')).values()) == [lists/image for image in table.image]


@pytest.mark.parametrize('number, name', enumerate(['Neutral', 'Happiness', 'Sadness', 'Surprise', 'Fear', 'Disgust', 'Anger', None, None, None, None]))
def test_affectnet_classes_by_name(tmp_path, number, name):
    write(tmp_path/'training.csv', HEADER, face('1/a.jpg', number))
    labels = open_database('affectnet', tmp_path).labels('train_1')
    assert labels.category.item() == number and labels.expression.item() == (-1 if name is None else EXPRESSIONS.index(name))


def test_affectnet_columns_go_by_the_header(tmp_path):
    write(tmp_path/'training.csv', 'arousal,subDirectory_filePath,valence,expression', '-0.5,1/a.jpg,0.25,2')
    labels = open_database('affectnet', tmp_path).labels('train_1')
    assert (labels.valence.item(), labels.arousal.item(), labels.category.item()) == (.25, -.5, 2)


@pytest.mark.parametrize('rows, said', [
    ([HEADER, face('1/a.jpg', 11)], 'row 2: category is 11, allowed are whole numbers 0 to 10'),
    ([HEADER, face('1/a.jpg', 1.5)], 'row 2: category is 1.5'),
    ([HEADER, face('1/a.jpg', 1, -5, 0)], 'row 2: valence is -5, allowed are numbers in [-1.0, 1.0], or -2 for no annotation'),
    ([HEADER, face('1/a.jpg', 1, 'x', 0)], "row 2: valence is 'x', allowed is a number"),
    ([HEADER, face('1/a.jpg', 1, '0,5', 0)], 'has 10 cells, allowed are 9'),
    ([HEADER, face('17', 1)], "row 2: '17' is not the file of an image"),
    ([HEADER, face('../../a.jpg', 1)], 'is not the file of an image'),
    ([HEADER, face('1/a.jpg', 1), face('1/b.jpg', 1), face('1/a.jpg', 2)], "row 2: '1/a.jpg' is listed more than once (rows 2, 4), allowed is one row"),
    ([HEADER.replace('arousal', 'energy'), face('1/a.jpg', 1)], "row 1: column 'arousal' is missing"),
    (['file,label', '1/a.jpg,1'], "row 1: 'file,label' is neither the header"),
    ([face('1/a.jpg', 6, .5, -.5)], 'has no header, and its faces of fear, disgust and anger have a mean valence of 0.50'),
])
def test_affectnet_bad_rows_are_named(tmp_path, rows, said):
    path = write(tmp_path/'training.csv', *rows)
    message = said_by('affectnet', tmp_path)
    assert said in message and str(path) in message


def test_affectnet_skips_bad_rows_whole(tmp_path):
    path = write(tmp_path/'training.csv', HEADER, face('1/a.jpg', 1, .5, .5), face('1/b.jpg', 12, .5, .5), face('1/c.jpg', 2, 7, .5), 'x', face('1/d.jpg', 0))
    affectnet = open_database('affectnet', tmp_path, on_fault='skip')
    labels = affectnet.labels('train_1')
    assert labels.category.tolist() == [1, -1, -1, 0] and labels.valence.isna().tolist() == [False, True, True, False]
    assert [(fault.path, fault.row) for fault in affectnet.faults] == [(str(path), 5), (str(path), 3), (str(path), 4)]


def test_affectnet_image_in_both_lists(lists):
    path = write(lists/'Manually_Annotated_file_lists'/'validation.csv', HEADER, face('3/x.jpg', 1), face('3/b.JPG', 1))
    assert f"{path}, row 3: '3/b.JPG' is in training.csv too" in said_by('affectnet', lists)
    skipping = open_database('affectnet', lists, on_fault='skip')
    assert skipping.labels('validation_3').image.tolist() == ['Manually_Annotated_Images/3/x.jpg'] and skipping.release == 'csv'


def test_affectnet_cut_off_last_row_is_left_out(lists):
    path = lists/'Manually_Annotated_file_lists'/'training.csv'
    path.write_text(path.read_text()[:-1])
    affectnet = open_database('affectnet', lists)
    assert affectnet.labels('train_12').category.tolist() == [3, 7] and 'does not end with a line end' in affectnet.notes[0]


@pytest.mark.parametrize('folder', ['Automatically_annotated_file_list', 'Automatically_annotated_file_lists'])
def test_affectnet_automatic_list(lists, folder):
    assert 'automatic is True, but' in said_by('affectnet', lists, automatic=True)
    write(lists/folder/'automatically_annotated.csv', HEADER, face('12/z.jpg', 0))
    assert [clip.name for clip in open_database('affectnet', lists).clips] == ['train_12', 'train_3', 'validation_12']
    both = open_database('affectnet', lists, automatic=True)
    assert both.clip('automatic_12').split == 'train' and both.labels('automatic_12').image.item() == 'Automatically_Annotated_Images/12/z.jpg'
    assert "automatic is 'yes', allowed are True and False" in said_by('affectnet', lists, automatic='yes')


def test_affectnet_images_right_below_the_root(lists):
    write(lists/'12'/'a.jpg', 'image')
    affectnet = open_database('affectnet', lists)
    assert affectnet.images(affectnet.clip('train_12'))[0] == lists/'12'/'a.jpg' and affectnet.labels('train_12').image.iloc[0] == '12/a.jpg'


@pytest.fixture
def arrays(tmp_path):
    "Numbers with gaps; values as texts, as numbers, as arrays of one number; 2007 has no arousal."
    def save(place, **values):
        for kind, value in values.items():
            (tmp_path/place).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path/f'{place}_{kind}.npy', value)
    save('train_set/annotations/2', exp=np.array('6'), val=np.array('-0.5'), aro=np.array('0.25'), lnd=np.zeros(136))
    save('train_set/annotations/10', exp=np.array(1), val=np.array([.5]), aro=np.array(.75, np.float32), lnd=np.zeros(136))
    save('train_set/annotations/1999', exp=np.array(b'7'), val=np.array('-2'), aro=np.array('0.5'))
    save('train_set/annotations/2007', exp=np.array('0'), val=np.array('0.5'))
    save('val_set/annotations/5', exp=np.array('4'), val=np.array('0'), aro=np.array('0'))
    return tmp_path


def test_affectnet_arrays(arrays):
    affectnet = open_database('affectnet', arrays)
    assert affectnet.release == 'npy'
    table = affectnet.frames()
    assert list(zip(table['clip'], table['frame'])) == [('train_000', 2), ('train_000', 10), ('train_001', 999), ('train_002', 7), ('validation_000', 5)]
    assert table.category.tolist() == [6, 1, 7, 0, 4]
    assert [EXPRESSIONS[place] if place >= 0 else None for place in table.expression] == ['Anger', 'Happiness', None, 'Neutral', 'Fear']
    np.testing.assert_array_equal(table[['valence', 'arousal']], np.array([(-.5, .25), (.5, .75), *[(np.nan, np.nan)]*2, (0, 0)], np.float32))
    assert 'train_002: 1 of 1 files *_aro.npy are not there; those images have no arousal' in affectnet.notes
    assert affectnet.images(affectnet.clip('train_000')) == {2: arrays/'train_set'/'images'/'2.jpg', 10: arrays/'train_set'/'images'/'10.jpg'}
    assert table.image.iloc[0] == 'train_set/images/2.jpg'


@pytest.mark.parametrize('value, said', [(np.array('8'), 'category is 8, allowed are whole numbers 0 to 7'), (np.array('1_0'), "it holds '1_0'"), (np.array(np.inf), 'it holds inf'), (np.array([1, 2]), 'it holds 2 values'),
                                         (np.array([{}], object), 'Object arrays cannot be loaded'), (np.array(True), 'type bool')])
def test_affectnet_arrays_of_something_else_are_refused(arrays, value, said):
    path = arrays/'train_set'/'annotations'/'2_exp.npy'
    np.save(path, value)
    message = said_by('affectnet', arrays)
    assert said in message and str(path) in message
    skipping = open_database('affectnet', arrays, on_fault='skip')
    assert skipping.labels('train_000').category.tolist() == [-1, 1] and len(skipping.faults) == 1


def test_affectnet_damaged_arrays_are_refused(arrays):
    path = arrays/'train_set'/'annotations'/'10_val.npy'
    good = path.read_bytes()
    for cut in range(len(good)):
        path.write_bytes(good[:cut])
        assert str(path) in said_by('affectnet', arrays)
    path.write_bytes(good + b'0')
    assert 'it holds 1 values of type float64 and more' in said_by('affectnet', arrays)


def test_affectnet_one_release_in_a_folder(arrays):
    write(arrays/'training.csv', HEADER, face('1/a.jpg', 0))
    assert 'allowed is one release in a folder' in said_by('affectnet', arrays)


def test_affectnet_one_name_for_a_number(arrays):
    np.save(arrays/'train_set'/'annotations'/'0010_val.npy', np.array(.5))
    assert "holds arrays of '0010' and of '10', which is the same number" in said_by('affectnet', arrays)


# RAF-DB

@pytest.fixture
def raf(tmp_path):
    write(tmp_path/'basic'/'EmoLabel'/'list_patition_label.txt', *[f'train_0000{number}.jpg {number}' for number in range(1, 8)], 'train_04001.jpg 4', 'test_0001.jpg 5')
    write(tmp_path/'compound'/'EmoLabel'/'list_patition_label.txt', *[f'train_{number:04d}.jpg {number}' for number in range(1, 12)], 'test_0003.jpg 2')
    return tmp_path


def test_raf_both_lists(raf):
    database = open_database('raf-db', raf)
    assert [(clip.name, clip.split, clip.splits) for clip in database.clips] == [
        ('basic_train_01', 'train', {'expression': 'train'}), ('basic_train_03', 'train', {'expression': 'train'}), ('compound_train_01', 'train', {'compound': 'train'}),
        ('basic_test_01', 'test', {'expression': 'test'}), ('compound_test_01', 'test', {'compound': 'test'})]
    basic, compound = database.labels('basic_train_01'), database.labels('compound_train_01')
    assert [EXPRESSIONS[place] for place in basic.expression] == ['Surprise', 'Fear', 'Disgust', 'Happiness', 'Sadness', 'Anger', 'Neutral']
    assert tuple(COMPOUND_RAFDB[place] for place in compound['compound']) == COMPOUND_RAFDB
    assert set(basic['compound']) == set(compound.expression) == {-1}
    assert database.labels('compound_test_01').frame.tolist() == [2] and database.release is None
    assert database.select('train', 'compound') == [database.clip('compound_train_01')]


@pytest.mark.parametrize('kind', ['basic', 'compound'])
def test_raf_either_list_alone(raf, kind):
    (raf/('compound' if kind == 'basic' else 'basic')).rename(raf/'away')
    database = open_database('raf-db', raf)
    assert database.release == kind and {clip.name.split('_')[0] for clip in database.clips} == {kind}


def test_raf_images(raf):
    first = lambda **options: open_database('raf-db', raf, **options).labels('basic_test_01').image.item()
    write(raf/'basic'/'Image'/'aligned'/'test_0001_aligned.jpg', 'image')
    assert first() == 'basic/Image/aligned/test_0001_aligned.jpg'
    write(raf/'basic'/'Image'/'original'/'test_0001.jpg', 'image')
    assert first() == 'basic/Image/original/test_0001.jpg' and first(images='aligned') == 'basic/Image/aligned/test_0001_aligned.jpg'
    database = open_database('raf-db', raf)
    assert database.source(database.clip('basic_test_01')).frames == ((0, raf/'basic'/'Image'/'original'/'test_0001.jpg'),)
    assert database.source(database.clip('compound_test_01')) is None
    assert "images is 'cropped', allowed are original, aligned or None" in said_by('raf-db', raf, images='cropped')


@pytest.mark.parametrize('row, said', [('train_00001.jpg 0', 'expression is 0, allowed are whole numbers 1 to 7'), ('train_00001.jpg 8', 'expression is 8'), ('train_00001.jpg x', "class is 'x', allowed is a number"),
                                       ('4 train_00001.jpg', "'4' is not the name of an image"), ('valid_00001.jpg 4', 'allowed are train_<number>.jpg and test_<number>.jpg'), ('train_00001.jpg  4', 'has 3 cells, allowed are 2'),
                                       ('train_2.jpg 4', "'train_2' is listed more than once (rows 1, 2)")])
def test_raf_bad_rows_are_named(tmp_path, row, said):
    path = write(tmp_path/'basic'/'EmoLabel'/'list_patition_label.txt', row, 'train_00002.jpg 3', 'test_0001.jpg 1')
    message = said_by('raf-db', tmp_path)
    assert said in message and f'{path}, row 1' in message
    skipping = open_database('raf-db', tmp_path, on_fault='skip')
    skipping.frames()
    assert {fault.row for fault in skipping.faults} >= {1}


def test_raf_unfinished_class_is_no_label(raf):
    path = raf/'compound'/'EmoLabel'/'list_patition_label.txt'
    path.write_text('train_0001.jpg 3\ntrain_0002.jpg 1') # 1, 10 or 11
    assert open_database('raf-db', raf).labels('compound_train_01')['compound'].tolist() == [2]


# EmotioNet

def address(name): return f'http://example.org/net/N_0000000001/{name}.jpg'
def automatic(name, **values): return '\t'.join([address(name), 'http://example.org/a.jpg', *(str(values.get(f'au{au}', 999)) for au in range(1, 61))])
def categories(name, *places): return ','.join([address(name), 'x', *('1' if place in places else '0' for place in range(16))])


@pytest.fixture
def net(tmp_path):
    write(tmp_path/'dataFile_0001.txt', automatic('a', au1=1, au60=0), automatic('b', au2=0))
    write(tmp_path/'EmotioNet_FACS_aws_2020_24600.csv', """URL,URL orig, 'AU 12',"'AU 1'",AU 60""", f"'{address('c')}' ,'x',0,999,1", f" {address('d')},x,1,0,999")
    write(tmp_path/'URLsWithEmotionCat.csv', ','.join(['URL', 'orig', *(name.replace(' ', '_') for name in COMPOUND_EMOTIONET)]), *(categories(f'e{place}', place) for place in range(16)))
    return tmp_path


def test_emotionet_three_sheets(net):
    database = open_database('emotionet', net)
    assert [(clip.name, clip.split, clip.splits) for clip in database.clips] == [('dataFile_0001', 'train', {'aus': 'train'}),
        ('EmotioNet_FACS_aws_2020_24600_01', 'validation', {'aus': 'validation'}), ('URLsWithEmotionCat_01', 'test', {'compound': 'test'})]
    first, manual, last = (database.labels(clip) for clip in database.clips)
    assert list(first) == list(manual) == list(last) == ['frame', *(f'au{au}' for au in range(1, 61)), 'expression', 'compound', 'image']
    np.testing.assert_array_equal(first[['au1', 'au2', 'au60']], [(1, np.nan, 0), (np.nan, 0, np.nan)])
    np.testing.assert_array_equal(manual[['au1', 'au2', 'au12', 'au60']], [(np.nan, np.nan, 0, 1), (0, np.nan, 1, np.nan)])
    assert last['compound'].tolist() == list(range(16)) and last.filter(like='au').isna().all(axis=None)
    assert {-1} == set(first['compound']) == set(manual['compound']) == set(last.expression)
    assert manual.image.tolist() == ['N_0000000001/c.jpg', 'N_0000000001/d.jpg']
    assert any('has no column AU 2, AU 3' in note for note in database.notes)


def test_emotionet_chosen_aus(net):
    assert list(open_database('emotionet', net, aus=(12, 1)).labels('dataFile_0001')) == ['frame', 'au12', 'au1', 'expression', 'compound', 'image']
    for aus in ((0,), (1, 1), (1, 61), ()): assert 'allowed are numbers 1 to 60, each once' in said_by('emotionet', net, aus=aus)


def test_emotionet_images_are_found_anywhere(net):
    for place in ('N_0000000001/a.jpg', 'deep/down/b.jpg', 'one/c.jpg', 'two/c.jpg'): write(net/place, 'image')
    database = open_database('emotionet', net)
    assert '_found' not in vars(database)
    assert database.images(database.clip('dataFile_0001')) == {0: net/'N_0000000001'/'a.jpg', 1: net/'deep'/'down'/'b.jpg'}
    assert database.images(database.clips[1]) == {0: net/'N_0000000001'/'c.jpg', 1: net/'N_0000000001'/'d.jpg'} # which of the two c.jpg, nobody knows
    assert database.source(database.clips[2]) is None


@pytest.mark.parametrize('file, row, said', [
    ('dataFile_0001.txt', automatic('x', au3=2), 'row 3: aus is 2, allowed are 0 or 1, or 999 for no annotation'),
    ('dataFile_0001.txt', automatic('x', au3='y'), "row 3: AU 3 is 'y', allowed is a number"),
    ('dataFile_0001.txt', automatic('x')[:-4], 'has 61 cells, allowed are 62'),
    ('dataFile_0001.txt', automatic('a'), "'N_0000000001/a.jpg' is listed more than once (rows 1, 3)"),
    ('dataFile_0001.txt', automatic('x').replace('http', '', 1), 'is not the address of an image'),
    ('EmotioNet_FACS_aws_2020_24600.csv', f'{address("x")},x,0,-1,1', 'row 4: aus is -1'),
    ('URLsWithEmotionCat.csv', categories('x', 3, 5), 'row 18: the categories are 0 0 0 1 0 1'),
    ('URLsWithEmotionCat.csv', categories('x'), 'allowed is one 1 among fifteen 0'),
    ('URLsWithEmotionCat.csv', categories('x', 3).replace('1,0', '2,0'), 'row 18: the categories are 0 0 0 2'),
])
def test_emotionet_bad_rows_are_named(net, file, row, said):
    (net/file).write_text((net/file).read_text() + row + '\n')
    message = said_by('emotionet', net)
    assert said in message and file in message
    skipping = open_database('emotionet', net, on_fault='skip')
    assert skipping.frames().drop(columns='frame').filter(regex='^au|compound').iloc[2].isna()[:60].any() and len(skipping.faults) >= 1


def test_emotionet_workbooks(net):
    (net/'EmotioNet_FACS_aws_2020_24600.csv').rename(net/'EmotioNet_FACS_aws_2020_24600.xlsx')
    assert any('save it as EmotioNet_FACS_aws_2020_24600.csv' in note for note in open_database('emotionet', net).notes)
    for file in ('dataFile_0001.txt', 'URLsWithEmotionCat.csv'): (net/file).unlink()
    assert 'as handed out it is encrypted' in said_by('emotionet', net)


def test_emotionet_rows_are_cut_into_clips(net):
    path = net/'EmotioNet_FACS_aws_2020_24600.csv'
    write(path, 'URL,URL orig,AU 1', *(f'{address(number)},x,{number % 2}' for number in range(4001)))
    database = open_database('emotionet', net, aus=(1,))
    clips = database.select('validation')
    assert [clip.name[-2:] for clip in clips] == ['01', '02', '03']
    assert [len(database.labels(clip)) for clip in clips] == [2000, 2000, 1]
    assert database.labels(clips[1]).image.iloc[0] == 'N_0000000001/2000.jpg' and database.labels(clips[1]).frame.iloc[0] == 0


# Twins

def assert_same(found, truth):
    "Every column of the truth, missing values included."
    found, truth = (table.sort_values(['clip', 'frame'], ignore_index=True) for table in (found, truth))
    assert set(truth) == set(found) - {'database'}
    for name in truth:
        if name in ('clip', 'subject', 'split', 'image'): assert found[name].tolist() == truth[name].tolist(), name
        else: np.testing.assert_array_equal(found[name].to_numpy(float), truth[name].to_numpy(float), err_msg=name)


@pytest.mark.parametrize('name', TWINS)
def test_twin_there_and_back(tmp_path, name):
    assert name in list_synthetic(get_twin(name).database)
    root = write_database(name, tmp_path/'twin', media=False, progress=False, **TINY)
    assert not list(root.rglob('*.jpg'))
    database = open_database(get_twin(name).database, root)
    assert not database.faults and not database.notes
    assert_same(database.frames(), twin_truth(name, **TINY))
    before = {file: file.read_bytes() for file in root.rglob('*') if file.is_file()}
    again = write_database(name, tmp_path/'again', media=False, progress=False, **TINY)
    assert {file.relative_to(root): content for file, content in before.items()} == {file.relative_to(again): file.read_bytes() for file in again.rglob('*') if file.is_file()}


@pytest.mark.parametrize('name', ['affectnet', 'affectnet-npy', 'raf-db', 'emotionet'])
def test_twin_with_images(tmp_path, name):
    size = dict(train=1, validation=0, test=1, frames_per_clip=12, width=96, height=96)
    root = write_database(name, tmp_path/'twin', progress=False, **size)
    database = open_database(get_twin(name).database, root)
    files = {clip.name: database.images(clip) for clip in database.clips}
    table = database.frames()
    missing = [(row['clip'], row['frame']) for row in table.to_dict('records') if not files[row['clip']][row['frame']].is_file()]
    assert [(root/image).is_file() for image in table.image] == [(row['clip'], row['frame']) not in missing for row in table.to_dict('records')]
    assert bool(missing) == (name != 'raf-db') and len(missing) <= len(table)/8
    assert sum(len(database.source(clip).frames) for clip in database.clips) == len(table) - len(missing)
    side = 224 if name == 'affectnet-npy' else 96
    assert {cv2.imread(str(root/image)).shape for image in table.image if (root/image).is_file()} == {(side, side, 3)}
    if name == 'raf-db': assert {cv2.imread(str(file)).shape for file in root.rglob('*_aligned.jpg')} == {(100, 100, 3)}
    gone = next(root.rglob('*.jpg'))
    content = gone.read_bytes()
    gone.unlink()
    write_database(name, root, progress=False, **size)
    assert gone.read_bytes() == content
