"""Poison on its way out, cancelled at every step of the loop: the letters are the poison, whatever was cut off, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.runtime.scenarios.counting import CountingLoop
from tests.runtime.stage import GROUP, Wrong, assert_nothing_left

from holdgate import Delivery, Guard, Partition, Reject, RetryPolicy
from holdgate.testing import LoopClock, MemoryBroker, MemoryDeadLetters, MemoryIntake

PARTITIONS = [Partition("orders", 0), Partition("orders", 1)]
EACH = 4  # messages per partition
POISON = {(0, 1): b"reject", (0, 3): b"wrong", (1, 0): b"wrong", (1, 2): b"reject"}
RETRY = RetryPolicy(attempts=2, initial_backoff=0.1, max_backoff=0.5, jitter=0.0)


class Story:
    """Two partitions with poison in each, a target that is slow and down from 0.5 to 1.6 s, a rebalance at 0.4 and at 2.2 s."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(topics={"orders": 2})
        self.dead = MemoryDeadLetters(delay=0.15)
        self.processed: set[tuple[int, int]] = set()
        for position in range(EACH):
            for number in range(2):
                self.broker.produce("orders", POISON.get((number, position), b""), partition=number)

    async def handler(self, delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.1)
        if delivery.body == b"reject":
            raise Reject("poison")
        if delivery.body == b"wrong":
            raise Wrong
        self.processed.add(place_of(delivery))

    def disturb(self) -> None:
        loop = asyncio.get_running_loop()
        for at in (0.4, 2.2):
            loop.call_later(at, self.broker.rebalance, GROUP)
        loop.call_later(0.5, setattr, self.dead, "failing", ConnectionError())
        loop.call_later(1.6, setattr, self.dead, "failing", None)

    async def work(self, guard: Guard) -> None:
        intake = MemoryIntake(self.broker, topics=["orders"], commit_every=0.2, poll_timeout=0.25)
        await guard.run(intake, self.handler, retry=RETRY, dead_letters=self.dead)

    @property
    def is_done(self) -> bool:
        return self.broker.committed(GROUP) == dict.fromkeys(PARTITIONS, EACH)

    @property
    def letters(self) -> list[tuple[int, int]]:
        return [place_of(letter.delivery) for letter in self.dead.letters]

    def check_what_is_committed(self) -> None:
        """Nothing that was neither processed nor confirmed as a letter."""
        for partition, offset in self.broker.committed(GROUP).items():
            below = {(partition.number, position) for position in range(offset)}
            assert below <= self.processed | set(self.letters)


def place_of(delivery: Delivery[Any]) -> tuple[int, int]:
    return delivery.source.number, delivery.position  # type: ignore[union-attr]


async def cancelled_at(story: Story, steps: Sequence[int]) -> bool:
    """Play the story and cancel `guard.run` at these steps; returns whether the first of them came before its end."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    async with Guard(signals=False, clock=LoopClock(), drain_timeout=5.0) as guard:
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
        assert story.dead.users == 0
    return came_to_it


async def play(steps: Sequence[int]) -> bool:
    story = Story()
    came_to_it = await cancelled_at(story, steps)
    story.dead.failing = None
    async with Guard(signals=False, clock=LoopClock()) as guard:
        run = asyncio.create_task(story.work(guard))
        async with asyncio.timeout(120):
            while not story.is_done:
                await asyncio.sleep(0.1)
        run.cancel()
        await asyncio.wait({run})
    assert set(story.letters) == set(POISON)
    assert len(story.letters) - len(POISON) <= len(PARTITIONS)  # each cut-off publication may have gone through
    assert len(story.processed) == 2 * EACH - len(POISON)
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    return came_to_it


@pytest.mark.parametrize(("again_after", "stride"), [(None, 1), (1, 3), (4, 3)], ids=["once", "twice at once", "twice"])
def test_cancelled_at_every_step_the_letters_are_the_poison(again_after: int | None, stride: int) -> None:
    """After each: nothing committed that was not processed or confirmed, no task left, and a second worker finishes the rest."""
    step, came_to_it = 0, True
    while came_to_it:
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            came_to_it = runner.run(play([step] if again_after is None else [step, step + again_after]))
        step += stride
    assert step > 100  # long enough to be cancelled in the middle of everything


@pytest.mark.parametrize("kind", ["publication", "everything of the guard's"])
def test_a_task_cancelled_by_somebody_else_at_any_step_loses_nothing(kind: str) -> None:
    """CancelledError anywhere: a publication is made again, and the end of a lane or of a poll is no letter and no commit."""
    step, came_to_it = 0, True
    while came_to_it:
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            came_to_it = runner.run(attacked_at(step, only_letters=kind == "publication"))
        step += 3


async def attacked_at(step: int, *, only_letters: bool) -> bool:
    """At this step every such task is cancelled once, behind the guard's back."""
    story, loop = Story(), asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    prefix = "holdgate dead letter" if only_letters else "holdgate"

    def attack() -> None:
        for task in asyncio.all_tasks():
            if task.get_name().startswith(prefix) and not task.get_name().startswith("holdgate run"):
                task.cancel()

    async with Guard(signals=False, clock=LoopClock(), drain_timeout=5.0) as guard:
        story.disturb()
        run = asyncio.create_task(story.work(guard))
        loop.count({step: attack})
        while not story.is_done and not run.done():
            await asyncio.sleep(0.1)
        came_to_it = (loop.step or 0) > step
        story.check_what_is_committed()
        if only_letters:
            assert story.is_done
        run.cancel()
        await asyncio.wait({run})
        await assert_nothing_left(guard)
    assert set(story.letters) <= set(POISON)
    return came_to_it
