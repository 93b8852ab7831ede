"""Waiting for runs to end, whatever cancels the one who waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from holdgate.runtime.worker import Worker

log = logging.getLogger("holdgate")


async def wait_for_end(runs: Mapping[Worker, asyncio.Task[None]]) -> None:
    """Wait until all of these have ended, however often the caller is cancelled meanwhile.

    A cancellation interrupts their handlers, and is raised at the end. The caller has asked them to stop before.
    """
    cancelled: asyncio.CancelledError | None = None
    # The shield is for anyio, which cancels again at every step; what still comes through was sent by somebody who means it.
    with anyio.CancelScope(shield=True):
        while pending := [task for task in runs.values() if not task.done()]:
            try:
                await asyncio.wait(pending)
            except asyncio.CancelledError as error:
                cancelled = error
                for worker in runs:
                    worker.hurry()
    if cancelled is not None:
        raise cancelled


def log_end(worker: Worker, task: asyncio.Task[None]) -> None:
    """Say what ended a run that nobody waits for any more."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("%s ended with %s while it was drained: %s", worker.name, type(error).__name__, error)
