# `make demo`, `make demo-nuclei`, `make demo-prototypes` and `make test` need Python 3.11 to 3.13 and nothing else.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE
DEMO := resources/cache/demo/.complete
DEMO_NUCLEI := resources/cache/demo_nuclei/.complete

# Quiet about rules, Snakemake is quiet about what went wrong in them, too.
STARTED := resources/cache/.started
define run
	@touch $(STARTED)
	@echo "snakemake --configfile $(1) --quiet rules"
	@$(BIN)/snakemake --configfile $(1) --quiet rules || { find logs -name '*.log' -newer $(STARTED) \
		-exec sed -n -e '/^spadework stopped at/,$$p' -e '/^Traceback/,$$p' {} ';' >&2 2>/dev/null; exit 1; }
endef

.PHONY: demo demo-nuclei demo-prototypes test lint setup lock clean

demo: setup $(DEMO)
	$(call run,config/demo.yaml)
	@PYTHONPATH=scripts $(BIN)/python -m spadework.tour results/demo

demo-nuclei: setup $(DEMO_NUCLEI)
	$(call run,config/demo_nuclei.yaml)
	@PYTHONPATH=scripts $(BIN)/python -m spadework.tour results/demo_nuclei

demo-prototypes: setup $(DEMO)
	$(call run,config/demo_prototypes.yaml)
	@PYTHONPATH=scripts $(BIN)/python -m spadework.tour results/demo_prototypes

test: setup lint
	$(BIN)/python -m pytest

# The workflow refuses samples that are not there, in a lint too: so the demo section comes first.
lint: setup $(DEMO)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakemake --configfile config/demo.yaml --lint

$(DEMO): $(wildcard scripts/spadework/simulation/*.py) | .venv/.complete
	PYTHONPATH=scripts $(BIN)/python -m spadework.simulation resources/cache/demo --seed 1
	touch $@

# One section to train on, and another to look at.
$(DEMO_NUCLEI): $(wildcard scripts/spadework/simulation/*.py) | .venv/.complete
	PYTHONPATH=scripts $(BIN)/python -m spadework.simulation $(@D)/training --seed 1 --um-per-px 0.5 \
		--spot-rows 12 --spot-columns 8 --nuclei
	PYTHONPATH=scripts $(BIN)/python -m spadework.simulation $(@D)/section --seed 2 --um-per-px 0.5 \
		--spot-rows 20 --spot-columns 14
	touch $@

setup: .venv/.complete

# Hash-pinned and complete: nothing is resolved anew (older pips reject pins with extras once newer versions are out).
# Bytecode is compiled now, once, instead of at every start (imports are three to five times faster).
.venv/.complete: requirements.lock
	@test -n "$(PYTHON)" || { echo "spadework needs Python 3.11, 3.12 or 3.13; found: $$(python3 --version 2>&1)." \
		"Install one, or name it: make demo PYTHON=/path/to/python3.12"; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	@echo "Installing about 200 packages into .venv (3 GB on disk, two to three minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	touch $@

lock:
	uv pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
		--no-annotate --no-strip-extras requirements.in -o requirements.lock

clean:
	rm -rf results logs benchmarks .snakemake
