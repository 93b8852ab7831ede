"""`renew` is `record` and `try_acquire` in one step, or nothing at all."""

from __future__ import annotations

import random

import pytest

from holdgate.core import Circuit, CircuitSettings, CountWindow, Outcome, Permit, TimeWindow

WINDOWS = [CountWindow(10), TimeWindow(0.02)]


def permit_of(circuit: Circuit, now: float) -> Permit:
    permit = circuit.try_acquire(now)
    assert isinstance(permit, Permit)
    return permit


def learnt(window: CountWindow | TimeWindow = WINDOWS[0]) -> Circuit:
    """A circuit that has seen a good call of one millisecond, and calls two milliseconds slow. All times here are short: see QUICK."""
    circuit = Circuit("payments", CircuitSettings(window=window, slow_call_duration=0.002))
    circuit.record(permit_of(circuit, 0.0), Outcome.SUCCESS, 0.001)
    return circuit


@pytest.mark.parametrize("window", WINDOWS, ids=["count window", "time window"])
@pytest.mark.parametrize("seed", range(6))
def test_it_comes_out_as_the_two_steps_do(window: CountWindow | TimeWindow, seed: int) -> None:
    """Good, slow and failing work, one after the other and beside older calls: the circuits look the same after each."""
    draw = random.Random(seed)
    one, two = learnt(window), learnt(window)
    now = 0.001
    first, second = permit_of(one, now), permit_of(two, now)
    for _ in range(200):
        now += draw.choice([0.0, 0.0001, 0.0009, 0.003, 0.021])
        if draw.random() < 0.1:  # a call beside it, which stays in flight for a while or fails
            for circuit in (one, two):
                beside = circuit.try_acquire(now)
                if isinstance(beside, Permit):
                    circuit.record(beside, Outcome.FAILURE, now)
        if not one.renew(first, now):
            one.record(first, Outcome.SUCCESS, now)
            answer = one.try_acquire(now)
            first = answer if isinstance(answer, Permit) else first
        two.record(second, Outcome.SUCCESS, now)
        answer = two.try_acquire(now)
        second = answer if isinstance(answer, Permit) else second
        assert one.snapshot(now) == two.snapshot(now)


def test_the_permit_begins_anew_and_is_the_youngest() -> None:
    """It counts from the new call's beginning, behind those that were in flight before."""
    circuit = learnt()
    permit, other = permit_of(circuit, 0.001), permit_of(circuit, 0.0015)

    assert circuit.renew(permit, 0.00175)
    assert permit.acquired_at == 0.00175
    assert list(circuit.live) == [other, permit]


def test_it_ends_a_row_of_failures() -> None:
    """The failure has left the window by time, and the row it began ends with the good call."""
    circuit = learnt(TimeWindow(0.02))
    circuit.record(permit_of(circuit, 0.001), Outcome.FAILURE, 0.001)
    permit = permit_of(circuit, 0.05)
    circuit.evidence.window.expire(0.05)

    assert circuit.renew(permit, 0.0505)
    assert circuit.snapshot(0.0505).consecutive_failures == 0


@pytest.mark.parametrize(
    ("what", "now"),
    [
        (lambda circuit, _: circuit.reset(0.001), 0.0015),
        (lambda circuit, _: circuit.observe(0.001), 0.0015),
        (lambda circuit, permit: circuit.record(permit, Outcome.SUCCESS, 0.001), 0.0015),
        (lambda circuit, _: circuit.record(permit_of(circuit, 0.001), Outcome.FAILURE, 0.001), 0.0015),
        (lambda circuit, _: circuit.advance(0.00175), 0.0015),
        (lambda circuit, _: circuit.advance(0.00225), 0.0025),
        (lambda circuit, _: None, 0.0035),
    ],
    ids=["older generation", "override", "settled", "a failure in the window", "time goes back", "longer than ever", "slow"],
)
def test_anything_unusual_is_left_to_the_two_steps(what, now) -> None:
    """False, and the circuit is what it was."""
    circuit = learnt()
    permit = permit_of(circuit, 0.001)
    what(circuit, permit)
    before, live = circuit.snapshot(now), list(circuit.live)

    assert not circuit.renew(permit, now)
    assert (circuit.snapshot(now), list(circuit.live), permit.acquired_at) == (before, live, 0.001)


def test_a_call_beside_it_that_hangs_is_judged_first() -> None:
    """While another call in flight is overdue, time has to be let pass by the two steps."""
    circuit = learnt()
    permit_of(circuit, 0.001)
    permit = permit_of(circuit, 0.003)

    assert not circuit.renew(permit, 0.0035)
