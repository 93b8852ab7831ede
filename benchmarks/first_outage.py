"""The first outage of a process: from the raised exception to the plan that pauses the partition, each time in a process of its own.

    python -m benchmarks.first_outage [--rounds 15]

A worker that has run for weeks without a failure meets its first one: what is imported, looked up or made at the first failure is made
then. In memory, with a circuit that opens at the first failure and a log that is written to nowhere. What is counted is CPU time, because
nothing is waited for in between; the rows have the median of the processes, and the least. The second row is what the same steps cost while
their code is in the processor's caches: the least of thirty outages that follow on one another.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.testing import MemoryBroker, MemoryIntake

SETTLED = 0.3  # seconds after which a start is over
AGAIN = 30  # outages after the first


class Down(Exception):
    """The dependency is down."""


class Timed(MemoryIntake):
    """Notes the seconds from each failure to the plan that pauses the partition, and the modules that the first one has imported."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker, topics=["orders"])
        self.raised_at = 0.0
        self.modules: set[str] = set()
        self.imported: list[str] = []
        self.seconds: list[float] = []
        self.ended = asyncio.Event()

    def apply(self, plan: Any) -> None:
        if self.raised_at and any(each.held for each in plan.sources.values()):
            self.seconds.append(time.thread_time() - self.raised_at)
            self.raised_at = 0.0
            self.imported = self.imported or sorted(set(sys.modules) - self.modules)
            if len(self.seconds) > AGAIN:
                self.ended.set()
        super().apply(plan)

    async def fail(self, _: Delivery[Any]) -> None:
        """The handler: everything fails."""
        if not self.seconds:
            await asyncio.sleep(SETTLED)
            gc.collect()
            self.modules.update(sys.modules)
        self.raised_at = time.thread_time()
        raise Down


async def outages() -> Timed:
    """A worker whose every message fails, until it has been down often enough."""
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"one")
    timed = Timed(broker)
    settings = CircuitSettings(consecutive_failures=1, open_duration=0.01, open_duration_max=0.01, open_jitter=0.0)
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(timed, timed.fail, needs=[Dependency("payments", failures=Down, settings=settings)]))
        await asyncio.wait({run, asyncio.ensure_future(timed.ended.wait())}, return_when=asyncio.FIRST_COMPLETED)
        await guard.stop()
        await run
    return timed


def once() -> None:
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - pathlib is among what a first outage might import
        logging.basicConfig(stream=nowhere, level=logging.INFO)
        timed = asyncio.run(outages())
    print(timed.seconds[0], min(timed.seconds[1:]), *timed.imported)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--once", action="store_true", help="one outage, in this process: its seconds, and the modules it has imported")
    options = parser.parse_args()
    if options.once:
        once()
        return
    taken: list[tuple[float, float]] = []
    modules: set[str] = set()
    for _ in range(options.rounds):
        command = [sys.executable, "-m", "benchmarks.first_outage", "--once"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this very file
        first, later, *imported = done.stdout.split()
        taken.append((float(first) * 1e6, float(later) * 1e6))
        modules.update(imported)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {options.rounds} processes\n")
    print("| from the failure to the plan that pauses the partition | µs of CPU, median | least |\n|---|---|---|")
    for name, column in zip(("the first outage of a process", f"the quickest of the next {AGAIN}"), zip(*taken, strict=True), strict=True):
        print(f"| {name} | {statistics.median(column):,.0f} | {min(column):,.0f} |")
    print(f"\nModules imported in it: {', '.join(sorted(modules)) or 'none'}.")


if __name__ == "__main__":
    main()
