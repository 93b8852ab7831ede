"""Dead letters into Kafka topics through confluent-kafka's producer, which waits for every replica before the original may be committed.

`KafkaDeadLetters` serves a `ConfluentIntake` too, and this one any other intake. This one is for processes that have no aiokafka.

The producer hands a record to librdkafka without waiting, and the answer comes with a poll. So while letters are under way a thread polls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from holdgate.brokers.confluent.client import DaemonThreads, rdkafka_log, said
from holdgate.brokers.confluent.deliveries import ConfluentDelivery, headers_of
from holdgate.brokers.letters import Runs, Template
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import DeadLetter, own_headers
from holdgate.slips import suggest_keywords
from holdgate.tasks import begin_later

log = logging.getLogger(__name__)

# Seconds to connect, as for the intake. A client with a broker in reach connects in milliseconds.
_CONNECT_WITHIN = 15.0
# Seconds to wait for a topic that the broker may create. A broker that creates topics by itself does so within a second.
_TOPIC_WITHIN = 5.0
# Seconds to wait at the end for what is under way.
_STOP_WITHIN = 10.0
# Seconds that one poll for answers waits. A letter that comes meanwhile waits no longer for it: the poll returns with the first answer.
_POLL = 0.1

_ALL_REPLICAS = {"all", "-1"}


class ConfluentDeadLetters:
    """Publish rejected messages to Kafka. Give it to `guard.run(dead_letters=...)`; several runs may share one.

    Key and value are unchanged, and headers say where the message came from and why it was rejected. librdkafka chooses the partition by
    key. The timestamp is that of the publication. The producer is made when the first run opens, and closed with the last.

    - `settings`: librdkafka's settings of a producer by their names with dots, with `bootstrap.servers`. `acks` must be left out or "all",
      and there must be no `transactional.id`.
    - `topic`: the name of the target. `{topic}` in it stands for the topic or queue that the message came from.
    - `exception_text`: whether the headers quote the exception's text, which may quote the message.

    Raises SettingsError for settings that would not wait for all replicas, and for a bad `topic`.
    """

    @suggest_keywords
    def __init__(
        self,
        settings: Mapping[str, Any],
        topic: str = "{topic}.dead",  # beside its origin in every list of topics
        *,
        exception_text: bool = False,  # it may quote the message, and other people may read the target
    ) -> None:
        self._settings = _checked(settings)
        self._template = Template("topic", topic, "topic")
        self._exception_text = exception_text
        self._producer: Any = None
        self._threads: DaemonThreads | None = None
        self._waiting = 0
        self._polling: asyncio.Task[None] | None = None
        self._runs = Runs(self._stop, _STOP_WITHIN)

    async def open(self, names: Collection[str] | None) -> None:
        targets = sorted({self._template.fill_elsewhere(name) for name in names or ()})
        await self._runs.enter(self._start, lambda: self._check_topics(targets))

    async def publish(self, letter: DeadLetter) -> None:
        delivery = letter.delivery
        headers = headers_of(delivery.message) if isinstance(delivery, ConfluentDelivery) else delivery.headers.items()
        kept = own_headers((name, _encoded(value)) for name, value in headers)
        added = [(name, value.encode()) for name, value in letter.facts(text=self._exception_text).items()]
        await self._send(self._template.fill_elsewhere(letter.source.name), letter.body, letter.key, [*kept, *added])

    async def close(self) -> None:
        await self._runs.leave()

    def way_of_rejected(self, name: str) -> str:
        return f"go to topic {self._template.fill_elsewhere(name)!r}"

    async def _send(self, topic: str, value: bytes | None, key: bytes | None, headers: list[tuple[str, Any]]) -> None:
        """Write one record, and return when all replicas have it. Raises KafkaException, and BufferError while too many are under way."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()

        def answered(error: KafkaError | None, _message: object) -> None:
            loop.call_soon_threadsafe(_settle, answer, error)

        self._producer.produce(topic, value=value, key=key, headers=headers, on_delivery=answered)
        self._waiting += 1
        try:
            self._poll_beside()
            await answer
        finally:
            self._waiting -= 1

    def _poll_beside(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = begin_later(self._poll(), "confluent dead letters")

    async def _poll(self) -> None:
        while self._waiting and self._producer is not None:
            await self._in_thread(partial(self._producer.poll, _POLL))

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _start(self) -> None:
        if self._producer is not None:
            return
        self._threads = DaemonThreads(2, "holdgate dead letters")
        try:
            self._producer = await self._in_thread(lambda: Producer(self._settings, logger=rdkafka_log))
        except (KafkaException, ValueError, TypeError) as error:
            raise SettingsError(f"librdkafka refuses the dead letters' settings: {said(error)}") from error

    async def _stop(self, seconds: float) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        left = await self._in_thread(lambda: producer.flush(seconds))
        if left:
            log.warning("%d dead letters were not confirmed within %g s; their messages come again", left, seconds)
        if self._threads is not None:
            self._threads.shutdown()

    async def _check_topics(self, targets: Collection[str]) -> None:
        for target in targets:
            await self._check_topic(target)

    async def _check_topic(self, target: str) -> None:
        servers = self._settings.get("bootstrap.servers")
        try:
            existing = await self._in_thread(lambda: self._producer.list_topics(timeout=_CONNECT_WITHIN))
        except KafkaException as error:
            raise IntakeError(
                f"no Kafka broker answers the dead letters' producer at {servers} ({said(error)}): check its bootstrap.servers and "
                "security settings, and that the broker is up"
            ) from error
        if target in existing.topics:
            return
        # By its name: a broker with auto.create.topics.enable creates it now.
        found = await self._in_thread(lambda: self._producer.list_topics(target, timeout=_TOPIC_WITHIN))
        refusal = found.topics[target].error
        if refusal is not None and refusal.code() != KafkaError.LEADER_NOT_AVAILABLE:  # as one says that is just being created
            raise IntakeError(
                f"no topic {target!r} for dead letters at {servers}: create it, correct topic={self._template.text!r}, "
                "or allow this user to describe and write it (a topic it may not see looks like none)"
            )


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse settings that could lose messages. Raises SettingsError."""
    if not isinstance(settings, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - users without types give producers here
        raise SettingsError(
            f"settings must be a mapping of librdkafka's settings, got {type(settings).__name__}: "
            "write ConfluentDeadLetters({'bootstrap.servers': ...})"
        )
    given = dict(settings)
    for name in ("acks", "request.required.acks"):
        if str(given.get(name, "all")) not in _ALL_REPLICAS:
            raise SettingsError(
                f'the dead letters\' producer must have {name}="all", got {given[name]!r}: the original is committed after the dead letter '
                "was written, and a copy on one broker is lost with that broker; leave it out"
            )
    if given.get("transactional.id"):
        raise SettingsError("the dead letters' producer has a transactional.id, but holdgate commits no transactions: remove it")
    if not given.get("bootstrap.servers"):
        raise SettingsError("the dead letters' settings have no bootstrap.servers: say where the brokers are")
    return given


def _settle(answer: asyncio.Future[None], error: KafkaError | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(KafkaException(error))


def _encoded(value: Any) -> bytes | None:
    """Return a header value as the bytes that Kafka needs. The values of a RabbitMQ message may be of any type."""
    return value if value is None or isinstance(value, bytes) else str(value).encode()
