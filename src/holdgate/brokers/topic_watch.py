"""Whether the topics of an intake are still there: librdkafka's consumers do not say so, or not for minutes.

The polls of a share consumer stay empty, without an error, as if nothing waited (findings/kafka-share-deleted-topic-is-silent.sh). Another
consumer hears of it when librdkafka asks for the topics again, every five minutes (`topic.metadata.refresh.interval.ms`). A worker that
looks well and reads nothing is the worst that can happen to a queue. So the broker is asked now and then, beside the work.

A topic that is missing twice ends the intake, as it does with the other brokers: a broker that has just started may not know its topics
yet. One that was made anew in between has another id. The log says so, because what was in the old topic is gone, and where the consumer
goes on, which each does in its own way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from holdgate.brokers.topics import check_topics
from holdgate.tasks import run_beside

log = logging.getLogger(__name__)

# A worker that reads nothing is noticed within that time, and the question costs a millisecond.
_EVERY = 15.0
# Seconds until what was missing is looked for once more.
_AGAIN_AFTER = 2.0


class Asking(Protocol):
    """What can be asked for the ids of topics."""

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, str | None]:
        """Return the id of each topic, None for one that does not exist. What is not known now is left out."""
        ...


class TopicWatch:
    """Looks after `topics` at `servers`. `failed` gets the error that ends the intake. `anew` says what becomes of one made anew."""

    __slots__ = ("_admin", "_anew", "_failed", "_ids", "_servers", "_task", "_topics")

    def __init__(self, admin: Asking, topics: Collection[str], servers: str, failed: Callable[[BaseException], None], *, anew: str) -> None:
        self._admin = admin
        self._anew = anew
        self._topics = topics
        self._servers = servers
        self._failed = failed
        self._ids: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = run_beside(self._run(), "kafka topic watch", self._failed)

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            if await self._missing():
                await asyncio.sleep(_AGAIN_AFTER)
                missing = await self._missing()
                check_topics(missing, frozenset(), self._servers)
            await asyncio.sleep(_EVERY)

    async def _missing(self) -> Collection[str]:
        """Return the topics that do not exist. What was made anew is logged."""
        found = await self._admin.topic_ids(self._topics)
        for topic, number in found.items():
            if number is not None and self._ids.setdefault(topic, number) != number:
                self._ids[topic] = number
                log.warning("%s was deleted and made anew: what waited in it is gone, and %s", topic, self._anew)
        return [topic for topic, number in found.items() if number is None]
