"""Operators' holds."""

from __future__ import annotations

from tests.flow.stage import ORDERS, Stage, partitions, place_of, placed, run_of

from holdgate.flow.commands import Holds
from holdgate.flow.message import Partition
from holdgate.flow.waiting import WaitingList

BILLS = Partition("bills", 0)


def test_a_hold_stops_every_place_of_the_source() -> None:
    """Two runs may read one topic."""
    assignments = [place_of(run=run_of()) for _ in range(2)]
    holds = Holds([assignment.run for assignment in assignments], WaitingList())

    assert holds.hold(ORDERS, None) is True
    assert [(assignment.operator_hold, assignment.stopped) for assignment in assignments] == [(True, True)] * 2
    assert holds.next_deadline() is None


def test_an_unknown_source_cannot_be_held_or_released() -> None:
    """The answer is False, so that an operator notices the slip."""
    holds = Holds([run_of()], WaitingList())

    assert (holds.hold(ORDERS, None), holds.end(ORDERS)) == (False, False)


def test_an_ended_hold_sets_its_place_going() -> None:
    """And nothing expires any more."""
    assignment = place_of()
    holds = Holds([assignment.run], WaitingList())
    holds.hold(ORDERS, 5.0)

    assert holds.end(ORDERS) is True
    assert (assignment.stopped, holds.next_deadline()) == (False, None)


def test_a_hold_expires_at_its_time() -> None:
    """At that second and not before."""
    assignment = place_of()
    holds = Holds([assignment.run], WaitingList())
    holds.hold(ORDERS, 5.0)
    holds.expire(4.9)
    assert (assignment.operator_hold, holds.next_deadline()) == (True, 5.0)
    holds.expire(5.0)

    assert (assignment.operator_hold, holds.next_deadline()) == (False, None)


def test_a_later_word_replaces_an_earlier_one() -> None:
    """Held for five seconds, and then until further notice."""
    assignment = place_of()
    holds = Holds([assignment.run], WaitingList())
    holds.hold(ORDERS, 5.0)
    holds.hold(ORDERS, None)
    holds.expire(9.0)

    assert assignment.operator_hold


def test_heads_set_aside_are_back_in_line() -> None:
    """What waited during the hold can be granted after it."""
    assignment = place_of(run=run_of(order="none", concurrency=1))
    waiting = WaitingList()
    holds = Holds([assignment.run], waiting)
    holds.hold(ORDERS, None)
    head = placed(assignment)
    waiting.add(head, ())
    assert waiting.grants([], 1.0) == []
    holds.end(ORDERS)

    assert waiting.grants([], 1.0) == [head]


def test_heads_stay_aside_while_something_else_stops_their_place() -> None:
    """Two reasons never clear each other."""
    assignment = place_of(run=run_of(order="none", concurrency=1))
    waiting = WaitingList()
    holds = Holds([assignment.run], waiting)
    holds.hold(ORDERS, None)
    head = placed(assignment)
    waiting.add(head, ())
    waiting.grants([], 1.0)
    assignment.blocked.append(placed(assignment, 1))
    holds.end(ORDERS)

    assert assignment.stopped
    assert waiting.grants([], 1.0) == []
    assert waiting._aside.keys() == {assignment}


def test_a_new_place_of_a_held_source_is_held() -> None:
    """A rebalance takes it away and gives it back: the hold is the operator's, not the assignment's. Others are not held."""
    run = run_of()
    holds = Holds([run], WaitingList())
    first = place_of(run=run)
    holds.hold(ORDERS, 5.0)
    again, other = place_of(run=run), place_of(run=run, source=BILLS)
    holds.take_up([again, other])

    assert first is not again
    assert [(assignment.operator_hold, assignment.stopped) for assignment in (again, other)] == [(True, True), (False, False)]
    holds.expire(5.0)
    assert not again.operator_hold


def test_a_name_holds_all_of_its_sources() -> None:
    """Those that are here, and those that come."""
    run = run_of()
    holds = Holds([run], WaitingList())
    here, bills = place_of(run=run), place_of(run=run, source=BILLS)
    assert holds.hold("orders", None) is True
    later = place_of(run=run, source=Partition("orders", 7))
    holds.take_up([later])

    assert [assignment.operator_hold for assignment in (here, later, bills)] == [True, True, False]
    assert ("orders" in holds, ORDERS in holds) == (True, False)
    assert holds.end("orders") is True
    assert [assignment.operator_hold for assignment in (here, later)] == [False, False]


def test_a_name_may_be_held_before_its_sources_come() -> None:
    """Nobody knows yet which they will be; a source that is not here is refused."""
    holds = Holds([run_of()], WaitingList())

    assert (holds.hold("orders", None), holds.hold(ORDERS, None)) == (True, False)
    assert holds.end("orders") is True
    assert "orders" not in holds


def test_a_source_stays_held_with_its_name() -> None:
    """Ending its own hold changes nothing then; ending that of the name ends both, and that of no other name."""
    run = run_of()
    holds = Holds([run], WaitingList())
    assignment, bill = place_of(run=run), place_of(run=run, source=BILLS)
    for target in ("orders", ORDERS, BILLS):
        holds.hold(target, None)
    holds.end(ORDERS)
    assert (assignment.operator_hold, ORDERS in holds) == (True, False)
    holds.hold(ORDERS, None)
    holds.end("orders")

    assert (assignment.operator_hold, ORDERS in holds, bill.operator_hold) == (False, False, True)


def test_the_first_expiry_is_the_deadline() -> None:
    """One that lasts until further notice has none; the earlier end of two leaves the source held by the other."""
    assignment = place_of()
    holds = Holds([assignment.run], WaitingList())
    holds.hold("bills", None)
    assert holds.next_deadline() is None
    holds.hold("orders", 9.0)
    holds.hold(ORDERS, 5.0)
    assert holds.next_deadline() == 5.0
    holds.expire(5.0)

    assert (assignment.operator_hold, holds.next_deadline()) == (True, 9.0)


def test_a_hold_outlives_the_place_that_it_was_set_on() -> None:
    """Its source is elsewhere now; it may still be ended, and ends by itself."""
    assignment = place_of()
    holds = Holds([assignment.run], WaitingList())
    holds.hold(ORDERS, 5.0)
    del assignment.run.assignments[ORDERS]

    assert (ORDERS in holds, holds.next_deadline()) == (True, 5.0)
    assert (holds.end(ORDERS), holds.end(ORDERS)) == (True, False)


def test_a_hold_that_is_over_releases_what_nothing_else_holds() -> None:
    """The partition that is held by itself stays, and keeps no other."""
    first, second = partitions(2)
    stage = Stage("payments", sources=[first, second])
    stage.engine.hold(first)
    stage.engine.hold("orders", 5.0)
    stage.turn(later=5.0)
    assert (stage.assignment(first).held, stage.assignment(second).held) == (True, False)
