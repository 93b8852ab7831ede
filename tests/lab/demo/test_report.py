from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from tests.lab.demo.examples import NAIVE, REPORT

from holdgate_lab.demo.command import DEMO_KEYS
from holdgate_lab.demo.report import FRAMES_PER_SECOND, History, SideHistory, print_rows, print_summary, side_report
from holdgate_lab.demo.scenario import ORDERS, RECEIPTS, DemoScenario, ServicePhase, StoryClock
from holdgate_lab.demo.screen import Kind, Mark, Note, Status
from holdgate_lab.demo.venues import Place
from holdgate_lab.demo.workers import Production, Work

SIDE_KEYS = {
    "calls",
    "wasted_calls",
    "overrun_calls",
    "processed",
    "duplicates",
    "dead_letters",
    "lost",
    "waiting",
    "peak_waiting",
    "peak_in_flight_while_weak",
    "rebalances",
    "slowest_receipt_seconds",
    "states",
    "transitions",
    "timeline",
}
KEYS = {"version", "broker", "seconds", "ran_seconds", "interrupted", "produced", "payments", "guarded", "naive"}


class FakeSide:
    def __init__(self) -> None:
        self.production = Production()
        self.work = Work(DemoScenario(), StoryClock(lambda: 0.0), self.production)
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
    history = History(DemoScenario(), FakeSide(), FakeSide())
    assert history.phase_note(1.0) is None
    assert history.phase_note(6.1) == Note(6.1, "payments goes down: every call is refused")
    assert history.phase_note(6.2) is None
    assert history.take(6.3).phase is ServicePhase.DOWN


def test_the_service_has_a_row_of_its_own() -> None:
    """Up, down and weak, as they were noticed."""
    history = History(DemoScenario(), FakeSide(), FakeSide())
    for now in (1.0, 6.0, 16.0, 20.0):
        history.phase_note(now)
    assert [mark.kind for mark in history.take(21.0).service] == [Kind.FINE, Kind.BAD, Kind.PARTLY, Kind.FINE]


def test_the_document_has_the_promised_keys() -> None:
    """Scripts rely on these names; both sides have the same ones."""
    document = REPORT.document()
    assert document.keys() == KEYS
    assert document["guarded"].keys() == document["naive"].keys() == SIDE_KEYS
    assert document["payments"].keys() == {"down_at", "weak_at", "up_at", "timeline"}


def test_every_key_is_explained_in_the_help() -> None:
    """Who reads the document finds each key in `holdgate demo --help`."""
    assert [key for key in KEYS | SIDE_KEYS if key not in DEMO_KEYS] == []


def test_the_document_is_json() -> None:
    """No value of it is one that JSON does not have."""
    assert json.loads(json.dumps(REPORT.document(), allow_nan=False))["guarded"]["transitions"][0] == {
        "at": 6.123,
        "dependency": "payments",
        "state": "OPEN",
    }


def test_each_state_that_was_seen_is_told_once() -> None:
    """A circuit begins closed; what it went through afterwards comes in order of first sight."""
    assert REPORT.guarded.states == ["CLOSED", "OPEN", "HALF_OPEN"]


def test_a_side_without_a_circuit_has_no_states() -> None:
    """Nothing is made up for it."""
    assert NAIVE.states == []


def test_what_is_lost_is_not_waiting() -> None:
    """Of three unprocessed messages the broker gives two to nobody any more: lost; one comes again."""
    production = Production()
    work = Work(DemoScenario(), StoryClock(lambda: 0.0), production)
    for number in range(3):
        production.send(number, 0.0)
        production.store(number, Place(ORDERS, 0, number))
    report = side_report(work, lost=2, peak_waiting=3, rebalances=0, transitions=(), timeline="")
    assert (report.lost, report.waiting) == (2, 1)


def printed(*, ascii_only: bool = True, interrupted: bool = False, ran: float = REPORT.ran) -> str:
    written = io.StringIO()
    report = replace(REPORT, interrupted=interrupted, ran=ran)
    print_summary(report, Console(file=written, width=120, color_system=None), ascii_only=ascii_only)
    return written.getvalue()


def cells(label: str) -> list[str]:
    line = next(line for line in printed().splitlines() if label in line)
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_facts_of_both_sides_stand_beside_each_other() -> None:
    """With holdgate first, without second."""
    assert cells("wasted") == ["24", "331"]
    assert cells("dead letters") == ["0", "105"]
    assert cells("lost") == ["0", "0"]
    assert cells("processed") == ["1350", "1245"]


def test_a_time_that_nobody_took_is_a_dash() -> None:
    """No receipt was processed on the one side: no number is made up."""
    assert cells("slowest receipt") == ["0.2 s", "-"]


def test_a_pipe_gets_ascii_only() -> None:
    """Logs and pipes may not be UTF-8."""
    assert printed(ascii_only=True).isascii()
    assert not printed(ascii_only=False).isascii()


def test_an_interrupted_run_says_so_and_how_far_it_came() -> None:
    """The numbers are of a part of the story, and payments was down for a part of its outage."""
    text = printed(interrupted=True, ran=8.0)
    assert "interrupted after 8 s" in text
    assert "down for 2 s" in text


def test_the_three_rows_of_cells_stand_below_each_other() -> None:
    """What the service did, and what either side made of it; aligned, in ASCII."""
    written = io.StringIO()
    print_rows(REPORT, Console(file=written, width=120, color_system=None))
    lines = written.getvalue().splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["--####", "--##1#", "--####"]
    assert len({line.index("--") for line in lines[:3]}) == 1
    assert written.getvalue().isascii()
