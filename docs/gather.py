"""Puts everything that the site shows into one folder of Markdown and notebooks, from which Sphinx builds the pages.

The folder has the layout of the repository, so that links between its files hold; a link to a file without a page leads
to the repository on the web.
"""
import json
import os
import re
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import urlsplit

from measurements import write_measurements
from names import door_of, find_modules, is_hidden, text_of
from rooms import Linker, markdown_cell, module_page, room_page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
PYTHON = dict(kernelspec=dict(name="python3", language="python", display_name="Python 3"),
              language_info=dict(name="python", pygments_lexer="ipython3"))
GUIDE = ("docs/guide.md", "docs/formats.md", "docs/databases.md", "docs/networks.md", "docs/licences.md")
PROJECT = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
STUDIES = ("docs/studies.md", "benchmarks/README.md")
LONGEST_ALTERNATIVE = 250 # characters that somebody listens to


def settings():
    "What settings.ini says of the project."
    config = ConfigParser(delimiters=["="], interpolation=None)
    config.read(ROOT/"settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def source_url(path):
    "Where a file or a folder of the repository is on the web."
    kind = "tree" if (ROOT/path).is_dir() else "blob"
    return f"{settings()['git_url']}/{kind}/{settings()['branch']}/{Path(path).as_posix()}"


def launch_urls(path):
    "Where a notebook of the repository can be run without an installation."
    repository, branch = settings()["git_url"].removeprefix("https://github.com/"), settings()["branch"]
    file = Path(path).as_posix()
    return {"Open in Colab": f"https://colab.research.google.com/github/{repository}/blob/{branch}/{file}",
            "Launch on Binder": f"https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{file}"}


def page_of(path):
    "The page of the site that a file of the repository becomes."
    return Path("index.md") if Path(path) == Path("README.md") else Path(path)


class Site:
    "The folder that Sphinx reads. A file is written where it differs, so that an unchanged page is not built anew."
    def __init__(self, folder):
        self.folder, self.written, self.dead = Path(folder), set(), []
        self.pages = {Path(path) for path in ("README.md", *GUIDE, *PROJECT, *STUDIES) if (ROOT/path).is_file()}
        for room in ("80_experiments", "90_tutorials"):
            self.pages |= {path.relative_to(ROOT) for path in (ROOT/"nbs"/room).glob("*.ipynb")}

    def write(self, name, content):
        "One file, text or bytes."
        path = self.folder/name
        self.written.add(path)
        data = content.encode("utf-8") if isinstance(content, str) else content
        if path.is_file() and path.read_bytes() == data: return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def notebook(self, name, cells):
        "A notebook of cells that may be the repository's own."
        for number, cell in enumerate(cells): cell["id"] = f"cell-{number}"
        content = dict(cells=cells, metadata=PYTHON, nbformat=4, nbformat_minor=5)
        self.write(name, json.dumps(content, ensure_ascii=False))

    def text(self, path):
        "The text of a Markdown file of the repository, its links leading to pages, pictures and the web."
        return self.linked((ROOT/path).read_text(encoding="utf-8"), Path(path))

    def linked(self, text, path):
        "`text` of the file `path` with its links rewritten."
        def one(found):
            target, _, anchor = found[3].partition("#")
            if urlsplit(found[3]).scheme or not target: return found[0]
            there = Path(os.path.normpath(path.parent/target))
            here = page_of(path).parent
            if there in self.pages: new = os.path.relpath(page_of(there), here)
            elif (ROOT/there).is_file() and there.suffix in (".png", ".jpg", ".svg", ".json"):
                self.write(there, (ROOT/there).read_bytes())
                new = os.path.relpath(there, here)
            elif (ROOT/there).exists(): new = source_url(there)
            else:
                self.dead.append(f"{path}: {found[3]!r} does not exist")
                return found[0]
            return f"{found[1]}[{found[2]}]({new}{'#' + anchor if anchor else ''})"
        parts = re.split(r"(?ms)(^```.*?^```)", text)
        return "".join(part if part.startswith("```") else LINK.sub(one, part) for part in parts)

    def close(self):
        "Removes what an earlier call has written and this one has not; a `ValueError` names dead links."
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self.written: path.unlink()
        if self.dead: raise ValueError("dead links:\n" + "\n".join(self.dead))


# Cells ----------------------------------------------------------------------------------------------------------------

def plain(text):
    "Markdown without its marks, in one line."
    text = re.sub(r"(?m)^#+ .*$|^> |^[-*] ", "", LINK.sub(r"\2", text))
    return " ".join(re.sub(r"[*`$\\]|<[^>]+>", "", text).split())


def alternative(cell, prose):
    "A cell's picture for those who do not see it: its `#| fig-alt:`, else the last sentences before the cell."
    given = re.search(r"^#\|\s*fig-alt:\s*(.+)$", text_of(cell), re.M)
    if given: return given[1].strip("\"' ")
    last = plain(re.split(r"\n\s*\n", prose.strip())[-1]) or plain(prose) or prose.strip().splitlines()[-1].lstrip("# ")
    sentences = re.split(r"(?<=[.?!:]) (?=[A-Z(])", last)
    while len(sentences) > 1 and len(" ".join(sentences)) > LONGEST_ALTERNATIVE: del sentences[0]
    return " ".join(sentences)


def output_of(output):
    "An output without what only a notebook needs: the style that pandas gives each table."
    output = {**output, "metadata": {}} if "data" in output else dict(output)
    html = output.get("data", {}).get("text/html")
    if html is None: return output
    html = re.sub(r"(?s)<style scoped>.*?</style>\s*", "", html if isinstance(html, str) else "".join(html))
    return {**output, "data": {**output["data"], "text/html": html}}


def example(cell, prose):
    "A code cell with its committed outputs, its pictures with an alternative text."
    source = "\n".join(line for line in text_of(cell).splitlines() if not line.startswith("#|"))
    draws = any(kind.startswith("image/") for output in cell.get("outputs", []) for kind in output.get("data", {}))
    metadata = dict(mystnb=dict(image=dict(alt=alternative(cell, prose)))) if draws else {}
    return dict(cell_type="code", metadata=metadata, source=source, execution_count=None,
                outputs=[output_of(output) for output in cell.get("outputs", [])])


def whole_notebook(path, site):
    "The cells of a lesson or an experiment as the site shows them."
    cells = json.loads((ROOT/path).read_text(encoding="utf-8"))["cells"]
    shown, prose = [], ""
    for cell in cells:
        if is_hidden(cell) or cell["cell_type"] == "raw": continue
        if cell["cell_type"] == "code": shown.append(example(cell, prose))
        else:
            prose = text_of(cell)
            shown.append(markdown_cell(site.linked(prose, path)))
    places = {"This notebook in the repository": source_url(path)}
    if path.parent.name == "90_tutorials": places.update(launch_urls(path))
    shown.insert(1, markdown_cell(" · ".join(f"[{word}]({url})" for word, url in places.items())))
    return shown


def title_and_about(path):
    "The first line and the '>' line of a notebook."
    opening = text_of(json.loads((ROOT/path).read_text(encoding="utf-8"))["cells"][0]).splitlines()
    return opening[0].lstrip("# "), next((line[2:] for line in opening if line.startswith("> ")), "")


# Pages ----------------------------------------------------------------------------------------------------------------

def contents(pages, hidden=False):
    "A table of contents."
    return "\n".join(["```{toctree}", ":hidden:" if hidden else ":maxdepth: 1", "", *map(str, pages), "```", ""])


def listing(site, name, title, about, folder):
    "A page that lists the notebooks of a folder with their sentences, and the notebooks."
    paths = sorted(path for path in site.pages if path.parent == Path("nbs")/folder)
    lines = [f"# {title}", "", about, ""]
    for path in paths:
        heading, sentence = title_and_about(path)
        lines.append(f"- [{heading}]({path.as_posix()}): {sentence}")
        site.notebook(path, whole_notebook(path, site))
    site.write(name, "\n".join([*lines, "", contents((path.with_suffix("") for path in paths), hidden=True)]))


def write_rooms(site):
    "The reference: a page a room, a page a module."
    house = (ROOT/"CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms, said = find_modules(ROOT), dict(re.findall(r"(?m)^\| `(\d\d_\w+)` \| (.+?) \|$", house))
    linker, rows, pages = Linker([module for modules in rooms.values() for module in modules]), [], []
    for folder, modules in rooms.items():
        room = modules[0].name.split(".")[0]
        about, door = said[folder], door_of(ROOT/"affect_nb"/room/"__init__.py")
        site.write(f"rooms/{room}.md", room_page(about, modules, door, linker))
        for module in modules:
            url = source_url(module.notebook.relative_to(ROOT))
            site.notebook(f"rooms/{module.name.replace('.', '/')}.ipynb", module_page(module, linker, url, example))
        rows.append(f"| [{room}](rooms/{room}.md) | {about} |")
        pages.append(f"rooms/{room}")
    text = ["# Reference", "", "The rooms in the order in which data flows. A room lists its public names; the page of "
            "a module shows each with its parameters and the examples right under its code.", "",
            "| room | what it holds |", "|---|---|", *rows, "", contents(pages, hidden=True)]
    site.write("reference.md", "\n".join(text))


def write_demo(site, run):
    "The demo's report, or how to make it."
    about = ("`make demo` draws twins of the databases, trains the networks of Tables II to VI in small, and writes "
             "one report: each table of the paper beside ours, with the data named. **Scores on drawn faces are not "
             "benchmark results.**")
    lines = ["# The demo's report", "", about, ""]
    if (run/"report.html").is_file():
        site.write("demo/report.html", (run/"report.html").read_bytes())
        for path in [run/"metrics.json", *sorted((run/"notebooks").glob("*.ipynb"))]:
            if path.is_file(): site.write(Path("demo")/path.relative_to(run), path.read_bytes())
        link = '<p><a href="demo/report.html">Open the report of the last run</a></p>'
        lines += ["```{raw} html", link, "```", ""] # not a page of Sphinx, so not a link that it could check
    else: lines += ["No run of the demo lay beside the sources when these pages were built. It takes some 8 to 13 "
                    "minutes of two cores:", "", "    make demo     # writes runs/demo/report.html",
                    "    make docs     # puts it here", ""]
    site.write("demo.md", "\n".join(lines))


def section(site, name, title, about, paths, more=()):
    "A page that opens a part of the site, and the Markdown files of the repository in it."
    present = [path for path in paths if (ROOT/path).is_file()]
    for path in present: site.write(page_of(path), site.text(path))
    pages = [*(Path(path).with_suffix("") for path in present), *more]
    site.write(name, "\n".join([f"# {title}", "", about, "", contents(pages)]))


def gather(folder, run=ROOT/"runs"/"demo"):
    "Writes all pages into `folder`; `run`: the demo's run."
    site = Site(folder)
    parts = "using", "lessons", "experiments", "reference", "results", "project"
    site.write("index.md", site.text("README.md") + "\n" + contents(parts, hidden=True))
    section(site, "using.md", "Guide", "What the README leaves out.", GUIDE)
    listing(site, "lessons.md", "Lessons", "Each under two minutes on two cores, with exercises and folded answers: "
            "`jupyter lab nbs/90_tutorials`. Binder installs the package by itself; on Colab run "
            f"`%pip install -q git+{settings()['git_url']}` in a cell of its own first.", "90_tutorials")
    listing(site, "experiments.md", "Experiments", "The book: a notebook a table of the paper, run by papermill "
            "(`affect_nb run smoke`, `demo`, `paper`). They are committed without outputs; what a run leaves is in "
            "[the demo's report](demo.md).", "80_experiments")
    write_rooms(site)
    write_measurements(site, ROOT)
    write_demo(site, Path(run))
    section(site, "results.md", "Results", "What was measured, on which data, and how far it carries.", STUDIES,
            more=("measurements", "demo"))
    section(site, "project.md", "Project", "How to work on it, how to report a fault, and what has changed.", PROJECT)
    site.close()
    return site
