"""`sys.exit()` in a handler on a real broker: prompt, with its code, committed, and out of the group."""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress

WORKER = """
import asyncio, logging, sys
from aiokafka import AIOKafkaConsumer
from holdgate import Guard
from holdgate.brokers.kafka import KafkaIntake

bootstrap, topic, group, way = sys.argv[1:]
logging.basicConfig(level=logging.WARNING)


def plain(delivery):
    if delivery.position == 3:
        sys.exit(3)


async def handler(delivery):
    if way != "child task":
        plain(delivery)
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(lambda: None))
        group.create_task(child(delivery))


async def child(delivery):
    plain(delivery)


async def main():
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
    async with Guard(drain_timeout=600) as guard:  # whoever waits for it fails
        await guard.run(KafkaIntake(consumer, topics=[topic]), plain if way == "plain" else handler)


asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["plain", "coroutine"])
async def test_an_exit_commits_leaves_and_ends(kafka: KafkaAddress, topic: Callable[..., Awaitable[str]], way: str) -> None:
    """What was finished is committed, what asked for the exit is not, and asyncio complains of no task."""
    name, group = await topic(), f"exit-{uuid.uuid4().hex[:8]}"
    await kafka.produce(name, [b"x"] * 6)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, kafka.bootstrap, name, group, way, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(worker.communicate(), 120)
    assert worker.returncode == 3
    assert b"pending" not in err
    assert b"did not stop" not in err
    assert await kafka.committed(group, name) == {0: 3}


async def test_an_exit_in_a_child_task_ends_as_soon(kafka: KafkaAddress, topic: Callable[..., Awaitable[str]]) -> None:
    """It stops the event loop on the spot, and the client's own tasks with it: nobody answers a commit any more, and none is waited for."""
    name, group = await topic(), f"exit-{uuid.uuid4().hex[:8]}"
    await kafka.produce(name, [b"x"] * 6)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, kafka.bootstrap, name, group, "child task", stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(worker.communicate(), 120)
    assert worker.returncode == 3
    assert b"pending" not in err
    assert b"never retrieved" not in err
    assert b"did not stop" not in err
    assert (await kafka.committed(group, name)).get(0, 0) <= 3
