# Everything a newcomer or CI needs; `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE ?= devchain
DATA ?= .data/$(NODE)
EXAMPLE_devchain := examples/quickstart
EXAMPLE_litecoind := examples/litecoin-regtest
TEST_FLAGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# pip installs what the lock files name, hash by hash; the project itself is
# linked into the environment, so an edit needs no new install.
$(VENV)/run.stamp: requirements/embedded.txt requirements/build.txt pyproject.toml
	$(PYTHON) tools/check_python.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/embedded.txt -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: install
install: $(VENV)/run.stamp ## Make the virtual environment with what the pool needs

.PHONY: install-dev
install-dev: $(VENV)/dev.stamp ## The same with what the tests need

.PHONY: run
run: $(VENV)/run.stamp ## Start the example pool (NODE=devchain or NODE=litecoind, DATA=directory)
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/run_example.sh "$(NODE)" "$(DATA)"

.PHONY: test
test: $(VENV)/dev.stamp ## Every tier that this machine can run, then what was left out and why
	$(BIN)/python tools/run_tests.py $(TEST_FLAGS)

.PHONY: gate
gate: $(VENV)/dev.stamp ## Only the gate tier
	$(BIN)/python tools/run_tests.py --tier gate $(TEST_FLAGS)

.PHONY: proof
proof: $(VENV)/dev.stamp ## The long campaigns, on demand
	$(BIN)/python tools/run_tests.py --tier proof $(TEST_FLAGS)

.PHONY: bed
bed: $(VENV)/dev.stamp ## Start the Kubernetes test bed (root), and say what to type next
	@$(BIN)/python -m tests.e2e.bed up

.PHONY: bed-down
bed-down: $(VENV)/dev.stamp ## Remove the test bed, also after a crash
	@$(BIN)/python -m tests.e2e.bed down

.PHONY: lint
lint: $(VENV)/dev.stamp ## Style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: generate
generate: $(VENV)/dev.stamp ## Write the generated files: contracts, CRDs, field tables
	$(BIN)/python tools/protos.py
	$(BIN)/python tools/manifests.py

.PHONY: lock
lock: $(VENV)/dev.stamp ## Resolve the dependencies anew
	$(BIN)/python tools/lock.py

.PHONY: clean
clean: ## Remove the virtual environment and the example pools' data
	rm -rf $(VENV) .data
