# Commands that do their own set-up: make train, make test, make docs.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PYTEST ?= --numprocesses 2 --dist worksteal
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

train: $(VENV)/.installed
	$(VENV)/bin/python -m experiments.train $(ARGS)

test: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest $(PYTEST)
	$(VENV)/bin/python -m pytest $(PYTEST) -m slow

docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python setup.cfg
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/bin/python setup.cfg
	$(INSTALL) -e ".[docs,test]"
	touch $(VENV)/.installed $@

.PHONY: docs train test
