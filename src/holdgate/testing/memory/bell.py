"""A bell: whoever waits is woken when something changed, or when the time is over. It remembers nothing."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes everybody who waits at the moment it rings.

    Look first, and wait without an await in between: then no ring can fall into the gap. Built from futures and loop timers alone, so
    that a loop with virtual time advances it.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] = {}  # in the order in which they came, the same in every process

    def ring(self) -> None:
        """Wake them all; those who come later wait for the next ring."""
        for waiter in tuple(self._waiters):
            _wake(waiter)

    async def wait(self, timeout: float | None = None) -> None:
        """Wait for a ring, at most `timeout` seconds; None: for ever. Does not tell which it was."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _wake, waiter)
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
