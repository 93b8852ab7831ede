"""Two kinds of messages in one topic or queue, half and half, and what one needs is down: how fast the other goes on.

    python -m benchmarks.mixed_needs

In memory the outage takes ten minutes of virtual time, on real brokers twenty seconds. Messages come at a fixed pace, by keys of their own
for each kind. How many of the mails that come are processed is compared with the same run before the outage. In the end nothing may be
missing, and no key may be out of order. A dead letter would be an error: the runs have no place for one.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aio_pika import Message, connect_robust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.servers.resolve import shared_kafka, shared_rabbitmq
from tests.servers.unavailable import Unavailable

from holdgate import Delivery, Dependency, Guard, needs_by_header
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.ports import Clock, Intake
from holdgate.runtime.clock import SystemClock
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, run_virtual

KEYS = 40  # of each kind
TAKES = 0.002
PATIENCE = 120.0
# Mails that may wait for the worker when the next one is produced. On a quiet machine there are one or two; on a busy one, what is produced
# faster than it can be processed would say nothing of the outage.
BEHIND = 40

T = TypeVar("T")
Produce = Callable[[bytes, str, bytes], Awaitable[object]]  # key, type, body


@dataclass(frozen=True)
class Plan:
    """How a run goes: messages a second, and the seconds before the outage and in it."""

    pace: int
    before: float
    outage: float


IN_MEMORY = Plan(40, 60.0, 600.0)
FOR_REAL = Plan(200, 5.0, 20.0)


@dataclass(frozen=True)
class Span:
    """A part of a run: how many mails were produced and processed in it, and how long it took. A busy machine produces fewer."""

    produced: int
    processed: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """The mails before the outage and in it, and what came of all messages. `held_back`: the mails that only the end of the outage let
    through."""

    before: Span
    in_outage: Span
    held_back: int
    missing: int
    out_of_order: int
    failed_calls: int

    @property
    def ratio(self) -> float:
        """Of the mails that came, how many were processed in the outage, beside how many were before."""
        before, in_outage = self.before, self.in_outage
        return in_outage.processed / in_outage.produced / (before.processed / before.produced)


class Handler:
    """Handles both kinds; while `down` every charge fails."""

    def __init__(self) -> None:
        self.down = False
        self.done: list[tuple[bytes, int]] = []  # key and number
        self.mails = 0
        self.failed = 0

    async def __call__(self, delivery: Delivery[Any]) -> None:
        key, number = (delivery.body or b"").split(b":")
        await asyncio.sleep(TAKES)
        if key.startswith(b"charge"):
            if self.down:
                self.failed += 1
                raise ConnectionError
        else:
            self.mails += 1
        self.done.append((key, int(number)))


async def measure(intake: Intake[Any], produce: Produce, plan: Plan, order: Any, clock: Clock) -> Result:
    """Run one outage."""
    handler = Handler()
    needs = needs_by_header("type", {"charge": [Dependency("payments")], "mail": [Dependency("email")]})
    settings: dict[str, Any] = {"order": order}
    if order == "key":
        settings["key"] = lambda delivery: (delivery.body or b"").split(b":")[0]
    total = 0
    keeps_up = True

    def is_close() -> bool:
        return total // 2 - handler.mails < BEHIND or run.done()

    async def feed(seconds: float) -> Span:
        """Produce at the pace, for so many seconds, unless the worker falls behind: until it is given up, it is waited for."""
        nonlocal total, keeps_up
        loop = asyncio.get_running_loop()
        begin, mails = loop.time(), handler.mails
        for number in range(int(seconds * plan.pace)):  # an even number of them
            kind = ("charge", "mail")[number % 2]
            key = b"%s-%d" % (kind.encode(), number // 2 % KEYS)
            keeps_up = keeps_up and await until(is_close)
            await produce(key, kind, b"%s:%d" % (key, total))
            total += 1
            await asyncio.sleep(max(0.0, begin + number / plan.pace - loop.time()))
        return Span(int(seconds * plan.pace) // 2, handler.mails - mails, loop.time() - begin)

    async with Guard(clock=clock, signals=False) as guard:
        run = asyncio.create_task(guard.run(intake, handler, needs=needs, **settings))
        await feed(2.0)
        before = await feed(plan.before)
        handler.down = True
        in_outage = await feed(plan.outage)
        await until(lambda: handler.mails >= total // 2 or run.done())
        held_back = total // 2 - handler.mails
        handler.down = False
        await until(lambda: len(handler.done) >= total or run.done())
        await guard.stop()
        await run
    last: dict[bytes, int] = {}
    out_of_order = 0
    for key, number in handler.done:
        out_of_order += number < last.get(key, -1)
        last[key] = number
    missing = total - len({number for _, number in handler.done})
    return Result(before, in_outage, held_back, missing, out_of_order, handler.failed)


async def until(condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds, or for as long as anybody has patience. Returns whether it does."""
    for _ in range(int(PATIENCE * 10)):
        if condition():
            return True
        await asyncio.sleep(0.1)
    return False


# -- brokers --------------------------------------------------------------------------------------------------------------------------


async def in_memory(*, queue: bool, order: Any, plan: Plan = IN_MEMORY) -> Result:
    """On the broker in memory, in virtual time."""
    broker = MemoryBroker(queues=["orders"]) if queue else MemoryBroker(topics={"orders": 1})
    intake = MemoryIntake(broker, queues=["orders"]) if queue else MemoryIntake(broker, topics=["orders"])

    async def produce(key: bytes, kind: str, body: bytes) -> None:
        broker.produce("orders", body, None if queue else key, headers={"type": kind})

    return await measure(intake, produce, plan, order, LoopClock())


async def on_kafka(bootstrap: str, topic: str, *, order: Any, plan: Plan = FOR_REAL) -> Result:
    """On a real topic with one partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=uuid.uuid4().hex, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=1)
    await producer.start()

    async def produce(key: bytes, kind: str, body: bytes) -> None:
        await producer.send(topic, body, key, headers=[("type", kind.encode())])

    try:
        return await measure(KafkaIntake(consumer, topics=[topic]), produce, plan, order, SystemClock())
    finally:
        await producer.stop()


async def on_rabbitmq(url: str, queue: str, *, order: Any, plan: Plan = FOR_REAL) -> Result:
    """On a real queue."""
    connection = await connect_robust(url)
    channel = await connection.channel(publisher_confirms=False)

    async def produce(key: bytes, kind: str, body: bytes) -> None:  # the key is in the body, too
        await channel.default_exchange.publish(Message(body, headers={"type": kind}), queue)

    try:
        return await measure(RabbitMQIntake(url, queue), produce, plan, order, SystemClock())
    finally:
        await connection.close()


@asynccontextmanager
async def _topic() -> AsyncIterator[tuple[str, str]]:
    async with shared_kafka() as kafka:
        topic = await kafka.create_topic(f"mixed-{uuid.uuid4().hex[:8]}", 1)
        yield kafka.bootstrap, topic
        await kafka.delete_topic(topic)


@asynccontextmanager
async def _queue() -> AsyncIterator[tuple[str, str]]:
    async with shared_rabbitmq() as rabbitmq:
        queue = await rabbitmq.declare(f"mixed-{uuid.uuid4().hex[:8]}", {"x-queue-type": "quorum"})
        yield rabbitmq.url, queue
        await rabbitmq.delete(queue)


async def _kafka(order: str) -> Result:
    async with _topic() as (bootstrap, topic):
        return await on_kafka(bootstrap, topic, order=order)


async def _rabbitmq(order: str) -> Result:
    async with _queue() as (url, queue):
        return await on_rabbitmq(url, queue, order=order)


def _row(name: str, order: str, plan: Plan, result: Result) -> str:
    assert result.missing == 0, f"{name}: {result.missing} messages are missing"
    assert order == "none" or not result.out_of_order, f"{name}: {result.out_of_order} messages overtook others of their key"
    return (
        f'| {name}, `order="{order}"` | {plan.outage:g} s | {result.before.processed / result.before.seconds:,.1f} |'
        f" {result.in_outage.processed / result.in_outage.seconds:,.1f} | {result.ratio:.2f} |"
        f" {result.failed_calls} |"
    )


def main() -> None:
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores; nothing was lost, and every key kept its order\n")
    print("| | outage of payments | mails a second before | in the outage | ratio | calls that failed |\n|---|---:|---:|---:|---:|---:|")
    for order in ("key", "none"):
        for name, queue in (("topic in memory", False), ("queue in memory", True)):
            print(_row(name, order, IN_MEMORY, run_virtual(in_memory(queue=queue, order=order))), flush=True)
    real: tuple[tuple[str, Callable[[str], Coroutine[Any, Any, Result]]], ...] = (("Kafka", _kafka), ("RabbitMQ", _rabbitmq))
    for order in ("key", "none"):
        for name, run in real:
            try:
                print(_row(name, order, FOR_REAL, asyncio.run(run(order))), flush=True)
            except Unavailable as error:
                sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
