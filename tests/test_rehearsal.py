"""The dress rehearsal at a two-thousandth of the real counts: complete copies that pass every check, finite batches."""
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import rehearsal  # noqa: E402

from affect_nb.apps.plan import plan_run  # noqa: E402
from affect_nb.apps.run import load_preset, override  # noqa: E402
from affect_nb.databases.check import check_database  # noqa: E402
from affect_nb.databases.copies import picture_digests  # noqa: E402
from affect_nb.preprocess.face_store import FaceStore  # noqa: E402

SHARE = .0005


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = rehearsal.Place(tmp_path_factory.mktemp("rehearsal"), SHARE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal, "POOL", 32)
        place.written = {name: place.prepare(name) for name in rehearsal.DATABASES}
    return place


@pytest.mark.parametrize("name", rehearsal.DATABASES)
def test_a_tenth_is_a_tenth(name):
    real, size = rehearsal.real_counts(name), rehearsal.twin_size(name, .1)
    parts = {split: size[split] for split in ("train", "validation", "test")}
    if name in rehearsal.PHOTOGRAPHS:
        for split, count in real.items():
            assert parts[split]*1.075*size["frames_per_clip"] == pytest.approx(.1*count, rel=.06)
    else:
        assert sum(parts.values())*1.075*size["frames_per_clip"] == pytest.approx(.1*real["frames"], rel=.06)
        assert all(parts[split] == pytest.approx(.1*count, abs=1) for split, count in real.items() if split != "frames")


@pytest.mark.parametrize("name", rehearsal.DATABASES)
def test_a_copy_is_complete_and_passes_the_check(place, name):
    source, written = place.source(name), place.written[name]
    assert written["clips"] == len(source.clips) and all(source.source(clip) for clip in source.clips)
    stores = [FaceStore.open(path) for path in sorted(place.faces(name).glob("*.arrow"))]
    assert {store.clip for store in stores} == {clip.stem for clip in source.clips if clip.annotated}
    assert all(store.present(0, len(store)).all() for store in stores)
    assert sum(map(len, stores)) == written["faces"]
    report = check_database(name, place.root(name))
    assert report.ok, report


def test_stores_are_files_of_their_own_with_faces_in_another_order(place):
    first, second = (FaceStore.open(path) for path in sorted(place.faces("aff-wild").glob("*.arrow"))[:2])
    assert first.path.stat().st_nlink == 1 and first.path.stat().st_ino != second.path.stat().st_ino
    assert (first.read(0, 1) != second.read(0, 1)).any() and first.read(0, 1).std() > 5


@pytest.mark.parametrize("name", rehearsal.PHOTOGRAPHS)
def test_photographs_differ_pixel_for_pixel(place, name):
    "Else none could be learned from beside those that are held out."
    source = place.source(name)
    digests = picture_digests(source, source.clips).digests
    assert len(digests) > 5 and len({*digests.tolist()}) == len(digests)


def test_writing_again_changes_nothing(place):
    files = [path for path in place.root("disfa").rglob("*") if path.suffix in (".mp4", ".txt")]
    before = {path: path.stat().st_mtime_ns for path in files if path.name != "SYNTHETIC.txt"}
    place.prepare("disfa")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_run_of_the_paper_finds_everything(place):
    plan = plan_run(override(load_preset("paper"), rehearsal.run_settings(place)))
    assert plan.faults == [] and {finding.what for finding in plan.findings} >= set(rehearsal.DATABASES)


@pytest.mark.parametrize("name", [name for name in rehearsal.EXPERIMENTS if name != "VI: compound expressions"])
def test_batches_are_finite(place, name):
    _, dls = rehearsal.EXPERIMENTS[name](place, 1/16).recipe_loaders()
    *inputs, targets = dls.one_batch()
    assert all(torch.isfinite(part).all() for part in inputs)
    assert rehearsal.images_in(inputs) == inputs[0].shape[0]*inputs[0].shape[1]
    assert inputs[0].std() > .1 and targets.present
    if "A/V" in name: assert inputs[2].std() > .01


def test_an_experiment_is_measured(place):
    found = rehearsal.measure("VI: compound expressions", place, 1/16, batches=2, seconds=5, epoch_limit=0)
    assert found["loading_images_per_s"] > 0 and found["training_images_per_s"] > 0 and 0 <= found["waiting_share"] <= 1
    assert found["images_per_epoch"] > 0 and not found["whole_epoch"] and found["workers"] == 0
    assert found["loading_private_mb"] > 0 and json.dumps(found)


def test_nothing_is_invented(tmp_path):
    shared = dict(images_per_epoch=1000, loading_images_per_s=100, ready_processor_s=2., ready_private_mb=500,
                  imports_private_mb=450)
    rows = [dict(experiment=name, **shared) for name in rehearsal.EXPERIMENTS]
    found = {row["experiment"]: row for row in rehearsal.extrapolate(rows, {"disfa": dict(images=500, folds=3)}, .1)}
    two, six, disfa = (found[name] for name in ("II: AffWildNet", "VI: FaceBehaviorNet", "IV: adapted to disfa"))
    assert two["images_per_epoch"] == 10_000 and two["images_in_all"] == 10_000*15*30
    assert (two["ready_s"], two["datasets_mb"]) == (20, 500)
    assert two["loading_hours_one_core"] == pytest.approx(4_500_000/100/3600, abs=.05)
    assert two["gpu_hours"] == "not measured" and disfa["images_in_all"] == 5_000*3*6*30
    measured = json.loads((rehearsal.HERE.parent/"results"/"coupling_gpu.json").read_text())["figures"]
    step = next(row["step_ms"] for row in measured["couplings"] if row["coupling"] == "both")
    assert six["gpu_images_per_s"] == round(1000*measured["images"]/step)
    assert [name for name, row in found.items() if row["gpu_hours"] != "not measured"] == ["VI: FaceBehaviorNet"]


def test_a_figure_is_drawn(tmp_path):
    keys = ("loading_images_per_s", "training_images_per_s", "both_images_per_s", "loading_private_mb",
            "imports_private_mb", "loading_mapped_mb")
    rehearsal.draw_figure([dict(experiment=name) | dict.fromkeys(keys, 100) for name in rehearsal.EXPERIMENTS],
                          tmp_path/"figure.png")
    assert 1000 < (tmp_path/"figure.png").stat().st_size < 50_000
