"""Spans and traces to other programs' formats and back: at most 1 ms is lost, whatever the text; and bad files are named."""
import gzip
import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pympi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect_nb.files.exchange import (SPAN_COLUMNS, even_times, read_bids_events, read_bids_traces, read_boris, read_elan, read_spans,
                                      read_traces, spans_table, write_bids_events, write_bids_traces, write_boris, write_elan, write_traces)
from affect_nb.files.film import write_film
from test_cli import affect, smile

WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="".join(map(chr, [*range(9), 11, 12, *range(14, 32), 0xfffe, 0xffff]))), max_size=8)
NAMES = WORDS.filter(lambda text: text not in ("n/a", "default", "No focal subject"))
TIMES = st.floats(0, 5e4, allow_nan=False)
SPANS = st.lists(st.tuples(TIMES, st.floats(0, 100) | st.just(0.) | st.floats(0, .002), NAMES, st.sampled_from(["Ann", "Ann #2", "", "B & <C>"]) | NAMES,
                           st.sampled_from(["", "Eve"]) | NAMES), max_size=12).map(
    lambda rows: spans_table([dict(start=start, end=start + length, label=label, tier=tier, annotator=who) for start, length, label, tier, who in rows]))
FORMS = {"a.eaf": (write_elan, read_elan), "a.boris": (write_boris, read_boris), "a.tsv": (write_boris, read_boris),
         "a.csv": (write_boris, read_boris), "a_events.tsv": (write_bids_events, read_bids_events)}
ROOM = .001 + 1e-6 # s


def paired(spans, back):
    "Both tables with rows that belong together: within one text, by time."
    assert len(spans) == len(back)
    text = ["tier", "annotator", "label"]
    return (table.sort_values([*text, "start", "end"], ignore_index=True) for table in (spans, back[list(SPAN_COLUMNS)]))


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans=SPANS)
def test_a_round_trip_loses_at_most_a_millisecond(tmp_path, name, spans):
    write, read = FORMS[name]
    if write is write_boris: spans = spans.assign(label=spans.label + "x") # a behaviour has a name
    mine, back = paired(spans, read(write(tmp_path/name, spans)))
    assert (mine[["tier", "annotator", "label"]] == back[["tier", "annotator", "label"]]).all().all()
    if len(mine):
        assert (mine.start - back.start).abs().max() <= ROOM
        # spans that start within 1 ms of each other may come back in another order, so ends are compared sorted
        assert np.abs(np.sort(mine.end) - np.sort(back.end)).max() <= ROOM


@pytest.mark.parametrize("name", FORMS)
def test_a_second_round_trip_loses_nothing(tmp_path, name):
    write, read = FORMS[name]
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 100, 200)
    spans = spans_table([dict(start=s, end=s + d, label=f"AU{a}", tier=f"face {t}", annotator=w) for s, d, a, t, w in
                         zip(start, rng.exponential(3, 200), rng.integers(1, 5, 200), rng.integers(0, 3, 200), rng.choice(["", "Eve"], 200))])
    once = read(write(tmp_path/name, spans))[list(SPAN_COLUMNS)]
    twice = read(write(tmp_path/f"again_{name}", once))[list(SPAN_COLUMNS)]
    pd.testing.assert_frame_equal(once, twice)
    assert (once.start - spans.start).abs().max() <= ROOM


CROWD = [dict(start=0, end=2, label="a", tier="Ann"), dict(start=1, end=3, label="b", tier="Ann"), dict(start=1.5, end=4, label="c", tier="Ann"),
         dict(start=2, end=5, label="d", tier="Ann"), dict(start=0, end=1, label="e", tier="Ann", annotator="Eve")]


def test_an_independent_reader_agrees_about_elan(tmp_path):
    "pympi's own reader; no two annotations of a tier overlap, slots are in the order of time, attributes are where ELAN has them."
    document = pympi.Elan.Eaf(str(write_elan(tmp_path/"crowd.eaf", CROWD)))
    found = []
    for tier in document.get_tier_names():
        annotations = sorted(document.get_annotation_data_for_tier(tier))
        assert all(before[1] <= after[0] for before, after in zip(annotations, annotations[1:]))
        parameters = document.get_parameters_for_tier(tier)
        assert parameters["PARTICIPANT"] == "Ann"
        found += [(start, end, label, parameters.get("ANNOTATOR")) for start, end, label in annotations]
    assert sorted(found) == sorted((int(1000*span["start"]), int(1000*span["end"]), span["label"], span.get("annotator")) for span in CROWD)
    root = ElementTree.parse(tmp_path/"crowd.eaf").getroot()
    times = [int(slot.get("TIME_VALUE")) for slot in root.iterfind("TIME_ORDER/TIME_SLOT")]
    assert times == sorted(times) and len(times) == 2*len(CROWD)
    assert root.find("HEADER").get("TIME_UNITS") == "milliseconds"
    assert [child.tag for child in root][:2] == ["HEADER", "TIME_ORDER"] and root.find("LINGUISTIC_TYPE") is not None


def test_elan_reads_what_hangs_on_others_and_counts_what_has_no_time(tmp_path):
    document = pympi.Elan.Eaf()
    document.add_linguistic_type("hangs", "Symbolic_Association")
    document.add_tier("words", part="Ann")
    document.add_tier("translation", "hangs", "words")
    document.add_annotation("words", 1000, 2000, "ja")
    document.add_ref_annotation("translation", "words", 1500, "yes")
    document.add_annotation("words", 3000, 4000, "gone")
    document.timeslots[max(document.timeslots, key=lambda name: int(name[2:]))] = None
    document.to_file(tmp_path/"hangs.eaf")
    with pytest.warns(UserWarning, match="hangs.eaf: 1 of 3 annotations have no time"): spans = read_elan(tmp_path/"hangs.eaf")
    assert spans[["start", "end", "label", "tier"]].values.tolist() == [[1., 2., "yes", "translation"], [1., 2., "ja", "words"]]


def test_elan_opens_the_film_beside(tmp_path):
    write_film(tmp_path/"film & more.mp4", smile(5), 25)
    root = ElementTree.parse(write_elan(tmp_path/"x.eaf", CROWD, film=tmp_path/"film & more.mp4")).getroot()
    film = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert film.get("RELATIVE_MEDIA_URL") == "./film & more.mp4" and film.get("MIME_TYPE") == "video/mp4"
    assert film.get("MEDIA_URL") == (tmp_path/"film & more.mp4").as_uri()


def test_boris_pairs_states_as_boris_does(tmp_path):
    "In a project every behaviour is in the ethogram, and starts and stops of one subject, code and modifier alternate once sorted."
    spans = [*CROWD, dict(start=.5, end=1.5, label="a", tier="Ann"), dict(start=2, end=2.5, label="a", tier="Ann"), dict(start=3, end=3, label="blink")]
    write_film(tmp_path/"film.mp4", smile(10), 25)
    project = json.loads(write_boris(tmp_path/"talk.boris", spans, tmp_path/"film.mp4").read_bytes())
    assert project["project_format_version"] == "7.0" and set(project["observations"]) == {"talk", "talk (Eve)"}
    types = {entry["code"]: entry["type"] for entry in project["behaviors_conf"].values()}
    assert types == {code: "State event" for code in "abcde"} | {"blink": "Point event"}
    for name, content in project["observations"].items():
        events = sorted(content["events"])
        assert events == content["events"] or [event[0] for event in events] == [event[0] for event in content["events"]]
        for code in set(event[2] for event in events):
            keys = [(event[1], event[3]) for event in events if event[2] == code]
            assert code == "blink" or all(keys.count(key) % 2 == 0 for key in keys)
        path, = content["file"]["1"]
        assert content["type"] == "MEDIA" and content["media_info"]["length"][path] == pytest.approx(.4) and content["media_info"]["fps"][path] == 25
    assert (tmp_path/"talk.boris").read_bytes().isascii() # BORIS opens it in the encoding of its system
    assert {name: content["independent_variables"]["annotator"] for name, content in project["observations"].items()} == {"talk": "", "talk (Eve)": "Eve"}


def test_a_label_is_a_point_for_all_annotators_or_for_none(tmp_path):
    spans = [dict(start=1, end=1, label="nod", annotator="Ann"), dict(start=1, end=2, label="nod", annotator="Ben")]
    for name in ("x.boris", "x.csv"):
        assert read_boris(write_boris(tmp_path/name, spans))[["start", "end", "annotator"]].values.tolist() == [[1., 1., "Ann"], [1., 2., "Ben"]]


PROJECT = dict(behaviors_conf={"0": dict(code="s", type="State event"), "1": dict(code="p", type="Point event")})


def test_a_project_of_boris_itself(tmp_path):
    "The shape of the projects among BORIS' own tests: media events of five fields, modifiers, no annotator."
    (tmp_path/"own.boris").write_text(json.dumps(PROJECT | dict(observations={"obs": dict(events=[
        [12.35, "", "p", "m2", ""], [3.3, "subject1", "s", "", ""], [7.75, "subject1", "s", "", ""], [5, "", "s", "None", ""], [6, "", "s", "None", ""]])})))
    assert read_boris(tmp_path/"own.boris").values.tolist() == [
        [3.3, 7.75, "s", "subject1", "", "obs", ""], [5., 6., "s", "", "", "obs", "None"], [12.35, 12.35, "p", "", "", "obs", "m2"]]
    (tmp_path/"odd.boris").write_text(json.dumps(PROJECT | dict(observations={"obs": dict(events=[[3.3, "", "s", "", ""]])})))
    with pytest.raises(ValueError, match="odd.boris, observation 'obs', event 0: 's' of 'No focal subject' starts at 3.3 s and never stops"): read_boris(tmp_path/"odd.boris")


BAD = {
    "torn.eaf": ("<ANNOTATION_DOCUMENT><HEADER>", "torn.eaf, line 1"),
    "page.eaf": ("<html></html>", "page.eaf begins with <html>"),
    "frames.eaf": ('<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="PAL-frames"/></ANNOTATION_DOCUMENT>', "TIME_UNITS is 'PAL-frames', allowed is milliseconds"),
    "slot.eaf": ('<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="-4"/></TIME_ORDER></ANNOTATION_DOCUMENT>', "ts1 has TIME_VALUE '-4'"),
    "lost.eaf": ('<ANNOTATION_DOCUMENT><TIER TIER_ID="x"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"/>'
                 '</ANNOTATION></TIER></ANNOTATION_DOCUMENT>', "annotation a1 names time slot 'ts1'"),
    "loop.eaf": ('<ANNOTATION_DOCUMENT><TIER TIER_ID="x"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a1" ANNOTATION_REF="a1"/>'
                 '</ANNOTATION></TIER></ANNOTATION_DOCUMENT>', "a1 hangs on itself"),
    "hung.eaf": ('<ANNOTATION_DOCUMENT><TIER TIER_ID="x"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a1" ANNOTATION_REF="a9"/>'
                 '</ANNOTATION></TIER></ANNOTATION_DOCUMENT>', "no annotation 'a9', on which a1 hangs"),
    "text.boris": ("to do", "text.boris is no JSON"),
    "list.boris": ("[]", "list.boris is no BORIS project"),
    "half.boris": (json.dumps(PROJECT | dict(observations={"o": dict(events=[[1]])})), "half.boris is no BORIS project"),
    "short.tsv": ("Subject\tBehavior\tBehavior type\tTime\nAnn\ts\tSTART\n", "short.tsv, line 2: 3 cells, allowed are 4"),
    "time.csv": ("Subject,Behavior,Behavior type,Time\nAnn,s,START,00:01\n", "time.csv, line 2: Time is '00:01'"),
    "stop.csv": ("Subject,Behavior,Behavior type,Time\nAnn,s,STOP,1\n", "stop.csv, line 2: 's' of 'Ann' stops, but has not started"),
    "back.csv": ("Subject,Behavior,Start (s),Stop (s)\nAnn,s,2,1\n", "back.csv, line 2: stops at 1.0 s"),
    "other.csv": ("a,b\n1,2\n", "other.csv has no row with the columns"),
    "plain.csv": ("start,end,label\n1,x,smile\n", "plain.csv, line 2: end is 'x'"),
    "on_events.tsv": ("onset\ttrial_type\n1\tsmile\n", "on_events.tsv has no column"),
    "neg_events.tsv": ("onset\tduration\n1\t-1\n", "neg_events.tsv, line 2: duration is -1.0"),
    "latin.csv": (b"start,end,label\n1,2,\xe9t\xe9\n", "latin.csv: byte 20 is no UTF-8"),
    "empty.eaf": ("", "empty.eaf is empty"),
    "notes.srt": ("1\n", "notes.srt: allowed are .eaf"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_what_is_allowed(tmp_path, name):
    content, says = BAD[name]
    (tmp_path/name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as error: read_spans(tmp_path/name)
    assert says in str(error.value), error.value


def test_what_cannot_be_written_leaves_no_file(tmp_path):
    for write, name in ((write_elan, "x.eaf"), (write_boris, "x.boris"), (write_bids_events, "x_events.tsv")):
        with pytest.raises(ValueError, match=r"U\+0000"): write(tmp_path/name, [dict(start=0, end=1, label="\0")])
        with pytest.raises(ValueError, match="end is 0.5"): write(tmp_path/name, [dict(start=1, end=.5, label="x")])
    assert list(tmp_path.iterdir()) == []


# traces

@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rate=st.sampled_from([10, 23.976, 25, 29.97, 30, 60, 120.]), start=st.floats(-100, 1e4), n=st.integers(2, 400), seed=st.integers(0, 99))
def test_recordings_of_bids_keep_times_values_and_holes(tmp_path, rate, start, n, seed):
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.choice(n, max(2, n - n//10), replace=False))
    if n > 5 and np.median(np.diff(kept)) > 1: kept = np.arange(n)
    values = rng.uniform(-1, 1, len(kept))
    values[rng.random(len(kept)) < .1] = np.nan
    traces = pd.DataFrame(dict(time=np.round(start + kept/rate, 4), valence=values))
    back = read_bids_traces(write_bids_traces(tmp_path/"x_physio.tsv.gz", traces))
    places = np.searchsorted(back.time, traces.time - .4/rate)
    assert np.abs(back.time.to_numpy()[places] - traces.time).max() <= .001
    np.testing.assert_allclose(back.valence.to_numpy()[places], values, rtol=1e-12)
    assert back.valence.notna().sum() == np.isfinite(values).sum()


def test_recordings_have_the_form_that_bids_wants(tmp_path):
    path = write_bids_traces(tmp_path/"sub-01_task-talk_physio.tsv.gz", pd.DataFrame(dict(valence=[.1, np.nan, .3], time=[.5, .54, .58])),
                             descriptions=dict(valence=dict(Units="-1 to 1"), other=dict()))
    assert gzip.decompress(path.read_bytes()).decode() == "0.1\nn/a\n0.3\n"
    beside = json.loads((tmp_path/"sub-01_task-talk_physio.json").read_text())
    assert beside.pop("SamplingFrequency") == pytest.approx(25) and beside.pop("StartTime") == pytest.approx(.5)
    assert beside == dict(Columns=["valence"], valence=dict(Units="-1 to 1"))
    before = path.read_bytes()
    write_bids_traces(path, read_bids_traces(path))
    assert path.read_bytes() == before


def test_bad_recordings(tmp_path):
    path, beside = tmp_path/"x_physio.tsv.gz", tmp_path/"x_physio.json"
    beside.write_text(json.dumps(dict(SamplingFrequency=25, StartTime=0, Columns=["a", "b"])))
    path.write_bytes(gzip.compress(b"1\t2\n3\n"))
    with pytest.raises(ValueError, match="x_physio.tsv.gz, line 2: 1 cells, allowed are 2"): read_bids_traces(path)
    path.write_bytes(gzip.compress(b"1\tlow\n"))
    with pytest.raises(ValueError, match="line 1: b is 'low'"): read_bids_traces(path)
    path.write_bytes(b"1\t2\n")
    with pytest.raises(ValueError, match="x_physio.tsv.gz is no compressed table"): read_bids_traces(path)
    beside.write_text(json.dumps(dict(SamplingFrequency=0, StartTime=0, Columns=["a"])))
    with pytest.raises(ValueError, match="x_physio.json: .*allowed are numbers, the first above 0"): read_bids_traces(path)
    beside.write_text("{}")
    with pytest.raises(ValueError, match="x_physio.json has no"): read_bids_traces(path)


def test_an_hour_of_rounded_times_has_its_rate():
    "Median steps of rounded times would be off by a second after an hour."
    frames = np.delete(np.arange(108000), slice(5000, 9000))
    start, rate, places = even_times(np.round(frames*1001/30000, 4))
    assert rate == pytest.approx(30000/1001, rel=1e-7) and (places == frames).all()


def test_traces_as_a_table(tmp_path):
    traces = pd.DataFrame(dict(a=[1., np.nan], time=[0., .04]))
    assert write_traces(tmp_path/"t.tsv", traces).read_text() == "time\ta\n0.0\t1.0\n0.04\t\n"
    pd.testing.assert_frame_equal(read_traces(tmp_path/"t.tsv"), traces[["time", "a"]])


# the command line

@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    "What `predict` writes, of two faces; the film lies beside."
    folder = tmp_path_factory.mktemp("talk")
    write_film(folder/"talk.mp4", smile(50), 25)
    frame = np.arange(50)
    active = (frame >= 20) & (frame < 40)
    table = pd.DataFrame(dict(file=str(folder/"talk.mp4"), frame=frame, time_s=frame/25, face_id=0, status="ok", valence=.5*active, arousal=0.,
                              prob_happiness=.9*active, prob_au6=.8*active, prob_au12=.9*active, expression="Happiness"))
    table = pd.concat([table, table.iloc[18:30].assign(face_id=1)])
    table.to_csv(folder/"talk.csv", index=False, float_format="%.4f")
    return folder/"talk.csv"


@pytest.mark.parametrize("to, first", (("elan", "talk.eaf"), ("boris", "talk.boris"), ("bids", "talk_events.tsv")))
def test_export_from_the_command_line(talk, tmp_path, to, first):
    said = affect("export", talk, "--to", to, "--out", tmp_path/"talk").does(tmp_path/first)
    assert sorted(map(str, tmp_path.iterdir())) == sorted(said.out.split())
    spans = read_spans(tmp_path/first)
    assert sorted(set(spans.label)) == ["AU12", "AU6", "Happiness", "high valence"] and len(spans) == 7 # face 1 is happy nearly always, which is no rise
    assert set(spans.annotator) == {"affect_nb"} and (spans.start == .8).all() and set(spans.end.round(6)) == {1.2, 1.6}
    if to == "elan": assert "talk.mp4" in (tmp_path/first).read_text() and "face 1 AU12" in set(spans.tier)
    else: assert set(spans.tier) == {"face 0", "face 1"}


def test_export_refuses(talk, tmp_path):
    affect("export", talk, "--to", "elan", "--out", tmp_path/"x.eaf", "--rate", "25").refuses("rate is 25.0", "only bids")
    affect("export", tmp_path/"none.csv", "--to", "bids").refuses("none.csv")
    affect("export", talk, "--to", "praat").refuses("praat", code=2)
    pictures = pd.read_csv(talk).assign(time_s=np.nan)
    pictures.to_csv(tmp_path/"pictures.csv", index=False)
    affect("export", tmp_path/"pictures.csv", "--to", "elan", "--out", tmp_path/"x").refuses("pictures.csv, row 0: no time")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures.csv"]


def test_summarise_from_the_command_line(talk, tmp_path):
    affect("summarise", talk, "--out", tmp_path/"long.csv").does("1 clip, 10 rows")
    long = pd.read_csv(tmp_path/"long.csv").set_index(["face_id", "output"])
    assert long.loc[(1, "valence"), "missing"] == pytest.approx(.76) and long.loc[(0, "prob_au12"), "first_onset"] == .8
    write_elan(tmp_path/"turns.eaf", [dict(start=0, end=1, label="asks"), dict(start=1, end=2, label="answers")])
    affect("summarise", talk, "--spans", tmp_path/"turns.eaf", "--wide", "--each", "clip", "--out", tmp_path/"wide.csv").does("1 clip, 2 rows")
    assert pd.read_csv(tmp_path/"wide.csv").set_index("span").prob_au12_onsets.to_dict() == {"asks": 2, "answers": 0}
    (tmp_path/"note.csv").write_text("to do\n")
    said = affect("summarise", talk, tmp_path/"note.csv", "--out", tmp_path/"some.csv")
    assert said.code == 1 and "note.csv" in said.left_out[0] and len(pd.read_csv(tmp_path/"some.csv")) == 10
