"""FER+: the authors' rules, three forms of one database, pictures that lie in a table, and copies that must not be learned from."""
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import affect_nb.databases
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.data.copies_apart import without_copies
from affect_nb.data.sequences import SequenceDataset
from affect_nb.data.store import release_crops
from affect_nb.databases.base import open_database
from affect_nb.databases.check import check_database
from affect_nb.databases.copies import n_repeated, picture_digest, picture_digests, shared_copies
from affect_nb.databases.ferplus import EMOTIONS, LABELS, VOTED, emotion_shares, majority_class, without_single_votes
from affect_nb.preprocess.packed import PackedPicture, PictureColumn, PixelTable, picture_columns
from affect_nb.preprocess.pipeline import fingerprint
from affect_nb.preprocess.sources import open_clip
from affect_nb.synth.twins import twin_truth, write_database

TINY = dict(train=2, validation=1, test=1, frames_per_clip=12)
FORMS = {"fer-plus": "csv", "fer-plus-folders": "folders", "fer-plus-parquet": "parquet"}
SHARES = [f"share_{name.lower()}" for name in EXPRESSIONS]
REAL = Path(__file__).resolve().parents[2]/"shared"/"data"/"real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real faces at {REAL}")


@pytest.fixture(scope="module", params=FORMS)
def twin(request, tmp_path_factory):
    "Name and root of a twin with pictures."
    return request.param, write_database(request.param, tmp_path_factory.mktemp("twin")/request.param, progress=False, **TINY)


@pytest.fixture(scope="module")
def listed(tmp_path_factory): return write_database("fer-plus", tmp_path_factory.mktemp("listed")/"twin", progress=False, **TINY)


@pytest.mark.parametrize("form", FORMS)
def test_the_smallest_twin_has_every_part(form):
    assert {*twin_truth(form, size="smoke").split} == {"train", "validation", "test"}


# the rules, one picture at a time

def by_hand(votes, rule):
    "The shares of the eight emotions by the words of the paper and the order of its authors' loops; None: no label."
    left = {place: count for place, count in enumerate(votes) if count > 1}
    total, kept = sum(left.values()), {}
    if rule == "majority": kept = {place: count for place, count in left.items() if 2*count > total}
    if rule == "multi_target": kept = {place: count for place, count in left.items() if count >= .3*total}
    steps, classes = 0, 0
    while rule == "soft" and sum(kept.values()) < .75*total and classes < 3:
        most = max(left.values())
        ties = [place for place in sorted(left) if left[place] == most]
        seen = [place for place in ties if place < 8] + [place for place in ties if place >= 8][:1]
        for place in seen: kept[place] = left.pop(place)
        classes += len(seen)
        faceless = [place for place in seen if place >= 8]
        if faceless and len(kept) > 1: kept.pop(faceless[0]); classes -= 1
        if faceless: break
    if classes > 3 or 2*sum(kept.values()) <= total or max(kept, key=lambda place: (kept[place], -place)) >= 8: return None
    emotions = {place: 1 if rule == "multi_target" else count for place, count in kept.items() if place < 8}
    return [emotions.get(place, 0)/sum(emotions.values()) for place in range(8)]


def random_votes(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.multinomial(10, rng.dirichlet(np.full(10, .35))) for _ in range(n)])


@pytest.mark.parametrize("rule", ["soft", "majority", "multi_target"])
def test_the_rules_by_hand(rule):
    votes = np.concatenate([random_votes(1500), [[5, 5] + [0]*8, [0]*8 + [5, 5], [3, 0, 0, 3, 0, 0, 0, 0, 3, 1], [2, 2, 2, 2, 2, 0, 0, 0, 0, 0], [0]*9 + [10]]])
    found = emotion_shares(without_single_votes(votes), rule)
    for row, shares in zip(votes, found):
        wanted = by_hand(row, rule)
        assert np.isnan(shares).all() if wanted is None else np.allclose(shares, wanted), (rule, row, wanted, shares)


def test_rules_that_are_known_by_their_words():
    votes = random_votes(400, 1)
    plain = emotion_shares(votes, "votes")
    known = ~np.isnan(plain).any(1)
    np.testing.assert_allclose(plain[known], (votes[:, :8]/votes[:, :8].sum(1, keepdims=True).clip(1))[known])
    assert known.sum() > 200 and not np.isnan(plain[votes.argmax(1) < 8]).any()
    winners = majority_class(without_single_votes(votes))
    agreed = emotion_shares(without_single_votes(votes), "majority")
    assert (agreed[winners < 8].argmax(1) == winners[winners < 8]).all() and np.isnan(agreed[winners >= 8]).all()
    with pytest.raises(ValueError, match="labels is 'hard', allowed are soft, votes, majority, multi_target"): emotion_shares(votes, "hard")


# the three forms

def test_every_form_gives_pictures_and_labels(twin):
    name, root = twin
    ferplus, truth = open_database("fer-plus", root), twin_truth(name, **TINY)
    assert (ferplus.release, ferplus.still, ferplus.are_crops) == (FORMS[name], True, True)
    table = ferplus.frames()
    merged = table.merge(truth, on=["clip", "frame"], suffixes=("", "_truth"))
    assert len(merged) == len(table) == len(truth) and (merged.expression == merged.expression_truth).all() and (merged.category == merged.category_truth).all()
    assert (merged.image == merged.image_truth).all() and {7, 8, 9} <= set(table.category)
    for clip in ferplus.clips:
        source = ferplus.source(clip)
        pictures = [frame.image for frame in open_clip(source)]
        assert len(pictures) == len(ferplus.labels(clip)) and {picture.shape for picture in pictures} == {(48, 48, 3)}
        assert all((picture[..., :1] == picture).all() for picture in pictures) and len({picture_digest(picture) for picture in pictures}) == len(pictures)
        assert fingerprint(source)["files"] == len(pictures) and pickle.loads(pickle.dumps(source)) == source


def test_shares_are_soft_labels(twin):
    ferplus = open_database("fer-plus", twin[1])
    table = ferplus.frames()
    shares = table[SHARES].to_numpy(float)
    known = ~np.isnan(shares)
    assert (known.all(1) == known.any(1)).all() and known.any(1).sum() > len(table)/2
    assert (shares[known] >= 0).all() and (np.nansum(shares, 1) <= 1 + 1e-6).all()
    sure = table[table.expression >= 0]
    assert (sure[SHARES].to_numpy().argmax(1) == sure.expression).all()
    scornful = table.category == EMOTIONS.index("contempt")
    assert scornful.any() and (table.expression[scornful] == -1).all() and (table.loc[scornful, SHARES].sum(1) < .5).all()
    stretched = open_database("fer-plus", twin[1], labels="votes", without_contempt=True).frames()
    np.testing.assert_allclose(stretched[SHARES].dropna().sum(1), 1, rtol=1e-6)
    assert stretched.loc[scornful, SHARES].isna().all(axis=None)
    for option in (dict(labels="hard"), dict(more_than=1), dict(keep_single_votes="yes")):
        with pytest.raises(ValueError, match=f"{[*option][0]} is .*, allowed are"): open_database("fer-plus", twin[1], **option)


def test_rows_must_go_together(listed, tmp_path):
    new, pixels = (listed/name for name in ("fer2013new.csv", "fer2013.csv"))
    lines = new.read_text().splitlines(keepends=True)
    def said(*rows):
        (tmp_path/"fer2013new.csv").write_text("".join(rows))
        with pytest.raises(ValueError) as error: open_database("fer-plus", tmp_path)
        return str(error.value)
    (tmp_path/"fer2013.csv").symlink_to(pixels)
    assert f"has {len(lines) - 2} rows and" in said(*lines[:-1])
    assert "the same row of fer2013.csv 'Training'" in said(lines[0], lines[-1], *lines[2:-1], lines[1])
    (tmp_path/"fer2013new.csv").write_text("\n".join(lines)) # empty lines between the rows
    assert [*open_database("fer-plus", tmp_path).frames().image] == [*open_database("fer-plus", listed).frames().image]
    assert "neutral has 11 votes" in said(lines[0], lines[1].replace(lines[1].split(",", 2)[2], "11,0,0,0,0,0,0,0,0,0\n"), *lines[2:])


def test_two_parquet_files_are_one_too_many(tmp_path):
    columns = dict(name=["fer0000000.png"], split=["train"]) | {f"votes_{name}": [1] for name in VOTED}
    for name in ("a", "b"): pq.write_table(pa.table(columns), tmp_path/f"{name}.parquet")
    with pytest.raises(ValueError, match="a.parquet, b.parquet, all of them with votes"): open_database("fer-plus", tmp_path)
    assert open_database("fer-plus", tmp_path/"b.parquet").frames().category.tolist() == [8]
    pq.write_table(pa.table(dict(columns, split=["first"])), tmp_path/"b.parquet")
    with pytest.raises(ValueError, match="row 1: split is 'first'"): open_database("fer-plus", tmp_path/"b.parquet")


# pictures in tables

def png(value, size=8):
    file = BytesIO()
    Image.fromarray(np.full((size, size), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_a_picture_column_is_read_by_groups(tmp_path):
    cells = [png(value) for value in range(23)]
    pq.write_table(pa.table(dict(image=[dict(bytes=cell, path=None) for cell in cells])), tmp_path/"x.parquet", row_group_size=5)
    column = PictureColumn(tmp_path/"x.parquet", "image")
    assert len(column) == 23 and picture_columns(pq.read_schema(tmp_path/"x.parquet")) == {"image": True}
    for number in (22, 0, 4, 5, 19): assert column.picture(number, f"{number}.png").read_bytes() == cells[number]
    pq.write_table(pa.table(dict(image=[dict(bytes=None, path="a.png")])), tmp_path/"x.parquet")
    with pytest.raises(ValueError, match="the cell of column 'image' is empty"): PictureColumn(tmp_path/"x.parquet", "image").picture(0, "a.png").read_bytes()


@pytest.mark.parametrize("cells, said", [("1 2 3", "3 numbers"), ("1 2 3 256", "the number 256"), ("1 2 3 -4", "1 2 3 -4"), ("", "b''"), ("1.0 2 3 4", "1.0 2 3 4")])
def test_pixels_that_are_refused(tmp_path, cells, said):
    (tmp_path/"p.csv").write_text(f"emotion,pixels\n0,{cells}\n")
    with pytest.raises(ValueError, match="allowed are numbers from 0 to 255") as error: PixelTable(tmp_path/"p.csv").picture(0, "a.png").read_bytes()
    assert said in str(error.value) and "row 2" in str(error.value)


def test_own_reads_pictures_in_a_table(tmp_path):
    path, classes = tmp_path/"mine.parquet", ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger"]
    pd.DataFrame(dict(name=[f"x/{number}.png" for number in range(7)], jpeg=[png(20*number) for number in range(7)], expression=range(7), valence=.5, arousal=0.)).to_parquet(path, row_group_size=3)
    with pytest.raises(ValueError, match="say which by classes="): open_database("own", path)
    own = open_database("own", path, classes=classes, crops=True)
    assert (own.still, own.are_crops, own.frames().expression.tolist()) == (True, True, [0, 4, 5, 6, 3, 2, 1])
    assert [int(frame.image[0, 0, 0]) for frame in open_clip(own.source(own.clips[0]))] == [20*number for number in range(7)]
    assert not open_database("own", path, classes=classes).are_crops and check_database("own", path, classes=classes).ok
    assert all(isinstance(file, PackedPicture) for file in own.images(own.clips[0]).values())
    shuffled = pd.read_parquet(path).iloc[::-1].assign(split=["train", "test", "train", "test", "train", "test", "train"])
    shuffled.to_parquet(path, row_group_size=2)
    own = open_database("own", path, classes=classes) # rows of a set need not follow each other
    for clip in own.clips:
        values = [int(frame.image[0, 0, 0])//20 for frame in open_clip(own.source(clip))]
        assert [EXPRESSIONS.index(dict(happy="Happiness", sad="Sadness").get(classes[value], classes[value].capitalize())) for value in values] == own.labels(clip).expression.tolist()


def test_own_takes_columns_of_votes_for_what_they_are_called(tmp_path):
    table = dict(image=[dict(bytes=png(1), path="a.png"), dict(bytes=png(2), path="b.png")], votes_happiness=[6, 5], votes_anger=[2, 5], votes_nf=[2, 0])
    pq.write_table(pa.table(table), tmp_path/"v.parquet")
    labels = open_database("own", tmp_path/"v.parquet").frames()
    assert labels.expression.tolist() == [EXPRESSIONS.index("Happiness"), -1] and labels.image.tolist() == ["a.png", "b.png"]
    np.testing.assert_allclose(labels[SHARES], [[0, .2, 0, 0, .6, 0, 0], [0, .5, 0, 0, .5, 0, 0]], rtol=1e-6)
    with pytest.raises(ValueError, match="no column has labels"): open_database("own", tmp_path/"v.parquet", votes={})
    pd.DataFrame(dict(file=["a.jpg"], votes_happiness=[6], votes_anger=[2])).to_csv(tmp_path/"v.csv", index=False)
    assert open_database("own", tmp_path/"v.csv").frames().expression.tolist() == [4]


def test_votes_beside_an_expression_give_its_shares(tmp_path):
    "The class is the column's, the shares are the votes', named or not; where they differ a note counts it."
    table = pd.DataFrame(dict(file=["a.png", "b.png", "c.png"], votes_anger=[7, 1, 0], votes_fear=[3, 9, 0], expression=["fear", "fear", "anger"]))
    for name in table.file: Image.new("L", (8, 8), 90).save(tmp_path/name)
    table.to_csv(tmp_path/"labels.csv", index=False)
    for options in ({}, dict(votes=["votes_anger", "votes_fear"])):
        own = open_database("own", tmp_path, **options)
        labels = own.frames()
        assert labels.expression.tolist() == [EXPRESSIONS.index(name) for name in ("Fear", "Fear", "Anger")]
        np.testing.assert_allclose(labels[["share_anger", "share_fear", "share_neutral"]], [[.7, .3, 0], [.1, .9, 0], [np.nan]*3], rtol=1e-6)
        assert any("in 1 of 2 rows another than most votes are for" in note for note in own.notes)
    assert "share_anger" not in open_database("own", tmp_path, votes={}).frames()


def test_a_single_column_of_votes_is_told(tmp_path):
    table = pd.DataFrame(dict(file=["a.png"], votes_anger=[7], valence=.5))
    Image.new("L", (8, 8), 90).save(tmp_path/"a.png")
    table.to_csv(tmp_path/"labels.csv", index=False)
    own = open_database("own", tmp_path)
    assert any("votes_anger gives no shares: there is one of them, and shares need two or more" in note for note in own.notes)
    assert "share_anger" not in own.frames()


def test_columns_of_pictures_are_files_or_nothing(tmp_path):
    "Whatever else a column is made, the message names it and what is allowed; a file is a file by each of its names."
    table = pd.DataFrame(dict(face=[png(1), png(2)], mask=[png(3), png(4)], emotion=["happy", "sad"]))
    path = tmp_path/"faces.parquet"
    table.to_parquet(path)
    for ours in ("file", "image", "path"):
        own = open_database("own", path, columns=f"face:{ours},mask:")
        assert [int(frame.image[0, 0, 0]) for frame in open_clip(own.source(own.clips[0]))] == [1, 2]
    for columns, texts in (("face:expression,emotion:", ("column 'face' holds pictures", "makes 'expression' of it", "allowed are file, path, image", "None")),
                           ("face:file,mask:au1", ("column 'mask' holds pictures", "makes 'au1' of it")),
                           ("image:face,mask:", ("no column 'image' to rename", "did you mean columns={'face': 'image'}?")),
                           ("emotoin:expression,mask:", ("no column 'emotoin' to rename", "did you mean 'emotion'?"))):
        with pytest.raises(ValueError) as error: open_database("own", path, columns=columns)
        assert all(text in str(error.value) for text in texts), str(error.value)


def test_pictures_that_cannot_be_read_are_errors(tmp_path):
    "However few: the report is not ok, and says how many of how many, in which sets."
    rows = [dict(name=f"fer{number:07d}.png", split=split, png=png(9*number + 5)) | dict.fromkeys((f"votes_{name.lower()}" for name in VOTED), 1)
            for number, split in enumerate(("train", "train", "train", "train", "valid"))]
    for bad, share in ((1, "20.00%"), (4, "80.00%")):
        table = pd.DataFrame([row | (dict(png=b"no picture") if number < bad else {}) for number, row in enumerate(rows)])
        table.to_parquet(tmp_path/"faces.parquet")
        report = check_database("fer-plus", tmp_path/"faces.parquet")
        found = [finding for finding in report.findings if "cannot be read" in finding.text]
        assert not report.ok and [finding.level for finding in found] == ["error"]*2
        assert f"{bad} of 4 pictures cannot be read, first faces.parquet/fer0000000.png" in found[0].text
        assert f"{bad} of 5 cannot be read ({share}), in 1 set: train_00" in found[1].text


def test_paths_that_are_no_folder(tmp_path):
    "What is not there is not there; of a file of a release the message names its folder."
    (tmp_path/"data"/"FER2013Train").mkdir(parents=True)
    for name in ("fer2013new.csv", "fer2013.csv", "FER2013Train/label.csv"): (tmp_path/"data"/name).touch()
    for given, said in (("nowhere", "nowhere: no such file or folder; fer-plus is expected there"), ("nowhere.parquet", "nowhere.parquet: no such file or folder"),
                        *((f"data/{name}", f"is a file; fer-plus is read from its folder, so give {tmp_path/'data'}:") for name in ("fer2013new.csv", "fer2013.csv", "FER2013Train/label.csv"))):
        with pytest.raises(ValueError) as error: open_database("fer-plus", tmp_path/given)
        assert said in str(error.value) and "not a folder" not in str(error.value)
    with pytest.raises(ValueError, match="gone: no such file or folder; disfa is expected there"): open_database("disfa", tmp_path/"gone")


def test_tables_that_hold_nothing(tmp_path):
    "Without a row, without a picture, without a name, without some votes: the message is about the file, not about another layout."
    votes = {f"votes_{name.lower()}": np.zeros(2, np.int8) + (name == "neutral")*10 for name in VOTED}
    whole = pd.DataFrame(dict(name=["fer0000000.png", "fer0000001.png"], split=["train", "valid"], png=[png(1), png(2)]) | votes)
    path, votes_only = tmp_path/"ferplus.parquet", whole.drop(columns="png")
    (tmp_path/"notes.txt").write_text("x")

    def refused(table, *given, said, name="fer-plus", schema=None):
        pq.write_table(pa.Table.from_pandas(table, schema, preserve_index=False), path)
        for root in given:
            with pytest.raises(ValueError) as error: open_database(name, root)
            assert all(text in str(error.value) for text in said), str(error.value)
    empty = pa.schema([pa.field("png", pa.binary()) if field.name == "png" else field for field in pa.Schema.from_pandas(whole, preserve_index=False)])
    refused(whole[:0], path, tmp_path, said=("ferplus.parquet has no rows",))
    refused(whole[:0], path, said=("ferplus.parquet has no rows",), name="own")
    for schema in (None, empty): # of no kind, and bytes
        refused(whole.assign(png=None), path, tmp_path, said=("column 'png' is empty in all rows, so there is no picture",), schema=schema)
    refused(whole.assign(png=None), path, said=("column 'png' is empty in all rows", "columns={'png': None}"), name="own", schema=empty)
    refused(whole.assign(name=""), path, said=("ferplus.parquet: no picture is left", "2 of 2 rows have no image name"))
    refused(whole.drop(columns=["votes_nf", "votes_anger"]), tmp_path, said=("ferplus.parquet lacks votes_anger, votes_nf",))
    refused(whole.drop(columns=["votes_nf"]), path, said=("lacks the columns votes_nf;",))
    assert len(pq.read_table(path)) == 2 and "holds no clip" not in str(pytest.raises(ValueError, open_database, "fer-plus", path).value)
    votes_only.to_parquet(path)
    (tmp_path/"other.parquet").write_bytes(b"no table") # beside it, of something else
    assert open_database("fer-plus", tmp_path).frames().expression.tolist() == [0, 0]
    path.unlink()
    (tmp_path/"fer2013new.csv").write_text("Usage,Image name," + ",".join(VOTED) + "\n")
    with pytest.raises(ValueError, match="fer2013new.csv has no rows"): open_database("fer-plus", tmp_path)


def test_a_single_folder_of_arrays(tmp_path):
    for folder in ("annotations", "images"): (tmp_path/"my_val"/folder).mkdir(parents=True)
    for kind, value in dict(exp=1, val=.5, aro=.25).items(): np.save(tmp_path/"my_val"/"annotations"/f"0_{kind}.npy", np.array(value))
    (tmp_path/"my_val"/"images"/"0.png").write_bytes(png(7))
    faces = open_database("affectnet", tmp_path/"my_val", crops=True)
    assert [(clip.name, clip.split) for clip in faces.clips] == [("validation_000", "validation")] and faces.are_crops
    assert faces.frames().expression.tolist() == [4] and [frame.image.max() for frame in open_clip(faces.source(faces.clips[0]))] == [7]


# copies

def test_copies_are_counted_and_not_learned_from(twin, tmp_path):
    ferplus = open_database("fer-plus", twin[1])
    sides = {split: ferplus.select(split) for split in ("train", "validation", "test")}
    digests = picture_digests(ferplus, keep=tmp_path/"digests.npz")
    assert [(one.left, one.right, one.pictures, one.copies) for one in shared_copies(digests, sides)] == [("train", "validation", 1, 1), ("train", "test", 1, 1), ("validation", "test", 1, 1)]
    assert n_repeated(digests) == 2 and digests.digests.nbytes == 8*len(digests) and not shared_copies(digests, dict(train=sides["train"]))
    report = check_database("fer-plus", twin[1])
    assert report.ok and sum("pixel for pixel" in finding.what for finding in report.findings) == 4
    assert not any("pixel for pixel" in finding.what for finding in check_database("fer-plus", twin[1], copies=False).findings)
    train, valid = (SequenceDataset(release_crops(ferplus, split), ferplus.frames(split), length=1) for split in ("train", "validation"))
    skipped = []
    learned, held = without_copies(ferplus, tmp_path, [train, valid], skipped)
    assert (len(learned), len(held)) == (len(train) - 1, len(valid)) and "1 of" in skipped[0].reason
    assert without_copies(ferplus, tmp_path, [learned, held], skipped) == [learned, held] and len(skipped) == 1


def test_no_copies_where_there_are_none(tmp_path):
    rafdb = open_database("raf-db", write_database("raf-db", tmp_path/"twin", train=1, test=1, frames_per_clip=12, width=96, height=96, progress=False))
    digests = picture_digests(rafdb)
    assert n_repeated(digests) == 0 and len(digests) == len(rafdb.frames())


# real ones

@needs_real
def test_real_votes_and_pictures():
    ferplus = open_database("fer-plus", REAL)
    table = ferplus.frames()
    assert (ferplus.release, len(table), (table.split == "validation").sum()) == ("parquet", 30_314, 3_510)
    assert 25_000 < (table.expression >= 0).sum() < 27_000 and table[SHARES].sum(1).max() < 1 + 1e-6
    frames = [frame.image.shape for frame in open_clip(ferplus.source(ferplus.select("validation")[0]))]
    assert set(frames) == {(48, 48, 3)} and len(frames) == len(ferplus.labels(ferplus.select("validation")[0]))
    own = open_database("own", REAL/"diffusionfer.parquet", classes=["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger"])
    assert len(own.frames()) == 1_285 and own.frames().expression.value_counts()[0] == 410
