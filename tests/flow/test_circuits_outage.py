"""What a change of a circuit means for those who wait for it or need it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import ORDERS, Message, Stage, dependency_failed, gate, messages, partitions, place_of, placed, run_of

from holdgate.core import CircuitHalfOpened, CircuitOpened, LimitChanged, Outcome, Permit
from holdgate.core.guidance import Guidance, Phase
from holdgate.flow.blame import FailureHistory
from holdgate.flow.circuits import CircuitChanges
from holdgate.flow.events import LocalCauseSuspected
from holdgate.flow.gate import Gate
from holdgate.flow.waiting import WaitingList


def kinds(events: list[Any]) -> list[type]:
    return [type(event) for event in events]


def backing_off(waiting: WaitingList, *gates: Gate) -> Message:
    """A retry of a delivery that needs these, waiting until second 1000."""
    delivery = placed(place_of(*gates, run=run_of(order="none", concurrency=9)))
    delivery.history = FailureHistory()
    delivery.history.backoffs = 4
    delivery.attempt = 1
    waiting.add(delivery, gates, not_before=1000.0)
    return delivery


def suspicions(events: list[Any]) -> list[LocalCauseSuspected]:
    return [event for event in events if isinstance(event, LocalCauseSuspected)]


# -- time -----------------------------------------------------------------------------------------------------------------------------


def test_only_a_circuit_whose_time_has_come_is_advanced() -> None:
    """The wait of one is over, and half-open is announced; the other goes on waiting."""
    early, late, calm = gate("early"), gate("late"), gate("calm")
    early.circuit.open_for(5.0, 0.0)
    late.circuit.open_for(9.0, 0.0)
    outages = CircuitChanges(WaitingList())
    outages.settle_events([early, late, calm], 0.0)

    assert outages.advance([early, late, calm], 4.9) == []
    assert [(type(event), event.name) for event in outages.advance([early, late, calm], 5.0)] == [(CircuitHalfOpened, "early")]


# -- opening --------------------------------------------------------------------------------------------------------------------------


def test_an_opening_has_the_plans_of_its_sources_looked_at() -> None:
    """And no others."""
    payments, mail = gate("payments"), gate("mail")
    needs_it, does_not = place_of(payments), place_of(mail)
    for each, assignment in ((payments, needs_it), (mail, does_not)):
        each.assignments[assignment] = None
    payments.circuit.open_for(5.0, 0.0)

    assert kinds(CircuitChanges(WaitingList()).settle_events([payments, mail], 0.0)) == [CircuitOpened]
    assert (list(needs_it.run.dirty), list(does_not.run.dirty)) == ([needs_it], [])


def test_a_change_that_shuts_nothing_looks_at_no_plan() -> None:
    """From half-open to closed nobody is held or released."""
    payments = gate()
    assignment = place_of(payments)
    outages = CircuitChanges(WaitingList())
    payments.circuit.open_for(5.0, 0.0)
    payments.circuit.advance(5.0)
    outages.settle_events([payments], 5.0)
    payments.assignments[assignment] = None
    payments.circuit.reset(6.0)
    outages.settle_events([payments], 6.0)

    assert list(assignment.run.dirty) == []


@pytest.mark.parametrize("how", ["open_for", "force_open"])
def test_an_opening_ends_backoffs(how: str) -> None:
    """From now on only admission decides, also under an operator's word."""
    payments, waiting = gate(), WaitingList()
    delivery = backing_off(waiting, payments)
    if how == "open_for":
        payments.circuit.open_for(5.0, 0.0)
    else:
        payments.circuit.force_open(0.0)
    CircuitChanges(waiting).settle_events([payments], 0.0)

    assert (waiting.next_deadline(), delivery.history.backoffs) == (None, 0)


def test_a_reopening_ends_backoffs_too() -> None:
    """They began in half-open."""
    payments, waiting = gate(), WaitingList()
    outages = CircuitChanges(waiting)
    payments.circuit.open_for(5.0, 0.0)
    payments.circuit.advance(5.0)
    outages.settle_events([payments], 5.0)
    backing_off(waiting, payments)
    payments.circuit.open_for(5.0, 6.0)
    outages.settle_events([payments], 6.0)

    assert waiting.next_deadline() is None


def test_an_opening_under_an_override_that_admits_ends_none() -> None:
    """Nothing is shut, so time goes on deciding."""
    payments, waiting = gate(), WaitingList()
    backing_off(waiting, payments)
    payments.circuit.disable(0.0)
    payments.circuit.open_for(5.0, 0.0)
    CircuitChanges(waiting).settle_events([payments], 0.0)

    assert waiting.next_deadline() == 1000.0


def test_a_closing_lets_waiting_heads_stand_anew() -> None:
    """They waited for slots, and from now on for a lane only."""
    payments, waiting = gate(), WaitingList()
    payments.circuit.open_for(5.0, 0.0)
    outages = CircuitChanges(waiting)
    outages.settle_events([payments], 0.0)
    head = placed(place_of(payments, run=run_of(order="none", concurrency=1)))
    waiting.add(head, (payments,))
    payments.circuit.reset(1.0)
    outages.settle_events([payments], 1.0)

    assert waiting.grants([payments], 1.0) == [head]


def test_a_change_there_and_back_lets_heads_stand_anew() -> None:
    """Opened and reset between two looks: whoever came in between must not wait for an opening that is over."""
    payments, waiting = gate(), WaitingList()
    payments.circuit.open_for(5.0, 0.0)
    head = placed(place_of(payments, run=run_of(order="none", concurrency=1)))
    waiting.add(head, (payments,))
    payments.circuit.reset(0.0)
    CircuitChanges(waiting).settle_events([payments], 0.0)

    assert waiting.grants([payments], 1.0) == [head]


def test_a_new_limit_moves_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ramp changes its limit at every stage, and a thousand heads need not stand anew for that."""
    payments, waiting = gate(), WaitingList()
    outages = CircuitChanges(waiting)
    payments.circuit.set_full(8, 0.0)
    payments.circuit.open_for(5.0, 0.0)
    payments.circuit.advance(5.0)
    outages.settle_events([payments], 5.0)
    moved: list[Gate] = []
    monkeypatch.setattr("holdgate.flow.waiting.WaitingList.regroup", lambda _, gate: moved.append(gate))
    for _ in range(2):
        permit = payments.circuit.try_acquire(5.0)
        assert isinstance(permit, Permit)
        payments.circuit.record(permit, Outcome.SUCCESS, 5.0)

    assert kinds(outages.settle_events([payments], 5.0)) == [LimitChanged]
    assert moved == []


# -- local causes ---------------------------------------------------------------------------------------------------------------------


def test_all_opening_together_is_suspicious() -> None:
    """The cause is probably here, and it is said once."""
    mail, payments = gates = [gate("mail"), gate("payments")]
    outages = CircuitChanges(WaitingList())
    mail.circuit.open_for(60.0, 0.0)
    assert suspicions(outages.settle_events(gates, 0.0)) == []
    payments.circuit.open_for(60.0, 10.0)
    assert suspicions(outages.settle_events(gates, 10.0)) == [LocalCauseSuspected(10.0, ("mail", "payments"))]
    mail.circuit.force_open(11.0)

    assert suspicions(outages.settle_events(gates, 11.0)) == []


def test_openings_further_apart_are_no_coincidence() -> None:
    """More than ten seconds."""
    mail, payments = gates = [gate("mail"), gate("payments")]
    outages = CircuitChanges(WaitingList())
    mail.circuit.open_for(60.0, 0.0)
    payments.circuit.open_for(60.0, 10.1)

    assert suspicions(outages.settle_events(gates, 10.1)) == []


def test_one_dependency_alone_is_no_coincidence() -> None:
    """It is all of them, and that means nothing."""
    mail = gate("mail")
    mail.circuit.open_for(60.0, 0.0)

    assert suspicions(CircuitChanges(WaitingList()).settle_events([mail], 0.0)) == []


def test_a_reopening_is_no_coincidence() -> None:
    """One has been down for long and fails its probe just when the other opens."""
    mail, payments = gates = [gate("mail"), gate("payments")]
    outages = CircuitChanges(WaitingList())
    mail.circuit.open_for(60.0, 0.0)
    outages.settle_events(gates, 0.0)
    mail.circuit.advance(60.0)
    mail.circuit.open_for(60.0, 61.0)
    payments.circuit.open_for(60.0, 61.0)

    assert suspicions(outages.settle_events(gates, 61.0)) == []


def test_a_failed_probe_does_not_repeat_the_suspicion() -> None:
    """It holds until one of them has recovered."""
    mail, payments = gates = [gate("mail"), gate("payments")]
    outages = CircuitChanges(WaitingList())
    for each in gates:
        each.circuit.open_for(5.0, 0.0)
    assert len(suspicions(outages.settle_events(gates, 0.0))) == 1
    mail.circuit.advance(5.0)
    assert suspicions(outages.settle_events(gates, 5.0)) == []
    mail.circuit.open_for(5.0, 6.0)

    assert suspicions(outages.settle_events(gates, 6.0)) == []
    assert payments.shut


def test_while_one_is_in_half_open_nothing_is_suspected() -> None:
    """Not every dependency is out of reach."""
    mail, payments = gates = [gate("mail"), gate("payments")]
    outages = CircuitChanges(WaitingList())
    mail.circuit.open_for(5.0, 0.0)
    outages.settle_events(gates, 0.0)
    mail.circuit.advance(5.0)
    payments.circuit.open_for(5.0, 5.0)

    assert suspicions(outages.settle_events(gates, 5.0)) == []


def test_a_recovery_makes_the_next_coincidence_new() -> None:
    """All come back, and all go again: said again."""
    gates = [gate("mail"), gate("payments")]
    outages = CircuitChanges(WaitingList())
    for now in (0.0, 100.0):
        for each in gates:
            each.circuit.open_for(5.0, now)
        assert len(suspicions(outages.settle_events(gates, now))) == 1
        for each in gates:
            each.circuit.reset(now + 1)
        outages.settle_events(gates, now + 1)


def test_an_opening_of_before_a_recovery_is_forgotten() -> None:
    """Mail opened, recovered, and is held by an operator when payments opens a moment later: not together."""
    mail, payments = gates = [gate("mail"), gate("payments")]
    outages = CircuitChanges(WaitingList())
    mail.circuit.open_for(5.0, 0.0)
    outages.settle_events(gates, 0.0)
    mail.circuit.reset(1.0)
    outages.settle_events(gates, 1.0)
    mail.circuit.force_open(2.0)
    payments.circuit.open_for(5.0, 3.0)

    assert suspicions(outages.settle_events(gates, 3.0)) == []


def test_with_one_lane_a_message_that_nobody_has_tried_gets_its_turn_as_a_probe() -> None:
    """Two that keep failing wait already when the circuit becomes half-open; the third stands behind them, not behind their next tries."""
    stage = Stage("payments", run=run_of(["payments"], concurrency=1), sources=partitions(3))
    for number, source in enumerate(partitions(3)):
        stage.receive(1, source)
        if number < 2:
            stage.end(stage.start(), dependency_failed())  # the second opens the circuit

    probes = []
    for _ in range(3):
        stage.turn(later=1000.0)
        probe = stage.start()
        probes.append(probe.source)
        stage.end(probe, dependency_failed())
    assert set(probes) == set(partitions(3))


def test_a_held_source_has_no_head_in_line_when_the_wait_is_over() -> None:
    """An operator holds it: its message stays in the inbox, where a revocation or the end of the hold finds it."""
    stage = Stage("payments", run=run_of(["payments"], concurrency=1))
    stage.trip()
    stage.receive(1)
    stage.engine.hold(ORDERS)
    stage.turn(later=1000.0)
    assert stage.assignment().inbox.waiting == 1


def test_a_full_inbox_that_gave_a_head_away_may_be_filled_again() -> None:
    """The head stands in line when the wait is over, and with it the inbox is down to half."""
    stage = Stage("payments", run=run_of(["payments"], concurrency=1, inbox=2), sources=partitions(2))
    stage.trip()
    for source in partitions(2):
        stage.receive(2, source)
    stage.turn(later=1000.0)
    assert [stage.run.plan.of(source).fetch for source in partitions(2)] == [True, True]


def test_one_head_that_nobody_has_tried_is_enough_however_often_the_wait_ends() -> None:
    """Another outage, another half-open: one is the probe, one of each source stands in line, and the rest stays in the inbox."""
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=1), sources=partitions(2))
    stage.trip()
    stage.receive(3, partitions(2)[1])
    stage.receive(3)
    for _ in range(3):
        stage.turn(later=1000.0)
        stage.trip()
    assert [stage.assignment(source).inbox.waiting for source in partitions(2)] == [1, 2]


# -- who queues up --------------------------------------------------------------------------------------------------------------------


def with_messages(payments: Gate, number: int) -> Any:
    """A place that needs it, and that two messages have come in at."""
    (source,) = partitions(number + 1)[number:]
    assignment = place_of(payments, source=source)
    assignment.run.enqueue(messages(source, 2))
    payments.assignments[assignment] = None
    return assignment


def test_every_dependency_that_has_something_to_say_is_heard() -> None:
    """In one look."""
    payments, mail, calm = gate("payments"), gate("mail"), gate("calm")
    for each in (payments, mail):
        each.circuit.open_for(5.0, 0.0)

    assert [event.name for event in CircuitChanges(WaitingList()).settle_events([payments, mail, calm], 0.0)] == ["payments", "mail"]  # type: ignore[union-attr]


def test_a_source_that_cannot_start_keeps_no_other_from_queueing_up() -> None:
    """When half-open begins, the next source has its head on the list."""
    payments = gate()
    stopped, free = with_messages(payments, 0), with_messages(payments, 1)
    stopped.stopped = True
    waiting = WaitingList()
    outages = CircuitChanges(waiting)
    payments.circuit.open_for(5.0, 0.0)
    outages.settle_events([payments], 0.0)
    outages.advance([payments], 5.0)

    assert waiting.by_assignment() == {free: 1}


def test_nobody_queues_up_for_a_circuit_that_has_closed_or_only_moves_its_limit() -> None:
    """Lanes take the messages themselves."""
    payments = gate()
    waiting = WaitingList()
    outages = CircuitChanges(waiting)
    payments.circuit.open_for(5.0, 0.0)
    payments.circuit.advance(5.0)
    outages.settle_events([payments], 5.0)
    with_messages(payments, 0)
    for _ in range(2):  # the probe, and the stage of one
        permit = payments.circuit.try_acquire(5.0)
        assert isinstance(permit, Permit)
        payments.circuit.record(permit, Outcome.SUCCESS, 5.0)
    assert LimitChanged in kinds(outages.settle_events([payments], 5.0))
    payments.circuit.reset(6.0)
    outages.settle_events([payments], 6.0)

    assert len(waiting) == 0


def test_a_message_with_two_needs_goes_on_when_its_worker_gets_a_share_of_one() -> None:
    """It failed, and waits while others have all of the fleet's limit for one of them; the other is well. Only the limit changes then."""
    stage = Stage("payments", "stock")
    payments = stage.gates[0].circuit
    stage.receive(1)
    delivery = stage.start()
    payments.guide(Guidance(Phase.RAMP, limit=0, stage=1), stage.now)
    stage.turn()
    stage.end(delivery, dependency_failed(2, shared=True))
    stage.turn(later=60.0)
    assert stage.start_all() == []

    payments.guide(Guidance(Phase.RAMP, limit=1, stage=2), stage.now)
    stage.turn()
    assert stage.start_all() == [delivery]
