"""What a run is judged by, read off its samples: per dependency and per topic or queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdgate.core import State
from holdgate.simulator.fleet.outcome import Outcome, Sample
from holdgate.simulator.fleet.scenario import Fault, Scenario, Stream


@dataclass(frozen=True, slots=True)
class DependencyFigures:
    """One dependency over a whole run.

    `failed_by_fault`: for each of its faults, in order, the calls that failed while it was active; `failed_otherwise` while none was.
    `peak_in_flight`: the most calls in it at the moment of a sample. `not_closed_seconds`: how long some worker's circuit was open or
    half-open. `closed_after`: seconds from the end of its last fault until all circuits were closed for good; None: not before the end, it
    had no fault that ended, or the workers have no circuits.
    """

    calls: int
    failed_calls: int
    failed_by_fault: tuple[int, ...]
    failed_otherwise: int
    peak_in_flight: int
    not_closed_seconds: float
    closed_after: float | None


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One topic or queue over a whole run.

    `backlog`: what waits at the end. `drained_after`: seconds from the end of the last fault until no more waited than before the first
    one; None: not before the end, or there was no fault that ended.
    """

    processed: int
    peak_backlog: int
    backlog: int
    drained_after: float | None


def faults_of(scenario: Scenario, name: str) -> list[Fault]:
    """The faults of one dependency, in order of time."""
    return sorted((fault for fault in scenario.faults if fault.dependency == name), key=lambda fault: (fault.at, fault.until))


def dependency_figures(scenario: Scenario, outcome: Outcome, name: str) -> DependencyFigures:
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
    shut = [at for at, seen in series if seen.state is not State.CLOSED]
    return DependencyFigures(
        calls=sum(seen.calls for _, seen in series),
        failed_calls=sum(seen.failures for _, seen in series),
        failed_by_fault=tuple(by_fault),
        failed_otherwise=otherwise,
        peak_in_flight=max((seen.in_flight for _, seen in series), default=0),
        not_closed_seconds=len(shut) * scenario.sample_every,
        closed_after=None if outcome.worker == "naive" else _closed_after(outcome.samples, shut, _end_of(scenario, faults)),
    )


def stream_figures(scenario: Scenario, outcome: Outcome, stream: Stream) -> StreamFigures:
    """What happened to this topic or queue."""
    series = [(sample.at, sample.streams[stream.name]) for sample in outcome.samples]
    return StreamFigures(
        processed=sum(seen.processed for _, seen in series),
        peak_backlog=max((seen.backlog for _, seen in series), default=0),
        backlog=series[-1][1].backlog if series else 0,
        drained_after=_drained_after(scenario, [(at, seen.backlog) for at, seen in series], stream),
    )


def _end_of(scenario: Scenario, faults: Sequence[Fault]) -> float | None:
    """When the last of them is over; None: there is none, or not within the run."""
    end = max((fault.until for fault in faults), default=None)
    return None if end is None or end >= scenario.seconds else end


def _closed_after(samples: Sequence[Sample], shut: Sequence[float], end: float | None) -> float | None:
    if end is None:
        return None
    last = max(shut, default=0.0)
    if last < end:
        return 0.0
    after = next((sample.at for sample in samples if sample.at > last), None)
    return None if after is None else after - end


def _drained_after(scenario: Scenario, backlogs: Sequence[tuple[float, int]], stream: Stream) -> float | None:
    faults = [fault for fault in scenario.faults if fault.dependency in stream.needs]
    end = _end_of(scenario, faults)
    if end is None:
        return None
    before = [backlog for at, backlog in backlogs if at <= min(fault.at for fault in faults)]
    # What comes in within one sample is on its way, not waiting.
    usual = max(*before, stream.rate * scenario.sample_every, 1) if before else max(stream.rate * scenario.sample_every, 1)
    return next((at - end for at, backlog in backlogs if at >= end and backlog <= usual), None)
