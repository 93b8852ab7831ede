"""The same story told with batches, cancelled at every step of the loop: a piece of a batch may be anywhere, and nothing may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.runtime.scenarios.counting import CountingLoop
from tests.runtime.scenarios.test_cancelled_anywhere import SETTINGS, Story, cancelled_at, finish
from tests.runtime.stage import Down

from holdgate import Delivery, Dependency, Guard
from holdgate.testing import MemoryIntake


class BatchStory(Story):
    """Three at a time, of four in each partition: cut by the ramp, halved by the outage."""

    async def store(self, deliveries: Sequence[Delivery[Any]]) -> None:
        await asyncio.sleep(0.2 * len(deliveries))
        if 0.5 <= asyncio.get_running_loop().time() < 4.0:
            raise Down
        for delivery in deliveries:
            self.processed[delivery.source].append(delivery.position)  # type: ignore[index]

    async def work(self, guard: Guard) -> None:
        intake = MemoryIntake(self.broker, topics=["orders"], commit_every=0.5, poll_timeout=0.25)
        await guard.run(intake, self.store, needs=[Dependency("payments", failures=Down, settings=SETTINGS)], batch=3)


async def play(step: int) -> bool:
    story = BatchStory()
    came_to_it = await cancelled_at(story, [step])
    await finish(story)
    story.check_order()
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    return came_to_it


def test_batches_cancelled_at_every_step_lose_nothing() -> None:
    """After each: permits back, the commit is the watermark, no task left, and a second worker finishes the rest in order."""
    step, came_to_it = 0, True
    while came_to_it:
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            came_to_it = runner.run(play(step))
        step += 1
    assert step > 150  # long enough to be cancelled in the middle of everything
