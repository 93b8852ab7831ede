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
    "lie",
    [
        _told(None, 5.0),
        _told(5, None),
        _told(-1, 5.0),
        _told(10**12, 5.0),
        _told(5, 0.0),
        _told(5, -3.0),
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
