"""What is wrong with the links and pictures of a built site: `python docs/links.py build/docs/html`."""
import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = dict.fromkeys(("script", "img", "source", "video", "audio", "iframe", "embed", "input"), "src")
LINK_LOADS = ("stylesheet", "icon", "preload", "modulepreload", "manifest", "shortcut")


@dataclass
class Page(HTMLParser):
    "The names, links and loaded files of one HTML page."
    text: str
    anchors: set = field(default_factory=set)
    links: list = field(default_factory=list)  # what a reader may click
    loaded: list = field(default_factory=list) # what the browser fetches by itself
    silent: list = field(default_factory=list) # pictures without an alternative text

    def __post_init__(self):
        super().__init__(convert_charrefs=True)
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.update(value for value in (values.get("id"), values.get("name") if tag == "a" else None) if value)
        if tag == "a" and values.get("href") is not None: self.links.append(values["href"])
        if values.get(LOADED.get(tag)): self.loaded.append(values[LOADED[tag]])
        rel = (values.get("rel") or "").split()
        if tag == "link" and values.get("href"):
            (self.loaded if set(rel) & set(LINK_LOADS) else self.links).append(values["href"])
        if tag == "img" and not (values.get("alt") or "").strip(): self.silent.append(values.get("src", "")[:80])


def fetched_by(text):
    "The addresses that a style sheet fetches."
    return re.findall(r"url\(\s*[\"']?([^\"')]+)", text) + re.findall(r"@import\s+[\"']([^\"']+)", text)


def is_elsewhere(target): return target.startswith(("http:", "https:", "//"))


def fault_of(target, page, pages, site):
    "Why a link to `target` is dead where it stands in `page`; None where it is not."
    parts = urlsplit(target)
    if parts.scheme or parts.netloc: return None # somebody else's
    if target.startswith("/"): return "is not relative"
    path = (page.parent/unquote(parts.path)).resolve() if parts.path else page
    if path.is_dir(): path /= "index.html"
    if not path.is_relative_to(site): return "leads out of the site"
    if not path.is_file(): return "does not exist"
    known = not parts.fragment or path not in pages or unquote(parts.fragment) in pages[path].anchors
    return None if known else "has no such anchor"


def faults(site):
    "A line for each dead internal link, each thing fetched from elsewhere, and each picture without a text."
    site = Path(site).resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))
             if path.relative_to(site).parts[0] != "_static"} # what the theme keeps there are templates
    lines = []
    for path, page in pages.items():
        name = path.relative_to(site)
        lines += [f"{name}: {target!r} {fault}" for target in dict.fromkeys([*page.links, *page.loaded])
                  if (fault := fault_of(target, path, pages, site))]
        lines += [f"{name}: fetches {target!r} from elsewhere" for target in page.loaded if is_elsewhere(target)]
        lines += [f"{name}: the picture {source!r} has no alternative text" for source in page.silent]
    for path in sorted(site.rglob("*.css")):
        lines += [f"{path.relative_to(site)}: fetches {target!r} from elsewhere"
                  for target in fetched_by(path.read_text(encoding="utf-8")) if is_elsewhere(target)]
    return lines


if __name__ == "__main__":
    found = faults(sys.argv[1])
    print("\n".join(found))
    sys.exit(bool(found))
