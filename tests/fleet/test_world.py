"""Whole fleets on a virtual clock: the figures, and the table of failures as far as the fold can show it."""

from __future__ import annotations

import functools
from itertools import pairwise

import pytest
from tests.fleet.world import NAME, Worker, World
from tests.lengths import IS_LONG

from holdgate.core import State
from holdgate.core.guidance import Phase
from holdgate.fleet import (
    ConductorChanged,
    FleetLogCameBack,
    FleetLogFellSilent,
    FleetOpened,
    FleetRecovered,
    FleetSettings,
    LocalCauseFound,
    Word,
)
from holdgate.fleet.records import Bye, FleetRecord, Lead, decode, encode

START = 35.0

# How long the outage is, and what it may cost: 27 calls in the first minute with every seed, and two for each later one, which takes a
# second of a core and is like the one before. `make test-long` has ten minutes with five seeds.
OUTAGES = [(seed, 600, 50) for seed in range(5)] if IS_LONG else [(0, 180, 37), (1, 60, 33)]


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work out once what a record says, which twenty workers read: a record is a value. Ten minutes of outage have 160,000 readings."""
    monkeypatch.setattr("holdgate.fleet.member.decode", functools.lru_cache(maxsize=1000)(decode))


def outage(world: World, length: float) -> None:
    world.down = lambda now: START <= now < START + length


def conductors(world: World) -> list[str]:
    """Who conducts, as each living worker that can read the log sees it."""
    agreements = [w.member.snapshot(world.now + w.clock_offset).agreements[0] for w in world.workers if w.alive and not w.cut]
    return sorted({str(each.conductor) for each in agreements})


def own_conductors(world: World) -> list[Worker]:
    """Who conducts, as it sees it itself."""
    return [w for w in world.workers if w.alive and w.member.snapshot(w.member._latest).agreements[0].own]


def news(world: World, kind: type) -> list[object]:
    return [event for worker in world.workers for event in worker.member.take_news() if isinstance(event, kind)]


def test_twenty_workers_pay_for_one() -> None:
    """20 workers with 10 calls a second learn of a full outage with 27 failed calls at most, and one at a time probes for all."""
    world = World(20, seed=3)
    outage(world, 15)
    world.run(START + 15)
    assert world.result.failed - world.probes <= 27
    assert world.probes <= 4
    assert world.result.most_probes == 1
    assert world.run_until_closed(START + 15 + 20) is not None
    assert world.result.most_over <= 0
    assert world.result.failed_after == 0
    assert all(len(data) <= 200 for _, data in world.log)
    assert len(world.log) / world.now <= 20


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "length", "calls"), OUTAGES)
def test_ten_minutes_cost_fifty_calls(seed: int, length: int, calls: int) -> None:
    """Ten minutes of outage cost 20 workers 50 failed calls, probes included, and a shorter one less; all are back within 40 seconds."""
    world = World(20, seed=seed)
    outage(world, length)
    world.run(START + length)
    assert world.result.failed <= calls
    assert world.result.most_probes == 1
    assert world.run_until_closed(START + length + 40) is not None
    assert world.result.most_over <= 0


def test_a_quiet_hour_writes_less_than_a_megabyte() -> None:
    """When nothing happens, 20 workers write less than 500 kB an hour, with 100 bytes more for each record in the log's own format."""
    world = World(20, seed=1, every=60.0)
    world.run(60)
    world.result.records.clear()
    world.run(360)
    assert 10 * sum(size + 100 for _, size in world.result.records) < 1_000_000


def test_a_dependency_that_fails_three_calls_in_ten_does_not_open_the_fleet() -> None:
    """At a failure rate of 0.3 circuits open by themselves now and then, and the fleet stays as it is."""
    world = World(20, seed=100)
    world.run(START)
    world.failure_rate = 0.3
    before = len(world.log)
    world.run(START + 20)
    assert news(world, FleetOpened) == []
    assert (len(world.log) - before) / 20 <= 20


def test_one_sick_worker_is_alone() -> None:
    """A worker whose own network is broken opens alone, and says so; the others go on."""
    world = World(5, seed=1)
    world.run(START)
    world.workers[0].sick = True
    world.run(START + 10)
    assert [worker.circuit.state is State.CLOSED for worker in world.workers] == [False, True, True, True, True]
    found = news(world, LocalCauseFound)
    assert [(event.callers, event.bad) for event in found if isinstance(event, LocalCauseFound)] == [(5, 1)]


@pytest.mark.parametrize("seconds", [5.0, 30.0])
def test_a_frozen_conductor_is_replaced_and_changes_nothing_when_it_wakes(seconds: float) -> None:
    """Others take over; the one that was frozen finds out by reading, and there is one conductor again."""
    world = World(6, seed=2)
    outage(world, 60)
    world.run(START + 4)
    [frozen] = own_conductors(world)
    frozen.frozen_until = world.now + seconds
    world.run(world.now + seconds + 3)
    assert len(conductors(world)) == 1
    assert world.result.most_probes <= 2
    assert world.run_until_closed(START + 60 + 45) is not None


@pytest.mark.parametrize("when", ["opening", "waiting", "ramping"])
def test_a_killed_conductor_is_replaced(when: str) -> None:
    """Whenever the conductor dies (with its claim, in a wait, in the ramp), another one brings the fleet back."""
    world = World(6, seed=4)
    outage(world, 20)
    world.run(START + (8.0 if when == "waiting" else 0.0))
    while not own_conductors(world) or (when == "ramping" and world.limit < 2):
        world.run(world.now + 0.02)
    own_conductors(world)[0].alive = False
    before = conductors(world)
    world.run(world.now + 6)
    assert conductors(world) != before
    assert world.run_until_closed(START + 90) is not None


def test_half_of_a_fleet_that_is_cut_off_goes_by_its_own_rules() -> None:
    """Who cannot read the log is on its own after six seconds, and the others still agree; back at the log, all do."""
    world = World(6, seed=5)
    outage(world, 60)
    world.run(START + 5)
    for worker in world.workers[:3]:
        worker.cut = True
    world.run(world.now + 12)
    assert {worker.member.snapshot(0).agreements[0].phase for worker in world.workers[:3]} == {Phase.LOCAL.value}
    assert len(news(world, FleetLogFellSilent)) == 3
    assert len(conductors(world)) == 1
    for worker in world.workers[:3]:
        worker.cut = False
    world.run(world.now + 8)
    assert len(news(world, FleetLogCameBack)) == 3
    assert len(conductors(world)) == 1
    assert world.run_until_closed(START + 60 + 45) is not None


def test_without_a_log_everybody_is_alone() -> None:
    """With a log that is dead from the beginning no circuit is ever guided, and each opens and closes by its own rules."""
    world = World(4, seed=6)
    world.log_is_dead = True
    outage(world, 20)
    world.run(START + 20)
    assert all(worker.circuit.snapshot(world.now).guidance is None for worker in world.workers)
    assert world.result.failed >= 4 * 5
    assert world.run_until_closed(START + 60) is not None


def test_clocks_an_hour_apart_agree() -> None:
    """No clock of another machine is compared, so it does not matter what it says."""
    world = World(6, seed=7, offsets=True)
    outage(world, 20)
    world.run(START + 10)
    assert len(conductors(world)) == 1
    assert world.run_until_closed(START + 20 + 30) is not None


def test_two_fleets_on_one_log_do_not_meet() -> None:
    """Workers of another name are none of its members, and its outage is none of theirs."""
    world = World(4, seed=8)
    other = World(4, seed=9, fleet=FleetSettings(name="other"))
    outage(world, 10)
    for until in range(1, 60):
        world.run(float(until))
        other.run(float(until))
        for mine, theirs in ((world, other), (other, world)):
            for worker in mine.workers:
                worker.member.heard([data for at, data in theirs.log if until - 1 <= at < until], float(until))
    assert news(other, FleetOpened) == []
    assert all(len(worker.member.snapshot(60.0).members) == 4 for worker in (*world.workers, *other.workers))


def test_a_slow_log_makes_a_slow_ramp() -> None:
    """With two seconds to the log and back a stage lasts eight, and no worker is ahead of the fleet."""
    world = World(4, seed=10, hop=(2.0, 2.0), full=2)
    outage(world, 20)
    world.run(START + 20)
    assert world.run_until_closed(START + 120) is not None
    stages = [(at, said.stage) for at, data in world.log if isinstance(said := world.said(data), Lead) and said.phase == "ramp"]
    firsts = [at for index, (at, stage) in enumerate(stages) if index == 0 or stages[index - 1][1] != stage]
    assert all(later - earlier >= 8 for earlier, later in pairwise(firsts))


def test_an_operator_holds_and_releases_the_fleet() -> None:
    """A hold stops everybody, whatever their own calls say; after the release one worker probes, and all come back."""
    world = World(5, seed=11)
    world.run(START)
    first = world.workers[0].member
    first.command(NAME, Word.HOLD, reason="a release", actor="ada", lasts=None, now=world.now)
    world.turn(world.workers[0])
    world.run(START + 20)
    assert {worker.circuit.state for worker in world.workers} == {State.OPEN}
    late = world.join()
    world.run(world.now + 30)
    assert late.circuit.state is State.OPEN
    assert late.member.snapshot(world.now).agreements[0].reason == "a release"
    first.command(NAME, Word.RELEASE, reason="", actor="ada", lasts=None, now=world.now)
    world.turn(world.workers[0])
    assert world.run_until_closed(world.now + 20) is not None
    assert world.result.failed == 0
    assert world.result.most_probes == 1


def test_a_hold_that_ends_by_itself_needs_nobody() -> None:
    """After its time the fleet comes back by a probe and a ramp."""
    world = World(5, seed=12)
    world.run(START)
    world.workers[0].member.command(NAME, Word.FORCE_OPEN, reason="", actor="ada", lasts=10.0, now=world.now)
    world.turn(world.workers[0])
    world.run(START + 9)
    assert {worker.circuit.state for worker in world.workers} == {State.OPEN}
    assert world.run_until_closed(START + 30) is not None


@pytest.mark.parametrize("ends", ["by itself", "by a release"])
def test_after_a_long_hold_one_worker_probes_for_all(ends: str) -> None:
    """Nobody takes the time in which nobody was to get on for a fleet that is stuck: then each would come back by itself."""
    world = World(5, seed=12, full=2)
    world.run(START)
    first = world.workers[0]
    first.member.command(NAME, Word.HOLD, reason="", actor="ada", lasts=300.0 if ends == "by itself" else None, now=world.now)
    world.turn(first)
    world.run(START + 299)
    if ends == "by a release":
        first.member.command(NAME, Word.RELEASE, reason="", actor="ada", lasts=None, now=world.now)
        world.turn(first)
    assert world.run_until_closed(START + 320) is not None
    assert world.probes == 1
    assert [said.phase for _, data in world.log if isinstance(said := world.said(data), Lead)][-1] == "up"


def test_a_rolling_deployment_in_an_outage_loses_nothing() -> None:
    """Workers that leave in order, the conductor among them, are replaced by new ones, which find the outage in the log."""
    world = World(4, seed=13)
    outage(world, 40)
    world.run(START + 5)
    for worker in list(world.workers):
        world.append(worker.member.leave(world.now))
        worker.alive = False
        newcomer = world.join()
        world.run(world.now + 4)
        assert newcomer.circuit.state is not State.CLOSED
    assert len(conductors(world)) == 1
    assert world.run_until_closed(START + 40 + 45) is not None


def test_the_news_of_an_outage() -> None:
    """Each worker says once that the fleet has opened and has recovered, and who conducts."""
    world = World(4, seed=14)
    outage(world, 5)
    world.run(START + 30)
    found = [worker.member.take_news() for worker in world.workers]
    for each in found:
        kinds = [type(event) for event in each]
        assert kinds.count(FleetOpened) == kinds.count(FleetRecovered) == 1
    assert sum(isinstance(event, ConductorChanged) and event.own for each in found for event in each) >= 1


def test_a_stranger_that_floods_the_log_moves_nobody() -> None:
    """Ten thousand lines of a made-up worker, and as many of nobody, leave the fleet as it was."""
    world = World(4, seed=15)
    world.run(START)
    flood = [encode("fleet", FleetRecord("0" * 12, number, Bye())) for number in range(5000)] + [b"{"] * 5000
    for worker in world.workers:
        worker.member.heard(flood, world.now)
        assert worker.member.snapshot(world.now).skipped == 9000
    outage(world, 5)
    world.run(START + 2)
    assert len(conductors(world)) == 1
