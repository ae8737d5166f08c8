# Works on a fresh machine with Python 3.11+, git and make: each target first installs what it needs into .venv.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
INSTALLED_EXAMPLE := .venv/.installed-example
INSTALLED := .venv/.installed
INSTALLED_DOCS := .venv/.installed-docs
HELLO := examples/hello
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))# most tests wait for processes

# A python3 that is too old is no reason to give up, but a PYTHON that somebody chose is never replaced.
CANDIDATES := $(if $(filter file,$(origin PYTHON)),$(PYTHON) python3.14 python3.13 python3.12 python3.11,$(PYTHON))

.PHONY: help watch test lint docs pictures bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

# exec, so that a SIGTERM reaches hotpipe; and Ctrl-C (130) is not an error that make should tell.
watch: $(INSTALLED_EXAMPLE) ## run hotpipe on examples/hello: http://127.0.0.1:8000
	@exec $(BIN)/python -c 'import sys; from hotpipe import cli; sys.argv = ["hotpipe", "watch"]; sys.exit(cli.run() % 130)'

test: $(INSTALLED) ## run the whole test suite, and the example's
	@$(BIN)/python -m compileall -q hotpipe # each of thousands of starts would else compile it, where PYTHONDONTWRITEBYTECODE is set
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile
	$(BIN)/pytest $(HELLO)

lint: $(INSTALLED) ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy hotpipe
	$(BIN)/mypy $(HELLO)
	$(BIN)/lint-imports

docs: $(INSTALLED_DOCS) ## write the reference pages, and make build/docs/index.html of docs/; a dead link is an error
	$(BIN)/python docs/reference.py
	$(BIN)/sphinx-build --nitpicky --fail-on-warning --keep-going --quiet --fresh-env docs build/docs

pictures: $(INSTALLED) ## take the pictures in docs/images anew; needs tmux, dash, curl and chromium
	$(BIN)/python bench/screenshots.py
	$(BIN)/python bench/pictures.py

bench: $(INSTALLED) ## measure: from save to stage, trees of 100,000 files, the gate, and a hundred restarts of each server under load
	$(BIN)/python bench/save_latency.py
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/gate.py --markdown docs/gate.md
	$(BIN)/python bench/restart.py --plot docs/restart.png --markdown docs/restart.md

clean: ## remove .venv, caches and what hotpipe left
	rm -rf .venv .hotpipe .trigger* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A quarter of what the tests need: whoever only wants to look shall not wait for a browser's driver.
$(INSTALLED_EXAMPLE): pyproject.toml constraints.txt
	@new='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if $(BIN)/python -c "$$new" 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	for python in $(CANDIDATES); do \
	  "$$python" -c "$$new" 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo 'hotpipe needs Python 3.11 or later, and none of these is: $(CANDIDATES)' >&2; \
	  echo 'Name one that is: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)' >&2; \
	  exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$python cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv" >&2; \
	  "$$python" -c 'import sys; print("(for a python other than the default one: python3.%d-venv)" % sys.version_info[1])' >&2; \
	  exit 1; \
	fi; \
	echo "Making .venv with $$python"; \
	"$$python" -m venv --clear .venv
	@echo 'Installing hotpipe and what its example is checked with into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[example,web]' --constraint constraints.txt
	@touch $@

$(INSTALLED): $(INSTALLED_EXAMPLE)
	@echo 'Installing what the tests need into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,web]' --constraint constraints.txt
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	@echo 'Installing what makes the documentation into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]' --constraint constraints.txt
	@touch $@
