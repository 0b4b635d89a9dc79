# Needs git, make and Python 3.11 or later. All else goes into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
DEMO   := demo-report
HTML   := docs/_build/html

# One thread a worker: the tests run two at a time, and sums keep their order.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench clean

help:
	@echo "make demo    explain a few predictions and write a report to $(DEMO)/"
	@echo "make test    lint, build the docs, run every test"
	@echo "make lint    ruff, pyright, import-linter"
	@echo "make docs    build the docs in $(HTML)/"
	@echo "make bench   time intgrad beside its peers"
	@echo "make clean   remove what was built, .venv too"

# ------------------------------------------------------------------- the environment, made once

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "intgrad needs Python 3.11 or later, and there is no '$(PYTHON)' here. Say which one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "intgrad needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Say which one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "== making $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed. On Debian, 'apt install python3-venv' mends that."; exit 1; }

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "== installing intgrad with what the demo needs (a few minutes the first time)"
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "== installing intgrad with what the tests need (a few minutes the first time)"
	@$(PIP) -e '.[test,text,image,demo,docs]'
	@touch $@ $(VENV)/.demo

# -------------------------------------------------------------------------------------- the work

demo: $(VENV)/.demo
	@echo "== running the demo"
	@$(BIN)/intgrad demo --out $(DEMO)
	@echo "== the report is in $(CURDIR)/$(DEMO)"

test: lint docs
	@echo "== pytest"
	@$(THREADS) $(BIN)/python -m pytest -n 2

lint: $(VENV)/.test
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format"
	@$(BIN)/ruff format --check .
	@echo "== pyright"
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@echo "== import-linter"
	@$(BIN)/lint-imports --no-logo

docs: $(VENV)/.test
	@echo "== docs"
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs $(HTML)
	@echo "== the docs are in $(CURDIR)/$(HTML)"

bench: $(VENV)/.test
	@echo "== benchmarks"
	@$(BIN)/python benchmarks/overhead.py

clean:
	rm -rf $(VENV) $(DEMO) docs/_build build dist
	rm -rf .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests docs benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
