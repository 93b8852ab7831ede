"""What SECURITY.md promises: what is in a message stays in the message."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from holdgate import CircuitSettings, Delivery, Dependency, Guard, Partition, RetryPolicy
from holdgate.testing import LoopClock, MemoryBroker, MemoryDeadLetters, MemoryIntake, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "4711"
BODY, KEY, HEADER, TEXT = f"body-{MARK}", f"key-{MARK}", f"header-{MARK}", f"text-{MARK}"
PATIENCE = 900.0  # longer than `hold_warn_after`
POISON = Partition("orders", 1)


class Declined(Exception):
    """The message's own fault."""


class Worker:
    """A guard that has every reason to speak: poison, an outage, a handler that hangs, dead letters that fail, an operator."""

    def __init__(self, broker: MemoryBroker, letters: MemoryDeadLetters | None) -> None:
        self.broker = broker
        self.letters = letters
        self.down = False
        self.shown: list[str] = []
        self.payments = Dependency("payments", failures=ConnectionError, settings=CircuitSettings(open_duration=5.0))

    def observe(self, event: object) -> None:
        self.shown += [repr(event), str(event)]

    async def handle(self, delivery: Delivery) -> None:
        self.shown += [repr(delivery), str(delivery)]
        if delivery.source == POISON and delivery.position % 10 == 7:
            raise Declined(TEXT)
        if self.down:
            raise ConnectionError(TEXT)
        if delivery.position == 12:
            await asyncio.sleep(700)  # longer than anybody expects

    def produce(self, count: int) -> None:
        for number in range(count):
            self.broker.produce("orders", BODY.encode(), KEY.encode(), {"secret": HEADER.encode()}, partition=number % 2)

    async def live(self) -> None:
        """From the first message through an outage to the last one."""
        async with Guard(self.payments, signals=False, observers=[self.observe], clock=LoopClock()) as guard:
            intake = MemoryIntake(self.broker, topics=["orders"], poll_timeout=5.0)
            retry = RetryPolicy(attempts=2, max_backoff=1.0)
            run = asyncio.create_task(guard.run(intake, self.handle, needs=[self.payments], retry=retry, dead_letters=self.letters))
            self.produce(30)
            await asyncio.sleep(PATIENCE)
            self.down = True
            self.produce(30)
            await asyncio.sleep(PATIENCE)
            guard.hold("orders", reason="maintenance")
            self.shown += [repr(guard.snapshot()), repr(guard.health()), repr(guard.audit())]
            self.down = False
            guard.unhold("orders", reason="over")
            await asyncio.sleep(PATIENCE)
            self.shown += [repr(guard.snapshot()), repr(guard)]
            await guard.stop()
            await run


def _without(_broker: MemoryBroker) -> None:
    """No dead letters: poison blocks its partition."""


@pytest.mark.parametrize("letters", [MemoryDeadLetters, _without], ids=["with dead letters", "without"])
def test_a_message_stays_out_of_logs_events_and_snapshots(
    letters: Callable[[MemoryBroker], MemoryDeadLetters | None], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a payload, key or header nor the text of a handler's exception is in a log line, an event, a snapshot or a repr."""
    caplog.set_level(logging.DEBUG)
    broker = MemoryBroker(topics={"orders": 2, "orders.dead": 1})
    worker = Worker(broker, letters(broker))

    run_virtual(worker.live())

    assert "circuit" in caplog.text, "the guard has said nothing, so nothing is shown"
    assert len(worker.shown) > 100
    assert MARK not in caplog.text
    assert not [text for text in worker.shown if MARK in text]
