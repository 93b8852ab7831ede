"""`pass_on` repeats `succeeded` and `follow` for the usual case: it may differ from them in speed only."""

from __future__ import annotations

import pytest
from tests.flow.stage import Stage, dependency_failed, partitions, run_of

from holdgate.core import CircuitSettings, Outcome, State

# Counts failures, and opens at no number of them that a test here comes to.
PATIENT = CircuitSettings(consecutive_failures=None, minimum_calls=20)


def test_the_same_permit_goes_from_message_to_message() -> None:
    """In the usual case nothing is made per message."""
    stage = Stage("payments")
    stage.receive(3)
    first = stage.start()
    permits = first.permits
    second = stage.engine.pass_on(first, stage.now)
    assert second is not None
    assert second.permits is permits
    third = stage.engine.pass_on(second, stage.now)
    assert third is not None
    assert third.permits is permits


def test_each_counts_as_a_success_of_another_message() -> None:
    """The votes and the blame of messages that fail are told by it."""
    stage = Stage("payments")
    stage.receive(3)
    delivery = stage.start()
    stage.engine.pass_on(delivery, stage.now)
    assert stage.gates[0].successes == 1
    second = stage.assignment().run
    assert second.running == 1


@pytest.fixture
def after_a_failure() -> Stage:
    """One failure is in the window, so that every result is judged."""
    stage = Stage("payments", settings=PATIENT)
    stage.gates[0].circuit.record(stage.gates[0].circuit.try_acquire(0.0), Outcome.FAILURE, 0.0)  # type: ignore[arg-type]
    stage.receive(3)
    return stage


def test_beside_a_failure_one_follows_the_other(after_a_failure: Stage) -> None:
    """A success each, one permit in flight, first attempts, and no turn in between."""
    stage = after_a_failure
    circuit = stage.gates[0].circuit
    first = stage.start()
    second = stage.engine.pass_on(first, stage.now)
    assert second is not None
    third = stage.engine.pass_on(second, stage.now)
    assert third is not None
    assert [second.attempt, third.attempt] == [1, 1]
    snapshot = circuit.snapshot(stage.now)
    assert (snapshot.calls, snapshot.failures, snapshot.in_flight) == (3, 1, 1)
    assert stage.gates[0].successes == 2
    assert (stage.assignment().in_flight, stage.run.running, stage.engine.restless) == (1, 1, False)
    assert stage.engine.pass_on(third, stage.now) is None
    assert circuit.snapshot(stage.now).in_flight == 0


def test_the_permit_of_one_that_follows_beside_a_failure_is_its_own(after_a_failure: Stage) -> None:
    """Its end is a result of its own call."""
    stage = after_a_failure
    second = stage.engine.pass_on(stage.start(), stage.now)
    assert second is not None
    stage.end(second, dependency_failed())
    assert stage.gates[0].circuit.snapshot(stage.now).failures == 2


def test_a_turn_that_was_asked_for_is_not_forgotten(after_a_failure: Stage) -> None:
    """What asked for it is not what `pass_on` looks at."""
    stage = after_a_failure
    first = stage.start()
    stage.engine.restless = True
    stage.engine.pass_on(first, stage.now)
    assert stage.engine.restless is True


def test_what_the_last_message_did_to_the_circuit_asks_for_a_turn() -> None:
    """Nothing follows it that would."""
    slow = CircuitSettings(slow_call_duration=1.0, minimum_calls=1, slow_call_rate_threshold=0.5, consecutive_failures=None)
    stage = Stage("payments", settings=slow)
    stage.receive(1)
    only = stage.start()
    stage.now += 2.0
    assert stage.engine.pass_on(only, stage.now) is None
    assert stage.gates[0].circuit.state is State.OPEN
    assert stage.engine.restless is True


def test_what_a_circuit_has_to_say_asks_for_a_turn_at_once() -> None:
    """An operator has reset it meanwhile: that is announced in the next turn, not when the row of successes ends."""
    stage = Stage("payments")
    stage.receive(2)
    stage.gates[0].circuit.reset(stage.now)
    first = stage.start()
    stage.engine.restless = False
    assert stage.engine.pass_on(first, stage.now) is not None
    assert stage.engine.restless is True


def test_a_place_without_a_row_of_its_own_is_passed_on_too() -> None:
    """Several lanes share it: `pass_on` is `succeeded` and `follow` then."""
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=2))
    stage.receive(3)
    following = stage.engine.pass_on(stage.start(), stage.now)
    assert following is not None
    assert (following.position, following.attempt, stage.run.running) == (1, 1, 1)
    assert stage.gates[0].successes == 1


def test_a_lane_that_somebody_waits_for_is_not_kept() -> None:
    """Two sources and one lane: the other one has it next."""
    sources = partitions(2)
    stage = Stage("payments", run=run_of(["payments"], concurrency=1), sources=sources)
    for source in sources:
        stage.receive(2, source)
    first = stage.start()
    stage.run.lane_wanted = True
    assert stage.engine.pass_on(first, stage.now) is None
    assert (stage.run.running, stage.engine.restless) == (0, True)
