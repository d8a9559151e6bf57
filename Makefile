# Everything a developer does. `make` alone lists it. Needs: make, and a Python of 3.11 or later.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

venv := .venv
python := $(venv)/bin/python
installed := $(venv)/installed
measuring := $(venv)/installed-bench
fast_tests := tests/test_tidy.py tests/domain tests/cairn/test_cli.py tests/cairn/test_settings.py tests/cairn/test_compose.py
test_processes := 2

.PHONY: help setup check test compatibility soak up demo migrate schema rebuild bench

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(installed) ## make the environment .venv from the pinned, hashed requirements

$(installed): requirements/test.txt
	@set -e; \
	for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Cairn needs Python 3.11 or later, and none is on the PATH." >&2; exit 1; fi; \
	if ! $(python) -c '' >/dev/null 2>&1; then \
	  rm -rf $(venv); echo "making $(venv) with $$($$found --version)"; $$found -m venv --without-pip $(venv); \
	fi; \
	if ! $(python) -m pip --version >/dev/null 2>&1; then \
	  $(python) -m ensurepip --default-pip >/dev/null 2>&1 || installer="$$found -m pip --python $(python)"; \
	fi; \
	echo "installing requirements/test.txt"; \
	$${installer:-$(python) -m pip} install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt; \
	touch $@

check: setup ## format, lint, types, house rules and the fast tests: under a minute
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy --explicit-package-bases .
	$(python) -m pytest -q -n $(test_processes) $(fast_tests)

test: check ## everything
	$(python) -m pytest -q -n $(test_processes) $(addprefix --deselect ,$(fast_tests))

compatibility: setup ## the tests that speak to servers, against the oldest servers that are promised
	@$(python) -m tests.compatibility

up: setup ## the whole product on this machine, with sample data
	@$(python) -m cairn up

demo: setup ## load the sample data into a system that runs
	@$(python) -m cairn demo

migrate: setup ## bring the database to the newest schema
	@$(python) -m cairn migrate

schema: setup ## write the schemas of the migrated database and of new events
	@$(python) -m cairn schema

rebuild: setup ## build a read model anew beside the old one, then switch: make rebuild name=project_list
	@$(python) -m cairn rebuild "$(name)"

$(measuring): requirements/bench.txt $(installed)
	$(python) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

bench: $(measuring) ## benchmarks against peers and limits; only=mirror: one of them; full=1: as large as goals say; records=N
	@$(python) -m bench $(only) $(if $(full),--full) $(if $(records),--records $(records))

soak: $(measuring) ## memory under load and an outage of the broker, minutes; full=1: ten minutes, and an hour's backlog
	@$(python) -m bench memory outage $(if $(full),--full)
