"""Make a failing scenario small: leave things out, one after the other, for as long as it goes on failing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

from holdgate.errors import SettingsError
from holdgate_lab.fleet.extras import Extras
from holdgate_lab.fleet.scenario import DependencySpec, Scenario, TopicSpec

T = TypeVar("T")


def shrink(scenario: Scenario, still_fails: Callable[[Scenario], bool], most: int = 500) -> Scenario:
    """The smallest scenario that this way finds, after at most `most` trials. `still_fails` must hold for the one given."""
    trials = 0
    shrunk = True
    while shrunk and trials < most:
        shrunk = False
        for candidate in _smaller(scenario):
            trials += 1
            if still_fails(candidate):
                scenario, shrunk = candidate, True
                break
            if trials >= most:
                break
    return scenario


def shrink_extras(extras: Extras, still_fails: Callable[[Extras], bool]) -> Extras:
    """The fewest extras with which it goes on failing."""
    shrunk = True
    while shrunk:
        shrunk = False
        for candidate in _fewer(extras):
            if still_fails(candidate):
                extras, shrunk = candidate, True
                break
    return extras


def _fewer(extras: Extras) -> Iterator[Extras]:
    for commands in _each_left_out(extras.commands):
        yield replace(extras, commands=commands)
    yield from _with_defaults(extras, ("batch", "fallback", "failing_fallbacks", "claims", "retry_after"))


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Simpler scenarios, those that leave out most first."""
    for topics in _each_left_out(scenario.topics):
        yield replace(scenario, topics=topics)
    for queues in _each_left_out(scenario.queues):
        yield replace(scenario, queues=queues)
    for members in _each_left_out(scenario.members):
        yield replace(scenario, members=members)
    for faults in _each_left_out(scenario.faults):
        yield replace(scenario, faults=faults)
    yield from _without_dependencies(scenario)
    if scenario.workers > 1:
        yield replace(scenario, workers=scenario.workers - 1)
    yield from _with_less_in_streams(scenario)
    yield from _plainer(scenario)


def _without_dependencies(scenario: Scenario) -> Iterator[Scenario]:
    for spec in scenario.dependencies:
        name = spec.name
        yield replace(
            scenario,
            dependencies=tuple(each for each in scenario.dependencies if each.name != name),
            faults=tuple(each for each in scenario.faults if each.dependency != name),
            topics=tuple(replace(each, needs=_without(each.needs, name)) for each in scenario.topics),
            queues=tuple(replace(each, needs=_without(each.needs, name)) for each in scenario.queues),
        )


def _each_left_out(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    for index in range(len(items)):
        yield items[:index] + items[index + 1 :]


def _without(needs: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(need for need in needs if need != name)


def _with_less_in_streams(scenario: Scenario) -> Iterator[Scenario]:
    for index, topic in enumerate(scenario.topics):
        for less in _less(topic):
            yield replace(scenario, topics=(*scenario.topics[:index], less, *scenario.topics[index + 1 :]))
    for index, queue in enumerate(scenario.queues):
        for less in _less(queue):
            yield replace(scenario, queues=(*scenario.queues[:index], less, *scenario.queues[index + 1 :]))


def _less(spec: Any) -> Iterator[Any]:
    if isinstance(spec, TopicSpec) and spec.partitions > 1:
        yield replace(spec, partitions=spec.partitions - 1)
    for backlog in (spec.backlog // 2, spec.backlog - 1):
        if 0 <= backlog < spec.backlog:
            yield replace(spec, backlog=backlog)
    if spec.rate:
        yield replace(spec, rate=0.0)
    for poison in _each_left_out(spec.poison):
        yield replace(spec, poison=poison)
    for need in spec.needs:
        yield replace(spec, needs=_without(spec.needs, need))
    yield from _with_defaults(spec, ("gap", "keys", "delivery_limit", "nack_counts", "single_active"))


def _plainer(scenario: Scenario) -> Iterator[Scenario]:
    """The same with the defaults of one setting more."""
    yield from _with_defaults(
        scenario, ("concurrency", "order", "span", "inbox", "prefetch", "timeout", "retry", "dead_letters", "commit_every", "drain_timeout")
    )
    for index, spec in enumerate(scenario.dependencies):
        for plainer in _plainer_dependency(spec):
            yield replace(scenario, dependencies=(*scenario.dependencies[:index], plainer, *scenario.dependencies[index + 1 :]))
    for index, fault in enumerate(scenario.faults):
        for plain in _with_defaults(fault, ("latency", "factor", "ratio", "down", "up")):
            yield replace(scenario, faults=(*scenario.faults[:index], plain, *scenario.faults[index + 1 :]))


def _plainer_dependency(spec: DependencySpec) -> Iterator[DependencySpec]:
    yield from _with_defaults(spec, ("capacity", "timeout", "probe", "spread"))
    for circuit in _with_defaults(spec.circuit, tuple(each.name for each in fields(spec.circuit))):
        yield replace(spec, circuit=circuit)


def _with_defaults(spec: Any, names: tuple[str, ...]) -> Iterator[Any]:
    """Copies that each have the default in the place of one value; those that would not be understood are left out."""
    known: dict[str, Any] = {each.name: each.default for each in fields(spec)}
    for name in names:
        if name not in known or getattr(spec, name) == known[name]:
            continue
        try:
            yield replace(spec, **{name: known[name]})
        except SettingsError:
            continue
