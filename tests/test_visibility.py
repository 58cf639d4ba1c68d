"""What lies in front of a face: the installed network sees it, in the dark and on every skin, and trust falls where it does."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from affect_nb.data.covered import FACE_OVAL, boxed_crops, covered_crops, drawn_crops, visible_share
from affect_nb.models.shipped import list_weights, load_pretrained
from affect_nb.models.visibility import FaceVisibility, load_visibility, visible_shares
from affect_nb.models.weights import save_checkpoint
from affect_nb.preprocess.align import align_face
from affect_nb.preprocess.landmarks import Landmarks68
from affect_nb.synth.faces import Pose, render_face
from affect_nb.synth.identity import SKIN_TONES, Identity, with_skin_tone
from affect_nb.synth.scene import Scene
from affect_nb.train.visible import told_apart

WIDER = Path(__file__).resolve().parents[2]/"shared"/"data"/"real"/"wider_subset"
STRANGERS = 5_000_000 # seed of the first person: of nobody whom it has learned from


@pytest.fixture(scope="module")
def strangers(): return drawn_crops(150, first=STRANGERS)


def crop_of(identity, exposure=1.):
    "An aligned crop of a drawn face, RGB."
    image = render_face({12: 2.}, identity, Pose(x=64, y=67, height=80), Scene(noise=2., exposure=exposure), 128).image
    points = Landmarks68()(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (31, 34, 97, 100))[0]
    return align_face(image, points)[0]


def test_it_is_installed_with_its_card():
    assert "visible-small" in list_weights()
    network = load_pretrained("visible-small")
    assert isinstance(network, FaceVisibility) and not network.training
    assert network.card.measures["told apart, FER+"] > .95 and "FER+" in network.card.data and network.card.notes["limits"]


def test_it_tells_covered_faces_from_clear_ones(strangers):
    crops, shares, kinds = strangers
    said = visible_shares(crops)
    sure = (shares >= .95) | (shares < .75)
    assert told_apart(said[sure], shares[sure] >= .95) > .9
    assert np.abs(said - shares).mean() < .8*np.abs(shares - shares.mean()).mean()
    clear = np.array([kind == "none" for kind in kinds])
    assert np.quantile(said[clear], .1) > .8 # nine in ten people with nothing in front are trusted at one half or more


def test_the_more_is_covered_the_less_is_visible():
    for seed in range(3):
        crop = crop_of(Identity.draw(STRANGERS + seed))
        covered = [crop.copy() for _ in range(8)]
        for place, each in enumerate(covered): each[96 - 11*place:] = (40, 90, 160) # from the chin upwards
        truth = [visible_share(255*np.all(each == (40, 90, 160), -1).astype(np.uint8)) for each in covered]
        said = visible_shares(np.stack(covered))
        assert spearmanr(said, truth).statistic > .9 and said[0] > .85 and said[-1] < .5


def test_a_dark_face_is_as_visible_as_a_light_one():
    said = {(tone, exposure): np.mean(visible_shares(np.stack([
        crop_of(with_skin_tone(Identity.draw(STRANGERS + seed), tone), exposure) for seed in range(12)])))
        for tone in range(len(SKIN_TONES)) for exposure in (1., .5)}
    assert min(said.values()) > .93 and max(said.values()) - min(said.values()) < .05, said


def test_colours_and_sizes_do_not_matter(strangers):
    crops = strangers[0][:20]
    grey = visible_shares(crops)
    assert np.allclose(visible_shares(np.repeat(crops[..., None], 3, -1)), grey, atol=1e-3)
    assert np.allclose(visible_shares(crops.astype(np.float32)*.5 + 40), grey, atol=1e-3) # contrast and brightness
    smaller = np.stack([cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA) for crop in crops])
    assert np.abs(visible_shares(smaller) - grey).max() < .05
    assert np.isnan(visible_shares(np.zeros((2, 96, 96, 3), np.uint8))).all()


def test_trust_falls_where_a_face_is_covered(tmp_path):
    import pandas as pd
    from affect_nb.apps.confidence import confidence_of, with_confidence
    from affect_nb.models.weights import Card
    from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter
    clear = crop_of(Identity.draw(STRANGERS + 1))
    half = clear.copy()
    half[50:] = (40, 90, 160)
    good = dict(yaw=2., pitch=0., roll=0., face_size=60., sharpness=.9, light=.5)
    with FaceStoreWriter(tmp_path/"clip.arrow", "clip", about=dict(source=dict(path="clip.mp4"))) as writer:
        for number, crop in enumerate((clear, half)): writer.add(number, number/25, 0, "ok", crop, **good)
    rows = pd.DataFrame(dict(frame=[0, 1], face_id=[0, 0]))
    trusted = with_confidence(rows, FaceStore.open(tmp_path/"clip.arrow"), confidence_of(Card(architecture="mt_vgg")))
    assert trusted.trust[0] > .5 and trusted.trust[1] < .1 and trusted.weakest[1] == "visible"


def test_covers_are_known_to_the_pixel():
    "What `covered_crops` says is visible is what it has not changed, but for noise."
    face = cv2.resize(crop_of(Identity.draw(STRANGERS + 2)), (48, 48), interpolation=cv2.INTER_AREA)
    faces = [cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)]*40
    covered, shares = covered_crops(faces, seed=4, share=1.)
    clear, _ = covered_crops(faces[:1], share=0.)
    still = [(np.abs(crop.astype(int) - clear[0]) < 25)[FACE_OVAL].mean() for crop in covered]
    assert spearmanr(still, shares).statistic > .6 and shares.min() < .6 and shares.max() <= 1


def test_another_file_is_refused(tmp_path):
    network = FaceVisibility()
    save_checkpoint(tmp_path/"mine", network, dict(data="nothing"))
    assert load_visibility(tmp_path/"mine").card.data == "nothing"
    with pytest.raises(ValueError, match="'face_visibility'"): load_visibility(Path(load_pretrained.__globals__["weights_path"]("ssh-small")))
    (tmp_path/"mine.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError): load_visibility(tmp_path/"mine")


@pytest.mark.skipif(not WIDER.is_dir(), reason="needs the real pictures, which are not in the repository")
def test_it_agrees_with_those_who_annotated_photographs():
    from affect_nb.databases import open_database
    pictures = open_database("wider-face", WIDER).pictures("train")
    crops, levels = boxed_crops(pictures[::3], least=60)
    said = visible_shares(crops)
    chosen = levels != 1
    assert (levels == 2).sum() > 5 and told_apart(said[chosen], levels[chosen] == 0) > .75
