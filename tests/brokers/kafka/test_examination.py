from __future__ import annotations

import math
import time
import uuid
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from holdgate.brokers.kafka.examination import Diagnosis, PartitionFacts, TopicFacts, _milliseconds, diagnose, examine

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

DAY = 86400.0


def texts(*partitions: PartitionFacts, offsets_kept: float | None = None, **topic: Any) -> list[str]:
    return [each.text for each in diagnose("charger", [TopicFacts("orders", partitions, **topic)], offsets_kept)]


def partition(committed: int | None = 5, age: float | None = None, **more: int) -> PartitionFacts:
    return PartitionFacts(**{"number": 0, "begin": 0, "end": 10, **more}, committed=committed, oldest_age=age)


def test_a_topic_that_outlasts_any_outage_needs_no_word() -> None:
    """A week, as Kafka's default; or without end."""
    assert texts(partition(age=60.0), retention=7 * DAY, offsets_kept=7 * DAY) == []
    assert texts(partition()) == []


def test_what_was_deleted_unprocessed_is_named() -> None:
    """With its range: it is lost."""
    (text,) = texts(partition(committed=5, begin=8))
    assert text.startswith("retention has deleted offsets 5 to 7 of partition 0 before they were processed")


def test_a_topic_that_forgets_over_a_weekend_is_named() -> None:
    """And one whose oldest waiting record is soon deleted, with how soon."""
    assert texts(partition(), retention=DAY) == [
        "records are kept for 24 hours, so an outage over a weekend loses some: raise retention.ms to 3 days or more"
    ]
    (text,) = texts(partition(age=5 * DAY), partition(age=60.0), retention=7 * DAY)
    assert text.startswith("the oldest record that group 'charger' has not processed is 5 days old, and records are kept for 7 days: it is")
    assert "deleted in 2 days" in text
    assert "deleted in 0 hours" in texts(partition(age=9 * DAY), retention=7 * DAY)[0]


def test_deletion_by_size_and_by_key_are_named() -> None:
    """Both take what a hold keeps waiting."""
    assert texts(partition(), retention_bytes=1000)[0].startswith("retention.bytes=1000 deletes by size, too")
    assert texts(partition(), compacted=True)[0].startswith("it is compacted")


def test_a_group_that_begins_anew_is_named() -> None:
    """Where there are records that it might skip; and one whose offsets the broker forgets too soon."""
    (text,) = texts(partition(None), partition(None, end=0), partition())
    assert text.startswith("group 'charger' has committed nothing in 1 of 3 partitions that have records")
    (text,) = texts(partition(), offsets_kept=DAY)
    assert text.startswith("the broker forgets the offsets of a group that has had no member for 24 hours")


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
        found = await examine(kafka.bootstrap, group, [], {}, time.time() + 3000)
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


def test_no_limit_is_for_ever() -> None:
    """As the broker says it: -1."""
    assert (_milliseconds("-1"), _milliseconds(None), _milliseconds("60000")) == (math.inf, math.inf, 60.0)
