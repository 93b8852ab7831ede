"""The brokers that each scenario runs on: in memory with the semantics of either, and the real ones."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.brokers.kafka.test_intake_conformance import KafkaBed
from tests.brokers.rabbitmq.test_conformance import RabbitMQBed
from tests.brokers.share.test_conformance_model import ModelBed
from tests.scenarios.world import Target, World
from tests.servers.rabbitmq_address import QUORUM
from tests.testing.test_conformance_memory import PartitionBed, QueueBed

from holdgate.brokers.kafka import KafkaDeadLetters
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters
from holdgate.testing import MemoryDeadLetters, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq import RabbitMQServer

    from holdgate.ports import DeadLetters

    Scenario = Callable[[World], Awaitable[None]]

BROKERS = [
    "memory-topic",
    "memory-queue",
    pytest.param("kafka", marks=[pytest.mark.integration("kafka"), pytest.mark.versions]),
    pytest.param("rabbitmq", marks=[pytest.mark.integration("own_rabbitmq"), pytest.mark.versions]),
]

# The same Kafka, read by another client. It is another intake behind the same engine, so a few files play on it for every change, and the
# rest of them with HOLDGATE_TEST_CONFLUENT=1 (make test-confluent).
CONFLUENT = pytest.param("confluent", marks=[pytest.mark.integration("kafka"), pytest.mark.versions])
ON_CONFLUENT = ("test_outage", "test_dead_letters")


# In a share group a held key keeps all that came in the same poll, and a rate is what it is elsewhere: these take minutes and show nothing.
NOT_ON_SHARES = {"test_keys", "test_limits", "test_retry_after", "test_throttled"}


def on_every_broker(scenario: Scenario) -> Callable[[str, pytest.FixtureRequest], None]:
    """Make a test of a scenario: once for each broker. One that is not there is a skip with the reason, as for every test."""
    return _test_of(scenario, run_virtual)


def in_real_time_on_every_broker(scenario: Scenario) -> Callable[[str, pytest.FixtureRequest], None]:
    """The same for a scenario that meets threads and sockets, which keep real time in memory too."""
    return _test_of(scenario, asyncio.run)


def _test_of(scenario: Scenario, in_memory: Callable[[Any], object]) -> Callable[[str, pytest.FixtureRequest], None]:
    more: list[Any] = [] if scenario.__module__.rpartition(".")[2] in NOT_ON_SHARES else ["memory-share"]
    if scenario.__module__.endswith(ON_CONFLUENT) or os.environ.get("HOLDGATE_TEST_CONFLUENT"):
        more.append(CONFLUENT)

    @pytest.mark.parametrize("broker", [*BROKERS, *more])
    def test(broker: str, request: pytest.FixtureRequest) -> None:
        _play(scenario, broker, request, in_memory)

    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test


def _play(scenario: Scenario, broker: str, request: pytest.FixtureRequest, in_memory: Callable[[Any], object]) -> None:
    if broker == "memory-topic":
        in_memory(_in(_memory(PartitionBed()), scenario))
    elif broker == "memory-queue":
        in_memory(_in(_memory(QueueBed()), scenario))
    elif broker == "memory-share":
        bed = ModelBed()
        bed.broker.install(request.getfixturevalue("monkeypatch"))
        in_memory(_in(_memory(bed), scenario))
    elif broker in ("kafka", "confluent"):
        asyncio.run(_in(_kafka(request.getfixturevalue("kafka"), broker), scenario))
    else:
        asyncio.run(_in(_rabbitmq(request.getfixturevalue("own_rabbitmq")), scenario))


async def _in(world: Any, scenario: Scenario) -> None:
    async with world as made:
        await scenario(made)


@asynccontextmanager
async def _memory(bed: PartitionBed | ModelBed) -> AsyncIterator[World]:
    dead = MemoryDeadLetters()

    async def buried() -> list[bytes]:
        return [letter.body or b"" for letter in dead.letters]

    yield World(bed, Target(lambda: dead), buried)


@asynccontextmanager
async def _kafka(kafka: KafkaAddress, client: str) -> AsyncIterator[World]:
    topic = await kafka.create_topic(f"scenario-{uuid.uuid4().hex[:8]}", 2)
    dead = await kafka.create_topic(f"{topic}.dead", 1)

    async def buried() -> list[bytes]:
        return [record.value for record in await kafka.read(dead)]

    bed, target = _of_confluent(kafka, topic) if client == "confluent" else _of_aiokafka(kafka, topic)
    try:
        yield World(bed, Target(target), buried)
    finally:
        await bed.close()
        for name in (topic, dead):
            await kafka.delete_topic(name)


def _of_aiokafka(kafka: KafkaAddress, topic: str) -> tuple[KafkaBed, Callable[[], DeadLetters]]:
    return KafkaBed(kafka, topic), lambda: KafkaDeadLetters(AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all"))


def _of_confluent(kafka: KafkaAddress, topic: str) -> tuple[Any, Callable[[], DeadLetters]]:
    pytest.importorskip("confluent_kafka.aio", reason="confluent-kafka is older than what holdgate[confluent] allows")
    from tests.brokers.confluent.test_intake_conformance import ConfluentBed  # noqa: PLC0415 - as above

    from holdgate.brokers.confluent import ConfluentDeadLetters  # noqa: PLC0415 - as above

    return ConfluentBed(kafka, topic), lambda: ConfluentDeadLetters({"bootstrap.servers": kafka.bootstrap})


@asynccontextmanager
async def _rabbitmq(rabbitmq: RabbitMQServer) -> AsyncIterator[World]:
    names = [await rabbitmq.declare(f"scenario-{uuid.uuid4().hex[:8]}", QUORUM) for _ in range(2)]
    dead = await rabbitmq.declare(f"{names[0]}.dead", QUORUM)

    async def buried() -> list[bytes]:
        return [message.body for message in await rabbitmq.waiting_once_free(dead)]

    async with rabbitmq.proxy() as proxy:
        # By another connection than the intake's: a scenario cuts that one.
        bed = RabbitMQBed(rabbitmq, proxy, names, single_active=False)
        try:
            yield World(bed, Target(lambda: RabbitMQDeadLetters(rabbitmq.url, dead)), buried)
        finally:
            for intake in bed._open:
                await intake.close()
            for name in (*names, dead):
                await rabbitmq.delete(name)
