# make demo    environment, install, and the main job: train, evaluate and show a small model
# make test    environment, install, and the tests
# make lint    ruff and mypy
# make docs    the documentation site, in site/
# make clean   removes the environment and everything built
#
# Choices, each on the command line, and each time:
#   PYTHON=python3.12                                  the Python that makes the environment (3.11 or newer; make clean first)
#   TORCH=torch==2.14.0                                another torch than constraints.txt pins
#   TORCH="torch==2.14.0 --index-url URL"              ... from another index, such as a CUDA build's
#   DEMO="--epochs 2"                                  arguments of `regard demo`
#   PYTEST="tests/contracts -x"                        arguments of pytest, in place of those below
#   REGARD_NATIVE=off                                  no C++ kernels (auto: where they can be built; require: or fail)
# pip's own variables and configuration apply as always.

PYTHON ?= python3
TORCH  ?= $(shell sed -n '/^torch==/p' constraints.txt)
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?=
# Tests compute on one thread each, so that as many files run at once as there are cores; in the order of
# tests/conftest.py, where files that take minutes come first.
PYTEST ?= --numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

# Where there is a compiler the tests want its kernels: a broken one must not pass as an installation without.
test $(VENV)/.installed-test: export REGARD_NATIVE ?= $(shell command -v c++ >/dev/null && echo require || echo auto)

.PHONY: demo test lint docs clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

demo: $(VENV)/.installed-tasks
	$(BIN)/regard demo $(DEMO)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis

# One stamp for each extra of pyproject.toml: nothing is installed twice until pyproject.toml, constraints.txt, TORCH
# or the kernels' sources change.
$(VENV)/.installed-%: $(VENV)/constraints.txt pyproject.toml CMakeLists.txt $(shell find csrc -type f)
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt --editable ".[$*]"
	@touch $@

# torch goes in by a step of its own, so that TORCH may name any build; the constraints of the later steps then hold
# the version that came.
$(VENV)/constraints.txt: $(VENV)/torch constraints.txt
	$(BIN)/python -m pip install $(TORCH)
	@sed '/^torch==/d' constraints.txt > $@
	@$(BIN)/python -m pip list --format=freeze | grep '^torch==' >> $@

# Rewritten only when TORCH differs from last time.
$(VENV)/torch: $(BIN)/python FORCE
	@echo '$(TORCH)' | cmp -s - $@ || echo '$(TORCH)' > $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Regard needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name another: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

.PHONY: FORCE
FORCE:
