# `make round` and `make test` need Python 3.11 or 3.12, pip, git and the package registries; nothing else.
# Another interpreter: make round PYTHON=python3.11     More arguments: make test ARGS="-m 'not e2e' -x"

PYTHON ?= python3
DEVICE ?= auto
ARGS ?=
WORKERS ?= 2
KILLS ?= 200
PORT ?= 4200
QUICK ?=
DATABASE ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help env setup round server worker deploy test chaos bench automation learning lint clean distclean

help:
	@echo "make round      one self-play round of the demo preset; makes both environments first"
	@echo "make server     Prefect's UI with the deployments of prefect.yaml and a worker, on this machine (PORT=4200)"
	@echo "                (DATABASE=postgresql+asyncpg://user:password@host/prefect: there, and not in SQLite)"
	@echo "make worker     one more worker, for the Prefect server of PREFECT_API_URL"
	@echo "make deploy     the deployments of prefect.yaml, at the Prefect server of PREFECT_API_URL; what was changed in the"
	@echo "                UI stays (ARGS=--reset: nothing does; also with make server)"
	@echo "make test       all tests, the real server, model and trainer included"
	@echo "make chaos      KILLS=200 kills of controller, server and trainer at random moments, nothing lost (ARGS=--seed=7)"
	@echo "make bench      all benchmarks into benchmarks/RESULTS.md, medians of three; hours (ARGS='sampler busy --runs 1')"
	@echo "make automation marks runs whose process died as crashed, at the Prefect server of PREFECT_API_URL"
	@echo "make learning   does it learn what it is told? a judge right by rule, controls; 90 minutes (QUICK=1: 15)"
	@echo "make lint       ruff, mypy and the check that imports stay light"
	@echo "make env        the controller's environment only ($(VENV))"
	@echo "make setup      and the runtime environment, for vLLM and OpenRLHF (DEVICE=auto, cpu or cuda)"
	@echo "make clean      caches and build output; make distclean: both environments too"

$(STAMP): pyproject.toml requirements/controller.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "POP needs Python 3.11 or 3.12, and $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -1)." \
	    "Name another: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "making $(VENV), the controller's environment (about a minute) ..." >&2
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --no-input \
	  -c requirements/controller.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

env: $(STAMP)

setup: $(STAMP)
	@$(BIN)/pop setup --device $(DEVICE)

round: setup
	@$(BIN)/pop round demo $(ARGS)

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos.harness --kills $(KILLS) $(ARGS)

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

server: $(STAMP)
	@$(if $(DATABASE),PREFECT_SERVER_DATABASE_CONNECTION_URL='$(DATABASE)') $(BIN)/python -m flows.deploy.server --port $(PORT) $(ARGS)

worker: $(STAMP)
	@test -n "$$PREFECT_API_URL" || { echo "PREFECT_API_URL names no server: http://machine:4200/api" >&2; exit 2; }
	@$(BIN)/python -m flows.deploy.worker

deploy: $(STAMP)
	@$(BIN)/python -m flows.deploy.server --deploy $(ARGS)

automation: $(STAMP)
	@$(BIN)/python -m flows.deploy.automation

learning: setup
	@$(BIN)/python -m benchmarks.learning $(if $(QUICK),--quick) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict flows tasks schemas tests benchmarks
	$(BIN)/python tests/light_imports.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find flows tasks schemas tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) .venv-runtime
