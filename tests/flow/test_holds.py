"""Operators' holds."""

from __future__ import annotations

from tests.flow.stage import ORDERS, place_of, placed, run_of

from holdgate.flow.admission import WaitingList
from holdgate.flow.holds import Holds


def test_a_hold_stops_every_place_of_the_source() -> None:
    """Two runs may read one topic."""
    places = [place_of(run=run_of()) for _ in range(2)]
    holds = Holds([place.run for place in places], WaitingList())

    assert holds.hold(ORDERS, None) is True
    assert [(place.operator_hold, place.stopped) for place in places] == [(True, True)] * 2
    assert holds.next_deadline() is None


def test_an_unknown_source_cannot_be_held_or_released() -> None:
    """The answer is False, so that an operator notices the slip."""
    holds = Holds([run_of()], WaitingList())

    assert (holds.hold(ORDERS, None), holds.end(ORDERS)) == (False, False)


def test_an_ended_hold_sets_its_place_going() -> None:
    """And nothing expires any more."""
    place = place_of()
    holds = Holds([place.run], WaitingList())
    holds.hold(ORDERS, 5.0)

    assert holds.end(ORDERS) is True
    assert (place.stopped, holds.next_deadline()) == (False, None)


def test_a_hold_expires_at_its_time() -> None:
    """At that second and not before."""
    place = place_of()
    holds = Holds([place.run], WaitingList())
    holds.hold(ORDERS, 5.0)
    holds.expire(4.9)
    assert (place.operator_hold, holds.next_deadline()) == (True, 5.0)
    holds.expire(5.0)

    assert (place.operator_hold, holds.next_deadline()) == (False, None)


def test_a_later_word_replaces_an_earlier_one() -> None:
    """Held for five seconds, and then until further notice."""
    place = place_of()
    holds = Holds([place.run], WaitingList())
    holds.hold(ORDERS, 5.0)
    holds.hold(ORDERS, None)
    holds.expire(9.0)

    assert place.operator_hold


def test_heads_set_aside_are_back_in_line() -> None:
    """What waited during the hold can be granted after it."""
    place = place_of(run=run_of(order="none", concurrency=1))
    waiting = WaitingList()
    holds = Holds([place.run], waiting)
    holds.hold(ORDERS, None)
    head = placed(place)
    waiting.add(head, ())
    assert waiting.grants([], 1.0) == []
    holds.end(ORDERS)

    assert waiting.grants([], 1.0) == [head]


def test_heads_stay_aside_while_something_else_stops_their_place() -> None:
    """Two reasons never clear each other."""
    place = place_of(run=run_of(order="none", concurrency=1))
    waiting = WaitingList()
    holds = Holds([place.run], waiting)
    holds.hold(ORDERS, None)
    head = placed(place)
    waiting.add(head, ())
    waiting.grants([], 1.0)
    place.blocked.append(placed(place, 1))
    holds.end(ORDERS)

    assert place.stopped
    assert waiting.grants([], 1.0) == []
    assert waiting._aside.keys() == {place}


def test_a_forgotten_place_takes_its_hold_along() -> None:
    """Nothing expires later, when the source may be here again."""
    place = place_of()
    holds = Holds([place.run], WaitingList())
    holds.hold(ORDERS, 5.0)
    holds.forget([place])

    assert holds.next_deadline() is None
