"""One Kafka record as the handler sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from aiokafka import ConsumerRecord

from holdgate.flow.batch import Batch
from holdgate.flow.delivery import Delivery
from holdgate.flow.memory import OVERHEAD

if TYPE_CHECKING:
    from holdgate.brokers.kafka.assignments import Assignment


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

    __slots__ = ("assignment",)

    assignment: Assignment

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

    __slots__ = ("assignment",)

    def __init__(self, assignment: Assignment, records: list[Record]) -> None:
        super().__init__(assignment.source, records, assignment)
        self.assignment = assignment


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


def wrap(assignment: Assignment, records: Iterable[Record]) -> list[KafkaDelivery]:
    """The deliveries of these records. A test holds what is set here to what the parent's constructor sets."""
    source = assignment.source
    new: Callable[[], KafkaDelivery] = KafkaDelivery  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    deliveries: list[KafkaDelivery] = []
    for record in records:
        delivery = new()
        delivery.assignment = assignment
        delivery.source = source
        delivery.message = record
        delivery.redelivered = None
        delivery.attempt = 0
        delivery.place = None
        delivery.serial = 0
        delivery.order_key = None
        delivery.permits = None
        delivery.trial = None
        deliveries.append(delivery)
    return deliveries
