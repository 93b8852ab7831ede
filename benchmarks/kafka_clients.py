"""Kafka through confluent-kafka beside aiokafka: what a message costs in batches, and what a hold makes the client fetch twice.

    python -m benchmarks.kafka_clients [--bootstrap HOST:PORT] [--messages 40000] [--rounds 9]

Throughput is counted in this process's own CPU time from the first message on, librdkafka's threads included; rounds alternate in random
order, each with a fresh group. What a hold costs is counted in bytes of messages: what librdkafka says that it has received, for each byte
that a handler has processed, with a handler that is slower than the fetches, and over an outage with ten probes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import random
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiokafka
import confluent_kafka
from benchmarks.kafka_throughput import BATCH, PARTITIONS, filled_topic, new_consumer
from confluent_kafka.aio import AIOConsumer
from tests.servers.resolve import shared_kafka
from tests.servers.unavailable import Unavailable

from holdgate import CircuitSettings, Delivery, Dependency, Guard, RampSettings, RetryPolicy
from holdgate.brokers.confluent import ConfluentIntake
from holdgate.brokers.kafka import KafkaIntake
from holdgate.core import CircuitHalfOpened

# A message of a kilobyte, as most are; a fetch has a thousand of them.
KILOBYTE = b"x" * 1000
PROBES = 10
SLOW = 0.002  # a handler's call: four lanes do two thousand a second, and a fetch has a thousand


def settings(bootstrap: str, **more: Any) -> dict[str, Any]:
    return {"bootstrap.servers": bootstrap, "group.id": f"bench-{uuid.uuid4().hex[:8]}", "auto.offset.reset": "earliest", **more}


# -- Throughput --------------------------------------------------------------------------------------------------------------------------


async def bare_getmany(bootstrap: str, topic: str, messages: int) -> float:
    """Whole polls of aiokafka, every body read."""
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


async def bare_consume(bootstrap: str, topic: str, messages: int) -> float:
    """Whole polls of confluent-kafka's asyncio consumer, every body read."""
    # With the intake's short queue: what is fetched before the first message comes would not be counted.
    short = {"queued.min.messages": 1000, "fetch.queue.backoff.ms": 10}
    consumer = AIOConsumer(settings(bootstrap, **{"enable.auto.commit": False}, **short), max_workers=2)
    await consumer.subscribe([topic])
    seen, begun = 0, 0.0
    try:
        while seen < messages:
            found = await consumer.consume(BATCH, 0.1)
            begun = begun or time.process_time()
            seen += len([message.value() for message in found])
        return time.process_time() - begun
    finally:
        await consumer.close()


async def guarded_aiokafka(bootstrap: str, topic: str, messages: int) -> float:
    """Batches under a guard, every body read."""
    return await _in_batches(KafkaIntake(new_consumer(bootstrap), topics=[topic]), messages)


async def guarded_confluent(bootstrap: str, topic: str, messages: int) -> float:
    """The same on confluent-kafka."""
    return await _in_batches(ConfluentIntake(settings(bootstrap), topics=[topic]), messages)


async def single_aiokafka(bootstrap: str, topic: str, messages: int) -> float:
    """One message a call."""
    return await _one_by_one(KafkaIntake(new_consumer(bootstrap), topics=[topic]), messages)


async def single_confluent(bootstrap: str, topic: str, messages: int) -> float:
    """The same on confluent-kafka."""
    return await _one_by_one(ConfluentIntake(settings(bootstrap), topics=[topic]), messages)


async def _in_batches(intake: Any, messages: int) -> float:
    seen, begun = 0, 0.0
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(deliveries: Sequence[Delivery]) -> None:
        nonlocal seen, begun
        begun = begun or time.process_time()
        seen += len([delivery.body for delivery in deliveries])
        if seen == messages:
            ended.set_result(time.process_time() - begun)

    return await _run(intake, handler, ended, batch=BATCH)


async def _one_by_one(intake: Any, messages: int) -> float:
    seen, begun = 0, 0.0
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(_delivery: Delivery) -> None:
        nonlocal seen, begun
        begun = begun or time.process_time()
        seen += 1
        if seen == messages:
            ended.set_result(time.process_time() - begun)

    return await _run(intake, handler, ended)


async def _run(intake: Any, handler: Any, ended: asyncio.Future[float], **more: Any) -> float:
    dependency = Dependency("downstream", settings=CircuitSettings(slow_call_duration=1.0))
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(intake, handler, needs=[dependency], **more))
        await asyncio.wait({run, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            run.result()
    await run
    return ended.result()


LOOPS: dict[str, Callable[[str, str, int], Awaitable[float]]] = {
    "aiokafka, `getmany`": bare_getmany,
    "confluent-kafka, `consume`": bare_consume,
    "KafkaIntake, batches of 500": guarded_aiokafka,
    "ConfluentIntake, batches of 500": guarded_confluent,
    "KafkaIntake, one message a call": single_aiokafka,
    "ConfluentIntake, one message a call": single_confluent,
}


async def throughput(bootstrap: str, messages: int, rounds: int) -> dict[str, list[float]]:
    topic = await filled_topic(bootstrap, messages)
    times: dict[str, list[float]] = {name: [] for name in LOOPS}
    for number in range(rounds + 1):
        for name in random.sample(list(LOOPS), len(LOOPS)):
            gc.collect()
            taken = await LOOPS[name](bootstrap, topic, messages)
            if number:  # the first round warms the broker's cache
                times[name].append(taken / messages * 1e6)
    return times


# -- What is fetched twice ---------------------------------------------------------------------------------------------------------------


class Received:
    """The bytes of messages that librdkafka has received, by its statistics."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, text: str) -> None:
        self.bytes = int(json.loads(text)["rxmsg_bytes"])


async def slow_handler(bootstrap: str, messages: int) -> float:
    """Bytes received for each that is handled, with a handler that is slower than the fetches."""
    received, seen = Received(), 0
    topic = await filled_topic(bootstrap, messages, payload=KILOBYTE)
    done = asyncio.Event()

    async def handler(_delivery: Delivery) -> None:
        nonlocal seen
        await asyncio.sleep(SLOW)
        seen += 1
        if seen >= messages:
            done.set()

    intake = ConfluentIntake(settings(bootstrap, stats_cb=received, **{"statistics.interval.ms": 100}), topics=[topic], inbox=50)
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(intake, handler, needs=[Dependency("downstream")]))
        await done.wait()
        await asyncio.sleep(0.5)  # for the last statistics
    await run
    return received.bytes / (seen * len(KILOBYTE))


async def outage(bootstrap: str, messages: int) -> float:
    """Bytes received for each that is handled, over an outage of so many probes in the middle of the messages."""
    received, seen, probes = Received(), 0, 0
    topic = await filled_topic(bootstrap, messages, payload=KILOBYTE)
    done = asyncio.Event()

    def observe(event: object) -> None:
        nonlocal probes
        probes += isinstance(event, CircuitHalfOpened)

    async def handler(_delivery: Delivery) -> None:
        nonlocal seen
        await asyncio.sleep(SLOW)
        if seen >= messages // 3 and probes <= PROBES:
            raise ConnectionError
        seen += 1
        if seen >= messages:
            done.set()

    quick = CircuitSettings(open_duration=0.5, open_duration_max=2.0, ramp=RampSettings(stage_per_relapse=0.0))
    intake = ConfluentIntake(settings(bootstrap, stats_cb=received, **{"statistics.interval.ms": 100}), topics=[topic], inbox=50)
    async with Guard(signals=False, observers=[observe]) as guard:
        need = Dependency("downstream", failures=ConnectionError, settings=quick)
        retry = RetryPolicy(initial_backoff=0.02, max_backoff=0.2)
        run = asyncio.create_task(guard.run(intake, handler, needs=[need], retry=retry))
        await done.wait()
        await asyncio.sleep(0.5)  # for the last statistics
    await run
    return received.bytes / (seen * len(KILOBYTE))


def report(times: dict[str, list[float]], messages: int, slow: float, probed: float) -> None:
    versions = (
        f"aiokafka {aiokafka.__version__}, confluent-kafka {confluent_kafka.version()} (librdkafka {confluent_kafka.libversion()[0]})"
    )
    rounds = len(next(iter(times.values())))
    print(f"CPython {platform.python_version()}, {versions}, {os.cpu_count()} cores, {rounds} rounds of", end=" ")
    print(f"{messages:,} messages of 100 bytes in {PARTITIONS} partitions, CPU time\n")
    print("| loop | µs per message, median | least |")
    print("|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} |")
    batches = min(times["KafkaIntake, batches of 500"]) / min(times["ConfluentIntake, batches of 500"])
    print(f"\nConfluentIntake has {batches:.2f} times the throughput of KafkaIntake in batches, least to least.\n")
    print("| bytes received for each byte handled, messages of 1 kB | |")
    print("|---|---|")
    print(f"| a handler that is slower than the fetches | {slow:.2f} |")
    print(f"| an outage of {PROBES} probes | {probed:.2f} |")


async def run(bootstrap: str | None, messages: int, rounds: int) -> None:
    if bootstrap is None:
        try:
            async with shared_kafka() as server:
                await run(server.bootstrap, messages, rounds)
        except Unavailable as error:
            sys.exit(str(error))
        return
    times = await throughput(bootstrap, messages, rounds)
    report(times, messages, await slow_handler(bootstrap, messages // 4), await outage(bootstrap, messages // 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", help="a running Kafka; left out, one is started")
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # that no dead letters were given is said once a round
    asyncio.run(run(options.bootstrap, options.messages, options.rounds))


if __name__ == "__main__":
    main()
