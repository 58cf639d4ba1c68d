"""SSH: squares, box numbers, suppression, matching and loss against slow and other people's computations."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, nms

from affect_nb.data.scenes import ScenePicture, ScenePictures, scene_transform, seen_faces, transformed_boxes
from affect_nb.preprocess.ssh import SSH, anchor_boxes, anchors_of, network_input
from affect_nb.preprocess.ssh_detector import SSHDetector, decode_boxes, encode_boxes, folded, load_ssh, raw_faces, suppressed
from affect_nb.train.detector_loss import SSHLoss, hard_examples, matched_squares, overlaps

quick = settings(max_examples=40, deadline=None)


def boxes_of(seed, n, side=200.):
    "n boxes of at least 2 px somewhere in a square."
    rng = torch.Generator().manual_seed(seed)
    corner, extent = torch.rand(n, 2, generator=rng)*side, 2 + torch.rand(n, 2, generator=rng)*side/2
    return torch.cat([corner, corner + extent], 1)


# --- squares

def anchors_of_faster_rcnn(base, scales):
    "`generate_anchors` of py-faster-rcnn for the ratio 1: both ends belong to a box."
    centre = (base - 1)/2
    return [[centre - (base*scale - 1)/2]*2 + [centre + (base*scale - 1)/2]*2 for scale in scales]


@pytest.mark.parametrize("stride, scales", [(8, (1, 2)), (16, (4, 8)), (32, (16, 32))])
def test_the_squares_are_those_of_the_published_code(stride, scales):
    height, width = 3, 4
    ours = anchor_boxes(height, width, stride, tuple(16*scale for scale in scales)).numpy() - [0, 0, 1, 1] # both ends
    expected = [np.add(anchor, [x*stride, y*stride]*2) for y in range(height) for x in range(width) for anchor in anchors_of_faster_rcnn(16, scales)]
    np.testing.assert_allclose(ours, expected)


def test_a_picture_has_a_square_of_each_side_at_each_place():
    network = SSH("resnet18", width=.125, stem=3, reads="rgb")
    for (scores, boxes), squares in zip(network(torch.zeros(1, 3, 64, 128)), anchors_of(network, 64, 128)):
        assert scores.shape[1] == boxes.shape[1] == len(squares)


# --- box numbers

@quick
@given(st.integers(0, 10**6))
def test_encoding_is_undone_by_decoding(seed):
    boxes, anchors = boxes_of(seed, 20), boxes_of(seed + 1, 20)
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, atol=1e-2, rtol=1e-4)


def test_box_numbers_are_those_of_torchvision():
    from torchvision.models.detection._utils import BoxCoder
    boxes, anchors = boxes_of(0, 50), boxes_of(1, 50)
    coder = BoxCoder((1., 1., 1., 1.))
    torch.testing.assert_close(encode_boxes(boxes, anchors), coder.encode_single(boxes, anchors))
    numbers = torch.randn(50, 4, generator=torch.Generator().manual_seed(2))*3
    torch.testing.assert_close(decode_boxes(numbers, anchors), coder.decode_single(numbers, anchors), rtol=1e-3, atol=.1)


# --- suppression

@quick
@given(st.integers(0, 10**6), st.integers(0, 40), st.floats(.1, .9))
def test_suppression_is_that_of_torchvision(seed, n, most):
    boxes, scores = boxes_of(seed, n, 60.), torch.rand(n, generator=torch.Generator().manual_seed(seed))
    assert suppressed(boxes.numpy(), scores.numpy(), most).tolist() == nms(boxes, scores, most).tolist()


# --- matching

@quick
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(0, 3))
def test_squares_are_matched_as_by_hand(seed, n_faces, n_ignored):
    squares, faces = boxes_of(seed, 60, 60.), boxes_of(seed + 1, n_faces + n_ignored, 60.)
    table = torch.cat([faces, torch.tensor([1.]*n_faces + [0.]*n_ignored)[:, None]], 1)
    kinds, target = matched_squares(squares, table)
    iou = box_iou(squares, faces)
    torch.testing.assert_close(overlaps(squares, faces), iou)
    for number in range(60):
        most = iou[number, :n_faces].max().item() if n_faces else 0.
        x1, y1, x2, y2 = squares[number].tolist()
        inside = [max(0, min(x2, c) - max(x1, a))*max(0, min(y2, d) - max(y1, b))/(x2 - x1)/(y2 - y1) for a, b, c, d in faces[n_faces:].tolist()]
        on_ignored = any(value >= .3 for value in iou[number, n_faces:].tolist()) or any(value >= .5 for value in inside)
        expected = 1 if most >= .5 else -1 if most >= .3 or on_ignored else 0
        assert kinds[number] == expected
        if expected == 1: assert target[number].tolist() == faces[iou[number, :n_faces].argmax()].tolist()


@quick
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_the_hardest_count_and_at_most_a_quarter_are_faces(seed, most):
    rng = torch.Generator().manual_seed(seed)
    kinds, prob = torch.randint(-1, 2, (200,), generator=rng), torch.rand(200, generator=rng)
    chosen = hard_examples(kinds, prob, most)
    faces, background = chosen & (kinds == 1), chosen & (kinds == 0)
    assert not (chosen & (kinds == -1)).any() and faces.sum() <= most//4 and chosen.sum() <= most
    for part, kind, sign in ((faces, 1, 1), (background, 0, -1)):
        rest = (kinds == kind) & ~part
        if part.any() and rest.any(): assert (sign*prob[part]).max() <= (sign*prob[rest]).min()


# --- loss

def slow_loss(network, found, faces, side):
    "The published loss, one square after the other."
    total = 0.
    for place, (stride, beyond) in enumerate(((8, 0), (16, 0), (32, 512))):
        squares = anchor_boxes(side//stride, side//stride, stride, network.anchors[place])
        for number in range(len(faces)):
            rows = []
            for square, logits, numbers in zip(squares, found[place][0][number], found[place][1][number]):
                if (square[:2] < -beyond).any() or (square[2:] > side + beyond).any(): continue
                known = faces[number][faces[number][:, 4] == 1][:, :4]
                iou = box_iou(square[None], known)[0] if len(known) else torch.zeros(1)
                kind = 1 if iou.max() >= .5 else 0 if iou.max() < .3 else -1
                if kind >= 0: rows.append((kind, logits, numbers, square, known[iou.argmax()] if kind else None))
            prob = lambda row: row[1].softmax(0)[1].item()
            positive = sorted((row for row in rows if row[0] == 1), key=prob)[:64]
            negative = sorted((row for row in rows if row[0] == 0), key=prob, reverse=True)[:256 - len(positive)]
            chosen = positive + negative
            total += sum(-row[1].log_softmax(0)[row[0]] for row in chosen)/len(chosen)
            for _, _, numbers, square, box in positive:
                sides, wanted = square[2:] - square[:2], box[2:] - box[:2]
                difference = numbers - torch.cat([((box[:2] + box[2:]) - (square[:2] + square[2:]))/2/sides, (wanted/sides).log()])
                smooth = torch.where(difference.abs() < 1/9, 4.5*difference**2, difference.abs() - 1/18)
                total += smooth.sum()/len(chosen)
    return total/len(faces)


def test_the_loss_is_the_slow_one():
    torch.manual_seed(0)
    network = SSH("resnet18", width=.125, stem=3, reads="rgb").train()
    faces = torch.tensor([[[10., 12, 44, 50, 1], [60, 60, 80, 84, 1], [-1]*5], [[30, 5, 95, 90, 1], [-1]*5, [-1]*5]])
    found = network(torch.randn(2, 3, 96, 96))
    torch.testing.assert_close(SSHLoss(network)(found, faces), slow_loss(network, found, faces, 96), rtol=1e-4, atol=1e-5)


def test_the_loss_has_gradients_where_it_should():
    network = SSH("resnet18", width=.125, stem=3, reads="rgb").train()
    SSHLoss(network)(network(torch.randn(1, 3, 96, 96)), torch.tensor([[[10., 10, 40, 40, 1]]])).backward()
    assert all(part.grad is not None and torch.isfinite(part.grad).all() for part in network.parameters())


# --- scenes

@quick
@given(st.integers(0, 10**6))
def test_a_turned_ellipse_lies_in_its_new_box_and_touches_it(seed):
    rng = np.random.default_rng(seed)
    boxes = np.array([[100., 80, 160, 170]])
    transform = scene_transform(rng, (400, 500), boxes, 320, turn=45)
    angle = np.linspace(0, 2*np.pi, 2000)
    outline = np.c_[130 + 30*np.cos(angle), 125 + 45*np.sin(angle)] @ transform[:, :2].T + transform[:, 2]
    x1, y1, x2, y2 = transformed_boxes(boxes, transform)[0]
    np.testing.assert_allclose([outline[:, 0].min(), outline[:, 1].min(), outline[:, 0].max(), outline[:, 1].max()], [x1, y1, x2, y2], atol=.05)


def test_the_same_seed_sees_the_same_and_two_epochs_do_not():
    picture = ScenePicture(np.array([[40., 40, 90, 100]]), image=np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8))
    one, again, other = (ScenePictures([picture]*4, 96, seed) for seed in (3, 3, 4))
    for number in (0, 5, 11):
        np.testing.assert_array_equal(one[number][0], again[number][0])
        np.testing.assert_array_equal(one[number][1], again[number][1])
    assert any((one[number][0] != other[number][0]).any() for number in range(4)) and (one[0][0] != one[4][0]).any()


@quick
@given(st.integers(0, 10**6))
def test_faces_that_are_learned_are_large_enough_and_in_the_picture(seed):
    boxes = boxes_of(seed, 12, 150.).numpy() - 40
    for x1, y1, x2, y2, kind in seen_faces(boxes, np.zeros(12, bool), 96):
        assert 0 <= x1 < x2 <= 96 and 0 <= y1 < y2 <= 96
        if kind == 1: assert max(x2 - x1, y2 - y1) >= 8/3


# --- the detector

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "A tiny network with its card, of random weights that say 'face' here and there."
    from affect_nb.models.weights import save_checkpoint
    torch.manual_seed(0)
    network = SSH("resnet18", width=.125, stem=3, norm="batch", reads="rgb")
    path = tmp_path_factory.mktemp("ssh")/"tiny"
    save_checkpoint(path, network.eval(), dict(data="nothing"), half=True)
    return path


def test_a_file_gives_the_network_back(trained):
    picture = network_input(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8), "rgb")
    with torch.no_grad(): one, other = load_ssh(trained)(picture), folded(load_ssh(f"{trained}.safetensors"))(picture)
    for a, b in zip(one, other): torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_files_that_are_no_detector_are_named(trained, tmp_path):
    import shutil
    with pytest.raises(ValueError, match="nowhere.safetensors: no such weights file"): load_ssh(tmp_path/"nowhere")
    shutil.copy(f"{trained}.safetensors", tmp_path/"bare.safetensors")
    with pytest.raises(ValueError, match="no card beside it"): load_ssh(tmp_path/"bare")
    from affect_nb.models.shipped import weights_path
    with pytest.raises(ValueError, match="'facebehaviornet', it must be 'ssh'"): load_ssh(weights_path("facebehaviornet-small"))
    (tmp_path/"cut.safetensors").write_bytes((trained.parent/"tiny.safetensors").read_bytes()[:5000])
    shutil.copy(f"{trained}.json", tmp_path/"cut.json")
    with pytest.raises(ValueError, match="cut off"): load_ssh(tmp_path/"cut")


def test_it_is_a_detector_by_name(trained):
    from affect_nb.preprocess.detect import create_detector
    assert type(create_detector(f"ssh:{trained}")) is SSHDetector
    with pytest.raises(ValueError, match="nowhere.safetensors: no such weights file"): create_detector("ssh:nowhere")


def test_boxes_stay_in_the_picture_whatever_its_size(trained):
    detector = SSHDetector(trained, threshold=0.)
    for height, width in ((33, 65), (64, 64), (100, 37)):
        found = detector(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
        assert len(found) and (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2:] <= [width, height]).all()
        assert ((0 <= found.scores) & (found.scores <= 1)).all() and (np.diff(found.scores) <= 0).all()


def test_a_pyramid_looks_at_an_enlarged_picture_without_the_third_module(trained):
    image, network = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), load_ssh(trained)
    assert len(raw_faces(network, image, 0., modules=2)[0]) == 2*(64 + 16) and len(raw_faces(network, image, 0.)[0]) == 2*(64 + 16 + 4)
    once, twice = (SSHDetector(trained, threshold=.0, pyramid=pyramid)(image) for pyramid in ((1.,), (1., 2.)))
    assert len(twice) > len(once)
    with pytest.raises(ValueError, match="factors above 0"): SSHDetector(trained, pyramid=())


def test_grey_pictures_are_read_too(trained):
    grey = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    detector = SSHDetector(trained, threshold=0.)
    np.testing.assert_array_equal(detector(grey).boxes, detector(np.stack([grey]*3, -1)).boxes)
