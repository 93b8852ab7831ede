from __future__ import annotations

import asyncio

import pytest

from holdgate.cli.demo.tasks import all_or_none, until_over


class Endless:
    def __init__(self) -> None:
        self.ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def fail() -> None:
    await asyncio.sleep(0)
    raise ConnectionError("gone")


async def soon() -> None:
    await asyncio.sleep(0)


async def test_all_steps_are_through_when_it_returns() -> None:
    """None is left behind."""
    through: list[int] = []

    async def step(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)
        through.append(number)

    await all_or_none(step(3), step(1))
    assert through == [1, 3]


async def test_the_first_failure_ends_the_other_steps_and_is_raised_as_it_is() -> None:
    """No group of errors, and nothing goes on behind it."""
    other = Endless()
    with pytest.raises(ConnectionError, match="gone"):
        await all_or_none(other.run(), fail())
    assert other.ended


async def test_when_the_watch_is_over_everything_is() -> None:
    """What still runs beside it is ended, and waited for."""
    other = Endless()
    await until_over(soon(), other.run())
    assert other.ended


async def test_what_is_done_before_the_watch_is_no_reason_to_stop() -> None:
    """The producer is done before the backlog is drained."""
    looks: list[int] = []

    async def watch() -> None:
        for look in range(5):
            looks.append(look)
            await asyncio.sleep(0)

    await until_over(watch(), soon())
    assert looks == [0, 1, 2, 3, 4]


async def test_what_fails_beside_the_watch_ends_it() -> None:
    """A run with a broken side is not shown to its end as if nothing were."""
    watch = Endless()
    with pytest.raises(ConnectionError, match="gone"):
        await until_over(watch.run(), fail())
    assert watch.ended


async def test_a_cancellation_from_outside_ends_all() -> None:
    """Ctrl-C reaches every task."""
    watch, other = Endless(), Endless()
    task = asyncio.create_task(until_over(watch.run(), other.run()))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (watch.ended, other.ended) == (True, True)
