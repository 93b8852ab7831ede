"""Commits: the offset up to which everything is finished, one request at a time, and never outside an assignment.

The offset that is committed for a partition is the oldest unfinished one. If nothing is unfinished it is the client's position, which has
passed transaction markers and compacted records (`AssignedPartition.next_offset`).

Rules. Kafka's group protocol accepts each of the mistakes that they prevent, without an error:

- Only offsets from 0 to one past the last delivered are sent. -1 would erase the group's offset.
- The offsets of an assignment only grow, and nothing of an older assignment is sent.
- Nothing is sent between `on_partitions_revoked` and `on_partitions_assigned`: while the join is pending a commit throws the member out,
  and while the sync is pending it is accepted for partitions that belong to other members already.
- One commit is in flight at a time, and it is not cancelled while its assignment lives.

The race behind the last rule: commit 1 carries offset 100, and the coordinator is away. A client retries inside its `commit`, aiokafka
without a limit. If that call were cancelled, or left behind, and commit 2 with offset 200 sent beside it, the two could arrive in any
order, and 100 could be the last. So a flush waits for the one in flight, with a bound.

The exception, and its race: commit 1 is being retried when its partition is revoked. The rebalance ends, the partition belongs to another
member, and the retry would carry the *new* generation of this member: the broker would accept it, and rewind what the new owner has
committed. So the retries end with the assignment (`abandon`). The one request that is on its way may still be applied.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from holdgate.brokers.partitions import AssignedPartition, AssignedPartitions, Place
from holdgate.tasks import begin_later, run_beside

log = logging.getLogger(__name__)

# Attempts of one flush. aiokafka has retried every error that may pass, so an error that comes twice would come a third time.
_ATTEMPTS = 2
# Seconds until a flush notices that the application has stopped the consumer. A commit that ends wakes the flush immediately.
_LOOK_EVERY = 0.25


class CommitClient(Protocol):
    """What a client must be able to do."""

    @property
    def is_stopped(self) -> bool:
        """Whether it answers no commit any more."""
        ...

    @property
    def reset_policy(self) -> str:
        """Where a group without a committed offset begins: "earliest", "latest" or "none"."""
        ...

    def position(self, tp: Place) -> int | None:
        """Return the next offset that it would hand out. None means not known yet."""
        ...

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Commit, and raise unless each of them was taken."""
        ...


class Commits:
    """Commit for the assigned partitions, every `every` seconds and on request.

    `too_late` are the client's errors of a commit whose assignment is over. `failed` gets every other error: it may not pass.
    """

    def __init__(
        self,
        client: CommitClient,
        partitions: AssignedPartitions,
        every: float,
        failed: Callable[[BaseException], None],
        too_late: tuple[type[Exception], ...],
    ) -> None:
        self._client = client
        self._too_late = too_late
        self._partitions = partitions
        self._every = every
        self._failed = failed
        self._open = False
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the periodic commits. Nothing is sent before `resume`."""
        self._loop = run_beside(self._run(), "kafka commits", self._failed)

    def stop(self) -> None:
        """End the periodic commits. A commit in flight goes on."""
        if self._loop is not None:
            self._loop.cancel()

    def suspend(self) -> None:
        """Stop sending until `resume`, because a rebalance has begun. `revoke` still sends."""
        self._open = False

    def resume(self) -> None:
        """Send again: there is an assignment to commit for."""
        self._open = True

    def soon(self) -> None:
        """Commit without waiting for the period. For the start of a hold, so that what is finished need not wait for its end."""
        self._wanted.set()

    async def flush(self, within: float) -> bool:
        """Commit everything that is finished, for at most `within` seconds. Returns whether nothing is left to commit."""
        return await self._all(within, lambda: self._partitions if self._open else ())

    async def revoke(self, tps: Iterable[Place], within: float) -> bool:
        """Commit what is finished of `tps`, in the callback in which the group still allows it, and nothing of it afterwards."""
        gone = [partition for tp in tps if (partition := self._partitions.get(tp)) is not None]
        done = await self._all(within, lambda: gone)
        self.abandon()
        return done

    def abandon(self) -> None:
        """End the retries of a commit in flight, because its assignment is over. See the head of this file."""
        if self._running is not None and not self._running.done():
            log.warning("a commit was still unanswered when its partitions were taken away; they may be delivered from an earlier offset")
            self._running.cancel()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._wanted.wait()
            self._wanted.clear()
            if self._open and not self._is_running() and not self._client.is_stopped:
                self._send(self._partitions)
            if self._running is not None:
                await asyncio.wait((self._running,))

    async def _all(self, within: float, whose: Callable[[], Iterable[AssignedPartition]]) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        attempts = 0
        # A commit of a stopped consumer is never answered, so it is not waited for.
        while loop.time() < end and not (self._client.is_stopped and self._is_running()):
            if self._running is not None and self._is_running():
                await asyncio.wait((self._running,), timeout=min(_LOOK_EVERY, end - loop.time()))
            elif self._client.is_stopped or not self._due(whose()) or attempts == _ATTEMPTS:
                break
            else:
                attempts += 1
                self._send(whose())
        return not self._is_running() and not self._due(whose())

    def _is_running(self) -> bool:
        return self._running is not None and not self._running.done()

    def _send(self, partitions: Iterable[AssignedPartition]) -> None:
        due = self._due(partitions)
        if due:
            self._running = begin_later(self._commit(due), "kafka commit")

    def _due(self, partitions: Iterable[AssignedPartition]) -> dict[AssignedPartition, int]:
        return {partition: offset for partition in partitions if (offset := self._offset(partition)) is not None}

    def _offset(self, partition: AssignedPartition) -> int | None:
        """Return the offset that may be committed now. None means that nothing is due."""
        if not partition.alive:
            return None
        offset = partition.next_offset(self._client.position(partition.tp))
        if offset is None or offset < 0:
            return None
        if partition.sent is None:
            began = offset if partition.began is None else partition.began
            # A group without a committed offset starts at the end again under "latest". Then even the offset at which reading began is
            # committed: otherwise a restart during a first hold would skip what has come meanwhile.
            partition.sent = began - 1 if self._client.reset_policy == "latest" else began
        return offset if offset > partition.sent else None

    async def _commit(self, due: dict[AssignedPartition, int]) -> None:
        try:
            await self._client.commit({partition.tp: offset for partition, offset in due.items()})
        except self._too_late as error:
            # The group evicted this member, or is about to take the partitions. The callbacks follow, and the messages come again.
            log.info("a commit came too late for its assignment: %s", error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the offsets stay due, and receive() raises what does not pass
            log.warning("a commit failed and is tried again: %r", error)
            self._failed(error)
        else:
            for partition, offset in due.items():
                partition.sent = offset
