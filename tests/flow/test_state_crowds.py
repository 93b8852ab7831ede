"""Places when they are full, gone, or ten thousand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from tests.flow.stage import BILLS, ORDERS, gate, messages, partitions, place_of, placed, run_of

from holdgate.flow.events import SourceHeld, SourceReleased
from holdgate.flow.message import Partition
from holdgate.flow.state import Assignment, Unbounded

# -- full -----------------------------------------------------------------------------------------------------------------------------


class Enough(Unbounded):
    """A bound of which this source has used up its share."""

    def is_enough(self, assignment: Any) -> bool:
        return True


def full_place(waiting: int, inbox: int = 20) -> Assignment:
    """A place that is not fetched for, with so many messages."""
    assignment = place_of(gate(), run=run_of(inbox=inbox))
    assignment.inbox.put(messages(ORDERS, waiting))
    assignment.stop_fetching()
    assignment.run.dirty.clear()
    return assignment


@pytest.mark.parametrize(("waiting", "low"), [(5, 2), (9, 4), (1, 0), (40, 10)])
def test_it_is_fetched_for_again_when_half_of_what_waits_is_worked_off(waiting: int, low: int) -> None:
    """A whole number of messages, and half an inbox at most."""
    assert repr(full_place(waiting).low) == str(low)


def test_a_place_with_its_share_of_the_memory_is_not_fetched_for() -> None:
    """There is room by their number, and none by their bytes; the next look is when half of the rest is worked off."""
    assignment = full_place(14)
    assignment.run.memory = Enough()
    for _ in range(7):
        delivery = assignment.inbox.take()
        assert delivery is not None
        assignment.inbox.done(delivery)

    assert (assignment.make_room(), assignment.full, repr(assignment.low)) == (False, True, "3")
    assert list(assignment.run.dirty) == []


def test_a_message_that_leaves_the_waiting_list_changes_no_plan() -> None:
    """It waited for what all of its source need, which has its own way to say that it is back."""
    assignment = place_of(gate())
    delivery = placed(assignment)
    assignment.listed(delivery, assignment.gates)
    assignment.unlisted(delivery, assignment.gates)

    assert assignment.run.dirty == {}


# -- gone -----------------------------------------------------------------------------------------------------------------------------


def test_a_source_that_goes_while_its_plan_stands_is_gone() -> None:
    """Nothing of it had changed since the last turn; its gate does not know it any more, and its lane is given back."""
    run, payments = run_of(["payments"]), gate()
    gone, stays = (run.add(source, [payments]) for source in partitions(2))
    run.count_lanes()
    run.replan(0.0)
    assert run.dirty == {}
    run.remove(gone)

    assert (list(run.assignments), list(payments.assignments), run.lanes, gone.alive) == ([stays.source], [stays], 1, False)


def test_a_source_that_changes_as_it_goes_leaves_the_next_plan() -> None:
    """It does not come back into the plan as the dead one that it is."""
    run = run_of(["payments"])
    gone, stays = (run.add(source, [gate()]) for source in partitions(2))
    run.remove(gone)

    assert list(run.dirty) == [stays]


def test_the_hold_of_a_source_that_is_gone_is_forgotten() -> None:
    """It has come back, and the hold that ends now never had the reason of the one before."""
    run = run_of(["payments"])
    run.tally.note([SourceHeld(0.0, ORDERS, ("operator",))])
    run.remove(run.add(ORDERS, [gate()]))
    run.add(ORDERS, [gate()])
    run.tally.note([SourceHeld(5.0, ORDERS, ("circuit:payments",)), SourceReleased(7.0, ORDERS, 2.0)])

    assert list(run.tally.read({}, ()).holds) == ["circuit:payments"]


# -- ten thousand ---------------------------------------------------------------------------------------------------------------------


def test_all_that_one_circuit_holds_share_its_reason() -> None:
    """Nothing is made for each of ten thousand sources."""
    payments = gate()
    payments.circuit.force_open(0.0)
    for source in partitions(3):
        assignment = place_of(payments, source=source)
        assignment.replan(1.0)
        assert assignment.plan.reasons is payments.reasons


@dataclass(frozen=True)
class Numbered(Partition):
    """A partition that counts how often it is looked up."""

    hashed: ClassVar[list[int]] = []

    def __hash__(self) -> int:
        self.hashed.append(self.number)
        return self.number


@pytest.mark.parametrize(("all_of_them", "looked_up"), [(True, []), (False, [0, 1, 2])])
def test_what_one_circuit_holds_all_together_is_not_looked_up_one_by_one(all_of_them: bool, looked_up: list[int]) -> None:
    """The whole plan has one answer then. Where another source goes on, those that are held are looked up."""
    payments, run = gate(), run_of({"orders": ["payments"], "bills": []})
    for number in range(3):
        run.add(Numbered("orders", number), [payments])
    if not all_of_them:
        run.add(BILLS, [])
    run.replan(0.0)
    payments.circuit.open_for(10.0, 1.0)
    for assignment in payments.assignments:
        assignment.mark_dirty()
    Numbered.hashed.clear()
    run.replan(1.0)

    assert Numbered.hashed == looked_up
    assert [plan.reasons for plan in run.plan.sources.values()] == [("circuit:payments",)] * 3 + [()] * (not all_of_them)
