"""Whole runs: what an outage costs, what baselines cost, and what does not grow."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from holdgate.core import CircuitSettings, State
from holdgate_lab.fleet import WORKER_KINDS, RunOutcome, simulate
from holdgate_lab.fleet.scenario import DependencySpec, Fault, MemberEvent, QueueSpec, Scenario, TopicSpec
from holdgate_lab.fleet.simulation import running
from holdgate_lab.fleet.strategy import strategy_of
from holdgate_lab.fleet.world import World

PAYMENTS = DependencySpec(name="payments")
MAIL = DependencySpec(name="mail")
DOWN = Fault(at=5.0, until=20.0, dependency="payments", kind="refuse")
OUTAGE = Scenario(
    name="outage",
    seconds=60.0,
    topics=(TopicSpec(name="orders", needs=("payments",), partitions=4, backlog=1200),),
    dependencies=(PAYMENTS,),
    faults=(DOWN,),
)


def between(outcome: RunOutcome, name: str, first: float, last: float) -> int:
    """How many messages of a topic or queue were processed in samples of this time."""
    return sum(sample.streams[name].processed for sample in outcome.samples if first < sample.at <= last)


def test_the_same_seed_gives_the_same_outcome() -> None:
    """To the last figure; another seed another one."""
    assert simulate(OUTAGE, seed=3) == simulate(OUTAGE, seed=3)
    assert simulate(OUTAGE, seed=3) != simulate(OUTAGE, seed=4)


def test_an_outage_is_free() -> None:
    """Nothing is lost, rejected or processed twice, and it costs five calls, those in flight, and the probes."""
    outcome = simulate(OUTAGE, seed=1)  # another seed's jitter may want one probe more
    totals = outcome.totals
    opened = sum(sample.dependencies["payments"].state is State.OPEN for sample in outcome.samples)
    assert (totals.processed, totals.lost, totals.dead_lettered, totals.duplicates, totals.rebalances) == (1200, 0, 0, 0, 0)
    assert outcome.violations == ()
    assert opened > 10
    probes = 2  # after 5 s and after 10 more
    assert totals.wasted_calls <= 5 + 4 - 1 + probes


def test_a_queue_meets_an_outage_without_a_count() -> None:
    """Its messages wait unsettled; the broker counts no delivery."""
    queue = QueueSpec(name="tasks", needs=("payments",), backlog=400)
    totals = simulate(replace(OUTAGE, topics=(), queues=(queue,))).totals
    assert (totals.processed, totals.delivery_counts, totals.redeliveries) == (400, 0, 0)


def test_naive_consumers_lose_their_messages_to_the_dead_letters() -> None:
    """Every message that meets the outage is given up after five attempts."""
    totals = simulate(OUTAGE, "naive").totals
    assert totals.wrongly_dead_lettered > 500
    assert totals.wasted_calls >= 5 * totals.wrongly_dead_lettered


def test_naive_consumers_burn_the_delivery_limit_of_a_queue() -> None:
    """Each message is given back at once, twenty times, and is dead at the next."""
    queue = QueueSpec(name="tasks", needs=("payments",), backlog=3000)
    totals = simulate(replace(OUTAGE, topics=(), queues=(queue,)), "naive").totals
    assert totals.wrongly_dead_lettered > 100
    assert totals.highest_delivery_count == 21


def test_a_step_to_the_full_rate_costs_more_than_a_ramp() -> None:
    """The dependency comes back with 4 % of its capacity: one probe or ten say nothing of what it can bear."""
    circuit = CircuitSettings(open_duration_max=30.0, slow_call_duration=0.5)
    weak = Scenario(
        name="weak",
        seconds=40.0,
        workers=4,
        concurrency=16,
        order="none",
        topics=(TopicSpec(name="orders", needs=("payments",), partitions=4, backlog=100_000),),
        dependencies=(replace(PAYMENTS, capacity=64, circuit=circuit),),
        faults=(
            Fault(at=0.0, until=10.0, dependency="payments", kind="refuse"),
            Fault(at=10.0, until=40.0, dependency="payments", kind="capacity", ratio=0.04),
        ),
    )
    failed = {
        kind: sum(sample.dependencies["payments"].failures for sample in simulate(weak, kind).samples if sample.at > 10.0)
        for kind in WORKER_KINDS
        if kind != "naive"  # it costs most by far, and that is no news
    }
    assert failed["holdgate"] <= 20
    assert failed["one probe"] > 5 * failed["holdgate"]
    assert failed["ten probes"] > 5 * failed["holdgate"]


def test_what_needs_another_dependency_goes_on_at_its_full_rate() -> None:
    """Payments are down for fifteen seconds; the topic that needs mail alone does not notice."""
    mail = TopicSpec(name="mails", needs=("mail",), partitions=2, backlog=10_000)
    outcome = simulate(replace(OUTAGE, topics=(*OUTAGE.topics, mail), dependencies=(PAYMENTS, MAIL)))
    assert between(outcome, "orders", 6.0, 20.0) == 0
    assert between(outcome, "mails", 6.0, 20.0) >= 0.95 * 14 * between(outcome, "mails", 2.0, 5.0) / 3


def test_the_full_rate_is_back_within_the_wait_and_the_ramp() -> None:
    """95 % of the rate before the outage, once the dependency is healthy for the longest wait and the ramp."""
    outcome = simulate(replace(OUTAGE, topics=(replace(OUTAGE.topics[0], backlog=10_000),)))
    before = between(outcome, "orders", 1.0, 4.0) / 3
    longest_wait, ramp = 1.2 * 20.0, 2.0
    after = [sample.streams["orders"].processed for sample in outcome.samples if sample.at > 20.0 + longest_wait + ramp]
    assert len(after) > 10
    assert min(after) >= 0.95 * before * 0.98  # a sample cuts through calls at both ends


def test_a_member_that_is_killed_in_the_outage_loses_nothing() -> None:
    """Its partitions go to the others, who hold them as well."""
    members = (MemberEvent(at=8.0, worker=1, kind="kill"), MemberEvent(at=30.0, worker=1, kind="join"))
    outcome = simulate(replace(OUTAGE, workers=3, members=members))
    assert outcome.violations == ()
    assert (outcome.totals.processed, outcome.totals.lost) == (1200, 0)


def test_timelines_count_from_sample_to_sample() -> None:
    """What the samples have processed together is the total."""
    outcome = simulate(OUTAGE)
    assert sum(sample.streams["orders"].processed for sample in outcome.samples) == outcome.totals.processed
    assert sum(sample.dependencies["payments"].calls for sample in outcome.samples) == outcome.totals.calls
    assert [sample.at for sample in outcome.samples] == [float(second) for second in range(1, 61)]


def test_progress_is_told_and_may_end_the_run() -> None:
    """About once a sample; what it raises reaches the caller."""
    told: list[float] = []
    simulate(OUTAGE, progress=told.append)
    assert 20 < len(told) <= 60
    assert told == sorted(told)

    def stop(_now: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(OUTAGE, progress=stop)


# -- what does not grow ---------------------------------------------------------------------------------------------------------------


def test_an_hour_of_hold_takes_no_memory() -> None:
    """Two workers hold a backlog before a dead dependency: what is allocated after ten minutes is all there is after an hour."""
    scenario = Scenario(
        name="hold",
        seconds=3700.0,
        sample_every=4000.0,
        workers=2,
        topics=(TopicSpec(name="orders", needs=("payments",), partitions=8, backlog=4000),),
        queues=(QueueSpec(name="tasks", needs=("payments",), backlog=200),),
        dependencies=(PAYMENTS,),
        faults=(Fault(at=1.0, until=3700.0, dependency="payments", kind="refuse"),),
    )
    sizes: list[int] = []
    with running(World(scenario, strategy_of("holdgate"), 0)) as world:
        tracemalloc.start()
        try:
            for minute in (10, 20, 30, 40, 50, 60):
                while world.schedule.step(minute * 60.0):
                    pass
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert world.checker.processed < 400
    assert max(sizes[1:]) - sizes[0] < 4096, sizes


def calls_per_message(sources: int, dependencies: int) -> float:
    """Python calls of core and flow for each message, in peace."""
    names = [f"dependency-{number}" for number in range(dependencies)]
    scenario = Scenario(
        name="wide",
        seconds=30.0,
        sample_every=100.0,
        concurrency=64,
        order="source",
        topics=tuple(
            TopicSpec(name=f"topic {number}", needs=(name,), partitions=sources // dependencies, backlog=100 * sources // dependencies)
            for number, name in enumerate(names)
        ),
        dependencies=tuple(DependencySpec(name=name) for name in names),
    )
    with running(World(scenario, strategy_of("holdgate"), 0)) as world:
        while world.schedule.step(1.0):  # assigned, and at work
            pass
        before, calls = world.checker.processed, 0

        def count(frame: FrameType, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event == "call" and ("/core/" in frame.f_code.co_filename or "/flow/" in frame.f_code.co_filename)

        sys.setprofile(count)
        try:
            while world.schedule.step(2.0):
                pass
        finally:
            sys.setprofile(None)
        processed = world.checker.processed - before
    assert processed > 100
    return calls / processed


def test_a_thousand_sources_cost_a_message_what_a_hundred_do() -> None:
    """With twenty dependencies: neither the sources nor what waits is looked through."""
    assert calls_per_message(1000, 20) <= 1.25 * calls_per_message(100, 20)


def test_a_backlog_of_a_million_before_a_weak_dependency() -> None:
    """At 60 % of its capacity: the ramp goes on with what it can bear, nothing fails for long, and memory stays that of the inboxes."""
    circuit = CircuitSettings(open_duration_max=30.0, slow_call_duration=0.5)
    scenario = Scenario(
        name="million",
        seconds=40.0,
        workers=4,
        concurrency=16,
        order="none",
        inbox=50,
        topics=(TopicSpec(name="orders", needs=("payments",), partitions=8, backlog=1_000_000),),
        dependencies=(replace(PAYMENTS, capacity=64, circuit=circuit),),
        faults=(
            Fault(at=0.0, until=10.0, dependency="payments", kind="refuse"),
            Fault(at=10.0, until=40.0, dependency="payments", kind="capacity", ratio=0.6),
        ),
    )
    outcome = simulate(scenario)
    possible = 0.6 * 64 / 0.05  # calls a second
    assert outcome.violations == ()
    assert outcome.totals.produced == 1_000_000
    assert between(outcome, "orders", 25.0, 40.0) >= 0.9 * 15 * possible
    assert sum(sample.dependencies["payments"].failures for sample in outcome.samples if sample.at > 10.0) <= 20
