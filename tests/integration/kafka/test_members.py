"""Members that come and go during a hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer
from tests.integration.kafka import looks

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene

TIMES = 5


async def test_a_member_joins_and_leaves_five_times_during_a_hold(scene: Scene) -> None:
    """Each join and each leave is one rebalance for who holds, none more; not one record is handed out, and no handler starts."""
    topic = await scene.topic(partitions=4)
    # A small inbox: there is more to fetch for whoever forgets a pause.
    (worker,) = await scene.start(1, "--open", "120", "--inbox", "10")
    await scene.produce(topic, 100)
    await scene.processing(20)
    await scene.down()
    await scene.produce(topic, 100)
    entries = await scene.opened()
    before = len(looks.told(entries, "assigned"))
    for _ in range(TIMES):
        await _join_and_leave(scene, topic)
    entries = scene.ledger.entries()
    after = looks.told(entries, "assigned")[before:]
    assert len(after) == TIMES * (2 + 4), "two partitions with the other member, four without it, and no assignment beside these"
    assert looks.state(entries, worker.name, "payments") == "opened", "it was held all the time"
    assert len(looks.told(entries, "held")) >= len(after), "each of them was held again"
    await scene.up()
    # The circuit is open for long; a fresh process finishes what is left.
    await scene.drained()
    await scene.start(1)
    await scene.finished()
    await scene.drained()
    await scene.check(lanes=4)


async def _join_and_leave(scene: Scene, topic: str) -> None:
    count = len(looks.told(scene.ledger.entries(), "assigned"))
    other = AIOKafkaConsumer(
        topic,
        bootstrap_servers=scene.kafka.bootstrap,
        group_id=scene.group,
        enable_auto_commit=False,
        heartbeat_interval_ms=300,
    )
    await other.start()
    try:
        await scene.until(lambda entries: len(looks.told(entries, "assigned")) >= count + 2)
    finally:
        await other.stop()
    await scene.until(lambda entries: len(looks.told(entries, "assigned")) >= count + 2 + 4)
