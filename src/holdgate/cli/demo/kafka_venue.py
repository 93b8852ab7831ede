"""Kafka as the demo's broker: the embedded one, or a real one at an address, with topics of this run alone."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from holdgate.cli.demo.embedded import EmbeddedKafka
from holdgate.cli.demo.ledger import Place
from holdgate.cli.demo.scenario import KEYS, KINDS, PARTITIONS
from holdgate.cli.demo.venue import GUARDED, NAIVE, Feed
from holdgate.errors import IntakeError, MissingExtra
from holdgate.ports import Intake

# A broker that does not answer in this time is not there, as far as somebody at a terminal is concerned.
REACH_TIMEOUT = 5.0


def _client() -> Any:
    """The aiokafka module, or the command that installs it."""
    try:
        import aiokafka
    except ImportError as error:
        raise MissingExtra('The demo on Kafka needs aiokafka: pip install "holdgate[demo]"') from error
    return aiokafka


class KafkaVenue:
    """The demo's topics on one Kafka.

    `address` is `HOST:PORT`, several separated by commas; None starts the embedded broker. On a broker that is not ours the topics carry
    a random part in their names and are deleted at the end; the two empty groups stay until the broker expires them.
    """

    def __init__(self, address: str | None = None) -> None:
        self._embedded = None if address else EmbeddedKafka()
        self._address = address or ""
        self._run = secrets.token_hex(4)
        self._aiokafka: Any = None
        self._producer: Any = None
        self._made: list[str] = []

    def topic(self, kind: str) -> str:
        return kind if self._embedded else f"holdgate-demo-{self._run}-{kind}"

    def _group(self, group: str) -> str:
        return f"holdgate-demo-{self._run}-{group}"

    async def open(self) -> None:
        self._aiokafka = _client()
        if self._embedded:
            self._address = await asyncio.to_thread(self._embedded.open)
        await self._reach()
        wanted = [name for kind in KINDS for name in (self.topic(kind), self._grave(kind))]
        if not self._embedded:
            await self._make(wanted)
        for name in wanted:  # the embedded broker makes a topic when it is asked about it
            await self._producer.partitions_for(name)

    async def _reach(self) -> None:
        # acks=all: a message that was not stored must not count as produced. linger: one request for a few messages, not one for each.
        self._producer = self._aiokafka.AIOKafkaProducer(bootstrap_servers=self._address, acks="all", linger_ms=5)
        try:
            await asyncio.wait_for(self._producer.start(), REACH_TIMEOUT)
        except (self._aiokafka.errors.KafkaError, OSError, TimeoutError) as error:
            raise IntakeError(
                f"no Kafka broker answers at {self._address}: start one there, or leave --broker out for the embedded one"
            ) from error

    async def _make(self, names: Sequence[str]) -> None:
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self._address)
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        finally:
            await admin.close()
        refused = [f"{topic[0]} (error code {topic[1]})" for topic in answer.topic_errors if topic[1]]
        if refused:
            raise IntakeError(f"the broker at {self._address} does not let the demo make its topics: {', '.join(refused)}")
        self._made = list(names)

    async def produce(self, kind: str, number: int) -> Place:
        key = b"%d" % (number % KEYS)
        sent = await self._producer.send_and_wait(self.topic(kind), b"%d" % number, key=key)
        return Place(sent.topic, sent.partition, sent.offset)

    def feed(self) -> Feed:
        from holdgate.cli.demo.kafka_feed import KafkaFeed

        kinds = {self.topic(kind): kind for kind in KINDS}
        return KafkaFeed(self._aiokafka, self._address, self._group(NAIVE), kinds, self._bury)

    async def _bury(self, kind: str, body: bytes, key: bytes | None) -> None:
        await self._producer.send_and_wait(self._grave(kind), body, key=key)

    def _grave(self, kind: str) -> str:
        return f"{self.topic(kind)}.{NAIVE}.dead"

    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:
        from holdgate.brokers.kafka import KafkaIntake
        from holdgate.cli.demo.kafka_feed import Reassigned, consumer_of

        consumer = consumer_of(self._aiokafka, self._address, self._group(GUARDED))
        topics = [self.topic(kind) for kind in KINDS]
        return KafkaIntake(consumer, topics=topics, listener=Reassigned(on_rebalance))

    async def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        from holdgate.cli.demo.kafka_feed import consumer_of

        consumer = consumer_of(self._aiokafka, self._address, self._group(group))
        await consumer.start()
        places = [self._aiokafka.TopicPartition(self.topic(kind), number) for kind in KINDS for number in range(PARTITIONS)]
        try:
            offsets = [await consumer.committed(place) for place in places]
        finally:
            await consumer.stop()
        return {(place.topic, place.partition): offset for place, offset in zip(places, offsets, strict=True) if offset is not None}

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None
        if self._made:
            await self._unmake()
        if self._embedded:
            self._embedded.close()

    async def _unmake(self) -> None:
        from aiokafka.admin import AIOKafkaAdminClient

        names, self._made = self._made, []
        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self._address)
        # The broker may have gone meanwhile; the demo is over, and its topics hold nothing of value.
        with contextlib.suppress(self._aiokafka.errors.KafkaError, OSError):
            await admin.start()
            await admin.delete_topics(names)
        await admin.close()
