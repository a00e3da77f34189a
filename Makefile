# `make demo` and `make test` each do the set-up that they need: on a fresh Debian machine, Python 3.11+, git and make are enough.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
QUICKSTART := audits/quickstart
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# On Linux, PyPI's torch brings gigabytes of CUDA along; PyTorch's own index has the CPU build of the same version.
CPU_TORCH := https://download.pytorch.org/whl/cpu
define prefer_cpu_torch
if $(BIN)/python -c 'from pip._vendor import requests; requests.get("$(CPU_TORCH)/torch/", timeout=5).raise_for_status()' \
  2>/dev/null; then export PIP_EXTRA_INDEX_URL="$${PIP_EXTRA_INDEX_URL:-} $(CPU_TORCH)"; fi
endef

# $(call audit,FILE,EXIT CODE): run an audit and insist on the exit code that its README predicts.
define audit
echo "harness audit $(1)"; code=0; $(BIN)/harness audit $(1) || code=$$?; \
if [[ $$code -ne $(2) ]]; then echo "$(1): exit code $$code, but its README predicts $(2)" >&2; exit 1; fi
endef

.PHONY: help demo test acceptance lint types schemas clean system browser

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

demo: $(BIN)/harness ## Run both quickstart audits and say where their dossiers are
	$(BIN)/python -m harness.phantoms $(QUICKSTART)/data
	@$(call audit,$(QUICKSTART)/model.yaml,0)
	@$(call audit,$(QUICKSTART)/copying.yaml,1)
	@echo; echo "Both audits ended as $(QUICKSTART)/README.md predicts. Their dossiers:"
	@find $(QUICKSTART) -name '*.pdf' | sort | grep .

test: $(BIN)/tox | browser ## Lint, types, and the tests on the built wheel
	@$(prefer_cpu_torch); $(BIN)/tox run

acceptance: $(BIN)/tox | browser ## The tests that take minutes
	@$(prefer_cpu_torch); $(BIN)/tox run -e acceptance

lint: $(BIN)/tox ## ruff: rules and format
	@$(BIN)/tox exec -e static -- ruff check .
	@$(BIN)/tox exec -e static -- ruff format --check .

types: $(BIN)/tox ## mypy
	@$(BIN)/tox exec -e static -- mypy

schemas: $(BIN)/harness ## Write the JSON Schemas, the data dictionary and the pages of metrics, extractors and perturbations
	$(BIN)/harness schema > .schemas.new && mv .schemas.new schemas/audit.schema.json
	$(BIN)/harness schema ratings > .schemas.new && mv .schemas.new schemas/ratings.schema.json
	$(BIN)/python -m harness.dictionary > .schemas.new && mv .schemas.new schemas/README.md
	$(BIN)/python -m harness.manual metric > .schemas.new && mv .schemas.new plugins/metrics/README.md
	$(BIN)/python -m harness.manual extractor > .schemas.new && mv .schemas.new plugins/extractors/README.md
	$(BIN)/python -m harness.manual perturbation > .schemas.new && mv .schemas.new plugins/perturbations/README.md

clean: ## Remove environments, builds and results
	rm -rf .venv .tox build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(QUICKSTART)/data $(QUICKSTART)/out

$(BIN)/python: | system
	$(PYTHON) -m venv .venv

$(BIN)/harness: pyproject.toml constraints.txt | $(BIN)/python
	@$(prefer_cpu_torch); PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --no-compile --editable .
	@touch $@

$(BIN)/tox: constraints.txt | $(BIN)/python
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet tox
	@touch $@

# WeasyPrint draws the dossier with Pango, which pip cannot install; Debian also keeps venv in a package of its own.
PANGO := "libgobject-2.0.so.0", "libpango-1.0.so.0", "libpangoft2-1.0.so.0", "libharfbuzz.so.0", "libfontconfig.so.1"
system:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }; \
	packages=(); \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv); \
	$(PYTHON) -c 'import ctypes; [ctypes.CDLL(name) for name in ($(PANGO))]' 2>/dev/null \
	  || packages+=(libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core); \
	if [[ $${#packages[@]} -eq 0 ]]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	  echo "Missing: Pango and HarfBuzz (or Python's venv). Install your system's packages for: $${packages[*]}" >&2; exit 2; \
	fi; \
	root=(); \
	if [[ $$EUID -ne 0 ]]; then \
	  echo "sudo is asked once, to install what draws the PDF (and python3-venv where absent): $${packages[*]}"; root=(sudo); \
	fi; \
	"$${root[@]}" apt-get update -qq; \
	"$${root[@]}" apt-get install -y -qq --no-install-recommends "$${packages[@]}"

# The pages that readers answer are tested in a real browser. Where there is none and none can be installed, those tests are skipped.
browser:
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then exit 0; fi >/dev/null; \
	if ! command -v apt-get >/dev/null; then echo "No Chromium: the tests of readers' pages will be skipped." >&2; exit 0; fi; \
	root=(); if [[ $$EUID -ne 0 ]]; then echo "sudo is asked once, to install Chromium for the tests of readers' pages"; root=(sudo); fi; \
	"$${root[@]}" apt-get update -qq; "$${root[@]}" apt-get install -y -qq --no-install-recommends chromium
