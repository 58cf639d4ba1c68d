"""Makes README.md from nbs/index.ipynb; pictures lie in docs/."""
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent


def readme():
    "The text of README.md."
    notebook = nbformat.read(ROOT/"nbs"/"index.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.lstrip().startswith("#| hide")]
    notebook.metadata["language_info"] = {"name": "python"} # nbdev_clean removes it; it names the language of code blocks
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    (ROOT/"README.md").write_text(readme(), encoding="utf-8")
