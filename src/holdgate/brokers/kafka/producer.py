"""A producer as holdgate uses it: every look behind aiokafka's public names is in this file.

What has no public name: whether it is started or stopped, its servers, and four of its settings.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

_ALL_REPLICAS = -1


class Producer:
    """A thin, typed view of one AIOKafkaProducer."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer: Any = producer

    def check(self) -> None:
        """Refuse a producer that would break a promise."""
        producer = self._producer
        acks = producer._sender._acks
        if acks != _ALL_REPLICAS:
            raise SettingsError(
                f"the dead letters' producer has acks={acks!r}: one broker's word is lost with that broker, and the original is committed "
                'after it; write AIOKafkaProducer(acks="all", ...)'
            )
        serializers = {"key_serializer": producer._key_serializer, "value_serializer": producer._value_serializer}
        for name, function in serializers.items():
            if function is not None:
                raise SettingsError(f"the dead letters' producer has a {name}, which would change the message: take it out")
        if producer._txn_manager is not None and producer._txn_manager.transactional_id is not None:
            raise SettingsError("the dead letters' producer has a transactional_id, and nobody would commit: give it one without")

    @property
    def is_started(self) -> bool:
        return self._producer._sender.sender_task is not None

    @property
    def is_stopped(self) -> bool:
        return bool(self._producer._closed)

    @property
    def servers(self) -> str:
        servers = self._producer.client._bootstrap_servers
        return servers if isinstance(servers, str) else ",".join(servers)

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def topics(self) -> frozenset[str]:
        """All topics this user may see; makes none."""
        return frozenset((await self._producer.client.fetch_all_metadata()).topics())

    async def ask_for(self, topic: str) -> None:
        """Ask for one topic by name until it is there: a broker that is set up so makes it now."""
        await self._producer.partitions_for(topic)

    async def partitions(self, topic: str) -> frozenset[int]:
        """The numbers of its partitions."""
        return frozenset(await self._producer.partitions_for(topic))

    async def send(
        self, topic: str, value: bytes | None, key: bytes | None, headers: list[tuple[str, Any]], partition: int | None = None
    ) -> None:
        """Write one record and wait for all replicas. `partition` None: by key, as the producer does it."""
        if value is None and key is None:
            await self._send_nothing(topic, headers, partition)
        else:
            await self._producer.send_and_wait(topic, value, key=key, headers=headers, partition=partition)

    async def _send_nothing(self, topic: str, headers: list[tuple[str, Any]], partition: int | None) -> None:
        """A record without key and value, which exists and which aiokafka's `send` refuses to write; a batch takes it."""
        if partition is None:
            partition = min(await self.partitions(topic))
        batch = self._producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=headers)
        await (await self._producer.send_batch(batch, topic, partition=partition))
