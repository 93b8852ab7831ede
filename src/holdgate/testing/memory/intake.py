"""The in-memory intake: `holdgate.ports.Intake` over a `MemoryBroker`, with Kafka's semantics for topics and RabbitMQ's for queues.

The Kafka half is one member of a consumer group, with the eager protocol. One task follows the group, as a client's coordinator does
beside the polls. The task gives back when a rebalance begins, takes over what the next generation brings, and joins again after an
eviction. Everything else is a plain call. The RabbitMQ half has one channel per queue, acks that go out in runs, and redelivery after a
lost channel.

`MemoryDeadLetters` is where dead letters go in a test: a list, which can be made to fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.inbox import Order
from holdgate.flow.inflight import InFlight
from holdgate.flow.message import Backlog, DeadLetter, Delivery, Partition, Queue, Settlement, Source, own_headers
from holdgate.flow.plan import Plan
from holdgate.ports import IntakeListener
from holdgate.tasks import begin_later
from holdgate.testing.memory.broker import Bell, MemoryBroker
from holdgate.testing.memory.message import MemoryDelivery, Message
from holdgate.testing.memory.models import Channel

# -- topics ---------------------------------------------------------------------------------------------------------------------------


class _Assignment:
    """One partition for as long as it is ours without a break."""

    __slots__ = ("committed", "inflight", "is_ours")

    def __init__(self, start: int) -> None:
        self.is_ours = True
        self.inflight = InFlight()
        self.committed = start  # the group knows where it began


# One poll gives at most so many bytes of a partition, or one message: aiokafka's `max_partition_fetch_bytes`.
_FETCH = 1024 * 1024


class PartitionSide:
    """Reads topics as one member of `group`. Commits the watermark every `commit_every` seconds, on a hold, a revocation and a flush."""

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
        """Raise IntakeError when a topic does not exist, or is gone."""
        missing = [name for name in self.names if name not in self._broker.model.topics]
        if missing:
            raise IntakeError(f"the in-memory broker has no topic {missing[0]!r}; MemoryBroker(topics={{{missing[0]!r}: 1}}) makes it")

    def failure(self) -> BaseException | None:
        """Return what ended the task that follows the group. None means that the task runs, or ended well."""
        if self._follower.cancelled():
            return None if self._closing else IntakeError(f"the task that follows group {self._group_name!r} was cancelled from outside")
        return self._follower.exception() if self._follower.done() else None

    def take(self) -> Sequence[MemoryDelivery]:
        """Return what one poll gives. From the beginning of a rebalance to the next assignment that is nothing."""
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
        """Pause and resume immediately. Commit what is finished when a source is held that was not held before."""
        held_anew = any(plan.of(source).held and not self._plan.of(source).held for source in self._assigned)
        self._plan = plan
        if self._match():
            self.bell.ring()
        if held_anew:
            self._commit()

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        """Mark a delivery as finished. What is not finished comes again, to the next owner of the partition."""
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
        """Return what is unfinished, in hand or still in the log, per assigned partition."""
        return {partition: self._backlog(partition, assignment.inflight) for partition, assignment in self._assigned.items()}

    def way_of_rejected(self, name: str) -> str:
        """Return what a rejected message does: a partition cannot get rid of one."""
        return f"block the partitions of {name!r}"

    def drop(self) -> None:
        """Leave the group as a member that is evicted after a session timeout."""
        self._group.leave(self.member, self._broker.now())

    def vanish(self) -> None:
        """Stop without a commit, and without leaving the group."""
        self._closing = True
        if self._commit_timer is not None:
            self._commit_timer.cancel()
        for assignment in self._assigned.values():
            assignment.is_ours = False
        self._assigned.clear()
        self._broker.unwatch(self.bell)

    def break_channels(self) -> None:
        """Do nothing: a member of a group has no channels."""

    async def stop(self) -> None:
        """Commit and leave the group, after waiting for a revocation that is under way, at most for the rebalance timeout."""
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
        # The new assignment has forgotten every pause, so the plan is applied in the same step, before anything can be read.
        self.apply(self._listener.assigned(partitions))
        self.bell.ring()  # a receive that waits may find something now

    async def _give_back(self) -> None:
        if self._assigned:
            await self._listener.revoked(tuple(self._assigned))
        self._commit()
        # A member that was too slow to give back is evicted meanwhile, and the commit above was refused.
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
        """Make the pauses those of the plan, and return whether a partition was resumed."""
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
        # With nothing unfinished the reader's own position is equally safe, and it stands behind a gap at the end.
        return position if assignment.inflight.unfinished else self._consumer.position(partition)

    def _backlog(self, partition: Partition, inflight: InFlight) -> Backlog:
        log = self._broker.model.log(partition)
        position = self._consumer.position(partition)
        oldest = log.read(position if inflight.next_position is None else inflight.next_position, 1)
        age = max(0.0, self._broker.now() - oldest[0].timestamp) if oldest else None
        return Backlog(inflight.unfinished + log.count_from(position), age)


# -- queues ---------------------------------------------------------------------------------------------------------------------------


class _Line:
    """One queue by one channel, until that channel closes."""

    __slots__ = ("channel", "recorded")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.recorded: dict[int, Settlement] = {}  # by delivery tag; what is on its way to the broker


class QueueSide:
    """Reads queues with a window of `prefetch` unsettled messages each."""

    member = ""
    is_committed = True

    def __init__(self, broker: MemoryBroker, queues: Collection[str], *, prefetch: int) -> None:
        self.names = tuple(queues)
        self.bell = Bell()
        self.inbox = prefetch
        self._broker = broker
        self._lines: dict[Queue, _Line] = {}
        self._plan = Plan()
        self._run: asyncio.Handle | None = None
        self._reconnect: asyncio.Handle | None = None

    @property
    def order(self) -> Order:
        """Per source where every queue has a single active consumer, else none."""
        queues = self._broker.model.queues
        return "source" if all(name in queues and queues[name].settings.single_active for name in self.names) else "none"

    def start(self, listener: IntakeListener) -> None:
        """Open the channels."""
        self._listener = listener
        self._broker.watch(self.bell)
        self._connect()

    def check(self) -> None:
        """Raise IntakeError when a queue does not exist, or is gone."""
        missing = [name for name in self.names if name not in self._broker.model.queues]
        if missing:
            raise IntakeError(f"the in-memory broker has no queue {missing[0]!r}; MemoryBroker(queues=[{missing[0]!r}]) makes it")

    def failure(self) -> BaseException | None:
        """Return None, because this side has no task that could fail."""
        return None

    def take(self) -> Sequence[MemoryDelivery]:
        """Return what has arrived: of each queue that may be read, as much as its window has room for."""
        return [
            MemoryDelivery(queue, queued.message, tag, line, redelivered=queued.redelivered, delivery_count=queued.delivery_count)
            for queue, line in self._lines.items()
            if self._plan.of(queue).fetch
            for tag, queued in line.channel.take()
        ]

    def apply(self, plan: Plan) -> None:
        """Read only what the plan fetches, from now on. What is passed takes no room of the window."""
        opened = any(plan.of(queue).fetch and not self._plan.of(queue).fetch for queue in self._lines)
        widened = any(plan.of(queue).passed > self._plan.of(queue).passed for queue in self._lines)
        self._plan = plan
        for queue, line in self._lines.items():
            line.channel.widen(plan.of(queue).passed)
        if opened or widened:
            self.bell.ring()

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        """Record a settlement, which goes out with the next turn of the loop. Of two settlements the first counts."""
        line: object = getattr(delivery, "assigned", None)
        if not isinstance(line, _Line) or delivery.position not in line.channel.unacked:
            return
        line.recorded.setdefault(delivery.position, settlement)
        if self._run is None:
            self._run = asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send everything recorded."""
        if self._run is not None:
            self._run.cancel()
            self._run = None
        for line in [line for line in self._lines.values() if line.recorded]:
            recorded, line.recorded = line.recorded, {}
            for tag in sorted(recorded):
                _send(line.channel, tag, recorded[tag])
            self._broker.changed()

    def backlog(self) -> Mapping[Source, Backlog]:
        """Return what is not settled per queue, including other consumers' shares. What was recorded counts as settled."""
        return {queue: self._backlog(queue, line) for queue, line in self._lines.items()}

    def way_of_rejected(self, name: str) -> str:
        """Return where rejected messages of this queue go."""
        grave = self._broker.model.queues[name].settings.dead_letters
        return "are dropped: the queue has no dead letter exchange" if grave is None else f"go to queue {grave!r}"

    def drop(self) -> None:
        """Lose every channel, and open new ones a turn of the loop later, as a robust connection does."""
        gone = tuple(self._lines)
        if not gone:
            return  # the last reconnect is still to come
        for line in self._lines.values():
            line.channel.close()
        self._lines.clear()
        self._listener.lost(gone)
        self._reconnect = asyncio.get_running_loop().call_soon(self._connect)

    def vanish(self) -> None:
        """Stop without sending what is recorded. The broker closes the channels."""
        if self._reconnect is not None:
            self._reconnect.cancel()
        self.break_channels()
        self._lines.clear()
        self._broker.unwatch(self.bell)

    def break_channels(self) -> None:
        """Close every channel from the broker's side. What is recorded for them is lost."""
        for line in self._lines.values():
            line.recorded.clear()
            line.channel.close()

    async def stop(self) -> None:
        """Send everything recorded. Give the rest back in order, uncounted where the queue allows that."""
        if self._reconnect is not None:
            self._reconnect.cancel()
        self.flush()
        for queue, line in self._lines.items():
            if not self._counts_nacks(queue):
                line.channel.give_back()
            line.channel.close()
        self._lines.clear()
        self._broker.unwatch(self.bell)
        self._broker.changed()

    def _connect(self) -> None:
        queues = self._broker.model.queues
        self._lines = {Queue(name): _Line(queues[name].open(self.inbox)) for name in self.names if name in queues}
        self.apply(self._listener.assigned(tuple(self._lines)))
        self.bell.ring()  # a receive that waits may find something now

    def _counts_nacks(self, queue: Queue) -> bool:
        stored = self._broker.model.queues.get(queue.name)
        return stored is None or stored.settings.nack_counts

    def _backlog(self, queue: Queue, line: _Line) -> Backlog:
        settled = {line.channel.unacked[tag].message.position for tag in line.recorded}
        waiting = [message for message in self._broker.waiting(queue) if message.position not in settled]
        age = max(0.0, self._broker.now() - min(message.timestamp for message in waiting)) if waiting else None
        return Backlog(len(waiting), age)


def _send(channel: Channel, tag: int, settlement: Settlement) -> None:
    if settlement is Settlement.ACK:
        channel.ack(tag)
    else:
        channel.nack(tag, requeue=False)


# -- the intake over either -----------------------------------------------------------------------------------------------------------


class MemoryIntake:
    """Delivers from a `MemoryBroker`, as a Kafka consumer from `topics` or as a RabbitMQ one from `queues`.

    - `topics`, `queues`: what is read. Exactly one of the two must be given.
    - `group`: topics: the consumer group that the intake joins.
    - `inbox`: topics: how many messages of each partition one receive gives at most (500, as `KafkaIntake`). They are at most 1 MiB, or
      one message.
    - `prefetch`: queues: how many messages of each queue may be unsettled (50, as `RabbitMQIntake`). Acks go out in runs, a turn of the
      loop later.
    - `poll_timeout`: how many seconds an empty receive waits. 0.05 keeps a test under real time quick.
    - `commit_every`: topics: seconds between two commits of the watermark (1.0, as `KafkaIntake`). A hold, a revocation, a flush and the
      end commit as well.
    - `rebalance_timeout`: topics: seconds after which a member that has not given back is evicted (10, aiokafka's default).

    Opened once, and closed for good.
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
        self.group = group if topics else ""
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
    def has_keys(self) -> bool:
        """Whether messages have a key of their own: those of topics do."""
        return isinstance(self._side, PartitionSide)

    @property
    def rebalance_timeout(self) -> float:
        """The seconds that a member has to give back."""
        return self._rebalance_timeout

    @property
    def member(self) -> str:
        """The intake's name in the group; empty for queues, which have no groups."""
        return self._side.member

    @property
    def is_committed(self) -> bool:
        """Whether the group has accepted the last commit; for queues, which have none, always."""
        return self._side.is_committed

    @property
    def can_reject(self) -> bool:
        """Whether messages can be rejected: a queue's can, a partition's cannot."""
        return isinstance(self._side, QueueSide)

    async def open(self, listener: IntakeListener) -> None:
        """Join the group or open the channels. Raises IntakeError for an unknown name, and when it was open before."""
        if self._was_opened:
            raise IntakeError("this MemoryIntake was opened before; make a new one")
        self._side.check()
        self._is_open = self._was_opened = True
        self._side.start(listener)

    async def receive(self) -> Sequence[Delivery[Message]]:
        """Return the next deliveries, or none after `poll_timeout` seconds. Raises IntakeError when a topic or queue was deleted."""
        if not self._was_opened:
            raise IntakeError("this MemoryIntake is not open")
        # A client with a full buffer lets the other tasks run as well. It must never do so between taking and returning: a revocation could
        # slip in there, and its messages would still be handed out.
        await asyncio.sleep(0)
        deliveries = self._take()
        if not deliveries:
            await self._side.bell.wait(self.poll_timeout)
            deliveries = self._take()
        return deliveries

    def apply(self, plan: Plan) -> None:
        """Read only what the plan fetches, from now on."""
        if self._is_open:
            self._side.apply(plan)

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        """Record a settlement. One of an earlier assignment or channel is ignored. Raises IntakeError for REJECT on a partition."""
        # No check of `_is_open`: while the intake closes, a revocation may be under way whose last results are still to be committed.
        self._side.settle(delivery, settlement)

    async def flush(self) -> bool:
        """Commit the watermarks, or send the acks, and return True. A receive that waits returns."""
        if self._is_open:
            self._side.flush()
            self._side.bell.ring()
        return self.is_committed

    def way_of_rejected(self, name: str) -> str:
        """Return what becomes of rejected messages of this queue, after "rejected messages"."""
        return self._side.way_of_rejected(name)

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Return what is not settled yet, per assigned source."""
        return self._side.backlog() if self._is_open else {}

    async def close(self) -> None:
        """Flush and leave. What is unsettled comes again to the next consumer. Idempotent, and safe when it never opened."""
        if self._is_open:
            self._is_open = False
            await self._side.stop()
            self._side.bell.ring()

    def drop(self) -> None:
        """Lose the membership or the channels. For `MemoryBroker.drop`."""
        if self._is_open:
            self._side.drop()

    def vanish(self) -> None:
        """Stop like a process that was killed: what was recorded does not go out, channels close, and the group finds out by itself."""
        if self._is_open:
            self._is_open = False
            self._side.vanish()

    def break_channels(self) -> None:
        """Close the channels from the broker's side, while this side does not know yet: `drop` reports that. Does nothing for topics."""
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


# -- dead letters ---------------------------------------------------------------------------------------------------------------------


class MemoryDeadLetters:
    """Keeps rejected messages in `letters`, in the order of their confirmation. Implements `holdgate.ports.DeadLetters`.

    With a `broker` each letter is also produced into one of its topics or queues: `topic`, with `{topic}` for where the message came from,
    as in `KafkaDeadLetters`. `exception_text` puts the exception's text into the letter's headers. Set `failing` to an exception to make
    every publication raise it. None means that publications pass. `delay` is how many seconds a confirmation takes, and `published` counts
    the publications that were begun.
    """

    def __init__(
        self, broker: MemoryBroker | None = None, topic: str = "{topic}.dead", *, delay: float = 0.0, exception_text: bool = False
    ) -> None:
        if not delay >= 0:
            raise SettingsError(f"delay={delay!r} must be 0 seconds or more")
        self.letters: list[DeadLetter] = []
        self.failing: BaseException | None = None
        self.delay = delay
        self.published = 0
        self.users = 0  # runs that have opened it and not closed it yet
        self._broker = broker
        self._topic = topic
        self._exception_text = exception_text

    async def open(self, names: Collection[str] | None) -> None:  # noqa: ARG002 - the port has it
        """Count one run more."""
        self.users += 1
        await asyncio.sleep(0)

    async def publish(self, letter: DeadLetter) -> None:
        """Keep a letter after `delay` seconds, or raise `failing`."""
        self.published += 1
        await asyncio.sleep(self.delay)
        if self.failing is not None:
            raise self.failing
        if self._broker is not None:
            headers = {**dict(own_headers(letter.delivery.headers.items())), **letter.facts(text=self._exception_text)}
            self._broker.produce(self._topic.format(topic=letter.source.name), letter.body, letter.key, headers)
        self.letters.append(letter)

    def way_of_rejected(self, name: str) -> str:
        """Return where rejected messages of this topic or queue go."""
        return "are kept in memory" if self._broker is None else f"go to {self._topic.format(topic=name)!r}"

    async def close(self) -> None:
        """Count one run less."""
        self.users -= 1
        await asyncio.sleep(0)
