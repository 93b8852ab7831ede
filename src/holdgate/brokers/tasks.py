"""Tasks of the intake's own: no scope of the user's cancels them, and one that dies is heard of.

Tasks that run beside the polls: one that dies must be heard of, or partitions would stay paused, and offsets uncommitted, in silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from holdgate.tasks import begin_later


def run_beside(work: Coroutine[Any, Any, None], name: str, failed: Callable[[BaseException], None]) -> asyncio.Task[None]:
    """Start `work` as a task of its own; `failed` gets what it raises."""
    task = begin_later(work, name)
    task.add_done_callback(lambda ended: _report(ended, failed))
    return task


async def within(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Wait for `work` at most so long, and then leave it alone; returns whether it ended. Raises what it raised.

    A channel call that is cancelled, or given a timeout, closes its channel with everything unacked on it.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait((task,), timeout=seconds)
    if not task.done():
        task.add_done_callback(_forget)
    elif not task.cancelled():  # aiormq cancels the calls of a channel that closes; nobody has cancelled us
        task.result()
    return task.done()


def _forget(ended: asyncio.Task[Any]) -> None:
    if not ended.cancelled():
        ended.exception()


def _report(ended: asyncio.Task[None], failed: Callable[[BaseException], None]) -> None:
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        failed(error)
