from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import Result
from tests.cli.runner import invoke
from tests.servers.kafka_address import KafkaAddress

from holdgate.cli import INTERRUPTED, REFUSED
from holdgate.errors import IntakeError, MissingExtra
from holdgate_lab.demo import command
from holdgate_lab.demo.scenario import CONCURRENCY

DEMO = [sys.executable, "-m", "holdgate", "demo"]
# It ends by itself, after half a minute at most where nothing else runs; only a failing test waits so long.
PATIENCE = 180.0
# What is lost until a circuit has opened, and for probes: more failures than any length of the story comes to.
WASTED = 5 + CONCURRENCY - 1 + 8


def run(*args: str) -> Result:
    return invoke(*args)


def test_the_help_names_the_brokers_and_the_exit_codes() -> None:
    """What a person or a script needs to know before the first run."""
    text = run("demo", "--help").output
    for word in ("memory|embedded|HOST:PORT", "--seconds", "--json", "Exit codes", "130"):
        assert word in text


@pytest.mark.parametrize("broker", ["nonsense", "localhost", "localhost:port", "a b:1", ""])
def test_a_broker_that_is_none_is_refused_with_the_choices(broker: str) -> None:
    """Exit code 2, and the text shows what is possible."""
    result = run("demo", "--broker", broker)
    assert result.exit_code == REFUSED
    assert "localhost:9092" in result.stderr


def test_a_length_without_room_for_the_story_is_refused() -> None:
    """Exit code 2 before anything is started."""
    result = run("demo", "--seconds", "1")
    assert result.exit_code == REFUSED
    assert "from 4 to 600" in result.stderr


def test_a_broker_that_is_not_there_is_a_clear_error() -> None:
    """Exit code 2, the address, what to do; no traceback and no client's log lines."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        result = run("demo", "--broker", address, "--seconds", "4", "--json")
    assert result.exit_code == REFUSED
    assert result.stderr.startswith(f"Error: no Kafka broker answers at {address}")
    assert result.stdout == ""


@pytest.mark.parametrize("error", [IntakeError("no broker"), MissingExtra("install it")])
def test_what_keeps_the_demo_from_beginning_is_told_in_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of holdgate's own tree are for people: text and exit code, no traceback."""

    def fail(*_args: object, **_named: object) -> bool:
        raise error

    monkeypatch.setattr(command, "run_demo", fail)
    result = run("demo")
    assert (result.exit_code, result.stderr) == (REFUSED, f"Error: {error}\n")


def test_a_run_to_its_end_is_exit_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options reach the run."""
    seen: list[object] = []

    def finish(broker: str, seconds: float, *, as_json: bool, page: bool) -> bool:
        seen.extend((broker, seconds, as_json, page))
        return True

    monkeypatch.setattr(command, "run_demo", finish)
    assert run("demo", "--broker", "memory", "--seconds", "5", "--json").exit_code == 0
    assert seen == ["memory", 5.0, True, False]


def test_without_options_it_is_the_embedded_broker_for_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to install, nothing to start, and over before a minute is."""
    seen: list[object] = []

    def finish(broker: str, seconds: float, *, as_json: bool, page: bool) -> bool:
        seen.extend((broker, seconds, as_json, page))
        return True

    monkeypatch.setattr(command, "run_demo", finish)
    run("demo")
    assert seen == ["embedded", 30.0, False, False]


def test_an_interrupted_run_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell expects of Ctrl-C, also when it came before anything could be reported."""

    def cut_short(*_args: object, **_named: object) -> bool:
        return False

    def cut_at_once(*_args: object, **_named: object) -> bool:
        raise KeyboardInterrupt

    codes = []
    for ending in (cut_short, cut_at_once):
        monkeypatch.setattr(command, "run_demo", ending)
        codes.append(run("demo").exit_code)
    assert codes == [INTERRUPTED, INTERRUPTED]


def test_a_short_run_in_memory_prints_lines_and_a_table(tmp_path: Path) -> None:
    """In a pipe: ASCII, a line for the start, the transitions, the table; nothing on stderr; exit code 0."""
    ended = subprocess.run(
        [*DEMO, "--broker", "memory", "--seconds", "12"],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        cwd=tmp_path,
        env=_plain_environment(),
    )
    text = ended.stdout.decode("ascii")
    assert (ended.returncode, ended.stderr) == (0, b"")
    for piece in (
        "joining",
        "* payments OPEN",
        "* payments HALF_OPEN",
        "* payments CLOSED",
        "dead letters, all of them good messages",
        "| without |",
    ):
        assert piece in text


def test_a_page_has_no_place_beside_json() -> None:
    """Exit code 2: a program would wait for ever."""
    result = run("demo", "--page", "--json")
    assert result.exit_code == REFUSED
    assert "leave one of them out" in result.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_with_a_page_it_ends_with_its_address_and_stays(stop: signal.Signals, tmp_path: Path) -> None:
    """After the table; the page then still answers, with the outage in its past, until a signal ends it with exit code 0."""
    with subprocess.Popen(
        [*DEMO, "--broker", "memory", "--seconds", "4", "--page"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=_plain_environment(),
    ) as process:
        assert process.stdout is not None
        seen = ""
        while "Its page: " not in seen:
            line = process.stdout.readline()
            assert line, process.communicate()
            seen += line
        url = seen.rpartition("Its page: ")[2].strip()
        with urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - our own
            assert b"holdgate" in answer.read()
        with urlopen(f"{url}/status", timeout=PATIENCE) as answer:  # noqa: S310 - our own
            assert {each["name"] for each in json.load(answer)["dependencies"]} == {"payments", "email"}
        process.send_signal(stop)
        rest, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert f"the page of the guarded side: {url}" in seen
    assert "| without |" in seen


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_summary(stop: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, or a supervisor's SIGTERM, once traffic flows: the table of what was seen, and exit code 130."""
    process = subprocess.Popen(
        [*DEMO, "--broker", "memory", "--seconds", "30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=_plain_environment(),
    )
    with process:
        assert process.stdout is not None
        seen = process.stdout.readline() + process.stdout.readline()
        process.send_signal(stop)
        rest, errors = process.communicate(timeout=PATIENCE)
    assert "payments UP" in seen
    assert (process.returncode, errors) == (130, "")
    assert "interrupted after" in rest
    assert "dead letters" in rest


@pytest.mark.integration
@pytest.mark.slow
def test_the_demo_as_it_comes_keeps_its_promises(tmp_path: Path) -> None:
    """Embedded Kafka, real clients, no options but --json: exit code 0, and the facts it is there to show."""
    ended = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    document = json.loads(ended.stdout)
    guarded, naive = document["guarded"], document["naive"]
    assert document["interrupted"] is False
    assert (guarded["lost"], naive["lost"]) == (0, 0)
    assert guarded["dead_letters"] == 0 < naive["dead_letters"]
    assert guarded["processed"] + guarded["waiting"] == document["produced"]
    assert 5 * guarded["wasted_calls"] < naive["wasted_calls"]
    assert set(guarded["states"]) == {"OPEN", "HALF_OPEN", "CLOSED"}
    # The story ends after its seconds: on a machine that others load the way back may not. In virtual time it does (test_story.py).
    assert guarded["transitions"][-1]["state"] in ("HALF_OPEN", "CLOSED")
    assert guarded["rebalances"] == 0


def test_on_a_kafka_of_somebody_else_it_leaves_no_topic_behind(kafka: KafkaAddress, tmp_path: Path) -> None:
    """The same facts on a real broker, in topics of the run's own that are gone afterwards."""
    before = set(asyncio.run(_topics(kafka)))
    ended = subprocess.run(
        [*DEMO, "--broker", kafka.bootstrap, "--seconds", "8", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    document = json.loads(ended.stdout)
    guarded, naive = document["guarded"], document["naive"]
    assert (guarded["lost"], naive["lost"], guarded["dead_letters"]) == (0, 0, 0)
    assert guarded["processed"] + guarded["waiting"] == document["produced"] > 0
    assert guarded["wasted_calls"] <= WASTED
    give_up = time.monotonic() + PATIENCE
    while left := {topic for topic in asyncio.run(_topics(kafka)) if topic.startswith("holdgate-demo")} - before:
        assert time.monotonic() < give_up, left  # a broker answers before it has forgotten them
        time.sleep(0.1)


async def _topics(kafka: KafkaAddress) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        return await admin.list_topics()
    finally:
        await admin.close()


def _plain_environment() -> dict[str, str]:
    """An environment in which nothing but ASCII can be written and lines seem to be short, as in a bare container."""
    return {**os.environ, "PYTHONIOENCODING": "ascii", "TERM": "dumb", "COLUMNS": "40"}
