"""Membership of the consumer group: joining, what a rebalance asks, and what is said to the guard.

The rebalance listener that the intake subscribes with; a user's own is called after ours.

aiokafka can only be given a listener in `subscribe`, knows only the eager protocol (every rebalance takes everything away first), and
swallows what callbacks raise: it is caught here, kept, and raised by the next `receive`.

What is ours, and what the guard is told of it: rebalances, evictions, and assignments that changed behind our back.

    began      `is_rebalancing` from the first statement of on_partitions_revoked: no poll without waiting, no commit by itself
    given back the guard ends what runs, then its watermarks are committed, inside the callback; then the assignments die
    thrown out the same callback, but the generation is gone: others may own the partitions, so nothing is committed, the guard is told
    in doubt   the process stood still: everything is given up until a heartbeat says that the group still knows us (or the callbacks come)
    taken over fresh assignments; before any await of on_partitions_assigned everything that the plan does not fetch is paused

`assignment()` is no evidence: it names old partitions during a rebalance and after an eviction. Only the callbacks count, and the
identity of aiokafka's assignment object, which tells of a change without a callback (a second `assign()`).

The two ends of an intake's life with its consumer: take it in hand, and give it back or stop it. Both are bounded.

An unstarted consumer is ours: started here, stopped at the end. A started one stays its caller's: it is subscribed again with our
listener, and at the end it is put back to the first record that was not finished, with nothing of ours paused.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from holdgate.brokers.kafka.assignments import AssignedPartitions, KafkaBatch, KafkaDelivery, Record
from holdgate.brokers.kafka.checks import Duplicates, end_of_intake
from holdgate.brokers.kafka.client import Client
from holdgate.brokers.kafka.commits import Commits
from holdgate.brokers.kafka.fetching import Pauses
from holdgate.brokers.tasks import run_beside
from holdgate.errors import IntakeError
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener


class RebalanceTarget(Protocol):
    """What the intake does in the two callbacks."""

    def begin_rebalance(self) -> None:
        """First statement of the revoked callback: from here on nothing is committed by itself, and no poll is begun."""
        ...

    async def give_back(self, revoked: frozenset[TopicPartition]) -> None:
        """The partitions go away in order: end their work and commit it."""
        ...

    def take_over(self, assigned: frozenset[TopicPartition]) -> None:
        """First statement of the assigned callback: pause what must not be fetched, before any await."""
        ...


class OwnedListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no type information
    """Reports to `target`, then to the user's own listener. `failed` gets what ours raises, since aiokafka would only log it."""

    def __init__(self, target: RebalanceTarget, chained: Any, failed: Callable[[BaseException], None]) -> None:
        self._target: RebalanceTarget | None = target
        self._chained = chained
        self._failed = failed

    def retire(self) -> None:
        """The intake has closed; a caller's consumer keeps this object subscribed, as a way to the caller's own listener."""
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
        # No await before this: a partition that should be paused and is not leaks records from the first await on.
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
        assignments: AssignedPartitions,
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
        self._asking = run_beside(self._ask(places), "kafka membership", self._failed)

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


# A join waits for the slowest member to give its partitions back: rebalance_timeout_ms, 10 s by default here; Java's
# max.poll.interval.ms is 5 minutes, but a member that needs a minute and a half of it is one to be told of.
_START_WITHIN = 90.0
# stop() took 3.8 s in the middle of a join; with its coordinator away it may never return.
_STOP_WITHIN = 10.0
# A process that is to go before it had anything in hand, or with its loop: a broker in reach has answered by then, others are left.
GIVE_UP_WITHIN = 0.25


class Opening:
    """One consumer, taken in hand and let go."""

    def __init__(self, client: Client, assignments: AssignedPartitions, pauses: Pauses) -> None:
        self._client = client
        self._assignments = assignments
        self._pauses = pauses
        self._starting: asyncio.Task[None] | None = None
        self._listener: OwnedListener | None = None
        self._is_ours = True

    def subscribe(self, topics: Collection[str] | None, pattern: str | None, listener: OwnedListener) -> None:
        """Subscribe with `listener`: to these, or to what the consumer was subscribed to already."""
        self._listener = listener
        pattern = pattern if pattern is not None else self._client.pattern
        self._client.subscribe(topics if topics is not None else self._client.topics, pattern, listener)

    @property
    def is_subscribed_by_others(self) -> bool:
        """Whether somebody subscribed the consumer again, so that our listener hears nothing any more."""
        return self._listener is not None and self._client.listener is not self._listener

    async def start(self) -> None:
        """Start a consumer that is not started. Raises IntakeError with the remedy."""
        self._is_ours = not self._client.is_started
        if not self._is_ours:
            return
        self._starting = begin_later(self._client.start(), "kafka start")
        await asyncio.wait((self._starting,), timeout=_START_WITHIN)
        if not self._starting.done():
            raise IntakeError(
                f"group {self._client.group_id!r} gave no assignment within {_START_WITHIN:g} s: is its coordinator up, "
                "and does every member answer a rebalance in time (rebalance_timeout_ms, Java: max.poll.interval.ms)?"
            )
        try:
            self._starting.result()
        except KafkaError as error:
            fallback = IntakeError(f"the consumer could not start at {self._client.bootstrap_servers}: {error!r}")
            raise end_of_intake(error, self._client) or fallback from error

    async def let_go(self, *, given_up: bool = False) -> None:
        """Stop a consumer that is ours; hand back one that is the caller's. `given_up`: nobody waits any more, as it was
        being opened, or the loop shuts down."""
        within = GIVE_UP_WITHIN if given_up else _STOP_WITHIN
        if self._starting is None and self._client.is_started:
            self._is_ours = False
        if self._starting is not None and not self._starting.done():
            if given_up:  # a group that answers now is left in order, and the others need not wait for a session timeout
                await asyncio.wait((self._starting,), timeout=within)
            self._starting.cancel()
            await asyncio.wait((self._starting,), timeout=within)
            if given_up:
                await self._client.give_up_joining()
        if self._is_ours:
            await self._stop(within, cuts=given_up)
        elif not self._client.is_stopped:
            self._hand_back()
        if self._listener is not None:
            self._listener.retire()

    async def _stop(self, within: float, *, cuts: bool) -> None:
        """In a task of its own: cancelled at its first step, stop() leaves a member that keeps its partitions as long as we live. `cuts`:
        the broker's answer is not worth waiting for, and the connections are closed under it."""
        stopping = begin_later(self._client.stop(), "kafka stop")
        done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done and cuts:
            self._client.cut()
            done, _ = await asyncio.wait((stopping,), timeout=within)
        if not done:
            log.warning("the consumer did not stop within %g s; the group will notice after its session timeout", within)

    def _hand_back(self) -> None:
        self._pauses.give_up()
        for assignment in self._assignments:
            next_offset = assignment.next_offset(self._client.position(assignment.tp))
            if next_offset is not None and assignment.tp in self._client.assignment():
                self._client.seek(assignment.tp, next_offset)
