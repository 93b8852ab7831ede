"""Offsets that are not there: deleted during a hold, aborted, compacted away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.integration.kafka import looks
from tests.ledger.ledger import mark

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene


async def test_retention_that_passes_a_held_offset_is_told(scene: Scene) -> None:
    """While it is still held, the range that the broker deleted unread is announced; everything else is processed, in order."""
    topic = await scene.topic(partitions=1)
    await scene.start(1, "--open", "120", "--inbox", "10")
    await scene.produce(topic, 20)
    await scene.finished()
    outage = await scene.down()
    await scene.produce(topic, 100)
    await scene.opened(since=outage)
    await scene.kafka.delete_records(topic, {0: 70})
    for offset in range(20, 70):
        scene.writer.write("deleted", topic=topic, partition=0, offset=offset)
    entries = await scene.until(lambda entries: bool(looks.noted(entries, "lost")))
    (loss,) = looks.noted(entries, "lost")
    first, last = loss.facts["lost"]
    assert looks.state(entries, loss.who, "payments") == "opened"
    assert 20 < first < last == 69
    await scene.up()
    await scene.drained()
    # The circuit was open for long; a fresh process finishes what is left, and it begins after what was deleted.
    await scene.start(1)
    await scene.committed_up_to({(topic, 0): 120})
    await scene.drained()
    await scene.check(lanes=1)


async def test_aborted_transactions_leave_no_lag(scene: Scene) -> None:
    """Gaps of aborted transactions are passed, through an outage, and at the end the group has no lag."""
    topic = await scene.topic(partitions=2)
    scene.latency(0.01)
    await scene.start(1, "--isolation", "read_committed")
    producer = AIOKafkaProducer(bootstrap_servers=scene.kafka.bootstrap, transactional_id=topic)
    await producer.start()
    begin = outage = mark()
    try:
        for number in range(20):
            await _transaction(scene, producer, topic, abort=number % 3 == 1)
            if number == 10:
                await scene.processing(1, since=begin)
                outage = await scene.down()
        await scene.opened(since=outage)
        await scene.up()
        await _transaction(scene, producer, topic, abort=True)
    finally:
        await producer.stop()
    await scene.finished()
    ends = {(topic, number): offset for number, offset in (await scene.kafka.end_offsets(topic)).items()}
    await scene.committed_up_to(ends)
    await scene.drained()
    entries = await scene.check(assignments=2, lanes=2)
    assert len(looks.done(entries)) == 2 * 5 * 13
    assert scene.committed == ends


async def test_compaction_leaves_gaps_that_are_passed(scene: Scene) -> None:
    """Offsets that compaction took away are passed, through an outage; everything that is left is processed."""
    settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "100"}
    topic = await scene.topic(partitions=1, config=settings)
    for value in range(40):
        await scene.kafka.produce(topic, [str(value).encode()], partition=0, key=b"same")
        await scene.kafka.produce(topic, [b""], partition=0, key=str(value // 4).encode())
    while len(await scene.kafka.read(topic)) > 40:
        # Only a new record closes the segment before it.
        await scene.kafka.produce(topic, [b"new"], partition=0, key=b"same")
    # No more of it from here on: what is told as produced must be there to be read.
    async with scene.kafka.admin() as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"cleanup.policy": "delete"})])
    records = await _unchanging(scene, topic)
    for record in records:
        scene.produced(topic, 0, record.offset)
    outage = await scene.down()
    await scene.start(1)
    await scene.opened(since=outage)
    await scene.up()
    await scene.finished()
    await scene.drained()
    entries = await scene.check(assignments=1, lanes=1)
    offsets = sorted(offset for _, _, offset in looks.done(entries))
    assert offsets != list(range(offsets[0], offsets[-1] + 1)), "nothing was compacted away"


async def _unchanging(scene: Scene, topic: str) -> list[Any]:
    """What the topic holds once a cleaning that was under way has ended: three looks half a second apart see the same."""
    looks_alike, records = 1, await scene.kafka.read(topic)
    while looks_alike < 3:
        await asyncio.sleep(0.5)
        before, records = records, await scene.kafka.read(topic)
        looks_alike = looks_alike + 1 if [record.offset for record in records] == [record.offset for record in before] else 1
    return records


async def _transaction(scene: Scene, producer: AIOKafkaProducer, topic: str, *, abort: bool) -> None:
    await producer.begin_transaction()
    sent = [await producer.send_and_wait(topic, b"", partition=number) for number in (0, 1) for _ in range(5)]
    if abort:
        await producer.abort_transaction()
        return
    await producer.commit_transaction()
    for record in sent:
        scene.produced(topic, record.partition, record.offset)
