"""The circuit where its parts meet: what a limit, a fleet and a window hand to each other."""

from __future__ import annotations

import pytest
from tests.core.driving import FAILURE, FIRST_WAIT, SUCCESS, THROTTLED, acquire, calls, opened, ramping

from holdgate.core import (
    Circuit,
    CircuitHalfOpened,
    CircuitSettings,
    LimitChanged,
    Limits,
    RampSettings,
    Rejected,
    State,
    ThresholdExceeded,
    TimeWindow,
)
from holdgate.core.guidance import Guidance, Phase
from holdgate.core.outcomes import Told


def test_a_refusal_for_want_of_a_slot_says_the_state() -> None:
    """It is not the circuit that refuses."""
    circuit = Circuit("payments", limits=Limits(concurrency=1, adaptive=False))
    acquire(circuit, 0.0)
    refused = circuit.try_acquire(0.0)
    assert isinstance(refused, Rejected)
    assert refused.state is State.CLOSED


def test_a_good_answer_that_names_a_quota_is_heard() -> None:
    """Also on the short way of a quick success; and a throttled one says how long to wait."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.0, told=Told(None, 20, 10.0))
    assert circuit.limits.active
    seen = circuit.snapshot(0.0).limits
    assert seen is not None
    assert seen.pace == 2.0
    throttled = Circuit("payments")
    throttled.record(acquire(throttled, 0.0), THROTTLED, 0.1, told=Told(7.0))
    seen = throttled.snapshot(0.1).limits
    assert seen is not None
    assert seen.next_at is not None
    assert seen.next_at >= 7.1


def test_seconds_of_quick_calls_are_added_up() -> None:
    """Those that were measured elsewhere count as they were, and each renewal is a call."""
    circuit = Circuit("payments")
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.0009, duration=0.0002)
    permit = acquire(circuit, 1.0)
    assert circuit.renew(permit, 1.0005)
    assert circuit.renew(permit, 1.001)
    circuit.record(permit, SUCCESS, 1.0015)
    totals = circuit.read_totals()
    assert (totals.succeeded.count, totals.succeeded.sum) == (4, pytest.approx(0.0017))


def test_a_success_may_be_the_result_that_opens() -> None:
    """It is the tenth, and with it there are enough to judge: half of them have failed."""
    circuit = Circuit("payments")
    calls(circuit, "FSFSFSFSF", 1.0)
    assert circuit.state is State.CLOSED
    calls(circuit, "S", 1.0)
    assert circuit.state is State.OPEN


def test_while_it_is_open_no_slot_is_waited_for() -> None:
    """A rate has room in a second. The circuit has none before its wait is over."""
    circuit = opened(limits=Limits(rate=5, per=1.0, adaptive=False))
    assert circuit.next_deadline() == FIRST_WAIT


def test_a_quick_failure_of_a_probe_is_no_silence() -> None:
    """However late it is: the wait counts from when the probe was made, and not from its end."""
    circuit = Circuit("payments", limits=Limits())
    circuit.record(acquire(circuit, 0.0), SUCCESS, 0.1)
    now = 1000.0
    while circuit.state is State.CLOSED:
        circuit.record(acquire(circuit, now), FAILURE, now)
    probed = circuit.next_deadline()
    assert probed is not None
    circuit.record(acquire(circuit, probed), FAILURE, probed + 0.05)
    assert circuit.state is State.OPEN
    assert circuit.next_deadline() == pytest.approx(probed + FIRST_WAIT)


def test_a_lower_full_rate_is_an_event_of_its_moment() -> None:
    """The limit comes down with it."""
    circuit = ramping(8)
    circuit.reconfigure(CircuitSettings(ramp=RampSettings(initial=4, full=4)), 5.0)
    (event,) = [each for each in circuit.take_events() if isinstance(each, LimitChanged)]
    assert (event.at, event.previous, event.limit, event.in_fleet) == (5.0, 8, 4, False)


def test_what_a_fleet_changes_is_an_event_of_its_moment() -> None:
    """Its share begins, and becomes another."""
    circuit = Circuit("payments")
    circuit.guide(Guidance(Phase.RAMP, limit=4, stage=1), 5.0)
    (begun,) = [each for each in circuit.take_events() if isinstance(each, CircuitHalfOpened)]
    assert (begun.at, begun.previous) == (5.0, State.CLOSED)
    circuit.guide(Guidance(Phase.RAMP, limit=6, stage=1), 7.0)
    (event,) = [each for each in circuit.take_events() if isinstance(each, LimitChanged)]
    assert (event.at, event.previous, event.limit, event.in_fleet) == (7.0, 4, 6, True)


def test_after_a_fleet_a_ramp_is_as_careful_as_its_relapses_say() -> None:
    """It was down twice in a short time, so each stage takes longer."""
    settings = CircuitSettings(ramp=RampSettings(full=1, minimum_verdicts=1, stage_per_relapse=5.0))
    circuit, now = Circuit("payments", settings), 0.0
    for _ in range(2):
        calls(circuit, "FFFFF", now)
        deadline = circuit.next_deadline()
        assert deadline is not None
        now = deadline
        while circuit.state is not State.CLOSED:
            circuit.advance(now)
            circuit.record(acquire(circuit, now), SUCCESS, now)
            now += 1.0
    calls(circuit, "FFFFF", now)
    circuit.guide(Guidance(Phase.RAMP, limit=4, stage=1), now + 1.0)
    circuit.guide(None, now + 2.0)
    assert circuit._half_open is not None
    assert circuit._half_open.ramp._lasts >= 5.0


def test_an_observed_outage_is_over_when_its_window_of_time_is_empty() -> None:
    """The next one is news again."""
    circuit = Circuit("payments", CircuitSettings(window=TimeWindow(10)))
    circuit.observe(0.0)
    for now in (1.0, 20.0):
        calls(circuit, "FFFFFF", now)
        calls(circuit, "S", now + 1.0)
    assert [each.at for each in circuit.take_events() if isinstance(each, ThresholdExceeded)] == [1.0, 20.0]
