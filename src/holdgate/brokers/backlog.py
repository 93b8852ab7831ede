"""How much waits in the assigned partitions: up to the end of the log, and up to where a consumer may read now.

The two differ behind an open transaction. A `read_committed` consumer may read up to the first record of the oldest open transaction, the
log's stable offset, and its own `end_offsets` end there: it sees a lag of 0 while good records wait behind, as
tests/brokers/kafka/test_backlog.py shows. The consumer's own `highwater` is no help, because it stands still while the partition is
paused. So the broker is asked for both ends, by requests of our own, on a connection of our own (client.py).

A transaction that is open for a moment is normal, and on a busy topic one always is. What counts is that the stable offset does not move
while records wait behind it: then nothing becomes readable, and a worker that has caught up with it stands, although nothing is held.

What is ugly: offsets count more than messages. Markers of transactions, aborted records and compacted ones count until they are passed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions, Place
from holdgate.flow.message import Backlog, Partition, Source

log = logging.getLogger(__name__)

# Seconds without a move of the stable offset after which it is logged. Producers abort a transaction after 60 s by default
# (transaction.timeout.ms), so that half of that is long for a transaction, and early for those who look for its producer.
_LONG = 30.0


class Reader(Protocol):
    """What must be known of the client."""

    @property
    def reads_committed(self) -> bool:
        """Whether it waits for the end of a transaction before it reads the transaction's records."""
        ...

    def position(self, tp: Place) -> int | None:
        """Return the next offset that it would hand out. None means not known yet."""
        ...


class LogEnds(Protocol):
    """Who knows where logs end."""

    async def log_ends(self, tps: Collection[Place], *, committed: bool = False) -> Mapping[Place, int] | None:
        """Return the ends of these logs, or, with `committed`, where they end for a consumer that reads what is committed alone."""
        ...


class PartitionBacklogs:
    """Asks how much waits in the partitions that are assigned. `now` returns monotonic seconds."""

    def __init__(self, client: Reader, partitions: AssignedPartitions, side: LogEnds, now: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._partitions = partitions
        self._side = side
        self._now = now
        self._stable: dict[AssignedPartition, tuple[int, float]] = {}  # where the stable offset stands, and since when
        self._named: set[AssignedPartition] = set()  # those behind an open transaction that the log has named

    async def ask(self) -> Mapping[Source, Backlog]:
        """Return how much waits in each partition; figures that the broker does not give now are None."""
        tps = self._partitions.tps()
        ends = await self._side.log_ends(tps) or {}
        stable = await self._side.log_ends(tps, committed=True) or {} if self._client.reads_committed else {}
        now = self._now()
        found: dict[Source, Backlog] = {}
        for partition in self._partitions:
            found[partition.source] = self._backlog(partition, ends.get(partition.tp), stable.get(partition.tp), now)
        self._stable = {partition: since for partition, since in self._stable.items() if partition.alive}
        self._named = {partition for partition in self._named if partition.alive}
        return found

    def _backlog(self, partition: AssignedPartition, end: int | None, stable: int | None, now: float) -> Backlog:
        next_offset = partition.next_offset(self._client.position(partition.tp))
        oldest = partition.oldest_timestamp()
        age = None if oldest is None else max(0.0, time.time() - oldest / 1000)
        if end is None or next_offset is None:
            return Backlog(None, age)
        messages = max(0, end - next_offset)
        if stable is None:
            return Backlog(messages, age)
        readable = min(messages, max(0, stable - next_offset))
        return Backlog(messages, age, readable, self._blocked_for(partition, end, stable, messages - readable, now))

    def _blocked_for(self, partition: AssignedPartition, end: int, stable: int, kept_back: int, now: float) -> float:
        """Return for how many seconds nothing has become readable although something waits behind."""
        stood, since = self._stable.get(partition, (stable, now))
        if stable >= end or stable != stood:
            since = now
            self._over(partition)
        self._stable[partition] = stable, since
        blocked = now - since
        if blocked >= _LONG and partition not in self._named:
            self._named.add(partition)
            self._name(partition.source, kept_back, stable, blocked)
        return blocked

    def _name(self, source: Partition, kept_back: int, stable: int, blocked: float) -> None:
        log.warning(
            "%s: blocked by an open transaction: for %.0f s nothing has become readable past offset %d, and %d offsets wait behind it. This"
            " is no hold: look for the producer that began a transaction there and has neither committed nor aborted it",
            source, blocked, stable, kept_back,
        )  # fmt: skip

    def _over(self, partition: AssignedPartition) -> None:
        if partition in self._named:
            self._named.discard(partition)
            log.info("%s: no longer blocked by an open transaction", partition.source)
