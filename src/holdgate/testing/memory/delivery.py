"""One delivery of the in-memory broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdgate.flow.message import Delivery, Source
from holdgate.testing.memory.message import Message


class MemoryDelivery(Delivery[Message]):
    """A message as the in-memory broker delivered it; `message` is the stored one.

    `position` is the offset in a partition, and the delivery tag on a queue. `delivery_count` is how often a queue's message had come
    back before; 0 on a partition, where nobody counts.
    """

    __slots__ = ("_position", "assigned", "delivery_count")

    def __init__(
        self,
        source: Source,
        message: Message,
        position: int,
        assignment: object,
        *,
        redelivered: bool | None = None,
        delivery_count: int = 0,
    ) -> None:
        super().__init__(source, message, redelivered)
        self._position = position
        # The assignment or channel it came by. Settled after that is gone, it settles nothing.
        self.assigned = assignment
        self.delivery_count = delivery_count

    @property
    def position(self) -> int:
        """The offset, or the delivery tag."""
        return self._position

    @property
    def body(self) -> bytes | None:
        """The payload; None for a tombstone."""
        return self.message.body

    @property
    def key(self) -> bytes | None:
        """The key it was produced with; None without one, and always on a queue."""
        return self.message.key

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers it was produced with."""
        return self.message.headers

    @property
    def timestamp(self) -> float | None:
        """When it was produced, in seconds of the event loop's clock, whose zero stands for the epoch here."""
        return self.message.timestamp
