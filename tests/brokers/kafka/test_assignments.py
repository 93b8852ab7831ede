from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from tests.brokers.kafka.test_delivery import record

from holdgate.brokers.kafka.assignments import AssignedPartition, AssignedPartitions, KafkaBatch, Rewound
from holdgate.flow.message import Partition

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)


def assignment(*offsets: int) -> AssignedPartition:
    made = AssignedPartition(A, epoch=1)
    if offsets:
        made.delivered([record(offset, timestamp=100 + offset) for offset in offsets])
    return made


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
    with pytest.raises(Rewound):
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
    live = AssignedPartitions()
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
    live = AssignedPartitions()
    live.add([A, B])
    live.drop([A, TopicPartition("other", 0)])
    assert live.get(A) is None
    assert live.sources([A, B]) == [Partition("orders", 1)]
    assert [each.tp for each in live] == [B]
    assert len(live) == 1


def in_batches(*polls: list[int]) -> tuple[AssignedPartition, list[KafkaBatch]]:
    """An assignment in batches, and what it made of these polls."""
    made = AssignedPartition(A, epoch=1, in_batches=True)
    batches = [made.delivered([record(offset, timestamp=100 + offset) for offset in offsets])[0] for offsets in polls]
    return made, [batch for batch in batches if isinstance(batch, KafkaBatch)]


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
    made.finished_together(first.message)
    seen.append((made.oldest_timestamp(), made.next_offset(20)))
    made.finished_together(second.message[:1])
    seen.append((made.oldest_timestamp(), made.next_offset(20)))
    made.finished_together(second.message[1:])
    seen.append((made.oldest_timestamp(), made.next_offset(20)))
    assert seen == [(101, 1), (105, 5), (108, 8), (None, 20)]


def test_in_batches_records_that_do_not_follow_change_nothing() -> None:
    """Somebody sought back: told, and nothing is noted."""
    made, _ = in_batches([5, 6])
    with pytest.raises(Rewound):
        made.delivered([record(6), record(7)])
    assert (made.inflight.unfinished, made.next_offset(7)) == (2, 5)


def test_all_partitions_of_a_run_with_batches_are_read_in_batches() -> None:
    """Also those that come later."""
    live = AssignedPartitions()
    live.in_batches = True
    live.add([A])
    found = live.get(A)
    assert found is not None
    assert isinstance(found.delivered([record(1)])[0], KafkaBatch)
