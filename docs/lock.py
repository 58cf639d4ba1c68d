"""Writes locks/linux-py311.txt and docs/licences.md: `python docs/lock.py` asks pip which packages, in which versions, an install takes today.

`pip install --require-hashes -r locks/linux-py311.txt`, then `pip install --no-deps .`, gives the same packages on Linux (x86-64, Python 3.11).
Nothing is installed by this script. `--report FILE` takes a report that pip has written (`pip install --dry-run --report FILE`).
"""
import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "dev", "docs", "onnx", "map", "statistics", "fair", "heif", "networks", "cluster"
LOCK, PAGE = ROOT/"locks"/f"linux-py{sys.version_info.major}{sys.version_info.minor}.txt", ROOT/"docs"/"licences.md"


def asked() -> dict:
    "Everything that an install with all extras takes, as pip reports it."
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/"report.json"
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--report", path, f"{ROOT}[{','.join(EXTRAS)}]"], check=True)
        return json.loads(path.read_text())


def packages(report: dict) -> list[dict]:
    "Name, version, hash, licence of each, by name; without ourselves."
    rows = []
    for entry in report["install"]:
        about, where = entry["metadata"], entry["download_info"]
        if about["name"] == "affect_nb": continue
        rows.append(dict(name=re.sub(r"[-_.]+", "-", about["name"]).lower(), version=about["version"], sha256=where["archive_info"]["hashes"]["sha256"],
                         licence=licence(about), asked=entry["requested"]))
    return sorted(rows, key=lambda row: row["name"])


def licence(about: dict) -> str:
    "What a package says of its licence: the SPDX expression, else its classifiers, else the first line of the field."
    if about.get("license_expression"): return about["license_expression"]
    named = [entry.split(" :: ")[-1] for entry in about.get("classifier", ()) if entry.startswith("License :: ") and entry != "License :: OSI Approved"]
    if named: return ", ".join(dict.fromkeys(named))
    lines = [line.strip() for line in (about.get("license") or "").splitlines() if line.strip()]
    return lines[0][:60] if lines else "not stated"


def lock(rows: list[dict]) -> str:
    "The text of the lock file."
    head = [f"# Made by `python docs/lock.py` on {platform.system()} {platform.machine()}, Python {platform.python_version()}: what an install with all extras took.",
            "# pip install --require-hashes -r " + str(LOCK.relative_to(ROOT)) + " && pip install --no-deps ."]
    return "\n".join([*head, *(f"{row['name']}=={row['version']} --hash=sha256:{row['sha256']}" for row in rows)]) + "\n"


def own_names() -> set[str]:
    "What settings.ini asks for without an extra."
    settings = ConfigParser(); settings.read(ROOT/"settings.ini")
    return {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[]", word)[0]).lower() for word in settings["DEFAULT"]["requirements"].split()}


def page(rows: list[dict]) -> str:
    "The text of docs/licences.md."
    own = own_names()
    first, rest = ([row for row in rows if (row["name"] in own) == known] for known in (True, False))
    listed = lambda part: [f"| {row['name']} | {row['version']} | {row['licence'].replace('|', '/')} |" for row in part]
    table = ["| package | version | licence, as the package states it |", "|---|---|---|"]
    text = ["# Licences of what we build on", "",
            "Made by `python docs/lock.py`. affect_nb is Apache-2.0, and no code of these packages is copied into it. What `make setup` and the extras install:", "",
            "**Mind two of them.** `face_recognition_models` carries dlib's 68-point model, which was trained on iBUG 300-W; that data set's licence excludes commercial use. "
            "And a package that brings FFmpeg along (`av`, `opencv-python`) or NVIDIA's libraries has their licences (LGPL or GPL parts; NVIDIA's own) in its wheel.", "",
            "Weights follow the data that they were trained on; the card beside each says which (`affect_nb/weights/*.json`).", "",
            "## What affect_nb asks for", "", *table, *listed(first), "", "## What these ask for, and the extras", "", *table, *listed(rest)]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, help="a report of `pip install --dry-run --report`; none: pip is asked")
    given = parser.parse_args()
    rows = packages(json.loads(given.report.read_text()) if given.report else asked())
    LOCK.parent.mkdir(exist_ok=True)
    LOCK.write_text(lock(rows)); PAGE.write_text(page(rows))
    print(f"{len(rows)} packages: {LOCK}, {PAGE}")
