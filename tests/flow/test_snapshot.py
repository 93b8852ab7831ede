"""The read model."""

from __future__ import annotations

import pytest
from tests.flow.mixed import Mixed
from tests.flow.stage import ORDERS, Stage, messages, own_failure, place_of, placed, rejected, run_of

from holdgate.core import State
from holdgate.flow.memory import Memory
from holdgate.flow.message import Partition
from holdgate.flow.policy import RetryPolicy
from holdgate.flow.snapshot import PartlyWaiting, RetryWaiting, Snapshot, SourceSnapshot, take_snapshot
from holdgate.flow.waiting import WaitingList

BILLS = Partition("bills", 0)


def test_a_source_shows_what_waits_and_what_runs() -> None:
    """Two run, one is a waiting head that failed, two are in the inbox, one is blocked: waiting counts the last four."""
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=3))
    stage.receive(6)
    first, _, _ = stage.start_all()
    stage.trip()
    stage.engine.interrupted(first, stage.now)
    stage.turn()
    blocked = stage.engine.next(stage.run, stage.now)
    assert blocked is None

    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert seen == SourceSnapshot(
        ORDERS, held=True, reasons=("circuit:payments",), since=0.0, fetch=False, waiting=4, in_flight=2, needs=("payments",)
    )


def test_every_rejected_message_is_counted_as_waiting() -> None:
    """Two of one source ran side by side, and neither has anywhere to go."""
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=2))
    stage.receive(2)
    for delivery in stage.start_all():
        stage.end(delivery, rejected())

    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.waiting, seen.in_flight, seen.reasons) == (2, 0, ("blocked",))


def test_a_source_at_work_has_no_reasons() -> None:
    """Not held, since nothing, and fetching."""
    stage = Stage("payments")
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]

    assert (seen.held, seen.reasons, seen.since, seen.fetch, seen.waiting) == (False, (), None, True, 0)


def test_circuits_show_by_name_at_that_moment() -> None:
    """With their own read model."""
    stage = Stage("mail", "payments")
    stage.trip("mail")
    snapshot = stage.engine.snapshot(5.0)

    assert snapshot.at == 5.0
    assert {name: seen.state for name, seen in snapshot.dependencies.items()} == {"mail": State.OPEN, "payments": State.CLOSED}


def test_a_dependency_can_be_asked_what_it_holds() -> None:
    """Its sources and no others."""
    stage = Stage("mail", "payments", run=run_of({"orders": ["payments"], "bills": ["mail"]}), sources=(ORDERS, BILLS))
    stage.trip("mail")
    snapshot = stage.engine.snapshot(stage.now)

    assert (snapshot.held_by("mail"), snapshot.held_by("payments")) == ((BILLS,), ())


def test_a_snapshot_cannot_be_changed() -> None:
    """It is given to observers and the control plane."""
    snapshot = Stage("mail").engine.snapshot(0.0)

    with pytest.raises(TypeError):
        snapshot.sources[ORDERS] = None  # type: ignore[index]


def test_a_snapshot_tells_what_falls_back() -> None:
    """And how many have."""
    stage = Stage("payments")
    stage.assignment().falling_back = True
    stage.assignment().fallbacks = 2
    seen = stage.engine.snapshot(0.0).sources[ORDERS]
    assert (seen.falling_back, seen.fallbacks) == (True, 2)


def test_a_snapshot_has_no_command_unless_it_is_given_one() -> None:
    """For whoever makes one by hand."""
    assert Snapshot(0.0, {}, {}).commands == ()


def test_a_snapshot_tells_the_bound_on_memory() -> None:
    """How many sources wait for room counts only while there is none."""
    memory = Memory(64)
    memory.waiting = 5
    seen = take_snapshot([], memory, WaitingList(), 0.0)
    assert (seen.memory, seen.held_bytes, seen.waiting_for_room) == (64, 0, 0)
    memory.tight = True
    assert take_snapshot([], memory, WaitingList(), 0.0).waiting_for_room == 5


def test_a_snapshot_without_a_word_on_memory_has_none_in_hand() -> None:
    """The defaults."""
    seen = Snapshot(0.0, {}, {}, ())
    assert (seen.memory, seen.held_bytes, seen.read_ahead_bytes, seen.waiting_for_room) == (None, 0, 0, 0)


def test_a_source_of_mixed_needs_counts_what_waits_for_what() -> None:
    """Only for what is down: a message that needs both waits for payments alone. What has the same key stands behind."""
    stage = Mixed("key")
    first, second, both, mail = came = messages(ORDERS, 4)
    for message, key, needs in zip(came, "aabc", [["payments"], ["mail"], ["payments", "mail"], ["mail"]], strict=True):
        message.order_key, message.needs = key, stage.needing(*needs)
    stage.trip("payments")
    stage.engine.received(stage.run, came)
    stage.turn()

    assert stage.start_all() == [mail]
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert seen.partly is not None
    assert (seen.partly, seen.partly.waiting) == (PartlyWaiting(True, {"payments": 2}, behind=1), 3)
    assert (seen.held, seen.waiting) == (False, 3)
    assert (seen.partly.waiting_of("payments", declared=True), seen.partly.waiting_of("mail", declared=True)) == (2, 0)
    assert (first.attempt, second.attempt, both.attempt) == (0, 0, 0)


def test_a_source_that_stands_says_why_nothing_passes() -> None:
    """With order="source" the first message holds all of it."""
    stage = Mixed("source")
    stage.trip("payments")
    stage.receive(2)
    stage.start_all()
    stage.turn()
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.partly) == (True, PartlyWaiting(True, {"payments": 1}, stands_because="order"))


def test_a_source_whose_messages_need_the_same_is_never_partly_held() -> None:
    """What they need holds all of it. What a handler met besides is counted, and the declared need is not."""
    stage = Stage("payments", "mail", run=run_of(["payments"], order="none"))
    assert stage.engine.snapshot(stage.now).sources[ORDERS].partly is None
    partly = PartlyWaiting(False, {"mail": 2})
    assert (partly.waiting_of("payments", declared=True), partly.waiting_of("mail", declared=False)) == (None, 2)


def test_a_message_that_failed_shows_when_it_is_tried_again() -> None:
    """Its place, how often it has failed, what with, and the second of its next try; of two the one whose time comes first."""
    retry = RetryPolicy(initial_backoff=4.0, multiplier=2.0, jitter=0.0)
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=2, retry=retry))
    stage.receive(2, first=7)
    early, late = stage.start_all()
    stage.end(early, own_failure())
    stage.turn(later=1.0)
    stage.end(late, own_failure())

    assert stage.engine.snapshot(stage.now).sources[ORDERS].retrying == RetryWaiting(7, 1, "ValueError", 4.0)


def test_a_message_that_waits_for_time_and_never_failed_shows_no_error() -> None:
    """Nothing is known against it: no attempt, no type."""
    assignment, waiting = place_of(), WaitingList()
    memory = Memory(64, [assignment.run])
    waiting.add(placed(assignment, 7), (), 4.0)

    assert take_snapshot([], memory, waiting, 0.0).sources[ORDERS].retrying == RetryWaiting(7, 0, "", 4.0)


def test_a_source_whose_messages_all_wait_for_nothing_has_nothing_to_retry() -> None:
    """None of the messages, which may need different things, waits: so nothing stands, though they are in order."""
    stage = Mixed("source")
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.retrying, seen.partly) == (None, PartlyWaiting(True, {}, behind=0, stands_because=""))
