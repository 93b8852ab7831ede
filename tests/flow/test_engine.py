"""The engine: the way of a message through all of its parts, and what it promises about many of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import (
    ORDERS,
    QUICK,
    Message,
    Stage,
    dependency_failed,
    messages,
    own_failure,
    partitions,
    refused,
    rejected,
    returned,
    run_of,
)

from holdgate.core import Circuit, CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitSettings, RampSettings, State
from holdgate.errors import SettingsError
from holdgate.flow.engine import Engine
from holdgate.flow.events import (
    CommandEnded,
    CommandGiven,
    HoldContinued,
    LocalCauseSuspected,
    SourceBlocked,
    SourceHeld,
    SourceReleased,
    UndeclaredNeed,
)
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.plan import SourcePlan
from holdgate.flow.policy import RetryPolicy, Verdict

BILLS = Partition("bills", 0)
FREE = SourcePlan(fetch=True, reasons=())


def parallel(*needs: str, concurrency: int = 4, **more: Any) -> Stage:
    return Stage(*needs, run=run_of(needs, order="none", concurrency=concurrency, **more))


def in_flight(stage: Stage, name: str = "payments") -> int:
    return stage.engine.gates[name].circuit.snapshot(stage.now).in_flight


def positions(deliveries: list[Delivery[Any]]) -> list[int]:
    return [delivery.position for delivery in deliveries]


def half_open(stage: Stage, name: str = "payments") -> None:
    """The open wait of the circuit is over."""
    stage.trip(name)
    stage.turn(later=10.0)
    assert stage.engine.gates[name].circuit.state is State.HALF_OPEN


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
    assert stage.engine.gates["payments"].circuit._full == 1


# -- the fast path --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("needs", [(), ("payments",), ("mail", "payments")])
def test_one_delivery_follows_the_other(needs: tuple[str, ...]) -> None:
    """In order, with a permit of each need while it runs, and no turn in between."""
    stage = Stage(*needs)
    stage.receive(3)
    delivery: Delivery[Any] | None = stage.start()
    seen = []
    while delivery is not None:
        seen.append((delivery.position, delivery.attempt, [in_flight(stage, name) for name in needs]))
        assert stage.engine.succeeded(delivery, stage.now) is Verdict.DONE
        assert delivery.permits is None
        delivery = stage.engine.follow(stage.assignment(), stage.now)

    assert seen == [(position, 1, [1] * len(needs)) for position in range(3)]
    assert stage.engine.restless is False
    assert [in_flight(stage, name) for name in needs] == [0] * len(needs)
    assert [stage.engine.gates[name].circuit.snapshot(0.0).calls for name in needs] == [3] * len(needs)


@pytest.mark.parametrize("needs", [(), ("payments",), ("mail", "payments")])
def test_passing_on_is_succeeding_and_following(needs: tuple[str, ...]) -> None:
    """In one step, with the same permits, counts and attempts, for any number of needs."""
    stage = Stage(*needs)
    stage.receive(3)
    delivery: Delivery[Any] | None = stage.start()
    seen = []
    while delivery is not None:
        seen.append((delivery.position, delivery.attempt, [in_flight(stage, name) for name in needs], stage.assignment().in_flight))
        before, delivery = delivery, stage.engine.pass_on(delivery, stage.now)
        assert before.permits is None

    assert seen == [(position, 1, [1] * len(needs), 1) for position in range(3)]
    assert stage.engine.restless is False
    assert (stage.assignment().in_flight, stage.run.running, stage.assignment().inbox.waiting) == (0, 0, 0)
    assert [stage.engine.gates[name].circuit.snapshot(0.0).calls for name in needs] == [3] * len(needs)
    stage.receive(1, first=3)
    assert stage.start().position == 3


def test_passing_on_stops_at_a_circuit_that_has_opened() -> None:
    """The next one waits as a head, and the turn holds its source."""
    stage = Stage("payments")
    stage.receive(3)
    first = stage.start()
    stage.engine.gates["payments"].circuit.open_for(10.0, stage.now)

    assert stage.engine.pass_on(first, stage.now) is None
    assert (stage.assignment().in_flight, stage.run.running) == (0, 0)
    assert stage.engine.restless is True
    stage.turn()
    assert stage.assignment().plan.reasons == ("circuit:payments",)
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waiting == 2


def test_passing_on_overtakes_no_head_that_waits() -> None:
    """In a ramp the slot goes to whoever came first."""
    sources = partitions(2)
    stage = Stage("payments", sources=sources)
    half_open(stage)
    for source in sources:
        stage.receive(2, source, first=10 * source.number)
    (probe,) = stage.start_all()

    assert stage.engine.pass_on(probe, stage.now) is None
    stage.turn()
    assert positions(stage.start_all()) == [10]


def test_passing_on_tells_when_a_full_inbox_has_room() -> None:
    """Fetching goes on when it is half empty."""
    stage = Stage("payments", run=run_of(["payments"], inbox=4))
    stage.receive(5)
    delivery = stage.start()
    assert stage.assignment().plan == SourcePlan(fetch=False, reasons=())
    following = stage.engine.pass_on(delivery, stage.now)
    assert (stage.assignment().full, stage.engine.restless) == (True, False)
    assert following is not None
    stage.engine.pass_on(following, stage.now)
    assert (stage.assignment().full, stage.engine.restless) == (False, True)
    stage.turn()

    assert stage.assignment().plan == FREE


def test_passing_on_announces_what_its_success_did() -> None:
    """A slow success that opens the circuit is acted on in the next turn."""
    slow = CircuitSettings(slow_call_duration=1.0, minimum_calls=1, slow_call_rate_threshold=0.5, consecutive_failures=None)
    stage = Stage("payments", settings=slow)
    stage.receive(2)
    first = stage.start()
    stage.now += 2.0

    assert stage.engine.pass_on(first, stage.now) is None
    assert stage.engine.restless is True
    stage.turn()
    assert stage.engine.gates["payments"].circuit.state is State.OPEN


def test_heads_that_wait_for_a_ramp_make_its_stage_one_of_high_traffic() -> None:
    """A stage that is old enough is not judged by one result while others wait for its limit."""
    sources = partitions(3)
    settings = CircuitSettings(consecutive_failures=2, open_duration=10.0, open_jitter=0.0, ramp=RampSettings(minimum_verdicts=3))
    stage = Stage("payments", settings=settings, sources=sources)
    half_open(stage)
    for source in sources:
        stage.receive(4, source, first=10 * source.number)
    for _ in range(2):  # the probe, and the first result of the stage
        (running,) = stage.start_all()
        stage.engine.succeeded(running, stage.now)
        stage.turn()
    stage.turn(later=10.0)

    assert stage.engine.gates["payments"].circuit.limit == 1


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
    assert stage.engine.restless is True
    stage.engine.succeeded(first, stage.now)

    assert stage.engine.follow(stage.assignment(), stage.now) is not None


def test_a_span_that_moves_wakes_other_lanes() -> None:
    """Four lanes, a span of two: when the oldest ends, two more may start, and the engine asks for a turn to hand them out."""
    stage = parallel("payments", span=2)
    stage.receive(4)
    first, second = stage.start_all()
    assert stage.engine.next(stage.run, stage.now) is None
    stage.engine.succeeded(second, stage.now)
    assert stage.engine.restless is False
    stage.engine.succeeded(first, stage.now)

    assert stage.engine.restless is True
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

    assert delivery.trial.charged == 0


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


def test_only_what_needs_the_dependency_is_held() -> None:
    """Bills go on while orders wait."""
    stage = Stage("mail", "payments", run=run_of({"orders": ["payments"], "bills": ["mail"]}), sources=(ORDERS, BILLS))
    stage.trip()
    stage.receive(1)
    (bill,) = stage.receive(1, BILLS)

    assert {source: plan.reasons for source, plan in stage.run.plan.sources.items()} == {ORDERS: ("circuit:payments",), BILLS: ()}
    assert stage.start_all() == [bill]


def test_a_held_source_goes_on_when_its_circuit_is_half_open() -> None:
    """Released with how long it was held; one probe, and no second one."""
    stage = parallel("payments")
    stage.receive(3)
    stage.trip()
    stage.events()
    stage.turn(later=10.0)

    assert [type(event) for event in stage.events()] == [CircuitHalfOpened, SourceReleased]
    assert positions(stage.start_all()) == [0]
    stage.turn()
    assert stage.start_all() == []


def test_a_ramp_admits_exactly_its_limit() -> None:
    """A hundred wait; after each good stage twice as many run, never more, in order of arrival, until the circuit is closed."""
    sources = partitions(100)
    stage = Stage("payments", run=run_of(["payments"], concurrency=100), sources=sources)
    stage.trip()
    for source in sources:
        stage.receive(1, source, first=source.number)
    stage.turn(later=10.0)
    widths, order = [], []
    while True:
        started = stage.start_all()
        if not started:
            break
        widths.append(len(started))
        order += positions(started)
        for delivery in started:
            stage.engine.succeeded(delivery, stage.now)
        stage.turn()

    assert widths == [1, 1, 2, 4, 8, 16, 32, 36]
    assert order == list(range(100))


def test_a_hundred_heads_start_by_arrival_when_the_circuit_closes() -> None:
    """All in one turn."""
    sources = partitions(100)
    stage = Stage("payments", run=run_of(["payments"], concurrency=100), sources=sources)
    half_open(stage)
    for source in reversed(sources):
        stage.receive(1, source, first=source.number)
    assert positions(stage.start_all()) == [99]
    stage.engine.gates["payments"].circuit.reset(stage.now)
    stage.turn()

    assert positions(stage.start_all()) == list(range(98, -1, -1))


def test_a_newcomer_does_not_overtake_a_waiting_head() -> None:
    """The slot is free at this moment, and belongs to the one that came first."""
    sources = partitions(3)
    stage = Stage("payments", sources=sources)
    half_open(stage)
    for source in sources:
        stage.receive(1, source, first=source.number)
    (probe,) = stage.start_all()
    stage.engine.succeeded(probe, stage.now)
    stage.engine.received(stage.run, messages(sources[0], 1, first=9))
    assert stage.engine.follow(stage.assignment(sources[0]), stage.now) is None
    stage.turn()

    assert positions(stage.start_all()) == [1]


def test_a_probe_is_not_spent_twice_running_on_one_message() -> None:
    """The failed one goes behind the other head that waits."""
    sources = partitions(2)
    stage = Stage("payments", sources=sources)
    half_open(stage)
    for source in sources:
        stage.receive(1, source, first=source.number)
    probes = []
    for _ in range(4):
        (probe,) = stage.start_all()
        probes.append(probe.position)
        stage.end(probe, dependency_failed())
        stage.turn(later=300.0)

    assert probes == [0, 1, 0, 1]


def test_all_needs_are_admitted_or_none() -> None:
    """Mail has a slot, payments has none: nothing is taken, and then both."""
    stage = Stage("mail", "payments")
    half_open(stage, "mail")
    stage.engine.gates["payments"].circuit.force_open(stage.now)
    stage.turn()
    stage.receive(1)
    assert stage.start_all() == []
    assert in_flight(stage, "mail") == 0
    stage.engine.gates["payments"].circuit.clear_override(stage.now)
    stage.turn()

    assert len(stage.start().permits) == 2


def test_a_fresh_head_that_is_refused_waits_for_all_its_needs() -> None:
    """One of two circuits has no room: it is on the list, and no permit is taken."""
    stage = Stage("mail", "payments", sources=partitions(2))
    half_open(stage, "mail")
    for source in partitions(2):
        stage.receive(1, source)
    assert len(stage.start_all()) == 1

    assert [in_flight(stage, name) for name in ("mail", "payments")] == [1, 1]
    assert len(stage.engine._waiting) == 1


def test_who_waits_for_one_dependency_keeps_no_lane_from_others() -> None:
    """Four lanes, payments in half-open with many waiting: four bills run at once, and go on running."""
    run = run_of({"orders": ["payments"], "bills": ["mail"]}, order="none", concurrency=4)
    stage = Stage("mail", "payments", run=run, sources=(ORDERS, BILLS))
    half_open(stage)
    stage.receive(20)
    (probe,) = stage.start_all()
    stage.receive(20, BILLS)
    bills = stage.start_all()
    assert [delivery.source for delivery in bills] == [BILLS] * 3
    stage.end(probe, dependency_failed())

    assert [delivery.source for delivery in stage.start_all()] == [BILLS]


def test_a_ramp_does_not_empty_the_inbox_onto_the_waiting_list() -> None:
    """As many first-time heads wait as there are lanes; the others stay where they are counted as full or not."""
    stage = parallel("payments", concurrency=4)
    half_open(stage)
    stage.receive(50)
    assert len(stage.start_all()) == 1

    assert (len(stage.engine._waiting), stage.assignment().inbox.waiting) == (4, 45)


def test_a_full_list_of_heads_fills_up_after_a_grant() -> None:
    """Good probe after good probe, everything is processed."""
    stage = parallel("payments", concurrency=2)
    half_open(stage)
    stage.receive(30)
    seen = []
    for _ in range(40):
        for delivery in stage.start_all():
            seen.append(delivery.position)
            stage.engine.succeeded(delivery, stage.now)
        stage.turn()

    assert seen == list(range(30))


def test_a_waiting_head_gets_the_next_lane() -> None:
    """Both lanes are busy with others when its backoff is over: fresh work does not go before it, and nothing is left behind."""
    stage = parallel("payments", concurrency=1)
    stage.receive(1)
    failed = stage.start()
    stage.end(failed, own_failure())
    stage.receive(3, first=1)
    running = stage.start()
    stage.turn(later=5.0)
    assert stage.run.lane_wanted
    stage.engine.succeeded(running, stage.now)
    assert stage.engine.follow(stage.assignment(), stage.now) is None
    assert stage.engine.restless
    stage.turn()
    assert stage.start() is failed
    stage.end(failed, returned())

    assert stage.start().position == 2


def test_a_lane_that_asks_while_a_head_wants_it_calls_for_a_turn() -> None:
    """A loop that only ever asks `next` gets on too."""
    stage = parallel("payments", concurrency=1)
    stage.receive(1)
    failed = stage.start()
    stage.end(failed, own_failure())
    stage.receive(2, first=1)
    running = stage.start()
    stage.turn(later=5.0)
    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.engine.restless is False  # no lane is free: there is nothing to do
    stage.engine.succeeded(running, stage.now)
    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.engine.restless is True
    stage.turn()

    assert stage.start() is failed


def test_a_success_frees_the_slot_that_a_head_waits_for() -> None:
    """The engine asks for a turn."""
    stage = Stage("payments", settings=CircuitSettings(ramp=RampSettings(minimum_verdicts=3)), sources=partitions(2))
    half_open(stage)
    for source in partitions(2):
        stage.receive(1, source)
    (probe,) = stage.start_all()
    stage.turn()
    stage.engine.gates["payments"].circuit.take_events()
    stage.engine.succeeded(probe, stage.now)

    assert stage.engine.restless is True


def test_a_success_beside_a_head_that_waits_for_something_else_needs_no_turn() -> None:
    """Its other need is in half-open, this one has no limit: the fast path stays fast."""
    run = run_of({"orders": ["mail", "payments"], "bills": ["mail"]}, order="none", concurrency=4)
    stage = Stage("mail", "payments", run=run, sources=(ORDERS, BILLS))
    half_open(stage)
    stage.receive(3)
    stage.start_all()
    stage.receive(2, BILLS)
    bill = stage.start()
    stage.turn()
    stage.engine.succeeded(bill, stage.now)

    assert stage.engine.restless is False


def test_a_circuit_that_opens_by_itself_while_admitting_calls_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that stood elsewhere are looked at again in the next one."""
    stage = parallel("payments")
    stage.receive(1)
    grants = stage.engine._waiting.grants

    def admit_and_open(gates: Any, now: float) -> Any:
        stage.engine.gates["payments"].circuit.open_for(5.0, now)
        return grants(gates, now)

    monkeypatch.setattr("holdgate.flow.waiting.WaitingList.grants", lambda _, gates, now: admit_and_open(gates, now))
    stage.turn()

    assert stage.engine.restless is True
    assert CircuitOpened in [type(event) for event in stage.events()]


def test_a_circuit_that_opens_in_front_of_a_fresh_head_makes_it_wait() -> None:
    """It was refused by the circuit itself, before the plan knew."""
    stage = Stage("payments")
    stage.receive(1)
    stage.engine.gates["payments"].circuit.open_for(5.0, stage.now)

    assert stage.engine.next(stage.run, stage.now) is None
    assert len(stage.engine._waiting) == 1


def test_all_opening_together_is_announced() -> None:
    """The cause is probably here."""
    stage = Stage("mail", "payments")
    stage.trip("mail")
    stage.trip("payments")

    assert LocalCauseSuspected(0.0, ("mail", "payments")) in stage.events()


# -- assignments ----------------------------------------------------------------------------------------------------------------------


def test_a_source_assigned_during_an_outage_is_held_from_the_start() -> None:
    """The plan that comes back says so, before anything was fetched."""
    stage = Stage("payments")
    stage.trip()
    plan = stage.engine.assigned(stage.run, [Partition("orders", 1)], stage.now)

    assert plan.of(Partition("orders", 1)) == SourcePlan(fetch=False, reasons=("circuit:payments",))
    assert stage.engine.restless is True


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


def test_a_hold_may_end_while_its_source_is_elsewhere() -> None:
    """The plan knows nothing of it, and nothing is left."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS, until=5.0)
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    stage.turn(later=5.0)

    assert stage.run.plan.sources == {}
    assert stage.engine.next_deadline() is None


def test_a_draining_run_starts_nothing() -> None:
    """Its plan says why."""
    stage = Stage("payments")
    stage.receive(2)
    stage.engine.drain(stage.run, stage.now)
    stage.turn()

    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.run.plan.of(ORDERS) == SourcePlan(fetch=False, reasons=("draining",))


# -- the operator ---------------------------------------------------------------------------------------------------------------------


def test_an_operator_holds_and_releases_a_source() -> None:
    """What was received waits, and starts again without another delivery."""
    stage = Stage("payments")
    assert stage.engine.hold(ORDERS) is True
    stage.turn()
    stage.receive(1)
    assert (stage.run.plan.of(ORDERS).reasons, stage.start_all()) == (("operator",), [])
    assert stage.engine.unhold(ORDERS) is True
    stage.turn()

    assert stage.run.plan.of(ORDERS) == FREE
    assert len(stage.start_all()) == 1


def test_a_hold_works_before_the_next_turn() -> None:
    """From the moment it is said nothing starts."""
    stage = Stage("payments")
    stage.receive(1)
    stage.engine.hold(ORDERS)

    assert stage.engine.next(stage.run, stage.now) is None


def test_a_hold_between_two_turns_leaves_nothing_behind() -> None:
    """Held, asked for work, released: the source is offered again."""
    stage = Stage("payments")
    stage.receive(1)
    stage.engine.hold(ORDERS)
    assert stage.engine.next(stage.run, stage.now) is None
    stage.engine.unhold(ORDERS)
    stage.turn()

    assert len(stage.start_all()) == 1


def test_a_grant_that_is_held_before_a_lane_takes_it_waits_again() -> None:
    """Its permits go back, and its start is not counted."""
    stage = parallel("payments")
    stage.receive(1)
    stage.end(stage.start(), own_failure())
    stage.turn(later=1.0)
    (granted,) = stage.run.granted
    stage.engine.hold(ORDERS)

    assert stage.engine.next(stage.run, stage.now) is None
    assert (in_flight(stage), granted.attempt, stage.run.running) == (0, 1, 0)
    stage.turn()
    stage.engine.unhold(ORDERS)
    stage.turn()
    assert stage.start() is granted
    assert granted.attempt == 2


def test_a_hold_expires() -> None:
    """At its second, and the timer is set for it."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS, until=5.0)
    stage.turn()
    assert stage.engine.next_deadline() == 5.0
    stage.turn(later=5.0)

    assert stage.run.plan.of(ORDERS) == FREE


def test_an_unknown_source_cannot_be_held() -> None:
    """The answer is False."""
    stage = Stage("payments")

    assert (stage.engine.hold(BILLS), stage.engine.unhold(BILLS)) == (False, False)


def test_a_held_source_comes_back_held() -> None:
    """A rebalance takes it away and gives it back, and from the first step on nothing starts."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS)
    stage.engine.hold("bills")
    stage.engine.forget(stage.run, [ORDERS], stage.now)
    plan = stage.engine.assigned(stage.run, [ORDERS, Partition("bills", 3)], stage.now)

    assert [plan.of(source).reasons for source in (ORDERS, Partition("bills", 3))] == [("operator",), ("operator",)]
    assert (stage.engine.is_held(ORDERS), stage.engine.is_held("orders")) == (True, False)


def test_a_command_is_announced_before_what_follows_it() -> None:
    """It stands in the snapshot while it is in force, and its end is announced and kept with it."""
    stage = Stage("payments")
    stage.events()
    stage.engine.hold(ORDERS, until=5.0)
    said = CommandGiven(0.0, "hold", ORDERS, "alice", "deploying", 5.0)
    stage.engine.note(said)
    assert stage.engine.restless
    stage.turn()
    assert stage.events() == [said, SourceHeld(0.0, ORDERS, ("operator",))]
    assert stage.engine.snapshot(stage.now).commands == (said,)
    stage.turn(later=5.0)

    over = CommandEnded(5.0, said)
    assert stage.events() == [over, SourceReleased(5.0, ORDERS, 5.0)]
    assert (stage.engine.snapshot(stage.now).commands, stage.engine.audit()) == ((), (said, over))


def test_a_hold_that_goes_on_is_announced_again() -> None:
    """After ten minutes, with its begin."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS)
    stage.turn()
    stage.events()
    assert stage.engine.next_deadline() == 600.0
    stage.turn(later=600.0)

    assert stage.events() == [HoldContinued(600.0, ORDERS, ("operator",), 0.0, None)]


# -- time, and reading ----------------------------------------------------------------------------------------------------------------


def test_an_outage_of_many_probes_is_one_hold() -> None:
    """Since when it is held is when the outage began, and it is announced again though no single wait is that long."""
    stage = Stage("payments")
    stage.trip()
    began = stage.now
    stage.receive(1)
    stage.engine.take_events()
    said: list[HoldContinued] = []
    while stage.now < began + 1900.0:
        stage.turn(later=1.0)
        for probe in stage.start_all():
            stage.turn(later=0.5)
            stage.end(probe, dependency_failed())
            stage.turn()
        said += [event for event in stage.engine.take_events() if isinstance(event, HoldContinued)]

    assert [event.since for event in said] == [began] * 3
    assert [round((event.at - began) / 600.0, 2) for event in said] == [1.0, 2.0, 3.0]


def test_an_outage_after_another_is_a_hold_of_its_own() -> None:
    """The circuit was closed between them."""
    stage = Stage("payments", settings=CircuitSettings(consecutive_failures=2, open_duration=10.0, open_jitter=0.0))
    stage.trip()
    stage.turn(later=10.0)
    stage.engine.gates["payments"].circuit.reset(stage.now)
    stage.turn()
    stage.turn(later=5.0)
    stage.trip()

    assert stage.assignment().since == stage.now


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

    assert (stage.run.plan.version, stage.events(), stage.engine.restless) == (version, [], False)


def test_events_are_handed_out_once() -> None:
    """Drained by the caller."""
    stage = Stage("payments")
    stage.trip()

    assert stage.events() != []
    assert stage.events() == []


def test_a_whole_outage() -> None:
    """Two failures open; the source is held, probed, ramped and closed; every message is processed once, in order."""
    stage = Stage("payments", settings=QUICK)
    stage.receive(6)
    for _ in range(2):
        stage.end(stage.start(), dependency_failed())
        stage.turn(later=1.0)
    assert stage.start_all() == []
    stage.turn(later=10.0)
    done = []
    while started := stage.start_all():
        for delivery in started:
            done.append(delivery.position)
            stage.end(delivery, returned())

    assert done == [0, 1, 2, 3, 4, 5]
    assert CircuitClosed in [type(event) for event in stage.events()]
    assert stage.engine.gates["payments"].circuit.state is State.CLOSED
    assert stage.engine.snapshot(stage.now).sources[ORDERS].waiting == 0


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

    assert stage.engine.restless is True


def test_a_success_in_order_needs_no_turn_to_go_on() -> None:
    """Another lane had found the source busy; it is offered again, to the lane that has just ended."""
    stage = Stage("payments", run=run_of(["payments"], concurrency=2))
    stage.receive(2)
    first = stage.start()
    assert stage.engine.next(stage.run, stage.now) is None
    assert list(stage.run.ring) == []
    stage.engine.succeeded(first, stage.now)

    assert (stage.engine.restless, list(stage.run.ring)) == (False, [stage.assignment()])
