"""What tests ask of a Kafka wherever it runs: make topics, write, read, look at offsets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

# Everything here answers in milliseconds on a quiet machine; this is for a broker that comes back from a kill.
TIMEOUT = 60.0
BETWEEN_LOOKS = 0.05


class KafkaAddress:
    """A Kafka at `bootstrap` ("host:port", with commas between several)."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def create_topic(
        self, name: str, partitions: int = 1, *, config: Mapping[str, str] | None = None, replication: int | None = None
    ) -> str:
        """Create a topic, wait until every partition has a leader, and return its name. `replication` None: on every broker."""
        async with self.admin() as admin:
            copies = replication or len((await admin.describe_cluster())["brokers"])
            topic = NewTopic(name, partitions, copies, topic_configs=dict(config or {}))
            answer = await admin.create_topics([topic])
            _raise_first(error[1] for error in answer.topic_errors)
            await self._led(admin, name, partitions)
        return name

    async def delete_topic(self, name: str) -> None:
        """Delete a topic, and wait until the broker that is asked says nothing of it any more: it answers before it has forgotten it."""
        async with self.admin() as admin:
            answer = await admin.delete_topics([name])
            _raise_first(error[1] for error in answer.topic_error_codes)
            async with asyncio.timeout(TIMEOUT):
                while name in await admin.list_topics():  # a question by its name could make it anew
                    await asyncio.sleep(BETWEEN_LOOKS)

    async def add_partitions(self, topic: str, total: int) -> None:
        """Give the topic more partitions, and wait until each has a leader: `total` afterwards."""
        async with self.admin() as admin:
            answer = await admin.create_partitions({topic: NewPartitions(total)})
            _raise_first(error[1] for error in answer.topic_errors)
            await self._led(admin, topic, total)

    async def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete what lies before these offsets, as retention would at its next look."""
        async with self.admin() as admin:
            await admin.delete_records({TopicPartition(topic, number): RecordsToDelete(offset) for number, offset in before.items()})

    async def produce(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        partition: int | None = None,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> list[tuple[int, int]]:
        """Write these values in order; returns the partition and offset of each.

        `partition` None: by `key`, or as the client spreads. A tombstone (None) needs a key.
        """
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await producer.start()
        try:
            sent = [await producer.send(topic, value, key=key, partition=partition, headers=list(headers)) for value in values]
            return [(record.partition, record.offset) for record in await asyncio.gather(*sent)]
        finally:
            await producer.stop()

    async def read(self, topic: str) -> list[Any]:
        """Return all records that the topic holds now, by partition and offset. Transactions still open are left out."""
        async with self._reader(topic) as (reader, partitions):
            ends = await reader.end_offsets(partitions)
            # From an offset that is known: `latest`, or a reset that is still under way, would find nothing.
            for partition, start in (await reader.beginning_offsets(partitions)).items():
                reader.seek(partition, start)
            records: list[Any] = []
            async with asyncio.timeout(TIMEOUT):
                while any([await reader.position(partition) < end for partition, end in ends.items()]):
                    for batch in (await reader.getmany(timeout_ms=100)).values():
                        records.extend(batch)
            return sorted(records, key=lambda record: (record.partition, record.offset))

    async def start_offsets(self, topic: str) -> dict[int, int]:
        """Return by partition the first offset that still exists."""
        async with self._reader(topic) as (reader, partitions):
            return {partition.partition: offset for partition, offset in (await reader.beginning_offsets(partitions)).items()}

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """Return by partition the offset that the next record will get."""
        async with self._reader(topic) as (reader, partitions):
            return {partition.partition: offset for partition, offset in (await reader.end_offsets(partitions)).items()}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return by partition what the group has committed; a partition without a commit is left out."""
        async with self.admin() as admin:
            offsets = await admin.list_consumer_group_offsets(group)
        return {at.partition: found.offset for at, found in offsets.items() if at.topic == topic and found.offset >= 0}

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit for a group that has no members."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            places = {TopicPartition(topic, number): OffsetAndMetadata(offset, "") for number, offset in offsets.items()}
            consumer.assign(list(places))
            await consumer.commit(places)
        finally:
            await consumer.stop()

    async def count_brokers(self) -> int:
        """Return how many brokers the cluster says it has; 0 when nobody answers."""
        try:
            async with self.admin() as admin:
                return len((await admin.describe_cluster())["brokers"])
        except KafkaError:
            return 0

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """An admin client, for what is not here."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def _reader(self, topic: str) -> AsyncIterator[tuple[Any, list[TopicPartition]]]:
        # Without a group: what it does disturbs no consumer and commits nothing.
        reader = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", isolation_level="read_committed")
        await reader.start()
        try:
            async with self.admin() as admin:
                described = (await admin.describe_topics([topic]))[0]
            if described["error_code"]:
                raise for_code(described["error_code"])(topic)
            partitions = [TopicPartition(topic, entry["partition"]) for entry in described["partitions"]]
            reader.assign(partitions)
            yield reader, partitions
        finally:
            await reader.stop()

    async def _led(self, admin: Any, topic: str, partitions: int) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not await self._has_leaders(admin, topic, partitions):
                await asyncio.sleep(BETWEEN_LOOKS)

    @staticmethod
    async def _has_leaders(admin: Any, topic: str, partitions: int) -> bool:
        described = (await admin.describe_topics([topic]))[0]
        led = [entry for entry in described["partitions"] if entry["leader"] >= 0]
        return described["error_code"] == 0 and len(led) == partitions


def _raise_first(codes: Iterable[int]) -> None:
    for code in codes:
        if code:
            raise for_code(code)
