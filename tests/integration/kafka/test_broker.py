"""The broker itself goes away during a hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.integration.kafka.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kafka import KafkaServer


async def test_the_broker_restarts_during_a_hold(fresh_kafka: KafkaServer, tmp_path: Path) -> None:
    """What is held stays held, what is in hand of the other topic is finished meanwhile and committed afterwards; nobody leaves the group,
    and in the end every message was processed once, in order."""
    async with Scene(fresh_kafka, tmp_path) as scene:
        orders = await scene.topic("payments", partitions=2)
        letters = await scene.topic("mail", partitions=2)
        scene.latency(0.05, "mail")
        await scene.start(1, "--session", "30", "--open", "1")
        begin = await scene.produce(orders, 100)
        await scene.processing(20, since=begin)
        outage = await scene.down()
        await scene.produce(orders, 100)
        await scene.opened(since=outage)
        begin = await scene.produce(letters, 200)
        await scene.processing(20, since=begin)
        scene.note(broker="stops")
        await fresh_kafka.restart()
        is_back = scene.note(broker="is back")
        await scene.opened(since=is_back)
        await scene.up()
        await scene.finished()
        await scene.drained()
        entries = await scene.check(assignments=4, lanes=2)
    away, back = (entry.at for entry in looks.noted(entries, "broker"))
    meanwhile = [entry.facts["topic"] for entry in looks.told(entries, "processed") if away < entry.at < back]
    assert set(meanwhile) == {letters}
    assert len(meanwhile) > 20
