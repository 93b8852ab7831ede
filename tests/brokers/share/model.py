"""A ShareClient on the model of a share group, without threads: the intake runs on it in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from holdgate.brokers.share import ShareIntake
from holdgate.brokers.share import intake as intake_module
from holdgate.testing.memory import ShareGroup, ShareRecord, ShareSettings
from holdgate.testing.memory.broker import Bell


class ModelMessage:
    """A record as confluent-kafka shows one: everything is a method."""

    def __init__(self, record: ShareRecord, topic: str, topic_id: str | None = None) -> None:
        self.record = record
        self.topic_id = topic_id
        self._deliveries = record.deliveries
        self._topic = topic

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.record.message.position

    def value(self) -> bytes | None:
        return self.record.message.body

    def key(self) -> bytes | None:
        return self.record.message.key

    def headers(self) -> list[tuple[str, bytes]]:
        return []

    def timestamp(self) -> tuple[int, int]:
        return 1, int(self.record.message.timestamp * 1000)

    def delivery_count(self) -> int:
        return self._deliveries

    def error(self) -> None:
        return None


class ModelBroker:
    """Topics of some partitions with one share group, and the clients that were made.

    A member gets records of the partitions that it is assigned alone. They are shared out among those that are subscribed, polling or not,
    as by Kafka: where there are more members than partitions, several have the same one.
    """

    def __init__(self, *topics: str, lock: float = 15.0, limit: int = 5, partitions: int = 1) -> None:
        self.groups = {topic: ShareGroup(topic, ShareSettings(lock, limit)) for topic in topics}
        self.settings = {
            "share.record.lock.duration.ms": str(int(lock * 1000)),
            "share.delivery.count.limit": str(limit),
            "share.auto.offset.reset": "earliest",
        }
        self.of_topics: dict[str, Mapping[str, str]] = {}  # settings, of those that the user may see
        self.left: dict[str, int] = {}  # how many records the log of a topic has, if retention has deleted from it
        self._made = 0
        self.ids: dict[str, str | None] = {topic: f"{topic}-0" for topic in topics}
        self.clients: list[ModelClient] = []
        self.late = 0.0  # seconds that a commit takes, more than none
        self.joining = 0.0  # seconds from a subscribe to the first record
        self.bell = Bell()
        self.partitions = partitions

    def assigned(self, client: ModelClient) -> Collection[int]:
        """Return the partitions of a member."""
        members = [each for each in self.clients if each.topic == client.topic and each.is_member]
        if client not in members:
            return ()
        number, count = members.index(client), len(members)
        return {number % self.partitions, *range(number, self.partitions, count)}

    def delete(self, topic: str) -> None:
        """Delete a topic with what is in it: its consumers get nothing any more, and no error of a poll."""
        self.make_anew(topic)
        self.ids[topic] = None

    def make_anew(self, topic: str) -> None:
        """Make a topic that has the same offsets as the old one, which is gone, and another id."""
        self.groups[topic] = ShareGroup(topic, self.groups[topic].settings)
        self._made += 1
        self.ids[topic] = f"{topic}-{self._made}"

    def produce(self, topic: str, *bodies: bytes) -> None:
        for body in bodies:
            self.groups[topic].publish(body, asyncio.get_running_loop().time())
        self.bell.ring()

    def kill(self, client: ModelClient) -> None:
        """End the process of a client, as others see it: what it has comes again, and it gets nothing any more."""
        client.is_dead = True
        self.groups[client.topic].leave(client.member, asyncio.get_running_loop().time())
        self.bell.ring()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for confluent-kafka in intakes that are made from now on."""
        monkeypatch.setattr(intake_module, "ShareClient", lambda topic, settings: ModelClient(self, topic, settings))
        monkeypatch.setattr(intake_module, "Admin", lambda settings: ModelAdmin(self))
        monkeypatch.setattr(intake_module, "ShareBacklogs", lambda settings, group, topics: ModelBacklogs(self))

    def intake(self, *topics: str, **more: Any) -> ShareIntake:
        return ShareIntake({"bootstrap.servers": "model", "group.id": "queue"}, *(topics or self.groups), **more)


class ModelAdmin:
    def __init__(self, broker: ModelBroker) -> None:
        self._broker = broker

    async def topics(self) -> frozenset[str]:
        return frozenset(self._broker.groups)

    async def topic_settings(self, topics: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        return {topic: self._broker.of_topics[topic] for topic in topics if topic in self._broker.of_topics}

    async def sizes(self, places: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        return {(topic, number): self._broker.left.get(topic, 1_000_000) for topic, number in places}

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str | None]:
        return {topic: self._broker.ids[topic] for topic in topics}

    async def group_settings(self, group: str) -> Mapping[str, str]:
        return self._broker.settings


class ModelBacklogs:
    """The calls of `holdgate.brokers.share.backlog.ShareBacklogs`."""

    def __init__(self, broker: ModelBroker) -> None:
        self._broker = broker

    async def ask(self) -> Mapping[str, int]:
        return {topic: len(group.waiting()) for topic, group in self._broker.groups.items()}

    async def waiting(self, topics: Collection[str]) -> Mapping[tuple[str, int], int]:
        return {(topic, 0): len(self._broker.groups[topic].waiting()) for topic in topics}

    async def close(self) -> None:
        """Nothing is open."""


class ModelClient:
    """The calls of `holdgate.brokers.share.client.ShareClient`. It refuses what librdkafka refuses, and a second call beside the first."""

    numbers = itertools.count(1)

    def __init__(self, broker: ModelBroker, topic: str, settings: Mapping[str, Any]) -> None:
        self.topic = topic
        self.calls: list[str] = []
        self.unseen: list[ModelMessage] = []  # what a fetch in the background has acquired
        self._broker = broker
        self._most = settings["max.poll.records"]
        self.member = f"member-{next(self.numbers)}"
        self._subscribed = False
        self._in_hand: dict[int, ModelMessage] = {}
        self._busy = False
        self._joined_at = 0.0
        self.is_dead = False
        broker.clients.append(self)

    @property
    def _group(self) -> ShareGroup:
        return self._broker.groups[self.topic]

    async def open(self) -> None:
        self.calls.append("open")

    async def subscribe(self) -> None:
        self.calls.append("subscribe")
        self._subscribed = True
        self._joined_at = asyncio.get_running_loop().time() + self._broker.joining

    async def unsubscribe(self) -> None:
        self.calls.append("unsubscribe")
        self._subscribed = False
        self._broker.bell.ring()

    @property
    def is_member(self) -> bool:
        """Whether the broker assigns it partitions."""
        return self._subscribed and not self.is_dead

    async def poll(self, timeout: float) -> Sequence[ModelMessage]:
        assert self._subscribed, "Consumer is not subscribed to any topics"
        assert not self._in_hand, f"{len(self._in_hand)} records from previous poll have not been acknowledged"
        assert not self._busy, "two calls at once"
        self._busy = True
        now = asyncio.get_running_loop().time
        end = now() + timeout
        while not (found := self._take()) and now() < end:
            lapses_at = self._group.next_deadline()
            await self._broker.bell.wait((end if lapses_at is None else min(end, lapses_at)) - now())
        self._busy = False
        self._in_hand = {message.offset(): message for message in found}
        return found

    def acquire_unseen(self) -> None:
        """Acquire a record as a fetch does that an empty poll has left running."""
        self.unseen += self._fetch()

    def _take(self) -> list[ModelMessage]:
        unseen, self.unseen = self.unseen, []
        return unseen or self._fetch()

    def _fetch(self) -> list[ModelMessage]:
        if self.is_dead or self._broker.ids[self.topic] is None or asyncio.get_running_loop().time() < self._joined_at:
            return []
        now, assigned = asyncio.get_running_loop().time(), self._broker.assigned(self)
        taken = self._group.acquire(self.member, self._most, now, assigned, self._broker.partitions)
        return [ModelMessage(record, self.topic, self._broker.ids[self.topic]) for record in taken]

    async def commit(
        self, accepted: Collection[ModelMessage], released: Collection[ModelMessage], within: float
    ) -> Mapping[int, BaseException]:
        assert not self._busy, "two calls at once"
        self._busy = True
        await asyncio.sleep(self._broker.late)
        self._busy = False
        if self.is_dead:
            self._in_hand.clear()
            return {0: RuntimeError("nobody answers")}
        now = asyncio.get_running_loop().time()
        for message in (*accepted, *released):
            self._in_hand.pop(message.offset(), None)
        if any(message.topic_id != self._broker.ids[self.topic] for message in (*accepted, *released)):
            return {0: KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_ID))}
        refused = {*self._group.accept(self.member, [each.offset() for each in accepted], now)}
        refused |= {*self._group.release(self.member, [each.offset() for each in released], now)}
        self._broker.bell.ring()
        return {0: RuntimeError("INVALID_RECORD_STATE")} if refused else {}

    async def close(self, within: float) -> None:
        self.calls.append("close")
        self._subscribed = False
        self._group.leave(self.member, asyncio.get_running_loop().time())
        self._broker.bell.ring()
