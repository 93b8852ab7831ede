"""An outage for the whole table of clients, in every shape, on every broker at the same time: no good message becomes a dead letter."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.clients import outage_beds, results
from tests.clients.installed import installed
from tests.clients.outage_work import SHAPES, Combination, Outage, combinations
from tests.clients.table import Brokers, Client, standing
from tests.servers.kafka import KafkaServer
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.unavailable import in_ci

from holdgate import CircuitSettings, Guard, RetryPolicy
from holdgate.events import CircuitOpened

# Seconds. The everyday outage is short, its probes come quickly, and each broker has each client in one shape, another one than the others;
# `make test-clients-outage` has one of two minutes and everything. Then some clients cost 20 ms of computing for each call, and there are
# hundreds of handlers: probes come often enough for all situations, and no oftener.
SECONDS = float(os.environ.get("HOLDGATE_TEST_OUTAGE", "10"))
IS_LONG = SECONDS >= 120.0
SETTINGS = CircuitSettings(open_duration=10.0 if IS_LONG else 0.5)
# Only a failing run waits so long: hundreds of clients on two cores that others load.
PATIENCE = 600.0
LOOK_EVERY = 0.2
# Most clients block a thread for each call.
THREADS = 256

BEFORE, DURING, AFTER = 2, 3, 1


class Line:
    """One broker's handlers, under a guard of their own."""

    def __init__(self, bed: outage_beds.Bed, works: list[Combination]) -> None:
        self.bed = bed
        self.works = works
        self.opened: Counter[str] = Counter()
        self._guard: Guard | None = None

    @property
    def is_started(self) -> bool:
        return self._guard is not None and self._guard.health().started

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """With one attempt for each message: a failure that is taken for the message's own is a dead letter."""
        async with Guard(signals=False, observers=[self._observe]) as guard, asyncio.TaskGroup() as group:
            self._guard = guard
            group.create_task(
                guard.run(
                    self.bed.intake,
                    {work.topic: work.handler() for work in self.works},
                    needs={work.topic: [work.dependency] for work in self.works},
                    retry=RetryPolicy(attempts=1),
                    dead_letters=self.bed.dead_letters,
                    concurrency=len(self.works),
                )
            )
            yield
            await guard.stop()

    async def produce(self, count: int, *, with_poison: bool = False) -> None:
        """Good messages for everybody, the poison somewhere among them."""
        bodies = {work.topic: work.good(count) for work in self.works}
        if with_poison:
            for number, work in enumerate(self.works):
                bodies[work.topic].insert(number % (count + 1), work.poison)
        await self.bed.produce(bodies)

    def unprocessed(self) -> dict[str, Counter[bytes]]:
        """What is missing, or was processed twice, by combination."""
        return {work.name: missing for work in self.works if (missing := differs(Counter(work.all_good), work.processed))}

    def _observe(self, event: object) -> None:
        if isinstance(event, CircuitOpened):
            self.opened[event.name] += 1


def differs(expected: Counter[bytes], got: Counter[bytes]) -> Counter[bytes]:
    return (expected - got) + (got - expected)


def told(what: str) -> None:
    """For whoever watches a long run, with -s."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


async def until(condition: Callable[[], bool], missing: Callable[[], object]) -> None:
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < give_up, missing()
        await asyncio.sleep(LOOK_EVERY)


def turn(work: Combination) -> int:
    """Each client's four shapes have each of four numbers, and so has each shape among the clients."""
    return sum(divmod(work.number, len(SHAPES))) % len(SHAPES)


async def lines_of(stack: AsyncExitStack, brokers: Brokers, clients: list[Client], outage: Outage) -> list[Line]:
    works = [[work for work in combinations(clients, outage, SETTINGS) if IS_LONG or turn(work) == place] for place in range(3)]
    in_memory, on_kafka, on_rabbitmq = ([work.topic for work in these] for these in works)
    beds = [
        await stack.enter_async_context(bed)
        for bed in (
            outage_beds.on_memory(in_memory),
            outage_beds.on_kafka(brokers.kafka, on_kafka),
            outage_beds.on_rabbitmq(brokers.rabbitmq, on_rabbitmq),
        )
    ]
    return [Line(bed, these) for bed, these in zip(beds, works, strict=True)]


@pytest.mark.slow
async def test_an_outage_buries_nothing_but_poison(own_kafka: KafkaServer, kafka_proxy: Proxy, own_rabbitmq: RabbitMQServer) -> None:
    """Every client meets every situation of its outage, in every shape, on the broker in memory, on Kafka and on RabbitMQ; every circuit
    opens, every good message is processed once, and what fails by its own fault is the only dead letter."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    outage = Outage()
    brokers = Brokers(own_kafka, kafka_proxy, own_rabbitmq)
    async with standing(brokers) as clients, AsyncExitStack() as stack:
        for client in clients:  # one after the other: each is imported by its first call, which stops everything else for a while
            await client.well()
        told(f"{len(clients)} clients are here")
        lines = await lines_of(stack, brokers, clients, outage)
        works = [work for line in lines for work in line.works]
        async with AsyncExitStack() as running:
            for line in lines:
                await running.enter_async_context(line.working())
            # Nobody works while others still connect: on a busy machine they would run out of their time for that.
            await until(lambda: all(line.is_started for line in lines), lambda: [line.bed.name for line in lines if not line.is_started])
            for line in lines:
                await line.produce(BEFORE)
            await until(lambda: not any(line.unprocessed() for line in lines), lambda: [line.unprocessed() for line in lines])
            told("all are well")
            healthy = [Counter(line.opened) for line in lines]

            outage.is_on = True
            kafka_proxy.refuse()
            kafka_proxy.reset()
            for line in lines:
                await line.produce(DURING, with_poison=True)
            told("all are down")
            await asyncio.sleep(SECONDS)
            told(f"waiting for {len(unmet(works))} that have not met everything")
            await until(lambda: all(work.has_met_all for work in works), lambda: unmet(works))
            assert [line.bed.name for line in lines if await line.bed.buried()] == []
            for line, before in zip(lines, healthy, strict=True):
                assert {work.topic for work in line.works} <= (line.opened - before).keys()

            told("all are well again")
            outage.is_on = False
            await kafka_proxy.accept()
            for line in lines:
                await line.produce(AFTER)
            await until(lambda: not any(line.unprocessed() for line in lines), lambda: [line.unprocessed() for line in lines])
        buried = []
        for line in lines:
            poison = Counter(work.poison for work in line.works)
            dead = Counter(await line.bed.buried())
            assert differs(poison, dead) == Counter()
            assert line.unprocessed() == {}
            buried.append(dead.total())
        report(lines, len(clients), buried)


def unmet(works: list[Combination]) -> dict[str, set[str]]:
    return {work.name: work.client.outage.keys() - work.met.keys() for work in works if not work.has_met_all}


def report(lines: list[Line], clients: int, buried: list[int]) -> None:
    """Say what was met; the outage of two minutes goes into outage.json, from which docs/reference/failures.md is made."""
    found: dict[str, Any] = {"seconds": SECONDS, "clients": clients, "brokers": {}}
    for line, dead in zip(lines, buried, strict=True):
        found["brokers"][line.bed.name] = {
            "handlers": len(line.works),
            "failures": sum(work.met.total() for work in line.works),
            "openings": line.opened.total(),
            "good": sum(len(work.all_good) for work in line.works),
            "processed": sum(work.processed.total() for work in line.works),
            "poison": len(line.works),
            "buried": dead,
        }
    told(json.dumps(found))
    if IS_LONG and not in_ci():
        results.keep_outage("clients-niquests" if installed("niquests") else "clients", found)
