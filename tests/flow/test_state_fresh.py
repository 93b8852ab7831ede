"""What a place and a run begin with, and what they are told by default."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, Stage, dependency_failed, gate, messages, place_of, placed, run_of

from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.policy import Needs, RetryPolicy
from holdgate.flow.state import Run


def test_a_fresh_place_has_nothing_going_on() -> None:
    """Nothing is held, full, offered or announced."""
    assignment = place_of(gate())

    flags = [
        assignment.closing,
        assignment.full,
        assignment.idle,
        assignment.in_ring,
        assignment.operator_hold,
        assignment.falling_back,
        assignment.shares_announced,
    ]
    assert flags == [False] * 7
    assert (assignment.alive, assignment.stopped, assignment.held) == (True, False, False)


def test_a_fresh_place_has_counted_nothing() -> None:
    """No delivery, no head, no fallback, no announcement."""
    assignment = place_of(gate())

    assert (assignment.in_flight, assignment.fresh_heads, assignment.fallbacks, assignment.warned) == (0, 0, 0, 0.0)
    assert (assignment.blocked, assignment.unsent, assignment.undeclared, assignment.probing, assignment.strayed) == ([], {}, set(), {}, ())
    assert (assignment.since, assignment.held_before) == (None, None)


def test_a_fresh_run_has_nothing_in_work() -> None:
    """Nobody waits for a lane, and nothing is on its way out."""
    run = run_of(["payments"], concurrency=3)

    assert (run.running, run.falling, run.lanes) == (0, 0, 3)
    assert (run.lane_wanted, run.draining) == (False, False)
    assert [list(each) for each in (run.ring, run.granted, run.resend, run.dirty, run.assignments)] == [[]] * 5


def test_what_a_run_takes_when_it_is_told_nothing() -> None:
    """A thousand places past the oldest; rejected messages block; a policy of the usual kind; one message at a time, and no fallback."""
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=10)

    assert (run.span, run.rejects, run.retry, run.batch, run.fallback) == (1000, False, RetryPolicy(), None, None)
    assert (run.lanes, run.half, run.shared) == (0, 5, False)
    assert list(run.needs.names()) == ["payments"]


def test_what_a_run_is_told_it_keeps() -> None:
    """The policy, where rejected messages go, and the order."""
    policy = RetryPolicy(attempts=2)
    run = Run(Needs([]), order="key", concurrency=4, inbox=9, retry=policy, rejects=True)

    assert (run.retry, run.rejects, run.shared, run.half) == (policy, True, True, 4)


@pytest.mark.parametrize(("batch", "capacity"), [(None, 4), (1, 4), (50, 200)])
def test_a_run_may_have_a_batch_per_lane_in_work(batch: int | None, capacity: int) -> None:
    """That is where the ramp of what it needs ends."""
    assert Run(Needs([]), order="none", concurrency=4, inbox=9, batch=batch).capacity == capacity


def test_a_granted_delivery_is_one_more_in_flight() -> None:
    """And one start more of this delivery, whatever it had before."""
    assignment = place_of(gate(), run=run_of(order="none", concurrency=4))
    first, second = placed(assignment, 0), placed(assignment, 1)
    second.attempt = 2
    assignment.run.grant(first)
    assignment.run.grant(second)

    assert (assignment.in_flight, first.attempt, second.attempt, list(assignment.run.granted)) == (2, 1, 3, [first, second])


def test_deliveries_that_are_taken_in_know_their_place() -> None:
    """Whatever comes of them is found by it."""
    assignment = place_of(gate())
    came = messages(assignment.source, 2)
    assignment.run.take_in(came)

    assert [delivery.assignment for delivery in came] == [assignment, assignment]
    assert assignment.inbox.take() is came[0]


def test_a_part_that_is_put_back_may_fill_the_inbox() -> None:
    """Exactly as much as it holds: nothing more is fetched."""
    run = Run(Needs([]), order="source", concurrency=None, inbox=3, batch=4)
    assignment = place_of(run=run)
    run.take_in(batches_of(messages(assignment.source, 4)))
    assignment.full = False
    batch = assignment.inbox.take()
    assert isinstance(batch, Batch)
    assignment.put_back(batch.cut(1))

    assert (assignment.inbox.waiting, assignment.full) == (3, True)


def test_a_hold_by_a_stray_need_is_known_as_one() -> None:
    """Beside that of a need of its own: only the stray is remembered as such."""
    payments, mail = gate(), gate("mail")
    assignment = place_of(payments)
    for each in (payments, mail):
        each.circuit.open_for(10.0, 0.0)
    assignment.stray([mail], 1)
    assignment.replan(0.0)

    assert assignment.plan.reasons == ("circuit:mail", "circuit:payments")
    assert assignment.strayed == (mail,)


def test_a_hold_while_the_circuit_is_still_half_open_goes_on() -> None:
    """An operator holds the source between two probes: it is held since the outage began."""
    stage = Stage("payments")
    stage.trip()
    stage.turn(later=10.0)
    assert stage.assignment().since is None
    stage.now += 1.0
    stage.engine.hold(ORDERS)
    stage.turn()

    assert stage.assignment().since == 0.0


def test_findings_that_are_not_one_per_need_are_a_mistake() -> None:
    """None is dropped in silence."""
    assignment = place_of(gate(), gate("mail"))
    with pytest.raises(ValueError, match="shorter"):
        list(assignment.announce_shared(0.0, assignment.gates, dependency_failed(needs=1, shared=True)))
