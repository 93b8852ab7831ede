"""A queue's story, cancelled at every step of the loop: an outage, poison on its way out, lost channels, and nothing may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.runtime.scenarios.counting import CountingLoop
from tests.runtime.stage import Down, Wrong, assert_nothing_left

from holdgate import CircuitSettings, Delivery, Dependency, Guard, Queue, RetryPolicy
from holdgate.testing import LoopClock, MemoryBroker, MemoryDeadLetters, MemoryIntake

ORDERS = Queue("orders")
COUNT = 10
POISON = {2, 7}
SETTINGS = CircuitSettings(open_duration=0.5, open_jitter=0.0, consecutive_failures=3)
RETRY = RetryPolicy(attempts=2, initial_backoff=0.1, max_backoff=0.5, jitter=0.0)


class Story:
    """Ten messages for three handlers at once; the dependency is down from 0.3 to 1.4 s, and the channel breaks at 0.2 and 1.7 s."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(queues=["orders"])
        self.dead = MemoryDeadLetters(delay=0.15)
        self.processed: set[int] = set()
        for _ in range(COUNT):
            self.broker.produce("orders", b"")

    async def handler(self, delivery: Delivery[Any]) -> None:
        number = delivery.message.position
        await asyncio.sleep(0.1)
        if 0.3 <= asyncio.get_running_loop().time() < 1.4:
            raise Down
        if number in POISON:
            raise Wrong
        await asyncio.sleep(0)
        self.processed.add(number)

    def disturb(self, intake: MemoryIntake) -> None:
        loop = asyncio.get_running_loop()
        for at in (0.2, 1.7):
            loop.call_later(at, self.broker.drop, intake)

    def work(self, guard: Guard) -> tuple[MemoryIntake, Any]:
        intake = MemoryIntake(self.broker, queues=["orders"], prefetch=5, poll_timeout=0.25)
        needs = [Dependency("payments", failures=Down, settings=SETTINGS)]
        return intake, guard.run(intake, self.handler, needs=needs, concurrency=3, retry=RETRY, dead_letters=self.dead)

    @property
    def is_done(self) -> bool:
        return not self.broker.waiting(ORDERS)

    @property
    def letters(self) -> list[int]:
        return [letter.delivery.message.position for letter in self.dead.letters]

    def check_what_is_acked(self) -> None:
        """Nothing that was neither processed nor confirmed as a letter."""
        acked = {position for event, _, position in self.broker.ledger if event == "acked"}
        assert acked <= self.processed | set(self.letters)
        waiting = {message.position for message in self.broker.waiting(ORDERS)}
        assert acked | waiting == set(range(COUNT))


async def played(story: Story, step: int, strike: Callable[[asyncio.Task[None]], None]) -> bool:
    """Play it, and strike its run at this step; returns whether that came before its end."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    async with Guard(signals=False, clock=LoopClock(), drain_timeout=5.0) as guard:
        intake, working = story.work(guard)
        story.disturb(intake)
        run = asyncio.create_task(working)
        loop.count({step: lambda: strike(run)})
        while not story.is_done and not run.done():
            await asyncio.sleep(0.1)
        came_to_it = (loop.step or 0) > step
        run.cancel()
        await asyncio.wait({run})
        await assert_nothing_left(guard)
        story.check_what_is_acked()
    return came_to_it


async def struck_and_finished(step: int, strike: Callable[[asyncio.Task[None]], None]) -> bool:
    """A second worker does the rest."""
    story = Story()
    came_to_it = await played(story, step, strike)
    async with Guard(signals=False, clock=LoopClock()) as guard:
        run = asyncio.create_task(story.work(guard)[1])
        async with asyncio.timeout(120):
            while not story.is_done:
                await asyncio.sleep(0.1)
        run.cancel()
        await asyncio.wait({run})
    story.check_what_is_acked()
    assert story.processed == set(range(COUNT)) - POISON
    assert set(story.letters) == POISON
    assert len(story.letters) - len(POISON) <= 2  # each that was cut off may have gone through
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    return came_to_it


def cancel_the_run(run: asyncio.Task[None]) -> None:
    run.cancel()


def cancel_the_handlers(_: asyncio.Task[None]) -> None:
    """As a library does that cancels the task it runs in; nobody of the guard's asked for it."""
    for task in asyncio.all_tasks():
        if task.get_name().startswith("holdgate lane"):
            task.cancel()


def hurry_the_run(run: asyncio.Task[None]) -> None:
    """Ctrl-C twice."""
    run.cancel()
    asyncio.get_running_loop().call_soon(run.cancel)


@pytest.mark.parametrize("strike", [cancel_the_run, hurry_the_run, cancel_the_handlers])
def test_struck_at_every_step_a_queue_loses_nothing(strike: Callable[[asyncio.Task[None]], None]) -> None:
    """After each: only what was processed or confirmed is acked, permits are back, no task is left, and the next worker does the rest."""
    step, came_to_it = 0, True
    while came_to_it:
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            came_to_it = runner.run(struck_and_finished(step, strike))
        step += 1
    assert step > 100  # long enough to be struck in the middle of everything
