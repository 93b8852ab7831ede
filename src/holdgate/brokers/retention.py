"""Retention that is faster than a hold: noticed before the consumer's reset policy hides it, and reported with its range.

The race: a partition is held and paused at offset 100. The broker deletes segments, and the log now starts at 500. Nothing tells a paused
consumer. On resume it fetches at 100, the broker answers "offset out of range", and aiokafka applies its reset policy: "earliest" goes on
at 500 without a word, "latest" jumps to the end and skips even what still exists, "none" raises in every poll.

So the log's start is compared with the position every few seconds during a hold, and once more before a resume. If it has passed the
position, this file seeks to the first record that exists, and reports the range that is lost. The comparison before a resume can still be
overtaken: segments may be deleted between it and the fetch. That leaves a window of a millisecond, in which the reset policy acts.

A log that ends before the position is another one: somebody has deleted the topic and made it anew, or its newest records went with a
broker. As long as nothing reads, nobody notices. When the new log has grown past the position, reading would go on in the middle of it, and
skip what lies before without a word. So the log's end is compared as well. The partition then begins anew, with the first record that
exists; under "latest", too. That would be a costly mistake, so the log must end before the position for a second: a new leader says a lower
end for a moment, at worst.

A partition stays paused until it was compared, or until the broker has not answered for `_GIVE_UP_AFTER` seconds (fetching.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions, Place
from holdgate.flow.message import Partition
from holdgate.tasks import run_beside

log = logging.getLogger(__name__)

# Seconds between two comparisons. Brokers look for segments to delete every five minutes (log.retention.check.interval.ms), and a question
# costs a millisecond.
_EVERY = 5.0
# Seconds until a partition that could not be compared is tried again. After an assignment its position is known within milliseconds.
_ASK_AGAIN_AFTER = 0.05
# Seconds after which a partition is fetched from without a comparison. A broker that is away for longer answers no fetch either, and to
# wait for it would only add to the outage.
_GIVE_UP_AFTER = 5.0
# Seconds for which a log must end before the position. Followers fetch every half second, and then a new leader knows the log's end.
_SURE_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class RecordsLost:
    """Records that the broker deleted before they were read.

    `first` and `last` are the first and the last offset that is gone. `last - first + 1` is the largest number of messages that they can
    have been; compaction and transactions leave gaps, so it may be fewer.
    """

    source: Partition
    first: int
    last: int


class Seeking(Protocol):
    """What the client must be able to do."""

    def position(self, tp: Place) -> int | None:
        """Return the next offset that it would hand out. None means not known yet."""
        ...

    def seek(self, tp: Place, offset: int) -> None:
        """Go on at this offset."""
        ...


class Logs(Protocol):
    """Who knows where logs begin and end."""

    async def log_starts(self, tps: Collection[Place]) -> Mapping[Place, int] | None:
        """Return the starts of these logs. None means that the broker does not answer."""
        ...

    async def log_ends(self, tps: Collection[Place]) -> Mapping[Place, int] | None:
        """Return the ends of these logs. None means that the broker does not answer."""
        ...


class Comparing(Protocol):
    """Which partitions are to be compared."""

    @property
    def unchecked(self) -> frozenset[Place]:
        """Those that are not fetched from, or not yet."""
        ...

    def due(self) -> frozenset[Place]:
        """Return those that wait for the comparison alone."""
        ...

    def checked(self, tps: Collection[Place]) -> None:
        """Note that these were compared, or cannot be."""
        ...


class Retention:
    """Compare the starts and ends of logs with where reading goes on.

    `lost` is called once per loss, `anew` with a partition whose log is another one and its start, `released` when partitions may be
    fetched from again, `failed` with the error that ended the task.
    """

    def __init__(
        self,
        client: Seeking,
        partitions: AssignedPartitions,
        pauses: Comparing,
        side: Logs,
        *,
        lost: Callable[[RecordsLost], None],
        anew: Callable[[Place, int], None],
        released: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._partitions = partitions
        self._pauses = pauses
        self._side = side
        self._lost = lost
        self._anew = anew
        self._released = released
        self._failed = failed
        self._starts: dict[AssignedPartition, int] = {}
        self._short: dict[AssignedPartition, tuple[int, float]] = {}  # whose log ends before this position, and since when
        self._since: dict[Place, float] = {}  # when a partition that is due could not be compared for the first time
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = run_beside(self._run(), "kafka retention", self._failed)

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()

    def soon(self) -> None:
        """Compare now: a partition is paused for the comparison alone."""
        self._wanted.set()

    async def check(self, tps: Collection[Place]) -> frozenset[Place]:
        """Compare now. Returns the partitions that were compared, without those of unknown position or whose broker does not answer."""
        asked = {tp: partition for tp in tps if (partition := self._partitions.get(tp)) is not None}
        starts = await self._side.log_starts(asked) if asked else None
        ends = await self._side.log_ends(asked) if starts else None
        # `alive`: a rebalance may have come while the broker was asked, and a seek would move the partition of the next assignment.
        compared = [tp for tp, start in (starts or {}).items() if asked[tp].alive and self._compare(asked[tp], start, (ends or {}).get(tp))]
        self._starts = {partition: start for partition, start in self._starts.items() if partition.alive}
        # What is not asked for any more is fetched from, or is not ours, and would be looked for again and again.
        self._short = {partition: short for partition, short in self._short.items() if partition.alive and partition.tp in asked}
        return frozenset(compared)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN_AFTER if self._short or self._pauses.due() else _EVERY):
                    await self._wanted.wait()
            self._wanted.clear()
            self._free(await self.check(self._pauses.unchecked))

    def _free(self, compared: frozenset[Place]) -> None:
        """Let partitions be fetched from that were compared, or that could not be compared for too long."""
        now = _now()
        due = self._pauses.due()
        self._since = {tp: self._since.get(tp, now) for tp in due - compared}
        late = {tp for tp, since in self._since.items() if now - since >= _GIVE_UP_AFTER}
        if late:
            log.warning(
                "the log's start of %s is unknown; fetching goes on, and the consumer's reset policy may skip messages", sorted(late)
            )
        free = (compared & due) | late
        if free:
            self._pauses.checked(free)
            self._released()

    def _compare(self, partition: AssignedPartition, start: int, end: int | None) -> bool:
        position = self._client.position(partition.tp)
        if position is None:
            return False
        if end is not None and end < position:
            return self._begins_anew(partition, position, start, end)
        self._short.pop(partition, None)
        if position < start:
            self._client.seek(partition.tp, start)
            self.report(partition, position, start)
        else:
            self._warn_early(partition, start, position)
        self._starts[partition] = start
        return True

    def _begins_anew(self, partition: AssignedPartition, position: int, start: int, end: int) -> bool:
        """Begin a partition anew whose log ends before the position, and has done so for long enough. Returns whether it was."""
        now = _now()
        stood, since = self._short.get(partition, (position, now))
        if stood != position:
            since = now
        if now - since < _SURE_AFTER:
            self._short[partition] = position, since
            return False
        log.error(
            "%s: the log ends at offset %d, before %d, where reading stood: its topic was made anew, or its newest records are lost. Going "
            "on at its beginning, %d; what is in hand of the old log is dropped",
            partition.source, end, position, start,
        )  # fmt: skip
        self._anew(partition.tp, start)
        return True

    def report(self, partition: AssignedPartition, position: int, start: int) -> None:
        """Report that the records from `position` to before `start` were deleted, and that reading goes on at `start`."""
        log.error(
            "%s: retention deleted offsets %d to %d before they were read; going on at %d. Set retention longer than a hold can last",
            partition.source, position, start - 1, start,
        )  # fmt: skip
        self._lost(RecordsLost(partition.source, position, start - 1))

    def _warn_early(self, partition: AssignedPartition, start: int, position: int) -> None:
        """Warn while something can still be done. The log's start moves by whole segments, so its last move is taken for the next one."""
        before = self._starts.get(partition, start)
        next_offset = partition.inflight.next_position
        if next_offset is None:
            next_offset = position
        if before < start and next_offset < start + (start - before):
            log.warning(
                "%s: retention has reached offset %d, %d before the first unfinished one; the next deletion may pass it",
                partition.source, start, max(0, next_offset - start),
            )  # fmt: skip


def _now() -> float:
    return asyncio.get_running_loop().time()
