"""The log in a topic of a real broker passes the cases that every log of a fleet must pass."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from holdgate.brokers.kafka import KafkaFleetLog
from holdgate.testing.conformance import LogCapability, LogCase, log_cases_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.kafka import KafkaServer
    from tests.servers.kafka_address import KafkaAddress

pytestmark = pytest.mark.versions

SHARED: frozenset[LogCapability] = frozenset({"past", "absent", "wipe"})
OWN: frozenset[LogCapability] = frozenset({"restart", "freeze"})
LONG_AGO = 120.0  # seconds


class KafkaLogBed:
    """One topic of one partition."""

    capabilities = SHARED
    patience = 60.0  # a broker that comes back on a loaded machine takes many seconds
    quiet = 0.6  # one fetch, two polls

    def __init__(self, kafka: KafkaAddress, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._made: list[KafkaFleetLog] = []

    def log(self) -> KafkaFleetLog:
        return self._remember(KafkaFleetLog(bootstrap_servers=self._kafka.bootstrap, topic=self._topic))

    def stranger(self) -> KafkaFleetLog:
        return self._remember(KafkaFleetLog(bootstrap_servers=self._kafka.bootstrap, topic=f"nowhere-{uuid.uuid4().hex}"))

    def read_only(self) -> KafkaFleetLog:
        raise NotImplementedError

    async def store_old(self, record: bytes) -> None:
        """A producer may say when a record was made, unless the topic has the broker's times."""
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka.bootstrap)
        await producer.start()
        try:
            await producer.send_and_wait(self._topic, record, timestamp_ms=int((time.time() - LONG_AGO) * 1000))
        finally:
            await producer.stop()

    async def wipe(self) -> None:
        await self._kafka.delete_topic(self._topic)
        await self._kafka.create_topic(self._topic)

    async def restart(self) -> None:
        raise NotImplementedError

    async def freeze(self) -> None:
        raise NotImplementedError

    async def thaw(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        for log in self._made:
            await log.close()
        # A close is bounded; what of a client had to wait for a frozen broker ends by itself when that goes on.
        async with asyncio.timeout(self.patience):
            while any(task.get_name().startswith("holdgate kafka fleet") for task in asyncio.all_tasks()):
                await asyncio.sleep(0.05)

    def _remember(self, log: KafkaFleetLog) -> KafkaFleetLog:
        self._made.append(log)
        return log


class OwnKafkaLogBed(KafkaLogBed):
    """A topic on a broker of the test's own."""

    capabilities = SHARED | OWN

    def __init__(self, kafka: KafkaServer, topic: str) -> None:
        super().__init__(kafka, topic)
        self._server = kafka

    async def restart(self) -> None:
        await self._server.restart()

    async def freeze(self) -> None:
        self._server.brokers[0].freeze()

    async def thaw(self) -> None:
        self._server.brokers[0].thaw()


@pytest.fixture
async def bed(kafka: KafkaAddress, topic) -> AsyncIterator[KafkaLogBed]:
    made = KafkaLogBed(kafka, await topic())
    yield made
    await made.close()


@pytest.mark.parametrize("case", log_cases_for(SHARED), ids=str)
async def test_kafka(case: LogCase, bed: KafkaLogBed) -> None:
    """Each case on a fresh topic of a real broker."""
    await case(bed)


async def test_a_broker_that_goes_away(fresh_kafka: KafkaServer) -> None:
    """Each case that stops the server, one after the other on a broker of their own, each with a topic of its own."""
    for case in (each for each in log_cases_for(SHARED | OWN) if each.requires & OWN):
        bed = OwnKafkaLogBed(fresh_kafka, await fresh_kafka.create_topic(f"fleet-{case}"))
        try:
            await case(bed)
        finally:
            await bed.close()
