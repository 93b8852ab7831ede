"""Membership of the consumer group: which partitions are ours, what a rebalance asks of us, and how the consumer starts and ends.

Theory of operation
===================

Three classes:

    OwnedListener      the rebalance listener that the consumer is subscribed with; it calls `Membership`, then the user's own listener
    Membership         decides which partitions are ours, and reports every change to the guard
    ConsumerLifecycle  starts the consumer, and at the end stops it or hands it back to its owner

What can happen to a member:

    rebalance begins   `is_rebalancing` is set in the first statement of on_partitions_revoked: no poll without waiting, no periodic commit
    revoked            the guard ends what runs, its offsets are committed inside the callback, then the partitions are dropped
    evicted            aiokafka calls the same callback, but the generation is gone: others may own the partitions, so nothing is committed
                       and the guard learns that they are lost
    in doubt           the process stood still for about the session timeout: all partitions are lost until a heartbeat shows that the
                       group still knows this member, or until the callbacks come
    assigned           fresh partitions; what the plan does not fetch is paused before the first await of on_partitions_assigned

`assignment()` is no evidence of what is ours. During a rebalance and after an eviction it still names the old partitions. Only the
callbacks count, and the identity of aiokafka's assignment object: it reveals a change that had no callback, such as a second `assign()`.

Races that the code is written for:

- A commit between revoke and assign. While the join is pending, the coordinator throws out a member that commits. While the sync is
  pending, it accepts the commit, though the partition belongs to another member already: that member's offset would be rewound. So the
  last commit runs inside the callback, before the join request, and `Commits` stays suspended until the next assignment.
- Records between assign and pause. aiokafka may fetch and hand out records at the first `await` after an assignment. `take_over` therefore
  pauses every partition first, asks the guard for its plan, and resumes what the plan fetches, all without an `await`.
- Two answers to one doubt. `_ask` sends a heartbeat; meanwhile the rebalance callbacks may come, others commit, and partitions return.
  The answer would then seek back to offsets from before. So `_ask` compares the assignment object before and after each heartbeat, and
  ends if it changed.

What is ugly: aiokafka takes a listener only in `subscribe`, knows only the eager protocol (each rebalance revokes everything first), and
swallows what a callback raises. It is caught here, kept, and raised by the next `receive`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from holdgate.brokers.commits import Commits
from holdgate.brokers.kafka.checks import DuplicateInstanceId, end_of_intake
from holdgate.brokers.kafka.client import Client
from holdgate.brokers.kafka.deliveries import KafkaBatch, KafkaDelivery, Record
from holdgate.brokers.kafka.fetching import Pauses
from holdgate.brokers.partitions import AssignedPartitions
from holdgate.errors import IntakeError
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later, run_beside, wait_at_most

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener


log = logging.getLogger(__name__)

# The part of the rebalance timeout in which we answer; the rest is for the join request to arrive.
_ANSWER_WITHIN = 0.9
# Seconds between two questions to a group that does not answer; a heartbeat is one small request.
_ASK_AGAIN_AFTER = 0.2
# Seconds that the commit inside the callback may always take, even if the guard has used up the time. It took 8 ms.
_COMMIT_AT_LEAST = 1.0
# A join waits for the slowest member to give its partitions back: rebalance_timeout_ms, 10 s by default here. Java's
# max.poll.interval.ms is 5 minutes, but an operator should hear of a member that needs more than a minute and a half of it.
_START_WITHIN = 90.0
# stop() took 3.8 s in the middle of a join; while its coordinator is away it may never return.
_STOP_WITHIN = 10.0
# For a process that is to end before it took anything, or together with its loop. A broker in reach has answered by then; other brokers
# are not waited for.
GIVE_UP_WITHIN = 0.25


# -- The rebalance listener --------------------------------------------------------------------------------------------------------------


class RebalanceTarget(Protocol):
    """What `OwnedListener` calls in the two callbacks."""

    def begin_rebalance(self) -> None:
        """Stop periodic commits and polls. First statement of the revoked callback."""
        ...

    async def give_back(self, revoked: frozenset[TopicPartition]) -> None:
        """End the work of these partitions and commit it."""
        ...

    def take_over(self, assigned: frozenset[TopicPartition]) -> None:
        """Pause what must not be fetched. First statement of the assigned callback, before any await."""
        ...


class OwnedListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no type information
    """Call `target`, then the user's own listener. `failed` gets what `target` raises, because aiokafka would only log it."""

    def __init__(self, target: RebalanceTarget, chained: Any, failed: Callable[[BaseException], None]) -> None:
        self._target: RebalanceTarget | None = target
        self._chained = chained
        self._failed = failed

    def retire(self) -> None:
        """Stop calling `target`. A caller's consumer keeps this object as its listener, and the caller's own is still called."""
        self._target = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self._target is not None:
            try:
                self._target.begin_rebalance()
                await self._target.give_back(frozenset(revoked))
            except Exception as error:  # noqa: BLE001 - see the head of this file
                self._failed(error)
        await self._chain("on_partitions_revoked", revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        # No await before this: from the first await on, a partition that should be paused may hand out records.
        if self._target is not None:
            try:
                self._target.take_over(frozenset(assigned))
            except Exception as error:  # noqa: BLE001 - see the head of this file
                self._failed(error)
        await self._chain("on_partitions_assigned", assigned)

    async def _chain(self, name: str, tps: set[TopicPartition]) -> None:
        if self._chained is not None:
            answer = getattr(self._chained, name)(tps)
            if inspect.isawaitable(answer):
                await answer


# -- Which partitions are ours -----------------------------------------------------------------------------------------------------------


class Membership:
    """Keep `partitions` equal to what the group has assigned to this consumer, and report changes to the guard.

    `changed` is called when there may be something new to pause, resume or poll; `failed` gets an error that ends the intake.
    """

    def __init__(
        self,
        client: Client,
        partitions: AssignedPartitions,
        pauses: Pauses,
        commits: Commits,
        *,
        changed: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._partitions = partitions
        self._pauses = pauses
        self._commits = commits
        self._changed = changed
        self._duplicates = DuplicateInstanceId(client, failed)
        self._token: object | None = None
        self._failed = failed
        self._asking: asyncio.Task[None] | None = None
        self.guard: IntakeListener | None = None
        self.is_rebalancing = True  # no partition is ours before the first assignment

    @property
    def may_poll(self) -> bool:
        """Whether a poll without waiting returns immediately: during a rebalance a poll waits for its end, whatever its timeout."""
        return not self.is_rebalancing and not self._client.is_reassigning

    @property
    def has_changed(self) -> bool:
        """Whether aiokafka's assignment is not the one that we took over."""
        return self._client.assignment_token() is not self._token

    def begin_rebalance(self) -> None:
        self.is_rebalancing = True
        self._commits.suspend()

    async def give_back(self, revoked: frozenset[TopicPartition]) -> None:
        """End the work of these partitions, commit it and drop them, in time for the group whatever the guard and the broker do."""
        sources = self._partitions.sources(revoked)
        if self._client.is_evicted:
            self._duplicates.note_eviction(asyncio.get_running_loop().time())
        if not sources or self.guard is None:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + self._client.rebalance_timeout * _ANSWER_WITHIN
        try:
            if not self._client.is_evicted:
                await wait_at_most(self.guard.revoked(sources), "kafka revoked", end - loop.time())
        finally:
            # Asked again: a heartbeat may have found out about an eviction while the guard was ending its work.
            if self._client.is_evicted:
                self.lose(revoked)
            else:
                await self._commits.revoke(revoked, max(_COMMIT_AT_LEAST, end - loop.time()))
                self._partitions.drop(revoked)

    def take_over(self, assigned: frozenset[TopicPartition]) -> None:
        """Make `assigned` the partitions of this member, all of them."""
        self._token = self._client.assignment_token()
        self.lose(self._partitions.tps() - assigned)  # empty if a callback has revoked the old ones
        self._partitions.add(assigned)
        self._pauses.take_over(Plan())  # an empty plan pauses everything, so a guard that raises leaves nothing fetching
        if self.guard is not None:
            self._pauses.store(self.guard.assigned(self._partitions.sources(assigned)))
        self.is_rebalancing = False
        self._commits.resume()
        self._changed()

    def lose(self, tps: Collection[TopicPartition]) -> None:
        """Drop partitions that were taken away without a chance to finish their work."""
        sources = self._partitions.sources(tps)
        if not sources:
            return
        self._commits.abandon()
        self._partitions.drop(tps)
        if self.guard is not None:
            self.guard.lost(sources)

    def doubt(self) -> None:
        """Lose all partitions until the group confirms this member: others may have them by now."""
        if self.is_rebalancing or not len(self._partitions):
            return
        offsets = {found.tp: found.next_offset(self._client.position(found.tp)) for found in self._partitions}
        log.warning(
            "this process stood still for so long that the group may have given its partitions to other members; "
            "it goes on when the group has answered"
        )
        self.begin_rebalance()
        self.lose(self._partitions.tps())
        self._asking = run_beside(self._ask(offsets), "kafka membership", self._failed)

    def stop(self) -> None:
        """End the question to the group, if one is under way."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, offsets: dict[TopicPartition, int | None]) -> None:
        """Ask until the group answers: if it still knows this member, go on at `offsets`; if the callbacks come first, do nothing.

        Once there is another assignment, `offsets` are older than what others may have committed, and are never used.
        """
        doubted = self._token

        def is_over() -> bool:
            return self._client.assignment_token() is not doubted or self._client.is_evicted

        while not is_over():
            if await self._client.is_member() and not is_over() and not self._client.is_reassigning:
                for tp, offset in offsets.items():
                    if offset is not None:
                        self._client.seek(tp, offset)
                self.take_over(self._client.assignment())
                return
            await asyncio.sleep(_ASK_AGAIN_AFTER)

    def verify(self) -> None:
        """Notice a changed assignment for which no callback came. Called between polls."""
        if self.may_poll and self.has_changed:
            log.warning("the assignment was changed while a guard uses the consumer; unfinished messages are dropped and may come again")
            self.lose(self._partitions.tps())
            self.take_over(self._client.assignment())

    def start_over(self, tp: TopicPartition, batch: list[Record]) -> Sequence[KafkaDelivery | KafkaBatch]:
        """Replace `tp` by a fresh partition that begins with `batch`, whose records do not follow those delivered before."""
        self.lose([tp])
        fresh = self._partitions.begin_anew(tp)
        if self.guard is None:
            return []
        self._pauses.store(self.guard.assigned([fresh.source]))
        self._changed()
        return fresh.delivered(batch) if batch else []


# -- Start and end of the consumer -------------------------------------------------------------------------------------------------------


class ConsumerLifecycle:
    """Start and subscribe one consumer, and stop it or hand it back. Both ends are bounded in time.

    A consumer that is not started is ours: it is started here, and stopped at the end. A started one stays its caller's: it is subscribed
    again with our listener. At the end its positions go back to the first unfinished record, and our pauses are undone.
    """

    def __init__(self, client: Client, partitions: AssignedPartitions, pauses: Pauses) -> None:
        self._client = client
        self._partitions = partitions
        self._pauses = pauses
        self._starting: asyncio.Task[None] | None = None
        self._listener: OwnedListener | None = None
        self._is_ours = True

    def subscribe(self, topics: Collection[str] | None, pattern: str | None, listener: OwnedListener) -> None:
        """Subscribe with `listener` to `topics` or `pattern`. None for both means what the consumer is subscribed to already."""
        self._listener = listener
        pattern = pattern if pattern is not None else self._client.pattern
        self._client.subscribe(topics if topics is not None else self._client.topics, pattern, listener)

    @property
    def is_subscribed_by_others(self) -> bool:
        """Whether the consumer was subscribed again by other code, so that our listener is not called any more."""
        return self._listener is not None and self._client.listener is not self._listener

    async def start(self) -> None:
        """Start the consumer unless it is started. Raises IntakeError with the remedy."""
        self._is_ours = not self._client.is_started
        if not self._is_ours:
            return
        self._starting = begin_later(self._client.start(), "kafka start")
        await asyncio.wait((self._starting,), timeout=_START_WITHIN)
        if not self._starting.done():
            raise IntakeError(
                f"group {self._client.group_id!r} gave no assignment within {_START_WITHIN:g} s: check that its coordinator is up, "
                "and that every member answers a rebalance in time (rebalance_timeout_ms, Java: max.poll.interval.ms)"
            )
        try:
            self._starting.result()
        except KafkaError as error:
            fallback = IntakeError(f"the consumer could not start at {self._client.bootstrap_servers}: {error!r}")
            raise end_of_intake(error, self._client) or fallback from error

    async def release(self, *, given_up: bool = False) -> None:
        """Stop a consumer that is ours; hand back one that is the caller's.

        `given_up` is whether an answer of the broker is not worth waiting for, because opening was cancelled or the loop shuts down.
        """
        within = GIVE_UP_WITHIN if given_up else _STOP_WITHIN
        if self._starting is None and self._client.is_started:
            self._is_ours = False
        if self._starting is not None and not self._starting.done():
            # A short wait all the same: a member that has joined can leave properly, and the others need not wait for a session timeout.
            if given_up:
                await asyncio.wait((self._starting,), timeout=within)
            self._starting.cancel()
            await asyncio.wait((self._starting,), timeout=within)
            if given_up:
                await self._client.cancel_join()
        if self._is_ours:
            await self._stop(within, force=given_up)
        elif not self._client.is_stopped:
            self._hand_back()
        if self._listener is not None:
            self._listener.retire()

    async def _stop(self, within: float, *, force: bool) -> None:
        """Stop the consumer. `force` closes its connections if the broker does not answer in time.

        stop() runs in a task of its own: if it is cancelled at its first step, the member keeps its partitions as long as this process
        lives.
        """
        stopping = begin_later(self._client.stop(), "kafka stop")
        done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done and force:
            self._client.close_connections()
            done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done:
            log.warning("the consumer did not stop within %g s; the group will notice after its session timeout", within)

    def _hand_back(self) -> None:
        self._pauses.undo()
        for partition in self._partitions:
            next_offset = partition.next_offset(self._client.position(partition.tp))
            if next_offset is not None and partition.tp in self._client.assignment():
                self._client.seek(partition.tp, next_offset)
