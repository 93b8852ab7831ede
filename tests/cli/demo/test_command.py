from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console
from tests.servers.kafka_address import KafkaAddress

from holdgate.cli.demo.command import output_for, venue_for
from holdgate.cli.demo.kafka_venue import KafkaVenue
from holdgate.cli.demo.memory_venue import MemoryVenue
from holdgate.cli.demo.outputs import LiveScreen, PlainLines
from holdgate.cli.demo.scenario import CONCURRENCY
from holdgate.errors import SettingsError

DEMO = [sys.executable, "-m", "holdgate", "demo"]
# It ends by itself, after half a minute at most where nothing else runs; only a failing test waits so long.
PATIENCE = 180.0
# What is lost until a circuit has opened, and for probes: more failures than any length of the story comes to.
WASTED = 5 + CONCURRENCY - 1 + 8


def test_each_kind_of_broker_has_its_venue() -> None:
    """The three forms of --broker."""
    kinds = [type(venue_for(broker)) for broker in ("memory", "embedded", "localhost:9092", "[::1]:9092,other:9093")]
    assert kinds == [MemoryVenue, KafkaVenue, KafkaVenue, KafkaVenue]


def test_anything_else_is_refused() -> None:
    """With the forms that exist."""
    with pytest.raises(SettingsError, match="memory, embedded nor an address"):
        venue_for("rabbit")


def test_a_terminal_gets_a_live_screen_and_a_pipe_gets_lines() -> None:
    """A cursor that cannot move would fill a log with pictures."""
    assert isinstance(output_for(Console(), live=True), LiveScreen)
    assert isinstance(output_for(Console(), live=False), PlainLines)


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
    assert guarded["transitions"][-1]["state"] == "CLOSED"
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
    assert {topic for topic in asyncio.run(_topics(kafka)) if topic.startswith("holdgate-demo")} <= before


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
