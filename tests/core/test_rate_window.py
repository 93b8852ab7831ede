"""A rate that a user has set: no span has more starts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdgate.core.rate_window import RateWindow


def test_a_whole_rate_may_start_immediately_and_no_more() -> None:
    """What was not used is there, and the next call starts a span after the first."""
    window = RateWindow(3, 1.0)
    for _ in range(3):
        window.start(10.0, 1)
    assert (window.free(10.5), window.next_at(10.5)) == (0, 11.0)
    assert (window.free(11.0), window.next_at(11.0)) == (3, None)


@given(rate=st.integers(1, 20), steps=st.lists(st.floats(0, 0.5), max_size=200))
def test_no_span_has_more_than_the_rate(rate: int, steps: list[float]) -> None:
    """Whenever calls start as soon as they may, no second has more than the rate."""
    window, now, starts = RateWindow(rate, 1.0), 0.0, []
    for step in steps:
        now += step
        while window.free(now):
            window.start(now, 1)
            starts.append(now)
    assert all(sum(begin <= start < begin + 1.0 - 1e-9 for start in starts) <= rate for begin in starts)


def test_many_starts_are_few_entries() -> None:
    """A rate of 100,000 an hour is remembered in about a thousand entries, and stays exact."""
    window, starts = RateWindow(100_000, 3600.0), 0
    now = 0.0
    while now < 3600.0:
        for _ in range(min(40, window.free(now))):
            window.start(now, 1)
            starts += 1
        now += 0.9
    assert starts == 100_000
    assert len(window._entries) < 2100


def test_a_batch_over_the_rate_counts_in_the_spans_to_come() -> None:
    """After a batch of 25 at ten a second the next call starts when two and a half seconds' worth are over."""
    window = RateWindow(10, 1.0)
    window.start(0.0, 25)
    assert window.next_at(0.0) == 2.0
    assert window.free(1.5) == 0
    assert window.free(2.0) == 5
    window.start(2.0, 5)
    assert window.next_at(2.0) == 3.0


def test_what_never_reached_the_dependency_is_given_back() -> None:
    """A call that was given back is free again, and more than there is changes nothing."""
    window = RateWindow(3, 1.0)
    window.start(0.0, 1)
    window.start(0.5, 2)
    window.give_back(1)
    assert window.free(0.5) == 1
    window.give_back(5)
    assert window.free(0.5) == 3


def test_a_clock_that_was_set_back_frees_nothing() -> None:
    """Time stands still until the clock has caught up."""
    window = RateWindow(1, 1.0)
    window.start(100.0, 1)
    assert window.free(5.0) == 0
    assert window.free(101.0) == 1
