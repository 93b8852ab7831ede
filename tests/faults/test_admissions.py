"""Calls are judged by what their circuit can have admitted."""

from __future__ import annotations

from tests.faults import admissions
from tests.ledger.ledger import Entry
from tests.ledger.story import Story


def half_open(*limits: int) -> Story:
    """A circuit that has opened, and begun a ramp with these limits; entries are a second apart."""
    story = Story()
    for name in ("CircuitOpened", "CircuitHalfOpened"):
        story.tell("w1", "note", circuit=name, of="payments")
    for limit in limits:
        story.tell("w1", "note", circuit="LimitChanged", of="payments", limit=limit)
    return story


def calls(story: Story, count: int) -> Story:
    for call in range(count):
        story.circuit("w1", "call_started", call=call)
    return story


def test_a_ramp_admits_its_limit() -> None:
    """One call more than the limit is told, and up to it nothing."""
    assert admissions.wrong(calls(half_open(), 1).entries) == []
    assert admissions.wrong(calls(half_open(2), 2).entries) == []
    (found,) = admissions.wrong(calls(half_open(2), 3).entries)
    assert found == "above the limit: w1 called payments at 6.000, the 3th at once, limit 2"


def test_a_call_that_has_ended_makes_room() -> None:
    """The limit is of calls at once."""
    story = calls(half_open(), 1).circuit("w1", "call_ended", call=0).circuit("w1", "call_started", call=5)
    assert admissions.wrong(story.entries) == []


def test_a_call_of_before_the_ramp_does_not_count() -> None:
    """It was admitted by another state."""
    story = Story().circuit("w1", "call_started", call=9)
    for name in ("CircuitOpened", "CircuitHalfOpened"):
        story.tell("w1", "note", circuit=name, of="payments")
    assert admissions.wrong(story.circuit("w1", "call_started", call=1).entries) == []


def test_nothing_is_called_while_open() -> None:
    """From half a second after it opened, until it is half-open."""
    story = Story().tell("w1", "note", circuit="CircuitOpened", of="payments")
    assert admissions.wrong(calls(story, 1).entries) == ["called while open: w1 called payments at 2.000, open since 1.000"]
    assert admissions.wrong(calls(Story().tell("w1", "note", circuit="CircuitClosed", of="payments"), 3).entries) == []


def test_a_limit_that_has_just_come_down_is_forgiven() -> None:
    """A call that was admitted before starts a moment after; a second later it is told."""
    fell = {"circuit": "LimitChanged", "of": "payments", "limit": 1}
    moment = calls(half_open(4), 2).entries
    moment += [Entry(9.1, "w1", "note", fell), Entry(9.2, "w1", "call_started", {"dependency": "payments", "call": 7})]
    assert admissions.wrong(moment) == []
    late = calls(half_open(4), 2).tell("w1", "note", **fell).circuit("w1", "call_started", call=7)
    assert len(admissions.wrong(late.entries)) == 1
