"""Every trap that a breaker people trust fell into, and that concerns the rules of a circuit."""

from __future__ import annotations

import gc
import tracemalloc

from tests.core.driving import FAILURE, FIRST_WAIT, IGNORED, SUCCESS, acquire, call, calls, half_opened, is_refused, opened, ramping

from holdgate.core import Circuit, CircuitSettings, CountWindow, Outcome, Permit, Rejected, State, TimeWindow


def test_trap_1_a_success_admitted_in_closed_does_not_close_a_half_open_circuit() -> None:
    """The real probe is still running when a call of before the outage succeeds."""
    circuit = Circuit("payments")
    old = [acquire(circuit, 0.0) for _ in range(50)]
    calls(circuit, "FFFFF", 0.0)
    probe = acquire(circuit, FIRST_WAIT)
    for permit in old:
        circuit.record(permit, SUCCESS, 6.0)
    assert (circuit.state, circuit.limit, circuit.snapshot(6.0).late_results) == (State.HALF_OPEN, 1, 50)
    circuit.record(probe, FAILURE, 7.0)
    assert circuit.state is State.OPEN


def test_trap_2_late_results_mint_no_permits() -> None:
    """A hundred late results and as many second settlements, and still one call in flight."""
    circuit = Circuit("payments")
    old = [acquire(circuit, 0.0) for _ in range(100)]
    calls(circuit, "FFFFF", 0.0)
    acquire(circuit, FIRST_WAIT)
    for permit in old:
        circuit.release(permit, 6.0)
        circuit.record(permit, SUCCESS, 6.0)
        circuit.record(permit, IGNORED, 6.0)
    assert circuit.free_slots == 0
    assert all(isinstance(circuit.try_acquire(6.0), Rejected) for _ in range(100))


def test_trap_2_a_probe_given_back_twice_frees_one_slot() -> None:
    """In flight is a set of permits, not a counter."""
    circuit = half_opened()
    probe = acquire(circuit, 5.0)
    circuit.release(probe, 5.0)
    circuit.release(probe, 5.0)
    circuit.record(probe, IGNORED, 5.0)
    assert circuit.free_slots == 1
    acquire(circuit, 5.0)
    assert is_refused(circuit, 5.0)


def test_trap_3_a_probe_that_never_returns_does_not_hold_half_open_for_ever() -> None:
    """Its lease ends, it counts as a failure, and the next wait ends in another probe."""
    circuit = half_opened()
    acquire(circuit, 5.0)
    circuit.advance(305.0)
    assert circuit.state is State.OPEN
    acquire(circuit, 315.0)


def test_trap_3_a_whole_stage_that_never_returns_does_not_either() -> None:
    """With demand waiting, ended leases are failures in a row."""
    circuit = ramping(16)
    for _ in range(16):
        acquire(circuit, 5.0)
    assert is_refused(circuit, 5.0)
    circuit.advance(305.0)
    assert circuit.state is State.OPEN


def test_trap_4_a_cancelled_probe_neither_closes_nor_opens() -> None:
    """The next call is the probe, at once, as often as it takes."""
    circuit = half_opened()
    for _ in range(10):
        circuit.release(acquire(circuit, 5.0), 5.0)
    assert (circuit.state, circuit.generation) == (State.HALF_OPEN, 2)
    call(circuit, SUCCESS, 5.0)
    assert circuit.state is State.HALF_OPEN


def test_trap_5_not_a_failure_is_not_a_success() -> None:
    """A validation error decides nothing: half-open stays at its probe, and failures in a row go on."""
    circuit = half_opened()
    calls(circuit, "I" * 50, 5.0)
    assert circuit.limit == 1
    call(circuit, FAILURE, 5.0)
    assert circuit.state is State.OPEN
    circuit = Circuit("payments")
    calls(circuit, "FIFIFIFIF", 0.0)
    assert circuit.state is State.OPEN


def test_trap_6_the_minimum_of_closed_is_not_used_in_half_open() -> None:
    """A minimum of 1 closes nothing after one probe; a minimum of 10 needs no ten failing probes."""
    circuit = Circuit("payments", CircuitSettings(minimum_calls=1, window=CountWindow(1)))
    call(circuit, FAILURE, 0.0)
    call(circuit, SUCCESS, FIRST_WAIT)
    assert circuit.state is State.HALF_OPEN
    circuit = half_opened(CircuitSettings(minimum_calls=1000, window=CountWindow(1000)))
    call(circuit, FAILURE, 5.0)
    assert circuit.state is State.OPEN


def test_trap_7_low_traffic_trips() -> None:
    """One call an hour, all failing: the window never holds the minimum, failures in a row open."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(60.0)))
    for hour in range(5):
        call(circuit, FAILURE, hour * 3600.0)
    assert circuit.state is State.OPEN


def test_trap_7_low_traffic_closes_again() -> None:
    """One good call a minute closes after one probe and a stage a minute."""
    circuit = half_opened()
    minutes = 0
    while circuit.state is State.HALF_OPEN:
        call(circuit, SUCCESS, 60.0 * (minutes := minutes + 1))
    assert minutes == 6  # the probe, and one call for each stage: 1, 2, 4, 8 and 16


def test_trap_8_a_clock_that_steps_back_keeps_nothing_open() -> None:
    """An hour back: the last time seen goes on counting, so the wait neither grows nor is measured anew."""
    circuit = Circuit("payments")
    call(circuit, SUCCESS, 3600.0)
    calls(circuit, "FFFFF", 0.0)
    assert circuit.next_deadline() == 3600.0 + FIRST_WAIT
    circuit.advance(0.0)
    assert circuit.state is State.OPEN
    acquire(circuit, 3600.0 + FIRST_WAIT)
    assert is_refused(circuit, 100.0)
    assert circuit.state is State.HALF_OPEN


def test_trap_8_a_clock_that_steps_back_makes_no_negative_duration_and_erases_no_window() -> None:
    """Results go into the bucket of the last time seen."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0), slow_call_duration=1.0))
    permit = acquire(circuit, 100.0)
    assert permit.acquired_at == 100.0
    calls(circuit, "FFFF", 50.0)
    circuit.record(permit, SUCCESS, 0.0)
    assert acquire(circuit, 7.0).acquired_at == 100.0
    snapshot = circuit.snapshot(0.0)
    assert (snapshot.calls, snapshot.failures, snapshot.slow_calls) == (5, 4, 0)


def test_trap_9_every_way_into_open_has_an_end() -> None:
    """Rule, server, operator, bad probe: each leaves OPEN with a wait that ends."""
    told = Circuit("payments")
    told.record(acquire(told, 0.0), FAILURE, 0.0, retry_after=1.0)
    operator = Circuit("payments")
    operator.open_for(1.0, 0.0)
    probe = half_opened()
    call(probe, FAILURE, 5.0)
    for circuit in (opened(), told, operator, probe):
        deadline = circuit.next_deadline()
        assert deadline is not None
        circuit.advance(deadline)
        assert circuit.state is State.HALF_OPEN


def test_trap_10_a_time_of_before_a_manual_change_does_nothing() -> None:
    """The wait of before a reset, and the expiry of before another override, are forgotten."""
    circuit = opened()
    circuit.reset(1.0)
    generation = circuit.generation
    circuit.advance(FIRST_WAIT)
    assert (circuit.state, circuit.generation) == (State.CLOSED, generation)
    circuit.force_open(6.0, until=10.0)
    circuit.force_open(7.0)
    circuit.advance(10.0)
    assert circuit.override is not None
    circuit.disable(11.0)
    circuit.force_open(12.0, until=20.0)
    circuit.disable(13.0)
    circuit.advance(20.0)
    assert circuit.override is not None


def test_trap_13_refusals_keep_no_memory() -> None:
    """A hundred thousand refusals, of an open circuit and of a ramp without room, leave nothing behind."""
    circuits = [opened(), half_opened()]
    acquire(circuits[1], 5.0)
    for circuit in circuits:
        now = 4.0
        circuit.try_acquire(now)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100_000):
            circuit.try_acquire(now)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 1000  # a hundredth of a byte each: the counter's own digits, and one frame


def test_trap_14_the_cost_of_a_call_does_not_grow_with_the_window() -> None:
    """A circuit that has taken a hundred thousand calls holds what it held after ten thousand, slow bookkeeping included."""
    circuit = Circuit("payments", CircuitSettings(window=CountWindow(10_000), slow_call_duration=1.0))

    def run(count: int) -> None:
        for at in range(count):
            permit = circuit.try_acquire(0.0)
            assert isinstance(permit, Permit)
            circuit.record(permit, Outcome.FAILURE if at % 4 == 0 else Outcome.SUCCESS, 0.0)

    run(10_000)
    gc.collect()
    tracemalloc.start()
    run(10)
    before = tracemalloc.get_traced_memory()[0]
    run(20_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert circuit.state is State.CLOSED
    assert grown < 2000


def test_a_clean_exit_of_many_short_half_opens_leaves_nothing() -> None:
    """Permits that are never given back are forgotten with their generation."""
    circuit = Circuit("payments")
    for at in range(100):
        acquire(circuit, float(at))
        circuit.reset(float(at))
    assert circuit.snapshot(100.0).in_flight == 0
    assert len(circuit.live) == 0
