# Two commands from a fresh clone: `make train` and `make test`. Both make .venv first, from the pinned versions.
PYTHON ?= python3
python := .venv/bin/python

.PHONY: train test bench lint format clean

train: .venv/installed
	$(python) -m train experiment=reference

test: .venv/installed
	$(python) -m pytest -n 2 --dist loadfile -q

bench: .venv/installed
	$(python) -m benchmarks

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/installed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxdlb needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with PYTHON=…")'
	$(PYTHON) -m venv .venv
	$(python) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
