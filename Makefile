# `make demo` and `make test` work in a fresh checkout and install what they need.
# To use another interpreter: make PYTHON=/path/to/python3.12 test

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test quick stress soak clients precision coverage check bench servers clean

VENV ?= .venv
BIN := $(VENV)/bin
# Run three test processes per two cores, because tests wait for a third of their time. A process without tests
# takes some from the process that has most left.
PYTEST_ARGS ?= -n $$(( ($$(getconf _NPROCESSORS_ONLN) * 3 + 1) / 2 )) --dist worksteal
# The suite starts hundreds of processes. With a cache of bytecode, only the first one compiles each module.
export PYTHONDONTWRITEBYTECODE :=

# The first Python of version 3.11 or newer that can make a virtual environment.
CAN_SERVE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
	if $$candidate -c '$(CAN_SERVE)' >/dev/null 2>&1; then command -v $$candidate; break; fi; done)

help:
	@echo "make demo    show how a client reacts to latency, a stall, a reset and a partition"
	@echo "make test    run the whole test suite, with real servers"
	@echo "make quick   run the test suite without the slow tests"
	@echo "make stress  run the whole test suite three times on a busy machine, and summarise the results"
	@echo "make soak    try everything at once for an hour: checked traffic, changing faults, abusive clients"
	@echo "make clients  run known HTTP clients under each fault, and count right and wrong claims about them"
	@echo "make precision  count right and wrong claims about simulated clients, for the table in docs/reactions.md"
	@echo "make coverage  list lines and branches of net, http, faults and control that the tests do not run"
	@echo "make check   lint and type-check"
	@echo "make bench   run the benchmark, with HAProxy, nginx and socat"
	@echo "make clean   remove the virtual environment and caches"

demo: $(VENV)/.ready
	@$(BIN)/chaosproxy demo

test: $(VENV)/.ready-dev servers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

quick: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow" --hypothesis-profile=quick

stress: $(VENV)/.ready-dev servers
	$(BIN)/python -m tests.stress

# SECONDS_OF_SOAK=120 make soak takes two minutes.
soak: $(VENV)/.ready-dev
	$(BIN)/python -m tests.soak --seconds $${SECONDS_OF_SOAK:-3600}

# ARGS="curl_total curl_retry" make clients runs some of them.
clients: $(VENV)/.ready-dev servers
	$(BIN)/python -m tests.clients.matrix $(ARGS)

# FIRST_SEED and JOURNALS choose others; those of the tests begin at 0.
precision: $(VENV)/.ready-dev
	$(BIN)/python -m tests.reaction.precision $${FIRST_SEED:-1000000} $${JOURNALS:-2000}

# The measurement includes child processes: test workers, tests in a network namespace, and each `chaosproxy serve`.
coverage: $(VENV)/.ready-dev servers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS) || echo "Some tests failed; the report includes the lines that they ran."
	$(BIN)/coverage combine --quiet
	@for package in net http faults control; do \
		echo; echo "== chaosproxy/$$package"; \
		$(BIN)/coverage report --include="chaosproxy/$$package/*" --show-missing --skip-covered; \
	done

check: $(VENV)/.ready-dev
	$(BIN)/ruff check
	$(BIN)/mypy chaosproxy

bench: $(VENV)/.ready-dev
	$(BIN)/python -m bench

# Install the servers for the end-to-end tests. A test without its server is skipped with a message; with
# CI=true it fails.
servers:
	@missing=; \
	has() { command -v $$1 >/dev/null || [ -x /usr/sbin/$$1 ] || compgen -G "/usr/lib/postgresql/*/bin/$$1" >/dev/null; }; \
	for pair in postgres:postgresql redis-server:redis-server nginx:nginx prometheus:prometheus curl:curl node:nodejs \
		mariadbd:mariadb-server-core mosquitto:mosquitto rabbitmq-server:rabbitmq-server socat:socat; do \
		has $${pair%%:*} || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing the servers that tests start:$$missing"; \
		apt-get update -qq || true; \
		RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	elif [ "$${CI:-}" = true ]; then \
		echo "Missing servers for the tests:$$missing. Install them, or run as root on a system with apt-get." >&2; exit 1; \
	else \
		echo "Not installed:$$missing. Their tests are skipped." >&2; \
	fi

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or newer with the venv module was found." >&2; \
		echo "Tried: python3.13 python3.12 python3.11 python3." >&2; \
		echo "Install one (Debian: apt-get install python3 python3-venv), or give its path: make PYTHON=/path/to/python3 ..." >&2; \
		exit 1; \
	fi
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@ $(VENV)/.ready

clean:
	rm -rf $(VENV) .venv-* .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
