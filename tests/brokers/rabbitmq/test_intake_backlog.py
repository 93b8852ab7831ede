"""How much waits in a queue, those included that the broker keeps back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.brokers.kafka.drive import PATIENCE, drive
from tests.servers.rabbitmq_address import QUORUM

from holdgate import Queue
from holdgate.brokers.rabbitmq.queue_facts import Management
from holdgate.flow.message import Backlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq import RabbitMQIntake


async def test_what_is_ready_and_what_is_in_hand_waits(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """Of ten messages five are in hand; without the management API nothing is known of what is kept back."""
    name = await queue()
    await rabbitmq.publish(name, [b"x"] * 10)
    async with drive(intake(name, prefetch=5)) as at:
        await at.take(5)
        assert (await at.intake.backlog())[Queue(name)] == Backlog(10)


async def test_questions_are_asked_on_a_channel_of_their_own(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]
) -> None:
    """A queue that is gone closes the channel that asked, and not the one that consumes."""
    name = await queue()
    async with drive(intake(name)) as at:
        await at.for_seconds(0.2)
        assert await at.intake._client.ready(["no-such-queue", name]) == {name: 0}
        await rabbitmq.publish(name, [b"x"])
        await at.take(1)


@pytest.mark.versions
async def test_what_waits_for_a_delayed_retry_is_counted(own_rabbitmq: RabbitMQServer, intake: Callable[..., RabbitMQIntake]) -> None:
    """On 4.3 it is neither ready nor lost: three messages that came back wait for their time, and are part of the backlog."""
    if own_rabbitmq.version != "4.3":
        pytest.skip("only 4.3 and later delay retries")
    arguments = {**QUORUM, "x-delayed-retry-type": "all", "x-delayed-retry-min": 600_000}
    name = await own_rabbitmq.declare("delayed", arguments)
    try:
        await own_rabbitmq.publish(name, [b"x"] * 5)
        made = intake(name, url=own_rabbitmq.url, management_url=own_rabbitmq.management_url)
        async with drive(made) as at:
            for delivery in (await at.take(5))[:3]:
                await delivery.message.channel.basic_nack(delivery.position, requeue=True)
                made._supervisors[Queue(name)].channel.unsettled.pop(delivery.position, None)
            async with asyncio.timeout(PATIENCE):  # the API's numbers lag by seconds
                while (seen := (await at.intake.backlog())[Queue(name)]).delayed != 3:
                    await asyncio.sleep(0.2)
            assert (seen.messages, seen.readable) == (5, 2)
    finally:
        await own_rabbitmq.delete(name)


async def test_an_api_that_does_not_answer_is_not_logged_every_few_seconds(caplog) -> None:
    """The number is unknown, and that is all."""
    assert await Management("http://127.0.0.1:9").delayed("/", "orders") is None
    assert not caplog.records
