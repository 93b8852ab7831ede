"""The rules of the closed state, at their boundaries."""

from __future__ import annotations

import pytest

from holdgate.core import CircuitSettings, CountWindow, Reason, TimeWindow
from holdgate.core.evidence import Thresholds
from holdgate.core.states import Breach

RULES = Thresholds(CircuitSettings(window=TimeWindow(30.0), minimum_calls=10, slow_call_rate_threshold=0.8))


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
