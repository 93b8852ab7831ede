"""What the intake does without a broker."""

from __future__ import annotations

import asyncio

from holdgate.brokers.rabbitmq import RabbitMQIntake


async def test_a_flush_ends_a_receive_that_waits() -> None:
    """It is the end of a run, and nobody waits for the poll's timeout, however long it is."""
    made = RabbitMQIntake("amqp://localhost/", "orders", poll_timeout=3600)
    receiving = asyncio.create_task(made.receive())
    while not made._bell.is_awaited:
        await asyncio.sleep(0)
    await made.flush()
    assert list(await asyncio.wait_for(receiving, 60)) == []
