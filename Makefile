# Tessera. Two commands to know: make run, make test.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PY := .venv/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --quiet --constraint platform/constraints.txt
# The newest Python that is here and new enough; `make run PYTHON=/path/to/python` takes another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

# Test processes beside each other. Most tests wait for what they started, so two are quicker on two cores.
JOBS ?= $(shell test "$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)" -gt 1 && echo 2 || echo 0)

.PHONY: help run test lint bench machines chaos load screenshots constraints clean

help: ## show the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

run: .venv/installed ## install what is needed and start the portal
	@exec $(PY) manage.py run

test: .venv/installed-test ## install what the tests need and run them (JOBS=0: in one process)
	@$(PY) -m tests.browser --prepare
	@$(PY) -m tests.servers --prepare
	@$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: .venv/installed-lint ## style, types, contracts, system checks
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@PYTHONPATH=.:platform $(PY) -m mypy accounts generation platform/config platform/core
	@PYTHONPATH=.:platform $(PY) -c 'from importlinter.cli import lint_imports_command as run; run()'
	@git ls-files 'templates/*.html' | xargs .venv/bin/djade --target-version 5.2 --check
	@$(PY) -W error manage.py check --fail-level WARNING
	@$(PY) manage.py makemigrations --check --dry-run

bench: .venv/installed-test ## measure against the plain libraries, each figure beside its bar
	@$(PY) -m tests.bench $(ARGS)

machines: .venv/installed-test ## two web processes, three clusters, PostgreSQL, Redis, S3: one device is lost
	@PYTHONPATH=.:platform DJANGO_SETTINGS_MODULE=config.settings $(PY) -m tests.servers --prepare
	@PYTHONPATH=.:platform DJANGO_SETTINGS_MODULE=config.settings $(PY) -m tests.machines_play $(ARGS)

chaos: .venv/installed-test ## kill a real portal's processes, ROUNDS (20) times each, and look that nothing is lost
	@PYTHONPATH=.:platform DJANGO_SETTINGS_MODULE=config.settings $(PY) -m tests.chaos $(ARGS)

load: .venv/installed-test ## a thousand sockets, streams, requests and readers at once, each figure beside its bar
	@PYTHONPATH=.:platform DJANGO_SETTINGS_MODULE=config.settings $(PY) -m tests.load $(ARGS)

screenshots: .venv/installed-test ## draw the README's screenshots from a running portal
	@$(PY) -m tests.screenshots

constraints: ## write the versions of this environment into platform/constraints.txt
	@{ head -1 platform/constraints.txt; $(PY) -m pip freeze | grep -viE '^(pip|wheel|tessera)=' | sed 's/+cpu//'; } > .venv/constraints.txt
	@mv .venv/constraints.txt platform/constraints.txt

clean: ## remove the environment (data/ stays)
	rm -rf .venv

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Tessera needs Python 3.11 or later with venv (on Debian: apt install python3 python3-venv)."; exit 1; }
	@$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml platform/constraints.txt | .venv/bin/python
	@echo "Installing Tessera's libraries (the first time takes some minutes) ..."
	@$(PIP) torch
	@$(PIP) .
	@$(PIP) --no-deps open_clip_torch  # only its list of CLIP's words is read: see docs/decisions/0009-single-files.md
	@rm -rf build tessera.egg-info
	@touch $@

.venv/installed-test: .venv/installed
	@echo "Installing what the tests need ..."
	@$(PIP) ".[test]"
	@rm -rf build tessera.egg-info
	@touch $@

.venv/installed-lint: .venv/installed-test
	@$(PIP) ".[lint]"
	@rm -rf build tessera.egg-info
	@touch $@
