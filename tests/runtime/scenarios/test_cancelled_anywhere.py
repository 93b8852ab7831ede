"""One story, cancelled at every step of the loop: an outage, a rebalance and a recovery, and nothing may be lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.runtime.scenarios.counting import CountingLoop
from tests.runtime.stage import GROUP, Down, assert_nothing_left

from holdgate import CircuitSettings, Delivery, Dependency, Guard, Partition
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake

PARTITIONS = [Partition("orders", 0), Partition("orders", 1)]
EACH = 4  # messages per partition
SETTINGS = CircuitSettings(open_duration=2.0, open_jitter=0.0, consecutive_failures=3)


class Story:
    """A broker with two partitions, a dependency that is down from 0.5 to 4 s, a rebalance at 0.3 and at 6 s."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(topics={"orders": 2})
        self.processed: dict[Partition, list[int]] = {partition: [] for partition in PARTITIONS}
        for number in range(EACH * 2):
            self.broker.produce("orders", b"", partition=number % 2)

    async def handler(self, delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.2)
        if 0.5 <= asyncio.get_running_loop().time() < 4.0:
            raise Down
        await asyncio.sleep(0)
        self.processed[delivery.source].append(delivery.position)  # type: ignore[index]

    def disturb(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, self.broker.rebalance, GROUP)
        loop.call_later(6.0, self.broker.rebalance, GROUP)

    async def work(self, guard: Guard) -> None:
        intake = MemoryIntake(self.broker, topics=["orders"], commit_every=0.5, poll_timeout=0.25)
        await guard.run(intake, self.handler, needs=[Dependency("payments", failures=Down, settings=SETTINGS)])

    @property
    def is_done(self) -> bool:
        return self.broker.committed(GROUP) == dict.fromkeys(PARTITIONS, EACH)

    def check_what_is_committed(self) -> None:
        """What was processed, from the beginning and without a gap, is committed; and nothing that was not."""
        committed = self.broker.committed(GROUP)
        for partition, positions in self.processed.items():
            assert committed.get(partition, 0) == len(set(positions)), (partition, positions, committed)
            assert sorted(set(positions)) == list(range(len(set(positions))))

    def check_order(self) -> None:
        for positions in self.processed.values():
            assert list(dict.fromkeys(positions)) == list(range(EACH))


async def cancelled_at(story: Story, steps: Sequence[int]) -> bool:
    """Play the story and cancel `guard.run` at these steps; returns whether the first of them came before its end."""
    guard = Guard(signals=False, clock=LoopClock(), drain_timeout=5.0)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    async with guard:
        story.disturb()
        run = asyncio.create_task(story.work(guard))
        loop.count(dict.fromkeys(steps, run.cancel))
        while not story.is_done and not run.done():
            await asyncio.sleep(0.1)
        came_to_it = run.done()
        run.cancel()
        await asyncio.wait({run})
        assert run.cancelled()
        await assert_nothing_left(guard)
        story.check_what_is_committed()
    return came_to_it


async def finish(story: Story) -> None:
    """A second worker does the rest."""
    async with Guard(signals=False, clock=LoopClock()) as guard:
        run = asyncio.create_task(story.work(guard))
        async with asyncio.timeout(120):
            while not story.is_done:
                await asyncio.sleep(0.1)
        run.cancel()
        await asyncio.wait({run})


async def play(steps: Sequence[int]) -> bool:
    story = Story()
    came_to_it = await cancelled_at(story, steps)
    await finish(story)
    story.check_order()
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    return came_to_it


@pytest.mark.parametrize(("again_after", "stride"), [(None, 1), (1, 3), (4, 3)], ids=["once", "twice at once", "twice"])
def test_cancelled_at_every_step_nothing_is_lost(again_after: int | None, stride: int) -> None:
    """After each: permits back, the commit is the watermark, no task left, and a second worker finishes the rest in order."""
    step, came_to_it = 0, True
    while came_to_it:
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            came_to_it = runner.run(play([step] if again_after is None else [step, step + again_after]))
        step += stride
    assert step > 200  # long enough to be cancelled in the middle of everything
