"""Rejections: the way out when lanes are few, several wait, and one is given up."""

from __future__ import annotations

from tests.flow.stage import gate, place_of, placed, run_of

from holdgate.flow.message import Partition
from holdgate.flow.rejections import Rejections
from holdgate.flow.reminders import Reminders
from holdgate.flow.state import Assignment
from holdgate.flow.waiting import WaitingList

BILLS = Partition("bills", 0)


def rejections() -> Rejections:
    return Rejections(WaitingList(), Reminders(600.0))


def sending(lanes: int, source: Partition | None = None) -> Assignment:
    """A place of a run with so many lanes, whose rejected messages go somewhere."""
    run = run_of(order="none", concurrency=lanes, rejects=True)
    return place_of(gate(), run=run) if source is None else place_of(gate(), run=run, source=source)


def test_a_message_that_is_to_be_sent_wants_the_next_lane() -> None:
    """None is free: the one that is free next takes it up, before any other work."""
    out, assignment = rejections(), sending(lanes=1)
    assignment.run.running = 1
    out.again(placed(assignment))
    out.hand_out(0.0)

    assert (assignment.run.lane_wanted, list(assignment.run.resend)) == (True, [])


def test_a_run_without_a_free_lane_does_not_keep_others_from_sending() -> None:
    """The message of the other run goes out now."""
    out, busy, free = rejections(), sending(lanes=1), sending(lanes=1, source=BILLS)
    busy.run.running = 1
    waits, goes = placed(busy), placed(free)
    out.again(waits)
    out.again(goes)
    out.hand_out(0.0)

    assert (list(busy.run.resend), list(free.run.resend)) == ([], [goes])


def test_each_that_is_handed_out_is_in_flight() -> None:
    """With a lane of its own."""
    out, assignment = rejections(), sending(lanes=4)
    for position in range(3):
        out.again(placed(assignment, position))
    out.hand_out(0.0)

    assert (assignment.in_flight, assignment.run.running, len(assignment.run.resend)) == (3, 3, 3)


def test_one_that_was_sent_at_once_releases_nobody_else() -> None:
    """Another of its place still waits for its target."""
    out, assignment = rejections(), sending(lanes=4)
    waits, sent = placed(assignment, 0), placed(assignment, 1)
    out.failed(waits, 0.0)
    out.sent(sent)

    assert (list(assignment.unsent), assignment.stopped) == ([waits], True)


def test_what_was_given_up_is_not_waited_for() -> None:
    """Its time to be sent again is no deadline any more."""
    out, assignment = rejections(), sending(lanes=4)
    out.failed(placed(assignment, 7), 0.0)
    assert out.next_deadline() is not None
    assert out.skip(assignment, 7) is not None

    assert (out.next_deadline(), assignment.unsent, assignment.stopped) == (None, {}, False)
