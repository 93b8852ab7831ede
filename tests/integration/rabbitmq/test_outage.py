"""Outages while messages are processed, and what they must not cost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.rabbitmq.scene import PATIENCE, again, gone, returns, told
from tests.lengths import length
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.rabbitmq.scene import Scene

LANES = 16
TIMES = 3
# Of the 105,000 of the longest run: how many go into the queue in one piece, and how many are called before each outage.
PIECE = length(5_000, part=500)
CALLED = length(3_000, part=300)


@pytest.mark.versions
async def test_three_outages_are_free(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Nothing is lost, repeated, or as much as handed out again; each outage wastes its few calls."""
    queue = await scene.queue(arguments)
    scene.latency(0.01)
    (worker,) = await scene.start(1, "--concurrency", str(LANES))
    for _ in range(TIMES):
        begin = await scene.produce(queue, 300)
        await scene.processing(60, since=begin)
        outage = await scene.outage(queue)
        await scene.opened(worker, times=2, since=outage)
        await scene.up()
        await scene.closed(worker)
    await scene.finished()
    await scene.drained()
    entries = scene.check(lanes=LANES)
    assert again(entries) == returns(entries) == 0


async def test_order_is_kept_through_outages(scene: Scene) -> None:
    """A single active consumer processes in the order of its queue, whatever the outages."""
    queue = await scene.queue({**QUORUM, **SINGLE_ACTIVE})
    scene.latency(0.005)
    (worker,) = await scene.start(1, "--single-active")
    for _ in range(TIMES):
        begin = await scene.produce(queue, 150)
        await scene.processing(40, since=begin)
        outage = await scene.outage(queue)
        await scene.opened(worker, since=outage)
        await scene.up()
        await scene.closed(worker)
    await scene.finished()
    await scene.drained()
    entries = scene.check(order="source", lanes=1)
    assert again(entries) == 0


@pytest.mark.versions
async def test_an_outage_longer_than_the_consumer_timeout(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Messages go back in time, twice: none is lost or processed twice, and none came back more often than that and a probe each."""
    queue = await scene.queue(arguments)
    scene.latency(0.01)
    (worker,) = await scene.start(1, "--consumer-timeout", "4", "--open", "0.5")
    begin = await scene.produce(queue, 200)
    await scene.processing(40, since=begin)
    outage = await scene.outage(queue)
    await scene.opened(worker, since=outage)
    given_back = 2 if scene.rabbitmq.version != "4.3" or arguments else 0
    if given_back:
        await scene.gone("given back", given_back, since=outage)
    else:
        await scene.opened(worker, times=4, since=outage)
    await scene.up()
    await scene.finished()
    await scene.drained()
    entries = scene.check(lanes=LANES)
    assert gone(entries, "lost") == 0
    assert returns(entries) <= gone(entries, "given back")


@pytest.mark.versions
@pytest.mark.slow
async def test_twenty_outages_at_a_delivery_limit_of_twenty(scene: Scene) -> None:
    """Twenty outages of a second, on a queue that drops what has come back twenty times: not one message comes back at all."""
    queue = await scene.queue({**QUORUM, "x-delivery-limit": 20})
    scene.latency(0.005)
    (worker,) = await scene.start(1, "--open", "0.3", "--open-max", "0.5")
    for _ in range(20):
        begin = await scene.produce(queue, 40)
        await scene.processing(5, since=begin)
        outage = await scene.outage(queue)
        await scene.opened(worker, times=2, since=outage)
        await scene.up()
        await scene.closed(worker)
    await scene.finished()
    await scene.drained()
    entries = scene.check(lanes=LANES)
    assert returns(entries) == 0


async def test_only_what_needs_it_is_held(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Two queues, two needs: while one dependency is down, the other queue is worked off to its end."""
    held = await scene.queue(arguments, "payments")
    free = await scene.queue(arguments, "mails")
    (worker,) = await scene.start(1)
    outage = await scene.outage(held)
    await scene.opened(worker, since=outage)
    await scene.produce(free, 300)
    await scene.until(lambda entries: sum(1 for each in told(entries, "processed") if each.facts["topic"] == free) == 300)
    assert not [each for each in told(scene.ledger.entries(), "processed") if each.facts["topic"] == held]
    await scene.up(dependency="payments")
    await scene.finished()
    await scene.drained()
    scene.check(lanes=LANES)


@pytest.mark.parametrize("prefetch", [1, 10, 100])
async def test_every_prefetch(scene: Scene, arguments: Mapping[str, Any], prefetch: int) -> None:
    """From a window of one to one of a hundred: an outage is free, and no more than the window is in hand."""
    queue = await scene.queue(arguments)
    scene.latency(0.005)
    (worker,) = await scene.start(1, "--prefetch", str(prefetch))
    begin = await scene.produce(queue, 300)
    await scene.processing(40, since=begin)
    outage = await scene.outage(queue)
    await scene.opened(worker, since=outage)
    await scene.up()
    await scene.closed(worker)
    await scene.finished()
    await scene.drained()
    entries = scene.check(lanes=min(LANES, prefetch), in_hand=prefetch)
    assert again(entries) == 0


@pytest.mark.slow
async def test_very_many_messages(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Ten thousand, and in `make test-long` a hundred thousand. With three outages on the way: none lost, none twice, memory flat."""
    queue = await scene.queue(arguments)
    (worker,) = await scene.start(1, "--prefetch", "100", "--brief")
    payments = scene.dependencies["payments"]
    for _ in range(TIMES):
        # By the dependency's own count, and from before they are produced: a quick worker is done with many by the time all are, and this
        # process may be slow to read what it has written.
        enough = payments.calls + CALLED
        for _ in range(7):
            await scene.produce(queue, PIECE)
        async with asyncio.timeout(PATIENCE):
            while payments.calls < enough:
                await asyncio.sleep(0.1)
        outage = await scene.outage(queue)
        await scene.opened(worker, times=2, since=outage)
        await scene.up()
        await scene.closed(worker)
    await scene.finished(timeout=600)
    await scene.drained()
    entries = scene.check(lanes=LANES, in_hand=100)
    assert again(entries) == 0
