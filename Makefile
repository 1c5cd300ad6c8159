# sudo make demo    two LISP sites in Mininet, explained        sudo make test   every test
# sudo make lab     the same network, with the Mininet prompt   make help        the rest

SHELL   := /bin/bash
PYTHON  := .venv/bin/python
# A test that hangs must not hang the run; slow machines get room.
PYTEST  := timeout -k 10 1500 $(PYTHON) -m pytest -q
SOURCES := lisp_sdn apps tests bench mininet setup.py lisp_sdn_runtime.py
# Every test that needs neither root nor Open vSwitch.
FAST    := $(wildcard tests/unit tests/property tests/sim tests/interop)
AS_ROOT := $(if $(filter 0,$(shell id -u)),--system)

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test check unit labtest bench fuzz clean root

help:
	@echo 'sudo make demo      build two LISP sites with Mininet and Open vSwitch, explain what happens'
	@echo 'sudo make lab       the same network, with the Mininet prompt'
	@echo 'sudo make test      everything below, as CI does'
	@echo 'make check          ruff and mypy --strict'
	@echo 'make unit           the tests that need neither root nor Open vSwitch'
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

lab: root setup
	@$(PYTHON) mininet/two_sites.py

test: check unit labtest

check: setup
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy

unit: setup
	$(PYTEST) -n auto $(FAST)

# Without root or Open vSwitch these skip and say why; where CI=true that is a failure.
labtest: setup
	$(PYTEST) tests/lab

bench: setup
	@set -e; for script in $(filter-out bench/_%,$(wildcard bench/*.py)); do \
	  echo "== $$script"; $(PYTHON) $$script; done

fuzz: setup
	HYPOTHESIS_PROFILE=hunt timeout -k 10 3600 $(PYTHON) -m pytest -q tests/property
	$(PYTHON) -c 'import atheris' || $(PYTHON) -m pip install -q -c constraints.txt -e '.[fuzz]'
	@set -e; for script in tests/fuzz/fuzz_*.py; do $(PYTHON) $$script --seconds 60; done

clean:
	rm -rf .venv .setup.lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
