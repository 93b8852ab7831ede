# Needs Python 3.11 or newer and make; everything else goes into .venv. Which Python: make PYTHON=python3.12 ...
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced
BENCH := .venv-bench
CLIENTS := clients clients-niquests
# More arguments for pytest: make test ARGS="-k commits -x"
ARGS ?=
# How many processes share the tests, each with brokers of its own: most tests wait, for a broker or for time to pass. 0: this one alone,
# as a debugger wants it.
WORKERS ?= 6
# One test at a time to whoever is free: the long ones come first (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxschedchunk 1
# Which RabbitMQ: make test-matrix VERSIONS=4.3
VERSIONS ?= 3.10 4.0 4.3
# What it has a part in; the scenarios are played on other brokers, too.
OF_RABBITMQ := tests/brokers/rabbitmq tests/integration/rabbitmq tests/scenarios -k rabbitmq

# The Python that was asked for, and the Node.js from the pyright[nodejs] wheel: the same on every machine, and nothing fetched aside.
export UV_PYTHON_DOWNLOADS := never
export PYRIGHT_PYTHON_GLOBAL_NODE := 0

.PHONY: help setup test test-faults test-clients test-matrix check format coverage mutation demo bench clean

help:
	@echo "make test      run the tests; says what it skipped, why, and what would change that"
	@echo "make test-faults  every fault in every state of the circuit, on real brokers"
	@echo "make test-clients  what the failures of real clients are taken for, on sockets that refuse, drop, hang and answer"
	@echo "make test-matrix  what RabbitMQ has a part in, on 3.10, 4.0 and 4.3"
	@echo "make check     ruff, mypy, pyright, import contracts"
	@echo "make format    let ruff mend what it can"
	@echo "make coverage  branches of core and flow that their own tests miss"
	@echo "make mutation  changes of core and flow that no test notices; half an hour on one core"
	@echo "make demo      an outage and a recovery in the terminal"
	@echo "make bench     the tables of docs/reference/benchmarks.md"
	@echo "make clean     remove .venv and caches"

setup: $(SYNCED)

# pip brings uv, uv brings what uv.lock says. --inexact leaves uv itself in place.
$(SYNCED): uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "holdgate needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv sync --quiet --frozen --inexact --all-extras --group dev
	@touch $@

# The table of faults has a target of its own; a few of its cells are here (test_quick.py).
test: $(SYNCED)
	$(PYTEST) --ignore=tests/faults/test_matrix.py --ignore=tests/faults/test_checker.py $(ARGS)

# Its cells run side by side without pytest-xdist: they share brokers.
test-faults: $(SYNCED)
	$(PYTEST) -n 0 tests/faults --ignore=tests/faults/test_quick.py $(ARGS)

# An environment for each group of clients that can live together.
$(CLIENTS:%=.venv-%/.synced): .venv-%/.synced: $(SYNCED)
	UV_PROJECT_ENVIRONMENT=.venv-$* $(BIN)/uv sync --quiet --frozen --all-extras --no-default-groups --group $*
	@touch $@

test-clients: $(CLIENTS:%=.venv-%/.synced)
	@for group in $(CLIENTS); do \
		echo "== $$group"; \
		.venv-$$group/bin/python -m pytest tests/clients $(ARGS) || exit 1; \
	done

test-matrix: $(SYNCED)
	@for version in $(VERSIONS); do \
		echo "== RabbitMQ $$version"; \
		HOLDGATE_TEST_RABBITMQ_VERSION=$$version $(PYTEST) $(OF_RABBITMQ) $(ARGS) || exit 1; \
	done

check: $(SYNCED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

format: $(SYNCED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(SYNCED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q tests/core tests/flow
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='src/holdgate/core/*,src/holdgate/flow/*' --fail-under=100

mutation: $(SYNCED)
	nice -n 19 $(BIN)/python -m tests.mutation; code=$$?; $(BIN)/python -m docs.generate; exit $$code

demo: $(SYNCED)
	@$(BIN)/python -m holdgate demo

# The figures' own environment: what they are compared with is no part of the tests'.
$(BENCH)/.synced: $(SYNCED)
	UV_PROJECT_ENVIRONMENT=$(BENCH) $(BIN)/uv sync --quiet --frozen --all-extras --no-default-groups --group bench
	@touch $@

# One after the other, and one that cannot run here (no Java for Kafka, say) does not keep the rest from it.
bench: $(BENCH)/.synced
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH) $(CLIENTS:%=.venv-%) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* dist
