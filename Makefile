# One command each for what a newcomer wants. Needs make and Python 3.11 or newer; everything else goes into .venv.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
# leave room for options: make run ARGS="--help"; make test ARGS="-k ledger -x"
ARGS ?=
# tests at a time; 0 is one by one in this process, for a debugger
JOBS ?= 2
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# trust what this system trusts (a company's own certificates too); no bytecode from a half-finished install
UV := UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=$(VENV) $(BIN)/uv
# zone names resolve by the pinned tzdata package, never by this machine's copy
export PYTHONTZPATH :=

.PHONY: help install run test torture bench check lock wheel clean

help: ## show this list
	@echo "signaged: make TARGET [ARGS=\"...\"]"
	@sed -n 's/^\([a-z]*\):.*## /  \1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-10s %s\n", $$1, $$2 }'

install: $(READY) ## build the environment in .venv (the others do it by themselves)

run: $(READY) ## start everything here: database, Kafka, mail, daemon, screens (ctrl-C ends all)
	@exec $(BIN)/signaged dev $(ARGS)

test: $(READY) ## run the tests
	@exec $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

torture: $(READY) ## run the long tests: kills, faults, models (about half an hour; one: ARGS="-k two_hundred")
	@exec $(BIN)/python -m pytest -m torture $(ARGS)

bench: $(READY) ## measure; the results go into BENCHMARKS.md
	@exec $(BIN)/python tests/bench/run.py $(ARGS)

check: $(READY) ## lint, types and import directions
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(READY) ## resolve pyproject.toml anew into requirements.lock (UPGRADE=1 takes newer versions)
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --all-extras --no-emit-index-url \
		--no-emit-find-links --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) -q -o requirements.lock

wheel: $(READY) ## build the wheel into dist/
	@$(BIN)/python -m hatchling build --target wheel

clean: ## remove the environment, caches and the state of earlier runs
	rm -rf $(VENV) .signaged dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv itself comes by pip, at the version and with the hashes that the lock names
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "signaged needs Python 3.11 or newer: none of python3, python3.11 ... is. Set PYTHON=/path/to/python3" >&2; exit 69; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		v=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "$(PYTHON) lacks venv or ensurepip; on Debian and Ubuntu: apt-get install python$$v-venv" >&2; exit 69; }
	@echo "[1/4] $(VENV): a virtual environment of $(PYTHON)"
	@$(BIN)/uv --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "[2/4] uv, the installer"
	@$(BIN)/uv --version >/dev/null 2>&1 || { \
		awk '/^[a-z]/ { on = /^uv==/ } on' requirements.lock > $(VENV)/uv.lock && \
		$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --require-hashes -r $(VENV)/uv.lock; }
	@echo "[3/4] the packages of requirements.lock (about 650 MB unpacked; a minute at most on a usual line)"
	@$(UV) pip sync --require-hashes requirements.lock
	@echo "[4/4] signaged itself"
	@$(UV) pip install -q --no-deps --no-build-isolation --editable .
	@touch $@
