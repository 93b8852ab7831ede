"""Single steps of the engine: what each asks for, counts and forgets, where no whole way of a message shows it."""

from __future__ import annotations

import pytest
from tests.core.driving import acquire
from tests.flow.mixed import Mixed
from tests.flow.stage import ORDERS, Message, Stage, gate, own_failure, parallel, throttled
from tests.flow.tenants import Tenants

from holdgate.core import Circuit, CircuitSettings, Outcome, TimeWindow
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.gate import gates_of
from holdgate.flow.policy import FallbackSettings, Needs, Verdict
from holdgate.flow.state import Run, Unbounded


class Scarce(Unbounded):
    """Bytes are scarce."""

    tight = True


def test_nothing_is_kept_of_a_run_with_a_fallback_that_has_ended() -> None:
    """A program may begin and end runs as often as it likes."""
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=10, fallback=FallbackSettings(after=5.0))
    stage = Stage("payments", run=run)
    assert list(stage.engine._fallbacks.pending) == [run]
    stage.engine.remove_run(run, stage.now)
    assert not stage.engine._fallbacks.pending


def test_a_lane_that_finds_nothing_asks_for_a_turn_only_where_the_plan_may_change() -> None:
    """An empty inbox alone changes nothing; where nothing passes any more what waits, that holds all of it from now on."""
    stage = Mixed()
    assignment = stage.assignment()
    assert (stage.engine.follow(assignment, stage.now), assignment.idle, stage.engine.needs_turn) == (None, True, False)

    assignment.full = True
    assignment.run.memory = Scarce()
    assignment.count_undeclared([gate()], 1)
    assert stage.engine.follow(assignment, stage.now) is None
    assert stage.engine.needs_turn is True


@pytest.mark.parametrize("asked", [False, True])
def test_a_success_with_a_key_takes_no_request_for_a_turn_back(asked: bool) -> None:
    """Something else has asked for it, and that has not been looked at yet. By itself the success asks for none."""
    stage = Tenants()
    stage.come("a")
    (delivery,) = stage.start_all()
    if asked:
        stage.engine.hold("bills")
    assert stage.engine.needs_turn is asked
    assert stage.engine.succeeded(delivery, stage.now) is Verdict.DONE
    assert stage.engine.needs_turn is asked


@pytest.mark.parametrize(("later", "counted"), [(1.0, 1), (86400.0, 0)])
def test_a_failed_call_of_an_undeclared_dependency_is_compared_with_what_it_has_seen_lately(later: float, counted: int) -> None:
    """Ten good calls a moment ago speak against the message. A day ago they say nothing about it."""
    stage = Stage()
    search = stage.engine.add_gate(Circuit("search", CircuitSettings(window=TimeWindow(60.0))))
    stage.engine.met(stage.run, "search", ORDERS, stage.now)
    for _ in range(10):
        search.circuit.record(acquire(search.circuit, stage.now), Outcome.SUCCESS, stage.now)
    stage.turn(later=later)
    stage.receive(1)
    delivery = stage.start()
    bad = Attribution((), Cause.DEPENDENCY, undeclared=(("search", Outcome.FAILURE),))
    assert stage.end(delivery, bad) is Verdict.AGAIN
    assert gates_of(delivery) == (search,)
    assert delivery.history.counted == counted


def test_a_throttled_start_is_told_with_the_type_of_its_error() -> None:
    """An operator sees what it waits for."""
    stage = Stage("payments")
    stage.receive(1)
    delivery = stage.start()
    stage.engine.settle(delivery, throttled(), "TooManyRequests", stage.now)
    assert (delivery.attempt, delivery.history.error) == (0, "TooManyRequests")


def test_a_delivery_that_is_let_go_gives_back_what_it_has_in_hand() -> None:
    """At that time: its slot is free for another."""
    stage = Stage("payments")
    stage.receive(1)
    delivery = stage.start()
    stage.engine.let_go(delivery, stage.now)
    assert stage.engine.needs_turn is True
    assert stage.gates[0].circuit.snapshot(stage.now).in_flight == 0


def test_a_message_that_is_brought_once_more_is_at_its_next_attempt() -> None:
    """It keeps the number of those before."""
    stage = Stage("payments")
    delivery = Message(ORDERS, 0)
    delivery.attempt = 1
    assert stage.engine.bring(stage.assignment(), delivery, stage.now) is True
    assert delivery.attempt == 2


def test_what_a_source_has_on_the_waiting_list_is_counted_and_nothing_else() -> None:
    """The watch over a run that stands still asks so what is owed to a source. What is in work or in its inbox is counted elsewhere."""
    stage = parallel("payments", concurrency=2)
    stage.receive(3)
    retried, in_work = stage.start_all()
    assert stage.engine.listed() == {}
    stage.end(retried, own_failure())
    assert stage.engine.listed() == {stage.assignment(): 1}

    stage.turn(later=3600.0)
    assert stage.start() is retried
    assert (stage.engine.listed(), in_work.position) == ({}, 1)
