"""What the checker compares with: places finished in any order, and who may begin what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdgate.flow.inbox import Order
from holdgate.flow.message import Partition, Queue
from holdgate_lab.fleet.records import AssignmentRecord, PartitionRecord, QueueRecord, Watermark
from holdgate_lab.fleet.scenario import TopicSpec
from holdgate_lab.fleet.traffic import StreamTraffic

ORDERS = Partition("orders", 0)


class Complaints(list[str]):
    """The short names of what was complained of."""

    def hear(self, invariant: str, words: str) -> None:
        self.append(invariant)


def assignment(order: Order, complaints: Complaints, start: int = 0) -> AssignmentRecord:
    traffic = StreamTraffic(TopicSpec(name="orders", keys=2, gap=1), seed=0)
    return AssignmentRecord(PartitionRecord(traffic, ORDERS, complaints.hear), ORDERS, start, order, complaints.hear)


@given(st.permutations(range(12)))
def test_a_watermark_is_the_first_place_that_is_not_finished(order: list[int]) -> None:
    """In whatever order they are finished."""
    watermark, finished = Watermark(0, lambda place: place + 1), set()
    for place in order:
        assert watermark.finish(place)
        finished.add(place)
        assert not watermark.finish(place)
        assert watermark.low == next(each for each in range(13) if each not in finished)
        assert watermark.ahead == len([each for each in finished if each > watermark.low])


def test_a_commit_may_stand_behind_a_gap() -> None:
    """Offset 1 holds nothing, so 2 is the next message; 3 is past it."""
    complaints = Complaints()
    traffic = StreamTraffic(TopicSpec(name="orders", gap=1), seed=0)
    record = PartitionRecord(traffic, ORDERS, complaints.hear)
    record.done.finish(0)
    record.was_committed(2)
    assert complaints == []
    record.was_committed(3)
    assert complaints == ["commit"]


def test_a_commit_never_goes_back() -> None:
    """The same again is fine."""
    complaints = Complaints()
    record = PartitionRecord(StreamTraffic(TopicSpec(name="orders"), seed=0), ORDERS, complaints.hear)
    for offset in (1, 1, 0):
        record.done.finish(0)
        record.was_committed(offset)
    assert complaints == ["offsets"]


def test_in_the_order_of_the_source_each_waits_for_the_one_before() -> None:
    """A retry is no other message."""
    complaints = Complaints()
    record = assignment("source", complaints)
    record.starts(0, None)
    record.stopped(0)
    record.starts(0, None)
    assert complaints == []
    record.starts(2, None)
    assert complaints == ["order"]


def test_a_batch_has_what_follows_on_each_other() -> None:
    """Offset 2 follows on 0, and 6 does not follow on 2."""
    complaints = Complaints()
    record = assignment("source", complaints)
    record.start_together([0, 2])
    assert complaints == []
    for position in (0, 2):
        record.stopped(position)
    record.start_together([0, 2, 6])
    assert complaints == ["order"]


def test_a_batch_has_nothing_that_runs() -> None:
    """In no order."""
    complaints = Complaints()
    record = assignment("none", complaints)
    record.starts(2, None)
    record.start_together([0, 2])
    assert complaints == ["duplicates"]


def test_by_key_each_waits_for_the_one_before_of_its_key() -> None:
    """Offsets 0 and 4 are of one key; with a gap after each, 2 is of the other."""
    complaints = Complaints()
    record = assignment("key", complaints)
    record.starts(0, 0)
    record.starts(2, 1)
    assert complaints == []
    record.starts(4, 0)
    assert complaints == ["order"]


def test_what_came_before_the_assignment_is_not_waited_for() -> None:
    """It was somebody else's."""
    complaints = Complaints()
    assignment("key", complaints, start=4).starts(4, 0)
    assert complaints == []


def test_what_is_finished_does_not_begin_again() -> None:
    """In no order."""
    complaints = Complaints()
    record = assignment("none", complaints)
    record.starts(6, None)
    record.stopped(6)
    record.finished(6)
    record.starts(6, None)
    assert complaints == ["duplicates"]


def test_what_was_finished_in_turn_is_committed_when_it_is_given_back() -> None:
    """Or it would come again."""
    complaints = Complaints()
    record = assignment("source", complaints)
    record.finished(0)
    record.was_given_back()
    assert complaints == ["duplicates"]


def test_a_single_active_consumer_keeps_the_order_of_its_queue() -> None:
    """What was finished before may come again; what comes after must wait."""
    complaints = Complaints()
    queue = QueueRecord(Queue("tasks"), is_ordered=True, complain=complaints.hear)
    queue.finished(0)
    queue.starts([0])
    queue.starts([1])
    assert complaints == []
    queue.starts([2])
    queue.was_acked(2)
    assert complaints == ["order", "commit"]
