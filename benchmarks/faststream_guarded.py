"""A FastStream subscriber with a guard, beside one with each of FastStream's policies, on Kafka and on RabbitMQ, in rounds of random order.

    python -m benchmarks.faststream_guarded [--bootstrap HOST:PORT] [--url AMQP] [--messages 2000] [--rounds 11]

`ACK_FIRST` settles a message before its handler has run. The other policies settle it afterwards, each by itself: on Kafka that is a commit
for each record. A guarded subscriber settles after the handler, too, once a second on Kafka, and several acks in one on RabbitMQ. `MANUAL`
without a guard settles nothing: with a middleware that does nothing it is what no guard can be cheaper than.

What is counted is the CPU time of the process, and beside it the wall clock, in which a commit waits. The throughput of the guarded
subscriber beside another one is the median over all rounds of the quotient within a round, with the range in which that of endless many
rounds lies with 95 % confidence. The first tables have a handler that does nothing, and the second ones a handler that waits for a
millisecond, as for an answer. Subscribers that commit each record get a tenth of the records.

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
from benchmarks.fleet_cost import confident
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
    """One way to have a subscriber. `after_failure` is what becomes of a message whose handler has failed."""

    policy: AckPolicy
    at_crash: str
    after_failure: str
    guard: bool = False
    middleware: bool = False
    share: int = 1  # it gets one of so many messages
    waits: bool = True  # it is in the second table, too


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
GUARDED = "guarded"
KAFKA = {
    "`ACK_FIRST`, the default": Row(AckPolicy.ACK_FIRST, "lost", "lost"),
    "the same with a middleware that does nothing": Row(AckPolicy.ACK_FIRST, "lost", "lost", middleware=True, waits=False),
    "`MANUAL`, nothing settled, a middleware that does nothing": Row(AckPolicy.MANUAL, "", "", middleware=True, waits=False),
    # A commit for each record takes ten milliseconds and more: with a handler that waits it says nothing new. `REJECT_ON_ERROR` is `ACK`
    # here, and FastStream warns of it.
    "`ACK`": Row(AckPolicy.ACK, "comes again", "lost", share=10, waits=False),
    "`NACK_ON_ERROR`": Row(AckPolicy.NACK_ON_ERROR, "comes again", "comes again", share=10, waits=False),
    GUARDED: Row(AckPolicy.MANUAL, "comes again", "held, or tried again", guard=True),
}
RABBITMQ = {
    "`REJECT_ON_ERROR`, the default": Row(AckPolicy.REJECT_ON_ERROR, "comes again", "rejected"),
    "the same with a middleware that does nothing": Row(AckPolicy.REJECT_ON_ERROR, "comes again", "rejected", middleware=True, waits=False),
    "`ACK_FIRST`": Row(AckPolicy.ACK_FIRST, "lost", "lost"),
    "`ACK`": Row(AckPolicy.ACK, "comes again", "lost", waits=False),
    "`NACK_ON_ERROR`": Row(AckPolicy.NACK_ON_ERROR, "comes again", "comes again"),
    GUARDED: Row(AckPolicy.MANUAL, "comes again", "held, or tried again", guard=True),
}


class Place(NamedTuple):
    """Where the messages are, and how many."""

    where: str
    name: str
    messages: int


async def measure(
    loop: Loop, rows: dict[str, Row], place: Place, *, rounds: int, wait: float, refill: Callable[[int], Awaitable[None]]
) -> dict[str, list[Seconds]]:
    times: dict[str, list[Seconds]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name in random.sample(list(rows), len(rows)):
            messages = place.messages // rows[name].share
            await refill(messages)
            gc.collect()
            taken = await loop(place.where, place.name, messages, rows[name], wait)
            if number:  # the first round warms everything
                times[name].append((taken[0] / messages * 1e6, taken[1] / messages * 1e6))
    return times


def report(rows: dict[str, Row], times: dict[str, list[Seconds]], title: str) -> None:
    print(f"\n{title}\n")
    print("| subscriber | a message at a crash | after a failure | µs of CPU per message, median | throughput of guarded beside it", end="")
    print(" | µs of wall clock, median | throughput of guarded beside it |\n|---|---|---|---|---|---|---|")
    for name, values in times.items():
        cells = [name, rows[name].at_crash, rows[name].after_failure]
        for at in range(2):
            ratio, low, high = confident([value[at] / guarded[at] for value, guarded in zip(values, times[GUARDED], strict=True)])
            cells += [f"{statistics.median(value[at] for value in values):.0f}", f"{ratio:.2f} ({low:.2f} to {high:.2f})"]
            if name == GUARDED:
                cells[-1] = "1"
        print(f"| {' | '.join(cells)} |", flush=True)


TITLES = {0.0: "a handler that does nothing", WAIT: "a handler that waits for a millisecond"}


def of_wait(rows: dict[str, Row], wait: float) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if row.waits or not wait}


async def on_kafka(where: str, messages: int, rounds: int) -> None:
    server = KafkaAddress(where)
    topic = await server.create_topic(f"bench-{uuid.uuid4().hex[:8]}", PARTITIONS)
    for partition in range(PARTITIONS):
        await server.produce(topic, [PAYLOAD] * (messages // PARTITIONS), partition=partition)

    async def nothing(_: int) -> None: ...  # each round has a group of its own

    for wait, title in TITLES.items():
        rows = of_wait(KAFKA, wait)
        found = await measure(kafka, rows, Place(where, topic, messages), rounds=rounds, wait=wait, refill=nothing)
        report(rows, found, f"Kafka, {PARTITIONS} partitions, {title}")
    await server.delete_topic(topic)


async def on_rabbitmq(where: str, messages: int, rounds: int) -> None:
    queue = f"bench-{uuid.uuid4().hex[:8]}"
    connection = await aio_pika.connect(where)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)

        async def refill(count: int) -> None:
            await fill(where, queue, count)

        for wait, title in TITLES.items():
            rows = of_wait(RABBITMQ, wait)
            found = await measure(rabbitmq, rows, Place(where, queue, messages), rounds=rounds, wait=wait, refill=refill)
            report(rows, found, f"RabbitMQ, classic queue, prefetch {PREFETCH}, {title}")
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
    versions = f"CPython {platform.python_version()}, FastStream {version('faststream')}"
    print(f"{versions}, {given.rounds} rounds of {given.messages} messages of 100 bytes")
    try:
        asyncio.run(main(given))
    except Unavailable as error:
        sys.exit(str(error))
