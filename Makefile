# Commands that set everything up by themselves, from a bare clone with Python 3.11 or 3.12 and make:
#   make demo   reads two real photos and shows where the annotated pictures are
#   make test   lint, types and tests; `make test-all` runs the long tests too, as CI does
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-all check clean

VENV := .venv
PY := $(VENV)/bin/python
# The first of these that runs and is 3.11 or 3.12; override with: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && { echo $$p; break; }; done)

help:
	@echo "make demo   set up, read two real photos, write annotated pictures to demo-out/"
	@echo "make test   set up, then lint, types and tests but the long ones"
	@echo "make test-all   the same with the long ones: what CI runs"
	@echo "make clean  remove the virtual environment and what the demo wrote"

$(PY):
	@if [ -z "$(PYTHON)" ]; then echo "error: expected Python 3.11 or 3.12 (with venv), found none; install one or run: make demo PYTHON=/path/to/python" >&2; exit 2; fi
	$(PYTHON) -m venv $(VENV)

# pip compiles modules one by one; compileall uses all cores, which saves half a minute of the 7 GB of the dev packages.
define install
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt $(1)
	$(PY) -W ignore -m compileall -qq -j 0 $(VENV)/lib || true  # some packages carry templates that are no Python
	@touch $@
endef

# Stamps say which set of packages is installed; they are renewed when pyproject.toml or the pins change.
$(VENV)/.base: pyproject.toml constraints.txt | $(PY)
	$(call install,-e . matplotlib scikit-image)

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	$(call install,-e '.[dev]')

demo: $(VENV)/.base
	$(PY) scripts/demo.py demo-out

test: $(VENV)/.dev
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash scripts/check -m "not long"

test-all: $(VENV)/.dev
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash scripts/check

check: test

clean:
	rm -rf $(VENV) demo-out
