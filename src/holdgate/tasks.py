"""Tasks of holdgate's own: none of them begins inside the step that makes it.

`asyncio.create_task` asks the loop's task factory, and that may begin at once: `asyncio.eager_task_factory` of Python 3.12 runs a task's
first step before it returns. A lane that runs a handler in the middle of a turn, or work that ends before its task is noted anywhere,
are orders that nothing here was written for. So every task of ours is made here; what a handler makes is made by the factory as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def is_being_cancelled() -> bool:
    """Whether the task that asks is being cancelled. One that the guard holds nobody can reach but the guard, and a loop that shuts down.

    Such a loop cancels every task, the broker client's own with ours: no commit is answered any more, and no goodbye.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def begin_later(work: Coroutine[Any, Any, T], name: str, context: Context | None = None) -> asyncio.Task[T]:
    """A task that begins at the loop's next step, whatever the task factory. `context` None: a copy of the caller's."""
    return asyncio.Task(work, loop=asyncio.get_running_loop(), name=f"holdgate {name}", context=context)
