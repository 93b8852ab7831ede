"""What the table reads from a ledger: the states, what may come twice, what may be wasted."""

from __future__ import annotations

import pytest

from tests.faults import story
from tests.faults.cells import State
from tests.ledger.story import Story


def outage() -> Story:
    """The dependency is down, and one handler has failed."""
    return Story().circuit("test", "down").at("w1", "called", 0).at("w1", "failed", 0)


def opened() -> Story:
    return outage().circuit("w1", "opened")


def probing() -> Story:
    half_open = opened().circuit("w1", "half_opened").circuit("w1", "limit", limit=1)
    return half_open.circuit("w1", "call_started", call=7)


STORIES = {
    State.CLOSED: Story().at("w1", "called", 0),
    State.TRIPPING: outage(),
    State.OPEN: opened(),
    State.HALF_OPEN: probing(),
    State.RAMPING: probing().circuit("w1", "call_ended", call=7).circuit("w1", "limit", limit=2),
    State.SHUTTING_DOWN: Story().at("w1", "called", 0).tell("test", "note", terminates="w1").source("w1", "held"),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("told", State)
def test_a_story_shows_one_state(state: State, told: State) -> None:
    """What was told shows the state that it is of, and no other; a breath of Tripping is Closed, too."""
    is_both = {state, told} == {State.CLOSED, State.TRIPPING}
    assert story.was(state, STORIES[told].entries, "w1") == (state is told or (is_both and state is State.CLOSED))


def test_a_probe_that_has_ended_is_none() -> None:
    """Half-open is met while its probe is on its way."""
    assert not story.was(State.HALF_OPEN, probing().circuit("w1", "call_ended", call=7).entries, "w1")


def test_a_worker_that_has_drained_is_not_shutting_down() -> None:
    """What comes after its end meets nothing."""
    assert not story.was(State.SHUTTING_DOWN, STORIES[State.SHUTTING_DOWN].tell("w1", "note", drained=True).entries, "w1")


def test_another_process_is_another_story() -> None:
    """The victim's state is its own."""
    assert story.state(opened().entries, "w2") == "closed"
    assert story.limit(STORIES[State.RAMPING].entries, "w1") == 2
    assert story.limit(STORIES[State.RAMPING].entries, "w2") == 0


def test_missing_is_what_is_not_done_with() -> None:
    """Processed, dead and deleted messages are done with."""
    told = Story().produced(0, 1, 2, 3).done(0).at("w1", "dead_letter", 1).at("test", "deleted", 2)
    assert story.missing(told.entries) == {("orders", 0, 3)}


def test_what_may_come_twice_is_finished_or_running_and_not_committed() -> None:
    """Counted when the partition is assigned anew: two finished above the commit, one running; before it was committed, none."""
    told = Story().source("w1", "assigned").done(0, 1, 2, 3).at("w1", "committed", 2).at("w1", "called", 4)
    assert story.finished_above_the_watermark(told.entries) == 0
    assert story.finished_above_the_watermark(told.source("w2", "assigned").entries) == 3
    assert story.finished_above_the_watermark(told.source("w1", "assigned").entries) == 3


def test_waste_is_bounded_per_outage_probe_and_interruption() -> None:
    """Two lanes waste six calls in an outage, one more for each probe, and those that a lost channel interrupted."""

    def told(count: int) -> Story:
        made = outage()
        for _ in range(count):
            made.circuit("test", "wasted", caller="w1")
        return made

    assert story.wasted_too_often(told(6).entries, 2) == []
    assert story.wasted_too_often(told(7).entries, 2) == ["wasted calls: w1 made 7, allowed 6"]
    assert story.wasted_too_often(told(7).circuit("w1", "half_opened").entries, 2) == []
    assert story.wasted_too_often(told(8).tell("w1", "note", gone="lost").entries, 2) == []
    assert story.wasted_too_often(told(7).source("w1", "revoked").entries, 2) == []
