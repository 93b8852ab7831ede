"""Calls in handlers that wait for a slot of one dependency: first come, first served, and before messages that have not begun.

Most messages wait before their handlers, where they occupy nothing. A handler that calls a dependency a second time, or one that nobody has
declared, has begun already; what it would lose by a refusal it has to do again. So its call waits here, for as long as the limit takes.

A call of a need comes before any message, because its message has a slot already and keeps others from nothing but their turn. A call of a
dependency that nobody has declared takes turns with the messages that were refused and wait: its message has waited for nothing, and the
next one of its source calls as soon as it is done, so that the others would never come.

Nothing is asked again and again. The first in line sleeps until the time at which the limiter has a slot, or until a call has ended; the
others sleep until they are the first. While they wait, `LimitedCalls.waiting` keeps as many slots from messages, unless it is their turn.

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

# A slot is left to a message for so long after it is due (seconds): the guard's own timer may come a moment later than that of a call.
_GRACE = 0.01

# How often a thread that waits looks whether its message was taken away (seconds).
_LOOK_EVERY = 1.0

# Acquires on the event loop's thread, at this monotonic second.
Step = Callable[[float], "Permit | Rejected"]


class Slots:
    """The line of calls that wait for one circuit's limiter. To be used on the event loop's thread.

    `messages_wait` returns whether messages wait for a slot, too, before their handlers; the guard sets it.
    """

    __slots__ = ("_brief", "_circuit", "_closed", "_first", "_freed", "_is_theirs", "_lasting", "_lines", "_now", "messages_wait")

    def __init__(self, circuit: Circuit, now: Callable[[], float], lines: set[Slots]) -> None:
        self._circuit = circuit
        self._now = now
        self._lines = lines  # those of the guard that have somebody in them
        self._first = asyncio.Lock()  # held by the first in line; asyncio's is fair
        self._freed = asyncio.Event()
        self._closed = False
        self._brief = self._lasting = 0  # who waits: calls that may be refused, and calls of needs
        self._is_theirs = False  # the next slot is a message's, and not of a call that may be refused
        self.messages_wait: Callable[[], object] = lambda: False

    async def take(self, step: Step, *, within: float | None, is_over: Callable[[], bool] | None = None) -> Permit | Rejected:
        """Wait until `step` acquires, for `within` seconds at most; None means for as long as it takes.

        `is_over`: a thread waits, and this returns whether it does so in vain. Returns the last refusal then, and if the time is over.
        Raises GuardClosed if the guard is left meanwhile.
        """
        limits = self._circuit.limits
        refused = Rejected(limits.next_at(self._now()), self._circuit.state, is_limited=True)
        if within is not None and refused.retry_at is not None and refused.retry_at - self._now() > within:
            return refused
        is_brief = within is not None
        self._count(is_brief=is_brief, by=1)
        self._lines.add(self)
        try:
            async with asyncio.timeout(within), self._first:
                if is_brief and self._is_theirs:
                    await self._let_one_pass()
                found = await self._as_first(step, is_over)
                if is_brief:
                    self._is_theirs = bool(self.messages_wait())
                return found
        except TimeoutError:
            return refused
        finally:
            self._count(is_brief=is_brief, by=-1)
            if not self._brief + self._lasting:
                self._lines.discard(self)

    def _count(self, *, is_brief: bool, by: int) -> None:
        if is_brief:
            self._brief += by
        else:
            self._lasting += by
        self._keep()

    def _keep(self) -> None:
        """Keep as many slots from messages as calls wait here, except for those that it is not the turn of."""
        self._circuit.limits.waiting = self._lasting + (0 if self._is_theirs else self._brief)

    async def _let_one_pass(self) -> None:
        """Leave the next slot to a message, which takes it when it is due, or cannot use it."""
        limits = self._circuit.limits
        if self.messages_wait() and not self._closed:
            self._freed.clear()
            if not limits.has_slot(self._now()):
                await self._sleep(limits.next_at(self._now()), None)
            if limits.has_slot(self._now()):
                await asyncio.sleep(_GRACE)
        self._is_theirs = False
        self._keep()

    async def _as_first(self, step: Step, is_over: Callable[[], bool] | None) -> Permit | Rejected:
        limits = self._circuit.limits
        while True:
            if self._closed:
                raise GuardClosed(f"the guard was left while a call waited for a slot of {self._circuit.name!r}")
            self._freed.clear()
            limits.waiting = 0  # the slots are kept for those who wait here, and this is the first of them
            try:
                found = step(self._now())
            finally:
                self._keep()
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
