"""Services that count something else than calls, count refused ones, answer late, or have another clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from holdgate import http
from holdgate.testing import run_virtual
from holdgate_lab.worlds.answers import CountingClient, FarEnd, HttpAnswer, StatusError
from holdgate_lab.worlds.far_ends import TokenBucket, steady
from holdgate_lab.worlds.odd_ends import BanningLonger, Crowded, RefusingLate, Renaming, Sliding, WeighingBucket, dated, waves

CHANCE = Random(1)


async def statuses(far_end: FarEnd, count: int) -> list[int]:
    """Call so many times in the same instant; the statuses, in the order of the calls."""
    client = CountingClient(far_end, 50.0)

    async def one() -> int:
        try:
            return (await client.post()).status_code
        except StatusError as error:
            return error.response.status_code

    return list(await asyncio.gather(*(one() for _ in range(count))))


def virtual(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    run_virtual(main())


def test_what_is_weighed_comes_again_until_there_is_room() -> None:
    """Two of two fit into five, and a third does when a second has brought one more."""

    async def scene() -> None:
        end = WeighingBucket(CHANCE, 1.0, 5.0, lambda _: 2.0)
        assert await statuses(end, 3) == [200, 200, 429]
        await asyncio.sleep(1.0)
        assert await statuses(end, 1) == [200]

    virtual(scene)


def test_the_last_seconds_slide() -> None:
    """A call is forgotten ten seconds after it began, and one that was refused leaves no mark."""

    async def scene() -> None:
        end = Sliding(CHANCE, 2, 10.0)
        assert await statuses(end, 3) == [200, 200, 429]
        await asyncio.sleep(9.95)
        assert await statuses(end, 1) == [200]

    virtual(scene)


def test_calls_in_vain_may_count_as_well() -> None:
    """Then whoever goes on is not let in."""

    async def scene() -> None:
        end = Sliding(CHANCE, 2, 10.0, counts_refused=True)
        assert await statuses(end, 4) == [200, 200, 429, 429]
        await asyncio.sleep(5.0)
        assert await statuses(end, 2) == [429, 429]
        await asyncio.sleep(5.0)
        assert await statuses(end, 1) == [429]

    virtual(scene)


def test_a_crowd_comes_first() -> None:
    """It takes what is there and more, and the bucket has to make up for that."""

    async def scene() -> None:
        end = Crowded(CHANCE, TokenBucket(CHANCE, steady(10), 10), 100, 1e-3)
        await asyncio.sleep(1.0)
        assert await statuses(end, 1) == [429]

    virtual(scene)


def test_a_late_refusal_has_taken_half_of_the_time() -> None:
    """And a server, so the call behind it waits."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        end = RefusingLate(CHANCE, TokenBucket(CHANCE, steady(0.001), 1), 1, 10.0)
        began = loop.time()
        assert await statuses(end, 2) == [200, 429]
        assert 13.5 <= loop.time() - began <= 16.5

    virtual(scene)


def test_a_ban_grows_until_it_is_forgiven() -> None:
    """Ten seconds, then twenty; and ten again after a long time that went well."""

    async def scene() -> None:
        end = BanningLonger(CHANCE, TokenBucket(CHANCE, steady(1), 1), 10.0, 100.0)
        assert await statuses(end, 2) == [200, 429]
        await asyncio.sleep(10.0)
        assert await statuses(end, 2) == [200, 429]
        await asyncio.sleep(15.0)
        assert await statuses(end, 1) == [429]
        await asyncio.sleep(200.0)
        assert await statuses(end, 2) == [200, 429]
        await asyncio.sleep(10.0)
        assert await statuses(end, 1) == [200]

    virtual(scene)


def test_a_date_by_a_wrong_clock_is_still_a_wait() -> None:
    """The answer's own date is as wrong."""

    async def scene() -> None:
        headers = dated(2.0, 3600.0)
        end = Renaming(TokenBucket(CHANCE, steady(1), 1), lambda now: HttpAnswer(503, headers(now)))
        assert await statuses(end, 2) == [200, 503]
        error = StatusError(HttpAnswer(503, headers(12.3)))
        assert http.retry_after(error) == 2.0

    virtual(scene)


def test_waves_are_high_and_low_in_turn() -> None:
    """The first is high, and the last ends with the world."""
    assert waves(4, 8, 10.0, 25.0).values == ((0.0, 8), (10.0, 4), (20.0, 8))
