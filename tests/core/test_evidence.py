"""What results say together: counts, the rules at their boundaries, and calls in flight that are slow already."""

from __future__ import annotations

from math import inf

import pytest

from holdgate.core import CircuitSettings, CountWindow, Reason, TimeWindow
from holdgate.core.evidence import Evidence, Thresholds, slow_after
from holdgate.core.permits import PermitsInFlight, issue
from holdgate.core.states import Breach
from holdgate.core.totals import QUICK

SLOW_AFTER_ONE = CircuitSettings(window=TimeWindow(10.0), slow_call_duration=1.0)


def evidence_of(settings: CircuitSettings, *acquired_at: float) -> Evidence:
    """No results yet, and calls in flight since these times."""
    permits = PermitsInFlight(slow_after(settings))
    permits.live.update((issue(0, at, 1), None) for at in acquired_at)
    return Evidence(settings, permits, 0.0)


RULES = Thresholds(CircuitSettings(window=TimeWindow(30.0), minimum_calls=10, slow_call_rate_threshold=0.8))


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
    evidence = evidence_of(CircuitSettings(slow_call_duration=0.004))
    for held, longest, quick in ((0.003, 0.003, 0.003), (0.002, 0.003, 0.003), (3.0, 3.0, 0.004)):
        evidence.succeeded_after(held)
        assert (evidence.longest, evidence.quick) == (longest, quick)


def test_without_slow_calls_quick_is_the_longest() -> None:
    """With slow_call_duration=None nothing is slow."""
    evidence = evidence_of(CircuitSettings())
    evidence.succeeded_after(1000.0)
    evidence.count(failed=False, took=1000.0, now=0.0)
    assert evidence.slow == inf
    assert evidence.longest == 1000.0
    assert evidence.quick == QUICK
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
    assert evidence.next_deadline() == (None if deadline is None else pytest.approx(deadline))


def test_no_good_calls_no_expiry_to_wait_for() -> None:
    """Overdue calls beside an empty window wait for nothing."""
    evidence = evidence_of(SLOW_AFTER_ONE, 0.0)
    evidence.slow_breach(2.0)
    assert evidence.next_deadline() is None


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
    evidence = Evidence(CircuitSettings(), PermitsInFlight(inf), 0.0)
    assert (evidence.quick, evidence.longest) == (0.0, 0.0)
    evidence.succeeded_after(0.0025)
    assert (evidence.quick, evidence.longest) == (0.0025, 0.0025)


@pytest.mark.parametrize(
    ("calls", "failures", "slow", "in_a_row", "reason"),
    [
        (10, 5, 0, 0, Reason.FAILURE_RATE),
        (10, 4, 0, 0, None),
        (9, 9, 9, 0, None),
        (10, 0, 8, 0, Reason.SLOW_CALL_RATE),
        (10, 0, 7, 0, None),
        (5, 5, 0, 5, Reason.CONSECUTIVE_FAILURES),
        (4, 4, 0, 4, None),
        (10, 5, 8, 5, Reason.FAILURE_RATE),
    ],
)
def test_a_rule_trips_at_its_threshold(calls: int, failures: int, slow: int, in_a_row: int, reason: Reason | None) -> None:
    """Rates need the minimum of calls and trip at `>=`; failures in a row need no minimum."""
    breach = RULES.breach(calls, failures, slow, in_a_row)
    assert (breach.reason if breach else None) == reason


def test_a_breach_tells_value_and_threshold() -> None:
    """What was seen and what it reached are told."""
    assert RULES.breach(10, 6, 0, 0) == Breach(Reason.FAILURE_RATE, 0.6, 0.5)
    assert RULES.breach(10, 0, 9, 0) == Breach(Reason.SLOW_CALL_RATE, 0.9, 0.8)
    assert RULES.breach(1, 1, 0, 5) == Breach(Reason.CONSECUTIVE_FAILURES, 5, 5)


def test_failures_in_a_row_can_be_off() -> None:
    """None takes the rule away."""
    rules = Thresholds(CircuitSettings(consecutive_failures=None))
    assert rules.breach(9, 9, 0, 9) is None


@pytest.mark.parametrize(
    ("calls", "slow", "overdue", "value"),
    [(0, 0, 10, 1.0), (0, 0, 9, None), (10, 8, 0, None), (5, 3, 5, 0.8), (6, 3, 4, None), (2, 0, 8, 0.8)],
)
def test_calls_in_flight_count_as_slow_ones(calls: int, slow: int, overdue: int, value: float | None) -> None:
    """The share is (slow + overdue) / (calls + overdue), with the minimum on the sum, and only with a call overdue."""
    breach = RULES.slow_breach(calls, slow, overdue)
    assert (breach.value if breach else None) == value


@pytest.mark.parametrize(
    ("calls", "failures", "slow", "in_a_row", "clear"),
    [
        (0, 0, 0, 0, True),
        (9, 4, 0, 4, True),
        (9, 5, 0, 0, False),
        (8, 4, 0, 0, False),
        (10, 0, 8, 0, False),
        (10, 0, 7, 0, True),
        (100, 5, 0, 5, False),
    ],
)
def test_thresholds_are_clear_below_all_of_them(calls: int, failures: int, slow: int, in_a_row: int, clear: bool) -> None:
    """The rates are looked at below the minimum too: nine calls of which five failed are not well again."""
    assert RULES.are_clear(calls, failures, slow, in_a_row) is clear


def test_without_a_run_rule_the_rates_alone_are_clear() -> None:
    """Failures in a row that are off hold no episode open."""
    assert Thresholds(CircuitSettings(consecutive_failures=None)).are_clear(100, 9, 0, 9)


def test_a_slow_breach_tells_the_threshold() -> None:
    """Reason and threshold are those of the slow call rule."""
    assert RULES.slow_breach(0, 0, 10) == Breach(Reason.SLOW_CALL_RATE, 1.0, 0.8)


def test_the_minimum_of_a_small_count_window_is_its_size() -> None:
    """A window of four calls trips with four."""
    rules = Thresholds(CircuitSettings(window=CountWindow(4)))
    assert rules.minimum == 4
    assert rules.breach(4, 2, 0, 0) == Breach(Reason.FAILURE_RATE, 0.5, 0.5)


@pytest.mark.parametrize("threshold", [0.1, 0.29, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("minimum", [1, 3, 10, 100])
def test_fewer_bad_results_than_enough_meet_no_rate(threshold: float, minimum: int) -> None:
    """A good result beside fewer than `enough` bad ones need not be judged."""
    settings = CircuitSettings(
        window=TimeWindow(30.0), minimum_calls=minimum, failure_rate_threshold=max(threshold, 0.2), slow_call_rate_threshold=threshold
    )
    rules = Thresholds(settings)
    for judged in (0, minimum, 3 * minimum):
        for bad in range(rules.enough(judged)):
            for calls in range(judged, 3 * judged):
                assert rules.breach(calls, min(bad, calls), min(bad, calls), 0) is None


def test_enough_grows_with_the_calls() -> None:
    """Half of the calls, from the minimum on."""
    assert [RULES.enough(calls) for calls in (0, 10, 11, 12, 100)] == [5, 5, 5, 6, 50]


def test_failures_in_a_row_are_a_rule_of_their_own() -> None:
    """Whatever the window holds; and none where it is off."""
    assert Thresholds(CircuitSettings(consecutive_failures=3)).breach(3, 3, 0, 3) == Breach(Reason.CONSECUTIVE_FAILURES, 3, 3)
    assert Thresholds(CircuitSettings(consecutive_failures=None)).breach(3, 3, 0, 3) is None


def test_while_each_call_is_to_be_looked_at_none_is_quick() -> None:
    """Not even one that took no time; afterwards the same are as before. To be asked so again changes nothing."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    evidence.succeeded_after(0.003)
    for always, quick in ((False, 0.003), (True, -1.0), (True, -1.0), (False, 0.003)):
        evidence.look_at_each(always=always)
        assert evidence.quick == quick
    evidence.look_at_each(always=True)
    evidence.succeeded_after(0.004)
    assert evidence.quick == -1.0


def test_nothing_has_been_quick_at_first() -> None:
    """Metrics add these seconds up."""
    assert evidence_of(SLOW_AFTER_ONE).quick_seconds == 0.0


def test_a_breach_is_news_once_until_the_episode_is_forgotten() -> None:
    """The first time ever, and the first time after that."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    assert [evidence.begin_episode() for _ in range(3)] == [True, False, False]
    evidence.forget_episode()
    assert [evidence.begin_episode() for _ in range(2)] == [True, False]


def test_after_a_change_of_settings_a_good_result_is_judged_too() -> None:
    """By the new rules the results so far may be too many bad ones."""
    evidence = evidence_of(SLOW_AFTER_ONE)
    evidence.breach()
    assert evidence.window.enough > 0
    evidence.reconfigure(SLOW_AFTER_ONE, SLOW_AFTER_ONE, 0.0)
    assert evidence.window.enough == 0
