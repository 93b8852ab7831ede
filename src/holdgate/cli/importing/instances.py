"""Which properties each instance of Resilience4j has: its own, and those of the configuration that it is based on.

The order is that of Resilience4j's own classes (`CommonCircuitBreakerConfigurationProperties` and its like): the instance, then its
`baseConfig` and what that is based on, and without one the configuration `default`. A circuit breaker also takes a configuration of its own
name, and its `baseConfig` has no `default` under it, while that of the other modules has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from holdgate.cli.importing.properties import Property, SpringDocument, spelled

ROOT = "resilience4j"
MODULES = ("circuitbreaker", "ratelimiter", "bulkhead", "threadpoolbulkhead", "retry", "timelimiter")
DEFAULT = "default"

# What instances are called; the last two are names of older versions.
_INSTANCES = frozenset({"instances", "backends", "limiters"})
_BASE = "baseconfig"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance with all that holds for it, by the spelling of Spring's relaxed binding. Its own values come first."""

    module: str
    name: str
    values: Mapping[str, Property]
    line: int = 1
    """Where its first own value stands; that of what it inherits, if it has none."""


@dataclass
class Application:
    """What a file says of Resilience4j, for the profiles that were asked for."""

    instances: list[Instance] = field(default_factory=list[Instance])
    """Those that are named, in the order of the file. A module that has none but a configuration `default` has an instance of that name."""
    others: list[Property] = field(default_factory=list[Property])
    """Properties of Resilience4j that belong to no instance."""
    problems: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """Lines, and what is wrong there."""
    left_out: list[SpringDocument] = field(default_factory=list[SpringDocument])
    """Documents that hold for other profiles."""


@dataclass
class _Module:
    instances: dict[str, dict[str, Property]] = field(default_factory=dict[str, dict[str, Property]])
    configs: dict[str, dict[str, Property]] = field(default_factory=dict[str, dict[str, Property]])
    used: set[str] = field(default_factory=set[str])


def application(documents: Iterable[SpringDocument], profiles: Sequence[str] = ()) -> Application:
    """Return the instances. `profiles` are those that are active: a document for others is left out, and a later one wins."""
    found = Application()
    modules = {name: _Module() for name in MODULES}
    for document in documents:
        if document.profiles and not set(profiles).intersection(document.profiles):
            found.left_out.append(document)
            continue
        for said in document.said:
            _sort(said, modules, found)
    for name, module in modules.items():
        _resolve(name, module, found)
    return found


def _sort(said: Property, modules: Mapping[str, _Module], found: Application) -> None:
    path = [spelled(step) for step in said.path]
    if path[:1] != [ROOT]:
        return
    module = modules.get(path[1]) if len(path) > 1 else None
    if module is None or len(path) < 5:  # noqa: PLR2004 - root, module, instances, name, property
        found.others.append(said)
    elif path[2] in _INSTANCES:
        module.instances.setdefault(said.path[3], {})[path[4]] = said
    elif path[2] == "configs":
        module.configs.setdefault(said.path[3], {})[path[4]] = said
    else:
        found.others.append(said)


def _resolve(name: str, module: _Module, found: Application) -> None:
    named = module.instances or ({DEFAULT: {}} if DEFAULT in module.configs else {})
    for instance, own in named.items():
        values = dict(own)
        for base in _bases(name, instance, own, module, found):
            module.used.add(base)
            values = {**module.configs[base], **values}
        values.pop(_BASE, None)
        line = min((said.line for said in (own or values).values()), default=1)
        found.instances.append(Instance(name, instance, values, line))
    for unused in module.configs.keys() - module.used - {DEFAULT}:
        found.others.extend(module.configs[unused].values())


def _bases(name: str, instance: str, own: Mapping[str, Property], module: _Module, found: Application) -> list[str]:
    """Return the configurations under an instance, the nearest first."""
    bases: list[str] = []
    table = own
    while _BASE in table:
        said = table[_BASE]
        if said.text not in module.configs:
            found.problems.append((said.line, f"{said.name}: there is no configuration {said.text!r} under resilience4j.{name}.configs"))
            return bases
        if said.text in bases:
            found.problems.append((said.line, f"{said.name}: {said.text!r} is based on itself"))
            return bases
        bases.append(said.text)
        table = module.configs[said.text]
    if name == "circuitbreaker":
        under = [] if bases else [each for each in (instance, DEFAULT) if each in module.configs][:1]
    else:
        under = [DEFAULT] if DEFAULT in module.configs and DEFAULT not in bases else []
    return [*bases, *under]
