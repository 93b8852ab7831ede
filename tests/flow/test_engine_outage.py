"""The engine in an outage: what is held, what waits, and who goes on first when the dependency is back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.flow.stage import (
    BILLS,
    ORDERS,
    QUICK,
    Stage,
    dependency_failed,
    half_open,
    in_flight,
    messages,
    own_failure,
    parallel,
    partitions,
    positions,
    returned,
    run_of,
)

from holdgate.core import CircuitClosed, CircuitHalfOpened, CircuitOpened, CircuitSettings, RampSettings, State
from holdgate.flow.events import (
    HoldContinued,
    LocalCauseSuspected,
    SourceReleased,
)


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


def test_an_unstarted_message_that_is_refused_waits_for_all_its_needs() -> None:
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
    assert stage.engine.needs_turn
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
    assert stage.engine.needs_turn is False  # no lane is free: there is nothing to do
    stage.engine.succeeded(running, stage.now)
    assert stage.engine.next(stage.run, stage.now) is None
    assert stage.engine.needs_turn is True
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

    assert stage.engine.needs_turn is True


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

    assert stage.engine.needs_turn is False


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

    assert stage.engine.needs_turn is True
    assert CircuitOpened in [type(event) for event in stage.events()]


def test_a_circuit_that_opens_in_front_of_an_unstarted_message_makes_it_wait() -> None:
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


def test_a_hold_that_goes_on_is_announced_again() -> None:
    """After ten minutes, with its begin."""
    stage = Stage("payments")
    stage.engine.hold(ORDERS)
    stage.turn()
    stage.events()
    assert stage.engine.next_deadline() == 600.0
    stage.turn(later=600.0)

    assert stage.events() == [HoldContinued(600.0, ORDERS, ("operator",), 0.0, None)]


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

    assert stage.assignment().hold.since == stage.now


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
