"""Commits: what is finished without a gap, in one request at a time, never outside an assignment.

The watermark of an assignment is the oldest unfinished offset, or one past the newest delivered. When nothing is unfinished it is the
position, which lies behind the markers of transactions and what compaction took away: without that, a partition that is read to its end
keeps a lag of the last gap for ever.

What must hold (kafka.apache.org's group protocol accepts each of these mistakes without a word):
- only offsets between 0 and one past the last delivered are sent; -1 would erase the group's offset;
- an assignment's offsets only grow, and nothing of an older assignment is sent;
- nothing is sent between `on_partitions_revoked` and `on_partitions_assigned`: while the join is pending it throws the member out, while
  the sync is pending it is accepted for partitions that have moved to others;
- one commit is in flight: aiokafka retries inside for as long as the coordinator is away, without a limit, and two of them may land in
  any order. It is waited for with a bound and never cancelled, with one exception: when its assignment is over its retries must end,
  because a retry would carry the new generation and rewind what the next owner has committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from holdgate.brokers.kafka.assignments import AssignedPartition, AssignedPartitions
from holdgate.brokers.kafka.client import Client
from holdgate.brokers.tasks import run_beside
from holdgate.tasks import begin_later

log = logging.getLogger(__name__)

# aiokafka has retried whatever may pass; what comes back as an error twice comes back a third time.
_ATTEMPTS = 2
# How soon a flush notices that its consumer was stopped by somebody else; a commit that ends wakes it at once.
_LOOK_EVERY = 0.25


class Commits:
    """Commits for the live assignments, every `every` seconds and when asked. `failed` hears of an error that will not go away."""

    def __init__(self, client: Client, assignments: AssignedPartitions, every: float, failed: Callable[[BaseException], None]) -> None:
        self._client = client
        self._assignments = assignments
        self._every = every
        self._failed = failed
        self._open = False
        self._wanted = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the periodic commits; still nothing is sent until `resume`."""
        self._loop = run_beside(self._run(), "kafka commits", self._failed)

    def stop(self) -> None:
        """End the periodic commits. One in flight goes on."""
        if self._loop is not None:
            self._loop.cancel()

    def suspend(self) -> None:
        """A rebalance began: nothing is sent by itself until `resume`."""
        self._open = False

    def resume(self) -> None:
        """There is an assignment to commit for."""
        self._open = True

    def soon(self) -> None:
        """Commit without waiting for the period: a hold began, and what is finished should not wait for its end."""
        self._wanted.set()

    async def flush(self, within: float) -> bool:
        """Commit all that is finished, waiting at most `within` seconds; returns whether it is out."""
        return await self._all(within, lambda: self._assignments if self._open else ())

    async def revoke(self, tps: Iterable[TopicPartition], within: float) -> bool:
        """Commit what is finished of `tps`, inside the callback in which that is still allowed; nothing of it is sent afterwards."""
        gone = [assignment for tp in tps if (assignment := self._assignments.get(tp)) is not None]
        done = await self._all(within, lambda: gone)
        self.abandon()
        return done

    def abandon(self) -> None:
        """Stop the retries of a commit in flight: its assignment is over. The request that is on its way may still be applied."""
        if self._running is not None and not self._running.done():
            log.warning("a commit was still unanswered when its partitions went away; they may be delivered again from an earlier offset")
            self._running.cancel()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._every)
            self._wanted.clear()
            if self._open and not self._is_running() and not self._client.is_stopped:
                self._send(self._assignments)
            if self._running is not None:
                await asyncio.wait((self._running,))

    async def _all(self, within: float, whose: Callable[[], Iterable[AssignedPartition]]) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        attempts = 0
        while loop.time() < end and not (self._client.is_stopped and self._is_running()):  # that one nobody answers any more
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

    def _send(self, assignments: Iterable[AssignedPartition]) -> None:
        due = self._due(assignments)
        if due:
            self._running = begin_later(self._commit(due), "kafka commit")

    def _due(self, assignments: Iterable[AssignedPartition]) -> dict[AssignedPartition, int]:
        return {assignment: offset for assignment in assignments if (offset := self._offset(assignment)) is not None}

    def _offset(self, assignment: AssignedPartition) -> int | None:
        """What may be committed now and is not yet; None when nothing."""
        if not assignment.alive:
            return None
        offset = assignment.next_offset(self._client.position(assignment.tp))
        if offset is None or offset < 0:
            return None
        if assignment.sent is None:
            began = offset if assignment.began is None else assignment.began
            # A group without an offset begins at the end again after a restart: under "latest" where it began is news, or what came
            # during a hold would be skipped.
            assignment.sent = began - 1 if self._client.reset_policy == "latest" else began
        return offset if offset > assignment.sent else None

    async def _commit(self, due: dict[AssignedPartition, int]) -> None:
        try:
            await self._client.commit({assignment.tp: offset for assignment, offset in due.items()})
        except (CommitFailedError, IllegalStateError) as error:
            # The member was thrown out, or its partitions are going away: the callbacks follow, and what is not committed comes again.
            log.info("a commit came too late for its assignment: %s", error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the offsets stay due, and receive() tells what will not go away
            log.warning("a commit failed and is tried again: %r", error)
            self._failed(error)
        else:
            for assignment, offset in due.items():
                assignment.sent = offset
