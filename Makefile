# make setup   .venv with the shortlist command in it
# make demo    a small shop with a known truth: train, evaluate, show a shortlist, write demo.bundle
# make test    every check there is; .ci/run calls this

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

.PHONY: setup demo test lint check clean

setup: .venv/.installed

demo: setup
	$(BIN)/shortlist demo --out demo.bundle

test: lint check

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: .venv/.installed-dev
	$(BIN)/pytest

clean:
	rm -rf .venv build dist demo.bundle src/*.egg-info

# Installing makes a stamp, which is renewed only when a file that says what to install has changed.
.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[dev]'
	@touch .venv/.installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
