"""Records of aiokafka as deliveries: what a handler gets, one by one or in batches.

A record is kept as it lies in the fetch (client.py), which has no topic and no partition. aiokafka's own `ConsumerRecord` is made of it
when a handler looks at `delivery.message`: to make one costs more than everything else that a message costs in this package. What is
delivered and finished is noted in brokers/partitions.py.

What is ugly: `wrap` sets the fields of a delivery one by one instead of calling a constructor. It runs once per message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from aiokafka import ConsumerRecord

from holdgate.brokers.partitions import AssignedPartition, RecordForm
from holdgate.flow.batch import Batch
from holdgate.flow.inbox import OVERHEAD
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


# What brokers/partitions.py is told of aiokafka's records.
RECORDS = RecordForm(attrgetter("offset"), attrgetter("timestamp"), wrap, KafkaBatch)
