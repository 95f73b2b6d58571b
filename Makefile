# Two commands from a fresh clone: `make train` and `make test`. Both make .venv first, from the pinned versions.
PYTHON ?= python3
python := .venv/bin/python

# Under two minutes together with the linters: everything that starts no launcher and trains nothing.
quick_tests := tests/games tests/mechanics tests/policies tests/theory tests/drawing tests/test_*.py

.PHONY: help train test test-all versions quick bench docs lint format clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 10

train: .venv/installed  ## train MAPPO on the reference cluster, compare with every heuristic, write a report
	$(python) -m train experiment=reference

test: .venv/installed  ## the test suite
	$(python) -m pytest -n 2 --dist loadfile -q --ignore tests/long

test-all: test  ## that, and what takes long or installs much: each with what it needs, in environments of its own
	$(python) -m pytest -q tests/long

versions: .venv/installed  ## everything once on the oldest and on the newest versions that pyproject.toml allows
	$(python) -m pytest -q -s tests/long/test_long_versions.py

quick: lint  ## the linters, and the tests that take under two minutes together
	$(python) -m pytest -n 2 --dist loadfile -q $(quick_tests)

bench: .venv/installed  ## all benchmarks, and the page of what they measured
	$(python) -m benchmarks

docs: .venv/installed  ## write the tables of the documentation from the declarations
	$(python) -m docs.tables

lint: .venv/installed  ## style, types, and whether the documentation's tables say what the code does
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(python) -m docs.tables --check

format: .venv/installed  ## mend what ruff can mend
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxdlb needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(python) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove everything that was made
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
