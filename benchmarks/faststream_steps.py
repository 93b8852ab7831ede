"""What a record costs in a FastStream subscriber on Kafka, step by step to a guarded one. No broker: the consumer has all records in hand.

    python -m benchmarks.faststream_steps [--messages 4000] [--rounds 15]

The rows differ by one step each, and are run in turn, in an order that changes. FastStream's own loop fetches the records from a consumer
that hands out what is in a list, and a handler does nothing with them. What is counted is CPU time, and the functions that are called,
Python's own included: their number is the same on every machine, however busy. The last row is the guard's part of a record alone, in a
loop of nothing else: what that lacks to the difference of the rows before is the way to it through FastStream's stack of middlewares, and
what the caches of the processor have lost meanwhile.

Only where FastStream is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import logging
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError
from benchmarks.faststream_guarded import Nothing, need
from benchmarks.fleet_cost import confident
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import LogicSubscriber

from holdgate.integrations.faststream import FastStreamGuard

PARTITIONS = 4
BODY = b"x" * 100


class InHand(AIOKafkaConsumer):
    """A consumer that has fetched all of its records, and is asked for nothing else."""

    def __init__(self, messages: int) -> None:
        self._closed = True  # so that nobody is warned that it was not closed
        self.records: Iterator[Any] = iter(
            [
                ConsumerRecord("orders", at % PARTITIONS, at // PARTITIONS, 1_700_000_000_000 + at, 0, None, BODY, 0, 0, len(BODY), ())
                for at in range(messages)
            ]
        )

    async def getone(self, *_: Any) -> Any:
        for record in self.records:
            return record
        raise ConsumerStoppedError  # FastStream's loop ends by that

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("orders", number) for number in range(PARTITIONS)}

    async def commit(self, *_: Any) -> None: ...


def subscriber_of(broker: Any, policy: AckPolicy) -> Any:
    @broker.subscriber("orders", group_id="bench", ack_policy=policy)
    async def handler(_body: bytes) -> None: ...

    (subscriber,) = broker.subscribers
    return subscriber


Calls = cProfile.Profile  # where a run counts its calls


async def work_off(broker: Any, subscriber: Any, messages: int, calls: Calls | None) -> float:
    """Let FastStream's loop run, started as FastStream does, without a connection; seconds of CPU."""
    consumer = subscriber.consumer = InHand(messages)
    broker._setup_logger()  # noqa: SLF001 - FastStream's own, as `broker.start()` does it
    await super(LogicSubscriber, subscriber).start()
    subscriber.parser._setup(consumer)  # noqa: SLF001
    subscriber.running = True
    gc.collect()
    begun = time.process_time()
    with calls or nullcontext():
        await subscriber._run_consume_loop(consumer)  # noqa: SLF001
    return time.process_time() - begun


async def bare(messages: int, calls: Calls | None, *, policy: AckPolicy = AckPolicy.ACK_FIRST, middleware: bool = False) -> float:
    broker = KafkaBroker("localhost:1", logger=None)
    if middleware:
        broker.insert_middleware(Nothing)
    return await work_off(broker, subscriber_of(broker, policy), messages, calls)


async def guarded(messages: int, calls: Calls | None) -> float:
    broker = KafkaBroker("localhost:1", logger=None)
    guard = FastStreamGuard(broker, needs=[need()])
    subscriber = subscriber_of(broker, AckPolicy.MANUAL)
    async with guard:
        return await work_off(broker, subscriber, messages, calls)


async def guard_alone(messages: int, calls: Calls | None) -> float:
    """Only what the guard itself does for a record: admit it, begin the attempt, and end it."""
    broker = KafkaBroker("localhost:1", logger=None)
    guard = FastStreamGuard(broker, needs=[need()])
    subscriber = subscriber_of(broker, AckPolicy.MANUAL)
    async with guard:
        consumer = subscriber.consumer = InHand(messages)
        station: Any = guard._stations[subscriber]  # noqa: SLF001
        visit, message = SimpleNamespace(lane=None, delivery=None), SimpleNamespace(committed=None, raw_message=None)
        nothing: Callable[[Any], None] = lambda _: None  # noqa: E731 - it is called in the place of FastStream's
        gc.collect()
        begun = time.process_time()
        with calls or nullcontext():
            for message.raw_message in consumer.records:
                station.consume(visit, nothing, message)
                station.ended(visit, message, None)
        return time.process_time() - begun


ROWS = {
    "FastStream, its default": bare,
    "the same with a middleware that does nothing": lambda messages, calls: bare(messages, calls, middleware=True),
    "that and `AckPolicy.MANUAL`": lambda messages, calls: bare(messages, calls, middleware=True, policy=AckPolicy.MANUAL),
    "guarded": guarded,
    "the guard's part alone": guard_alone,
}


def calls_per_record(name: str, messages: int) -> float:
    """How many functions one record calls."""
    calls = cProfile.Profile()
    asyncio.run(ROWS[name](messages, calls))
    return sum(entry.callcount for entry in calls.getstats()) / messages


def main(messages: int, rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in ROWS}
    for number in range(rounds + 1):
        for name in random.sample(list(ROWS), len(ROWS)):
            taken = asyncio.run(ROWS[name](messages, None))
            if number:  # the first round warms everything
                times[name].append(taken / messages * 1e6)
    print("| subscriber | functions called per record | µs of CPU per record, least | median ", end="")
    print("| throughput, default = 1, least to least | median of rounds | with 95 % confidence |\n|---|---|---|---|---|---|---|")
    reference = next(iter(times.values()))
    for name, values in times.items():
        figures = f"{calls_per_record(name, messages):.0f} | {min(values):.1f} | {statistics.median(values):.1f}"
        if name == "the guard's part alone":
            print(f"| {name} | {figures} | | | |")
            continue
        ratio, low, high = confident([base / value for base, value in zip(reference, values, strict=True)])
        print(f"| {name} | {figures} | {min(reference) / min(values):.2f} | {ratio:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    logging.getLogger("holdgate").setLevel(logging.ERROR)
    versions = f"CPython {platform.python_version()}, FastStream {version('faststream')}"
    print(f"{versions}, {options.messages} records of {len(BODY)} bytes, {options.rounds} rounds\n")
    main(options.messages, options.rounds)
