"""What is measured of a dependency that is only observed: the pace of its limit, from one refusal to another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdgate.core import Limits, Outcome
from holdgate.core.observed import ObservedCalls
from holdgate.core.outcomes import Told

SUCCESS, THROTTLED, FAILURE = Outcome.SUCCESS, Outcome.THROTTLED, Outcome.FAILURE


def played(lets: Callable[[float], bool], seconds: float, every: float = 0.05, until: float | None = None) -> ObservedCalls:
    """Make a call each `every` seconds, which `lets` lets in or not. `until`: none after this second."""
    seen = ObservedCalls(0, is_limited=False)
    for number in range(int(min(seconds, until or seconds) / every)):
        now = number * every
        seen.start(now, 1)
        seen.end(SUCCESS if lets(now) else THROTTLED, now, 1, None)
    return seen


def a_minute(limit: int) -> Callable[[float], bool]:
    """So many calls of each minute are let in."""
    used: dict[int, int] = {}

    def lets(now: float) -> bool:
        minute = int(now // 60)
        used[minute] = used.get(minute, 0) + 1
        return used[minute] <= limit

    return lets


def test_a_window_is_measured_over_a_whole_one() -> None:
    """All that it lets through comes in its first seconds, and its pace is what it lets through in a minute."""
    seen = played(a_minute(300), 400.0)
    assert seen.pace == pytest.approx(5.0, rel=0.05)
    assert seen.is_limited


def test_nothing_is_known_before_a_refusal_nor_just_after_it() -> None:
    """The first calls have a burst, and the first refusals come together."""
    seen = ObservedCalls(0, is_limited=False)
    for number in range(100):
        seen.end(SUCCESS, number / 100, 1, None)
    assert (seen.pace, seen.is_limited) == (None, False)
    seen.end(THROTTLED, 1.0, 1, None)
    seen.end(SUCCESS, 1.1, 1, None)
    seen.end(THROTTLED, 1.2, 1, None)
    assert (seen.pace, seen.is_limited) == (None, True)


def test_a_limit_that_lets_nothing_in_has_no_pace() -> None:
    """A quota that is used up says nothing of what it is when it is not."""
    seen = played(lambda _: False, 300.0)
    assert seen.pace is None
    assert seen.snapshot(None).waste == 1.0


def test_a_quiet_hour_lowers_nothing() -> None:
    """From a refusal before it to one after it little was let in, because little was asked for."""
    seen = played(a_minute(300), 200.0)
    seen.end(THROTTLED, 4000.0, 1, None)
    assert seen.pace == pytest.approx(5.0, rel=0.05)


def test_the_number_that_the_service_names_counts_where_it_is_lower() -> None:
    """No refusal is needed for it."""
    seen = ObservedCalls(0, is_limited=False)
    seen.start(0.0, 1)
    seen.end(SUCCESS, 0.1, 1, Told(remaining=60, reset=30.0))
    assert seen.is_limited
    assert seen.pace == pytest.approx(2.0, rel=0.05)


def test_a_failure_is_a_call_in_vain_and_no_limit() -> None:
    """The circuit counts it."""
    seen = ObservedCalls(0, is_limited=False)
    seen.start(0.0, 2)
    seen.end(FAILURE, 0.1, 2, None)
    assert (seen.snapshot(None).refused, seen.is_limited) == (2, False)


def test_calls_are_in_flight_until_they_end_or_are_taken_back() -> None:
    """Those that ran before count, and one that was never counted ends below nothing."""
    seen = ObservedCalls(3, is_limited=True)
    seen.start(0.0, 2)
    assert seen.in_flight == 5
    seen.leave(2)
    seen.end(SUCCESS, 0.1, 3, None)
    seen.end(SUCCESS, 0.1, 1, None)
    assert seen.in_flight == 0


@pytest.mark.parametrize(
    ("limits", "pace", "width"),
    [
        (None, 5.0, None),
        (Limits(rate=2, per=1.0), 2.0, None),
        (Limits(rate=60, per=60.0, adaptive=False), 1.0, None),
        (Limits(concurrency=4), 5.0, 4),
        (Limits(concurrency=4, adaptive=False), None, 4),
    ],
)
def test_numbers_that_somebody_has_set_bound_what_was_measured(limits: Limits | None, pace: float | None, width: int | None) -> None:
    """With adaptive=False nothing is found, and only they would hold anything back."""
    found = played(a_minute(300), 400.0).snapshot(limits)
    assert found.pace == (None if pace is None else pytest.approx(pace, rel=0.05))
    assert found.width == width


def asked(seen: ObservedCalls, refused_at: float, let_in: int) -> None:
    """So many calls are let in, and then one is refused."""
    for _ in range(let_in):
        seen.end(SUCCESS, refused_at, 1, None)
    seen.end(THROTTLED, refused_at, 1, None)


@pytest.mark.parametrize(("refused_at", "pace"), [(4.9, None), (5.0, 2.0), (5.5, 10 / 5.5)])
def test_five_seconds_from_one_refusal_to_another_have_a_pace(refused_at: float, pace: float | None) -> None:
    """What is let in between refusals that come together says nothing."""
    seen = ObservedCalls(0, is_limited=False)
    asked(seen, 0.0, 3)
    asked(seen, refused_at, 10)
    assert seen.pace == pace


@pytest.mark.parametrize(("ended_at", "pace"), [(59.0, 160 / 79), (60.0, 1.0), (60.5, 60 / 60.5)])
def test_a_span_ends_with_the_first_refusal_after_a_minute(ended_at: float, pace: float) -> None:
    """And what comes after it is of another, which counts when it has ended as well."""
    seen = ObservedCalls(0, is_limited=False)
    asked(seen, 0.0, 0)
    asked(seen, ended_at, 60)
    seen.end(SUCCESS, ended_at + 1, 100, None)
    asked(seen, ended_at + 20, 0)
    assert seen.pace == pytest.approx(pace)


@pytest.mark.parametrize(("quiet", "pace"), [(4, 10.0), (5, 1.0), (6, 1.0)])
def test_what_was_seen_more_than_five_spans_ago_is_forgotten(quiet: int, pace: float) -> None:
    """The limit may have been another one then."""
    seen = ObservedCalls(0, is_limited=False)
    asked(seen, 0.0, 0)
    asked(seen, 60.0, 600)
    for minute in range(2, 2 + quiet):
        asked(seen, 60.0 * minute, 60)
    assert seen.pace == pace


def test_a_quota_that_was_named_goes_on_with_the_calls_that_start() -> None:
    """Of five calls that are left two have started since, and so a later answer, which had not seen them, names no more than three."""
    seen = ObservedCalls(0, is_limited=False)
    seen.end(SUCCESS, 0.0, 1, Told(remaining=5, reset=10.0))
    assert seen.pace == 0.5
    seen.start(0.0, 2)
    seen.end(SUCCESS, 0.0, 2, Told(remaining=5, reset=10.0))
    assert seen.pace == pytest.approx(0.3)


def test_all_failures_are_calls_in_vain() -> None:
    """Not only the last of them, and those that were throttled among them."""
    seen = ObservedCalls(0, is_limited=False)
    seen.end(FAILURE, 0.1, 2, None)
    seen.end(THROTTLED, 0.2, 1, None)
    seen.end(FAILURE, 0.3, 3, None)
    assert seen.snapshot(None).refused == 6


def test_what_is_only_observed_is_free_and_tries_nothing() -> None:
    """Nothing is held back, and nobody asks whether more would be let in."""
    found = ObservedCalls(2, is_limited=True).snapshot(None)
    assert (found.why, found.experiments, found.next_at, found.in_flight) == ("free", 0, None, 2)
