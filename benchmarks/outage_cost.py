"""What three outages cost 400 messages, with and without the guard, on a real RabbitMQ and a real Kafka. Counts, on one schedule.

    python -m benchmarks.outage_cost [--messages 400] [--outage 1.5]

The handler works on one message at a time, 20 ms each, and fails at once while its dependency is down. Without the guard it is what people
write: on RabbitMQ a message whose handler failed is given back at once (`nack`, requeue), on Kafka it is tried three times and then
dead-lettered. Servers are those of the tests: HOLDGATE_TEST_RABBITMQ and HOLDGATE_TEST_KAFKA, Docker, or their own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import platform
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aiokafka import AIOKafkaConsumer
from tests.servers.resolve import shared_kafka, shared_rabbitmq
from tests.servers.unavailable import Unavailable

from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake

TAKES = 0.02
UP = 2.0
OUTAGES = 3
ATTEMPTS = 3
PREFETCH = 10
LIMITED = {"x-queue-type": "quorum", "x-delivery-limit": 20}
QUEUES: dict[str, Mapping[str, Any]] = {"classic": {}, "quorum": {"x-queue-type": "quorum"}, "quorum, delivery limit 20": LIMITED}
# Without the guard every message is tried again at once: where nothing moves for so long, the rest is lost. With it a message may wait
# out the longest backoff of RetryPolicy (30 s) and of the circuit.
QUIET = {"without": 5.0, "with holdgate": 45.0}
# Outages of a second and a half are short: waits in their proportion.
SETTINGS = CircuitSettings(open_duration=0.5, open_duration_max=2.0)


class Down(Exception):
    """The dependency is down."""


@dataclass
class Story:
    """What the handler saw: one run of one worker."""

    messages: int
    outage: float
    guard: str
    calls: int = 0
    failed: int = 0
    order: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    returns: int = 0
    moved_at: float = 0.0
    begun: float = 0.0

    def is_down(self) -> bool:
        self.begun = self.begun or time.monotonic()
        cycles, within = divmod(time.monotonic() - self.begun, UP + self.outage)
        return cycles < OUTAGES and within > UP

    async def work(self, number: int) -> None:
        """The handler: a call to the dependency."""
        self.calls += 1
        if self.is_down():
            self.failed += 1
            raise Down
        await asyncio.sleep(TAKES)
        self.order.append(number)
        self.moved_at = time.monotonic()

    async def ended(self) -> None:
        """Everything is processed or dead-lettered, or nothing moves any more."""
        self.moved_at = time.monotonic()
        while len(set(self.order) | set(self.dead)) < self.messages:
            await asyncio.sleep(0.05)
            if time.monotonic() - self.moved_at > QUIET[self.guard]:
                return

    def row(self) -> list[str]:
        firsts = list(dict.fromkeys(self.order))
        inversions = sum(1 for before, after in itertools.pairwise(firsts) if after < before)
        lost = self.messages - len(set(self.order) | set(self.dead))
        return [str(value) for value in (lost, len(self.dead), self.calls, self.failed, self.returns, inversions)]


async def bare_queue(url: str, queue: str, story: Story) -> None:
    """A consumer callback that nacks what it could not process."""
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        one_at_a_time = asyncio.Lock()

        async def handler(message: AbstractIncomingMessage) -> None:
            async with one_at_a_time:
                story.returns = max(story.returns, int(str(message.headers.get("x-delivery-count") or 0)))
                try:
                    await story.work(int(message.body))
                except Down:
                    await message.nack(requeue=True)
                else:
                    await message.ack()

        source = await channel.get_queue(queue)
        tag = await source.consume(handler)
        await story.ended()
        await source.cancel(tag)


async def guarded_queue(url: str, queue: str, story: Story) -> None:
    async def handler(delivery: Delivery) -> None:
        story.returns = max(story.returns, int(str(delivery.headers.get("x-delivery-count") or 0)))
        await story.work(int(delivery.body or b""))

    await under_guard(RabbitMQIntake(url, queue, prefetch=PREFETCH), handler, story)


async def bare_topic(bootstrap: str, topic: str, story: Story) -> None:
    """A loop that tries three times, dead-letters, and commits."""
    consumer = new_consumer(bootstrap, topic)
    await consumer.start()
    try:
        while len(story.order) + len(story.dead) < story.messages:
            record = await consumer.getone()
            for attempt in range(ATTEMPTS):
                try:
                    await story.work(int(record.value))
                    break
                except Down:
                    await asyncio.sleep(0.05)
                    if attempt == ATTEMPTS - 1:
                        story.dead.append(int(record.value))
            await consumer.commit()
    finally:
        await consumer.stop()


async def guarded_topic(bootstrap: str, topic: str, story: Story) -> None:
    async def handler(delivery: Delivery) -> None:
        await story.work(int(delivery.body or b""))

    await under_guard(KafkaIntake(new_consumer(bootstrap), topics=[topic]), handler, story)


async def under_guard(intake: Any, handler: Callable[[Delivery], Awaitable[None]], story: Story) -> None:
    async with Guard(signals=False) as guard:
        payments = Dependency("payments", failures=Down, settings=SETTINGS)
        run = asyncio.create_task(guard.run(intake, handler, needs=[payments], order="source"))
        ended = asyncio.create_task(story.ended())
        await asyncio.wait({run, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
    await run


def new_consumer(bootstrap: str, *topics: str) -> AIOKafkaConsumer:
    group = f"cost-{uuid.uuid4().hex[:8]}"
    return AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")


async def on_rabbitmq(messages: int, outage: float) -> dict[str, Story]:
    stories = {}
    async with shared_rabbitmq() as server:
        for kind, arguments in QUEUES.items():
            for name, loop in {"without": bare_queue, "with holdgate": guarded_queue}.items():
                queue = await server.declare(f"cost-{uuid.uuid4().hex[:8]}", arguments)
                await server.publish(queue, [b"%d" % number for number in range(messages)])
                stories[f"RabbitMQ {server.version}, {kind}", name] = story = Story(messages, outage, name)
                await loop(server.url, queue, story)
                await server.delete(queue)
    return stories


async def on_kafka(messages: int, outage: float) -> dict[str, Story]:
    stories = {}
    async with shared_kafka() as server:
        for name, loop in {"without": bare_topic, "with holdgate": guarded_topic}.items():
            topic = await server.create_topic(f"cost-{uuid.uuid4().hex[:8]}", 1)
            await server.produce(topic, [b"%d" % number for number in range(messages)], partition=0)
            stories["Kafka, one partition", name] = story = Story(messages, outage, name)
            await loop(server.bootstrap, topic, story)
    return stories


async def run(messages: int, outage: float) -> None:
    print("| broker | guard | lost | dead-lettered | handler calls | of them failed | most returns of one message | out of order |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for scene in (on_rabbitmq, on_kafka):
        try:
            for (broker, guard), story in (await scene(messages, outage)).items():
                print(f"| {broker} | {guard} | {' | '.join(story.row())} |", flush=True)
        except Unavailable as error:
            print(error, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--outage", type=float, default=1.5, help="seconds that each of the three outages lasts")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"CPython {platform.python_version()}, aiokafka {version('aiokafka')}, aio-pika {version('aio-pika')};", end=" ")
    print(f"{options.messages} messages, {OUTAGES} outages of {options.outage:g} s\n")
    asyncio.run(run(options.messages, options.outage))


if __name__ == "__main__":
    main()
