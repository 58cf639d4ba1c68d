"""JupyterLab in Debian's chromium, driven by playwright: opens a notebook, runs it, keeps errors and pictures.

`AFFECT_NB_SCREENSHOTS=folder` keeps the screenshots, `AFFECT_NB_CHROMIUM=path` names another chromium. Playwright's own browsers
are never downloaded."""
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

CHROMIUM = os.environ.get("AFFECT_NB_CHROMIUM", "/usr/bin/chromium")
PATIENCE = int(os.environ.get("AFFECT_NB_PATIENCE", 600)) # s that anything may take on a busy machine; no test asserts a time
SWITCHES = ("--no-sandbox", "--autoplay-policy=no-user-gesture-required",
            "--use-angle=swiftshader-webgl", "--enable-unsafe-swiftshader") # the map's WebGL by the processor; pages are drawn without it
HARMLESS = ( # what JupyterLab itself writes to the console
    "api/workspaces", "Failed to load resource: the server responded with a status of 404", "ResizeObserver loop", "/lsp/", "favicon")
SETTINGS = { # no news from the network; light or dark as the browser asks for
    "notification": dict(fetchNews="false", checkForUpdates=False),
    "themes": {"adaptive-theme": True, "preferred-light-theme": "JupyterLab Light", "preferred-dark-theme": "JupyterLab Dark"}}


def needs_browser():
    "Skip the test where chromium or playwright is absent."
    pytest.importorskip("playwright", reason="playwright is absent (pip install playwright): no test in a browser")
    if not Path(CHROMIUM).exists(): pytest.skip(f"{CHROMIUM} is absent (apt-get install chromium): no test in a browser")


def free_port():
    "A port of this machine that nobody listens on."
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Lab:
    "A running JupyterLab, with a folder of its own and a token."
    def __init__(self, folder:Path):
        self.folder, self.token, self.port = folder/"notebooks", secrets.token_hex(16), free_port()
        self.folder.mkdir(parents=True)
        for name, content in SETTINGS.items():
            place = folder/"settings"/"@jupyterlab"/"apputils-extension"/f"{name}.jupyterlab-settings"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(content))
        self.log, self.url = folder/"server.log", f"http://127.0.0.1:{self.port}"
        own = {f"JUPYTER{name}": str(folder/place) for name, place in dict(
            LAB_SETTINGS_DIR="settings", LAB_WORKSPACES_DIR="workspaces", _CONFIG_DIR="config", _RUNTIME_DIR="runtime", _DATA_DIR="data").items()}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}",
                   "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.folder}", "--LabApp.expose_app_in_browser=True"]
        self._sink = self.log.open("wb")
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=self._sink, stderr=subprocess.STDOUT, env=os.environ | own)

    def wait(self, seconds:float=PATIENCE)->"Lab":
        "Until it answers."
        for _ in range(int(seconds/.2)):
            if self.process.poll() is not None: break
            try:
                with urllib.request.urlopen(f"{self.url}/api?token={self.token}", timeout=2): return self
            except OSError: time.sleep(.2)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-2000:]}")

    def _ask(self, place:str, method:str="GET")->bytes:
        "What its API answers."
        call = urllib.request.Request(f"{self.url}/api/{place}", method=method, headers=dict(Authorization=f"token {self.token}"))
        with urllib.request.urlopen(call, timeout=PATIENCE) as answer: return answer.read()

    def end_kernels(self):
        "A page that is closed leaves its kernel, with all that it has loaded; not before the page has hung up."
        for _ in range(100):
            kernels = json.loads(self._ask("kernels"))
            if not any(kernel["connections"] for kernel in kernels): break
            time.sleep(.1)
        for kernel in kernels: self._ask(f"kernels/{kernel['id']}", "DELETE")

    def close(self):
        "End it, with its kernels."
        self.process.terminate()
        try: self.process.wait(20)
        except subprocess.TimeoutExpired: self.process.kill()
        self._sink.close()

    def write(self, name:str, *cells:str)->str:
        "A notebook of these code cells in its folder."
        kernel = dict(kernelspec=dict(name="python3", display_name="Python 3", language="python"))
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=kernel), self.folder/name)
        return name


class OpenNotebook:
    "A notebook in a page of the browser."
    def __init__(self, lab:Lab, page, name:str):
        self.lab, self.page, self.name, self.errors = lab, page, name, []
        page.set_default_timeout(PATIENCE*1000)
        page.on("console", lambda message: message.type == "error" and self._note(f"{message.text} ({message.location.get('url', '')})"))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.goto(f"{lab.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{name}?token={lab.token}")
        page.wait_for_function("""() => window.jupyterapp && window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel
            && window.jupyterapp.shell.currentWidget.context.isReady""", timeout=PATIENCE*1000)
        page.evaluate("() => window.jupyterapp.shell.collapseLeft()")

    def _note(self, text):
        if not any(name in text for name in HARMLESS): self.errors.append(text)

    def run_all(self, seconds:float=PATIENCE)->list[dict]:
        "Run all cells; an error in one of them fails the test. The outputs of each cell."
        self.page.set_default_timeout(seconds*1000)
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        outputs = self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.toJSON().outputs ?? [])")
        failed = [output for cell in outputs for output in cell if output["output_type"] == "error"]
        assert not failed, "\n".join(failed[0]["traceback"])
        return outputs

    def ask(self, code:str)->str:
        "Run code in the notebook's kernel beside its cells; what it prints."
        return self.page.evaluate("""async code => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
            const future = kernel.requestExecute({code, store_history: false})
            let text = ''
            future.onIOPub = message => {
                const {msg_type} = message.header
                if (msg_type == 'stream') text += message.content.text
                if (msg_type == 'error') throw_.push(message.content.traceback.join('\\n'))
            }
            const throw_ = []
            await future.done
            if (throw_.length) throw new Error(throw_[0])
            return text
        }""", code)

    def shot(self, name:str, of=None)->bytes:
        "A screenshot, kept as <name>.png where AFFECT_NB_SCREENSHOTS names a folder; `of`: a locator, None: the page."
        picture = (of or self.page).screenshot()
        if folder := os.environ.get("AFFECT_NB_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder)/f"{name}.png").write_bytes(picture)
        return picture

    def check(self):
        "Nothing went wrong in the console, in the server, nor in a kernel."
        assert not self.errors, "\n".join(self.errors)
        log = self.lab.log.read_text(errors="replace")
        assert "Traceback (most recent call last)" not in log, log[-3000:]


@contextmanager
def open_chromium(*arguments:str):
    "A headless chromium of this machine."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, timeout=PATIENCE*1000, args=[*SWITCHES, *arguments])
        try: yield browser
        finally: browser.close()
