"""Dead letters into Kafka topics: one producer that waits for every replica's word before the original may be committed.

Who owns the producer is settled as for consumers: an unstarted one is started by the first run and stopped by the last, a started one
stays its caller's.

A producer as holdgate uses it: every look behind aiokafka's public names is in this file.

What has no public name: whether it is started or stopped, its servers, and four of its settings.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
import logging
import string
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from holdgate.brokers.kafka.assignments import KafkaDelivery
from holdgate.brokers.kafka.membership import GIVE_UP_WITHIN
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import DeadLetter, own_headers
from holdgate.tasks import begin_later

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


log = logging.getLogger(__name__)

# A client with a broker in reach connects in milliseconds; the same bound as for the intake's connection.
_CONNECT_WITHIN = 15.0
# A broker that makes topics by itself does so within a second of being asked; one that does not is no use to wait for longer.
_TOPIC_WITHIN = 5.0
# stop() sends what is buffered; with the broker away it would wait for request_timeout_ms, 40 s by default.
_STOP_WITHIN = 10.0


class KafkaDeadLetters:
    """Publishes rejected messages to Kafka; give it to `guard.run(dead_letters=...)`.

    `producer` is an AIOKafkaProducer with `acks="all"`; one that is not started is started and stopped here. `topic` names the target,
    `{topic}` in it stands for the topic or queue that the message came from. Key and value are unchanged; the partition is chosen by
    key as the producer does it, and the time is that of the publication. `exception_text`: whether the headers quote what the exception
    says. Raises SettingsError for a producer that would not wait for all replicas or would change the message.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str = "{topic}.dead",  # beside its origin in every list of topics, and named by what it is
        *,
        exception_text: bool = False,  # it may quote the message, and the target's readers may be others
    ) -> None:
        self._producer = Producer(producer)
        self._template = topic
        self._exception_text = exception_text
        self._is_ours = False
        self._users = 0
        self._opening = asyncio.Lock()
        self._producer.check()
        _check_template(topic)

    async def open(self, names: Collection[str] | None) -> None:
        for name in names or ():
            self._target(name)
        async with self._opening:  # two runs may begin in the same step
            await self._start()
            self._users += 1
        try:
            for target in sorted({self._target(name) for name in names or ()}):
                await self._check_topic(target)
        except BaseException as error:
            await self._close(GIVE_UP_WITHIN if isinstance(error, asyncio.CancelledError) else _STOP_WITHIN)
            raise

    async def publish(self, letter: DeadLetter) -> None:
        delivery = letter.delivery
        headers = delivery.message.headers if isinstance(delivery, KafkaDelivery) else delivery.headers.items()
        kept = own_headers((name, _encoded(value)) for name, value in headers)
        added = [(name, value.encode()) for name, value in letter.facts(text=self._exception_text).items()]
        await self._producer.send(self._target(letter.source.name), letter.body, letter.key, [*kept, *added])

    async def close(self) -> None:
        await self._close(_STOP_WITHIN)

    async def _close(self, within: float) -> None:
        if self._users == 0:
            return
        self._users -= 1
        if self._users == 0 and self._is_ours:
            await self._stop(within)

    def _target(self, name: str) -> str:
        target = self._template.format(topic=name)
        if target == name:
            raise SettingsError(f"topic={self._template!r} would send the dead letters of {name!r} back to where they came from")
        return target

    async def _start(self) -> None:
        if self._producer.is_stopped:
            raise IntakeError("the dead letters' producer was stopped and cannot be started again: make a new AIOKafkaProducer")
        if self._producer.is_started:
            return
        self._is_ours = True
        starting = begin_later(self._producer.start(), "kafka start dead letters")
        try:
            await asyncio.wait_for(starting, _CONNECT_WITHIN)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._stop()
            raise IntakeError(
                f"no Kafka broker answers the dead letters' producer at {self._producer.servers} within {_CONNECT_WITHIN:g} s ({error!r})"
            ) from error
        except BaseException:  # nothing was sent yet: a process that is to go does not wait for a broker that says nothing
            await self._stop(GIVE_UP_WITHIN)
            raise

    async def _stop(self, within: float = _STOP_WITHIN) -> None:
        """In a task of its own, so that nobody's cancellation leaves it half stopped."""
        stopping = begin_later(self._producer.stop(), "kafka stop dead letters")
        done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done:
            log.warning("the dead letters' producer did not stop within %g s; it is left behind", within)

    async def _check_topic(self, target: str) -> None:
        try:
            # A list of all first: asking for one by name makes aiokafka wait for request_timeout_ms when it is not there.
            if target not in await self._producer.topics():
                await asyncio.wait_for(self._producer.ask_for(target), _TOPIC_WITHIN)
        except (KafkaError, TimeoutError) as error:
            raise IntakeError(
                f"no topic {target!r} for dead letters at {self._producer.servers}: create it, correct topic={self._template!r}, "
                "or allow this user to describe and write it (a topic it may not see looks like none)"
            ) from error


def _check_template(topic: str) -> None:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(topic) if name is not None}
    except ValueError as error:
        raise SettingsError(f"topic={topic!r} is no name of a topic: {error}") from error
    if not topic or fields - {"topic"}:
        raise SettingsError(f'topic={topic!r} may have {{topic}} in it and nothing else in braces: "{{topic}}.dead"')


def _encoded(value: Any) -> bytes | None:
    """Kafka's header values are bytes; those of a RabbitMQ message may be anything."""
    return value if value is None or isinstance(value, bytes) else str(value).encode()
