"""What retention deletes of a topic that is held: a share group is not told, and its lag does not show it.

When the topic is read again, the group goes on at the first record that still exists. No client sees a gap, since each gets a part of the
records anyway. So while a topic is held, the lag of its partitions is compared with their logs, every few seconds. The broker does not
count it anew when it deletes: a lag of 7 in a log that has 3 records left means that at least 4 are gone. It may be more, where records at
the end had been accepted before those at the beginning. The place where the group stands is of no use for that: the broker stores it late,
so that what is deleted beyond it may have been accepted.

The lag is what aiokafka can ask for (offsets.py); without it nothing is compared. A topic that is read is not looked at: with the next
fetch the broker moves the group past what is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, TypeAlias

from holdgate.tasks import run_beside

log = logging.getLogger(__name__)

# Seconds. Brokers look for segments to delete every five minutes (log.retention.check.interval.ms); this finds it soon after, by four
# small questions a minute.
_EVERY = 15.0

# A topic, and the number of a partition.
LogPlace: TypeAlias = tuple[str, int]


class Logs(Protocol):
    """Who knows how long logs are."""

    async def sizes(self, places: Collection[LogPlace]) -> Mapping[LogPlace, int]:
        """Return how many offsets each of these logs has. What is not known now is left out."""
        ...


class Groups(Protocol):
    """Who knows what waits in a share group."""

    async def waiting(self, topics: Collection[str]) -> Mapping[LogPlace, int]:
        """Return how many records of each partition are neither accepted nor archived. What is not known now is left out."""
        ...


class ShareRetention:
    """Compares the topics that `held` returns. `failed` gets what ends it, which is a mistake of ours."""

    __slots__ = ("_failed", "_groups", "_held", "_logs", "_noted", "_task")

    def __init__(self, logs: Logs, groups: Groups, held: Callable[[], Collection[str]], failed: Callable[[BaseException], None]) -> None:
        self._logs = logs
        self._groups = groups
        self._held = held
        self._failed = failed
        self._noted: dict[LogPlace, int] = {}  # how many were logged as gone
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to compare."""
        self._task = run_beside(self._run(), "share retention", self._failed)

    def stop(self) -> None:
        """Compare no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            if topics := self._held():
                await self._compare(topics)

    async def _compare(self, topics: Collection[str]) -> None:
        waiting = await self._groups.waiting(topics)  # first: what is produced meanwhile makes the logs longer alone
        if not waiting:
            return
        for place, size in (await self._logs.sizes(waiting)).items():
            gone = max(0, waiting[place] - size)
            if gone > self._noted.get(place, 0):
                log.warning(
                    "%s: retention deleted at least %d records of partition %d before its share group was done with them. Set retention "
                    "longer than a hold can last",
                    place[0], gone, place[1],
                )  # fmt: skip
            self._noted[place] = gone
