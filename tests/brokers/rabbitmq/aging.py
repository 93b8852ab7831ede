"""Time that a test does not wait for: what an intake has in hand grows old at a word, and not before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate.brokers.rabbitmq import RabbitMQIntake
    from holdgate.brokers.rabbitmq.channel import QueueChannel

# The consumer timeout that an intake is given: no machine is so slow that a test takes so long. Ours alone, the broker has its own.
TIMEOUT = 600.0


def grow_old(intake: RabbitMQIntake) -> None:
    """Let everything that is in hand now have come so long ago that it must go back before the consumer timeout."""
    for supervisor in intake._supervisors.values():
        assert supervisor.channel is not None
        for delivery in supervisor.channel.unsettled.values():
            delivery.arrived_at -= TIMEOUT
        supervisor.wake()


def in_hand(intake: RabbitMQIntake) -> int:
    """How many messages the broker has sent and nobody has settled, over all queues."""
    channels: list[QueueChannel | None] = [supervisor.channel for supervisor in intake._supervisors.values()]
    return sum(len(channel.unsettled) for channel in channels if channel is not None)
