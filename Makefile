# Everything a user or a developer types. Only Python 3.11+ and make are needed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test bench soak pictures lint clean

demo: $(VENV)/.installed
	@$(BIN)/pathquorum demo --to demo

# A thread a process: there are as many processes as processors.
test: $(VENV)/.installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-test
	$(BIN)/python -m tests.benchmarks

soak: $(VENV)/.installed-test
	$(BIN)/python -m tests.soak
	$(BIN)/python -m pytest -m soak --ignore tests/soak

# The pictures of the README and of the page for pathologists.
pictures: demo $(VENV)/.installed-test
	$(BIN)/python -m tests.pictures demo docs
	$(BIN)/python -m tests.step_pictures demo docs/steps
	$(BIN)/python -m tests.report_picture demo docs

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pathquorum needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet 'torch>=2.6,<2.14' --editable '.[models]'
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet 'torch>=2.6,<2.14' --editable '.[test,qupath,models,encoders,seg,parquet]'
	# An oracle of the tests; its metadata pin one old scipy, which it does not need.
	$(BIN)/python -m pip install --quiet --no-deps 'irrCAC>=0.4'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
