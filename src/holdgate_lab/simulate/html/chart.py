"""One run as an SVG: what was wrong, the circuits, the limit and the calls in flight, the calls, and what waited, on one time axis.

HTML and SVG are written by hand here: elements whose text and attributes are escaped unless they are elements themselves.

Shape tells as much as colour: open hangs from the top, half-open stands on the bottom, failed calls go down where good ones go up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from holdgate_lab.fleet.scenario import Fault, Scenario
from holdgate_lab.simulate.comparison import FinishedRun
from holdgate_lab.simulate.html.series import Column, DependencyColumn, Scales
from holdgate_lab.simulate.rows import fault_words

WIDTH, LEFT, RIGHT = 960.0, 190.0, 24.0
LANE, GAP, FAULT, AXIS = 56.0, 14.0, 18.0, 26.0
# Labels of a time axis do not touch each other with so many.
TICKS = 10

Measure = Callable[[Column], float | None]


class Markup(str):
    """Text that is escaped already."""

    __slots__ = ()


# Elements of HTML that have no end.
_VOID = frozenset({"meta", "br"})


def element(name: str, /, *content: str, **attributes: object) -> Markup:
    """An element. `class_` is class, `aria_label` is aria-label; an attribute that is None is left out."""
    written = "".join(f' {_attribute(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(content)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Several after each other."""
    return Markup(between.join(part if isinstance(part, Markup) else escape(part) for part in parts))


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is as fine as anybody sees."""
    return f"{value:.1f}".removesuffix(".0")


def _attribute(key: str) -> str:
    # The only attributes with capitals are SVG's own.
    return {"viewbox": "viewBox"}.get(key, key.rstrip("_").replace("_", "-"))


def _value(value: object) -> str:
    return escape(number(value) if isinstance(value, float) else str(value))


class Chart:
    """Lanes from the top down; `drawn` is the SVG of what was added so far."""

    def __init__(self, run: FinishedRun, columns: Sequence[Column], scales: Scales) -> None:
        self._run = run
        self._columns = columns
        self._scales = scales
        self._top = GAP
        self._parts: list[Markup] = []

    def drawn(self, title: str, told: str) -> Markup:
        """The whole picture, with its words for who does not see it."""
        scenario = self._run.entrant.scenario
        for spec in scenario.dependencies:
            self._faults(scenario, spec.name)
            self._circuits(spec.name)
            self._in_flight(spec.name)
            self._calls(spec.name)
        self._waiting()
        self._hits(scenario)
        bottom = self._top
        axis = list(self._axis(bottom))
        return element(
            "svg",
            element("title", title),
            element("desc", told),
            *axis,
            *self._parts,
            viewbox=f"0 0 {number(WIDTH)} {number(bottom + AXIS)}",
            role="img",
            class_="chart",
        )

    def _x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at / self._scales.seconds

    def _lane(self, label: str, scale: str, height: float = LANE) -> float:
        """Begin a lane; returns the y of its top."""
        top = self._top
        self._top += height + GAP
        self._parts.append(element("text", label, x=LEFT - 10, y=top + 12, class_="lane"))
        if scale:
            self._parts.append(element("text", scale, x=LEFT - 10, y=top + 27, class_="scale"))
        return top

    def _faults(self, scenario: Scenario, name: str) -> None:
        faults = [fault for fault in scenario.faults if fault.dependency == name]
        top = self._lane(name, "" if faults else "no fault", FAULT * max(1, len(faults)))
        for row, fault in enumerate(faults):
            self._parts.extend(self._fault(fault, top + row * FAULT))

    def _fault(self, fault: Fault, top: float) -> Iterator[Markup]:
        left, right = self._x(fault.at), self._x(min(fault.until, self._scales.seconds))
        yield element("rect", x=left, y=top, width=max(1.0, right - left), height=FAULT - 3, class_="fault")
        # A label that would leave the picture ends where the fault does.
        begins = left < WIDTH * 0.6
        yield element("text", fault_words(fault), x=left + 4 if begins else right - 4, y=top + 11, class_="told" if begins else "told end")

    def _circuits(self, name: str) -> None:
        workers = self._scales.workers
        top = self._lane("circuits", f"of {workers} worker" + ("s" if workers > 1 else ""))
        unit = LANE / workers
        self._area(lambda column: column.dependencies[name].open_workers, top, unit, "open")
        self._area(lambda column: column.dependencies[name].half_open_workers, top + LANE, -unit, "half")
        self._base(top + LANE)

    def _in_flight(self, name: str) -> None:
        most = self._scales.in_flight[name]
        top = self._lane("in flight, and limit", f"up to {most}")
        self._area(lambda column: column.dependencies[name].in_flight, top + LANE, -LANE / most, "inside")
        # A breaker that admits much more than comes would flatten what does come.
        self._line(lambda column: _capped(column.dependencies[name].limit, most), top + LANE, -LANE / most, "limit")
        self._base(top + LANE)

    def _calls(self, name: str) -> None:
        most, worst = self._scales.calls[name], self._scales.failures[name]
        top = self._lane("calls a second", f"up to {most:.0f}; failed {worst:.0f}")
        # Good ones above the line, failed ones below it, to one scale.
        unit = LANE / (most + worst)
        middle = top + unit * most
        self._area(lambda column: max(0.0, column.dependencies[name].calls - column.dependencies[name].failures), middle, -unit, "good")
        self._area(lambda column: column.dependencies[name].failures, middle, unit, "bad")
        self._base(middle)

    def _waiting(self) -> None:
        most = self._scales.waiting
        top = self._lane("waiting", f"up to {most}")
        self._area(lambda column: column.waiting, top + LANE, -LANE / most, "waiting")
        self._area(lambda column: float(column.held > 0), top + LANE, 4.0, "held")
        self._base(top + LANE)

    def _area(self, measure: Measure, base: float, unit: float, name: str) -> None:
        """Steps over a base line; nothing is drawn where there is nothing."""
        path, begun, reached = "", False, 0.0
        for column in self._columns:
            value = measure(column) or 0.0
            if value:
                start = "" if begun and column.begin == reached else f"M{number(self._x(column.begin))} {number(base)}"
                path += f"{start}V{number(base + value * unit)}H{number(self._x(column.end))}"
            elif begun:
                path += f"V{number(base)}"
            begun, reached = bool(value), column.end
        if path:
            self._parts.append(element("path", d=path + (f"V{number(base)}" if begun else ""), class_=name))

    def _line(self, measure: Measure, base: float, unit: float, name: str) -> None:
        """A line of steps, with gaps where there is no value."""
        path, draws = "", False
        for column in self._columns:
            value = measure(column)
            if value is not None:
                y = number(base + value * unit)
                path += (f"V{y}" if draws else f"M{number(self._x(column.begin))} {y}") + f"H{number(self._x(column.end))}"
            draws = value is not None
        if path:
            self._parts.append(element("path", d=path, class_=name))

    def _base(self, y: float) -> None:
        self._parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="base"))

    def _axis(self, bottom: float) -> Iterator[Markup]:
        for at in ticks(self._scales.seconds):
            x = self._x(at)
            yield element("line", x1=x, x2=x, y1=GAP, y2=bottom, class_="grid")
            yield element("text", f"{at:g} s", x=x, y=bottom + 16, class_="tick")

    def _hits(self, scenario: Scenario) -> None:
        """What a pointer that rests on a column is told."""
        names = [spec.name for spec in scenario.dependencies]
        for column in self._columns:
            x = self._x(column.begin)
            lines = [
                f"{column.begin:g}-{column.end:g} s",
                *(told(name, column.dependencies[name]) for name in names),
                f"{column.waiting} waiting",
            ]
            width, height = self._x(column.end) - x, self._top - GAP
            title = element("title", "\n".join(lines))
            self._parts.append(element("rect", title, x=x, y=GAP, width=width, height=height, fill="none", class_="hit"))


def _capped(limit: int | None, most: int) -> int | None:
    return None if limit is None else min(limit, most)


def told(name: str, column: DependencyColumn) -> str:
    """One dependency in one column, in words."""
    circuits = f"{column.open_workers} open, {column.half_open_workers} half-open"
    limit = "" if column.limit is None else f", limit {column.limit}"
    return f"{name}: {circuits}{limit}, {column.in_flight} in flight, {column.calls:.4g} calls/s, {column.failures:.4g} failed/s"


def ticks(seconds: float) -> list[float]:
    """Round moments from 0 to the end."""
    rough = seconds / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    return [number * step for number in range(int(seconds / step + 1e-9) + 1)]


def legend() -> Markup:
    """What the shapes mean, in words; a person who reads it needs no colour."""
    facts = (
        ("fault", "what was wrong with the dependency, and from when until when"),
        ("open", "circuits: open, from the top down, one step for each worker"),
        ("half", "circuits: half-open, from the bottom up"),
        ("inside", "calls that are in the dependency; the line is what workers in half-open admit at a time"),
        ("good", "good calls, above the line"),
        ("bad", "failed calls, below the line"),
        ("waiting", "messages that wait; the bar under them: something is held"),
    )
    return element("ul", joined(element("li", _swatch(name), text) for name, text in facts), class_="legend")


def _swatch(name: str) -> Markup:
    square = element("rect", x=0, y=0, width=14, height=14, class_=name)
    return element("svg", square, viewbox="0 0 14 14", class_="swatch", aria_hidden="true")
