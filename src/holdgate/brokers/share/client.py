"""One ShareConsumer and its thread. Everything that calls confluent-kafka is in this file.

Each call of a ShareConsumer blocks, and a second thread is refused meanwhile. So a consumer has a thread of its own, which runs one call
after the other. A caller that is cancelled leaves its call alone: records that a poll has acquired must not get lost between the two
threads, so what nobody waits for any more stays in the thread's queue, before the close.

What librdkafka 2.16 does, and everything here is built on (tests/brokers/share/test_client_on_kafka.py shows each):

- A poll that came back empty leaves a fetch running. It acquires records although nobody polls, and their locks run out unseen. The next
  poll hands them out all the same, with their old count; and an accept of them then succeeds, even if another member has handled them
  meanwhile. A poll that gave records leaves nothing running.
- `max.poll.records` is rounded up to whole batches of the producer.
- A poll is refused while a record of the last one is not acknowledged.
- `commit_sync` raises nothing for a lapsed lock: the error is a value of what it returns, one for each partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import (
    AcknowledgeType,
    IllegalStateException,
    KafkaError,
    KafkaException,
    Message,
    ShareConsumer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec  # type: ignore[attr-defined]

from holdgate.errors import IntakeError
from holdgate.tasks import begin_later

T = TypeVar("T")

# Seconds for the broker to answer a question at the start, as for the other intakes.
_CONNECT_WITHIN = 15.0
_OFFSETS: Any = OffsetSpec  # its functions have no types
# librdkafka's level of a log: the consumer beside it says that a broker is away, and once is enough.
_QUIET = 2
# What ends an intake: nothing but an operator mends these.
_FINAL = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    }
)
# What the broker answers about a topic that does not exist, or does not exist any more.
_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_ID, KafkaError.UNKNOWN_TOPIC_OR_PART})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record lies: the number of its partition, and its offset there. `content` tells two records of one place apart.

    A topic that is deleted and made anew has other records at the same offsets, and a client does not say of which topic one is. What is
    remembered of the old one would settle the new one, which nobody has handled.
    """

    partition: int
    offset: int
    content: int = 0


def place_of(message: Message) -> Place:
    """Return where a record lies in its topic, with what tells it apart from another one there."""
    content = hash((message.timestamp(), message.key(), message.value()))
    return Place(message.partition() or 0, message.offset() or 0, content)


def describe(error: BaseException) -> str:
    """Return the name of a client's error, without its text, which may name hosts."""
    found = error.args[0] if error.args else None
    return found.name() if isinstance(found, KafkaError) else type(error).__name__


def as_intake_error(error: KafkaException, topic: str) -> IntakeError | None:
    """Return the error that ends the intake. None means that the client goes on by itself."""
    found = error.args[0]
    if found.code() == KafkaError.UNSUPPORTED_VERSION:
        return IntakeError(f"{topic}: this broker has no share groups: they come with Kafka 4.2, and with share.version=1 of its cluster")
    if found.code() in _FINAL or found.fatal():
        return IntakeError(f"{topic}: the broker refuses this share consumer ({found.name()}): check its settings and its permissions")
    return None


def is_gone(error: BaseException) -> bool:
    """Return whether this says that a topic does not exist any more."""
    found = error.args[0] if error.args else None
    return isinstance(found, KafkaError) and found.code() in _GONE


class ShareClient:
    """One ShareConsumer of one topic, in a thread of its own. `make` makes the consumer of `settings`, there."""

    def __init__(self, topic: str, settings: Mapping[str, Any], make: Callable[[dict[str, Any]], Any] = ShareConsumer) -> None:
        self.topic = topic
        self._settings = dict(settings)
        self._make = make
        self._consumer: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="holdgate-share")

    async def open(self) -> None:
        """Make the consumer. Raises IntakeError for settings that librdkafka refuses."""
        try:
            await self._call(self._begin)
        except (KafkaException, ValueError, TypeError) as error:
            raise IntakeError(f"{self.topic}: librdkafka refuses the settings of this share consumer ({describe(error)})") from error

    async def subscribe(self) -> None:
        await self._call(self._consumer.subscribe, [self.topic])

    async def unsubscribe(self) -> None:
        await self._call(self._consumer.unsubscribe)

    async def poll(self, timeout: float) -> Sequence[Message]:
        """Return what one poll gives, waiting at most `timeout` seconds. Raises KafkaException."""
        return await self._call(self._poll, timeout)

    async def commit(self, accepted: Collection[Message], released: Collection[Message], within: float) -> Mapping[int, BaseException]:
        """Accept and release these, and wait for the broker's answer. Returns the error of each partition that has one."""
        return await self._call(self._commit, accepted, released, within)

    async def close(self, within: float) -> None:
        """Leave the group. Waits at most `within` seconds for the thread, which ends by itself."""
        await asyncio.wait((begin_later(self._call(self._close), "end of a share consumer"),), timeout=within)
        self._thread.shutdown(wait=False)

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments))

    def _begin(self) -> None:
        self._consumer = self._make(self._settings)  # kept here: an `open` that is cancelled meanwhile leaves it to `close`

    def _poll(self, timeout: float) -> Sequence[Message]:
        return list(self._consumer.poll(timeout))

    def _commit(self, accepted: Collection[Message], released: Collection[Message], within: float) -> Mapping[int, BaseException]:
        errors: dict[int, BaseException] = {}
        for messages, how in ((accepted, AcknowledgeType.ACCEPT), (released, AcknowledgeType.RELEASE)):
            for message in messages:
                try:
                    self._consumer.acknowledge(message, how)
                except (KafkaException, IllegalStateException) as error:  # the client has lost it, with its session
                    errors[message.partition() or 0] = error
        try:
            answers = self._consumer.commit_sync(within)
        except KafkaException as error:
            return {message.partition() or 0: error for message in (*accepted, *released)}
        return errors | {place.partition: error for place, error in answers.items() if error is not None}

    def _close(self) -> None:
        if self._consumer is not None:
            with suppress(KafkaException, IllegalStateException):
                self._consumer.close()


class Admin:
    """What an intake asks the broker before it reads, and beside that: topics, and the settings of its share group."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = ("group.", "share.", "max.poll.", "fetch.")
        self._settings = {name: value for name, value in settings.items() if not name.startswith(own)}
        self._where = str(settings.get("bootstrap.servers"))
        self._asker: Any = None  # kept from one question to the next: they come again and again

    async def topics(self) -> frozenset[str]:
        """Return all topics that this user may see. Raises IntakeError where nobody answers."""
        return await asyncio.to_thread(self._topics)

    async def group_settings(self, group: str) -> Mapping[str, str]:
        """Return the settings of a group, those of the broker included; nothing where this user may not ask for them."""
        return await asyncio.to_thread(self._group_settings, group)

    async def topic_settings(self, topics: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        """Return the settings of each topic; those that this user may not ask for are left out."""
        return await asyncio.to_thread(self._topic_settings, topics)

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str | None]:
        """Return the id of each topic, None for one that does not exist. What is not known now is left out.

        No thread waits for the answers: it would keep the process from ending while the broker is away.
        """
        asker = await self._open_asker()
        found: dict[str, str | None] = {}
        for topic, answer in asker.describe_topics(TopicCollection(list(topics)), request_timeout=_CONNECT_WITHIN).items():
            try:
                found[topic] = str((await asyncio.wrap_future(answer)).topic_id)
            except KafkaException as error:
                if is_gone(error):
                    found[topic] = None
        return found

    async def sizes(self, places: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Return by topic and partition how many offsets each of these logs has. What is not known now is left out."""
        begins = await self._log_offsets(places, _OFFSETS.earliest())
        ends = await self._log_offsets(begins, _OFFSETS.latest())  # second: a log that grows meanwhile must not seem shorter
        return {place: end - begins[place] for place, end in ends.items()}

    async def _log_offsets(self, places: Collection[tuple[str, int]], which: Any) -> Mapping[tuple[str, int], int]:
        asked = {TopicPartition(topic, number): which for topic, number in places}
        found: dict[tuple[str, int], int] = {}
        if asked:
            for place, answer in (await self._open_asker()).list_offsets(asked, request_timeout=_CONNECT_WITHIN).items():
                with suppress(KafkaException):
                    found[place.topic, place.partition] = (await asyncio.wrap_future(answer)).offset
        return found

    async def _open_asker(self) -> Any:
        if self._asker is None:
            self._asker = await asyncio.to_thread(AdminClient, {"log_level": _QUIET, **self._settings})
        return self._asker

    def _topics(self) -> frozenset[str]:
        try:
            return frozenset(AdminClient(self._settings).list_topics(timeout=_CONNECT_WITHIN).topics)
        except KafkaException as error:
            raise IntakeError(
                f"no Kafka broker at {self._where} tells its topics ({describe(error)}): check bootstrap.servers, the security settings, "
                "and that the broker is up"
            ) from error

    def _group_settings(self, group: str) -> Mapping[str, str]:
        return self._described(ConfigResource.Type.GROUP, [group]).get(group, {})

    def _topic_settings(self, topics: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        return self._described(ConfigResource.Type.TOPIC, topics)

    def _described(self, kind: Any, names: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        admin: Any = AdminClient(self._settings)  # kept until the answers are here: its end ends the question
        resources = [ConfigResource(kind, name) for name in names]
        found: dict[str, Mapping[str, str]] = {}
        for asked, answer in admin.describe_configs(resources, request_timeout=_CONNECT_WITHIN).items():
            with suppress(KafkaException):
                found[asked.name] = {name: str(entry.value) for name, entry in answer.result().items() if entry.value is not None}
        return found
