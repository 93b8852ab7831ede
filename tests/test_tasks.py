from __future__ import annotations

import asyncio
import re
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import holdgate
from holdgate.tasks import begin_later, is_being_cancelled

value: ContextVar[str] = ContextVar("value", default="none")

# What holds tasks of its own while user code runs beside them.
FLOORS = ("runtime", "brokers", "testing/memory")


async def test_a_task_begins_at_the_next_step_whatever_the_factory() -> None:
    """The loop's task factory is not asked: it could begin at once, or give no task at all."""
    steps: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **settings: Any) -> Any:
        raise AssertionError("asked")

    async def work() -> str:
        steps.append("work")
        return "done"

    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(factory)
    try:
        task = begin_later(work(), "work of a test")
        steps.append("made")
    finally:
        loop.set_task_factory(before)
    assert await task == "done"
    assert steps == ["made", "work"]
    assert task.get_name() == "holdgate work of a test"


async def test_a_task_has_the_callers_context_or_the_one_that_is_given() -> None:
    """A copy of the first, and the second itself."""

    async def look() -> str:
        return value.get()

    given = copy_context()
    given.run(value.set, "given")
    value.set("callers")
    assert await begin_later(look(), "look") == "callers"
    assert await begin_later(look(), "look", given) == "given"


def test_every_task_of_ours_is_made_so() -> None:
    """One that the factory makes may run before it is noted anywhere, in the middle of a turn or of a settlement."""
    root = Path(holdgate.__file__).parent
    found = {
        str(file.relative_to(root))
        for floor in FLOORS
        for file in (root / floor).rglob("*.py")
        if re.search(r"\b(create_task|ensure_future)\(", file.read_text("utf-8"))
    }
    assert found == set()


async def test_who_is_being_cancelled_knows_it() -> None:
    """While it cleans up, too, and nobody else."""
    told: list[bool] = []

    async def work() -> None:
        told.append(is_being_cancelled())
        try:
            await asyncio.sleep(3600)
        finally:
            told.append(is_being_cancelled())

    task = begin_later(work(), "work of a test")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == [False, True]
