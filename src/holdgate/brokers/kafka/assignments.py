"""The partitions assigned to this consumer, the records that it delivered of each, and what of them is finished.

Theory of operation
===================

There is one `AssignedPartition` per partition and assignment. A rebalance makes a new object even for a partition that stays with this
member. Every delivery keeps a reference to the object that it came in with. That reference is the fence against late results:

    1. orders[0] is assigned: object P1. A handler takes offset 7 of it, which belongs to P1.
    2. A rebalance revokes orders[0]: P1 is dropped from `AssignedPartitions`, and `alive` becomes False.
    3. orders[0] is assigned again: object P2. The group's committed offset is 7, so offset 7 is delivered once more.
    4. The first handler returns. Its result finishes offset 7 in P1, from which nothing is committed any more. P2 still waits for its own.

A comparison of generations could do the same, but somebody could forget to make it. Here there is none to forget.

`InFlight` (flow/inflight.py) knows which offsets are unfinished, and so what may be committed. A partition that is read in batches has
`InFlightPolls` instead: it keeps the list of each poll and does not look into it. Nearly every poll is finished as a whole, and then 500
records cost as much as one. A poll that is finished in parts is split into single offsets, together with every poll before it: the single
offsets are always older than the first whole poll.

A record is kept as it lies in the fetch (client.py), which has no topic and no partition. aiokafka's own `ConsumerRecord` is made of it
when a handler looks at `delivery.message`: to make one costs more than everything else that a message costs in this package.

What is ugly: `wrap` sets the fields of a delivery one by one instead of calling a constructor. It runs once per message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, overload

from aiokafka import ConsumerRecord, TopicPartition

from holdgate.flow.batch import Batch
from holdgate.flow.inbox import OVERHEAD
from holdgate.flow.inflight import EMPTY, InFlight
from holdgate.flow.message import Delivery, Partition

Message: TypeAlias = ConsumerRecord[bytes, bytes]


class Record(Protocol):
    """A record as it lies in the fetch, or a ConsumerRecord: what both have. The intake refuses deserializers, so it is bytes."""

    @property
    def offset(self) -> int: ...

    @property
    def timestamp(self) -> int | None: ...

    @property
    def timestamp_type(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...

    @property
    def checksum(self) -> int | None: ...


# Bytes that Python takes for one header beside its name and value: a tuple, a string object and a bytes object.
_PER_HEADER = 150
# How many records of one poll are measured. A poll with more has small records, because a partition's fetch is limited to a megabyte by
# default unless it is a single record.
_LOOKED_AT = 64


# -- Deliveries: what is made of a record ------------------------------------------------------------------------------------------------


class KafkaDelivery(Delivery[Message]):
    """A Kafka record as the handler gets it.

    `message` is aiokafka's ConsumerRecord, made when it is looked at; position, key, body, headers and timestamp are read from `record` on
    access. `redelivered` is always None, because Kafka does not count deliveries.
    """

    __slots__ = ("assigned", "record")

    assigned: AssignedPartition
    record: Record

    if not TYPE_CHECKING:  # type checkers see the parent's constructor, which is never called, and the parent's field
        # `wrap` makes one of these per message. Without a constructor of its own a class costs a third to call.
        __init__ = object.__init__

        @property
        def message(self) -> Message:
            record = self.record
            if not isinstance(record, ConsumerRecord):
                record = self.record = consumer_record(self.source, record)
            return record

        @message.setter
        def message(self, record: Message) -> None:  # by the parent's constructor, for a record that an integration has
            self.record = record

    @property
    def position(self) -> int:
        return self.record.offset

    @property
    def body(self) -> bytes | None:
        return self.record.value

    @property
    def key(self) -> bytes | None:
        return self.record.key

    @property
    def headers(self) -> Mapping[str, Any]:
        return dict(self.record.headers)

    @property
    def timestamp(self) -> float | None:
        # None or -1 means that the record has no time: it was written in message format 0.
        milliseconds = self.record.timestamp
        return None if milliseconds is None or milliseconds < 0 else milliseconds / 1000


def consumer_record(source: Partition, record: Record) -> Message:
    """Return what aiokafka's polls hand out for a record as it lies in the fetch."""
    key, value = record.key, record.value
    new: Any = ConsumerRecord  # its types leave out what old formats and null headers give
    made: Message = new(
        source.topic, source.number, record.offset, record.timestamp, record.timestamp_type, key, value, record.checksum,
        -1 if key is None else len(key), -1 if value is None else len(value), tuple(record.headers),
    )  # fmt: skip
    return made


class KafkaBatch(Batch):
    """The records that one poll gave of one partition, for a run with batches."""

    __slots__ = ("assigned",)

    def __init__(self, partition: AssignedPartition, records: list[Record]) -> None:
        super().__init__(partition.source, records, partition)
        self.assigned = partition


def weigh(deliveries: Sequence[Delivery[Any]]) -> int:
    """Return the bytes that deliveries of one partition take in memory.

    Values are measured on up to 64 records, keys and headers on the first alone: to measure all of them would cost more than they weigh.
    """
    if isinstance(deliveries[0], Batch):
        return sum(_weight_of(batch.message) for batch in deliveries)
    step = len(deliveries) // _LOOKED_AT or 1
    singles = cast("Sequence[KafkaDelivery]", deliveries[::step])
    return _weight_of([delivery.record for delivery in singles], len(deliveries))


def _weight_of(records: list[Record], count: int | None = None) -> int:
    """Return the bytes that records take. `count` is how many there are if `records` is a sample; None means that these are all."""
    count = len(records) if count is None else count
    first, sample = records[0], records[:: len(records) // _LOOKED_AT or 1]
    headers = sum(len(name) + len(value or b"") + _PER_HEADER for name, value in first.headers)
    values = sum([len(record.value or b"") for record in sample]) * count // len(sample)
    return (OVERHEAD + len(first.key or b"") + headers) * count + values


def wrap(partition: AssignedPartition, records: Iterable[Record]) -> list[KafkaDelivery]:
    """Return one delivery per record. A test compares what is set here with what the parent's constructor sets."""
    source = partition.source
    new: Callable[[], KafkaDelivery] = KafkaDelivery  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    deliveries: list[KafkaDelivery] = []
    for record in records:
        delivery = new()
        delivery.assigned = partition
        delivery.source = source
        delivery.record = record
        delivery.redelivered = None
        delivery.attempt = 0
        delivery.assignment = None
        delivery.serial = 0
        delivery.order_key = None
        delivery.permits = None
        delivery.history = None
        delivery.request = None
        deliveries.append(delivery)
    return deliveries


# -- In flight, by polls instead of offsets ----------------------------------------------------------------------------------------------


class InFlightPolls(InFlight):
    """Keep what is in flight as whole polls. The offsets of a poll increase, as they do in the log."""

    __slots__ = ("_last", "_polls")

    def __init__(self) -> None:
        super().__init__()
        self._polls: deque[list[Record]] = EMPTY
        self._last = -1

    def delivered_poll(self, records: list[Record]) -> None:
        """Note what one poll gave. Raises ValueError and changes nothing unless its offsets come after those of every earlier poll."""
        first, last = records[0].offset, records[-1].offset
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
            return self._polls[0][0].offset
        self._row = self._polls = EMPTY
        return self._last + 1 if self._last >= 0 else None

    @property
    def unfinished(self) -> int:
        return super().unfinished + sum(map(len, self._polls))

    def _take_apart(self, position: int) -> None:
        while self._polls and self._polls[0][0].offset <= position:
            self.delivered_many([record.offset for record in self._polls.popleft()])


class RecordField(Sequence[int]):
    """Read one integer field of each record on access, so that a poll need not be copied."""

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


# -- Partitions --------------------------------------------------------------------------------------------------------------------------


class OutOfSequence(Exception):
    """A record's offset does not follow the last one delivered: someone called seek(), or the partition was recreated."""


class AssignedPartition:
    """Keep what was delivered and finished of one partition, from its assignment until it is revoked or lost.

    `alive` becomes False when it is revoked or lost. `began` is the first offset delivered; None means that nothing was delivered yet.
    `sent` is the offset up to which no commit is needed: the last one committed, or where reading began. None means not known yet.
    """

    __slots__ = ("_chunks", "_polls", "alive", "began", "epoch", "inflight", "sent", "source", "tp")

    def __init__(self, tp: TopicPartition, epoch: int, *, in_batches: bool = False) -> None:
        self.tp = tp
        self.source = Partition(tp.topic, tp.partition)
        self.epoch = epoch
        self._polls = InFlightPolls() if in_batches else None
        self.inflight = self._polls or InFlight()
        self.alive = True
        self.began: int | None = None
        self.sent: int | None = None
        # Offsets and times of the records in flight, a pair per poll. The age of the oldest is asked for once in seconds, so finished
        # polls are forgotten then or with the next poll, and nothing is done per message.
        self._chunks: deque[tuple[Sequence[int], Sequence[int | None]]] = EMPTY

    def delivered(self, records: list[Record]) -> Sequence[KafkaDelivery | KafkaBatch]:
        """Note the records of one poll and wrap them. Raises OutOfSequence, and notes nothing, if they do not follow the earlier ones."""
        try:
            chunk = self._note(records) if self._polls is None else self._note_poll(self._polls, records)
        except ValueError as error:
            raise OutOfSequence(str(error)) from error
        if self.began is None:
            self.began = records[0].offset
        self._forget_finished()
        if self._chunks is EMPTY:
            self._chunks = deque()
        self._chunks.append(chunk)
        return self.deliveries(records) if self._polls is None else [KafkaBatch(self, records)]

    def deliveries(self, messages: list[Record]) -> list[KafkaDelivery]:
        """Return one delivery per record. The records must have been noted by `delivered` before."""
        return wrap(self, messages)

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
        first, last = records[0].offset, records[-1].offset
        # Without a gap there is nothing to look up: the offsets of a poll increase, as they do in the log.
        is_dense = last - first == len(records) - 1
        offsets = range(first, last + 1) if is_dense else [record.offset for record in records]
        self.inflight.delivered_many(offsets)
        return offsets, [record.timestamp for record in records]

    def _note_poll(self, polls: InFlightPolls, records: list[Record]) -> tuple[Sequence[int], Sequence[int | None]]:
        polls.delivered_poll(records)
        return RecordField(records, "offset"), RecordField(records, "timestamp")

    def _forget_finished(self) -> None:
        next_offset = self.inflight.next_position or 0
        chunks = self._chunks
        while chunks and chunks[0][0][-1] < next_offset:
            chunks.popleft()
        self._chunks = chunks or EMPTY


class AssignedPartitions:
    """Hold the partitions that are assigned now.

    `epoch` grows with every change. `in_batches` is whether the records of a poll become one batch or a delivery each.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.in_batches = False
        self._live: dict[TopicPartition, AssignedPartition] = {}

    def add(self, tps: Collection[TopicPartition]) -> None:
        """Add a fresh partition for each of `tps`, and replace those that are there."""
        self.drop(tps)
        for tp in sorted(tps):
            self._live[tp] = AssignedPartition(tp, self.epoch, in_batches=self.in_batches)

    def drop(self, tps: Collection[TopicPartition]) -> None:
        """Remove these: they are no longer ours, and what comes late for them settles nothing."""
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
        """Return the sources of those of `tps` that are assigned, in a stable order."""
        return [self._live[tp].source for tp in sorted(tps) if tp in self._live]

    def __iter__(self) -> Iterator[AssignedPartition]:
        return iter(tuple(self._live.values()))

    def __len__(self) -> int:
        return len(self._live)
