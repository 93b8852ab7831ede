"""The gate: when it asks, and what counts as let in."""

from __future__ import annotations

import pytest

from holdgate.core.refusal_gate import RefusalGate


def _gate() -> RefusalGate:
    return RefusalGate(lambda: 0.0)


def _refused_at(gate: RefusalGate, asks: int, retry_after: float | None = None, pace: float | None = None) -> list[float]:
    """When it asks, if each asking call is refused immediately."""
    gate.shut(0.0, is_down=False, retry_after=retry_after, pace=pace)
    times = []
    for token in range(1, asks + 1):
        at = gate.next_at()
        assert at is not None
        assert gate.free(at - 0.001) == 0
        assert gate.free(at) == 1
        gate.ask(token, at)
        gate.forget(token)
        gate.refuse(at, retry_after)
        times.append(at)
    return times


def test_open_gate_limits_nothing() -> None:
    """Nothing was refused, so any number may start."""
    assert _gate().free(0.0) is None


def test_waits_double_and_then_fall_on_round_minutes() -> None:
    """A quota that ends at a round minute is asked just then, and in twenty minutes not twenty calls ask."""
    times = _refused_at(_gate(), 19)
    assert times[:7] == [0.25, 0.75, 1.75, 3.75, 7.75, 15.75, 31.75]
    assert times[7:] == [60.0, 120.0, 180.0, 300.0, 450.0, 600.0, 750.0, 900.0, 1050.0, 1200.0, 1350.0, 1500.0]


def test_retry_after_is_obeyed() -> None:
    """The first ask comes when the service said, and not before."""
    assert _refused_at(_gate(), 2, retry_after=7.0)[0] == 7.0


def test_retry_after_that_is_wrong_again_and_again_gives_way_to_the_back_off() -> None:
    """A service that says "in a second" for ever is not asked each second for ever."""
    times = _refused_at(_gate(), 30, retry_after=1.0)
    assert times[1] - times[0] == 1.0
    assert times[-1] - times[-2] == 150.0


@pytest.mark.parametrize("lie", [1e9, float("inf")])
def test_retry_after_of_a_lifetime_is_an_hour(lie: float) -> None:
    """No header stops a worker for a day."""
    assert _refused_at(_gate(), 1, retry_after=lie) == [3600.0]


@pytest.mark.parametrize("lie", [0.0, -5.0, float("nan")])
def test_retry_after_that_cannot_be_is_not_said(lie: float) -> None:
    """The usual back-off holds."""
    assert _refused_at(_gate(), 1, retry_after=lie) == [0.25]


def test_the_first_wait_is_an_interval_of_the_pace() -> None:
    """At one call in four seconds there is no use in asking after a quarter of a second."""
    assert _refused_at(_gate(), 1, pace=0.25) == [4.0]
    assert _refused_at(_gate(), 1, pace=0.0025) == [60.0]
    assert _refused_at(_gate(), 1, pace=10.0) == [0.25]
    assert _refused_at(_gate(), 1, pace=1000.0) == [0.05]


def test_after_a_long_shut_the_first_ask_waits_longer() -> None:
    """In front of a window the quick asks would only be refused."""
    gate = _gate()
    gate.shut(0.0, is_down=False)
    gate.open(8.0)
    assert _refused_at(gate, 1) == [1.0]


def test_what_is_down_is_asked_at_most_each_twenty_seconds() -> None:
    """The waits grow from one second to twenty, and silence proves nothing."""
    gate = _gate()
    gate.shut(0.0, is_down=True)
    now, waits = 0.0, []
    for token in range(1, 9):
        at = gate.next_at()
        assert at is not None
        waits.append(at - now)
        gate.ask(token, at)
        assert gate.next_at() is None
        assert not gate.is_patience_over(at + 1e6)
        gate.forget(token)
        gate.refuse(at, None)
        now = at
    assert waits[0] == 1.0
    assert waits[-1] == 20.0


def test_silence_of_four_refusals_is_let_in() -> None:
    """Refusals are quick: who is not refused by then was let in."""
    gate = _gate()
    gate.shut(0.0, is_down=False)
    assert gate.patience == 1.0
    gate.learn(0.02)
    gate.learn(0.02)
    gate.ask(7, 0.25)
    assert gate.free(0.3) == 0
    assert not gate.is_patience_over(0.32)
    assert gate.next_at() == pytest.approx(0.33)
    assert gate.is_patience_over(0.34)


def test_another_may_ask_if_the_asking_call_never_was() -> None:
    """A call that is forgotten does not keep the gate shut, and other calls change nothing."""
    gate = _gate()
    gate.shut(0.0, is_down=False)
    gate.ask(7, 0.25)
    gate.forget(6)
    assert gate.free(0.3) == 0
    gate.forget(7)
    assert gate.free(0.3) == 1


def test_trap_a_machine_that_slept_in_a_refusal_waits_for_days() -> None:
    """A clock that jumps makes a refusal last for a night. How long others take is known nevertheless."""
    gate = _gate()
    gate.learn(1e9)
    assert gate.patience <= 40.0
