"""Wishes: several of one batch, and batches side by side."""

from __future__ import annotations

from tests.flow.stage import ORDERS, Stage, messages, returned

from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.events import SourceBlocked
from holdgate.flow.inbox import Order
from holdgate.flow.message import HandlerRequest
from holdgate.flow.policy import Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run

GONE = HandlerRequest(reason="no address")
LATER = HandlerRequest(after=5.0)


def staged(*, rejects: bool = True, order: Order = "source") -> Stage:
    """Batches of four; eight messages have come in."""
    policy = RetryPolicy(jitter=0.0)
    concurrency = None if order == "source" else 2
    run = Run(Needs(["payments"]), order=order, concurrency=concurrency, inbox=500, retry=policy, rejects=rejects, batch=4)
    stage = Stage("payments", run=run)
    stage.engine.received(run, batches_of(messages(ORDERS, 8)))
    stage.turn()
    return stage


def take(stage: Stage) -> Batch:
    batch = stage.start()
    assert isinstance(batch, Batch)
    return batch


def test_every_message_that_blocks_is_named() -> None:
    """As rejected, beside one that is only postponed."""
    stage = staged(rejects=False)
    batch = take(stage)
    stage.engine.settle_in_parts(batch, batch.items(), {0: GONE, 1: LATER, 2: GONE}, returned(), stage.now)
    said = [event for event in stage.events() if isinstance(event, SourceBlocked)]
    assert [(event.position, event.error) for event in said] == [(0, "Reject"), (2, "Reject")]


def test_what_is_to_be_sent_is_in_flight_beside_another_batch() -> None:
    """Each with a lane of its own."""
    stage = staged(order="none")
    first, _ = take(stage), take(stage)
    parted = stage.engine.settle_in_parts(first, first.items(), {0: GONE, 1: GONE}, returned(), stage.now)
    assert len(parted.rejected) == 2
    assert (stage.assignment().in_flight, stage.run.running) == (3, 3)


def test_nothing_overtakes_what_is_postponed_beside_what_is_sent() -> None:
    """The batch is over when both are out of the way."""
    stage = staged()
    batch = take(stage)
    parted = stage.engine.settle_in_parts(batch, batch.items(), {0: GONE, 1: LATER}, returned(), stage.now)
    stage.turn()
    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.engine.rejected(parted.rejected[0], stage.now) is Verdict.DONE
    stage.turn()
    assert stage.engine.next(stage.run, stage.now) is None
    stage.turn(later=5.0)
    postponed = take(stage)
    assert [one.position for one in postponed.items()] == [1]
    stage.end(postponed, returned())
    assert take(stage).position == 4


def test_a_message_that_is_skipped_makes_room_in_the_span() -> None:
    """It was the oldest: the next batch may start though another of its batch is postponed."""
    policy = RetryPolicy(on_exhausted="skip", jitter=0.0)
    run = Run(Needs(["payments"]), order="none", concurrency=2, inbox=500, span=4, retry=policy, batch=4)
    stage = Stage("payments", run=run)
    stage.engine.received(run, batches_of(messages(ORDERS, 8)))
    stage.turn()
    batch = take(stage)
    stage.engine.settle_in_parts(batch, batch.items(), {0: GONE, 1: LATER}, returned(), stage.now)
    stage.turn()
    assert take(stage).position == 4
