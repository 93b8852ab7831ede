"""Outages with workers on confluent-kafka: each way to share partitions, a kill, a join, a migration."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.kafka import looks
from tests.ledger import story
from tests.ledger.ledger import after

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene


@pytest.mark.parametrize("way", ["range", "cooperative", "consumer"])
async def test_an_outage_is_free(scene: Scene, way: str) -> None:
    """A dependency is down for two openings: nothing is lost, repeated, reordered or rebalanced, and each process wastes its few calls."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.01)
    await scene.start(2, "--client", way)
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
