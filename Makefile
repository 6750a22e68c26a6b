# `make demo` and `make test` do everything on a machine that has Python >= 3.11 and pip.
#
# The virtual environment is rebuilt when the content of pyproject.toml or constraints.txt changes, and only then.
# Where pip finds no CPU build of torch by itself, and no GPU is wanted:
#     make test PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
OUT ?= output
WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo test test-all lint types format bench clean

help:
	@echo "make demo      invert 2,661 sections of quartz and 1,283 Sentinel-2 forest plots into $(OUT)/"
	@echo "make test      the test suite; test-all adds the slow ones"
	@echo "make lint      ruff; make types: mypy; make format: ruff mends what it can"
	@echo "make bench     speed beside peers"
	@echo "make clean     remove caches and builds"

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than Python 3.11. Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@echo "Installing what constraints.txt names into $(VENV): some minutes."
	$(PIP) setuptools wheel
	$(PIP) --no-build-isolation -e '.[test,lint]'
	@touch $@

demo: $(STAMP)
	$(BIN)/physgen invert examples/stereology/quartz_sections.toml --out $(OUT)
	$(BIN)/physgen invert examples/canopy/forest_plots.toml --out $(OUT)
	@echo "The posteriors and their pictures are in $(abspath $(OUT)):" && ls -l $(OUT)
	$(BIN)/physgen report $(OUT)/quartz_posterior.nc
	$(BIN)/physgen report $(OUT)/posterior.nc
	@echo "Open in a browser: $(abspath $(OUT))/posterior.html"

test: $(STAMP)
	$(PYTEST)

test-all: $(STAMP)
	$(PYTEST) -m 'slow or not slow'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy

# those that need a file of measurements take it as their argument, and are run by hand
BENCHMARKS ?= $(sort $(wildcard benchmarks/speed*.py))

bench: $(STAMP)
	$(PIP) --no-build-isolation -e '.[benchmark]'
	@for script in $(BENCHMARKS); do echo "== $$script"; OMP_NUM_THREADS=1 $(BIN)/python $$script || exit 1; done

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
