# Shortcuts for work on the project; everything they need: pip install -e '.[test]'
PYTHON ?= .venv/bin/python

.PHONY: check test format types

check: format types test

test:
	$(PYTHON) -m pytest

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types:
	$(PYTHON) -m mypy benchbench plugins
