# make demo     the book on the embedded world: a predicted clip within a minute, then runs/demo/report.html
# make test     notebooks and package agree, every notebook runs, every test passes
# make test-all the rest too: killed runs, lessons twice in a row, the demo, an install with the newest of everything
# make soak     two hours of predict over good and bad films: flat memory, nothing lost
# make docs     the site in build/docs/html, for any static host
# make bench    the figures of benchmarks/, as ratios in one run
# PYTHON=python3.12 make demo   to choose the interpreter (3.11 or newer)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs

# One thread a worker in the tests: two workers on two cores, and the same figures on every machine.
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup demo smoke test test-all notebooks figures bench soak readme docs export clean

setup: $(READY)

$(READY): settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "affect_nb needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version`. Try: PYTHON=python3.12 make $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/affect_nb run demo

smoke: $(READY)
	$(BIN)/affect_nb run smoke

test: $(READY) figures notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not alone and not full"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "alone and not full"

test-all: test $(DOCS_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "full and not alone"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "full and alone"

figures: $(READY)
	$(BIN)/python tests/house_figures.py

# Experiments and tutorials are run through papermill by tests/; the rest by nbdev itself.
notebooks: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --skip_folder_re '^([_.]|80_|90_)' --timing

bench: $(READY)
	$(BIN)/affect_nb bench

soak: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py --minutes 120 --out runs/bench/soak.json

readme: $(READY)
	$(BIN)/python tests/readme.py
	$(BIN)/python docs/tables.py

docs: $(DOCS_READY)
	$(BIN)/python docs/make.py

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $(DOCS_READY)

export: $(READY)
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export

clean:
	rm -rf build dist *.egg-info
