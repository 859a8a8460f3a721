# What a newcomer needs: `make demo` and `make test`. Nothing is installed outside .venv (and node_modules).
#   make demo [ONCE=1] [PORT=8000] [FOLDER=var]   everything in one process, with a demo tenant and a real signature
#   make run                         the server for development, with the settings of .env if there is one
#   make test [ARGS="tests/keys -x"] the test suite (SQLite; PostgreSQL with DATABASE_URL and REDIS_URL)
#   make test-fast [ARGS=...]        its quick part, about a minute: no processes, browsers or waiting
#   make lint | mutants | bench [ARGS=...] | clean | release VERSION=1.2.3 (docs/releasing.md)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
    command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo $$name && break; done)
VENV ?= .venv
PY := $(VENV)/bin/python
hash = $(firstword $(shell cat requirements/$(1).txt 2>/dev/null | cksum))
BASE := $(VENV)/.installed-base-$(call hash,base)
DEV := $(VENV)/.installed-dev-$(call hash,dev)
CLIENTS := tests/e2e/clients/node_modules/.package-lock.json
# Without a .env this checkout is somebody's desk, not a production machine.
ENVIRONMENT := $(if $(wildcard .env),,KEYCAST_ENVIRONMENT=$${KEYCAST_ENVIRONMENT:-development})

.PHONY: help demo demo-code run test test-fast lint mutants bench clean setup setup-dev release

help:
	@sed -n '2,6s/^#  *//p' Makefile

# A virtual environment whose Python is gone, after an upgrade of the system for example, counts for nothing.
$(shell test ! -d $(VENV) || test -x $(VENV)/bin/python || rm -f $(VENV)/.installed-*)

define NEEDS_PYTHON
@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
{ echo "Keycast needs Python 3.11 or later (on Debian: apt-get install python3 python3-venv), or PYTHON=path."; exit 1; }
@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
{ echo "This Python has no venv module (on Debian: apt-get install python3-venv)."; exit 1; }
endef

$(BASE):
	$(NEEDS_PYTHON)
	@"$(PYTHON)" requirements/install.py $(VENV) base $@

$(DEV):
	$(NEEDS_PYTHON)
	@"$(PYTHON)" requirements/install.py $(VENV) dev $@ $(BASE)

# The clients of other people that the tests drive; without npm those tests say that they were skipped.
$(CLIENTS): tests/e2e/clients/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix tests/e2e/clients --ignore-scripts --no-audit --no-fund --loglevel=error; \
	else echo "No npm: tests that drive real client libraries will be skipped."; fi

setup: $(BASE)
setup-dev: $(DEV) $(CLIENTS)

demo: setup
	@KEYCAST_ENVIRONMENT=development KEYCAST_PARENT_PID=$$PPID exec $(PY) manage.py demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT)) $(if $(FOLDER),--folder "$(FOLDER)")

# The code that the demo's admin asks for, of this moment.
demo-code: setup
	@$(PY) manage.py demo --code $(if $(FOLDER),--folder "$(FOLDER)")

run: setup
	@$(ENVIRONMENT) $(PY) manage.py migrate --verbosity 0
	@$(ENVIRONMENT) $(PY) manage.py generate_kek --if-missing
	@$(ENVIRONMENT) $(PY) manage.py serve $(ARGS)

# Files in the order of tests/plumbing.py, the longest first; xdist itself would begin with those of the most tests.
DISTRIBUTE := --dist loadfile --no-loadscope-reorder

test: setup-dev
	$(PY) -m pytest $(or $(ARGS),-n auto $(DISTRIBUTE))

test-fast: setup-dev
	KEYCAST_TEST_ONLY=fast $(PY) -m pytest -n auto $(DISTRIBUTE) $(ARGS)

lint: setup-dev
	PY=$(PY) .ci/lint

# Each check that docs/threats.md relies on, taken out in a copy of this tree: the tests named for it have to notice.
mutants: setup-dev
	@$(PY) -m tests.mutants $(ARGS)

bench: setup-dev
	@$(PY) -m tests.bench $(ARGS)

# In an environment of its own, which has what builds and nothing else.
release:
	@test -n "$(VERSION)" || { echo "Name the version: make release VERSION=1.2.3"; exit 1; }
	deploy/release cut $(VERSION)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/release.txt && \
	"$$folder/bin/python" deploy/release build --ref v$(VERSION) --out dist/$(VERSION)

# var/ holds the demo's database and key-encryption key: it is yours to delete.
clean:
	rm -rf $(VENV) staticfiles tests/e2e/clients/node_modules tests/e2e/clients/libraries/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
