"""One run from its beginning to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

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
    with running(World(scenario, strategy_of(worker), seed)) as world:
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
            violations=tuple(world.checker.violations),
        )


@contextmanager
def running(world: World) -> Generator[World]:
    """While this block runs, the guards of the fleet write no log: they are many, and nobody's. At its end every process ends."""
    log = logging.getLogger("holdgate")
    before, log.disabled = log.disabled, True
    try:
        yield world
    finally:
        world.end()
        log.disabled = before
