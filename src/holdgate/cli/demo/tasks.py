"""Several things at once, where the first that fails ends the others and is raised as it is: a person is to read it, not a group of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any


async def all_or_none(*steps: Coroutine[Any, Any, None]) -> None:
    """Return when all are through; the first that fails ends the others, and is raised as it is."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def until_over(watch: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Return when `watch` ends; raise what ends another before. A producer that is done is no reason to stop."""
    watching = asyncio.create_task(watch)
    tasks = [watching, *(asyncio.create_task(other) for other in others)]
    running = set(tasks)
    try:
        while watching in running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        await _end(tasks)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
