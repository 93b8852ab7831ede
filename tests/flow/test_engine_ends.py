"""How deliveries end, at the edges: places that go away, suspects that are named, batches, and what is counted."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, QUICK, Stage, dependency_failed, messages, own_failure, returned, run_of

from holdgate.core import Circuit
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.engine import Engine
from holdgate.flow.events import SourceBlocked
from holdgate.flow.policy import FallbackSettings, Needs, RetryPolicy, Verdict
from holdgate.flow.state import Run


def blocked(stage: Stage) -> list[SourceBlocked]:
    return [event for event in stage.events() if isinstance(event, SourceBlocked)]


def test_an_engine_has_nothing_to_do_at_first() -> None:
    """No turn is asked for before something has happened."""
    assert Engine(draw=lambda: 0.5).restless is False


def suspect() -> Stage:
    """A lone message in front of a circuit that opened for it, one failure short of being a suspect."""
    stage = Stage("payments", run=run_of(["payments"]))
    stage.receive(1)
    for _ in range(4):
        stage.end(stage.start(), dependency_failed())
        stage.turn(later=1000.0)
    stage.events()
    return stage


def test_a_suspect_is_named_at_its_failure_and_not_again_at_the_next() -> None:
    """The next word on it is that of the minute."""
    stage = suspect()
    stage.engine.settle(stage.start(), dependency_failed(), "ValueError", stage.now)
    assert [event.suspect for event in blocked(stage)] == [True]
    stage.engine.turn(stage.now)
    stage.now += 1000.0
    stage.engine.turn(stage.now)
    stage.events()
    stage.engine.settle(stage.start(), dependency_failed(), "ValueError", stage.now)
    assert blocked(stage) == []


def test_its_own_failure_makes_nobody_a_suspect() -> None:
    """There is no question whose fault it is."""
    stage = suspect()
    stage.engine.settle(stage.start(), own_failure(), "ValueError", stage.now)
    assert blocked(stage) == []


def test_a_suspect_of_a_place_that_goes_away_is_not_named() -> None:
    """Whoever has the source next finds out."""
    stage = suspect()
    delivery = stage.start()
    stage.engine.closing(stage.run, [ORDERS], stage.now)
    stage.engine.settle(delivery, dependency_failed(), "ValueError", stage.now)
    assert blocked(stage) == []


def batches(most: int = 4, count: int = 8, **settings: Any) -> Stage:
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=500, batch=most, **settings)
    stage = Stage("payments", run=run)
    stage.engine.received(run, batches_of(messages(ORDERS, count)))
    stage.turn()
    return stage


@pytest.mark.parametrize("end", [returned(), own_failure(), dependency_failed()])
def test_a_batch_that_has_ended_is_not_in_flight(end: Any) -> None:
    """Whatever it came to, its lane is free."""
    stage = batches()
    batch = stage.start()
    assert (stage.assignment().in_flight, stage.run.running) == (1, 1)
    stage.engine.settle(batch, end, "ValueError", stage.now)
    assert (stage.assignment().in_flight, stage.run.running) == (0, 0)


def test_a_message_keeps_what_its_batch_failed_with() -> None:
    """Its half has it, for whoever wants to know why it comes again."""
    stage = batches(most=2, count=2)
    stage.engine.settle(stage.start(), own_failure(), "OSError", stage.now)
    stage.turn()
    half = stage.start()
    assert isinstance(half, Batch)
    assert (half.trial.error, half.trial.failures) == ("OSError", 1)


def test_a_batch_that_ends_in_parts_asks_for_a_turn() -> None:
    """Its postponed part waits from then on."""
    stage = batches()
    batch = stage.start()
    assert isinstance(batch, Batch)
    assert stage.engine.restless is False
    stage.engine.settle_in_parts(batch, batch.items(), {}, returned(), stage.now)
    assert stage.engine.restless is True


def test_every_fallback_is_counted() -> None:
    """Apart from what handlers did."""
    engine = Engine(draw=lambda: 0.5)
    gate = engine.add_gate(Circuit("payments", QUICK))
    run = Run(Needs(["payments"]), order="none", concurrency=4, inbox=10, fallback=FallbackSettings(0.0, None))
    engine.add_run(run)
    engine.assigned(run, [ORDERS], 0.0)
    gate.circuit.open_for(10.0, 0.0)
    engine.turn(0.0)
    engine.received(run, messages(ORDERS, 2))
    engine.turn(0.0)
    for _ in range(4):
        engine.turn(0.0)
        delivery = engine.next(run, 0.0)
        if delivery is not None:
            engine.fell_back(delivery, 0.0)
    assert run.assignments[ORDERS].fallbacks == 2


def test_a_skip_asks_for_a_turn() -> None:
    """What stood behind the message goes on."""
    stage = Stage("payments", run=run_of(["payments"], retry=RetryPolicy(attempts=1)))
    stage.receive(2)
    assert stage.end(stage.start(), own_failure()) is Verdict.AGAIN
    assert stage.engine.restless is False
    assert stage.engine.skip(stage.run, ORDERS, 0, "hopeless", stage.now) is not None
    assert stage.engine.restless is True


def test_a_skip_of_nothing_asks_for_nothing() -> None:
    """There is no such message."""
    stage = Stage("payments")
    assert stage.engine.skip(stage.run, ORDERS, 7, "hopeless", stage.now) is None
    assert stage.engine.restless is False
