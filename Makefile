# A bare machine with Python >= 3.11 needs nothing else: `make demo` and `make test` set everything up first.
PYTHON ?=
MODALITY ?= vision
ARGS ?=
JOBS ?= 2
BIN := .venv/bin
export PYTHON
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: install test lint demo bench lock clean distclean
.DEFAULT_GOAL := install

install: .venv/installed  ## .venv with the locked packages and this checkout
	@:

.venv/installed: requirements.lock pyproject.toml .ci/install
	@bash .ci/install

test: install  ## the fast tests in JOBS processes; ARGS="-m slow tests/core" for others
	@$(BIN)/python -m pytest -q -rfE --durations=10 -n $(JOBS) --dist worksteal $(ARGS)

# The line in mmunlearn/__init__.py that finds the siblings is invisible to a type checker, so it reads a built wheel.
lint: install  ## ruff, and mypy on the wheel
	@$(BIN)/ruff check .
	@rm -rf build && mkdir -p build/lint
	@$(BIN)/python -m build --wheel --no-isolation --outdir build/lint . > build/lint/build.log 2>&1 \
	    || { cat build/lint/build.log; exit 1; }
	@$(BIN)/python -m zipfile -e build/lint/*.whl build/lint/wheel
	@MYPYPATH=build/lint/wheel $(BIN)/mypy --python-executable $(BIN)/python -p mmunlearn | sed 's|^build/lint/wheel/||'

demo: install  ## one benchmark from data to table; MODALITY=vision|vlm|diffusion|all
	@$(BIN)/mmunlearn demo $(MODALITY) $(ARGS)

bench: install  ## every speed claim: both sides in one process, a ratio each
	@for script in tests/bench/*.py; do echo "== $$script"; $(BIN)/python $$script; done

lock:  ## requirements.lock from pyproject.toml; ARGS=--upgrade for newer versions
	@bash .ci/install lock $(ARGS)

clean:  ## build outputs and caches; .venv stays
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean  ## everything that make built
	@rm -rf .venv .uv
