"""Put scenarios on trial: one until an invariant is broken, many seeds one after the other, and the story of those that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from holdgate_lab.fleet.extras import PLAIN, Extras, WithExtras, random_extras
from holdgate_lab.fleet.generate import random_scenario
from holdgate_lab.fleet.liveness import Liveness, is_finished, patience, quiet_from
from holdgate_lab.fleet.outcome import Violation
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.shrink import shrink, shrink_extras
from holdgate_lab.fleet.simulation import running
from holdgate_lab.fleet.worker import FleetWorker
from holdgate_lab.fleet.world import NewWorker, World

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# The end of a story tells why; the beginning of a long one is the same every time.
_LINES = 60
_TOLD_APART = ("name", "seconds", "topics", "queues", "dependencies", "faults", "members", "workers")


@dataclass(frozen=True, slots=True)
class FailedSeed:
    """A seed that breaks an invariant: its scenario made small, what is broken there, and the steps that lead to it, in words."""

    seed: int
    scenario: Scenario
    extras: Extras
    violation: Violation
    steps: tuple[str, ...]

    @property
    def command(self) -> str:
        """What replays it."""
        return f"python -m holdgate_lab --seed {self.seed}"

    def __str__(self) -> str:
        left_out = len(self.steps) - _LINES
        shown = [f"({left_out} steps before these)", *self.steps[left_out:]] if left_out > 0 else list(self.steps)
        return "\n".join(
            [f"seed {self.seed} breaks: {self.violation.invariant}. Replay: {self.command}", *describe(self.scenario, self.extras), *shown]
        )


def try_out(
    scenario: Scenario, seed: int, extras: Extras = PLAIN, *, worker: NewWorker = FleetWorker, tell: Callable[[str], None] | None = None
) -> Violation | None:
    """The first invariant that is broken, None when all hold. `worker` makes the workers; `tell` hears the story, line by line."""
    with running(World(scenario, WithExtras(extras), seed, worker=worker, tell=tell)) as world:
        found = world.checker.violations
        told = [command.at + command.seconds for command in extras.commands]
        quiet = max([quiet_from(scenario), *told])
        schedule = world.schedule
        while not found and schedule.step(quiet):
            pass
        liveness = Liveness(world)
        wedged: list[str] = []
        for end in (liveness.well_from + patience(scenario, room=1.0), liveness.well_from + patience(scenario)):
            while not found and schedule.step(end) and not is_finished(world):
                pass
            wedged = [] if found else list(liveness.wedged())
            if not wedged:
                break
        for words in wedged:
            world.checker.complain("liveness", words)
        return found[0] if found else None


def explore(seeds: Iterable[int], *, worker: NewWorker = FleetWorker) -> Iterator[FailedSeed]:
    """Try the scenario of each seed, and yield those that fail, made small."""
    for seed in seeds:
        scenario = random_scenario(seed)
        extras = random_extras(seed, scenario)
        violation = try_out(scenario, seed, extras, worker=worker)
        if violation is not None:
            yield explain(scenario, seed, extras, violation, worker=worker)


def explain(scenario: Scenario, seed: int, extras: Extras, violation: Violation, *, worker: NewWorker = FleetWorker) -> FailedSeed:
    """Make a failing scenario small, and tell its steps."""

    def still_fails(smaller: Scenario, fewer: Extras) -> bool:
        known = {spec.name for spec in smaller.dependencies}
        if not all(command.dependency in known for command in fewer.commands):
            return False
        found = try_out(smaller, seed, fewer, worker=worker)
        return found is not None and found.invariant == violation.invariant

    extras = shrink_extras(extras, lambda fewer: still_fails(scenario, fewer))
    small = shrink(scenario, lambda smaller: still_fails(smaller, extras))
    steps: list[str] = []
    found = try_out(small, seed, extras, worker=worker, tell=steps.append)
    return FailedSeed(seed, small, extras, found or violation, tuple(steps))


def describe(scenario: Scenario, extras: Extras = PLAIN) -> Iterator[str]:
    """A scenario in a few lines: who, on what, and what goes wrong; of settings those that are not the defaults."""
    yield f"{scenario.workers} workers; {_unusual(scenario, _TOLD_APART)}"
    for spec in scenario.streams:
        yield f"{spec.name}: {spec.backlog} messages, {spec.rate:g} more per second, needs {', '.join(spec.needs) or 'nothing'}"
        yield f"  {_unusual(spec, ('name', 'backlog', 'rate', 'needs'))}"
    for dependency in scenario.dependencies:
        yield f"{dependency.name}: {_unusual(dependency, ('name', 'circuit'))}; circuit: {_unusual(dependency.circuit)}"
    for fault in scenario.faults:
        unusual = _unusual(fault, ("at", "until", "dependency", "kind"))
        yield f"{fault.dependency}: {fault.kind} from {fault.at:g} s until {fault.until:g} s; {unusual}"
    for event in scenario.members:
        yield f"worker {event.worker}: {event.kind} at {event.at:g} s"
    if extras != PLAIN:
        yield f"extras: {_unusual(extras)}"


def _unusual(values: DataclassInstance, left_out: Sequence[str] = ()) -> str:
    told = [
        f"{each.name}={getattr(values, each.name)!r}"
        for each in fields(values)
        if each.name not in left_out and getattr(values, each.name) != each.default
    ]
    return ", ".join(told) or "everything else by default"
