"""Dead letters into Kafka topics: one producer that waits for every replica's word before the original may be committed.

Who owns the producer is settled as for consumers: an unstarted one is started by the first run and stopped by the last, a started one
stays its caller's.
"""

from __future__ import annotations

import asyncio
import logging
import string
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from holdgate.brokers.kafka.delivery import KafkaDelivery
from holdgate.brokers.kafka.opening import GIVE_UP_WITHIN
from holdgate.brokers.kafka.producer import Producer
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.dead_letter import DeadLetter, own_headers
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

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
