# Everything runs in .venv, which `make install` makes. Another interpreter: make PYTHON=python3.12 install
PYTHON ?= python3
VENV ?= .venv
# Tests of servers wait more than they work: more workers than there are cores.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 2 )))
BIN := $(VENV)/bin
CLIENTS ?= .venv-clients
TORCH := torch==2.13.0
# Where another build of torch comes from: TORCH_FLAGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_FLAGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-remote bench lint types format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## make .venv with pinned packages, if it is missing or outdated

# The stamp is newer than what it was made from, so nothing happens until one of them changes.
$(VENV)/.installed: pyproject.toml setup.py constraints.txt $(wildcard src/outthink/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 install"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt $(TORCH_FLAGS) $(TORCH)   # alone, so that its build can be chosen
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

demo: install  ## solve problems on the embedded model, run a small bench, end with a table and a plot
	$(BIN)/outthink demo

test: install lint types  ## what CI runs: lint, types, tests
	# One thread each: those of torch would wait busily for one another.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-remote: install $(CLIENTS)/.installed  ## real servers (llama.cpp, transformers, ours), real clients (lm-eval, inspect-ai, its_hub)
	OUTTHINK_REAL_SERVERS=1 OUTTHINK_CLIENTS=$(abspath $(CLIENTS))/bin $(BIN)/python -m pytest -rs \
		tests/remote/test_real_servers.py tests/remote/test_real_clients.py

# What others wrote, in an environment of its own. Building llama.cpp takes ten minutes.
$(CLIENTS)/.installed: tests/remote/requirements.txt
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install -q $(TORCH_FLAGS) $(TORCH)
	$(CLIENTS)/bin/python -m pip install -q -r tests/remote/requirements.txt
	@touch $@

lint: install  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## mypy
	$(BIN)/mypy

format: install  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## side by side with transformers and llama.cpp, which it builds first: benchmarks/RESULTS.md
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]' \
		|| echo "llama.cpp cannot be built here: its column will be left out"
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:  ## remove caches and .venv; runs/ stays
	rm -rf $(VENV) $(CLIENTS) build dist src/outthink/models/_native*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
