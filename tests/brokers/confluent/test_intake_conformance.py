"""The intake of confluent-kafka passes the cases that every intake must pass, with each way to share partitions."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.group import LeaveGroupRequest
from tests.brokers.confluent.member import Member
from tests.brokers.kafka.conftest import QUICK as QUICK_AIOKAFKA

from holdgate.brokers.confluent import ConfluentIntake
from holdgate.flow.message import Partition
from holdgate.testing.conformance import Capability, IntakeCase, cases_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.servers.kafka_address import KafkaAddress

    from holdgate.flow.message import Source

pytestmark = pytest.mark.versions

CAPABILITIES: frozenset[Capability] = frozenset({"members", "loss", "watermark", "peek", "batches"})

# Heartbeats so quick that a rebalance is over in a second, and a session so long that nobody is given up for a machine that stands still.
CLASSIC: dict[str, Any] = {"heartbeat.interval.ms": 300, "session.timeout.ms": 30_000}
WAYS: dict[str, dict[str, Any]] = {
    "range": {**CLASSIC, "partition.assignment.strategy": "range"},
    "cooperative": {**CLASSIC, "partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer"},
}


class ConfluentBed:
    """Two partitions of one topic, in a group of their own."""

    capabilities = CAPABILITIES
    patience = 60.0  # a rebalance of two members on a loaded machine takes seconds
    quiet = 1.0  # ten polls, ten fetches

    def __init__(self, kafka: KafkaAddress, topic: str, way: str = "range") -> None:
        self.sources: Sequence[Source] = (Partition(topic, 0), Partition(topic, 1))
        self._kafka = kafka
        self._topic = topic
        self._group = f"group-of-{topic}"
        self._way = way
        self._intakes: list[ConfluentIntake] = []
        self._other: Member | None = None

    def settings(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self._kafka.bootstrap,
            "group.id": self._group,
            "auto.offset.reset": "earliest",
            **WAYS[self._way],
        }

    def intake(self, *, inbox: int = 50) -> ConfluentIntake:
        self._intakes.append(ConfluentIntake(self.settings(), topics=[self._topic], inbox=inbox))
        return self._intakes[-1]

    def stranger(self) -> ConfluentIntake:
        return ConfluentIntake(self.settings(), topics=[f"nowhere-{uuid.uuid4().hex}"])

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        assert isinstance(source, Partition)
        await self._kafka.produce(self._topic, bodies, partition=source.number)

    async def left(self, source: Source) -> Sequence[bytes]:
        assert isinstance(source, Partition)
        committed = (await self._kafka.committed(self._group, self._topic)).get(source.number, 0)
        records = await self._kafka.read(self._topic)
        return [record.value for record in records if record.partition == source.number and record.offset >= committed]

    async def join(self) -> None:
        self._other = Member(self.settings(), self._topic)
        await self._other.start()

    async def leave(self) -> None:
        assert self._other is not None
        await self._other.stop()
        self._other = None

    async def cut(self) -> None:
        """The broker forgets the member, as after a session timeout; the member learns of it at its next heartbeat."""
        asker = AIOKafkaConsumer(bootstrap_servers=self._kafka.bootstrap, group_id=self._group, **QUICK_AIOKAFKA)
        await asker.start()
        try:
            member = self._intakes[-1]._client._consumer._consumer.memberid()
            coordinator = asker._coordinator
            await coordinator.ensure_coordinator_known()
            leave: Any = LeaveGroupRequest[-1] if isinstance(LeaveGroupRequest, list) else LeaveGroupRequest
            await coordinator._send_req(leave(self._group, member))
        finally:
            await asker.stop()

    async def close(self) -> None:
        if self._other is not None:
            await self._other.stop()
        for intake in self._intakes:
            await intake.close()


@pytest.fixture
async def bed(kafka: KafkaAddress, topic, way: str) -> AsyncIterator[ConfluentBed]:
    made = ConfluentBed(kafka, await topic(partitions=2), way)
    yield made
    await made.close()


# What a way to share partitions has no part in is the same in each of them. The new protocol has its broker's times, and each rebalance
# takes five seconds: the rest of its cases are for make test-confluent.
FULL = bool(os.environ.get("HOLDGATE_TEST_CONFLUENT"))
SLOW = {"a_hold_survives_a_rebalance", "what_is_finished_while_revoked_is_settled"}
CASES = [
    pytest.param(each, way, id=f"{each}-{way}")
    for each in cases_for(CAPABILITIES)
    for way in WAYS
    if FULL or way == "range" or (each.requires & {"members", "loss"} and (way == "cooperative" or each.name in SLOW))
]


@pytest.mark.parametrize(("case", "way"), CASES)
async def test_confluent(case: IntakeCase, bed: ConfluentBed) -> None:
    """Each case on a fresh topic of a real broker."""
    await case(bed)
