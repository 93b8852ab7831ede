"""What `guard.run` checks before anything is consumed, and turns into a run of the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdgate.errors import SettingsError
from holdgate.flow.delivery import Delivery
from holdgate.flow.fate import RetryPolicy
from holdgate.flow.inbox import Order
from holdgate.flow.needs import Needs
from holdgate.flow.place import Run
from holdgate.ports import Intake
from holdgate.runtime.dependency import Dependency

NeedsSetting = Sequence[Dependency] | Mapping[str, Sequence[Dependency]]
KeyOf = Callable[[Delivery[Any]], object]

_ORDERS = ("source", "key", "none")

# Enough to keep a dependency of 10 ms busy at 1,600 calls a second, and few enough for its connection pool.
_LANES = 16


@dataclass(frozen=True, slots=True)
class Plans:
    """A run that is known to be good, and what the runtime needs beside it. `key_of` is set with order="key" alone."""

    run: Run
    dependencies: tuple[Dependency, ...]
    key_of: KeyOf | None


def plan_run(
    intake: Intake[Any],
    needs: NeedsSetting,
    *,
    order: Order | None,
    key: KeyOf | None,
    concurrency: int | None,
    span: int,
    retry: RetryPolicy | None,
) -> Plans:
    """Check the settings of a run. Raises SettingsError with the values that clash."""
    wanted = order or intake.order
    if wanted not in _ORDERS:
        raise SettingsError(f"order={order!r} is none of {', '.join(map(repr, _ORDERS))}")
    if key is not None and wanted != "key":
        raise SettingsError(f'key= is given, but order={wanted!r} keeps no order by key: add order="key" or leave key out')
    if wanted != "source" and concurrency is None:
        concurrency = _LANES
    _at_least_one("concurrency", concurrency)
    _at_least_one("span", span)
    dependencies, names = _resolve(needs)
    if intake.names is not None:
        names.check(intake.names)
    run = Run(names, order=wanted, concurrency=concurrency, inbox=intake.inbox, span=span, retry=retry)
    return Plans(run, dependencies, (key or _key_of) if wanted == "key" else None)


def _key_of(delivery: Delivery[Any]) -> object:
    return delivery.key


def _at_least_one(name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise SettingsError(f"{name}={value!r} must be a whole number of at least 1")


def _resolve(needs: NeedsSetting) -> tuple[tuple[Dependency, ...], Needs]:
    if isinstance(needs, Mapping):
        by_name = {name: _dependencies(listed, f"needs[{name!r}]") for name, listed in needs.items()}
        every = [dependency for listed in by_name.values() for dependency in listed]
        return tuple(dict.fromkeys(every)), Needs({name: [item.name for item in listed] for name, listed in by_name.items()})
    listed = _dependencies(needs, "needs")
    return tuple(dict.fromkeys(listed)), Needs([item.name for item in listed])


def _dependencies(listed: Sequence[Dependency], where: str) -> list[Dependency]:
    if isinstance(listed, Dependency | str):
        raise SettingsError(f"{where} takes a list, got {listed!r}: write [{listed!r}]" if isinstance(listed, Dependency) else _no_name(where, listed))
    for item in listed:
        if not isinstance(item, Dependency):
            raise SettingsError(_no_name(where, item))
    return list(listed)


def _no_name(where: str, item: object) -> str:
    return f"{where} takes Dependency objects, got {item!r} ({type(item).__name__}): pass the Dependency itself, not its name"
