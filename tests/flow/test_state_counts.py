"""What a run and its assignments count, and by which name."""

from __future__ import annotations

from tests.flow.stage import ORDERS, Stage, gate, messages, parallel, place_of, returned, run_of

from holdgate.flow.message import Partition
from holdgate.flow.policy import RetryPolicy

OTHER = Partition("orders", 1)


def test_only_the_policy_that_a_run_was_given_is_replaced() -> None:
    """Another run's is not."""
    old, new, another = (RetryPolicy(attempts=attempts) for attempts in (3, 4, 5))
    run = run_of(["payments"], retry=old)
    run.replace_retry(another, new)
    assert run.retry is old
    run.replace_retry(old, new)
    assert run.retry is new


def test_a_run_meets_a_dependency_once() -> None:
    """What it needs it knows already."""
    run = run_of(["payments"])
    assert [run.meets(name) for name in ("mail", "mail", "search")] == [True, False, True]


def test_messages_that_fell_back_are_counted_each() -> None:
    """For their source, and under its name by the reason."""
    assignment = place_of(gate())
    for _ in range(2):
        assignment.fell_back("circuit:payments")
    assert assignment.fallbacks == 2
    assert assignment.run.tally.read({}, ()).names["orders"].fell_back == {"circuit:payments": 2}


def test_messages_in_flight_are_counted_each() -> None:
    """And each that has ended is one less."""
    stage = parallel("payments")
    stage.receive(3)
    started = stage.start_all()
    assert stage.assignment().in_flight == 3
    stage.end(started[1], returned())
    assert stage.assignment().in_flight == 2


def test_what_has_ended_stays_counted_when_its_source_is_gone() -> None:
    """Of two partitions, one after the other, under the name of their topic. A hold of one that is gone is not over."""
    stage = Stage("payments", sources=(ORDERS, OTHER))
    for source, count in ((ORDERS, 3), (OTHER, 2)):
        for first in range(count):
            stage.receive(1, source, first)
            stage.end(stage.start(), returned())
        stage.trip()
        stage.engine.forget(stage.run, [source], stage.now)
        stage.turn()
        stage.gates[0].circuit.reset(stage.now)
        stage.turn()
    assert stage.run.tally.read({}, ()).names["orders"].ended == 5


def test_the_first_lane_of_a_run_is_for_what_waits() -> None:
    """No delivery from the waiting list has had one before it, so no inbox has to have the next."""
    assignment = place_of(gate(), run=run_of(["payments"], order="none", concurrency=1))
    assignment.inbox.put(messages(ORDERS, 1))
    assignment.run.mark_ready(assignment)
    assert list(assignment.run.ring) == [assignment]
    assert assignment.run.has_lane_for_waiting
