"""Tasks of holdgate's own, of which none begins inside the step that makes it.

`asyncio.create_task` uses the loop's task factory, and that may start a task immediately: `asyncio.eager_task_factory` of Python 3.12 runs
the first step of a task before it returns. Then a lane would run its handler in the middle of a turn, and work could end before its task is
recorded anywhere. Nothing here was written for such orders. So every task of ours is made here. Tasks that a handler makes still come from
the factory.

The brokers' tasks run beside the polls. No scope of the user cancels them. If one of them died silently, partitions would stay paused and
offsets uncommitted; so `run_beside` reports what it raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

# For a process that must end before it had a message in hand, or whose loop ends: a broker in reach answers within that time.
GIVE_UP_WITHIN = 0.25


def is_being_cancelled() -> bool:
    """Return whether the task that asks is being cancelled. Only the guard, and a loop that shuts down, can reach a task of the guard.

    Such a loop cancels every task, the broker client's own too. Then no commit and no close is answered any more.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def begin_later(work: Coroutine[Any, Any, T], name: str, context: Context | None = None) -> asyncio.Task[T]:
    """Return a task that begins at the loop's next step, whatever the task factory. `context` None means a copy of the caller's."""
    return asyncio.Task(work, loop=asyncio.get_running_loop(), name=f"holdgate {name}", context=context)


def run_beside(work: Coroutine[Any, Any, None], name: str, failed: Callable[[BaseException], None]) -> asyncio.Task[None]:
    """Start `work` as a task of its own. `failed` gets what it raises."""
    task = begin_later(work, name)
    task.add_done_callback(lambda ended: _report(ended, failed))
    return task


async def within(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Wait for `work` at most so long, and then leave it alone. Returns whether it ended, and raises what it raised.

    It is not cancelled: a channel call that is cancelled, or given a timeout, closes its channel with everything unacked on it.
    """
    task = asyncio.ensure_future(work)  # aio-pika may give a task here, and nothing is handed over before or after
    await asyncio.wait((task,), timeout=seconds)
    if not task.done():
        task.add_done_callback(_forget)
    elif not task.cancelled():  # aiormq cancels the calls of a channel that closes, which is no cancellation of ours
        task.result()
    return task.done()


async def wait_at_most(work: Coroutine[Any, Any, None], name: str, seconds: float) -> None:
    """Wait for `work`, a task of ours, for at most `seconds`. Raises what it raised; after that it goes on by itself."""
    task = begin_later(work, name)
    await asyncio.wait((task,), timeout=seconds)
    if task.done():
        task.result()


def _forget(ended: asyncio.Task[Any]) -> None:
    if not ended.cancelled():
        ended.exception()


def _report(ended: asyncio.Task[None], failed: Callable[[BaseException], None]) -> None:
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        failed(error)
