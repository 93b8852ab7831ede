from __future__ import annotations

import asyncio

import pytest
from tests.cli.replay.fake_route import FakeRoute

from holdgate.cli.replay.route import EvenRate, Stop, move
from holdgate.testing import in_virtual_time


async def run(route: FakeRoute, *, rate: float = 10.0, limit: int | None = None, stop: Stop | None = None) -> tuple[int, list[int]]:
    told: list[int] = []
    return await move(route, rate=rate, limit=limit, stop=stop or Stop(), moved=told.append), told


@in_virtual_time
async def test_everything_that_waits_is_written_and_then_remembered() -> None:
    """In its order; and somebody is told after each."""
    route = FakeRoute(3)
    assert await run(route) == (3, [1, 2, 3])
    assert [letter for letter, _ in route.put_at] == route.done_with == [0, 1, 2]


@in_virtual_time
async def test_letters_go_evenly_at_the_rate() -> None:
    """The first at once, the others a tenth of a second after each other."""
    route = FakeRoute(4)
    await run(route, rate=10.0)
    assert [at for _, at in route.put_at] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_a_pause_of_the_target_is_not_made_up_for() -> None:
    """After ten seconds of standing still it goes on at the rate: a burst is what a weak dependency can do without."""
    pace = EvenRate(10.0)
    waits = [pace.wait_for(now) for now in (0.0, 0.0, 10.0, 10.0)]
    assert waits == pytest.approx([0.0, 0.1, 0.0, 0.1])


@in_virtual_time
async def test_a_limit_leaves_the_rest_where_it_is() -> None:
    """Nothing is taken that is not moved."""
    route = FakeRoute(5)
    assert (await run(route, limit=2))[0] == 2
    assert route.waiting == [2, 3, 4]


@in_virtual_time
async def test_asked_to_stop_it_finishes_the_letter_under_way_and_begins_no_other() -> None:
    """What was written is remembered, what was not is still there."""
    route, stop = FakeRoute(5), Stop()
    route.on_put = lambda letter: stop.ask() if letter == 2 else None
    assert (await run(route, stop=stop))[0] == 3
    assert (route.done_with, route.waiting) == ([0, 1, 2], [3, 4])


@in_virtual_time
async def test_a_stop_ends_the_wait_for_the_next_letter() -> None:
    """At one in a hundred seconds nobody waits for a hundred seconds."""
    route, stop = FakeRoute(5), Stop()
    asyncio.get_running_loop().call_later(1.0, stop.ask)
    assert (await run(route, rate=0.01, stop=stop))[0] == 1
    assert asyncio.get_running_loop().time() == pytest.approx(1.0)


@in_virtual_time
async def test_a_letter_that_cannot_be_written_is_not_remembered() -> None:
    """It comes again in the next replay."""
    route = FakeRoute(5)
    route.fails["put"] = ConnectionError()
    with pytest.raises(ConnectionError):
        await run(route)
    assert route.done_with == []


@in_virtual_time
async def test_a_wait_leaves_no_task() -> None:
    """Ten thousand letters are no ten thousand waiters."""
    await run(FakeRoute(5))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
