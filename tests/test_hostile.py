"""Files of strangers: names that lead out of their folder, and text that would be a page's code. Nothing leaves its folder, and text stays text."""
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from affect_nb.analysis.annotators import Annotations, write_annotations
from affect_nb.analysis.tables import record
from affect_nb.apps.explore import _reading_html
from affect_nb.apps.report import write_report
from affect_nb.apps.run import Preset
from affect_nb.apps.runs import page_template, write_index
from affect_nb.data.store import preprocess_database
from affect_nb.databases.base import Clip, open_database
from affect_nb.databases.check_report import Report
from affect_nb.databases.manifests import LayoutEntry
from affect_nb.files.atomic import Skipped, path_part
from affect_nb.preprocess.pipeline import Preprocessed, preprocess
from affect_nb.preprocess.sources import Source
from affect_nb.synth.twins import get_twin, write_database

TINY = dict(train=2, validation=1, test=1, frames_per_clip=12, width=96, height=96)
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>"
EVIL = dict(above="../../secret.jpg", absolute="/etc/secret.jpg", backslash="..\\..\\secret.jpg", home="~/../secret.jpg", zero="a\0b.jpg", long="n"*3000 + ".jpg",
            lines="two\nlines.jpg", script="<script>alert(1)</script>.jpg", dots="..", folder="../secret.jpg", deep="a/../../../secret.jpg")
# twin -> a label file and what is a name in it: the group of the expression
NAMES = {"aff-wild2": ("va_test_set.txt", r"(4-25-96x96)"), "affectnet": ("Manually_Annotated_file_lists/training.csv", r"\n([^,\n]+)"),
         "affectnet-csv-without-header": ("Manually_Annotated_file_lists/validation.csv", r"\A[^\n]*\n([^,\n]+)"), "raf-db": ("basic/EmoLabel/list_patition_label.txt", r"\A(\S+)"),
         "emotionet": ("dataFile_0001.txt", r"\A(\S+)"), "omg-emotion": ("omg_TrainVideos.csv", r"(a19960000),utt"), "fer-plus": ("fer2013new.csv", r"Training,([^,\n]+)"),
         "fer-plus-folders": ("FER2013Train/label.csv", r"\A([^,\n]+)"), "own": ("labels.csv", r",(talk_1),"), "sewa": ("subjects.csv", r",(S001),"),
         "wider-face": ("wider_face_split/wider_face_train_bbx_gt.txt", r"\A(\S+)")}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    "Name -> a twin without media."
    folder = tmp_path_factory.mktemp("twins")
    return {name: write_database(name, folder/name, media=False, progress=False, **TINY) for name in NAMES}


def planted(twins, name, evil, tmp_path):
    "A copy of a twin in which a label file names something evil."
    root, (file, pattern) = shutil.copytree(twins[name], tmp_path/"a"/"b"/"root"), NAMES[name]
    text = (root/file).read_bytes().decode()
    start, stop = re.search(pattern, text).span(1)
    written = f'"{evil}"' if "\n" in evil and file.endswith(".csv") else evil
    (root/file).write_bytes(f"{text[:start]}{written}{text[stop:]}".encode())
    for place in (tmp_path/"secret.jpg", tmp_path/"a"/"secret.jpg", tmp_path/"a"/"b"/"secret.jpg"): Image.new("RGB", (32, 32)).save(place)
    return root


def leaves(path, root): return not os.path.normpath(path).startswith(os.path.normpath(root) + os.sep)


def named_files(database):
    "Every picture that an open database would read, whether it is there or not."
    if hasattr(database, "pictures"): return [picture.file for split in database.splits for picture in database.pictures(split)]
    return [file for clip in database.clips for file in database.images(clip).values()]


def assert_stays_inside(name, root, database):
    "No picture of a release lies outside of it, and every name of a clip is one part of a path."
    assert name == "own" or not [file for file in named_files(database) if leaves(file, root)]
    for clip in database.clips if not hasattr(database, "pictures") else ():
        assert path_part(clip.name) and path_part(clip.stem)
        database.source(clip), database.labels(clip)
    assert not [fault for fault in database.faults if "\n" in fault.message] # a message is a line


QUICK = ("above", "absolute", "long")

@pytest.mark.parametrize("kinds", [QUICK, pytest.param([kind for kind in EVIL if kind not in QUICK], marks=pytest.mark.full)], ids=["some", "others"])
@pytest.mark.parametrize("name", NAMES)
def test_names_in_label_files_lead_nowhere(twins, tmp_path, name, kinds):
    for kind in kinds:
        root = planted(twins, name, EVIL[kind], tmp_path/kind)
        try: assert_stays_inside(name, root, open_database(get_twin(name).database, root, on_fault="skip"))
        except ValueError as error: assert str(root) in str(error), (kind, error) # the whole file: zero bytes, ...


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("own", "sewa")]) # a table of one's own may name any file, a subject anything
def test_a_bad_name_is_told_with_its_row(twins, tmp_path, name):
    root = planted(twins, name, EVIL["above"], tmp_path)
    with pytest.raises(ValueError, match=r"row \d.*allowed"):
        database = open_database(get_twin(name).database, root)
        named_files(database), database.frames()


def test_matlab_lists_name_pictures_of_their_folder(tmp_path):
    savemat, cells = pytest.importorskip("scipy.io").savemat, lambda *names: np.array([[name] for name in names], object)
    pictures = np.empty((1, 1), object)
    pictures[0, 0] = cells("../../secret")
    (tmp_path/"wider_face_split").mkdir()
    savemat(tmp_path/"wider_face_split"/"wider_face_test.mat", dict(event_list=cells("..",), file_list=pictures))
    with pytest.raises(ValueError, match="wider_face_test.mat.*allowed are <event>/<picture>.jpg"): open_database("wider-face", tmp_path).pictures("test")


def test_ones_own_table_may_name_files_anywhere_and_its_clips_stay_inside(tmp_path):
    picture = tmp_path/"elsewhere"/"face.jpg"
    picture.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)).save(picture)
    table = tmp_path/"study"/"labels.csv"
    table.parent.mkdir()
    rows = pd.DataFrame(dict(file=[str(picture), "../elsewhere/face.jpg", "../elsewhere/x" + "n"*250 + ".jpg"], valence=[.1, .2, .3], clip=["../../up", "/abs" + "z"*400, "."],
                             subject=ATTACK, frame=[0, 1, 2]))
    rows.to_csv(table, index=False)
    database = open_database("own", table, on_fault="skip")
    assert len(database.clips) == 2 and len(database.faults) == 1
    assert all(re.fullmatch(r"[\w.\-]{1,180}", clip.name) for clip in database.clips)
    done = preprocess_database(database, tmp_path/"out"/"faces", crops=True, progress=False)
    assert {path.parent for path in tmp_path.rglob("*.arrow")} == {tmp_path/"out"/"faces"} and len(done.stores) == 2


@pytest.mark.parametrize("evil", ["../up", "/etc/x", "..", ".", "", "a\0b", "n"*256, "a/b"])
def test_what_gives_files_their_names_is_one_part_of_a_path(tmp_path, evil):
    with pytest.raises(ValueError, match="one part of a path"): Source(tmp_path, evil)
    with pytest.raises(ValueError, match="one part of a path"): Clip("own", evil, "", "train")
    with pytest.raises(ValueError, match="one part of a path"): Clip("own", "a", "", "train", media=evil or "..")
    with pytest.raises(ValueError, match="one part of a path"): Preset(title="", notebooks={evil: {}})
    track = {"ann": np.zeros((3, 2))}
    with pytest.raises(ValueError): write_annotations(Annotations(clip=evil, kind="va", tracks=track, fps=30), tmp_path/"out")
    with pytest.raises(ValueError): write_annotations(Annotations(clip="a", kind="va", tracks={evil: track["ann"]}, fps=30), tmp_path/"out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.csv", "a/../../x.csv", "a//b"])
def test_a_manifest_describes_files_of_its_folder(path):
    with pytest.raises(ValueError, match="below the database's folder"): LayoutEntry(path=path, holds="x")


def test_an_index_of_names_from_elsewhere_is_not_followed(tmp_path):
    "`sources.json` says how the outputs of a source are called."
    picture, dest = tmp_path/"face.png", tmp_path/"a"/"dest"
    dest.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(picture)
    (dest/"sources.json").write_text(json.dumps({"../../up": str(picture)}))
    with pytest.raises(ValueError, match="sources.json is '../../up', allowed"): preprocess(picture, dest, progress=False)
    assert not [*tmp_path.rglob("*.arrow")]


# pages

class Tags(HTMLParser):
    "What is an element, and what each has."
    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(page)
    def handle_starttag(self, tag, attributes): self.elements.append((tag, dict(attributes)))
    def handle_data(self, data): self.text.append(data)


def assert_text(page, scripts=0):
    "The attack is there as text, and as nothing else."
    tags = Tags(page)
    assert sum(tag == "script" for tag, _ in tags.elements) == scripts
    assert not [attributes for _, attributes in tags.elements if any(name.startswith("on") for name in attributes)]
    assert not [attributes for _, attributes in tags.elements if str(attributes.get("href", "")).lower().startswith("javascript:")]
    assert "alert(1)" in "".join(tags.text)


def test_a_report_shows_attacks_as_text(tmp_path):
    table = pd.DataFrame({ATTACK: [ATTACK, 1.5]}, index=[ATTACK, "b"])
    record(tmp_path, "10_table", title=ATTACK, data=ATTACK, metrics={ATTACK: .5}, tables={ATTACK: table}, figures={}, notes=[ATTACK, f"Left out: {ATTACK}"])
    entry = json.loads((tmp_path/"records"/"10_table.json").read_text())
    (tmp_path/"records"/"evil.json").write_text(json.dumps(entry | dict(notebook=ATTACK.replace("/", "")))) # a record that a stranger has sent
    (tmp_path/"notebooks").mkdir()
    (tmp_path/"notebooks"/f"{ATTACK.replace('/', '')}.ipynb").write_text("{}")
    assert_text(write_report(tmp_path, title=ATTACK, seconds={ATTACK: 1.}).read_text())


def test_the_index_of_runs_shows_attacks_as_text(tmp_path):
    folder = tmp_path/ATTACK.replace("/", "")
    for inner in ("state", "notebooks"): (folder/inner).mkdir(parents=True)
    (folder/"run.json").write_text(json.dumps(dict(title=ATTACK, preset=ATTACK, parameters={ATTACK: {}}, failed={ATTACK: ATTACK}, begun=ATTACK, ended=ATTACK, seconds=1)))
    (folder/"metrics.json").write_text(json.dumps({ATTACK: {f"ccc {ATTACK}": .5}}))
    (folder/"report.html").write_text("")
    page = write_index(tmp_path)[0].read_text()
    assert_text(page, scripts=1) # its filter
    assert_text(page_template("{{ x }}").render(title=ATTACK, x=ATTACK))


def test_tables_in_a_notebook_show_attacks_as_text(tmp_path):
    report = Report("own", ATTACK)
    report.add("error", ATTACK, ATTACK)
    assert_text(report._repr_html_())
    assert_text(Preprocessed(tmp_path, [], [Skipped(ATTACK, ATTACK)])._repr_html_().replace("<td>", "<td> "))
    assert_text(_reading_html((.1, .2), pd.Series({ATTACK: .5})))


def test_our_modules_write_text_and_never_html(root):
    modules = sorted((root/"affect_nb").rglob("*.js"))
    assert len(modules) >= 3
    for path in modules:
        code = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|javascript:", code), path
        assert "textContent" in code
