"""Windows with sound: placed by the times of the frames, zeros where there is none, in batches of every kind."""
import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from affect_nb.core.labels import AffectOutput, AffectTargets
from affect_nb.data import sequences
from affect_nb.data.joint import JointDL, LabelSet, joint_dataloaders
from affect_nb.data.loaders import affect_dataloaders, collate_sequences
from affect_nb.data.sequences import SequenceDataset, _OpenStores
from affect_nb.data.store import CroppedAligned
from affect_nb.preprocess.sound import sound_beside
from affect_nb.preprocess.face_store import FaceStoreWriter

CPU = torch.device('cpu')


class Clockwork:
    "A sound whose image of the time t is t in hundredths of a second."
    def __init__(self, path):
        try: self.about = json.loads(Path(path).read_text())
        except ValueError: raise ValueError(f'{path} is not a sound store') from None
        self.opened = path

    @classmethod
    def open(cls, path): return cls(path)
    def images(self, times): return np.broadcast_to(np.round(np.asarray(times)*100).astype(np.uint8)[:, None, None], (len(times), 96, 96)).copy()


@pytest.fixture(autouse=True)
def clockwork(request, monkeypatch):
    if 'twin' not in request.fixturenames: monkeypatch.setattr(sequences, 'SoundStore', Clockwork)


def write_clip(path, times, faces=(0,), without=(), sound='{}'):
    "Frame k is shown at times[k]; in the frames `without` nobody has a row, and the last frame is never one of them."
    with FaceStoreWriter(path, clip=path.stem, encoding='raw') as writer:
        for frame, time in enumerate(times):
            for face in faces:
                if frame not in without: writer.add(frame, time, face, 'ok', np.full((96, 96, 3), frame % 256, np.uint8), box=(200*face, 0, 200*face + 9, 9), crop_landmarks=np.zeros((68, 2)))
    if sound is not None: path.with_suffix('.sound').write_text(sound)


def labels_of(name, n, **more): return pd.DataFrame(dict(clip=name, subject=name, database='twin', frame=range(n), valence=.5, arousal=-.5) | more)
def heard(window): return window.audio[:, 0, 48, 48].tolist()
def hundredths(times): return np.round(np.asarray(times)*100).tolist()


# where it is placed

def test_each_frame_hears_its_own_time(tmp_path):
    times = np.sort(np.random.default_rng(0).uniform(.1, 2.5, 24)) # frames of changing length
    write_clip(tmp_path/'walk.arrow', times)
    data = SequenceDataset(tmp_path, labels_of('walk', 24), length=8, sound=True)
    assert data.has_sound and data.sounding == ['walk'] and not data.notes
    for window in data:
        assert window.audio.shape == (8, 1, 96, 96) and window.audio.dtype == torch.uint8
        assert heard(window) == hundredths(times[window.start:window.start + 8])
    assert not SequenceDataset(tmp_path, labels_of('walk', 24), length=8).has_sound
    assert SequenceDataset(tmp_path, labels_of('walk', 24), length=8)[0].audio is None


def test_frames_without_a_row_hear_what_is_between(tmp_path):
    times = .5 + np.arange(20)/12.5
    write_clip(tmp_path/'walk.arrow', times, without=(0, 1, 5, 6, 7, 12))
    data = SequenceDataset(tmp_path, labels_of('walk', 20), length=5, sound=True)
    for window in data: assert heard(window) == hundredths(times[window.start:window.start + 5])
    assert [int(window.mask.sum()) for window in data] == [3, 2, 4, 5], 'sound is heard where no face is seen'


def test_times_that_are_missing_are_found_between_or_named(tmp_path):
    write_clip(tmp_path/'walk.arrow', [.1, np.nan, .3, .4, np.nan, np.nan])
    assert heard(SequenceDataset(tmp_path, labels_of('walk', 6), length=6, sound=True)[0]) == [10, 20, 30, 40, 50, 60]
    write_clip(tmp_path/'lost.arrow', [np.nan]*6)
    with pytest.raises(ValueError, match='lost.arrow: no frame has a time'): SequenceDataset(tmp_path, labels_of('lost', 6), length=6, sound=True)[0]


def test_past_the_end_is_nothing(tmp_path):
    write_clip(tmp_path/'walk.arrow', 1 + np.arange(7)/10)
    window, = SequenceDataset(tmp_path, labels_of('walk', 7), length=10, remainder='pad', sound=True)
    assert heard(window) == [*range(100, 170, 10), 0, 0, 0] and window.heard.tolist() == [True]*7 + [False]*3


def test_the_crops_of_a_release_share_the_sound_of_their_video(tmp_path):
    for side in ('5_left', '5_right'):
        (tmp_path/'crops'/side).mkdir(parents=True)
        for number in (1, 2, 5, 6): cv2.imwrite(str(tmp_path/'crops'/side/f'{number:05d}.jpg'), np.full((96, 96, 3), number, np.uint8))
    sounds = tmp_path/'faces'
    sounds.mkdir()
    (sounds/'5.sound').write_text('{}')
    labels = pd.concat([labels_of('5_left', 6), labels_of('5_right', 6)])
    beside = SequenceDataset(tmp_path/'crops', labels, length=6, sound=True)
    assert beside.has_sound and not beside.sounding and not beside[0].heard.any() and sum('no sound in' in note for note in beside.notes) == 2

    rated = SequenceDataset([CroppedAligned(tmp_path/'crops'/side, fps=10) for side in ('5_left', '5_right')], labels, length=6, sound=sounds)
    assert rated.sounding == ['5_left', '5_right'] and heard(rated[0]) == heard(rated[1]) == [0, 10, 20, 30, 40, 50]
    assert 'placed at 10 frames a second' in ' '.join(rated.notes)

    write_clip(sounds/'5.arrow', .2 + np.arange(6)/4)
    timed = SequenceDataset(tmp_path/'crops', labels, length=6, sound=sounds)
    assert heard(timed[1]) == hundredths(.2 + np.arange(6)/4) and 'a second' not in ' '.join(timed.notes), 'the store of the video knows the times'


def test_two_people_of_a_video_hear_the_same(tmp_path):
    write_clip(tmp_path/'7.arrow', np.arange(6)/10, faces=(0, 1))
    data = SequenceDataset(tmp_path, pd.concat([labels_of('7_left', 6), labels_of('7_right', 6)]), length=6, sound=True)
    assert [window.clip for window in data] == ['7_left', '7_right'] and heard(data[0]) == heard(data[1]) == hundredths(np.arange(6)/10)


# what is missing or broken

def test_a_clip_without_sound_gets_zeros(tmp_path):
    write_clip(tmp_path/'talk.arrow', np.arange(1, 9)/10)
    write_clip(tmp_path/'mute.arrow', np.arange(1, 9)/10, sound=None)
    write_clip(tmp_path/'torn.arrow', np.arange(1, 9)/10, sound='{')
    write_clip(tmp_path/'half.arrow', np.arange(1, 9)/10, sound='{"fault": "the sound broke off after 0.40 s"}')
    data = SequenceDataset(tmp_path, pd.concat([labels_of(name, 8) for name in ('half', 'mute', 'talk', 'torn')]), length=4, sound=True)
    assert len(data) == 8 and data.sounding == ['half', 'talk'] and not data.skipped
    assert [bool(window.heard.any()) for window in data] == [True]*2 + [False]*2 + [True]*2 + [False]*2
    assert any(f'mute: no sound in {tmp_path}; networks get zeros' == note for note in data.notes)
    assert any('torn' in note and 'is not a sound store' in note for note in data.notes)
    assert 'half: the sound broke off after 0.40 s' in data.notes


def test_a_folder_that_is_none_is_refused(tmp_path):
    write_clip(tmp_path/'talk.arrow', np.arange(8)/10)
    with pytest.raises(ValueError, match='which is not a folder'): SequenceDataset(tmp_path, length=4, sound=tmp_path/'nowhere')


# what it costs

def test_nothing_is_kept_a_frame(tmp_path):
    write_clip(tmp_path/'long.arrow', np.arange(400)/30)
    labels = labels_of('long', 400)
    plain, sounding = (pickle.dumps(SequenceDataset(tmp_path, labels, length=4, sound=sound)) for sound in (False, True))
    assert len(sounding) - len(plain) < 800


def test_open_sounds_stay_in_their_process(tmp_path):
    write_clip(tmp_path/'walk.arrow', np.arange(20)/10)
    data = SequenceDataset(tmp_path, labels_of('walk', 20), length=5, sound=True)
    data[0], data[1]
    assert len(data._open_sound.stores) == 1
    sent = pickle.loads(pickle.dumps(data))
    assert not sent._open_sound.stores and heard(sent[1]) == heard(data[1])
    assert sent.cut(4).has_sound and heard(sent.cut(4)[1]) == hundredths(np.arange(4, 8)/10)
    data._open_sound.pid = -1 # as after a fork
    before = data._open_sound.stores
    data[0]
    assert data._open_sound.stores is not before


def test_no_more_than_so_many_stay_open():
    opened = _OpenStores(lambda path: object(), most=2)
    first = opened('a')
    assert opened('a') is first and opened('b') is not first
    opened('c')
    assert list(opened.stores) == ['b', 'c']


# batches

@pytest.fixture
def sides(tmp_path):
    for name in ('anna', 'ben'): write_clip(tmp_path/f'{name}.arrow', .1 + np.arange(24)/10)
    return tuple(SequenceDataset(tmp_path, labels_of(name, 24, expression=3, au1=1.), length=6, sound=True) for name in ('anna', 'ben'))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_batch_is_in_the_order_of_forward(sides, workers):
    dls = affect_dataloaders(*sides, bs=2, num_workers=workers, device='cpu', pixel_scale=(0., 255.))
    assert dls.n_inp == 3
    for faces, landmarks, audio, targets in dls.train:
        assert faces.shape == (2, 6, 3, 96, 96) and landmarks.shape == (2, 6, 68, 2) and audio.shape == (2, 6, 1, 96, 96) and targets.shape == (2, 6)
        frames = (faces[:, :, 0, 0, 0]*255).round()
        assert torch.allclose((audio[:, :, 0, 0, 0] + 1)*127.5, 10 + 10*frames, atol=1e-3), 'faces and sound of the same frames, the sound on its own scale'
    assert dls.train.new(shuffle=False).n_inp == 3


def test_nothing_heard_is_minus_one_exactly(tmp_path):
    for name in ('anna', 'ben'): write_clip(tmp_path/f'{name}.arrow', np.arange(12)/10, sound=None)
    sides = [SequenceDataset(tmp_path, labels_of(name, 12), length=6, sound=True) for name in ('anna', 'ben')]
    assert affect_dataloaders(*sides, bs=2, device='cpu').one_batch()[2].unique().tolist() == [-1.]


def test_a_network_learns_from_what_it_hears(sides):
    from fastai.learner import Learner
    class Ear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 2)
        def forward(self, faces, landmarks=None, audio=None): return AffectOutput(va=self.layer(audio.mean((3, 4))) + 0*faces.mean())
    def squared(output, targets): return (output.va - targets.va).square().mean()
    learn = Learner(affect_dataloaders(*sides, bs=2, device='cpu'), Ear(), loss_func=squared, lr=1e-2)
    with learn.no_logging(): learn.fit(1)
    output, targets = learn.get_preds(reorder=False)
    assert output.va.shape == targets.va.shape == (4, 6, 2) and np.isfinite(learn.validate()).all()


def test_pictures(sides, monkeypatch):
    import matplotlib.pyplot as plt
    dls = affect_dataloaders(*sides, bs=2, device='cpu')
    batch = dls.one_batch()
    out = AffectOutput(torch.zeros(2, 6, 2), torch.eye(7)[4].expand(2, 6, 7), torch.full((2, 6, 17), -1.))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        dls.show_batch(batch, max_n=2)
        axes = plt.gcf().axes
        assert len(axes) == 6 and axes[0].get_title() == 'Fear, AU 1' and axes[1].images[0].get_array().shape == (96, 6)
        dls.valid.show_results(batch, out, max_n=1)
        assert plt.gcf().axes[0].get_title() == 'Fear, AU 1; predicted Happiness, no AU' and len(plt.gcf().axes[2].lines) == 4
        dls.show_batch((batch[0], batch[1], replace(batch[3], va=None)), max_n=1)
        assert len(plt.gcf().axes) == 2 and not plt.gcf().axes[1].lines
        singles = affect_dataloaders(*sides, bs=2, length=1, device='cpu')
        singles.show_batch(max_n=1)
        assert plt.gcf().axes[1].images[0].get_array().shape == (96, 96)
        plt.gcf().canvas.draw()
    plt.close('all')


# several sets

@pytest.fixture
def sets(tmp_path):
    def one(name, n, sound, **labels):
        write_clip(tmp_path/name/f'{name}.arrow', 1 + np.arange(n)/100)
        return SequenceDataset(tmp_path/name, pd.DataFrame(dict(clip=name, subject=name, database=name, frame=range(n), **labels)), length=1, sound=sound)
    return dict(va=one('wild', 30, True, valence=.5, arousal=0.), aus=one('disfa', 20, False, au1=1.)), one('other', 6, True, valence=0., arousal=0.)


def test_databases_without_sound_get_zeros_beside_one_that_has(sets):
    sets, _ = sets
    both = LabelSet(list(sets.values()))
    assert both.has_sound and [window.audio is not None and bool(window.heard.all()) for window in map(both.__getitem__, range(50))] == [True]*30 + [False]*20
    assert not LabelSet(sets['aus']).has_sound and LabelSet(sets['aus'])[0].audio is None


@pytest.mark.parametrize('workers', [0, 2])
def test_joint_steps_have_sound_if_one_set_has(sets, workers):
    sets, other = sets
    dl = JointDL(sets, total=10, device=CPU, num_workers=workers)
    assert dl.n_inp == 3
    for faces, landmarks, audio, targets in dl:
        sounding = (audio > -1).flatten(1).any(1)
        assert torch.equal(sounding, targets.annotated('va')[:, 0]) and 0 < int(sounding.sum()) < len(audio)
    assert JointDL(dict(aus=sets['aus']), total=10, device=CPU).n_inp == 2
    assert joint_dataloaders(sets, other, total=10, device='cpu').valid.one_batch()[2].shape == (6, 1, 1, 96, 96)


def test_one_side_with_sound_is_refused(sides, sets):
    train, valid = sides
    bare = SequenceDataset(Path(valid.tracks[0].path).parent, labels_of('ben', 24), length=6)
    with pytest.raises(ValueError, match='train has sound and valid has none'): affect_dataloaders(train, bare, device='cpu')
    with pytest.raises(ValueError, match='valid has sound and train has none'): affect_dataloaders(bare, train, device='cpu')
    sets, other = sets
    with pytest.raises(ValueError, match='valid has sound and train has none'): joint_dataloaders(dict(aus=sets['aus']), other, device='cpu')
    with pytest.raises(ValueError, match='1 of 2 windows have no audio'): collate_sequences([sets['va'][0], sets['aus'][0]])


# real sound

@pytest.fixture(scope='module')
def twin(tmp_path_factory):
    from affect_nb.databases.base import open_database
    from affect_nb.data.store import preprocess_database
    from affect_nb.synth.twins import write_database
    folder = tmp_path_factory.mktemp('twin')
    database = open_database('aff-wild', write_database('aff-wild', folder/'twin', train=2, validation=1, test=1, frames_per_clip=40, width=144, height=144, progress=False))
    preprocess_database(database, folder/'faces', sound=True, progress=False)
    return database, folder


def test_a_twin_hears_what_its_videos_say(twin):
    database, folder = twin
    data = sequences.sequences_of(database, folder/'faces', length=16, remainder='pad', sound=True)
    assert sorted(data.sounding) == sorted(track.clip for track in data.tracks) and len(data) > 2
    for window in data:
        path = folder/'faces'/f'{window.clip}.arrow'
        frames = SequenceDataset([path])._open(path).table.select(['frame', 'time']).to_pandas().drop_duplicates('frame').set_index('frame').time
        n = min(16, int(frames.index.max()) + 1 - window.start)
        said = sound_beside(path).images(frames.reindex(range(window.start, window.start + n)).interpolate().to_numpy())
        assert torch.equal(window.audio[:n, 0], torch.from_numpy(said)) and not window.audio[n:].any() and window.heard[:n].all()
