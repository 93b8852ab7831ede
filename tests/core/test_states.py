"""Refusals, and what a snapshot shows state by state."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from tests.core.driving import DOUBLING, FAILURE, FIRST_WAIT, acquire, calls, half_opened, opened, ramping

from holdgate.core import Circuit, CircuitSettings, CircuitSnapshot, Override, Rejected, State, TimeWindow


def test_a_refusal_is_a_frozen_value() -> None:
    """One object serves many callers, so nobody can change it."""
    refusal = Rejected(5.0, State.OPEN)
    assert (refusal.override, refusal.is_limited) == (None, False)
    with pytest.raises(FrozenInstanceError):
        refusal.retry_at = 1.0  # type: ignore[misc]


def test_a_new_circuit() -> None:
    """Nothing has happened yet."""
    assert Circuit("payments", now=7.0).snapshot(7.0) == CircuitSnapshot(
        name="payments",
        state=State.CLOSED,
        override=None,
        generation=0,
        level=0,
        outage_since=None,
        probes=0,
        open_until=None,
        limit=None,
        in_flight=0,
        calls=0,
        failures=0,
        slow_calls=0,
        failure_rate=None,
        slow_call_rate=None,
        consecutive_failures=0,
        rejected=0,
        late_results=0,
        settled_twice=0,
        next_deadline=None,
        full=16,
    )


def test_it_is_frozen() -> None:
    """A reading is a value."""
    with pytest.raises(FrozenInstanceError):
        Circuit("payments").snapshot(0.0).level = 1  # type: ignore[misc]


def test_rates_appear_with_the_minimum() -> None:
    """None below ten calls, shares from ten on."""
    circuit = Circuit("payments", CircuitSettings(slow_call_duration=1.0))
    calls(circuit, "SSFSSFSSF", 0.0)
    assert (circuit.snapshot(0.0).failure_rate, circuit.snapshot(0.0).slow_call_rate) == (None, None)
    calls(circuit, "S", 0.0)
    assert (circuit.snapshot(0.0).failure_rate, circuit.snapshot(0.0).slow_call_rate) == (0.3, 0.0)


def test_it_reads_a_time_window_as_of_now() -> None:
    """Results that have left the window are not shown."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0)))
    calls(circuit, "SF", 0.0)
    assert circuit.snapshot(5.0).calls == 2
    assert circuit.snapshot(10.0).calls == 0


def test_an_open_circuit_shows_what_opened_it() -> None:
    """Window, failures in a row, until when, and limit 0."""
    circuit = opened()
    snapshot = circuit.snapshot(1.0)
    assert (snapshot.state, snapshot.open_until, snapshot.limit, snapshot.level) == (State.OPEN, FIRST_WAIT, 0, 1)
    assert (snapshot.calls, snapshot.failures, snapshot.consecutive_failures) == (5, 5, 5)
    assert snapshot.next_deadline == FIRST_WAIT


def test_taking_it_changes_nothing() -> None:
    """A wait that is over still shows as OPEN: only advance and try_acquire end it."""
    circuit = opened()
    assert circuit.snapshot(100.0).state is State.OPEN
    assert circuit.snapshot(100.0) == circuit.snapshot(100.0)


def test_looking_ahead_forgets_nothing() -> None:
    """A reading of a later time leaves the window, and the last time that was seen, as they were."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0)))
    calls(circuit, "SFFS", 0.0)
    assert circuit.snapshot(60.0).calls == 0
    assert (circuit.snapshot(1.0).calls, circuit.snapshot(1.0).failures, circuit.latest) == (4, 2, 0.0)


def test_a_half_open_circuit_shows_its_limit() -> None:
    """Limit and weight in flight of the ramp; no end of a wait any more."""
    circuit = ramping(4)
    acquire(circuit, 5.0, weight=3)
    snapshot = circuit.snapshot(5.0)
    assert (snapshot.state, snapshot.limit, snapshot.in_flight, snapshot.open_until) == (State.HALF_OPEN, 4, 3, None)
    assert snapshot.next_deadline == 305.0


def test_in_flight_counts_overdue_calls_too() -> None:
    """A call that is slow already is still in flight."""
    circuit = Circuit("payments", CircuitSettings(slow_call_duration=1.0))
    acquire(circuit, 0.0, weight=2)
    acquire(circuit, 1.5)
    circuit.advance(2.0)
    assert circuit.snapshot(2.0).in_flight == 3


def test_in_flight_counts_this_generation() -> None:
    """Calls of before a transition are late whatever they say, and no longer shown."""
    circuit = Circuit("payments")
    permits = [acquire(circuit, 0.0) for _ in range(7)]
    for permit in permits[:5]:
        circuit.record(permit, FAILURE, 0.0)
    assert circuit.state is State.OPEN
    assert circuit.snapshot(0.0).in_flight == 0


def test_the_counters_are_totals() -> None:
    """Refusals, late results and second settlements since construction, across a reset."""
    circuit = half_opened()
    probe = acquire(circuit, 5.0)
    circuit.try_acquire(5.0)
    circuit.try_acquire(5.0)
    circuit.reset(5.0)
    circuit.record(probe, FAILURE, 5.0)
    circuit.record(probe, FAILURE, 5.0)
    snapshot = circuit.snapshot(5.0)
    assert (snapshot.rejected, snapshot.late_results, snapshot.settled_twice) == (2, 1, 1)


@pytest.mark.parametrize(
    ("command", "override", "limit"),
    [("force_open", Override.FORCED_OPEN, 0), ("disable", Override.DISABLED, None), ("observe", Override.METRICS_ONLY, None)],
)
def test_an_override_shows_beside_the_state(command: str, override: Override, limit: int | None) -> None:
    """The state below stays readable; the limit is the override's."""
    circuit = opened()
    getattr(circuit, command)(1.0)
    snapshot = circuit.snapshot(1.0)
    assert (snapshot.state, snapshot.override, snapshot.limit) == (State.OPEN, override, limit)


@pytest.mark.parametrize(("now", "level"), [(64.9, 2), (65.0, 1), (124.9, 1), (125.0, 0), (10_000.0, 0)])
def test_the_level_is_that_of_now(now: float, level: int) -> None:
    """Per full healthy interval of CLOSED it has fallen by one, without a call."""
    circuit = half_opened(DOUBLING)
    calls(circuit, "F", 5.0)  # level 2, until 15
    circuit.advance(15.0)
    circuit.reset(15.0)
    assert circuit.snapshot(now).level == 0
    circuit = half_opened(CircuitSettings(open_duration=1.0, open_multiplier=1.0, healthy_interval=60.0))
    calls(circuit, "F", 1.0)  # level 2, until 2
    circuit.set_full(1, 2.0)
    calls(circuit, "SSSS", 5.0)
    assert circuit.state is State.CLOSED
    assert circuit.snapshot(now).level == level
