# Everything here sets itself up: a virtual environment in .venv, made with $(PYTHON).
# `make demo` and `make test` are where to begin.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.run-installed
DEV    := $(VENV)/.dev-installed
BENCH  := $(VENV)/.bench-installed
NATIVE := $(wildcard src/rustassistant/native/*.pyx src/rustassistant/native/*.pxd)

.PHONY: help demo test torture lint bench docs clean

help:
	@echo "make demo     migrate the example cache, with backup and verification, and look up a hit"
	@echo "make test     run the tests"
	@echo "make torture  crash, cut the power, fail and kill ten times as often as the tests do"
	@echo "make lint     ruff, strict types, import layers"
	@echo "make bench    measure against tar, sqlite-utils, diskcache, DuckDB, the published algorithm"
	@echo "make docs     write docs/cli.md anew from the command's own help"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(RUN): pyproject.toml $(NATIVE) | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): pyproject.toml $(RUN)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

$(BENCH): pyproject.toml $(RUN)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group bench
	@touch $@

# pip compiles what it installs, but not what it leaves in place: tests start thousands of processes.
compiled = $(BIN)/python -m compileall -q src

demo: $(RUN)
	@$(compiled)
	@$(BIN)/python examples/demo.py

test: $(DEV)
	@$(compiled)
	@$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term-missing:skip-covered $(ARGS)

torture: $(DEV)
	@$(compiled)
	@RUSTASSISTANT_TORTURE=10 $(BIN)/python -m pytest tests/faults -n auto --dist worksteal $(ARGS)

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(BENCH)
	@$(BIN)/python benchmarks/run.py --save $(ARGS)

docs: $(DEV)
	@$(BIN)/python docs/generate_cli.py > docs/cli.md.new
	@mv docs/cli.md.new docs/cli.md

clean:
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
