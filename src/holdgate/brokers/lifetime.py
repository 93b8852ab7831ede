"""The two ends of an intake: it opens once and closes once, whatever is cancelled meanwhile.

A guard opens an intake in a task that may be cancelled, and closes it in another. Three things can cross:

- Opening fails, or is cancelled. What it has begun must not stay behind, so the intake closes before the error goes on.
- Two close: the guard, and the application in its `finally`. The second waits for the first, and nothing is given back twice.
- A close is cancelled, as by a loop that shuts down. Half a close leaves messages locked and a member that the group waits for. So it runs
  in a task of its own, which goes on.

`given_up` is for an end that nobody waits for, or that comes together with the loop's: it does not wait for the broker's answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from holdgate.errors import IntakeError
from holdgate.tasks import begin_later, is_being_cancelled


class Lifetime:
    """Opens and closes one intake. `end` is what closing does; `name` is the broker's, for the name of its task.

    `given_up` is whether the broker's answers are not worth waiting for: opening was cancelled, or the loop shuts down.
    """

    __slots__ = ("_begun", "_closing", "_end", "_name", "given_up")

    def __init__(self, end: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._end = end
        self._name = name
        self._begun = False
        self._closing: asyncio.Task[None] | None = None
        self.given_up = False

    @property
    def is_closing(self) -> bool:
        """Whether it closes, or is closed."""
        return self._closing is not None

    async def open(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `begin`, and close if it fails, before its error goes on. Raises IntakeError unless it is the first time."""
        if self._begun or self._closing is not None:
            raise IntakeError("this intake is open already, or was closed: an intake opens once, so make a new one")
        self._begun = True
        try:
            await begin()
        except BaseException as error:
            self.given_up = isinstance(error, asyncio.CancelledError)
            await self.close()
            raise

    async def close(self) -> None:
        """Close, or wait for the close that is under way. If the caller is cancelled, the close goes on."""
        if self._closing is None:
            self.given_up = self.given_up or is_being_cancelled()
            self._closing = begin_later(self._end(), f"{self._name} close")
        await asyncio.shield(self._closing)
