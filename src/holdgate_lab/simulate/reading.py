"""A scenario from a TOML file: its tables are the dataclasses of a scenario, and what would do nothing is refused.

How the circuits of dependencies are put together, sections.py of holdgate's own settings says: both files have the same sections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from holdgate.config.fields import build, shown
from holdgate.config.sections import WORKING, Table, resolve
from holdgate.config.tables import DependencyTable
from holdgate.config.toml_file import Place, Problems, TomlFile, Traced, read_toml
from holdgate.errors import SettingsError
from holdgate_lab.fleet.scenario import Fault, MemberEvent, Scenario
from holdgate_lab.simulate.comparison import streams_of

# What a fault of each kind can be told; everything else would do nothing.
FAULT_KEYS: Mapping[str, frozenset[str]] = {
    "refuse": frozenset({"latency"}),
    "hang": frozenset({"latency"}),
    "slow": frozenset({"factor"}),
    "errors": frozenset({"ratio"}),
    "capacity": frozenset({"ratio"}),
    "cold": frozenset({"ratio", "warm_up"}),
    "flap": frozenset({"down", "up", "latency"}),
    "key": frozenset({"key"}),
}
# After these a worker is gone until it joins again.
_ENDS = frozenset({"leave", "kill"})
# A day by the second. All of them are in memory, and in the document.
MOST_SAMPLES = 100_000
_FAULT_ALWAYS = frozenset({"at", "until", "dependency", "kind"})


def read_scenario(path: Path) -> Scenario:
    """The scenario in this file. Raises SettingsError with everything that is wrong in it, each with its line."""
    return scenario_of(read_toml(path), path.stem)


def scenario_of(file: TomlFile, name: str) -> Scenario:
    """The scenario that was read; `name` is its name unless it says another. Raises SettingsError."""
    return scenario_from(file, simulated(file), name)


def simulated(file: TomlFile) -> Traced:
    """The file's tables with the circuits of dependencies complete, and without what only a worker looks at. Raises SettingsError."""
    traced = resolve(file)
    dependencies = traced.data.get("dependencies", {})
    if not isinstance(dependencies, dict):  # `build` says so
        return traced
    problems = Problems(file, traced)
    kept: Table = {}
    for name, table in cast("Table", dependencies).items():
        entries = cast("Table", table) if isinstance(table, dict) else {}
        working = {key: value for key, value in entries.items() if key in WORKING}
        build(DependencyTable, working, ("dependencies", name), problems, {"name": name})
        kept[name] = {key: value for key, value in entries.items() if key not in WORKING} if isinstance(table, dict) else table
    problems.check()
    return replace(traced, data={**traced.data, "dependencies": kept})


def scenario_from(file: TomlFile, traced: Traced, name: str) -> Scenario:
    """The scenario that the tables describe; what is wrong is told with the lines of `file`. Raises SettingsError."""
    problems = Problems(file, traced)
    scenario = build(Scenario, {"name": name, **traced.data}, (), problems)
    if scenario is not None:
        for place, words in (*_idle_settings(file), *_idle_events(scenario), *_too_many_samples(scenario)):
            problems.add(place, words)
    problems.check()
    if scenario is None:  # then there was a problem
        raise SettingsError(f"{file.name}: is no scenario")
    return scenario


def _idle_settings(file: TomlFile) -> Iterator[tuple[Place, str]]:
    """Settings of a fault or an event that its kind does not look at."""
    for number, fault in enumerate(cast("list[Table]", file.data.get("faults", []))):
        kind = str(fault["kind"])
        for key in sorted(fault.keys() - _FAULT_ALWAYS - FAULT_KEYS[kind]):
            takes = " and ".join(sorted(FAULT_KEYS[kind]))
            yield ("faults", number, key), f'does nothing in a fault of kind "{kind}", which takes {takes}'
    for number, member in enumerate(cast("list[Table]", file.data.get("members", []))):
        if "seconds" in member and member["kind"] != "freeze":
            yield ("members", number, "seconds"), f"does nothing in an event of kind {shown(member['kind'])}: only a freeze takes it"


def _idle_events(scenario: Scenario) -> Iterator[tuple[Place, str]]:
    """Faults and events that would change nothing."""
    for number, fault in enumerate(scenario.faults):
        if fault.at >= scenario.seconds:
            yield ("faults", number, "at"), _too_late(fault, scenario)
        reason = _no_effect(fault, scenario)
        if reason:
            yield ("faults", number, "kind"), reason
    alive = set(range(scenario.workers))
    for number, member in sorted(enumerate(scenario.members), key=lambda entry: entry[1].at):
        if member.at >= scenario.seconds:
            yield ("members", number, "at"), _too_late(member, scenario)
        elif (member.worker in alive) == (member.kind == "join"):
            is_there = "is there already" if member.worker in alive else "is not there"
            yield ("members", number, "kind"), f'"{member.kind}" does nothing: worker {member.worker} {is_there} at {member.at:g} s'
        alive = alive | {member.worker} if member.kind == "join" else alive - {member.worker} if member.kind in _ENDS else alive


def _too_many_samples(scenario: Scenario) -> Iterator[tuple[Place, str]]:
    samples = scenario.seconds / scenario.sample_every
    if samples > MOST_SAMPLES:
        least = scenario.seconds / MOST_SAMPLES
        yield ("sample_every",), f"{samples:.0f} samples are more than anybody looks at: give {least:g} or more"


def _too_late(event: Fault | MemberEvent, scenario: Scenario) -> str:
    return f"{event.at:g} is not before the end, and the run is over after seconds = {scenario.seconds:g}"


def _no_effect(fault: Fault, scenario: Scenario) -> str | None:
    name = fault.dependency
    capacity = next(spec.capacity for spec in scenario.dependencies if spec.name == name)
    if fault.kind in {"capacity", "cold"} and capacity is None:
        return f'"{fault.kind}" does nothing while dependencies.{name} has no capacity: give it one'
    keys = max((stream.keys for stream in streams_of(scenario) if name in stream.needs), default=0)
    if fault.kind == "key" and fault.key >= keys:
        return f'"key" does nothing: nothing that needs {name} has a key number {fault.key}; give its topic or queue more keys'
    return None
