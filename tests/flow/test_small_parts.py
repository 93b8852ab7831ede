"""Deliveries, tallies, commands, holds and halves: small things that no other test had looked at."""

from __future__ import annotations

from tests.flow.stage import ORDERS, Message, Stage, dependency_failed, messages, partitions, refused

from holdgate.core import CircuitSettings, Outcome
from holdgate.flow.attribution import AttemptCalls, CallSummary
from holdgate.flow.batch import batches_of
from holdgate.flow.events import AttributionShared, CommandGiven
from holdgate.flow.message import Delivery, HandlerRequest
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.flow.policy import FallbackSettings, Needs
from holdgate.flow.state import Run


def test_a_delivery_keeps_whether_it_was_handed_out_before() -> None:
    """As its broker says; its number comes from its inbox."""
    delivery = Delivery(ORDERS, "message", redelivered=True)
    assert (delivery.redelivered, delivery.serial) == (True, 0)


def test_a_rejection_without_a_reason_says_who() -> None:
    """It stands in the dead letter."""
    delivery = Message(ORDERS, 0)
    delivery.reject()
    assert delivery.request == HandlerRequest(reason="rejected by the handler")


def test_a_message_may_be_wanted_again_in_half_a_second() -> None:
    """Any time above 0."""
    delivery = Message(ORDERS, 0)
    delivery.retry(after=0.5)
    assert delivery.request == HandlerRequest(after=0.5)


def test_a_fresh_tally_has_seen_nothing() -> None:
    """No call, no refusal, no end of time."""
    tally = AttemptCalls()
    assert (tally.touches, list(tally.refused), tally.timed_out) == ({}, [], False)
    assert CallSummary().failed_result is False


def test_short_times_are_kept_as_they_are() -> None:
    """Below a second too; the longest counts."""
    touch = CallSummary()
    touch.ended(Outcome.FAILURE, 0.25, 0.5)
    touch.cut(0.25)
    assert (touch.slowest, touch.retry_after, touch.cut_short) == (0.25, 0.5, 0.25)
    touch.ended(Outcome.FAILURE, 0.1, 0.4)
    touch.cut(0.1)
    assert (touch.slowest, touch.retry_after, touch.cut_short) == (0.25, 0.5, 0.25)


def test_a_command_that_is_given_again_is_the_last() -> None:
    """In the order in which they were given, each once."""
    first, second = partitions(2)
    stage = Stage("payments", sources=[first, second])
    given = [CommandGiven(0.0, "hold", source, "ann", why) for source, why in ((first, "a"), (second, "b"), (first, "c"))]
    for command in given:
        stage.engine.hold(command.target)
        stage.engine.note(command)
    assert stage.engine.snapshot(0.0).commands == (given[1], given[2])


def test_a_hold_that_is_over_releases_what_nothing_else_holds() -> None:
    """The partition that is held by itself stays, and keeps no other."""
    first, second = partitions(2)
    stage = Stage("payments", sources=[first, second])
    stage.engine.hold(first)
    stage.engine.hold("orders", 5.0)
    stage.turn(later=5.0)
    assert (stage.assignment(first).held, stage.assignment(second).held) == (True, False)


def test_a_shared_failure_of_a_batch_is_told_with_its_time() -> None:
    """As that of a message."""
    run = Run(Needs(["mail", "payments"]), order="source", concurrency=None, inbox=10, batch=2)
    stage = Stage("mail", "payments", settings=CircuitSettings(), run=run)
    stage.engine.received(run, batches_of(messages(ORDERS, 2)))
    stage.turn(later=3.0)
    stage.end(stage.start(), dependency_failed(needs=2, shared=True))
    assert [event for event in stage.events() if isinstance(event, AttributionShared)] == [
        AttributionShared(3.0, ORDERS, ("mail", "payments"))
    ]


def falling(*needs: str) -> Run:
    return Run(Needs(needs), order="none", concurrency=4, inbox=10, fallback=FallbackSettings(5.0, None))


def test_a_run_without_a_fallback_hides_no_other_from_the_clock() -> None:
    """The one behind it begins to fall back when its time has come."""
    stage = Stage("payments")
    run = falling("payments")
    stage.engine.add_run(run)
    stage.engine.assigned(run, [ORDERS], 0.0)
    stage.trip()
    assert stage.engine.next_deadline() == 5.0


def test_what_an_undeclared_need_refuses_does_not_fall_back() -> None:
    """Its source does not: it is held by nothing that was declared."""
    stage = Stage("payments", "mail", run=falling("payments"))
    stage.receive(1)
    delivery = stage.start()
    stage.trip("mail")
    stage.end(delivery, refused("mail"))
    stage.turn(later=6.0)
    assert (list(stage.run.granted), stage.run.falling) == ([], 0)


def test_a_plan_says_nothing_against_fetching_at_first() -> None:
    """No reason, and the first version is nought."""
    assert (SourcePlan().fetch, SourcePlan().reasons, Plan().version) == (True, (), 0)
