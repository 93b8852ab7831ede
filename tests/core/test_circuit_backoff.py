"""The wait of a level, and how levels rise."""

from __future__ import annotations

import pytest

from holdgate.core import CircuitSettings
from holdgate.core.circuit import healthy_intervals, level_raised, middle_draw, open_wait

SETTINGS = CircuitSettings(open_duration=5.0, open_multiplier=2.0, open_duration_max=30.0, open_jitter=0.2)


@pytest.mark.parametrize(("level", "seconds"), [(1, 5.0), (2, 10.0), (3, 20.0), (4, 30.0), (5, 30.0)])
def test_the_wait_grows_to_the_maximum(level: int, seconds: float) -> None:
    """Each level multiplies the wait until the maximum."""
    assert open_wait(SETTINGS, level, middle_draw) == seconds


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 4.0), (0.25, 4.5), (0.5, 5.0), (1.0, 6.0)])
def test_the_jitter_spreads_the_wait_both_ways(chance: float, seconds: float) -> None:
    """The factor is 1 - j + 2 j draw."""
    assert open_wait(SETTINGS, 1, lambda: chance) == pytest.approx(seconds)


def test_the_cap_comes_after_the_jitter() -> None:
    """A wait is never longer than the maximum, and at the top the jitter can still shorten it."""
    assert open_wait(SETTINGS, 4, lambda: 0.99) == 30.0
    assert open_wait(SETTINGS, 4, lambda: 0.0) == 30.0  # 40 * 0.8 is still above
    assert open_wait(SETTINGS, 3, lambda: 0.99) == pytest.approx(23.92)
    exact = CircuitSettings(open_duration=30.0, open_duration_max=30.0)
    assert open_wait(exact, 1, lambda: 0.0) == pytest.approx(24.0)


@pytest.mark.parametrize(("level", "after"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 4)])
def test_the_level_stops_where_the_wait_reaches_the_maximum(level: int, after: int) -> None:
    """Level 4 is the first whose wait, 40 s without the cap, reaches 30 s."""
    assert level_raised(SETTINGS, level) == after


def test_a_first_wait_at_the_maximum_has_one_level() -> None:
    """With open_duration = open_duration_max, level 1 is the top, and 0 still goes to it."""
    settings = CircuitSettings(open_duration=7.0, open_duration_max=7.0)
    assert level_raised(settings, 0) == 1
    assert level_raised(settings, 1) == 1
    flat = CircuitSettings(open_duration=7.0, open_duration_max=7.0, open_multiplier=1.0)
    assert level_raised(flat, 0) == 1


@pytest.mark.parametrize(("now", "intervals"), [(0.0, 0), (59.9, 0), (60.0, 1), (119.9, 1), (600.0, 10), (-5.0, 0)])
def test_only_full_healthy_intervals_count(now: float, intervals: int) -> None:
    """A level goes down per full interval."""
    assert healthy_intervals(SETTINGS, 0.0, now) == intervals


def test_without_chance_the_jitter_is_left_out() -> None:
    """The default draw is the middle of the range."""
    assert middle_draw() == 0.5


def test_healthy_intervals_begin_with_the_close() -> None:
    """Not with the clock."""
    assert [healthy_intervals(CircuitSettings(healthy_interval=60.0), 600.0, now) for now in (600.0, 659.0, 660.0, 720.0)] == [
        0,
        0,
        1,
        2,
    ]
