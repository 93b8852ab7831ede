"""What bounds a guarded worker from below: the same messages with nothing of a guard, and with a guard's intake alone.

    python -m benchmarks.floors [--broker kafka|rabbitmq] [--kind quorum] [--messages 20000] [--rounds 9] [--address ADDRESS]

Three loops stand between the bare client, as people write it, and the guard:

- *The client's floor* is the least that the client's public API allows: on Kafka whole polls, an empty handler awaited for each record, and
  a commit a second; on RabbitMQ a callback that does nothing, and one ack for each half of a window.
- *The intake alone* is what a guard reads with and settles with, under a plan that always fetches. The handler is awaited for each
  delivery, and there is no circuit, no lane and no order of anything.
- *Guarded* is the whole. What it is above the intake alone is the guard's own.

CPU time of this process and time on the wall, from the first message to the last one handled: to connect and to close is in neither. On the
wall is also what the broker does on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from tests.servers.resolve import shared_kafka, shared_rabbitmq
from tests.servers.unavailable import Unavailable

from benchmarks import kafka_throughput as kafka
from benchmarks import rabbitmq_throughput as rabbitmq
from holdgate import CircuitSettings, Dependency, Guard
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.flow.message import Settlement, Source
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.ports import Intake

Loop = Callable[[], Awaitable[tuple[float, float]]]  # the seconds of CPU and on the wall
Callback = Callable[[AbstractIncomingMessage], Awaitable[None]]


class Clock:
    """From the first message to the last."""

    def __init__(self, messages: int) -> None:
        self._left = messages
        self._begun = (0.0, 0.0)
        self.ended: asyncio.Future[tuple[float, float]] = asyncio.get_running_loop().create_future()

    async def handler(self, _message: object) -> None:
        """Do nothing but count."""
        if not self._begun[1]:
            self._begun = time.process_time(), time.perf_counter()
        self._left -= 1
        if not self._left:
            self.ended.set_result((time.process_time() - self._begun[0], time.perf_counter() - self._begun[1]))


class Open:
    """The listener of an intake that nothing ever holds."""

    def assigned(self, sources: Collection[Source]) -> Plan:
        return Plan(dict.fromkeys(sources, SourcePlan()), 1)

    async def revoked(self, sources: Collection[Source]) -> None:
        """Nothing is in work."""

    def lost(self, sources: Collection[Source]) -> None:
        """Nothing is in work."""


async def intake_alone(intake: Intake[Any], messages: int) -> tuple[float, float]:
    """What a guard reads and settles with, and nothing else of it."""
    clock = Clock(messages)
    await intake.open(Open())
    try:
        while not clock.ended.done():
            for delivery in await intake.receive():
                await clock.handler(delivery)
                intake.settle(delivery, Settlement.ACK)
    finally:
        await intake.close()
    return clock.ended.result()


async def guarded(intake: Intake[Any], messages: int) -> tuple[float, float]:
    """The whole: one need, a count window and slow calls on."""
    clock = Clock(messages)
    dependency = Dependency("downstream", settings=CircuitSettings(slow_call_duration=1.0))
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(intake, clock.handler, needs=[dependency]))
        await asyncio.wait({run, clock.ended}, return_when=asyncio.FIRST_COMPLETED)
        if not clock.ended.done():
            run.result()
    await run
    return clock.ended.result()


# -- Kafka ----------------------------------------------------------------------------------------------------------------------------


async def one_by_one(bootstrap: str, topic: str, messages: int) -> tuple[float, float]:
    """What people write: `async for`, and a commit a second."""
    consumer = kafka.new_consumer(bootstrap, topic)
    await consumer.start()
    clock, committed = Clock(messages), time.monotonic()
    try:
        async for record in consumer:
            await clock.handler(record)
            if clock.ended.done():
                break
            if time.monotonic() - committed > 1:
                await consumer.commit()
                committed = time.monotonic()
    finally:
        await consumer.stop()
    return clock.ended.result()


async def polls(bootstrap: str, topic: str, messages: int) -> tuple[float, float]:
    """Whole polls, a handler for each record, a commit a second."""
    consumer = kafka.new_consumer(bootstrap, topic)
    await consumer.start()
    clock, committed = Clock(messages), time.monotonic()
    try:
        while not clock.ended.done():
            for records in (await consumer.getmany(timeout_ms=100, max_records=kafka.BATCH)).values():
                for record in records:
                    await clock.handler(record)
            if time.monotonic() - committed > 1:
                await consumer.commit()
                committed = time.monotonic()
    finally:
        await consumer.stop()
    return clock.ended.result()


def kafka_loops(bootstrap: str, topic: str, messages: int) -> dict[str, Loop]:
    def intake() -> KafkaIntake:
        return KafkaIntake(kafka.new_consumer(bootstrap), topics=[topic])

    return {
        "bare `async for`": lambda: one_by_one(bootstrap, topic, messages),
        "the client's floor: polls, a handler per record": lambda: polls(bootstrap, topic, messages),
        "the intake alone": lambda: intake_alone(intake(), messages),
        "guarded": lambda: guarded(intake(), messages),
    }


# -- RabbitMQ -------------------------------------------------------------------------------------------------------------------------


async def consumed(url: str, queue: str, messages: int, callback_of: Callable[[Clock], Callback]) -> tuple[float, float]:
    """aio-pika's consumer with this callback, from the first message to the last."""
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=rabbitmq.PREFETCH)
        clock = Clock(messages)
        await (await channel.get_queue(queue)).consume(callback_of(clock))
        taken = await clock.ended
        await rabbitmq.drained(connection, queue)
        return taken


def processing(clock: Clock) -> Callback:
    """What people write: `message.process()`."""

    async def callback(message: AbstractIncomingMessage) -> None:
        async with message.process():
            await clock.handler(message)

    return callback


def acking_in_runs(clock: Clock) -> Callback:
    """One ack for each half of a window."""
    seen = 0

    async def callback(message: AbstractIncomingMessage) -> None:
        nonlocal seen
        await clock.handler(message)
        seen += 1
        if seen % (rabbitmq.PREFETCH // 2) == 0 or clock.ended.done():
            await message.ack(multiple=True)

    return callback


def rabbitmq_loops(url: str, queue: str, messages: int) -> dict[str, Loop]:
    def filled(loop: Loop) -> Loop:
        async def work() -> tuple[float, float]:
            await rabbitmq.fill(url, queue, messages)
            return await loop()

        return work

    def intake() -> RabbitMQIntake:
        return RabbitMQIntake(url, queue, prefetch=rabbitmq.PREFETCH)

    loops: dict[str, Loop] = {
        "bare callback, `message.process()`": lambda: consumed(url, queue, messages, processing),
        "the client's floor: an ack for each half of a window": lambda: consumed(url, queue, messages, acking_in_runs),
        "the intake alone": lambda: intake_alone(intake(), messages),
        "guarded": lambda: guarded(intake(), messages),
    }
    return {name: filled(loop) for name, loop in loops.items()}


# -- both -----------------------------------------------------------------------------------------------------------------------------


async def measure(loops: dict[str, Loop], messages: int, rounds: int) -> None:
    """Run all of them in turn, and print the table."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name in random.sample(list(loops), len(loops)):
            gc.collect()
            taken = await loops[name]()
            if number:  # the first round warms everything
                seen[name].append((taken[0] / messages * 1e6, taken[1] / messages * 1e6))
    first = next(iter(seen.values()))
    print("| loop | µs of CPU per message, median | least | least, bare = 1 | µs on the wall, median | least | least, bare = 1 |")
    print("|---|---|---|---|---|---|---|")
    for name, times in seen.items():
        cells = [name]
        for bare, column in zip(zip(*first, strict=True), zip(*times, strict=True), strict=True):
            cells += [f"{statistics.median(column):.2f}", f"{min(column):.2f}", f"{min(bare) / min(column):.2f}"]
        print(f"| {' | '.join(cells)} |")


async def on_kafka(options: argparse.Namespace) -> None:
    messages = options.messages or 40_000
    async with AsyncExitStack() as stack:
        address = options.address or (await stack.enter_async_context(shared_kafka())).bootstrap
        print(f"\nKafka, {kafka.PARTITIONS} partitions, {options.rounds} rounds of {messages:,} messages\n")
        await measure(kafka_loops(address, await kafka.filled_topic(address, messages), messages), messages, options.rounds)


async def on_rabbitmq(options: argparse.Namespace) -> None:
    messages = options.messages or 3_000
    async with AsyncExitStack() as stack:
        address = options.address or (await stack.enter_async_context(shared_rabbitmq())).url
        queue = await stack.enter_async_context(rabbitmq.declared_queue(address, options.kind))
        print(f"\nRabbitMQ, {options.kind} queue, prefetch {rabbitmq.PREFETCH}, {options.rounds} rounds of {messages:,} messages\n")
        await measure(rabbitmq_loops(address, queue, messages), messages, options.rounds)


BROKERS = {"kafka": on_kafka, "rabbitmq": on_rabbitmq}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--broker", choices=list(BROKERS), help="left out, both")
    parser.add_argument("--kind", choices=list(rabbitmq.KINDS), default="quorum", help="RabbitMQ: the type of the queue")
    parser.add_argument("--address", help="a running broker of this kind; left out, the tests' own")
    parser.add_argument("--messages", type=int, default=0, help="per round; left out, what suits the broker")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores")
    logging.disable(logging.CRITICAL)
    try:
        for name in [options.broker] if options.broker else BROKERS:
            asyncio.run(BROKERS[name](options))
    except Unavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
