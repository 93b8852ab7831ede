"""What is said again while nothing changes."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, gate, place_of, placed

from holdgate.flow.blame import FailureHistory
from holdgate.flow.events import HoldContinued, SourceBlocked
from holdgate.flow.gate import Gate
from holdgate.flow.reminders import Reminders
from holdgate.flow.state import Assignment

WARN = 600.0


def held(*gates: Gate, now: float = 0.0) -> Assignment:
    """A place that is held from `now` on, by its circuits or else by an operator."""
    assignment = place_of(*gates)
    if not gates:
        assignment.operator_hold = True
        assignment.recompute()
    assignment.replan(now)
    assert assignment.plan.held
    return assignment


def open_gate(name: str, until: float) -> Gate:
    each = gate(name)
    each.circuit.open_for(until, 0.0)
    return each


def forced(name: str) -> Gate:
    each = gate(name)
    each.circuit.force_open(0.0)
    return each


def test_nothing_held_means_nothing_to_say() -> None:
    """No deadline, no announcement."""
    watch = Reminders(WARN)

    assert (watch.next_deadline(), watch.announcements([place_of().run], 1e6)) == (None, [])


def test_a_hold_is_announced_again_after_each_period() -> None:
    """With its reasons, its begin, and when a circuit will admit a probe."""
    assignment = held(open_gate("payments", 3000.0))
    watch = Reminders(WARN)
    watch.held(0.0)
    assert watch.next_deadline() == WARN
    assert watch.announcements([assignment.run], WARN - 0.1) == []
    first = watch.announcements([assignment.run], WARN)
    assert watch.next_deadline() == 2 * WARN
    second = watch.announcements([assignment.run], 2 * WARN)

    said = [HoldContinued(at, ORDERS, ("circuit:payments",), 0.0, 3000.0) for at in (WARN, 2 * WARN)]
    assert [*first, *second] == said


def test_a_hold_that_began_later_has_its_own_time() -> None:
    """The watch looks at all, and speaks of those whose time it is."""
    early, late = held(), held(now=100.0)
    watch = Reminders(WARN)
    watch.held(0.0)
    watch.held(100.0)

    assert [event.since for event in watch.announcements([early.run, late.run], WARN)] == [0.0]
    assert watch.next_deadline() == WARN + 100.0
    assert [event.since for event in watch.announcements([early.run, late.run], WARN + 100.0)] == [100.0]


def test_a_hold_that_is_over_is_not_announced() -> None:
    """And the watch is at rest again."""
    watch = Reminders(WARN)
    watch.held(0.0)

    assert watch.announcements([place_of().run], WARN) == []
    assert watch.next_deadline() is None


@pytest.mark.parametrize(
    ("gates", "next_try"),
    [
        ((open_gate("mail", 700.0), open_gate("payments", 900.0)), 900.0),
        ((open_gate("mail", 700.0), gate("search")), 700.0),
        ((open_gate("mail", 700.0), forced("payments")), None),
        ((), None),
    ],
)
def test_the_next_try_is_when_all_that_hold_it_may_admit(gates: tuple[Gate, ...], next_try: float | None) -> None:
    """The later of two circuits; open ones alone count; none while only an operator ends one, or holds the source too."""
    assignment = held(*gates)
    watch = Reminders(WARN)
    watch.held(0.0)

    (event,) = watch.announcements([assignment.run], WARN)
    assert isinstance(event, HoldContinued)
    assert event.next_try == next_try


def test_an_operators_hold_beside_an_open_circuit_has_no_next_try() -> None:
    """The circuit's time would promise something."""
    assignment = held(open_gate("payments", 700.0))
    assignment.operator_hold = True
    assignment.recompute()
    assignment.replan(1.0)
    watch = Reminders(WARN)
    watch.held(0.0)

    (event,) = watch.announcements([assignment.run], WARN)
    assert isinstance(event, HoldContinued)
    assert event.next_try is None


def test_a_blocked_message_is_named_at_once_and_each_minute() -> None:
    """Its place in the source, how often it was charged, and the type of its error; its place is stopped."""
    assignment = place_of()
    delivery = placed(assignment, 42)
    delivery.history = FailureHistory()
    delivery.history.charged = 5
    watch = Reminders(WARN)
    first = watch.block(delivery, "ValueError", 0.0)

    assert first == SourceBlocked(0.0, ORDERS, 42, 5, "ValueError")
    assert (assignment.blocked, assignment.stopped, watch.next_deadline()) == ([delivery], True, 60.0)
    assert watch.announcements([assignment.run], 59.9) == []
    assert watch.announcements([assignment.run], 60.0) == [SourceBlocked(60.0, ORDERS, 42, 5, "ValueError")]
    assert watch.announcements([assignment.run], 120.0) == [SourceBlocked(120.0, ORDERS, 42, 5, "ValueError")]


def test_a_look_for_another_reason_repeats_no_block() -> None:
    """Its minute is not over."""
    assignment = place_of()
    watch = Reminders(30.0)
    watch.block(placed(assignment), "ValueError", 0.0)
    watch.held(0.0)

    assert watch.announcements([assignment.run], 30.0) == []
    assert watch.next_deadline() == 60.0


def test_a_message_rejected_by_its_handler_was_charged_nothing() -> None:
    """It has no history at its first attempt."""
    assert Reminders(WARN).block(placed(place_of()), "Reject", 0.0).attempts == 0


def test_a_blocked_place_that_is_gone_is_not_named_any_more() -> None:
    """Somebody else has the message now."""
    assignment = place_of()
    watch = Reminders(WARN)
    watch.block(placed(assignment), "ValueError", 0.0)
    assignment.alive = False

    assert watch.announcements([], 60.0) == []
    assert watch.next_deadline() is None


def test_a_suspect_is_named_with_its_place_and_its_failures() -> None:
    """As a blocked message is, and as a suspect."""
    delivery = placed(place_of(), 42)
    delivery.history = FailureHistory()
    delivery.history.failures = 7

    assert Reminders(WARN).suspect(delivery, "OSError", 3.0) == SourceBlocked(3.0, ORDERS, 42, 7, "OSError", suspect=True)


def test_a_source_that_is_free_for_a_probe_is_looked_at_again_in_a_second() -> None:
    """Its outage is not over, and its hold goes on when the probe fails; a hold of another source is told meanwhile."""
    payments = gate()
    payments.circuit.open_for(10.0, 0.0)
    payments.circuit.advance(10.0)
    free, other = place_of(payments), held()
    free.hold.probing = {payments: payments.circuit.generation}
    watch = Reminders(WARN)
    watch.held(0.0)

    assert [event.source for event in watch.announcements([free.run, other.run], WARN)] == [ORDERS]
    assert watch.next_deadline() == WARN + 1.0


def test_a_blocked_place_that_is_gone_keeps_nobody_else_from_being_named() -> None:
    """The one behind it in the list is."""
    gone, stays = place_of(), place_of()
    watch = Reminders(WARN)
    watch.block(placed(gone, 1), "ValueError", 0.0)
    watch.block(placed(stays, 2), "ValueError", 0.0)
    gone.alive = False

    assert [event.position for event in watch.announcements([gone.run, stays.run], 60.0) if isinstance(event, SourceBlocked)] == [2]


@pytest.mark.parametrize(("starts_at", "next_try"), [(3600.0, 3600.0), (None, WARN)])
def test_a_limits_hold_says_when_it_asks(starts_at: float | None, next_try: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an operator reads that nothing is planned, for an hour. While a message asks there is no time: it is now."""
    limited = gate("payments")
    limited.held_by_limit = True
    monkeypatch.setattr("holdgate.core.limited_calls.LimitedCalls.next_at", lambda _, now: starts_at)
    assignment = held(limited)
    watch = Reminders(WARN)
    watch.held(0.0)

    (event,) = watch.announcements([assignment.run], WARN)
    assert isinstance(event, HoldContinued)
    assert (event.reasons, event.next_try) == (("limit:payments",), next_try)


def test_nothing_is_looked_at_while_nothing_may_have_to_be_said() -> None:
    """Neither before the first hold, nor when the one that was to be repeated has ended."""
    watch = Reminders(WARN)
    assert watch.pending is False
    watch.held(0.0)
    assert watch.pending is True
    watch.announcements([place_of().run], WARN)
    assert (watch.pending, watch.next_deadline()) == (False, None)
