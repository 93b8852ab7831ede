from __future__ import annotations

from dataclasses import replace

import pytest

from holdgate.core import State
from holdgate.core.states import Reason
from holdgate_lab.fleet.scenario import DependencySpec, Fault
from holdgate_lab.together.catalogue import TRIED
from holdgate_lab.together.playing import Play, play_together
from holdgate_lab.together.scenario import NAME, Happening, LogFault, Together

BEGINS, ENDS = 10.0, 30.0
SMALL = Together(
    name="small",
    seconds=ENDS + 60,
    workers=4,
    rate=5.0,
    faults=(Fault(at=BEGINS, until=ENDS, dependency=NAME, kind="refuse"),),
    settles=5.0,
)
# Short enough for every run of the tests; all of them with more seeds: make test-fleet.
QUICK = ("conductors are killed", "half is cut off", "hostile writers", "log stops in the outage")


def test_the_same_seed_is_the_same_run() -> None:
    """To the last transition; another seed is another one."""
    first, again, other = (play_together(SMALL, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.trace != other.trace


def test_a_fleet_opens_as_one_and_asks_once() -> None:
    """Fewer calls fail than in the same outage without the log, one probe at a time, and all are closed again."""
    together, alone = play_together(SMALL, 1), play_together(replace(SMALL, fleet=False), 1)
    assert together.violations == alone.violations == ()
    assert together.figures.probes < alone.figures.probes / 2
    assert together.figures.failed < alone.figures.failed
    assert together.figures.fleet_openings == 1
    assert together.figures.probes_at_once == 1
    assert together.figures.closed_after is not None
    assert Reason.FLEET in {moment.reason for moment in together.trace}


@pytest.mark.parametrize("kind", ["refuse", "cut"])
def test_with_a_dead_log_the_trace_is_that_of_workers_alone(kind: str) -> None:
    """To the last transition of the last worker."""
    dead = replace(SMALL, log_faults=(LogFault(at=0, kind=kind),))  # type: ignore[arg-type]
    assert play_together(dead, 3).trace == play_together(replace(SMALL, fleet=False), 3).trace


@pytest.mark.parametrize("at", [BEGINS + 0.15, BEGINS + 4, ENDS - 1, ENDS + 1, ENDS + 6], ids=lambda at: f"{at:g}")
def test_a_fleet_comes_back_after_a_crash_at_any_time(at: float) -> None:
    """Of whoever conducts then, or of the first worker."""
    for worker in (None, 0):
        outcome = play_together(replace(SMALL, happenings=(Happening(at=at, kind="kill", worker=worker),)), 4)
        assert outcome.violations == ()
        assert outcome.figures.closed_after is not None


def test_one_sick_worker_is_its_own_affair() -> None:
    """Nobody else opens."""
    outcome = play_together(replace(SMALL, faults=(), sick=((2, BEGINS, ENDS),)), 1)
    assert outcome.violations == ()
    assert {moment.worker for moment in outcome.trace} == {2}
    assert outcome.figures.fleet_openings == 0


def test_two_fleets_on_one_log_do_not_meet() -> None:
    """The outage of one opens nothing in the other."""
    outcome = play_together(replace(SMALL, second_fleet=3), 1)
    assert outcome.violations == ()
    assert max(moment.worker for moment in outcome.trace) < SMALL.workers


def test_a_worker_that_comes_into_an_outage_asks_nobody() -> None:
    """It reads what the others have agreed on, and follows with its first failure."""
    late = replace(SMALL, happenings=(Happening(at=2, kind="kill", worker=3), Happening(at=BEGINS + 8, kind="join", worker=3)))
    outcome = play_together(late, 1)
    opened = [moment for moment in outcome.trace if moment.worker == 3 and moment.state is State.OPEN]
    assert outcome.violations == ()
    assert opened[0].reason is Reason.FLEET
    assert opened[0].at < BEGINS + 10


def test_what_leaves_in_order_is_not_waited_for() -> None:
    """And a worker that goes while it conducts leaves the rest a conductor."""
    play = Play(replace(SMALL, happenings=(Happening(at=BEGINS + 5, kind="leave"),)), 5)
    outcome = play.run()
    assert outcome.violations == ()
    assert outcome.figures.closed_after is not None
    assert sum(not worker.is_alive for worker in play.workers.values()) == 1


def test_a_service_that_asks_to_be_left_alone_is_left_alone_by_all() -> None:
    """For forty seconds at a time: what one probe was told holds for the whole fleet, and nobody loses patience meanwhile."""
    outage = Fault(at=BEGINS, until=BEGINS + 90, dependency=NAME, kind="refuse")
    asks = replace(SMALL, seconds=BEGINS + 180, workers=6, faults=(outage,), retry_after=40.0)
    together, alone = play_together(asks, 1), play_together(replace(asks, fleet=False), 1)
    assert together.violations == ()
    assert together.figures.probes <= 3
    assert alone.figures.probes >= 6 * 3
    assert together.figures.closed_after is not None


def test_a_cold_cache_costs_a_fleet_no_more_calls_than_workers_alone() -> None:
    """Its places come back while it works: the fleet takes what there is, by how long calls take, and does not try what is too much."""
    down = Fault(at=5, until=12, dependency=NAME, kind="refuse")
    cold = Fault(at=12, until=60, dependency=NAME, kind="cold", ratio=0.05, warm_up=1000)
    service = DependencySpec(name=NAME, latency=0.2, timeout=1.0, capacity=48)
    world = replace(SMALL, seconds=90, workers=6, lanes=8, rate=None, dependency=service, faults=(down, cold))
    together, alone = play_together(world, 1), play_together(replace(world, fleet=False), 1)
    assert together.violations == alone.violations == ()
    assert together.figures.failed_after <= alone.figures.failed_after / 2
    assert together.figures.peak_in_flight <= 1.2 * 48
    assert together.figures.closed_after is not None


def test_a_fleet_of_twenty_writes_twenty_records_a_second_at_most() -> None:
    """At the opening, in the outage and in the ramp; and never more calls are in flight than its limit."""
    twenty = replace(SMALL, workers=20, rate=10.0, seconds=ENDS + 40)
    outcome = play_together(twenty, 1)
    assert outcome.violations == ()
    assert outcome.figures.records_a_second <= 20
    assert outcome.figures.overshoot == 0
    assert outcome.figures.failed - outcome.figures.probes <= 24


def test_a_service_that_fails_three_calls_in_ten_is_no_outage_for_a_fleet_of_twenty() -> None:
    """Each circuit opens by its own bad luck, again and again, and the log has no more records than in an outage.

    Ten circuits opened within two seconds here, some of them for the third time, and the fleet waited for a service that mostly worked.
    """
    errors = Fault(at=12, until=34, dependency=NAME, kind="errors", ratio=0.3)
    outcome = play_together(replace(SMALL, workers=20, rate=10.0, seconds=40, faults=(errors,)), 1)
    assert outcome.figures.opened >= 15
    assert outcome.figures.fleet_openings == 0
    assert outcome.figures.records_a_second <= 20


def test_an_outage_that_begins_with_errors_is_one_for_all() -> None:
    """Half of the circuits are open when it begins; they learn of it by their own probes, and one asks for all from then on."""
    some = Fault(at=2, until=14, dependency=NAME, kind="errors", ratio=0.3)
    down = Fault(at=14, until=40, dependency=NAME, kind="refuse")
    errors = replace(SMALL, workers=20, rate=10.0, seconds=75, faults=(some, down))
    together, alone = play_together(errors, 1), play_together(replace(errors, fleet=False), 1)
    assert together.figures.fleet_openings == 1
    assert together.figures.probes < alone.figures.probes / 2
    assert together.violations == ()


@pytest.mark.parametrize("name", QUICK)
def test_a_world_breaks_no_rule(name: str) -> None:
    """With one seed."""
    assert play_together(replace(TRIED[name], settles=10.0), 0).violations == ()
