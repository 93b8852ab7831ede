"""A Kafka of our own. That its data survive a kill, an orderly restart, and the end of one broker of three is seen where that is needed,
because each start is dear: tests/brokers/kafka/test_intake_faults.py and tests/integration/kafka/test_broker.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaServer
    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.proxy import Proxy


async def test_a_topic_keeps_what_was_produced(kafka: KafkaAddress, topic) -> None:
    """Records come back in order, with their headers."""
    name = await topic(partitions=2)
    places = await kafka.produce(name, [b"a", b"b"], partition=1, headers=[("trace", b"7")])
    records = await kafka.read(name)
    assert places == [(1, 0), (1, 1)]
    assert [(record.partition, record.value, record.headers) for record in records] == [
        (1, b"a", (("trace", b"7"),)),
        (1, b"b", (("trace", b"7"),)),
    ]


async def test_committed_offsets_are_the_groups_own(kafka: KafkaAddress, topic) -> None:
    """`committed` tells what the group committed and leaves out what it did not."""
    name = await topic(partitions=2)
    await kafka.commit(f"group-of-{name}", name, {1: 5})
    assert await kafka.committed(f"group-of-{name}", name) == {1: 5}


async def test_deleted_records_move_the_start(kafka: KafkaAddress, topic) -> None:
    """`delete_records` does what retention would."""
    name = await topic()
    await kafka.produce(name, [b"1", b"2", b"3"], partition=0)
    await kafka.delete_records(name, {0: 2})
    assert await kafka.start_offsets(name) == {0: 2}
    assert await kafka.end_offsets(name) == {0: 3}


async def test_a_topic_can_grow(kafka: KafkaAddress, topic) -> None:
    """`add_partitions` gives the total asked for."""
    name = await topic(partitions=1)
    await kafka.add_partitions(name, 3)
    assert set(await kafka.end_offsets(name)) == {0, 1, 2}


async def test_a_topic_takes_settings(kafka: KafkaAddress, topic) -> None:
    """A compacted topic refuses a record without a key, so the setting arrived."""
    name = await topic(config={"cleanup.policy": "compact"})
    with pytest.raises(KafkaError):
        await kafka.produce(name, [b"no key"], partition=0)


async def test_clients_stay_behind_the_proxy(own_kafka: KafkaServer, kafka_proxy: Proxy) -> None:
    """A consumer that starts at the proxy's address fetches through it: cut, it gets nothing; healed, it goes on."""
    name = await own_kafka.create_topic("proxied")
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_proxy.address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(name, 0)])
        await own_kafka.produce(name, [b"1"], partition=0)
        assert (await consumer.getone()).value == b"1"
        kafka_proxy.cut()
        await own_kafka.produce(name, [b"2"], partition=0)
        assert await consumer.getmany(timeout_ms=300) == {}
        kafka_proxy.heal()
        assert (await asyncio.wait_for(consumer.getone(), 60)).value == b"2"
    finally:
        await consumer.stop()
        await own_kafka.delete_topic(name)
