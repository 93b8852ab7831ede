"""What a service says of its quota."""

from __future__ import annotations

import pytest

from holdgate.core.outcomes import Told
from holdgate.core.told_quota import ToldQuota


def _told(remaining: int | None, reset: float | None) -> Told:
    return Told(None, remaining, reset)


def test_nothing_said_limits_nothing() -> None:
    """Before the first answer any number may start."""
    quota = ToldQuota()
    quota.start(0.0, 1)
    assert quota.free(0.0) is None


def test_what_is_left_is_spread_over_the_time_that_is_left() -> None:
    """100 calls in 50 seconds are two a second, and the next may start half a second later."""
    quota = ToldQuota()
    assert quota.tell(_told(100, 50.0), 1000.0, 0)
    assert quota.rate == 2.0
    quota.start(1000.0, 1)
    assert (quota.free(1000.0), quota.next_at(1000.0)) == (0, pytest.approx(1000.4))
    assert quota.free(1000.5) == 1


def test_calls_in_flight_are_taken_off() -> None:
    """The answer may not know of calls that are under way."""
    quota = ToldQuota()
    quota.tell(_told(10, 10.0), 0.0, 4)
    assert quota.rate == 0.6


def test_an_empty_quota_waits_for_its_end() -> None:
    """Nothing starts until the window ends, and then the old pace goes on until the next answer."""
    quota = ToldQuota()
    quota.tell(_told(1, 10.0), 0.0, 0)
    quota.start(5.0, 1)
    assert (quota.free(9.0), quota.next_at(9.0)) == (0, pytest.approx(14.9))
    quota.tell(_told(0, 1.0), 20.0, 0)
    assert (quota.free(20.5), quota.next_at(20.5)) == (0, 21.0)
    assert quota.free(21.0) == 1


def test_what_is_used_up_in_a_long_window_waits_for_its_end() -> None:
    """Its pace is that of five minutes, and when the calls are gone nothing starts although one is due."""
    quota = ToldQuota()
    quota.tell(_told(1000, 600.0), 0.0, 0)
    quota.start(0.0, 1000)
    assert (quota.free(400.0), quota.next_at(400.0)) == (0, 600.0)


def test_a_late_loop_makes_up_for_a_tenth_of_a_second() -> None:
    """A start is due when its time has come, and more than one if the loop was late, but never more than are left."""
    quota = ToldQuota()
    quota.tell(_told(200, 10.0), 1.0, 0)
    quota.start(1.0, 1)
    assert quota.free(quota.next_at(1.0)) == 1
    assert quota.free(2.0) == 3
    quota.tell(_told(1, 0.02), 12.0, 0)
    assert quota.free(12.01) == 1


@pytest.mark.parametrize(("seconds", "rate"), [(0.5, 20.0), (0.0001, 10_000.0)])
def test_a_short_window_is_what_it_is(seconds: float, rate: float) -> None:
    """Ten calls in half a second are twenty a second. Under a millisecond no clock is exact, and it counts as one."""
    quota = ToldQuota()
    quota.tell(_told(10, seconds), 0.0, 0)
    assert quota.rate == pytest.approx(rate)


def test_the_longest_window_and_the_largest_quota_are_believed() -> None:
    """A day, and a thousand million calls."""
    assert ToldQuota().tell(_told(10**9, 86_400.0), 0.0, 0)


def test_a_long_window_is_not_spread_evenly() -> None:
    """With 3,000 left in an hour the first minutes go at what would use them up in five."""
    quota = ToldQuota()
    quota.tell(_told(3000, 3600.0), 0.0, 0)
    assert quota.rate == 10.0


def test_answers_out_of_order_keep_the_least() -> None:
    """An older answer of the same window does not bring calls back, and a new window does."""
    quota = ToldQuota()
    quota.tell(_told(50, 10.0), 0.0, 0)
    quota.tell(_told(60, 10.3), 0.1, 0)
    assert quota.rate == pytest.approx(50 / 9.9)
    quota.tell(_told(100, 20.0), 10.0, 0)
    assert quota.rate == 5.0


@pytest.mark.parametrize(
    ("window", "now", "reset", "left"),
    [
        (10.0, 0.5, 10.25, 50),  # until 10.75: the same one
        (10.0, 1.0, 10.0, 60),  # until 11
        (100.0, 0.5, 104.0, 50),  # until 104.5: a twentieth of a long one is slack as well
        (100.0, 0.5, 105.0, 60),
        (10.0, 5.0, 60.0, 60),  # a new one, before the old one has ended
        (10.0, 10.0, 0.5, 60),  # a new one, just when the old one ends
    ],
)
def test_a_window_that_ends_a_second_later_is_the_same_one(window: float, now: float, reset: float, left: int) -> None:
    """Headers have whole seconds. What ends later than that is another window, and has its own calls."""
    quota = ToldQuota()
    quota.tell(_told(50, window), 0.0, 0)
    quota.tell(_told(60, reset), now, 0)
    until = min(window, now + reset) if left == 50 else now + reset
    assert quota.rate == pytest.approx(left / (until - now))


@pytest.mark.parametrize(
    "lie",
    [
        _told(None, 5.0),
        _told(5, None),
        _told(-1, 5.0),
        _told(10**9 + 1, 5.0),
        _told(5, 0.0),
        _told(5, -3.0),
        _told(5, 86_400.5),
        _told(5, 1e9),
        _told(5, float("nan")),
        _told(5, float("inf")),
    ],
)
def test_what_cannot_be_is_not_said(lie: Told) -> None:
    """A reset in the past, less than nothing left, or a window of years limits nothing."""
    quota = ToldQuota()
    assert not quota.tell(lie, 0.0, 0)
    assert quota.free(0.0) is None


def test_trap_a_time_in_milliseconds_is_taken_for_seconds() -> None:
    """It falls by a thousand in a second. From the second answer on the pace is right, and so is the wait of a refusal."""
    quota = ToldQuota()
    assert quota.tell(_told(599, 59_900.0), 0.1, 0)
    assert quota.tell(_told(598, 59_600.0), 0.4, 0)
    assert quota.rate == pytest.approx(598 / 300)
    assert quota.tell(_told(590, 58_900.0), 1.1, 0)
    assert quota.rate == pytest.approx(590 / 58.9)
    assert quota.in_seconds(Told(20_000.0, 0, 20_000.0)) == 20.0
    assert quota.in_seconds(Told(20.0, 0, 20_000.0)) == 20.0
    assert quota.in_seconds(Told()) is None
    assert quota.tell(_told(599, 60_000.0), 60.1, 0)
    assert quota.rate == pytest.approx(599 / 60)


def test_a_time_in_seconds_falls_by_one() -> None:
    """Also in whole ones, also if an answer comes late, and also after one in milliseconds."""
    quota = ToldQuota()
    for now, reset in ((0.0, 60.0), (0.9, 59.0), (1.1, 58.0), (2.2, 58.0), (9.0, 50.0), (9.5, 60.0)):
        assert quota.tell(_told(100, reset), now, 0)
        assert quota.unit == 1.0
    assert quota.in_seconds(Told(30.0, 0, 30.0)) == 30.0


@pytest.mark.parametrize(
    ("seconds", "falls", "unit"),
    [(0.5, 1000, 1.0), (1.0, 1000, 0.001), (4.0, 1000, 0.001), (1.0, 500, 1.0), (1.0, 501, 0.001), (1.0, 1999, 0.001), (1.0, 2000, 1.0)],
)
def test_what_falls_by_about_a_thousand_in_a_second_is_in_milliseconds(seconds: float, falls: int, unit: float) -> None:
    """Half of that or twice as much is another thing, and two answers within a second show nothing."""
    quota = ToldQuota()
    quota.tell(_told(599, 59_900.0), 1000.0, 0)
    quota.tell(_told(598, 59_900.0 - falls * seconds), 1000.0 + seconds, 0)
    assert quota.unit == unit


def test_a_time_that_stands_still_is_not_in_milliseconds() -> None:
    """A proxy that gives the same header for seconds has taken it from a cache."""
    quota = ToldQuota()
    for now, reset in ((0.0, 9000.0), (1.0, 8000.0)):
        quota.tell(_told(5, reset), now, 0)
    assert quota.unit == 0.001
    quota.tell(_told(5, 8000.0), 2.5, 0)
    assert quota.unit == 1.0


def test_a_call_that_was_due_long_ago_is_due_when_the_window_ends() -> None:
    """At its last second the empty quota holds nothing back any more: the time is that of its own interval, which is over."""
    quota = ToldQuota()
    quota.tell(_told(1, 1.5), 19.5, 0)
    quota.tell(_told(0, 1.0), 20.0, 0)
    assert quota.next_at(20.75) == 21.0
    assert (quota.next_at(21.0), quota.free(21.0)) == (0.0, 1)


def test_trap_a_quota_that_is_only_told_with_a_refusal_is_taken_for_a_pace() -> None:
    """Nothing is left for 50 s. That is no call in fifty seconds: what the next window has nobody has said, and no good answer will."""
    quota = ToldQuota()
    assert quota.tell(_told(0, 50.0), 10.0, 0)
    assert (quota.free(59.0), quota.next_at(59.0)) == (0, 60.0)
    assert (quota.free(60.0), quota.rate) == (None, None)


def test_an_answer_with_nothing_left_keeps_the_pace_that_an_earlier_one_named() -> None:
    """Calls in flight may have taken what is left, and that is a pace all the same."""
    quota = ToldQuota()
    quota.tell(_told(100, 10.0), 0.0, 0)
    quota.tell(_told(0, 1.0), 9.0, 0)
    assert quota.rate == 10.0
    quota.tell(_told(1, 20.0), 30.0, 1)
    assert quota.rate == 1 / 20


def test_trap_windows_of_a_second_are_told_in_whole_seconds() -> None:
    """Each seems to end up to a second late. What a call is told that began after the least was said is of the next one."""
    quota = ToldQuota()
    quota.tell(_told(3, 1.0), 0.75, 0, 0.5)
    quota.tell(_told(2, 1.0), 0.875, 0, 0.75)
    quota.tell(_told(19, 1.0), 1.125, 0, 0.75)  # began before two were said to be left: an older answer
    assert quota.rate == pytest.approx(2 / (1.75 - 1.125))
    quota.tell(_told(19, 1.0), 1.25, 0, 0.875)
    assert quota.rate == 19.0
    quota.tell(_told(18, 1.0), 1.5, 0, 1.0)  # and that one has its own least
    assert quota.rate == pytest.approx(18 / 0.75)
    quota.tell(_told(18, 1.0), 1.75, 0, 1.5)  # no more than that: the same one
    assert quota.rate == pytest.approx(18 / 0.5)
    quota.tell(_told(19, 1.0), 2.0, 0, 1.625)  # began after 18 were said to be left for the first time
    assert quota.rate == 19.0


def test_calls_that_start_are_taken_off_what_is_left_where_no_pace_was_named() -> None:
    """Nothing is left of nothing."""
    quota = ToldQuota()
    quota.tell(_told(0, 50.0), 10.0, 0)
    quota.start(11.0, 1)
    assert (quota.free(12.0), quota.free(60.0)) == (0, None)
