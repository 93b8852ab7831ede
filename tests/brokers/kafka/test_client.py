"""Polls that hand records on as they lie in the fetch: real fetches of aiokafka, made here, so that every kind of them can be had."""

from __future__ import annotations

import functools
from collections import OrderedDict
from types import MethodType
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import FetchError, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from holdgate.brokers.kafka.client import AsTheyLie, Client
from holdgate.brokers.kafka.deliveries import RECORDS, KafkaDelivery, wrap
from holdgate.brokers.partitions import AssignedPartition

if TYPE_CHECKING:
    from collections.abc import Callable

TP = TopicPartition("orders", 3)
HEADERS = [("trace", b"1"), ("none", None)]


def fetched(magic: int) -> bytes:
    """What a broker answers: three records, in a format of its time."""
    if magic == 2:
        new = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=9999
        )
        for offset, value in enumerate([b"a", None, b"ccc"]):
            new.append(offset, timestamp=1500 + offset, key=b"k" if offset else None, value=value, headers=HEADERS)
        return bytes(new.build())
    old = LegacyRecordBatchBuilder(magic=magic, compression_type=0, batch_size=9999)
    for offset, value in enumerate([b"a", None, b"ccc"]):
        old.append(offset, timestamp=1500 + offset, key=b"k" if offset else None, value=value)
    return bytes(old.build())


def result(magic: int = 2) -> FetchResult:
    """A fetch of a partition that is assigned, and read from its beginning."""
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user([TP])
    assignment = subscriptions.subscription.assignment
    assignment.state_value(TP).reset_to(0)
    records = PartitionRecords(TP, MemoryRecords(fetched(magic)), None, 0, None, None, True, 0)
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0)


@pytest.mark.parametrize("magic", [0, 1, 2])
async def test_a_message_is_the_record_that_the_client_would_have_given(magic: int) -> None:
    """Every field, whatever the format, and each time the same object."""
    lying = AsTheyLie()
    lying[TP] = result(magic)
    deliveries = wrap(AssignedPartition(RECORDS, TP, epoch=1), lying[TP].getall())
    theirs = result(magic).getall()

    assert not any(isinstance(delivery.record, ConsumerRecord) for delivery in deliveries)
    for delivery, record in zip(deliveries, theirs, strict=True):
        assert (delivery.position, delivery.body, delivery.key) == (record.offset, record.value, record.key)
        assert (delivery.headers, delivery.timestamp) == (dict(record.headers), None if magic == 0 else record.timestamp / 1000)
        assert delivery.message == record
        assert delivery.message is delivery.message
        assert (delivery.position, delivery.body) == (record.offset, record.value)


async def test_a_poll_takes_what_it_may_and_moves_the_position() -> None:
    """As aiokafka's own does: the rest stays, and the last poll leaves nothing."""
    lying = AsTheyLie()
    lying[TP] = fetch = result()
    taken = [[record.offset for record in fetch.getall(2)] for _ in range(2)]
    assert taken == [[0, 1], [2]]
    assert not fetch.has_more()


async def test_what_is_left_makes_consumer_records_again() -> None:
    """For a consumer that goes back to its owner: in the midst of a fetch, and beside a fetch that is read or has failed."""
    empty = result()
    empty.getall()
    lying = AsTheyLie(
        {TopicPartition("orders", 0): FetchError(error=OSError(), backoff=0), TopicPartition("orders", 1): empty, TP: result()}
    )
    first = lying[TP].getall(1)
    restored = lying.restored()
    assert (type(restored), list(restored)) == (OrderedDict, list(lying))
    assert [type(record) is ConsumerRecord for record in [*first, *restored[TP].getall()]] == [False, True, True]


# -- whose polls they are ------------------------------------------------------------------------------------------------------------------


class Overriding(AIOKafkaConsumer):
    """A consumer that looks at what it hands out, as a subclass may."""

    async def getmany(self, *partitions: Any, **settings: Any) -> Any:
        return await super().getmany(*partitions, **settings)


def instrumented(consumer: AIOKafkaConsumer) -> None:
    """Put a wrapper around the polls of one consumer."""
    consumer.getmany = MethodType(functools.wraps(AIOKafkaConsumer.getmany)(lambda self: None), consumer)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("made", "change", "lie"),
    [
        (AIOKafkaConsumer, lambda _consumer: None, True),
        (Overriding, lambda _consumer: None, False),
        (AIOKafkaConsumer, instrumented, False),
    ],
)
async def test_only_polls_of_aiokafka_hand_records_on(
    made: type[AIOKafkaConsumer], change: Callable[[AIOKafkaConsumer], None], lie: bool
) -> None:
    """What overrides or wraps a poll looks at ConsumerRecords: it gets them."""
    consumer = made(group_id="workers")
    change(consumer)
    client = Client(consumer)
    client.mark_unopened()
    client.keep_records_as_they_lie()  # not started: nothing to do
    consumer._fetcher = fetcher = type("Fetcher", (), {"_records": OrderedDict({TP: result()})})()
    client.keep_records_as_they_lie()
    assert [isinstance(record, ConsumerRecord) for record in fetcher._records[TP].getall(1)] == [not lie]
    client.make_consumer_records()
    assert type(fetcher._records) is OrderedDict
    assert all(isinstance(record, ConsumerRecord) for record in fetcher._records[TP].getall())
    consumer._fetcher = None


async def test_a_wrapper_around_the_class_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tools do that instrument a library: for all consumers, and with the name of what they wrap."""
    monkeypatch.setattr(AIOKafkaConsumer, "getmany", functools.wraps(AIOKafkaConsumer.getmany)(lambda self: None))
    consumer: Any = AIOKafkaConsumer(group_id="workers")
    Client(consumer).mark_unopened()
    consumer._fetcher = fetcher = type("Fetcher", (), {"_records": OrderedDict()})()
    Client(consumer).keep_records_as_they_lie()
    assert type(fetcher._records) is OrderedDict
    consumer._fetcher = None


async def test_a_delivery_of_a_consumer_record_is_of_that_record() -> None:
    """Where polls are somebody else's, the message is the very object that they gave."""
    (record, *_) = result().getall()
    (delivery,) = wrap(AssignedPartition(RECORDS, TP, epoch=1), [record])
    assert isinstance(delivery, KafkaDelivery)
    assert delivery.message is record
