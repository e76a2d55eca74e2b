# fedopt: everything a fresh machine needs is Python >= 3.11, pip and make.
#
#   make demo       solve a real network's instance, print the plan, then check it independently
#   make test       the test suite (README's test command)
#   make validate   the long validations that `make test` leaves out
#   make lint types docs bench wheel lock clean
#
# PYTHON chooses the interpreter that builds the environment, VENV where it lives.

SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
JOBS ?= 2
OUT ?= out
DEMO ?= instances/germany50.yaml

BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test validate lint format types docs bench wheel lock clean

help:
	@sed -n 's/^#   //p' Makefile

# --- environment: each stamp is made once and again when what it depends on changes ---------------

$(LOCKED): requirements.lock
	@test -n "$(PYTHON)" || { echo "fedopt needs Python 3.11 or later; name one with: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(READY)

# --- what it is for -------------------------------------------------------------------------------

demo: $(READY)
	@mkdir -p $(OUT)
	$(BIN)/fedopt solve $(DEMO) --out $(OUT)/plan.json
	$(BIN)/fedopt check $(OUT)/plan.json $(DEMO)

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --timeout 300 --timeout-method thread $(ARGS)

validate: $(READY)
	$(BIN)/python -m pytest -m slow $(ARGS)

bench: $(READY)
	$(BIN)/python -m pytest tests/bench -m "slow or not slow" -s $(ARGS)

# --- keeping it sound -----------------------------------------------------------------------------

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

wheel: $(READY)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .

lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras \
		--group dev --group docs --group build --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		pyproject.toml -o requirements.lock

clean:
	rm -rf build dist docs/_build $(OUT) .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
