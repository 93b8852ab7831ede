"""What a run is judged by, read off its samples: per dependency and per topic or queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from holdgate.core import State
from holdgate_lab.fleet.outcome import RunOutcome
from holdgate_lab.fleet.scenario import Fault, Scenario, Stream


@dataclass(frozen=True, slots=True)
class DependencyFigures:
    """One dependency over a whole run.

    `failed_by_fault`: for each of its faults, in order, the calls that failed while it was active; `failed_otherwise` while none was.
    `peak_in_flight`: the most calls in it at the moment of a sample. `not_closed_seconds`: how long some worker's circuit was open or
    half-open. `closed_at`: when all circuits were closed for good; None: they were never anything else, or not before the end.
    """

    calls: int
    failed_calls: int
    failed_by_fault: tuple[int, ...]
    failed_otherwise: int
    peak_in_flight: int
    not_closed_seconds: float
    closed_at: float | None


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One topic or queue over a whole run.

    `backlog`: what waits at the end. `drained_at`: from when on no more waited than comes in within a second, or a sample; 0: at all times;
    None: not before the end.
    """

    processed: int
    peak_backlog: int
    backlog: int
    drained_at: float | None


def faults_of(scenario: Scenario, name: str) -> list[Fault]:
    """The faults of one dependency, in order of time."""
    return sorted((fault for fault in scenario.faults if fault.dependency == name), key=lambda fault: (fault.at, fault.until))


def dependency_figures(scenario: Scenario, outcome: RunOutcome, name: str) -> DependencyFigures:
    """What happened to this dependency."""
    faults = faults_of(scenario, name)
    series = [(sample.at, sample.dependencies[name]) for sample in outcome.samples]
    by_fault, otherwise = [0] * len(faults), 0
    for at, seen in series:
        middle = at - scenario.sample_every / 2  # of the time that the sample tells about
        active = [number for number, fault in enumerate(faults) if fault.at <= middle < fault.until]
        for number in active:
            by_fault[number] += seen.failures
        otherwise += 0 if active else seen.failures
    shut = [(at, seen.state is not State.CLOSED) for at, seen in series]
    return DependencyFigures(
        calls=sum(seen.calls for _, seen in series),
        failed_calls=sum(seen.failures for _, seen in series),
        failed_by_fault=tuple(by_fault),
        failed_otherwise=otherwise,
        peak_in_flight=max((seen.in_flight for _, seen in series), default=0),
        not_closed_seconds=sum(is_shut for _, is_shut in shut) * scenario.sample_every,
        closed_at=_last_over(shut) or None,
    )


def stream_figures(scenario: Scenario, outcome: RunOutcome, stream: Stream) -> StreamFigures:
    """What happened to this topic or queue."""
    series = [(sample.at, sample.streams[stream.name]) for sample in outcome.samples]
    # What comes in meanwhile is on its way, not waiting.
    usual = max(1.0, stream.rate * max(1.0, scenario.sample_every))
    return StreamFigures(
        processed=sum(seen.processed for _, seen in series),
        peak_backlog=max((seen.backlog for _, seen in series), default=0),
        backlog=series[-1][1].backlog if series else 0,
        drained_at=_last_over([(at, seen.backlog > usual) for at, seen in series]),
    )


def _last_over(series: Sequence[tuple[float, bool]]) -> float | None:
    """The moment from which on it was not any more; 0: it never was; None: it was at the end."""
    over = 0.0
    for (_, was), (at, _) in pairwise(series):
        over = at if was else over
    return None if series and series[-1][1] else over
