"""What a fleet costs a worker that is well: its throughput with a fleet's log and without, in turn.

    python -m benchmarks.fleet_cost [--rounds 15] [--messages 300000]

Messages in memory through a handler that does nothing, so that every microsecond of the guard counts. `quiet`: a fleet of which nobody says
anything but this worker. `busy`: nineteen others write twenty records a second, as in an outage of something else. Rounds are in random
order, and what is counted is the thread's own CPU time. The least of the rounds is the one that the neighbours have disturbed least. A
record comes with every so many messages, and not by the clock: where the machine does something else meanwhile, more would come of it.
At last what one record of the others costs a guard that has nothing else to do, from the log in memory on.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import platform
import random
import time
from collections.abc import Callable
from typing import Any

from holdgate import Delivery, Dependency, Guard
from holdgate.fleet.member import FleetMember
from holdgate.fleet.settings import FleetSettings
from holdgate.testing import MemoryBroker, MemoryIntake
from holdgate.testing.memory import MemoryFleetLog, MemoryLogServer

OTHERS = 19
# Of the records whose cost is looked at: those of one look, the looks, and the steps of the loop within which one is through.
TOGETHER, LOOKS, STEPS = 100, 20, 8
# A thread takes 400,000 such messages in a second, and twenty records come in it.
MESSAGES_A_RECORD = 20_000


class Handler:
    """Does nothing but notice its last message, and those with which others `say` something."""

    def __init__(self, messages: int, say: Callable[[], object] | None) -> None:
        self.ended = asyncio.Event()
        self._say = say
        self._last = messages - 1
        self._next = self._last if say is None else 0

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if delivery.position == self._next:
            self._reached()

    def _reached(self) -> None:
        if self._next == self._last or self._say is None:
            self.ended.set()
            return
        self._say()
        self._next = min(self._last, self._next + MESSAGES_A_RECORD)


def broker_with(count: int) -> MemoryBroker:
    broker = MemoryBroker(topics={"orders": 1})
    for number in range(count):
        broker.produce("orders", b"%d" % number)
    return broker


def beats(count: int) -> list[list[bytes]]:
    """Return what nineteen others write, one after the other. Made before the time is taken: their work is not this worker's."""
    others = [FleetMember(f"{number:012x}", FleetSettings(), random.random) for number in range(1, OTHERS + 1)]
    for other in others:
        other.add("payments", Dependency("payments", failures=OSError).settings, 0.0)
    # By their own clocks: each time is one at which they speak.
    return [others[number % OTHERS].take_records(60.0 * number)[:1] for number in range(count)]


async def once(messages: int, server: MemoryLogServer | None, *, busy: bool) -> float:
    """Return the CPU seconds of one thread for so many messages."""
    broker = broker_with(messages)
    payments = Dependency("payments", failures=OSError)
    log = None if server is None else MemoryFleetLog(server)
    said = iter(beats(messages // MESSAGES_A_RECORD + 2))
    async with Guard(signals=False, fleet=log) as guard:
        await asyncio.sleep(0.05)
        gc.collect()
        gc.disable()
        began = time.thread_time()
        handler = Handler(messages, (lambda: server.store(next(said))) if busy and server is not None else None)
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments]))
        await handler.ended.wait()
        took = time.thread_time() - began
        gc.enable()
        await guard.stop()
        await run
    return took


async def a_record() -> float:
    """Return the CPU seconds of one thread for a record of somebody else."""
    server, payments = MemoryLogServer(), Dependency("payments", failures=OSError)
    said = iter(beats((LOOKS + 1) * TOGETHER))
    took: dict[bool, list[float]] = {True: [], False: []}
    async with Guard(signals=False, fleet=MemoryFleetLog(server)) as guard:
        run = asyncio.create_task(guard.run(MemoryIntake(broker_with(0), topics=["orders"]), Handler(1, None), needs=[payments]))
        for _ in range(TOGETHER):  # they join
            server.store(next(said))
            await asyncio.sleep(0.001)
        for _ in range(LOOKS):
            for speaks in (True, False):
                began = time.thread_time()
                for _ in range(TOGETHER):
                    if speaks:
                        server.store(next(said))
                    for _ in range(STEPS):
                        await asyncio.sleep(0)
                took[speaks].append(time.thread_time() - began)
        await guard.stop()
        await run
    return (min(took[True]) - min(took[False])) / TOGETHER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--messages", type=int, default=300_000)
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    kinds = {"without": (False, False), "quiet": (True, False), "busy": (True, True)}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(chosen.rounds):
        for kind in random.sample(list(kinds), len(kinds)):
            has_log, busy = kinds[kind]
            taken[kind].append(asyncio.run(once(chosen.messages, MemoryLogServer() if has_log else None, busy=busy)))
    least = {kind: min(times) for kind, times in taken.items()}
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {chosen.rounds} rounds\n")
    print("| fleet | us a message | throughput, without a fleet = 1 |\n| --- | --- | --- |")
    for kind, seconds in least.items():
        print(f"| {kind} | {seconds / chosen.messages * 1e6:.2f} | {least['without'] / seconds:.3f} |")
    print(f"\nA record of somebody else costs {asyncio.run(a_record()) * 1e6:.0f} us.")


if __name__ == "__main__":
    main()
