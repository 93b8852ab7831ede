"""Lifecycle: what an override, a reset and a level keep, and what is told with which time."""

from __future__ import annotations

from tests.core.driving import SUCCESS, acquire, call, calls, opened

from holdgate.core import Circuit, CircuitHalfOpened, CircuitSettings, Override, OverrideSet, State, ThresholdExceeded, TimeWindow


def test_an_opening_under_an_override_leaves_the_override() -> None:
    """An operator's word is ended by an operator, or by its time."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    circuit.open_for(5.0, 1.0)
    assert (circuit.state, circuit.override) == (State.OPEN, Override.METRICS_ONLY)


def test_a_reset_begins_the_window_then() -> None:
    """A window of time has its buckets from that second on."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0)))
    circuit.reset(101.0)
    call(circuit, SUCCESS, 101.0)
    assert circuit.snapshot(110.0).calls == 1
    assert circuit.snapshot(111.0).calls == 0


def test_the_lease_is_twice_the_longest_success() -> None:
    """A call of 200 seconds has been seen to end well: from then on a permit may be away for 400, and no longer."""
    circuit = Circuit("payments")
    call(circuit, SUCCESS, 0.0, took=200.0)
    calls(circuit, "FFFFF", 200.0)
    acquire(circuit, 205.0)
    assert circuit.next_deadline() == 605.0


def test_what_follows_a_forced_opening_is_told_with_its_time() -> None:
    """The half-open that it leaves behind, under another override too."""
    circuit = Circuit("payments")
    circuit.force_open(0.0)
    circuit.take_events()
    circuit.disable(3.0)
    assert [(type(event), event.at) for event in circuit.take_events()] == [(OverrideSet, 3.0), (CircuitHalfOpened, 3.0)]


def test_an_override_that_admits_leaves_the_level_to_time() -> None:
    """It falls by one per healthy interval, whoever has looked."""
    circuit = opened()
    circuit.advance(5.0)
    calls(circuit, "F", 5.0)
    circuit.advance(15.0)
    circuit.set_full(1, 15.0)
    calls(circuit, "SSSS", 15.0)
    assert (circuit.state, circuit.snapshot(15.0).level) == (State.CLOSED, 2)
    circuit.disable(75.0)
    assert circuit.snapshot(75.0).level == 1


def test_results_that_had_opened_it_are_told_when_it_is_observed() -> None:
    """With the first that comes after: an operator who looks on has to know."""
    circuit = opened()
    circuit.observe(1.0)
    circuit.take_events()
    calls(circuit, "F", 1.0)
    (event,) = circuit.take_events()
    assert isinstance(event, ThresholdExceeded)
    assert event.observed is True


def test_what_is_only_observed_is_told_as_observed() -> None:
    """It opens nothing."""
    circuit = Circuit("payments")
    circuit.observe(0.0)
    circuit.take_events()
    calls(circuit, "FFFFF", 0.0)
    (event,) = circuit.take_events()
    assert isinstance(event, ThresholdExceeded)
    assert event.observed is True
