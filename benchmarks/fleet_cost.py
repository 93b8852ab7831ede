"""What a fleet costs a worker that is well: its throughput with a fleet's log and without, in turn.

    python -m benchmarks.fleet_cost [--sets 60] [--rounds 4] [--messages 20000]

Messages in memory through a handler that does nothing, so that every microsecond of the guard counts. `quiet`: a fleet of which nobody says
anything but this worker. `busy`: nineteen others write twenty records a second, as in an outage of something else; they have come before.
`without, again`: a second guard without a fleet, which shows how far the figures of this machine can be believed.

The four guards live side by side, and each takes some messages in turn, in random order, for less than a tenth of a second. What is counted
is the thread's own CPU time, and compared within a round: what disturbs the machine for longer disturbs all four. A cell has the median of
all rounds, and the range in which it lies with 95 % confidence. From one set of guards to the next all are made anew.

Twenty records a second are one or two in such a round, and their cost is far below what the processor differs by from round to round. So in
a round of `busy` they come fifteen times as often, what `busy` has used more than `quiet` is shared out among them, and the row says what
twenty of them take of each second.
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
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from math import sqrt
from statistics import median
from typing import Any

from holdgate import Delivery, Dependency, Guard
from holdgate.fleet.member import FleetMember
from holdgate.fleet.settings import FleetSettings
from holdgate.testing import MemoryBroker, MemoryIntake
from holdgate.testing.memory import MemoryFleetLog, MemoryLogServer

OTHERS = 19
# Of the records whose cost is looked at: those of one look, the looks, and the steps of the loop within which one is through.
TOGETHER, LOOKS, STEPS = 100, 20, 8
# What nineteen others write in a second of an outage, and of how many messages one has a record in a round: fifteen times as often, where a
# thread takes 300,000 in a second.
RECORDS_A_SECOND = 20
MESSAGES_A_RECORD = 1000
# Messages of each guard before anything is counted, and the seconds within which it has answered those who came.
FIRST, ANSWERED = 5000, 1.2

KINDS = {"without": (False, False), "without, again": (False, False), "quiet": (True, False), "busy": (True, True)}


def beats(count: int) -> list[list[bytes]]:
    """Return what nineteen others write, one after the other. Made before the time is taken: their work is not this worker's."""
    others = [FleetMember(f"{number:012x}", FleetSettings(), random.random) for number in range(1, OTHERS + 1)]
    for other in others:
        other.add("payments", Dependency("payments", failures=OSError).settings, 0.0)
    # By their own clocks: each time is one at which they speak.
    return [others[number % OTHERS].take_records(60.0 * number)[:1] for number in range(count)]


class Subject:
    """One guard with a run, and messages that it takes when it is its turn."""

    def __init__(self, records: int, *, has_log: bool, is_busy: bool) -> None:
        self.broker = MemoryBroker(topics={"orders": 1})
        self.server = MemoryLogServer() if has_log else None
        self.guard = Guard(signals=False, fleet=None if self.server is None else MemoryFleetLog(self.server))
        self._said = iter(beats(OTHERS + records)) if is_busy else iter(())
        self._ended = asyncio.Event()
        self._produced = 0
        self._noticed = -1  # the message that the handler does something at
        self._speaks_at: list[int] = []

    async def run(self) -> None:
        """Consume, until the guard is stopped."""
        payments = Dependency("payments", failures=OSError)
        await self.guard.run(MemoryIntake(self.broker, topics=["orders"]), self._handle, needs=[payments])

    async def begin(self) -> None:
        """Let the others come, and this guard answer them."""
        for _ in range(OTHERS):
            self._others_say_something()
            await asyncio.sleep(0.001)
        await self.take(FIRST, 0)
        await asyncio.sleep(ANSWERED)

    async def take(self, messages: int, records: int) -> float:
        """Return the CPU seconds of this thread for so many messages, with so many records of others among them."""
        first, self._produced = self._produced, self._produced + messages
        for number in range(messages):
            self.broker.produce("orders", b"%d" % number)
        self._speaks_at = [first + (number + 1) * messages // (records + 1) for number in range(records)]
        self._ended.clear()
        self._notice_next()
        gc.collect()
        gc.disable()
        began = time.thread_time()
        await self._ended.wait()
        took = time.thread_time() - began
        gc.enable()
        return took

    async def _handle(self, delivery: Delivery[Any]) -> None:
        if delivery.position == self._noticed:
            self._reached()

    def _reached(self) -> None:
        if self._noticed == self._produced - 1:
            self._ended.set()
        else:
            self._others_say_something()
            self._notice_next()

    def _notice_next(self) -> None:
        self._noticed = self._speaks_at.pop(0) if self._speaks_at else self._produced - 1

    def _others_say_something(self) -> None:
        said = next(self._said, None)
        if said is not None and self.server is not None:
            self.server.store(said)


async def one_round(subjects: Mapping[str, Subject], messages: int, records: int) -> dict[str, float]:
    """Return the CPU seconds of each kind for so many messages, one after the other, in random order."""
    return {kind: await subjects[kind].take(messages, records) for kind in random.sample(list(subjects), len(subjects))}


async def one_set(rounds: int, messages: int) -> list[dict[str, float]]:
    """Return the CPU seconds of each kind in each round of four guards that live side by side."""
    records = max(1, messages // MESSAGES_A_RECORD)
    subjects = {kind: Subject(rounds * records, has_log=has_log, is_busy=is_busy) for kind, (has_log, is_busy) in KINDS.items()}
    async with AsyncExitStack() as stack:
        runs: list[asyncio.Task[None]] = []
        for subject in subjects.values():
            await stack.enter_async_context(subject.guard)
            runs.append(asyncio.create_task(subject.run()))
        await asyncio.gather(*(subject.begin() for subject in subjects.values()))
        found = [await one_round(subjects, messages, records) for _ in range(rounds)]
        for subject in subjects.values():
            await subject.guard.stop()
        await asyncio.gather(*runs)
    return found


async def a_record() -> float:
    """Return the CPU seconds of one thread for a record of somebody else."""
    server, payments = MemoryLogServer(), Dependency("payments", failures=OSError)
    said = iter(beats((LOOKS + 1) * TOGETHER))
    took: dict[bool, list[float]] = {True: [], False: []}

    async def nothing(_: Delivery[Any]) -> None:
        return None

    async with Guard(signals=False, fleet=MemoryFleetLog(server)) as guard:
        intake = MemoryIntake(MemoryBroker(topics={"orders": 1}), topics=["orders"])
        run = asyncio.create_task(guard.run(intake, nothing, needs=[payments]))
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


def confident(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and the range in which that of endless many rounds lies with 95 % confidence: by ranks, whatever the noise is."""
    ranked, size = sorted(values), len(values)
    reach = 0.98 * sqrt(size)
    return median(ranked), ranked[max(0, int(size / 2 - reach))], ranked[min(size - 1, int(size / 2 + reach))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=60, help="how often the guards are made anew (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="of each set (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=20_000, help="of each guard in a round (default: %(default)s)")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    asyncio.run(one_set(1, chosen.messages))  # the interpreter warms up
    found = [each for _ in range(chosen.sets) for each in asyncio.run(one_set(chosen.rounds, chosen.messages))]
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {len(found)} rounds\n")
    records = max(1, chosen.messages // MESSAGES_A_RECORD)
    a_record_in_work = [(each["busy"] - each["quiet"]) / records for each in found]
    ratios = {kind: [each["without"] / each[kind] for each in found] for kind in KINDS}
    ratios["busy"] = [quiet * (1 - RECORDS_A_SECOND * took) for quiet, took in zip(ratios["quiet"], a_record_in_work, strict=True)]
    print("| fleet | throughput, without a fleet = 1 | with 95 % confidence |\n| --- | --- | --- |")
    for kind in KINDS:
        ratio, low, high = confident(ratios[kind])
        print(f"| {kind} | {ratio:.3f} | {'' if kind == 'without' else f'{low:.3f} to {high:.3f}'} |")
    used = median(each["without"] for each in found) / chosen.messages
    took, least, most = (each * 1e6 for each in confident(a_record_in_work))
    print(
        f"\nA message takes {used * 1e6:.2f} us without a fleet, and a record of somebody else {took:.0f} us ({least:.0f} to {most:.0f}) in"
        f" the midst of them, or {asyncio.run(a_record()) * 1e6:.0f} us where nothing else is to be done."
    )


if __name__ == "__main__":
    main()
