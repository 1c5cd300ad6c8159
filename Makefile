# sudo make demo    two LISP sites in Mininet, explained        sudo make test   every test
# sudo make lab     the same network, with the Mininet prompt   make help        the rest

SHELL   := /bin/bash
PYTHON  := .venv/bin/python
# A test that hangs must not hang the run; slow machines get room.
PYTEST  := timeout -k 10 1500 $(PYTHON) -m pytest -q
SOURCES := lisp_sdn apps tests bench mininet setup.py lisp_sdn_runtime.py
# What needs neither root nor Open vSwitch but more time: many examples, simulated networks, real
# processes of ours, tshark.
DEEP    := tests/property tests/sim tests/interop
AS_ROOT := $(if $(filter 0,$(shell id -u)),--system)

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test check unit deep webtest labtest bench fuzz fuzz-brief atheris clean root

help:
	@echo 'sudo make demo      build two LISP sites with Mininet and Open vSwitch, explain what happens'
	@echo 'sudo make lab       the same network, with the Mininet prompt; TOPOLOGY=multihomed: another one'
	@echo 'sudo make test      everything below, as CI does'
	@echo 'make check          ruff and mypy --strict'
	@echo 'make unit           the unit tests: half a minute, neither root nor Open vSwitch'
	@echo 'make deep           properties, simulated networks, our own processes, tshark'
	@echo 'make webtest        the web page in headless Chromium'
	@echo 'sudo make labtest   the tests on real Open vSwitch'
	@echo 'make bench          speed, each with its yardstick'
	@echo 'make fuzz           the property tests with random seeds, then coverage-guided fuzzing'
	@echo 'make setup          .venv only (with sudo: the Debian packages too)'
	@echo 'make clean          remove what was built'

setup:
	@scripts/setup $(AS_ROOT)

root:
	@[ "$$(id -u)" = 0 ] || { echo 'network namespaces need root: sudo make $(MAKECMDGOALS)' >&2; exit 1; }

demo: root setup
	@$(PYTHON) mininet/two_sites.py --demo

# Which topology `make lab` opens: two_sites, multihomed, ...
TOPOLOGY ?= two_sites

lab: root setup
	@$(PYTHON) mininet/$(TOPOLOGY).py

test: check unit deep webtest labtest fuzz-brief

check: setup
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy

unit: setup
	$(PYTEST) -n auto tests/unit

deep: setup
	$(PYTEST) -n auto $(DEEP)

# In headless Chromium; without it these skip and say why. Screenshots: artefacts/web.
webtest: setup
	$(PYTEST) tests/web

# Without root or Open vSwitch these skip and say why; where CI=true that is a failure.
labtest: setup
	$(PYTEST) tests/lab

bench: setup
	@set -e; for script in $(filter-out bench/_%,$(wildcard bench/*.py)); do \
	  echo "== $$script"; $(PYTHON) $$script; done

# Coverage-guided, for moments: what continuous integration can afford.
fuzz-brief: atheris
	@set -e; for script in tests/fuzz/fuzz_*.py; do $(PYTHON) $$script --seconds 10; done

fuzz: atheris
	HYPOTHESIS_PROFILE=hunt timeout -k 10 3600 $(PYTHON) -m pytest -q tests/property
	@set -e; for script in tests/fuzz/fuzz_*.py; do $(PYTHON) $$script --seconds 60; done

atheris: setup
	@$(PYTHON) -c 'import atheris' 2>/dev/null || $(PYTHON) -m pip install -q -c constraints.txt 'atheris>=2.3'

clean:
	rm -rf .venv .setup.lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
