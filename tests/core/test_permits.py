"""Permits: what is in flight, what of it is slow already, and what comes back late."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from holdgate.core.permits import EXPIRED, LIVE, SETTLED, PermitsInFlight, issue


def in_flight(*acquired_at: float, slow: float = 1.0) -> PermitsInFlight:
    """Live permits issued at these times."""
    permits = PermitsInFlight(slow)
    permits.live.update((issue(0, at, 1), None) for at in acquired_at)
    return permits


def test_a_permit_carries_when_and_in_which_generation_it_was_issued() -> None:
    """What a caller may read of it."""
    permit = issue(3, 1.5, 2)
    assert (permit.generation, permit.acquired_at, permit.weight, permit.standing) == (3, 1.5, 2, LIVE)
    assert repr(permit) == "<Permit generation=3 acquired_at=1.5 weight=2>"


def test_two_permits_of_one_moment_are_two() -> None:
    """They are told apart by identity."""
    assert issue(0, 0.0, 1) != issue(0, 0.0, 1)


def test_the_standings_are_three() -> None:
    """And small whole numbers, which are quick to write and to compare."""
    assert (LIVE, SETTLED, EXPIRED) == (0, 1, 2)


def test_all_in_flight_are_seen_oldest_first_and_weighed() -> None:
    """The overdue ones, which are the oldest, and the live ones behind them."""
    permits = in_flight(0.0, 0.5)
    permits.collect_overdue(1.2)
    permits.live[issue(0, 1.3, 3)] = None
    assert [permit.acquired_at for permit in permits] == [0.0, 0.5, 1.3]
    assert (len(permits.overdue), permits.weight) == (1, 5)


def test_a_permit_is_taken_once_live_or_overdue() -> None:
    """It is settled by that; a second time it is not in flight, and neither is one that was forgotten."""
    permits = in_flight(0.0, 1.0, 1.1)
    permits.collect_overdue(1.5)
    oldest, younger, youngest = permits
    for permit in (oldest, younger):
        assert permits.take(permit)
        assert permit.standing == SETTLED
        assert not permits.take(permit)
    permits.forget()
    assert not permits.take(youngest)
    assert (youngest.standing, list(permits)) == (LIVE, [])


def test_a_permit_whose_lease_has_ended_is_in_flight_no_more() -> None:
    """What it brings back is late, and the first time it is known that it would have been in time with a longer lease."""
    permits = in_flight(0.0, 0.5)
    permit = permits.oldest()
    assert permit is not None
    permits.expire(permit)
    assert permit.standing == EXPIRED
    assert not permits.take(permit)
    assert permits.result_was_late(permit)
    assert not permits.result_was_late(permit)
    assert (permits.late_results, permits.settled_twice) == (1, 1)


def test_a_result_of_an_older_generation_is_late_and_had_its_lease() -> None:
    """It is live by its own account alone."""
    permits = in_flight(0.0)
    (permit,) = permits
    permits.forget()
    assert permits.result_was_late(permit) is False
    assert (permit.standing, permits.late_results, permits.settled_twice) == (SETTLED, 1, 0)


def test_a_release_that_is_late_counts_only_if_it_is_the_second() -> None:
    """A call that was never made has no result that could be late."""
    permits = in_flight(0.0)
    (permit,) = permits
    permits.forget()
    permits.release_was_late(permit)
    assert (permit.standing, permits.late_results, permits.settled_twice) == (SETTLED, 0, 0)
    permits.release_was_late(permit)
    assert (permits.late_results, permits.settled_twice) == (0, 1)


def test_by_another_duration_all_are_live_again_in_their_order() -> None:
    """What is overdue is found anew."""
    permits = in_flight(0.0, 0.5, 1.0)
    permits.collect_overdue(1.6)
    permits.change_slow(2.0)
    assert ([permit.acquired_at for permit in permits.live], len(permits.overdue)) == ([0.0, 0.5, 1.0], 0)
    assert permits.collect_overdue(2.5) == 1


def test_a_call_is_overdue_after_the_duration_not_at_it() -> None:
    """Slow is strictly more than the duration."""
    permits = in_flight(0.0, 0.5)
    assert permits.collect_overdue(1.0) == 0
    assert permits.collect_overdue(1.01) == 1
    assert [permit.acquired_at for permit in permits.overdue] == [0.0]
    assert [permit.acquired_at for permit in permits.live] == [0.5]
    assert permits.collect_overdue(5.0) == 2


def test_it_is_looked_again_when_the_oldest_may_be_overdue() -> None:
    """The time is a hair before the oldest call's, or before that of a call issued now."""
    permits = in_flight(0.25)
    assert 1.24 < permits.unchanged_until(0.5) < 1.25
    permits.live.clear()
    assert 1.49 < permits.unchanged_until(0.5) < 1.5


def test_it_is_looked_at_once_while_a_call_is_overdue() -> None:
    """The window beside overdue calls changes with every result."""
    permits = in_flight(0.0)
    permits.collect_overdue(2.0)
    assert permits.unchanged_until(2.0) == -inf


def test_without_a_duration_nothing_is_ever_overdue() -> None:
    """No deadline, and no look before the end of time."""
    permits = in_flight(0.0, slow=inf)
    assert permits.collect_overdue(1e300) == 0
    assert permits.next_overdue() is None
    assert permits.unchanged_until(0.0) > 1e300


def test_without_calls_there_is_no_deadline() -> None:
    """Nothing in flight can become overdue."""
    assert in_flight().next_overdue() is None


@given(st.floats(0.0, 1e9), st.floats(1e-3, 1e6))
def test_the_deadline_finds_the_call_whatever_the_rounding(acquired_at: float, duration: float) -> None:
    """At the deadline the oldest call is overdue, and `unchanged_until` is not after it."""
    permits = in_flight(acquired_at, slow=duration)
    deadline = permits.next_overdue()
    assert deadline is not None
    assert permits.unchanged_until(acquired_at) <= deadline
    assert permits.collect_overdue(acquired_at + duration / 2) == 0
    assert permits.collect_overdue(deadline) == 1
