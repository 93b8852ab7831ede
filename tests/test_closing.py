"""What a run says at its end, of runs of pytest of their own, shared out by pytest-xdist and not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.closing import last_line, skip_lines

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from tests.closing import Closing, serves

def pytest_configure(config):
    config.addinivalue_line("markers", "integration(*fixtures): as in ours")
    config.pluginmanager.register(Closing(config, shared=("kafka", "rabbitmq")))

@pytest.fixture(scope="session")
def kafka(request):
    serves(request, "Kafka (in Docker)")

@pytest.fixture
def fresh_kafka(request):
    serves(request, "Kafka 4.1.0 (started here)")

@pytest.fixture(scope="session")
def own_kafka(request, kafka):
    serves(request, "Kafka 4.1.0 (started here)")

@pytest.fixture(scope="session")
def rabbitmq():
    pytest.skip("no RabbitMQ: not installed; make it so")
"""

# Of each kind two, so that none is right by being the only one.
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_without_a_broker(number):
    assert number != 1

@pytest.mark.parametrize("number", range(2))
def test_on_the_shared_one(kafka, number):
    pass

@pytest.mark.parametrize("number", range(2))
def test_on_one_of_its_own(fresh_kafka, number):
    pass

def test_on_ours_beside_the_shared_one(own_kafka):
    pass

@pytest.mark.integration("kafka")
def test_that_asks_for_it_while_it_runs(request):
    request.getfixturevalue("kafka")

def test_that_starts_them_by_itself(record_property):
    record_property("broker", "RabbitMQ 4.3 (started here)")
    record_property("broker", "Kafka (in Docker)")

@pytest.mark.parametrize("number", range(20))
def test_on_one_that_is_not_there(rabbitmq, number):
    pass

@pytest.mark.parametrize("number", range(2))
def test_that_does_not_apply(number):
    pytest.skip("here nothing is counted")

@pytest.mark.xfail(reason="as was said")
def test_that_fails_as_was_said():
    assert False
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_end_says_what_ran_where_and_what_did_not(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, processes: str) -> None:
    """Each broker by version and origin, a test on two of them for both, and a failed one like any other; a server that is not there has
    one line, however many tests want it. Pytest's own closing line is there as ever, one before the last."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_of_all_kinds=TESTS)
    # As pytest-xdist starts processes, in one of its own.
    run = pytester.runpytest_inprocess if processes == "0" else pytester.runpytest_subprocess
    *lines, summary, last = run("-p", "no:cacheprovider", "-p", "no:asyncio", "-n", processes, "-rfE").outlines
    assert last == (
        "ran: 4 on Kafka (in Docker), 3 on Kafka 4.1.0 (started here), 1 on RabbitMQ 4.3 (started here); 3 without a broker; "
        "skipped: 20 for want of RabbitMQ, 2 for other reasons"
    )
    assert "1 failed, 9 passed, 22 skipped, 1 xfailed" in summary
    assert [line for line in lines if "skipped: " in line] == [
        "20 skipped: no RabbitMQ: not installed; make it so",
        "2 skipped: here nothing is counted",
    ]


def test_ways_to_be_missing_are_one_line() -> None:
    """Where processes met the absence of one server in different ways, the commonest is told, with the number of all."""
    reasons = ["no Kafka: no answer; a", "no Kafka: not installed; b", "no Kafka: not installed; b", "no Redis: away; c"]
    skipped = {f"test_{number}": reason for number, reason in enumerate(reasons)}
    assert skip_lines(skipped) == ["3 skipped: no Kafka: not installed; b", "1 skipped: no Redis: away; c"]


def test_a_run_without_brokers_and_skips_says_so() -> None:
    """Nothing is left open: none is told as none."""
    assert last_line({"one": [], "two": []}, {}) == "ran: 2 without a broker; skipped: none"
