"""Memory: what a worker has in hand while its handlers are slow, its dependency is down, or comes back; beside the bare client.

    python -m benchmarks.held_memory [--bootstrap HOST:PORT] [--all]

Each row is a process of its own on a real broker: its peak resident memory above its start, before the client connects, and the bytes that
came from the broker per byte that a handler was done with. `--all` takes the whole table, 1, 6 and 60 partitions by 1 kB, 1 MB and 8 MB;
left out, the rows that said most. Without `--bootstrap` it is the tests' broker: HOLDGATE_TEST_KAFKA, Docker, or its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import AIOKafkaConnection
from tests.servers.resolve import shared_kafka
from tests.servers.unavailable import Unavailable

from holdgate import CircuitSettings, Delivery, Dependency, Guard, RampSettings
from holdgate.brokers.kafka import KafkaIntake

MEGABYTE = 1_000_000
BOUND = 64 * 1024 * 1024
# Seconds for a group and a first record. Only a broker that does not answer takes them.
FIRST_WITHIN = 60.0
SIZES = {"1 kB": 1000, "1 MB": MEGABYTE, "8 MB": 8 * MEGABYTE}
# How much of each size lies in a topic, over all partitions: far more than the bound, and no more than a disk likes.
BACKLOG = {"1 kB": 150 * MEGABYTE, "1 MB": 300 * MEGABYTE, "8 MB": 960 * MEGABYTE}
_CASES = ("slow", "outage", "half-open")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Row:
    """One process. `case`: how its handlers do; `seconds`: for how long it is watched from its first record on.

    `enough`: the handled bytes at which it ends before. None means that it does not.
    """

    loop: str
    partitions: int
    size: str
    case: str
    seconds: float = 12.0
    enough: int | None = None


ROWS = (
    Row("bare", 1, "1 MB", "slow"),
    Row("guarded", 1, "1 MB", "slow"),
    Row("guarded", 1, "1 MB", "outage"),
    Row("guarded", 1, "1 MB", "half-open"),
    Row("bare", 1, "1 MB", "quick"),
    Row("guarded", 1, "1 MB", "quick"),
    Row("guarded", 6, "8 MB", "slow"),
    Row("bare", 60, "1 MB", "slow"),
    Row("guarded", 60, "1 MB", "slow"),
    Row("guarded", 60, "1 kB", "outage"),
    Row("bare", 60, "8 MB", "slow"),
    Row("guarded", 60, "8 MB", "slow"),
    Row("guarded", 60, "8 MB", "half-open"),
)
ALL = tuple(Row("guarded", partitions, size, case) for size in SIZES for partitions in (1, 6, 60) for case in _CASES)


# -- one process ----------------------------------------------------------------------------------------------------------------------


def resident() -> int:
    """The bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


class Watch:
    """Looks at this process's memory from a thread of its own, and counts what comes from the broker."""

    def __init__(self) -> None:
        gc.collect()
        self.start = self.peak = resident()
        self.received = 0
        self.handled = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        handle = AIOKafkaConnection._handle_frame  # noqa: SLF001 - every response comes by it, and no public name tells its size

        def counting(connection: AIOKafkaConnection, frame: bytes) -> None:
            self.received += len(frame)
            handle(connection, frame)

        AIOKafkaConnection._handle_frame = counting  # noqa: SLF001

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, resident())

    def report(self, seconds: float) -> dict[str, float]:
        """What was seen, in bytes."""
        self._over.set()
        end = resident()
        return {
            "peak": self.peak - self.start, "end": end - self.start, "received": self.received, "handled": self.handled, "seconds": seconds,
        }  # fmt: skip


class Downstream:
    """What the handlers do. `slow`: a second each. `outage`: down after two seconds. `half-open`: down every other two seconds.

    `began` is the time of the first call; None before it.
    """

    def __init__(self, case: str) -> None:
        self.case = case
        self.began: float | None = None

    async def call(self) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began = now
        age = now - self.began
        if self.case == "slow":
            await asyncio.sleep(1)
        elif self.case != "quick":
            await asyncio.sleep(0.05)
            if (self.case == "outage" and age > 2) or (self.case == "half-open" and int(age) % 4 >= 2):
                raise ConnectionError("down")


def consumer_of(bootstrap: str, *topics: str) -> AIOKafkaConsumer:
    group = f"memory-{uuid.uuid4().hex[:8]}"
    return AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")


async def bare(bootstrap: str, topic: str, downstream: Downstream, watch: Watch) -> None:
    """What people write: one record after the other."""
    async with consumer_of(bootstrap, topic) as consumer:
        async for record in consumer:
            with contextlib.suppress(ConnectionError):
                await downstream.call()
                watch.handled += len(record.value)


async def guarded(bootstrap: str, topic: str, downstream: Downstream, watch: Watch) -> None:
    """The same under a guard."""

    async def handler(delivery: Delivery) -> None:
        await downstream.call()
        watch.handled += len(delivery.body or b"")

    settings = CircuitSettings(consecutive_failures=2, open_duration=1.0, ramp=RampSettings(minimum_verdicts=1))
    async with Guard(signals=False, drain_timeout=0.5) as guard:
        intake = KafkaIntake(consumer_of(bootstrap), topics=[topic])
        await guard.run(intake, handler, needs=[Dependency("downstream", settings=settings)])


async def one(bootstrap: str, topic: str, row: Row) -> dict[str, float]:
    watch, downstream = Watch(), Downstream(row.case)
    loops = {"bare": bare, "guarded": guarded}
    loop = asyncio.create_task(loops[row.loop](bootstrap, topic, downstream, watch))
    began = time.monotonic()

    def is_over() -> bool:
        begin = began + FIRST_WITHIN if downstream.began is None else downstream.began
        return time.monotonic() > begin + row.seconds or (row.enough is not None and watch.handled >= row.enough)

    while not is_over() and not loop.done():
        await asyncio.wait({loop}, timeout=0.1)
    report = watch.report(time.monotonic() - (downstream.began or began))
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    return report


# -- all of them ----------------------------------------------------------------------------------------------------------------------


async def filled_topic(bootstrap: str, partitions: int, size: str, backlog: int | None = None) -> str:
    """A topic with records of this size; `backlog` bytes of them, left out, as the table has."""
    topic = f"memory-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs={"max.message.bytes": "10000000"})])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_request_size=10_000_000)
    await producer.start()
    body = os.urandom(SIZES[size])
    for number in range((backlog or BACKLOG[size]) // SIZES[size]):
        sent = await producer.send(topic, body, partition=number % partitions)
        if len(body) >= MEGABYTE:
            await sent
    await producer.stop()
    return topic


def in_a_process(bootstrap: str, topic: str, row: Row) -> dict[str, float]:
    told = [row.loop, str(row.partitions), row.size, row.case, str(row.seconds), str(row.enough or "")]
    command = [sys.executable, "-m", "benchmarks.held_memory", "--bootstrap", bootstrap, "--one", topic, *told]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very file
    return dict(json.loads(ended.stdout))


async def measure(bootstrap: str, rows: tuple[Row, ...]) -> None:
    topics: dict[tuple[int, str], str] = {}
    for row in rows:
        world = (row.partitions, row.size)
        if world not in topics:
            topics[world] = await filled_topic(bootstrap, *world)
        seen = await asyncio.to_thread(in_a_process, bootstrap, topics[world], row)
        print(as_line(row, seen), flush=True)


def as_line(row: Row, seen: dict[str, float]) -> str:
    ratio = f"{seen['received'] / seen['handled']:.2f}" if seen["handled"] >= 10 * MEGABYTE else ""
    held = f"{seen['peak'] / MEGABYTE:.0f} | {seen['end'] / MEGABYTE:.0f}"
    return f"| {row.loop} | {row.partitions} | {row.size} | {row.case} | {held} | {seen['handled'] / MEGABYTE:.0f} | {ratio} |"


async def run(bootstrap: str | None, rows: tuple[Row, ...]) -> None:
    versions = f"CPython {platform.python_version()}, aiokafka {aiokafka.__version__}"
    print(f"{versions}; `Guard(memory=64 MiB)`, each row watched for 12 s from its first record on\n")
    print(
        "| loop | partitions | records | handlers | peak, MB above the start | at the end | handled, MB | bytes fetched per byte handled |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    if bootstrap is not None:
        await measure(bootstrap, rows)
        return
    try:
        async with shared_kafka() as server:
            await measure(server.bootstrap, rows)
    except Unavailable as error:
        sys.exit(str(error))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.held_memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka to use; left out, the tests' own")
    parser.add_argument("--all", action="store_true", help="the whole table")
    parser.add_argument("--one", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        topic, loop, partitions, size, case, seconds, enough = options.one
        row = Row(loop, int(partitions), size, case, float(seconds), int(enough) if enough else None)
        print(json.dumps(asyncio.run(one(options.bootstrap, topic, row))))
    else:
        asyncio.run(run(options.bootstrap, ALL if options.all else ROWS))


if __name__ == "__main__":
    main()
