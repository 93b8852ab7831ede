"""What is ours, and what the guard is told of it: rebalances, evictions, and assignments that changed behind our back.

    began      `is_rebalancing` from the first statement of on_partitions_revoked: no poll without waiting, no commit by itself
    given back the guard ends what runs, then its watermarks are committed, inside the callback; then the assignments die
    thrown out the same callback, but the generation is gone: others may own the partitions, so nothing is committed, the guard is told
    in doubt   the process stood still: everything is given up until a heartbeat says that the group still knows us (or the callbacks come)
    taken over fresh assignments; before any await of on_partitions_assigned everything that the plan does not fetch is paused

`assignment()` is no evidence: it names old partitions during a rebalance and after an eviction. Only the callbacks count, and the
identity of aiokafka's assignment object, which tells of a change without a callback (a second `assign()`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from holdgate.brokers.kafka.assignments import Assignments
from holdgate.brokers.kafka.background import run_beside
from holdgate.brokers.kafka.client import Client
from holdgate.brokers.kafka.commits import Commits
from holdgate.brokers.kafka.delivery import KafkaBatch, KafkaDelivery, Record
from holdgate.brokers.kafka.failures import Duplicates
from holdgate.brokers.kafka.pauses import Pauses
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

# The part of the rebalance timeout in which we answer; the rest is for the join request to arrive.
_ANSWER_WITHIN = 0.9
# How long a group that does not answer is left alone; a heartbeat is one small request.
_ASK_AGAIN_AFTER = 0.2
# A commit inside the callback took 8 ms; this much is always tried, even when the guard has used up the time.
_COMMIT_AT_LEAST = 1.0


class Membership:
    """The assignments of one consumer, kept true.

    `changed` is called when there is something new to pause, resume or poll; `failed` with what ends the intake.
    """

    def __init__(
        self,
        client: Client,
        assignments: Assignments,
        pauses: Pauses,
        commits: Commits,
        *,
        changed: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._assignments = assignments
        self._pauses = pauses
        self._commits = commits
        self._changed = changed
        self._duplicates = Duplicates(client, failed)
        self._token: object | None = None
        self._failed = failed
        self._asking: asyncio.Task[None] | None = None
        self.guard: IntakeListener | None = None
        self.is_rebalancing = True  # nothing is ours before the first assignment

    @property
    def may_poll(self) -> bool:
        """Whether a poll answers at once; during a rebalance it waits for its end, whatever timeout it was given."""
        return not self.is_rebalancing and not self._client.is_reassigning

    @property
    def has_changed(self) -> bool:
        """Whether aiokafka's assignment is another one than what we took over."""
        return self._client.assignment_token() is not self._token

    def begin_rebalance(self) -> None:
        self.is_rebalancing = True
        self._commits.suspend()

    async def give_back(self, revoked: frozenset[TopicPartition]) -> None:
        """End the work of these, commit it, forget them. In time for the group, whatever the guard and the broker do."""
        sources = self._assignments.sources(revoked)
        if self._client.is_evicted:
            self._duplicates.note(asyncio.get_running_loop().time())
        if not sources or self.guard is None:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + self._client.rebalance_timeout * _ANSWER_WITHIN
        try:
            if not self._client.is_evicted:
                await _within(self.guard.revoked(sources), end - loop.time())
        finally:
            if self._client.is_evicted:
                self.lose(revoked)
            else:
                await self._commits.revoke(revoked, max(_COMMIT_AT_LEAST, end - loop.time()))
                self._assignments.drop(revoked)

    def take_over(self, assigned: frozenset[TopicPartition]) -> None:
        """These are ours from now on, all that we have."""
        self._token = self._client.assignment_token()
        self.lose(self._assignments.tps() - assigned)  # nothing is left here after a callback that came
        self._assignments.add(assigned)
        self._pauses.take_over(Plan())  # pauses everything, so that a guard that fails leaves nothing open
        if self.guard is not None:
            self._pauses.store(self.guard.assigned(self._assignments.sources(assigned)))
        self.is_rebalancing = False
        self._commits.resume()
        self._changed()

    def lose(self, tps: Collection[TopicPartition]) -> None:
        """These were taken away without a chance to finish."""
        sources = self._assignments.sources(tps)
        if not sources:
            return
        self._commits.abandon()
        self._assignments.drop(tps)
        if self.guard is not None:
            self.guard.lost(sources)

    def doubt(self) -> None:
        """Others may have our partitions by now: nothing is ours until the group says so."""
        if self.is_rebalancing or not len(self._assignments):
            return
        places = {found.tp: found.next_offset(self._client.position(found.tp)) for found in self._assignments}
        log.warning("this process stood still for so long that others may have its partitions; it goes on when the group has answered")
        self.begin_rebalance()
        self.lose(self._assignments.tps())
        self._asking = run_beside(self._ask(places), "membership", self._failed)

    def stop(self) -> None:
        """Ask nobody any more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, places: dict[TopicPartition, int | None]) -> None:
        """Until the group has answered: either it knows us, and all goes on where it was, or the callbacks come, and this is over.

        Over for good: once there is another assignment, what we knew of places is older than what others have committed.
        """
        doubted = self._token

        def is_over() -> bool:
            return self._client.assignment_token() is not doubted or self._client.is_evicted

        while not is_over():
            if await self._client.is_member() and not is_over() and not self._client.is_reassigning:
                for tp, offset in places.items():
                    if offset is not None:
                        self._client.seek(tp, offset)
                self.take_over(self._client.assignment())
                return
            await asyncio.sleep(_ASK_AGAIN_AFTER)

    def verify(self) -> None:
        """Notice a change that no callback told of; called between polls."""
        if self.may_poll and self.has_changed:
            log.warning("the assignment was changed while the guard uses the consumer: what was in hand is dropped, and may come again")
            self.lose(self._assignments.tps())
            self.take_over(self._client.assignment())

    def begin_anew(self, tp: TopicPartition, batch: list[Record]) -> Sequence[KafkaDelivery | KafkaBatch]:
        """The records of `batch` do not follow what was in hand of `tp`: somebody sought. A fresh assignment begins with them."""
        self.lose([tp])
        self._assignments.add([tp])
        fresh = self._assignments.get(tp)
        if fresh is None or self.guard is None:
            return []
        self._pauses.store(self.guard.assigned([fresh.source]))
        self._changed()
        return fresh.delivered(batch)


async def _within(work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Wait for `work` at most so long, and leave it alone after that: it is the guard's, and the group does not wait for it."""
    task = begin_later(work, "kafka revoked")
    await asyncio.wait((task,), timeout=seconds)
    if task.done():
        task.result()
