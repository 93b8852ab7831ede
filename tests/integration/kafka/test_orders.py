"""Order by key, and none at all: the watermark through an outage and a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.kafka import looks
from tests.ledger.messages import uncommitted

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene

LANES = 8
KEYS = 12


@pytest.mark.parametrize("order", ["key", "none"])
async def test_an_outage_and_a_crash(scene: Scene, order: str) -> None:
    """Eight lanes finish out of turn: no commit passes what is unfinished, order="key" keeps each key's order, and a crash repeats only
    what lies above the watermark."""
    topic = await scene.topic(partitions=2)
    scene.latency(0.02)
    worker, _ = await scene.start(2, "--order", order, "--concurrency", str(LANES), "--session", "6")
    # Some keys fail beside healthy ones: their messages wait, and others overtake them.
    scene.dependencies["payments"].fail_every = 10
    begin = await scene.produce(topic, 600, keys=KEYS)
    await scene.processing(200, since=begin)
    scene.dependencies["payments"].fail_every = 0
    outage = await scene.down()
    await scene.produce(topic, 300, keys=KEYS)
    await scene.opened(since=outage)
    healthy = await scene.up()
    await scene.closed()
    await scene.processing(100, since=healthy)
    worker.kill()
    await worker.ended()
    await scene.finished()
    await scene.drained()
    above = uncommitted(scene.ledger.entries(), worker.name)
    # Those that failed now and then beside the outage are no waste of it.
    entries = await scene.check(order="key" if order == "key" else None, duplicates=above)
    assert _overtook(entries), "everything was done in turn, so the watermark was never tried"


def _overtook(entries) -> bool:
    highest: dict[object, int] = {}
    for entry in looks.told(entries, "processed"):
        if entry.offset < highest.get(entry.place, -1):
            return True
        highest[entry.place] = entry.offset
    return False
