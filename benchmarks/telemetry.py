"""What metrics and spans cost a guarded worker, on real brokers: the same run with them off and on, in turn.

    python -m benchmarks.telemetry [--broker kafka|rabbitmq] [--messages 200000] [--rounds 15]

Rounds alternate in random order, on the same broker and the same messages. What is compared is this process's CPU time from the first
message to the last, which neither the broker nor a neighbour moves. *Metrics* are a page every second, rendered on the guard's loop, as a
scrape every fifteen seconds would be rendered every fifteenth time. *Spans* go to an SDK with a batch processor whose exporter throws them
away, at most a hundred a second as is the default, and all of them. What may happen so often a second is counted by the
second of this process's time, so that a neighbour who takes the cores gives no message more pages or spans. A neighbour can only add to a
round's time, and adds to short rounds by chance: the least of each row is what the code takes. That clock is a call of the
kernel, of microseconds, so a task reads it now and then: what is compared reads one that costs nothing, as the product does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import platform
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import aio_pika
from benchmarks.kafka_throughput import filled_topic, new_consumer
from benchmarks.rabbitmq_throughput import fill
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from tests.servers.resolve import shared_kafka, shared_rabbitmq
from tests.servers.unavailable import Unavailable

from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.ports import Intake
from holdgate.telemetry.prometheus import render
from holdgate.telemetry.spans import Spans

# A quick request over the network, in CPU time: what an HTTP client and JSON take in Python (seconds).
WORK = 0.001


class SlowClock:
    """The CPU time of this process, as it was read last."""

    LOOK_EVERY = 0.02

    def __init__(self) -> None:
        self.seconds = time.process_time()

    def now(self) -> float:
        return self.seconds

    async def run(self) -> None:
        while True:
            self.seconds = time.process_time()
            await asyncio.sleep(self.LOOK_EVERY)


class Nowhere(SpanExporter):
    """Throws spans away."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - it looks at none
        return SpanExportResult.SUCCESS


def spans_at(at_most: int | None, clock: SlowClock) -> tuple[TracerProvider, Spans]:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    spans = Spans(provider, at_most=at_most)
    spans._now = clock.now  # noqa: SLF001 - see the head of this file
    spans._full_at = 0.0  # noqa: SLF001
    return provider, spans


def no_work() -> None:
    """Do nothing."""


def some_work() -> None:
    """Be busy, as a handler is."""
    end = time.thread_time() + WORK
    while time.thread_time() < end:
        pass


async def scrape(guard: Guard, clock: SlowClock) -> None:
    due = clock.now()
    while True:
        if clock.now() >= due:
            render(guard)
            due = clock.now() + 1
        await asyncio.sleep(clock.LOOK_EVERY)


async def guarded(
    intake: Intake[Any],
    messages: int,
    *,
    metrics: bool = False,
    spans: Spans | None = None,
    work: Callable[[], None] = no_work,
    clock: SlowClock | None = None,
) -> float:
    """Return the seconds of CPU time that so many messages took. `clock` None means that neither metrics nor spans are on."""
    begun, seen = 0.0, 0
    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handler(delivery: Delivery[Any]) -> None:
        nonlocal seen, begun
        begun = begun or time.process_time()
        work()
        seen += 1
        if seen == messages:
            ended.set_result(time.process_time() - begun)

    dependency = Dependency("downstream", settings=CircuitSettings(slow_call_duration=1.0))
    async with Guard(signals=False, spans=spans) as guard:
        beside = [] if clock is None else [asyncio.create_task(clock.run())]
        if metrics and clock is not None:
            beside.append(asyncio.create_task(scrape(guard, clock)))
        run = asyncio.create_task(guard.run(intake, handler, needs=[dependency]))
        await asyncio.wait({run, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in beside:
            task.cancel()
        if not ended.done():
            run.result()
    await run
    return ended.result()


# Name, how many of the messages, and what is on.
ROWS: dict[str, tuple[float, dict[str, Any]]] = {
    "off": (1.0, {}),
    "metrics": (1.0, {"metrics": True}),
    "metrics and spans": (1.0, {"metrics": True, "at_most": 100}),
    "metrics and a span of each message": (0.05, {"metrics": True, "at_most": None}),
    "off, the handler works for 1 ms": (0.01, {"work": some_work}),
    "metrics and spans, the handler works for 1 ms": (0.01, {"metrics": True, "at_most": 100, "work": some_work}),
}


def messages_of(messages: int, part: float) -> int:
    """Return how many messages a row has."""
    return max(2000, int(messages * part))


async def measure(intake_of: Callable[[int], Any], messages: int, rounds: int) -> dict[str, list[float]]:
    """Return the microseconds per message of each round, by row."""
    times: dict[str, list[float]] = {name: [] for name in ROWS}
    for number in range(rounds + 1):
        for name in random.sample(list(ROWS), len(ROWS)):
            part, settings = ROWS[name]
            count = messages_of(messages, part)
            more = {key: value for key, value in settings.items() if key != "at_most"}
            clock = SlowClock() if "metrics" in settings else None
            provider, spans = spans_at(settings["at_most"], clock) if clock is not None and "at_most" in settings else (None, None)
            intake = await intake_of(count)
            gc.collect()
            taken = await guarded(intake, count, spans=spans, clock=clock, **more)
            if provider is not None:
                provider.shutdown()
            if number:  # the first round warms everything
                times[name].append(taken / count * 1e6)
    return times


async def kafka(messages: int, rounds: int) -> dict[str, list[float]]:
    async with shared_kafka() as server:
        topics = {
            count: await filled_topic(server.bootstrap, count) for count in {messages_of(messages, part) for part, _ in ROWS.values()}
        }

        async def intake_of(count: int) -> KafkaIntake:
            return KafkaIntake(new_consumer(server.bootstrap), topics=[topics[count]])

        return await measure(intake_of, messages, rounds)


async def rabbitmq(messages: int, rounds: int) -> dict[str, list[float]]:
    async with shared_rabbitmq() as server:
        queue = f"bench-{uuid.uuid4().hex[:8]}"
        connection = await aio_pika.connect(server.url)
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue(queue, durable=True)

            async def intake_of(count: int) -> RabbitMQIntake:
                await fill(server.url, queue, count)
                return RabbitMQIntake(server.url, queue, prefetch=100)

            times = await measure(intake_of, messages, rounds)
            await channel.queue_delete(queue)
        return times


def report(times: dict[str, list[float]], title: str) -> None:
    print(f"\n{title}\n\n| on | µs of CPU per message, median | least | throughput, off = 1 | quartiles | least to least |")
    print("|---|---|---|---|---|---|")
    for name, values in times.items():
        reference = times["off, the handler works for 1 ms" if name.endswith("1 ms") else "off"]
        ratios = [base / value for base, value in zip(reference, values, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        spread = f"{statistics.median(ratios):.3f} | {low:.3f} to {high:.3f} | {min(reference) / min(values):.3f}"
        print(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} | {spread} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", choices=["kafka", "rabbitmq"], help="one of them; left out, both")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, medians of {options.rounds} rounds")
    for name, measured, messages in (("kafka", kafka, options.messages), ("rabbitmq", rabbitmq, options.messages // 10)):
        if options.broker in (None, name):
            try:
                report(asyncio.run(measured(messages, options.rounds)), f"{name}, {messages:,} messages of 100 bytes")
            except Unavailable as error:
                sys.exit(str(error))


if __name__ == "__main__":
    main()
