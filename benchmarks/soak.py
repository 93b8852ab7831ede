"""A soak: a guarded worker for half an hour, records of all sizes, outages and rebalances; does its memory grow?

    python -m benchmarks.soak [--minutes 30] [--bootstrap HOST:PORT]

A topic of 12 partitions is fed at the pace of the worker, from 100 bytes to 3 MB a record. The dependency is down for 5 s in every 30, and
each minute a second member joins the group for 15 s. Every 5 s a line: resident memory, what the guard says it holds, what was handled.
At the end the slope of the resident memory over the second half, in MB per hour, by least squares; the first half fills arenas and buffers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import sys
import time
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from benchmarks.held_memory import MEGABYTE, resident
from tests.servers.resolve import shared_kafka
from tests.servers.unavailable import Unavailable

from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.brokers.kafka import KafkaIntake

PARTITIONS = 12
# Most are small, and most bytes are in the big ones.
SIZES = [100] * 60 + [1000] * 30 + [100_000] * 8 + [1_000_000, 3_000_000]
AHEAD = 200 * MEGABYTE  # what waits in the topic at most
LOOK_EVERY = 5.0


class Soak:
    """One worker, and what happens around it."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.topic = f"soak-{uuid.uuid4().hex[:8]}"
        self.group = f"soak-{uuid.uuid4().hex[:8]}"
        self.began = time.monotonic()
        self.produced = self.handled = self.count = 0

    @property
    def is_down(self) -> bool:
        return (time.monotonic() - self.began) % 30 > 25

    async def handler(self, delivery: Delivery) -> None:
        await asyncio.sleep(0.005)
        if self.is_down:
            raise ConnectionError("down")
        self.handled += len(delivery.body or b"")
        self.count += 1

    def consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False, auto_offset_reset="earliest"
        )  # fmt: skip

    async def produce(self) -> None:
        """Keep some of everything waiting; what both members handle is deleted by the broker."""
        chance = random.Random(7)
        noise = os.urandom(max(SIZES))
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, max_request_size=10_000_000, linger_ms=5) as producer:
            while True:
                if self.produced - self.handled > AHEAD:
                    await asyncio.sleep(0.05)
                    continue
                size = chance.choice(SIZES)
                await producer.send(self.topic, noise[:size], partition=chance.randrange(PARTITIONS))
                self.produced += size

    async def members(self) -> None:
        """A second member comes for a while each minute."""
        while True:
            await asyncio.sleep(45)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(15):
                    await self.work()

    async def work(self) -> None:
        async with Guard(signals=False, drain_timeout=2.0) as guard:
            settings = CircuitSettings(consecutive_failures=5, open_duration=1.0, open_duration_max=2.0)
            needs = [Dependency("downstream", failures=ConnectionError, settings=settings)]
            await guard.run(KafkaIntake(self.consumer(), topics=[self.topic]), self.handler, needs=needs)

    async def run(self, seconds: float) -> list[tuple[float, int]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        settings = {"max.message.bytes": "10000000", "retention.bytes": "100000000", "segment.bytes": "20000000"}
        await admin.create_topics([NewTopic(self.topic, PARTITIONS, 1, topic_configs=settings)])
        await admin.close()
        tasks = [asyncio.create_task(each) for each in (self.produce(), self.work(), self.members())]
        seen: list[tuple[float, int]] = []
        while (age := time.monotonic() - self.began) < seconds:
            await asyncio.wait(tasks, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            seen.append((age, resident()))
            print(f"| {age:.0f} | {seen[-1][1] / MEGABYTE:.1f} | {self.handled / MEGABYTE:.0f} | {self.count} |", flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen


def slope(seen: list[tuple[float, int]]) -> float:
    """Bytes per second, by least squares."""
    mean_at = sum(at for at, _ in seen) / len(seen)
    mean = sum(size for _, size in seen) / len(seen)
    return sum((at - mean_at) * (size - mean) for at, size in seen) / sum((at - mean_at) ** 2 for at, _ in seen)


async def run(bootstrap: str | None, minutes: float) -> None:
    print("| s | resident, MB | handled, MB | messages |\n|---|---|---|---|", flush=True)
    if bootstrap is None:
        try:
            async with shared_kafka() as server:
                await run(server.bootstrap, minutes)
        except Unavailable as error:
            sys.exit(str(error))
        return
    seen = await Soak(bootstrap).run(minutes * 60)
    half = seen[len(seen) // 2 :]
    print(f"\nslope over the second half: {slope(half) * 3600 / MEGABYTE:+.1f} MB per hour, at {half[-1][1] / MEGABYTE:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka to use; left out, the tests' own")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    asyncio.run(run(options.bootstrap, options.minutes))


if __name__ == "__main__":
    main()
