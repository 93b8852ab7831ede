"""What results say together."""

from __future__ import annotations

from math import inf

import pytest

from holdgate.core import CircuitSettings, Reason, TimeWindow
from holdgate.core.evidence import Evidence
from holdgate.core.states import Permit, issue

SLOW_AFTER_ONE = CircuitSettings(window=TimeWindow(10.0), slow_call_duration=1.0)


def evidence_of(settings: CircuitSettings, *acquired_at: float) -> Evidence:
    """No results yet, and calls in flight since these times."""
    live: dict[Permit, None] = {issue(0, at, 1): None for at in acquired_at}
    return Evidence(settings, live, 0.0)


def test_failures_in_a_row_end_with_a_success() -> None:
    """A success resets the count, however slow it is."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    for failed in (True, True, False, True):
        evidence.count(failed, 5.0, 0.0)
    assert evidence.in_a_row == 1


def test_a_slow_failure_counts_once_in_each() -> None:
    """One call, one failure, one slow call."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    evidence.count(failed=True, took=1.01, now=0.0)
    assert (evidence.window.calls, evidence.window.failures, evidence.window.slow) == (1, 1, 1)


def test_a_call_of_exactly_the_duration_is_not_slow() -> None:
    """Slow is more than the duration."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    evidence.count(failed=False, took=1.0, now=0.0)
    assert evidence.window.slow == 0


def test_quick_is_the_longest_success_up_to_slow() -> None:
    """Longer successes move it until slow_call_duration, shorter ones do not."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    for held, longest, quick in ((0.5, 0.5, 0.5), (0.2, 0.5, 0.5), (3.0, 3.0, 1.0)):
        evidence.succeeded_after(held)
        assert (evidence.longest, evidence.quick) == (longest, quick)


def test_without_slow_calls_quick_is_the_longest() -> None:
    """With slow_call_duration=None nothing is slow."""
    evidence = evidence_of(CircuitSettings())
    evidence.succeeded_after(1000.0)
    evidence.count(failed=False, took=1000.0, now=0.0)
    assert evidence.slow == inf
    assert evidence.quick == 1000.0
    assert evidence.window.slow == 0


def test_clear_forgets_results_and_keeps_the_longest() -> None:
    """A closed circuit starts with an empty window; how long a good call may take is still known."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    evidence.succeeded_after(0.7)
    evidence.count(failed=True, took=2.0, now=0.0)
    evidence.clear(0.0)
    assert (evidence.window.calls, evidence.window.failures, evidence.window.slow, evidence.in_a_row) == (0, 0, 0, 0)
    assert evidence.longest == 0.7


def test_the_rules_are_read_off_the_results() -> None:
    """Five failures in a row are a breach, four are none."""
    evidence = evidence_of(CircuitSettings())
    for _ in range(4):
        evidence.count(failed=True, took=0.0, now=0.0)
    assert evidence.breach() is None
    evidence.count(failed=True, took=0.0, now=0.0)
    breach = evidence.breach()
    assert breach is not None
    assert breach.reason is Reason.CONSECUTIVE_FAILURES


def test_calls_that_hang_are_a_breach_without_a_result() -> None:
    """Ten calls older than slow_call_duration trip; a second earlier they do not."""
    evidence = evidence_of(SLOW_AFTER_ONE, *[0.0] * 10)
    assert evidence.slow_breach(1.0) is None
    breach = evidence.slow_breach(1.1)
    assert breach is not None
    assert breach.value == 1.0
    assert evidence.window.calls == 0


def test_evidence_is_clear_without_failures_and_without_calls_that_hang() -> None:
    """Both the results and the calls in flight must be below the thresholds."""
    assert evidence_of(SLOW_AFTER_ONE).is_clear(0.0)
    hanging = evidence_of(SLOW_AFTER_ONE, *[0.0] * 10)
    assert hanging.is_clear(1.0)
    assert not hanging.is_clear(1.1)
    failed = evidence_of(SLOW_AFTER_ONE)
    failed.count(failed=True, took=0.0, now=0.0)
    assert not failed.is_clear(0.0)


def test_calls_that_hang_are_judged_beside_what_the_window_still_holds() -> None:
    """Good calls weigh against them until they leave the window."""
    evidence = evidence_of(SLOW_AFTER_ONE, *[0.0] * 10)
    for _ in range(11):
        evidence.count(failed=False, took=0.0, now=0.5)
    assert evidence.slow_breach(9.0) is None
    assert evidence.slow_breach(10.5) is not None


@pytest.mark.parametrize(
    ("acquired_at", "looked_at", "deadline"),
    [((), 0.0, None), ((0.0,), 0.0, 1.0), ((0.0,), 2.0, 3.0), ((0.0, 1.5), 2.0, 2.5), ((0.0, 2.0), 2.0, 3.0)],
)
def test_the_next_time_to_judge_calls_in_flight(acquired_at: tuple[float, ...], looked_at: float, deadline: float | None) -> None:
    """A call becomes overdue, or a bucket of good ones (1 s here) leaves beside one that is; whichever is first."""
    evidence = evidence_of(SLOW_AFTER_ONE, *acquired_at)
    evidence.count(failed=False, took=0.0, now=looked_at)
    evidence.slow_breach(looked_at)
    assert evidence.next_overdue() == (None if deadline is None else pytest.approx(deadline))


def test_no_good_calls_no_expiry_to_wait_for() -> None:
    """Overdue calls beside an empty window wait for nothing."""
    evidence = evidence_of(SLOW_AFTER_ONE, 0.0)
    evidence.slow_breach(2.0)
    assert evidence.next_overdue() is None


def test_rates_are_unknown_below_the_minimum() -> None:
    """None below, shares from the minimum on."""
    evidence = evidence_of(CircuitSettings(minimum_calls=4))

    assert evidence.rates(3, 1, 2) is None
    assert evidence.rates(4, 1, 2) == (0.25, 0.5)


def test_who_judges_notes_how_many_bad_results_are_enough() -> None:
    """Half of ten calls is five, half of forty twenty; a window that has forgotten calls must be judged anew."""
    evidence = evidence_of(CircuitSettings(window=TimeWindow(10.0)))
    assert evidence.window.enough == 0
    evidence.count(failed=True, took=0.0, now=0.0)
    assert evidence.breach() is None
    assert evidence.window.enough == 5
    for _ in range(39):
        evidence.count(failed=False, took=0.0, now=0.0)
    assert evidence.breach() is None
    assert evidence.window.enough == 20
    evidence.window.expire(1.0)
    assert evidence.window.enough == 0


def test_nothing_is_known_to_be_quick_at_first() -> None:
    """The first success is learnt, however short."""
    evidence = Evidence(CircuitSettings(), {}, 0.0)
    assert (evidence.quick, evidence.longest) == (0.0, 0.0)
    evidence.succeeded_after(0.25)
    assert (evidence.quick, evidence.longest) == (0.25, 0.25)
