"""How much we are willing to drain, and how long that will take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.flow.mixed import Mixed
from tests.flow.stage import BILLS, ORDERS, Stage, half_open, run_of

from holdgate.core import LimiterSnapshot, Override
from holdgate.flow.backlog import BacklogBook, DrainRate, SourceBacklog, demand_of, paced, share_of
from holdgate.flow.message import Backlog, Partition, Queue
from holdgate.flow.snapshot import Snapshot

OTHER = Partition("orders", 1)


def seen(source: Partition | Queue, group: str, willing: int | None) -> SourceBacklog:
    return SourceBacklog(source, group, Backlog(willing), 0.0, willing)


def share(stage: Stage) -> float:
    snapshot = stage.engine.snapshot(stage.now)
    return share_of(snapshot.sources.get(ORDERS), snapshot)


def test_the_share_follows_the_circuit() -> None:
    """All of a closed one, nothing in a hold, the ramp's part of its full limit on the way back."""
    stage = Stage("payments")
    stage.gates[0].circuit.set_full(8, 0.0)
    assert share(stage) == 1.0
    stage.trip()
    assert share(stage) == 0.0
    half_open(stage)
    assert share(stage) == 1 / 8


def test_a_source_that_falls_back_is_drained_and_one_that_is_gone_is_not() -> None:
    """The fallback does the work."""
    stage = Stage("payments")
    assert share_of(None, stage.engine.snapshot(0.0)) == 0.0
    stage.trip()
    snapshot = stage.engine.snapshot(stage.now)
    falling = snapshot.sources[ORDERS].__class__(ORDERS, False, (), None, True, 0, 0, ("payments",), falling_back=True)
    assert share_of(falling, snapshot) == 1.0


def test_of_several_needs_the_smallest_share_counts() -> None:
    """A message needs both."""
    stage = Stage("mail", "payments")
    for gate in stage.gates:
        gate.circuit.set_full(8, 0.0)
    stage.trip("mail")
    half_open(stage, "mail")
    assert share(stage) == 1 / 8


def test_demand_is_never_less_than_one() -> None:
    """Nothing is scaled to zero while it is held; what has no group goes by its queue."""
    bills = Queue("bills")
    assert demand_of([seen(ORDERS, "shop", 0), seen(OTHER, "shop", 30), seen(bills, "", 0), seen(BILLS, "late", None)]) == {
        "shop": 30,
        "bills": 1,
        "late": 1,
    }
    assert demand_of([]) == {}


def test_an_estimate_is_what_waits_by_what_ends() -> None:
    """Ten a second end and nothing arrives: a hundred take ten seconds."""
    rate = DrainRate()
    assert rate.drained_in(1.0) == 0.0
    rate.look(0.0, 0, 200, 1.0)
    assert rate.drained_in(1.0) is None
    rate.look(10.0, 100, 100, 1.0)
    assert rate.drained_in(1.0) == 10.0


def test_what_arrives_meanwhile_is_taken_off() -> None:
    """And where more arrives than ends, there is no end to tell."""
    rate = DrainRate()
    rate.look(0.0, 0, 200, 1.0)
    rate.look(10.0, 100, 190, 1.0)  # 100 ended and 90 came: nine a second, of which three tenths count at first
    assert rate.drained_in(1.0) == pytest.approx(190 / (10 - 2.7))
    grows = DrainRate()
    grows.look(0.0, 0, 100, 1.0)
    grows.look(10.0, 10, 1000, 1.0)
    assert grows.drained_in(1.0) is None


def test_a_ramp_allows_its_share_of_what_the_worker_can_do() -> None:
    """Measured while nothing held it; in a hold nobody knows."""
    rate = DrainRate()
    rate.look(0.0, 0, 300, 1.0)
    rate.look(10.0, 100, 200, 1.0)
    rate.look(20.0, 100, 200, 0.0)
    assert rate.drained_in(0.0) is None
    assert rate.drained_in(0.25) == 200 / 2.5


def test_only_a_busy_worker_shows_what_it_can_do() -> None:
    """With nothing left over it waits for messages; in a ramp it is held back. What was measured last is taken then."""
    rate = DrainRate()
    rate.look(0.0, 0, 10, 0.5)
    rate.look(10.0, 20, 10, 0.5)
    assert rate.drained_in(0.5) == pytest.approx(10 / (2 - 0.6))
    rate.look(20.0, 30, 0, 1.0)
    rate.look(30.0, 40, 10, 1.0)
    assert rate._full is None


def test_a_new_measurement_moves_the_old_one_a_little() -> None:
    """One slow look makes no new worker."""
    rate = DrainRate()
    for at, ended, waiting in ((0.0, 0, 1000), (10.0, 100, 900), (20.0, 120, 880)):
        rate.look(at, ended, waiting, 1.0)
    assert rate._full == pytest.approx(10 + 0.3 * (2 - 10))
    rate.look(20.0, 500, 500, 1.0)  # no time has passed: nothing can be measured
    assert rate._full == pytest.approx(7.6)


def test_a_book_says_what_was_found_of_the_sources_that_are_here() -> None:
    """With the share of now, and not of when the broker was asked; a source that has gone is left out."""
    stage = Stage("payments", sources=(ORDERS, OTHER))
    book = BacklogBook("shop")
    for at, ended in ((0.0, 0), (10.0, 50)):
        stage.now = at
        book.note({ORDERS: Backlog(100 - ended), OTHER: Backlog(None), BILLS: Backlog(1)}, stage.engine.snapshot(at), {"orders": ended})
    found = book.read(stage.engine.snapshot(10.0))
    assert found == {
        ORDERS: SourceBacklog(ORDERS, "shop", Backlog(50), 10.0, 50, 10.0),
        OTHER: SourceBacklog(OTHER, "shop", Backlog(None), 10.0, None, 10.0),
    }
    stage.trip()
    held = book.read(stage.engine.snapshot(10.0))
    assert (held[ORDERS].willing, held[ORDERS].drained_in) == (0, None)
    assert BacklogBook("").read(stage.engine.snapshot(10.0)) == {}


def test_messages_that_others_pass_are_not_what_we_are_willing_to_drain() -> None:
    """An outage of one dependency must not scale up a worker that goes on with the rest. Nobody knows when all is drained."""
    stage = Mixed()
    book = BacklogBook("shop")
    for at, ended in ((0.0, 0), (10.0, 50)):
        book.note({ORDERS: Backlog(100 - ended)}, stage.engine.snapshot(at), {"orders": ended})
    assert book.read(stage.engine.snapshot(10.0))[ORDERS].drained_in == 10.0
    stage.trip("payments")
    stage.receive(8)
    stage.start_all()
    found = book.read(stage.engine.snapshot(10.0))[ORDERS]
    assert (found.willing, found.drained_in) == (46, None)


def test_a_broker_that_does_not_answer_is_not_drained() -> None:
    """Nothing is told while it is away; when it answers again, what waits has not just arrived."""
    stage = Stage("payments")
    book = BacklogBook("shop")

    def look(at: float, waiting: int | None, ended: int) -> float | None:
        stage.now = at
        snapshot = stage.engine.snapshot(at)
        book.note({ORDERS: Backlog(waiting)}, snapshot, {"orders": ended})
        return book.read(snapshot)[ORDERS].drained_in

    assert [look(0.0, 1000, 0), look(10.0, 900, 100)] == [None, 90.0]
    assert look(20.0, None, 200) is None
    assert look(30.0, 700, 300) == 70.0


def test_what_comes_with_a_new_partition_has_not_arrived() -> None:
    """A rebalance brings its backlog at once: that says nothing of what producers send."""
    stage = Stage("payments", sources=(ORDERS, OTHER))
    book = BacklogBook("shop")
    snapshot = stage.engine.snapshot(0.0)
    book.note({ORDERS: Backlog(1000)}, snapshot, {"orders": 0})
    stage.now = 10.0
    snapshot = stage.engine.snapshot(10.0)
    book.note({ORDERS: Backlog(900), OTHER: Backlog(5000)}, snapshot, {"orders": 100})
    assert book.read(snapshot)[ORDERS].drained_in == 590.0


# -- limits ---------------------------------------------------------------------------------------------------------------------------


def at_pace(stage: Stage, pace: float | None, override: Override | None = None) -> Snapshot:
    """A snapshot in which payments lets so many calls start in a second."""
    snapshot = stage.engine.snapshot(stage.now)
    limits = None if pace is None else LimiterSnapshot(0, None, pace, None, 990, 10, 3, "pace")
    dependencies = {**snapshot.dependencies, "payments": replace(snapshot.dependencies["payments"], limits=limits, override=override)}
    return replace(snapshot, dependencies=dependencies)


def test_an_estimate_goes_by_the_pace_of_what_is_needed() -> None:
    """And not by what the worker could do before. What was measured to be slower than the pace is believed."""
    stage = Stage("payments")
    book = BacklogBook("shop")
    for at, ended in ((0.0, 0), (10.0, 500)):
        stage.now = at
        book.note({ORDERS: Backlog(1000 - ended)}, stage.engine.snapshot(at), {"orders": ended})
    assert book.read(at_pace(stage, 5.0))[ORDERS].drained_in == 100.0
    assert book.read(at_pace(stage, 80.0))[ORDERS].drained_in == 10.0
    assert book.read(at_pace(stage, 5.0, Override.METRICS_ONLY))[ORDERS].drained_in == 10.0


def test_a_pace_alone_is_an_estimate() -> None:
    """Before anything was measured; in a hold nobody knows when it is let through again."""
    rate = DrainRate()
    rate.look(0.0, 0, 200, 1.0)
    assert rate.drained_in(1.0, 5.0) == 40.0
    assert rate.drained_in(0.0, 5.0) is None


def test_those_that_need_the_same_share_its_pace() -> None:
    """Three quarters wait in one source, so three quarters of the pace are its part."""
    stage = Stage("payments", sources=(ORDERS, BILLS))
    book = BacklogBook("shop")
    book.note({ORDERS: Backlog(3000), BILLS: Backlog(1000), Queue("gone"): Backlog(7)}, stage.engine.snapshot(0.0), {})
    found = book.read(at_pace(stage, 4.0))
    assert (found[ORDERS].drained_in, found[BILLS].drained_in) == (1000.0, 1000.0)
    assert (found[ORDERS].willing, found[BILLS].willing) == (180, 60)


def test_of_several_paces_the_slowest_counts() -> None:
    """A message needs both."""
    stage = Stage("mail", "payments")
    snapshot = at_pace(stage, 4.0)
    faster = replace(snapshot.dependencies["mail"], limits=LimiterSnapshot(0, None, 50.0, None, 1, 0, 0, "pace"))
    both = replace(snapshot, dependencies={**snapshot.dependencies, "mail": faster})
    assert paced({ORDERS: 400}, both) == {ORDERS: 0.01}


def test_demand_behind_a_pace_is_a_minute_of_it() -> None:
    """More workers get no more out of a dependency that is at its limit. Where less waits than that, it is all of it."""
    stage = Stage("payments")
    book = BacklogBook("shop")
    book.note({ORDERS: Backlog(100_000)}, stage.engine.snapshot(0.0), {})
    assert demand_of(book.read(at_pace(stage, 5.0)).values()) == {"shop": 300}
    assert demand_of(book.read(at_pace(stage, 5000.0)).values()) == {"shop": 100_000}
    assert demand_of(book.read(at_pace(stage, None)).values()) == {"shop": 100_000}
    book.note({ORDERS: Backlog(0)}, stage.engine.snapshot(0.0), {})
    assert demand_of(book.read(at_pace(stage, 5.0)).values()) == {"shop": 1}


def test_a_queue_that_is_empty_beside_one_that_waits_is_drained() -> None:
    """It has no part in the pace, and needs none."""
    stage = Stage("payments", sources=(ORDERS, BILLS))
    book = BacklogBook("shop")
    book.note({ORDERS: Backlog(100), BILLS: Backlog(0)}, stage.engine.snapshot(0.0), {})
    found = book.read(at_pace(stage, 5.0))
    assert (found[ORDERS].drained_in, found[BILLS].drained_in) == (20.0, 0.0)


# -- several sources ------------------------------------------------------------------------------------------------------------------


def drained(stage: Stage, *looks: tuple[int, int, dict[str, int]], pace: float | None = None) -> float | None:
    """In how many seconds ORDERS and OTHER are empty, after looks ten seconds apart: what waits in each, and what has ended."""
    book = BacklogBook("shop")
    for at, (one, other, ended) in enumerate(looks):
        stage.now = 10.0 * at
        book.note({ORDERS: Backlog(one), OTHER: Backlog(other)}, stage.engine.snapshot(stage.now), ended)
    return book.read(at_pace(stage, pace))[ORDERS].drained_in


def test_partitions_of_a_topic_are_drained_together() -> None:
    """A hundred have ended in ten seconds, and none before; forty wait, in both of them."""
    stage = Stage("payments", sources=(ORDERS, OTHER))
    assert drained(stage, (100, 40, {}), (30, 10, {"orders": 100})) == 4.0


@pytest.mark.parametrize(("held", "seconds"), [(ORDERS, 40 / 2.5), (OTHER, 40 / 7.5)])
def test_a_partition_that_is_held_lowers_the_share_of_its_topic(held: Partition, seconds: float) -> None:
    """By how much waits in it: thirty in the one, ten in the other, where ten a second may end."""
    stage = Stage("payments", sources=(ORDERS, OTHER))
    book = BacklogBook("shop")
    for at, (one, other, ended) in enumerate(((100, 40, 0), (30, 10, 100))):
        stage.now = 10.0 * at
        book.note({ORDERS: Backlog(one), OTHER: Backlog(other)}, stage.engine.snapshot(stage.now), {"orders": ended})
    stage.engine.hold(held)
    stage.turn()
    assert book.read(stage.engine.snapshot(stage.now))[ORDERS].drained_in == pytest.approx(seconds)


def test_partitions_of_a_topic_share_a_pace() -> None:
    """Four a second for both of them, which is ten seconds for forty."""
    stage = Stage("payments", sources=(ORDERS, OTHER))
    assert drained(stage, (30, 10, {}), pace=4.0) == pytest.approx(10.0)


def test_of_several_paces_the_slowest_counts_whichever_comes_first() -> None:
    """And a need without a pace says nothing of the others."""
    stage = Stage("mail", "payments", "search")
    snapshot = stage.engine.snapshot(0.0)
    for paces, rate in (((None, 2.0, 10.0), 0.02), ((10.0, 2.0, None), 0.02), ((2.0, None, 10.0), 0.02)):
        limits = {
            name: None if pace is None else LimiterSnapshot(0, None, pace, None, 9, 1, 0, "pace")
            for name, pace in zip(("mail", "payments", "search"), paces, strict=True)
        }
        dependencies = {name: replace(circuit, limits=limits[name]) for name, circuit in snapshot.dependencies.items()}
        assert paced({ORDERS: 100}, replace(snapshot, dependencies=dependencies)) == {ORDERS: pytest.approx(rate)}


def test_sources_of_different_needs_have_their_own_paces() -> None:
    """Bills wait for mail, and orders for payments."""
    stage = Stage("mail", "payments", run=run_of({"orders": ["payments"], "bills": ["mail"]}), sources=(ORDERS, BILLS))
    snapshot = stage.engine.snapshot(0.0)
    limits = LimiterSnapshot(0, None, 5.0, None, 9, 1, 0, "pace")
    dependencies = {name: replace(circuit, limits=limits) for name, circuit in snapshot.dependencies.items()}
    assert paced({ORDERS: 100, BILLS: 50}, replace(snapshot, dependencies=dependencies)) == {ORDERS: 0.05, BILLS: 0.1}


def test_what_arrives_is_a_mean_that_follows() -> None:
    """Nineteen a second came at first, and then nine."""
    rate = DrainRate()
    for at, ended, waiting in ((0.0, 0, 100), (10.0, 100, 190), (20.0, 200, 180)):
        rate.look(at, ended, waiting, 1.0)
    assert rate.drained_in(1.0) == pytest.approx(180 / (10 - (5.7 + 0.3 * (9 - 5.7))))


def test_demand_of_a_group_is_that_of_all_its_sources() -> None:
    """Two partitions of one topic."""
    assert demand_of([seen(ORDERS, "shop", 20), seen(OTHER, "shop", 30)]) == {"shop": 50}


def test_a_source_in_which_nothing_waits_wants_nothing() -> None:
    """Whether its topic waits elsewhere or not; nobody knows yet when a source is drained that was looked at by hand."""
    stage = Stage("payments", sources=(ORDERS, OTHER))
    book = BacklogBook("shop")
    for at in (0.0, 10.0):
        book.note({ORDERS: Backlog(0), OTHER: Backlog(0)}, stage.engine.snapshot(at), {})
    found = book.read(stage.engine.snapshot(10.0))

    assert [(each.willing, each.drained_in) for each in found.values()] == [(0, 0.0), (0, 0.0)]
    assert SourceBacklog(ORDERS, "shop", Backlog(0), 0.0, 0).drained_in is None


def test_what_arrives_in_partitions_that_stay_is_taken_off() -> None:
    """Ten a second end and nine come, of which three tenths count at first."""
    assert drained(Stage("payments", sources=(ORDERS, OTHER)), (500, 500, {}), (500, 490, {"orders": 100})) == pytest.approx(990 / 7.3)


def test_what_arrives_while_the_broker_does_not_answer_is_taken_off() -> None:
    """The partitions are those that were known before it was away: ten a second end, and nine come."""
    stage = Stage("payments")
    book = BacklogBook("shop")
    for at, waiting, ended in ((0.0, 1000, 0), (10.0, None, 100), (20.0, 980, 200)):
        stage.now = at
        book.note({ORDERS: Backlog(waiting)}, stage.engine.snapshot(at), {"orders": ended})

    assert book.read(stage.engine.snapshot(20.0))[ORDERS].drained_in == pytest.approx(980 / 7.3)
