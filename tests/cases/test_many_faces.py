"""A long film of a crowd: more faces than 16 bits count."""
import numpy as np

from affect_nb.preprocess.face_store import FaceStore, FaceStoreWriter


def test_faces_beyond_32767(tmp_path):
    ids = [0, 32767, 32768, 70000]
    with FaceStoreWriter(tmp_path/"crowd.arrow", clip="crowd", encoding="raw") as writer:
        for frame, face in enumerate(ids): writer.add(frame, frame/25, face, "ok", np.full((96, 96, 3), frame, np.uint8))
    store = FaceStore.open(tmp_path/"crowd.arrow")
    assert store.faces == ids and store.frames.face_id.tolist() == ids
    assert [store.read(*(rows.start, rows.stop))[0, 0, 0, 0] for rows in map(store.rows, ids)] == [0, 1, 2, 3]
