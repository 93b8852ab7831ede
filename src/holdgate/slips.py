"""Slips: what anybody writes by mistake on a first day, answered with the remedy where Python would answer with a riddle, or not at all.

- `guard.run(need=[payments])`: an unknown keyword gets the one that was probably meant (`suggest_keywords`).
- `Dependency("payments", failures=http.failures())`: a predicate was called where it is to be passed (`passed_uncalled`).
- `guard.run(intake, handler)` without `await`: nothing is consumed, and Python only warns when the coroutine is thrown away (`Unawaited`).
- `needs=lambda: [payments]`: a function of nothing (`refuse_function_of_nothing`).

Nothing here runs for a message, and nothing costs more than a look at a few names when all is well.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from holdgate.errors import CommandError, SettingsError

P = ParamSpec("P")
T = TypeVar("T")

# How alike two names must be, as difflib measures it: "need" and "needs" are 0.89, "failure" and "failures" 0.93.
_ALIKE = 0.6


def suggest_keywords(fn: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that an unknown keyword raises a TypeError that names the one that was probably meant."""
    names = [each.name for each in inspect.signature(fn).parameters.values() if each.kind is each.KEYWORD_ONLY]
    known = frozenset(inspect.signature(fn).parameters)

    @wraps(fn)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if not kwargs.keys() <= known:
            raise TypeError(_unknown(fn, next(name for name in kwargs if name not in known), names))
        return fn(*args, **kwargs)

    return checked


def _unknown(fn: Callable[..., Any], name: str, names: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - for an error alone

    called = fn.__qualname__.removesuffix(".__init__")
    meant = get_close_matches(name, names, n=1, cutoff=_ALIKE)
    remedy = f"did you mean {meant[0]}=?" if meant else f"it takes {', '.join(f'{each}=' for each in names)}"
    return f"{called}() got an unexpected keyword argument {name!r}: {remedy}"


def passed_uncalled(where: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a predicate that is given to a setting. A call without an exception raises SettingsError with the remedy.

    `where` shows how it is given, as in "failures=http.failures".
    """

    def decorate(fn: Callable[P, T]) -> Callable[P, T]:
        @wraps(fn)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            if not args and not kwargs:
                raise SettingsError(f"{where}() was called without an exception: pass the function itself, as in {where}")
            return fn(*args, **kwargs)

        return checked

    return decorate


def refuse_function_of_nothing(setting: str, value: object) -> None:
    """Raise SettingsError for a function that takes no argument where a list, or a function of a delivery, is meant."""
    if isinstance(value, Mapping):
        for name, each in cast("Mapping[object, object]", value).items():
            refuse_function_of_nothing(f"{setting}[{name!r}]", each)
    elif callable(value) and _takes_nothing(value):
        raise SettingsError(f"{setting} is a function that takes nothing: write the list itself, {setting}=[...], without lambda")


def _takes_nothing(fn: Callable[..., object]) -> bool:
    try:
        return not inspect.signature(fn).parameters
    except (TypeError, ValueError):  # no signature is known: its caller will see
        return False


class Unawaited:
    """Knows the coroutines of one object that nobody has awaited yet."""

    def __init__(self) -> None:
        self._made: list[Coroutine[Any, Any, Any]] = []

    def note(self, made: Coroutine[Any, Any, Any]) -> None:
        """Note a coroutine that was made just now."""
        self._made = [each for each in self._made if _is_waiting(each)]
        self._made.append(made)

    @property
    def any(self) -> bool:
        """Whether one of them has not begun: nobody awaits it, or its task has not had a step yet."""
        return any(_is_waiting(each) for each in self._made)

    def refuse(self, called: str) -> None:
        """Raise CommandError if one of them has not begun. It is closed, so that Python does not warn of it as well."""
        made, self._made = [each for each in self._made if _is_waiting(each)], []
        for each in made:
            each.close()
        if made:
            raise CommandError(
                f"{called} was not awaited, so nothing was consumed: write `await {called}`, or start it in a task group that ends"
                " inside of the guard's block"
            )


class Noting(Protocol):
    """An object that knows its unawaited coroutines."""

    unawaited: Unawaited


def noting_unawaited(fn: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, Coroutine[Any, Any, None]]:
    """Decorate a coroutine method so that its object knows, by its `unawaited`, of a coroutine that nobody awaits."""
    checked = suggest_keywords(fn)

    @wraps(fn)
    def run(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, None]:
        made = checked(*args, **kwargs)
        cast("Noting", args[0]).unawaited.note(made)
        return made

    # It is async to everybody who asks: a web framework runs what is plain in a thread.
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(run)
    else:
        vars(run)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return run


def _is_waiting(made: Coroutine[Any, Any, Any]) -> bool:
    return inspect.getcoroutinestate(made) == inspect.CORO_CREATED
