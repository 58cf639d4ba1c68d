"""`affect_nb doctor`: it finds that all is well here, and what is wrong elsewhere, and goes on past an error."""
import importlib
import json
import shutil

from typer.testing import CliRunner

from affect_nb.apps import doctor
from affect_nb.apps.cli import app
from affect_nb.files.home import DEFAULT_WEIGHTS, shipped_weights
from affect_nb.models import shipped


def states(findings): return {finding.what: finding.state for finding in findings}


def test_all_is_well_here_and_the_report_can_be_read_by_programs():
    answer = CliRunner().invoke(app, ["doctor", "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["ok"] and {"versions", "extras", "devices", "codecs", "room", "networks", "a prediction"} < set(found)
    assert [entry["what"] for entry in found["a prediction"]] == ["a face is found", "and is happy"]


def test_the_published_hashes_are_those_of_the_shipped_files():
    "After a change of a shipped network: cd affect_nb/weights && sha256sum *.json *.safetensors > SHA256SUMS"
    assert set(shipped.check_weights()) == {path.name for path in shipped_weights().iterdir() if path.suffix in (".json", ".safetensors")}
    assert set(shipped.check_weights().values()) == {"ok"}


def test_a_damaged_network_and_a_missing_one_are_named(tmp_path, monkeypatch):
    copy = shutil.copytree(shipped_weights(), tmp_path/"weights")
    damaged = bytearray((copy/f"{DEFAULT_WEIGHTS}.safetensors").read_bytes())
    damaged[len(damaged)//2] ^= 1
    (copy/f"{DEFAULT_WEIGHTS}.safetensors").write_bytes(damaged)
    (copy/f"{DEFAULT_WEIGHTS}.json").unlink()
    monkeypatch.setattr(shipped, "shipped_weights", lambda: copy)
    others = {f"{name}.{kind}": "ok" for name in shipped.list_weights() if name != DEFAULT_WEIGHTS for kind in ("json", "safetensors")}
    assert shipped.check_weights() == others | {f"{DEFAULT_WEIGHTS}.json": "missing", f"{DEFAULT_WEIGHTS}.safetensors": "changed"}
    found = doctor.Diagnosis(dict(networks=list(doctor._networks())))
    assert not found.ok and f"wrong {DEFAULT_WEIGHTS}.safetensors: changed" in str(found) and "pip install" in str(found)


def test_a_library_that_cannot_be_imported_and_an_extra_that_is_missing(monkeypatch):
    real = importlib.import_module
    def refuse(name):
        if name == "torchvision": raise RuntimeError("operator torchvision::nms does not exist")
        return real(name)
    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    found = states(doctor._versions())
    assert found.pop("torchvision") == "wrong" and set(found.values()) == {"ok"}
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert set(states(doctor._extras()).values()) == {"note"}


def test_an_error_in_one_part_is_a_finding_and_the_command_fails(monkeypatch):
    def broken(): raise OSError("the disk is gone")
    monkeypatch.setattr(doctor, "_PARTS", {"room": broken, "codecs": doctor._codecs})
    answer = CliRunner().invoke(app, ["doctor"])
    assert answer.exit_code == 1 and "wrong room: OSError: the disk is gone" in answer.stdout
    assert "written: " in answer.stdout and "something is wrong, see above" in answer.stdout


def test_little_room_is_noted(monkeypatch):
    monkeypatch.setattr(doctor, "_LITTLE", 2**60)
    found = states(doctor._room())
    assert found["memory"] == found["disk, here"] == "note" and found["folder, temporary files"] == "ok"
