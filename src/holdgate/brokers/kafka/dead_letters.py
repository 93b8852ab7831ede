"""Dead letters into Kafka topics, through one producer that waits for every replica before the original may be committed.

`KafkaDeadLetters` is what a run uses. Several runs may share one: a producer that is not started is started by the first run and stopped by
the last; a started one stays its caller's.

`Producer` is a typed view of aiokafka's producer. What is ugly: some facts have no public name (whether it is started or stopped, its
servers, and four of its settings), so `Producer` reads private ones.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from holdgate.brokers.kafka.deliveries import KafkaDelivery
from holdgate.brokers.kafka.membership import GIVE_UP_WITHIN
from holdgate.brokers.letters import Runs, Template
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import DeadLetter, own_headers
from holdgate.slips import suggest_keywords
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer


_ALL_REPLICAS = -1


class Producer:
    """Show one AIOKafkaProducer through typed names."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer: Any = producer

    def check(self) -> None:
        """Refuse a producer that could lose or change messages. Raises SettingsError."""
        producer = self._producer
        acks = producer._sender._acks
        if acks != _ALL_REPLICAS:
            raise SettingsError(
                f'the dead letters\' producer must have acks="all", got {acks!r}: the original is committed after the dead letter was '
                'written, and a copy on one broker is lost with that broker; write AIOKafkaProducer(acks="all", ...)'
            )
        serializers = {"key_serializer": producer._key_serializer, "value_serializer": producer._value_serializer}
        for name, function in serializers.items():
            if function is not None:
                raise SettingsError(f"the dead letters' producer has a {name}, which would change the message: remove it")
        if producer._txn_manager is not None and producer._txn_manager.transactional_id is not None:
            raise SettingsError("the dead letters' producer has a transactional_id, but holdgate commits no transactions: remove it")

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

    def mark_unopened(self) -> None:
        """Mark a producer that was never started as one that has nothing open, as the intake does with its consumer (client.py)."""
        if not self.is_started and not self.is_stopped:
            self._producer._closed = None

    async def start(self) -> None:
        self._producer._closed = False
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def topics(self) -> frozenset[str]:
        """Return all topics that this user may see, without creating one."""
        return frozenset((await self._producer.client.fetch_all_metadata()).topics())

    async def ask_for(self, topic: str) -> None:
        """Ask for one topic by name until it exists. A broker with auto.create.topics.enable creates it now."""
        await self._producer.partitions_for(topic)

    async def partitions(self, topic: str) -> frozenset[int]:
        """Return the numbers of the topic's partitions."""
        return frozenset(await self._producer.partitions_for(topic))

    async def send(
        self, topic: str, value: bytes | None, key: bytes | None, headers: list[tuple[str, Any]], partition: int | None = None
    ) -> None:
        """Write one record and wait for all replicas. `partition` of None means by key, as the producer does it."""
        if value is None and key is None:
            await self._send_nothing(topic, headers, partition)
        else:
            await self._producer.send_and_wait(topic, value, key=key, headers=headers, partition=partition)

    async def _send_nothing(self, topic: str, headers: list[tuple[str, Any]], partition: int | None) -> None:
        """Write a record without key and value. Kafka has such records; aiokafka's `send` refuses to write one, but a batch does."""
        if partition is None:
            partition = min(await self.partitions(topic))
        batch = self._producer.create_batch()
        batch.append(timestamp=None, key=None, value=None, headers=headers)
        await (await self._producer.send_batch(batch, topic, partition=partition))


log = logging.getLogger(__name__)

# Seconds to connect, as for the intake. A client with a broker in reach connects in milliseconds.
_CONNECT_WITHIN = 15.0
# Seconds to wait for a topic that the broker may create. A broker that creates topics by itself does so within a second.
_TOPIC_WITHIN = 5.0
# Seconds to wait for stop(), which sends what is buffered. While the broker is away it would wait for request_timeout_ms, 40 s by default.
_STOP_WITHIN = 10.0


class KafkaDeadLetters:
    """Publish rejected messages to Kafka. Give it to `guard.run(dead_letters=...)`; several runs may share one.

    Key and value are unchanged, and headers say where the message came from and why it was rejected. The producer chooses the partition by
    key. The timestamp is that of the publication.

    - `producer`: an AIOKafkaProducer with `acks="all"` and without serializers and transactional_id. One that is not started is started and
      stopped here.
    - `topic`: the name of the target. `{topic}` in it stands for the topic or queue that the message came from.
    - `exception_text`: whether the headers quote the exception's text, which may quote the message.

    Raises SettingsError for a producer that would not wait for all replicas or would change the message, and for a bad `topic`.
    """

    @suggest_keywords
    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str = "{topic}.dead",  # beside its origin in every list of topics
        *,
        exception_text: bool = False,  # it may quote the message, and other people may read the target
    ) -> None:
        self._producer = Producer(producer)
        self._producer.mark_unopened()
        self._template = Template("topic", topic, "topic")
        self._exception_text = exception_text
        self._is_ours = False
        self._runs = Runs(self._stop_ours, _STOP_WITHIN)
        self._producer.check()

    async def open(self, names: Collection[str] | None) -> None:
        targets = sorted({self._template.fill_elsewhere(name) for name in names or ()})
        await self._runs.enter(self._start, lambda: self._check_topics(targets))

    async def publish(self, letter: DeadLetter) -> None:
        delivery = letter.delivery
        headers = delivery.message.headers if isinstance(delivery, KafkaDelivery) else delivery.headers.items()
        kept = own_headers((name, _encoded(value)) for name, value in headers)
        added = [(name, value.encode()) for name, value in letter.facts(text=self._exception_text).items()]
        await self._producer.send(self._template.fill_elsewhere(letter.source.name), letter.body, letter.key, [*kept, *added])

    async def close(self) -> None:
        await self._runs.leave()

    def way_of_rejected(self, name: str) -> str:
        return f"go to topic {self._template.fill_elsewhere(name)!r}"

    async def _start(self) -> None:
        if self._producer.is_stopped:
            raise IntakeError("the dead letters' producer was stopped and cannot be started again: make a new AIOKafkaProducer")
        if self._producer.is_started:
            return
        self._is_ours = True
        starting = begin_later(self._producer.start(), "kafka start dead letters")
        try:
            async with asyncio.timeout(_CONNECT_WITHIN):
                await starting
        except (KafkaError, OSError, TimeoutError) as error:
            await self._stop()
            how = f"within {_CONNECT_WITHIN:g} s" if isinstance(error, TimeoutError) else f"({error!r})"
            raise IntakeError(
                f"no Kafka broker answers the dead letters' producer at {self._producer.servers} {how}: check its bootstrap_servers and "
                "security settings, and that the broker is up"
            ) from error
        except BaseException:  # nothing was sent yet: a process that is to go does not wait for a broker that says nothing
            await self._stop(GIVE_UP_WITHIN)
            raise

    async def _stop_ours(self, within: float) -> None:
        if self._is_ours:
            await self._stop(within)

    async def _stop(self, within: float = _STOP_WITHIN) -> None:
        """Stop the producer, in a task of its own, so that a cancellation of the caller does not leave it half stopped."""
        stopping = begin_later(self._producer.stop(), "kafka stop dead letters")
        done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done:
            log.warning("the dead letters' producer did not stop within %g s; it is left behind", within)

    async def _check_topics(self, targets: Collection[str]) -> None:
        for target in targets:
            await self._check_topic(target)

    async def _check_topic(self, target: str) -> None:
        try:
            # A list of all first: asking for one by name makes aiokafka wait for request_timeout_ms when it is not there.
            if target not in await self._producer.topics():
                async with asyncio.timeout(_TOPIC_WITHIN):
                    await self._producer.ask_for(target)
        except (KafkaError, TimeoutError) as error:
            raise IntakeError(
                f"no topic {target!r} for dead letters at {self._producer.servers}: create it, correct topic={self._template.text!r}, "
                "or allow this user to describe and write it (a topic it may not see looks like none)"
            ) from error


def _encoded(value: Any) -> bytes | None:
    """Return a header value as the bytes that Kafka needs. The values of a RabbitMQ message may be of any type."""
    return value if value is None or isinstance(value, bytes) else str(value).encode()
