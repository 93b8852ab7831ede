"""Other settings for the same scenario: a whole scenario file, or one that has only the settings that differ.

A file with `seconds` is a whole scenario, and what it leaves out is the default. One without is laid over the first: what it says replaces,
what it leaves out stays. In both cases the world must be the same, or the difference would be nobody's settings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from holdgate.config.fields import shown, unknown
from holdgate.config.sections import Table, over
from holdgate.config.toml_file import Problems, TomlFile
from holdgate.errors import SettingsError
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.simulate.comparison import Difference, differences
from holdgate_lab.simulate.reading import scenario_from, scenario_of, simulated

# What a team cannot set: what comes in, what goes wrong, and what the service on the other side is like.
_WORLD = ("seconds", "sample_every", "topics", "queues", "faults", "members")
_WORLD_OF_A_DEPENDENCY = ("capacity", "latency", "spread")
_A_DEPENDENCY = len(("dependencies", "its name"))
# Settings of a dependency that are one thing, never a mixture of two.
_WHOLE = "window"


def scenario_against(ours: Scenario, our_file: TomlFile, file: TomlFile) -> Scenario:
    """The first scenario with the settings of `file`. Raises SettingsError for a wrong file, and for one that changes the world."""
    theirs = scenario_of(file, ours.name) if "seconds" in file.data else _laid_over(ours, our_file, file)
    theirs = replace(theirs, name=ours.name, description=ours.description)
    other = [each for each in differences(ours, theirs) if _is_world(each)]
    if other:
        raise SettingsError("\n".join(_complaint(each, our_file, file) for each in other))
    return theirs


def _laid_over(ours: Scenario, our_file: TomlFile, file: TomlFile) -> Scenario:
    data, theirs = dict(simulated(our_file).data), simulated(file)
    upper = dict(theirs.data)
    problems = Problems(file)
    circuit = cast("Table", file.data.get("circuit", {}))
    dependencies = cast("Table", data.get("dependencies", {}))
    for name, entry in dependencies.items():
        own = cast("Table", entry)
        dependencies[name] = {**own, "circuit": over(cast("Table", own["circuit"]), circuit)}
    named = upper.get("dependencies")
    for name in cast("Table", named) if isinstance(named, dict) else ():
        if name not in dependencies:
            problems.add(("dependencies", name), unknown(name, dependencies))
    problems.check()
    return scenario_from(file, replace(theirs, data=_merged(data, upper)), ours.name)


def _merged(under: Table, upper: Table) -> Table:
    both = dict(under)
    for key, value in upper.items():
        below = both.get(key)
        mixes = isinstance(value, dict) and isinstance(below, dict) and key != _WHOLE
        both[key] = _merged(cast("Table", below), cast("Table", value)) if mixes else value
    return both


def _is_world(difference: Difference) -> bool:
    place = difference.place
    if place[0] in _WORLD:
        return True
    # A dependency that only one of them has differs as a whole.
    return place[0] == "dependencies" and (len(place) == _A_DEPENDENCY or place[-1] in _WORLD_OF_A_DEPENDENCY)


def _complaint(difference: Difference, our_file: TomlFile, file: TomlFile) -> str:
    here, there = (_brief(value) for value in (difference.scenario, difference.against))
    return (
        f"{file.name}:{file.line(difference.place)}: {difference.setting}: {there} here, and {here} in {our_file.name}: --against compares"
        " settings, so the world must be the same"
    )


def _brief(value: object) -> str:
    return "nothing" if value is None else shown(value)
