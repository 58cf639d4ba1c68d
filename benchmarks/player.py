"""The player on a film of an hour with sound: how long a seek takes, whether cursor and picture agree, what the kernel needs. And
how long a map of a million points takes until it is drawn.

The film is made here, silent but for a tone; each frame carries its number as black and white blocks, which are read from
the picture that the browser shows after each seek. JupyterLab and chromium are driven as in `tests/browser`, so this needs
a checkout, chromium and playwright. `python benchmarks/player.py` prints the measures; `run()` returns them.
"""
import json
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve()
SIZE, BITS, BLOCK, FPS, RATE = (320, 180), 17, 16, 25., 16000

OPEN = """import psutil
from affect_nb.apps import explore_clip
def used(): return psutil.Process().memory_info().rss/2**20
before = used()
player = explore_clip("hour.mp4")
player"""

WATCH = """() => {
    const node = document.querySelector('.affect-player'), video = node.querySelector('video')
    const canvas = document.createElement('canvas')
    const ink = Object.assign(canvas, {width: %d, height: %d}).getContext('2d', {willReadFrequently: true})
    const number = () => {
        ink.drawImage(video, 0, 0, canvas.width, canvas.height)
        let value = 0
        for (let bit = 0; bit < %d; bit++) value += (ink.getImageData(%d*bit + %d, %d, 1, 1).data[0] > 127) * 2**bit
        return value
    }
    const seeks = window.seeks = []
    let from = null
    node.querySelector('.timeline').addEventListener('pointerdown', () => { from = {at: performance.now(), n: node.dataset.presentations} }, true)
    new MutationObserver(() => {
        if (!from || node.dataset.presentations === from.n || node.dataset.presented !== node.dataset.frame) return
        seeks.push([performance.now() - from.at, Number(node.dataset.frame), number()])
        from = null
    }).observe(node, {attributes: true})
}""" % (*SIZE, BITS, BLOCK, BLOCK//2, BLOCK//2)


POINTS = """import numpy as np
import pandas as pd
from affect_nb.apps import explore_map
rows = np.arange(%d)
va = np.clip(np.random.default_rng(0).normal(.2, .35, (len(rows), 2)), -1, 1)
table = pd.DataFrame(dict(clip="drawn", frame=rows, time=rows/25, face_id=0, valence=va[:, 0], arousal=va[:, 1]))"""

DRAWN = """() => { // are there points in the middle of the map?
    const canvas = document.querySelector('.jp-OutputArea canvas'), side = 60
    if (!canvas || canvas.width < 2*side) return false
    const copy = Object.assign(document.createElement('canvas'), {width: side, height: side}).getContext('2d')
    copy.drawImage(canvas, (canvas.width - side)/2, (canvas.height - side)/2, side, side, 0, 0, side, side)
    const {data} = copy.getImageData(0, 0, side, side)
    return data.some((value, at) => at % 4 < 3 && data[at - at % 4 + 3] > 0 && value < 128)
}"""


def write_numbered(path:Path, n:int):
    "A film whose frames carry their numbers."
    import numpy as np
    from affect_nb.files.film import FilmWriter
    width, height = SIZE
    tone = (.1*np.sin(np.arange(RATE)/RATE*440*2*np.pi)).astype(np.float32)
    with FilmWriter(path, width, height, fps=FPS, rate=RATE, quick=True, crf=28) as film:
        for frame in range(n):
            image = np.full((height, width, 3), 90, np.uint8)
            for bit in range(BITS): image[:BLOCK, BLOCK*bit:BLOCK*(bit + 1)] = 255*(frame >> bit & 1)
            film.add(image)
            if frame % int(FPS) == int(FPS) - 1: film.add_sound(tone)


def write_table(path:Path, film:Path, n:int):
    "Predictions for every frame."
    import numpy as np
    import pandas as pd
    from affect_nb.analysis.columns import EXPRESSION_COLUMNS
    from affect_nb.core.labels import AUS8
    rng, times = np.random.default_rng(0), np.arange(n)/FPS
    columns = {name: rng.random(n, np.float32) for name in (*EXPRESSION_COLUMNS, *(f"prob_au{au}" for au in AUS8))}
    pd.DataFrame(dict(file=str(film), frame=np.arange(n), time_s=times, face_id=0, status="ok", box_x1_px=100., box_y1_px=40.,
                      box_x2_px=200., box_y2_px=160., valence=np.sin(times/9), arousal=np.cos(times/7), **columns)).to_csv(path, index=False, float_format="%.4f")


def measure(notebook, seeks:int)->tuple[list, float]:
    "What each seek took and showed, and the kernel's memory, MiB more than before."
    import numpy as np
    page = notebook.page
    page.wait_for_selector(".affect-player[data-ready=true][data-traces]")
    page.evaluate(WATCH)
    page.locator(".affect-player .timeline").scroll_into_view_if_needed()
    box = page.locator(".affect-player .timeline").bounding_box()
    places = np.random.default_rng(1).uniform(box["x"] + 110, box["x"] + box["width"] - 10, seeks)
    for done, place in enumerate(places.tolist(), 1):
        page.mouse.click(place, box["y"] + 60)
        page.wait_for_function(f"() => window.seeks.length >= {done}", polling=20)
    return page.evaluate("() => window.seeks"), float(notebook.ask("print(used() - before)"))


@contextmanager
def open_lab(browser, cell:str, prepare=lambda folder: None):
    "A notebook of one cell, run in a JupyterLab of its own whose folder was prepared; at the end nothing has gone wrong in it."
    from lab import Lab, OpenNotebook
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            prepare(lab.folder)
            lab.write("measured.ipynb", cell)
            lab.wait()
            page = browser.new_context(viewport=dict(width=1280, height=1100)).new_page()
            notebook = OpenNotebook(lab, page, "measured.ipynb")
            notebook.run_all()
            yield notebook
            notebook.check()
            page.context.close()
        finally: lab.close()


def measure_map(browser, points:int)->dict:
    "From the call in a notebook to points on the screen."
    with open_lab(browser, POINTS % points) as notebook:
        notebook.page.evaluate("""async () => { const {commands, shell} = window.jupyterapp
            await commands.execute('notebook:insert-cell-below')
            shell.currentWidget.content.activeCell.model.sharedModel.setSource('explore_map(table)') }""")
        begun = time.perf_counter()
        notebook.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell') }")
        notebook.page.wait_for_function(DRAWN, polling=50)
        took = time.perf_counter() - begun
    return {"map, points": points, "map, s until it is drawn": round(took, 2)}


def measure_in(browser, minutes:float, seeks:int)->dict:
    "The measures of the player in a running chromium."
    import numpy as np
    n = round(minutes*60*FPS)
    def prepare(folder):
        write_numbered(folder/"hour.mp4", n)
        write_table(folder/"hour.csv", folder/"hour.mp4", n)
    with open_lab(browser, OPEN, prepare) as notebook: results, memory = measure(notebook, seeks)
    took, cursor, picture = np.array(results).T
    off = np.abs(cursor - picture)
    return {"film, minutes": minutes, "seeks": len(took), "seek, median ms": round(float(np.median(took)), 1),
            "seek, 95 % ms": round(float(np.quantile(took, .95)), 1), "cursor within a frame, share": round(float((off <= 1).mean()), 3),
            "cursor on the frame, share": round(float((off == 0).mean()), 3), "kernel, MiB more": round(memory, 1)}


def run(minutes:float=60., seeks:int=200, points:int=1_000_000)->dict:
    "Median time of a seek, ms; share of seeks whose cursor and picture are within a frame; memory, MiB; time of the map, s."
    helpers = HERE.parent.parent/"tests"/"browser"
    if not (helpers/"lab.py").exists(): raise ValueError("benchmarks/player.py needs a checkout: it drives chromium as tests/browser does")
    sys.path.insert(0, str(helpers))
    from lab import open_chromium
    with open_chromium() as browser: return measure_map(browser, points) | measure_in(browser, minutes, seeks)


if __name__ == "__main__": print(json.dumps(run(), indent=1))
