"""Order by key beside serial work: the throughput of handlers that wait 1 to 5 ms, with the order of every key checked.

    python -m benchmarks.by_key [--kafka] [--bootstrap HOST:PORT]

10,000 messages of 1,000 keys on one partition in memory. Serial work is measured on a tenth of them. Then 64 lanes with a handler that
waits 5 ms, beside 64 bare tasks that wait as often and do nothing else: an event loop wakes late, and that is in both. `--kafka` does the
second part alone, on a real Kafka; `--bootstrap` names one that runs. The clock begins with the first message there: joining is in none.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from benchmarks.kafka_throughput import filled_topic, new_consumer
from tests.servers.resolve import shared_kafka

from holdgate import Delivery, Dependency, Guard
from holdgate.brokers.kafka import KafkaIntake
from holdgate.ports import Intake
from holdgate.testing import MemoryBroker, MemoryIntake

MESSAGES = 10_000
KEYS = 1_000
CONCURRENCY = 100


LANES = 64
WAIT = 0.005


async def wait_by_number(number: int) -> None:
    """Wait 1 to 5 ms."""
    await asyncio.sleep(0.001 + 0.004 * (number * 31 % 97) / 97)


async def wait_alike(_number: int) -> None:
    """Wait 5 ms."""
    await asyncio.sleep(WAIT)


async def bare_tasks() -> float:
    """Waits a second of as many tasks as there are lanes."""

    async def task() -> None:
        for _ in range(MESSAGES // LANES):
            await asyncio.sleep(WAIT)

    begin = time.perf_counter()
    await asyncio.gather(*(task() for _ in range(LANES)))
    return MESSAGES // LANES * LANES / (time.perf_counter() - begin)


async def measure(messages: int, work: Callable[[int], Awaitable[None]] = wait_by_number, **settings: Any) -> float:
    """Messages a second, in memory."""
    broker = MemoryBroker(topics={"orders": 1})
    for number in range(messages):
        broker.produce("orders", b"%d" % number, key_of(number))
    return await measure_on(MemoryIntake(broker, topics=["orders"]), messages, work, **settings)


def key_of(number: int) -> bytes:
    return b"%d" % (number * 7919 % KEYS)


async def measure_on(intake: Intake[Any], messages: int, work: Callable[[int], Awaitable[None]], **settings: Any) -> float:
    """Messages a second, from the first one on. Raises AssertionError when a key was out of order."""
    last: dict[bytes | None, int] = {}
    finished = asyncio.Event()
    count, begin = 0, 0.0

    async def handler(delivery: Delivery[Any]) -> None:
        nonlocal count, begin
        begin = begin or time.perf_counter()
        number = delivery.position
        await work(number)
        assert number > last.get(delivery.key, -1), f"key {delivery.key!r} is out of order"
        last[delivery.key] = number
        count += 1
        if count == messages:
            finished.set()

    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(intake, handler, needs=[Dependency("payments")], **settings))
        await asyncio.wait({run, asyncio.ensure_future(finished.wait())}, return_when=asyncio.FIRST_COMPLETED)
        took = time.perf_counter() - begin
        await guard.stop()
        await run
    return messages / took


async def on_kafka(bootstrap: str | None) -> None:
    """The second table, on a real Kafka."""
    if bootstrap is None:
        async with shared_kafka() as server:
            await on_kafka(server.bootstrap)
        return
    topic = await filled_topic(bootstrap, MESSAGES, 1, key_of)

    async def keyed() -> float:
        return await measure_on(KafkaIntake(new_consumer(bootstrap), topics=[topic]), MESSAGES, wait_alike, order="key", concurrency=LANES)

    await beside_bare_tasks("Kafka, 64 at a time, each waits 5 ms", keyed)


async def beside_bare_tasks(title: str, keyed_alike: Callable[[], Awaitable[float]]) -> None:
    """Both in turn: the machine is shared."""
    loops = {"bare tasks": bare_tasks, f'`order="key"`, {LANES} lanes': keyed_alike}
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for _ in range(5):
        for name, loop in loops.items():
            begun = time.process_time()
            rate = await loop()
            seen[name].append((rate, (time.process_time() - begun) / MESSAGES * 1e6))
    bare = max(rate for rate, _ in seen["bare tasks"])
    print(f"\n| {title} | messages per second, most of 5 | {LANES} ÷ 5 ms = 1 | bare tasks = 1 | µs of CPU per message, least |")
    print("|---|---:|---:|---:|---:|")
    for name, pairs in seen.items():
        most = max(rate for rate, _ in pairs)
        print(f"| {name} | {most:,.0f} | {most * WAIT / LANES:.2f} | {most / bare:.2f} | {min(cpu for _, cpu in pairs):.0f} |")


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kafka", action="store_true", help="64 lanes on a real Kafka alone")
    parser.add_argument("--bootstrap", help="a running Kafka; left out, one is started")
    options = parser.parse_args()
    if options.kafka:
        logging.disable(logging.CRITICAL)
        print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {MESSAGES:,} messages, {KEYS:,} keys")
        await on_kafka(options.bootstrap)
        return
    serial = await measure(MESSAGES // 10)
    keyed = await measure(MESSAGES, order="key", concurrency=CONCURRENCY)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {MESSAGES:,} messages, {KEYS:,} keys\n")
    print("| work | messages per second | serial = 1 |\n|---|---:|---:|")
    print(f"| one at a time | {serial:,.0f} | 1 |")
    print(f'| `order="key"`, {CONCURRENCY} lanes | {keyed:,.0f} | {keyed / serial:.0f} |')
    await beside_bare_tasks(f"{LANES} at a time, each waits 5 ms", partial(measure, MESSAGES, wait_alike, order="key", concurrency=LANES))


if __name__ == "__main__":
    asyncio.run(main())
