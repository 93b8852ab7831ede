"""How a receive that waits is woken, and what it raises of what runs beside it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from holdgate.brokers.bell import Bell, give_to_user
from holdgate.testing import in_virtual_time

HOUR = 3600.0


@in_virtual_time
async def test_a_ring_ends_the_wait() -> None:
    """However long it would be."""
    bell, loop = Bell(), asyncio.get_running_loop()
    waiting = asyncio.ensure_future(bell.wait_until(loop.time() + HOUR))
    await asyncio.sleep(1.0)
    assert bell.is_awaited
    bell.ring()
    bell.ring()
    began = loop.time()
    await waiting
    assert loop.time() == began
    assert not bell.is_awaited


@in_virtual_time
async def test_without_a_ring_the_time_ends_it() -> None:
    """At the time that was given, and with no timer left for the next one."""
    bell, loop = Bell(), asyncio.get_running_loop()
    at = loop.time() + HOUR
    await bell.wait_until(at)
    assert loop.time() == at
    bell.ring()  # nobody waits
    await bell.wait_until(at + HOUR)
    assert loop.time() == at + HOUR


@in_virtual_time
async def test_the_timer_of_a_wait_that_was_rung_is_gone() -> None:
    """It would end a later wait."""
    bell, loop = Bell(), asyncio.get_running_loop()
    first = asyncio.ensure_future(bell.wait_until(loop.time() + 10.0))
    await asyncio.sleep(1.0)
    bell.ring()
    await first
    at = loop.time() + HOUR
    await bell.wait_until(at)
    assert loop.time() == at


@in_virtual_time
async def test_the_first_error_stays_and_wakes() -> None:
    """What fails after it fails because of it."""
    bell, loop = Bell(), asyncio.get_running_loop()
    bell.check()
    waiting = asyncio.ensure_future(bell.wait_until(loop.time() + HOUR))
    await asyncio.sleep(1.0)
    bell.fail(ValueError("first"))
    bell.fail(KeyError("second"))
    began = loop.time()
    await waiting
    assert loop.time() == began
    for _ in range(2):
        with pytest.raises(ValueError, match="first"):
            bell.check()


def test_a_function_of_the_user_gets_the_news() -> None:
    """Where there is one."""
    seen: list[int] = []
    give_to_user("on_news", seen.append, 3)
    give_to_user("on_news", None, 4)
    assert seen == [3]


def test_a_function_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The log has its name and the type of the error, and not the text, which may quote a message."""
    caplog.set_level(logging.INFO, "holdgate")

    def fail(_: int) -> None:
        raise RuntimeError("canary")

    give_to_user("on_news", fail, 3)
    assert [record.getMessage() for record in caplog.records] == ["on_news raised RuntimeError"]
