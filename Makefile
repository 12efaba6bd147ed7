# Every target works in a fresh clone by itself. Needs Python 3.11 or newer, as python3 or PYTHON=...
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-all test-reliability coverage mutants fuzz bench docs check format clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "debft needs Python 3.11 or newer; make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "setting up $(VENV), about a minute after the downloads"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: setup
	rm -rf runs/demo
	$(BIN)/debft mnli --data demo --recipe mnli/quick --output runs/demo

# One thread for each worker: models this small are slower with two. What is compiled is kept, also where the shell says otherwise:
# compiling the tests takes longer than collecting them.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q --numprocesses auto --dist worksteal

test: setup
	$(PYTEST)

test-all: setup
	$(PYTEST) -m 'not gpu and not hub'

# Each part by itself (PART=kills) takes up to an hour on two cores; an interrupted run goes on. MINUTES ends it earlier.
JOBS ?= 2
test-reliability: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/run.py $(PART) --jobs $(JOBS) $(if $(MINUTES),--minutes $(MINUTES))

# Bytes that a reader answers with a traceback are kept in build/fuzz, and what was tried there for the next time.
SECONDS ?= 60
fuzz: setup
	$(BIN)/python -m pip install --quiet "atheris>=3"
	OMP_NUM_THREADS=1 $(BIN)/python tests/reliability/guided.py -max_total_time=$(SECONDS)

# The branches of what saves a run and ends it, by the tests of these modules within one process: fails under 100 %.
COVERED := tests/runs/test_changes_in_words.py tests/runs/test_checkpoint.py tests/runs/test_checkpoint_words.py \
  tests/runs/test_digested.py tests/runs/test_removal.py tests/runs/test_result.py tests/runs/test_seal.py \
  tests/runs/test_storage.py tests/runtime/test_arrivals.py tests/runtime/test_group.py tests/runtime/test_heartbeat.py \
  tests/runtime/test_interface.py tests/runtime/test_lifeline.py tests/runtime/test_local.py tests/runtime/test_machines.py \
  tests/runtime/test_started.py tests/runtime/test_stop_requests.py tests/training/test_resuming.py \
  tests/training/test_saving.py
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

coverage: setup
	$(PIP) coverage
	@mkdir -p build
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -q -p no:xdist -k 'not kill_at_any_moment' $(COVERED)
	$(BIN)/python -m coverage report

# Which of mutmut's changes to the same modules no test notices; MODULES=debft/runs/seal.py takes half a minute, all half an hour.
mutants: setup
	$(PIP) mutmut
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py --jobs $(JOBS) $(MODULES)

# About 20 minutes on two cores with 20 GiB of memory and nothing beside it; ROWS=mnli-xsmall takes four. DATA has the benchmarks' files.
DATA ?= ../shared/data
bench: setup
	$(BIN)/python benchmarks/speed.py --data $(DATA) $(if $(ROWS),--rows $(ROWS),--growth --results benchmarks/RESULTS.md)

# The site, in build/site; every link, anchor and picture is checked, and a warning ends it.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/mkdocs.yml
	@echo "build/site/index.html"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs build dist
