"""Makes README.md from nbs/index.ipynb (outputs stay out; pictures lie in docs/)."""
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent


def readme():
    "The text of README.md."
    notebook = nbformat.read(ROOT/"nbs"/"index.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.lstrip().startswith("#| hide")]
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    return text.strip() + "\n"


if __name__ == "__main__":
    (ROOT/"README.md").write_text(readme(), encoding="utf-8")
