"""The check of a copy: what is counted, what is called wrong, and what stays unsaid where nothing is wrong."""
import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

import affect_nb.databases
import affect_nb.synth
from affect_nb.apps.cli import main
from affect_nb.core.labels import EXPRESSIONS
from affect_nb.databases.check import check_database
from affect_nb.databases.check_report import Report
from affect_nb.databases.base import SPLITS, list_databases, open_database
from affect_nb.databases.splits import split_hash
from affect_nb.databases.statistics import LabelStatistics
from affect_nb.synth.twins import get_twin, list_synthetic, write_database

ROOT = Path(__file__).resolve().parent.parent
TINY = dict(train=2, test=1, frames_per_clip=12, width=96, height=96, progress=False)


def said(report, level=None): return [f"{finding.where}: {finding.what}" for finding in report.findings if level in (None, finding.level)]
def hints(report): return [finding.what for finding in report.findings if finding.kind == "doubts"]
def has(report, *texts, level=None):
    found = "\n".join(said(report, level))
    for text in texts: assert text in found, (text, found)


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    "Name -> twin without media, of the smoke size."
    folder, made = tmp_path_factory.mktemp("twins"), {}
    def twin(name):
        if name not in made: made[name] = write_database(name, folder/name, media=False, progress=False)
        return made[name]
    return twin


# good copies

@pytest.mark.parametrize("name", list_synthetic())
def test_no_alarm_on_a_twin(twins, name):
    database = get_twin(name).database
    report = check_database(database, twins(name))
    assert report.ok and not hints(report), str(report)
    has(report, "annotations only", "synthetic twin")
    assert sum(finding.kind in ("media", "surplus") for finding in report.findings) == 1 # nothing but the note above
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["ok"] and content["labels"] and content["split_hash"] == report.split_hash and len(content["clips"]) == len(report.clips)
    assert max(map(len, str(report).splitlines())) < 1200 and "<table" in report._repr_html_()


@pytest.mark.parametrize("name", ["aff-wild2", "affectnet", "disfa", "omg-emotion"])
def test_statistics_are_those_of_the_whole_table(twins, name):
    database = get_twin(name).database
    report, source = check_database(database, twins(name)), open_database(database, twins(name))
    frames = source.frames()
    for row in report.labels.itertuples():
        column = frames[row.label] if row.split == "all" else frames.loc[frames.split == row.split, row.label]
        given = column[column >= 0] if row.counts is not None else column.dropna()
        assert (row.rows, row.labelled) == (len(column), len(given))
        if row.counts is not None: assert sorted(filter(None, row.counts.values())) == sorted(given.value_counts())
        elif len(given): np.testing.assert_allclose([row.min, row.mean, row.max], [given.min(), given.astype(float).mean(), given.max()], rtol=1e-6)
    if report.va_density is not None:
        va = frames[["valence", "arousal"]].dropna().to_numpy(float)
        np.testing.assert_array_equal(report.va_density, np.histogram2d(*va.T, 20, ((-1, 1), (-1, 1)))[0])
        np.testing.assert_array_equal(report.histograms["arousal"], report.va_density.sum(0))
    if "expression" in report.histograms: assert list(report.histograms["expression"].index) == list(EXPRESSIONS)
    sides = {split: source.select(split) for split in source.manifest.splits}
    assert report.split_hash == split_hash(sides)


def test_statistics_keep_no_table():
    statistics = LabelStatistics()
    labels = pd.DataFrame(dict(frame=range(500), valence=np.linspace(-1, 1, 500), arousal=0., expression=1, **{f"au{au}": 1. for au in range(1, 61)}))
    sizes = []
    for number in range(3):
        statistics.add(labels, "train", str(number))
        sizes.append(len(str(vars(statistics))))
    assert max(sizes) < sizes[0] + 2000 and statistics.table()["labelled"].eq(1500).all()


# bad rows

@pytest.fixture
def affwild2(twins, tmp_path):
    shutil.copytree(twins("aff-wild2"), tmp_path/"copy")
    return tmp_path/"copy"


def files(root, task): return sorted((root/"annotations"/task).glob("*/*.txt"))


def change(path, edit):
    "Lines of a file after the header through `edit`."
    header, *lines = path.read_text().splitlines()
    write(path, header, *edit(lines))


def test_bad_rows_are_counted_by_file(affwild2):
    first, second = files(affwild2, "VA_Set")[:2]
    change(first, lambda lines: [*lines[:3], "7.5,0", "x,0", "0,0,0", *lines[6:]])
    change(second, lambda lines: ["0.5", *lines[1:]])
    report = check_database("aff-wild2", affwild2)
    name = first.relative_to(affwild2)
    assert sorted(said(report, "error")) == sorted([
        f"{name}: {name}, row 5: valence is 7.5, allowed are numbers in [-1.0, 1.0], or -5 for no annotation",
        f"{name}: {name}, row 6: 'x,0' is not numeric, allowed are 2 numbers", f"{name}: {name}, row 7: '0,0,0' has 3 values, allowed is 2",
        f"{(other := second.relative_to(affwild2))}: {other}, row 2: '0.5' has 1 values, allowed is 2"])
    rows = report.labels.set_index(["split", "label"])
    assert rows.loc[("train", "valence"), "wrong"]*rows.loc[("train", "valence"), "rows"] == pytest.approx(4)
    assert rows.loc[("train", "expression"), "wrong"] == 0
    missing, clean = rows.loc[("train", "valence")], check_database("aff-wild2", first.parents[3]).labels
    assert missing["missing"] + missing["wrong"] + missing["labelled"]/missing["rows"] == pytest.approx(1)


def test_a_sentinel_that_nobody_declared(twins, tmp_path):
    write(tmp_path/"labels.csv", "file,split,valence,arousal", *(f"{number}.jpg,{'train' if number < 60 else 'test'},{-5 if number % 4 else .5},.1" for number in range(80)))
    report = check_database("own", tmp_path)
    has(report, "valence is -5, allowed are numbers in [-1.0, 1.0] (60 like this: rows 3, 4, 5 and 57 more)", level="error")
    assert any("valence is -5 in 60 rows" in text and "declared" in text for text in hints(report))
    rows = report.labels.set_index(["split", "label"])["wrong"]
    assert rows["all", "valence"] == rows["train", "valence"] == rows["test", "valence"] == .75 and rows["train", "arousal"] == 0
    assert json.dumps(report.to_dict(), allow_nan=False)
    assert check_database("own", tmp_path, missing={"valence": -5}).ok


# labels that can hardly be right

@pytest.fixture(scope="module")
def talkative(tmp_path_factory):
    "A twin of Aff-Wild2 with many expressions."
    return write_database("aff-wild2", tmp_path_factory.mktemp("many")/"twin", train=8, test=0, frames_per_clip=150, media=False, progress=False)


MISTAKES = {
    "valence and arousal swapped": ("VA_Set", lambda line: ",".join(line.split(",")[::-1]), "are the columns swapped?"),
    "classes one too high": ("EXPR_Set", lambda line: str((int(line) + 1) % 7) if int(line) >= 0 else line, "below that of"),
    "classes from 1": ("EXPR_Set", lambda line: str(int(line) + 1) if int(line) >= 0 else line, "are the classes counted from 1?"),
    "0 where nobody annotated": ("VA_Set", lambda line: "0,0", "valence is exactly 0 in 100%"),
    "valence twice": ("VA_Set", lambda line: ",".join([line.split(",")[0]]*2), "same number in each of"),
    "an AU that is always active": ("AU_Set", lambda line: line if "-1" in line else line[:-1] + "1", "AU25 is active in 100.0%"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_seeded_mistakes_are_found(talkative, tmp_path, mistake):
    task, edit, words = MISTAKES[mistake]
    assert not hints(check_database("aff-wild2", talkative))
    shutil.copytree(talkative, tmp_path/"copy")
    for path in files(tmp_path/"copy", task): change(path, lambda lines: list(map(edit, lines)))
    report = check_database("aff-wild2", tmp_path/"copy")
    assert any(words in text for text in hints(report)), str(report)
    assert report.ok == (mistake not in ("classes from 1", "valence twice"))


# media

@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    "Name -> tiny twin with media."
    folder, made = tmp_path_factory.mktemp("drawn"), {}
    def twin(name):
        if name not in made: made[name] = write_database(name, folder/name, **TINY)
        return made[name]
    return twin


@pytest.mark.parametrize("name", ["bp4d", "raf-db"])
def test_images_that_are_missing(drawn, tmp_path, name):
    shutil.copytree(drawn(name), tmp_path/"copy")
    source = open_database(name, tmp_path/"copy")
    before = check_database(name, tmp_path/"copy")
    assert before.ok, str(before)
    def remove(clip, keep=0): [file.unlink() for file in [*source.images(clip).values()][keep:] if file.is_file()]
    remove(source.clips[0], keep=2)
    report = check_database(name, tmp_path/"copy")
    row = report.clips.iloc[0]
    assert report.ok and row["frames"] == 2 and row["labels without image"] > before.clips.iloc[0]["labels without image"]
    has(report, "labelled frames have no image", f"{source.clips[0].name} {row['labels without image']}", level="note")
    remove(source.clips[0])
    has(check_database(name, tmp_path/"copy"), f"{source.clips[0].name}: there is no image of this clip (", level="error")
    for file in (tmp_path/"copy").rglob("*.jpg"): file.unlink()
    report = check_database(name, tmp_path/"copy")
    assert report.ok and sum("annotations only" in text for text in said(report)) == 1


def test_videos_that_are_missing(drawn, tmp_path):
    shutil.copytree(drawn("disfa"), tmp_path/"copy")
    videos = sorted((tmp_path/"copy").rglob("*Video*_comp.*"))
    videos[0].unlink()
    has(check_database("disfa", tmp_path/"copy"), f"there is no video {videos[0].stem} below", level="error")
    for video in videos[1:]: video.unlink()
    assert check_database("disfa", tmp_path/"copy").ok


@pytest.mark.parametrize("name, folder", [("raf-db", "basic/Image/original"), ("afew-va", "01"), ("bp4d", "AUCoding/AU_OCC"), ("own", "films"), ("emotionet", None)])
def test_surplus_files_are_summed_up(drawn, tmp_path, name, folder):
    shutil.copytree(drawn(name), tmp_path/"copy")
    if folder is None: folder = next((tmp_path/"copy").rglob("*.jpg")).parent.relative_to(tmp_path/"copy")
    assert (tmp_path/"copy"/folder).is_dir()
    assert not [finding for finding in check_database(name, tmp_path/"copy").findings if finding.kind == "surplus"]
    for number in range(70): (tmp_path/"copy"/folder/f"strange {number:02d}.xyz").write_text("x")
    (tmp_path/"copy"/folder/".hidden").write_text("x")
    found, = [finding for finding in check_database(name, tmp_path/"copy").findings if finding.kind == "surplus"]
    assert found.where == "70 files" and f"{folder}/strange 00.xyz" in found.what and "and 65 more" in found.what and len(found.what) < 600


def test_a_folder_beside_those_of_clips_is_one_surplus(drawn, tmp_path):
    shutil.copytree(drawn("bp4d"), tmp_path/"copy")
    for number in range(20): write(tmp_path/"copy"/"Sequences_2D+3D"/"F001"/"holidays"/f"{number}.jpg", "x")
    found, = [finding for finding in check_database("bp4d", tmp_path/"copy").findings if finding.kind == "surplus"]
    assert (found.where, found.what) == ("Sequences_2D+3D/F001/holidays/", "belongs to no clip")


# counts and splits

def test_counts_of_a_real_copy(twins, tmp_path):
    shutil.copytree(twins("raf-db"), tmp_path/"copy")
    for path in ("SYNTHETIC.txt", "synthetic.json"): (tmp_path/"copy"/path).unlink()
    report = check_database("raf-db", tmp_path/"copy")
    counts = report.counts.set_index(["split", "what"])
    frames = open_database("raf-db", tmp_path/"copy").frames()
    happy = (frames.query("split == 'train'").expression == EXPRESSIONS.index("Happiness")).sum()
    assert counts.loc[("train", "images: Happiness")].tolist() == [happy, 4772] and counts.loc[("compound train", "images"), "manifest"] == 3162
    has(report, f"train images: Happiness: {happy} found, the manifest says 4772", "all images: ", level="note")
    assert report.ok


def test_two_cameras_share_one_annotation(twins):
    counts = check_database("disfa", twins("disfa")).counts.set_index(["split", "what"])["found"]
    assert counts["all", "frames"] == 2*counts["aus", "frames"]


def own_table(tmp_path, **changes):
    table = pd.DataFrame(dict(file=[f"{number}.mp4" for number in range(6)], subject=list("abcdef"), split=["train"]*3 + ["validation"] + ["test"]*2, valence=.1, arousal=.2))
    for column, values in changes.items(): table[column] = values
    table.to_csv(tmp_path/"mine.csv", index=False)
    return check_database("own", tmp_path/"mine.csv")


def test_a_leaked_subject_is_an_error(tmp_path):
    good = own_table(tmp_path)
    assert good.ok and good.overlap.empty and good.counts.set_index(["split", "what"]).loc[("all", "subjects"), "found"] == 6
    leaked = own_table(tmp_path, subject=list("abcaee"))
    has(leaked, "train and validation: share 1 subject (va): a; allowed is none", level="error")
    assert leaked.overlap.query("task == 'va'")[["left", "right", "what", "shared", "names"]].values.tolist() == [["train", "validation", "subject", 1, "a"]]
    assert leaked.split_hash != good.split_hash
    has(own_table(tmp_path, subject=["a", "", "", "d", "e", "f"]), "2 of 6 clips have no subject", level="note")


def test_people_in_splits_of_different_tasks_are_a_note(affwild2):
    source = open_database("aff-wild2", affwild2)
    subjects = [clip.subject for clip in source.clips]
    alone = next(clip for clip in source.select("train", "aus") if subjects.count(clip.subject) == 1)
    (affwild2/"annotations"/"AU_Set"/"Validation_Set").mkdir(exist_ok=True)
    write(affwild2/"annotations"/"AU_Set"/"Validation_Set"/"300.txt", "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25", *["0,0,0,0,0,0,0,0"]*20)
    alone.annotations["aus"].unlink()
    write(affwild2/"subjects.csv", *(affwild2/"subjects.csv").read_text().splitlines(), f"300,{alone.subject},validation")
    report = check_database("aff-wild2", affwild2)
    assert not [finding for finding in report.findings if finding.kind == "splits" and finding.level == "error"], str(report)
    has(report, f"train and validation: share 1 subject, but of different tasks: {alone.subject}", level="note")


# the command, and the page

def affect(*arguments):
    "Exit code, what was printed, and what was said on stderr."
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end: main(list(map(str, arguments)))
    return end.value.code or 0, out.getvalue(), err.getvalue()


def test_the_command_takes_options_of_the_reader(twins):
    shares = []
    for settings in ((), ("--set", "active_from=1")):
        code, out, _ = affect("check", "disfa", twins("disfa"), *settings)
        shares.append(next(line for line in out.splitlines() if line.startswith("train aus")))
        assert code == 0
    assert shares[0] != shares[1]
    code, _, err = affect("check", "disfa", twins("disfa"), "--set", "active=1")
    assert code == 1 and err.strip() == "affect_nb: disfa has no option 'active', allowed are active_from"
    code, _, err = affect("check", "disfa", twins("disfa"), "--set", "active_from")
    assert code == 1 and "allowed is option=value" in err and len(err.splitlines()) == 1
    assert affect("check", "aff-wild", twins("aff-wild"), "-s", "x=1")[2].strip().endswith("allowed is none")
    code, out, _ = affect("check", "disfa", twins("disfa"), "--set", "active_from=9")
    assert code == 1 and "active_from is 9, allowed are 1, 2, 3, 4, 5" in out


def test_the_command_checks_a_table(tmp_path):
    own_table(tmp_path, expression=[0, 1, 2, 3, 4, 5])
    code, out, _ = affect("check", "own", tmp_path/"mine.csv")
    assert code == 1 and "classes=" in out
    classes = ", ".join(EXPRESSIONS)
    code, out, _ = affect("check", "own", tmp_path/"mine.csv", "--set", f"classes=[{classes}]", "--json", tmp_path/"report.json")
    assert code == 0 and "Happiness 1" in out
    assert json.loads((tmp_path/"report.json").read_text())["histograms"]["expression"]["Happiness"] == 1


def test_the_help_names_what_there_is():
    for command, names in {"check": list_databases() + list_databases(boxes=True), "synth": list_synthetic() + list_synthetic(boxes=True)}.items():
        text = "".join(affect(command, "--help")[1].split())
        assert all(f"{name}," in text or f"{name}." in text for name in names), text


@pytest.mark.parametrize("lowest, rows, options, noted", [(0, 120, {}, True), (0, 60, {}, False), (-.2, 120, {}, False), (0, 120, dict(ranges="valence:0:1"), False), (0, 120, dict(ranges="valence:0:1,arousal:0:1", rescale=True), False)])
def test_valence_on_a_scale_of_0_to_1_is_noted(tmp_path, lowest, rows, options, noted):
    va = [(lowest + (.9 - lowest)*row/rows, .8*row/rows) for row in range(rows)]
    write(tmp_path/"own.csv", "file,split,valence,arousal", *(f"{row}.jpg,{('train', 'test')[row % 2]},{valence:.4f},{arousal:.4f}" for row, (valence, arousal) in enumerate(va)))
    report = check_database("own", tmp_path/"own.csv", **options)
    assert report.ok and any("no negative value" in text for text in hints(report)) == noted, hints(report)
    if noted: has(report, "valence has no negative value in 120 rows (valence 0 to 0.89 and arousal 0 to 0.79)", "say ranges=valence:0:1,arousal:0:1 and rescale=true", level="note")


def test_gaps_and_wrong_values_are_told_of_every_part(tmp_path):
    rows = [(number, ("train", "test")[number % 2], 7 if number % 10 == 0 else .1 - number/100, "" if number % 4 else 1, number % 3 == 0) for number in range(60)]
    write(tmp_path/"own.csv", "file,split,valence,au12,au4", *(f"{number}.jpg,{split},{valence},{au12},{int(au4)}" for number, split, valence, au12, au4 in rows), "60.doc,train,0,1,1")
    report = check_database("own", tmp_path/"own.csv")
    lines = {line.partition(":")[0]: line for line in str(report).splitlines() if "labelled" in line}
    assert "0.0% missing, 20.0% wrong" in lines["train valence"] and "0.0% missing, 0.0% wrong" in lines["test valence"] and "10.0% wrong" in lines["all valence"]
    assert lines["all aus"].endswith("; without a label: 12 75%") and lines["train aus"].endswith("; without a label: 12 50%") and "0.0% wrong" in lines["all aus"]


def test_a_long_list_is_cut():
    report = Report("aff-wild", "folder")
    for number in range(500): report.add("note", f"clip {number}", "odd", "adapter")
    report.add("error", "clip", "wrong")
    lines = str(report).splitlines()
    assert len(lines) == 33 and lines[1] == "error: clip: wrong" and lines[-1] == "note: ... and 470 more like these"
    assert len(report.table()) == 501 and not report.ok and report._repr_html_().count("<tr") < 40


@pytest.mark.parametrize("name", ["aff-wild", "affectnet", "disfa", "omg-emotion", "own"])
def test_the_experiment_runs_on_any_database(twins, tmp_path, monkeypatch, name):
    matplotlib.use("agg")
    (tmp_path/"data.json").write_text(json.dumps(dict(database=name, folder=str(twins(name)), data="the embedded world", drawn=True)))
    cells = ["".join(cell["source"]) for cell in json.loads((ROOT/"nbs/80_experiments/10_table1_databases.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    names = {}
    with redirect_stdout(io.StringIO()):
        for cell in cells: exec(cell.replace('"runs/smoke"', repr(str(tmp_path))), names)
    record = json.loads((tmp_path/"records"/"10_table1_databases.json").read_text())
    assert {"videos", "subjects", "frames", "annotated_share", "split_hash"} <= set(record["metrics"]) and 0 < record["metrics"]["annotated_share"] <= 1
    assert (tmp_path/"figures"/"annotations.png").stat().st_size > 2000
    table = names["table1"].set_index("database")
    assert len(table) >= 9 and (table["at hand"] != "").sum() == 1
    matplotlib.pyplot.close("all")
