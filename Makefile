# The front door. `make demo` and `make test` need only Python 3.11 or later, make, git, gcc and pip.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NODE   := tests/interop/node_modules
PEERS  := benchmarks/peers/node_modules

# PATH: the tests and the demo find `ephemera`, `node` and `npm` of this environment, and no others.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# --no-deps: the lock is the whole answer. Resolving, pip asks for coverage[toml] where the lock says
# coverage, and takes the next release of it for one without a hash.
INSTALL := $(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement
PACKAGES := keys client issuer

.PHONY: help demo test lint types contracts unit bench recount soak endurance hostile faults drill format fuzz lock clean
.DEFAULT_GOAL := help

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp ## Mint a token, call an API with it, see the replay refused
	@$(BIN)/ephemera demo

test: lint types contracts unit ## Everything that CI runs

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/dev.stamp
	$(BIN)/mypy

contracts: $(VENV)/dev.stamp
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/dev.stamp $(NODE)/.stamp $(PEERS)/.stamp
	@# One test for each operation, all of one name: two processes would take them for the same.
	$(BIN)/pytest tests/issuer/test_admin_openapi.py tests/issuer/test_public_openapi.py
	$(BIN)/pytest --numprocesses 2 --dist loadfile --cov --cov-report=term

ROUNDS := 25
bench: $(VENV)/dev.stamp $(PEERS)/.stamp ## Measure all of docs/performance.md in ROUNDS rounds, write it, and fail where a must is missed
	@PYTHONPATH=tests $(BIN)/python -m benchmarks --rounds $(ROUNDS) --into docs

recount: $(VENV)/dev.stamp ## Count anew what one verification and one mint execute
	@PYTHONPATH=tests $(BIN)/python -m system.counting

TOKENS := 1000000
soak: $(VENV)/dev.stamp ## Mint TOKENS tokens on SQLite and on PostgreSQL; their databases must stay as they are
	@cd tests && ../$(BIN)/python -m system.soak $(TOKENS)

endurance: MINUTES := 30
endurance: $(VENV)/dev.stamp ## Keep half of full load up for MINUTES; memory must stay, and metrics and audit agree
	@cd tests && ../$(BIN)/python -m system.endurance $(MINUTES)

MINUTES := 10
hostile: $(VENV)/dev.stamp ## Besiege an issuer for MINUTES, with 10,000 idle connections and worse; it must go on minting
	@cd tests && ../$(BIN)/python -m system.hostile $(MINUTES)

KILLS := 200
faults: $(VENV)/dev.stamp ## Kill KILLS processes inside their transactions; nothing acknowledged may be lost
	@cd tests && ../$(BIN)/python -m system.faults $(KILLS)

DRILLS := 100
drill: $(VENV)/dev.stamp ## Steal and revoke a signing key DRILLS times on each kind of database, and measure
	@cd tests && ../$(BIN)/python -m system.drilling $(DRILLS)

format: $(VENV)/dev.stamp ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

SECONDS := 60
fuzz: $(VENV)/dev.stamp ## Fuzz each target for SECONDS; corpus and findings are kept in .fuzz
	@mkdir -p .fuzz
	cd tests && for target in $$(../$(BIN)/python -c 'from fuzz.targets import TARGETS; print(*TARGETS)'); do \
		../$(BIN)/python -m fuzz.run $$target ../.fuzz/$$target \
			-max_total_time=$(SECONDS) -artifact_prefix=../.fuzz/$$target- || exit 1; \
	done

# Universal resolutions for Python 3.11 and later, read by plain pip.
COMPILE := $(VENV)-lock/bin/uv pip compile - --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --quiet $(foreach p,$(PACKAGES),--no-emit-package ephemera-$(p))

lock: ## Resolve requirements.lock (everything), requirements-run.lock (what runs) and that of the image anew
	test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv; }
	printf './%s\n' $(PACKAGES) './client[django,fastapi,flask,grpc,redis,prometheus,opentelemetry,spiffe]' './issuer[opentelemetry,postgresql,redis]' | $(COMPILE) --upgrade --group pyproject.toml:dev --output-file requirements.lock
	printf './%s\n' $(PACKAGES) | $(COMPILE) --constraint requirements.lock --group pyproject.toml:build --output-file requirements-run.lock
	printf './%s\n' keys './client[redis]' './issuer[opentelemetry,postgresql,redis]' | $(COMPILE) --constraint requirements.lock --output-file deploy/requirements.lock

clean: ## Remove what this file has made
	rm -rf $(VENV) $(VENV)-lock $(NODE) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .coverage

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ephemera needs Python 3.11 or later; make PYTHON=/path/to/python3 names another one")'
	@echo 'making the environment in $(VENV) (once)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements-run.lock $(PACKAGES:%=%/pyproject.toml) | $(VENV)/bin/python
	@$(INSTALL) requirements-run.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(PACKAGES:%=--editable ./%)
	@touch $@

$(VENV)/dev.stamp: requirements.lock $(VENV)/run.stamp
	@$(INSTALL) requirements.lock
	@touch $@

$(NODE)/.stamp: tests/interop/package-lock.json $(VENV)/dev.stamp
	cd tests/interop && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

$(PEERS)/.stamp: benchmarks/peers/package-lock.json $(VENV)/dev.stamp
	cd benchmarks/peers && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@
