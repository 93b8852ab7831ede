"""A batch whose handler returned, and asked for something else for some of its messages."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.flow.stage import ORDERS, Message, Stage, messages, returned

from holdgate.core import State
from holdgate.flow.batch import AS_THEY_ARE, Batch, BatchItems, batches_of
from holdgate.flow.events import MessageSkipped, SourceBlocked
from holdgate.flow.fate import SettledParts
from holdgate.flow.inbox import Order
from holdgate.flow.message import HandlerRequest
from holdgate.flow.policy import Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run

GONE = HandlerRequest(reason="no address")
LATER = HandlerRequest(after=5.0)
BACKOFF = HandlerRequest()


class RequestStage(Stage):
    """A run with batches of up to four; six messages have come in."""

    def __init__(self, *, rejects: bool = True, order: Order = "source", retry: RetryPolicy | None = None, span: int = 1000) -> None:
        concurrency = None if order == "source" else 2
        retry = retry or RetryPolicy(jitter=0.0)
        run = Run(Needs(["payments"]), order=order, concurrency=concurrency, inbox=500, span=span, retry=retry, rejects=rejects, batch=4)
        super().__init__("payments", run=run)
        self.engine.received(self.run, batches_of(messages(ORDERS, 6)))
        self.turn()

    def take(self) -> Batch:
        batch = self.start()
        assert isinstance(batch, Batch)
        return batch

    def part(self, batch: Batch, requests: Mapping[int, HandlerRequest]) -> SettledParts:
        """The handler returns with these requests, and the engine takes its turn."""
        items: BatchItems[int] = batch.items()
        parts = self.engine.settle_in_parts(batch, items, requests, returned(), self.now)
        self.turn()
        return parts

    def next_positions(self) -> list[int] | None:
        delivery = self.engine.next(self.run, self.now)
        return (
            None if delivery is None else [one.position for one in delivery.items()] if isinstance(delivery, Batch) else [delivery.position]
        )


def positions(deliveries: tuple[Message, ...]) -> list[int]:
    return [delivery.position for delivery in deliveries]


def test_the_others_are_done() -> None:
    """What nothing was asked for is to be acknowledged, and the dependency has its success."""
    stage = RequestStage()
    parts = stage.part(stage.take(), {1: GONE, 2: LATER})
    assert positions(parts.done) == [0, 3]
    snapshot = stage.gates[0].circuit.snapshot(stage.now)
    assert (snapshot.state, snapshot.calls, snapshot.failures, snapshot.in_flight) == (State.CLOSED, 1, 0, 0)


def test_what_is_rejected_is_in_flight_until_it_is_out() -> None:
    """As a message of its own, with its reason; nothing behind the batch starts before."""
    stage = RequestStage()
    parts = stage.part(stage.take(), {1: GONE, 3: GONE})
    assert positions(parts.rejected) == [1, 3]
    assert [one.history.reason for one in parts.rejected] == ["no address", "no address"]
    assert (stage.assignment().in_flight, stage.run.running) == (2, 2)
    assert stage.engine.rejected(parts.rejected[0], stage.now) is Verdict.DONE
    stage.turn()
    assert stage.next_positions() is None
    assert stage.engine.rejected(parts.rejected[1], stage.now) is Verdict.DONE
    stage.turn()
    assert stage.next_positions() == [4, 5]


def test_a_rejected_message_knows_of_its_failure() -> None:
    """Its letter tells when, and how often it was tried."""
    stage = RequestStage()
    stage.turn(3.0)
    (one,) = stage.part(stage.take(), {2: GONE}).rejected
    assert (one.attempt, one.serial, one.history.failures, one.history.first_failed_at, one.history.error) == (1, 2, 1, 3.0, "Reject")
    assert one.request is None


def test_what_is_postponed_comes_after_the_longest_time_in_its_order() -> None:
    """One piece, so that nothing overtakes; it comes before what is behind the batch."""
    stage = RequestStage()
    stage.part(stage.take(), {0: HandlerRequest(after=2.0), 2: LATER})
    stage.turn(4.9)
    assert stage.next_positions() is None
    stage.turn(0.1)
    assert stage.next_positions() == [0, 2]


def test_without_a_time_the_policy_has_one() -> None:
    """Its first backoff."""
    stage = RequestStage()
    stage.part(stage.take(), {0: BACKOFF})
    assert stage.engine.next_deadline() == 0.5
    stage.turn(0.5)
    assert stage.next_positions() == [0]


def test_without_a_way_out_the_place_is_blocked() -> None:
    """By the first of those that were rejected; the others of the batch are done."""
    stage = RequestStage(rejects=False)
    parts = stage.part(stage.take(), {1: GONE})
    assert (positions(parts.done), parts.rejected) == ([0, 2, 3], ())
    assert [event.position for event in stage.events() if isinstance(event, SourceBlocked)] == [1]
    assert stage.assignment().held
    assert stage.next_positions() is None


def test_a_policy_that_skips_is_done_with_all() -> None:
    """What is skipped is acknowledged with the others, and told; the next batch may start."""
    stage = RequestStage(retry=RetryPolicy(on_exhausted="skip"))
    parts = stage.part(stage.take(), {1: GONE})
    assert sorted(positions(parts.done)) == [0, 1, 2, 3]
    assert [event.position for event in stage.events() if isinstance(event, MessageSkipped)] == [1]
    assert stage.next_positions() == [4, 5]


def test_a_policy_that_skips_is_done_with_the_last_batch() -> None:
    """Nothing is left to start, and its place is not offered to lanes."""
    stage = RequestStage(retry=RetryPolicy(on_exhausted="skip"))
    for _ in range(2):
        stage.part(stage.take(), {0: GONE})

    assert (stage.next_positions(), list(stage.run.ring), stage.assignment().inbox.waiting) == (None, [], 0)


def test_what_is_postponed_on_its_way_out_is_dropped() -> None:
    """Its source goes away in order: it is not acknowledged, so that it comes again to whoever has it next."""
    stage = RequestStage()
    batch = stage.take()
    stage.engine.closing(stage.run, [ORDERS], stage.now)
    parts = stage.part(batch, {1: LATER, 2: GONE})
    assert (positions(parts.done), positions(parts.rejected)) == ([0, 3], [2])
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waiting == 0
    stage.turn(100.0)
    assert stage.next_positions() is None


def test_a_batch_of_an_earlier_assignment_settles_nothing() -> None:
    """Its source was lost meanwhile."""
    stage = RequestStage()
    batch = stage.take()
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    assert stage.part(batch, {1: GONE}) == ((), ())
    assert (stage.run.running, stage.gates[0].circuit.snapshot(stage.now).in_flight) == (0, 0)


def test_without_an_order_what_is_done_moves_the_span() -> None:
    """It is measured from the oldest unfinished message: the one that was postponed, and not the first of its batch."""
    stage = RequestStage(order="none", span=6)
    stage.part(stage.take(), {3: LATER})
    stage.engine.received(stage.run, batches_of(messages(ORDERS, 4, 6)))
    assert stage.next_positions() == [4, 5, 6, 7]
    assert stage.next_positions() == [8, 9]


def test_a_blocked_message_that_is_let_go_lets_the_next_batch_start() -> None:
    """Its batch is finished with it, and not before."""
    stage = RequestStage(rejects=False)
    stage.part(stage.take(), {1: GONE})
    inbox = stage.assignment().inbox
    (blocked,) = stage.assignment().blocked
    assert inbox.take() is None
    assert inbox.done(blocked)


@pytest.mark.parametrize("requests", [{1: GONE}, {1: LATER}])
def test_without_an_order_the_rest_goes_on_meanwhile(requests: dict[int, HandlerRequest]) -> None:
    """Nothing waits for what was rejected or postponed."""
    stage = RequestStage(order="none")
    stage.part(stage.take(), requests)
    assert stage.next_positions() == [4, 5]


def test_a_request_is_found_by_its_index_in_the_batch() -> None:
    """And none where nobody has looked at a delivery."""
    items: BatchItems[int] = Batch(ORDERS, list(messages(ORDERS, 3)), AS_THEY_ARE).items()
    assert items.requests() == {}
    items[1].reject("no address")
    items[2].retry(after=5.0)
    assert items.requests() == {1: GONE, 2: LATER}


def test_a_request_lasts_for_one_attempt() -> None:
    """The next one begins without it."""
    batch = Batch(ORDERS, list(messages(ORDERS, 2)), AS_THEY_ARE)
    batch.items()[0].reject()
    again = batch.items()
    assert len(list(again)) == 2
    assert again.requests() == {}


def test_a_delivery_alone_keeps_what_is_known_of_it() -> None:
    """It is handed over as it is, with its failures."""
    alone = Message(ORDERS, 7)
    alone.attempt = 2
    alone.retry(after=5.0)
    items = BatchItems.of(alone)
    assert (list(items), items.requests()) == ([alone], {0: LATER})


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
    parts = stage.engine.settle_in_parts(first, first.items(), {0: GONE, 1: GONE}, returned(), stage.now)
    assert len(parts.rejected) == 2
    assert (stage.assignment().in_flight, stage.run.running) == (3, 3)


def test_nothing_overtakes_what_is_postponed_beside_what_is_sent() -> None:
    """The batch is over when both are out of the way."""
    stage = staged()
    batch = take(stage)
    parts = stage.engine.settle_in_parts(batch, batch.items(), {0: GONE, 1: LATER}, returned(), stage.now)
    stage.turn()
    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.engine.rejected(parts.rejected[0], stage.now) is Verdict.DONE
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


def test_a_batch_is_over_when_the_last_of_its_blocked_messages_is_let_go() -> None:
    """Two of it were rejected, and nowhere could be sent: each is a part that the next batch waits for."""
    stage = RequestStage(rejects=False)
    stage.part(stage.take(), {0: GONE, 2: GONE})
    inbox = stage.assignment().inbox
    first, second = stage.assignment().blocked
    assert not inbox.done(first)
    assert inbox.take() is None
    assert inbox.done(second)
