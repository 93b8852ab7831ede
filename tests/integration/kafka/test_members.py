"""Members that come and go during a hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer
from tests.integration.kafka import looks
from tests.ledger.ledger import after, mark

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene

TIMES = 5


async def test_a_member_joins_and_leaves_five_times_during_a_hold(scene: Scene) -> None:
    """Each join and each leave is one rebalance for who holds, none more; not one record is handed out, and no handler starts."""
    topic = await scene.topic(partitions=4)
    # A small inbox: there is more to fetch for whoever forgets a pause.
    (worker,) = await scene.start(1, "--open", "120", "--inbox", "10")
    begin = await scene.produce(topic, 100)
    await scene.processing(20, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 100)
    await scene.opened(since=outage)
    opened = mark()
    for _ in range(TIMES):
        await _join_and_leave(scene, topic)
    # Its last line about an assignment: each of them was held again.
    entries = await scene.until(lambda entries: len(looks.told(after(entries, opened), "held")) >= TIMES * (2 + 4))
    assigned = looks.told(after(entries, opened), "assigned")
    assert len(assigned) == TIMES * (2 + 4), "two partitions with the other member, four without it, and no assignment beside these"
    assert looks.state(entries, worker.name, "payments") == "opened", "it was held all the time"
    await scene.up()
    # The circuit is open for long; a fresh process finishes what is left.
    await scene.drained()
    await scene.start(1)
    await scene.finished()
    await scene.drained()
    await scene.check(lanes=4)


async def _join_and_leave(scene: Scene, topic: str) -> None:
    joins = mark()
    other = AIOKafkaConsumer(
        topic,
        bootstrap_servers=scene.kafka.bootstrap,
        group_id=scene.group,
        enable_auto_commit=False,
        heartbeat_interval_ms=300,
    )
    await other.start()
    try:
        await scene.until(lambda entries: len(looks.told(after(entries, joins), "assigned")) >= 2)
    finally:
        leaves = mark()
        await other.stop()
    await scene.until(lambda entries: len(looks.told(after(entries, leaves), "assigned")) >= 4)
