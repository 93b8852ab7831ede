"""A service with a limit for real: a guard on a real Kafka and a real RabbitMQ, with httpx against uvicorn, beside the simulated world.

    python -m benchmarks.limits_real [--services bucket,cap] [--brokers kafka]

The service (benchmarks/limits_service.py) has the same far end as the simulated world: a token bucket, servers with a knee, a cap. Ninety
seconds each, from the first call on. Goodput is of the best possible, as in `benchmarks.limits`.

A real call takes longer than the service works on it: HTTP, and two event loops on a machine that others use, more in one minute than in
the next. So six callers without a guard measure it before and after each run, at the service that takes six, and the simulated calls take
as much longer as the mean of both.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median
from typing import Any

import httpx
from aio_pika import Message, connect_robust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from benchmarks.limits import head, row
from benchmarks.limits_service import SERVICES
from tests.servers.resolve import shared_kafka, shared_rabbitmq
from tests.servers.unavailable import Unavailable

from holdgate import Delivery, Guard
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.ports import Intake
from holdgate_lab.worlds.answers import FarEnd, HttpAnswer, Reply
from holdgate_lab.worlds.playing import api, play
from holdgate_lab.worlds.world import CALL_TIMEOUT, LimitedWorld

AT_WORK = 64
WITHIN = 0.03
# What takes six at a time, and how long it works on each call (seconds); asked for so long without a guard.
CAP, CALLERS, WORKS, ASKED = "cap", 6, 0.3, 30.0


@dataclass(slots=True)
class Seen:
    """What the client saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    first: asyncio.Event = field(default_factory=asyncio.Event)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    def goodput(self, world: LimitedWorld) -> float:
        return self.statuses[200] / world.best(world.seconds)

    @property
    def waste(self) -> float:
        return 1 - self.statuses[200] / max(1, self.statuses.total())


class Distant:
    """Passes calls on to `behind`, half of `seconds` later, and answers back as late."""

    def __init__(self, behind: FarEnd, seconds: float) -> None:
        self._behind = behind
        self._half = seconds / 2

    def arrive(self, reply: Reply) -> None:
        loop = asyncio.get_running_loop()

        def back(given: HttpAnswer) -> None:
            loop.call_later(self._half, reply, given)

        loop.call_later(self._half, self._behind.arrive, back)


def at_a_distance(world: LimitedWorld, seconds: float) -> LimitedWorld:
    """The same world, whose calls take so much longer than the service works on them."""

    def make(chance: Random) -> FarEnd:
        return Distant(world.make(chance), seconds)

    return replace(world, make=make)


async def without_a_guard(url: str) -> tuple[float, float]:
    """Call with as many callers as it takes: returns the goodput, and how much longer a call takes than the service works on it."""
    statuses: Counter[int] = Counter()
    took: list[float] = []
    ends = time.monotonic() + ASKED
    async with httpx.AsyncClient(timeout=CALL_TIMEOUT) as client:

        async def caller() -> None:
            while (began := time.monotonic()) < ends:
                statuses[(await client.post(url)).status_code] += 1
                took.append(time.monotonic() - began)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return statuses[200] / SERVICES[CAP].best(ASKED), median(took) - WORKS


@contextmanager
def service(name: str) -> Generator[str]:
    """Run the service in a process of its own, and give its URL."""
    command = [sys.executable, "-m", "benchmarks.limits_service", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - a module of this folder
        assert running.stdout is not None
        yield f"http://127.0.0.1:{running.stdout.readline().strip()}/"
        assert running.stdin is not None
        running.stdin.close()


async def measure(url: str, intake: Intake[Any], seconds: float, calls: float) -> Seen:
    """Run a guard until so many seconds after its first call, or until so many calls have ended."""
    seen = Seen()
    dependency = api()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=AT_WORK)
    async with httpx.AsyncClient(timeout=CALL_TIMEOUT, limits=limits) as client:

        async def post() -> httpx.Response:
            seen.first.set()
            status = 0
            try:
                response = await client.post(url)
                status = response.status_code
            finally:
                seen.statuses[status] += 1
                if seen.statuses.total() >= calls:
                    seen.enough.set()
            return response.raise_for_status()

        async def handle(delivery: Delivery[Any]) -> None:
            await dependency.call(post)

        async with Guard(signals=False) as guard:
            run = asyncio.create_task(guard.run(intake, handle, needs=[dependency], order="none", concurrency=AT_WORK))
            for event, timeout in ((seen.first, None), (seen.enough, seconds)):
                happens = asyncio.create_task(event.wait())
                await asyncio.wait({run, happens}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                happens.cancel()
            result = Seen(statuses=Counter(seen.statuses))  # what a drain ends is not counted
            if run.done():
                await run  # raises what ended it
            await guard.stop()
            await run
    return result


@asynccontextmanager
async def kafka(world: LimitedWorld) -> AsyncIterator[Intake[Any]]:
    """A topic with more messages than can be processed."""
    async with shared_kafka() as server:
        topic = await server.create_topic(f"limits-{uuid.uuid4().hex[:8]}", 4)
        producer = AIOKafkaProducer(bootstrap_servers=server.bootstrap, linger_ms=5)
        await producer.start()
        try:
            sent = [await producer.send(topic, b"%d" % number) for number in range(int(world.best(world.seconds) * 1.2))]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=server.bootstrap, group_id=uuid.uuid4().hex, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        yield KafkaIntake(consumer, topics=[topic])
        await server.delete_topic(topic)


@asynccontextmanager
async def rabbitmq(world: LimitedWorld) -> AsyncIterator[Intake[Any]]:
    """A queue with more messages than can be processed."""
    async with shared_rabbitmq() as server:
        queue = await server.declare(f"limits-{uuid.uuid4().hex[:8]}", {"x-queue-type": "quorum"})
        connection = await connect_robust(server.url)
        async with connection:
            channel = await connection.channel(publisher_confirms=False)
            for number in range(int(world.best(world.seconds) * 1.2)):
                await channel.default_exchange.publish(Message(b"%d" % number), queue)
        yield RabbitMQIntake(server.url, queue, prefetch=100)  # the most that there is
        await server.delete(queue)


BROKERS: dict[str, Callable[[LimitedWorld], AbstractAsyncContextManager[Intake[Any]]]] = {"kafka": kafka, "rabbitmq": rabbitmq}


async def real(name: str, broker: str, calls: float = math.inf) -> Seen:
    """Run one service with one broker, for the world's time or for so many calls."""
    world = SERVICES[name]
    with service(name) as url:
        async with BROKERS[broker](world) as intake:
            return await measure(url, intake, world.seconds, calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", default=",".join(SERVICES))
    parser.add_argument("--brokers", default=",".join(BROKERS))
    options = parser.parse_args()
    without = f"without a guard at the {CAP}"
    head("service", "broker", without, "goodput", "in vain", "simulated goodput", "in vain", "difference", f"within {WITHIN:.0%}")
    before = asked_without()
    for name in options.services.split(","):
        world = SERVICES[name]
        for broker in options.brokers.split(","):
            try:
                seen = asyncio.run(real(name, broker))
            except Unavailable as error:
                sys.exit(f"{broker}: {error}")
            after = asked_without()
            simulated = play(at_a_distance(world, (before[1] + after[1]) / 2), 1)
            goodput = seen.goodput(world)
            off = goodput / simulated.goodput - 1
            alone = f"{before[0]:.3f}, {after[0]:.3f}"
            simulation = f"{simulated.goodput:.3f}", f"{simulated.waste:.1%}"
            is_within = "yes" if off >= -WITHIN else "no"
            row(world.teaches, broker, alone, f"{goodput:.3f}", f"{seen.waste:.1%}", *simulation, f"{off:+.1%}", is_within)
            before = after


def asked_without() -> tuple[float, float]:
    """Run the service with the cap, and ask it without a guard."""
    with service(CAP) as url:
        return asyncio.run(without_a_guard(url))


if __name__ == "__main__":
    main()
