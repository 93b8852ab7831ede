"""Calls in handlers that wait for a slot of one dependency: first come, first served, and before any message that has not begun.

Most messages wait before their handlers, where they occupy nothing. A handler that calls a dependency a second time, or one that nobody has
declared, has begun already; what it would lose by a refusal it has to do again. So its call waits here, for as long as the limit takes.

Nothing is asked again and again. The first in line sleeps until the time at which the limiter has a slot, or until a call has ended; the
others sleep until they are the first. While they wait, `LimitedCalls.waiting` keeps as many slots from messages.

What is ugly: a handler in a thread waits in its thread, since nothing else could hold its place. It looks once a second whether its message
is still its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from holdgate.core import Rejected
from holdgate.errors import GuardClosed

if TYPE_CHECKING:
    from holdgate.core import Circuit, Permit

# A call that may be refused at no loss waits for so long (seconds): for the next token of a rate, and not for a quota of the day. An open
# circuit waits as long at least.
BRIEFLY = 5.0

# How often a thread that waits looks whether its message was taken away (seconds).
_LOOK_EVERY = 1.0

# Acquires on the event loop's thread, at this monotonic second.
Step = Callable[[float], "Permit | Rejected"]


class Slots:
    """The line of calls that wait for one circuit's limiter. To be used on the event loop's thread."""

    __slots__ = ("_circuit", "_closed", "_first", "_freed", "_lines", "_now")

    def __init__(self, circuit: Circuit, now: Callable[[], float], lines: set[Slots]) -> None:
        self._circuit = circuit
        self._now = now
        self._lines = lines  # those of the guard that have somebody in them
        self._first = asyncio.Lock()  # held by the first in line; asyncio's is fair
        self._freed = asyncio.Event()
        self._closed = False

    async def take(self, step: Step, *, within: float | None, is_over: Callable[[], bool] | None = None) -> Permit | Rejected:
        """Wait until `step` acquires, for `within` seconds at most; None means for as long as it takes.

        `is_over`: a thread waits, and this returns whether it does so in vain. Returns the last refusal then, and if the time is over.
        Raises GuardClosed if the guard is left meanwhile.
        """
        limits = self._circuit.limits
        refused = Rejected(limits.next_at(self._now()), self._circuit.state, is_limited=True)
        if within is not None and refused.retry_at is not None and refused.retry_at - self._now() > within:
            return refused
        limits.waiting += 1
        self._lines.add(self)
        try:
            async with asyncio.timeout(within), self._first:
                return await self._as_first(step, is_over)
        except TimeoutError:
            return refused
        finally:
            limits.waiting -= 1
            if not limits.waiting:
                self._lines.discard(self)

    async def _as_first(self, step: Step, is_over: Callable[[], bool] | None) -> Permit | Rejected:
        limits = self._circuit.limits
        while True:
            if self._closed:
                raise GuardClosed(f"the guard was left while a call waited for a slot of {self._circuit.name!r}")
            self._freed.clear()
            kept, limits.waiting = limits.waiting, 0  # the slots are kept for those who wait here, and this is the first of them
            try:
                found = step(self._now())
            finally:
                limits.waiting = kept
            if not isinstance(found, Rejected) or not found.is_limited or (is_over is not None and is_over()):
                return found
            await self._sleep(found.retry_at, None if is_over is None else _LOOK_EVERY)

    async def _sleep(self, until: float | None, most: float | None) -> None:
        wait = None if until is None else max(0.0, until - self._now())
        if most is not None:
            wait = most if wait is None else min(wait, most)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._freed.wait()

    def look(self) -> None:
        """Let the first in line look again if there may be a slot: a call has ended, or something else has happened."""
        if self._circuit.limits.has_slot(self._now()):
            self._freed.set()

    def close(self) -> None:
        """Let everybody go: the guard is left."""
        self._closed = True
        self._freed.set()
