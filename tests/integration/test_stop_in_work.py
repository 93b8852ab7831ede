"""A signal in the middle of a handler that sleeps for an hour, on real brokers: the process ends, and the next one gets the message."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq_address import RabbitMQAddress

WORKER = """
import asyncio, logging, sys, time
from holdgate import Guard

kind, address, name, group, way = sys.argv[1:]
logging.basicConfig(level=logging.WARNING, format="%(message)s")


def work(delivery):
    word = delivery.body.decode()
    print("began", word, flush=True)
    if word == "slow" and way != "well":
        time.sleep(3600)


async def to_thread(delivery):
    await asyncio.to_thread(work, delivery)


async def blocks(delivery):
    work(delivery)


def intake():
    if kind == "kafka":
        from aiokafka import AIOKafkaConsumer
        from holdgate.brokers.kafka import KafkaIntake

        settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "session_timeout_ms": 6000}
        return KafkaIntake(AIOKafkaConsumer(bootstrap_servers=address, group_id=group, **settings), topics=[name])
    from holdgate.brokers.rabbitmq import RabbitMQIntake

    return RabbitMQIntake(address, name, prefetch=1)


async def main():
    async with Guard(drain_timeout=2) as guard:
        await guard.run(intake(), {"to_thread": to_thread, "blocks": blocks}.get(way, work), order="source")


asyncio.run(main())
"""

# Only a failing test waits so long.
PATIENCE = 120.0


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker, killed at the end if it has not ended by itself."""
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, *arguments, stdout=pipe, stderr=pipe)
    try:
        yield worker
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


async def comes_to(worker: asyncio.subprocess.Process, word: str) -> list[str]:
    """What a worker began, up to this message."""
    assert worker.stdout is not None
    began: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while word not in began:
            line = (await worker.stdout.readline()).decode()
            assert line, began
            began.append(line.split()[-1])
    return began


async def ended(worker: asyncio.subprocess.Process) -> tuple[int, str]:
    """The exit code and the log of a worker that was asked to end."""
    _, err = await asyncio.wait_for(worker.communicate(), PATIENCE)
    assert worker.returncode is not None
    return worker.returncode, err.decode()


async def stopped(where: list[str], way: str, by: signal.Signals, place: str) -> int:
    """Stop a worker in its second message, and see the next worker begin with that one. Returns the exit code."""
    async with started(*where, way) as worker:
        assert await comes_to(worker, "slow") == ["quick", "slow"]
        worker.send_signal(by)
        code, log = await ended(worker)
    assert f"come again: {place}." in log, log
    assert "Unclosed" not in log
    assert "pending" not in log
    async with started(*where, "well") as following:
        assert (await comes_to(following, "last"))[-2:] == ["slow", "last"]
        following.send_signal(signal.SIGTERM)
        assert (await ended(following))[0] == 0
    return code


ENDS = [
    pytest.param("plain", signal.SIGTERM, 75, id="a thread of a plain handler"),
    pytest.param("plain", signal.SIGINT, -signal.SIGINT, id="Ctrl-C"),
    pytest.param("to_thread", signal.SIGTERM, 75, id="a thread of asyncio"),
    pytest.param("blocks", signal.SIGTERM, 75, id="the event loop"),
]


@pytest.mark.parametrize(("way", "by", "code"), ENDS)
async def test_a_kafka_worker_ends(
    kafka: KafkaAddress, topic: Callable[..., Awaitable[str]], way: str, by: signal.Signals, code: int
) -> None:
    """What was finished is committed where the loop could do that; the message in the middle is the next worker's."""
    name, group = await topic(), f"stop-{uuid.uuid4().hex[:8]}"
    await kafka.produce(name, [b"quick", b"slow", b"last"])
    assert await stopped(["kafka", kafka.bootstrap, name, group], way, by, f"{name}[0]@1") == code
    assert await kafka.committed(group, name) == {0: 3}


@pytest.mark.parametrize("arguments", [None, QUORUM], ids=["classic", "quorum"])
@pytest.mark.parametrize(("way", "by", "code"), ENDS)
async def test_a_rabbitmq_worker_ends(  # noqa: PLR0917 - pytest passes them by name
    rabbitmq: RabbitMQAddress,
    queue: Callable[..., Awaitable[str]],
    way: str,
    by: signal.Signals,
    code: int,
    arguments: dict[str, str] | None,
) -> None:
    """The message in the middle goes back with the channel, at the front of its queue."""
    name = await queue(arguments)
    await rabbitmq.publish(name, [b"quick", b"slow", b"last"])
    assert await stopped(["rabbitmq", rabbitmq.url, name, "-"], way, by, f"{name}@2") == code
    assert await rabbitmq.waiting_once_free(name) == []
