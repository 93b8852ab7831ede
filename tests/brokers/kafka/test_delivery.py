from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from holdgate.brokers.kafka import KafkaDelivery
from holdgate.brokers.kafka.assignments import Assignment
from holdgate.brokers.kafka.delivery import wrap
from holdgate.flow.delivery import Delivery
from holdgate.flow.sources import Partition


def record(offset: int = 7, **more: Any) -> ConsumerRecord[bytes, bytes]:
    fields: dict[str, Any] = {"timestamp": 1500, "key": b"k", "value": b"v", "headers": (), **more}
    return ConsumerRecord(
        topic="orders",
        partition=3,
        offset=offset,
        timestamp_type=0,
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=1,
        **fields,
    )


def delivery(**more: Any) -> KafkaDelivery:
    return wrap(Assignment(TopicPartition("orders", 3), epoch=1), [record(**more)])[0]


def test_it_is_made_as_its_parent_makes_it() -> None:
    """The constructor that saves a call sets every field to what the parent's would."""
    ours = delivery()
    theirs: Delivery[Any] = Delivery(ours.source, ours.message)
    assert {name: getattr(ours, name) for name in Delivery.__slots__} == {name: getattr(theirs, name) for name in Delivery.__slots__}


def test_it_reads_the_record() -> None:
    """Source, offset, key and value come from the record; the timestamp is in seconds."""
    read = delivery()
    assert (read.source, read.position, read.key, read.body, read.timestamp) == (Partition("orders", 3), 7, b"k", b"v", 1.5)
    assert read.redelivered is None


def test_a_tombstone_has_no_body() -> None:
    """A record without a value, or a key, has None."""
    read = delivery(value=None, key=None)
    assert (read.body, read.key) == (None, None)


def test_the_last_header_of_a_name_wins() -> None:
    """Headers are by name."""
    assert delivery(headers=(("trace", b"1"), ("trace", b"2"), ("other", b"3"))).headers == {"trace": b"2", "other": b"3"}


def test_no_timestamp_is_none() -> None:
    """A broker without a time says -1."""
    assert delivery(timestamp=-1).timestamp is None


def test_it_has_no_dict() -> None:
    """One object per message: slots alone."""
    assert not hasattr(delivery(), "__dict__")
