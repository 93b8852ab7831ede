"""Exceptions that end the process, and no message: KeyboardInterrupt and SystemExit, alone or within a group.

Raised in a task they stop the event loop on the spot, and `asyncio.run` then cancels the broker client's own tasks together with ours:
nobody answers a commit any more, or a goodbye. So a handler's exit is kept, its guard's runs end at once, without waiting for handlers,
and `guard.run` raises it when they have.
"""

from __future__ import annotations

from typing import cast

EXITS = (KeyboardInterrupt, SystemExit)


def exit_in(error: BaseException | None) -> BaseException | None:
    """The exit that this is, or the first one in a group of any depth; None when the process goes on."""
    ahead: list[BaseException | None] = [error]
    while ahead:
        met = ahead.pop()
        if isinstance(met, EXITS):
            return met
        if isinstance(met, BaseExceptionGroup):
            ahead.extend(reversed(cast("BaseExceptionGroup[BaseException]", met).exceptions))
    return None
