"""The windows against plain lists, and their edges."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError
from datetime import timedelta
from math import floor, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdgate.core import CountWindow, TimeWindow
from holdgate.core.windows import FAILED, GOOD, SLOW, WindowCounter, carry_over
from holdgate.errors import SettingsError

CODES = st.sampled_from([GOOD, GOOD, GOOD, FAILED, SLOW, FAILED | SLOW])


def add(counter: WindowCounter, code: int, now: float) -> None:
    """Count as a circuit does: a good result in a clean window by one addition."""
    if code == GOOD and now < counter.clean_until:
        counter.goods += 1
    else:
        assert counter.add(code, now) == counter.failures + counter.slow


def totals(counter: WindowCounter) -> tuple[int, int, int]:
    """Calls, failures, slow calls."""
    return counter.calls, counter.failures, counter.slow


def plain_totals(codes: list[int]) -> tuple[int, int, int]:
    """The same from a list."""
    return len(codes), sum(code & FAILED != 0 for code in codes), sum(code & SLOW != 0 for code in codes)


@given(st.integers(1, 12), st.lists(CODES, max_size=60), st.booleans())
def test_a_count_window_is_the_end_of_a_list(size: int, codes: list[int], read_each_time: bool) -> None:
    """At any moment the totals are those of the last `size` results, read often or once."""
    counter = CountWindow(size).counter(0.0)
    for at, code in enumerate(codes):
        add(counter, code, 0.0)
        if read_each_time:
            assert totals(counter) == plain_totals(codes[: at + 1][-size:])
    assert totals(counter) == plain_totals(codes[-size:])


@given(
    st.integers(1, 5),
    st.sampled_from([1.0, 0.7, 10.0]),
    st.lists(st.tuples(CODES, st.sampled_from([0.0, 0.01, 0.3, 1.0, 2.5, 40.0])), max_size=50),
    st.booleans(),
)
def test_a_time_window_is_a_list_without_its_old_buckets(
    buckets: int,
    seconds: float,
    steps: list[tuple[int, float]],
    read_each_time: bool,
) -> None:
    """The totals are those of the results whose bucket is among the last ones."""
    width = seconds / buckets
    counter = TimeWindow(seconds, buckets).counter(0.0)
    seen: list[tuple[int, int]] = []
    now = 0.0
    for code, pause in steps:
        now += pause
        add(counter, code, now)
        seen.append((floor(now / width), code))
        if read_each_time:
            assert totals(counter) == plain_totals([code for number, code in seen if number > floor(now / width) - buckets])
    counter.expire(now)
    assert totals(counter) == plain_totals([code for number, code in seen if number > floor(now / width) - buckets])


@given(st.lists(st.tuples(CODES, st.floats(0, 3)), max_size=40), st.floats(0, 30))
def test_a_look_ahead_sees_what_an_expiry_would_leave(results: list[tuple[int, float]], ahead: float) -> None:
    """And the window still has what it had."""
    for window in (CountWindow(7), TimeWindow(5.0, buckets=4)):
        counter, now = window.counter(0.0), 0.0
        for code, later in results:
            now += later
            add(counter, code, now)
        before, seen = totals(counter), counter.seen_at(now + ahead)
        assert totals(counter) == before
        counter.expire(now + ahead)
        assert seen == totals(counter)


def test_a_time_window_forgets_after_its_seconds() -> None:
    """A result is in the window just before its seconds are over, and gone after them."""
    counter = TimeWindow(10.0).counter(0.0)
    counter.add(FAILED, 0.5)
    counter.expire(9.99)
    assert totals(counter) == (1, 1, 0)
    counter.expire(10.0)
    assert totals(counter) == (0, 0, 0)


def test_a_long_pause_empties_a_time_window() -> None:
    """Nothing of before is left after a pause of many windows."""
    counter = TimeWindow(1.0).counter(0.0)
    add(counter, GOOD, 0.0)
    add(counter, FAILED, 0.1)
    add(counter, SLOW, 1000.0)
    assert totals(counter) == (1, 0, 1)


def test_time_that_goes_back_stays_in_its_bucket() -> None:
    """A step back of the clock neither erases the window nor loses the result."""
    counter = TimeWindow(10.0).counter(100.0)
    counter.add(FAILED, 105.0)
    counter.add(FAILED, 3.0)
    counter.expire(0.0)
    assert totals(counter) == (2, 2, 0)


def test_a_clear_window_is_clean() -> None:
    """After clear nothing is left, and good results may be counted by addition again."""
    for counter in (CountWindow(5).counter(0.0), TimeWindow(5.0).counter(0.0)):
        add(counter, GOOD, 0.0)
        add(counter, FAILED, 0.0)
        assert counter.clean_until == -inf
        counter.enough = 7
        counter.clear(0.0)
        assert counter.enough == 0
        assert totals(counter) == (0, 0, 0)
        assert counter.goods == 0
        assert counter.clean_until > 0.0


def test_a_window_that_is_cleared_begins_then() -> None:
    """A bucket of two seconds that begins at 100 ends at 102."""
    counter = TimeWindow(10.0, 5).counter(0.0)
    counter.clear(101.0)
    assert counter.clean_until == 102.0


def test_a_count_window_is_clean_again_when_its_last_bad_result_leaves() -> None:
    """The addition alone is right again as soon as nothing bad is left."""
    counter = CountWindow(2).counter(0.0)
    for code in (FAILED | SLOW, GOOD):
        counter.add(code, 0.0)
        assert counter.clean_until == -inf
    counter.add(GOOD, 0.0)
    assert counter.clean_until == inf


def test_a_time_window_is_clean_again_when_its_last_bad_bucket_leaves() -> None:
    """Then until the end of the bucket that is filled now."""
    counter = TimeWindow(10.0).counter(0.0)
    counter.add(FAILED, 0.0)
    counter.expire(9.5)
    assert counter.clean_until == -inf
    counter.expire(10.5)
    assert counter.clean_until == 11.0


def test_only_a_time_window_with_results_expires() -> None:
    """The next expiry is the end of the bucket, None while there is nothing to forget, and never for a count window."""
    counted = CountWindow(5).counter(0.0)
    timed = TimeWindow(10.0).counter(0.0)
    assert timed.next_deadline() is None
    for counter in (counted, timed):
        add(counter, GOOD, 0.5)
        counter.expire(0.9)
    assert timed.next_deadline() == 1.0
    assert counted.next_deadline() is None
    assert counted.calls == 1


@given(st.floats(0.001, 1000.0), st.integers(1, 20), st.floats(0.0, 1e7))
def test_an_expiry_finds_something(seconds: float, buckets: int, now: float) -> None:
    """At the time that `next_deadline` gives the bucket has really ended, whatever the rounding: a timer set for it fires once."""
    counter = TimeWindow(seconds, buckets).counter(now)
    counter.add(GOOD, now)
    expiry = counter.next_deadline()
    assert expiry is not None
    assert expiry > now
    counter.expire(expiry)
    assert counter.next_deadline() is None or counter.next_deadline() > expiry  # type: ignore[operator]


def test_the_cost_of_a_window_does_not_grow_with_it() -> None:
    """Trap 14: memory is what construction took, and an add allocates nothing however long the window is."""
    counter = CountWindow(10_000).counter(0.0)
    size = sys.getsizeof(counter._ring)  # type: ignore[attr-defined]
    for at in range(25_000):
        counter.add(FAILED if at % 3 else GOOD, 0.0)
    assert sys.getsizeof(counter._ring) == size  # type: ignore[attr-defined]
    assert size < 11_000


def test_a_count_window_never_asks_for_more_calls_than_it_holds() -> None:
    """The minimum of a small count window is its size; a time window keeps the setting."""
    assert CountWindow(5).attainable_minimum(10) == 5
    assert CountWindow(50).attainable_minimum(10) == 10
    assert TimeWindow(5.0).attainable_minimum(10) == 10


@pytest.mark.parametrize("calls", [0, -1, 1.5, True])
def test_a_count_window_holds_calls(calls: int) -> None:
    """Its size is a whole number from 1."""
    with pytest.raises(SettingsError, match=r"^CountWindow\.calls must be"):
        CountWindow(calls)


def test_windows_are_frozen_values() -> None:
    """They compare by value and cannot be changed."""
    assert len({CountWindow(5), CountWindow(5), TimeWindow(5.0), TimeWindow(5)}) == 2
    with pytest.raises(FrozenInstanceError):
        CountWindow(5).calls = 6  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        TimeWindow(5.0).buckets = 6  # type: ignore[misc]


def test_a_time_window_takes_a_timedelta() -> None:
    """Its seconds may be a timedelta."""
    assert TimeWindow(timedelta(minutes=1)).seconds == 60.0


@pytest.mark.parametrize(("seconds", "buckets", "named"), [(0, 10, "seconds"), (-1, 10, "seconds"), (1, 0, "buckets"), (1, 1.5, "buckets")])
def test_a_time_window_has_seconds_and_buckets(seconds: float, buckets: int, named: str) -> None:
    """Both are above 0, and buckets are whole."""
    with pytest.raises(SettingsError, match=rf"^TimeWindow\.{named} must be"):
        TimeWindow(seconds, buckets)


def test_a_look_ahead_leaves_out_the_oldest_buckets_first() -> None:
    """One by one, however the ring has turned."""
    counter = TimeWindow(4.0, 4).counter(0.0)
    for now in (0.5, 1.5, 1.6, 3.5):
        counter.add(FAILED, now)
    assert [counter.seen_at(now)[1] for now in (3.9, 4.0, 5.0, 6.0, 7.0)] == [4, 3, 1, 1, 0]
    counter.add(SLOW, 4.5)
    assert [counter.seen_at(now) for now in (4.9, 5.0, 7.0, 8.0)] == [(4, 3, 1), (2, 1, 1), (1, 0, 1), (0, 0, 0)]


def test_a_look_ahead_goes_by_the_width_of_a_bucket() -> None:
    """Which need not be a second, from a window that did not begin at 0."""
    counter = TimeWindow(40.0, 4).counter(100.0)
    counter.add(FAILED, 105.0)
    counter.add(FAILED, 115.0)
    assert [counter.seen_at(now)[1] for now in (119.0, 139.0, 140.0, 149.0, 150.0)] == [2, 2, 1, 1, 0]


def test_a_result_at_the_end_of_a_bucket_is_in_the_next() -> None:
    """It leaves with that one."""
    counter = TimeWindow(10.0).counter(0.0)
    counter.add(FAILED, 1.0)
    counter.expire(10.0)
    assert counter.failures == 1


@pytest.mark.parametrize(("width", "number"), [(0.1, 42), (0.3, 30), (1.1, 14)])
def test_a_bucket_whose_end_is_rounded_down_ends_a_hair_later(width: float, number: int) -> None:
    """Its end divided by its width is still its own number: a timer set there would find nothing."""
    assert floor((number + 1) * width / width) == number
    counter = TimeWindow(width * 10, 10).counter(number * width + width / 2)
    assert floor(counter.clean_until / width) == number + 1


def test_totals_are_whole_numbers() -> None:
    """Also after a slow result has pushed out another."""
    counter = CountWindow(1).counter(0.0)
    counter.add(SLOW, 0.0)
    counter.add(FAILED | SLOW, 0.0)
    assert [type(total) for total in totals(counter)] == [int, int, int]


@pytest.mark.parametrize("window", [CountWindow(10), TimeWindow(10, 10)])
def test_what_is_cleared_has_passed(window: CountWindow | TimeWindow) -> None:
    """Each time: good results that were counted by `goods` are never lost to the totals."""
    counter = window.counter(0.0)
    for goods in (3, 2):
        counter.goods += goods
        counter.clear(0.0)
    assert (counter.passed, counter.goods, counter.calls) == (5, 0, 0)


def test_of_a_count_window_that_is_not_full_no_more_goes_over_than_it_holds() -> None:
    """Three results are three."""
    older = CountWindow(10).counter(0.0)
    for code in (GOOD, FAILED, GOOD):
        older.add(code, 0.0)
    assert carry_over(older, CountWindow(20), 0.0).seen_at(0.0) == (3, 1, 0)


def test_buckets_of_a_time_window_go_over_by_their_age() -> None:
    """Several that are one bucket in the new window are added up. What is too old for it is left out, and the rest leaves in its turn."""
    older = TimeWindow(20, 20).counter(0.0)
    for now in (7.0, 11.0, 12.0, 16.0, 19.0):
        for code in (FAILED, SLOW, SLOW):
            older.add(code, now)
    newer = carry_over(older, TimeWindow(10, 2), 19.0)
    assert newer.seen_at(19.0) == (12, 4, 8)
    assert newer.seen_at(20.0) == (6, 2, 4)
    assert newer.seen_at(25.0) == (0, 0, 0)


def test_narrower_buckets_go_over_by_their_beginning() -> None:
    """A bucket of two seconds is in the one of a second in which it began."""
    older = TimeWindow(20, 10).counter(0.0)
    older.add(FAILED, 15.5)
    newer = carry_over(older, TimeWindow(5, 5), 16.5)
    assert (newer.seen_at(18.5), newer.seen_at(19.0)) == ((1, 1, 0), (0, 0, 0))


def test_time_within_a_bucket_changes_nothing() -> None:
    """What is known of it stays: how many results were enough to be judged, and until when only good ones are in it."""
    counter = TimeWindow(10.0).counter(0.0)
    counter.enough = 7
    for now in (0.0, 0.5, 0.75):
        counter.expire(now)
    assert (counter.enough, counter.clean_until) == (7, 1.0)
    counter.expire(1.0)
    assert (counter.enough, counter.clean_until) == (0, 2.0)
