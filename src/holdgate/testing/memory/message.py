"""What a model broker stores, the ledger of what happened to each message, and the delivery by which a client gets one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from holdgate.flow.message import Delivery, Source

LedgerEvent = Literal["produced", "assigned", "delivered", "committed", "acked", "requeued", "rejected", "dead", "revoked", "lost"]

_NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message.

    `position` is its offset in a log, or its number in a queue, from 0 and never used twice. `timestamp` is the second of production, by
    the clock that drives the model. `body` None means a tombstone.
    """

    position: int
    body: bytes | None
    key: bytes | None = None
    headers: Mapping[str, Any] = field(default_factory=lambda: _NO_HEADERS)
    timestamp: float = 0.0


class LedgerEntry(NamedTuple):
    """One line of the ledger.

    `position` is the message's place in its source. For `committed` it is the next one to be read, for `assigned` the first one that will
    be read, and for `revoked` and `lost` the one that would have been read next. A queue has no such place, so these are 0 there.
    """

    event: LedgerEvent
    source: Source
    position: int


class Ledger:
    """An append-only list of what a broker saw, oldest first."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[LedgerEntry] = []

    def note(self, event: LedgerEvent, source: Source, position: int = 0) -> None:
        """Append one line."""
        self._entries.append(LedgerEntry(event, source, position))

    def positions(self, event: LedgerEvent, source: Source) -> list[int]:
        """Return the positions of one kind of event on one source, in the order in which the events happened."""
        return [entry.position for entry in self._entries if entry.event == event and entry.source == source]

    def __iter__(self) -> Iterator[LedgerEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> LedgerEntry:
        return self._entries[index]


class MemoryDelivery(Delivery[Message]):
    """A message as the in-memory broker delivered it. `message` is the stored one.

    `position` is the offset in a partition, and the delivery tag on a queue. `delivery_count` is how often a queue's message had come
    back before; it is 0 on a partition, which does not count.
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
        # The assignment or channel that the delivery came by. When that is gone, settling the delivery has no effect.
        self.assigned = assignment
        self.delivery_count = delivery_count

    @property
    def position(self) -> int:
        """The offset, or the delivery tag."""
        return self._position

    @property
    def body(self) -> bytes | None:
        """The payload. None means a tombstone."""
        return self.message.body

    @property
    def key(self) -> bytes | None:
        """The key of the message. None means that there is none, as always on a queue."""
        return self.message.key

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers of the message."""
        return self.message.headers

    @property
    def timestamp(self) -> float | None:
        """When the message was produced, in seconds of the event loop's clock, whose zero stands for the epoch here."""
        return self.message.timestamp
