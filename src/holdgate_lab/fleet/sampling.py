"""Samples: what a run looks like from outside, every so many seconds."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType

from holdgate.core import State
from holdgate_lab.fleet.outcome import DependencySample, Sample, StreamSample, Totals
from holdgate_lab.fleet.worker import Worker
from holdgate_lab.fleet.world import World


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

    def _dependency(self, name: str, workers: list[Worker]) -> DependencySample:
        world = self._world
        model = world.dependencies[name]
        circuits = [worker.engine.gates[name].circuit for worker in workers]
        states = Counter(circuit.state for circuit in circuits)
        limits = [circuit.limit or 0 for circuit in circuits if circuit.state is State.HALF_OPEN]
        calls, failures = world.calls_by_name[name], world.failures_by_name[name]
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

    def _streams(self, workers: list[Worker]) -> dict[str, StreamSample]:
        witness = self._world.witness
        held = Counter(name for worker in workers for reader in worker.readers for name in reader.held)
        samples: dict[str, StreamSample] = {}
        for name, traffic in self._world.traffic.items():
            processed = witness.processed_by_name[name]
            backlog = traffic.produced - witness.finished_by_name[name]
            samples[name] = StreamSample(backlog=backlog, held=held[name], processed=processed - self._processed[name])
            self._processed[name] = processed
        return samples


def totals_of(world: World) -> Totals:
    """The counts of the whole run."""
    witness = world.witness
    unfinished = sum(traffic.produced - witness.finished_by_name[name] for name, traffic in world.traffic.items())
    lost = witness.lost()
    return Totals(
        produced=witness.produced,
        processed=witness.processed,
        duplicates=witness.duplicates,
        dead_lettered=witness.dead_lettered,
        wrongly_dead_lettered=witness.wrongly_dead_lettered,
        lost=lost,
        unfinished=unfinished - lost,
        calls=witness.calls,
        failed_calls=witness.failed_calls,
        wasted_calls=witness.wasted_calls,
        rebalances=max(0, world.group.generation - 1),
        redeliveries=witness.redeliveries,
        delivery_counts=witness.delivery_counts,
        highest_delivery_count=witness.highest_delivery_count,
    )
