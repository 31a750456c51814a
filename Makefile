# `make train` and `make test` do everything from a bare machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-fast test-gpu test-page lint format clean

train: .venv/installed
	$(BIN)/python -m src.train experiment=quickstart

test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu"

test-fast: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not gpu"

# What needs a GPU, and its tables in outputs/gpu.md: minutes. Without a GPU each part says so.
test-gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu -rs tests/gpu
	$(BIN)/python -m scripts.benchmark_gpu --out outputs/gpu.md

# The page in a real browser, which has to be there: apt-get install chromium. Leaves pictures in outputs/page.
test-page: .venv/installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt playwright
	$(BIN)/python -m pytest tests/gallery/page/browser.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv resolves and installs in seconds what takes pip minutes.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv
