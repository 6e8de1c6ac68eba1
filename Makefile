# `make demo` and `make test` need Python >= 3.11, git and make; everything else comes from uv.lock.
SHELL := /bin/bash
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
READY := .venv/.ready

.PHONY: help demo test test-fast lint bench format clean

help:
	@echo "make demo       draw pictures, train a tiny model, make it safer, compare it with controls"
	@echo "make test       the test suite"
	@echo "make test-fast  its quick part, for every stage"
	@echo "make lint       style and types"
	@echo "make bench      speed and memory, as ratios"
	@echo "make format     put style right"
	@echo "make clean      remove the environment and caches"

demo: $(READY)
	$(RUN) uwm demo

# Where Python may not write beside its sources, each of some hundred child processes would compile them for a second.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

test: $(READY)
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(READY)
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(READY)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

bench: $(READY)
	@$(RUN) python -m tests.benchmarks

format: $(READY)
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

clean:
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache

# Compiled once here, a command starts in half the time where Python may not write beside its sources.
$(READY): uv.lock pyproject.toml | $(UV)
	$(UV) sync --frozen --compile-bytecode
	@touch $@

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv
