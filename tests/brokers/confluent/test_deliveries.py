"""Messages of confluent-kafka as deliveries."""

from __future__ import annotations

from typing import Any

import pytest
from tests.brokers.confluent.fakes import A, message, run

from holdgate.brokers.confluent import ConfluentDelivery
from holdgate.brokers.confluent.deliveries import MESSAGES, ConfluentBatch, weigh, wrap
from holdgate.brokers.partitions import AssignedPartition
from holdgate.errors import UnknownAttribute
from holdgate.flow.inbox import OVERHEAD
from holdgate.flow.message import Delivery, Partition


def delivery(**more: Any) -> ConfluentDelivery:
    return wrap(AssignedPartition(MESSAGES, A, epoch=1), [message(**more)])[0]


def test_it_is_made_as_its_parent_makes_it() -> None:
    """The constructor that saves a call sets every field to what the parent's would."""
    ours = delivery()
    theirs: Delivery[Any] = Delivery(ours.source, ours.message)
    assert {name: getattr(ours, name, "unset") for name in Delivery.__slots__} == {
        name: getattr(theirs, name, "unset") for name in Delivery.__slots__
    }


def test_it_reads_the_message() -> None:
    """Source, offset, key and value come from the message; the timestamp is in seconds."""
    read = delivery(headers=[("a", b"1"), ("a", b"2")])
    assert (read.source, read.position, read.key, read.body, read.timestamp) == (Partition("orders", 0), 7, b"k", b"v", 1.5)
    assert (read.redelivered, read.headers) == (None, {"a": b"2"})


def test_a_tombstone_has_no_body_and_no_time() -> None:
    """Without a value, a key, headers and a time."""
    read = delivery(value=None, key=None, timestamp=(0, -1))
    assert (read.body, read.key, read.headers, read.timestamp) == (None, None, {}, None)


def test_a_name_of_the_client_is_told_where_it_is() -> None:
    """For those who look for their client's own message."""
    with pytest.raises(UnknownAttribute, match=r"`delivery\.message` is the client's own object"):
        _ = delivery().record


def test_a_batch_is_what_one_poll_gave() -> None:
    """It is finished as a whole, or in parts."""
    partition = AssignedPartition(MESSAGES, A, epoch=1, in_batches=True)
    (batch,) = partition.delivered(run(3, 4))
    assert isinstance(batch, ConfluentBatch)
    assert (batch.assigned, batch.position, len(batch), partition.inflight.next_position) == (partition, 3, 4, 3)
    partition.inflight.finished(3)
    assert partition.inflight.next_position == 4
    partition.finished_batch(batch.message[1:])
    assert (partition.inflight.next_position, partition.inflight.unfinished) == (7, 0)


def test_the_oldest_message_in_work_has_a_time() -> None:
    """What `backlog` tells the age by."""
    partition = AssignedPartition(MESSAGES, A, epoch=1)
    partition.delivered([message(0, timestamp=(1, 100)), message(1, timestamp=(1, 200))])
    partition.inflight.finished(0)
    assert partition.oldest_timestamp() == 200


def test_a_delivery_weighs_its_value_key_and_headers() -> None:
    """In bytes; a batch as much as its messages."""
    partition = AssignedPartition(MESSAGES, A, epoch=1)
    messages = [message(number, value=b"x" * 100, headers=[("name", b"value")]) for number in range(3)]
    each = OVERHEAD + 100 + len(b"k") + len("name") + len(b"value") + 150
    assert weigh(wrap(partition, messages)) == 3 * each
    assert weigh([ConfluentBatch(partition, messages)]) == 3 * each
