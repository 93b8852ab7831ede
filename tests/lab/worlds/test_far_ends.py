from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from holdgate.testing import run_virtual
from holdgate_lab.worlds.answers import REFUSED, CountingClient, FarEnd, HttpAnswer, Reply, StatusError
from holdgate_lab.worlds.far_ends import (
    Announcing,
    Banning,
    Capricious,
    Changing,
    FixedWindow,
    Servers,
    TokenBucket,
    Unreachable,
    steady,
)

CHANCE = Random(1)


async def statuses(far_end: FarEnd, count: int) -> list[object]:
    """Call so many times in the same instant; the statuses and types of errors, in the order of the calls."""
    client = CountingClient(far_end, 5.0)

    async def one() -> object:
        try:
            return (await client.post()).status_code
        except StatusError as error:
            return error.response.status_code
        except OSError as error:
            return type(error).__name__

    return list(await asyncio.gather(*(one() for _ in range(count))))


def virtual(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    run_virtual(main())


def test_a_number_that_changes_has_the_value_of_its_span() -> None:
    """And its integral is that of the spans."""
    steps = Changing(((0, 10), (5, 2), (8, 4)))
    assert [steps.at(now) for now in (0, 4.9, 5, 8)] == [10, 10, 2, 4]
    assert steps.between(4, 9) == pytest.approx(10 + 6 + 4)
    assert steps.edges == (5, 8)


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    """What it refuses costs no token."""

    async def scene() -> None:
        bucket = TokenBucket(CHANCE, steady(2), 3)
        assert await statuses(bucket, 5) == [200, 200, 200, 429, 429]
        await asyncio.sleep(1.5)  # and the time of the answers: three tokens, no more fit in
        assert (await statuses(bucket, 5)).count(200) == 3

    virtual(scene)


def test_a_bucket_that_is_shut_refuses_whatever_it_holds() -> None:
    """A quota that is used up."""

    async def scene() -> None:
        bucket = TokenBucket(CHANCE, steady(10), 10, is_shut=lambda now: now < 10, headers={"Retry-After": "1"})
        assert await statuses(bucket, 1) == [429]
        await asyncio.sleep(10)
        assert await statuses(bucket, 1) == [200]

    virtual(scene)


def test_a_window_ends_at_its_border_and_not_later() -> None:
    """Half a minute old at the start: the next begins after thirty seconds."""

    async def scene() -> None:
        window = FixedWindow(CHANCE, 2, 60.0, 30.0)
        assert await statuses(window, 3) == [200, 200, 429]
        await asyncio.sleep(29)
        assert await statuses(window, 1) == [429]
        await asyncio.sleep(1)
        assert await statuses(window, 3) == [200, 200, 429]

    virtual(scene)


def test_a_window_tells_what_remains_and_when_it_ends() -> None:
    """In the headers of good answers."""
    told: list[tuple[int, float]] = []

    def tells(remaining: int, reset: float) -> dict[str, str]:
        told.append((remaining, round(reset)))
        return {}

    async def scene() -> None:
        await statuses(FixedWindow(CHANCE, 2, 60.0, 10.0, tells=tells), 3)

    virtual(scene)
    assert told == [(1, 50), (0, 50), (0, 50)]


def test_what_the_queue_has_no_room_for_is_refused() -> None:
    """Two at work, one waits, and the fourth gets a 503."""

    async def scene() -> None:
        assert await statuses(Servers(CHANCE, steady(2), lambda *_: 1.0, room=1), 4) == [200, 200, 200, 503]

    virtual(scene)


def test_a_server_works_on_for_a_client_that_has_given_up() -> None:
    """So the next one waits for work that nobody wants."""

    async def scene() -> None:
        servers = Servers(CHANCE, steady(1), lambda *_: 6.0)
        assert await statuses(servers, 2) == ["TimeoutError", "TimeoutError"]
        begin = asyncio.get_running_loop().time()
        client = CountingClient(servers, 60.0)
        await client.post()
        assert asyncio.get_running_loop().time() - begin == pytest.approx(13.0)  # 7 of what was left, and its own 6

    virtual(scene)


def test_servers_that_come_back_take_from_the_queue() -> None:
    """Nobody has to call for it."""

    async def scene() -> None:
        servers = Servers(CHANCE, Changing(((0, 0), (3, 1))), lambda *_: 1.0)
        begin = asyncio.get_running_loop().time()
        assert await statuses(servers, 1) == [200]
        assert asyncio.get_running_loop().time() - begin == pytest.approx(4.0, abs=0.01)

    virtual(scene)


def test_a_silent_service_is_given_up() -> None:
    """After the client's own time limit."""

    async def scene() -> None:
        assert await statuses(Servers(CHANCE, steady(1), lambda *_: 0.1, is_silent=lambda _: True), 1) == ["TimeoutError"]

    virtual(scene)


def test_an_outage_refuses_connections_for_its_time() -> None:
    """And then the service behind it answers."""

    async def scene() -> None:
        outage = Unreachable(CHANCE, TokenBucket(CHANCE, steady(10), 10), 0.0, 5.0, REFUSED)
        assert await statuses(outage, 1) == ["ConnectionRefusedError"]
        await asyncio.sleep(5)
        assert await statuses(outage, 1) == [200]

    virtual(scene)


@pytest.mark.parametrize(("anew", "later"), [(False, 200), (True, 429)])
def test_one_call_too_many_is_punished_and_whoever_goes_on_longer(anew: bool, later: int) -> None:
    """For thirty seconds nothing is let in, whatever the bucket holds. A call after twenty of them begins them anew, or does not."""

    async def scene() -> None:
        banning = Banning(CHANCE, TokenBucket(CHANCE, steady(1), 2), 30.0, anew=anew)
        assert await statuses(banning, 3) == [200, 200, 429]
        await asyncio.sleep(20)
        assert await statuses(banning, 1) == [429]
        await asyncio.sleep(15)
        assert await statuses(banning, 1) == [later]
        await asyncio.sleep(31)
        assert await statuses(banning, 1) == [200]

    virtual(scene)


def test_a_share_of_calls_is_refused_whatever_else_goes_on() -> None:
    """One in ten, and none of them reaches what is behind."""

    async def scene() -> None:
        capricious = Capricious(Random(3), TokenBucket(CHANCE, steady(0), 1000), 0.1, HttpAnswer(429))
        seen = await statuses(capricious, 1000)
        assert 70 < seen.count(429) < 130
        assert seen.count(200) == 1000 - seen.count(429)

    virtual(scene)


def test_headers_of_another_window_come_with_every_answer() -> None:
    """A 429, which is quicker than a good answer, has them as well, and says that nearly all is left. The next window begins anew."""

    async def scene() -> None:
        announcing = Announcing(TokenBucket(CHANCE, steady(1), 1), 100, 60.0)
        seen: list[tuple[int, str, str]] = []

        def read(answer: HttpAnswer) -> None:
            seen.append((int(answer.status_code), answer.headers["X-RateLimit-Remaining"], answer.headers["X-RateLimit-Reset"]))

        reply: Reply = read
        for wait in (10, 0, 50):
            announcing.arrive(reply)
            await asyncio.sleep(wait)
        announcing.arrive(reply)
        await asyncio.sleep(1)
        assert seen == [(200, "99", "60"), (429, "99", "50"), (200, "98", "50"), (200, "99", "60")]

    virtual(scene)
