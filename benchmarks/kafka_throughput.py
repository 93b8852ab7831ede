"""Kafka: a guarded worker beside the bare client, one message at a time and in batches, on the same broker and the same messages.

    python -m benchmarks.kafka_throughput [--bootstrap HOST:PORT] [--messages 40000] [--rounds 15]

Rounds alternate in random order, each with a fresh group over the same topic; what is printed are medians and the quartiles of the ratio.
What is counted is this process's own CPU time from the first message on: joining the group is in neither figure, and neither is what the
broker or a neighbour does to the clock on the wall. Without `--bootstrap` it is the tests' broker: HOLDGATE_TEST_KAFKA, Docker, or its own.
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
import uuid
from collections.abc import Awaitable, Callable, Sequence

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.servers.resolve import shared_kafka
from tests.servers.unavailable import Unavailable

from benchmarks import faststream_loops
from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.brokers.kafka import KafkaIntake

PARTITIONS = 4
PAYLOAD = b"x" * 100
BATCH = 500


def new_consumer(bootstrap: str, *topics: str) -> AIOKafkaConsumer:
    group = f"bench-{uuid.uuid4().hex[:8]}"
    return AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")


async def bare(bootstrap: str, topic: str, messages: int) -> float:
    """What people write: `async for`, and a commit a second."""
    consumer = new_consumer(bootstrap, topic)
    await consumer.start()
    seen, begun, committed = 0, 0.0, time.monotonic()
    try:
        async for record in consumer:
            begun = begun or time.process_time()
            await no_op(record)
            seen += 1
            if seen == messages:
                return time.process_time() - begun
            if not seen % 1000 and time.monotonic() - committed > 1:
                await consumer.commit()
                committed = time.monotonic()
    finally:
        await consumer.stop()
    raise RuntimeError("the topic ended early")


async def bare_batches(bootstrap: str, topic: str, messages: int) -> float:
    """The fastest the bare client can do: whole polls, nothing per message."""
    consumer = new_consumer(bootstrap, topic)
    await consumer.start()
    seen, begun = 0, 0.0
    try:
        while seen < messages:
            for records in (await consumer.getmany(timeout_ms=100, max_records=BATCH)).values():
                begun = begun or time.process_time()
                seen += len(records)
        return time.process_time() - begun
    finally:
        await consumer.stop()


async def guarded(bootstrap: str, topic: str, messages: int) -> float:
    """The same work under a guard, one need, a count window and slow calls on."""
    begun = 0.0
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    seen = 0

    async def handler(delivery: Delivery) -> None:
        nonlocal seen, begun
        begun = begun or time.process_time()
        seen += 1
        if seen == messages:
            ended.set_result(time.process_time() - begun)

    dependency = Dependency("downstream", settings=CircuitSettings(slow_call_duration=1.0))
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(KafkaIntake(new_consumer(bootstrap), topics=[topic]), handler, needs=[dependency]))
        await asyncio.wait({run, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            run.result()
    await run
    return ended.result()


async def guarded_batches(bootstrap: str, topic: str, messages: int) -> float:
    """Whole batches under a guard, nothing per message: what `getmany` is to the bare client."""
    return await _in_batches(bootstrap, topic, messages, lambda _deliveries: None)


async def bare_batches_read(bootstrap: str, topic: str, messages: int) -> float:
    """Whole polls, every body read: the least that work does."""
    consumer = new_consumer(bootstrap, topic)
    await consumer.start()
    seen, begun = 0, 0.0
    try:
        while seen < messages:
            for records in (await consumer.getmany(timeout_ms=100, max_records=BATCH)).values():
                begun = begun or time.process_time()
                seen += len([record.value for record in records])
        return time.process_time() - begun
    finally:
        await consumer.stop()


async def guarded_batches_read(bootstrap: str, topic: str, messages: int) -> float:
    """The same under a guard: a delivery is made of each record."""
    return await _in_batches(bootstrap, topic, messages, lambda deliveries: [delivery.body for delivery in deliveries])


async def _in_batches(bootstrap: str, topic: str, messages: int, work: Callable[[Sequence[Delivery]], object]) -> float:
    begun = 0.0
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    seen = 0

    async def handler(deliveries: Sequence[Delivery]) -> None:
        nonlocal seen, begun
        begun = begun or time.process_time()
        work(deliveries)
        seen += len(deliveries)
        if seen == messages:
            ended.set_result(time.process_time() - begun)

    dependency = Dependency("downstream", settings=CircuitSettings(slow_call_duration=1.0))
    async with Guard(signals=False) as guard:
        intake = KafkaIntake(new_consumer(bootstrap), topics=[topic])
        run = asyncio.create_task(guard.run(intake, handler, needs=[dependency], batch=BATCH))
        await asyncio.wait({run, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            run.result()
    await run
    return ended.result()


async def no_op(_record: object) -> None:
    """The handler of the bare loop."""


async def filled_topic(
    bootstrap: str,
    messages: int,
    partitions: int = PARTITIONS,
    key_of: Callable[[int], bytes | None] = lambda _number: None,
    payload: bytes = PAYLOAD,
) -> str:
    """A new topic with so many messages, by its name. `key_of` gives the key of each by its number."""
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20)
    await producer.start()
    for number in range(messages):
        await producer.send(topic, payload, key_of(number), partition=number % partitions)
    await producer.stop()
    return topic


Loop = Callable[[str, str, int], Awaitable[float]]
LOOPS: dict[str, Loop] = {
    "bare `async for`": bare,
    "guarded, one message per call": guarded,
    "bare `getmany`": bare_batches,
    "guarded, batches of 500": guarded_batches,
    "bare `getmany`, every body read": bare_batches_read,
    "guarded, batches of 500, every body read": guarded_batches_read,
    **({"FastStream": faststream_loops.kafka} if faststream_loops.INSTALLED else {}),
}


async def measure(bootstrap: str, messages: int, rounds: int) -> dict[str, list[float]]:
    topic = await filled_topic(bootstrap, messages)
    times: dict[str, list[float]] = {name: [] for name in LOOPS}
    for number in range(rounds + 1):
        for name in random.sample(list(LOOPS), len(LOOPS)):
            gc.collect()
            taken = await LOOPS[name](bootstrap, topic, messages)
            if number:  # the first round warms the broker's cache
                times[name].append(taken / messages * 1e6)
    return times


async def run(bootstrap: str | None, messages: int, rounds: int) -> dict[str, list[float]]:
    if bootstrap is not None:
        return await measure(bootstrap, messages, rounds)
    try:
        async with shared_kafka() as server:
            return await measure(server.bootstrap, messages, rounds)
    except Unavailable as error:
        sys.exit(str(error))


def report(times: dict[str, list[float]], messages: int) -> None:
    reference = times["bare `async for`"]
    print(
        f"CPython {platform.python_version()}, aiokafka {aiokafka.__version__}, {os.cpu_count()} cores, {len(reference)} rounds of", end=" "
    )
    print(f"{messages:,} messages of 100 bytes in {PARTITIONS} partitions, CPU time\n")
    # The least is what a loop costs while no neighbour empties the caches: a guard keeps more in hand than a loop, and suffers more.
    print("| loop | µs per message, median | least | throughput, bare `async for` = 1 | quartiles | least to least |")
    print("|---|---|---|---|---|---|")
    for name, values in times.items():
        ratios = [base / value for base, value in zip(reference, values, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        middle, least, ratio = statistics.median(values), min(values), statistics.median(ratios)
        print(f"| {name} | {middle:.2f} | {least:.2f} | {ratio:.2f} | {low:.2f} to {high:.2f} | {min(reference) / least:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", help="a running Kafka; left out, one is started")
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # that no dead letters were given is said once a round
    report(asyncio.run(run(options.bootstrap, options.messages, options.rounds)), options.messages)


if __name__ == "__main__":
    main()
