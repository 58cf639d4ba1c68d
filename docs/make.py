"""Builds the site: `make docs`, or `python docs/make.py [FOLDER]`; the pages come to FOLDER/html (build/docs/html)."""
import os
import shutil
import sys
import time
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

from gather import ROOT, gather
from links import faults


def copy_demo(source, html):
    "The demo's report goes along as it is; Sphinx does not read it."
    shutil.rmtree(html/"demo", ignore_errors=True)
    if (source/"demo").is_dir(): shutil.copytree(source/"demo", html/"demo")


def build(folder, jobs=None):
    "Gathers, builds and checks the site; 0 where nothing is wrong."
    began, folder = time.monotonic(), Path(folder)
    source, html = folder/"source", folder/"html"
    gather(source)
    wrong = sphinx_build(["-b", "html", "-q", "-W", "--keep-going", "-j", str(jobs or os.cpu_count()),
                          "-c", str(ROOT/"docs"), "-d", str(folder/"doctrees"), str(source), str(html)])
    if wrong: return wrong
    copy_demo(source, html)
    lines = faults(html)
    done = f"{html/'index.html'}, built and checked in {time.monotonic() - began:.0f} s"
    print("\n".join(lines) or done)
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(build(sys.argv[1] if len(sys.argv) > 1 else ROOT/"build"/"docs"))
