"""The two ends of an intake, with whatever is cancelled meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from holdgate.brokers.lifetime import Lifetime
from holdgate.errors import IntakeError


class Door:
    """Notes what is done with it; each step goes on when it is let."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.opening, self.closing = asyncio.Event(), asyncio.Event()
        self.lifetime = Lifetime(self.end, "door")

    async def begin(self) -> None:
        self.steps.append("opens")
        await self.opening.wait()
        self.steps.append("is open")

    async def end(self) -> None:
        self.steps.append("closes")
        await self.closing.wait()
        self.steps.append("is closed")


async def fail() -> None:
    raise ValueError("no")


async def test_it_opens_once() -> None:
    """Again is refused while it is open, and nothing is closed for that."""
    door = Door()
    door.opening.set()
    await door.lifetime.open(door.begin)
    with pytest.raises(IntakeError, match="make a new one"):
        await door.lifetime.open(door.begin)
    assert door.steps == ["opens", "is open"]
    assert not door.lifetime.is_closing


async def test_what_was_closed_does_not_open() -> None:
    """Not even if it never opened."""
    door = Door()
    door.closing.set()
    await door.lifetime.close()
    with pytest.raises(IntakeError, match="was closed"):
        await door.lifetime.open(door.begin)
    assert door.steps == ["closes", "is closed"]


async def test_one_that_fails_to_open_is_closed_before_its_error_goes_on() -> None:
    """In the order that a user can rely on: nothing is left when the error is seen."""
    door = Door()
    door.closing.set()
    with pytest.raises(ValueError, match="no"):
        await door.lifetime.open(fail)
    assert door.steps == ["closes", "is closed"]
    assert not door.lifetime.given_up


async def test_one_whose_opening_is_cancelled_is_given_up() -> None:
    """Its close runs to its end, and knows that nobody waits for the broker."""
    door = Door()
    door.closing.set()
    opening = asyncio.ensure_future(door.lifetime.open(door.begin))
    while not door.steps:
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait((opening,))
    assert opening.cancelled()
    assert door.steps == ["opens", "closes", "is closed"]
    assert door.lifetime.given_up


async def test_one_that_meets_a_cancellation_is_given_up() -> None:
    """A client that somebody else has cancelled answers nothing either, though nobody cancels the guard."""
    door = Door()
    door.closing.set()

    async def begin() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await door.lifetime.open(begin)
    assert (door.steps, door.lifetime.given_up) == (["closes", "is closed"], True)


async def test_two_that_close_wait_for_one_close() -> None:
    """The second neither closes again nor comes back early."""
    door = Door()
    both = [asyncio.ensure_future(door.lifetime.close()) for _ in range(2)]
    while not door.steps:
        await asyncio.sleep(0)
    assert not any(one.done() for one in both)
    door.closing.set()
    await asyncio.gather(*both)
    assert door.steps == ["closes", "is closed"]
    assert not door.lifetime.given_up


async def test_a_close_whose_caller_is_cancelled_goes_on() -> None:
    """Half a close would leave messages locked."""
    door = Door()
    closing = asyncio.ensure_future(door.lifetime.close())
    while not door.steps:
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait((closing,))
    assert door.steps == ["closes"]
    door.closing.set()
    await door.lifetime.close()
    assert door.steps == ["closes", "is closed"]


async def test_a_close_in_a_task_that_is_being_cancelled_is_given_up() -> None:
    """As by a loop that shuts down: the broker's client is cancelled, too, and answers nothing."""
    door = Door()
    door.closing.set()

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await door.lifetime.close()

    running = asyncio.ensure_future(run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait((running,))
    assert door.lifetime.given_up
