from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdgate import State
from holdgate.cli.demo.clock import StoryClock
from holdgate.cli.demo.frame import Note
from holdgate.cli.demo.guarded import GuardedSide, settings
from holdgate.cli.demo.ledger import Production
from holdgate.cli.demo.memory_venue import MemoryVenue
from holdgate.cli.demo.report import Transition
from holdgate.cli.demo.scenario import ORDERS, Scenario
from holdgate.cli.demo.service import LATENCY, PATIENCE
from holdgate.cli.demo.timeline import Kind
from holdgate.cli.demo.work import Work
from holdgate.core.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, LimitChanged
from holdgate.core.states import Reason
from holdgate.errors import IntakeError
from holdgate.flow.events import FlowEvent
from holdgate.ports import Intake
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, run_virtual

NOW = 6.5


@pytest.fixture
def told() -> list[Note]:
    """What the side said at once."""
    return []


@pytest.fixture
def side(told: list[Note]) -> GuardedSide:
    """A side that was not started, half a minute into nothing: events are handed to it by hand."""
    clock = StoryClock(iter((0.0, *[NOW] * 20)).__next__)
    clock.start()
    return GuardedSide(MemoryVenue(), Work(Scenario(), clock, Production()), Scenario(), told.append)


def opened(name: str = "payments") -> CircuitOpened:
    return CircuitOpened(name, 10.0, 1, reason=Reason.CONSECUTIVE_FAILURES, until=11.5, level=1, previous=State.CLOSED)


def test_a_transition_is_told_at_once_and_kept_for_the_report(side: GuardedSide, told: list[Note]) -> None:
    """In seconds of the story, with the reason and when the next probe comes."""
    side._observe(opened())
    assert told == [Note(NOW, "payments OPEN (consecutive failures): its partitions are held, next probe in 1.5 s")]
    assert side.transitions == [Transition(NOW, "payments", "OPEN")]


def test_the_row_follows_the_payment_circuit(side: GuardedSide) -> None:
    """Open, a probe, the ramp's limits, closed; each begins where the event came."""
    side._observe(opened())
    side._observe(CircuitHalfOpened("payments", 11.5, 2, previous=State.OPEN))
    side._observe(LimitChanged("payments", 11.6, 2, previous=1, limit=2))
    side._observe(CircuitClosed("payments", 12.0, 3, previous=State.HALF_OPEN))
    assert [(mark.kind, mark.limit) for mark in side.marks()[1:]] == [(Kind.BAD, 0), (Kind.PARTLY, 1), (Kind.PARTLY, 2), (Kind.FINE, 0)]


def test_another_circuit_is_told_but_not_drawn(side: GuardedSide, told: list[Note]) -> None:
    """The row is of payments; a surprise with email must not go unsaid."""
    side._observe(opened("email"))
    assert len(side.marks()) == 1
    assert [note.text[:10] for note in told] == ["email OPEN"]


def test_what_is_no_circuits_event_is_passed_over(side: GuardedSide, told: list[Note]) -> None:
    """The screen shows holds from the snapshot."""
    side._observe(FlowEvent(10.0))
    assert (told, side.transitions) == ([], [])


def test_a_slow_call_is_noticed_before_callers_give_up() -> None:
    """Between the normal latency and the caller's patience: the ramp slows down before calls fail."""
    slow = settings(Scenario()).slow_call_duration
    assert slow is not None
    assert LATENCY < slow < PATIENCE


def test_waits_fit_the_length_of_the_story() -> None:
    """A run of half the length waits half as long."""
    assert settings(Scenario(15.0)).open_duration == settings(Scenario(30.0)).open_duration / 2


class Refusing(MemoryVenue):
    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:
        return MemoryIntake(MemoryBroker(), topics=[ORDERS, "receipts"])


def test_what_keeps_it_from_starting_is_raised() -> None:
    """No topics on the broker: the intake's own error, not a wait for partitions that never come."""

    async def start() -> None:
        side = GuardedSide(Refusing(), Work(Scenario(), StoryClock(), Production()), Scenario(), lambda _: None, LoopClock())
        try:
            async with asyncio.timeout(60):
                await side.start()
        finally:
            await side.stop()

    with pytest.raises(IntakeError, match="orders"):
        run_virtual(start())


def test_stopping_it_before_it_was_started_is_fine(side: GuardedSide) -> None:
    """An interrupted start stops everything, whatever had begun."""
    run_virtual(side.stop())
    assert side.transitions == []
