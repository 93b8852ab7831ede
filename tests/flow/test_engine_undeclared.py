"""Dependencies that a handler calls and no need names: what their calls count for, and what a message waits for after one of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, QUICK, Message, Stage, dependency_failed, parallel, refused, returned, run_of

from holdgate.core import Circuit, CircuitSettings, Outcome, State
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.events import DependencyMet, UndeclaredNeed
from holdgate.flow.gate import gates_of
from holdgate.flow.message import Delivery, HandlerRequest
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.state import Run

SEARCH = "search"


def called(outcome: Outcome, cause: Cause, name: str = SEARCH) -> Attribution:
    """The end of a handler whose call of an undeclared dependency came to this."""
    return Attribution((), cause, undeclared=((name, outcome),))


GOOD = called(Outcome.SUCCESS, Cause.RETURNED)
BAD = called(Outcome.FAILURE, Cause.DEPENDENCY)


def searching(stage: Stage, settings: CircuitSettings = QUICK) -> Stage:
    """A guard that has met a dependency which this run's needs do not name."""
    stage.engine.add_gate(Circuit(SEARCH, settings))
    stage.engine.met(stage.run, SEARCH, ORDERS, stage.now)
    stage.turn()
    stage.events()
    return stage


def test_the_first_meeting_is_announced_and_later_ones_are_not() -> None:
    """With the source whose handler has called it; a turn hands the event out."""
    stage = Stage()
    stage.engine.add_gate(Circuit(SEARCH, QUICK))
    stage.engine.met(stage.run, SEARCH, ORDERS, 0.0)
    assert stage.engine.needs_turn
    stage.turn()
    assert stage.events() == [DependencyMet(0.0, ORDERS, SEARCH)]
    stage.engine.met(stage.run, SEARCH, None, 0.0)
    assert (stage.engine.needs_turn, stage.events()) == (False, [])


def test_its_ramp_ends_where_the_runs_that_call_it_end() -> None:
    """As that of a need: what all of them may have in work in parallel."""
    stage = searching(parallel(concurrency=3))
    other = run_of((), order="none", concurrency=4)
    stage.engine.add_run(other)
    assert stage.engine.gates[SEARCH].circuit.full == 3
    stage.engine.met(other, SEARCH, None, 0.0)
    assert stage.engine.gates[SEARCH].circuit.full == 7
    stage.engine.remove_run(stage.run, 0.0)
    assert stage.engine.gates[SEARCH].circuit.full == 4


def test_a_need_is_not_met() -> None:
    """It is known already; each name counts once."""
    stage = Stage("payments")
    assert not stage.run.meets("payments")
    assert stage.run.meets(SEARCH)
    assert not stage.run.meets(SEARCH)
    assert stage.run.dependencies == ("payments", SEARCH)


def test_a_message_whose_call_failed_needs_it_until_it_is_settled() -> None:
    """When the circuit opens its backoff ends and its source is held; the probe goes as soon as the circuit lets it."""
    stage = searching(Stage())
    stage.receive(2)
    delivery = stage.start()
    assert stage.end(delivery, BAD) is Verdict.AGAIN
    assert gates_of(delivery) == (stage.engine.gates[SEARCH],)
    stage.trip(SEARCH)
    assert stage.run.plan.of(ORDERS).reasons == ("circuit:search",)
    stage.turn(later=10.0)
    assert stage.start() is delivery
    assert stage.end(delivery, returned()) is Verdict.DONE
    assert stage.engine.gates[SEARCH].circuit.state is State.HALF_OPEN


def test_a_bad_message_among_good_ones_does_not_open_it_and_is_convicted() -> None:
    """By the votes and the blame of a need: what others' calls of it came to counts."""
    retry = RetryPolicy(attempts=3, initial_backoff=0.1, max_backoff=0.1, jitter=0.0)
    stage = searching(Stage(run=run_of((), order="none", concurrency=2, retry=retry, rejects=True)))
    stage.receive(1)
    bad = stage.start()
    verdict = stage.end(bad, BAD)
    attempts = 1
    while verdict is Verdict.AGAIN:
        for _ in range(30):
            stage.receive(1, first=attempts * 100)
            assert stage.end(stage.start(), GOOD) is Verdict.DONE
        stage.turn(later=0.2)
        assert stage.start() is bad
        verdict = stage.end(bad, dependency_failed())
        attempts += 1
        assert attempts < 12
    assert verdict is Verdict.REJECT
    assert stage.engine.gates[SEARCH].circuit.state is State.CLOSED


@pytest.mark.parametrize("cause", [Cause.RETURNED, Cause.MESSAGE, Cause.REJECTED])
def test_a_failed_call_that_is_not_why_it_ended_so_binds_nothing(cause: Cause) -> None:
    """Its handler went on, or the message failed by itself."""
    stage = searching(Stage(run=run_of((), rejects=True)))
    stage.receive(1)
    delivery = stage.start()
    stage.end(delivery, called(Outcome.FAILURE, cause))
    assert gates_of(delivery) == ()


def test_what_no_guard_has_taken_up_counts_nowhere() -> None:
    """A plain breaker of the user's own."""
    stage = Stage()
    stage.receive(1)
    delivery = stage.start()
    assert stage.end(delivery, called(Outcome.FAILURE, Cause.DEPENDENCY, "elsewhere")) is Verdict.AGAIN
    assert gates_of(delivery) == ()


def test_a_refusal_is_no_attempt_and_no_fresh_message_either() -> None:
    """The next start is the first attempt still, and those that were never started go before it is counted among them."""
    stage = searching(Stage())
    stage.receive(2)
    stage.trip(SEARCH)
    delivery = stage.start()
    assert delivery.attempt == 1
    stage.end(delivery, refused(SEARCH, needs=0))
    assert (delivery.attempt, stage.assignment().unstarted) == (0, 0)
    assert stage.events()[-2:][0] == UndeclaredNeed(0.0, ORDERS, SEARCH)
    stage.turn(later=10.0)
    assert stage.start() is delivery
    assert delivery.attempt == 1


def test_names_without_end_are_announced_thirty_two_times() -> None:
    """A handler that makes a Dependency with a new name for each message fills neither the log nor the memory."""
    stage = Stage(run=run_of((), retry=RetryPolicy(initial_backoff=1.0, max_backoff=1.0, jitter=0.0)))
    (delivery,) = stage.receive(1)
    announced: list[Any] = []
    for number in range(40):
        assert stage.start() is delivery
        stage.end(delivery, refused(f"name{number}", needs=0))
        announced += [event for event in stage.events() if isinstance(event, UndeclaredNeed)]
        stage.turn(later=1.0)
    assert len(announced) == 32


def batch_of_four(stage: Stage) -> Batch:
    stage.engine.received(stage.run, [Batch(ORDERS, [Message(ORDERS, number) for number in range(4)], AS_THEY_ARE)])
    stage.turn()
    batch: Delivery[Any] = stage.start()
    assert isinstance(batch, Batch)
    return batch


def test_a_batch_counts_like_a_message() -> None:
    """Done in parts it is a success, and after a failure its pieces need the dependency."""
    run = Run(run_of(()).needs, order="none", concurrency=1, inbox=500, rejects=True, batch=4)
    stage = searching(Stage(run=run))
    batch = batch_of_four(stage)
    stage.engine.settle_in_parts(batch, batch.items(), {0: HandlerRequest(reason="no")}, GOOD, 0.0)
    assert stage.engine.gates[SEARCH].successes == 1

    stage = searching(Stage(run=Run(run_of(()).needs, order="none", concurrency=1, inbox=500, rejects=True, batch=4)))
    stage.end(batch_of_four(stage), BAD)
    stage.turn(later=5.0)
    assert gates_of(stage.start()) == (stage.engine.gates[SEARCH],)
