"""A process that ends, by a crash or in order, while its circuit is closed, open, or ramping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.kafka import looks
from tests.ledger.messages import uncommitted

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene
    from tests.ledger.fleet import Worker

STATES = ("closed", "open", "ramping")


@pytest.mark.parametrize("state", STATES)
async def test_killed(scene: Scene, state: str) -> None:
    """After kill -9 another process makes again what was finished and not committed, and nothing else is lost, repeated or reordered."""
    worker = await _begin(scene, state, "--session", "6")  # for so long the others wait for it
    worker.kill()
    assert await worker.ended() == -9
    await _finish(scene)
    await scene.check(lanes=4, duplicates=uncommitted(scene.ledger.entries(), worker.name))


@pytest.mark.parametrize("state", STATES)
async def test_terminated(scene: Scene, state: str) -> None:
    """After SIGTERM everything that was finished is committed, and what was not is processed by another process, once."""
    worker = await _begin(scene, state)
    worker.terminate()
    assert await worker.ended() == 0, worker.output
    assert uncommitted(scene.ledger.entries(), worker.name) == 0
    await _finish(scene)
    await scene.check(lanes=4)


async def _begin(scene: Scene, state: str, *arguments: str) -> Worker:
    """Bring the first of two workers into this state."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.02)
    # Seldom, so that a crash has something to repeat.
    worker, _ = await scene.start(2, "--commit-every", "1", *arguments)
    begin = await scene.produce(topic, 100)
    await scene.processing(40, since=begin)
    if state != "closed":
        outage = await scene.down()
        await scene.produce(topic, 30)
        await scene.opened(since=outage)
    if state == "ramping":
        # Slow enough that a ramp is met half-way.
        scene.latency(1.0)
        await scene.up()
        await scene.until(lambda entries: _limit(entries, worker.name) > 1)
    return worker


async def _finish(scene: Scene) -> None:
    scene.latency(0.005)
    if scene.is_down():
        await scene.up()
    await scene.finished()
    await scene.drained()


def _limit(entries, who: str) -> int:
    limits = looks.told(entries, "limit", who)
    return limits[-1].facts["limit"] if limits and looks.state(entries, who, "payments") == "half_opened" else 0
