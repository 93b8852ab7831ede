"""A guard with ten thousand sources beside one with ten: what a message costs, what an opening costs, and what a source keeps.

    python -m benchmarks.many_sources

Without a broker. A message: rounds of ten thousand messages, in CPU time of the thread. Polls have the same shape in both rows, 25 messages
of one source together, and each poll is of other sources. An opening: the one turn in which a circuit opens that all sources need.
Memory: what the engine and the Kafka intake keep of a source that has nothing, by `tracemalloc`; and by how much the resident memory of a
process grows that takes ten thousand sources and holds them all.
"""

from __future__ import annotations

import gc
import os
import platform
import random
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

from aiokafka import TopicPartition
from benchmarks.flow_turn import Message, timed

from holdgate.brokers.kafka.deliveries import RECORDS
from holdgate.brokers.partitions import AssignedPartitions
from holdgate.core import Circuit
from holdgate.flow.engine import Engine
from holdgate.flow.message import Partition
from holdgate.flow.policy import Needs
from holdgate.flow.state import Run

MANY = 10_000
FEW = 10
MESSAGES = 10_000
POLL = 250
TOGETHER = 25  # messages of one source in a poll, in both rows
LANES = 16
ROUNDS = 21


def world(count: int) -> tuple[Engine, Run, list[Partition]]:
    """An engine whose run has so many sources, which all need one dependency."""
    engine = Engine(draw=lambda: 0.5, memory=64 * 1024 * 1024)
    engine.add_gate(Circuit("payments"))
    run = Run(Needs(("payments",)), order="source", concurrency=LANES, inbox=500)
    engine.add_run(run)
    sources = [Partition("orders", number) for number in range(count)]
    engine.assigned(run, sources, 0.0)
    engine.turn(0.0)
    return engine, run, sources


def per_message(count: int) -> Callable[[], float]:
    """Polls of `POLL` messages, ten sources in each, taken in and worked off as a run does it."""
    engine, run, sources = world(count)
    places = cycle(sources)

    def work() -> None:
        for _ in range(MESSAGES // POLL):
            engine.received_quietly(run, [Message(source, 0) for source in islice(places, POLL // TOGETHER) for _ in range(TOGETHER)])
            delivery = engine.next(run, 1.0)
            while delivery is not None:
                assignment = delivery.assignment
                engine.succeeded(delivery, 1.0)
                delivery = engine.follow(assignment, 1.0) or engine.next(run, 1.0)
            if engine.needs_turn:
                engine.turn(1.0)

    return lambda: timed(work) / MESSAGES


def opening(count: int) -> float:
    """The turn in which the circuit opens."""
    engine, _run, _sources = world(count)
    engine.gates["payments"].circuit.open_for(10.0, 1.0)
    return timed(lambda: engine.turn(1.0))


def kept_per_source() -> tuple[float, float]:
    """Bytes that the engine keeps of an idle source, and the Kafka intake beside it."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = world(MANY)
    engine = tracemalloc.get_traced_memory()[0] - before
    partitions = AssignedPartitions(RECORDS)
    partitions.add([TopicPartition("orders", number) for number in range(MANY)])
    both = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del kept
    return engine / MANY, (both - engine) / MANY


def resident() -> int:
    """The resident memory of this process, in bytes; Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def held() -> None:
    """Print by how many MiB this process grows with all sources held. In a process of its own."""
    begun = resident()
    engine, _run, sources = world(MANY)
    partitions = AssignedPartitions(RECORDS)
    partitions.add([TopicPartition(source.topic, source.number) for source in sources])
    engine.gates["payments"].circuit.open_for(10.0, 1.0)
    engine.turn(1.0)
    engine.take_events()
    print((resident() - begun) / 1024**2)


def main() -> None:
    if "--held" in sys.argv:
        held()
        return
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {ROUNDS} rounds, {LANES} lanes\n")
    rows = {FEW: per_message(FEW), MANY: per_message(MANY)}
    seen: dict[int, list[float]] = {count: [] for count in rows}
    for number in range(ROUNDS + 1):
        for count in random.sample(list(rows), len(rows)):
            taken = rows[count]() * 1e6
            if number:
                seen[count].append(taken)
    print("| per message | µs, median | least | least, ten sources = 1 | goal |\n|---|---|---|---|---|")
    for count, times in seen.items():
        goal = "≤ 1.05" if count == MANY else ""
        print(f"| {count:,} sources | {statistics.median(times):.3f} | {min(times):.3f} | {min(times) / min(seen[FEW]):.3f} | {goal} |")
    turns = sorted(opening(MANY) * 1e3 for _ in range(ROUNDS))
    engine, intake = kept_per_source()
    grown = float(subprocess.run([sys.executable, "-m", "benchmarks.many_sources", "--held"], check=True, capture_output=True).stdout)
    print(f"\n| {MANY:,} sources | measured | goal |\n|---|---|---|")
    print(f"| the turn in which the circuit opens that all need, median (least) | {turns[ROUNDS // 2]:.1f} ms ({turns[0]:.1f}) | ≤ 5 ms |")
    print(f"| kept of an idle source: engine + Kafka intake | {engine:,.0f} + {intake:,.0f} bytes | ≤ 2,000 |")
    print(f"| all held, growth of the process | {grown:.1f} MiB | ≤ 40 |")


if __name__ == "__main__":
    main()
