"""FastStream's consumers for the throughput tables: the same topics and queues, its defaults, a handler that does nothing.

Only where it is installed: `make bench` has it in an environment of its own (the dependency group `bench`).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from importlib.util import find_spec

INSTALLED = find_spec("faststream") is not None


async def kafka(bootstrap: str, topic: str, messages: int) -> float:
    """One message per call, offsets committed by the client's own timer, which is what FastStream does unless told otherwise."""
    from faststream.kafka import KafkaBroker

    broker = KafkaBroker(bootstrap, logger=None)
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    seen, begun = 0, 0.0

    @broker.subscriber(topic, group_id=f"bench-{uuid.uuid4().hex[:8]}", auto_offset_reset="earliest")
    async def handler(_body: bytes) -> None:
        nonlocal seen, begun
        begun = begun or time.process_time()
        seen += 1
        if seen == messages:
            ended.set_result(time.process_time() - begun)

    await broker.start()
    taken = await ended
    await broker.stop()
    return taken


async def rabbitmq(url: str, queue: str, messages: int, prefetch: int) -> float:
    """One message per call, acknowledged after it; the wall clock, as in the other rows on RabbitMQ."""
    from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

    broker = RabbitBroker(url, logger=None, default_channel=Channel(prefetch_count=prefetch))
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    seen, begun = 0, 0.0

    @broker.subscriber(RabbitQueue(queue, declare=False))
    async def handler(_body: bytes) -> None:
        nonlocal seen, begun
        begun = begun or time.perf_counter()
        seen += 1
        if seen == messages:
            ended.set_result(time.perf_counter() - begun)

    await broker.start()
    taken = await ended
    await broker.stop()
    return taken
