# What there is to do here; `make` alone lists it.  Everything is installed into $(VENV) and nowhere else.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
# What pip does for every other package: a command need not compile what it imports, also where it may not write.
COMPILE = $(BIN)/python -m compileall -q engine adapters policies schemas
# Where the tests find real market data; those that need it are skipped where it is absent.
export TRADECTL_SHARED ?= $(abspath ../shared)

RUN_READY = $(VENV)/.ready-to-run
TEST_READY = $(VENV)/.ready-to-test
WHEEL = build/wheel

.PHONY: help
help:  ## list what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: $(RUN_READY)  ## install what it needs and run the agent: simulated market, paper broker, no key, no network
	$(BIN)/tradectl run

.PHONY: test
test: lint types contracts wheel-test unit  ## check everything, as CI does

.PHONY: lint
lint: $(TEST_READY)  ## style and likely mistakes
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet

.PHONY: types
types: $(TEST_READY)  ## types, strictly
	$(BIN)/mypy

.PHONY: contracts
contracts: $(TEST_READY)  ## who may import whom
	$(BIN)/lint-imports --no-logo

.PHONY: unit
unit: $(TEST_READY)  ## the tests, on all cores
	$(BIN)/python -m pytest --numprocesses=auto

.PHONY: wheel-test
wheel-test: $(TEST_READY)  ## build the wheel and run the tests marked `wheel` on what it installs, without the sources
	PYTHON=$(BIN)/python .ci/wheel-test $(WHEEL)

.PHONY: format
format: $(TEST_READY)  ## lay out the code
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet

.PHONY: clean
clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): pyproject.toml | $(BIN)/python
	$(PIP) install --editable .
	$(COMPILE)
	touch $@

$(TEST_READY): pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[dev]'
	@# It carries Alpaca's OpenAPI documents; what it needs to run as a server is not wanted.
	$(PIP) install --no-deps 'alpaca-mcp-server>=2'
	$(COMPILE)
	touch $@ $(RUN_READY)
