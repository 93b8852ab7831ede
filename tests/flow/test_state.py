"""Places and runs: what a source's plan says, and what a run offers to its lanes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.flow.stage import ORDERS, Stage, gate, messages, partitions, place_of, placed, run_of

from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.events import SourceFallingBack, SourceHeld, SourceReleased
from holdgate.flow.gate import Gate
from holdgate.flow.inbox import FreeInbox, KeyInbox, Order, SourceInbox
from holdgate.flow.message import Partition
from holdgate.flow.policy import FallbackSettings, Needs, RetryPolicy
from holdgate.flow.state import Assignment, Run, Unbounded


def hold(assignment: Assignment) -> None:
    assignment.operator_hold = True


def close(assignment: Assignment) -> None:
    assignment.closing = True


def drain(assignment: Assignment) -> None:
    assignment.run.draining = True


def block(assignment: Assignment) -> None:
    assignment.blocked.append(placed(assignment))


def lose_needs(assignment: Assignment) -> None:
    assignment.unknown_needs = True


# -- the plan of a place --------------------------------------------------------------------------------------------------------------


def test_a_new_assignment_may_fetch_and_start() -> None:
    """Nothing holds it, and nothing is announced."""
    assignment = place_of(gate())

    assert assignment.replan(1.0) is None
    assert (assignment.plan.fetch, assignment.plan.reasons, assignment.held, assignment.hold.since) == (True, (), False, None)


@pytest.mark.parametrize(
    ("how", "reason"),
    [(hold, "operator"), (close, "draining"), (drain, "draining"), (block, "blocked"), (lose_needs, "no needs")],
)
def test_each_flag_stops_a_place_for_its_reason(how: Callable[[Assignment], None], reason: str) -> None:
    """At once when it is touched, and in the plan with the next turn."""
    assignment = place_of(gate())
    how(assignment)
    assignment.recompute()
    assert (assignment.stopped, assignment.held, list(assignment.run.dirty)) == (True, True, [assignment])
    assignment.replan(1.0)

    assert (assignment.plan.fetch, assignment.plan.reasons) == (False, (reason,))


def test_a_circuit_is_a_reason_but_does_not_stop() -> None:
    """Circuits are asked by acquiring; the plan says why the source is held."""
    mail, payments = gate("mail"), gate("payments")
    payments.circuit.force_open(0.0)
    assignment = place_of(mail, payments)
    assignment.replan(1.0)

    assert (assignment.plan.reasons, assignment.stopped, assignment.held) == (("circuit:payments",), False, True)


def test_an_operators_word_in_an_outage_starts_nothing() -> None:
    """Held and released between two turns: the circuit's reason is still in the plan."""
    payments = gate()
    payments.circuit.force_open(0.0)
    assignment = place_of(payments)
    assignment.replan(1.0)
    for word in (True, False):
        assignment.operator_hold = word
        assignment.recompute()

    assert (assignment.stopped, assignment.held) == (False, True)


def test_two_reasons_never_clear_each_other() -> None:
    """The circuit closes, and the operator's hold stays, announced anew; the hold counts from its begin."""
    payments = gate()
    payments.circuit.force_open(0.0)
    assignment = place_of(payments)
    hold(assignment)
    assignment.recompute()
    first = assignment.replan(1.0)
    payments.circuit.clear_override(2.0)
    second = assignment.replan(2.0)

    assert first == SourceHeld(1.0, ORDERS, ("circuit:payments", "operator"))
    assert second == SourceHeld(2.0, ORDERS, ("operator",))
    assert assignment.hold.since == 1.0


def test_a_release_says_how_long_it_was_held() -> None:
    """From the first reason to the end of the last one."""
    assignment = place_of(gate())
    hold(assignment)
    assignment.recompute()
    assignment.replan(1.0)
    assignment.operator_hold = False
    assignment.recompute()

    assert assignment.replan(4.5) == SourceReleased(4.5, ORDERS, 3.5)
    assert (assignment.hold.since, assignment.held) == (None, False)


def test_the_same_reasons_are_announced_once() -> None:
    """A second look finds nothing new."""
    assignment = place_of(gate())
    hold(assignment)
    assignment.recompute()
    assignment.replan(1.0)

    assert assignment.replan(2.0) is None
    assert assignment.hold.warned == 1.0


def test_a_full_inbox_stops_fetching_and_is_no_reason() -> None:
    """Back-pressure never shows as held."""
    assignment = place_of(gate())
    assignment.full = True

    assert assignment.replan(1.0) is None
    assert (assignment.plan.fetch, assignment.plan.held) == (False, False)


def test_a_place_that_goes_away_announces_nothing() -> None:
    """A revoked source is not held, it is gone."""
    assignment = place_of(gate())
    close(assignment)
    assignment.recompute()

    assert assignment.replan(1.0) is None
    assert assignment.plan.reasons == ("draining",)


def test_a_dead_place_never_comes_back_into_the_plan() -> None:
    """A hold that expires after its place has gone must not speak of the place that came after it."""
    assignment = place_of(gate())
    assignment.alive = False
    assignment.recompute()

    assert assignment.run.dirty == {}


def test_one_need_is_asked_alone() -> None:
    """The fast path has a gate of its own only when there is exactly one."""
    mail, payments = gate("mail"), gate("payments")

    assert (place_of(mail).gate, place_of().gate, place_of(mail, payments).gate) == (mail, None, None)


# -- runs -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "kind"), [("source", SourceInbox), ("key", KeyInbox), ("none", FreeInbox)])
def test_a_run_makes_inboxes_of_its_order(order: str, kind: type) -> None:
    """One file per order would hide that they differ in the inbox alone."""
    assert isinstance(run_of(order=order).new_inboxes(by_message=False)[0], kind)  # type: ignore[arg-type]


def test_concurrency_left_out_is_one_lane_per_place() -> None:
    """Given, it is what was given."""
    run, given = run_of(), run_of(concurrency=3)
    for source in partitions(5):
        place_of(run=run, source=source)
        place_of(run=given, source=source)

    assert (run.concurrency, run.lanes, given.concurrency, given.lanes) == (5, 5, 3, 3)


def test_what_still_runs_for_a_dead_place_keeps_its_own_lane() -> None:
    """A handler that does not let go takes no lane from a living place; with a given concurrency the lanes are tasks, and it has one."""
    run, given = run_of(), run_of(concurrency=3)
    place_of(run=run)
    run.count_lanes(leftover=1)
    given.count_lanes(leftover=1)
    assert (run.concurrency, run.lanes, given.lanes) == (1, 2, 3)
    run.count_lanes(leftover=-1)

    assert run.lanes == 1


def test_deliveries_go_to_the_inboxes_of_their_places() -> None:
    """And offer them to the lanes, each once."""
    run = run_of()
    assignments = [place_of(run=run, source=source) for source in partitions(2)]
    run.enqueue([*messages(assignments[0].source, 2), *messages(assignments[1].source, 1), *messages(assignments[0].source, 1, first=2)])

    assert [assignment.inbox.waiting for assignment in assignments] == [3, 1]
    assert list(run.ring) == assignments


def test_deliveries_of_unknown_sources_are_dropped() -> None:
    """They come again to whoever has them next."""
    run = run_of()
    run.enqueue(messages(ORDERS, 1))

    assert list(run.ring) == []


@pytest.mark.parametrize("how", [close, drain])
def test_deliveries_of_a_source_that_goes_away_are_dropped(how: Callable[[Assignment], None]) -> None:
    """Nothing of it starts any more here."""
    assignment = place_of()
    how(assignment)
    assignment.run.enqueue(messages(ORDERS, 1))

    assert assignment.inbox.waiting == 0


def test_a_held_place_takes_in_and_is_not_offered() -> None:
    """What was under way from the broker waits until the hold is over."""
    assignment = place_of()
    hold(assignment)
    assignment.recompute()
    assignment.run.enqueue(messages(ORDERS, 1))

    assert (assignment.inbox.waiting, list(assignment.run.ring)) == (1, [])


def test_an_inbox_is_full_at_its_size() -> None:
    """One below it is not; then the plan is looked at again, once."""
    assignment = place_of(run=run_of(inbox=3))
    assignment.run.enqueue(messages(ORDERS, 2))
    assert (assignment.full, list(assignment.run.dirty)) == (False, [])
    assignment.run.enqueue(messages(ORDERS, 1, first=2))
    assert (assignment.full, list(assignment.run.dirty)) == (True, [assignment])
    assignment.run.dirty.clear()
    assignment.run.enqueue(messages(ORDERS, 1, first=3))

    assert list(assignment.run.dirty) == []


def test_a_grant_counts_as_a_start() -> None:
    """Its assignment may have another one for a lane."""
    assignment = place_of()
    assignment.inbox.put(messages(ORDERS, 1))
    delivery = placed(assignment, 7)
    assignment.run.grant(delivery)

    assert (delivery.attempt, list(assignment.run.granted), list(assignment.run.ring)) == (1, [delivery], [assignment])


def test_a_grant_of_a_place_without_work_offers_nothing() -> None:
    """There is nothing that another lane could take."""
    assignment = place_of()
    assignment.run.grant(placed(assignment))

    assert list(assignment.run.ring) == []


def test_a_plan_has_a_new_version_only_when_it_differs() -> None:
    """An intake acts on versions; a look that changes nothing must not wake it."""
    run = run_of()
    assignment = place_of(run=run)
    assert run.replan(1.0) == []
    assert run.plan.version == 0
    run.dirty[assignment] = None
    run.replan(2.0)
    assert (run.plan.version, run.plan.of(ORDERS).fetch) == (1, True)
    run.dirty[assignment] = None
    run.replan(3.0)

    assert run.plan.version == 1


def test_a_plan_collects_the_events_of_its_places() -> None:
    """One per place whose reasons changed."""
    run = run_of()
    held, free = (place_of(run=run, source=source) for source in partitions(2))
    hold(held)
    held.recompute()
    free.recompute()

    assert run.replan(1.0) == [SourceHeld(1.0, held.source, ("operator",))]


def test_a_place_that_is_free_again_is_offered_if_it_has_work() -> None:
    """Nobody else would remember it."""
    run = run_of()
    busy, empty = (place_of(run=run, source=source) for source in partitions(2))
    busy.inbox.put(messages(busy.source, 1))
    run.dirty = {busy: None, empty: None}
    run.replan(1.0)

    assert list(run.ring) == [busy]


def test_a_held_place_is_not_offered_by_its_plan() -> None:
    """Even with work."""
    assignment = place_of()
    assignment.inbox.put(messages(ORDERS, 1))
    hold(assignment)
    assignment.recompute()
    assignment.run.replan(1.0)

    assert list(assignment.run.ring) == []


def test_places_that_are_gone_leave_the_plan() -> None:
    """Others stay in it."""
    run = run_of()
    gone, stays = (place_of(run=run, source=source) for source in partitions(2))
    run.dirty = {gone: None, stays: None}
    run.replan(1.0)
    run.replan_without([gone])

    assert (list(run.plan.sources), run.plan.version) == ([stays.source], 2)


def test_a_full_inbox_has_room_again_at_half() -> None:
    """Not before, so that fetching does not flap; then its plan is looked at again."""
    assignment = place_of(gate(), run=run_of(inbox=4))
    assignment.full = True
    assignment.inbox.put(messages(ORDERS, 3))
    assert (assignment.make_room(), assignment.full) == (False, True)
    assignment.inbox.take()
    assignment.run.dirty.clear()

    assert (assignment.make_room(), assignment.full, assignment in assignment.run.dirty) == (True, False, True)


def test_only_one_need_in_the_order_of_the_source_goes_the_direct_way() -> None:
    """Everything else takes the way for all cases."""
    assert place_of(gate()).direct is not None
    assert place_of().direct is None
    assert place_of(gate("a"), gate("b")).direct is None
    assert place_of(gate(), run=run_of(order="none", concurrency=1)).direct is None


# -- what heads wait for beside the needs of their source ------------------------------------------------------------------------------


def shut(name: str) -> Gate:
    one = gate(name)
    one.circuit.force_open(0.0)
    return one


def test_in_the_order_of_the_source_a_head_holds_it() -> None:
    """By what it waits for, as long as it waits and that is shut; the dependency tells the place of its changes meanwhile."""
    payments, search = gate(), shut("search")
    assignment = place_of(payments)
    assignment.count_undeclared((search,), 1)
    assert (list(search.assignments), list(assignment.run.dirty), assignment.needed) == ([assignment], [assignment], (payments, search))
    assignment.replan(1.0)
    assert assignment.plan.reasons == ("circuit:search",)
    assignment.count_undeclared((search,), -1)
    assignment.replan(2.0)

    assert (assignment.plan.reasons, assignment.needed, dict(search.assignments), dict(assignment.undeclared_waiting)) == (
        (),
        (payments,),
        {},
        {},
    )


def test_without_an_order_a_head_holds_nothing() -> None:
    """Others go on; two heads that wait are told from one."""
    search = shut("search")
    assignment = place_of(gate(), run=run_of(order="none", concurrency=2))
    assignment.count_undeclared((search,), 1)
    assignment.count_undeclared((search,), 1)
    assignment.count_undeclared((search,), -1)
    assignment.replan(1.0)

    assert (assignment.plan.reasons, list(assignment.undeclared_waiting), list(search.assignments)) == ((), [search], [assignment])


def test_a_letter_that_cannot_be_sent_is_a_reason() -> None:
    """Until it is out."""
    assignment = place_of(gate())
    assignment.unsent[placed(assignment)] = None
    assignment.recompute()
    assignment.replan(1.0)

    assert assignment.plan.reasons == ("dead letters",)


def test_a_place_falls_back_instead_of_being_held() -> None:
    """Said once, with the dependencies that are down."""
    payments = gate()
    assignment = place_of(payments, run=Run(Needs(["payments"]), order="source", concurrency=None, inbox=10, fallback=FallbackSettings()))
    payments.circuit.open_for(10.0, 0.0)

    assert assignment.replan(1.0) == SourceFallingBack(1.0, ORDERS, ("payments",))
    assert assignment.replan(2.0) is None
    assert (assignment.falling_back, assignment.plan.reasons) == (True, ())


def test_a_hold_that_follows_on_a_probe_is_the_one_before_it() -> None:
    """It counts from its first begin, not from the failed probe."""
    payments = gate()
    assignment = place_of(payments)
    payments.circuit.open_for(10.0, 0.0)
    assignment.replan(0.0)
    payments.circuit.advance(10.0)
    assert isinstance(assignment.replan(10.0), SourceReleased)
    payments.circuit.open_for(10.0, 11.0)
    assignment.replan(11.0)

    assert assignment.hold.since == 0.0


# -- batches ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "ring"), [("source", False), ("none", True)])
def test_what_comes_back_of_a_batch_fills_the_inbox(order: Order, ring: bool) -> None:
    """Full at its limit; where several lanes may work on the place it is offered to them."""
    run = Run(Needs([]), order=order, concurrency=None if order == "source" else 2, inbox=2, batch=4)
    assignment = place_of(run=run)
    run.enqueue(batches_of(messages(ORDERS, 4)))
    assignment.full = False
    batch = assignment.inbox.take()
    assert isinstance(batch, Batch)
    run.ring.clear()
    assignment.in_ring = False
    run.dirty.clear()
    rest = batch.cut(1)
    assignment.put_back(rest)

    assert (assignment.full, list(run.dirty), bool(run.ring), assignment.inbox.waiting) == (True, [assignment], ring, 3)
    assert run.capacity == (4 if order == "source" else 8)


def test_less_than_a_full_inbox_leaves_it_fetching() -> None:
    """One message of a batch comes back."""
    run = Run(Needs([]), order="source", concurrency=None, inbox=2, batch=4)
    assignment = place_of(run=run)
    run.enqueue(batches_of(messages(ORDERS, 2)))
    assignment.full = False
    batch = assignment.inbox.take()
    assert isinstance(batch, Batch)
    assignment.put_back(batch.cut(1))

    assert not assignment.full


def test_a_new_assignment_has_nothing_going_on() -> None:
    """Nothing is held, full, offered or announced."""
    assignment = place_of(gate())

    flags = [
        assignment.closing,
        assignment.full,
        assignment.idle,
        assignment.in_ring,
        assignment.operator_hold,
        assignment.falling_back,
    ]
    assert flags == [False] * 6
    assert (assignment.alive, assignment.stopped, assignment.held) == (True, False, False)


def test_a_new_assignment_has_counted_nothing() -> None:
    """No delivery, no head, no fallback, no announcement."""
    assignment = place_of(gate())

    assert (assignment.in_flight, assignment.unstarted, assignment.fallbacks) == (0, 0, 0)
    assert (assignment.blocked, assignment.unsent, assignment.undeclared_holders) == ([], {}, ())


def test_a_new_run_has_nothing_in_work() -> None:
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


def test_a_granted_delivery_has_one_start_more() -> None:
    """Whatever it had before. It was in flight already."""
    assignment = place_of(gate(), run=run_of(order="none", concurrency=4))
    first, second = placed(assignment, 0), placed(assignment, 1)
    second.attempt = 2
    assignment.run.grant(first)
    assignment.run.grant(second)

    assert (assignment.in_flight, first.attempt, second.attempt, list(assignment.run.granted)) == (0, 1, 3, [first, second])


def test_deliveries_that_are_taken_in_know_their_place() -> None:
    """Whatever comes of them is found by it."""
    assignment = place_of(gate())
    came = messages(assignment.source, 2)
    assignment.run.enqueue(came)

    assert [delivery.assignment for delivery in came] == [assignment, assignment]
    assert assignment.inbox.take() is came[0]


def test_a_part_that_is_put_back_may_fill_the_inbox() -> None:
    """Exactly as much as it holds: nothing more is fetched."""
    run = Run(Needs([]), order="source", concurrency=None, inbox=3, batch=4)
    assignment = place_of(run=run)
    run.enqueue(batches_of(messages(assignment.source, 4)))
    assignment.full = False
    batch = assignment.inbox.take()
    assert isinstance(batch, Batch)
    assignment.put_back(batch.cut(1))

    assert (assignment.inbox.waiting, assignment.full) == (3, True)


def test_a_hold_by_an_undeclared_need_is_known_as_one() -> None:
    """Beside that of a need of its own: only the undeclared one is remembered as such."""
    payments, mail = gate(), gate("mail")
    assignment = place_of(payments)
    for each in (payments, mail):
        each.circuit.open_for(10.0, 0.0)
    assignment.count_undeclared([mail], 1)
    assignment.replan(0.0)

    assert assignment.plan.reasons == ("circuit:mail", "circuit:payments")
    assert assignment.undeclared_holders == (mail,)


def test_a_hold_while_the_circuit_is_still_half_open_goes_on() -> None:
    """An operator holds the source between two probes: it is held since the outage began."""
    stage = Stage("payments")
    stage.trip()
    stage.turn(later=10.0)
    assert stage.assignment().hold.since is None
    stage.now += 1.0
    stage.engine.hold(ORDERS)
    stage.turn()

    assert stage.assignment().hold.since == 0.0


# -- unclaimed failures, and memory ----------------------------------------------------------------------------------------------------


def test_a_suspected_outage_holds_under_its_own_reason() -> None:
    """With nothing waiting it is still read: what ends the suspicion may be a message that has not come yet."""
    assignment = place_of(gate())
    assignment.results.suspected = True
    assignment.recompute()
    assignment.replan(1.0)

    assert (assignment.plan.reasons, assignment.plan.fetch, assignment.held) == (("unclaimed failures",), True, True)


def test_a_run_has_one_handler_and_asks_its_broker_unless_told() -> None:
    """The defaults."""
    run = Run(Needs(["payments"]), order="source", concurrency=None, inbox=10)
    assert run.sends_unasked is False
    assert run.kinds.results_of(Partition("orders", 0)) is run.kinds.results_of(Partition("bills", 0))
    run.memory.freed()  # nobody looks
    assert (run.memory.tight, Unbounded.tight) == (False, False)


def test_a_full_inbox_has_enough_at_its_number() -> None:
    """As many as may wait are enough."""
    run = run_of(["payments"], inbox=3)
    assignment = run.add(ORDERS, [gate()])
    run.enqueue(messages(ORDERS, 2))
    assert not assignment.has_enough
    run.enqueue(messages(ORDERS, 1, 2))
    assert assignment.has_enough


class Tight(Unbounded):
    """A bound that is tight, as far as a place can see."""

    tight = True
    due = False

    def freed(self) -> None:
        self.due = True


def test_while_memory_is_tight_room_is_for_others_first() -> None:
    """It asks for a look at all of them, and again when half of what is left has gone."""
    run = run_of(["payments"], inbox=8)
    assignment = run.add(ORDERS, [gate()])
    run.enqueue(messages(ORDERS, 8))
    memory = run.memory = Tight()
    for _ in range(4):
        delivery = assignment.inbox.take()
        assert delivery is not None
        assignment.inbox.done(delivery)

    assert (assignment.make_room(), assignment.full, repr(assignment.low), memory.due) == (True, True, "2", True)
    memory.due = False
    assert (assignment.make_room(), memory.due) == (False, False)
