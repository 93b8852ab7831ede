"""Transitions, overrides and events of a circuit."""

from __future__ import annotations

import pytest
from tests.core.driving import FAILURE, FIRST_WAIT, SUCCESS, acquire, call, calls, half_opened, is_refused, kinds, opened, ramping

from holdgate.core import (
    Circuit,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    CircuitSettings,
    Override,
    OverrideCleared,
    OverrideSet,
    Reason,
    Rejected,
    State,
    ThresholdExceeded,
)
from holdgate.core.circuit import EVENTS_KEPT
from holdgate.core.states import Trigger
from holdgate.errors import HoldgateError, SettingsError


def test_opening_is_told_after_the_threshold_that_caused_it() -> None:
    """One threshold event of the old generation, then one transition of the new one."""
    circuit = opened()
    assert circuit.take_events() == (
        ThresholdExceeded("payments", 0.0, 0, Reason.CONSECUTIVE_FAILURES, 5, 5),
        CircuitOpened("payments", 0.0, 1, Reason.CONSECUTIVE_FAILURES, FIRST_WAIT, 1, State.CLOSED),
    )
    assert circuit.take_events() == ()


def test_half_opening_and_closing_are_one_event_each() -> None:
    """A whole recovery, in order."""
    circuit = opened()
    circuit.take_events()
    circuit.set_full(1, 0.0)
    circuit.advance(FIRST_WAIT)
    calls(circuit, "SSSS", 6.0)
    assert circuit.take_events() == (
        CircuitHalfOpened("payments", FIRST_WAIT, 2, State.OPEN),
        CircuitClosed("payments", 6.0, 3, State.HALF_OPEN),
    )


def test_opening_again_from_half_open_tells_a_threshold_too() -> None:
    """The failed probe is the threshold event of the re-opening."""
    circuit = half_opened()
    call(circuit, FAILURE, 5.0)
    assert circuit.take_events() == (
        ThresholdExceeded("payments", 5.0, 2, Reason.PROBE, 1, 1),
        CircuitOpened("payments", 5.0, 3, Reason.PROBE, 15.0, 2, State.HALF_OPEN),
    )


def test_an_impossible_trigger_changes_nothing() -> None:
    """It raises before anything has moved."""
    circuit = opened()
    before = circuit.snapshot(1.0)
    with pytest.raises(HoldgateError):
        circuit._open(Trigger.BREACHED, Reason.FAILURE_RATE, 1.0)
    assert circuit.snapshot(1.0) == before
    assert kinds(circuit.take_events()) == ["ThresholdExceeded", "CircuitOpened"]


def test_a_draw_that_raises_changes_nothing() -> None:
    """Chance is asked before the first change, so a broken source leaves the circuit as it was."""

    def broken() -> float:
        raise ZeroDivisionError

    circuit = Circuit("payments", draw=broken)
    calls(circuit, "FFFF", 0.0)
    with pytest.raises(ZeroDivisionError):
        call(circuit, FAILURE, 0.0)
    assert (circuit.state, circuit.generation) == (State.CLOSED, 0)
    assert circuit.take_events() == ()


@pytest.mark.parametrize("after", [0.0, 3.0])
def test_open_for_opens_and_leaves_the_level_alone(after: float) -> None:
    """From CLOSED and from HALF_OPEN, until then, at the level it had."""
    circuit = Circuit("payments")
    circuit.open_for(30.0, after)
    assert (circuit.state, circuit.snapshot(after).level, circuit.next_deadline()) == (State.OPEN, 0, after + 30.0)
    assert circuit.take_events() == (CircuitOpened("payments", after, 1, Reason.OPEN_FOR, after + 30.0, 0, State.CLOSED),)
    circuit = ramping(4)
    circuit.open_for(30.0, 6.0)
    assert (circuit.state, circuit.snapshot(6.0).level, circuit.next_deadline()) == (State.OPEN, 1, 36.0)
    assert kinds(circuit.take_events()) == ["CircuitOpened"]


def test_a_server_that_says_when_raises_the_level() -> None:
    """A failure with Retry-After is a verdict that opens; open_for is none."""
    circuit = half_opened()
    circuit.record(acquire(circuit, 5.0), FAILURE, 5.0, retry_after=60.0)
    assert circuit.take_events() == (CircuitOpened("payments", 5.0, 3, Reason.RETRY_AFTER, 65.0, 2, State.HALF_OPEN),)


def test_open_for_only_extends_while_open() -> None:
    """A longer wait puts the end off, a shorter one does nothing; no event, the same generation."""
    circuit = opened()
    circuit.take_events()
    circuit.open_for(2.0, 1.0)
    assert circuit.next_deadline() == FIRST_WAIT
    circuit.open_for(20.0, 1.0)
    assert circuit.next_deadline() == 21.0
    assert circuit.try_acquire(20.9) == Rejected(21.0, State.OPEN)
    assert circuit.take_events() == ()
    assert circuit.generation == 1
    acquire(circuit, 21.0)


def test_open_for_is_clamped() -> None:
    """Whoever asks, retry_after_max is the longest."""
    circuit = Circuit("payments", CircuitSettings(retry_after_max=100.0))
    circuit.open_for(1e6, 0.0)
    assert circuit.next_deadline() == 100.0


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), True])
def test_open_for_wants_a_duration(duration: float) -> None:
    """Anything else raises and changes nothing."""
    circuit = Circuit("payments")
    with pytest.raises(SettingsError, match="duration="):
        circuit.open_for(duration, 0.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize("circuit", [Circuit("payments"), opened(), half_opened(), ramping(8)], ids=["closed", "open", "probe", "ramp"])
def test_reset_closes_from_anywhere(circuit: Circuit) -> None:
    """Empty windows, level 0, the full rate at once; one event, one generation."""
    calls(circuit, "F", 5.0) if circuit.state is State.CLOSED else None
    circuit.take_events()
    generation, previous = circuit.generation, circuit.state
    circuit.reset(6.0)
    snapshot = circuit.snapshot(6.0)
    assert (snapshot.state, snapshot.level, snapshot.calls, snapshot.consecutive_failures, snapshot.limit) == (State.CLOSED, 0, 0, 0, None)
    assert circuit.take_events() == (CircuitReset("payments", 6.0, generation + 1, previous),)


def test_reset_clears_no_override() -> None:
    """Forced open stays forced open over a closed circuit."""
    circuit = opened()
    circuit.force_open(1.0)
    circuit.reset(2.0)
    assert (circuit.state, circuit.override) == (State.CLOSED, Override.FORCED_OPEN)
    assert is_refused(circuit, 2.0)


def test_a_level_rises_with_every_opening_and_stops_at_the_maximum() -> None:
    """Six openings from 5 s to 300 s, and no seventh level: a long outage is forgotten in six minutes."""
    circuit = opened()
    waits = [FIRST_WAIT]
    for _ in range(20):
        deadline = circuit.next_deadline()
        assert deadline is not None
        call(circuit, FAILURE, deadline)
        waits.append((circuit.next_deadline() or 0.0) - deadline)
    assert waits[:8] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert circuit.snapshot(0.0).level == 7


@pytest.mark.parametrize(("pause", "wait"), [(59.9, 20.0), (60.0, 10.0), (119.9, 10.0), (120.0, 5.0), (1e6, 5.0)])
def test_the_level_falls_with_healthy_intervals(pause: float, wait: float) -> None:
    """A close does not reset it: opened twice, the third wait depends on how long it was closed between."""
    circuit = half_opened()
    call(circuit, FAILURE, 5.0)  # level 2, until 15
    circuit.set_full(1, 5.0)
    calls(circuit, "SSSS", 15.0)
    assert circuit.state is State.CLOSED
    calls(circuit, "FFFFF", 15.0 + pause)
    assert circuit.next_deadline() == pytest.approx(15.0 + pause + wait)


def test_only_unbroken_health_lowers_the_level() -> None:
    """Two times forty seconds with an opening between are no minute."""
    circuit = half_opened()
    circuit.set_full(1, 5.0)
    calls(circuit, "SSSS", 5.0)
    circuit.open_for(1.0, 45.0)
    calls(circuit, "SSSS", 46.0)
    assert circuit.state is State.CLOSED
    assert circuit.snapshot(86.0).level == 1
    assert circuit.snapshot(106.0).level == 0


def test_time_under_forced_open_lowers_no_level() -> None:
    """Closed below or not, nothing went through: an hour of it is no health. What was healthy before still counts."""
    circuit = half_opened()
    call(circuit, FAILURE, 5.0)  # level 2, until 15
    circuit.set_full(1, 5.0)
    calls(circuit, "SSSS", 15.0)
    circuit.force_open(75.0, until=1000.0)  # a minute later: level 1
    assert circuit.snapshot(999.0).level == 1
    circuit.force_open(2000.0, until=4000.0)
    circuit.advance(4000.0)
    assert (circuit.state, circuit.snapshot(4000.0).level) == (State.HALF_OPEN, 1)


def test_a_reset_under_forced_open_takes_the_level_away() -> None:
    """An operator's word is more than a count of minutes."""
    circuit = opened()
    circuit.force_open(1.0)
    circuit.reset(2.0)
    assert circuit.snapshot(2.0).level == 0


@pytest.mark.parametrize("command", ["disable", "observe"])
def test_other_overrides_expire_too(command: str) -> None:
    """At their second, which is the next deadline, and the state below goes on: here the end of its wait was passed meanwhile."""
    circuit = opened()
    circuit.take_events()
    getattr(circuit, command)(1.0, until=3.0)
    assert circuit.next_deadline() == 3.0
    circuit.advance(2.9)
    assert circuit.override is not None
    circuit.advance(FIRST_WAIT)
    assert (circuit.state, circuit.override) == (State.HALF_OPEN, None)
    assert kinds(circuit.take_events()) == ["OverrideSet", "OverrideCleared", "CircuitHalfOpened"]


def test_an_override_that_ends_later_than_the_wait_waits_for_the_wait_first() -> None:
    """The earlier of the two is the deadline."""
    circuit = opened()
    circuit.disable(1.0, until=60.0)
    assert circuit.next_deadline() == FIRST_WAIT
    circuit.advance(FIRST_WAIT)
    assert (circuit.state, circuit.next_deadline()) == (State.HALF_OPEN, 60.0)


def test_an_expired_override_admits_as_the_state_below_does() -> None:
    """Also when nobody has let time pass before the call comes."""
    circuit = opened(CircuitSettings(open_duration=100.0))
    circuit.disable(1.0, until=3.0)
    acquire(circuit, 2.9)
    assert is_refused(circuit, 3.0)


def test_a_wait_can_be_ended() -> None:
    """A probe may go at once, and a failure of it counts on from the level that was."""
    circuit = opened()
    circuit.take_events()
    assert circuit.end_wait(1.0) is True
    assert (circuit.state, circuit.limit) == (State.HALF_OPEN, 1)
    assert circuit.take_events() == (CircuitHalfOpened("payments", 1.0, 2, State.OPEN),)
    call(circuit, FAILURE, 1.0)
    assert circuit.snapshot(1.0).level == 2


def test_no_other_wait_can_be_ended() -> None:
    """Closed, half-open or under an override: nothing happens."""
    forced = opened()
    forced.force_open(1.0)
    for circuit in (Circuit("payments"), half_opened(), forced):
        generation = circuit.generation
        assert circuit.end_wait(6.0) is False
        assert circuit.generation == generation


def test_forced_open_rejects_whatever_the_state() -> None:
    """Also when the wait below is over; without an expiry nobody knows until when."""
    for circuit in (Circuit("payments"), opened(), half_opened()):
        state = circuit.state
        circuit.force_open(5.0)
        assert circuit.try_acquire(1e9) == Rejected(None, state, Override.FORCED_OPEN)
        assert not circuit.may_acquire(1e9)
        circuit.advance(1e9)
        assert (circuit.state, circuit.next_deadline(), circuit.limit, circuit.free_slots) == (state, None, 0, 0)


def test_forced_open_expires_into_half_open() -> None:
    """Never from nothing to everything: a probe is next, whatever the state was."""
    for circuit in (Circuit("payments"), opened(), half_opened()):
        circuit.take_events()
        generation, previous = circuit.generation, circuit.state
        circuit.force_open(6.0, until=60.0)
        assert circuit.next_deadline() == 60.0
        assert circuit.try_acquire(59.9) == Rejected(60.0, previous, Override.FORCED_OPEN)
        assert not circuit.may_acquire(59.9)
        assert circuit.may_acquire(60.0)
        acquire(circuit, 60.0)
        assert is_refused(circuit, 60.0)
        assert circuit.take_events() == (
            OverrideSet("payments", 6.0, generation + 1, Override.FORCED_OPEN, 60.0),
            OverrideCleared("payments", 60.0, generation + 2, Override.FORCED_OPEN),
            CircuitHalfOpened("payments", 60.0, generation + 2, previous),
        )


def test_clearing_forced_open_goes_to_half_open() -> None:
    """The operator's way is the expiry's."""
    circuit = Circuit("payments")
    circuit.force_open(0.0, until=60.0)
    circuit.clear_override(1.0)
    assert (circuit.state, circuit.override, circuit.limit) == (State.HALF_OPEN, None, 1)
    circuit.advance(60.0)
    assert circuit.generation == 2


def test_forced_open_replaced_by_another_override_goes_to_half_open_below() -> None:
    """What was forced open ramps up again, however it is let go."""
    circuit = Circuit("payments")
    circuit.force_open(0.0)
    circuit.disable(1.0)
    assert (circuit.state, circuit.override) == (State.HALF_OPEN, Override.DISABLED)
    circuit.clear_override(2.0)
    assert (circuit.state, circuit.limit) == (State.HALF_OPEN, 1)


@pytest.mark.parametrize("until", [float("nan"), float("inf"), True, "soon"])
def test_forced_open_wants_a_time_to_end(until: float) -> None:
    """Anything else raises and changes nothing."""
    circuit = Circuit("payments")
    with pytest.raises(SettingsError, match="until="):
        circuit.force_open(0.0, until=until)
    assert circuit.override is None


def test_an_override_twice_is_one() -> None:
    """The same one changes nothing; another expiry does."""
    circuit = Circuit("payments")
    for _ in range(2):
        circuit.force_open(0.0, until=60.0)
    assert (circuit.generation, kinds(circuit.take_events())) == (1, ["OverrideSet"])
    circuit.force_open(0.0, until=90.0)
    assert (circuit.generation, circuit.next_deadline()) == (2, 90.0)
    circuit.observe(1.0)
    circuit.observe(2.0)
    assert kinds(circuit.take_events()) == ["OverrideSet", "OverrideSet", "CircuitHalfOpened"]


def test_clearing_nothing_is_nothing() -> None:
    """No generation, no event."""
    circuit = Circuit("payments")
    circuit.clear_override(0.0)
    assert (circuit.generation, circuit.take_events()) == (0, ())


def test_a_disabled_circuit_admits_all_and_records_nothing() -> None:
    """Open, it lets everything through; results neither open nor count."""
    circuit = opened()
    circuit.disable(1.0)
    assert circuit.may_acquire(1.0)
    assert (circuit.limit, circuit.free_slots) == (None, None)
    calls(circuit, "F" * 30 + "I", 1.0)
    snapshot = circuit.snapshot(1.0)
    assert (snapshot.state, snapshot.calls, snapshot.late_results, snapshot.in_flight) == (State.OPEN, 5, 0, 0)


def test_the_wait_goes_on_below_a_disabled_circuit() -> None:
    """Its end shows, and clearing the override then goes on with a probe."""
    circuit = opened()
    circuit.disable(1.0)
    assert circuit.next_deadline() == FIRST_WAIT
    circuit.advance(FIRST_WAIT)
    assert circuit.state is State.HALF_OPEN
    calls(circuit, "SSSSSSSSFFFF", FIRST_WAIT)
    circuit.clear_override(6.0)
    assert (circuit.state, circuit.limit, circuit.free_slots) == (State.HALF_OPEN, 1, 1)


def test_clearing_goes_on_from_the_state_below() -> None:
    """Open stays open until its end."""
    circuit = opened()
    circuit.take_events()
    circuit.observe(1.0)
    circuit.clear_override(2.0)
    assert (circuit.state, circuit.next_deadline(), circuit.generation) == (State.OPEN, FIRST_WAIT, 3)
    assert circuit.take_events() == (
        OverrideSet("payments", 1.0, 2, Override.METRICS_ONLY, None),
        OverrideCleared("payments", 2.0, 3, Override.METRICS_ONLY),
    )


def test_an_override_keeps_the_window_of_a_closed_circuit() -> None:
    """What was counted before counts after."""
    circuit = Circuit("payments")
    calls(circuit, "FFFF", 0.0)
    circuit.disable(1.0)
    circuit.clear_override(2.0)
    call(circuit, FAILURE, 3.0)
    assert circuit.state is State.OPEN


@pytest.mark.parametrize("command", ["force_open", "disable", "observe", "clear_override", "reset"])
def test_permits_of_before_a_command_are_late(command: str) -> None:
    """Results of calls admitted before it move nothing after it."""
    circuit = Circuit("payments")
    if command == "clear_override":
        circuit.observe(0.0)
    permits = [acquire(circuit, 0.0) for _ in range(6)]
    getattr(circuit, command)(1.0)
    for permit in permits[:5]:
        circuit.record(permit, FAILURE, 2.0)
    circuit.record(permits[5], SUCCESS, 2.0)
    snapshot = circuit.snapshot(2.0)
    assert (snapshot.late_results, snapshot.calls, snapshot.failures) == (6, 0, 0)


def test_events_nobody_takes_are_bounded() -> None:
    """The oldest are dropped."""
    circuit = Circuit("payments")
    for at in range(3000):
        circuit.reset(float(at))
    taken = circuit.take_events()
    assert len(taken) == EVENTS_KEPT == 1024
    assert taken[-1].at == 2999.0


def test_pending_events_are_read_without_taking_them() -> None:
    """A hot loop tests one attribute."""
    circuit = Circuit("payments")
    assert not circuit.events_pending
    circuit.reset(0.0)
    assert circuit.events_pending
    circuit.take_events()
    assert not circuit.events_pending
