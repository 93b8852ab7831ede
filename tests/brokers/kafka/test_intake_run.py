"""A whole run on a real broker, where what it comes to depends on more than the intake."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.kafka.drive import PATIENCE

from holdgate import Delivery, Guard
from holdgate.brokers.kafka import KafkaIntake, intake
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


async def test_a_run_whose_consumer_is_stopped_ends_at_once(kafka: KafkaAddress, topic, consumer, monkeypatch) -> None:
    """With the error that says what to call first, and without waiting for what nobody will answer: here that would take an hour."""
    monkeypatch.setattr(intake, "_FLUSH_WITHIN", 3600.0)
    name = await topic()
    await kafka.produce(name, [b"1", b"2", b"3"], partition=0)
    ours, done = consumer(), asyncio.Event()

    async def handle(delivery: Delivery[Any]) -> None:
        if delivery.body == b"3":
            done.set()

    async with asyncio.timeout(PATIENCE), Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(KafkaIntake(ours, topics=[name], commit_every=3600.0), handle))
        await done.wait()
        await ours.stop()
        with pytest.raises(IntakeError, match=r"call guard.stop\(\) first"):
            await run
