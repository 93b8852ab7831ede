"""Rejected messages: their way out, and their place while there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.flow.stage import ORDERS, Stage, dependency_failed, gate, own_failure, partitions, place_of, placed, rejected, returned, run_of

from holdgate.flow.events import MessageSkipped, SourceBlocked, SourceHeld, SourceReleased, SourceRetried
from holdgate.flow.message import Partition
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.rejections import Rejections
from holdgate.flow.reminders import Reminders
from holdgate.flow.state import Assignment
from holdgate.flow.waiting import WaitingList

MAX_BACKOFF = 30.0
FREE = SourcePlan(fetch=True, reasons=())
UNSENT = SourcePlan(fetch=False, reasons=("dead letters",))


def sending(count: int = 1, **run: object) -> Stage:
    """A run that has somewhere to put rejected messages, and deliveries of it."""
    stage = Stage("payments", run=run_of(["payments"], rejects=True, **run))  # type: ignore[arg-type]
    stage.receive(count)
    return stage


def test_a_rejected_message_without_a_way_out_blocks_its_source() -> None:
    """It is announced with its place, its charge and its last error, and nothing behind it starts."""
    stage = Stage("payments")
    stage.receive(2)
    stage.events()

    assert stage.end(stage.start(), rejected()) is Verdict.AGAIN
    assert stage.events() == [SourceBlocked(0.0, ORDERS, 0, 0, "ValueError"), SourceHeld(0.0, ORDERS, ("blocked",))]
    assert stage.start_all() == []


def test_what_goes_away_blocks_nothing() -> None:
    """Whoever has it next rejects it again."""
    stage = Stage("payments")
    stage.receive(1)
    delivery = stage.start()
    stage.engine.closing(stage.run, [ORDERS], stage.now)

    assert stage.end(delivery, rejected()) is Verdict.AGAIN
    assert [event for event in stage.events() if isinstance(event, SourceBlocked)] == []


def test_a_rejected_message_stays_in_flight_until_it_is_sent() -> None:
    """It keeps its lane and its turn; confirmed, it is done and the next one starts."""
    stage = sending(2)
    delivery = stage.start()

    assert stage.end(delivery, rejected()) is Verdict.REJECT
    assert (delivery.permits, delivery.history.reason) == (None, "ValueError")
    assert (stage.run.running, stage.assignment().in_flight, stage.start_all()) == (1, 1, [])
    assert stage.engine.rejected(delivery, stage.now) is Verdict.DONE
    assert (stage.run.running, stage.assignment().in_flight, stage.start().position) == (0, 0, 1)


def test_the_word_of_the_handler_is_the_reason() -> None:
    """It goes to the dead letter, before the type of an exception."""
    stage = sending()
    delivery = stage.start()
    stage.engine.settle(delivery, rejected(), "Reject", stage.now, reason="no such customer")

    assert delivery.history.reason == "no such customer"


def test_a_dead_letter_tells_when_it_failed() -> None:
    """The first time, the last time, how often, and by what."""
    stage = sending(retry=RetryPolicy(attempts=2, initial_backoff=1.0, jitter=0.0))
    stage.turn(later=5.0)
    stage.end(stage.start(), own_failure())
    stage.turn(later=1.0)
    delivery = stage.start()
    assert stage.end(delivery, own_failure()) is Verdict.REJECT

    history = delivery.history
    assert (history.first_failed_at, history.last_failed_at, history.failures, history.error) == (5.0, 6.0, 2, "ValueError")


def test_a_failing_target_holds_the_source() -> None:
    """The lane is free, nothing of the source starts, and it is handed out again after the longest backoff, as the same attempt."""
    stage = sending(2)
    delivery = stage.start()
    stage.end(delivery, rejected())
    assert stage.engine.reject_failed(delivery, stage.now) is Verdict.AGAIN
    stage.turn()

    assert (stage.run.running, stage.assignment().in_flight, stage.run.plan.of(ORDERS)) == (0, 0, UNSENT)
    assert (stage.engine.next_deadline(), stage.start_all()) == (MAX_BACKOFF, [])
    stage.turn(later=MAX_BACKOFF - 0.1)
    assert stage.start_all() == []
    stage.turn(later=0.1)
    again = stage.start()
    assert (again, again.attempt, stage.run.running, stage.assignment().in_flight) == (delivery, 1, 1, 1)
    assert stage.run.plan.of(ORDERS) == UNSENT


def test_all_unsent_messages_of_a_source_hold_it() -> None:
    """The first that is out does not release it, the last does, and heads that waited meanwhile go on."""
    stage = sending(3, order="none", concurrency=3)
    first, second, third = stage.start_all()
    for each in (first, second):
        stage.end(each, rejected())
        stage.engine.reject_failed(each, stage.now)
    stage.end(third, dependency_failed())
    stage.events()
    stage.turn(later=MAX_BACKOFF)
    assert stage.start_all() == [first, second]
    stage.engine.rejected(first, stage.now)
    stage.turn()
    assert stage.run.plan.of(ORDERS) == UNSENT
    stage.engine.rejected(second, stage.now)
    stage.turn()

    assert stage.run.plan.of(ORDERS) == FREE
    assert [type(event) for event in stage.events()] == [SourceReleased]
    stage.turn()
    assert stage.start_all() == [third]


def test_one_that_is_let_go_leaves_without_a_letter() -> None:
    """Another worker has it by now: its lane is free, the next one starts, and it is not counted as rejected."""
    stage = sending(2)
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.engine.let_go(delivery, stage.now)

    assert (stage.run.running, stage.assignment().in_flight, stage.start().position) == (0, 0, 1)
    seen = stage.engine.totals().names["orders"]
    assert (seen.ended, seen.processed, seen.rejected.total()) == (0, 0, 0)


def test_one_that_is_let_go_holds_its_source_no_longer() -> None:
    """Its target had failed, and it was the only one that the source waited for."""
    stage = sending(2)
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.engine.reject_failed(delivery, stage.now)
    stage.turn(later=MAX_BACKOFF)
    assert stage.start() is delivery
    stage.engine.let_go(delivery, stage.now)
    stage.turn()

    assert stage.run.plan.of(ORDERS) == FREE
    assert stage.start().position == 1


def test_to_let_go_of_what_is_gone_frees_its_lane() -> None:
    """Its assignment went away meanwhile, and nothing more is to be done for it."""
    stage = sending()
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    stage.engine.let_go(delivery, stage.now)

    assert stage.run.running == 0


def test_resending_needs_a_lane() -> None:
    """Its run's only lane works: the message waits for it, without a deadline that is over, and comes before others."""
    sources = partitions(2)
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=1, rejects=True), sources=sources)
    stage.receive(1, sources[0])
    unsent = stage.start()
    stage.end(unsent, rejected())
    stage.engine.reject_failed(unsent, stage.now)
    stage.receive(2, sources[1])
    busy = stage.start()
    stage.turn(later=MAX_BACKOFF)
    assert (stage.start_all(), stage.engine._rejections.next_deadline()) == ([], None)
    stage.end(busy, returned())

    assert stage.start_all() == [unsent]


def test_an_interrupted_sending_begins_again() -> None:
    """No handler starts for it: it is handed out as what it is."""
    stage = sending()
    delivery = stage.start()
    stage.end(delivery, rejected())
    assert stage.engine.interrupted(delivery, stage.now) is Verdict.AGAIN
    stage.turn()

    assert (stage.start_all(), delivery.history.reason, delivery.attempt) == ([delivery], "ValueError", 1)


@pytest.mark.parametrize("step", ["closing", "drain", "forget"])
def test_unsent_messages_go_with_their_place(step: str) -> None:
    """Whether they wait for time, for a lane, or in a lane's hand: no lane is counted for them, and nothing has a deadline."""
    stage = sending(3, order="none", concurrency=3)
    waiting, for_lane, handed = stage.start_all()
    for each in (handed, for_lane):
        stage.end(each, rejected())
        stage.engine.reject_failed(each, stage.now)
    stage.turn(later=MAX_BACKOFF)
    stage.end(waiting, rejected())
    stage.engine.reject_failed(waiting, stage.now)
    if step == "drain":
        stage.engine.drain(stage.run, stage.now)
    else:
        getattr(stage.engine, step)(stage.run, [ORDERS], stage.now)
    stage.turn()

    assert (stage.start_all(), stage.run.running, list(stage.run.resend)) == ([], 0, [])
    assert stage.engine._rejections.next_deadline() is None


def test_a_target_that_fails_while_its_source_goes_keeps_nothing() -> None:
    """The message comes again to whoever has the source next."""
    stage = sending()
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.engine.closing(stage.run, [ORDERS], stage.now)

    assert stage.engine.reject_failed(delivery, stage.now) is Verdict.AGAIN
    assert (stage.run.running, stage.engine._rejections.next_deadline()) == (0, None)


@pytest.mark.parametrize("step", ["rejected", "reject_failed"])
def test_news_of_a_dead_letter_whose_source_is_gone_is_stale(step: str) -> None:
    """Nothing is settled: the message belongs to somebody else now."""
    stage = sending()
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.engine.forget(stage.run, [ORDERS], stage.now)

    assert getattr(stage.engine, step)(delivery, stage.now) is Verdict.STALE
    assert stage.run.running == 0


@pytest.mark.parametrize("rejects", [False, True])
def test_skipping_is_asked_for(rejects: bool) -> None:
    """It is settled as if it were done, announced, and kept nowhere."""
    stage = Stage("payments", run=run_of(["payments"], retry=RetryPolicy(on_exhausted="skip"), rejects=rejects))
    stage.receive(2)
    stage.events()
    assert stage.end(stage.start(), rejected()) is Verdict.DONE

    assert stage.events() == [MessageSkipped(0.0, ORDERS, 0, "ValueError", by_operator=False)]
    assert stage.start().position == 1


# -- the operator's exits -------------------------------------------------------------------------------------------------------------


def blocked(count: int = 2, **run: object) -> Stage:
    """The first message was rejected, and has nowhere to go."""
    stage = Stage("payments", run=run_of(["payments"], retry=RetryPolicy(attempts=1), **run))  # type: ignore[arg-type]
    stage.receive(count)
    stage.end(stage.start(), own_failure())
    stage.events()
    return stage


def unsent(count: int = 2) -> Stage:
    """The first message was rejected, and its target is down."""
    stage = sending(count)
    delivery = stage.start()
    stage.end(delivery, rejected())
    stage.engine.reject_failed(delivery, stage.now)
    stage.turn()
    stage.events()
    return stage


def test_a_blocked_source_is_tried_again() -> None:
    """The message starts afresh, with all its attempts, in its place, and the source is not held."""
    stage = blocked()
    assert stage.engine.retry(ORDERS, "fixed", stage.now) == 1
    stage.turn()

    assert stage.events() == [SourceRetried(0.0, ORDERS, 1, "fixed"), SourceReleased(0.0, ORDERS, 0.0)]
    delivery = stage.start()
    assert (delivery.position, delivery.history) == (0, None)
    stage.turn(later=120.0)
    assert stage.events() == []
    stage.end(delivery, returned())
    assert stage.start().position == 1


def test_what_was_not_sent_is_sent_at_once() -> None:
    """Without waiting for its time; the source is held until it is out."""
    stage = unsent()
    assert stage.engine.retry(ORDERS, "target is back", stage.now) == 1
    stage.turn()

    again = stage.start()
    assert (again.history.reason, stage.run.plan.of(ORDERS)) == ("ValueError", UNSENT)


def test_retrying_a_source_that_is_not_blocked_is_nothing() -> None:
    """No event, and nothing changes."""
    stage = sending()

    assert stage.engine.retry(ORDERS, "", stage.now) == stage.engine.retry(partitions(2)[1], "", stage.now) == 0
    assert [event for event in stage.events() if isinstance(event, SourceRetried)] == []


@pytest.mark.parametrize("make", [blocked, unsent])
def test_a_message_in_the_way_is_skipped(make: Callable[[], Stage]) -> None:
    """It is given back to be settled, and what is behind it starts; nothing of it is left."""
    stage = make()
    delivery = stage.engine.skip(stage.run, ORDERS, 0, "a duplicate", stage.now)
    assert delivery is not None
    stage.turn()

    assert delivery.position == 0
    assert stage.events() == [MessageSkipped(0.0, ORDERS, 0, "a duplicate", by_operator=True), SourceReleased(0.0, ORDERS, 0.0)]
    assert stage.start_all()[0].position == 1
    stage.turn(later=120.0)
    assert [event for event in stage.events() if isinstance(event, SourceBlocked)] == []


@pytest.mark.parametrize("held", [False, True])
def test_a_message_that_failed_and_waits_is_skipped(held: bool) -> None:
    """A lone suspect, also of a source that an operator holds."""
    stage = Stage("payments")
    stage.receive(2)
    stage.end(stage.start(), dependency_failed())
    if held:
        stage.engine.hold(ORDERS)
        stage.turn(later=60.0)
        stage.turn()
    assert stage.engine.skip(stage.run, ORDERS, 0, "", stage.now) is not None
    stage.engine.unhold(ORDERS)
    stage.turn()

    assert stage.start_all()[0].position == 1


def test_only_what_is_in_the_way_can_be_skipped() -> None:
    """Not another position, not what has never failed, not what runs, not what is on its way out, and nothing of a source that goes."""
    stage = unsent(3)
    assert stage.engine.skip(stage.run, ORDERS, 1, "", stage.now) is None
    stage.turn(later=MAX_BACKOFF)
    stage.start()
    assert stage.engine.skip(stage.run, ORDERS, 0, "", stage.now) is None
    assert stage.engine.skip(stage.run, partitions(2)[1], 0, "", stage.now) is None
    stage = blocked()
    stage.engine.closing(stage.run, [ORDERS], stage.now)
    assert stage.engine.skip(stage.run, ORDERS, 0, "", stage.now) is None


def test_a_message_that_waits_for_a_lane_to_be_sent_is_skipped() -> None:
    """Nothing is sent any more."""
    stage = unsent()
    stage.run.lanes = 0
    stage.turn(later=MAX_BACKOFF)
    assert stage.engine.skip(stage.run, ORDERS, 0, "", stage.now) is not None
    stage.run.lanes = 1
    stage.turn()

    assert stage.start_all()[0].position == 1


def test_the_source_counts_beside_the_position() -> None:
    """Two sources have a message at the same place that waits to be sent: the one that was named is skipped."""
    sources = partitions(2)
    stage = Stage("payments", run=run_of(["payments"], rejects=True), sources=sources)
    for source in sources:
        stage.receive(1, source)
    started = stage.start_all()
    stage.run.lanes = 0
    for delivery in started:
        stage.end(delivery, rejected())
        stage.engine.interrupted(delivery, stage.now)
    skipped = stage.engine.skip(stage.run, sources[1], 0, "", stage.now)

    assert skipped is not None
    assert skipped.source == sources[1]


BILLS = Partition("bills", 0)


def rejections() -> Rejections:
    return Rejections(WaitingList(), Reminders(600.0))


def way_out(lanes: int, source: Partition | None = None) -> Assignment:
    """A place of a run with so many lanes, whose rejected messages go somewhere."""
    run = run_of(order="none", concurrency=lanes, rejects=True)
    return place_of(gate(), run=run) if source is None else place_of(gate(), run=run, source=source)


def test_a_message_that_is_to_be_sent_wants_the_next_lane() -> None:
    """None is free: the one that is free next takes it up, before any other work."""
    out, assignment = rejections(), way_out(lanes=1)
    assignment.run.running = 1
    out.again(placed(assignment))
    out.hand_out(0.0)

    assert (assignment.run.lane_wanted, list(assignment.run.resend)) == (True, [])


def test_a_run_without_a_free_lane_does_not_keep_others_from_way_out() -> None:
    """The message of the other run goes out now."""
    out, busy, free = rejections(), way_out(lanes=1), way_out(lanes=1, source=BILLS)
    busy.run.running = 1
    waits, goes = placed(busy), placed(free)
    out.again(waits)
    out.again(goes)
    out.hand_out(0.0)

    assert (list(busy.run.resend), list(free.run.resend)) == ([], [goes])


def test_each_that_is_handed_out_is_in_flight() -> None:
    """With a lane of its own."""
    out, assignment = rejections(), way_out(lanes=4)
    for position in range(3):
        out.again(placed(assignment, position))
    out.hand_out(0.0)

    assert (assignment.in_flight, assignment.run.running, len(assignment.run.resend)) == (3, 3, 3)


def test_one_that_was_sent_at_once_releases_nobody_else() -> None:
    """Another of its place still waits for its target."""
    out, assignment = rejections(), way_out(lanes=4)
    waits, sent = placed(assignment, 0), placed(assignment, 1)
    out.failed(waits, 0.0)
    out.sent(sent)

    assert (list(assignment.unsent), assignment.stopped) == ([waits], True)


def test_what_was_given_up_is_not_waited_for() -> None:
    """Its time to be sent again is no deadline any more."""
    out, assignment = rejections(), way_out(lanes=4)
    out.failed(placed(assignment, 7), 0.0)
    assert out.next_deadline() is not None
    assert out.skip(assignment, 7) is not None

    assert (out.next_deadline(), assignment.unsent, assignment.stopped) == (None, {}, False)


def test_what_waits_for_a_lane_goes_before_that_whose_time_has_only_come() -> None:
    """They go out in the order in which it was time for them, not in the order in which their target failed."""
    out, assignment = rejections(), way_out(lanes=1)
    later, before = placed(assignment, 0), placed(assignment, 1)
    out.failed(later, 0.0)
    out.again(before)
    out.hand_out(MAX_BACKOFF)

    assert (list(assignment.run.resend), list(out.pending)) == ([before], [later])


def test_what_is_to_go_again_goes_behind_those_that_wait_for_a_lane() -> None:
    """An operator has it sent now, and another one has waited for a lane already."""
    out, assignment = rejections(), way_out(lanes=1)
    later, before = placed(assignment, 0), placed(assignment, 1)
    out.failed(later, 0.0)
    out.again(before)
    out.again(later)

    assert list(out.pending) == [before, later]


def test_each_message_that_has_arrived_is_counted_as_rejected() -> None:
    """By the rule by which it was given up: where none is named, somebody has rejected it."""
    out, assignment = rejections(), way_out(lanes=4)
    first, second = placed(assignment, 0), placed(assignment, 1)
    assert out.reject(first, "ValueError", None, 0.0) == (Verdict.REJECT, [])
    out.sent(first)
    out.sent(second)

    assert assignment.totals.rejected == {"rejected": 2}


def test_an_operator_s_retry_is_for_one_source_and_for_what_waits_for_time() -> None:
    """Not what goes as soon as a lane is free, and nothing of the other source."""
    out, mine, other = rejections(), way_out(lanes=4), way_out(lanes=4, source=BILLS)
    now, timed, elsewhere = placed(mine, 0), placed(mine, 1), placed(other, 0)
    out.failed(timed, 0.0)
    out.failed(elsewhere, 5.0)
    out.again(now)

    assert out.retry(mine) == 1
    assert out.next_deadline() == 5.0 + MAX_BACKOFF
    assert (out.retry(mine), out.retry(other)) == (0, 1)
