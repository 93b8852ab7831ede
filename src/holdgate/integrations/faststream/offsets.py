"""How far the records of one subscriber are finished, and the commits that tell the broker so.

FastStream commits after each message, or in aiokafka's own time, whatever is finished. Here what is finished goes out once a second, one
commit at a time, and at the end of a drain. A commit is never cancelled while its consumer lives. One whose consumer was stopped may have
no end: aiokafka tries it again for ever where it has no coordinator. A subscriber that is started again has another consumer, whose commits
must not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from holdgate.brokers.kafka.client import Client
from holdgate.tasks import begin_later

log = logging.getLogger("holdgate")

# Seconds between two looks whether the consumer of a commit was stopped, and what such a commit may still take: a broker in reach answers.
_LOOK_EVERY = 0.25
_STOPPED_WITHIN = 2.0


class Offsets:
    """The finished records of one subscriber, which may have several consumers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next: dict[Any, dict[TopicPartition, int]] = {}  # what is to be committed, per consumer
        self._commit: asyncio.Task[None] | None = None

    def finished(self, consumer: Any, tp: TopicPartition, end: int) -> None:
        """Note that everything before this offset is finished."""
        waiting = self._next.get(consumer)
        if waiting is None:
            waiting = self._next[consumer] = {}
        waiting[tp] = end

    def forget(self, tps: Collection[TopicPartition]) -> None:
        """Commit nothing of these partitions any more: they are others'."""
        for waiting in self._next.values():
            for tp in tps:
                waiting.pop(tp, None)

    def begin(self) -> asyncio.Task[None] | None:
        """Commit what is finished, in a task; one at a time. None means that there is nothing to commit, and no commit on its way."""
        if self._commit is not None and not self._commit.done():
            return self._commit
        self._commit = begin_later(self._send(), f"commit of {self._name}") if any(self._next.values()) else None
        return self._commit

    async def flush(self, seconds: float) -> bool:
        """Return when everything finished is committed, or after so many seconds, and whether it is."""
        for _ in range(2):  # one that is on its way may have begun too early
            task = self.begin()
            if task is not None:
                await asyncio.wait({task}, timeout=seconds)
        return not any(self._next.values()) and (self._commit is None or self._commit.done())

    async def _send(self) -> None:
        for consumer in tuple(self._next):
            owned = consumer.assignment()
            offsets = {tp: offset for tp, offset in self._next.pop(consumer).items() if tp in owned}
            if not offsets:
                continue
            try:
                if not await self._commit_to(consumer, offsets):
                    log.warning("%s: a commit has no answer, since its consumer was stopped; these records may come again", self._name)
            except (KafkaError, IllegalStateError) as error:
                # In a rebalance that is normal: others have the partitions, and get the records once more.
                log.warning("%s: a commit failed with %s; these records may come again", self._name, type(error).__name__)

    async def _commit_to(self, consumer: Any, offsets: dict[TopicPartition, int]) -> bool:
        """Commit, and raise what the broker says. Returns False if the consumer was stopped, and nothing came of it."""
        commit = begin_later(consumer.commit(offsets), f"one commit of {self._name}")
        client = Client(consumer)
        while not commit.done():
            stopped = client.is_stopped
            await asyncio.wait({commit}, timeout=_STOPPED_WITHIN if stopped else _LOOK_EVERY)
            if stopped and not commit.done():
                commit.cancel()
                return False
        commit.result()
        return True
