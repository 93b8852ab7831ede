"""The engine: what an operator orders."""

from __future__ import annotations

from tests.flow.stage import (
    BILLS,
    FREE,
    ORDERS,
    Stage,
    in_flight,
    own_failure,
    parallel,
)

from holdgate.flow.events import (
    CommandEnded,
    CommandGiven,
    SourceHeld,
    SourceReleased,
)
from holdgate.flow.message import Partition


def test_a_hold_may_end_while_its_source_is_elsewhere() -> None:
    """The plan knows nothing of it, and nothing is left."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS, until=5.0)
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    stage.turn(later=5.0)

    assert stage.run.plan.sources == {}
    assert stage.engine.next_deadline() is None


def test_an_operator_holds_and_releases_a_source() -> None:
    """What was received waits, and starts again without another delivery."""
    stage = Stage("payments")
    assert stage.engine.hold(ORDERS) is True
    stage.turn()
    stage.receive(1)
    assert (stage.run.plan.of(ORDERS).reasons, stage.start_all()) == (("operator",), [])
    assert stage.engine.unhold(ORDERS) is True
    stage.turn()

    assert stage.run.plan.of(ORDERS) == FREE
    assert len(stage.start_all()) == 1


def test_a_hold_works_before_the_next_turn() -> None:
    """From the moment it is said nothing starts."""
    stage = Stage("payments")
    stage.receive(1)
    stage.engine.hold(ORDERS)

    assert stage.engine.next(stage.run, stage.now) is None


def test_a_hold_between_two_turns_leaves_nothing_behind() -> None:
    """Held, asked for work, released: the source is offered again."""
    stage = Stage("payments")
    stage.receive(1)
    stage.engine.hold(ORDERS)
    assert stage.engine.next(stage.run, stage.now) is None
    stage.engine.unhold(ORDERS)
    stage.turn()

    assert len(stage.start_all()) == 1


def test_a_grant_that_is_held_before_a_lane_takes_it_waits_again() -> None:
    """Its permits go back, and its start is not counted."""
    stage = parallel("payments")
    stage.receive(1)
    stage.end(stage.start(), own_failure())
    stage.turn(later=1.0)
    (granted,) = stage.run.granted
    stage.engine.hold(ORDERS)

    assert stage.engine.next(stage.run, stage.now) is None
    assert (in_flight(stage), granted.attempt, stage.run.running) == (0, 1, 0)
    stage.turn()
    stage.engine.unhold(ORDERS)
    stage.turn()
    assert stage.start() is granted
    assert granted.attempt == 2


def test_a_hold_expires() -> None:
    """At its second, and the timer is set for it."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS, until=5.0)
    stage.turn()
    assert stage.engine.next_deadline() == 5.0
    stage.turn(later=5.0)

    assert stage.run.plan.of(ORDERS) == FREE


def test_an_unknown_source_cannot_be_held() -> None:
    """The answer is False."""
    stage = Stage("payments")

    assert (stage.engine.hold(BILLS), stage.engine.unhold(BILLS)) == (False, False)


def test_a_held_source_comes_back_held() -> None:
    """A rebalance takes it away and gives it back, and from the first step on nothing starts."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS)
    stage.engine.hold("bills")
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    plan = stage.engine.assigned(stage.run, [ORDERS, Partition("bills", 3)], stage.now)

    assert [plan.of(source).reasons for source in (ORDERS, Partition("bills", 3))] == [("operator",), ("operator",)]
    assert (stage.engine.is_held(ORDERS), stage.engine.is_held("orders")) == (True, False)


def test_a_command_is_announced_before_what_follows_it() -> None:
    """It stands in the snapshot while it is in force, and its end is announced and kept with it."""
    stage = Stage("payments")
    stage.events()
    stage.engine.hold(ORDERS, until=5.0)
    said = CommandGiven(0.0, "hold", ORDERS, "alice", "deploying", 5.0)
    stage.engine.note(said)
    assert stage.engine.needs_turn
    stage.turn()
    assert stage.events() == [said, SourceHeld(0.0, ORDERS, ("operator",))]
    assert stage.engine.snapshot(stage.now).commands == (said,)
    stage.turn(later=5.0)

    over = CommandEnded(5.0, said)
    assert stage.events() == [over, SourceReleased(5.0, ORDERS, 5.0)]
    assert (stage.engine.snapshot(stage.now).commands, stage.engine.audit()) == ((), (said, over))
