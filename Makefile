# Two commands do everything on a fresh machine: `make repro` and `make test`.
PYTHON  ?= python3.11
VENV    := .venv
BIN     := $(VENV)/bin
# With what pip compiles: where PYTHONDONTWRITEBYTECODE is set, as in many images, each process would compile torch anew.
INSTALL := -m pip --disable-pip-version-check --quiet install

# sigstore and the LiteRT converter need different versions of pydantic: promoting has an environment of its own.
PROMOTE := .venv-promote

.PHONY: help environments repro pipeline test lint docs clean
.DEFAULT_GOAL := help

help:
	@echo "make repro   build .venv, run the pipeline, print the verdict"
	@echo "make test    install what the tests need and run them all"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make docs    build the documentation into site/"

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --constraint constraints.txt --editable '.[compress,pipeline]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python $(INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(PROMOTE)/installed: pyproject.toml constraints-promote.txt weighbridge/ci/templates/promote-constraints.txt
	$(PYTHON) -m venv $(PROMOTE)
	$(PROMOTE)/bin/python $(INSTALL) --constraint constraints-promote.txt \
		--editable '.[judge,keyless,pipeline]' hypothesis jsonschema pytest pytest-timeout
	@touch $@

environments: $(VENV)/installed-dev $(PROMOTE)/installed

repro: pipeline
	@$(BIN)/weighbridge gate

pipeline: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro --keep-going

test: $(VENV)/installed-dev $(PROMOTE)/installed
	@tests/install-system-packages
	$(PROMOTE)/bin/python -m pytest tests/registry/trust/test_keyless.py
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(PROMOTE) artifacts measurements site .pytest_cache .mypy_cache .ruff_cache .hypothesis
