"""Which process of a run gets which tests, in runs of pytest of their own."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.sharing import APART, ROLES, SERVER_OF, WORTH_ANOTHER, server_of

pytest_plugins = ["pytester"]

CONFTEST = """
import os, json, pathlib
from tests.sharing import Sharing

def pytest_xdist_make_scheduler(config, log):
    return Sharing(config, log)

def pytest_runtest_call(item):
    with open("ran.txt", "a") as file:
        file.write(json.dumps([os.environ["PYTEST_XDIST_WORKER"], item.nodeid]) + chr(10))
"""
MANY = "import pytest\n\n@pytest.mark.parametrize('number', range({count}))\ndef test_it(number):\n    {body}\n"


# With the one plugin that the runs are of: each of their processes would import what all others bring.
PLUGINS = ("-p", "xdist.plugin", "-p", "no:cacheprovider")


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs of pytest find this folder's files, and no plugin by itself."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, processes: int, **counts: int) -> dict[str, list[str]]:
    """Run files of so many tests each, by name, in so many processes; return what each process ran, in its order."""
    alone(monkeypatch)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(**{f"test_{name}": MANY.format(count=count, body="pass") for name, count in counts.items()})
    outcome = pytester.runpytest_subprocess(*PLUGINS, "-n", str(processes))
    outcome.assert_outcomes(passed=sum(counts.values()))
    ran = defaultdict(list)
    for line in (pytester.path / "ran.txt").read_text().splitlines():
        process, test = json.loads(line)
        ran[process].append(test)
    return ran


def test_a_server_is_started_by_its_own_processes_only(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those get the tests of their server first."""
    ran = run(pytester, monkeypatch, 3, kafka=WORTH_ANOTHER, rabbitmq=WORTH_ANOTHER, one=5, two=5, three=5)

    for process, tests in ran.items():
        servers = [server_of(test) for test in tests]
        role = ROLES[int(process[2:])]
        assert set(servers) <= {role, None}
        assert servers == sorted(servers, key=lambda server: server is None)


def test_what_needs_no_server_is_shared_file_by_file(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file's fixtures make is made once."""
    ran = run(pytester, monkeypatch, 2, one=9, two=9, three=9, four=9)

    files = [{test.partition("::")[0] for test in tests} for tests in ran.values()]
    assert sum(len(each) for each in files) == 4


def test_many_tests_of_one_server_are_for_everybody(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing else to do, one more server is worth its start."""
    ran = run(pytester, monkeypatch, 2, kafka=6 * WORTH_ANOTHER)

    assert len(ran) == 2


def test_a_server_that_is_nobodys_is_everybodys(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process runs all there is."""
    ran = run(pytester, monkeypatch, 1, kafka=2, rabbitmq=2, other=2)

    assert [server_of(test) for test in ran["gw0"]] == ["rabbitmq"] * 2 + [None] * 2 + ["kafka"] * 2


def test_a_file_of_many_that_wait_is_for_everybody(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tests are shared one by one."""
    ran = run(pytester, monkeypatch, 2, http_clients=40)

    assert len(ran) == 2


@pytest.mark.parametrize("word", [*SERVER_OF, *APART])
def test_a_word_in_a_name_still_stands_for_a_test(word: str) -> None:
    """A file that was renamed would start one more broker wherever it runs, without a word."""
    tests = Path(__file__).parent

    assert any(word in path.relative_to(tests).as_posix() for path in tests.rglob("*.py"))


def test_another_name_for_a_server_comes_after_its_own() -> None:
    """A scenario on RabbitMQ in a file of Kafka's needs RabbitMQ, and a test of confluent-kafka needs Kafka."""
    assert server_of("tests/scenarios/test_outage.py::test_it[confluent]") == "kafka"
    assert server_of("tests/integrations/celery/test_guarding.py::test_it") == "rabbitmq"
    assert server_of("tests/examples/test_both_brokers.py::test_on_kafka") == "kafka"


def test_the_tests_of_a_process_that_crashed_go_on(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that takes its place ends them; the test that crashed has failed."""
    alone(monkeypatch)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_kafka=MANY.format(count=8, body="import os; number == 3 and os._exit(1)"))
    outcome = pytester.runpytest_subprocess(*PLUGINS, "-n", "2")

    outcome.assert_outcomes(passed=7, failed=1)
