"""Places and runs: what a source's plan says, and what a run offers to its lanes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.flow.stage import ORDERS, gate, messages, partitions, place_of, placed, run_of

from holdgate.core import Outcome
from holdgate.flow.attribution import Attribution, Cause, Finding
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.events import AttributionShared, SourceFallingBack, SourceHeld, SourceReleased
from holdgate.flow.gate import Gate
from holdgate.flow.inbox import FreeInbox, KeyInbox, Order, SourceInbox
from holdgate.flow.policy import FallbackSettings, Needs
from holdgate.flow.state import Place, Run


def hold(place: Place) -> None:
    place.operator_hold = True


def close(place: Place) -> None:
    place.closing = True


def drain(place: Place) -> None:
    place.run.draining = True


def block(place: Place) -> None:
    place.blocked.append(placed(place))


def lose_needs(place: Place) -> None:
    place.unknown_needs = True


# -- the plan of a place --------------------------------------------------------------------------------------------------------------


def test_a_fresh_place_may_fetch_and_start() -> None:
    """Nothing holds it, and nothing is announced."""
    place = place_of(gate())

    assert place.replan(1.0) is None
    assert (place.plan.fetch, place.plan.reasons, place.held, place.since) == (True, (), False, None)


@pytest.mark.parametrize(
    ("how", "reason"),
    [(hold, "operator"), (close, "draining"), (drain, "draining"), (block, "blocked"), (lose_needs, "no needs")],
)
def test_each_flag_stops_a_place_for_its_reason(how: Callable[[Place], None], reason: str) -> None:
    """At once when it is touched, and in the plan with the next turn."""
    place = place_of(gate())
    how(place)
    place.touch()
    assert (place.stopped, place.held, list(place.run.dirty)) == (True, True, [place])
    place.replan(1.0)

    assert (place.plan.fetch, place.plan.reasons) == (False, (reason,))


def test_a_circuit_is_a_reason_but_does_not_stop() -> None:
    """Circuits are asked by acquiring; the plan says why the source is held."""
    mail, payments = gate("mail"), gate("payments")
    payments.circuit.force_open(0.0)
    place = place_of(mail, payments)
    place.replan(1.0)

    assert (place.plan.reasons, place.stopped, place.held) == (("circuit:payments",), False, True)


def test_an_operators_word_in_an_outage_starts_nothing() -> None:
    """Held and released between two turns: the circuit's reason is still in the plan."""
    payments = gate()
    payments.circuit.force_open(0.0)
    place = place_of(payments)
    place.replan(1.0)
    for word in (True, False):
        place.operator_hold = word
        place.touch()

    assert (place.stopped, place.held) == (False, True)


def test_two_reasons_never_clear_each_other() -> None:
    """The circuit closes, and the operator's hold stays, announced anew; the hold counts from its begin."""
    payments = gate()
    payments.circuit.force_open(0.0)
    place = place_of(payments)
    hold(place)
    place.touch()
    first = place.replan(1.0)
    payments.circuit.clear_override(2.0)
    second = place.replan(2.0)

    assert first == SourceHeld(1.0, ORDERS, ("circuit:payments", "operator"))
    assert second == SourceHeld(2.0, ORDERS, ("operator",))
    assert place.since == 1.0


def test_a_release_says_how_long_it_was_held() -> None:
    """From the first reason to the end of the last one."""
    place = place_of(gate())
    hold(place)
    place.touch()
    place.replan(1.0)
    place.operator_hold = False
    place.touch()

    assert place.replan(4.5) == SourceReleased(4.5, ORDERS, 3.5)
    assert (place.since, place.held) == (None, False)


def test_the_same_reasons_are_announced_once() -> None:
    """A second look finds nothing new."""
    place = place_of(gate())
    hold(place)
    place.touch()
    place.replan(1.0)

    assert place.replan(2.0) is None
    assert place.warned == 1.0


def test_a_full_inbox_stops_fetching_and_is_no_reason() -> None:
    """Back-pressure never shows as held."""
    place = place_of(gate())
    place.full = True

    assert place.replan(1.0) is None
    assert (place.plan.fetch, place.plan.held) == (False, False)


def test_a_place_that_goes_away_announces_nothing() -> None:
    """A revoked source is not held, it is gone."""
    place = place_of(gate())
    close(place)
    place.touch()

    assert place.replan(1.0) is None
    assert place.plan.reasons == ("draining",)


def test_a_dead_place_never_comes_back_into_the_plan() -> None:
    """A hold that expires after its place has gone must not speak of the place that came after it."""
    place = place_of(gate())
    place.alive = False
    place.touch()

    assert place.run.dirty == {}


def test_a_shared_exception_is_announced_once_with_those_it_counted_against() -> None:
    """Two of three needs were blamed."""
    gates = gate("mail"), gate("payments"), gate("search")
    place = place_of(*gates)
    findings = Finding(Outcome.FAILURE), Finding(Outcome.IGNORED), Finding(Outcome.FAILURE)
    attribution = Attribution(findings, Cause.DEPENDENCY, shared=True)

    assert list(place.announce_shared(1.0, gates, attribution)) == [AttributionShared(1.0, ORDERS, ("mail", "search"))]
    assert list(place.announce_shared(2.0, gates, attribution)) == []


def test_one_need_is_asked_alone() -> None:
    """The fast path has a gate of its own only when there is exactly one."""
    mail, payments = gate("mail"), gate("payments")

    assert (place_of(mail).gate, place_of().gate, place_of(mail, payments).gate) == (mail, None, None)


# -- runs -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "kind"), [("source", SourceInbox), ("key", KeyInbox), ("none", FreeInbox)])
def test_a_run_makes_inboxes_of_its_order(order: str, kind: type) -> None:
    """One file per order would hide that they differ in the inbox alone."""
    assert isinstance(run_of(order=order).new_inbox(), kind)  # type: ignore[arg-type]


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
    places = [place_of(run=run, source=source) for source in partitions(2)]
    run.take_in([*messages(places[0].source, 2), *messages(places[1].source, 1), *messages(places[0].source, 1, first=2)])

    assert [place.inbox.waiting for place in places] == [3, 1]
    assert list(run.ring) == places


def test_deliveries_of_unknown_sources_are_dropped() -> None:
    """They come again to whoever has them next."""
    run = run_of()
    run.take_in(messages(ORDERS, 1))

    assert list(run.ring) == []


@pytest.mark.parametrize("how", [close, drain])
def test_deliveries_of_a_source_that_goes_away_are_dropped(how: Callable[[Place], None]) -> None:
    """Nothing of it starts any more here."""
    place = place_of()
    how(place)
    place.run.take_in(messages(ORDERS, 1))

    assert place.inbox.waiting == 0


def test_a_held_place_takes_in_and_is_not_offered() -> None:
    """What was under way from the broker waits until the hold is over."""
    place = place_of()
    hold(place)
    place.touch()
    place.run.take_in(messages(ORDERS, 1))

    assert (place.inbox.waiting, list(place.run.ring)) == (1, [])


def test_an_inbox_is_full_at_its_size() -> None:
    """One below it is not; then the plan is looked at again, once."""
    place = place_of(run=run_of(inbox=3))
    place.run.take_in(messages(ORDERS, 2))
    assert (place.full, list(place.run.dirty)) == (False, [])
    place.run.take_in(messages(ORDERS, 1, first=2))
    assert (place.full, list(place.run.dirty)) == (True, [place])
    place.run.dirty.clear()
    place.run.take_in(messages(ORDERS, 1, first=3))

    assert list(place.run.dirty) == []


def test_a_grant_counts_as_a_start() -> None:
    """It is in flight from now on, and its place has room for another head."""
    place = place_of()
    place.inbox.put(messages(ORDERS, 1))
    delivery = placed(place, 7)
    place.run.grant(delivery)

    assert (delivery.attempt, place.in_flight, list(place.run.granted), list(place.run.ring)) == (1, 1, [delivery], [place])


def test_a_grant_of_a_place_without_work_offers_nothing() -> None:
    """There is nothing that another lane could take."""
    place = place_of()
    place.run.grant(placed(place))

    assert list(place.run.ring) == []


def test_a_plan_has_a_new_version_only_when_it_differs() -> None:
    """An intake acts on versions; a look that changes nothing must not wake it."""
    run = run_of()
    place = place_of(run=run)
    assert run.replan(1.0) == []
    assert run.plan.version == 0
    run.dirty[place] = None
    run.replan(2.0)
    assert (run.plan.version, run.plan.of(ORDERS).fetch) == (1, True)
    run.dirty[place] = None
    run.replan(3.0)

    assert run.plan.version == 1


def test_a_plan_collects_the_events_of_its_places() -> None:
    """One per place whose reasons changed."""
    run = run_of()
    held, free = (place_of(run=run, source=source) for source in partitions(2))
    hold(held)
    held.touch()
    free.touch()

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
    place = place_of()
    place.inbox.put(messages(ORDERS, 1))
    hold(place)
    place.touch()
    place.run.replan(1.0)

    assert list(place.run.ring) == []


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
    place = place_of(gate(), run=run_of(inbox=4))
    place.full = True
    place.inbox.put(messages(ORDERS, 3))
    assert (place.make_room(), place.full) == (False, True)
    place.inbox.take()
    place.run.dirty.clear()

    assert (place.make_room(), place.full, place in place.run.dirty) == (True, False, True)


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
    place = place_of(payments)
    place.stray((search,), 1)
    assert (list(search.places), list(place.run.dirty), place.needed) == ([place], [place], (payments, search))
    place.replan(1.0)
    assert place.plan.reasons == ("circuit:search",)
    place.stray((search,), -1)
    place.replan(2.0)

    assert (place.plan.reasons, place.needed, dict(search.places), dict(place.strays)) == ((), (payments,), {}, {})


def test_without_an_order_a_head_holds_nothing() -> None:
    """Others go on; two heads that wait are told from one."""
    search = shut("search")
    place = place_of(gate(), run=run_of(order="none", concurrency=2))
    place.stray((search,), 1)
    place.stray((search,), 1)
    place.stray((search,), -1)
    place.replan(1.0)

    assert (place.plan.reasons, list(place.strays), list(search.places)) == ((), [search], [place])


def test_a_letter_that_cannot_be_sent_is_a_reason() -> None:
    """Until it is out."""
    place = place_of(gate())
    place.unsent[placed(place)] = None
    place.touch()
    place.replan(1.0)

    assert place.plan.reasons == ("dead letters",)


def test_a_place_falls_back_instead_of_being_held() -> None:
    """Said once, with the dependencies that are down."""
    payments = gate()
    place = place_of(payments, run=Run(Needs(["payments"]), order="source", concurrency=None, inbox=10, fallback=FallbackSettings()))
    payments.circuit.open_for(10.0, 0.0)

    assert place.replan(1.0) == SourceFallingBack(1.0, ORDERS, ("payments",))
    assert place.replan(2.0) is None
    assert (place.falling_back, place.plan.reasons) == (True, ())


def test_a_hold_that_follows_on_a_probe_is_the_one_before_it() -> None:
    """It counts from its first begin, not from the failed probe."""
    payments = gate()
    place = place_of(payments)
    payments.circuit.open_for(10.0, 0.0)
    place.replan(0.0)
    payments.circuit.advance(10.0)
    assert isinstance(place.replan(10.0), SourceReleased)
    payments.circuit.open_for(10.0, 11.0)
    place.replan(11.0)

    assert place.since == 0.0


# -- batches ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "ring"), [("source", False), ("none", True)])
def test_what_comes_back_of_a_batch_fills_the_inbox(order: Order, ring: bool) -> None:
    """Full at its limit; where several lanes may work on the place it is offered to them."""
    run = Run(Needs([]), order=order, concurrency=None if order == "source" else 2, inbox=2, batch=4)
    place = place_of(run=run)
    run.take_in(batches_of(messages(ORDERS, 4)))
    place.full = False
    batch = place.inbox.take()
    assert isinstance(batch, Batch)
    run.ring.clear()
    place.in_ring = False
    run.dirty.clear()
    rest = batch.cut(1)
    place.put_back(rest)

    assert (place.full, list(run.dirty), bool(run.ring), place.inbox.waiting) == (True, [place], ring, 3)
    assert run.capacity == (4 if order == "source" else 8)


def test_less_than_a_full_inbox_leaves_it_fetching() -> None:
    """One message of a batch comes back."""
    run = Run(Needs([]), order="source", concurrency=None, inbox=2, batch=4)
    place = place_of(run=run)
    run.take_in(batches_of(messages(ORDERS, 2)))
    place.full = False
    batch = place.inbox.take()
    assert isinstance(batch, Batch)
    place.put_back(batch.cut(1))

    assert not place.full
