from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from tests.brokers.kafka.fakes import FakeClient, ended

from holdgate.brokers.kafka.client import NO_PARTITION
from holdgate.brokers.kafka.fetching import Poller

A, B, C = (TopicPartition("orders", number) for number in range(3))
ALL = frozenset({A, B, C})


class World:
    """A poll that waits "for ever" (until `end`), so that whatever returns did not return by timeout."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.taken: list[Any] = []
        self.poller = Poller(self.client, self._take, timeout=3600, most=10)
        self.poller.poll_only(ALL, frozenset())

    def _take(self, records: dict[TopicPartition, list[Any]]) -> None:
        self.taken += [record for batch in records.values() for record in batch]

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def world() -> Any:
    made = World()
    yield made
    made.client.poll_ends.set()
    await made.poller.end(1)


async def test_what_is_buffered_comes_without_a_wait(world: World) -> None:
    """No task, no wait: one poll with timeout 0."""
    world.client.buffered = {A: [1, 2]}
    assert await world.poller.poll(now=True)
    assert world.taken == [1, 2]
    assert world.client.polls == [(frozenset(), 0)]


async def test_without_records_it_waits(world: World) -> None:
    """A waiting poll ends with what came."""
    waiting = asyncio.create_task(world.poller.poll(now=True))
    await world.settle()
    world.client.buffered = {B: [3]}
    world.client.poll_ends.set()
    assert not await ended(waiting)
    assert world.taken == [3]


async def test_a_resume_wakes_it(world: World) -> None:
    """A poll that waits for A does not hear of C: woken, the next one asks for C while the first is still under way."""
    world.poller.poll_only(ALL, frozenset({C}))
    waiting = asyncio.create_task(world.poller.poll(now=True))
    await world.settle()
    world.poller.poll_only(ALL, frozenset())
    world.poller.wake()
    assert not await ended(waiting)
    world.client.buffered = {C: [5]}
    assert await world.poller.poll(now=True)
    assert world.taken == [5]
    assert not world.client.poll_ends.is_set()


@pytest.mark.parametrize(
    ("before", "after", "polls"),
    [
        (frozenset(), frozenset(), 1),
        (frozenset(), frozenset({A}), 1),
        (frozenset({A}), frozenset({A, B}), 1),
        (frozenset({A, B}), frozenset({A}), 2),
        (frozenset({A}), frozenset(), 2),
    ],
)
async def test_a_poll_under_way_is_not_made_twice(world: World, before: Any, after: Any, polls: int) -> None:
    """Woken, it waits for the poll that is there if that names all that is polled for now, and makes another one if not."""
    for paused in (before, after):
        world.poller.poll_only(ALL, paused)
        waiting = asyncio.create_task(world.poller.poll(now=False))
        await world.settle()
        world.poller.wake()
        await ended(waiting)
    assert len(world.client.polls) == polls


async def test_no_poll_is_cancelled(world: World) -> None:
    """Cancelled itself, it leaves the client's poll alone: what that hands out is taken."""
    waiting = asyncio.create_task(world.poller.poll(now=True))
    await world.settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.client.buffered = {A: [1]}
    world.client.poll_ends.set()
    assert await world.poller.end(1)
    assert world.taken == [1]


async def test_paused_partitions_keep_their_buffers(world: World) -> None:
    """With one paused the others are named: a poll without names would drop its buffer."""
    world.poller.poll_only(ALL, frozenset({B}))
    world.client.buffered = {A: [1]}
    await world.poller.poll(now=True)
    assert world.client.polls == [(frozenset({A, C}), 0)]


async def test_with_everything_paused_it_names_nothing_that_exists(world: World) -> None:
    """No names would mean all partitions."""
    world.poller.poll_only(ALL, ALL)
    world.client.buffered = {A: [1]}
    waiting = asyncio.create_task(world.poller.poll(now=True))
    await world.settle()
    assert world.client.polls == [(frozenset({NO_PARTITION}), 0), (frozenset({NO_PARTITION}), 3600)]
    assert world.taken == []
    world.client.poll_ends.set()
    await ended(waiting)


async def test_very_many_are_not_named(world: World) -> None:
    """Names are compared one by one: with hundreds, fetching a paused one again is cheaper."""
    many = frozenset(TopicPartition("many", number) for number in range(100))
    world.poller.poll_only(many, frozenset({TopicPartition("many", 0)}))
    world.client.buffered = {TopicPartition("many", 5): [1]}
    await world.poller.poll(now=True)
    assert world.client.polls == [(frozenset(), 0)]


async def test_during_a_rebalance_it_does_not_wait_for_the_end(world: World) -> None:
    """Then even a poll without a timeout waits for the whole rebalance: only the waiting poll runs, beside us."""
    waiting = asyncio.create_task(world.poller.poll(now=False))
    await world.settle()
    world.poller.wake()
    assert not await ended(waiting)
    assert [timeout for _, timeout in world.client.polls] == [3600]


async def test_what_a_poll_raises_is_raised(world: World) -> None:
    """Also by the one that waited, and once."""

    async def fail(names: Any, timeout: float, most: int) -> Any:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    world.client.getmany = fail
    with pytest.raises(ZeroDivisionError):
        await world.poller.poll(now=False)
    assert world.poller._waiting == {}


async def test_polls_end_with_the_consumer(world: World) -> None:
    """A poll that waits for an assignment that will never come is ended once the consumer has stopped, and not before."""
    waiting = asyncio.create_task(world.poller.poll(now=False))
    await world.settle()
    waiting.cancel()
    await world.poller.abandon()
    (task,) = world.poller._waiting
    assert not task.done()
    world.client.is_stopped = True
    await world.poller.abandon()
    assert task.cancelled()
    await asyncio.gather(waiting, return_exceptions=True)
