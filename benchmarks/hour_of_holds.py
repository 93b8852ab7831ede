"""Does memory grow? An hour of holds in virtual time: 200 outages and a million messages, in a minute or two.

    python -m benchmarks.hour_of_holds [--outages 200] [--messages 1000000]

The broker keeps nothing: its intake makes messages up, ten partitions of them, and forgets what is settled. So all that could grow is the
guard's. After each outage the garbage is collected, and two things are looked at: how many blocks Python has allocated, which is exact, and
the resident memory. The slope of both is that over the second half, by least squares; the first half fills caches that have a bound.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import platform
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from benchmarks.held_memory import resident
from benchmarks.soak import slope

from holdgate import CircuitSettings, Delivery, Dependency, Guard, Partition, Settlement, State
from holdgate.flow.message import Backlog, Source
from holdgate.flow.plan import Plan
from holdgate.ports import IntakeListener
from holdgate.testing import LoopClock, run_virtual

PARTITIONS = tuple(Partition("orders", number) for number in range(10))
HOLD = 10.0  # seconds that an outage lasts; the worker is busy before it, and comes back after it
HOUR = 3600.0
POLL = 50
IDLE = 0.5  # seconds that an empty poll takes
MOMENT = 0.1  # between two looks at what the story waits for


class Down(Exception):
    """The dependency is down."""


class Made(Delivery[int]):
    """A message that was made up."""

    __slots__ = ()

    @property
    def position(self) -> int:
        return self.message

    @property
    def body(self) -> bytes:
        return b"x"

    @property
    def key(self) -> None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        return {}

    @property
    def timestamp(self) -> None:
        return None


class Endless:
    """An intake without a broker: it makes as many messages as it may (`left`)."""

    names: Collection[str] = ("orders",)
    order = "source"
    inbox = 500
    rebalance_timeout = 10.0

    def __init__(self) -> None:
        self.left = 0
        self.settled = 0
        self._made = 0
        self._plan = Plan()

    async def open(self, listener: IntakeListener) -> None:
        self._plan = listener.assigned(PARTITIONS)

    async def receive(self) -> Sequence[Delivery[int]]:
        may = [source for source in PARTITIONS if self._plan.of(source).fetch]
        await asyncio.sleep(IDLE if self.left <= 0 or not may else 0)
        found: list[Delivery[int]] = []
        for source in may:
            count = min(POLL, self.left)
            found += [Made(source, self._made + number) for number in range(count)]
            self._made += count
            self.left -= count
        return found

    def apply(self, plan: Plan) -> None:
        self._plan = plan

    def settle(self, delivery: Delivery[int], settlement: Settlement) -> None:  # noqa: ARG002 - whatever it is, it is over
        self.settled += 1

    async def flush(self) -> bool:
        return True

    async def backlog(self) -> Mapping[Source, Backlog]:
        return {}

    async def close(self) -> None: ...


async def until(condition: Callable[[], bool], run: asyncio.Task[None]) -> None:
    while not condition():
        if run.done():
            run.result()
            raise RuntimeError("the run has ended")
        await asyncio.sleep(MOMENT)


async def story(outages: int, messages: int) -> list[tuple[float, int, int]]:
    """The virtual second, the blocks and the bytes after each outage."""
    is_down = False
    failed = 0

    async def handler(_: Delivery[int]) -> None:
        nonlocal failed
        if is_down:
            failed += 1
            raise Down

    # One outage every 18 seconds is one relapse after the other, whose waits would make days of the hour.
    settings = CircuitSettings(open_duration=2.0, open_multiplier=1.0)
    intake, payments = Endless(), Dependency("payments", failures=Down, settings=settings)
    seen: list[tuple[float, int, int]] = []
    async with Guard(signals=False, clock=LoopClock()) as guard:
        run = asyncio.create_task(guard.run(intake, handler, needs=[payments]))
        for number in range(1, outages + 1):
            wanted = messages * number // outages
            intake.left = wanted - intake.settled - 100
            await until(lambda: intake.left <= 0 and intake.settled >= wanted - 100, run)  # noqa: B023 - awaited in its round
            is_down = True
            intake.left = 100
            await until(lambda: payments.circuit.state is State.OPEN, run)
            await asyncio.sleep(HOLD)
            is_down = False
            await until(lambda: payments.circuit.state is State.CLOSED and intake.settled >= wanted, run)  # noqa: B023 - as above
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, HOUR * number / outages - now))
            gc.collect()
            seen.append((asyncio.get_running_loop().time(), sys.getallocatedblocks(), resident()))
        await guard.stop()
        await run
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hour_of_holds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--outages", type=int, default=200)
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    seen = run_virtual(story(options.outages, options.messages))
    half = seen[len(seen) // 2 :]
    blocks = slope([(at, blocks) for at, blocks, _ in half]) * HOUR
    size = slope([(at, size) for at, _, size in half]) * HOUR
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, virtual time\n")
    print("| an hour of holds | slope in an hour | at its end |\n|---|---:|---:|")
    what = f"{options.outages:,} outages, {options.messages:,} messages"
    print(f"| {what}: blocks that Python has allocated | {blocks:+,.0f} | {half[-1][1]:,} |")
    print(f"| {what}: resident memory, kB | {size / 1000:+,.0f} | {half[-1][2] / 1000:,.0f} |")


if __name__ == "__main__":
    main()
