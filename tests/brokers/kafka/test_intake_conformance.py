"""The real intake passes the cases that every intake must pass."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.group import LeaveGroupRequest
from tests.brokers.kafka.conftest import QUICK

from holdgate.brokers.kafka import KafkaIntake
from holdgate.flow.message import Partition
from holdgate.testing.conformance import Capability, IntakeCase, cases_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.servers.kafka_address import KafkaAddress

    from holdgate.flow.message import Source

pytestmark = pytest.mark.versions

CAPABILITIES: frozenset[Capability] = frozenset({"members", "loss", "watermark", "peek", "batches"})


class KafkaBed:
    """Two partitions of one topic, in a group of their own."""

    capabilities = CAPABILITIES
    patience = 60.0  # a rebalance of two members on a loaded machine takes seconds
    quiet = 1.0  # ten polls, ten fetches

    def __init__(self, kafka: KafkaAddress, topic: str) -> None:
        self.sources: Sequence[Source] = (Partition(topic, 0), Partition(topic, 1))
        self._kafka = kafka
        self._topic = topic
        self._group = f"group-of-{topic}"
        self._consumers: list[AIOKafkaConsumer] = []
        self._other: AIOKafkaConsumer | None = None

    def intake(self, *, inbox: int = 50) -> KafkaIntake:
        return KafkaIntake(self._consumer(), topics=[self._topic], inbox=inbox)

    def stranger(self) -> KafkaIntake:
        return KafkaIntake(self._consumer(), topics=[f"nowhere-{uuid.uuid4().hex}"])

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        assert isinstance(source, Partition)
        await self._kafka.produce(self._topic, bodies, partition=source.number)

    async def left(self, source: Source) -> Sequence[bytes]:
        assert isinstance(source, Partition)
        committed = (await self._kafka.committed(self._group, self._topic)).get(source.number, 0)
        records = await self._kafka.read(self._topic)
        return [record.value for record in records if record.partition == source.number and record.offset >= committed]

    async def join(self) -> None:
        self._other = self._consumer()
        self._other.subscribe([self._topic])
        await self._other.start()

    async def leave(self) -> None:
        assert self._other is not None
        await self._other.stop()

    async def cut(self) -> None:
        """The broker forgets the member, as after a session timeout; the member learns of it at its next heartbeat."""
        coordinator = self._consumers[-1]._coordinator
        # aiokafka 0.12 has a list of its versions by that name.
        leave: Any = LeaveGroupRequest[-1] if isinstance(LeaveGroupRequest, list) else LeaveGroupRequest
        await coordinator._send_req(leave(self._group, coordinator.member_id))

    async def close(self) -> None:
        for consumer in self._consumers:
            await consumer.stop()

    def _consumer(self) -> AIOKafkaConsumer:
        self._consumers.append(AIOKafkaConsumer(bootstrap_servers=self._kafka.bootstrap, group_id=self._group, **QUICK))
        return self._consumers[-1]


@pytest.fixture
async def bed(kafka: KafkaAddress, topic) -> AsyncIterator[KafkaBed]:
    made = KafkaBed(kafka, await topic(partitions=2))
    yield made
    await made.close()


@pytest.mark.parametrize("case", cases_for(CAPABILITIES), ids=str)
async def test_kafka(case: IntakeCase, bed: KafkaBed) -> None:
    """Each case on a fresh topic of a real broker."""
    await case(bed)
