"""The brokers that the handlers of an outage are fed by: a topic or queue for each combination, and one place for the dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aio_pika
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from tests.servers.kafka_address import KafkaAddress
from tests.servers.rabbitmq_address import QUORUM, RabbitMQAddress

from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQIntake
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake

DEAD = "clients-outage.dead"


class Bed(Protocol):
    """One broker."""

    name: str
    intake: Any
    dead_letters: Any

    async def produce(self, bodies: Mapping[str, Sequence[bytes]]) -> None: ...

    async def buried(self) -> list[bytes]: ...


class Memory:
    """The one in this process, with topics."""

    name = "memory"

    def __init__(self, names: Sequence[str]) -> None:
        self._broker = MemoryBroker(topics=dict.fromkeys(names, 1))
        self.intake = MemoryIntake(self._broker, topics=names)
        self.dead_letters = MemoryDeadLetters()

    async def produce(self, bodies: Mapping[str, Sequence[bytes]]) -> None:
        for name, these in bodies.items():
            for body in these:
                self._broker.produce(name, body)

    async def buried(self) -> list[bytes]:
        return [letter.body or b"" for letter in self.dead_letters.letters]


class Kafka:
    """A real one."""

    name = "Kafka"

    def __init__(self, kafka: KafkaAddress, names: Sequence[str], producer: AIOKafkaProducer) -> None:
        self._kafka = kafka
        self._producer = producer
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka.bootstrap, group_id="clients-outage", enable_auto_commit=False, auto_offset_reset="earliest"
        )
        self.intake = KafkaIntake(consumer, topics=names)
        self.dead_letters = KafkaDeadLetters(AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all"), DEAD)

    async def produce(self, bodies: Mapping[str, Sequence[bytes]]) -> None:
        for sent in [await self._producer.send(name, body) for name, these in bodies.items() for body in these]:
            await sent

    async def buried(self) -> list[bytes]:
        return [record.value for record in await self._kafka.read(DEAD)]


class RabbitMQ:
    """A real one, with a quorum queue for the dead letters."""

    name = "RabbitMQ"

    def __init__(self, rabbitmq: RabbitMQAddress, names: Sequence[str], channel: Any) -> None:
        self._rabbitmq = rabbitmq
        self._channel = channel
        self.intake = RabbitMQIntake(rabbitmq.url, *names)
        self.dead_letters = RabbitMQDeadLetters(rabbitmq.url, DEAD)

    async def produce(self, bodies: Mapping[str, Sequence[bytes]]) -> None:
        publish = self._channel.default_exchange.publish
        await asyncio.gather(*(publish(aio_pika.Message(body), name) for name, these in bodies.items() for body in these))

    async def buried(self) -> list[bytes]:
        return [message.body for message in await self._rabbitmq.waiting_once_free(DEAD)]


@asynccontextmanager
async def on_memory(names: Sequence[str]) -> AsyncIterator[Bed]:
    """The broker in memory."""
    yield Memory(names)


@asynccontextmanager
async def on_kafka(kafka: KafkaAddress, names: Sequence[str]) -> AsyncIterator[Bed]:
    """Topics of one partition, deleted afterwards."""
    topics = [*names, DEAD]
    async with kafka.admin() as admin, AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        await admin.create_topics([NewTopic(name, 1, 1) for name in topics])
        try:
            yield Kafka(kafka, names, producer)
        finally:
            await admin.delete_topics(topics)


@asynccontextmanager
async def on_rabbitmq(rabbitmq: RabbitMQAddress, names: Sequence[str]) -> AsyncIterator[Bed]:
    """Classic queues, deleted afterwards."""
    queues = [*names, DEAD]
    async with rabbitmq.channel() as channel:
        for name in queues:
            await channel.declare_queue(name, durable=True, arguments=dict(QUORUM) if name == DEAD else {})
        try:
            yield RabbitMQ(rabbitmq, names, channel)
        finally:
            for name in queues:
                await channel.queue_delete(name, if_unused=False, if_empty=False)
