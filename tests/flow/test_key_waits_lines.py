"""The lines of messages that wait for their keys: what is counted, who has its turn, and which sources are held."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, own_failure
from tests.flow.tenants import Tenants
from tests.flow.test_key_waits import waiting

from holdgate.core import Outcome, Told
from holdgate.flow.key_waits import KeyLine, KeyWaits
from holdgate.flow.policy import RetryPolicy
from holdgate.flow.waiting import Waiting


def _waits(stage: Tenants) -> KeyWaits:
    return stage.engine._waiting._key_waits


def _tenant(waits: Waiting) -> object:
    return waits.delivery.order_key


def test_what_stands_in_line_is_counted_until_it_waits_again_or_leaves() -> None:
    """For its key, and for all keys together."""
    stage = waiting("a", "a", "b")
    waits = _waits(stage)
    lines = {line.record.key: line for line in waits.lines.values()}
    first, other = waits.release([], stage.now + 10.0)
    assert [_tenant(first), _tenant(other)] == ["a", "b"]  # type: ignore[arg-type]
    assert (lines["a"].out, lines["b"].out, waits._out, first.is_aside) == (1, 1, 2, False)

    waits.set_aside(first, lines["a"].keys, lines["a"].record, stage.now + 10.0)
    assert (lines["a"].out, waits._out, first.is_aside, lines["a"].count) == (0, 1, True, 2)

    waits.leave(other)
    assert (waits._out, other.line, other.is_aside, lines["b"].timer) == (0, None, False, None)
    assert list(waits.lines.values()) == [lines["a"]]

    waits.leave(first)
    assert (first.line, lines["a"].count, waits._out) == (None, 1, 0)


def test_a_key_that_is_free_lets_all_of_its_messages_stand_in_line() -> None:
    """An operator has reset it. Each that leaves or waits again is one less."""
    stage = waiting("a", "a", "a", "b")
    waits = _waits(stage)
    lines = {line.record.key: line for line in waits.lines.values()}
    stage.keys.begin_anew(stage.now)
    released = waits.release(stage.keys.take_freed(), stage.now)
    assert (len(released), lines["a"].out, waits._out) == (4, 3, 4)
    of_a = [each for each in released if each.line is lines["a"]]
    waits.leave(of_a[0])
    assert (lines["a"].out, waits._out) == (2, 3)
    waits.set_aside(of_a[1], lines["a"].keys, lines["a"].record, stage.now)
    assert (lines["a"].out, waits._out, lines["a"].count) == (1, 2, 2)


def test_what_waits_for_another_key_by_now_is_passed_over() -> None:
    """It has two keys, and what it left in the line of the first is the oldest there."""
    stage = waiting("a", "a", "b")
    waits = _waits(stage)
    lines = {line.record.key: line for line in waits.lines.values()}
    moved = lines["a"].aside[0][2]
    waits.set_aside(moved, lines["b"].keys, lines["b"].record, stage.now)
    assert (lines["a"].count, lines["b"].count) == (1, 2)
    released = waits.release([], stage.now + 10.0)
    assert [(each.line, each is moved) for each in released] == [(lines["a"], False), (lines["b"], True)]


def test_each_key_has_its_own_time() -> None:
    """A dozen of them, all free after ten seconds."""
    stage = waiting(*"abcdefghijkl")
    assert len(_waits(stage).release([], stage.now + 10.0)) == 12


def test_sixty_four_stand_in_line_and_the_next_when_one_leaves() -> None:
    """With ten thousand keys that are freed at the same moment, a turn must not take all of them."""
    stage = waiting(*(f"tenant-{number}" for number in range(70)))
    waits = _waits(stage)
    released = waits.release([], stage.now + 10.0)
    assert len(released) == 64
    assert waits.release([], stage.now + 10.0) == []
    waits.leave(released[0])
    assert len(waits.release([], stage.now + 10.0)) == 1


def test_a_line_has_one_turn_at_a_time() -> None:
    """However often its key is freed before it comes."""
    stage = waiting("a", "a")
    waits = _waits(stage)
    (line,) = waits.lines.values()
    assert waits.release([line.record] * 3, stage.now) == []
    assert len(waits.due) == 0
    waits._let_have_turn(line)
    waits._let_have_turn(line)
    assert (len(waits.due), line.is_due) == (1, True)


def test_what_has_left_is_let_go_when_it_is_most_of_a_line() -> None:
    """Beside one that waits, 66 may stand, and 67 not."""
    stage = waiting("a")
    (line,) = _waits(stage).lines.values()
    (entry,) = line.aside
    gone = waiting("b")
    (left,) = next(iter(_waits(gone).lines.values())).aside
    other = KeyLine(line.keys, line.record)
    other.count = 1
    entry[2].line = other
    for entries, kept in ((66, 66), (67, 1)):
        other.aside = [entry] + [left] * (entries - 1)
        other.forget_the_left()
        assert len(other.aside) == kept
    entry[2].is_aside = False  # it stands in line again, so what is here is what it left behind
    other.aside = [entry] * 67
    other.forget_the_left()
    assert other.aside == []


@pytest.mark.parametrize(("seconds", "held"), [(4.5, False), (5.2, True)])
def test_a_source_whose_order_nothing_may_pass_is_held_for_a_key_that_is_shut_for_long(seconds: float, held: bool) -> None:
    """However long the worker has run before. What is shorter an inbox bridges."""
    stage = Tenants("source")
    stage.turn(later=1000.0)
    record = stage.keys.known("a", stage.now)
    record.end(None, Outcome.THROTTLED, stage.now, told=Told(seconds))
    stage.keys.held += record.is_held
    stage.come("a", "b")
    assert stage.start_all() == []
    stage.turn()
    assert stage.run.plan.of(ORDERS).held is held


def test_a_source_whose_order_nothing_may_pass_is_held_for_a_key_that_is_down() -> None:
    """Also for its last seconds."""
    stage = Tenants("source")
    stage.hold("a")
    stage.turn(later=8.0)
    stage.come("a", "b")
    assert stage.start_all() == []
    stage.turn()
    assert stage.run.plan.of(ORDERS).held


def test_a_source_whose_messages_may_pass_each_other_is_not_held() -> None:
    """Whatever holds the key."""
    stage = Tenants()
    stage.hold("a")
    stage.come("a")
    assert stage.start_all() == []
    stage.turn()
    assert not stage.run.plan.of(ORDERS).held


@pytest.mark.parametrize(("backoff", "deadline"), [(3.0, 3.0), (20.0, 10.0)])
def test_the_engine_wakes_for_a_key_or_for_a_retry_whichever_is_first(backoff: float, deadline: float) -> None:
    """One message waits for its key for ten seconds, and another one for its next attempt."""
    retry = RetryPolicy(attempts=5, initial_backoff=backoff, multiplier=1.0, max_backoff=backoff, jitter=0.0)
    stage = Tenants(retry=retry)
    stage.hold("a")
    stage.come("a", "b")
    (delivery,) = stage.start_all()
    stage.end(delivery, own_failure())
    stage.turn()
    assert stage.engine.next_deadline() == pytest.approx(deadline)


def test_what_waits_again_waits_in_the_same_line() -> None:
    """A line that is left by its last message is gone, and with it when its key is free again."""
    stage = waiting("a")
    waits = _waits(stage)
    (line,) = waits.lines.values()
    assert line.is_due is False
    (alone,) = waits.release([], stage.now + 10.0)
    assert line.is_due is False

    waits.set_aside(alone, line.keys, line.record, stage.now + 10.0)
    assert waits.lines[line.record] is line
    assert KeyLine(line.keys, line.record).is_due is False
