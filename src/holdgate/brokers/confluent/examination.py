"""An examination of a consumer group through librdkafka: `holdgate doctor confluent` shows it.

It asks the broker and changes nothing: it joins no group and commits nothing. What is worth saying of the answers is decided by
brokers/group_facts.py and brokers/group_costs.py, as for aiokafka. It sees groups of the new protocol too, which aiokafka takes for dead.

What librdkafka does otherwise than aiokafka, and is said here:

- Who does not poll for max.poll.interval.ms gets an error as a message of the next poll, and no exception.
- With `group.protocol=consumer` such a member says that it leaves, and stays until the group's session is over.
- What is paused stays paused, over a rebalance and over `unsubscribe`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka import admin as admin_module
from confluent_kafka.admin import AdminClient

from holdgate.brokers.confluent.client import ANSWER_WITHIN, DaemonThreads, code_of, place, rdkafka_log, said
from holdgate.brokers.confluent.client import places as as_places
from holdgate.brokers.confluent.deliveries import TopicPartition, timestamp_of
from holdgate.brokers.confluent.settings import ConsumerSettings, check_settings
from holdgate.brokers.costs import lasting
from holdgate.brokers.group_costs import Membership, of_group
from holdgate.brokers.group_examiner import GroupExaminer
from holdgate.brokers.group_facts import Diagnosis, from_milliseconds
from holdgate.errors import IntakeError, SettingsError

T = TypeVar("T")

_ADMIN: Any = admin_module  # ConfigResource and OffsetSpec have no types, and no export

# How long a person at a terminal waits before a broker counts as unreachable (seconds).
_REACH_WITHIN = 15.0
# How long to wait for the oldest record of each partition; what has not come by then is not said (seconds).
_READ_WITHIN = 5.0
# A broker that has just started, or has just become the group's coordinator, reads its groups first.
_LOADING = frozenset({KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR})
# How soon it is asked again (seconds): it takes some tenths of one.
_ASK_AGAIN = 0.1
# That of an intake where nobody gives another: check_settings compares it with max.poll.interval.ms.
_POLL_TIMEOUT = 0.1


async def examine(settings: Mapping[str, Any], topics: Collection[str], now: float, *, outage: float | None = None) -> list[Diagnosis]:
    """Return everything about a consumer of these settings, its group and topics that would hurt in an outage. Nothing is changed.

    `settings` are librdkafka's, with `bootstrap.servers` and `group.id`. `topics`: empty means those in which the group has committed
    something. `now` is in seconds since the epoch. `outage`: of how many seconds an outage is whose costs are returned too; None means that
    they are not. Raises SettingsError for settings that librdkafka does not take.
    """
    read = ConsumerSettings(settings)
    refusals = _refusals(read)
    answers = _Answers(read)
    try:
        await answers.start()
        session = await answers.session()
        risks = [Diagnosis(read.group_id, text, refused=False) for text in of_consumer(read, session)]
        examiner = GroupExaminer(
            answers, read.group_id, now, outage, reset="auto.offset.reset", of_members=partial(of_members, read, session)
        )
        return [*refusals, *risks, *await examiner.examine(topics)]
    except (IntakeError, KafkaException, TimeoutError) as error:
        return [*refusals, _failed(read, error)]
    finally:
        answers.stop()


def of_consumer(settings: ConsumerSettings, session: float) -> list[str]:
    """Return what may surprise about a consumer of these settings, with or without a guard. `session` is the group's, in seconds."""
    if not settings.is_of_new_protocol:
        return []
    text = (
        f"with group.protocol=consumer a worker that stands still says after max.poll.interval.ms, {lasting(settings.max_poll_interval)}, "
        f"that it leaves the group, and stays in it: nobody reads its partitions for up to {session:g} s more. If that is too long, set "
        "a shorter consumer.session.timeout.ms for the group, as far as the broker allows it"
    )
    return [text]


def of_members(settings: ConsumerSettings, session: float, membership: Membership, outage: float) -> list[str]:
    """Return what an outage of so many seconds would cost the group, if its members are consumers of these settings without a guard."""
    texts = of_group(membership, outage, interval=settings.max_poll_interval)
    if not membership.members:
        return texts
    if settings.is_of_new_protocol:
        then = f"it stays in the group for up to {session:g} s more, in which its commits succeed and nobody else has its partitions"
    else:
        then = "what it commits afterwards is refused"
    how = (
        "librdkafka says that once, by the error of a message of the next poll (_MAX_POLL_EXCEEDED), and raises nothing: a loop that "
        f"passes over such messages goes on as before; {then}"
    )
    paused = (
        "a consumer that pauses and goes on polling stays in the group. But librdkafka keeps a partition paused when it is revoked and "
        "assigned again, even after unsubscribe(): what nobody resumes is never read again, without an error"
    )
    evicted, *others = texts
    return [evicted, how, paused, *others]


def _refusals(settings: ConsumerSettings) -> list[Diagnosis]:
    """Return with what a run of these settings refuses to start. Where a new group begins is looked at if it is said."""
    try:
        check_settings(settings, allow_latest=settings.of_user("auto.offset.reset") is None, poll_timeout=_POLL_TIMEOUT)
    except SettingsError as error:
        return [Diagnosis(settings.group_id, str(error), refused=True)]
    return []


def _failed(settings: ConsumerSettings, error: BaseException) -> Diagnosis:
    group = settings.group_id
    if code_of(error) == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return Diagnosis(group, f"this user is not authorised for group {group!r}: allow it Describe on the group", refused=True)
    return Diagnosis(settings.bootstrap_servers, said(error) or type(error).__name__, refused=True)


class _Answers:
    """Asks with clients of its own, in threads: their calls wait for the broker."""

    def __init__(self, settings: ConsumerSettings) -> None:
        self._settings = settings
        self._group = settings.group_id
        self._threads = DaemonThreads(1, "holdgate doctor")
        self._admin: Any = None
        self._known: Any = None

    async def start(self) -> None:
        """Connect. Raises IntakeError if no broker answers in time, and SettingsError for settings that librdkafka does not take."""
        try:
            self._admin = await self._in_thread(lambda: AdminClient(self._settings.for_admin(), logger=rdkafka_log))
        except (KafkaException, ValueError, TypeError) as error:
            raise SettingsError(f"librdkafka refuses the settings: {said(error)}") from error
        try:
            self._known = await self._in_thread(lambda: self._admin.list_topics(timeout=_REACH_WITHIN))
        except KafkaException as error:
            raise IntakeError(f"no Kafka broker answers within {_REACH_WITHIN:g} s ({said(error)}): check the address") from None

    def stop(self) -> None:
        """Disconnect, in the thread: it waits for librdkafka's own."""
        admins, self._admin = [self._admin], None
        self._threads.submit(admins.clear)
        self._threads.shutdown()

    async def session(self) -> float:
        """Return the session of a group of the new protocol, in seconds: its own, or librdkafka's usual where it may not be seen."""
        found = await self._described(_ADMIN.ConfigResource.Type.GROUP, self._group)
        own = found.get("consumer.session.timeout.ms")
        return self._settings.session_timeout if own is None else from_milliseconds(own)

    async def committed(self) -> dict[TopicPartition, int]:
        asked = [ConsumerGroupTopicPartitions(self._group)]
        try:
            answer = await self._of_group(lambda: self._admin.list_consumer_group_offsets(asked, request_timeout=ANSWER_WITHIN))
        except KafkaException as error:
            if code_of(error) == KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            raise
        return {place(at): at.offset for at in answer.topic_partitions if at.offset >= 0}

    async def topics(self) -> set[str]:
        return set(self._known.topics)

    async def logs(self, topic: str) -> dict[TopicPartition, tuple[int, int]]:
        tps = [TopicPartition(topic, number) for number in sorted(self._known.topics[topic].partitions)]
        begins, ends = await self._offsets(tps, _ADMIN.OffsetSpec.earliest()), await self._offsets(tps, _ADMIN.OffsetSpec.latest())
        return {tp: (begins[tp], ends[tp]) for tp in tps}

    async def ages(self, first: Mapping[TopicPartition, int], now: float) -> dict[TopicPartition, float]:
        return await self._in_thread(partial(self._read, dict(first), now)) if first else {}

    async def offsets_since(self, places: Collection[TopicPartition], since: float) -> dict[TopicPartition, int] | None:
        try:
            found = await self._offsets(places, _ADMIN.OffsetSpec.for_timestamp(int(since * 1000)))
        except KafkaException:
            return None
        return {tp: offset for tp, offset in found.items() if offset >= 0}

    async def membership(self) -> Membership:
        try:
            answer = await self._of_group(lambda: self._admin.describe_consumer_groups([self._group], request_timeout=ANSWER_WITHIN))
        except KafkaException as error:
            return Membership("Dead", 0) if code_of(error) == KafkaError.GROUP_ID_NOT_FOUND else Membership("unknown", None)
        return Membership(str(answer.state.name).capitalize(), len(answer.members))

    async def topic_settings(self, topic: str) -> dict[str, str]:
        return await self._described(_ADMIN.ConfigResource.Type.TOPIC, topic)

    async def broker_settings(self) -> dict[str, str]:
        return await self._described(_ADMIN.ConfigResource.Type.BROKER, str(min(self._known.brokers)))

    def _read(self, first: Mapping[TopicPartition, int], now: float) -> dict[TopicPartition, float]:
        """Read one record of each partition, with a consumer that joins no group, and return their ages. For a thread."""
        consumer = Consumer({**self._settings.for_admin(), "group.id": self._group, "enable.auto.commit": False}, logger=rdkafka_log)
        ages: dict[TopicPartition, float] = {}
        try:
            consumer.assign([confluent_kafka.TopicPartition(tp.topic, tp.partition, offset) for tp, offset in first.items()])
            end = time.monotonic() + _READ_WITHIN
            while len(ages) < len(first) and time.monotonic() < end:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    tp = TopicPartition(message.topic() or "", message.partition() or 0)
                    ages.setdefault(tp, max(0.0, now - timestamp_of(message) / 1000))
        finally:
            consumer.close()
        return ages

    async def _offsets(self, tps: Collection[TopicPartition], spec: object) -> dict[TopicPartition, int]:
        asked = self._admin.list_offsets(dict.fromkeys(as_places(tps), spec), request_timeout=ANSWER_WITHIN)
        return {place(at): (await asyncio.wrap_future(answer)).offset for at, answer in asked.items()}

    async def _described(self, kind: Any, name: str) -> dict[str, str]:
        try:
            answer: Any = await self._answer(
                self._admin.describe_configs([_ADMIN.ConfigResource(kind, name)], request_timeout=ANSWER_WITHIN)
            )
        except KafkaException:
            return {}
        return {key: str(entry.value) for key, entry in answer.items() if entry.value is not None}

    async def _of_group(self, ask: Callable[[], Mapping[Any, Any]]) -> Any:
        """Return what the group's coordinator answers. It is asked again, for `ANSWER_WITHIN` seconds, while it reads its groups."""
        end = time.monotonic() + ANSWER_WITHIN
        while True:
            try:
                return await self._answer(ask())
            except KafkaException as error:
                if code_of(error) not in _LOADING or time.monotonic() >= end:
                    raise
            await asyncio.sleep(_ASK_AGAIN)

    async def _answer(self, asked: Mapping[Any, Any]) -> Any:
        """Return the answer to the one question of a call."""
        (answer,) = asked.values()
        return await asyncio.wrap_future(answer)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
