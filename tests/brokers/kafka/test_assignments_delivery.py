from __future__ import annotations

from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from holdgate.brokers.kafka import KafkaDelivery
from holdgate.brokers.kafka.assignments import AssignedPartition, KafkaBatch, weigh, wrap
from holdgate.flow.inbox import OVERHEAD
from holdgate.flow.message import Delivery, Partition


def record(offset: int = 7, **more: Any) -> ConsumerRecord[bytes, bytes]:
    fields: dict[str, Any] = {"timestamp": 1500, "key": b"k", "value": b"v", "headers": (), **more}
    key, value = fields["key"], fields["value"]
    return ConsumerRecord(
        topic="orders",
        partition=3,
        offset=offset,
        timestamp_type=0,
        checksum=None,
        serialized_key_size=-1 if key is None else len(key),
        serialized_value_size=-1 if value is None else len(value),
        **fields,
    )


def delivery(**more: Any) -> KafkaDelivery:
    return wrap(AssignedPartition(TopicPartition("orders", 3), epoch=1), [record(**more)])[0]


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


def test_records_weigh_their_values_keys_and_headers() -> None:
    """Each value by itself, keys and headers as the first record has them. A batch weighs what its records do."""
    assignment = AssignedPartition(TopicPartition("orders", 3), epoch=1)
    records = [record(1, value=b"x" * 1000, headers=(("trace", b"12345"), ("none", None))), record(2, value=None), record(3)]
    beside = OVERHEAD + 1 + 150 + 10 + 150 + 4

    assert weigh(wrap(assignment, records)) == 3 * beside + 1000 - 1 + 1
    assert weigh([KafkaBatch(assignment, records), KafkaBatch(assignment, records)]) == 2 * weigh(wrap(assignment, records))


def test_of_a_long_poll_a_part_is_weighed() -> None:
    """Hundreds of small records are weighed by every so many of them; one poll is never far off, and many are right in the mean."""
    assignment = AssignedPartition(TopicPartition("orders", 3), epoch=1)
    records = [record(offset, value=b"x" * (100 + offset % 2)) for offset in range(499)]

    assert weigh(wrap(assignment, records)) == pytest.approx(499 * (OVERHEAD + 1 + 100.5), rel=0.001)
    assert weigh([KafkaBatch(assignment, records)]) == weigh(wrap(assignment, records))
