# Ballast. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
DATA_DIR := $(wildcard ../shared/data)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONDONTWRITEBYTECODE := 1
export UV_PROJECT_ENVIRONMENT := $(VENV)
ifneq ($(DATA_DIR),)
export BALLAST_DATA ?= $(abspath $(DATA_DIR))
endif
DEMO_ARGS ?=
MINUTES ?= 10

.PHONY: help setup demo test fuzz prove lint bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.ready node_modules/.ready ## Install the locked dependencies into .venv and node_modules

$(VENV)/.ready: pyproject.toml uv.lock
	@for p in $(PYTHON) python3.12 python3.11 python3 python; do \
	  if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then found=$$p; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Python 3.11 or 3.12 is needed: install one, or name it: make setup PYTHON=python3.12" >&2; exit 2; fi; \
	[ -x $(BIN)/python ] || $$found -m venv $(VENV) || { echo "python's venv module is needed (Debian: python3-venv)" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv sync --frozen --inexact --quiet
	@touch $@

node_modules/.ready: package.json package-lock.json
	@mkdir -p node_modules
	@if command -v npm >/dev/null 2>&1; then npm install --no-save --ignore-scripts --no-audit --no-fund --silent && mkdir -p node_modules && touch $@; \
	else echo "Node.js is not installed: anvil is left out, chains run in process (py-evm, slower)"; fi

demo: setup ## Replay a crash on a local chain, verify every number, write out/demo/report.html
	@$(BIN)/ballast demo $(DEMO_ARGS)

test: setup lint ## Lint, then all tests
	@$(BIN)/python -m pytest -n 2 tests
	@for anvil in node_modules/@foundry-rs/anvil-*/bin; do \
	  if [ -d "$$anvil" ]; then PATH="$(CURDIR)/$$anvil:$$PATH"; network=ethereum:local:foundry; fi; \
	done; \
	$(BIN)/ape test --disable-isolation -o addopts=-q tests/integration --network $${network:-ethereum:local:test}

fuzz: setup ## Run contracts against their Python twin for MINUTES=n, print what was met
	@$(BIN)/python tests/stateful/campaign.py fuzz --minutes $(MINUTES)

prove: setup ## Prove lanes, words and ratio rules for all inputs, by z3; HALMOS=program: on the bytecode too
	@$(BIN)/python tests/property/prove_arithmetic.py
	@$(BIN)/python tests/property/prove_ratios.py
	@[ -z "$(HALMOS)" ] || $(BIN)/python tests/property/prove_bytecode.py $(HALMOS)

lint: setup ## ruff, mypy, and the contract checks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy offchain benchmarks scripts
	@$(BIN)/python -m offchain.chain.checks

bench: setup ## Gas, contract sizes and speed; rewrites the tables in benchmarks/
	@$(BIN)/python -m benchmarks

clean: ## Remove what set-up, builds and runs left
	@rm -rf $(VENV) node_modules .build .cache .pytest_cache .hypothesis .mypy_cache .ruff_cache out
