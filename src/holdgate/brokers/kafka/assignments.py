"""What a Kafka consumer has in hand: the partitions assigned to it, the records of each poll, and the deliveries made of them.

One Kafka record as the handler sees it.

What is in flight of a partition that is read in batches: whole polls, not looked into as long as each is finished as a whole.

That is the way of nearly every poll, and then 500 records cost what one does. A poll that is finished in parts is taken apart into the row
of single positions that `InFlight` is, together with every poll before it: the row holds what is older than the first whole poll.

What is assigned to this member now: one object per partition, fresh with every assignment.

A rebalance gives every partition a new `AssignedPartition`, also one that stays. Deliveries keep a reference to theirs, so that a result
which comes after the partition went away finishes something in an object that nobody commits from any more: no comparison of epochs can
be forgotten, because there is none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from aiokafka import ConsumerRecord, TopicPartition

from holdgate.flow.batch import Batch
from holdgate.flow.inbox import OVERHEAD
from holdgate.flow.inflight import InFlight
from holdgate.flow.message import Delivery, Partition

# Without deserializers, which the intake refuses, keys and values are bytes.
Record: TypeAlias = ConsumerRecord[bytes, bytes]


# A tuple, a string and bytes, without what is in them.
_PER_HEADER = 150
# Of one poll. One that gives more has small ones: a partition's fetch is a megabyte by default, or a single record.
_LOOKED_AT = 64


class KafkaDelivery(Delivery[Record]):
    """A record and the assignment it came in with; everything else is read from the record when asked.

    `message` is aiokafka's ConsumerRecord. `redelivered` is always None: Kafka does not say.
    """

    __slots__ = ("assigned",)

    assigned: AssignedPartition

    if not TYPE_CHECKING:  # type checkers see the parent's, which nobody calls
        # A call of a class without a constructor of its own costs a third of one with: `wrap` makes these, one per message.
        __init__ = object.__init__

    @property
    def position(self) -> int:
        offset: int = self.message.offset
        return offset

    @property
    def body(self) -> bytes | None:
        value: bytes | None = self.message.value
        return value

    @property
    def key(self) -> bytes | None:
        key: bytes | None = self.message.key
        return key

    @property
    def headers(self) -> Mapping[str, Any]:
        return dict(self.message.headers)

    @property
    def timestamp(self) -> float | None:
        # Where a record has no time, from before message format 1, the broker says -1.
        milliseconds: int = self.message.timestamp
        return None if milliseconds < 0 else milliseconds / 1000


class KafkaBatch(Batch):
    """The records of one poll of one partition, for a run with batches."""

    __slots__ = ("assigned",)

    def __init__(self, assignment: AssignedPartition, records: list[Record]) -> None:
        super().__init__(assignment.source, records, assignment)
        self.assigned = assignment


def weigh(deliveries: Sequence[Delivery[Any]]) -> int:
    """The bytes that deliveries of one partition take. Of polls with few records every value counts; keys and headers are those of the
    first record: to look at all of them would cost more than they weigh."""
    if isinstance(deliveries[0], Batch):
        return sum(_weight_of(batch.message) for batch in deliveries)
    step = len(deliveries) // _LOOKED_AT or 1
    return _weight_of([delivery.message for delivery in deliveries[::step]], len(deliveries))


def _weight_of(records: list[Record], count: int | None = None) -> int:
    """What records take; `count`: these are a sample of so many."""
    count = len(records) if count is None else count
    first, sample = records[0], records[:: len(records) // _LOOKED_AT or 1]
    headers = sum(len(name) + len(value or b"") + _PER_HEADER for name, value in first.headers)
    sizes: list[int] = [record.serialized_value_size for record in sample]  # of None it is -1
    values = sum(sizes) * count // len(sample)
    return (OVERHEAD + max(0, int(first.serialized_key_size)) + headers) * count + values


def wrap(assignment: AssignedPartition, records: Iterable[Record]) -> list[KafkaDelivery]:
    """The deliveries of these records. A test holds what is set here to what the parent's constructor sets."""
    source = assignment.source
    new: Callable[[], KafkaDelivery] = KafkaDelivery  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    deliveries: list[KafkaDelivery] = []
    for record in records:
        delivery = new()
        delivery.assigned = assignment
        delivery.source = source
        delivery.message = record
        delivery.redelivered = None
        delivery.attempt = 0
        delivery.assignment = None
        delivery.serial = 0
        delivery.order_key = None
        delivery.permits = None
        delivery.trial = None
        delivery.request = None
        deliveries.append(delivery)
    return deliveries


class WholePolls(InFlight):
    """An `InFlight` of polls. What a poll has is in increasing order, as the log that it was read from."""

    __slots__ = ("_last", "_polls")

    def __init__(self) -> None:
        super().__init__()
        self._polls: deque[list[Record]] = deque()
        self._last = -1

    def delivered_poll(self, records: list[Record]) -> None:
        """Note what one poll gave. Raises ValueError, and changes nothing, when it does not come after every earlier one."""
        first, last = records[0].offset, records[-1].offset
        if first <= self._last or last - first < len(records) - 1:
            raise ValueError(f"{len(records)} positions from {first} to {last} are not in increasing order after {self._last}")
        self._last = last
        self._polls.append(records)

    def finished_records(self, records: list[Record]) -> None:
        """The work on these is over. They come in their order; a list that is a poll's own is that poll."""
        if self._polls and self._polls[0] is records:
            self._polls.popleft()
            return
        self._take_apart(records[-1].offset)
        self.finished_many([record.offset for record in records])

    def finished(self, position: int) -> None:
        self._take_apart(position)
        super().finished(position)

    @property
    def next_position(self) -> int | None:
        if self._row:
            return self._row[0]
        if self._polls:
            first: int = self._polls[0][0].offset
            return first
        return self._last + 1 if self._last >= 0 else None

    @property
    def unfinished(self) -> int:
        return super().unfinished + sum(map(len, self._polls))

    def _take_apart(self, position: int) -> None:
        while self._polls and self._polls[0][0].offset <= position:
            self.delivered_many([record.offset for record in self._polls.popleft()])


class Column(Sequence[int]):
    """One number of each record, read when asked."""

    __slots__ = ("_name", "_records")

    def __init__(self, records: list[Record], name: str) -> None:
        self._records = records
        self._name = name

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> list[int]: ...

    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [getattr(record, self._name) for record in self._records[index]]
        number: int = getattr(self._records[index], self._name)
        return number


class Rewound(Exception):
    """A record came whose offset does not follow what was delivered: somebody sought back, or the partition was made anew."""


class AssignedPartition:
    """One partition, from the moment it was assigned until it is given back or lost.

    `alive` is False from then on. `began` is the first offset delivered; None before. `sent` is what needs no commit any more: the last
    offset committed, or where reading began; None before that is known.
    """

    __slots__ = ("_chunks", "_whole", "alive", "began", "epoch", "inflight", "sent", "source", "tp")

    def __init__(self, tp: TopicPartition, epoch: int, *, in_batches: bool = False) -> None:
        self.tp = tp
        self.source = Partition(tp.topic, tp.partition)
        self.epoch = epoch
        self._whole = WholePolls() if in_batches else None
        self.inflight = self._whole or InFlight()
        self.alive = True
        self.began: int | None = None
        self.sent: int | None = None
        # Offsets and times of what is in hand, a pair per poll: the age of the oldest is asked for once in seconds, so nothing is kept
        # up to date per message.
        self._chunks: deque[tuple[Sequence[int], Sequence[int]]] = deque()

    def delivered(self, records: list[Record]) -> Sequence[KafkaDelivery | KafkaBatch]:
        """Note the records of one poll and wrap them. Raises Rewound, with nothing noted, when they do not follow the earlier ones."""
        try:
            chunk = self._note(records) if self._whole is None else self._note_whole(self._whole, records)
        except ValueError as error:
            raise Rewound(str(error)) from error
        if self.began is None:
            self.began = records[0].offset
        self._forget_finished()
        self._chunks.append(chunk)
        return self.deliveries(records) if self._whole is None else [KafkaBatch(self, records)]

    def deliveries(self, messages: list[Record]) -> list[KafkaDelivery]:
        """One delivery for each of these records, which were noted before."""
        return wrap(self, messages)

    def finished_together(self, records: list[Record]) -> None:
        """The work on all of these is over; they come in their order. For an assignment in batches."""
        if self._whole is not None:
            self._whole.finished_records(records)

    def next_offset(self, position: int | None) -> int | None:
        """Where the work of this partition goes on: the oldest unfinished offset, and with none the client's `position`.

        The position lies behind the markers of transactions and what compaction took away; with nothing unfinished it is as safe as
        one past the newest delivered, and without it a partition read to its end would keep the last gap as lag for ever. None: not
        known yet.
        """
        offset = self.inflight.next_position
        if self.inflight.unfinished or position is None:
            return offset
        return position if offset is None else max(offset, position)

    def oldest_timestamp(self) -> int | None:
        """When the oldest unfinished record was produced, in milliseconds since the epoch; None when nothing is in hand."""
        if not self.inflight.unfinished:
            return None
        self._forget_finished()
        offsets, times = self._chunks[0]
        return times[bisect_left(offsets, self.inflight.next_position or 0)]

    def _note(self, records: list[Record]) -> tuple[Sequence[int], Sequence[int]]:
        offsets = [record.offset for record in records]
        self.inflight.delivered_many(offsets)
        return offsets, [record.timestamp for record in records]

    def _note_whole(self, whole: WholePolls, records: list[Record]) -> tuple[Sequence[int], Sequence[int]]:
        whole.delivered_poll(records)
        return Column(records, "offset"), Column(records, "timestamp")

    def _forget_finished(self) -> None:
        next_offset = self.inflight.next_position or 0
        chunks = self._chunks
        while chunks and chunks[0][0][-1] < next_offset:
            chunks.popleft()


class AssignedPartitions:
    """The live assignments by partition. `epoch` grows with every change. `in_batches`: what polls give becomes batches."""

    def __init__(self) -> None:
        self.epoch = 0
        self.in_batches = False
        self._live: dict[TopicPartition, AssignedPartition] = {}

    def add(self, tps: Collection[TopicPartition]) -> None:
        """A fresh assignment for each of `tps`; one that is alive already is replaced."""
        self.drop(tps)
        for tp in sorted(tps):
            self._live[tp] = AssignedPartition(tp, self.epoch, in_batches=self.in_batches)

    def drop(self, tps: Collection[TopicPartition]) -> None:
        """These are not ours any more: whatever comes late for them is ignored."""
        self.epoch += 1
        for tp in tps:
            gone = self._live.pop(tp, None)
            if gone is not None:
                gone.alive = False

    def get(self, tp: TopicPartition) -> AssignedPartition | None:
        return self._live.get(tp)

    def tps(self) -> frozenset[TopicPartition]:
        return frozenset(self._live)

    def sources(self, tps: Collection[TopicPartition]) -> list[Partition]:
        """The sources of those of `tps` that are alive, in a stable order."""
        return [self._live[tp].source for tp in sorted(tps) if tp in self._live]

    def __iter__(self) -> Iterator[AssignedPartition]:
        return iter(tuple(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)
