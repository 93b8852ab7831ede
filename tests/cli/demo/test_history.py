from __future__ import annotations

import pytest

from holdgate.cli.demo.clock import StoryClock
from holdgate.cli.demo.frame import Note, Status
from holdgate.cli.demo.history import FRAMES_PER_SECOND, History, SideHistory
from holdgate.cli.demo.ledger import Place, Production
from holdgate.cli.demo.scenario import ORDERS, RECEIPTS, Phase, Scenario
from holdgate.cli.demo.timeline import Kind, Mark
from holdgate.cli.demo.work import Work


class FakeSide:
    def __init__(self) -> None:
        self.production = Production()
        self.work = Work(Scenario(), StoryClock(lambda: 0.0), self.production)
        self.mood = "good"
        self.own_marks: list[Mark] = []

    def status(self) -> Status:
        return Status("CALLING", "□", self.mood)

    def marks(self) -> list[Mark]:
        return self.own_marks

    def produce(self, *numbers: int) -> None:
        for number in numbers:
            self.production.send(number, 0.0)
            self.production.store(number, Place(ORDERS, 0, number))


@pytest.fixture
def side() -> FakeSide:
    return FakeSide()


def test_the_peak_of_the_backlog_is_remembered(side: FakeSide) -> None:
    """Three waited at most, though none waits at the end."""
    history = SideHistory(side)
    side.produce(0, 1, 2)
    history.take(0.1)
    for number in range(3):
        side.work.ledger.process(ORDERS, number, 0.2)
    assert history.take(0.2).waiting == 0
    assert history.peak_waiting == 3


def test_a_growing_backlog_has_an_arrow_up_until_it_stays_as_it_is(side: FakeSide) -> None:
    """Twenty came within the last second; a second later nothing has changed any more."""
    history = SideHistory(side)
    history.take(0.0)
    side.produce(*range(20))
    trends = [history.take(step / FRAMES_PER_SECOND).trend for step in range(1, FRAMES_PER_SECOND + 2)]
    assert (trends[0], trends[-1]) == (1, 0)


def test_a_backlog_that_is_worked_off_has_an_arrow_down(side: FakeSide) -> None:
    """Twenty waited a moment ago, ten do now."""
    history = SideHistory(side)
    side.produce(*range(20))
    history.take(0.0)
    for number in range(10):
        side.work.ledger.process(ORDERS, number, 0.1)
    assert history.take(0.1).trend == -1


def test_its_mood_makes_the_row_of_a_side_without_a_circuit(side: FakeSide) -> None:
    """A cell is bad while calls fail, and good again when they get through."""
    history = SideHistory(side)
    for mood in ("good", "bad", "good"):
        side.mood = mood
        marks = history.take(0.1).marks
    assert [mark.kind for mark in marks] == [Kind.FINE, Kind.BAD, Kind.FINE]


def test_the_circuit_makes_the_row_of_a_side_that_has_one(side: FakeSide) -> None:
    """The guard's own transitions are shown, not what calls looked like."""
    side.own_marks = [Mark(0.0, Kind.FINE), Mark(0.1, Kind.BAD)]
    assert SideHistory(side).take(0.2).marks == side.own_marks


def test_a_picture_tells_how_long_a_receipt_takes(side: FakeSide) -> None:
    """Receipts need only email: their time shows whether the outage of payments reaches them."""
    history = SideHistory(side)
    assert history.take(0.1).receipt_wait is None
    side.production.send(0, 0.1)
    side.work.ledger.process(RECEIPTS, 0, 0.4)
    assert history.take(0.5).receipt_wait == pytest.approx(0.3)


def test_a_change_of_the_service_is_told_once() -> None:
    """Going down is news at the first look after it, and not at the next."""
    history = History(Scenario(), FakeSide(), FakeSide())
    assert history.phase_note(1.0) is None
    assert history.phase_note(6.1) == Note(6.1, "payments goes down: every call is refused")
    assert history.phase_note(6.2) is None
    assert history.take(6.3).phase is Phase.DOWN


def test_the_service_has_a_row_of_its_own() -> None:
    """Up, down and weak, as they were noticed."""
    history = History(Scenario(), FakeSide(), FakeSide())
    for now in (1.0, 6.0, 16.0, 20.0):
        history.phase_note(now)
    assert [mark.kind for mark in history.take(21.0).service] == [Kind.FINE, Kind.BAD, Kind.PARTLY, Kind.FINE]
