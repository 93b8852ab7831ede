"""What is compared: the same world with several kinds of worker, or with several settings. Values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from holdgate.config.toml_file import Place, dotted
from holdgate_lab.fleet.outcome import RunOutcome, WorkerKind
from holdgate_lab.fleet.scenario import Scenario, Stream


@dataclass(frozen=True, slots=True)
class Entrant:
    """One that takes part: what its column is called, and what is to be simulated for it.

    `against`: the file of the other settings. `in_fleet`: its workers share a log, and agree over it.
    """

    label: str
    scenario: Scenario
    worker: WorkerKind
    against: str | None = None
    in_fleet: bool = False


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One that took part, and what came of it."""

    entrant: Entrant
    outcome: RunOutcome


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not the same in two scenarios; None: it is not there, or it is "none"."""

    place: Place
    scenario: object
    against: object

    @property
    def setting(self) -> str:
        """The place as TOML writes it."""
        return dotted(self.place)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs of one scenario. `interrupted`: some did not take place."""

    scenario: Scenario
    seed: int
    runs: tuple[FinishedRun, ...]
    differences: tuple[tuple[str, tuple[Difference, ...]], ...] = ()
    interrupted: bool = False

    @property
    def is_sound(self) -> bool:
        """Whether every run kept to every invariant."""
        return not any(run.outcome.violations for run in self.runs)


def streams_of(scenario: Scenario) -> tuple[Stream, ...]:
    """Its topics and its queues."""
    return (*scenario.topics, *scenario.queues)


def differences(ours: Scenario, theirs: Scenario) -> tuple[Difference, ...]:
    """Everything in which two scenarios differ."""
    return tuple(_differences((), ours, theirs))


def _differences(place: Place, ours: object, theirs: object) -> Iterator[Difference]:
    if ours == theirs:
        return
    lists = _list(ours), _list(theirs)
    if lists[0] is not None and lists[1] is not None:
        yield from _in_lists(place, lists[0], lists[1])
    elif type(ours) is type(theirs) and dataclasses.is_dataclass(ours):
        for field in dataclasses.fields(ours):
            yield from _differences((*place, field.name), getattr(ours, field.name), getattr(theirs, field.name))
    else:
        yield Difference(place, _plain(ours), _plain(theirs))


def _in_lists(place: Place, ours: tuple[object, ...], theirs: tuple[object, ...]) -> Iterator[Difference]:
    """Named things are compared by their names, everything else as one."""
    if not all(hasattr(each, "name") for each in (*ours, *theirs)):
        yield Difference(place, _plain(ours), _plain(theirs))
        return
    left, right = _by_name(ours), _by_name(theirs)
    for name in dict.fromkeys((*left, *right)):
        yield from _differences((*place, name), left.get(name), right.get(name))


def _by_name(things: tuple[Any, ...]) -> dict[str, object]:
    return {each.name: each for each in things}


def _plain(value: object) -> object:
    """As JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    several = _list(value)
    return value if several is None else [_plain(each) for each in several]


def _list(value: object) -> tuple[object, ...] | None:
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else None
