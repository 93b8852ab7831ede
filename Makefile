# Needs Python 3.11 or newer and make; everything else goes into .venv. Which Python: make PYTHON=python3.12 ...
# and with an environment of its own: make test PYTHON=python3.12 VENV=.venv-3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced
REWRITTEN := $(VENV)/.rewritten
BENCH := .venv-bench
CLIENTS := clients clients-niquests
FRAMEWORKS := .venv-frameworks
EAGER := .venv-eager-$(notdir $(PYTHON))
# More arguments for pytest: make test ARGS="-k commits -x"
ARGS ?=
# How many processes share the tests: most tests wait, for a broker or for time to pass. 0: this one alone,
# as a debugger wants it.
WORKERS ?= 6
# The long ones come first, and each broker runs in a few of the processes (tests/conftest.py, tests/sharing.py).
PYTEST = $(BIN)/python -m pytest -n $(WORKERS)
# What is so long that a part of it is in these: ten thousand messages and not a hundred thousand, one minute of outage and not ten. What
# happens to the innocent once in a hundred thousand times is shown of thousands (test_the_innocent_stay).
OF_LONG := tests/integration/kafka/test_volume.py tests/integration/rabbitmq/test_outage.py tests/fleet/test_world.py tests/flow/test_blame.py \
	tests/lab/fleet/test_explore.py
INNOCENT := tests/flow/test_blame.py::test_at_most_one_innocent_in_a_hundred_thousand
# The table of faults has a target of its own; a few of its cells are here (test_quick.py). So has the wheel.
TESTS := --ignore=tests/faults/test_matrix.py --ignore=tests/faults/test_checker.py --ignore=tests/packaging --ignore=tests/frameworks \
	--ignore=tests/integration/kafka/test_fleet_faults.py --ignore=tests/integration/kafka/test_fleet_logs.py \
	--ignore=tests/integration/kafka/test_fleet_chaos.py --deselect=$(INNOCENT)
# How often and where: make test-repeat RUNS=3 SETTINGS="slow stressed" ARGS=tests/integration
RUNS ?= 10
SETTINGS ?=
# Which RabbitMQ and which Kafka: make test-matrix VERSIONS=4.3 KAFKA_VERSIONS=4.4, make test-matrix VERSIONS= for Kafka alone
VERSIONS ?= 3.10 4.0 4.3
KAFKA_VERSIONS ?= 4.1 4.4
# What they have a part in; the scenarios are played on other brokers, too.
OF_RABBITMQ := tests/brokers/rabbitmq tests/integration/rabbitmq tests/scenarios -k rabbitmq
OF_KAFKA := tests/brokers/kafka tests/brokers/share tests/integration/kafka tests/integration/share tests/scenarios tests/examples/test_share_on_kafka.py -k kafka
# What knows no client: not who joins with aiokafka, nor that a blocked loop is out of its group.
WITH_ANY_CLIENT := batches blocked dead_letters ends hold mixed_needs needs orders outage threads
# Which CPythons, of those that are here: make test-pythons PYTHONS=3.13
PYTHONS ?= 3.11 3.12 3.13 3.14
# What has no part in any of them but Python's own.
OF_PYTHON := tests/core tests/flow tests/runtime
# What makes tasks: core and flow have no event loop.
OF_EAGER := tests/runtime tests/testing
# What the oldest and the newest clients have a part in.
OF_CLIENTS := tests/brokers tests/control tests/integration tests/scenarios tests/cli tests/lab/demo
# An environment of what a user may have: the extras with code, at `lowest-direct` or `highest` of what pyproject.toml allows.
LOWEST := .venv-lowest
NEWEST := .venv-newest

# The Python that was asked for, and the Node.js from the pyright[nodejs] wheel: the same on every machine, and nothing fetched aside.
export UV_PYTHON_DOWNLOADS := never
export PYRIGHT_PYTHON_GLOBAL_NODE := 0

# A machine on which Python writes no compiled files (containers say so) would compile all of them in each process of the tests, those of the
# clients and pytest's own included: a third of the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup test test-faults test-confluent test-fleet test-fleet-worlds test-long test-frameworks test-clients test-clients-outage test-share-outage test-matrix test-lowest test-newest test-pythons test-python test-wheel test-eager test-repeat
.PHONY: check check-ruff check-mypy check-pyright check-imports docs format coverage mutation demo bench trace clean

help:
	@echo "make test      run the tests; says what it skipped, why, and what would change that"
	@echo "make test-faults  every fault in every state of the circuit, on real brokers"
	@echo "make test-confluent  all scenarios and long outages on Kafka through confluent-kafka; test has a part of them"
	@echo "make test-fleet  workers of a fleet that are killed and stand still, and logs that are frozen, killed, wiped and cut off, one by one and in any order; a quarter of an hour"
	@echo "make test-frameworks  workers of dramatiq, arq and others through an outage, on real brokers"
	@echo "make test-fleet-worlds  fleets that share a log, with everything that can happen to it, in simulated time"
	@echo "make test-long  a hundred thousand messages on each broker and in simulated time, and fleets in ten minutes of outage; make test has a part"
	@echo "make test-clients  what the failures of real clients are taken for, on sockets that refuse, drop, hang and answer"
	@echo "make test-clients-outage  two minutes of outage for all of them at once, in memory, on Kafka and on RabbitMQ"
	@echo "make test-share-outage  ten minutes of outage on a share group of Kafka 4.4"
	@echo "make test-matrix  what a broker has a part in, on RabbitMQ 3.10, 4.0, 4.3 and Kafka 4.1, 4.4"
	@echo "make test-lowest  what a client has a part in, with the oldest ones that pyproject.toml allows; test-newest: with the newest"
	@echo "make test-pythons  core, flow and runtime on each CPython from 3.11 on that is here"
	@echo "make test-eager   runtime and testing with asyncio.eager_task_factory; make PYTHON=python3.12 test-eager"
	@echo "make test-wheel  build the wheel and try it in clean environments"
	@echo "make test-repeat  the tests ten times in each setting that finds races: few processes, many, a busy machine, slow workers, stops"
	@echo "make check     ruff, mypy, pyright, import contracts"
	@echo "make docs      the site of the documentation, in build/site, without a network; checks its links"
	@echo "make format    let ruff mend what it can"
	@echo "make coverage  branches of core, flow and fleet that their own tests miss"
	@echo "make mutation  changes of core and flow that no test notices; half an hour of one core"
	@echo "make demo      an outage and a recovery in the terminal; ARGS=--page: and in the browser"
	@echo "make bench     the tables of docs/reference/benchmarks.md"
	@echo "make trace     how many files run for a good message, a failing one and an outage; ARGS=--files names them"
	@echo "make clean     remove .venv, its siblings and caches"

setup: $(SYNCED) $(REWRITTEN)

# pip brings uv, uv brings what uv.lock says. --inexact leaves uv itself in place.
$(SYNCED): uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "holdgate needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --frozen --inexact --all-extras --group dev
	@touch $@

# Once for an environment: each of the processes would otherwise compile all test files for itself. A file that does not compile fails in
# the run, with its name.
$(REWRITTEN): $(SYNCED)
	-@$(BIN)/python -m pytest --collect-only -q -p no:cacheprovider tests >/dev/null
	@touch $@

test: $(SYNCED) $(REWRITTEN)
	$(PYTEST) $(TESTS) $(ARGS)

# Its cells run side by side without pytest-xdist: they share brokers.
test-faults: $(SYNCED)
	$(PYTEST) -n 0 tests/faults --ignore=tests/faults/test_quick.py $(ARGS)

# Ten minutes. The fault runs of aiokafka that know nothing of its own are made with workers of confluent-kafka, too.
test-confluent: $(SYNCED)
	HOLDGATE_TEST_CONFLUENT=1 $(PYTEST) tests/brokers/confluent tests/scenarios tests/integration/kafka/test_confluent.py -k confluent $(ARGS)
	HOLDGATE_TEST_KAFKA_CLIENT=cooperative $(PYTEST) $(WITH_ANY_CLIENT:%=tests/integration/kafka/test_%.py) $(ARGS)

# One process: workers of six processes each have the two cores. -s shows the failed calls with a fleet and without, and what handlers
# wait for while the log is frozen. HOLDGATE_TEST_FLEET_CHAOS=20: so many rounds of anything in any order, and not four.
test-fleet: $(SYNCED)
	$(PYTEST) -n 0 -s tests/integration/kafka/test_fleet_faults.py tests/integration/kafka/test_fleet_logs.py \
		tests/integration/kafka/test_fleet_chaos.py $(ARGS)

# Their workers have this environment, and the tests their own. One process: they share brokers, and look at the processor's time.
$(FRAMEWORKS)/.synced: tests/frameworks/requirements.txt $(SYNCED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip install --quiet --python $(@D) --requirement tests/frameworks/requirements.txt --editable '.[kafka,rabbitmq,web]'
	@touch $@

# Some of it in two processes: make test-frameworks ARGS="-n 2 -m 'not slow'", a minute, which CI does.
test-frameworks: $(FRAMEWORKS)/.synced
	$(PYTEST) -n 0 tests/frameworks $(ARGS)

# Fleets that share a log, in simulated time: every named world with three seeds, and a hundred random ones; some minutes of one core.
test-fleet-worlds: $(SYNCED)
	$(BIN)/python -m holdgate_lab.together $(ARGS)

# Four minutes of two cores: the whole of what make test has a part of.
test-long: WORKERS := 3
test-long: $(SYNCED)
	HOLDGATE_TEST_LONG=1 $(PYTEST) $(OF_LONG) -k 'very_many or ten_minutes or hundred_thousand or fifty_seeds or caught_failure' $(ARGS)

# Stops at no failure: what counts is which tests fail how often. Not in CI: fifty runs take hours.
test-repeat: $(SYNCED)
	$(BIN)/python -m tests.repeat --runs $(RUNS) $(SETTINGS:%=--setting %) -- $(TESTS) $(ARGS)

# An environment for each group of clients that can live together.
$(CLIENTS:%=.venv-%/.synced): .venv-%/.synced: $(SYNCED)
	UV_PROJECT_ENVIRONMENT=.venv-$* $(BIN)/uv sync --quiet --frozen --all-extras --no-default-groups --group $*
	@touch $@

test-clients: $(CLIENTS:%=.venv-%/.synced)
	@for group in $(CLIENTS); do \
		echo "== $$group"; \
		.venv-$$group/bin/python -m pytest tests/clients $(ARGS) || exit 1; \
	done

# Two minutes of outage for the whole table in every shape, on every broker at the same time; five to fifteen minutes. test-clients has a
# short one, with a part of it.
test-clients-outage: $(CLIENTS:%=.venv-%/.synced)
	@for group in $(CLIENTS); do \
		echo "== $$group"; \
		HOLDGATE_TEST_OUTAGE=120 .venv-$$group/bin/python -m pytest -s --show-capture=no tests/clients/test_outage_clients.py $(ARGS) || exit 1; \
	done

# Ten minutes of outage on a share group whose locks last 15 s, without and with a kill and joins, and their ledgers. Not in CI.
test-share-outage: $(SYNCED)
	HOLDGATE_TEST_KAFKA_VERSION=4.4 HOLDGATE_TEST_SHARE_OUTAGE=600 $(PYTEST) -rP tests/integration/share $(ARGS)

test-matrix: $(SYNCED)
	@for version in $(VERSIONS); do \
		echo "== RabbitMQ $$version"; \
		HOLDGATE_TEST_RABBITMQ_VERSION=$$version $(PYTEST) $(OF_RABBITMQ) $(ARGS) || exit 1; \
	done
	@for version in $(KAFKA_VERSIONS); do \
		echo "== Kafka $$version"; \
		HOLDGATE_TEST_KAFKA_VERSION=$$version $(PYTEST) $(OF_KAFKA) $(ARGS) || exit 1; \
	done

# What uv.lock says has no part in these two but for the tests' own tools, which must not move the clients.
$(LOWEST)/.synced: RESOLUTION := lowest-direct
$(NEWEST)/.synced: RESOLUTION := highest
$(LOWEST)/.synced $(NEWEST)/.synced: $(SYNCED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip install --quiet --python $(@D) --resolution $(RESOLUTION) --editable '.[kafka,rabbitmq,redis,demo,prometheus,web]'
	$(BIN)/uv pip freeze --python $(@D) --exclude-editable > $(@D)/clients.txt
	$(BIN)/uv export --quiet --frozen --only-group test --no-hashes --no-emit-project --output-file $(@D)/tools.txt
	$(BIN)/uv pip install --quiet --python $(@D) --constraint $(@D)/clients.txt --requirement $(@D)/tools.txt
	@grep -iE '^(aio-pika|aiokafka|aiormq|anyio|click|confluent-kafka|redis|rich|starlette|uvicorn)==' $(@D)/clients.txt | tr '\n' ' '; echo
	@touch $@

# aiormq up to 6.9 leaves the socket of a connection that was refused to the garbage collector.
test-lowest: $(LOWEST)/.synced
	$(subst $(BIN),$(LOWEST)/bin,$(PYTEST)) -W default::pytest.PytestUnraisableExceptionWarning $(OF_CLIENTS) $(ARGS)

test-newest: $(NEWEST)/.synced
	$(subst $(BIN),$(NEWEST)/bin,$(PYTEST)) $(OF_CLIENTS) $(ARGS)

test-pythons:
	@for version in $(PYTHONS); do \
		if python=$$(.ci/python $$version); then \
			echo "== CPython $$version"; \
			$(MAKE) --no-print-directory test-python PYTHON=$$python VENV=.venv-$$version || exit 1; \
		fi; \
	done

# Half as many processes: these tests compute, and have no brokers to wait for.
test-python: WORKERS := 3
test-python: $(SYNCED)
	$(PYTEST) $(OF_PYTHON) $(ARGS)

# One process: the environments are made once.
test-wheel: $(SYNCED)
	$(PYTEST) -n 0 tests/packaging $(ARGS)

# Another Python than the tests' own has an environment of its own.
test-eager: WORKERS := 3
test-eager: $(SYNCED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12) and "asyncio has eager tasks from Python 3.12 on, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 test-eager")'
	@test -x $(EAGER)/bin/python || $(PYTHON) -m venv $(EAGER)
	@UV_PROJECT_ENVIRONMENT=$(EAGER) $(BIN)/uv sync --quiet --frozen --all-extras --no-default-groups --group test --group scripted
	HOLDGATE_TEST_EAGER=1 $(EAGER)/bin/python -m pytest -n $(WORKERS) $(OF_EAGER) $(ARGS)

check: check-ruff check-mypy check-pyright check-imports

# Apart, so that several run side by side: make -j2 --output-sync check
check-ruff: $(SYNCED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-mypy: $(SYNCED)
	$(BIN)/mypy

check-pyright: $(SYNCED)
	$(BIN)/pyright

check-imports: $(SYNCED)
	$(BIN)/lint-imports --no-logo

# Both may be given: ARGS="--url https://docs.example/ --source https://forge.example/holdgate/blob/main"
docs: $(SYNCED)
	@$(BIN)/python -m docs.site $(ARGS)

format: $(SYNCED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(SYNCED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q tests/core tests/flow tests/fleet
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='src/holdgate/core/*,src/holdgate/flow/*,src/holdgate/fleet/*' --fail-under=100

mutation: $(SYNCED)
	nice -n 19 $(BIN)/python -m tests.mutation; code=$$?; $(BIN)/python -m docs.generate; exit $$code

demo: $(SYNCED)
	@$(BIN)/python -m holdgate demo $(ARGS)

# The figures' own environment: what they are compared with is no part of the tests'.
$(BENCH)/.synced: $(SYNCED)
	UV_PROJECT_ENVIRONMENT=$(BENCH) $(BIN)/uv sync --quiet --frozen --all-extras --no-default-groups --group bench
	@touch $@

# One after the other, and one that cannot run here (no Java for Kafka, say) does not keep the rest from it.
bench: $(BENCH)/.synced
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

# Counts, and so the same on a busy machine. On a real Kafka: make trace ARGS="--bootstrap localhost:9092"
trace: $(SYNCED)
	@$(BIN)/python -m benchmarks.trace_files $(ARGS)

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* dist build
