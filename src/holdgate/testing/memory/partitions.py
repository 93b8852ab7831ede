"""The Kafka half of the in-memory intake: one member of a consumer group, with the eager protocol.

One task follows the group, as a client's coordinator does beside the polls: it gives back when a rebalance begins, takes over what the
next generation brings, and comes back after an eviction. Between these everything is a plain call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from holdgate.errors import IntakeError
from holdgate.flow.inbox import Order
from holdgate.flow.inflight import InFlight
from holdgate.flow.message import Backlog, Delivery, Partition, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.ports import IntakeListener
from holdgate.tasks import begin_later
from holdgate.testing.memory.bell import Bell
from holdgate.testing.memory.broker import MemoryBroker
from holdgate.testing.memory.delivery import MemoryDelivery
from holdgate.testing.memory.message import Message


class _Assignment:
    """One partition for as long as it is ours without a break."""

    __slots__ = ("committed", "inflight", "is_ours")

    def __init__(self, start: int) -> None:
        self.is_ours = True
        self.inflight = InFlight()
        self.committed = start  # where it began is no news to the group


# What one poll gives of a partition at most, or one message: aiokafka's `max_partition_fetch_bytes`.
_FETCH = 1024 * 1024


class PartitionSide:
    """Reads topics as one member of `group`; commits the watermark every `commit_every` seconds, on a hold, a revocation and a flush."""

    order: Order = "source"

    def __init__(
        self, broker: MemoryBroker, topics: Collection[str], group: str, *, inbox: int, commit_every: float, rebalance_timeout: float
    ) -> None:
        self.names = tuple(topics)
        self.bell = Bell()
        self.inbox = inbox
        self._broker = broker
        self._group_name = group
        self._commit_every = commit_every
        self._rebalance_timeout = rebalance_timeout
        self.is_committed = True
        self.member = broker.new_name("member")
        self._assigned: dict[Partition, _Assignment] = {}
        self._plan = Plan()
        self._generation = 0
        self._closing = False
        self._commit_timer: asyncio.TimerHandle | None = None

    def start(self, listener: IntakeListener) -> None:
        """Join the group. The first assignment comes a little later, as with a real client."""
        self._listener = listener
        self._group = self._broker.model.group(self._group_name)
        self._group.rebalance_timeout = self._rebalance_timeout
        self._consumer = self._broker.model.consumer(self._group_name)
        self._broker.watch(self.bell)
        self._group.join(self.member, self.names, self._broker.now())
        self._broker.changed()
        self._follower = begin_later(self._follow(), f"memory {self.member}")

    def check(self) -> None:
        """Raises IntakeError when this cannot go on: a topic is gone, or the listener failed."""
        missing = [name for name in self.names if name not in self._broker.model.topics]
        if missing:
            raise IntakeError(f"the in-memory broker has no topic {missing[0]!r}; MemoryBroker(topics={{{missing[0]!r}: 1}}) makes it")

    def failure(self) -> BaseException | None:
        """What ended the task that follows the group; None while it lives."""
        if self._follower.cancelled():
            return None if self._closing else IntakeError(f"the task that follows group {self._group_name!r} was cancelled from outside")
        return self._follower.exception() if self._follower.done() else None

    def take(self) -> Sequence[MemoryDelivery]:
        """What one poll gives. Nothing from the moment a rebalance begins until the next assignment."""
        if self._group.must_rejoin(self.member) or self.member not in self._group.members:
            return ()
        self._match()
        deliveries: list[MemoryDelivery] = []
        for partition, messages in self._consumer.poll(self.inbox, _FETCH):
            assignment = self._assigned[partition]
            assignment.inflight.delivered_many([message.position for message in messages])
            deliveries += [MemoryDelivery(partition, message, message.position, assignment) for message in messages]
        return deliveries

    def apply(self, plan: Plan) -> None:
        """Pause and resume at once; commit what is finished when something is held that was not."""
        held_anew = any(plan.of(source).held and not self._plan.of(source).held for source in self._assigned)
        self._plan = plan
        if self._match():
            self.bell.ring()
        if held_anew:
            self._commit()

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        """Finish it. What is not finished comes again, to the next owner of the partition."""
        assignment: object = getattr(delivery, "assigned", None)
        if not isinstance(assignment, _Assignment) or not assignment.is_ours:
            return
        if settlement is Settlement.REJECT:
            raise IntakeError(f"{delivery.source}@{delivery.position}: a partition cannot reject; give the run dead_letters")
        assignment.inflight.finished(delivery.position)
        if self._commit_timer is None:
            self._commit_timer = asyncio.get_running_loop().call_later(self._commit_every, self._commit)

    def flush(self) -> None:
        """Commit every watermark now."""
        self._commit()

    def backlog(self) -> Mapping[Source, Backlog]:
        """What is unfinished, in hand or still in the log, per assigned partition."""
        return {partition: self._backlog(partition, assignment.inflight) for partition, assignment in self._assigned.items()}

    def drop(self) -> None:
        """Be evicted, as after a session timeout."""
        self._group.leave(self.member, self._broker.now())

    def vanish(self) -> None:
        """Commit nothing any more, and say nothing to the group."""
        self._closing = True
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        for assignment in self._assigned.values():
            assignment.is_ours = False
        self._assigned.clear()
        self._broker.unwatch(self.bell)

    def break_channels(self) -> None:
        """There are none."""

    async def stop(self) -> None:
        """Commit and leave the group; waits for a revocation that is under way, at most the rebalance timeout."""
        self._closing = True
        self.bell.ring()
        await asyncio.wait({self._follower}, timeout=self._rebalance_timeout)
        self._follower.cancel()
        self._commit()
        self._forget(lost=False)
        self._broker.unwatch(self.bell)
        self._group.leave(self.member, self._broker.now())
        self._broker.changed()

    async def _follow(self) -> None:
        await self._broker.joining()
        while not self._closing:
            if self.member not in self._group.members:
                self._come_back()
            elif self._group.must_rejoin(self.member):
                await self._give_back()
            elif not self._group.is_rebalancing and self._generation != self._group.generation:
                self._take_over()
            else:
                await self.bell.wait()

    def _take_over(self) -> None:
        partitions = self._group.assignment(self.member)
        self._generation = self._group.generation
        self._consumer.assign(partitions)
        self._assigned = {partition: _Assignment(self._consumer.position(partition)) for partition in partitions}
        # The assignment has forgotten every pause: the plan is applied in the same step, before anything can be read.
        self.apply(self._listener.assigned(partitions))
        self.bell.ring()  # a receive that waits may find something now

    async def _give_back(self) -> None:
        if self._assigned:
            await self._listener.revoked(tuple(self._assigned))
        self._commit()
        # Too slow to give back in time: evicted meanwhile, and the commit above was refused.
        self._forget(lost=self.member not in self._group.members)
        self._group.rejoin(self.member)
        self._broker.changed()

    def _come_back(self) -> None:
        gone = tuple(self._assigned)
        self._forget(lost=True)
        if gone:
            self._listener.lost(gone)
        self._group.join(self.member, self.names, self._broker.now())
        self._broker.changed()

    def _forget(self, *, lost: bool) -> None:
        for assignment in self._assigned.values():
            assignment.is_ours = False
        self._assigned.clear()
        self._consumer.unassign(lost=lost)

    def _match(self) -> bool:
        """Make the pauses those of the plan; returns whether something reads again."""
        resumed = False
        for partition in self._consumer.assigned:
            if not self._plan.of(partition).fetch:
                self._consumer.pause(partition)
            elif partition in self._consumer.paused:
                self._consumer.resume(partition)
                resumed = True
        return resumed

    def _commit(self) -> None:
        if self._commit_timer is not None:
            self._commit_timer.cancel()
            self._commit_timer = None
        offsets = {
            partition: offset
            for partition, assignment in self._assigned.items()
            if (offset := self._next_offset(partition, assignment)) > assignment.committed
        }
        self.is_committed = not offsets or self._group.commit(self.member, self._generation, offsets)
        if self.is_committed:
            for partition, offset in offsets.items():
                self._assigned[partition].committed = offset

    def _next_offset(self, partition: Partition, assignment: _Assignment) -> int:
        position = assignment.inflight.next_position
        if position is None:
            return -1
        # With nothing unfinished the reader's own position is as safe, and stands behind a gap at the end.
        return position if assignment.inflight.unfinished else self._consumer.position(partition)

    def _backlog(self, partition: Partition, inflight: InFlight) -> Backlog:
        log = self._broker.model.log(partition)
        position = self._consumer.position(partition)
        oldest = log.read(position if inflight.next_position is None else inflight.next_position, 1)
        age = max(0.0, self._broker.now() - oldest[0].timestamp) if oldest else None
        return Backlog(inflight.unfinished + log.count_from(position), age)
