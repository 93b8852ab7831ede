"""A FastStream app on a real RabbitMQ for one test: a dependency that can be down, and what the handlers saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from tests.integrations.faststream.kafka_app import Bad, Down

from holdgate import RetryPolicy
from holdgate.integrations.faststream import FastStreamGuard

if TYPE_CHECKING:
    from tests.servers.rabbitmq_address import RabbitMQAddress

PREFETCH = 10


class RabbitMQApp:
    """One app. `down` makes handlers that `work` fail; `started`, `failed` by itself and `done` count by the message's number."""

    def __init__(self, rabbitmq: RabbitMQAddress, **settings: Any) -> None:
        self.broker = RabbitBroker(rabbitmq.url, logger=None)
        self.app = FastStream(self.broker, logger=None)
        settings.setdefault("retry", RetryPolicy(initial_backoff=0.05, max_backoff=0.2))
        self.guarded = FastStreamGuard(self.app, **settings)
        self.down = False
        self.bad: set[int] = set()
        self.seconds = 0.0
        self.running = self.most = 0
        self.started: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.done: Counter[int] = Counter()

    def subscriber(self, queue: str, **settings: Any) -> Any:
        """FastStream's, as the guard wants it."""
        settings = {"ack_policy": AckPolicy.MANUAL, "channel": Channel(prefetch_count=PREFETCH)} | settings
        return self.broker.subscriber(RabbitQueue(queue, declare=False), **settings)

    async def work(self, number: int) -> None:
        """What a handler does with one message."""
        self.started[number] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            if self.down:
                raise Down
            if number in self.bad:
                self.failed[number] += 1
                raise Bad
            self.done[number] += 1
        finally:
            self.running -= 1

    def reads(self, queue: str, **settings: Any) -> None:
        """Give it a subscriber that works on numbers."""

        @self.subscriber(queue, **settings)
        async def handle(number: int) -> None:
            await self.work(number)

    @property
    def is_open(self) -> bool:
        """Whether the dependency's circuit is open."""
        return any(circuit.state.name == "OPEN" for circuit in self.guarded.guard.snapshot().dependencies.values())
