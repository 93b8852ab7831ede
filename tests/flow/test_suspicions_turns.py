"""Several suspected outages together, whose message is tried next, and when it is looked at again."""

from __future__ import annotations

from typing import Any

from tests.flow.mixed import Mixed
from tests.flow.stage import ORDERS, Stage, partitions, returned, unclaimed
from tests.flow.test_suspicions import ERROR, STEADY, by_name, suspecting, working

from holdgate.flow.events import OutageOver, OutageSuspected
from holdgate.flow.message import Delivery
from holdgate.flow.policy import Verdict

ORDERS_3, BILLS_3 = partitions(3), partitions(3, "bills")


def two_handlers() -> tuple[Stage, list[Delivery[Any]]]:
    """Each of two topics has a handler of its own, and both run into an outage; what failed, in the order of its sources."""
    stage = Stage(run=by_name(apart=True), sources=[*ORDERS_3, *BILLS_3])
    for source in (ORDERS_3[0], BILLS_3[0]):
        for _ in range(10):
            stage.receive(1, source)
            stage.engine.succeeded(stage.start(), 0.0)
    stage.turn()
    stage.events()
    for source in [*ORDERS_3, *BILLS_3]:
        stage.receive(1, source, 20)
    failed = stage.start_all()
    for delivery in failed:
        stage.engine.settle(delivery, unclaimed(), "ValueError", stage.now)
    stage.turn()
    return stage, failed


def told(stage: Stage, kind: type) -> list[Any]:
    return [event.sources for event in stage.events() if isinstance(event, kind)]


def test_two_handlers_in_an_outage_are_both_announced_each_with_its_own_sources() -> None:
    """One is no news of the other."""
    stage, _ = two_handlers()

    assert told(stage, OutageSuspected) == [tuple(ORDERS_3), tuple(BILLS_3)]


def test_two_outages_that_are_over_in_one_turn_are_both_announced() -> None:
    """And their sources go on."""
    stage, failed = two_handlers()
    stage.events()
    stage.turn(8.0)
    for delivery in stage.start_all():
        if delivery in (failed[0], failed[3]):
            stage.engine.settle(delivery, returned(0), "", stage.now)
    results = [stage.assignment(source).results for source in (ORDERS_3[0], BILLS_3[0])]
    stage.turn()

    assert told(stage, OutageOver) == [tuple(ORDERS_3), tuple(BILLS_3)]
    assert [each.suspected for each in results] == [False, False]


def test_what_is_in_hand_of_an_outage_is_looked_at_again_immediately_until_it_was_announced() -> None:
    """Then when a message is tried, or in a minute; with no outage never."""
    stage = working()
    suspicions = stage.engine._suspicions
    assert suspicions.next_deadline() is None
    suspecting(stage)
    (results,) = suspicions.pending
    results.next_try = 1000.0
    assert suspicions.next_deadline() == 60.0
    suspicions._announced_at.clear()
    assert suspicions.next_deadline() == 0.0


def test_a_run_that_ends_before_anything_was_announced_leaves_nothing_behind() -> None:
    """Nor does one that ends after that: there may be a thousand runs in the life of a worker."""
    for announced in (True, False):
        stage, _ = suspecting()
        suspicions = stage.engine._suspicions
        if not announced:
            suspicions._announced_at.clear()
        stage.engine.runs.pop(stage.run)

        assert suspicions.look(stage.now + 1.0) == []
        assert (suspicions.pending, suspicions._announced_at) == ({}, {})


def test_how_many_failed_is_of_all_results_since_the_first_failure() -> None:
    """One succeeded among those that failed: it is one of them."""
    stage = working(order="none", concurrency=20, sources=[ORDERS])
    stage.receive(6)
    started = stage.start_all()
    for delivery in started[:2]:
        stage.end(delivery, unclaimed(0))
    stage.end(started[2], returned(0))
    for delivery in started[3:]:
        stage.end(delivery, unclaimed(0))
    (event,) = [event for event in stage.events() if isinstance(event, OutageSuspected)]

    assert (event.failed, event.of) == (5, 6)


def test_sources_take_turns_with_a_message_that_was_never_tried() -> None:
    """All of them have some: a bad one is in one source, and must not be the only one that is tried."""
    stage = working(order="none", concurrency=20)
    for source in partitions(3):
        stage.receive(1, source)
    for delivery in stage.start_all():
        assert stage.end(delivery, unclaimed(0)) is Verdict.AGAIN
    for source in partitions(3):
        stage.receive(3, source, 100)
    tried = []
    for _ in range(12):
        stage.turn(0.5)
        for delivery in stage.start_all():
            if delivery.position >= 100 and delivery.attempt == 1:
                tried.append(delivery.source.number)
            stage.end(delivery, unclaimed(0))

    assert tried[:3] == [2, 0, 1]


def test_a_failure_after_an_outage_that_is_over_begins_none() -> None:
    """Of messages with needs of their own: the type of failure still looks like an outage, and its evidence is not enough any more."""
    stage = Mixed("none", concurrency=20, retry=STEADY)
    stage.receive(20)
    started = stage.start_all()
    stage.succeed(*started[1:10:2])
    for delivery in started[:8:2]:
        stage.end(delivery, unclaimed(1, ERROR))
    results = stage.needing("payments").results
    assert list(stage.engine._suspicions.pending) == [results]
    stage.end(started[8], returned(1))
    assert not stage.engine._suspicions.pending

    assert stage.end(started[10], unclaimed(1, ERROR)) is Verdict.AGAIN
    assert not stage.engine._suspicions.pending


def test_what_is_suspected_was_not_announced_before() -> None:
    """So that its end is announced only if its beginning was."""
    stage = working()
    for source in partitions(3):
        stage.receive(1, source)
    for delivery in stage.start_all():
        stage.engine.settle(delivery, unclaimed(0), "ValueError", stage.now)
    (suspicion,) = stage.engine._suspicions.pending.values()
    assert suspicion.announced is False
    stage.turn()
    assert suspicion.announced is True
