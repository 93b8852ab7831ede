from __future__ import annotations

import time

from holdgate.ports import Clock
from holdgate.runtime.clock import SystemClock


def test_now_is_the_monotonic_clock_itself() -> None:
    """No function of ours stands between a message and the clock."""
    assert SystemClock().now is time.monotonic


def test_now_does_not_go_back() -> None:
    """Two reads in a row never decrease."""
    clock = SystemClock()
    first = clock.now()
    assert clock.now() >= first


def test_draw_stays_in_its_range_and_varies() -> None:
    """A thousand draws lie in [0, 1) and are not all the same."""
    clock: Clock = SystemClock()
    draws = [clock.draw() for _ in range(1000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert len(set(draws)) > 900
