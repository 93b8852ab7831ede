"""What an engine has counted since it was made."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, Message, Stage, dependency_failed, own_failure, rejected, returned, run_of

from holdgate.core import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitReset, OverrideCleared, OverrideSet, Reason, State
from holdgate.core.states import Override
from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.events import MessageSkipped, SourceHeld, SourceReleased
from holdgate.flow.inbox import BatchInbox, FreeInbox, Inbox, KeyInbox, SourceInbox
from holdgate.flow.message import Partition, Queue
from holdgate.flow.policy import FallbackSettings, Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run
from holdgate.flow.totals import MOST_NAMES, OTHERS, Tally

BILLS = Queue("bills")
CHANGED = OverrideSet("payments", 6.0, 2, Override.DISABLED, None)
EARLIER = OverrideCleared("payments", 5.0, 2, Override.FORCED_OPEN)
WITH_THE_WAIT = OverrideCleared("payments", 6.0, 2, Override.DISABLED)


def opened(name: str = "payments", at: float = 1.0) -> CircuitOpened:
    return CircuitOpened(name, at, 1, Reason.FAILURE_RATE, at + 5.0, 1, State.CLOSED)


def test_transitions_are_counted_by_where_from_where_to_and_why() -> None:
    """An outage with a failed probe, and an operator's reset."""
    tally = Tally()
    half = CircuitHalfOpened("payments", 6.0, 2, State.OPEN)
    again = CircuitOpened("payments", 7.0, 3, Reason.PROBE, 20.0, 2, State.HALF_OPEN)
    tally.note([opened(), half, again, half])
    tally.note([CircuitClosed("payments", 9.0, 5, State.HALF_OPEN), CircuitReset("mail", 9.0, 1, State.OPEN)])
    assert tally.read({}, ()).transitions == {
        ("payments", (State.CLOSED, State.OPEN, "failure_rate")): 1,
        ("payments", (State.OPEN, State.HALF_OPEN, "waited")): 2,
        ("payments", (State.HALF_OPEN, State.OPEN, "probe")): 1,
        ("payments", (State.HALF_OPEN, State.CLOSED, "recovered")): 1,
        ("mail", (State.OPEN, State.CLOSED, "reset")): 1,
    }


@pytest.mark.parametrize("before", [OverrideCleared("payments", 6.0, 2, Override.FORCED_OPEN), CHANGED])
def test_the_end_of_a_forced_opening_is_a_reason_of_its_own(before: Any) -> None:
    """Its half-open is announced right behind the override that has changed."""
    tally = Tally()
    tally.note([before, CircuitHalfOpened("payments", 6.0, 2, State.OPEN)])
    assert list(tally.read({}, ()).transitions) == [("payments", (State.OPEN, State.HALF_OPEN, "force_ended"))]


@pytest.mark.parametrize("before", [OverrideCleared("mail", 6.0, 2, Override.FORCED_OPEN), EARLIER, WITH_THE_WAIT])
def test_another_override_is_no_reason(before: Any) -> None:
    """That of another circuit, one that ended before, or one that ended together with the wait below it."""
    tally = Tally()
    tally.note([before, CircuitHalfOpened("payments", 6.0, 2, State.OPEN)])
    assert list(tally.read({}, ()).transitions) == [("payments", (State.OPEN, State.HALF_OPEN, "waited"))]


def test_a_hold_counts_for_every_reason_that_it_had() -> None:
    """From its first reason to its end; one that goes on is not counted yet."""
    tally = Tally()
    tally.note([SourceHeld(1.0, ORDERS, ("circuit:payments",)), SourceHeld(2.0, ORDERS, ("operator",))])
    tally.note([SourceHeld(2.0, BILLS, ("blocked",))])
    tally.note([SourceReleased(41.0, ORDERS, 40.0)])
    lasted = {reason: (holds.count, holds.sum) for reason, holds in tally.read({}, ()).holds.items()}
    assert lasted == {"circuit:payments": (1, 40.0), "operator": (1, 40.0)}


def test_a_source_that_goes_away_held_is_forgotten() -> None:
    """When it comes back and is released, nobody has seen its hold begin."""
    tally = Tally()
    tally.note([SourceHeld(1.0, ORDERS, ("circuit:payments",))])
    tally.forget(ORDERS)
    tally.forget(BILLS)
    tally.note([SourceReleased(41.0, ORDERS, 40.0)])
    assert tally.read({}, ()).holds == {}


def test_skipped_messages_are_counted_by_who_skipped() -> None:
    """The policy or an operator; all of them have ended, and none was processed."""
    tally = Tally()
    tally.note([MessageSkipped(1.0, ORDERS, 7, "", by_operator=True), MessageSkipped(1.0, ORDERS, 8, "", by_operator=False)])
    orders = tally.read({}, [("orders", 5)]).names["orders"]
    assert (dict(orders.skipped), orders.ended, orders.processed) == ({"operator": 1, "exhausted": 1}, 5, 3)


def test_what_became_of_messages_is_taken_from_those_that_ended() -> None:
    """The rest was processed."""
    tally = Tally()
    totals = tally.of("orders")
    totals.ended += 10
    totals.rejected["attempts"] += 2
    totals.fell_back["circuit:payments"] += 3
    read = tally.read({}, ()).names["orders"]
    totals.ended += 1
    assert (read.processed, read.ended, totals.processed) == (5, 10, 6)


def test_names_past_the_most_are_counted_together() -> None:
    """A pattern over thousands of topics makes no thousands of series."""
    tally = Tally()
    for number in range(MOST_NAMES + 2):
        tally.of(f"topic-{number}").ended += 1
    read = tally.read({}, [(f"topic-{MOST_NAMES + 5}", 1)])
    assert len(read.names) == MOST_NAMES + 1
    assert read.names[OTHERS].ended == 3
    assert (read.label("topic-0"), read.label("topic-900")) == ("topic-0", OTHERS)
    assert Tally().read({}, ()).label("anything") == "anything"


@pytest.mark.parametrize("inbox", [SourceInbox(), FreeInbox(10), KeyInbox(10)], ids=["source", "free", "key"])
def test_an_inbox_knows_how_many_have_ended(inbox: Inbox) -> None:
    """All that came, but those that wait and those in work; what is dropped at the end has not ended."""
    inbox.put([Message(ORDERS, position) for position in range(4)])
    for _ in range(2):
        taken = inbox.take()
        assert taken is not None
        inbox.done(taken)
    inbox.take()
    inbox.clear()
    assert inbox.oldest + len(inbox.ended) == 2


@pytest.mark.parametrize("span", [None, 10])
def test_batches_are_counted_by_their_messages(span: int | None) -> None:
    """Three of five messages have ended."""
    inbox = BatchInbox(3, span)
    inbox.put([Batch(Partition("orders", 0), list(range(5)), AS_THEY_ARE)])
    batch = inbox.take()
    assert batch is not None
    inbox.done(batch)
    assert inbox.oldest + len(inbox.ended) == 3


def test_an_engine_counts_what_becomes_of_messages() -> None:
    """Processed, rejected by the handler, given up after its attempts; and it still knows when the source has gone and come back."""
    stage = Stage("payments", run=run_of(["payments"], rejects=True, retry=RetryPolicy(attempts=1)))
    stage.receive(4)
    for end in (returned(), rejected(), own_failure()):
        delivery = stage.start()
        if stage.end(delivery, end) is Verdict.REJECT:
            stage.engine.rejected(delivery, stage.now)
        stage.turn()
    stage.start()
    seen = stage.engine.totals().names["orders"]
    assert (seen.processed, dict(seen.rejected), seen.ended) == (1, {"rejected": 1, "attempts": 1}, 3)

    stage.engine.forget(stage.run, [ORDERS], stage.now)
    stage.engine.assigned(stage.run, [ORDERS], stage.now)
    assert stage.engine.totals().names["orders"].ended == 3


def test_a_fallback_is_counted_by_the_circuit_that_was_open() -> None:
    """Of two needs the one that is down."""
    run = Run(Needs(["mail", "payments"]), order="source", concurrency=None, inbox=500, fallback=FallbackSettings())
    stage = Stage("mail", "payments", run=run)
    stage.receive()
    delivery = stage.start()
    stage.trip("payments")
    stage.end(delivery, dependency_failed(2))
    stage.turn()
    stage.engine.fell_back(stage.start(), stage.now)
    seen = stage.engine.totals().names["orders"]
    assert (dict(seen.fell_back), seen.processed) == ({"circuit:payments": 1}, 0)


def test_an_engine_counts_holds_and_circuits() -> None:
    """The calls are those of the circuit; events are counted when they are taken."""
    stage = Stage("payments")
    stage.trip()
    stage.turn(later=10.0)
    stage.events()
    totals = stage.engine.totals()
    assert totals.holds["circuit:payments"].sum == 10.0
    assert totals.transitions["payments", (State.CLOSED, State.OPEN, "open_for")] == 1
    assert totals.circuits["payments"] == stage.gates[0].circuit.read_totals()


def test_skipped_messages_are_counted_each() -> None:
    """By why they were."""
    tally = Tally()
    tally.of("orders")
    tally.note([MessageSkipped(1.0, ORDERS, 5, "bad", by_operator=by_operator) for by_operator in (True, False, True, False, False)])
    assert tally.read({}, ()).names["orders"].skipped == {"operator": 2, "exhausted": 3}


def test_the_label_of_one_name_too_many_is_that_of_the_others() -> None:
    """In the totals as they are read."""
    tally = Tally()
    for number in range(MOST_NAMES):
        tally.of(f"topic-{number}")
    assert tally.read({}, ()).label("one-more") == OTHERS
    assert tally.read({}, ()).label("topic-0") == "topic-0"
