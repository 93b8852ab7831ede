from __future__ import annotations

from typing import Any

from tests.ledger.check import Expected, violations
from tests.ledger.story import Story


def told(story: Story, **expected: Any) -> str:
    return "\n".join(violations(story.entries, Expected(complete=False, order=None, **expected)))


def test_a_handler_that_starts_while_held_is_found() -> None:
    """Between held and unheld no handler starts for that source in that worker."""
    story = Story().source("w1", "held").at("w1", "called", 0).source("w1", "unheld")
    assert "called while held: w1 called ('orders', 0, 0) at 2.000" in told(story)


def test_a_hold_without_an_end_lasts() -> None:
    """A run may end while a source is held."""
    assert "called while held" in told(Story().source("w1", "held").at("w1", "called", 0))


def test_a_handler_before_after_or_elsewhere_is_right() -> None:
    """Before the hold, after it, and in a worker that holds nothing, handlers start."""
    story = Story().at("w1", "called", 0).source("w1", "held").at("w2", "called", 1).source("w1", "unheld").at("w1", "called", 2)
    assert told(story) == ""


def test_the_moment_before_an_observer_writes_is_left_out() -> None:
    """A handler within the grace of a hold's begin may have started before it."""
    story = Story().source("w1", "held").at("w1", "called", 0)
    assert told(story, grace=1.5) == ""
    assert "called while held" in told(story, grace=0.5)


def test_the_moment_before_the_end_of_a_hold_is_left_out() -> None:
    """So may one within the grace of its end have started after it."""
    story = Story().source("w1", "held").tell("w1", "note").tell("w1", "note").at("w1", "called", 0).source("w1", "unheld")
    assert told(story, grace=1.5) == ""
    assert "called while held" in told(story, grace=0.5)


def test_a_hold_that_only_messages_end_lets_them_ask() -> None:
    """The circuit that held a source is half-open, and unclaimed failures hold it still: the result of the next call ends that."""
    story = Story().source("w1", "held").source("w1", "asking").at("w1", "called", 0)
    assert told(story) == ""
    assert "called while held: w1 called ('orders', 0, 1)" in told(story.source("w1", "held").at("w1", "called", 1))


def test_a_call_while_open_is_found() -> None:
    """An open circuit lets no call through in its worker."""
    story = Story().circuit("w1", "opened").circuit("w1", "call_started", call=1)
    assert "called while open: w1 called payments at 2.000" in told(story)


def test_calls_after_the_probe_begins_and_in_other_workers_are_right() -> None:
    """Half-open is not open, and every worker has circuits of its own."""
    story = Story().circuit("w1", "opened").circuit("w2", "call_started", call=1).circuit("w1", "half_opened")
    assert told(story.circuit("w1", "call_started", call=2)) == ""


def test_more_calls_than_the_limit_are_found() -> None:
    """Two in flight where one is allowed."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=1)
    story.circuit("w1", "call_started", call=1).circuit("w1", "call_started", call=2)
    assert "above the limit: w1 had 2 calls of payments in flight, limit 1" in told(story)


def test_a_call_that_ended_makes_room() -> None:
    """One after another, a limit of one is kept."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=1)
    story.circuit("w1", "call_started", call=1).circuit("w1", "call_ended", call=1).circuit("w1", "call_started", call=2)
    assert told(story) == ""


def test_calls_from_before_the_outage_do_not_count() -> None:
    """A call still hanging from before is no part of the ramp."""
    story = Story().circuit("w1", "call_started", call=1).circuit("w1", "half_opened").circuit("w1", "limit", limit=1)
    assert told(story.circuit("w1", "call_started", call=2)) == ""


def test_the_newest_limit_counts() -> None:
    """After a step up two are right; after a step down to one the next start is not."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=1).circuit("w1", "limit", limit=2)
    story.circuit("w1", "call_started", call=1).circuit("w1", "call_started", call=2)
    assert told(story) == ""
    story.circuit("w1", "limit", limit=1).circuit("w1", "call_started", call=3)
    assert "had 3 calls of payments in flight, limit 1" in told(story)


def test_a_limit_that_is_written_a_moment_later_counts_already() -> None:
    """The observer of a step up writes after the calls that it let through; one beyond the grace does not excuse them."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=1).tell("w1", "note").circuit("w1", "call_started", call=1)
    story.circuit("w1", "call_started", call=2).circuit("w1", "limit", limit=2)
    assert told(story, grace=1.5) == ""
    assert "limit 1" in told(story, grace=0.5)


def test_a_limit_that_was_lowered_a_moment_ago_counts_still() -> None:
    """The observer of a step down may write before the line of a call that started under the higher limit."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=2).tell("w1", "note").circuit("w1", "call_started", call=1)
    story.circuit("w1", "limit", limit=1).circuit("w1", "call_started", call=2)
    assert told(story, grace=1.5) == ""
    assert "limit 1" in told(story, grace=0.5)


def test_a_closed_circuit_has_no_limit() -> None:
    """After the ramp any number may be in flight."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=1).circuit("w1", "closed")
    story.circuit("w1", "call_started", call=1).circuit("w1", "call_started", call=2)
    assert told(story) == ""


def test_a_jump_of_the_limit_is_found() -> None:
    """From one to four skips a step."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=1).circuit("w1", "limit", limit=4)
    assert "limit jumped: w1 payments from 1 to 4" in told(story)


def test_steps_down_and_a_new_ramp_are_right() -> None:
    """The limit may fall at once, and each half-open time begins anew."""
    story = Story().circuit("w1", "half_opened").circuit("w1", "limit", limit=4).circuit("w1", "limit", limit=1)
    story.circuit("w1", "opened").circuit("w1", "half_opened").circuit("w1", "limit", limit=4)
    assert told(story) == ""


def test_more_wasted_calls_than_allowed_are_found() -> None:
    """The bound is the run's own: its outages, workers and probes."""
    story = Story().circuit("test", "wasted").circuit("test", "wasted")
    assert told(story, wasted=2) == ""
    assert "wasted calls: 2, allowed 1" in told(story, wasted=1)


def test_more_assignments_than_allowed_are_found() -> None:
    """A hold that costs the membership shows as one more assignment."""
    story = Story().source("w1", "assigned").source("w1", "revoked").source("w1", "assigned")
    assert told(story, assignments=2) == ""
    assert "rebalances: 2 assignments of a partition, allowed 1" in told(story, assignments=1)


def test_a_record_handed_out_while_held_is_found() -> None:
    """Between held and unheld the client delivers nothing, without any grace; after it, again."""
    story = Story().source("w1", "held").at("w1", "delivered", 7).source("w1", "unheld").at("w1", "delivered", 8)
    assert told(story, grace=100.0) == "delivered while held: w1 was handed ('orders', 0, 7) at 2.000"


def wasting(calls: int) -> Story:
    """One outage, in which the worker probed once."""
    story = Story().circuit("test", "down").circuit("w1", "half_opened")
    for _ in range(calls):
        story.circuit("test", "wasted", caller="w1")
    return story


def test_more_wasted_than_an_outage_may_cost_is_found() -> None:
    """Five to open, one for each other lane, and one for each probe; not one more."""
    assert told(wasting(5 + 3 - 1 + 1), lanes=3) == ""
    assert told(wasting(5 + 3 - 1 + 2), lanes=3) == "wasted calls: w1 made 9 of payments, allowed 8"
