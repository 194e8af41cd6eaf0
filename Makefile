# Two commands: `make demo` (install, segment the sample volume, open the window) and
# `make test` (install, run every check). Both make their own .venv. On Windows see README.md.
#
#   PYTHON=python3.12 make demo      another interpreter (3.11 or newer)
#   PIP_ARGS="..." make demo         more arguments for pip, for example a CPU-only torch

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt $(PIP_ARGS)
PYTHON ?=
XVFB = $(shell sh scripts/display.sh)

.PHONY: help demo test check pytest coverage wheel format clean system

help:
	@echo "make demo    install, segment the sample volume, open napari"
	@echo "make test    install, run all checks and tests"
	@echo "make check   ruff, mypy, import contracts, manifest"
	@echo "make pytest  the tests alone"
	@echo "make coverage  the tests, and which lines they reach"
	@echo "make wheel   build the wheel, install it apart, look for the plugin"
	@echo "make format  put the code in shape"
	@echo "make clean   remove .venv and what the tools left"

demo: system $(VENV)/.installed-gui
	$(BIN)/neuropil demo

test: check pytest wheel

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-neuropil

# By file: tests of one file share what is dear to make. In one process it takes 16 minutes, not 7.
pytest: system $(VENV)/.installed-test
	$(XVFB) $(BIN)/python -m pytest -n 2 --dist loadfile

# Apart from the tests: it makes them take half as long again.
coverage: system $(VENV)/.installed-test
	$(XVFB) $(BIN)/python -m pytest --cov --cov-report=term

wheel: $(VENV)/.installed-test
ifeq ($(shell uname -s),Linux)
	sh scripts/check-wheel.sh $(BIN)/python
endif

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

system:
	@sh scripts/system-libraries.sh

# The stamps are older than these files only after an edit, so a second run installs nothing.
$(VENV)/.installed-gui: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[gui]"
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[gui,test]"
	@touch $@ $(VENV)/.installed-gui

$(BIN)/python:
	@PYTHON="$(PYTHON)" sh scripts/create-venv.sh $(VENV)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage
