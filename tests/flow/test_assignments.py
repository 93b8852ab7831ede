"""Assignments: places come and go."""

from __future__ import annotations

from typing import Any

from tests.flow.stage import ORDERS, gate, messages, partitions, placed, run_of

from holdgate.core import Permit
from holdgate.flow.assignments import Assignments
from holdgate.flow.gate import Gate
from holdgate.flow.message import Partition
from holdgate.flow.state import Run
from holdgate.flow.waiting import WaitingList

BILLS = Partition("bills", 0)


class Desk:
    """Assignments over these gates and runs."""

    def __init__(self, *runs: Run, gates: tuple[str, ...] = ("mail", "payments")) -> None:
        self.gates: dict[str, Gate] = {name: gate(name) for name in gates}
        self.waiting = WaitingList()
        self.assignments = Assignments(self.gates, runs, self.waiting)

    def full(self, name: str) -> int:
        return self.gates[name].circuit.full


def granted(run: Run, source: Partition, *gates: Gate) -> Any:
    """A delivery that was admitted, and that no lane has taken up yet."""
    delivery = placed(run.assignments[source])
    delivery.permits = tuple(gate.circuit.try_acquire(0.0) for gate in gates)
    run.assignments[source].started()
    run.grant(delivery)
    return delivery


def test_a_source_gets_a_place_with_the_gates_it_needs() -> None:
    """Known on both sides, and due for a plan."""
    run = run_of({"orders": ["payments", "mail"], "bills": []})
    desk = Desk(run)
    desk.assignments.open(run, [ORDERS, BILLS], 0.0)

    orders, bills = run.assignments[ORDERS], run.assignments[BILLS]
    assert ([gate.name for gate in orders.gates], bills.gates) == (["payments", "mail"], ())
    assert [list(gate.assignments) for gate in desk.gates.values()] == [[orders], [orders]]
    assert list(run.dirty) == [orders, bills]


def test_a_source_that_nobody_spoke_of_is_stopped() -> None:
    """Needs without an entry for it: no handler starts."""
    run = run_of({"orders": []})
    Desk(run).assignments.open(run, [BILLS], 0.0)

    assert (run.assignments[BILLS].unknown_needs, run.assignments[BILLS].stopped) == (True, True)


def test_a_source_that_comes_again_gets_a_fresh_place() -> None:
    """What is known of the old one is of an earlier epoch."""
    run = run_of(["mail"])
    desk = Desk(run)
    desk.assignments.open(run, [ORDERS], 0.0)
    old = run.assignments[ORDERS]
    desk.assignments.open(run, [ORDERS], 1.0)

    assert run.assignments[ORDERS] is not old
    assert (old.alive, list(desk.gates["mail"].assignments)) == (False, [run.assignments[ORDERS]])


def test_a_ramp_ends_at_the_concurrency_of_the_runs_that_need_it() -> None:
    """Two runs need payments, three lanes and two; one needs mail. It follows when sources come and go."""
    three, two = run_of(["payments"]), run_of(["payments", "mail"])
    desk = Desk(three, two)
    desk.assignments.open(three, partitions(3), 0.0)
    desk.assignments.open(two, partitions(2, "bills"), 0.0)
    assert (desk.full("payments"), desk.full("mail")) == (5, 2)
    desk.assignments.forget(three, partitions(2), 1.0)

    assert desk.full("payments") == 3


def test_a_ramp_ends_at_one_at_least() -> None:
    """A run without sources still has to let a circuit close."""
    run = run_of(["payments"])
    desk = Desk(run)
    desk.assignments.resize(run, 0.0)

    assert desk.full("payments") == 1


def test_a_closing_source_starts_nothing_and_drops_what_waits() -> None:
    """Its inbox, its heads and its grants; permits and lanes come back. Other sources are untouched."""
    run = run_of(["mail"])
    desk = Desk(run)
    going, staying = partitions(2)
    desk.assignments.open(run, [going, staying], 0.0)
    run.enqueue([*messages(going, 2), *messages(staying, 2)])
    for source in (going, staying):
        desk.waiting.add(placed(run.assignments[source]), run.assignments[source].gates)
    dropped, kept = (granted(run, source, desk.gates["mail"]) for source in (going, staying))
    (closed,) = desk.assignments.close(run, [going, Partition("unknown", 0)], 1.0)

    assert closed is run.assignments[going]
    assert (closed.stopped, closed.alive, closed.inbox.waiting, closed.in_flight) == (True, True, 0, 0)
    assert (list(run.granted), run.running, len(desk.waiting)) == ([kept], 1, 1)
    assert (dropped.permits, desk.gates["mail"].circuit.snapshot(1.0).in_flight) == (None, 1)
    assert run.assignments[staying].inbox.waiting == 2


def test_a_forgotten_source_is_gone_from_everything() -> None:
    """The run, its plan, its gates; whoever still carries the place finds it dead."""
    run = run_of(["mail"])
    desk = Desk(run)
    desk.assignments.open(run, partitions(2), 0.0)
    run.replan(0.0)
    gone, stays = partitions(2)
    (assignment,) = desk.assignments.forget(run, [gone], 1.0)

    assert (assignment.alive, list(run.assignments), list(run.plan.sources), run.dirty) == (False, [stays], [stays], {})
    assert list(desk.gates["mail"].assignments) == [run.assignments[stays]]


def test_forgetting_nothing_changes_nothing() -> None:
    """A revocation of sources that were never ours."""
    run = run_of(["mail"])
    desk = Desk(run)
    version = run.plan.version

    assert desk.assignments.forget(run, [ORDERS], 1.0) == []
    assert run.plan.version == version


def test_what_runs_for_a_forgotten_source_keeps_a_lane_until_it_ends() -> None:
    """With one lane per source, the handler that does not let go takes none from the others."""
    run = run_of(["mail"])
    desk = Desk(run)
    desk.assignments.open(run, partitions(2), 0.0)
    delivery = granted(run, ORDERS, desk.gates["mail"])
    run.granted.clear()  # a lane has it
    desk.assignments.forget(run, [ORDERS], 1.0)
    assert (run.lanes, run.running) == (2, 1)
    desk.assignments.leave(delivery, 2.0)

    assert (run.lanes, run.running) == (1, 0)


def test_an_admission_can_end_without_a_verdict() -> None:
    """The slot and the lane are free again."""
    run = run_of(["mail"])
    desk = Desk(run)
    desk.assignments.open(run, [ORDERS], 0.0)
    delivery = granted(run, ORDERS, desk.gates["mail"])
    assert isinstance(delivery.permits[0], Permit)
    desk.assignments.leave(delivery, 1.0)

    assert (run.running, run.assignments[ORDERS].in_flight, run.lanes) == (0, 0, 1)
    assert desk.gates["mail"].circuit.snapshot(1.0).in_flight == 0


def test_a_draining_run_starts_nothing_any_more() -> None:
    """Every place is stopped and emptied, also one that is assigned later."""
    run = run_of(["mail"])
    desk = Desk(run)
    desk.assignments.open(run, [ORDERS], 0.0)
    run.enqueue(messages(ORDERS, 2))
    desk.assignments.drain(run, 1.0)
    desk.assignments.open(run, [BILLS], 2.0)

    assert [(assignment.stopped, assignment.closing, assignment.inbox.waiting) for assignment in run.assignments.values()] == [
        (True, False, 0)
    ] * 2
