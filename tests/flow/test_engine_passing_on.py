"""`pass_on` repeats `succeeded` and `follow` for the usual case: it may differ from them in speed only."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import (
    FREE,
    ORDERS,
    Stage,
    dependency_failed,
    half_open,
    in_flight,
    partitions,
    positions,
    run_of,
)

from holdgate.core import CircuitSettings, Outcome, RampSettings, State
from holdgate.flow.message import Delivery
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import Verdict

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


def test_each_is_one_result_of_its_handler() -> None:
    """What no need claims is judged by these, on the quick way and on the long one."""
    stage = Stage("payments")
    stage.receive(3)
    results = stage.assignment().results
    second = stage.engine.pass_on(stage.start(), stage.now)
    assert second is not None
    assert results.successes == 1
    third = stage.engine.pass_on(second, stage.now)
    assert third is not None
    assert results.successes == 2
    stage.engine.succeeded(third, stage.now)
    assert results.successes == 3


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
    assert (stage.assignment().in_flight, stage.run.running, stage.engine.needs_turn) == (1, 1, False)
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
    stage.engine.needs_turn = True
    stage.engine.pass_on(first, stage.now)
    assert stage.engine.needs_turn is True


def test_what_the_last_message_did_to_the_circuit_asks_for_a_turn() -> None:
    """Nothing follows it that would."""
    slow = CircuitSettings(slow_call_duration=1.0, minimum_calls=1, slow_call_rate_threshold=0.5, consecutive_failures=None)
    stage = Stage("payments", settings=slow)
    stage.receive(1)
    only = stage.start()
    stage.now += 2.0
    assert stage.engine.pass_on(only, stage.now) is None
    assert stage.gates[0].circuit.state is State.OPEN
    assert stage.engine.needs_turn is True


def test_what_a_circuit_has_to_say_asks_for_a_turn_at_once() -> None:
    """An operator has reset it meanwhile: that is announced in the next turn, not when the row of successes ends."""
    stage = Stage("payments")
    stage.receive(2)
    stage.gates[0].circuit.reset(stage.now)
    first = stage.start()
    stage.engine.needs_turn = False
    assert stage.engine.pass_on(first, stage.now) is not None
    assert stage.engine.needs_turn is True


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
    assert (stage.run.running, stage.engine.needs_turn) == (0, True)


@pytest.mark.parametrize("needs", [(), ("payments",), ("mail", "payments")])
def test_one_delivery_follows_the_other(needs: tuple[str, ...]) -> None:
    """In order, with a permit of each need while it runs, and no turn in between."""
    stage = Stage(*needs)
    stage.receive(3)
    delivery: Delivery[Any] | None = stage.start()
    seen = []
    while delivery is not None:
        seen.append((delivery.position, delivery.attempt, [in_flight(stage, name) for name in needs]))
        assert stage.engine.succeeded(delivery, stage.now) is Verdict.DONE
        assert delivery.permits is None
        delivery = stage.engine.follow(stage.assignment(), stage.now)

    assert seen == [(position, 1, [1] * len(needs)) for position in range(3)]
    assert stage.engine.needs_turn is False
    assert [in_flight(stage, name) for name in needs] == [0] * len(needs)
    assert [stage.engine.gates[name].circuit.snapshot(0.0).calls for name in needs] == [3] * len(needs)


@pytest.mark.parametrize("needs", [(), ("payments",), ("mail", "payments")])
def test_passing_on_is_succeeding_and_following(needs: tuple[str, ...]) -> None:
    """In one step, with the same permits, counts and attempts, for any number of needs."""
    stage = Stage(*needs)
    stage.receive(3)
    delivery: Delivery[Any] | None = stage.start()
    seen = []
    while delivery is not None:
        seen.append((delivery.position, delivery.attempt, [in_flight(stage, name) for name in needs], stage.assignment().in_flight))
        before, delivery = delivery, stage.engine.pass_on(delivery, stage.now)
        assert before.permits is None

    assert seen == [(position, 1, [1] * len(needs), 1) for position in range(3)]
    assert stage.engine.needs_turn is False
    assert (stage.assignment().in_flight, stage.run.running, stage.assignment().inbox.waiting) == (0, 0, 0)
    assert [stage.engine.gates[name].circuit.snapshot(0.0).calls for name in needs] == [3] * len(needs)
    stage.receive(1, first=3)
    assert stage.start().position == 3


def test_passing_on_stops_at_a_circuit_that_has_opened() -> None:
    """The next one waits as a head, and the turn holds its source."""
    stage = Stage("payments")
    stage.receive(3)
    first = stage.start()
    stage.engine.gates["payments"].circuit.open_for(10.0, stage.now)

    assert stage.engine.pass_on(first, stage.now) is None
    assert (stage.assignment().in_flight, stage.run.running) == (0, 0)
    assert stage.engine.needs_turn is True
    stage.turn()
    assert stage.assignment().plan.reasons == ("circuit:payments",)
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waiting == 2


def test_passing_on_overtakes_no_head_that_waits() -> None:
    """In a ramp the slot goes to whoever came first."""
    sources = partitions(2)
    stage = Stage("payments", sources=sources)
    half_open(stage)
    for source in sources:
        stage.receive(2, source, first=10 * source.number)
    (probe,) = stage.start_all()

    assert stage.engine.pass_on(probe, stage.now) is None
    stage.turn()
    assert positions(stage.start_all()) == [10]


def test_passing_on_tells_when_a_full_inbox_has_room() -> None:
    """Fetching goes on when it is half empty."""
    stage = Stage("payments", run=run_of(["payments"], inbox=4))
    stage.receive(5)
    delivery = stage.start()
    assert stage.assignment().plan == SourcePlan(fetch=False, reasons=())
    following = stage.engine.pass_on(delivery, stage.now)
    assert (stage.assignment().full, stage.engine.needs_turn) == (True, False)
    assert following is not None
    stage.engine.pass_on(following, stage.now)
    assert (stage.assignment().full, stage.engine.needs_turn) == (False, True)
    stage.turn()

    assert stage.assignment().plan == FREE


def test_passing_on_announces_what_its_success_did() -> None:
    """A slow success that opens the circuit is acted on in the next turn."""
    slow = CircuitSettings(slow_call_duration=1.0, minimum_calls=1, slow_call_rate_threshold=0.5, consecutive_failures=None)
    stage = Stage("payments", settings=slow)
    stage.receive(2)
    first = stage.start()
    stage.now += 2.0

    assert stage.engine.pass_on(first, stage.now) is None
    assert stage.engine.needs_turn is True
    stage.turn()
    assert stage.engine.gates["payments"].circuit.state is State.OPEN


def test_heads_that_wait_for_a_ramp_make_its_stage_one_of_high_traffic() -> None:
    """A stage that is old enough is not judged by one result while others wait for its limit."""
    sources = partitions(3)
    settings = CircuitSettings(consecutive_failures=2, open_duration=10.0, open_jitter=0.0, ramp=RampSettings(minimum_verdicts=3))
    stage = Stage("payments", settings=settings, sources=sources)
    half_open(stage)
    for source in sources:
        stage.receive(4, source, first=10 * source.number)
    for _ in range(2):  # the probe, and the first result of the stage
        (running,) = stage.start_all()
        stage.engine.succeeded(running, stage.now)
        stage.turn()
    stage.turn(later=10.0)

    assert stage.engine.gates["payments"].circuit.limit == 1
