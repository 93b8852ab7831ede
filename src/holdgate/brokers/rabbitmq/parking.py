"""Parking: a message that one return more may kill goes to a queue of its own, instead of back to the one that would drop it.

It is written and confirmed first and acked then, so that a fault in between makes two of it and never none. What cannot be parked goes back
with the rest: a hold may not end because the parking place is away.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdgate.brokers.rabbitmq.background import within
from holdgate.brokers.rabbitmq.delivery import RabbitMQDelivery
from holdgate.flow.dead_letter import DeadLetter

if TYPE_CHECKING:
    from holdgate.ports import DeadLetters

log = logging.getLogger(__name__)

# All of them together: a window is parked in a tenth of a second, and the rest of the margin is for what has to go back.
_PARK_WITHIN = 5.0

_REASON = "held, and near the delivery limit of its queue"


class Parking:
    """Parks messages of one intake in `target`, a `DeadLetters`, which it opens and closes."""

    def __init__(self, target: DeadLetters) -> None:
        self._target = target
        self._is_open = False
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    async def open(self, names: Sequence[str]) -> None:
        """Raises what the target raises: before an outage there is time to mend it."""
        await self._target.open(names)
        self._is_open = True

    async def close(self) -> None:
        """Let the target go. Idempotent."""
        if self._is_open:
            self._is_open = False
            await self._target.close()

    async def park(self, deliveries: Sequence[RabbitMQDelivery]) -> Sequence[RabbitMQDelivery]:
        """Write these, in order, within a bound; returns those that are confirmed."""
        parked: list[RabbitMQDelivery] = []
        try:
            if not await within(self._publish(deliveries, parked), _PARK_WITHIN):
                log.error("parking took longer than %g s; %d messages are not parked", _PARK_WITHIN, len(deliveries) - len(parked))
        except Exception as error:  # noqa: BLE001 - whatever the target raises, what is not parked goes back
            log.warning("%d messages could not be parked: %r", len(deliveries) - len(parked), error)
        return tuple(parked)

    async def _publish(self, deliveries: Sequence[RabbitMQDelivery], parked: list[RabbitMQDelivery]) -> None:
        now = time.time()
        for delivery in deliveries:
            letter = DeadLetter(delivery, delivery.attempt, now, now, None, "", _REASON, self._worker)
            await self._target.publish(letter)
            parked.append(delivery)
