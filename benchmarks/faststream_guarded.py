"""A FastStream subscriber with and without a guard, on Kafka and on RabbitMQ, in rounds of random order.

    python -m benchmarks.faststream_guarded [--bootstrap HOST:PORT] [--url AMQP] [--messages 2000] [--rounds 11]

On Kafka, FastStream's default settles a record before its handler has run, and lets aiokafka commit every five seconds. The other policy
settles after the handler, and commits each record. A guarded subscriber settles after the handler and commits once a second. On RabbitMQ
FastStream acks each message by itself, and a guard joins the acks. What is counted is the CPU time of the process, and beside it the wall
clock, in which a commit waits.

A guard is a middleware. So there is a row with one that does nothing: what it costs, no guard can be cheaper than. The first tables have a
handler that does nothing, and the second ones a handler that waits for a millisecond, as for an answer.

Only where FastStream is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import random
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any, NamedTuple

import aio_pika
from benchmarks.rabbitmq_throughput import fill
from faststream import AckPolicy, BaseMiddleware
from faststream.kafka import KafkaBroker
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from tests.servers.kafka_address import KafkaAddress
from tests.servers.resolve import shared_kafka, shared_rabbitmq
from tests.servers.unavailable import Unavailable

from holdgate import CircuitSettings, Dependency
from holdgate.integrations.faststream import FastStreamGuard

PARTITIONS = 4
PREFETCH = 100
PAYLOAD = b"x" * 100
WAIT = 0.001

Seconds = tuple[float, float]  # of CPU and of the wall clock


class Nothing(BaseMiddleware[Any, Any]):
    """The least that a middleware can be."""


class Row(NamedTuple):
    """One way to have a subscriber."""

    policy: AckPolicy
    guard: bool = False
    middleware: bool = False


class Count:
    """The time from the first message to the last."""

    def __init__(self, messages: int) -> None:
        self._left = messages
        self._begun: Seconds | None = None
        self.ended: asyncio.Future[Seconds] = asyncio.get_running_loop().create_future()

    def tick(self) -> None:
        if self._begun is None:
            self._begun = time.process_time(), time.perf_counter()
        self._left -= 1
        if self._left == 0:
            cpu, wall = self._begun
            self.ended.set_result((time.process_time() - cpu, time.perf_counter() - wall))


def need() -> Dependency:
    return Dependency("downstream", settings=CircuitSettings(slow_call_duration=1.0))


async def run(broker: Any, subscriber: Any, count: Count, guarded: FastStreamGuard | None, wait: float) -> Seconds:
    @subscriber
    async def handler(_body: bytes) -> None:
        if wait:
            await asyncio.sleep(wait)
        count.tick()

    async with AsyncExitStack() as stack:
        if guarded is not None:
            await stack.enter_async_context(guarded)
        await broker.start()
        taken = await count.ended
    await broker.stop()
    return taken


def around(broker: Any, row: Row) -> FastStreamGuard | None:
    if row.middleware:
        broker.insert_middleware(Nothing)
    return FastStreamGuard(broker, needs=[need()]) if row.guard else None


async def kafka(where: str, topic: str, messages: int, row: Row, wait: float) -> Seconds:
    broker = KafkaBroker(where, logger=None)
    guarded = around(broker, row)
    listener = None if guarded is None else guarded.listener
    group = f"bench-{uuid.uuid4().hex[:8]}"
    subscriber = broker.subscriber(topic, group_id=group, auto_offset_reset="earliest", ack_policy=row.policy, listener=listener)
    return await run(broker, subscriber, Count(messages), guarded, wait)


async def rabbitmq(where: str, queue: str, messages: int, row: Row, wait: float) -> Seconds:
    broker = RabbitBroker(where, logger=None)
    guarded = around(broker, row)
    channel = Channel(prefetch_count=PREFETCH)
    subscriber = broker.subscriber(RabbitQueue(queue, declare=False), channel=channel, ack_policy=row.policy)
    return await run(broker, subscriber, Count(messages), guarded, wait)


Loop = Callable[..., Awaitable[Seconds]]
ONE_BY_ONE = "FastStream, `NACK_ON_ERROR`"
KAFKA = {
    "FastStream, its default": Row(AckPolicy.ACK_FIRST),
    "the same with a middleware that does nothing": Row(AckPolicy.ACK_FIRST, middleware=True),
    ONE_BY_ONE: Row(AckPolicy.NACK_ON_ERROR),
    "guarded": Row(AckPolicy.MANUAL, guard=True),
}
RABBITMQ = {
    "FastStream, its default": Row(AckPolicy.REJECT_ON_ERROR),
    "the same with a middleware that does nothing": Row(AckPolicy.REJECT_ON_ERROR, middleware=True),
    "guarded": Row(AckPolicy.MANUAL, guard=True),
}


class Place(NamedTuple):
    """Where the messages are, and how many."""

    where: str
    name: str
    messages: int


async def measure(
    loop: Loop, rows: dict[str, Row], place: Place, *, rounds: int, wait: float, refill: Callable[[], Awaitable[None]]
) -> dict[str, list[Seconds]]:
    times: dict[str, list[Seconds]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name in random.sample(list(rows), len(rows)):
            await refill()
            gc.collect()
            taken = await loop(*place, rows[name], wait)
            if number:  # the first round warms everything
                times[name].append((taken[0] / place.messages * 1e6, taken[1] / place.messages * 1e6))
    return times


def report(times: dict[str, list[Seconds]], title: str) -> None:
    reference = next(iter(times.values()))
    print(f"\n{title}\n")
    print("| subscriber | µs of CPU per message, median | least | throughput by the least CPU, default = 1", end="")
    print(" | µs of wall clock, median | throughput by it | quartiles |")
    print("|---|---|---|---|---|---|---|")
    for name, values in times.items():
        ratios = [base[1] / value[1] for base, value in zip(reference, values, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        cpu, wall = zip(*values, strict=True)
        by_cpu = min(base[0] for base in reference) / min(cpu)
        of_cpu = f"{statistics.median(cpu):.1f} | {min(cpu):.1f} | {by_cpu:.2f}"
        of_wall = f"{statistics.median(wall):.1f} | {statistics.median(ratios):.2f} | {low:.2f} to {high:.2f}"
        print(f"| {name} | {of_cpu} | {of_wall} |", flush=True)


TITLES = {0.0: "a handler that does nothing", WAIT: "a handler that waits for a millisecond"}


async def on_kafka(where: str, messages: int, rounds: int) -> None:
    server = KafkaAddress(where)
    topic = await server.create_topic(f"bench-{uuid.uuid4().hex[:8]}", PARTITIONS)
    for partition in range(PARTITIONS):
        await server.produce(topic, [PAYLOAD] * (messages // PARTITIONS), partition=partition)

    async def nothing() -> None: ...  # each round has a group of its own

    for wait, title in TITLES.items():
        # A commit for each record takes ten milliseconds and more: with a handler that waits it says nothing new.
        rows = {name: row for name, row in KAFKA.items() if not wait or name != ONE_BY_ONE}
        found = await measure(kafka, rows, Place(where, topic, messages), rounds=rounds, wait=wait, refill=nothing)
        report(found, f"Kafka, {PARTITIONS} partitions, {title}")
    await server.delete_topic(topic)


async def on_rabbitmq(where: str, messages: int, rounds: int) -> None:
    queue = f"bench-{uuid.uuid4().hex[:8]}"
    connection = await aio_pika.connect(where)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)

        async def refill() -> None:
            await fill(where, queue, messages)

        for wait, title in TITLES.items():
            found = await measure(rabbitmq, RABBITMQ, Place(where, queue, messages), rounds=rounds, wait=wait, refill=refill)
            report(found, f"RabbitMQ, classic queue, prefetch {PREFETCH}, {title}")
        await channel.queue_delete(queue)


async def main(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        bootstrap = options.bootstrap or (await stack.enter_async_context(shared_kafka())).bootstrap
        await on_kafka(bootstrap, options.messages, options.rounds)
        url = options.url or (await stack.enter_async_context(shared_rabbitmq())).url
        await on_rabbitmq(url, options.messages, options.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap", help="a running Kafka; left out, one is started")
    parser.add_argument("--url", help="a running RabbitMQ; left out, one is started")
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    print(f"CPython {platform.python_version()}, FastStream {version('faststream')}, {given.messages} messages of 100 bytes")
    try:
        asyncio.run(main(given))
    except Unavailable as error:
        sys.exit(str(error))
