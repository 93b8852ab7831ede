"""Tasks that run beside the polls: one that dies must be heard of, or partitions would stay paused, and offsets uncommitted, in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from holdgate.tasks import begin_later


def run_beside(work: Coroutine[Any, Any, None], name: str, failed: Callable[[BaseException], None]) -> asyncio.Task[None]:
    """Start `work` as a task of its own; `failed` gets what it raises."""
    task = begin_later(work, f"kafka {name}")
    task.add_done_callback(lambda ended: _report(ended, failed))
    return task


def _report(ended: asyncio.Task[None], failed: Callable[[BaseException], None]) -> None:
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        failed(error)
