"""What the player takes: clips of a database with their labels, tables of several clips, stores, films with other CSVs beside them."""
import numpy as np
import pandas as pd
import pytest

from affect_nb.analysis.columns import EXPRESSION_COLUMNS
from affect_nb.apps.player import explore_clip
from affect_nb.apps.player_data import open_clip_data, worst_disagreements
from affect_nb.databases.base import open_database
from affect_nb.files.atomic import write_json
from affect_nb.files.film import write_film
from affect_nb.synth.twins import write_database

BOX = dict(box_x1=5., box_y1=5., box_x2=45., box_y2=45.)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    "A twin of Aff-Wild2 with few frames."
    root = write_database("aff-wild2", tmp_path_factory.mktemp("twin"), size="smoke", train=2, validation=1, test=0, frames_per_clip=12, progress=False)
    return open_database("aff-wild2", root)


@pytest.fixture
def film(tmp_path):
    "Two seconds of black."
    write_film(tmp_path/"talk.mp4", np.zeros((50, 48, 64, 3), np.uint8), fps=25)
    return tmp_path/"talk.mp4"


def predictions(n, file=None, face_id=0, **columns):
    "A table of one face in every frame."
    table = pd.DataFrame(dict(frame=np.arange(n), time=np.arange(n)/25, face_id=face_id, status="ok", valence=.5, arousal=.1, **BOX)).assign(**columns)
    return table if file is None else table.assign(file=str(file))


def test_a_clip_of_a_database_has_its_film_and_its_labels(database):
    clip = next(clip for clip in database.clips if clip.video is not None and "va" in clip.splits)
    data = open_clip_data(clip, database=database)
    labels = database.labels(clip)
    assert data.film == clip.video and data.title == clip.name
    row = labels.dropna(subset=["valence"]).iloc[-1]
    place = int(np.searchsorted(data.labels.frames, row["frame"]))
    assert data.labels.columns["valence"][place] == pytest.approx(row["valence"], abs=1e-6)
    assert open_clip_data(clip.name, database=database).title == clip.name


def test_a_clip_of_a_database_needs_the_database(database):
    with pytest.raises(ValueError, match="give it, open, as `database=`"): open_clip_data(database.clips[0])


def test_predictions_that_bear_their_folder_in_the_name_are_found(film, monkeypatch):
    "As `predict \"study/P*/video.mp4\"` names them; the list of sources says which film a table is of."
    monkeypatch.chdir(film.parent)
    films = {f"P{number}": film.parent/"study"/f"P{number}"/"talk.mp4" for number in (1, 2)}
    for name, path in films.items():
        path.parent.mkdir(parents=True)
        path.write_bytes(film.read_bytes())
    out = film.parent/"runs"/"predict"
    write_json(out/"faces"/"sources.json", {f"{name}-talk": str(path) for name, path in films.items()})
    for number, (name, path) in enumerate(films.items(), 1): predictions(50, path, valence=number/4).to_csv(out/f"{name}-talk.csv", index=False)
    assert open_clip_data(films["P2"]).tracked[0].columns["valence"][0] == pytest.approx(.5)
    with pytest.warns(UserWarning, match="no predictions beside it"): open_clip_data(film)


def test_predictions_of_a_database_bring_their_labels(film):
    table = predictions(50).rename(columns=dict(valence="valence_pred", arousal="arousal_pred"))
    table = table.assign(clip="talk", valence=np.where(np.arange(50) < 40, .5, -.9), arousal=.1, expression=-1)
    both = pd.concat([table, table.assign(clip="other")])
    player = explore_clip(film, both)
    assert player.data.label_names == ["valence", "arousal"] # no expression is labelled
    assert worst_disagreements(player.data)[0][0] >= 40 and player.about["labelled"]
    with pytest.raises(ValueError, match="the rows of 2 clips"): explore_clip(both)


@pytest.mark.parametrize("of_a_file", [True, False])
def test_labelled_expressions_are_read_by_their_names(film, of_a_file):
    "As `evaluate` writes them, and as a table of one's own may have them; a frame without one is empty."
    prob = {name: 1.*(name == "prob_sadness") for name in EXPRESSION_COLUMNS}
    table = predictions(50, film, **prob)
    names = np.where(np.arange(50) < 40, "Sadness", np.where(np.arange(50) < 45, "happiness", ""))
    if of_a_file:
        table = table.rename(columns=dict(valence="valence_pred", arousal="arousal_pred")).assign(valence=.5, arousal=.1, expression=names)
        table.to_csv(film.parent/"predictions.csv", index=False)
        data = open_clip_data(film.parent/"predictions.csv")
    else: data = open_clip_data(film, table, labels=pd.DataFrame(dict(frame=range(50), expression=names)))
    assert data.labels.columns["expression"].tolist() == [5]*40 + [4]*5 + [-1]*5
    assert worst_disagreements(data)[0][0] == 40 # where the label is another one


def test_a_csv_beside_a_film_counts_only_if_it_is_about_it(film):
    pd.DataFrame(dict(word=["hello"], start=[1.])).to_csv(film.with_suffix(".csv"), index=False)
    assert open_clip_data(film).faces == {}
    predictions(50, "elsewhere.mp4").to_csv(film.with_suffix(".csv"), index=False)
    assert open_clip_data(film).faces == {}
    predictions(50, film).to_csv(film.with_suffix(".csv"), index=False)
    assert list(open_clip_data(film).faces) == [0]


def test_a_table_that_ends_before_its_film_leaves_the_rest_without_a_face(film):
    data = open_clip_data(film, predictions(30))
    assert data.n_frames == 50 and data.times[-1] == pytest.approx(49/25)


def test_faces_are_the_ones_seen_most_first_and_a_merge_keeps_the_better_row(film):
    first, second = predictions(20, face_id=3), predictions(50, face_id=1, valence=-.5)
    second.loc[:9, "status"] = "lost"
    data = open_clip_data(film, pd.concat([first, second]))
    assert list(data.faces) == [1, 3]
    data.known_faces.merge(3, into=1)
    data.regroup()
    merged = data.faces[1]
    assert merged.seen.all() and merged.columns["valence"][[0, 15, 40]].tolist() == [.5, -.5, -.5]


@pytest.mark.parametrize("labels, said", [(pd.DataFrame(dict(time=[0.], valence=[.1])), "no column 'frame'"),
                                          (pd.DataFrame(dict(frame=[0], valence=[.1])), "valence only")])
def test_labels_that_cannot_be_read_are_refused(film, labels, said):
    with pytest.raises(ValueError, match=said): open_clip_data(film, labels=labels)
