from __future__ import annotations

import asyncio
import re
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

import pytest

import holdgate
from holdgate.tasks import begin_later, is_being_cancelled, wait_at_most
from holdgate.testing import in_virtual_time

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


@in_virtual_time
async def test_work_that_takes_longer_is_waited_for_no_more_and_goes_on() -> None:
    """It is the guard's, and the group does not wait for it."""
    steps: list[str] = []

    async def work() -> None:
        await asyncio.sleep(5.0)
        steps.append("done")

    began = asyncio.get_running_loop().time()
    await wait_at_most(work(), "work of a test", 2.0)
    assert (asyncio.get_running_loop().time() - began, steps) == (2.0, [])
    await asyncio.sleep(4.0)
    assert steps == ["done"]


async def test_what_the_work_raises_in_time_goes_on() -> None:
    """Who waits must learn it."""

    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await wait_at_most(work(), "work of a test", 60.0)
