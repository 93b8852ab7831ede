"""One more slip (slips.py): `guard.run(intake, handler)` without `await`.

Nothing is consumed then, and Python only warns when the coroutine is thrown away, which may be never. So a guard knows the coroutines that
were made of it, and raises for one that has not begun when its block ends.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, Protocol, cast

from holdgate.errors import CommandError
from holdgate.slips import suggest_keywords

P = ParamSpec("P")


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
