"""Writes docs/networks.md and docs/databases.md from the registries: `python docs/tables.py`."""
import inspect
from pathlib import Path

import torch

from affect_nb.databases import list_databases
from affect_nb.databases.manifests import load_manifest
from affect_nb.models import create_model, list_models, registry
from affect_nb.models.inputs import hears, reads_landmarks, sees
from affect_nb.models.outputs import tasks_of

HERE = Path(__file__).resolve().parent
TASKS = dict(va="valence, arousal", expression="expressions", aus="AUs")


def network_row(name):
    "A network at the paper's size, without its numbers: what it is, reads and predicts."
    with torch.device("meta"): model = create_model(name)
    reads = [word for word, given in (("faces", sees(model)), ("landmarks", reads_landmarks(model)), ("sound", hears(model))) if given]
    size = sum(parameter.numel() for parameter in model.parameters())/1e6
    what = inspect.getdoc(registry._models[name]).splitlines()[0]
    return f"| `{name}` | {what} | {', '.join(reads)} | {', '.join(TASKS[task] for task in tasks_of(model))} | {size:.1f} million |"


def page(title, about, columns, rows):
    "The text of a page: a title, lines about the table, and the table."
    head = [f"# {title}", "", *about, "", f"| {' | '.join(columns)} |", "|" + "---|"*len(columns)]
    return "\n".join([*head, *rows]) + "\n"


def networks():
    "The text of docs/networks.md."
    about = ["Made from the registry by `python docs/tables.py`. `create_model(name, width=.125, ...)` builds one; "
             "width 1 is the paper's size.", "Any network of timm is `timm:<name>` (`pip install timm`)."]
    columns = "name", "what it is", "reads", "predicts, unless `tasks` says else", "parameters at width 1"
    return page("The networks", about, columns, map(network_row, list_models()))


def database_row(name):
    "A database as its manifest describes it."
    manifest = load_manifest(name)
    labels = ", ".join(dict.fromkeys(label.name for label in manifest.labels))
    if manifest.boxes: labels = f"boxes of faces: {', '.join(manifest.boxes.attributes)}"
    protocols = ", ".join(manifest.protocols) or "-"
    return f"| `{name}` | {manifest.title} | {manifest.condition} | {labels} | {protocols} |"


def databases():
    "The text of docs/databases.md."
    about = ["Made from the manifests by `python docs/tables.py`. `open_database(name, folder)` opens your copy; "
             "`affect_nb check name folder` says what is in it.",
             "`load_manifest(name)` has layout, sentinels, counts, licence and sources."]
    columns = "name", "title", "condition", "labels", "protocols"
    return page("The databases", about, columns, map(database_row, [*list_databases(), *list_databases(boxes=True)]))


if __name__ == "__main__":
    (HERE/"networks.md").write_text(networks(), encoding="utf-8")
    (HERE/"databases.md").write_text(databases(), encoding="utf-8")
