# What CI runs is what you run. `make` alone prints the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin
LOCALSET := $(BIN)/localset

.PHONY: help setup run down test test-all check conformance docs bench bench-api fuzz clean

help:  ## Print these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

setup:  ## Make .venv and install what is missing (safe to repeat)
	@tools/setup.sh

run:  ## Bring up the example ensemble of three ZooKeepers and show it (safe to repeat)
	@tools/setup.sh --require-zookeeper
	@$(LOCALSET) up
	@$(LOCALSET) apply -f examples/zookeeper/zookeeper.yaml --wait
	@$(LOCALSET) status
	@$(BIN)/python examples/zookeeper/picture.py

down:  ## End every replica and the daemon; data stays
	@if [ -x $(LOCALSET) ]; then $(LOCALSET) down; else echo 'nothing is set up, so nothing runs'; fi

test: setup  ## Run the tests that CI runs (up to 5 minutes)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup --durations=15

test-all: setup  ## Run every test, the slow ones too
	$(BIN)/python -m pytest -n 2 --dist loadgroup

check: setup  ## Run the gates: ruff, mypy, import linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## Write docs/tutorial.md again from what its commands print
	LOCALSET_WRITE_DOCS=1 $(BIN)/python -m pytest -q tests/e2e/test_tutorial.py

bench: setup  ## Print figures for start, memory, idle and the ensemble
	@ls tests/bench/*.py >/dev/null 2>&1 || { echo 'there are no benchmarks in tests/bench'; exit 1; }
	@for bench in tests/bench/[!_]*.py; do echo "== $$bench"; $(BIN)/python "$$bench" || exit 1; done

conformance: setup  ## Replay the recorded exchanges with a real API server and count the differences (6 minutes)
	$(BIN)/python -m tests.conformance
	$(BIN)/python -m tests.conformance kubectl-seed kubectl-132 kubectl-120

bench-api: setup  ## Print rates of the API over TLS beside a kube-apiserver's (KUBE_APISERVER=PATH, or stored ones)
	$(BIN)/python tests/bench/api_bench.py

fuzz: setup  ## Send 20,000 hostile requests at a daemon of its own (20 minutes)
	$(BIN)/python -m tests.fuzz.api_fuzz

clean:  ## Remove .venv and caches (never var/: it holds your volumes)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
