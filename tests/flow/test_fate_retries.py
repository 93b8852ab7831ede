"""Deliveries that were not processed: whether they come again, and what they wait for."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, Message, dependency_failed, gate, messages, own_failure, place_of, placed, refused, returned, run_of

from holdgate.flow.attribution import Attribution
from holdgate.flow.events import AttributionShared, UndeclaredNeed
from holdgate.flow.fate import Retries
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.flow.waiting import WaitingList

POLICY = RetryPolicy(initial_backoff=1.0, multiplier=2.0, max_backoff=30.0, jitter=0.5)


class Desk:
    """Retries of deliveries that need the first of these gates; the others are known too."""

    def __init__(self, *gates: Gate, draw: float = 0.5) -> None:
        self.waiting = WaitingList()
        self.retries = Retries(self.waiting, {gate.name: gate for gate in gates}, lambda: draw)
        self.assignment = place_of(*gates[:1], run=run_of(order="none", concurrency=9, retry=POLICY))

    def keep(self, delivery: Message, attribution: Attribution, verdict: Verdict = Verdict.AGAIN, now: float = 0.0) -> list[Any]:
        return self.retries.keep(delivery, verdict, attribution, now)


def shut(name: str = "payments") -> Gate:
    each = gate(name)
    each.circuit.force_open(0.0)
    return each


def test_a_failure_waits_for_its_backoff() -> None:
    """1 second, then 2, then 4."""
    desk = Desk(gate())
    delivery = placed(desk.assignment)
    waits = []
    for _ in range(3):
        assert desk.keep(delivery, own_failure()) == []
        waits.append(desk.waiting.next_deadline())
        desk.waiting.drop({desk.assignment})

    assert waits == [1.0, 2.0, 4.0]


def test_chance_spreads_backoffs() -> None:
    """Half less at the lowest draw, with a jitter of a half."""
    desk = Desk(gate(), draw=0.0)
    desk.keep(placed(desk.assignment), dependency_failed())

    assert desk.waiting.next_deadline() == 0.5


def test_in_front_of_an_open_circuit_there_is_no_backoff() -> None:
    """From now on only admission decides, and the exponent starts again."""
    payments = gate()
    desk = Desk(payments)
    delivery = placed(desk.assignment)
    desk.keep(delivery, own_failure())
    desk.waiting.drop({desk.assignment})
    assert delivery.history.backoffs == 1
    payments.circuit.force_open(0.0)
    desk.keep(delivery, dependency_failed())

    assert (delivery in desk.waiting, desk.waiting.next_deadline(), delivery.history.backoffs) == (True, None, 0)


def test_what_was_refused_waits_for_the_circuit_that_refused() -> None:
    """No backoff: it is granted when there is a slot."""
    desk = Desk(shut())
    delivery = placed(desk.assignment)

    assert desk.keep(delivery, refused("payments")) == []
    assert desk.waiting.next_deadline() is None


def test_an_undeclared_need_is_a_need_from_now_on() -> None:
    """Its circuit has to admit the message too; announced once per source, and not at the second refusal."""
    payments, search = gate("payments"), shut("search")
    desk = Desk(payments, search)
    first, second = placed(desk.assignment, 0), placed(desk.assignment, 1)

    assert desk.keep(first, refused("search")) == [UndeclaredNeed(0.0, ORDERS, "search")]
    assert gates_of(first) == (payments, search)
    desk.waiting.drop({desk.assignment})
    assert desk.keep(first, refused("search")) == []
    assert gates_of(first) == (payments, search)
    assert desk.keep(second, refused("search")) == []
    assert gates_of(second) == (payments, search)


def test_a_dependency_that_is_not_of_this_guard_is_waited_out_by_time() -> None:
    """Nothing tells when it will admit again; that it is not declared here is announced once."""
    desk = Desk(gate())
    delivery = placed(desk.assignment)

    assert desk.keep(delivery, refused("elsewhere")) == [UndeclaredNeed(0.0, ORDERS, "elsewhere")]
    assert (desk.waiting.next_deadline(), gates_of(delivery)) == (1.0, desk.assignment.gates)


def test_one_foreign_refusal_among_others_is_waited_out_by_time() -> None:
    """The known circuit is in half-open and would admit it, and the other would refuse it again."""
    search = gate("search")
    search.circuit.open_for(1.0, 0.0)
    search.circuit.advance(1.0)
    desk = Desk(gate(), search)
    desk.keep(placed(desk.assignment), refused("search", "elsewhere"))

    assert desk.waiting.next_deadline() == 1.0


def test_a_refusal_by_a_circuit_without_a_limit_is_waited_out_by_time() -> None:
    """It would be granted at once, refused at once, and run hot."""
    desk = Desk(gate(), gate("search"))
    desk.keep(placed(desk.assignment), refused("search"))

    assert desk.waiting.next_deadline() == 1.0


def test_a_refusal_in_half_open_waits_for_a_slot() -> None:
    """The ramp hands them out."""
    search = gate("search")
    search.circuit.open_for(1.0, 0.0)
    search.circuit.advance(1.0)
    desk = Desk(gate(), search)
    desk.keep(placed(desk.assignment), refused("search"))

    assert desk.waiting.next_deadline() is None


@pytest.mark.parametrize("verdict", [Verdict.DONE, Verdict.REJECT])
def test_what_does_not_come_again_waits_for_nothing(verdict: Verdict) -> None:
    """It is done, or its way out is somebody else's business."""
    desk = Desk(gate())
    delivery = placed(desk.assignment)

    assert desk.keep(delivery, returned(), verdict) == []
    assert delivery not in desk.waiting


def test_a_place_that_goes_away_keeps_nothing() -> None:
    """The message comes again to whoever has the source next."""
    desk = Desk(gate())
    desk.assignment.closing = True
    delivery = placed(desk.assignment)

    assert desk.keep(delivery, own_failure()) == []
    assert delivery not in desk.waiting


def test_a_shared_exception_is_announced() -> None:
    """Once per source, whatever becomes of the message."""
    desk = Desk(gate())

    assert desk.keep(placed(desk.assignment), dependency_failed(shared=True)) == [AttributionShared(0.0, ORDERS, ("payments",))]
    assert desk.keep(placed(desk.assignment, 1), dependency_failed(shared=True)) == []


def test_only_a_dependency_failure_lets_witnesses_start() -> None:
    """A message's own failure needs none: 64 of the 128 places stay theirs, and eight are given out per attempt that may be an outage."""
    desk = Desk(gate())
    run = run_of(order="none", concurrency=200, span=128, retry=POLICY)
    assignment = desk.assignment = place_of(gate(), run=run)
    run.enqueue(messages(assignment.source, 128))
    taken: list[Any] = []

    def take_all() -> int:
        while (delivery := assignment.inbox.take()) is not None:
            taken.append(delivery)
        return len(taken)

    assert take_all() == 64
    desk.keep(taken[0], own_failure())
    assert take_all() == 64
    desk.waiting.drop({assignment})
    desk.keep(taken[0], dependency_failed())
    assert take_all() == 72


def test_every_dependency_that_refused_is_a_need_of_the_message() -> None:
    """One after the other, in the order in which they did."""
    payments, mail, search = gate(), gate("mail"), gate("search")
    desk = Desk(payments, mail, search)
    delivery = placed(desk.assignment)
    desk.keep(delivery, refused("mail"))
    desk.waiting.drop({desk.assignment})
    desk.keep(delivery, refused("search"))

    assert gates_of(delivery) == (payments, mail, search)


def test_two_dependencies_that_nobody_declared_are_announced_both() -> None:
    """One message calls both, and both refuse."""
    desk = Desk(gate())
    told = desk.keep(placed(desk.assignment), refused("search", "mail"))

    assert [event.dependency for event in told if isinstance(event, UndeclaredNeed)] == ["search", "mail"]
