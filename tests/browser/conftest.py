"""One JupyterLab and one chromium for all tests in a browser; each test has a page of its own."""
import pytest
from lab import Lab, OpenNotebook, needs_browser, open_chromium


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    "A JupyterLab in a folder of its own."
    needs_browser()
    running = Lab(tmp_path_factory.mktemp("lab"))
    try: yield running.wait()
    finally: running.close()


@pytest.fixture(scope="session")
def chromium(lab):
    "The browser, with a drawn camera and microphone instead of real ones."
    with open_chromium("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as browser: yield browser


@pytest.fixture(autouse=True)
def own_kernels(request):
    "No test runs beside the kernels of those before it."
    yield
    if "lab" in request.fixturenames: request.getfixturevalue("lab").end_kernels()


@pytest.fixture
def open_notebook(lab, chromium):
    "`open_notebook(name, *cells, width=, height=, scheme=)`: writes a notebook of these cells, and opens it."
    contexts = []
    def opened(name, *cells, width=1280, height=1100, scheme="light"):
        if cells: lab.write(name, *cells)
        context = chromium.new_context(viewport=dict(width=width, height=height), color_scheme=scheme)
        contexts.append(context)
        return OpenNotebook(lab, context.new_page(), name)
    yield opened
    for context in contexts: context.close()
