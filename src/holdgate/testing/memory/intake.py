"""The in-memory intake: `holdgate.ports.Intake` over a `MemoryBroker`, with Kafka's semantics for topics and RabbitMQ's for queues."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.ports import IntakeListener
from holdgate.testing.memory.broker import MemoryBroker
from holdgate.testing.memory.delivery import MemoryDelivery
from holdgate.testing.memory.message import Message
from holdgate.testing.memory.partitions import PartitionSide
from holdgate.testing.memory.queues import QueueSide


class MemoryIntake:
    """Delivers from a `MemoryBroker`, as a Kafka consumer from `topics` or as a RabbitMQ one from `queues`; exactly one of the two.

    Topics: a member of `group`; one receive gives at most `inbox` messages of each partition (500, as `KafkaIntake`), and at most 1 MiB of
    them or one message; the watermark is committed every `commit_every` seconds (1.0, as `KafkaIntake`), and on a hold, a revocation, a
    flush and at the end; whoever needs longer than `rebalance_timeout` seconds to give back is evicted (10, aiokafka's default). Queues: at
    most `prefetch` messages unsettled per queue (50, as `RabbitMQIntake`); acks go out in runs, a turn of the loop later.
    `poll_timeout` is how many seconds an empty receive waits: 0.05 keeps a test under real time quick. Opened once, closed for good.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        topics: Collection[str] = (),
        queues: Collection[str] = (),
        group: str = "holdgate",
        inbox: int = 500,
        prefetch: int = 50,
        poll_timeout: float = 0.05,
        commit_every: float = 1.0,
        rebalance_timeout: float = 10.0,
    ) -> None:
        if bool(topics) == bool(queues):
            raise SettingsError(f"MemoryIntake reads topics or queues, one of them: topics={list(topics)}, queues={list(queues)}")
        if min(inbox, prefetch) < 1 or min(poll_timeout, commit_every, rebalance_timeout) <= 0:
            raise SettingsError("inbox and prefetch are 1 or more, poll_timeout, commit_every and rebalance_timeout above 0 seconds")
        self.poll_timeout = poll_timeout
        self._rebalance_timeout = rebalance_timeout
        self._side: PartitionSide | QueueSide = (
            PartitionSide(broker, topics, group, inbox=inbox, commit_every=commit_every, rebalance_timeout=rebalance_timeout)
            if topics
            else QueueSide(broker, queues, prefetch=prefetch)
        )
        self._is_open = False
        self._was_opened = False

    @property
    def names(self) -> Collection[str]:
        """The topics or queues."""
        return self._side.names

    @property
    def order(self) -> Order:
        """What the broker promises: per source, or nothing for queues without a single active consumer."""
        return self._side.order

    @property
    def inbox(self) -> int:
        """`inbox` for topics, `prefetch` for queues."""
        return self._side.inbox

    @property
    def rebalance_timeout(self) -> float:
        """Seconds that a member has to give back."""
        return self._rebalance_timeout

    @property
    def member(self) -> str:
        """Its name in the group; empty for queues, which have no groups."""
        return self._side.member

    @property
    def is_committed(self) -> bool:
        """Whether the group has accepted the last commit; for queues, which have none, always."""
        return self._side.is_committed

    @property
    def can_reject(self) -> bool:
        """A queue's message may be refused, a partition's not."""
        return isinstance(self._side, QueueSide)

    async def open(self, listener: IntakeListener) -> None:
        """Join the group or open the channels. Raises IntakeError for an unknown name, and when it was open before."""
        if self._was_opened:
            raise IntakeError("this MemoryIntake was opened before; make a new one")
        self._side.check()
        self._is_open = self._was_opened = True
        self._side.start(listener)

    async def receive(self) -> Sequence[Delivery[Message]]:
        """The next deliveries, or none after `poll_timeout` seconds. Raises IntakeError when a topic or queue was deleted."""
        if not self._was_opened:
            raise IntakeError("this MemoryIntake is not open")
        # A client with a full buffer lets the others run as well; but never between taking and returning, where a revocation could
        # slip in and what it took away would still be handed out.
        await asyncio.sleep(0)
        deliveries = self._take()
        if not deliveries:
            await self._side.bell.wait(self.poll_timeout)
            deliveries = self._take()
        return deliveries

    def apply(self, plan: Plan) -> None:
        """Read from now on what the plan lets be read."""
        if self._is_open:
            self._side.apply(plan)

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        """Record a settlement; one of an earlier assignment or channel is ignored. Raises IntakeError for REJECT on a partition."""
        # Also while it closes: a revocation may be under way, whose last results are still to be committed.
        self._side.settle(delivery, settlement)

    async def flush(self) -> None:
        """Commit the watermarks, or send the acks; a receive that waits returns."""
        if self._is_open:
            self._side.flush()
            self._side.bell.ring()

    async def backlog(self) -> Mapping[Source, Backlog]:
        """What is not settled yet, per assigned source."""
        return self._side.backlog() if self._is_open else {}

    async def close(self) -> None:
        """Flush and leave; what is unsettled comes again to the next consumer. Idempotent, and fine when it never opened."""
        if self._is_open:
            self._is_open = False
            await self._side.stop()
            self._side.bell.ring()

    def drop(self) -> None:
        """Lose the membership or the channels; for `MemoryBroker.drop`."""
        if self._is_open:
            self._side.drop()

    def vanish(self) -> None:
        """Be gone as a process that was killed: what was recorded does not go out, channels close, the group finds out by itself."""
        if self._is_open:
            self._is_open = False
            self._side.vanish()

    def break_channels(self) -> None:
        """The broker closes the channels, and this side does not know yet: `drop` tells it. Nothing for topics."""
        if self._is_open:
            self._side.break_channels()

    def _take(self) -> Sequence[MemoryDelivery]:
        if not self._is_open:
            return ()
        self._side.check()
        failure = self._side.failure()
        if failure is not None:
            raise IntakeError("the listener failed while the group changed") from failure
        return self._side.take()
