"""The sections of dependencies: `[circuit]` under all of them, `[bases.NAME]` under those that ask for it with `base`, and then their own.

A circuit's settings may stand in a section itself or in its `circuit` table; of both, what is said later wins, as everywhere. Both the
settings of a worker and the scenarios of `holdgate simulate` are read from here, so a `[dependencies.NAME]` that is right in one is right
in the other. What belongs to only one of them is named below, and the other does not look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from holdgate.config.fields import build, hints_of, shown, unknown
from holdgate.config.layers import IN_CODE
from holdgate.config.toml_file import Place, Problems, TomlFile, Traced
from holdgate.core import CircuitSettings

Table = dict[str, object]

# How a simulated dependency behaves: a worker's own dependency does as it does.
SIMULATED = frozenset({"capacity", "latency", "spread", "timeout", "probe"})
# How a worker reads exceptions and asks, and what it knows of limits: a simulated call has no exception types, and is never refused so.
WORKING = frozenset({"failures", "limits", "probe_timeout"})

_CIRCUIT = frozenset(hints_of(CircuitSettings))
_BASE = "base"
_KNOWN = frozenset({_BASE, "circuit"}) | _CIRCUIT | SIMULATED | WORKING


def resolve(file: TomlFile, said: Traced | None = None) -> Traced:
    """Return the tables with every dependency's section complete: its circuit's settings in `circuit`, and no `base`, `bases`, `circuit`.

    `said`: the file's tables, with what others say laid over them. None means those of the file. Raises SettingsError for a `base` that is
    not there or leads back to itself, and for what is wrong in `[circuit]` and in bases.
    """
    traced = Traced(file.data) if said is None else said
    problems = Problems(file, traced)
    found = _Resolver(traced, problems).resolved()
    problems.check()
    return found


def over(under: Table, upper: Table) -> Table:
    """`upper` laid over `under`. A window is one thing: of one by calls nothing is left under one by time."""
    return _merged(under, upper, "ramp")


def _merged(under: Table, upper: Table, table: str) -> Table:
    """`upper` laid over `under`, of which one table is merged setting by setting."""
    both = {**under, **upper}
    lower, own = under.get(table), upper.get(table)
    if isinstance(lower, dict) and isinstance(own, dict):
        both[table] = {**cast("Table", lower), **cast("Table", own)}
    return both


class _Section:
    """One table in the form in which all are merged: its own keys, those of its circuit, and where each stands."""

    def __init__(self, own: Table, circuit: Table, moved: dict[Place, Place]) -> None:
        self.own = own
        self.circuit = circuit
        self.moved = moved

    def above(self, under: _Section) -> _Section:
        moved = {**under.moved}
        for place, there in self.moved.items():
            if place in {("circuit", "window"), ("limits",)}:  # one thing, which nothing of the other is left under
                moved = {key: value for key, value in moved.items() if key[: len(place)] != place}
            moved[place] = there
        return _Section(_merged(under.own, self.own, "limits"), over(under.circuit, self.circuit), moved)


class _Resolver:
    def __init__(self, traced: Traced, problems: Problems) -> None:
        self._traced = traced
        self._problems = problems
        self._bases = self._table(("bases",))
        self._dependencies = self._table(("dependencies",))

    def resolved(self) -> Traced:
        data = dict(self._traced.data)
        for_all = data.pop("circuit", {})
        build(CircuitSettings, for_all, ("circuit",), self._problems)
        shared = self._circuit_of_all(for_all)
        data.pop("bases", None)
        for name in self._bases:  # also those that nobody asks for
            section = self._chain(("bases", name), [])
            build(CircuitSettings, section.circuit, ("bases", name, "circuit"), self._within(section, ("bases", name)))
        moved = dict(self._traced.moved)
        if isinstance(data.get("dependencies"), dict):
            made: Table = {}
            for name, table in self._dependencies.items():
                if not isinstance(table, dict):
                    made[name] = table  # it is refused where it is read
                    continue
                section = self._chain(("dependencies", name), []).above(shared)
                made[name] = {**section.own, "circuit": section.circuit}
                moved.update({("dependencies", name, *place): there for place, there in section.moved.items()})
            data["dependencies"] = made
        return Traced(data, moved, self._traced.outside)

    def _table(self, place: Place) -> Mapping[str, object]:
        table = self._traced.data.get(str(place[0]), {})
        if isinstance(table, dict):
            return cast("Table", table)
        if place == ("bases",):
            self._problems.add(place, f"{shown(table)} is not tables: write [bases.NAME] above the settings of each")
        return {}

    def _circuit_of_all(self, for_all: object) -> _Section:
        circuit = cast("Table", for_all) if isinstance(for_all, dict) else {}
        return _Section({}, circuit, _places(circuit, ("circuit",)))

    def _within(self, section: _Section, place: Place) -> Problems:
        self._problems.follow({(*place, *key): there for key, there in section.moved.items()})
        return self._problems

    def _chain(self, place: Place, above: list[Place]) -> _Section:
        """Return the section at `place` over those that it is based on. `above` are those that have led here."""
        table = self._bases.get(str(place[1])) if place[0] == "bases" else self._dependencies.get(str(place[1]))
        if not isinstance(table, dict):
            self._problems.add(place, f"{shown(table)} is no table of settings")
            return _Section({}, {}, {})
        section = self._read(cast("Table", table), place)
        base = section.own.pop(_BASE, None)
        if base is None:
            return section
        section.moved.pop((_BASE,), None)
        under = self._find(base, (*place, _BASE))
        if under is None:
            return section
        path = [*above, place]
        if under in path:
            circle = " -> ".join(str(each[1]) for each in [*path[path.index(under) :], under])
            self._problems.add((*place, _BASE), f"leads back to itself: {circle}; take one of these out")
            return section
        return section.above(self._chain(under, path))

    def _find(self, base: object, place: Place) -> Place | None:
        """Return where the section stands that is named. None means that there is a problem, which is noted."""
        if isinstance(base, str) and base in self._bases:
            return ("bases", str(base))
        if isinstance(base, str) and base in self._dependencies:
            return ("dependencies", str(base))
        if isinstance(base, str):
            words = f"{shown(base)} {unknown(base, [*self._bases, *self._dependencies])}"
        else:
            words = f"{shown(base)} is not a text in quotes: it names another section"
        self._problems.add(place, words)
        return None

    def _read(self, table: Table, place: Place) -> _Section:
        for key in table.keys() - _KNOWN:
            self._problems.add((*place, key), unknown(key, _KNOWN))
        own = {key: value for key, value in table.items() if key in _KNOWN - _CIRCUIT and key != "circuit"}
        nested = table.get("circuit", {})
        if not isinstance(nested, dict):
            self._problems.add((*place, "circuit"), f"{shown(nested)} is no table of settings")
            nested = {}
        circuit = dict(cast("Table", nested))
        moved = _places_of_own(own, place)
        moved.update(_places(circuit, (*place, "circuit")))
        for key in _CIRCUIT & table.keys():
            direct, other = {key: table[key]}, {key: circuit[key]} if key in circuit else {}
            ranks = self._rank((*place, key)), self._rank((*place, "circuit", key))
            if other and ranks[0] == ranks[1]:
                self._problems.add((*place, key), f"is given twice, here and in circuit.{key}: take one of them out")
            if other and ranks[0] < ranks[1]:
                circuit[key] = over(direct, other)[key]
                moved = {**_places(direct, place), **moved}
            else:
                circuit[key] = over(other, direct)[key]
                moved.update(_places(direct, place))
        return _Section(own, circuit, moved)

    def _rank(self, place: Place) -> int:
        """Return how late it is said what stands at this place, or somewhere under it: file, environment, program."""
        outside = self._traced.outside
        speakers = {said for there, said in outside.items() if there[: len(place)] == place or place[: len(there)] == there}
        return 2 if IN_CODE in speakers else 1 if speakers else 0


def _places(circuit: Table, place: Place) -> dict[Place, Place]:
    """Where the settings of a circuit stand. Those of a ramp are merged one by one, and everything else is one thing."""
    places: dict[Place, Place] = {}
    for key, value in circuit.items():
        if key == "ramp" and isinstance(value, dict):
            places.update({("circuit", key, each): (*place, key, each) for each in cast("Table", value)})
        else:
            places["circuit", key] = (*place, key)
    return places


def _places_of_own(own: Table, place: Place) -> dict[Place, Place]:
    """Where the keys of a section stand that are none of a circuit's. Those of limits are merged one by one."""
    places: dict[Place, Place] = {}
    for key, value in own.items():
        if key == "limits" and isinstance(value, dict):
            places.update({(key, each): (*place, key, each) for each in cast("Table", value)})
        else:
            places[(key,)] = (*place, key)
    return places
