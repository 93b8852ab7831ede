from __future__ import annotations

from itertools import permutations

import pytest

from holdgate.core import Outcome
from holdgate.flow.attribution import AttemptCalls, CallSummary


def test_a_touch_begins_without_an_outcome() -> None:
    """A call that has only begun says nothing."""
    touch = CallSummary()
    assert touch.outcome is None
    assert touch.slowest == 0.0
    assert touch.retry_after is None
    assert touch.cut_short is None
    assert not touch.failed_result


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((Outcome.SUCCESS, Outcome.FAILURE), Outcome.FAILURE),
        ((Outcome.SUCCESS, Outcome.IGNORED), Outcome.SUCCESS),
        ((Outcome.IGNORED, Outcome.FAILURE), Outcome.FAILURE),
        ((Outcome.IGNORED, Outcome.IGNORED), Outcome.IGNORED),
        ((Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED), Outcome.FAILURE),
    ],
)
def test_one_failure_outweighs_all_and_a_success_outweighs_what_says_nothing(outcomes: tuple[Outcome, ...], expected: Outcome) -> None:
    """The order in which calls end does not matter."""
    for order in permutations(outcomes):
        touch = CallSummary()
        for outcome in order:
            touch.ended(outcome, 1.0)
        assert touch.outcome is expected


def test_the_slowest_call_counts() -> None:
    """A quick call after a slow one does not hide it."""
    touch = CallSummary()
    touch.ended(Outcome.SUCCESS, 2.0)
    touch.ended(Outcome.FAILURE, 0.5)
    assert touch.slowest == 2.0


def test_an_ignored_call_is_never_the_slowest() -> None:
    """What decides nothing decides nothing about slowness either."""
    touch = CallSummary()
    touch.ended(Outcome.IGNORED, 9.0)
    touch.ended(Outcome.SUCCESS, 1.0)
    assert touch.slowest == 1.0


def test_the_longest_wait_that_a_server_asked_for_counts() -> None:
    """Two failing calls with two answers: the later time is the one that satisfies both."""
    touch = CallSummary()
    touch.ended(Outcome.FAILURE, 0.1, 30.0)
    touch.ended(Outcome.FAILURE, 0.1, 10.0)
    touch.ended(Outcome.FAILURE, 0.1)
    assert touch.retry_after == 30.0


def test_the_longest_cut_counts() -> None:
    """Of several cancelled calls the longest is remembered."""
    touch = CallSummary()
    for duration in (1.0, 3.0, 2.0):
        touch.cut(duration)
    assert touch.cut_short == 3.0


def test_under_way_is_the_age_of_the_oldest_running_call() -> None:
    """Two calls run since 10 and 12; at 15 the longer one is five seconds old."""
    touch = CallSummary()
    assert touch.under_way(15.0) is None
    touch.running["second"] = 12.0
    touch.running["first"] = 10.0
    assert touch.under_way(15.0) == 5.0


def test_a_dependency_is_touched_once() -> None:
    """Asking again for the same name gives the same record."""
    tally = AttemptCalls()
    assert tally.touch("payments") is tally.touch("payments")
    assert list(tally.touches) == ["payments"]
