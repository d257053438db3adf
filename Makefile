# `make run` and `make test` are all that a newcomer needs; `make check` is the whole gate.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Also pins what builds the package, which `pip install -c` alone would not. A relative path: pip splits it at blanks.
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip

.PHONY: help install install-dev run test torture lint check format docs constraints clean

help:
	@echo "make run      watch ./inbox, with the catalogue in ./damd-state"
	@echo "make test     run the tests"
	@echo "make check    the tests, formatting, types and floors"
	@echo "make torture  the ordeals: half an hour, best as root; one of them: make torture ORDEAL=overflow"
	@echo "make install  the set-up alone, into ./.venv"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "damd needs Python 3.11 or later: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing damd into ./$(VENV), which takes a minute the first time …"
	@$(PIP) install --quiet --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing damd and its test tools into ./$(VENV), which takes a minute the first time …"
	@$(PIP) install --quiet --editable '.[all,dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

run: install
	@mkdir -p inbox
	@echo "damd begins to watch ./inbox, with its catalogue in ./damd-state. Now drop a picture into ./inbox;"
	@echo "in another terminal: $(BIN)/damd assets list --state ./damd-state. Ctrl-C ends it."
	@exec $(BIN)/damd run --watch ./inbox --state ./damd-state

# One process more than there are processors, since many tests wait for processes of their own.
test: install-dev
	$(BIN)/pytest --numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist=worksteal

# ORDEAL: burst, overflow, kill, malformed, moved_in, slow, atomic, watch_limit, unmount, full_disk, hostile, permission, deep, wide,
# renames, notifications or reloads. TORTURE_SCALE=0.02 tries them small, TORTURE_KEEP=1 keeps their folders.
torture: install-dev
	$(BIN)/pytest tests/torture --verbose -k "$(ORDEAL)"

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: test lint

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What is made from the program itself.
docs: install-dev
	$(BIN)/python -m damd.cli.manual > docs/cli.md
	$(BIN)/damd config init --stdout > config.example.yaml

# Resolves everything anew, for a deliberate update of the pinned versions.
constraints:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --upgrade pip
	build/lock/bin/pip install --quiet --editable '.[all,dev]' hatchling editables
	{ echo "# Exact versions of everything damd is built, run and tested with; renewed by \`make constraints\`."; \
	  build/lock/bin/pip freeze --exclude-editable --exclude damd; } > constraints.txt

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
