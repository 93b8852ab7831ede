"""The waiting list: who is admitted next, and who waits for what."""

from __future__ import annotations

import pytest
from tests.flow.stage import ORDERS, Message, gate, messages, place_of, placed, run_of

from holdgate.core import Outcome, Permit
from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.blame import FailureHistory
from holdgate.flow.gate import Gate
from holdgate.flow.policy import Needs
from holdgate.flow.state import Assignment, Run
from holdgate.flow.waiting import WaitingList, acquire, acquire_in_turn

LANES = 100


def free_run(lanes: int = LANES) -> Run:
    return run_of(order="none", concurrency=lanes)


def half_open(name: str = "payments", limit: int = 1) -> Gate:
    """A gate in half-open with this limit, nothing in flight."""
    each = gate(name)
    each.circuit.set_full(64, 0.0)
    each.circuit.open_for(1.0, 0.0)
    each.circuit.advance(1.0)
    while each.circuit.limit < limit:
        permits = [permit for permit in (each.circuit.try_acquire(1.0) for _ in range(each.circuit.limit)) if isinstance(permit, Permit)]
        for permit in permits:
            each.circuit.record(permit, Outcome.SUCCESS, 1.0)
    each.circuit.take_events()
    return each


def shut(name: str) -> Gate:
    each = gate(name)
    each.circuit.force_open(0.0)
    return each


def wait(waiting: WaitingList, assignment: Assignment, count: int = 1, gates: tuple[Gate, ...] | None = None) -> list[Message]:
    """Fresh heads of a place on the list."""
    heads = [placed(assignment, position) for position in range(count)]
    for head in heads:
        waiting.add(head, assignment.gates if gates is None else gates)
    return heads


def grants(waiting: WaitingList, *gates: Gate, now: float = 1.0) -> list[int]:
    return [delivery.position for delivery in waiting.grants(gates, now)]


# -- acquiring ------------------------------------------------------------------------------------------------------------------------


def test_one_need_gives_one_permit() -> None:
    """And nothing when it refuses, which the circuit counts: a ramp has to know that more would come."""
    payments = half_open()
    first, second = placed(place_of(payments)), placed(place_of(payments))

    assert acquire(first, (payments,), 1.0)
    assert len(first.permits) == 1
    assert not acquire(second, (payments,), 1.0)
    assert (second.permits, payments.circuit.snapshot(1.0).rejected) == (None, 1)


def test_no_needs_give_no_permits() -> None:
    """A delivery that needs nothing starts with an empty hand."""
    delivery = placed(place_of())

    assert acquire(delivery, (), 1.0)
    assert list(delivery.permits) == []


def test_several_needs_give_all_permits_or_none() -> None:
    """The one that could be had is not taken while the other refuses, nor counted as refused."""
    mail, payments = half_open("mail"), shut("payments")
    delivery = placed(place_of(mail, payments))

    assert not acquire(delivery, (mail, payments), 1.0)
    assert (delivery.permits, mail.circuit.snapshot(1.0).in_flight, payments.circuit.snapshot(1.0).rejected) == (None, 0, 0)
    payments.circuit.clear_override(1.0)
    assert acquire(delivery, (mail, payments), 1.0)
    assert [each.circuit.snapshot(1.0).in_flight for each in (mail, payments)] == [1, 1]


def test_a_newcomer_does_not_overtake() -> None:
    """Others wait for a slot of the ramp: it has to wait too, though a slot is free."""
    mail, payments = gate("mail"), half_open("payments")
    waiting = WaitingList()
    wait(waiting, place_of(payments))
    delivery = placed(place_of(mail, payments))

    assert not acquire_in_turn(delivery, (mail, payments), 1.0)


def test_a_newcomer_passes_those_who_wait_for_something_else() -> None:
    """Its needs have no limit; who waits there waits for a lane, or for another dependency."""
    mail, search = gate("mail"), half_open("search")
    waiting = WaitingList()
    wait(waiting, place_of(mail, search))
    delivery = placed(place_of(mail))

    assert acquire_in_turn(delivery, (mail,), 1.0)


# -- grants ---------------------------------------------------------------------------------------------------------------------------


def test_nobody_waits_and_nobody_is_granted() -> None:
    """An empty list asks no circuit."""
    assert grants(WaitingList(), half_open()) == []


def test_a_limit_is_met_exactly() -> None:
    """A hundred wait for a ramp at four: four are admitted, in order of arrival."""
    payments = half_open(limit=4)
    waiting = WaitingList()
    heads = wait(waiting, place_of(payments, run=free_run()), 100)

    assert grants(waiting, payments) == [0, 1, 2, 3]
    assert payments.circuit.snapshot(1.0).in_flight == 4
    assert (heads[3] in waiting, heads[4] in waiting, len(waiting)) == (False, True, 96)
    assert grants(waiting, payments) == []


def test_a_closed_circuit_lets_everybody_in_by_arrival() -> None:
    """A hundred grants for a hundred heads of ten sources."""
    payments = half_open()
    waiting, run = WaitingList(), free_run()
    assignments = [place_of(payments, run=run) for _ in range(10)]
    heads = [placed(assignments[number % 10], number) for number in range(100)]
    for head in heads:
        waiting.add(head, (payments,))
    payments.circuit.reset(1.0)
    waiting.regroup(payments)

    assert grants(waiting, payments) == list(range(100))
    assert (len(waiting), payments.lines, run.running) == (0, {}, 100)


def test_a_head_without_needs_waits_for_a_lane_only() -> None:
    """No circuit is asked."""
    waiting = WaitingList()
    wait(waiting, place_of(run=free_run()), 2)

    assert grants(waiting) == [0, 1]


def test_lanes_are_not_overbooked_and_the_next_is_wanted() -> None:
    """Two lanes: two are granted, and the run knows that somebody waits for the next one."""
    waiting, run = WaitingList(), free_run(lanes=2)
    wait(waiting, place_of(run=run), 3)

    assert grants(waiting) == [0, 1]
    assert (run.running, run.lane_wanted) == (2, True)
    run.running, run.lane_wanted = 1, False
    assert grants(waiting) == [2]
    assert not run.lane_wanted


def test_a_run_without_lanes_does_not_stop_another() -> None:
    """The slots of a ramp go to whoever can use them."""
    payments, waiting = half_open(limit=2), WaitingList()
    full, other = free_run(lanes=1), free_run()
    full.running = 1
    wait(waiting, place_of(payments, run=full), 3)
    wait(waiting, place_of(payments, run=other), 2)

    assert [delivery.assignment.run for delivery in waiting.grants([payments], 1.0)] == [other, other]
    assert full.lane_wanted


def test_many_heads_without_a_lane_are_not_looked_at() -> None:
    """The walk along a line ends where the lanes of its run do: not even a held source behind is noticed."""
    payments, waiting, run = half_open(limit=4), WaitingList(), free_run(lanes=1)
    wait(waiting, place_of(payments, run=run), 2)
    held = place_of(payments, run=run)
    held.stopped = True
    wait(waiting, held)

    assert grants(waiting, payments) == [0]
    assert waiting._aside == {}


def test_the_last_lane_may_go_to_a_head_of_another_line() -> None:
    """Each dependency admits one more, and only one lane is free: the older head gets it, the other one the next."""
    mail, payments = half_open("mail"), half_open("payments")
    waiting, run = WaitingList(), free_run(lanes=1)
    wait(waiting, place_of(mail, run=run))
    wait(waiting, place_of(payments, run=run))

    assert [delivery.assignment.gates for delivery in waiting.grants([mail, payments], 1.0)] == [(mail,)]
    assert run.lane_wanted


def test_a_head_that_could_not_start_anyway_wants_no_lane() -> None:
    """Its dependency has no room: the lanes are for those who can use them."""
    payments, waiting, run = half_open(), WaitingList(), free_run(lanes=1)
    payments.circuit.try_acquire(1.0)
    run.running = 1
    wait(waiting, place_of(payments, run=run))

    assert grants(waiting, payments) == []
    assert not run.lane_wanted


def test_a_head_with_several_limited_needs_is_looked_at_once() -> None:
    """It stands in the line of each, and must not be started twice."""
    mail, payments = half_open("mail", 4), half_open("payments", 4)
    waiting = WaitingList()
    wait(waiting, place_of(mail, payments, run=free_run()), 2)

    assert grants(waiting, mail, payments) == [0, 1]
    assert [each.circuit.snapshot(1.0).in_flight for each in (mail, payments)] == [2, 2]


# -- reservation ----------------------------------------------------------------------------------------------------------------------


def test_the_oldest_head_reserves_the_next_slot() -> None:
    """It needs two; one is full. The free slot of the other is kept for it, and later heads wait."""
    mail, payments = half_open("mail"), half_open("payments")
    taken = payments.circuit.try_acquire(1.0)
    waiting, run = WaitingList(), free_run()
    (oldest,) = wait(waiting, place_of(mail, payments, run=run))
    (later,) = wait(waiting, place_of(mail, run=run))

    assert waiting.grants([mail, payments], 1.0) == []
    payments.circuit.release(taken, 1.0)
    assert waiting.grants([mail, payments], 1.0) == [oldest]
    assert later in waiting


def test_later_heads_get_what_is_left() -> None:
    """One slot is reserved, and the second goes to the next head."""
    mail, payments = half_open("mail", 2), half_open("payments")
    payments.circuit.try_acquire(1.0)
    waiting, run = WaitingList(), free_run()
    wait(waiting, place_of(mail, payments, run=run))
    later = wait(waiting, place_of(mail, run=run), 2)

    assert waiting.grants([mail, payments], 1.0) == [later[0]]


def test_only_the_oldest_reserves() -> None:
    """A second head that waits for the full one too keeps nothing back."""
    mail, payments = half_open("mail", 2), half_open("payments")
    payments.circuit.try_acquire(1.0)
    waiting, run = WaitingList(), free_run()
    wait(waiting, place_of(mail, payments, run=run), 2)
    (later,) = wait(waiting, place_of(mail, run=run))

    assert waiting.grants([mail, payments], 1.0) == [later]


def test_nothing_is_reserved_in_front_of_an_open_circuit() -> None:
    """Who knows when the other need comes back: the slot goes to whoever can use it now."""
    mail, payments = half_open("mail"), shut("payments")
    waiting, run = WaitingList(), free_run()
    wait(waiting, place_of(mail, payments, run=run))
    (later,) = wait(waiting, place_of(mail, run=run))

    assert waiting.grants([mail, payments], 1.0) == [later]


def test_a_circuit_that_shuts_under_a_head_ends_its_reservation() -> None:
    """Between two looks one of its needs has shut, and it stands in the old line still: it keeps nothing back."""
    mail, payments = half_open("mail"), half_open("payments")
    waiting, run = WaitingList(), free_run()
    wait(waiting, place_of(mail, payments, run=run))
    payments.circuit.force_open(1.0)
    (later,) = wait(waiting, place_of(mail, run=run))

    assert waiting.grants([mail, payments], 1.0) == [later]


def test_a_refusal_in_spite_of_room_is_no_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The circuit has the last word: the head stays on the list."""
    payments, waiting = half_open(limit=2), WaitingList()
    wait(waiting, place_of(payments, run=free_run()))
    monkeypatch.setattr("holdgate.flow.waiting.acquire", lambda *_: False)

    assert grants(waiting, payments) == []
    assert len(waiting) == 1


# -- lines ----------------------------------------------------------------------------------------------------------------------------


def test_heads_of_an_open_circuit_stand_nowhere_else() -> None:
    """They cost nothing to those who wait for the other need."""
    mail, payments = half_open("mail"), shut("payments")
    waiting, run = WaitingList(), free_run()
    wait(waiting, place_of(mail, payments, run=run), 3)

    assert (mail.lines, len(payments.lines[run])) == ({}, 3)


def test_a_gate_that_opens_sends_its_heads_to_their_other_needs_in_order() -> None:
    """They came before the one that stands there already, so they go before it."""
    mail, payments = half_open("mail", 2), shut("payments")
    waiting, run = WaitingList(), free_run()
    early = wait(waiting, place_of(mail, payments, run=run), 1)
    late = wait(waiting, place_of(mail, run=run), 2)
    payments.circuit.clear_override(1.0)
    waiting.regroup(payments)

    assert waiting.grants([mail, payments], 1.0) == [early[0], late[0]]


def test_a_gate_that_shuts_takes_its_heads_out_of_other_lines() -> None:
    """The ready line included."""
    mail, payments = gate("mail"), gate("payments")
    waiting, run = WaitingList(), free_run()
    wait(waiting, place_of(mail, payments, run=run))
    mail.circuit.force_open(1.0)
    waiting.regroup(mail)

    assert (len(mail.lines[run]), payments.lines) == (1, {})
    assert grants(waiting, mail, payments) == []


def test_many_heads_of_one_open_circuit_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand wait there; a pass for the other dependency sees its own head only."""
    mail, payments = half_open("mail"), shut("payments")
    waiting, run = WaitingList(), free_run()
    wait(waiting, place_of(payments, run=run), 1000)
    (head,) = wait(waiting, place_of(mail, run=run))
    seen = []
    monkeypatch.setattr("holdgate.flow.waiting.acquire", lambda delivery, *_: seen.append(delivery))
    grants(waiting, mail, payments)

    assert seen == [head]


# -- time -----------------------------------------------------------------------------------------------------------------------------


def test_a_backoff_is_waited_out() -> None:
    """Not before its time, and then at once."""
    waiting = WaitingList()
    delivery = placed(place_of(run=free_run()))
    waiting.add(delivery, (), not_before=5.0)

    assert (waiting.next_deadline(), grants(waiting, now=4.9)) == (5.0, [])
    assert grants(waiting, now=5.0) == [0]
    assert waiting.next_deadline() is None


def test_a_backoff_that_is_over_goes_behind_those_who_waited_for_a_slot() -> None:
    """Its wait was its own affair."""
    payments, waiting, run = half_open(), WaitingList(), free_run()
    failed = placed(place_of(payments, run=run))
    waiting.add(failed, (payments,), not_before=1.0)
    (other,) = wait(waiting, place_of(payments, run=run))

    assert waiting.grants([payments], 2.0) == [other]


def test_a_circuit_that_opens_ends_backoffs_in_order_of_arrival() -> None:
    """From now on only admission decides; the exponent starts again. Those of other dependencies go on waiting."""
    payments, mail = gate("payments"), gate("mail")
    waiting, run = WaitingList(), free_run()
    assignment = place_of(payments, run=run)
    failed = [placed(assignment, position) for position in range(2)]
    for delivery, until in zip(failed, (9.0, 8.0), strict=True):
        delivery.history = _history(backoffs=3)
        waiting.add(delivery, (payments,), not_before=until)
    other = placed(place_of(mail, run=run))
    other.history = _history(backoffs=3)
    waiting.add(other, (mail,), not_before=7.0)
    waiting.end_backoffs(payments)

    assert waiting.next_deadline() == 7.0
    assert [delivery.history.backoffs for delivery in (*failed, other)] == [0, 0, 3]
    assert waiting.grants([payments, mail], 1.0) == failed
    assert waiting.grants([payments, mail], 9.0) == [other]


def _history(backoffs: int) -> FailureHistory:
    history = FailureHistory()
    history.backoffs = backoffs
    return history


def test_a_dropped_backoff_ends_without_a_start() -> None:
    """Its source has gone: nothing happens at its time, and no timer is set for it."""
    waiting, assignment = WaitingList(), place_of(run=free_run())
    waiting.add(placed(assignment), (), not_before=5.0)
    waiting.drop({assignment})

    assert waiting.grants([], 5.0) == []
    waiting.add(placed(assignment), (), not_before=6.0)
    waiting.drop({assignment})
    assert waiting.next_deadline() is None


def test_a_delivery_that_waits_anew_is_not_woken_by_its_old_time() -> None:
    """Its source went and it came again: the old entry is passed over."""
    waiting, assignment = WaitingList(), place_of(run=free_run())
    delivery = placed(assignment)
    waiting.add(delivery, (), not_before=5.0)
    waiting.drop({assignment})
    waiting.add(delivery, (), not_before=9.0)

    assert grants(waiting, now=5.0) == []
    assert waiting.next_deadline() == 9.0


# -- held sources, and dropping -------------------------------------------------------------------------------------------------------


def test_heads_of_a_held_source_are_set_aside() -> None:
    """They block nobody, reserve nothing, and are not looked at a second time."""
    payments, waiting, run = half_open(), WaitingList(), free_run()
    held = place_of(payments, run=run)
    held.stopped = True
    wait(waiting, held, 2)
    (other,) = wait(waiting, place_of(payments, run=run))

    assert waiting.grants([payments], 1.0) == [other]
    payments.circuit.reset(1.0)
    waiting.grants([payments], 1.0)
    assert payments.lines == {}
    assert len(waiting) == 2


def test_heads_of_a_released_source_are_in_line_again_by_arrival() -> None:
    """The hold cost them nothing."""
    payments, waiting, run = half_open(), WaitingList(), free_run()
    held = place_of(payments, run=run)
    held.stopped = True
    early = wait(waiting, held)
    blocker = payments.circuit.try_acquire(1.0)
    payments.circuit.release(blocker, 1.0)
    waiting.grants([payments], 1.0)
    wait(waiting, place_of(payments, run=run))
    held.stopped = False
    waiting.back_in_line(held)

    assert waiting.grants([payments], 1.0) == early


def test_a_source_with_nothing_aside_is_released_for_nothing() -> None:
    """Most holds end without anybody waiting."""
    waiting = WaitingList()
    waiting.back_in_line(place_of())

    assert len(waiting) == 0


def test_dropped_heads_are_gone_from_every_line() -> None:
    """Set aside or in line, those of the place go, and others stay."""
    payments, waiting, run = half_open(), WaitingList(), free_run()
    gone, stays = place_of(payments, run=run), place_of(payments, run=run)
    wait(waiting, gone, 2)
    gone.stopped = True
    payments.circuit.try_acquire(1.0)
    payments.circuit.set_full(1, 1.0)
    (other,) = wait(waiting, stays)
    waiting.drop({gone})

    assert (len(waiting), gone.unstarted, stays.unstarted) == (1, 0, 1)
    assert list(payments.lines[run].values())[0].delivery is other  # noqa: RUF015
    assert waiting.by_assignment() == {stays: 1}


def test_heads_set_aside_can_be_dropped() -> None:
    """A held source that goes away leaves nothing."""
    payments, waiting = half_open(), WaitingList()
    held = place_of(payments, run=free_run())
    held.stopped = True
    wait(waiting, held, 2)
    waiting.grants([payments], 1.0)
    waiting.drop({held})
    waiting.back_in_line(held)

    assert (len(waiting), payments.lines) == (0, {})


def test_first_time_heads_are_counted_by_place() -> None:
    """A retry is none: it has been in the count of its lane before."""
    waiting, assignment = WaitingList(), place_of(run=free_run())
    fresh, retry = placed(assignment), placed(assignment)
    retry.attempt = 1
    waiting.add(fresh, ())
    waiting.add(retry, ())
    assert assignment.unstarted == 1
    waiting.grants([], 1.0)

    assert assignment.unstarted == 0


# -- batches --------------------------------------------------------------------------------------------------------------------------


def batch_at(assignment: Assignment, count: int, first: int = 0) -> Batch:
    """A batch of so many messages, taken from its place."""
    chunk = Batch(assignment.source, list(messages(ORDERS, count, first)), AS_THEY_ARE)
    chunk.assignment = assignment
    assignment.inbox.put([chunk])
    taken = assignment.inbox.take()
    assert isinstance(taken, Batch)
    return taken


def batch_place(*gates: Gate) -> Assignment:
    """A place of a run with batches of up to a hundred."""
    return place_of(*gates, run=Run(Needs([]), order="none", concurrency=LANES, inbox=500, batch=100))


@pytest.mark.parametrize("limits", [(2, 4), (4, 2)])
def test_a_batch_is_cut_to_the_smallest_of_its_limits(limits: tuple[int, int]) -> None:
    """Whichever need has it; the rest waits in its inbox."""
    mail, payments = half_open("mail", limits[0]), half_open("payments", limits[1])
    assignment = batch_place(mail, payments)
    batch = batch_at(assignment, 10)

    assert acquire(batch, assignment.gates, 1.0)
    assert ([permit.weight for permit in batch.permits], assignment.inbox.waiting) == ([2, 2], 8)


def test_a_batch_leaves_what_is_reserved() -> None:
    """An older head waits for another need: the slot that it reserves is not the batch's, nor that of whoever comes behind the batch."""
    mail, search = half_open("mail", 4), half_open("search")
    search.circuit.try_acquire(1.0)
    waiting = WaitingList()
    wait(waiting, place_of(mail, search, run=free_run()))
    assignment = batch_place(mail)
    batch = batch_at(assignment, 10)
    waiting.add(batch, (mail,))
    (last,) = wait(waiting, place_of(mail, run=free_run()))

    assert list(waiting.grants((mail, search), 1.0)) == [batch]
    assert [permit.weight for permit in batch.permits] == [3]
    assert last in waiting


def test_a_head_that_was_set_aside_and_taken_out_does_not_come_back() -> None:
    """An operator has given it up while its source was held; the other one waits on."""
    waiting, assignment = WaitingList(), place_of(run=free_run())
    first, _ = wait(waiting, assignment, 2)
    assignment.operator_hold = True
    assignment.recompute()
    assert grants(waiting) == []
    waiting.take_out(first)
    assignment.operator_hold = False
    assignment.recompute()
    waiting.back_in_line(assignment)

    assert grants(waiting) == [1]


def test_waiting_messages_are_counted_by_place() -> None:
    """Each message of a batch."""
    waiting, assignment = WaitingList(), place_of(run=free_run())
    wait(waiting, assignment, 2)
    batch = Batch(ORDERS, messages(ORDERS, 3), AS_THEY_ARE)
    batch.assignment = assignment
    waiting.add(batch, ())

    assert waiting.by_assignment() == {assignment: 5}


def test_heads_of_one_dependency_say_nothing_of_the_traffic_of_another() -> None:
    """A ramp without heads of its own is one of low traffic: its stage is judged by its age."""
    payments, mail = half_open(limit=4), half_open("mail")
    waiting = WaitingList()
    permit = payments.circuit.try_acquire(1.0)
    assert isinstance(permit, Permit)
    payments.circuit.record(permit, Outcome.SUCCESS, 1.0)
    wait(waiting, place_of(mail, run=free_run()), 2)
    waiting.grants([payments, mail], 1.0)
    payments.circuit.advance(11.0)

    assert payments.circuit.limit == 8


# -- keeping a place ------------------------------------------------------------------------------------------------------------------


def keeping(waiting: WaitingList, *deliveries: Message) -> None:
    """They have been throttled, in this order."""
    for delivery in deliveries:
        delivery.history = delivery.history or FailureHistory()
        waiting.keep_place(delivery.history)


def test_what_keeps_its_place_comes_before_all_that_do_not() -> None:
    """In the order in which they came to keep one, whenever they come back."""
    waiting, payments = WaitingList(), half_open(limit=4)
    assignment = place_of(payments, run=free_run())
    wait(waiting, assignment, 2)
    late, early = placed(assignment, 11), placed(assignment, 10)
    keeping(waiting, early, late)
    waiting.add(late, (payments,))
    waiting.add(early, (payments,))
    keeping(waiting, late)  # again: it has its place already

    assert grants(waiting, payments) == [10, 11, 0, 1]


def test_a_wait_for_time_does_not_cost_the_place() -> None:
    """As it does for a retry, whose wait was its own affair."""
    waiting, payments = WaitingList(), half_open(limit=2)
    assignment = place_of(payments, run=free_run())
    throttled, retried = placed(assignment, 10), placed(assignment, 11)
    keeping(waiting, throttled)
    waiting.add(throttled, (payments,), 0.5)
    waiting.add(retried, (payments,), 0.5)
    wait(waiting, assignment, 2)

    assert grants(waiting, payments) == [10, 0]


def test_two_waits_of_one_place_may_end_at_the_same_instant() -> None:
    """What has left the list before its time stays among the timers until then, with the same place."""
    waiting, assignment = WaitingList(), place_of(run=free_run())
    delivery = placed(assignment)
    keeping(waiting, delivery)
    for _ in range(3):
        waiting.add(delivery, (), 1.0)
        waiting.take_out(delivery)
    waiting.add(delivery, (), 1.0)

    assert grants(waiting) == [0]


def test_the_next_message_whose_time_comes_is_known_by_place() -> None:
    """What has left is passed over, and what waits for a slot waits for no time."""
    waiting, one, other = WaitingList(), place_of(run=free_run()), place_of(run=free_run())
    late, gone, soon, slot, elsewhere = placed(one, 1), placed(one, 2), placed(one, 3), placed(one, 4), placed(other, 5)
    for delivery, until in ((late, 9.0), (gone, 1.0), (soon, 5.0), (elsewhere, 7.0)):
        waiting.add(delivery, (), not_before=until)
    waiting.add(slot, ())
    waiting.take_out(gone)

    assert waiting.next_timed() == {one: (soon, 5.0), other: (elsewhere, 7.0)}
