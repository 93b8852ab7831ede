"""Order by key beside serial work: the throughput of handlers that wait 1 to 5 ms, with the order of every key checked.

    python -m benchmarks.by_key

10,000 messages of 1,000 keys on one partition in memory. Serial work is measured on a tenth of them. Then 64 lanes with a handler that
waits 5 ms, beside 64 bare tasks that wait as often and do nothing else: an event loop wakes late, and that is in both.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from holdgate import Delivery, Dependency, Guard
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
    """Messages a second. Raises AssertionError when a key was out of order."""
    broker = MemoryBroker(topics={"orders": 1})
    for number in range(messages):
        broker.produce("orders", b"%d" % number, b"%d" % (number * 7919 % KEYS))
    last: dict[bytes | None, int] = {}
    finished = asyncio.Event()
    count = 0

    async def handler(delivery: Delivery[Any]) -> None:
        nonlocal count
        number = delivery.position
        await work(number)
        assert number > last.get(delivery.key, -1), f"key {delivery.key!r} is out of order"
        last[delivery.key] = number
        count += 1
        if count == messages:
            finished.set()

    async with Guard(signals=False) as guard:
        begin = time.perf_counter()
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[Dependency("payments")], **settings))
        await finished.wait()
        took = time.perf_counter() - begin
        await guard.stop()
        await run
    return messages / took


async def main() -> None:
    serial = await measure(MESSAGES // 10)
    keyed = await measure(MESSAGES, order="key", concurrency=CONCURRENCY)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {MESSAGES:,} messages, {KEYS:,} keys\n")
    print("| work | messages per second | serial = 1 |\n|---|---:|---:|")
    print(f"| one at a time | {serial:,.0f} | 1 |")
    print(f'| `order="key"`, {CONCURRENCY} lanes | {keyed:,.0f} | {keyed / serial:.0f} |')
    # Both in turn: the machine is shared.
    keyed_alike = partial(measure, MESSAGES, wait_alike, order="key", concurrency=LANES)
    pairs = [(await bare_tasks(), await keyed_alike()) for _ in range(5)]
    bare, lanes = max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
    print(f"\n| {LANES} at a time, each waits 5 ms | messages per second, most of 5 | {LANES} ÷ 5 ms = 1 | bare tasks = 1 |")
    print("|---|---:|---:|---:|")
    for name, most in {"bare tasks": bare, f'`order="key"`, {LANES} lanes': lanes}.items():
        print(f"| {name} | {most:,.0f} | {most * WAIT / LANES:.2f} | {most / bare:.2f} |")


if __name__ == "__main__":
    asyncio.run(main())
