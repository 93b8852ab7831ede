from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.brokers.kafka.drive import drive
from tests.brokers.rabbitmq.line import Line
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq.channel import RabbitMQDelivery
from holdgate.flow.message import Queue
from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq import RabbitMQIntake

WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


async def test_what_a_handler_sees(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """Body, headers and time as they were published, aio-pika's own message, and no key: RabbitMQ has none."""
    name = await queue(QUORUM)
    await rabbitmq.publish(name, [b"body"], headers={"trace": "7"}, timestamp=WHEN, correlation_id="c")
    async with drive(intake(name)) as at:
        (delivery,) = await at.take(1)
    assert (delivery.source, delivery.position, delivery.body, delivery.key) == (Queue(name), 1, b"body", None)
    assert delivery.headers["trace"] == "7"
    assert delivery.timestamp == WHEN.timestamp()
    assert delivery.message.correlation_id == "c"
    assert (delivery.redelivered, delivery.returns, delivery.attempt) == (False, 0, 0)
    assert "body" not in repr(delivery)


async def test_a_return_is_told(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """How often a message came back, as the queue counts it; without a time of the producer there is none."""
    name = await queue(QUORUM)
    await rabbitmq.publish(name, [b"body"])
    await rabbitmq.waiting(name)
    async with drive(intake(name)) as at:
        (delivery,) = await at.take(1)
    assert (delivery.redelivered, delivery.returns, delivery.timestamp) == (True, 1, None)


async def test_the_backlog_knows_the_age_of_the_oldest_in_hand(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]
) -> None:
    """Where producers set the time; without one nobody can say."""
    name = await queue()
    await rabbitmq.publish(name, [b"0"], timestamp=WHEN)
    made = intake(name)
    async with drive(made) as at:
        at.ack(await at.take(1))
        await made.flush()
        await rabbitmq.publish(name, [b"1"])
        await at.take(2)
        assert (await made.backlog())[Queue(name)].oldest_age is None
        await rabbitmq.publish(name, [b"2"], timestamp=WHEN)
        at.ack(at.received[1:])
        await at.take(3)
        age = (await made.backlog())[Queue(name)].oldest_age
    assert age is not None
    assert age > 0


def test_aio_pikas_message_is_made_when_it_is_asked_for() -> None:
    """Once, and not for what most handlers look at; a name that there is not is no message."""

    async def looks() -> None:
        line = Line()
        await line.arrive(1)
        delivery = line.channel.unsettled[1]
        assert (delivery.position, delivery.body, delivery.headers, delivery.returns) == (1, b"body", {}, 0)
        assert not _has_message(delivery)
        assert delivery.message is delivery.message
        assert (delivery.message.delivery_tag, delivery.message.body) == (1, b"body")
        assert _has_message(delivery)
        with pytest.raises(AttributeError, match="RabbitMQDelivery has no attribute 'payload'"):
            _ = delivery.payload  # type: ignore[attr-defined]

    run_virtual(looks())


def _has_message(delivery: RabbitMQDelivery) -> bool:
    """Without making one."""
    try:
        object.__getattribute__(delivery, "message")
    except AttributeError:
        return False
    return True
