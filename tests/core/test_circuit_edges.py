"""Circuit: the edges that only a changed line has shown, and what it counts and tells there."""

from __future__ import annotations

from tests.core.driving import FIRST_WAIT, SUCCESS, acquire, call, calls, half_opened, is_refused, opened, ramping

from holdgate.core import (
    Circuit,
    CircuitHalfOpened,
    CircuitSettings,
    RampSettings,
    State,
    TimeWindow,
)
from holdgate.core.states import LIVE

SLOW = CircuitSettings(slow_call_duration=1.0, slow_call_rate_threshold=0.5, minimum_calls=1)


def test_a_permit_is_live_when_it_is_handed_out() -> None:
    """By the short way of the closed circuit, and by that of a half-open."""
    assert acquire(Circuit("payments"), 0.0).standing == LIVE
    assert acquire(half_opened(), FIRST_WAIT).standing == LIVE


def test_every_refusal_for_want_of_room_is_counted() -> None:
    """Beside those of before."""
    circuit = opened()
    assert is_refused(circuit, 1.0)
    acquire(circuit, FIRST_WAIT)
    for _ in range(3):
        assert is_refused(circuit, FIRST_WAIT)
    assert circuit.snapshot(FIRST_WAIT).rejected == 4


def test_the_refusal_that_finds_calls_overdue_is_counted() -> None:
    """The acquire that opens the circuit is refused itself."""
    circuit = Circuit("payments", SLOW)
    circuit.open_for(5.0, 0.0)
    assert is_refused(circuit, 1.0)
    circuit.reset(2.0)
    acquire(circuit, 2.0)
    assert is_refused(circuit, 4.0)
    assert (circuit.state, circuit.rejected) == (State.OPEN, 2)


def test_a_good_result_at_the_end_of_a_bucket_is_in_the_next() -> None:
    """It leaves the window with that one."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0)))
    call(circuit, SUCCESS, 0.2, took=0.5)
    call(circuit, SUCCESS, 1.0)
    assert circuit.snapshot(10.0).calls == 1
    assert circuit.snapshot(11.0).calls == 0


def test_a_wait_that_ends_is_told_with_its_time() -> None:
    """Whoever let the time pass."""
    circuit = opened()
    circuit.take_events()
    circuit.advance(FIRST_WAIT)
    assert [(type(event), event.at) for event in circuit.take_events()] == [(CircuitHalfOpened, FIRST_WAIT)]


def test_calls_in_flight_are_no_deadline_where_nothing_is_judged() -> None:
    """DISABLED records nothing, so that a call may take as long as it likes."""
    circuit = Circuit("payments", SLOW)
    circuit.disable(0.0)
    acquire(circuit, 0.0)
    assert circuit.next_deadline() is None


def test_only_a_half_open_without_a_result_probes() -> None:
    """Not a closed or an open circuit, and not a ramp."""
    assert Circuit("payments").is_probing is False
    assert opened().is_probing is False
    assert half_opened().is_probing is True
    assert ramping(2).is_probing is False


def test_a_ramp_that_becomes_shorter_in_the_middle_of_a_stage_goes_on() -> None:
    """What has come in is too little for a verdict, and too young."""
    circuit = ramping(8)
    calls(circuit, "S", FIRST_WAIT)
    circuit.set_full(4, FIRST_WAIT)
    assert (circuit.limit, circuit.state) == (4, State.HALF_OPEN)
    circuit.set_full(4, FIRST_WAIT + 20.0)
    assert circuit.state is State.CLOSED


def test_an_explicit_end_of_the_ramp_is_its_end() -> None:
    """Four, where nobody has said another number since."""
    circuit = half_opened(CircuitSettings(ramp=RampSettings(initial=4, full=4)))
    calls(circuit, "SSSSS", FIRST_WAIT)
    assert circuit.state is State.CLOSED


def test_the_first_success_is_learnt_however_quick() -> None:
    """A lease of half a second is too short for a dependency whose calls take one."""
    circuit = Circuit("payments", CircuitSettings(permit_lease=0.5))
    call(circuit, SUCCESS, 0.0, took=0.9)
    calls(circuit, "FFFFF", 1.0)
    acquire(circuit, 6.0)
    assert circuit.next_deadline() == 7.8


def test_beside_a_call_that_hangs_time_matters_when_good_results_leave_the_window() -> None:
    """Earlier than the next call becomes slow."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0), slow_call_duration=1.0, minimum_calls=20))
    acquire(circuit, 0.0)
    call(circuit, SUCCESS, 1.2)
    circuit.advance(1.3)
    acquire(circuit, 1.5)
    assert circuit.next_deadline() == 2.0


def test_a_permit_is_not_renewed_at_the_end_of_a_bucket() -> None:
    """The result belongs to the next one, which is begun by recording it."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(20.0)))
    call(circuit, SUCCESS, 0.0, took=1.0)
    permit = acquire(circuit, 1.5)
    assert circuit.renew(permit, 2.0) is False
    assert circuit.renew(permit, 1.9) is True
