"""The gate: when it asks, and what counts as let in."""

from __future__ import annotations

import pytest

from holdgate.core.refusal_gate import RefusalGate


def _gate(drawn: float = 0.0) -> RefusalGate:
    return RefusalGate(lambda: drawn)


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
    """Nothing was refused, so any number may start, and nobody asks."""
    gate = _gate()
    assert gate.free(0.0) is None
    assert (gate.is_shut, gate.is_down, gate.shut_at, gate.asking, gate.asked) == (False, False, 0.0, 0, 0)
    assert (gate.asked_at, gate.next_at()) == (0.0, 0.0)
    gate.shut(0.0, is_down=False)
    gate.ask(7, 0.25)
    assert (gate.asking, gate.asked) == (7, 7)
    gate.forget(7)
    assert (gate.asking, gate.asked) == (0, 7)
    gate.ask(8, 0.5)
    gate.open(0.75)
    assert (gate.free(0.75), gate.asking, gate.asked) == (None, 0, 0)


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
    times = _refused_at(_gate(), 16, retry_after=1.0)
    waits = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    assert waits == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 150.0, 150.0, 150.0]


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
    assert _refused_at(_gate(), 1, pace=20.0) == [0.125]
    assert _refused_at(_gate(), 1, pace=1000.0) == [0.05]


def test_a_pace_of_one_an_hour_is_taken_for_one_a_minute() -> None:
    """A Retry-After of a second gives way to an eighth of a minute there, and not of an hour."""
    assert _refused_at(_gate(), 2, retry_after=1.0, pace=1 / 3600) == [7.5, 22.5]


def test_marks_begin_above_half_a_minute() -> None:
    """Half a minute itself is waited for as it is."""
    assert _refused_at(_gate(), 2, pace=1 / 30) == [30.0, 60.0]
    assert _refused_at(_gate(), 1, pace=1 / 30.5) == [60.0]


def test_marks_are_counted_from_the_shut() -> None:
    """Whatever the clock says. A mark that is not farther than ten seconds is left out."""
    gate = _gate()
    gate.shut(1000.0, is_down=False, pace=1 / 60)
    assert gate.next_at() == 1060.0
    gate.refuse(1049.9, None)
    assert gate.next_at() == 1060.0
    gate.refuse(1050.0, None)
    assert gate.next_at() == 1120.0


@pytest.mark.parametrize(
    ("is_down", "retry_after", "pace", "at"),
    [(False, None, None, 0.275), (False, 50.0, None, 51.0), (True, None, None, 1.1), (False, None, 1 / 60, 61.0)],
)
def test_who_was_refused_together_asks_apart(is_down: bool, retry_after: float | None, pace: float | None, at: float) -> None:
    """By a tenth of a wait at most, by two percent of a Retry-After, and by a second after a mark."""
    gate = _gate(drawn=1.0)
    gate.shut(0.0, is_down=is_down, retry_after=retry_after, pace=pace)
    assert gate.next_at() == pytest.approx(at)


def test_after_a_long_shut_the_first_ask_waits_longer() -> None:
    """In front of a window the quick asks would only be refused."""
    gate = _gate()
    gate.shut(0.0, is_down=False)
    gate.open(8.0)
    assert _refused_at(gate, 1) == [1.0]
    gate.open(100.0)
    assert _refused_at(gate, 1) == [2.0]


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
    assert waits == pytest.approx([1.0, 1.7, 2.89, 4.913, 8.3521, 14.19857, 20.0, 20.0])


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


def test_patience_is_over_when_it_was_said_to_be() -> None:
    """Who wakes up just then need not come again."""
    gate = _gate()
    gate.shut(0.0, is_down=False)
    gate.learn(0.25)
    gate.ask(7, 0.25)
    assert gate.next_at() == 1.25
    assert gate.is_patience_over(1.25)


def test_how_long_a_refusal_takes_is_a_mean_of_about_eight() -> None:
    """One that took five times as long does not make the next ask wait five times as long."""
    gate = _gate()
    gate.learn(0.02)
    gate.learn(0.1)
    assert gate.patience == pytest.approx(4 * 0.03)


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
