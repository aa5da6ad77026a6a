# Shortcuts for work on the project; everything they need: pip install -e '.[test]'
PYTHON ?= .venv/bin/python

.PHONY: check format test

# Changes nothing.
check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy benchbench plugins

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:
	$(PYTHON) -m pytest
