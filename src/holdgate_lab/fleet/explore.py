"""Go through many seeds, and tell the story of those that fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from holdgate_lab.fleet.generate import random_scenario
from holdgate_lab.fleet.outcome import Violation
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.shrink import shrink, shrink_twists
from holdgate_lab.fleet.trial import NewWorker, try_out
from holdgate_lab.fleet.twists import PLAIN, Twists, random_twists
from holdgate_lab.fleet.worker import Worker

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# The end of a story tells why; the beginning of a long one is the same every time.
_LINES = 60
_TOLD_APART = ("name", "seconds", "topics", "queues", "dependencies", "faults", "members", "workers")


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that breaks an invariant: its scenario made small, what is broken there, and the steps that lead to it, in words."""

    seed: int
    scenario: Scenario
    twists: Twists
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
            [f"seed {self.seed} breaks: {self.violation.invariant}. Replay: {self.command}", *describe(self.scenario, self.twists), *shown]
        )


def explore(seeds: Iterable[int], *, worker: NewWorker = Worker) -> Iterator[Failure]:
    """Try the scenario of each seed, and yield those that fail, made small."""
    for seed in seeds:
        scenario = random_scenario(seed)
        twists = random_twists(seed, scenario)
        violation = try_out(scenario, seed, twists, worker=worker)
        if violation is not None:
            yield explain(scenario, seed, twists, violation, worker=worker)


def explain(scenario: Scenario, seed: int, twists: Twists, violation: Violation, *, worker: NewWorker = Worker) -> Failure:
    """Make a failing scenario small, and tell its steps."""

    def still_fails(smaller: Scenario, fewer: Twists) -> bool:
        known = {spec.name for spec in smaller.dependencies}
        if not all(command.dependency in known for command in fewer.commands):
            return False
        found = try_out(smaller, seed, fewer, worker=worker)
        return found is not None and found.invariant == violation.invariant

    twists = shrink_twists(twists, lambda fewer: still_fails(scenario, fewer))
    small = shrink(scenario, lambda smaller: still_fails(smaller, twists))
    steps: list[str] = []
    found = try_out(small, seed, twists, worker=worker, tell=steps.append)
    return Failure(seed, small, twists, found or violation, tuple(steps))


def describe(scenario: Scenario, twists: Twists = PLAIN) -> Iterator[str]:
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
    if twists != PLAIN:
        yield f"twists: {_unusual(twists)}"


def _unusual(values: DataclassInstance, left_out: Sequence[str] = ()) -> str:
    told = [
        f"{each.name}={getattr(values, each.name)!r}"
        for each in fields(values)
        if each.name not in left_out and getattr(values, each.name) != each.default
    ]
    return ", ".join(told) or "everything else by default"
