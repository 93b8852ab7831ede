"""A frozen reading of a circuit: each of its fields, in each state."""

from __future__ import annotations

from dataclasses import fields

from tests.core.driving import FAILURE, FIRST_WAIT, SUCCESS, acquire, calls, half_opened, opened

from holdgate.core import Circuit, CircuitSettings, CircuitSnapshot, Override, State
from holdgate.core.guidance import Guidance, Phase


def test_a_closed_circuit_is_read() -> None:
    """It sets no limit and waits for nothing; the window shows its calls, and too few of them no rate."""
    circuit = Circuit("payments")
    calls(circuit, "SSSF", 1.0)
    acquire(circuit, 2.0)
    seen = circuit.snapshot(2.0)
    assert (seen.name, seen.state, seen.override, seen.generation, seen.limit) == ("payments", State.CLOSED, None, circuit.generation, None)
    assert (seen.calls, seen.failures, seen.slow_calls, seen.consecutive_failures, seen.in_flight) == (4, 1, 0, 1, 1)
    assert (seen.failure_rate, seen.slow_call_rate, seen.open_until, seen.next_deadline) == (None, None, None, circuit.next_deadline())
    assert (seen.outage_since, seen.level, seen.probes, seen.limits, seen.guidance) == (None, 0, 0, None, None)


def test_an_open_circuit_is_read() -> None:
    """It refuses everything until its wait ends, and keeps what has opened it."""
    circuit = opened()
    circuit.try_acquire(1.0)
    seen = circuit.snapshot(1.0)
    assert (seen.state, seen.limit, seen.open_until, seen.next_deadline) == (State.OPEN, 0, FIRST_WAIT, FIRST_WAIT)
    assert (seen.generation, seen.outage_since, seen.level, seen.failures, seen.rejected) == (circuit.generation, 0.0, 1, 5, 1)
    assert seen.generation > 0


def test_a_half_open_circuit_is_read() -> None:
    """Its limit is that of its ramp, and it waits for the end of its stage at most."""
    circuit = half_opened()
    permit = acquire(circuit, FIRST_WAIT)
    seen = circuit.snapshot(FIRST_WAIT)
    assert (seen.state, seen.limit, seen.in_flight, seen.probes, seen.full) == (State.HALF_OPEN, 1, 1, 1, circuit.full)
    assert (seen.open_until, seen.next_deadline) == (None, circuit.next_deadline())
    assert seen.next_deadline is not None
    circuit.record(permit, FAILURE, FIRST_WAIT)
    circuit.record(permit, SUCCESS, FIRST_WAIT)
    assert circuit.snapshot(FIRST_WAIT).settled_twice == 1


def test_rates_need_enough_calls() -> None:
    """From the minimum on they are ratios."""
    circuit = Circuit("payments", CircuitSettings(minimum_calls=4, slow_call_duration=1.0))
    calls(circuit, "SSF", 1.0)
    circuit.record(acquire(circuit, 2.0), SUCCESS, 4.0)
    seen = circuit.snapshot(4.0)
    assert (seen.failure_rate, seen.slow_call_rate) == (0.25, 0.25)


def test_an_override_and_what_a_fleet_wants_are_read() -> None:
    """Under the one, the other is not followed."""
    circuit = Circuit("payments")
    guidance = Guidance(Phase.WAIT)
    circuit.guide(guidance, 1.0)
    assert circuit.snapshot(1.0).guidance == guidance
    circuit.observe(2.0)
    seen = circuit.snapshot(2.0)
    assert (seen.override, seen.guidance) == (Override.METRICS_ONLY, None)


def test_a_snapshot_that_is_made_by_hand_may_leave_out_what_few_circuits_have() -> None:
    """Limits, keys and a fleet; and a ramp ends at one call."""
    whole = Circuit("payments").snapshot(0.0)
    given = {each.name: getattr(whole, each.name) for each in fields(whole)[:-4]}
    seen = CircuitSnapshot(**given)
    assert (seen.full, seen.limits, seen.keys, seen.guidance) == (1, None, None, None)
