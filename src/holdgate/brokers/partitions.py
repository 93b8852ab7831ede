"""The partitions assigned to a consumer: what polls delivered of each, what is handed out, what is finished. No client is imported here.

Theory of operation
===================

There is one `AssignedPartition` per partition and assignment. A rebalance makes a new object for each partition that it assigns, even for
one that was this member's before. Every delivery keeps a reference to the object that it came in with. That reference is the fence against
late results:

    1. orders[0] is assigned: object P1. A handler takes offset 7 of it, which belongs to P1.
    2. A rebalance revokes orders[0]: P1 is dropped from `AssignedPartitions`, and `alive` becomes False.
    3. orders[0] is assigned again: object P2. The group's committed offset is 7, so offset 7 is delivered once more.
    4. The first handler returns. Its result finishes offset 7 in P1, from which nothing is committed any more. P2 still waits for its own.

A comparison of generations could do the same, but somebody could forget to make it. Here there is none to forget.

`InFlight` (flow/inflight.py) knows which offsets are unfinished, and so what may be committed. A partition that is read in batches has
`InFlightPolls` instead: it keeps the list of each poll and does not look into it. Nearly every poll is finished as a whole, and then 500
records cost as much as one. A poll that is finished in parts is split into single offsets, together with every poll before it: the single
offsets are always older than the first whole poll.

What polls gave and `receive` has not handed out yet is `Ready`. A poll may end while nobody receives, two may end in one step of the loop,
and partitions may go between a poll and the `receive` that hands out what it gave. What came of those that went is dropped there, by the
same fence: others have them by now.

Each client has records of its own. `RecordForm` says how they are read, and what is made of them.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, overload

from holdgate.flow.batch import Batch
from holdgate.flow.inflight import EMPTY, InFlight
from holdgate.flow.message import Delivery, Partition

Record: TypeAlias = Any  # as a client hands it out
Place: TypeAlias = Any  # a client's own pair of `topic` and `partition`, with an order and a hash


@dataclass(frozen=True, slots=True)
class RecordForm:
    """How the records of one client are read, and what is made of them.

    `offset` and `timestamp` read one record; a timestamp is in milliseconds since 1970, and None or below 0 means that there is none.
    `deliveries` makes a delivery of each record of a partition, `batch` one of all of them.
    """

    offset: Callable[[Record], int]
    timestamp: Callable[[Record], int | None]
    deliveries: Callable[[AssignedPartition, list[Record]], Sequence[Delivery[Any]]]
    batch: Callable[[AssignedPartition, list[Record]], Batch]


# -- In flight, by polls instead of offsets ----------------------------------------------------------------------------------------------


class InFlightPolls(InFlight):
    """Keep what is in flight as whole polls. The offsets of a poll increase, as they do in the log."""

    __slots__ = ("_last", "_offset", "_polls")

    def __init__(self, offset: Callable[[Record], int]) -> None:
        super().__init__()
        self._offset = offset
        self._polls: deque[list[Record]] = EMPTY
        self._last = -1

    def delivered_poll(self, records: list[Record]) -> None:
        """Note what one poll gave. Raises ValueError and changes nothing unless its offsets come after those of every earlier poll."""
        first, last = self._offset(records[0]), self._offset(records[-1])
        if first <= self._last or last - first < len(records) - 1:
            raise ValueError(f"{len(records)} positions from {first} to {last} are not in increasing order after {self._last}")
        self._last = last
        if self._polls is EMPTY:
            self._polls = deque()
        self._polls.append(records)

    def finished_records(self, records: list[Record]) -> None:
        """Mark these records as finished, in increasing order of offset.

        If `records` is the very list that the oldest poll gave, the poll is finished without a look at its records.
        """
        if self._polls and self._polls[0] is records:
            self._polls.popleft()
            return
        self._take_apart(self._offset(records[-1]))
        self.finished_many(list(map(self._offset, records)))

    def finished(self, position: int) -> None:
        self._take_apart(position)
        super().finished(position)

    @property
    def next_position(self) -> int | None:
        if self._row:
            return self._row[0]
        if self._polls:
            return self._offset(self._polls[0][0])
        self._row = self._polls = EMPTY
        return self._last + 1 if self._last >= 0 else None

    @property
    def unfinished(self) -> int:
        return super().unfinished + sum(map(len, self._polls))

    def _take_apart(self, position: int) -> None:
        while self._polls and self._offset(self._polls[0][0]) <= position:
            self.delivered_many(list(map(self._offset, self._polls.popleft())))


class RecordField(Sequence[int]):
    """Read one integer field of each record on access, so that a poll need not be copied."""

    __slots__ = ("_read", "_records")

    def __init__(self, records: list[Record], read: Callable[[Record], Any]) -> None:
        self._records = records
        self._read = read

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return list(map(self._read, self._records[index]))
        number: int = self._read(self._records[index])
        return number


# -- Partitions --------------------------------------------------------------------------------------------------------------------------


class OutOfSequence(Exception):
    """A record's offset does not follow the last one delivered: someone called seek(), or the partition was recreated."""


def in_sequence(records: list[Record], offset: Callable[[Record], int]) -> Iterator[list[Record]]:
    """Yield these records in parts, each with increasing offsets. There is more than one part where a log was made anew meanwhile."""
    start = 0
    for at in range(1, len(records)):
        if offset(records[at]) <= offset(records[at - 1]):
            yield records[start:at]
            start = at
    yield records[start:]


class AssignedPartition:
    """Keep what was delivered and finished of one partition, from its assignment until it is revoked or lost.

    `alive` becomes False when it is revoked or lost. `began` is the first offset delivered; None means that nothing was delivered yet.
    `sent` is the offset up to which no commit is needed: the last one committed, or where reading began. None means not known yet, and -1
    that even where reading begins is to be committed.
    """

    __slots__ = ("_chunks", "_form", "_polls", "alive", "began", "epoch", "inflight", "sent", "source", "tp")

    def __init__(self, form: RecordForm, tp: Place, epoch: int, *, in_batches: bool = False) -> None:
        self._form = form
        self.tp = tp
        self.source = Partition(tp.topic, tp.partition)
        self.epoch = epoch
        self._polls = InFlightPolls(form.offset) if in_batches else None
        self.inflight = self._polls or InFlight()
        self.alive = True
        self.began: int | None = None
        self.sent: int | None = None
        # Offsets and times of the records in flight, a pair per poll. The age of the oldest is asked for once in seconds, so finished
        # polls are forgotten then or with the next poll, and nothing is done per message.
        self._chunks: deque[tuple[Sequence[int], Sequence[int | None]]] = EMPTY

    def delivered(self, records: list[Record]) -> Sequence[Any]:
        """Note the records of one poll and wrap them. Raises OutOfSequence, and notes nothing, if they do not follow the earlier ones."""
        try:
            chunk = self._note(records) if self._polls is None else self._note_poll(self._polls, records)
        except ValueError as error:
            raise OutOfSequence(str(error)) from error
        if self.began is None:
            self.began = self._form.offset(records[0])
        self._forget_finished()
        if self._chunks is EMPTY:
            self._chunks = deque()
        self._chunks.append(chunk)
        return self.deliveries(records) if self._polls is None else [self._form.batch(self, records)]

    def deliveries(self, messages: list[Record]) -> Sequence[Delivery[Any]]:
        """Return one delivery per record. The records must have been noted by `delivered` before."""
        return self._form.deliveries(self, messages)

    def finished_batch(self, records: list[Record]) -> None:
        """Mark these records as finished, in increasing order of offset. Only for a partition that is read in batches."""
        if self._polls is not None:
            self._polls.finished_records(records)

    def next_offset(self, position: int | None) -> int | None:
        """Return the offset at which work goes on: the oldest unfinished one, or the client's `position` if nothing is unfinished.

        The position has passed transaction markers and compacted records, which no poll hands out. With nothing unfinished it is as safe
        as one past the newest record delivered. Without it a partition that is read to its end would show its last gap as lag for ever.
        None means not known yet.
        """
        offset = self.inflight.next_position
        if self.inflight.unfinished or position is None:
            return offset
        return position if offset is None else max(offset, position)

    def oldest_timestamp(self) -> int | None:
        """Return when the oldest unfinished record was produced, in milliseconds since 1970.

        None means that nothing is unfinished, or that the record has no time.
        """
        if not self.inflight.unfinished:
            return None
        self._forget_finished()
        offsets, times = self._chunks[0]
        return times[bisect_left(offsets, self.inflight.next_position or 0)]

    def _note(self, records: list[Record]) -> tuple[Sequence[int], Sequence[int | None]]:
        first, last = self._form.offset(records[0]), self._form.offset(records[-1])
        # Without a gap there is nothing to look up: the offsets of a poll increase, as they do in the log.
        is_dense = last - first == len(records) - 1
        offsets = range(first, last + 1) if is_dense else list(map(self._form.offset, records))
        self.inflight.delivered_many(offsets)
        return offsets, list(map(self._form.timestamp, records))

    def _note_poll(self, polls: InFlightPolls, records: list[Record]) -> tuple[Sequence[int], Sequence[int | None]]:
        polls.delivered_poll(records)
        return RecordField(records, self._form.offset), RecordField(records, self._form.timestamp)

    def _forget_finished(self) -> None:
        next_offset = self.inflight.next_position or 0
        chunks = self._chunks
        while chunks and chunks[0][0][-1] < next_offset:
            chunks.popleft()
        self._chunks = chunks or EMPTY


class AssignedPartitions:
    """Hold the partitions that are assigned now.

    `form` is that of the client's records. `epoch` grows with every change. `in_batches` is whether the records of a poll become one batch
    or a delivery each.
    """

    def __init__(self, form: RecordForm) -> None:
        self._form = form
        self.epoch = 0
        self.in_batches = False
        self._live: dict[Place, AssignedPartition] = {}

    def add(self, tps: Collection[Place]) -> None:
        """Add a fresh partition for each of `tps`, and replace those that are there."""
        self.drop(tps)
        for tp in sorted(tps):
            self._live[tp] = AssignedPartition(self._form, tp, self.epoch, in_batches=self.in_batches)

    def begin_anew(self, tp: Place) -> AssignedPartition:
        """Replace `tp` by a fresh partition, of which even the place where it begins is committed, and return it.

        What was committed before belongs to another log. The broker forgets it with a topic that is deleted, but one that was on its way
        may come later. A restart would go on there, past what the new log has before it.
        """
        self.add([tp])
        fresh = self._live[tp]
        fresh.sent = -1
        return fresh

    def drop(self, tps: Collection[Place]) -> None:
        """Remove these: they are no longer ours, and what comes late for them settles nothing."""
        self.epoch += 1
        for tp in tps:
            gone = self._live.pop(tp, None)
            if gone is not None:
                gone.alive = False

    def get(self, tp: Place) -> AssignedPartition | None:
        return self._live.get(tp)

    def tps(self) -> frozenset[Place]:
        return frozenset(self._live)

    def sources(self, tps: Collection[Place]) -> list[Partition]:
        """Return the sources of those of `tps` that are assigned, in a stable order."""
        return [self._live[tp].source for tp in sorted(tps) if tp in self._live]

    def __iter__(self) -> Iterator[AssignedPartition]:
        return iter(tuple(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)


# -- What polls gave and nobody has received yet ------------------------------------------------------------------------------------------

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
