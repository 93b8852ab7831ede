"""A share group as a pure model: Kafka's queues, with locks, counted deliveries and a limit. `now` is an argument.

What a fetch gives is *acquired* for its member until the lock ends. Whatever ends it but an accept makes the record available again, and
the next delivery is one more: a release, a lock that lapses, a member that leaves. A record whose last delivery ends so is *archived*:
nobody gets it any more, and nobody hears of it. A dead letter topic, if the group has one, gets a copy.

Two answers are as surprising here as they are in Kafka 4.4, and a test of a client of it depends on both. An accept after the lock is
refused, by a value and not by an exception; but an accept of a record that has been archived or accepted meanwhile is a success. And what
becomes available again comes before newer records, in the order of their offsets.

What is left out: batches of the producer, partitions with offsets of their own, and the smaller batches that a broker gives near the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from holdgate.flow.message import Queue
from holdgate.testing.memory.message import Ledger, Message


@dataclass(frozen=True, slots=True)
class ShareSettings:
    """The settings of a share group.

    `lock` is for how many seconds a record is acquired, `limit` how often it is delivered at most. The defaults are Kafka's.
    """

    lock: float = 30.0  # share.record.lock.duration.ms
    limit: int = 5  # share.delivery.count.limit


class ShareState(Enum):
    """What a record of a share group is: to be had, locked for a member, or over."""

    AVAILABLE = "available"
    ACQUIRED = "acquired"
    ACCEPTED = "accepted"
    ARCHIVED = "archived"


@dataclass(slots=True)
class ShareRecord:
    """One record in a share group. `deliveries` counts how often it was acquired. `member` and `ends_at` belong to the lock."""

    message: Message
    state: ShareState = ShareState.AVAILABLE
    deliveries: int = 0
    member: str = ""
    ends_at: float = 0.0


def _nobody(message: Message) -> None:
    """Without a dead letter topic nobody hears of an archived record."""


class ShareGroup:
    """The broker's state of one share group on one topic. `bury` is called with each record that is archived."""

    def __init__(
        self, topic: str, settings: ShareSettings | None = None, ledger: Ledger | None = None, bury: Callable[[Message], None] = _nobody
    ) -> None:
        self.source = Queue(topic)
        self.settings = settings or ShareSettings()
        self.ledger = Ledger() if ledger is None else ledger
        self._bury = bury
        self._records: list[ShareRecord] = []
        self._open: dict[int, ShareRecord] = {}  # those that are not over, by offset

    def publish(self, body: bytes | None, now: float, *, key: bytes | None = None) -> Message:
        """Store one record at the end."""
        message = Message(len(self._records), body, key, timestamp=now)
        self._records.append(ShareRecord(message))
        self._open[message.position] = self._records[-1]
        self.ledger.note("produced", self.source, message.position)
        return message

    def record(self, position: int) -> ShareRecord:
        """Return one record by its offset. Raises IndexError for one that is not there."""
        return self._records[position]

    def waiting(self) -> Sequence[ShareRecord]:
        """Return the records that are neither accepted nor archived, in the order of their offsets."""
        return list(self._open.values())

    def next_deadline(self) -> float | None:
        """Return when the next lock ends. None means that nothing is locked."""
        return min((record.ends_at for record in self._open.values() if record.state is ShareState.ACQUIRED), default=None)

    def acquire(self, member: str, most: int, now: float, assigned: Collection[int] = (0,), partitions: int = 1) -> Sequence[ShareRecord]:
        """Lock up to `most` records for a member, the oldest first, and return them.

        Only those of the partitions that the member is assigned: the record at offset n is in partition n % `partitions`.
        """
        self.expire(now)
        free = (record for record in self._open.values() if record.state is ShareState.AVAILABLE)
        taken = list(islice((record for record in free if record.message.position % partitions in assigned), most))
        for record in taken:
            record.state, record.member = ShareState.ACQUIRED, member
            record.deliveries += 1
            record.ends_at = now + self.settings.lock
            self.ledger.note("delivered", self.source, record.message.position)
        return taken

    def accept(self, member: str, positions: Collection[int], now: float) -> Collection[int]:
        """Take records as processed. Returns the offsets that are refused: they are available, or another member's."""
        self.expire(now)
        refused = [position for position in positions if not self._accept(member, self._records[position])]
        return tuple(refused)

    def release(self, member: str, positions: Collection[int], now: float) -> Collection[int]:
        """Give records back, which uses up one delivery of each. Returns the offsets that are refused, as `accept` does."""
        self.expire(now)
        mine = [position for position in positions if self._is_of(member, self._records[position])]
        for position in mine:
            self._end(self._records[position])
        return tuple(position for position in positions if position not in mine)

    def leave(self, member: str, now: float) -> None:
        """Give back everything that a member has, because it has closed or died."""
        self.expire(now)
        for record in list(self._open.values()):
            if self._is_of(member, record):
                self._end(record)

    def expire(self, now: float) -> None:
        """End the locks whose time is over."""
        for record in list(self._open.values()):
            if record.state is ShareState.ACQUIRED and record.ends_at <= now:
                self._end(record)

    def _accept(self, member: str, record: ShareRecord) -> bool:
        if self._is_of(member, record):
            record.state = ShareState.ACCEPTED
            del self._open[record.message.position]
            self.ledger.note("acked", self.source, record.message.position)
        return record.state in (ShareState.ACCEPTED, ShareState.ARCHIVED)

    @staticmethod
    def _is_of(member: str, record: ShareRecord) -> bool:
        return record.state is ShareState.ACQUIRED and record.member == member

    def _end(self, record: ShareRecord) -> None:
        """End a delivery that was not accepted."""
        if record.deliveries < self.settings.limit:
            record.state = ShareState.AVAILABLE
            self.ledger.note("requeued", self.source, record.message.position)
            return
        record.state = ShareState.ARCHIVED
        del self._open[record.message.position]
        self.ledger.note("dead", self.source, record.message.position)
        self._bury(record.message)
