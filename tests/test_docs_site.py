"""The site of `make docs`: every public name has its place, no link is dead, nothing comes from elsewhere; the whole build is `full`."""
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
from fastcore.docments import docments

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"docs"))
import gather
import links
import names
import rooms

MODULES = [module for modules in names.find_modules(ROOT).values() for module in modules]
FENCE = re.compile(r"^`+\{py:(function|class|data)\} (\w+)(.*)$", re.M)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    "The folder that Sphinx reads."
    folder = tmp_path_factory.mktemp("pages")
    gather.gather(folder, run=folder/"no such run")
    return folder


def page_text(pages, module):
    "What the page of a module says beside its examples."
    cells = json.loads((pages/"rooms"/f"{module.name.replace('.', '/')}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


def parameters_of(thing):
    "The parameters of a function, or of the constructor that a class has itself."
    if inspect.isclass(thing): thing = vars(thing).get("__init__")
    if not inspect.isfunction(thing): return []
    return [name for name in inspect.signature(thing).parameters if name != "self"]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_every_public_name_is_on_a_page_with_its_parameters(pages, module):
    "As Python sees them, not as the pages' own reader does."
    said = {name: signature for _, name, signature in FENCE.findall(page_text(pages, module))}
    imported = importlib.import_module(module.full_name)
    assert sorted(said) == sorted(set(imported.__all__))
    for name in imported.__all__:
        given = re.findall(r"\w+", said[name])
        assert [parameter for parameter in parameters_of(getattr(imported, name)) if parameter not in given] == [], name
        assert f"`{name} <{module.full_name}.{name}>`" in (pages/"rooms"/f"{module.name.split('.')[0]}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [module for module in MODULES if module.name.startswith("core.")], ids=lambda module: module.name)
def test_comments_are_read_as_docments_reads_them(module):
    imported, compared = importlib.import_module(module.full_name), 0
    for name in module.names:
        thing = getattr(imported, name.name.split(".")[0])
        if name.kind != "py:function" or len(inspect.getsource(thing).splitlines()) < 3: continue # not where all stands in a line
        read = {parameter.lstrip("*"): text for parameter, text in name.parameters.items() if not parameter.startswith("**")}
        known = {parameter: text or "" for parameter, text in docments(thing, returns=False).items() if parameter in read}
        assert read == known, name.name
        compared += len(known)
    assert compared or not any(text for name in module.names for text in name.parameters.values())


PLANTED = '''#| export
def told(
    va,         # (n, 2) valence, arousal
    *names,     # of the clips
    rate=25.,   # Hz
)->float:       # in [-1, 1]
    "One sentence. And another."

def untold(va, rate): return va

class Held:
    "Holds something."
    def __init__(self, limit=3): # at most so many
        pass
    @property
    def _hidden(self): "Not shown."
    @classmethod
    def of(cls,
           path, # of the file
          ):
        "From a file."
'''


def planted(root, source=PLANTED, public="['told', 'untold', 'Held', 'lost']"):
    "A checkout of one notebook."
    (root/"nbs"/"00_core").mkdir(parents=True)
    (root/"affect_nb"/"core").mkdir(parents=True)
    cells = [dict(cell_type="markdown", source="# Planted\n\n> A module."), dict(cell_type="code", source="#| default_exp core.planted"),
             dict(cell_type="code", source=source), dict(cell_type="markdown", source="By hand:"), dict(cell_type="code", source="told([0, 0])")]
    (root/"nbs"/"00_core"/"00_planted.ipynb").write_text(json.dumps(dict(cells=cells)))
    (root/"affect_nb"/"core"/"planted.py").write_text(f"__all__ = {public}\n")
    return names.find_modules(root)["00_core"][0]


def test_what_is_not_explained_is_noticed(tmp_path):
    module = planted(tmp_path)
    silent, parameters = names.unexplained(module)
    assert silent == ["core.planted.untold"] and parameters == ["core.planted.untold: va", "core.planted.untold: rate"]
    assert names.undescribed(module) == ["lost"]


def test_a_definition_is_shown_with_what_its_comments_say(tmp_path):
    module = planted(tmp_path)
    told, _, held = module.names
    assert told.signature == "(va, *names, rate=25.0) -> float" and told.returns == "in [-1, 1]" and told.sentence == "One sentence."
    assert told.parameters == {"va": "(n, 2) valence, arousal", "*names": "of the clips", "rate": "Hz"}
    assert held.signature == "(limit=3)" and held.parameters == {"limit": "at most so many"}
    assert [(member.name, member.signature, member.flags) for member in held.members] == [("of", "(path)", ("classmethod",))]
    page = rooms.module_page(module, rooms.Linker([module]), "https://example.org", lambda cell, prose: dict(cell, prose=prose))
    assert [cell["cell_type"] for cell in page] == ["markdown"]*5 + ["code"] and page[-1]["prose"] == "By hand:"


def test_a_class_has_the_fields_and_the_constructor_of_its_bases(tmp_path):
    source = """#| export
@dataclass
class _Base:
    first: int  # px
    last: int=3 # s
    def size(self): "How large."

@dataclass
class Child(_Base):
    last: float=4.
    more: list = field(default_factory=list) # of names

class Heir(Child):
    "Has what Child has."
"""
    child, heir = planted(tmp_path, source, "['Child', 'Heir']").names
    assert child.signature == heir.signature == "(first: int, last: float = 4.0, more: list = ...)"
    assert child.parameters == {"first": "px", "last": "", "more": "of names"} and [member.name for member in child.members] == ["size"]


def test_every_public_name_has_a_sentence():
    assert [name for module in MODULES for name in names.unexplained(module)[0]] == []
    assert [name for module in MODULES for name in names.undescribed(module)] == []


def test_text_is_shown_as_it_is_written():
    assert rooms.escaped("in [-1, 1], `a_b*` of <clip>") == r"in \[-1, 1\], `a_b*` of \<clip\>"
    assert rooms.escaped("- 3 of *them*") == r"\- 3 of \*them\*"
    assert rooms.quoted("a 'b' # c") == "'a ''b'' # c'"


def test_names_in_backticks_are_links_where_they_are_ours():
    metrics, = (module for module in MODULES if module.name == "core.metrics")
    linker = rooms.Linker(MODULES)
    assert linker.link("`ccc` and `Moments()`", metrics) == "{py:obj}`ccc <affect_nb.core.metrics.ccc>` and {py:obj}`Moments() <affect_nb.core.metrics.Moments>`"
    assert linker.link("`train.fit`", metrics) == "{py:mod}`train.fit <affect_nb.train.fit>`"
    for text in ("`ccc(x)` `pandas` ``ccc`` {py:obj}`ccc`", "`preprocess`"): assert linker.link(text, metrics) == text # a plain word of another module
    assert linker.link("`ccc`", metrics, but=("ccc",)) == "`ccc`" and linker.certain("preprocess").endswith("pipeline.preprocess>`")


def test_a_picture_has_the_words_before_it_and_outputs_stay(pages):
    cell = dict(cell_type="code", source="#| eval: false\nplot()", outputs=[dict(output_type="display_data", data={"image/png": "AAAA"}, metadata={})])
    shown = gather.example(cell, "## Faces\n\nFirst this.\n\nTwo *drawn* [people](x.md), `a`:")
    assert shown["metadata"]["mystnb"]["image"]["alt"] == "Two drawn people, a:" and shown["source"] == "plot()"
    assert gather.example(dict(cell, source="#| fig-alt: A face\nplot()"), "Else.")["metadata"]["mystnb"]["image"]["alt"] == "A face"
    for lesson in (ROOT/"nbs"/"90_tutorials").glob("*.ipynb"):
        count = lambda path: sum(len(cell.get("outputs", [])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
        assert count(pages/"nbs"/"90_tutorials"/lesson.name) == count(lesson)


def test_links_between_files_lead_to_pages_to_the_web_or_are_noticed(tmp_path):
    site = gather.Site(tmp_path)
    text = site.linked("[a](../README.md) [b](formats.md#x) [c](../tests) [d](https://example.org) [e](../benchmarks/results/seeds.json)", Path("docs/guide.md"))
    url = gather.settings()["git_url"]
    assert text == f"[a](../index.md) [b](formats.md#x) [c]({url}/tree/main/tests) [d](https://example.org) [e](../benchmarks/results/seeds.json)"
    assert (tmp_path/"benchmarks"/"results"/"seeds.json").is_file()
    site.linked("[f](missing.md)\n```\n[g](code.md)\n```", Path("docs/guide.md"))
    with pytest.raises(ValueError, match="docs/guide.md: 'missing.md' does not exist"): site.close()


def test_the_demos_report_is_shown_where_there_is_one(pages, tmp_path):
    assert "make demo" in (pages/"demo.md").read_text() and not (pages/"demo").exists()
    run = tmp_path/"run"
    (run/"notebooks").mkdir(parents=True)
    for name in ("report.html", "metrics.json", "notebooks/a.ipynb"): (run/name).write_text("{}")
    gather.write_demo(gather.Site(tmp_path/"site"), run)
    assert 'href="demo/report.html"' in (tmp_path/"site"/"demo.md").read_text()
    assert sorted(path.name for path in (tmp_path/"site"/"demo").rglob("*.*")) == ["a.ipynb", "metrics.json", "report.html"]


GOOD = '<h1 id="top">A</h1><a href="b.html#here">b</a><a href="#top">up</a><a href="https://example.org">web</a><img src="a.png" alt="A">'


def tiny_site(folder, first=GOOD, style="body {color: red}"):
    (folder/"a.html").write_text(first)
    (folder/"b.html").write_text('<p id="here">B</p><a href="a.html">a</a><link rel="stylesheet" href="a.css">')
    (folder/"a.png").write_bytes(b"")
    (folder/"a.css").write_text(style)
    return links.faults(folder)


def test_a_whole_site_has_no_faults(tmp_path): assert tiny_site(tmp_path) == []


@pytest.mark.parametrize("planted, fault", {
    '<a href="c.html">c</a>': "a.html: 'c.html' does not exist",
    '<a href="b.html#there">b</a>': "a.html: 'b.html#there' has no such anchor",
    '<a href="#nowhere">b</a>': "a.html: '#nowhere' has no such anchor",
    '<a href="/b.html">b</a>': "a.html: '/b.html' is not relative",
    '<a href="../b.html">b</a>': "a.html: '../b.html' leads out of the site",
    '<img src="c.png" alt="C">': "a.html: 'c.png' does not exist",
    '<img src="a.png">': "a.html: the picture 'a.png' has no alternative text",
    '<img src="a.png" alt=" ">': "a.html: the picture 'a.png' has no alternative text",
    '<script src="https://cdn.example.org/a.js"></script>': "a.html: fetches 'https://cdn.example.org/a.js' from elsewhere",
    '<link rel="stylesheet" href="//fonts.example.org/a.css">': "a.html: fetches '//fonts.example.org/a.css' from elsewhere",
}.items())
def test_a_planted_fault_is_noticed(tmp_path, planted, fault): assert tiny_site(tmp_path, GOOD + planted) == [fault]


def test_a_font_from_elsewhere_is_noticed(tmp_path):
    assert tiny_site(tmp_path, style="@font-face {src: url('https://fonts.example.org/a.woff2')}") == ["a.css: fetches 'https://fonts.example.org/a.woff2' from elsewhere"]


@pytest.mark.full
@pytest.mark.alone
def test_the_whole_site_is_built_without_a_warning(tmp_path):
    "Sphinx takes a warning for an error; then every link, anchor, picture and fetched file of the built pages is looked at."
    pytest.importorskip("myst_nb", reason="the site needs the extra `docs`: pip install -e '.[docs]'")
    import make
    assert make.build(tmp_path) == 0
    html = tmp_path/"html"
    built = {str(path.relative_to(html).with_suffix("")) for path in html.rglob("*.html")}
    assert {"index", "docs/guide", "docs/formats", "docs/studies", "benchmarks/README", "CONTRIBUTING", "CHANGELOG", "demo", "measurements", "search"} <= built
    assert {f"rooms/{module.name.replace('.', '/')}" for module in MODULES} <= built
    assert {f"nbs/90_tutorials/{lesson.stem}" for lesson in (ROOT/"nbs"/"90_tutorials").glob("*.ipynb")} <= built
    assert "<math" in (html/"nbs"/"90_tutorials"/"30_why_ccc.html").read_text(encoding="utf-8")
    assert "concordance" in (html/"searchindex.js").read_text(encoding="utf-8")
