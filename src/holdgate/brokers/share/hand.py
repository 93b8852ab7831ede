"""What is in hand of one topic: the records of one poll, until the last of them is settled.

A share consumer refuses to poll while a record of its last poll is not acknowledged, so there is one *hand* at a time. All its records have
the same lock. When that lock is nearly over the hand ends: what is not settled goes back.

A hand may also be of *copies*: records that have gone back, and are offered once more from memory, without a lock (supervisor.py says why).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Message

from holdgate.brokers.share.client import Place, place_of
from holdgate.flow.message import OFFSET, PARTITION, SOURCE, Delivery, Queue

# Seconds for which a copy is tried alone: an outage is seldom longer, and the log has named the message twenty times by then.
_ALONE_FOR = 1200.0


class ShareDelivery(Delivery[Message]):
    """A record of a share group as the handler gets it.

    `message` is confluent-kafka's Message. `position` numbers the deliveries of this process, because a topic has many partitions and each
    has offsets of its own; `place` is the record's partition and offset. `deliveries` is how often the broker has delivered the record,
    this time included. `redelivered` is True from the second one on.
    """

    __slots__ = ("deliveries", "hand", "number", "place")

    def __init__(self, source: Queue, message: Message, number: int) -> None:
        self.deliveries = message.delivery_count() or 1
        super().__init__(source, message, self.deliveries > 1)
        self.number = number
        self.place: Place = place_of(message)
        self.hand: Hand | None = None

    @property
    def position(self) -> int:
        return self.number

    @property
    def body(self) -> bytes | None:
        return _as_bytes(self.message.value())

    @property
    def key(self) -> bytes | None:
        return _as_bytes(self.message.key())

    @property
    def headers(self) -> Mapping[str, Any]:
        return dict(self.message.headers() or ())

    @property
    def timestamp(self) -> float | None:
        _, milliseconds = self.message.timestamp()
        return None if milliseconds < 0 else milliseconds / 1000

    def whereabouts(self) -> dict[str, str]:
        """Return what a dead letter's headers say of where it was: topic, partition and offset."""
        return {SOURCE: self.source.name, PARTITION: str(self.place.partition), OFFSET: str(self.place.offset)}


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


class Hand:
    """The records of one poll. `ends_at` is when their lock ends, on the event loop's clock. None means copies, which have no lock."""

    __slots__ = ("alive", "ends_at", "finished", "free_since", "proofs", "since", "unsettled", "was_held")

    def __init__(self, deliveries: Sequence[ShareDelivery], ends_at: float | None) -> None:
        self.ends_at = ends_at
        self.alive = True
        self.unsettled: dict[int, ShareDelivery] = {}
        self.finished: list[ShareDelivery] = []  # and not committed yet
        self.since: float | None = None  # when the first of these was settled; of copies, the first since the last hold
        self.was_held = False  # since a record of it was settled
        self.free_since: float | None = None  # the source has not been held since then, and not been free before
        self.proofs = 0  # how many were settled since the last hold
        for delivery in deliveries:
            delivery.hand = self
            self.unsettled[delivery.number] = delivery

    @property
    def is_copy(self) -> bool:
        """Whether these are copies, whose records are not locked for us."""
        return self.ends_at is None

    @property
    def is_stuck(self) -> bool:
        """Whether everything that is left of it has failed, and waits to be tried again. Only other messages can show why."""
        return all(delivery.history is not None for delivery in self.unsettled.values())

    def holds(self, delivery: ShareDelivery) -> bool:
        """Return whether this one is in hand, and not settled."""
        return self.alive and delivery.number in self.unsettled

    def settle(self, delivery: ShareDelivery, now: float) -> bool:
        """Note that a record is processed. Returns whether that is news: a hand that has ended takes nothing more."""
        if not self.alive or self.unsettled.pop(delivery.number, None) is None:
            return False
        self.finished.append(delivery)
        self.was_held = False
        self.proofs += 1
        self.since = now if self.since is None else self.since
        return True

    def bury(self, delivery: ShareDelivery) -> None:
        """Note that the dead letter of a record is confirmed, which says nothing of the dependency. It is committed immediately.

        Until then the end of the process would cost a second letter.
        """
        del self.unsettled[delivery.number]
        self.finished.append(delivery)
        if not self.is_copy:
            self.since = -math.inf

    def put_aside(self, delivery: ShareDelivery) -> None:
        """Note that nothing is to be done with a copy any more: its record is somebody else's."""
        self.unsettled.pop(delivery.number, None)

    def note_hold(self) -> None:
        """Note that the source is held: what was settled before says nothing any more."""
        self.was_held = True
        self.free_since = None
        self.proofs = 0
        if self.is_copy:
            self.since = None

    def note_free(self, now: float) -> None:
        """Note that the source is not held."""
        self.free_since = now if self.free_since is None else self.free_since

    def take_finished(self) -> list[ShareDelivery]:
        """Return what is finished and not committed yet, and take it as committed."""
        finished, self.finished = self.finished, []
        self.since = None
        return finished

    def end(self) -> list[ShareDelivery]:
        """End it. Returns what is not settled, in the order of arrival."""
        self.alive = False
        rest = list(self.unsettled.values())
        self.unsettled.clear()
        return rest


class Company:
    """When a copy that is alone in a hold gets company from the broker.

    It may be at fault itself, and only another message can show that. But in an outage each look costs what it finds one delivery. So the
    first comes late, and each further one when the hold has lasted twice as long.
    """

    __slots__ = ("_since", "due_at")

    def __init__(self) -> None:
        self._since: float | None = None
        self.due_at: float | None = None  # None means that nothing is held

    def begin(self, now: float) -> None:
        """Note that records have gone back in a hold. Only the first of them counts."""
        if self._since is None:
            self._since, self.due_at = now, now + _ALONE_FOR

    def take(self, now: float) -> None:
        """Note that there was a look."""
        if self._since is not None:
            self.due_at = now + (now - self._since)

    def end(self) -> None:
        """Note that the hold is over."""
        self._since = self.due_at = None


def messages_of(deliveries: Iterable[ShareDelivery]) -> list[Message]:
    """Return the client's own objects of these."""
    return [delivery.message for delivery in deliveries]
