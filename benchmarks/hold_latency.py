"""Kafka: from the failure that opens a circuit to the paused partition, and from the resumed partition to the handler.

    python -m benchmarks.hold_latency [--rounds 50]

One partition, a circuit that opens at the first failure and asks again after a tenth of a second. The clock on the wall of one process:
the failure is raised, `pause` is called on the consumer, later `resume`, and the handler begins. The poll interval is the default, 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import statistics
import sys
import time
from typing import Any

import aiokafka
from benchmarks.kafka_throughput import new_consumer
from tests.servers.resolve import shared_kafka
from tests.servers.unavailable import Unavailable

from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.brokers.kafka import KafkaIntake

SETTINGS = CircuitSettings(consecutive_failures=1, open_duration=0.1, open_multiplier=1.0, open_jitter=0.0)
MESSAGES = 50  # between two failures
GIVE_UP = 120.0  # fifty rounds take twenty seconds
TAKES = 0.004  # so that the partition is resumed long before the next one


class Down(Exception):
    """The dependency is down."""


class Story:
    """One failure after the other: when it was raised, when its partition was paused and resumed, when the handler was back."""

    def __init__(self, consumer: Any, rounds: int) -> None:
        self.holds: list[float] = []
        self.returns: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()
        self._rounds = rounds
        self._raised_at = self._resumed_at = 0.0
        self._good = 0
        self._pause, self._resume = consumer.pause, consumer.resume
        consumer.pause, consumer.resume = self.pause, self.resume

    def pause(self, *partitions: Any) -> None:
        self._pause(*partitions)
        if self._raised_at:
            self.holds.append(time.perf_counter() - self._raised_at)
            self._raised_at = 0.0

    def resume(self, *partitions: Any) -> None:
        self._resumed_at = time.perf_counter()
        self._resume(*partitions)

    async def handler(self, _delivery: Delivery) -> None:
        if self._resumed_at:
            self.returns.append(time.perf_counter() - self._resumed_at)
            self._resumed_at = 0.0
        await asyncio.sleep(TAKES)
        self._good += 1
        if self._good < MESSAGES - 1:  # a ramp's worth, and the circuit is closed again
            return
        self._good = 0
        if len(self.holds) == self._rounds:
            if not self.ended.done():
                self.ended.set_result(None)
            return
        self._raised_at = time.perf_counter()
        raise Down


async def measure(bootstrap: str, topic: str, rounds: int) -> Story:
    consumer = new_consumer(bootstrap)
    story = Story(consumer, rounds)
    async with Guard(signals=False) as guard:
        needs = [Dependency("payments", failures=Down, settings=SETTINGS)]
        # All that there is fits into the inbox: a full one would have paused the partition already.
        intake = KafkaIntake(consumer, topics=[topic], inbox=(rounds + 2) * MESSAGES * 2)
        run = asyncio.create_task(guard.run(intake, story.handler, needs=needs))
        await asyncio.wait({run, story.ended}, timeout=GIVE_UP, return_when=asyncio.FIRST_COMPLETED)
    await run
    if not story.ended.done():
        raise RuntimeError(f"{len(story.holds)} of {rounds} failures paused the partition within {GIVE_UP:g} s")
    return story


def row(name: str, times: list[float], goal: str) -> str:
    low, middle, high = statistics.quantiles([each * 1e6 for each in times], n=4)
    return f"| {name} | {middle:.0f} ({low:.0f} to {high:.0f}) | {goal} |"


async def run(rounds: int) -> Story:
    async with shared_kafka() as server:
        topic = await server.create_topic(f"hold-{os.getpid()}", 1)
        await server.produce(topic, [b"x"] * ((rounds + 2) * MESSAGES), partition=0)
        return await measure(server.bootstrap, topic, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    try:
        story = asyncio.run(run(options.rounds))
    except Unavailable as error:
        sys.exit(str(error))
    print(f"CPython {platform.python_version()}, aiokafka {aiokafka.__version__}, {os.cpu_count()} cores, {len(story.holds)} holds\n")
    print("| one partition | µs, median (quartiles) | goal |\n|---|---|---|")
    print(row("from the failure to the paused partition", story.holds, "≤ 100"))
    print(row("from the resumed partition to the handler", story.returns, "≤ 100,000, one poll"))


if __name__ == "__main__":
    main()
