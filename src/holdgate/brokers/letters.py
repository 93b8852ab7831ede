"""What the dead letters of every broker share: who opens and closes the target, and how a target is named.

One `DeadLetters` object may serve several runs. Each of them opens it and closes it, and only the first and the last one really do that.
`Runs` counts them. There is a race: two runs may begin in the same step of the event loop. The second must not go on before the target is
open, so it waits for a lock. If the first one fails, the second finds a count of 0 and tries for itself. A run that has entered and then
fails its check leaves again, which closes the target if no other run is in. Closing has the lock as well: a run that begins meanwhile waits
until the target is closed, and opens it anew.

`Template` is a name with a field, such as "{topic}.dead". A mistake in it must end the start of a run, and not the first rejection.

`no_reject` is the error of a run without dead letters, at a broker that cannot get rid of a message.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Awaitable, Callable
from typing import Any

from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import Delivery
from holdgate.tasks import GIVE_UP_WITHIN


class Runs:
    """Counts the runs that use one target. `stop` closes the target, within the seconds that it is given; usually `close_within`."""

    def __init__(self, stop: Callable[[float], Awaitable[None]], close_within: float) -> None:
        self._stop = stop
        self._close_within = close_within
        self._opening = asyncio.Lock()
        self._count = 0

    @property
    def any(self) -> bool:
        """Whether a run uses the target now."""
        return self._count > 0

    async def enter(self, start: Callable[[], Awaitable[None]], check: Callable[[], Awaitable[None]]) -> None:
        """Open the target for one more run, and check it. Raises what `start` and `check` raise.

        `start` runs for each of them, so that it can refuse a target that has ended meanwhile. It opens the target for the first one.
        """
        async with self._opening:
            await start()
            self._count += 1
        try:
            await check()
        except BaseException as error:
            await self._leave(GIVE_UP_WITHIN if isinstance(error, asyncio.CancelledError) else self._close_within)
            raise

    async def leave(self) -> None:
        """Close the target if this was the last run. Does nothing if no run uses it."""
        await self._leave(self._close_within)

    async def _leave(self, seconds: float) -> None:
        if not self._count:
            return
        async with self._opening:  # a run that comes now opens anew afterwards: what it opened meanwhile would be closed with the rest
            is_last = self._count == 1  # asked here, since a run that waited for the lock as well is in by now
            self._count = max(0, self._count - 1)
            if is_last:
                await self._stop(seconds)


class Template:
    """The name of a target, given as the setting `setting`, with `{field}` for the topic or queue from which a message came.

    Raises SettingsError if `text` is empty, or has anything else in braces.
    """

    __slots__ = ("_field", "_setting", "text")

    def __init__(self, setting: str, text: str, field: str) -> None:
        self._setting = setting
        self._field = field
        self.text = text
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
            text.format(**{field: ""})  # parsing accepts a field with an attribute, an index or a format of numbers
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise self._error() from error
        if not text or fields - {field}:
            raise self._error()

    def fill(self, name: str) -> str:
        """Return the target for messages from `name`."""
        return self.text.format(**{self._field: name})

    def fill_elsewhere(self, name: str) -> str:
        """Return the target for messages from `name`. Raises SettingsError if that is `name` itself."""
        target = self.fill(name)
        if target == name:
            raise SettingsError(f"{self._setting}={self.text!r} would send the dead letters of {name!r} back to where they came from")
        return target

    def _error(self) -> SettingsError:
        example = f"{{{self._field}}}"
        return SettingsError(f'{self._setting} must be a name, with {example} alone in braces, got {self.text!r}: write "{example}.dead"')


def no_reject(delivery: Delivery[Any], why: str) -> IntakeError:
    """Return the error for a delivery that is to be rejected where that cannot be; `why` follows "cannot be rejected: "."""
    return IntakeError(f"{delivery.source}@{delivery.position} cannot be rejected: {why}, so give the run dead_letters")
