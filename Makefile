# `make run` and `make test` are all a newcomer needs; both set everything up first. GNU make 3.81 or newer.

.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
# Two workers on two cores halve the wait. `make test WORKERS=0` runs in one process, for a debugger.
WORKERS ?= logical
PYTEST_ARGS ?=
BENCH_ARGS ?=

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: .venv/.ready ## build .venv from the lock files

.venv/.ready: requirements-build.lock requirements-dev.lock pyproject.toml .ci/setup
	@bash .ci/setup

run: setup ## a daemon to try things with: on this machine only, in .run/, until Ctrl-C
	@VCD_HOME=$${VCD_HOME:-$(CURDIR)/.run} VCD_NETWORK_LISTEN='["/ip4/127.0.0.1/tcp/0"]' VCD_NETWORK_MDNS=false \
		VCD_NETWORK_LOOPBACK_ADDRESSES=true $(BIN)/vcd run

demo: setup ## five daemons of two people on this machine, split and together again; ends by itself
	@$(BIN)/python -m tests.demo $(DEMO_ARGS)

test: setup ## every test that CI runs; PYTEST_ARGS="-k name" to choose
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

check: setup ## lint, format, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## rewrite to the house format, fix what can be fixed safely
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test-long: setup ## everything too slow for CI; writes docs/reports/DATE-long.md
	@$(BIN)/python -m tests.long_run $(PYTEST_ARGS)

coverage: setup ## the tests with branch coverage of mls, transport and vcd
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --cov --cov-report=term $(PYTEST_ARGS)

bench: setup ## the speed table; BENCH_ARGS="--quick" for under a minute
	@$(BIN)/python -m tests.bench.mls --json $(BENCH_ARGS)

bench-mesh: setup ## the mesh's table, beside the libraries by themselves; BENCH_ARGS="--quick" for two minutes
	@$(BIN)/python -m tests.bench.mesh --json $(BENCH_ARGS)

bench-virtual: setup ## virtual clients against a member per device; BENCH_ARGS="--quick" for some seconds
	@$(BIN)/python -m tests.bench.virtual --json $(BENCH_ARGS)

bench-daemon: setup ## whole daemons beside raw py-libp2p; BENCH_ARGS="--quick" for half a minute
	@$(BIN)/python -m tests.bench.daemon --json $(BENCH_ARGS)

bench-node: setup ## what a step of the node costs, and healing a split; BENCH_ARGS="--quick" for some seconds
	@$(BIN)/python -m tests.bench.node --json $(BENCH_ARGS)

vectors: ## fetch the MLS working group's test vectors (FROM=FOLDER to copy them)
	@FROM="$(FROM)" bash .ci/vectors

# Pins are kept unless UPGRADE=1. Headers and index addresses are left out: the lock names packages, not places.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)
lock: setup ## write the lock files anew from pyproject.toml (UPGRADE=1 for newer versions)
	$(COMPILE) --group pyproject.toml:build --output-file requirements-build.lock
	$(COMPILE) pyproject.toml --constraint requirements-build.lock --output-file requirements.lock
	$(COMPILE) pyproject.toml --group dev --constraint requirements-build.lock --constraint requirements.lock \
		--output-file requirements-dev.lock

# .run/ holds a device's keys once there is a daemon: it is never cleaned away.
clean: ## remove .venv, caches and build output
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		.coverage .coverage.* htmlcov
	find mls transport vcd tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup run demo test check format test-long coverage bench bench-mesh bench-virtual bench-node bench-daemon vectors lock clean
