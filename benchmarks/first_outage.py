"""The first outage of a process: from the raised exception to the plan that pauses the partition, each time in a process of its own.

    python -m benchmarks.first_outage [--rounds 15]

A worker that has run for weeks without a failure meets its first one: what is imported, looked up or made at the first failure is made
then. In memory, with a circuit that opens at the first failure and a log that is written to nowhere. What is counted is CPU time, because
nothing is waited for in between; the row has the median of the processes, and the least.
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


class Down(Exception):
    """The dependency is down."""


async def outage() -> tuple[float, list[str]]:
    """The seconds from the failure to the plan, and the modules that were imported meanwhile."""
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"one")
    held: asyncio.Future[tuple[float, list[str]]] = asyncio.get_running_loop().create_future()
    raised_at = 0.0
    modules: set[str] = set()

    class Timed(MemoryIntake):
        def apply(self, plan: Any) -> None:
            if raised_at and not held.done():
                held.set_result((time.thread_time() - raised_at, sorted(set(sys.modules) - modules)))
            super().apply(plan)

    async def handler(_: Delivery[Any]) -> None:
        nonlocal raised_at
        await asyncio.sleep(SETTLED)
        gc.collect()
        modules.update(sys.modules)
        raised_at = time.thread_time()
        raise Down

    needs = [Dependency("payments", failures=Down, settings=CircuitSettings(consecutive_failures=1))]
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(Timed(broker, topics=["orders"]), handler, needs=needs))
        await asyncio.wait({run, held}, return_when=asyncio.FIRST_COMPLETED)
        await guard.stop()
        await run
    return held.result()


def once() -> None:
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - pathlib is among what a first outage might import
        logging.basicConfig(stream=nowhere, level=logging.INFO)
        seconds, modules = asyncio.run(outage())
    print(seconds, *modules)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--once", action="store_true", help="one outage, in this process: its seconds, and the modules it has imported")
    options = parser.parse_args()
    if options.once:
        once()
        return
    taken: list[float] = []
    modules: set[str] = set()
    for _ in range(options.rounds):
        command = [sys.executable, "-m", "benchmarks.first_outage", "--once"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this very file
        seconds, *imported = done.stdout.split()
        taken.append(float(seconds) * 1e6)
        modules.update(imported)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {options.rounds} processes\n")
    print("| the first outage of a process | µs of CPU, median | least |\n|---|---|---|")
    print(f"| from the failure to the plan that pauses the partition | {statistics.median(taken):,.0f} | {min(taken):,.0f} |")
    print(f"\nModules imported in it: {', '.join(sorted(modules)) or 'none'}.")


if __name__ == "__main__":
    main()
