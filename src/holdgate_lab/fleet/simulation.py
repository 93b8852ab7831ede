"""One run from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable

from holdgate_lab.fleet.outcome import Outcome, WorkerKind
from holdgate_lab.fleet.sampling import Sampler, totals_of
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.strategy import strategy_of
from holdgate_lab.fleet.world import World


def simulate(
    scenario: Scenario, worker: WorkerKind = "holdgate", seed: int = 0, *, progress: Callable[[float], None] | None = None
) -> Outcome:
    """Run a scenario to its end. The same scenario, kind of worker and seed give the same outcome, on every machine.

    `progress` is called now and then with the simulated second; an exception that it raises ends the run and goes on to the caller.
    """
    world = World(scenario, strategy_of(worker), seed)
    sampler = Sampler(world)
    schedule = world.schedule
    told = 0.0
    while schedule.step(scenario.seconds):
        if progress is not None and schedule.now >= told + scenario.sample_every:
            told = schedule.now
            progress(told)
    return Outcome(
        scenario=scenario.name,
        worker=worker,
        seed=seed,
        seconds=scenario.seconds,
        totals=totals_of(world),
        samples=tuple(sampler.samples),
        violations=tuple(world.witness.violations),
    )
