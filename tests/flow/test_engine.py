"""The engine: the way of a message through all of its parts, and what it promises about many of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import (
    BILLS,
    ORDERS,
    Message,
    Stage,
    dependency_failed,
    half_open,
    in_flight,
    own_failure,
    parallel,
    partitions,
    positions,
    refused,
    rejected,
    returned,
    run_of,
)

from holdgate.core import Circuit, CircuitOpened, CircuitSettings, State
from holdgate.errors import SettingsError
from holdgate.flow.engine import Engine
from holdgate.flow.events import (
    HoldContinued,
    SourceBlocked,
    SourceHeld,
    SourceReleased,
    UndeclaredNeed,
)
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import RetryPolicy, Verdict

# -- what exists ----------------------------------------------------------------------------------------------------------------------


def test_two_dependencies_cannot_share_a_name() -> None:
    """It is the label everywhere."""
    stage = Stage("payments")

    with pytest.raises(SettingsError, match="two dependencies are named 'payments'"):
        stage.engine.add_gate(Circuit("payments"))


def test_a_run_cannot_need_what_is_not_there() -> None:
    """The error names both sides."""
    engine = Engine(draw=lambda: 0.5)
    engine.add_gate(Circuit("mail"))

    with pytest.raises(SettingsError, match=r"\['payments'\].*\['mail'\]"):
        engine.add_run(run_of(["mail", "payments"]))


def test_a_removed_run_leaves_nothing() -> None:
    """No place, no permit, and the ramp ends where the others' concurrency does."""
    stage = Stage("payments")
    stage.receive(1)
    stage.start()
    stage.engine.remove_run(stage.run, stage.now)

    assert (stage.engine.runs, stage.run.assignments, stage.engine.gates["payments"].assignments) == ({}, {}, {})
    assert stage.engine.gates["payments"].circuit.full == 1


# -- the fast path --------------------------------------------------------------------------------------------------------------------


def test_a_source_in_order_has_one_delivery_in_work() -> None:
    """A second lane finds nothing, and goes on when the first has ended, also without `follow`."""
    stage = Stage("payments")
    stage.receive(2)
    first = stage.start()
    assert stage.engine.next(stage.run, stage.now) is None
    stage.engine.succeeded(first, stage.now)

    assert stage.start().position == 1


def test_lanes_take_sources_in_turn() -> None:
    """Two sources without order, two lanes: one of each, not two of the first."""
    sources = partitions(2)
    stage = Stage("payments", run=run_of(["payments"], order="none", concurrency=2), sources=sources)
    for source in sources:
        stage.receive(2, source)

    assert [delivery.source for delivery in stage.start_all()] == sources


def test_no_more_start_than_there_are_lanes() -> None:
    """Asked by `next` and by `follow`."""
    stage = parallel("payments", concurrency=2)
    stage.receive(4)
    first, _ = stage.start_all()
    assert stage.run.running == 2
    assert stage.engine.follow(stage.assignment(), stage.now) is None
    assert stage.engine.needs_turn is True
    stage.engine.succeeded(first, stage.now)

    assert stage.engine.follow(stage.assignment(), stage.now) is not None


def test_a_span_that_moves_wakes_other_lanes() -> None:
    """Four lanes, a span of two: when the oldest ends, two more may start, and the engine asks for a turn to hand them out."""
    stage = parallel("payments", span=2)
    stage.receive(4)
    first, second = stage.start_all()
    assert stage.engine.next(stage.run, stage.now) is None
    stage.engine.succeeded(second, stage.now)
    assert stage.engine.needs_turn is False
    stage.engine.succeeded(first, stage.now)

    assert stage.engine.needs_turn is True
    assert positions(stage.start_all()) == [2, 3]


def test_deliveries_of_unknown_sources_are_dropped() -> None:
    """They come again to whoever has them next."""
    stage = Stage("payments")
    stage.receive(1, BILLS)

    assert stage.engine.next(stage.run, stage.now) is None


def test_fetching_goes_on_only_when_a_full_inbox_is_half_empty() -> None:
    """Four is full; at two it is fetched again, and not at three."""
    stage = Stage("payments", run=run_of(["payments"], inbox=4))
    stage.receive(5)
    fetches = [stage.run.plan.of(ORDERS).fetch]
    for _ in range(3):
        stage.engine.succeeded(stage.start(), stage.now)
        stage.turn()
        fetches.append(stage.run.plan.of(ORDERS).fetch)

    assert fetches == [False, False, False, True]
    assert not stage.run.plan.of(ORDERS).held


# -- how handlers end -----------------------------------------------------------------------------------------------------------------


def test_a_settled_success_lets_the_next_one_start() -> None:
    """The slow way: a call form ran, or it was a retry."""
    stage = Stage("payments")
    stage.receive(2)

    assert stage.end(stage.start(), returned()) is Verdict.DONE
    assert stage.start().position == 1


def test_the_last_success_leaves_nothing_to_start() -> None:
    """The inbox is empty."""
    stage = Stage("payments")
    stage.receive(1)
    stage.end(stage.start(), returned())

    assert stage.engine.next(stage.run, stage.now) is None


def test_its_own_failures_are_retried_and_then_block_the_source() -> None:
    """Three attempts with backoffs of 1 and 2 seconds; then it has nowhere to go, and the source waits behind it."""
    policy = RetryPolicy(attempts=3, initial_backoff=1.0, jitter=0.0)
    stage = Stage("payments", run=run_of(["payments"], retry=policy))
    stage.receive(2)
    for wait in (1.0, 2.0):
        assert stage.end(stage.start(), own_failure()) is Verdict.AGAIN
        assert stage.engine.next(stage.run, stage.now) is None
        assert stage.engine.next_deadline() == stage.now + wait
        stage.turn(later=wait)
    delivery = stage.start()
    assert (delivery.position, delivery.attempt) == (0, 3)
    stage.events()
    assert stage.end(delivery, own_failure()) is Verdict.AGAIN

    assert stage.events() == [SourceBlocked(3.0, ORDERS, 0, 3, "ValueError"), SourceHeld(3.0, ORDERS, ("blocked",))]
    assert stage.run.plan.of(ORDERS) == SourcePlan(fetch=False, reasons=("blocked",))
    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.engine.gates["payments"].circuit.snapshot(3.0).calls == 0


def test_a_rejected_message_blocks_at_once() -> None:
    """By the handler's own word, at the first attempt."""
    stage = Stage("payments")
    stage.receive(1)

    assert stage.end(stage.start(), rejected()) is Verdict.AGAIN
    assert stage.run.plan.of(ORDERS).reasons == ("blocked",)


def test_a_lone_message_before_a_dead_dependency_opens_its_circuit() -> None:
    """Two failures in a row, of one message, with a backoff in between; then the source is held and told why."""
    stage = Stage("payments")
    stage.receive(2)
    stage.end(stage.start(), dependency_failed())
    stage.turn(later=1.0)
    stage.events()
    stage.end(stage.start(), dependency_failed())

    assert [type(event) for event in stage.events()][1:] == [CircuitOpened, SourceHeld]
    assert stage.run.plan.of(ORDERS) == SourcePlan(fetch=False, reasons=("circuit:payments",))
    assert stage.engine.next_deadline() == stage.now + 10.0


def test_an_outage_is_free() -> None:
    """Twenty failed probes of one message, and it is not charged, rejected or given up."""
    stage = Stage("payments", settings=CircuitSettings(consecutive_failures=1, open_duration=1.0, open_multiplier=1.0, open_jitter=0.0))
    stage.receive(1)
    for attempt in range(1, 21):
        delivery = stage.start()
        assert delivery.attempt == attempt
        assert stage.end(delivery, dependency_failed()) is Verdict.AGAIN
        stage.turn(later=1.0)

    assert delivery.history.charged == 0


def test_a_poison_message_among_healthy_ones_opens_nothing() -> None:
    """Its failures after the first are no votes, because others succeed meanwhile."""
    stage = parallel("payments", concurrency=2)
    stage.receive(1)
    poison = stage.start()
    for number in range(10):
        stage.end(poison, dependency_failed())
        (healthy,) = stage.receive(1, first=1 + number)
        assert stage.start() is healthy
        stage.engine.succeeded(healthy, stage.now)
        stage.turn(later=60.0)
        assert stage.start() is poison

    assert stage.engine.gates["payments"].circuit.state is State.CLOSED


def test_running_backoffs_end_when_the_circuit_opens() -> None:
    """After OPEN only admission decides: the failed message is tried as soon as there is a probe to spend."""
    policy = RetryPolicy(initial_backoff=1000.0, max_backoff=1000.0)
    stage = Stage("payments", run=run_of(["payments"], retry=policy))
    stage.receive(1)
    stage.end(stage.start(), own_failure())
    half_open(stage)

    assert stage.start().attempt == 2


def test_a_refused_call_makes_its_dependency_a_need() -> None:
    """Search is not declared and refuses: the message waits for it, its source does not."""
    stage = Stage("payments", "search", run=run_of(["payments"], order="none", concurrency=2))
    stage.receive(2)
    stage.trip("search")
    delivery, other = stage.start(), stage.start()
    stage.events()
    assert stage.end(delivery, refused("search")) is Verdict.AGAIN
    assert UndeclaredNeed(stage.now, ORDERS, "search") in stage.events()
    stage.engine.succeeded(other, stage.now)
    assert not stage.run.plan.of(ORDERS).held
    stage.turn(later=10.0)

    assert stage.start() is delivery
    assert (in_flight(stage, "payments"), in_flight(stage, "search")) == (1, 1)


def test_a_source_is_held_by_what_its_head_waits_for() -> None:
    """In its order nothing else may start, so the reason names the dependency that nobody has declared, as long as it is down."""
    stage = Stage("payments", "search", run=run_of(["payments"]))
    stage.receive(2)
    stage.trip("search")
    stage.events()
    stage.end(stage.start(), refused("search"))
    held = SourceHeld(0.0, ORDERS, ("circuit:search",))
    assert held in stage.events()
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.reasons, seen.since, seen.needs, seen.waits_for) == (True, ("circuit:search",), 0.0, ("payments",), ("search",))
    stage.turn(later=10.0)

    assert SourceReleased(10.0, ORDERS, 10.0) in stage.events()
    assert stage.start().position == 0
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waits_for == ()


def test_a_hold_by_an_undeclared_need_goes_on_from_probe_to_probe() -> None:
    """Free for the moment of the probe, and held since the beginning of the outage when it fails; its next try is known."""
    stage = Stage("payments", "search", run=run_of(["payments"]))
    stage.receive(1)
    stage.trip("search")
    stage.end(stage.start(), refused("search"))
    stage.turn(later=10.0)
    probe = stage.start()
    stage.engine.gates["search"].circuit.open_for(20.0, stage.now)
    stage.end(probe, refused("search", needs=2))

    assert stage.engine.snapshot(stage.now).sources[ORDERS].since == 0.0
    stage.events()
    stage.engine.gates["search"].circuit.open_for(2000.0, stage.now)
    stage.turn(later=590.0)
    assert [(event.since, event.next_try) for event in stage.events() if isinstance(event, HoldContinued)] == [(0.0, 2010.0)]


def test_a_probe_slot_that_somebody_else_has_does_not_end_the_outage() -> None:
    """Half-open, but not its turn: the source is free of the reason, and the hold that follows is still the first one."""
    stage = Stage("payments", "search", run=run_of({"orders": ["payments"], "bills": ["search"]}), sources=(ORDERS, BILLS))
    stage.receive(1, BILLS)
    first = stage.start()
    stage.trip("search")
    stage.engine.interrupted(first, stage.now)
    stage.receive(1)
    stage.end(stage.start(), refused("search"))
    stage.turn(later=10.0)
    probe = stage.start()
    assert (probe.source, stage.start_all()) == (BILLS, [])
    assert stage.run.plan.of(ORDERS).reasons == ()
    stage.end(probe, dependency_failed())

    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.reasons, seen.since) == (("circuit:search",), 0.0)


def test_a_source_without_order_shows_what_its_messages_wait_for() -> None:
    """Others of it go on, so it is not held; two of them wait, and one that leaves does not take the other's reason along."""
    stage = Stage("payments", "search", run=run_of(["payments"], order="none", concurrency=2))
    stage.receive(2)
    stage.trip("search")
    for delivery in stage.start_all():
        stage.end(delivery, refused("search"))
    seen = stage.engine.snapshot(stage.now).sources[ORDERS]
    assert (seen.held, seen.waits_for) == (False, ("search",))
    assert stage.engine.skip(stage.run, ORDERS, 0, "test", stage.now) is not None
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waits_for == ("search",)
    assert stage.engine.skip(stage.run, ORDERS, 1, "test", stage.now) is not None

    assert stage.engine.snapshot(stage.now).sources[ORDERS].waits_for == ()
    assert not stage.engine.gates["search"].assignments


def test_what_was_waited_for_is_forgotten_with_its_source() -> None:
    """The dependency has nothing to tell a place that is gone."""
    stage = Stage("payments", "search", run=run_of(["payments"]))
    stage.receive(1)
    stage.trip("search")
    stage.end(stage.start(), refused("search"))
    stage.engine.forget(stage.run, [ORDERS], stage.now)

    assert not stage.engine.gates["search"].assignments


def test_an_interrupted_delivery_waits_to_start_again() -> None:
    """No verdict, nothing counted, its permits given back; its source is still ours."""
    stage = Stage("payments")
    stage.receive(1)
    delivery = stage.start()
    assert stage.engine.interrupted(delivery, stage.now) is Verdict.AGAIN
    assert in_flight(stage) == 0
    stage.turn()

    assert stage.start() is delivery
    assert stage.engine.gates["payments"].circuit.snapshot(0.0).calls == 0


def test_an_interrupted_retry_takes_all_it_needs_again() -> None:
    """The undeclared need too."""
    stage = Stage("payments", "search", run=run_of(["payments"]))
    stage.receive(1)
    half_open(stage, "search")
    stage.end(stage.start(), refused("search"))
    delivery = stage.start()
    stage.engine.interrupted(delivery, stage.now)
    stage.turn()

    assert len(stage.start().permits) == 2


# -- circuits hold and admit ----------------------------------------------------------------------------------------------------------


# -- assignments ----------------------------------------------------------------------------------------------------------------------


def test_a_source_assigned_during_an_outage_is_held_from_the_start() -> None:
    """The plan that comes back says so, before anything was fetched."""
    stage = Stage("payments")
    stage.trip()
    plan = stage.engine.assigned(stage.run, [Partition("orders", 1)], stage.now)

    assert plan.of(Partition("orders", 1)) == SourcePlan(fetch=False, reasons=("circuit:payments",))
    assert stage.engine.needs_turn is True


def test_a_source_without_needs_entry_is_held() -> None:
    """It came later under a pattern, and nobody said what it needs."""
    stage = Stage("payments", run=run_of({"orders": ["payments"]}), sources=(BILLS,))
    stage.receive(1, BILLS)

    assert stage.run.plan.of(BILLS).reasons == ("no needs",)
    assert stage.engine.next(stage.run, stage.now) is None


def test_a_closing_source_finishes_what_runs_and_drops_the_rest() -> None:
    """The plan stops it with the next turn; what fails now is not tried again here."""
    stage = parallel("payments")
    stage.receive(1)
    running = stage.start()
    stage.receive(2, first=1)
    (assignment,) = stage.engine.closing(stage.run, [ORDERS], stage.now)
    stage.turn()

    assert (assignment.inbox.waiting, stage.run.plan.of(ORDERS).reasons, stage.start_all()) == (0, ("draining",), [])
    assert stage.end(running, own_failure()) is Verdict.AGAIN
    assert stage.engine.next_deadline() is None
    assert stage.engine.interrupted(_granted_again(stage, running), stage.now) is Verdict.AGAIN
    assert len(stage.engine._waiting) == 0


def _granted_again(stage: Stage, delivery: Delivery[Any]) -> Delivery[Any]:
    """As if it ran again, for what comes of an interruption."""
    delivery.permits = (stage.engine.gates["payments"].circuit.try_acquire(stage.now),)
    delivery.assignment.in_flight += 1
    stage.run.running += 1
    return delivery


@pytest.mark.parametrize("how", ["succeeded", "settle", "interrupted"])
def test_whatever_runs_for_a_forgotten_source_is_stale(how: str) -> None:
    """Permits and lanes come back, and nothing is counted or settled."""
    stage = Stage("payments")
    stage.receive(1)
    running = stage.start()
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    verdict = {
        "succeeded": lambda: stage.engine.succeeded(running, stage.now),
        "settle": lambda: stage.engine.settle(running, dependency_failed(), "ValueError", stage.now),
        "interrupted": lambda: stage.engine.interrupted(running, stage.now),
    }[how]()

    assert verdict is Verdict.STALE
    seen = stage.engine.gates["payments"].circuit.snapshot(stage.now)
    assert (seen.in_flight, seen.calls, stage.run.running) == (0, 0, 0)


def test_a_source_that_comes_again_starts_anew() -> None:
    """What ran in the old assignment is stale, also when its source is here again."""
    stage = Stage("payments")
    stage.receive(1)
    old = stage.start()
    stage.engine.assigned(stage.run, [ORDERS], stage.now)
    stage.turn()
    stage.receive(1)

    assert stage.engine.succeeded(old, stage.now) is Verdict.STALE
    assert stage.start().position == 0


def test_a_draining_run_starts_nothing() -> None:
    """Its plan says why."""
    stage = Stage("payments")
    stage.receive(2)
    stage.engine.drain(stage.run, stage.now)
    stage.turn()

    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.run.plan.of(ORDERS) == SourcePlan(fetch=False, reasons=("draining",))


# -- the operator ---------------------------------------------------------------------------------------------------------------------


# -- time, and reading ----------------------------------------------------------------------------------------------------------------


def test_nothing_to_wait_for_needs_no_timer() -> None:
    """No circuit, no backoff, no hold."""
    assert Stage("payments").engine.next_deadline() is None


def test_the_next_deadline_is_the_first_of_all() -> None:
    """A circuit's wait at 10, a hold at 7, a backoff at 0.5."""
    stage = Stage("mail", "payments", run=run_of({"orders": ["payments"], "bills": ["mail"]}), sources=(ORDERS, BILLS))
    stage.receive(1)
    stage.trip("mail")
    assert stage.engine.next_deadline() == 10.0
    stage.engine.hold(BILLS, until=7.0)
    assert stage.engine.next_deadline() == 7.0
    stage.end(stage.start(), own_failure())

    assert stage.engine.next_deadline() == 0.5


def test_a_turn_may_be_taken_at_any_time() -> None:
    """Twice in a row changes nothing, and announces nothing."""
    stage = Stage("payments")
    stage.receive(3)
    stage.trip()
    version = stage.run.plan.version
    stage.events()
    stage.turn()

    assert (stage.run.plan.version, stage.events(), stage.engine.needs_turn) == (version, [], False)


def test_events_are_handed_out_once() -> None:
    """Drained by the caller."""
    stage = Stage("payments")
    stage.trip()

    assert stage.events() != []
    assert stage.events() == []


def test_a_message_keeps_its_identity() -> None:
    """The engine hands out the intake's own objects."""
    stage = Stage("payments")
    (came,) = stage.receive(1)

    assert isinstance(came, Message)
    assert stage.start() is came


def test_a_success_of_several_needs_that_moves_a_circuit_calls_for_a_turn() -> None:
    """A ramp goes on by it."""
    stage = Stage("mail", "payments", sources=partitions(2))
    half_open(stage)
    for source in partitions(2):
        stage.receive(1, source)
    (probe,) = stage.start_all()
    stage.turn()
    stage.engine.succeeded(probe, stage.now)

    assert stage.engine.needs_turn is True


def test_a_success_in_order_needs_no_turn_to_go_on() -> None:
    """Another lane had found the source busy; it is offered again, to the lane that has just ended."""
    stage = Stage("payments", run=run_of(["payments"], concurrency=2))
    stage.receive(2)
    first = stage.start()
    assert stage.engine.next(stage.run, stage.now) is None
    assert list(stage.run.ring) == []
    stage.engine.succeeded(first, stage.now)

    assert (stage.engine.needs_turn, list(stage.run.ring)) == (False, [stage.assignment()])
