"""What an outage costs a real group without a guard."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer

from holdgate.brokers.group_facts import Diagnosis
from holdgate.brokers.kafka.examination import examine

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

HOUR = 3600.0


async def test_a_real_group_with_a_member_and_without(kafka: KafkaAddress) -> None:
    """Arrivals by the records' times, what waits, members; first nobody, then one, then an empty group."""
    topic = await kafka.create_topic(f"costs-{uuid.uuid4().hex[:8]}", 2, config={"retention.ms": "604800000"})
    group = f"group-{uuid.uuid4().hex[:8]}"
    try:
        await kafka.produce(topic, [b"1", b"2", b"3"], partition=0)
        await kafka.produce(topic, [b"4"], partition=1)

        async def costs(now: float) -> str:
            found = await examine(kafka.bootstrap, group, [topic], {}, now, outage=HOUR)
            assert not any(each.refused for each in found if each.cost)
            return " ".join(f"{each.about}: {each.text}" for each in found if each.cost)

        before = await costs(time.time())
        assert f"{topic}: 4 records came in the last 1 hour" in before
        assert "a consumer that waits has 4 + 4 = 8 records before it afterwards" in before
        assert f"{group}: its members cannot be seen" in before
        assert f"{topic}: no record came in the last 1 hour" in await costs(time.time() + 2 * HOUR)

        consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            async with asyncio.timeout(60):
                while not consumer.assignment():
                    await asyncio.sleep(0.05)
            await consumer.seek_to_end()
            await consumer.commit({each: await consumer.position(each) for each in consumer.assignment()})
            assert f"{group}: a consumer that tries a record again" in (during := await costs(time.time()))
            assert "12 times for each of 1 member, 12 rebalances" in during
            assert "has 0 + 4 = 4 records before it afterwards" in during
        finally:
            await consumer.stop()
        assert f"{group}: it has no member now (state Empty)" in await costs(time.time())
    finally:
        await kafka.delete_topic(topic)


async def test_without_an_outage_there_are_no_costs(kafka: KafkaAddress) -> None:
    """The examination is as it was."""
    topic = await kafka.create_topic(f"costs-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "604800000"})
    try:
        found = await examine(kafka.bootstrap, "nobody", [topic, "no-such-topic"], {}, time.time(), outage=HOUR)
        assert Diagnosis("no-such-topic", found[0].text, refused=True) == found[0]
        assert {each.about for each in found if each.cost} == {topic, "nobody"}
        assert not any(each.cost for each in await examine(kafka.bootstrap, "nobody", [topic], {}, time.time()))
    finally:
        await kafka.delete_topic(topic)
