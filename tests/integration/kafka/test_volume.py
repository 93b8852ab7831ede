"""Many messages through three outages, with three processes: ten thousand, and in `make test-long` a hundred thousand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.lengths import length

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.kafka.scene import Scene

PARTITIONS = 12
EACH = length(8_400, part=840)
OUTAGES = 3
PART = EACH // OUTAGES // 2  # before and in each outage
LANES = 4
# Only a failing run waits so long: three workers, the broker and five other tests share two cores.
PATIENCE = 240


@pytest.mark.slow
async def test_very_many_messages(scene: Scene) -> None:
    """Nothing is lost, repeated or reordered, each outage costs each process its few calls, and memory stays where it was."""
    topic = await scene.topic(partitions=PARTITIONS)
    await scene.start(3, "--brief")
    payments = scene.dependencies["payments"]
    for _ in range(OUTAGES):
        # By the dependency's own count, and from before they are produced: quick workers are done with many by the time all are.
        enough = payments.calls + PARTITIONS * PART // 2
        await scene.produce(topic, PART)
        await _until(scene, lambda enough=enough: payments.calls >= enough)
        await scene.closed()
        outage = await scene.down()
        await scene.produce(topic, PART)  # three quick workers may be through with the first part by now
        await scene.opened(times=2, since=outage)
        await scene.up()
        await scene.closed()
    await _until(scene, lambda: all(scene.committed.get(place, 0) >= EACH for place in scene.places))
    await scene.drained()
    await scene.check(lanes=LANES)


async def _until(scene: Scene, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            assert len(scene.running) == 3
            await asyncio.sleep(0.1)
