"""`talk_left.mp4` and `talk_right.mp4`: two cameras of a dyad, which only Aff-Wild2 would call two people in one video."""
import numpy as np
import pandas as pd
import pytest

from affect_nb.data.index import index_database
from affect_nb.data.sequences import SequenceDataset
from affect_nb.databases.base import Clip, has_sides, open_database
from affect_nb.databases.splits import check_split, overlap
from affect_nb.preprocess.face_store import FaceStoreWriter


def table(folder, rows):
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder/"labels.csv", index=False)
    for row in rows: (folder/row["file"]).touch()
    return open_database("own", folder)


def faces(folder, name, people=(0,), frames=6):
    "A store in which face k is k*20 bright and stands further to the left, the higher its number."
    folder.mkdir(exist_ok=True)
    with FaceStoreWriter(folder/f"{name}.arrow", clip=name) as writer:
        for frame in range(frames):
            for face in people:
                left = 200. - 90*face
                writer.add(frame, frame/25, face, "ok", np.full((96, 96, 3), 20*face + 10, np.uint8), crop_landmarks=np.zeros((68, 2)), box=(left, 0, left + 50, 50))


def shown(dataset): return {window.clip: int(window.faces.max())//20 for window in dataset}


@pytest.fixture
def dyad(tmp_path):
    rows = [dict(file=f"talk_{side}.mp4", frame=frame, subject=subject, valence=.1, arousal=.2) for side, subject in (("left", "Ann"), ("right", "Bob")) for frame in range(6)]
    rows += [dict(file="talk.mp4", frame=frame, subject="Cem", valence=.1, arousal=.2) for frame in range(6)] # both of them from afar
    for name, people in (("talk_left", [0]), ("talk_right", [0]), ("talk", [0, 1])): faces(tmp_path/"faces", name, people)
    return table(tmp_path/"own", rows)


@pytest.mark.parametrize("indexed", [False, True])
def test_two_cameras_are_two_clips(dyad, tmp_path, indexed):
    assert {clip.name: (clip.stem, clip.side) for clip in dyad.clips} == {name: (name, "") for name in ("talk", "talk_left", "talk_right")}
    labels = index_database(dyad, tmp_path/"index") if indexed else dyad.frames()
    dataset = SequenceDataset(tmp_path/"faces", labels, length=6)
    assert shown(dataset) == dict(talk=0, talk_left=0, talk_right=0) # the main person of talk, whatever the other films are called
    people = {person["clip"]: person for person in dataset.people}
    check_split([people["talk_left"]], [people["talk_right"]])
    assert overlap([people["talk_left"]], [people["talk_left"]])["video"] == ["talk_left"]


def test_a_camera_whose_faces_are_missing_takes_nobody_elses(dyad, tmp_path):
    (tmp_path/"faces"/"talk_left.arrow").unlink()
    dataset = SequenceDataset(tmp_path/"faces", index_database(dyad, tmp_path/"index"), length=6)
    assert sorted(shown(dataset)) == ["talk", "talk_right"] and [clip.source for clip in dataset.skipped] == ["talk_left"]


def test_two_people_in_one_film_of_ones_own(tmp_path):
    rows = [dict(file="talk.mp4", clip=f"talk_{side}", frame=frame, valence=.1, arousal=.2) for side in ("left", "right") for frame in range(6)]
    own = table(tmp_path/"own", rows)
    assert [(clip.name, clip.stem, clip.side) for clip in own.clips] == [("talk_left", "talk", "left"), ("talk_right", "talk", "right")]
    faces(tmp_path/"faces", "talk", [0, 1])
    for labels in (own.frames(), index_database(own, tmp_path/"index")):
        dataset = SequenceDataset(tmp_path/"faces", labels, length=6)
        assert shown(dataset) == dict(talk_left=1, talk_right=0)
        with pytest.raises(ValueError, match="video talk"): check_split(dataset.people[:1], dataset.people[1:])


def test_named_clips_with_a_film_each(tmp_path):
    rows = [dict(file=f"camera{number}.mp4", clip=f"talk_{side}", frame=0, valence=.1, arousal=.2) for number, side in ((1, "left"), (2, "right"))]
    assert [(clip.stem, clip.side) for clip in table(tmp_path/"own", rows).clips] == [("talk_left", ""), ("talk_right", "")]


def test_the_rule_is_aff_wild2s():
    assert has_sides("aff-wild2") and not any(map(has_sides, ("sewa", "disfa", "omg-emotion", "bp4d")))
    pair = lambda database: [Clip(database, f"5_{side}", side, "train") for side in ("left", "right")]
    assert [(clip.stem, clip.side) for clip in pair("aff-wild2")] == [("5", "left"), ("5", "right")]
    assert [(clip.stem, clip.side) for clip in pair("sewa")] == [("5_left", ""), ("5_right", "")]
    check_split(*([clip] for clip in pair("sewa")))
    with pytest.raises(ValueError, match="video 5"): check_split(*([clip] for clip in pair("aff-wild2")))
