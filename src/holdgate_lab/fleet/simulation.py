"""One run from its beginning to its end, with samples of what it looks like from outside, every so many seconds."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import MappingProxyType

from holdgate.core import State
from holdgate_lab.fleet.outcome import DependencySample, RunOutcome, Sample, StreamSample, Totals, WorkerKind
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.strategy import strategy_of
from holdgate_lab.fleet.worker import FleetWorker
from holdgate_lab.fleet.world import NewWorker, World


def simulate(
    scenario: Scenario,
    worker: WorkerKind = "holdgate",
    seed: int = 0,
    *,
    progress: Callable[[float], None] | None = None,
    make: NewWorker = FleetWorker,
) -> RunOutcome:
    """Run a scenario to its end. The same scenario, kind of worker and seed give the same outcome, on every machine.

    `progress` is called now and then with the simulated second; an exception that it raises ends the run and goes on to the caller. `make`
    makes the workers: those that decide alone, or others.
    """
    with running(World(scenario, strategy_of(worker), seed, worker=make)) as world:
        sampler = Sampler(world)
        schedule = world.schedule
        told = 0.0
        while schedule.step(scenario.seconds):
            if progress is not None and schedule.now >= told + scenario.sample_every:
                told = schedule.now
                progress(told)
        return RunOutcome(
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


class Sampler:
    """Takes the samples of one world; each counts from the one before it."""

    def __init__(self, world: World) -> None:
        self.samples: list[Sample] = []
        self._world = world
        self._calls = dict.fromkeys(world.dependencies, 0)
        self._failures = dict.fromkeys(world.dependencies, 0)
        self._processed: Counter[str] = Counter()
        self._plan()

    def _plan(self) -> None:
        every = self._world.scenario.sample_every
        self._world.schedule.at((len(self.samples) + 1) * every, self._tick)

    def _tick(self) -> None:
        self.take()
        self._plan()

    def take(self) -> None:
        """Take one now."""
        world = self._world
        workers = [worker for worker in world.workers.values() if worker.is_alive]
        self.samples.append(
            Sample(
                at=world.schedule.now,
                workers=len(workers),
                dependencies=MappingProxyType({name: self._dependency(name, workers) for name in world.dependencies}),
                streams=MappingProxyType(self._streams(workers)),
            )
        )

    def _dependency(self, name: str, workers: list[FleetWorker]) -> DependencySample:
        world = self._world
        model = world.dependencies[name]
        # One that nothing needs, such as the dead letters', has no circuit.
        circuits = [worker.engine.gates[name].circuit for worker in workers if name in worker.engine.gates]
        states = Counter(circuit.state for circuit in circuits)
        limits = [circuit.limit or 0 for circuit in circuits if circuit.state is State.HALF_OPEN]
        calls, failures = world.environment.calls_by_name[name], world.environment.failures_by_name[name]
        sample = DependencySample(
            state=next((state for state in (State.OPEN, State.HALF_OPEN) if states[state]), State.CLOSED),
            open_workers=states[State.OPEN],
            half_open_workers=states[State.HALF_OPEN],
            limit=sum(limits) if limits else None,
            in_flight=model.inside,
            calls=calls - self._calls[name],
            failures=failures - self._failures[name],
            is_faulty=bool(model.faults_at(world.schedule.now)),
        )
        self._calls[name], self._failures[name] = calls, failures
        return sample

    def _streams(self, workers: list[FleetWorker]) -> dict[str, StreamSample]:
        checker = self._world.checker
        held = Counter(name for worker in workers for intake in worker.intakes for name in intake.held)
        samples: dict[str, StreamSample] = {}
        for name, traffic in self._world.traffic.items():
            processed = checker.processed_by_name[name]
            backlog = traffic.produced - checker.finished_by_name[name]
            samples[name] = StreamSample(backlog=backlog, held=held[name], processed=processed - self._processed[name])
            self._processed[name] = processed
        return samples


def totals_of(world: World) -> Totals:
    """The counts of the whole run."""
    checker = world.checker
    unfinished = sum(traffic.produced - checker.finished_by_name[name] for name, traffic in world.traffic.items())
    lost = checker.lost()
    return Totals(
        produced=checker.produced,
        processed=checker.processed,
        duplicates=checker.duplicates,
        dead_lettered=checker.dead_lettered,
        wrongly_dead_lettered=checker.wrongly_dead_lettered,
        lost=lost,
        unfinished=unfinished - lost,
        calls=checker.calls,
        failed_calls=checker.failed_calls,
        wasted_calls=checker.wasted_calls,
        rebalances=max(0, world.group.generation - 1),
        redeliveries=checker.redeliveries,
        delivery_counts=checker.delivery_counts,
        highest_delivery_count=checker.highest_delivery_count,
    )
