"""The manifests against the paper, typed from it a second time, and against sums that must come out."""
from pathlib import Path

import pytest
import yaml

import affect_nb.core.metrics as metrics
from affect_nb.core.labels import COMPOUND_EMOTIONET, COMPOUND_RAFDB, EXPRESSIONS
from affect_nb.databases.manifests import list_manifests, load_manifest, read_manifest

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["afew-va", "aff-wild", "aff-wild2", "affectnet", "bp4d", "bp4d-plus", "disfa", "emotionet", "fer-plus", "gft", "omg-emotion", "own", "raf-db", "sewa", "wider-face"]


def test_every_database_has_its_manifest():
    assert list_manifests() == NAMES == sorted(path.stem for path in (ROOT/"data_manifests").iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_is_whole(name):
    manifest = load_manifest(name)
    assert manifest.name == name and len(manifest.citation) and manifest.licence.endswith(".") and manifest.access.how.endswith(".")
    assert manifest.layout and bool(manifest.labels) != bool(manifest.boxes) and manifest.splits and set(manifest.splits) <= {"train", "validation", "test"}
    assert all(callable(getattr(metrics, measure)) for measure in manifest.measures)
    assert {fact.status for fact in manifest.facts} == {"verified", "unverified"} and all(fact.source for fact in manifest.facts)
    assert list(manifest.facts_table().status) == sorted(fact.status for fact in manifest.facts)
    assert manifest.title in manifest._repr_markdown_() and all(label.allowed in manifest._repr_markdown_() for label in manifest.labels)


def test_only_text_about_databases_is_kept():
    assert all(path.suffix == ".yaml" and path.stat().st_size < 20_000 for path in (ROOT/"data_manifests").iterdir())


# Table I, line by line as the PDF prints it

TABLE_1 = """
raf-db      | static  | in-the-wild | 6 Basic, Neutral & 11 Compound | 15,339 & 3,954
affectnet   | static  | in-the-wild | 6 Basic, Neutral + Contempt    | 291,651 manual & 400,000 automatic annotations
affectnet   | static  | in-the-wild | valence-arousal                | 325,000 manual & 460,300 automatic annotations
disfa       | dynamic | controlled  | 12 action units                | 54 videos: 261,630 frames
bp4d        | dynamic | controlled  | 27 action units                | 1,640 videos: 222,573 frames
bp4d-plus   | dynamic | controlled  | 34 action units                | 5,463 videos: 967,570 frames
emotionet   | static  | in-the-wild | 11 action units                | 50,000 manual & 950,000 automatic annotations
afew-va     | dynamic | in-the-wild | valence-arousal                | 600 videos: 30,050 frames
sewa        | A/V     | in-the-wild | valence-arousal                | 538 videos
omg-emotion | A/V     | in-the-wild | valence-arousal                | 495 videos: 5,288 utterances
"""


def test_table_1_as_printed():
    typed = [tuple(cell.strip() for cell in line.split("|")) for line in TABLE_1.strip().splitlines()]
    rows = {name: load_manifest(name).table1 for name in NAMES}
    kept = [(name, row.type, row.condition, *pair) for name, row in rows.items() if row for pair in zip(row.affect, row.size, strict=True)]
    assert sorted(kept) == sorted(typed)
    assert [name for name, row in rows.items() if row is None] == ["aff-wild", "aff-wild2", "fer-plus", "gft", "own", "wider-face"]


@pytest.mark.parametrize("name", NAMES)
def test_table_1_agrees_with_the_rest(name):
    manifest = load_manifest(name)
    row, counts = manifest.table1, [manifest.counts, *manifest.counts_by_label.values()]
    if row is None: return
    assert (row.type, row.condition) == (manifest.kind, manifest.condition)
    for phrase in (": ".join(row.size)).split(": "):
        number, what, *rest = phrase.split()
        if what in ("videos", "frames", "utterances"): assert getattr(manifest.counts, what) == int(number.replace(",", ""))
        elif what == "manual" and name == "affectnet": assert int(number.replace(",", "")) in [count.images for count in counts]


# counts

def test_sums():
    raf, affectnet, omg, wild = (load_manifest(name) for name in ("raf-db", "affectnet", "omg-emotion", "aff-wild"))
    assert [(split.images, sum(split.per_class.values())) for split in raf.splits.values()] == [(12_271, 12_271), (3_068, 3_068)]
    assert raf.counts.images == 15_339 == 12_271 + 3_068
    compound = raf.counts_by_label["compound"]
    assert compound.images == sum(compound.per_class.values()) == sum(split.images for split in raf.releases["compound"].splits.values()) == 3_954
    assert [(split.images, sum(split.per_class.values())) for split in affectnet.splits.values()] == [(287_651, 287_651), (4_000, 4_000)]
    assert affectnet.counts_by_label["expression"].images == 287_651 + 4_000
    assert [sum(getattr(split, what) for split in omg.splits.values()) for what in ("utterances", "videos")] == [5_288, 495] == [omg.counts.utterances, omg.counts.videos]
    assert sum(split.frames for split in wild.splits.values()) == wild.counts.frames == 1_224_100 and sum(split.videos for split in wild.splits.values()) == 298
    emotionet = load_manifest("emotionet")
    assert emotionet.counts.images == sum(split.images for split in emotionet.splits.values()) == 50_000 + 950_000
    disfa = load_manifest("disfa").counts
    assert disfa.frames % disfa.videos == 0 and disfa.frames//disfa.videos*disfa.subjects == load_manifest("disfa").counts_by_label["aus"].frames


def test_classes_are_counted_by_their_names():
    for name, what in (("raf-db", "expression"), ("affectnet", "expression")):
        manifest = load_manifest(name)
        for split in manifest.splits.values(): assert tuple(split.per_class) == manifest.label(what).classes[:len(split.per_class)]
    raf = load_manifest("raf-db")
    assert tuple(raf.counts_by_label["compound"].per_class) == raf.label("compound").classes


# labels

def every_label():
    for manifest in map(load_manifest, NAMES):
        for label in manifest.labels: yield manifest.name, None, label
        for release, said in manifest.releases.items():
            for label in said.labels: yield manifest.name, release, label


@pytest.mark.parametrize("name, release, label", [pytest.param(*case, id=f"{case[0]} {case[1] or ''} {case[2].name}") for case in every_label()])
def test_a_label_is_whole(name, release, label):
    assert load_manifest(name).label(label.name, release) == label and label.meaning
    if label.name in ("expression", "category"): assert label.kind == "class" and set(EXPRESSIONS) <= set(label.classes)
    if label.name in ("valence", "arousal"): assert label.kind == "continuous" and max(abs(bound*label.scale) for bound in label.range) == 1
    if label.name == "aus": assert label.kind in ("binary", "intensity") and list(label.aus) == sorted(set(label.aus))
    if label.classes: assert len(set(label.classes)) == len(label.classes)


@pytest.mark.parametrize("name, release, label, allowed", [
    ("aff-wild", None, "valence", "numbers in [-1.0, 1.0]"),
    ("aff-wild2", None, "valence", "numbers in [-1.0, 1.0], or -5 for no annotation"),
    ("aff-wild2", "2020", "expression", "whole numbers 0 to 6, or -1 for no annotation"),
    ("aff-wild2", "2021", "expression", "whole numbers 0 to 7, or -1 for no annotation"),
    ("aff-wild2", None, "aus", "0 or 1, or -1 for no annotation"),
    ("affectnet", "csv", "arousal", "numbers in [-1.0, 1.0], or -2 for no annotation"),
    ("affectnet", "csv-without-header", "expression", "whole numbers 0 to 10"),
    ("affectnet", "npy", "category", "whole numbers 0 to 7"),
    ("raf-db", "basic", "expression", "whole numbers 1 to 7"),
    ("raf-db", "compound", "compound", "whole numbers 1 to 11"),
    ("emotionet", "manual", "aus", "0 or 1, or 999 for no annotation"),
    ("emotionet", "compound", "compound", "whole numbers 0 to 15"),
    ("fer-plus", "folders", "category", "whole numbers 0 to 9"),
    ("disfa", None, "aus", "numbers in [0.0, 5.0]"),
    ("bp4d", "numbered", "aus", "0 or 1, or 9 for no annotation"),
    ("bp4d-plus", None, "aus", "0 or 1, or 9 for no annotation"),
    ("afew-va", None, "valence", "numbers in [-10.0, 10.0]"),
    ("omg-emotion", None, "arousal", "numbers in [0.0, 1.0]"),
    ("omg-emotion", None, "expression", "whole numbers 0 to 6"),
])
def test_what_a_file_may_hold(name, release, label, allowed): assert load_manifest(name).label(label, release).allowed == allowed


def test_traps_of_order_and_number():
    raf, omg, affectnet = (load_manifest(name).label("expression") for name in ("raf-db", "omg-emotion", "affectnet"))
    assert raf.classes == ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral") and raf.first_id == 1
    assert omg.classes == ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise") and (omg.first_id, omg.level) == (0, "utterance")
    assert affectnet.classes == ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt", "None", "Uncertain", "No-face")
    assert load_manifest("affectnet").label("expression", "npy").classes == affectnet.classes[:8]
    columns = omg.header.split(",")
    assert columns.index("arousal") < columns.index("valence") and columns[-1] == "EmotionMaxVote"
    assert load_manifest("raf-db").label("compound").classes == COMPOUND_RAFDB and load_manifest("emotionet").label("compound").classes == COMPOUND_EMOTIONET
    assert load_manifest("aff-wild2").label("expression", "2021").classes == (*EXPRESSIONS, "Other")
    assert load_manifest("afew-va").label("arousal").scale == .1 and load_manifest("disfa").label("aus").active_from == 2


def test_action_units():
    aus = {name: load_manifest(name).label("aus").aus for name in ("disfa", "bp4d", "bp4d-plus", "gft", "emotionet")}
    assert {name: len(units) for name, units in aus.items()} == dict(disfa=12, bp4d=27, gft=14, emotionet=60) | {"bp4d-plus": 34}
    assert aus["disfa"] == (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26) and aus["gft"] == (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 23, 24)
    assert load_manifest("aff-wild2").label("aus", "2021").aus == (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
    for name, release in (("aff-wild2", "2020"), ("aff-wild2", "2021")):
        label = load_manifest(name).label("aus", release)
        assert label.header == ",".join(f"AU{unit}" for unit in label.aus)
    assert load_manifest("bp4d").label("aus", "numbered").header.split(",") == [str(number) for number in range(100)]
    assert len(load_manifest("emotionet").label("aus", "manual").header.split(",")) == 62


# protocols

@pytest.mark.parametrize("name, sizes, aus", [("disfa", [9, 9, 9], (1, 2, 4, 6, 9, 12, 25, 26)), ("bp4d", [14, 14, 13], (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24))])
def test_three_folds(name, sizes, aus):
    manifest = load_manifest(name)
    three = manifest.protocol("three-fold")
    subjects = [subject for fold in three.folds for subject in fold]
    assert [len(fold) for fold in three.folds] == sizes and three.aus == aus and set(aus) <= set(manifest.label("aus").aus)
    assert len(subjects) == len(set(subjects)) == manifest.counts.subjects == {"disfa": 27, "bp4d": 41}[name]


def test_fold_subjects_exist():
    folds = {name: {subject for fold in load_manifest(name).protocol("three-fold").folds for subject in fold} for name in ("disfa", "bp4d")}
    assert folds["disfa"] == {f"SN{number:03d}" for number in range(1, 33)} - {f"SN{number:03d}" for number in (14, 15, 19, 20, 22)}
    assert folds["bp4d"] == {f"F{number:03d}" for number in range(1, 24)} | {f"M{number:03d}" for number in range(1, 19)}
    fera = load_manifest("bp4d").protocol("fera2015")
    assert {int(subject[1:]) % 2 for subject in fera.parts["train"]} == {1} and {int(subject[1:]) % 2 for subject in fera.parts["validation"]} == {0}
    assert folds["bp4d"] == {*fera.parts["train"], *fera.parts["validation"]} and fera.aus == (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23)


def test_protocols_whose_subjects_are_not_known_say_so():
    for name, protocol in (("bp4d-plus", "fera2017"), ("afew-va", "five-fold"), ("gft", "78-18")):
        kept = load_manifest(name).protocol(protocol)
        assert kept.status == "unverified" and not kept.folds and not kept.parts and "not known" in kept.says
    assert load_manifest("bp4d-plus").protocol("fera2017").aus == (1, 4, 6, 7, 10, 12, 14, 15, 17, 23)
    assert load_manifest("aff-wild2").protocol("abaw2020").kind == "clips"
    with pytest.raises(ValueError, match="disfa has no protocol 'ten-fold', it has three-fold"): load_manifest("disfa").protocol("ten-fold")


# the published numbers: method, then what the table prints for it

TABLE_2 = """
FATAUVA-Net .40 .28 .12 .10 | VGG-16 .40 .30 .13 .11 | ResNet-50 .43 .30 .11 .11 | VGG-FACE .51 .33 .10 .08
VGG-FACE-LSTM .52 .38 .10 .09 | AffWildNet .57 .43 .08 .06
"""
TABLE_3 = """
ResNet-50 .359 .195 | ResNet-RNN .409 .224 | Single Multi-Modal (audio + visual) .484 .345 | Ensemble I (audio + visual) .496 .356
Ensemble II (audio + visual) .499 .361 | CNN-1RNN-2nd-pool_last-pool_fc .449 .303 | CNN-3RNN-2nd-pool_last-pool_fc .472 .329
Decision-Level Fusion .501 .332 | Model-Level Fusion + FC .518 .348 | Model-Level Fusion + RNN .535 .365
"""
TABLE_4 = { # column: method and number
    "aff-wild ccc": [("AffWildNet", (.57, .43)), ("MT-VGG", (.56, .35)), ("MT-VGG-GRU (audio)", (.54, .47)), ("MT-VGG-GRU (visual)", (.6, .45)),
                     ("A/V-MT-VGG-GRU", (.62, .49))],
    "afew-va ccc": [("AffWildNet", (.52, .56)), ("MT-VGG", (.58, .53)), ("MT-VGG-GRU (visual)", (.6, .6))],
    "affectnet ccc": [("AlexNet", (.6, .34)), ("MT-VGG", (.61, .46))],
    "affectnet f1": [("AlexNet", .58), ("MT-VGG", .54)],
    "raf-db mean_diagonal": [("VGG-FACE-mSVM", .58), ("MT-VGG", .61)],
    "emotionet f1": [("ResNet-34", .51), ("MT-VGG", .52)],
    "disfa f1": [("R-T1", .6), ("MT-VGG", .61), ("MT-VGG-GRU (visual)", .63)],
    "bp4d f1": [("DLE extension", .54), ("MT-VGG", .66), ("MT-VGG-GRU (visual)", .67)],
    "bp4d-plus f1": [("VGG+SVM", .51), ("MT-VGG", .49), ("MT-VGG-GRU (visual)", .52)],
    "aff-wild2 ccc": [("CNN-RNN Ensemble", (.44, .45)), ("TSAV", (.45, .42)), ("MT-VGG", (.43, .42)), ("MT-VGG-GRU (audio)", (.44, .51)),
                      ("MT-VGG-GRU (visual)", (.46, .45)), ("A/V-MT-VGG-GRU", (.47, .52))],
}
TABLE_6 = { # column: the numbers from the top; the rows that have one follow from the text
    "aff-wild ccc": [(.51, .33), (.52, .31), (.55, .36), (.59, .41), (.60, .40)],
    "affectnet ccc": [(.60, .34), (.53, .43), (.56, .46), (.59, .50), (.61, .51)],
    "affectnet f1": [.58, .51, .54, .60, .60],
    "raf-db mean_diagonal expression": [.58, .59, .67, .70, .71],
    "raf-db mean_diagonal compound": [.32, .45, .35, .37, .46, .49],
    "emotionet f1 compound": [.26, .25, .32],
    "emotionet uar": [.24, .27, .34],
    "emotionet afa": [.73, .67, .72, .73, .74],
    "disfa f1": [.47, .52, .57, .60],
    "bp4d f1": [.59, .56, .61, .67, .66],
    "bp4d-plus f1": [.58, .54, .57, .60, .60],
}


def column(key, table):
    "(method, number) of each row of a column, in the order of the manifest."
    name, measure, *task = key.split()
    rows = [row for row in load_manifest(name).baselines if row.table == table and task in ([], [row.task])]
    return [(row.network, getattr(row, measure)) for row in rows if getattr(row, measure) is not None]


def typed_rows(table, n_numbers):
    "(method, its numbers) of a table that was typed with a | between rows."
    cells = [cell.strip().rsplit(" ", n_numbers) for cell in table.replace("\n", "|").split("|") if cell.strip()]
    return [(method, tuple(map(float, numbers))) for method, *numbers in cells]


def test_table_2():
    typed = typed_rows(TABLE_2, 4)
    assert column("aff-wild ccc", "II") == [(method, numbers[:2]) for method, numbers in typed]
    assert column("aff-wild mse", "II") == [(method, numbers[2:]) for method, numbers in typed]


def test_table_3(): assert column("omg-emotion ccc", "III") == typed_rows(TABLE_3, 2)


@pytest.mark.parametrize("key", TABLE_4)
def test_table_4(key): assert column(key, "IV") == TABLE_4[key]


@pytest.mark.parametrize("key", TABLE_6)
def test_table_6(key): assert [number for _, number in column(key, "VI")] == TABLE_6[key]


def test_table_6_rows_agree_with_the_prose():
    "Section VI.B says by how much the networks differ; the columns of the PDF do not say which row is whose."
    def cell(key, method):
        number, = [number for name, number in column(key, "VI") if name == method]
        return sum(number)/2 if isinstance(number, tuple) else number
    free, coupled = "FaceBehaviorNet no coupling loss", "FaceBehaviorNet soft co-annotation & distr-matching, cognitive study"
    for key, other, ahead in [("aff-wild ccc", "VGG-FACE", .035), ("affectnet ccc", "AlexNet", .04), ("raf-db mean_diagonal expression", "VGG-FACE-mSVM", .09), ("bp4d f1", "DLE extension", .02),
                              ("affectnet f1", "AlexNet", -.04), ("emotionet afa", "ResNet-34", -.01), ("bp4d-plus f1", "VGG+SVM", -.01)]:
        assert cell(key, free) - cell(key, other) == pytest.approx(ahead)
    assert cell("raf-db mean_diagonal compound", f"zero-shot {coupled}") - cell("raf-db mean_diagonal compound", "VGG-FACE-mSVM") == pytest.approx(.05)
    for network, ahead in ((free, .01), (coupled, .04)):
        assert cell("raf-db mean_diagonal compound", f"fine-tuned {network}") - cell("raf-db mean_diagonal compound", "DLP-CNN") == pytest.approx(ahead)
    for key, ahead in (("emotionet f1 compound", .06), ("emotionet uar", .10)): assert cell(key, f"zero-shot {coupled}") - cell(key, "NTechLab") == pytest.approx(ahead)


def test_where_the_paper_has_no_number():
    assert load_manifest("sewa").baselines == load_manifest("gft").baselines == ()


# layouts and mistakes

def test_a_layout_is_shown_as_a_tree():
    assert load_manifest("afew-va").layout_tree().splitlines()[:2] == ["{part}/", "  {clip}/"]
    tree = load_manifest("raf-db").layout_tree("compound")
    assert tree.startswith("compound/\n  EmoLabel/\n    list_patition_label.txt") and "basic" not in tree and tree.count("compound/") == 1
    assert "(optional)" in load_manifest("aff-wild").layout_tree() and "{image}_exp.npy" in load_manifest("affectnet").layout_tree("npy")
    assert load_manifest("bp4d").layout_tree("named") == load_manifest("bp4d").layout_tree()


@pytest.mark.parametrize("ask", [lambda manifest: manifest.layout_tree("2022"), lambda manifest: manifest.label("valence", "2022"), lambda manifest: manifest.release("2022")])
def test_an_unknown_release_lists_the_known(ask):
    with pytest.raises(ValueError, match="aff-wild2 has no release '2022', it has 2020, 2021"): ask(load_manifest("aff-wild2"))


def test_an_unknown_label_lists_the_known():
    with pytest.raises(ValueError, match="raf-db has no label 'valence', it has expression, compound"): load_manifest("raf-db").label("valence")


AUS = dict(name="aus", kind="binary", meaning="active", aus=[1, 2])


@pytest.mark.parametrize("change, key, said", [
    (dict(table1=dict(type="film", affect=["x"], condition="controlled", size=["1"])), "table1.type", "film"),
    (dict(releases={"new": dict(says="x", label=[])}), "releases.new.label", "Extra inputs"),
    (dict(labels=[AUS | dict(level="second")]), "labels.0.level", "'frame', 'image' or 'utterance'"),
    (dict(labels=[AUS | dict(missing=1)]), "labels.0", "1 for no annotation, but annotations are 0 or 1"),
    (dict(labels=[AUS | dict(name="class", kind="class")]), "labels.0", "class"),
    (dict(labels=[dict(name="compound", kind="class", meaning="x")]), "labels.0", "needs 'classes'"),
    (dict(counts=dict(per_class=dict(Anger="many"))), "counts.per_class.Anger", "many"),
    (dict(baselines=[dict(network="x", table="VII")]), "baselines.0.table", "VII"),
    (dict(protocols=dict(two=dict(says="x", kind="folds", folds=[["A", "B"], ["A"]], status="verified", source="x"))), "protocols.two", "more than once is A"),
    (dict(protocols=dict(two=dict(says="x", kind="subjects", parts=dict(train=["A"], test=["A"]), status="verified", source="x"))), "protocols.two", "more than once is A"),
    (dict(protocols=dict(two=dict(says="x", kind="subjects", parts=dict(dev=["A"]), status="verified", source="x"))), "protocols.two.parts", "dev"),
    (dict(facts=[dict(says="x", status="certain", source="x")]), "facts.0.status", "certain"),
])
def test_a_mistake_is_named_with_file_and_key(tmp_path, change, key, said):
    content = yaml.safe_load((ROOT/"data_manifests"/"disfa.yaml").read_text()) | change
    (tmp_path/"wrong.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError) as error: read_manifest(tmp_path/"wrong.yaml")
    assert "wrong.yaml" in str(error.value) and key in str(error.value) and said in str(error.value)
