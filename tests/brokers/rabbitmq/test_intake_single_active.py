"""Two members of a queue with a single active consumer, and a broker that takes back what is held for too long.

On RabbitMQ 4.3 each message times out for itself, and the other member is active as soon as the first one is back: what is still out comes
after it, and the order is gone. So everything goes back before the first deadline, all at once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from tests.brokers.kafka.drive import drive
from tests.brokers.rabbitmq.aging import grow_old, in_hand
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.kafka.drive import Drive
    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq import RabbitMQIntake

pytestmark = pytest.mark.versions

# The broker's own, in seconds: what grows old at the test's word must be back by then.
BROKERS_TIMEOUT = 60.0
WINDOW = 5
PATIENCE = 90.0


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


async def both(first: Drive, second: Drive, condition: Callable[[], bool]) -> None:
    """Poll both members until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.gather(first.poll(), second.poll())


@pytest.mark.parametrize("by", ["queue", "consumer"])
async def test_two_members_hold_past_the_timeout_and_keep_the_order(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The window wanders from one to the other and back, whole: in order, none lost, and one return for each time that it went back.

    The timeout may be the queue's own, or one that the consumer asks for.
    """
    if rabbitmq.version != "4.3":
        pytest.skip("before 4.3 no timeout is so short that a test can wait for it")
    own = {"x-consumer-timeout": int(BROKERS_TIMEOUT * 1000)}
    name = await queue({**QUORUM, **SINGLE_ACTIVE, **(own if by == "queue" else {})})
    await rabbitmq.publish(name, numbered(12))
    settings = {"prefetch": WINDOW, "single_active": True, "arguments": own if by == "consumer" else None}
    with caplog.at_level(logging.WARNING, "holdgate"):
        async with drive(intake(name, **settings)) as first, drive(intake(name, **settings)) as second:
            await both(first, second, lambda: len(first.received) + len(second.received) == WINDOW)
            for at in (first, second):
                at.hold()
            for at in (first, second) if first.received else (second, first):
                await both(first, second, lambda at=at: in_hand(at.intake) == WINDOW)  # type: ignore[misc]
                grow_old(at.intake)
                await both(first, second, lambda at=at: at.count("revoked") == 1 and at.count("assigned") == 2)  # type: ignore[misc]
            left = await first.beside(rabbitmq.waiting_once_free(name))
            assert [at.count("lost") for at in (first, second)] == [0, 0], "the broker was quicker"
            await rabbitmq.becomes(name, ready=12)
            for at in (first, second):
                at.received.clear()
                at.admit()
            await both(first, second, lambda: len(first.received) + len(second.received) == WINDOW)
    assert [message.body for message in left] == numbered(12)
    assert [message.returns for message in left] == [2] * WINDOW + [0] * (12 - WINDOW)
    assert first.bodies() + second.bodies() == numbered(WINDOW)
    assert first.leaked == second.leaked == []
    assert "its channel has closed" not in caplog.text
