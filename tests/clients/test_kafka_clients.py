"""What the failures of producing with aiokafka are taken for, on sockets and on a real Kafka behind a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, errors
from tests.clients.places import Serve, drop, hang, refusing, serving, talk_nonsense
from tests.clients.verdicts import is_failure, raised
from tests.servers.kafka import KafkaServer
from tests.servers.proxy import Proxy

from holdgate.presets import kafka as preset

Record = Callable[..., str]

SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop, "hung": hang, "nonsense": talk_nonsense}
# The client's own limit, in milliseconds: how long a cut broker is waited for. A busy one may take longer, and is asked again.
LIMIT = 3000
# Seconds. Only a failing test waits so long.
PATIENCE = 60.0
# Seconds: twice the limit, so that whatever the client has in hand has had its time.
STOP_WITHIN = 6.0


@asynccontextmanager
async def producing(address: str, limit: int = LIMIT) -> AsyncIterator[AIOKafkaProducer]:
    """A producer whose requests end after so many milliseconds."""
    producer = AIOKafkaProducer(bootstrap_servers=address, request_timeout_ms=limit, acks="all")
    try:
        await producer.start()
        yield producer
    finally:
        # On a cluster that goes away just now it may wait for ever: a handler that does would keep its message.
        with suppress(Exception):
            async with asyncio.timeout(STOP_WITHIN):
                await producer.stop()


@asynccontextmanager
async def working(address: str, topic: str | None = None) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that has reached a broker, and has written to this topic."""
    async with AsyncExitStack() as stack:
        producer: AIOKafkaProducer = await answered(lambda: stack.enter_async_context(producing(address)))
        if topic is not None:
            await answered(lambda: producer.send_and_wait(topic, b"hello"))
        yield producer


async def answered(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask a broker that is busy again and again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(errors.KafkaError):
                return await ask()


@pytest.mark.parametrize("situation", SOCKETS)
async def test_a_cluster_that_is_not_there_is_a_failure(situation: str, record: Record) -> None:
    """Refused, dropped, hung, nonsense while starting."""

    async def start() -> None:
        async with producing(f"127.0.0.1:{port}", 500):
            pass

    serve = SOCKETS[situation]
    async with refusing() if serve is None else serving(serve) as port:
        error = await raised(start)
    told(record, situation, error, True)


async def test_a_cluster_that_goes_away_is_a_failure(own_kafka: KafkaServer, kafka_proxy: Proxy, record: Record) -> None:
    """Cut off in the middle: the client tries until its own time is over."""
    topic = await own_kafka.create_topic("clients-away")
    async with working(kafka_proxy.address, topic) as producer:
        kafka_proxy.refuse()
        kafka_proxy.reset()
        told(record, "cut off", await raised(lambda: producer.send_and_wait(topic, b"hello")), True)
        await kafka_proxy.accept()


async def test_a_cluster_that_goes_away_before_the_first_record_is_a_failure(
    own_kafka: KafkaServer, kafka_proxy: Proxy, record: Record
) -> None:
    """The client asks where the topic is until its own time is over, and then says that there is none: nobody has answered it."""
    topic = await own_kafka.create_topic("clients-unseen")
    async with working(kafka_proxy.address) as producer:
        kafka_proxy.refuse()
        kafka_proxy.reset()
        error = await raised(lambda: producer.send_and_wait(topic, b"hello"))
        assert isinstance(error, errors.UnknownTopicOrPartitionError)
        told(record, "cut off before the first record", error, True)
        await kafka_proxy.accept()


async def test_what_the_cluster_refuses_is_the_messages_own(own_kafka: KafkaServer, record: Record) -> None:
    """Too large for the client, too large for the topic."""
    topic = await own_kafka.create_topic("clients-large", config={"max.message.bytes": "100"})
    async with producing(own_kafka.bootstrap, int(PATIENCE * 1000)) as producer:
        told(record, "too large for the client", await raised(lambda: producer.send_and_wait(topic, b"x" * 2_000_000)), False)
        told(record, "too large for the topic", await raised(lambda: producer.send_and_wait(topic, b"x" * 5000)), False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NotLeaderForPartitionError", True),
        ("LeaderNotAvailableError", True),
        ("NotEnoughReplicasError", True),
        ("KafkaStorageError", True),
        ("UnknownTopicOrPartitionError", True),
        ("TopicAuthorizationFailedError", False),
        ("InvalidTopicError", False),
    ],
)
def test_the_clients_own_word_on_trying_again_is_believed(name: str, expected: bool) -> None:
    """Kafka's protocol says it of each error."""
    assert is_failure(preset, getattr(errors, name)()) is expected


@pytest.mark.parametrize(
    ("name", "retriable", "expected"),
    [
        ("_TRANSPORT", False, True),
        ("NOT_LEADER_FOR_PARTITION", True, True),
        ("MSG_SIZE_TOO_LARGE", False, False),
        ("_UNKNOWN_TOPIC", True, False),
    ],
)
def test_a_confluent_exception_holds_what_happened(name: str, retriable: bool, expected: bool) -> None:
    """Its KafkaError is no exception, and has methods for its name and for whether it may be tried again."""
    error = Exception(SimpleNamespace(name=lambda: name, retriable=lambda: retriable))
    assert is_failure(preset, error) is expected


async def test_a_confluent_exception_of_a_cluster_that_is_not_there_is_a_failure(record: Record) -> None:
    """The real client's, asked for the cluster's topics."""
    from confluent_kafka import KafkaException, Producer

    async with refusing() as port:
        producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
        with pytest.raises(KafkaException) as caught:
            producer.list_topics(timeout=0.5)
    assert record("kafka", "confluent-kafka", "confluent-kafka", "refused", caught.value) != "own", repr(caught.value)


def told(record: Record, situation: str, error: BaseException, expected: bool) -> None:
    assert (record("kafka", "aiokafka", "aiokafka", situation, error) != "own") is expected, repr(error)
