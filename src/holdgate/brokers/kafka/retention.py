"""Retention that is faster than a hold: seen before the broker's reset policy makes it silent, and announced with its range.

While a partition is paused nothing tells that the log's start has passed the place where reading stopped. On resume the reset policy
acts: "earliest" goes on after the deleted records without a word, "latest" jumps to the end and leaves out even what still exists,
"none" raises in every poll. So the log's start is compared every few seconds during a hold and once more before a resume, and the
consumer is moved by a seek of ours, to the first record that still exists.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import TopicPartition

from holdgate.brokers.kafka.assignments import AssignedPartition, AssignedPartitions
from holdgate.brokers.kafka.client import Client, SideConsumer
from holdgate.brokers.kafka.fetching import Pauses
from holdgate.brokers.tasks import run_beside
from holdgate.flow.message import Partition

log = logging.getLogger(__name__)

# Brokers look for segments to delete every five minutes (log.retention.check.interval.ms), and one question costs a millisecond.
_EVERY = 5.0
# After an assignment the committed offset, and so the position, is known within milliseconds.
_ASK_AGAIN_AFTER = 0.05
# A broker that is away for longer is away for fetching, too; waiting for its answer would only add to the outage.
_GIVE_UP_AFTER = 5.0


@dataclass(frozen=True, slots=True)
class RecordsLost:
    """The broker deleted records before they were read: `first` to `last`, offsets, both counted.

    How many messages that were nobody can say from offsets (compaction and transactions leave gaps); `last - first + 1` is the most.
    """

    source: Partition
    first: int
    last: int


class Retention:
    """Compares log starts with where reading goes on. `lost` is called once per loss; `released` after partitions became free to
    fetch, `failed` when the task died."""

    def __init__(
        self,
        client: Client,
        assignments: AssignedPartitions,
        pauses: Pauses,
        aside: SideConsumer,
        *,
        lost: Callable[[RecordsLost], None],
        released: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._assignments = assignments
        self._pauses = pauses
        self._aside = aside
        self._lost = lost
        self._released = released
        self._failed = failed
        self._starts: dict[AssignedPartition, int] = {}
        self._since: dict[TopicPartition, float] = {}  # when one that is due could not be compared for the first time
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = run_beside(self._run(), "kafka retention", self._failed)

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()

    def soon(self) -> None:
        """Compare now if a partition only waits for that."""
        if self._pauses.due():
            self._wanted.set()

    async def check(self, tps: Collection[TopicPartition]) -> frozenset[TopicPartition]:
        """Compare now; returns those that were compared. Not: where the broker does not answer, or the position is not known yet."""
        asked = {tp: assignment for tp in tps if (assignment := self._assignments.get(tp)) is not None}
        starts = await self._aside.log_starts(asked) if asked else None
        compared = [tp for tp, start in (starts or {}).items() if asked[tp].alive and self._compare(asked[tp], start)]
        self._starts = {assignment: start for assignment, start in self._starts.items() if assignment.alive}
        return frozenset(compared)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), _ASK_AGAIN_AFTER if self._pauses.due() else _EVERY)
            self._wanted.clear()
            self._free(await self.check(self._pauses.unchecked))

    def _free(self, compared: frozenset[TopicPartition]) -> None:
        """Let those that are due be fetched; one that cannot be compared is asked for again, but not for ever."""
        now = asyncio.get_running_loop().time()
        due = self._pauses.due()
        self._since = {tp: self._since.get(tp, now) for tp in due - compared}
        late = {tp for tp, since in self._since.items() if now - since >= _GIVE_UP_AFTER}
        if late:
            log.warning("could not compare %s with the log's start; fetching goes on by the consumer's reset policy", sorted(late))
        free = (compared & due) | late
        if free:
            self._pauses.checked(free)
            self._released()

    def _compare(self, assignment: AssignedPartition, start: int) -> bool:
        position = self._client.position(assignment.tp)
        if position is None:
            return False
        if position < start:
            self._client.seek(assignment.tp, start)
            log.error(
                "%s: retention deleted offsets %d to %d before they were read; going on at %d. Retention must be longer than a hold",
                assignment.source, position, start - 1, start,
            )  # fmt: skip
            self._lost(RecordsLost(assignment.source, position, start - 1))
        else:
            self._warn_early(assignment, start, position)
        self._starts[assignment] = start
        return True

    def _warn_early(self, assignment: AssignedPartition, start: int, position: int) -> None:
        """Say it while something can still be done: the log's start moves by whole segments, so judge by the size of its last move."""
        before = self._starts.get(assignment, start)
        next_offset = assignment.inflight.next_position
        if next_offset is None:
            next_offset = position
        if before < start and next_offset < start + (start - before):
            log.warning(
                "%s: retention has come to offset %d, %d before the first unfinished one; the next deletion may pass it",
                assignment.source, start, max(0, next_offset - start),
            )  # fmt: skip
