"""An outage while messages are processed, and what it must not cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene


async def test_an_outage_is_free(scene: Scene) -> None:
    """A dependency is down for two openings: nothing is lost, repeated, reordered or rebalanced, and each process wastes its few calls."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.01)
    await scene.start(2)
    begin = await scene.produce(topic, 150)
    await scene.processing(60, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 30)
    await scene.opened(times=2, since=outage)
    await scene.up()
    await scene.closed()
    entries = await scene.finished()
    first_call = looks.told(entries, "called")[0].at
    assert not [entry for entry in looks.told(entries, "assigned") if entry.at > first_call]
    await scene.drained()
    await scene.check(lanes=4)
