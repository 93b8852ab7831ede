"""Messages without a broker, and a client without librdkafka, for what a real one cannot be made to show on purpose."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message

from holdgate.brokers.confluent.deliveries import TopicPartition
from holdgate.brokers.confluent.settings import ConsumerSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
SETTINGS: dict[str, Any] = {"bootstrap.servers": "somewhere:9092", "group.id": "workers", "auto.offset.reset": "earliest"}


def message(offset: int = 7, number: int = 0, topic: str = "orders", **more: Any) -> Message:
    """A message as a poll gives it."""
    return Message(**{"topic": topic, "partition": number, "offset": offset, "key": b"k", "value": b"v", "timestamp": (1, 1500), **more})


def end_of_log(offset: int, number: int = 0) -> Message:
    """The event that a partition's end is reached."""
    return message(offset, number, value=None, key=None, error=KafkaError(KafkaError._PARTITION_EOF))


def run(first: int, count: int, number: int = 0) -> list[Message]:
    """Messages that follow each other."""
    return [message(offset, number) for offset in range(first, first + count)]


class FakeClient:
    """Keeps what it is told. `answers` are what polls bring, one after the other; a commit answers when told to."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ConsumerSettings({**SETTINGS, **settings})
        self.told: list[tuple[str, Any]] = []
        self.answers: list[list[Message]] = []
        self.asked: list[tuple[int, float]] = []
        self.offsets: dict[TopicPartition, int | None] = {}
        self.commit_error: Exception | None = None
        self.assign_error: Exception | None = None
        self.seek_fails = 0
        self.is_direct = False
        self.is_stopped = False
        self.has_commits = self.awaits_commit = False

    @property
    def reset_policy(self) -> str:
        return self.settings.reset_policy

    def position(self, tp: TopicPartition) -> int | None:
        return self.offsets.get(tp)

    async def send_commits(self) -> None:
        self.told.append(("commits", None)) if self.has_commits else None

    async def consume(self, most: int, timeout: float) -> list[Message]:
        self.asked.append((most, timeout))
        await asyncio.sleep(0)
        return self.answers.pop(0)[:most] if self.answers else []

    async def pause(self, tps: Collection[TopicPartition]) -> None:
        self.told.append(("pause", sorted(tps)))

    async def resume(self, tps: Collection[TopicPartition]) -> None:
        self.told.append(("resume", sorted(tps)))

    async def seek(self, tp: TopicPartition, offset: int) -> None:
        if self.seek_fails:
            self.seek_fails -= 1
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.told.append(("seek", (tp, offset)))

    async def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.told.append(("assign", dict(offsets)))
        if self.assign_error is not None:
            raise self.assign_error

    async def committed(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        if self.commit_error is not None:
            raise self.commit_error
        return {tp: self.offsets.get(tp) for tp in tps}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.told.append(("commit directly" if self.is_direct else "commit", dict(offsets)))
        if self.commit_error is not None:
            raise self.commit_error

    @contextmanager
    def directly(self) -> Generator[None]:
        self.is_direct = True
        yield
        self.is_direct = False

    def give_up_commit(self) -> None:
        self.told.append(("give up", None))
