"""Messages of confluent-kafka as deliveries: what a handler gets, one by one or in batches.

confluent-kafka's `Message` is an object of C whose fields are read by calls. It is kept as it is: each call takes 40 ns, and the engine
needs the offset alone. What is delivered and finished is noted in brokers/partitions.py.

What is ugly: `wrap` sets the fields of a delivery one by one instead of calling a constructor. It runs once per message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from confluent_kafka import Message

from holdgate.brokers.partitions import AssignedPartition, RecordForm
from holdgate.flow.batch import Batch
from holdgate.flow.inbox import OVERHEAD
from holdgate.flow.message import Delivery

# Bytes that Python takes for one header beside its name and value: a tuple, a string object and a bytes object.
_PER_HEADER = 150
# How many messages of one poll are measured. A poll with more has small ones, because a fetch is limited to a megabyte by default.
_LOOKED_AT = 64


class TopicPartition(NamedTuple):
    """A partition by its topic and number. confluent-kafka's own has an offset and an error beside, which are no part of a name."""

    topic: str
    partition: int


class ConfluentDelivery(Delivery[Message]):
    """A Kafka record as the handler gets it. `message` is confluent-kafka's Message, whose fields are read by calls.

    `redelivered` is always None, because Kafka does not count deliveries.
    """

    __slots__ = ("assigned",)

    assigned: AssignedPartition

    if not TYPE_CHECKING:  # type checkers see the parent's constructor, which is never called
        # `wrap` makes one of these per message. Without a constructor of its own a class costs a third to call.
        __init__ = object.__init__

    @property
    def position(self) -> int:
        return offset_of(self.message)

    @property
    def body(self) -> bytes | None:
        return self.message.value()

    @property
    def key(self) -> bytes | None:
        return self.message.key()

    @property
    def headers(self) -> Mapping[str, Any]:
        return dict(headers_of(self.message))

    @property
    def timestamp(self) -> float | None:
        milliseconds = timestamp_of(self.message)
        return None if milliseconds < 0 else milliseconds / 1000


class ConfluentBatch(Batch):
    """The messages that one poll gave of one partition, for a run with batches."""

    __slots__ = ("assigned",)

    def __init__(self, partition: AssignedPartition, messages: list[Message]) -> None:
        super().__init__(partition.source, messages, partition)
        self.assigned = partition


def timestamp_of(message: Message) -> int:
    """Return when the message was produced, in milliseconds since 1970. Below 0 means that it has no time."""
    return message.timestamp()[1]


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """Return the headers as they came; none is an empty list."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def weigh(deliveries: Sequence[Delivery[Any]]) -> int:
    """Return the bytes that deliveries of one partition take in memory.

    Values are measured on up to 64 messages, keys and headers on the first alone: to measure all of them would cost more than they weigh.
    """
    if isinstance(deliveries[0], Batch):
        return sum(_weight_of(batch.message) for batch in deliveries)
    step = len(deliveries) // _LOOKED_AT or 1
    return _weight_of([delivery.message for delivery in deliveries[::step]], len(deliveries))


def weight_of(messages: Iterable[Message]) -> int:
    """Return about how many bytes these messages take, by their values."""
    return sum([OVERHEAD + len(message.value() or b"") for message in messages])


def _weight_of(messages: list[Message], count: int | None = None) -> int:
    """Return the bytes that messages take. `count` is how many there are if `messages` is a sample; None means that these are all."""
    count = len(messages) if count is None else count
    first, sample = messages[0], messages[:: len(messages) // _LOOKED_AT or 1]
    headers = sum(len(name) + len(value or b"") + _PER_HEADER for name, value in headers_of(first))
    values = sum([len(message.value() or b"") for message in sample]) * count // len(sample)
    return (OVERHEAD + len(first.key() or b"") + headers) * count + values


def wrap(partition: AssignedPartition, messages: Iterable[Message]) -> list[ConfluentDelivery]:
    """Return one delivery per message. A test compares what is set here with what the parent's constructor sets."""
    source = partition.source
    new: Callable[[], ConfluentDelivery] = ConfluentDelivery  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    deliveries: list[ConfluentDelivery] = []
    for message in messages:
        delivery = new()
        delivery.assigned = partition
        delivery.source = source
        delivery.message = message
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


# Its types say that a message may have no offset: one that was produced, and not consumed.
offset_of = cast("Callable[[Message], int]", Message.offset)

# What brokers/partitions.py is told of confluent-kafka's messages.
MESSAGES = RecordForm(offset_of, timestamp_of, wrap, ConfluentBatch)
