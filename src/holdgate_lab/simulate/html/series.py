"""What is drawn of a run: its samples, thinned to what a screen can show, and the scales that all runs of a comparison share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdgate.core import State
from holdgate_lab.fleet.outcome import DependencySample, Sample
from holdgate_lab.simulate.comparison import Comparison, FinishedRun

# One column for two pixels at the width of a usual screen.
MOST_COLUMNS = 400


@dataclass(frozen=True, slots=True)
class DependencyColumn:
    """One dependency from `begin` to `end` of its column: the most there was of everything, and calls per second."""

    open_workers: int
    half_open_workers: int
    limit: int | None
    in_flight: int
    calls: float
    failures: float


@dataclass(frozen=True, slots=True)
class Column:
    """A piece of the time axis, with everything in it. `waiting` and `held` are of all topics and queues together."""

    begin: float
    end: float
    workers: int
    dependencies: dict[str, DependencyColumn]
    waiting: int
    held: int


@dataclass(frozen=True, slots=True)
class Scales:
    """The top of each lane. The same for all runs, or nobody could compare them."""

    seconds: float
    workers: int
    in_flight: dict[str, int]
    calls: dict[str, float]
    failures: dict[str, float]
    waiting: int


def columns_of(run: FinishedRun) -> list[Column]:
    """The samples of a run as columns."""
    samples, every = run.outcome.samples, run.entrant.scenario.sample_every
    names = [spec.name for spec in run.entrant.scenario.dependencies]
    size = -(-len(samples) // MOST_COLUMNS) or 1
    groups = (samples[start : start + size] for start in range(0, len(samples), size))
    return [_column(group, every, names) for group in groups]


def scales_of(comparison: Comparison, columns: Sequence[Sequence[Column]]) -> Scales:
    """The scales for these runs."""
    every = [column for each in columns for column in each]
    names = [spec.name for spec in comparison.scenario.dependencies]
    by_name = {name: [column.dependencies[name] for column in every] for name in names}
    return Scales(
        seconds=comparison.scenario.seconds,
        workers=_top(column.workers for column in every),
        in_flight={name: _in_flight(seen) for name, seen in by_name.items()},
        calls={name: max([1.0, *(each.calls for each in seen)]) for name, seen in by_name.items()},
        failures={name: max([1.0, *(each.failures for each in seen)]) for name, seen in by_name.items()},
        waiting=_top(column.waiting for column in every),
    )


def _in_flight(seen: Sequence[DependencyColumn]) -> int:
    """The most calls at once, with room for a limit of twice as much."""
    calls = _top(each.in_flight for each in seen)
    return max(calls, min(2 * calls, max((each.limit or 0 for each in seen), default=0)))


def _top(values: Iterable[int]) -> int:
    return max([1, *values])


def _column(group: Sequence[Sample], every: float, names: Sequence[str]) -> Column:
    return Column(
        begin=group[0].at - every,
        end=group[-1].at,
        workers=max(sample.workers for sample in group),
        dependencies={name: _dependency([sample.dependencies[name] for sample in group], len(group) * every) for name in names},
        waiting=max(sum(stream.backlog for stream in sample.streams.values()) for sample in group),
        held=max(sum(stream.held for stream in sample.streams.values()) for sample in group),
    )


def _dependency(group: Sequence[DependencySample], seconds: float) -> DependencyColumn:
    limits = [seen.limit for seen in group if seen.limit is not None]
    return DependencyColumn(
        open_workers=max(seen.open_workers for seen in group),
        half_open_workers=max(seen.half_open_workers for seen in group),
        limit=max(limits, default=None),
        in_flight=max(seen.in_flight for seen in group),
        calls=sum(seen.calls for seen in group) / seconds,
        failures=sum(seen.failures for seen in group) / seconds,
    )


def state_of(column: DependencyColumn) -> str:
    """The state of the worst of the workers, for a table."""
    if column.open_workers:
        return State.OPEN.name
    return State.HALF_OPEN.name if column.half_open_workers else State.CLOSED.name
