"""What a fleet costs a worker that is well: its throughput with a fleet's log and without, in turn.

    python -m benchmarks.fleet_cost [--rounds 15] [--messages 300000]

Messages in memory through a handler that does nothing, so that every microsecond of the guard counts. `quiet`: a fleet of which nobody says
anything but this worker. `busy`: nineteen others write twenty records a second, as in an outage of something else. Rounds are in random
order, and what is counted is the thread's own CPU time. The least of the rounds is the one that the neighbours have disturbed least.
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
from typing import Any

from holdgate import Delivery, Dependency, Guard
from holdgate.fleet.member import FleetMember
from holdgate.fleet.settings import FleetSettings
from holdgate.testing import MemoryBroker, MemoryIntake
from holdgate.testing.memory import MemoryFleetLog, MemoryLogServer

OTHERS = 19
RECORDS_A_SECOND = 20


class Handler:
    """Does nothing but notice its last message."""

    def __init__(self, messages: int) -> None:
        self.last = messages - 1
        self.ended = asyncio.Event()

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if delivery.position == self.last:
            self.ended.set()


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


async def chatter(server: MemoryLogServer, records: list[list[bytes]]) -> None:
    for each in records:
        server.store(each)
        await asyncio.sleep(1 / RECORDS_A_SECOND)


async def once(messages: int, server: MemoryLogServer | None, *, busy: bool) -> float:
    """Return the CPU seconds of one thread for so many messages."""
    broker = broker_with(messages)
    payments = Dependency("payments", failures=OSError)
    log = None if server is None else MemoryFleetLog(server)
    said = beats(1000) if busy else []
    talking = asyncio.create_task(chatter(server, said)) if busy and server is not None else None
    async with Guard(signals=False, fleet=log) as guard:
        await asyncio.sleep(0.05)
        gc.collect()
        gc.disable()
        began = time.thread_time()
        handler = Handler(messages)
        run = asyncio.create_task(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[payments]))
        await handler.ended.wait()
        took = time.thread_time() - began
        gc.enable()
        await guard.stop()
        await run
    if talking is not None:
        talking.cancel()
    return took


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


if __name__ == "__main__":
    main()
