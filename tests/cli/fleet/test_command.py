"""`holdgate fleet create` and `show` on a real Kafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.cli.runner import invoke

from holdgate.cli.fleet.command import read_for
from holdgate.errors import FleetLogError
from holdgate.testing import LogTrouble, MemoryFleetLog, MemoryLogServer, in_virtual_time

if TYPE_CHECKING:
    from click.testing import Result
    from tests.servers.kafka_address import KafkaAddress


async def run(*args: str) -> Result:
    return await asyncio.to_thread(invoke, "fleet", *args)


async def test_it_is_made_and_then_there(kafka: KafkaAddress, topic) -> None:
    """The first `create` says that it is made, the second one that it is there, and both end with 0."""
    name = f"{await topic()}-made"
    url = f"kafka://{kafka.bootstrap}/{name}"
    try:
        first, second = await run("create", url), await run("create", url)
        assert (first.exit_code, first.stdout) == (0, f"topic '{name}' at {kafka.bootstrap} is made\n")
        assert (second.exit_code, second.stdout) == (0, f"topic '{name}' at {kafka.bootstrap} exists, as it must be\n")
    finally:
        await kafka.delete_topic(name)


async def test_what_differs_is_printed(kafka: KafkaAddress, topic) -> None:
    """A topic that a fleet can use, with other settings, ends with 0 and a line for each."""
    result = await run("create", f"kafka://{kafka.bootstrap}/{await topic()}")
    assert result.exit_code == 0
    assert "exists, and a fleet can use it. Nothing was changed:\n- message.timestamp.type is CreateTime" in result.stdout


@pytest.mark.parametrize("command", ["create", "show"])
async def test_a_topic_that_no_fleet_can_use(kafka: KafkaAddress, topic, command: str) -> None:
    """Several partitions end either command with 1, and the error has both numbers."""
    result = await run(command, f"kafka://{kafka.bootstrap}/{await topic(partitions=2)}")
    assert result.exit_code == 1
    assert "2 partitions" in result.stderr
    assert " 1" in result.stderr


async def test_a_log_that_does_not_exist(kafka: KafkaAddress) -> None:
    """`show` ends with 1, and with the command that makes it; it makes nothing itself."""
    result = await run("show", f"kafka://{kafka.bootstrap}/nowhere")
    assert result.exit_code == 1
    assert f"`holdgate fleet create kafka://{kafka.bootstrap}/nowhere` makes it" in result.stderr


def test_wrong_arguments_end_with_2() -> None:
    """No URL, and one of another kind, could not begin."""
    for args in ([], ["http://localhost/x"], ["kafka://localhost/x", "--option", "acks=1"]):
        result = invoke("fleet", "show", *args)
        assert result.exit_code == 2, args
        assert result.stderr.startswith("Error: ")


def test_nobody_answers() -> None:
    """A broker that is not there ends with 1, in one line."""
    result = invoke("fleet", "show", "kafka://127.0.0.1:1/agree")
    assert result.exit_code == 1
    assert "no Kafka broker answers" in result.stderr
    assert result.stderr.count("\n") == 1


@in_virtual_time
async def test_a_log_is_read_for_so_long() -> None:
    """What the last half minute has and what comes in the time is read; the log is closed then."""
    server = MemoryLogServer()
    server.store([b"before"])
    writer = MemoryFleetLog(server)
    await writer.open()
    asyncio.get_running_loop().call_later(2, server.store, [b"meanwhile"])
    asyncio.get_running_loop().call_later(4, server.store, [b"too late"])
    log = MemoryFleetLog(server)
    reading, now = await read_for(log, 3)
    assert reading.batches == [(0.0, [b"before"]), (2.0, [b"meanwhile"])]
    assert now == 3.0
    with pytest.raises(FleetLogError, match="not open"):
        await log.read()


@in_virtual_time
async def test_a_log_that_does_not_answer_is_given_up() -> None:
    """A server that is connected and silent is an error after a while."""
    server = MemoryLogServer()
    server.trouble = LogTrouble(hung=True)
    with pytest.raises(FleetLogError, match="does not answer within 20 s"):
        await read_for(MemoryFleetLog(server), 3)
