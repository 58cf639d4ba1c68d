"""Faces in crowds: what is drawn is true, the twin of WIDER FACE comes back exactly, and damaged lists never become wrong boxes."""
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

import affect_nb.databases
import affect_nb.synth
from affect_nb.databases.base import list_databases, open_database
from affect_nb.databases.check import check_database
from affect_nb.databases.manifests import load_manifest
from affect_nb.databases.wider import LEVELS
from affect_nb.synth.crowds import COVERS, CrowdPose, draw_crowd, plan_crowd
from affect_nb.synth.distractors import DISTRACTORS, draw_distractor, textured_background
from affect_nb.synth.features import Pose, project
from affect_nb.synth.identity import SKIN_TONES, Identity, face_points, with_skin_tone
from affect_nb.synth.twins import list_synthetic, twin_truth, write_database
from affect_nb.synth.wider_twin import COUNTED_FROM

TINY = dict(train=3, validation=1, test=1, frames_per_clip=60, width=128, height=128)
REAL = Path(__file__).resolve().parents[2]/"shared"/"data"/"real"/"wider_subset"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no pictures of WIDER FACE at {REAL}")
NAMES = [*load_manifest("wider-face").boxes.attributes]


# drawing

def scenes(number, **options): return [draw_crowd(seed, **options) for seed in range(number)]


def grey(scene, box):
    left, top, right, bottom = box.astype(int)
    return scene.image[top:bottom, left:right].mean()


@pytest.fixture(scope="module")
def many(): return scenes(40)


def test_a_seed_is_one_picture():
    one, same, other = draw_crowd(4), draw_crowd(4), draw_crowd(5)
    assert (one.image == same.image).all() and (one.boxes == same.boxes).all() and one.image.shape == (480, 640, 3)
    assert (one.image != other.image).any()
    assert draw_crowd(4, (96, 160)).image.shape == (96, 160, 3)


def test_boxes_lie_in_the_picture_and_hold_the_landmarks(many):
    for scene in many:
        boxes, points = scene.boxes, scene.landmarks
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (640, 480)).all() and (boxes[:, 2:] - boxes[:, :2] > 2).all()
        seen = (points >= 0).all(-1) & (points < (640, 480)).all(-1)
        held = (points >= boxes[:, None, :2]).all(-1) & (points <= boxes[:, None, 2:]).all(-1)
        assert (held | ~seen).all() and {len(values) for values in (*scene.attributes.values(), *scene.parameters.values(), points)} == {len(boxes)}


def test_a_box_is_a_face_from_hairline_to_chin():
    scene = draw_crowd(3, n_faces=1, fixed=dict(x=320., y=240., height=200., yaw=0., pitch=0., roll=0., intensity=0., cover="none", blur=0.))
    (left, top, right, bottom), points = scene.boxes[0], scene.landmarks[0]
    assert 190 < bottom - top < 225 and .65 < (right - left)/(bottom - top) < .85
    assert abs(bottom - points[8, 1]) < 4 and points[17:27, 1].min() - top > .2*(bottom - top) # a forehead above the brows
    assert np.abs([left - points[:17, 0].min(), right - points[:17, 0].max()]).max() < 8


def test_sizes_skins_and_attributes_are_spread(many):
    heights = np.concatenate([scene.parameters["height"] for scene in many])
    tones = np.bincount(np.concatenate([scene.parameters["tone"] for scene in many]).astype(int), minlength=6)
    assert heights.min() >= 12 and heights.max() <= 400 and np.median(heights) < 60 and (heights > 150).mean() > .02
    assert tones.min() > .7*tones.mean()
    for name, levels in load_manifest("wider-face").boxes.attributes.items():
        counts = np.bincount(np.concatenate([scene.attributes[name] for scene in many]), minlength=len(levels))
        assert len(counts) == len(levels) and (counts > 0).all(), name


def test_darker_light_makes_a_darker_face_and_moves_nothing():
    bright, dim = (draw_crowd(11, n_faces=4, fixed=dict(light=light, ambient=.5, cover="none", blur=0.)) for light in (1., .35))
    assert (bright.boxes == dim.boxes).all() and len(bright.boxes) > 1
    assert all(grey(dim, box) < .75*grey(bright, box) for box, hidden in zip(bright.boxes, bright.parameters["occluded"]) if hidden < .2)
    assert dim.attributes["illumination"].all() and not bright.attributes["illumination"].all()


def test_darker_skin_is_darker_and_the_same_person():
    levels = []
    for tone in range(len(SKIN_TONES)):
        scene = draw_crowd(8, n_faces=1, fixed=dict(tone=tone, light=1., cover="none"))
        levels.append(grey(scene, scene.boxes[0]))
        assert scene.parameters["tone"].tolist() == [tone]
    assert levels == sorted(levels, reverse=True) and levels[0] > 1.8*levels[-1]
    person = Identity.draw(5)
    assert with_skin_tone(person, 5).shape == person.shape and with_skin_tone(person, 5) == with_skin_tone(person, 5)
    with pytest.raises(ValueError, match="tone is 6, allowed are 0 to 5"): with_skin_tone(person, 6)


def test_blur_takes_the_edges_and_is_called_so():
    sharp, soft, lost = (draw_crowd(21, n_faces=1, heights=(120, 120), fixed=dict(blur=blur, cover="none", light=1.)) for blur in (0., 2.5, 8.))
    edges = [cv2.Laplacian(cv2.GaussianBlur(scene.image[..., 1], (0, 0), 1), cv2.CV_32F)[int(b[1]):int(b[3]), int(b[0]):int(b[2])].std()
             for scene in (sharp, soft, lost) for b in scene.boxes]
    assert edges == sorted(edges, reverse=True)
    assert [scene.attributes["blur"].tolist() for scene in (sharp, soft, lost)] == [[0], [1], [2]]


def test_what_is_worn_hides_a_share():
    shares = {cover: draw_crowd(31, n_faces=1, heights=(150, 150), fixed=dict(cover=cover, yaw=0., pitch=0., roll=0., x=300., y=200.)).parameters["occluded"] for cover in COVERS}
    assert all(len(share) for share in shares.values())
    assert shares["none"][0] < .08 < shares["sunglasses"][0] < shares["mask"][0] and shares["mask"][0] > .3


def test_a_thing_before_a_face_is_counted():
    "One face, a ball before it: the share that is hidden is that of the pixels which changed."
    from dataclasses import replace
    from affect_nb.synth.crowds import paint_crowd
    plan = plan_crowd(2, n_faces=1, heights=(200, 200))
    person = replace(plan.people[0], x=320., y=240., height=200., yaw=0., roll=0., pitch=0., cover="none", blur=0.)
    plain = replace(plan, people=(person,), between=(), behind=(), blur=0., noise=0.)
    hidden = replace(plain, between=(("ball", 320., 240., 80., 1),))
    bare, covered = paint_crowd(plain), paint_crowd(hidden)
    changed = (bare.image != covered.image).any(2).sum()
    area = changed/max(1e-9, covered.parameters["occluded"][0] - bare.parameters["occluded"][0])
    (left, top, right, bottom) = bare.boxes[0]
    assert bare.parameters["occluded"][0] < .05 and covered.attributes["occlusion"][0] == 1 and .7 < area/((right - left)*(bottom - top)) < .9
    assert len(paint_crowd(replace(plain, between=(("board", 320., 240., 2000., 1),))).boxes) == 0, "who is hidden has no box"


def test_poses_reach_farther_than_those_of_films():
    assert CrowdPose(yaw=50., roll=-90., pitch=35.).pitch == 35
    with pytest.raises(ValueError, match="yaw 51.0: -50 to 50 degrees"): CrowdPose(yaw=51.)
    with pytest.raises(ValueError, match="pitch 30.0: -25 to 25"): Pose(pitch=30.)
    nose = {pitch: project(face_points(Identity.draw(1)), Pose(pitch=pitch))[30, 1] for pitch in (-20., 0., 20.)}
    assert nose[-20.] < nose[0.] < nose[20.]


def test_nobody_and_wrong_arguments():
    empty = draw_crowd(1, n_faces=0)
    assert empty.boxes.shape == (0, 4) and empty.landmarks.shape == (0, 68, 2) and empty.invalid.shape == (0,) and set(empty.attributes) == set(NAMES)
    for wrong, said in ((dict(n_faces=(9, 3)), "n_faces is"), (dict(size=(10, 640)), "size is"), (dict(heights=(2, 9)), "heights is"), (dict(fixed=dict(skin=2)), "fixed has 'skin'")):
        with pytest.raises(ValueError, match=re.escape(said)): draw_crowd(1, **wrong)


@pytest.mark.parametrize("kind", DISTRACTORS)
def test_a_thing_is_drawn_where_it_is_put(kind):
    image = np.full((200, 200, 3), 120, np.uint8)
    same = image.copy()
    for picture in (image, same): draw_distractor(picture, kind, 100, 100, 60, seed=3)
    changed = np.argwhere((image != 120).any(2))
    assert (image == same).all() and len(changed) > 50 and np.abs(np.median(changed, 0) - 100).max() < 60


def test_backgrounds_differ_and_are_kept():
    assert (textured_background(1, 80, 60) == textured_background.__wrapped__(1, 80, 60)).all()
    assert len({textured_background(seed, 80, 60).tobytes() for seed in range(8)}) == 8


# the twin

@pytest.fixture(scope="module")
def twin(tmp_path_factory): return write_database("wider-face", tmp_path_factory.mktemp("wider")/"twin", progress=False, **TINY)


@pytest.fixture(scope="module")
def truth(): return twin_truth("wider-face", **TINY)


@pytest.fixture
def copy(twin, tmp_path): return Path(shutil.copytree(twin, tmp_path/"copy"))


def test_it_is_listed_apart():
    assert list_databases(boxes=True) == ["wider-face"] == list_synthetic(boxes=True)
    assert "wider-face" not in list_databases() and "wider-face" not in list_synthetic()


@pytest.mark.parametrize("form", ["txt", "mat"])
def test_round_trip(twin, truth, form):
    wider = open_database("wider-face", twin, form=form)
    for split in ("train", "validation"):
        part, pictures = truth[truth.split == split], wider.pictures(split)
        assert {picture.name for picture in pictures} >= set(part.picture)
        for picture in pictures:
            rows = part[part.picture == picture.name]
            np.testing.assert_array_equal(picture.boxes, np.stack([rows.x, rows.y, rows.x + rows.width, rows.y + rows.height], 1).astype(np.float32))
            for name in NAMES: assert picture.attributes[name].tolist() == rows[name].tolist()
            assert picture.invalid.tolist() == ((rows.invalid == 1) | (rows.width == 0) | (rows.height == 0)).tolist()
            assert picture.boxes.dtype == np.float32 and picture.boxes.shape == (len(rows), 4) and picture.file.is_file() and picture.annotated
    tests = wider.pictures("test")
    assert len(tests) == len({picture.name for picture in tests}) > 0 and not any(picture.annotated or len(picture) for picture in tests)
    assert all(picture.file.is_file() for picture in tests) and not wider.faults and not wider.notes


def test_text_and_matlab_say_the_same(twin):
    text, mat = (open_database("wider-face", twin, form=form) for form in ("txt", "mat"))
    for split in text.splits:
        one, other = ({picture.name: picture for picture in source.pictures(split)} for source in (text, mat))
        assert one.keys() == other.keys()
        for name in one: assert (one[name].boxes == other[name].boxes).all() and (one[name].invalid == other[name].invalid).all()
    other = open_database("wider-face", twin, form="mat").evaluation_lists()
    order = {picture.name: place for place, picture in enumerate(mat.pictures("validation"))}
    for level, masks in text.evaluation_lists().items():
        for picture, mask in zip(text.pictures("validation"), masks): assert (mask == other[level][order[picture.name]]).all()


def test_the_matlab_files_are_what_others_read(twin):
    held = loadmat(twin/"wider_face_split"/"wider_face_val.mat")
    pictures = {picture.name: picture for picture in open_database("wider-face", twin).pictures("validation")}
    for event, files, boxes, blurs in zip(held["event_list"], held["file_list"], held["face_bbx_list"], held["blur_label_list"]):
        for file, box, blur in zip(files[0], boxes[0], blurs[0]):
            picture = pictures[f"{event[0][0]}/{file[0][0]}.jpg"]
            if not len(picture): assert not box[0].any()
            else: assert (box[0][:, 2:] == picture.boxes[:, 2:] - picture.boxes[:, :2]).all() and (blur[0].ravel() == picture.attributes["blur"]).all()


def test_the_flaws_are_there(twin, truth):
    lines = (twin/"wider_face_split"/"wider_face_train_bbx_gt.txt").read_text().split("\n")
    assert "0 0 0 0 0 0 0 0 0 0 " in lines and lines[lines.index("0 0 0 0 0 0 0 0 0 0 ") - 1] == "0"
    assert all(line.endswith(" ") for line in lines if line.count(" ") > 2)
    assert (truth.width == 0).any() and (truth.height == 0).any() and (truth.invalid == 1).any() and "59--people--driving--car" in {name for name, _ in zip(plan_events(), range(9))}
    empty = [picture for picture in open_database("wider-face", twin).pictures() if not len(picture)]
    assert empty and all(picture.annotated for picture in empty)


def plan_events():
    from affect_nb.synth.twins import SIZES, plan_database
    return dict.fromkeys(plan.event for plan in plan_database("wider-face", SIZES["demo"]))


def test_the_evaluation_counts_by_height(twin):
    wider = open_database("wider-face", twin)
    lists = wider.evaluation_lists("validation")
    assert tuple(lists) == LEVELS and wider.evaluation_lists("train") is None
    for level, masks in lists.items():
        for mask, picture in zip(masks, wider.pictures("validation"), strict=True):
            assert mask.tolist() == (~picture.invalid & (picture.boxes[:, 3] - picture.boxes[:, 1] >= COUNTED_FROM[level])).tolist()
    assert sum(mask.sum() for mask in lists["hard"]) > 0


def test_a_run_that_was_cut_off_goes_on(twin, tmp_path):
    import affect_nb.synth.wider_twin as module
    drawn, draw = [], module.drawn_picture
    def cut(plan, number):
        drawn.append(plan.number)
        if plan.number == 3: raise KeyboardInterrupt
        return draw(plan, number)
    module.drawn_picture = cut
    try:
        with pytest.raises(KeyboardInterrupt): write_database("wider-face", tmp_path/"twin", progress=False, **TINY)
        again = len(drawn)
    finally: module.drawn_picture = draw
    write_database("wider-face", tmp_path/"twin", progress=False, **TINY)
    files = lambda root: {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert again > 1 and files(tmp_path/"twin") == files(twin), "the same bytes, also of the MATLAB files"


def test_another_seed_is_another_twin_and_labels_need_no_pictures(twin, tmp_path):
    root = write_database("wider-face", tmp_path/"labels", media=False, progress=False, **TINY)
    assert not (root/"WIDER_train").exists()
    for path in twin.rglob("wider_*"):
        if path.is_file(): assert (root/path.relative_to(twin)).read_bytes() == path.read_bytes()
    other = write_database("wider-face", tmp_path/"other", media=False, progress=False, seed=1, **TINY)
    name = "wider_face_split/wider_face_train_bbx_gt.txt"
    assert (other/name).read_text() != (root/name).read_text()


# copies that are not as they should be

LIST = "wider_face_split/wider_face_train_bbx_gt.txt"


def changed(root, change, name=LIST):
    "The list with one change, and the row where the first face of a picture with several is."
    lines = (root/name).read_text().split("\n")
    row = next(place for place, line in enumerate(lines) if re.fullmatch(r"[2-9]|\d\d", line)) + 1
    change(lines, row)
    (root/name).write_text("\n".join(lines))
    return row + 1


def put(column, value):
    def change(lines, row):
        cells = lines[row].split()
        cells[column] = value
        lines[row] = " ".join(cells) + " "
    return change


@pytest.mark.parametrize("change, said", [
    (put(4, "3"), "blur is 3, allowed are 0 clear, 1 normal, 2 heavy"), (put(7, "2"), "invalid is 2, allowed are 0 valid, 1 invalid"),
    (put(2, "-4"), "width is -4, allowed are numbers from 0"), (put(0, "x1"), "'x1' is no number"), (put(0, "9999999"), "allowed are -100000 to 100000"),
    (put(9, ""), "has 9 numbers, allowed are 10"), (put(5, ".5"), "'.5' is no number"), (put(5, "0.5"), "expression is 0.5, allowed are 0 typical")])
def test_a_bad_row_is_named_and_keeps_its_place(copy, change, said):
    before = open_database("wider-face", copy).pictures()
    row = changed(copy, change)
    with pytest.raises(ValueError, match=re.escape(said)) as error: open_database("wider-face", copy).pictures()
    assert f"{Path(LIST).name}, row {row}: " in str(error.value)
    lenient = open_database("wider-face", copy, on_fault="skip")
    after = lenient.pictures()
    assert [len(picture) for picture in after] == [len(picture) for picture in before] and [fault.row for fault in lenient.faults] == [row]
    lost, = [(picture, old) for picture, old in zip(after, before) if (picture.boxes != old.boxes).any()]
    assert lost[0].invalid[0] and not lost[0].boxes[0].any() and lost[0].attributes["blur"][0] == -1 and (lost[0].boxes[1:] == lost[1].boxes[1:]).all()
    report = check_database("wider-face", copy)
    assert not report.ok and any(said in finding.what for finding in report.findings)


@pytest.mark.parametrize("change, said", [
    (lambda lines, row: lines.pop(row), "rows follow; allowed is the same number"), (lambda lines, row: lines.insert(row, lines[row]), "rows follow; allowed is"),
    (lambda lines, row: lines.__setitem__(row - 1, "many"), "'many' is not the number of faces"), (lambda lines, row: lines.insert(0, "Parade"), "'Parade' is not the name of a picture"),
    (lambda lines, row: lines.insert(len(lines) - 1, "\n".join([lines[0], "0", "0 0 0 0 0 0 0 0 0 0 "])), "is there more than once"),
    (lambda lines, row: lines.__setitem__(slice(row + 2, None), []), "rows follow")])
def test_a_picture_that_cannot_be_trusted_is_left_out(copy, change, said):
    before = {picture.name: picture for picture in open_database("wider-face", copy).pictures()}
    changed(copy, change)
    with pytest.raises(ValueError, match=re.escape(said)): open_database("wider-face", copy).pictures()
    lenient = open_database("wider-face", copy, on_fault="skip")
    for picture in lenient.pictures(): assert (picture.boxes == before[picture.name].boxes).all()
    assert len(lenient.faults) == 1


def test_two_hundred_damages_never_become_a_wrong_box(copy):
    true, rng = {picture.name: picture for picture in open_database("wider-face", copy).pictures()}, np.random.default_rng(0)
    data, read = (copy/LIST).read_bytes(), 0
    for _ in range(200):
        place = int(rng.integers(len(data)))
        kind = rng.integers(4)
        if kind == 0: damaged = data[:place]
        elif kind == 1: damaged = data[:place] + b"x" + data[place:]
        elif kind == 2:
            lines = data.splitlines(keepends=True)
            damaged = b"".join(lines[:place % len(lines)] + lines[place % len(lines) + 1:])
        else: damaged = data[:place] + b"\xe9" + data[place:]
        (copy/LIST).write_bytes(damaged)
        source = open_database("wider-face", copy, on_fault="skip")
        try: pictures = source.pictures()
        except ValueError as error:
            assert Path(LIST).name in str(error)
            continue
        for picture in pictures:
            if picture.name not in true: continue # its own name was damaged
            good = picture.attributes["invalid"] >= 0
            assert len(picture) == len(true[picture.name]) and (picture.boxes[good] == true[picture.name].boxes[good]).all()
            read += good.sum()
    assert read > 1000


def test_windows_line_ends_and_a_mark_change_nothing(copy):
    before = open_database("wider-face", copy).pictures()
    (copy/LIST).write_bytes(b"\xef\xbb\xbf" + (copy/LIST).read_bytes().replace(b"\n", b"\r\n"))
    after = open_database("wider-face", copy).pictures()
    assert [picture.name for picture in after] == [picture.name for picture in before] and all((a.boxes == b.boxes).all() for a, b in zip(after, before))


def test_a_wrong_folder_is_told_what_is_wanted(twin, tmp_path):
    with pytest.raises(ValueError, match="gone: no such folder; wider-face is expected there"): open_database("wider-face", tmp_path/"gone")
    with pytest.raises(ValueError, match="holds no list of wider-face; expected in wider_face_split/ is one of wider_face_train_bbx_gt.txt"): open_database("wider-face", tmp_path)
    with pytest.raises(ValueError, match="so give the folder .*twin"): open_database("wider-face", twin.parent)
    with pytest.raises(ValueError, match="form is 'json', allowed are 'txt', 'mat'"): open_database("wider-face", twin, form="json")
    with pytest.raises(ValueError, match="split is 'valid', in .* there are train, validation, test"): open_database("wider-face", twin).pictures("valid")
    with pytest.raises(ValueError, match="no label of affect"): open_database("wider-face", twin).clips


def test_matlab_files_that_do_not_fit(copy):
    path = copy/"wider_face_split"/"wider_face_train.mat"
    held = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    savemat(path, held | dict(blur_label_list=held["blur_label_list"][:-1]))
    with pytest.raises(ValueError, match="blur_label_list has .* allowed is the same"): open_database("wider-face", copy, form="mat").pictures()
    savemat(path, {name: value for name, value in held.items() if name != "pose_label_list"})
    with pytest.raises(ValueError, match="has no variable 'pose_label_list'"): open_database("wider-face", copy, form="mat").pictures()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="wider_face_train.mat"): open_database("wider-face", copy, form="mat").pictures()
    easy = copy/"eval_tools"/"ground_truth"/"wider_easy_val.mat"
    held = {name: value for name, value in loadmat(easy).items() if not name.startswith("__")}
    held["gt_list"][0, 0][0, 0] = np.array([[999.]])
    savemat(easy, held)
    with pytest.raises(ValueError, match="wider_easy_val.mat: gt_list of .* has 999, allowed are 1 to"): open_database("wider-face", copy).evaluation_lists()
    assert not check_database("wider-face", copy).ok
    easy.unlink()
    assert open_database("wider-face", copy).evaluation_lists() is None


def test_lists_without_names_go_by_the_list_beside_them(copy):
    before = open_database("wider-face", copy).evaluation_lists()
    for level in LEVELS:
        path = copy/"eval_tools"/"ground_truth"/f"wider_{level}_val.mat"
        savemat(path, dict(gt_list=loadmat(path)["gt_list"]))
    after = open_database("wider-face", copy).evaluation_lists()
    assert all((a == b).all() for level in LEVELS for a, b in zip(before[level], after[level], strict=True))
    (copy/"eval_tools"/"ground_truth"/"wider_face_val.mat").unlink()
    with pytest.raises(ValueError, match="has no names of pictures"): open_database("wider-face", copy).evaluation_lists()


def test_the_check_counts_and_finds(copy, truth):
    report = check_database("wider-face", copy)
    counts = report.counts.set_index(["split", "what"])
    assert report.ok and counts.loc[("all", "faces"), "found"] == len(truth) and counts.loc[("train", "images"), "manifest"] == 12_880
    assert counts.loc[("all", "blur: heavy"), "found"] == (truth.blur == 2).sum() and "synthetic twin" in str(report)
    assert report.to_dict()["ok"] and "<table" in report._repr_html_()
    first, second = open_database("wider-face", copy).pictures()[:2]
    first.file.rename(first.file.with_name("other.jpg"))
    second.file.write_bytes(second.file.read_bytes()[:30])
    shutil.copy(copy/LIST, copy/LIST.replace("train", "val"))
    text = str(check_database("wider-face", copy))
    for part in ("pictures are not there", "other.jpg", f"error: {second.name}: ", "train and validation: share"): assert part in text, part


# the real thing

@needs_real
def test_real_pictures():
    wider = open_database("wider-face", REAL)
    pictures = wider.pictures("train")
    assert wider.splits == ["train"] and len(pictures) == 1_239 and sum(map(len, pictures)) == 6_590 and len({picture.event for picture in pictures}) == 5
    assert not wider.faults and not wider.notes and 0 < sum(picture.invalid.sum() for picture in pictures) < 40
    for picture in pictures[::40]:
        height, width = cv2.imread(str(picture.file)).shape[:2]
        assert (picture.boxes[:, :2] >= 0).all() and (picture.boxes[:, 2:] <= (width + 1, height + 1)).all()
    report = check_database("wider-face", REAL)
    assert report.ok and not any("reach out" in finding.what for finding in report.findings)
