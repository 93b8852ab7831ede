from __future__ import annotations

from holdgate.core import Reason, State
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitReset, LimitChanged, ThresholdExceeded
from holdgate.flow.events import MessageSkipped, OutageOver, OutageSuspected, SourceBlocked, SourceHeld, SourceReleased, SourceRetried
from holdgate.flow.history import Change, LastEvents
from holdgate.flow.message import Partition

ORDERS = Partition("orders", 3)


def met(at: float, reason: Reason = Reason.CONSECUTIVE_FAILURES, *, observed: bool = False) -> ThresholdExceeded:
    return ThresholdExceeded("payments", at, 0, reason, 5, 5, observed)


def opened(at: float, reason: Reason = Reason.CONSECUTIVE_FAILURES, previous: State = State.CLOSED) -> CircuitOpened:
    return CircuitOpened("payments", at, 1, reason, at + 5, 1, previous)


def half_opened(at: float) -> CircuitHalfOpened:
    return CircuitHalfOpened("payments", at, 2, State.OPEN)


def after(*events: object) -> LastEvents:
    last = LastEvents()
    for event in events:
        last.note(event)  # type: ignore[arg-type]
    return last


def change(*events: object) -> Change | None:
    return after(*events).change("payments")


def test_a_circuit_that_never_changed_has_no_change() -> None:
    """It has been closed since the guard began, whatever else happened."""
    assert change(SourceHeld(1.0, ORDERS, ("operator",)), LimitChanged("payments", 1.0, 1, 1, 2)) is None


def test_an_opening_has_the_figures_of_its_threshold() -> None:
    """The line before it in the log, and the opening itself, are one answer to "why"."""
    assert change(met(10.0), opened(10.0)) == Change(10.0, 10.0, "consecutive_failures", 5, 5)


def test_an_opening_without_its_threshold_has_no_figures() -> None:
    """A server that asks for a wait meets no rule; an observed threshold opened nothing; another rule's figures are not its own."""
    bare = Change(10.0, 10.0, "retry_after")
    assert change(opened(10.0, Reason.RETRY_AFTER)) == bare
    assert change(met(9.0, observed=True), opened(10.0)) == Change(10.0, 10.0, "consecutive_failures")
    assert change(met(9.0), opened(10.0, Reason.RETRY_AFTER)) == bare


def test_an_outage_keeps_its_beginning_and_its_reason_through_failed_probes() -> None:
    """A person asks since when it is down, and why: not when the last probe failed."""
    events = [met(10.0), opened(10.0), half_opened(15.0), met(16.0, Reason.PROBE), opened(16.0, Reason.PROBE, State.HALF_OPEN)]
    assert change(*events) == Change(16.0, 10.0, "consecutive_failures", 5, 5, failed_tries=1)
    assert change(*events, half_opened(26.0)) == Change(26.0, 10.0, "consecutive_failures", 5, 5, failed_tries=1)


def test_a_circuit_that_closes_has_no_outage_left() -> None:
    """By itself or by a reset; the next opening is an outage of its own."""
    for end in (CircuitClosed("payments", 20.0, 3, State.HALF_OPEN), CircuitReset("payments", 20.0, 3, State.OPEN)):
        assert change(opened(10.0), end) == Change(20.0)
        assert change(opened(10.0), end, opened(30.0)) == Change(30.0, 30.0, "consecutive_failures")


def test_a_forced_opening_that_ends_is_down_since_then() -> None:
    """The circuit was closed below the override, and goes through half-open without having opened."""
    assert change(half_opened(15.0)) == Change(15.0, 15.0)


def blocked(at: float, position: int = 4711) -> SourceBlocked:
    return SourceBlocked(at, ORDERS, position, 5, "KeyError")


def test_a_blocked_source_is_told_until_it_goes_on() -> None:
    """By a skip, a retry, or a release; the last message that was named counts."""
    assert after(blocked(1.0), blocked(2.0, 4712)).blocked(ORDERS, 3.0) == blocked(2.0, 4712)
    for end in (
        MessageSkipped(3.0, ORDERS, 4711, "x", by_operator=True),
        SourceRetried(3.0, ORDERS, 1, "x"),
        SourceReleased(3.0, ORDERS, 2.0),
    ):
        assert after(blocked(1.0), end).blocked(ORDERS, 3.0) is None
    assert after(SourceReleased(3.0, ORDERS, 2.0)).blocked(ORDERS, 3.0) is None


def test_what_is_not_named_again_is_over() -> None:
    """The engine names a blocked source once a minute. A suspect that succeeded is not announced."""
    assert after(blocked(1.0)).blocked(ORDERS, 91.0) is not None
    assert after(blocked(1.0)).blocked(ORDERS, 92.0) is None


def test_a_suspected_outage_is_told_until_it_is_over() -> None:
    """For each of its sources."""
    other = Partition("orders", 4)
    suspected = OutageSuspected(1.0, (ORDERS, other), "mailer.RelayDown", 9, 10, 1.0)
    assert after(suspected).suspected(other, 2.0) == suspected
    over = after(suspected, OutageOver(9.0, (ORDERS, Partition("mails", 0)), "mailer.RelayDown", 8.0))
    assert over.suspected(ORDERS, 10.0) is None
    assert over.suspected(other, 10.0) == suspected


def test_a_suspected_outage_that_is_not_named_again_is_over() -> None:
    """It is announced once a minute, but the end of it not for a source that has gone meanwhile, and comes back."""
    suspected = OutageSuspected(1.0, (ORDERS,), "mailer.RelayDown", 9, 10, 1.0)
    assert after(suspected).suspected(ORDERS, 91.0) == suspected
    assert after(suspected).suspected(ORDERS, 92.0) is None


def test_outages_that_are_suspected_of_several_sources_are_kept_for_each() -> None:
    """One after the other; and a change has no figures of itself."""
    other = Partition("orders", 4)
    first, second = (OutageSuspected(1.0, (source,), "OSError", 5, 6, 0.0) for source in (ORDERS, other))
    last = after(first, second)
    assert (last.suspected(ORDERS, 2.0), last.suspected(other, 2.0)) == (first, second)
    assert Change(1.0) == Change(1.0, None, None, None, None, 0)


def test_the_end_of_a_forced_opening_has_no_earlier_beginning() -> None:
    """It is down since then, as far as anybody knows."""
    assert change(half_opened(7.0)) == Change(7.0, 7.0)
