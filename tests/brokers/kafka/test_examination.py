from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from holdgate.brokers.group_facts import Diagnosis
from holdgate.brokers.kafka.examination import examine

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


async def consumed(kafka: KafkaAddress, topic: str, group: str, offset: int) -> None:
    """Let the group have committed this offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    try:
        await consumer.commit({TopicPartition(topic, 0): offset})
    finally:
        await consumer.stop()


async def test_a_real_group_is_examined_without_joining_it(kafka: KafkaAddress) -> None:
    """Retention, the age of what waits, and what has no offset, from the broker; the topics are those of the group."""
    topic = await kafka.create_topic(f"examined-{uuid.uuid4().hex[:8]}", 2, config={"retention.ms": "3600000"})
    group = f"group-{uuid.uuid4().hex[:8]}"
    try:
        await kafka.produce(topic, [b"1", b"2", b"3"], partition=0)
        await kafka.produce(topic, [b"1"], partition=1)
        await consumed(kafka, topic, group, 1)
        first_waiting = (await kafka.read(topic))[1]
        found = await examine(kafka.bootstrap, group, [], {}, first_waiting.timestamp / 1000 + 3000)
        assert {each.about for each in found} == {topic}
        assert not any(each.refused for each in found)
        told = " ".join(each.text for each in found)
        assert f"the oldest record that group '{group}' has not processed is 0.83" in told
        assert f"group '{group}' has committed nothing in 1 of 2 partitions" in told
        assert await kafka.committed(group, topic) == {0: 1}
    finally:
        await kafka.delete_topic(topic)


async def test_what_cannot_be_examined_is_refused(kafka: KafkaAddress) -> None:
    """A topic that is not there, a group that has committed nothing; and where nobody answers."""
    (found,) = await examine(kafka.bootstrap, "nobody", ["no-such-topic"], {}, time.time())
    assert (found.about, found.refused) == ("no-such-topic", True)
    (found,) = await examine(kafka.bootstrap, f"group-{uuid.uuid4().hex[:8]}", [], {}, time.time())
    assert (found.refused, "name them with --topic" in found.text) == (True, True)


async def test_a_broker_that_does_not_answer_is_a_finding() -> None:
    """And no traceback."""
    (found,) = await examine("127.0.0.1:1", "charger", ["orders"], {}, time.time())
    assert found == Diagnosis("127.0.0.1:1", "no Kafka broker answers within 15 s (KafkaConnectionError): check the address", refused=True)
