"""Messages that wait for their keys: in which order they come back, and what is forgotten."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, positions
from tests.flow.tenants import Tenants, of_tenants

from holdgate.core import Limits
from holdgate.flow.message import Partition
from holdgate.flow.waiting import Waiting


def waiting(*tenants: str, limits: Limits | None = None) -> Tenants:
    """A stage on which messages of these tenants wait, all of whose keys are held for ten seconds."""
    stage = Tenants(limits=limits)
    for tenant in dict.fromkeys(tenants):
        stage.hold(tenant)
    stage.come(*tenants)
    assert stage.start_all() == []
    stage.turn()
    assert stage.seen.waiting == len(tenants)
    return stage


def test_the_oldest_of_a_key_comes_first() -> None:
    """And the keys in the order in which time frees them."""
    stage = waiting("a", "b", "a", "b")
    stage.turn(later=10.0)
    assert positions(stage.start_all()) == [0, 1]


def test_what_is_dropped_waits_no_longer() -> None:
    """Its source went away while it was set aside, and while it stood in line again."""
    for stands in (False, True):
        stage = waiting("a", "a")
        if stands:
            stage.engine.hold(ORDERS)
            stage.turn(later=10.0)
        stage.engine.forget(stage.run, [ORDERS], stage.now)
        stage.turn(later=100.0)
        assert (stage.seen.waiting, stage.start_all()) == (0, [])


def test_what_is_dropped_is_not_kept_for_as_long_as_its_key_is_down() -> None:
    """Another source comes and goes, and one message waits all the time. The oldest still comes first."""
    other, stage = Partition("orders", 1), waiting("a")
    stage.come(*["a"] * 3)
    assert stage.start_all() == []
    for _ in range(10):
        stage.engine.assigned(stage.run, [other], stage.now)
        stage.come(*["a"] * 50, source=other)
        assert stage.start_all() == []
        stage.turn()
        stage.engine.forget(stage.run, [other], stage.now)
        stage.turn()
    (line,) = stage.engine._waiting._key_waits.lines.values()
    assert (line.count, stage.seen.waiting, len(line.aside) < 100) == (4, 4, True)
    stage.turn(later=10.0)
    assert positions(stage.start_all()) == [0]


def test_one_that_is_dropped_lets_the_next_of_its_key_go() -> None:
    """An operator skips the message that would have asked: the one behind it asks."""
    stage = waiting("a", "a")
    stage.turn(later=10.0)
    (asks,) = stage.start_all()
    stage.fail(asks)
    stage.turn()
    assert stage.engine.skip(stage.run, ORDERS, asks.position, "bad", stage.now) is asks
    stage.turn(later=20.0)
    assert positions(stage.start_all()) == [1]


def test_a_whole_that_opens_takes_over_what_stands_in_line() -> None:
    """It stands there for the whole, and takes no turn from the others of its key."""
    stage = waiting("a", "a")
    stage.gate.circuit.open_for(60.0, stage.now)
    stage.turn(later=10.0)
    assert (stage.start_all(), stage.assignment().plan.reasons) == ([], ("circuit:payments",))
    stage.turn(later=60.0)
    (probe,) = stage.start_all()
    assert probe.position == 0
    stage.settle_well(probe)
    stage.turn(later=60.0)
    assert positions(stage.start_all()) == [1]


def test_a_message_may_come_again_at_the_place_that_it_keeps() -> None:
    """What it left behind when it went has the same arrival, and the two are never compared."""
    stage = waiting("a", "a")
    waits, (first, _) = stage.engine._waiting._key_waits, list(stage.engine._waiting._entries.values())
    line = first.line
    assert line is not None
    waits.leave(first)
    again = Waiting(first.delivery, first.gates, first.arrival, None)
    waits.set_aside(again, line.keys, line.record, stage.now)

    assert (again.is_aside, line.count) == (True, 2)
    assert waits.release([line.record], stage.now + 10.0) == [again]


def test_a_held_source_gives_its_turn_back() -> None:
    """Its message waits for the operator, and the same key's message of another source goes."""
    stage = waiting("a", "a")
    stage.engine.hold(ORDERS)
    stage.turn(later=10.0)
    assert stage.start_all() == []
    stage.engine.unhold(ORDERS)
    stage.turn()
    assert positions(stage.start_all()) == [0]


def test_a_rate_lets_them_go_one_by_one() -> None:
    """Two in ten seconds of each tenant; the others have their own."""
    stage = Tenants(limits=Limits(rate=2, per=10, adaptive=False))
    stage.come(*"aaaab")
    first = stage.start_all()
    assert of_tenants(first) == ["a", "a", "b"]
    stage.succeed(*first)
    stage.turn()
    assert stage.engine.next_deadline() == pytest.approx(10.0)
    stage.turn(later=10.0)
    assert of_tenants(stage.start_all()) == ["a", "a"]


def test_a_timer_of_a_key_that_was_freed_before_is_passed_over() -> None:
    """An operator has reset it: its wait means nothing any more."""
    stage = waiting("a", "a")
    stage.keys.begin_anew(stage.now)
    stage.turn()
    stage.succeed(*stage.start_all())
    assert (stage.seen.waiting, stage.engine.next_deadline()) == (0, None)
    stage.turn(later=20.0)
    assert stage.start_all() == []


def test_a_message_with_two_keys_waits_for_each() -> None:
    """First for the one, then for the other; it is counted at one of them at a time."""
    stage = Tenants()
    stage.hold("a")
    stage.turn(later=5.0)
    stage.hold("b")
    (message,) = stage.come("a")
    message.needs.keys = (*message.needs.keys, *stage.key_of("b"))
    assert stage.start_all() == []
    stage.turn()
    stage.turn(later=5.0)
    assert (stage.start_all(), stage.seen.waiting) == ([], 1)
    assert stage.keys.known("b", stage.now).waiting == 1
    stage.turn(later=5.0)
    assert stage.start_all() == [message]


def test_a_key_that_nothing_waits_for_any_more_is_passed_over() -> None:
    """A result has freed it, and a rebalance took its last message away before the next turn. Another tenant still waits."""
    other, stage = Partition("orders", 1), Tenants()
    stage.engine.assigned(stage.run, [other], stage.now)
    stage.come("a")
    (in_work,) = stage.start_all()
    stage.hold("a")
    stage.hold("b")
    stage.come("b")
    stage.come("a", source=other)
    assert stage.start_all() == []
    stage.turn()
    assert stage.seen.waiting == 2

    stage.engine.succeeded(in_work, stage.now)
    assert [record.key for record in stage.keys.freed] == ["a"]
    stage.engine.forget(stage.run, [other], stage.now)
    stage.turn()
    assert (stage.start_all(), stage.keys.freed, stage.seen.waiting) == ([], [], 1)
    stage.turn(later=10.0)
    assert of_tenants(stage.start_all()) == ["b"]


def test_what_has_left_is_passed_over_when_its_key_is_free() -> None:
    """The oldest was of a source that is gone: the next one goes."""
    other = Partition("orders", 1)
    stage = waiting("a")
    stage.engine.assigned(stage.run, [other], stage.now)
    stage.come("a", source=other)
    assert stage.start_all() == []
    stage.turn()
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    stage.turn(later=10.0)
    assert [delivery.source for delivery in stage.start_all()] == [other]
