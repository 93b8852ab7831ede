"""Assigned partitions, their deliveries, and what is in flight of a partition that is read in batches."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from tests.brokers.kafka.fakes import record

from holdgate.brokers.kafka import KafkaDelivery
from holdgate.brokers.kafka.deliveries import RECORDS, KafkaBatch, Record, weigh, wrap
from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions, InFlightPolls, OutOfSequence, RecordField
from holdgate.flow.inbox import OVERHEAD
from holdgate.flow.inflight import InFlight
from holdgate.flow.message import Delivery, Partition

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)


def assignment(*offsets: int) -> AssignedPartition:
    made = AssignedPartition(RECORDS, A, epoch=1)
    if offsets:
        made.delivered([record(offset, timestamp=100 + offset) for offset in offsets])
    return made


def in_batches(*polls: list[int]) -> tuple[AssignedPartition, list[KafkaBatch]]:
    """An assignment in batches, and what it made of these polls."""
    made = AssignedPartition(RECORDS, A, epoch=1, in_batches=True)
    batches = [made.delivered([record(offset, timestamp=100 + offset) for offset in offsets])[0] for offsets in polls]
    return made, [batch for batch in batches if isinstance(batch, KafkaBatch)]


def delivery(**more: Any) -> KafkaDelivery:
    return wrap(AssignedPartition(RECORDS, TopicPartition("orders", 3), epoch=1), [record(**more)])[0]


def poll(*offsets: int) -> list[Record]:
    return [record(offset, timestamp=100 + offset) for offset in offsets]


def view(inflight: InFlight) -> tuple[int | None, int]:
    return inflight.next_position, inflight.unfinished


def test_deliveries_carry_their_assignment() -> None:
    """In order, each with the source and the assignment it came in with."""
    made = assignment()
    deliveries = made.delivered([record(4), record(7)])
    assert [(delivery.position, delivery.assigned, delivery.source) for delivery in deliveries] == [
        (4, made, Partition("orders", 0)),
        (7, made, Partition("orders", 0)),
    ]
    assert made.began == 4


def test_records_that_do_not_follow_change_nothing() -> None:
    """Somebody sought back: told, and nothing is noted."""
    made = assignment(5, 6)
    with pytest.raises(OutOfSequence):
        made.delivered([record(6), record(7)])
    assert (made.inflight.unfinished, made.next_offset(7)) == (2, 5)


def test_the_next_offset() -> None:
    """The oldest unfinished one; with none the position, if it is known and not behind."""
    made = assignment(5, 9)
    assert made.next_offset(20) == 5
    made.inflight.finished(5)
    made.inflight.finished(9)
    assert [made.next_offset(position) for position in (None, 3, 20)] == [10, 10, 20]
    assert [assignment().next_offset(position) for position in (None, 3)] == [None, 3]


def test_the_oldest_timestamp() -> None:
    """That of the oldest unfinished record, over several polls, and none when nothing is in hand."""
    made = assignment(1, 2, 3)
    made.delivered([record(8, timestamp=108), record(9, timestamp=109)])
    seen = [made.oldest_timestamp()]
    for offset in (1, 2, 3, 8, 9):
        made.inflight.finished(offset)
        seen.append(made.oldest_timestamp())
    assert seen == [101, 102, 103, 108, 109, None]
    assert len(made._chunks) <= 1  # what is finished is forgotten


def test_a_new_assignment_of_the_same_partition_is_another_one() -> None:
    """The old object is dead, so whoever comes late with it settles nothing."""
    live = AssignedPartitions(RECORDS)
    live.add([A, B])
    old = live.get(A)
    live.add([A])
    new = live.get(A)
    assert old is not None
    assert new is not None
    assert (old.alive, new.alive, new.epoch > old.epoch) == (False, True, True)
    assert live.tps() == {A, B}


def test_dropped_is_gone() -> None:
    """Unknown ones are ignored."""
    live = AssignedPartitions(RECORDS)
    live.add([A, B])
    live.drop([A, TopicPartition("other", 0)])
    assert live.get(A) is None
    assert live.sources([A, B]) == [Partition("orders", 1)]
    assert [each.tp for each in live] == [B]
    assert len(live) == 1


def test_in_batches_a_poll_is_one_batch() -> None:
    """Of its records as they are; deliveries are made of them when somebody looks."""
    made, (batch,) = in_batches([4, 7])
    assert (batch.source, batch.assigned, batch.origin, batch.position) == (Partition("orders", 0), made, made, 4)
    assert [(one.position, one.assigned) for one in batch.items()] == [(4, made), (7, made)]
    assert made.began == 4


def test_in_batches_the_oldest_timestamp_and_the_next_offset_move_with_what_is_finished() -> None:
    """Whole polls and parts of them."""
    made, (first, second) = in_batches([1, 2], [5, 8])
    seen = [(made.oldest_timestamp(), made.next_offset(20))]
    made.finished_batch(first.message)
    seen.append((made.oldest_timestamp(), made.next_offset(20)))
    made.finished_batch(second.message[:1])
    seen.append((made.oldest_timestamp(), made.next_offset(20)))
    made.finished_batch(second.message[1:])
    seen.append((made.oldest_timestamp(), made.next_offset(20)))
    assert seen == [(101, 1), (105, 5), (108, 8), (None, 20)]


def test_in_batches_records_that_do_not_follow_change_nothing() -> None:
    """Somebody sought back: told, and nothing is noted."""
    made, _ = in_batches([5, 6])
    with pytest.raises(OutOfSequence):
        made.delivered([record(6), record(7)])
    assert (made.inflight.unfinished, made.next_offset(7)) == (2, 5)


def test_all_partitions_of_a_run_with_batches_are_read_in_batches() -> None:
    """Also those that come later."""
    live = AssignedPartitions(RECORDS)
    live.in_batches = True
    live.add([A])
    found = live.get(A)
    assert found is not None
    assert isinstance(found.delivered([record(1)])[0], KafkaBatch)


def test_it_is_made_as_its_parent_makes_it() -> None:
    """The constructor that saves a call sets every field to what the parent's would."""
    ours = delivery()
    theirs: Delivery[Any] = Delivery(ours.source, ours.message)
    assert {name: getattr(ours, name, "unset") for name in Delivery.__slots__} == {
        name: getattr(theirs, name, "unset") for name in Delivery.__slots__
    }


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
    partition = AssignedPartition(RECORDS, TopicPartition("orders", 3), epoch=1)
    records = [record(1, value=b"x" * 1000, headers=(("trace", b"12345"), ("none", None))), record(2, value=None), record(3)]
    beside = OVERHEAD + 1 + 150 + 10 + 150 + 4

    assert weigh(wrap(partition, records)) == 3 * beside + 1000 + 1
    assert weigh([KafkaBatch(partition, records), KafkaBatch(partition, records)]) == 2 * weigh(wrap(partition, records))


def test_of_a_long_poll_a_part_is_weighed() -> None:
    """Hundreds of small records are weighed by every so many of them; one poll is never far off, and many are right in the mean."""
    partition = AssignedPartition(RECORDS, TopicPartition("orders", 3), epoch=1)
    records = [record(offset, value=b"x" * (100 + offset % 2)) for offset in range(499)]

    assert weigh(wrap(partition, records)) == pytest.approx(499 * (OVERHEAD + 1 + 100.5), rel=0.001)
    assert weigh([KafkaBatch(partition, records)]) == weigh(wrap(partition, records))


def test_nothing_may_be_committed_before_the_first_poll() -> None:
    """A fresh assignment has no position of its own."""
    assert view(InFlightPolls(RECORDS.offset)) == (None, 0)


def test_a_poll_finished_as_a_whole_is_never_looked_into() -> None:
    """Nothing is kept of its single records, and the next position is one past its last, gaps or not."""
    whole = InFlightPolls(RECORDS.offset)
    first, second = poll(3, 10), poll(55, 56)
    whole.delivered_poll(first)
    whole.delivered_poll(second)
    assert view(whole) == (3, 4)
    whole.finished_records(first)
    assert (view(whole), len(whole._row)) == ((55, 2), 0)
    whole.finished_records(second)
    assert view(whole) == (57, 0)


def test_equal_records_in_another_list_are_looked_into() -> None:
    """Only the list itself is known to be the whole poll."""
    whole = InFlightPolls(RECORDS.offset)
    records = poll(3, 10, 55)
    whole.delivered_poll(records)
    whole.finished_records(records[:2])
    assert view(whole) == (55, 1)


def test_a_poll_behind_an_unfinished_one_does_not_move_the_limit() -> None:
    """It is finished out of turn, and counted so."""
    whole = InFlightPolls(RECORDS.offset)
    first, second = poll(1, 2), poll(3, 4)
    whole.delivered_poll(first)
    whole.delivered_poll(second)
    whole.finished_records(second)
    assert view(whole) == (1, 2)
    whole.finished_records(first)
    assert view(whole) == (5, 0)


@pytest.mark.parametrize("offsets", [(4, 5), (2, 9), (7, 7), (9, 8)])
def test_a_poll_that_does_not_follow_is_refused(offsets: tuple[int, ...]) -> None:
    """Somebody sought back, or it is no log's order: told, and nothing is noted."""
    whole = InFlightPolls(RECORDS.offset)
    whole.delivered_poll(poll(3, 4))
    with pytest.raises(ValueError, match="not in increasing order after 4"):
        whole.delivered_poll(poll(*offsets))
    assert view(whole) == (3, 2)


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_it_agrees_with_the_row_of_single_positions(steps: list[list[int]], data: st.DataObject) -> None:
    """After every step of any history both tell the same limit and number."""
    whole, plain, offset = InFlightPolls(RECORDS.offset), InFlight(), -1
    polls: list[list[Record]] = []
    for gaps in steps:
        offsets = []
        for gap in gaps:
            offset += gap
            offsets.append(offset)
        polls.append(poll(*offsets))
        whole.delivered_poll(polls[-1])
        plain.delivered_many(offsets)
        for _ in range(data.draw(st.integers(0, 3))):
            records = data.draw(st.sampled_from(polls))
            kind = data.draw(st.sampled_from(["whole", "part", "one"]))
            if kind == "part":
                records = records[data.draw(st.integers(0, len(records) - 1)) :]
            if kind == "one":
                records = [data.draw(st.sampled_from(records))]
                whole.finished(records[0].offset)
            else:
                whole.finished_records(records)
            for each in records:
                plain.finished(each.offset)
            assert view(whole) == view(plain)


def test_a_column_reads_one_number_of_each_record() -> None:
    """By index and slice, from the records themselves."""
    column = RecordField(poll(4, 7, 9), RECORDS.offset)
    assert (len(column), column[0], column[-1], column[1:], list(column)) == (3, 4, 9, [7, 9], [4, 7, 9])
