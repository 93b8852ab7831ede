"""The brokers in memory as a fleet has them: news takes its time, messages are worked out when they are read, and the checker looks on.

The groups, queues and intakes are those of `holdgate.testing.memory`; here is only what a fleet of processes adds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from random import Random
from typing import Any

from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition, Queue, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.ports import IntakeListener
from holdgate.testing.memory.broker import Bell, MemoryBroker
from holdgate.testing.memory.intake import MemoryIntake
from holdgate.testing.memory.message import MemoryDelivery, Message
from holdgate.testing.memory.models import Broker
from holdgate_lab.fleet.checker import Checker
from holdgate_lab.fleet.clock import Process, Schedule
from holdgate_lab.fleet.records import AssignmentRecord, ChannelRecord, Parcel
from holdgate_lab.fleet.traffic import StreamTraffic

GROUP = "fleet"

# Heartbeats go out every few seconds and bring the word of a rebalance; nobody waits for the next one on average longer than this.
_HEARSAY = 0.5
# A poll that finds nothing waits at the broker; it comes back when there is something, and sometimes without.
_POLL_TIMEOUT = 5.0


class FleetBroker(MemoryBroker):
    """A `MemoryBroker` on the fleet's clock. `group_changed` is called when the group has changed, `evicted` with whom it gave up."""

    def __init__(self, schedule: Schedule, checker: Checker, chance: Random, rebalance_timeout: float) -> None:
        super().__init__()
        self.model = Broker(checker)
        self.group = self.model.group(GROUP, rebalance_timeout)
        self.group_changed: Callable[[], None] = lambda: None
        self.evicted: Callable[[Collection[str]], None] = lambda _members: None
        self._schedule = schedule
        self._draw = chance.random
        self._listeners: dict[Bell, asyncio.AbstractEventLoop] = {}
        self._on_its_way: dict[Bell, float] = {}  # to each listener: when it hears the next time
        self._expiry_at: float | None = None

    def now(self) -> float:
        return self._schedule.now

    def watch(self, bell: Bell) -> None:
        self._listeners[bell] = asyncio.get_running_loop()

    def unwatch(self, bell: Bell) -> None:
        self._listeners.pop(bell, None)

    async def joining(self) -> None:
        await asyncio.sleep(_HEARSAY * self._draw())

    def changed(self) -> None:
        """Members hear of it a little later, each at its own time."""
        self.group_changed()
        deadline = self.group.next_deadline()
        if deadline is not None and deadline != self._expiry_at:
            self._expiry_at = deadline
            self._schedule.at(deadline, self._expire_group)
        self._spread(lambda: _HEARSAY * self._draw())

    def arrived(self) -> None:
        """There are messages that nobody has yet: a poll that waits for them comes back soon."""
        self._spread(lambda: 0.001 + 0.01 * self._draw())

    def _spread(self, delay: Callable[[], float]) -> None:
        now = self._schedule.now
        for bell in self._listeners:
            at = now + delay()
            due = self._on_its_way.get(bell)
            if due is None or due <= now or at < due:
                self._on_its_way[bell] = at
                self._schedule.at(at, partial(self._ring, bell))

    def _ring(self, bell: Bell) -> None:
        self._on_its_way.pop(bell, None)
        loop = self._listeners.get(bell)
        if loop is not None:
            bell.ring()

    def _expire_group(self) -> None:
        self._expiry_at = None
        evicted = self.group.expire(self._schedule.now)
        if evicted:
            self.evicted(evicted)
        self.changed()


class FleetIntake(MemoryIntake):
    """A `MemoryIntake` of one process that tells the checker what comes, what is settled, and what is given back.

    `order` is that of its run, `most` the deliveries of one partition that it may have in hand.
    """

    def __init__(
        self,
        broker: FleetBroker,
        process: Process,
        checker: Checker,
        traffic: Mapping[str, StreamTraffic],
        *,
        order: Order,
        most: int,
        **settings: Any,
    ) -> None:
        super().__init__(broker, group=GROUP, poll_timeout=_POLL_TIMEOUT, **settings)
        self._broker = broker
        self._process = process
        self._checker = checker
        self._traffic = traffic
        self._order: Order = order
        self._most = most
        self._group = broker.group
        self._plan = Plan()
        self._records: dict[object, AssignmentRecord | ChannelRecord] = {}  # by assignment or channel, as deliveries name it
        self._newest: dict[Source, AssignmentRecord] = {}

    # -- what the intake tells the guard ----------------------------------------------------------------------------------------------

    async def open(self, listener: IntakeListener) -> None:
        await super().open(_Overheard(listener, self))

    def begins(self, sources: Collection[Source]) -> None:
        """These sources are this worker's from now on."""
        self._newest.clear()
        for source in sources:
            if isinstance(source, Partition):
                start = self._group.committed.get(source, 0)
                self._newest[source] = self._checker.record_of(source, start, self._order)
        self._process.say(f"has {', '.join(map(str, sources)) or 'nothing'} now")

    def gives_back(self) -> None:
        """Nothing runs any more for what is given back; the last commit is next."""
        if self.member in self._group.members:
            records = list(self._newest.values())
            asyncio.get_running_loop().call_soon(_look_at_last_commit, records)
        self._newest.clear()

    def loses(self) -> None:
        """What it had is somebody else's already: nothing is given back."""
        self._newest.clear()

    # -- messages ---------------------------------------------------------------------------------------------------------------------

    async def receive(self) -> Sequence[Delivery[Message]]:
        deliveries = await super().receive()
        for delivery in deliveries:
            self._came(delivery)
        return deliveries

    def parcel(self, delivery: Delivery[Message]) -> Parcel:
        """What the checker knows of a delivery."""
        place = delivery.message.position
        facts = self._traffic[delivery.source.name].facts_at(delivery.source, place)
        assert isinstance(delivery, MemoryDelivery)  # noqa: S101 - for type checkers: this intake gives no other
        return Parcel(delivery.source, place, facts, self._records[delivery.assigned], delivery.position)

    def apply(self, plan: Plan) -> None:
        self._plan = plan
        super().apply(plan)

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        if not self._process.is_alive:
            return
        assignment: Any = getattr(delivery, "assigned", None)
        if isinstance(delivery.source, Partition) and not assignment.is_ours:
            self._checker.complain("stale", f"{delivery.source}@{delivery.position} is settled, and its assignment is gone")
        super().settle(delivery, settlement)

    @property
    def held(self) -> Sequence[str]:
        """The topics and queues that are held here, one for each source."""
        return [source.name for source, wanted in self._plan.sources.items() if wanted.held]

    def held_for(self, reason: str) -> Sequence[Source]:
        """The partitions and queues that are held here, among others for this reason."""
        return [source for source, wanted in self._plan.sources.items() if reason in wanted.reasons]

    def _came(self, delivery: Delivery[Message]) -> None:
        source = delivery.source
        assignment: Any = getattr(delivery, "assigned", None)
        if isinstance(source, Queue):
            if assignment not in self._records:
                self._records[assignment] = ChannelRecord(self._checker.queues[source], source, self._checker.complain)
            self._checker.counted(source, delivery.message.position, getattr(delivery, "delivery_count", 0))
            return
        if assignment not in self._records:
            self._records[assignment] = self._newest[source]
        if assignment.inflight.span() > self._most:
            self._checker.complain("memory", f"{source} has {assignment.inflight.span()} deliveries in hand, and {self._most} is the most")

    # -- the end ----------------------------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        with self._checker.excused():
            super().drop()
        self._broker.arrived()

    async def close(self) -> None:
        if not self._process.is_alive:
            return
        was_member = self.member in self._group.members
        records = list(self._newest.values())
        with self._checker.excused() if self.can_reject else nullcontext():  # a queue's channels close in one step
            await super().close()
        if was_member and self.is_committed:
            _look_at_last_commit(records)
        self._broker.changed()
        self._broker.arrived()


class _Overheard:
    """The listener that a guard gives to an intake, and what the checker hears of it."""

    def __init__(self, listener: IntakeListener, intake: FleetIntake) -> None:
        self._listener = listener
        self._intake = intake

    def assigned(self, sources: Collection[Source]) -> Plan:
        self._intake.begins(sources)
        return self._listener.assigned(sources)

    async def revoked(self, sources: Collection[Source]) -> None:
        await self._listener.revoked(sources)
        self._intake.gives_back()

    def lost(self, sources: Collection[Source]) -> None:
        self._intake.loses()
        self._listener.lost(sources)


def _look_at_last_commit(records: Sequence[AssignmentRecord]) -> None:
    for record in records:
        record.was_given_back()
