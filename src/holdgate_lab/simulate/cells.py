"""A run as rows of characters on one time axis: what was wrong, what the circuits did, and how much waited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from holdgate.core import State
from holdgate_lab.fleet.outcome import DependencySample, RunOutcome, Sample
from holdgate_lab.fleet.scenario import Fault, Scenario

# A minute at a second each; with its label inside eighty columns.
CELLS = 60
# Of the calls of a closed circuit: below the first is the background that a ramp tolerates, too; from the second on it should be open.
FAILING = 0.1
MOST = 0.5

# Faults in which nothing works; in all others something does.
_DOWN = frozenset({"refuse", "hang"})


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of the rows. `steps`: for half-open with the limits 1, 2, 4, 8, and above; `heights`: for a backlog, from nothing."""

    fine: str
    failing: str
    most: str
    bad: str
    steps: str
    heights: str


ASCII = Glyphs(fine="-", failing="x", most="!", bad="#", steps="1248+", heights=" .:-=+*%@")
BLOCKS = Glyphs(fine="─", failing="x", most="!", bad="■", steps="1248+", heights=" ▁▂▃▄▅▆▇█")


class Point(NamedTuple):
    """One moment of a row. Where a cell has several, the highest rank is shown: a probe of 20 ms would never be seen otherwise."""

    at: float
    rank: int
    glyph: str


def fault_row(scenario: Scenario, name: str, glyphs: Glyphs) -> str:
    """When the dependency was down, and when it was not well."""
    faults = [fault for fault in scenario.faults if fault.dependency == name]
    edges = sorted({0.0, *(at for fault in faults for at in _edges(fault, scenario.seconds))})
    return _row([_fault_point(faults, at, glyphs) for at in edges], scenario.seconds)


def state_row(scenario: Scenario, outcome: RunOutcome, name: str, glyphs: Glyphs) -> str:
    """What the workers did with the dependency."""
    begins = (sample.at - scenario.sample_every for sample in outcome.samples)
    points = (_state_point(at, sample.dependencies[name], glyphs) for at, sample in zip(begins, outcome.samples, strict=True))
    return _row(list(points), scenario.seconds)


def backlog_row(scenario: Scenario, outcome: RunOutcome, most: int, glyphs: Glyphs) -> str:
    """How much waited in all topics and queues together; `most` is the top of the scale."""
    top = len(glyphs.heights) - 1
    points: list[Point] = []
    for sample in outcome.samples:
        # From one message on something is to be seen.
        height = -(-waiting(sample) * top // max(most, 1))
        points.append(Point(sample.at - scenario.sample_every, height, glyphs.heights[min(height, top)]))
    return _row(points, scenario.seconds)


def waiting(sample: Sample) -> int:
    """The backlog of all topics and queues."""
    return sum(stream.backlog for stream in sample.streams.values())


def most_waiting(outcomes: Iterable[RunOutcome]) -> int:
    """The longest backlog of any of them."""
    return max((waiting(sample) for outcome in outcomes for sample in outcome.samples), default=0)


def _row(points: Sequence[Point], seconds: float) -> str:
    cell, row, index = seconds / CELLS, "", 0
    carried = points[0]
    for number in range(CELLS):
        end = (number + 1) * cell - cell * 1e-9  # a moment on the edge belongs to the next cell, whatever the division left over
        start = index
        while index < len(points) and points[index].at < end:
            index += 1
        inside = points[start:index]
        row += max(reversed(inside), key=lambda point: point.rank).glyph if inside else carried.glyph
        carried = inside[-1] if inside else carried
    return row


def _state_point(at: float, seen: DependencySample, glyphs: Glyphs) -> Point:
    if seen.state is State.HALF_OPEN:
        step = max(seen.limit or 1, 1).bit_length() - 1
        return Point(at, 3, glyphs.steps[min(step, len(glyphs.steps) - 1)])
    if seen.state is State.OPEN:
        return Point(at, 2, glyphs.bad)
    share = seen.failures / max(seen.calls, seen.failures, 1)
    if share < FAILING:
        return Point(at, 0, glyphs.fine)
    return Point(at, 1, glyphs.most if share >= MOST else glyphs.failing)


def _fault_point(faults: Sequence[Fault], at: float, glyphs: Glyphs) -> Point:
    active = [fault for fault in faults if fault.at <= at < fault.until]
    if any(fault.kind in _DOWN or _is_down(fault, at) for fault in active):
        return Point(at, 2, glyphs.bad)
    return Point(at, 1, glyphs.failing) if any(fault.kind != "flap" for fault in active) else Point(at, 0, glyphs.fine)


def _edges(fault: Fault, seconds: float) -> Iterable[float]:
    """When it changes."""
    yield fault.at
    end = min(fault.until, seconds)
    if fault.kind == "flap":
        begin = fault.at
        while begin < end:
            yield begin
            yield min(begin + fault.down, end)
            begin += fault.down + fault.up
    yield end


def _is_down(fault: Fault, at: float) -> bool:
    return fault.kind == "flap" and (at - fault.at) % (fault.down + fault.up) < fault.down
