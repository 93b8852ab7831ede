"""A process that ends, by a crash or in order, while its circuit is closed, open, or ramping; and a broker or network that does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.rabbitmq.scene import Scene, again, gone, limit, told, took
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.ledger.fleet import Worker
    from tests.servers.rabbitmq import RabbitMQServer

STATES = ("closed", "open", "ramping")
PREFETCH = 20
# A quorum queue that is killed younger than this does not come back (RabbitMQServer.kill).
GROWN_UP = 4.0


@pytest.mark.parametrize("state", STATES)
async def test_killed(scene: Scene, arguments: Mapping[str, Any], state: str) -> None:
    """After kill -9 another process makes again at most what was in hand of the dead one, and nothing is lost."""
    worker = await _begin(scene, arguments, state)
    worker.kill()
    assert await worker.ended() == -9
    await _finish(scene)
    scene.check(lanes=PREFETCH, duplicates=PREFETCH)


@pytest.mark.parametrize("state", STATES)
async def test_terminated(scene: Scene, arguments: Mapping[str, Any], state: str) -> None:
    """After SIGTERM everything that was finished is acked, and what was not is processed by another process, once."""
    worker = await _begin(scene, arguments, state)
    worker.terminate()
    assert await worker.ended() == 0, worker.output
    await _finish(scene)
    scene.check(lanes=PREFETCH)


async def _begin(scene: Scene, arguments: Mapping[str, Any], state: str) -> Worker:
    """Bring the first of two workers into this state."""
    queue = await scene.queue(arguments)
    # Slow enough that much is left when the end comes.
    scene.latency(0.1)
    worker, other = await scene.start(2, "--prefetch", str(PREFETCH))
    await scene.produce(queue, 300)
    await scene.processing(40)
    if state != "closed":
        await scene.outage(queue, 100)
        await scene.opened(worker)
        await scene.until(lambda entries: bool(told(entries, "opened", other.name)))
    if state == "ramping":
        # Slow enough that a ramp is met half-way.
        scene.latency(0.3)
        await scene.up()
        await scene.until(lambda entries: limit(entries, worker.name) > 1)
    return worker


async def _finish(scene: Scene) -> None:
    scene.latency(0.005)
    if scene.is_down():
        await scene.up()
    await scene.finished()
    await scene.drained()


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_a_single_active_consumer_hands_over(scene: Scene, end: str) -> None:
    """Two workers, one active: when it ends during a hold the other takes over where it was, in order."""
    queue = await scene.queue({**QUORUM, **SINGLE_ACTIVE})
    scene.latency(0.005)
    (first,) = await scene.start(1, "--single-active", "--prefetch", str(PREFETCH))
    await scene.produce(queue, 200)
    await scene.processing(20)
    (second,) = await scene.start(1, "--single-active", "--prefetch", str(PREFETCH))
    await scene.processing(20)
    assert not told(scene.ledger.entries(), "called", second.name)
    await scene.outage(queue)
    await scene.opened(first)
    getattr(first, end)()
    await first.ended()
    await scene.opened(second)
    await _finish(scene)
    # What the dead one had finished in its last acks comes again, and so out of order.
    scene.check(lanes=1, order="source" if end == "terminate" else None, duplicates=PREFETCH if end == "kill" else 0)


async def test_the_broker_is_killed_during_a_hold(fresh_rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """The worker comes back with the broker, still holding; nothing is lost, nothing processed twice."""
    async with Scene(fresh_rabbitmq, tmp_path) as scene:
        queue = await scene.queue(QUORUM)
        scene.latency(0.01)
        (worker,) = await scene.start(1)
        await scene.produce(queue, 200)
        await asyncio.sleep(GROWN_UP)
        await scene.outage(queue)
        await scene.opened(worker)
        fresh_rabbitmq.kill()
        await scene.gone("lost")
        await fresh_rabbitmq.start()
        await scene.until(lambda entries: len(took(entries)) == 2)
        await _finish(scene)
        scene.check(lanes=16)


@pytest.mark.parametrize("fault", ["reset", "cut"])
async def test_the_network_fails(own_rabbitmq: RabbitMQServer, tmp_path: Path, arguments: Mapping[str, Any], fault: str) -> None:
    """Connections that break, or carry nothing any more, under load and in an outage: what was in hand is made again, nothing is lost."""
    async with own_rabbitmq.proxy() as proxy, Scene(own_rabbitmq, tmp_path, url=own_rabbitmq.url_through(proxy)) as scene:
        queue = await scene.queue(arguments)
        scene.latency(0.01)
        (worker,) = await scene.start(1, "--prefetch", str(PREFETCH))
        await scene.produce(queue, 400)
        await scene.processing(50)
        for times in (1, 2):
            getattr(proxy, fault)()
            await scene.gone("lost", times)
            proxy.heal()
            await scene.until(lambda entries: len(took(entries)) == times + 1)
            await scene.produce(queue, 100)
            await scene.processing(20)
        await scene.outage(queue)
        await scene.opened(worker)
        getattr(proxy, fault)()
        await scene.gone("lost", 3)
        proxy.heal()
        await _finish(scene)
        entries = scene.check(lanes=16, duplicates=3 * PREFETCH)
        assert gone(entries, "lost") == 3
        assert again(entries) > 0
