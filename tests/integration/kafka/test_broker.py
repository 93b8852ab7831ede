"""The broker itself goes away during a hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.integration.kafka.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka import KafkaServer


async def test_the_broker_restarts_during_a_hold(fresh_kafka: KafkaServer, tmp_path: Path) -> None:
    """The pause is kept, nobody leaves the group, and after the dependency has come back every message is processed once, in order."""
    async with Scene(fresh_kafka, tmp_path) as scene:
        topic = await scene.topic(partitions=4)
        await scene.start(1, "--session", "30", "--inbox", "10", "--open", "1")
        await scene.produce(topic, 100)
        await scene.processing(20)
        await scene.down()
        await scene.opened()
        scene.note(broker="stops")
        await fresh_kafka.restart()
        scene.note(broker="is back")
        await scene.opened()
        await scene.up()
        await scene.finished()
        await scene.drained()
        entries = await scene.check(assignments=4, lanes=4)
    away, back = (entry.at for entry in looks.noted(entries, "broker"))
    assert not [entry for entry in looks.told(entries, "processed") if away < entry.at < back], "it was held all the time"
