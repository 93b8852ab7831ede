"""A rate that a user has set: no span has more starts."""

from __future__ import annotations

import pytest
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
    assert window.free(4.0) == 10


def test_a_batch_of_exactly_the_rate_is_over_with_its_span() -> None:
    """A call that starts in it without asking counts from its own start, and not from the end of the span."""
    window = RateWindow(3, 1.0)
    window.start(0.0, 3)
    window.start(0.2, 1)
    assert window.free(1.3) == 3


def test_a_small_batch_delays_nothing_after_it() -> None:
    """Five starts at the beginning, and one a tenth of a second later, which is out of the span a tenth later than they."""
    window = RateWindow(6, 1.0)
    window.start(0.0, 5)
    window.start(0.1, 1)
    assert (window.next_at(0.5), window.free(1.05), window.free(1.15)) == (1.0, 5, 6)


def test_over_the_rate_the_next_start_waits_for_all_that_are_too_many() -> None:
    """Four started where three may: one is out of the span at eleven seconds, and that makes no room."""
    window = RateWindow(3, 1.0)
    window.start(10.0, 1)
    window.start(10.2, 3)
    assert window.next_at(10.5) == 11.2


@pytest.mark.parametrize(
    ("rate", "starts", "entries"),
    [
        (2000, (0.0, 0.0), 1),
        (2000, (0.0, 0.0, 0.0), 2),
        (2000, (0.0, 0.9995), 1),
        (2000, (0.0, 1.0), 2),
        (10, (0.0, 0.0), 2),
    ],
)
def test_starts_that_are_close_to_each_other_share_an_entry(rate: int, starts: tuple[float, ...], entries: int) -> None:
    """Within a thousandth of the span, and up to a thousandth of the rate. All are over with the last of them."""
    window = RateWindow(rate, 1000.0)
    for at in starts:
        window.start(at, 1)
    assert len(window._entries) == entries
    assert window.free(1.5) == rate - len(starts)
    assert window.free(1001.0) == rate


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
