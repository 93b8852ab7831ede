"""What being asked costs a worker: CPU time of one status document, and the share of a core that fifty event streams take.

    python -m benchmarks.control

The status is made anew in each round, of a worker all of whose sources are held. The streams are read by another process, over loopback;
what they take of this process's CPU time cannot go into messages. Both are CPU times: others share the cores.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import statistics
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from holdgate import Delivery, Dependency, Guard
from holdgate.control import Control
from holdgate.control.views import Views
from holdgate.flow.history import LastEvents
from holdgate.testing import MemoryBroker, MemoryIntake

ROUNDS = 21
SOURCES = (24, 1_000, 10_000)
STREAMS = 50
SECONDS = 10.0
GOALS = {1_000: "≤ 20", 10_000: "≤ 150"}

READER = f"""
import asyncio, sys
async def read(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    while await reader.read(65536):
        pass
async def main():
    await asyncio.gather(*(read(int(sys.argv[1])) for _ in range({STREAMS})))
asyncio.run(main())
"""


async def handle(delivery: Delivery[Any]) -> None: ...


async def worker(stack: AsyncExitStack, sources: int, control: Control | None = None) -> Guard:
    """A worker that has so many partitions."""
    payments = Dependency("payments", failures=ConnectionError)
    guard = await stack.enter_async_context(Guard(control=control, signals=False))
    intake = MemoryIntake(MemoryBroker(topics={"orders": sources}), topics=["orders"])
    run = asyncio.create_task(guard.run(intake, handle, needs=[payments]))
    stack.push_async_callback(asyncio.wait, {run})
    stack.push_async_callback(guard.stop)
    while len(guard.snapshot().sources) < sources:  # noqa: ASYNC110 - in memory that is a step or two
        await asyncio.sleep(0)
    return guard


async def status(sources: int) -> list[float]:
    """Seconds of CPU for each document."""
    async with AsyncExitStack() as stack:
        guard = await worker(stack, sources)
        guard.force_open("payments", reason="a benchmark")
        await asyncio.sleep(0.1)
        views = Views(guard, LastEvents(), None)
        taken: list[float] = []
        for _ in range(ROUNDS):
            views.expire(whatever_it_cost=True)
            gc.collect()
            start = time.thread_time()
            views.status()
            taken.append(time.thread_time() - start)
            await asyncio.sleep(0)
        return taken


async def streams(sources: int) -> tuple[float, float]:
    """The share of a core without streams and with them."""
    async with AsyncExitStack() as stack:
        control = Control(port=0)
        await worker(stack, sources, control)
        alone = await share()
        port = str(control.url).rpartition(":")[2]
        reader = await asyncio.create_subprocess_exec(sys.executable, "-c", READER, port)
        while control._feed.open_streams < STREAMS:  # noqa: ASYNC110, SLF001 - only a look
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
        watched = await share()
        reader.terminate()
        await reader.wait()
        return alone, watched


async def share() -> float:
    """What this process takes of a core."""
    start = time.process_time()
    await asyncio.sleep(SECONDS)
    return (time.process_time() - start) / SECONDS


def main() -> None:
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores\n")
    print(f"| one status, {ROUNDS} rounds | ms of CPU, median (least to most) | goal |\n|---|---|---|")
    for sources in SOURCES:
        taken = [seconds * 1000 for seconds in asyncio.run(status(sources))]
        figures = f"{statistics.median(taken):.1f} ({min(taken):.1f} to {max(taken):.1f})"
        print(f"| {sources:,} sources, all held | {figures} | {GOALS.get(sources, '')} |")
    print(f"\n| {STREAMS} event streams, {SECONDS:g} s | idle worker, % of a core | with streams | the streams' share | goal |")
    print("|---|---|---|---|---|")
    for sources in SOURCES[:2]:
        alone, watched = asyncio.run(streams(sources))
        print(f"| {sources:,} sources | {alone:.2%} | {watched:.2%} | {watched - alone:.2%} | < 2 % |")


if __name__ == "__main__":
    main()
