"""A FastStream app on a real Kafka for one test: a dependency that can be down, and what the handlers saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from holdgate import CircuitSettings, Dependency, RetryPolicy
from holdgate.integrations.faststream import FastStreamGuard

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.kafka_address import KafkaAddress

# Only a failing test waits so long; a busy machine may take long for a rebalance.
PATIENCE = 60.0
QUICK = CircuitSettings(open_duration=0.3, open_jitter=0.0)


class Down(Exception):
    """What the dependency fails with."""


class Bad(Exception):
    """A message's own failure."""


def dependency(name: str = "payments") -> Dependency:
    return Dependency(name, failures=Down, settings=QUICK)


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


class KafkaApp:
    """One app. `down` makes handlers that `work` fail. `started` and `done` count by the message's number; `order` has those done."""

    def __init__(self, kafka: KafkaAddress, group: str, **settings: Any) -> None:
        self.kafka = kafka
        self.group = group
        self.broker = KafkaBroker(kafka.bootstrap, logger=None)
        self.app = FastStream(self.broker, logger=None)
        settings.setdefault("retry", RetryPolicy(initial_backoff=0.05, max_backoff=0.2))
        self.guarded = FastStreamGuard(self.app, **settings)
        self.down = False
        self.bad: set[int] = set()
        self.seconds = 0.0
        self.started: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        self.order: list[int] = []

    def subscriber(self, *topics: str, **settings: Any) -> Any:
        """FastStream's, as the guard wants it, from the beginning of the topic."""
        own = {"ack_policy": AckPolicy.MANUAL, "listener": self.guarded.listener, "group_id": self.group, "auto_offset_reset": "earliest"}
        return self.broker.subscriber(*topics, **(own | settings))

    async def work(self, number: int) -> None:
        """What a handler does with one message."""
        self.started[number] += 1
        await asyncio.sleep(self.seconds)
        if self.down:
            raise Down
        if number in self.bad:
            raise Bad
        self.done[number] += 1
        self.order.append(number)

    def reads(self, *topics: str, **settings: Any) -> None:
        """Give it a subscriber that works on numbers."""

        @self.subscriber(*topics, **settings)
        async def handle(number: int) -> None:
            await self.work(number)

    @property
    def is_open(self) -> bool:
        """Whether the dependency's circuit is open."""
        return any(circuit.state.name == "OPEN" for circuit in self.guarded.guard.snapshot().dependencies.values())


async def write(kafka: KafkaAddress, topic: str, numbers: range, partitions: int = 1) -> None:
    """Write numbers to a topic, dealt to its partitions in turn."""
    for partition in range(partitions):
        values = [str(number).encode() for number in numbers if number % partitions == partition]
        await kafka.produce(topic, values, partition=partition)
