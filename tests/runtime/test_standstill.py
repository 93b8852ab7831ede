from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest
from tests.runtime.stage import BreakingIntake, broker_with, running

from holdgate import Guard, Partition
from holdgate.runtime.standstill import Standstill
from holdgate.testing import ManualClock


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds


class Evicting:
    """What the watch sees of an intake."""

    def __init__(self, evicted_after: float = 8.0) -> None:
        self.evicted_after = evicted_after
        self.told = 0

    def stood_still(self) -> None:
        self.told += 1


def watching(intake: Any, time: Time) -> Standstill:
    watch = Standstill(intake, time.now)
    watch.start()
    return watch


async def test_an_intake_that_is_never_evicted_is_never_asked() -> None:
    """Without `evicted_after`, or with an infinite one, no time is too long."""
    time = Time()
    assert watching(object(), time).until == inf
    assert watching(Evicting(inf), time).until == inf


async def test_a_watch_begins_when_it_is_started() -> None:
    """A join may have taken long: only from the start on is time counted."""
    time = Time()
    intake = Evicting()
    watch = watching(intake, time)
    assert (watch.until, intake.told) == (time.seconds + 8.0, 0)
    timer = watch._timer
    watch.stop()
    assert watch.until == inf
    assert timer is not None
    assert timer.cancelled()


@pytest.mark.parametrize(("still", "told"), [(8.0, 0), (8.1, 1)])
async def test_the_timer_notices(still: float, told: int) -> None:
    """When the timer comes after `evicted_after`, the intake is told, once; in time, it counts anew."""
    time = Time()
    intake = Evicting()
    watch = watching(intake, time)
    time.seconds += still
    watch._look()
    assert (intake.told, watch.until) == (told, time.seconds + 8.0)
    watch.stop()


async def test_who_notices_first_tells_alone() -> None:
    """A lane that notices before the timer leaves nothing for it to tell."""
    time = Time()
    intake = Evicting()
    watch = watching(intake, time)
    time.seconds += 9.0
    watch.noticed(time.seconds)
    watch._look()
    assert intake.told == 1
    watch.stop()


class EvictedIntake(BreakingIntake):
    """A member that loses its partition by standing still, and never gets it back."""

    evicted_after = 8.0

    def stood_still(self) -> None:
        assert self.listener is not None
        self.listener.lost([Partition("orders", 0)])


@pytest.mark.parametrize(("blocked", "started"), [(9.0, 1), (2.0, 3)])
async def test_a_handler_that_blocks_the_loop_is_the_last(blocked: float, started: int) -> None:
    """What it blocked was the loop, and with it the heartbeats: nothing that is in hand starts after it, not even before the timer runs."""
    clock = ManualClock()
    calls: list[int] = []

    async def block(delivery: Any) -> None:
        calls.append(delivery.position)
        clock.advance(blocked)

    async with Guard(clock=clock, signals=False) as guard, running(guard.run(EvictedIntake(broker_with(3), topics=["orders"]), block)):
        for _ in range(200):
            await asyncio.sleep(0)
        assert calls == list(range(started))
