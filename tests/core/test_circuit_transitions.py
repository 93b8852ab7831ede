"""Opening, resetting and closing: events, waits and levels."""

from __future__ import annotations

import pytest
from tests.core.driving import (
    DOUBLING,
    FAILURE,
    FIRST_WAIT,
    SUCCESS,
    acquire,
    call,
    calls,
    half_opened,
    kinds,
    opened,
    ramping,
)

from holdgate.core import (
    Circuit,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    CircuitSettings,
    Reason,
    Rejected,
    State,
    ThresholdExceeded,
    TimeWindow,
)
from holdgate.core.circuit import EVENTS_KEPT
from holdgate.errors import HoldgateError, SettingsError


def test_a_wait_that_ends_is_told_with_its_time() -> None:
    """Whoever let the time pass."""
    circuit = opened()
    circuit.take_events()
    circuit.advance(FIRST_WAIT)
    assert [(type(event), event.at) for event in circuit.take_events()] == [(CircuitHalfOpened, FIRST_WAIT)]


def test_opening_is_told_after_the_threshold_that_caused_it() -> None:
    """One threshold event of the old generation, then one transition of the new one."""
    circuit = opened()
    assert circuit.take_events() == (
        ThresholdExceeded("payments", 0.0, 0, Reason.CONSECUTIVE_FAILURES, 5, 5),
        CircuitOpened("payments", 0.0, 1, Reason.CONSECUTIVE_FAILURES, FIRST_WAIT, 1, State.CLOSED, 0.0, asked=0.0),
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
        CircuitClosed("payments", 6.0, 3, State.HALF_OPEN, 0.0, 1),
    )


def test_opening_again_from_half_open_tells_a_threshold_too() -> None:
    """The failed probe is the threshold event of the re-opening."""
    circuit = half_opened()
    call(circuit, FAILURE, 5.0)
    assert circuit.take_events() == (
        ThresholdExceeded("payments", 5.0, 2, Reason.PROBE, 1, 1),
        CircuitOpened("payments", 5.0, 3, Reason.PROBE, 5.0 + FIRST_WAIT, 1, State.HALF_OPEN, 0.0, 1, asked=5.0),
    )


def test_an_impossible_trigger_changes_nothing() -> None:
    """It raises before anything has moved."""
    circuit = opened()
    before = circuit.snapshot(1.0)
    with pytest.raises(HoldgateError):
        circuit._open(Reason.FAILURE_RATE, 1.0)
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
    assert circuit.take_events() == (CircuitOpened("payments", after, 1, Reason.OPEN_FOR, after + 30.0, 0, State.CLOSED, after),)
    circuit = ramping(4)
    circuit.open_for(30.0, 6.0)
    assert (circuit.state, circuit.snapshot(6.0).level, circuit.next_deadline()) == (State.OPEN, 1, 36.0)
    assert kinds(circuit.take_events()) == ["CircuitOpened"]


def test_a_server_that_says_when_raises_the_level() -> None:
    """With `open_multiplier`, a failure with Retry-After is a verdict that opens; open_for is none."""
    circuit = half_opened(DOUBLING)
    circuit.record(acquire(circuit, 5.0), FAILURE, 5.0, retry_after=60.0)
    assert circuit.take_events() == (CircuitOpened("payments", 5.0, 3, Reason.RETRY_AFTER, 65.0, 2, State.HALF_OPEN, 0.0, 1),)


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
    with pytest.raises(SettingsError, match="duration must be"):
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


def test_a_level_rises_with_every_opening_and_stops_at_the_maximum() -> None:
    """With `open_multiplier`: six openings from 5 s to 300 s, and no eighth level: a long outage is forgotten in seven intervals."""
    circuit = opened(DOUBLING)
    waits = [5.0]
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
    circuit = half_opened(DOUBLING)
    call(circuit, FAILURE, 5.0)  # level 2, until 15
    circuit.set_full(1, 5.0)
    calls(circuit, "SSSS", 15.0)
    assert circuit.state is State.CLOSED
    calls(circuit, "FFFFF", 15.0 + pause)
    assert circuit.next_deadline() == pytest.approx(15.0 + pause + wait)


def test_only_unbroken_health_lowers_the_level() -> None:
    """Two times forty seconds with an opening between are no minute."""
    circuit = half_opened(DOUBLING)
    circuit.set_full(1, 5.0)
    calls(circuit, "SSSS", 5.0)
    circuit.open_for(1.0, 45.0)
    calls(circuit, "SSSS", 46.0)
    assert circuit.state is State.CLOSED
    assert circuit.snapshot(86.0).level == 1
    assert circuit.snapshot(106.0).level == 0


def test_a_wait_can_be_ended() -> None:
    """A probe may go immediately, and a failure of it counts on from the level that was."""
    circuit = opened(DOUBLING)
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


def test_a_reset_begins_the_window_then() -> None:
    """A window of time has its buckets from that second on."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10.0)))
    circuit.reset(101.0)
    call(circuit, SUCCESS, 101.0)
    assert circuit.snapshot(110.0).calls == 1
    assert circuit.snapshot(111.0).calls == 0
