"""Scenario files: the keys of every table, what each kind of fault looks at, and the scenarios and worlds that come with holdgate."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

from docs.generate.scenario_meanings import FAULTS, MEANINGS, MEMBERS
from docs.generate.tables import table

from holdgate.config.fields import NONE, described, hints_of, says_none, shown
from holdgate_lab.fleet.scenario import (
    DependencySpec,
    Fault,
    FaultKind,
    MemberEvent,
    MemberEventKind,
    QueueSpec,
    Scenario,
    TopicSpec,
)
from holdgate_lab.simulate.reading import FAULT_KEYS, scenario_of
from holdgate_lab.simulate.shipped import named, shipped
from holdgate_lab.worlds.catalogue import WORLDS
from holdgate_lab.worlds.hard import HARD_WORLDS
from holdgate_lab.worlds.more import MORE_WORLDS
from holdgate_lab.worlds.odd import ODD_WORLDS
from holdgate_lab.worlds.world import Promise

_GOLDEN = Path(__file__).parents[2] / "tests" / "lab" / "simulate" / "golden"
_TABLES = (Scenario, TopicSpec, QueueSpec, DependencySpec, Fault, MemberEvent)


def keys_table(owner: str) -> str:
    """The keys of one table of a scenario file. Raises KeyError for a key without a meaning."""
    cls = {each.__name__: each for each in _TABLES}[owner]
    # What has a name gets it from the head of its table.
    fields = [field for field in dataclasses.fields(cls) if field.name != "name" or cls is Scenario]
    hints, meanings = hints_of(cls), MEANINGS[owner]
    rows = [(f"`{field.name}`", described(hints[field.name]), _default(field, hints[field.name]), meanings[field.name]) for field in fields]
    return table(("key", "is", "left out", "meaning"), rows)


def faults_table() -> str:
    """Every kind of fault with the keys that it looks at."""
    rows = [(f'`"{kind}"`', FAULTS[kind], ", ".join(f"`{key}`" for key in sorted(FAULT_KEYS[kind]))) for kind in get_args(FaultKind)]
    return table(("kind", "what is wrong", "looks at"), rows)


def members_table() -> str:
    """Every kind of event of a worker."""
    return table(("kind", "what happens"), [(f'`"{kind}"`', MEMBERS[kind]) for kind in get_args(MemberEventKind)])


def shipped_table() -> str:
    """The scenarios that come with holdgate."""
    return table(("name", "what it teaches"), [(f"`{name}`", scenario_of(named(name), name).description) for name in shipped()])


def worlds_table() -> str:
    """The worlds with a limit, and what is promised for each."""
    every = {**WORLDS, **MORE_WORLDS, **HARD_WORLDS, **ODD_WORLDS}
    rows = [(world.letter, f"`{name}`", world.teaches, promised(world.promise)) for name, world in every.items()]
    return table(("", "name", "what it is", "promised"), rows)


def promised(promise: Promise) -> str:
    """A promise in words."""
    in_vain = "none in vain" if promise.waste == 0 else f"{promise.waste * 100:.2g} % in vain"
    words = [f"{promise.goodput:.0%} of the possible", in_vain]
    if promise.in_flight is not None:
        words.append(f"{promise.in_flight} in flight")
    if promise.calls_a_minute is not None:
        words.append(f"{promise.calls_a_minute:g} calls a minute")
    if promise.fairness is not None:
        words.append(f"fairness {promise.fairness:.2f}")
    if promise.back_after is not None:
        words.append(f"back after {promise.back_after:g} s")
    return ", ".join(words)


def report(name: str) -> str:
    """What `holdgate simulate NAME` prints into a file."""
    return f"```\n{(_GOLDEN / f'{name}.txt').read_text(encoding='utf-8').rstrip()}\n```"


def source(name: str) -> str:
    """The file of a scenario that comes with holdgate."""
    return f"```toml\n{named(name).text.rstrip()}\n```"


def _default(field: dataclasses.Field[object], hint: object) -> str:
    if field.default is dataclasses.MISSING:
        return "its file's name" if field.name == "name" else "must be given"
    if field.default is None:
        return "nothing" if says_none(hint) else f'`"{NONE}"`'
    if field.default == ():
        return "nothing"
    return "their defaults" if dataclasses.is_dataclass(field.default) else f"`{shown(field.default)}`"
