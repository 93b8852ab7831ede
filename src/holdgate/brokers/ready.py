"""What the polls of a log gave and `receive` has not handed out yet, and the handlers' turn before the next poll.

A poll may end while nobody receives, two may end in one step of the loop, and partitions may go between a poll and the `receive` that hands
out what it gave. What came of those that went is dropped here: others have them by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions

# Steps of the loop that handlers get between two polls: lanes that were idle take one to wake, and one is what a poll gives (lane.py).
_STEPS = 2


class OfPartition(Protocol):
    """A delivery or a batch that knows the assignment in which it came."""

    @property
    def assigned(self) -> AssignedPartition: ...


D = TypeVar("D", bound=OfPartition)


class Ready(Generic[D]):
    """Keeps what polls gave until it is handed out. `latest` are the partitions of which the last poll gave something."""

    __slots__ = ("_epoch", "_partitions", "deliveries", "latest")

    def __init__(self, partitions: AssignedPartitions) -> None:
        self._partitions = partitions
        self._epoch = 0
        self.deliveries: list[D] = []
        self.latest: Sequence[AssignedPartition] = ()

    def add(self, deliveries: Sequence[D]) -> None:
        """Keep these for the next `hand_out`."""
        self.deliveries += deliveries

    async def let_handlers_run(self) -> None:
        """Let quick handlers work off what the last poll gave before the next one: a full buffer answers without waiting.

        What is not unpacked yet lies close together. To have more messages in hand is what makes a quick handler slow.
        """
        for _ in range(_STEPS):
            await asyncio.sleep(0)
            if not any(partition.inflight.unfinished for partition in self.latest):
                break

    def hand_out(self, most: int | None = None) -> list[D]:
        """Return up to `most` of them, the oldest first, and forget those; None means all.

        What belongs to an assignment that has ended is left out.
        """
        ready = self.deliveries
        if self._epoch != self._partitions.epoch:
            self._epoch = self._partitions.epoch
            ready = [delivery for delivery in ready if delivery.assigned.alive]
        self.deliveries = [] if most is None else ready[most:]
        return ready[:most] if self.deliveries else ready
