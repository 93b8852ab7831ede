"""Calls in flight that are slow already."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from holdgate.core.evidence import OverdueCalls
from holdgate.core.states import Permit, issue


def overdue_calls(*acquired_at: float, duration: float = 1.0) -> tuple[OverdueCalls, dict[Permit, None]]:
    """Live permits issued at these times."""
    live = {issue(0, at, 1): None for at in acquired_at}
    return OverdueCalls(live, duration), live


def test_a_call_is_overdue_after_the_duration_not_at_it() -> None:
    """Slow is strictly more than the duration."""
    overdue, live = overdue_calls(0.0, 0.5)
    assert overdue.look(1.0) == 0
    assert overdue.look(1.01) == 1
    assert [permit.acquired_at for permit in overdue.permits] == [0.0]
    assert [permit.acquired_at for permit in live] == [0.5]
    assert overdue.look(5.0) == 2


def test_it_is_looked_again_when_the_oldest_may_be_overdue() -> None:
    """The time is a hair before the oldest call's, or before that of a call issued now."""
    overdue, live = overdue_calls(0.25)
    assert 1.24 < overdue.look_again_at(0.5) < 1.25
    live.clear()
    assert 1.49 < overdue.look_again_at(0.5) < 1.5


def test_it_is_looked_at_once_while_a_call_is_overdue() -> None:
    """The window beside overdue calls changes with every result."""
    overdue, _ = overdue_calls(0.0)
    overdue.look(2.0)
    assert overdue.look_again_at(2.0) == -inf


def test_without_a_duration_nothing_is_ever_overdue() -> None:
    """No deadline, and no look before the end of time."""
    overdue, _ = overdue_calls(0.0, duration=inf)
    assert overdue.look(1e300) == 0
    assert overdue.next_at() is None
    assert overdue.look_again_at(0.0) > 1e300


def test_without_calls_there_is_no_deadline() -> None:
    """Nothing in flight can become overdue."""
    assert overdue_calls()[0].next_at() is None


@given(st.floats(0.0, 1e9), st.floats(1e-3, 1e6))
def test_the_deadline_finds_the_call_whatever_the_rounding(acquired_at: float, duration: float) -> None:
    """At the deadline the oldest call is overdue, and `look_again_at` is not after it."""
    overdue, _ = overdue_calls(acquired_at, duration=duration)
    deadline = overdue.next_at()
    assert deadline is not None
    assert overdue.look_again_at(acquired_at) <= deadline
    assert overdue.look(acquired_at + duration / 2) == 0
    assert overdue.look(deadline) == 1
