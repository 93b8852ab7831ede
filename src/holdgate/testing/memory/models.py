"""Both brokers as pure models: topics with consumer groups, and queues with channels. `now` is an argument.

The in-memory intake for tests and the simulated fleet are shells around these models. For topics they model what a worker can see go wrong:
offsets with gaps, rebalances that take everything away, commits that are refused, and pauses that a new assignment forgets. For queues they
model redelivery in its real order, delivery counts and limits, and a prefetch. They model no wire, no replication and no time of their own:
every call acts immediately.

Kafka's group follows the eager protocol, the only one of aiokafka. A change of membership begins a *rebalance*: every member must give
everything back and join again. When all have done so, the next generation begins with a fresh assignment. A member that is late by the
rebalance timeout is evicted, and finds out later. Commits follow the broker's rule: a member may commit until it has joined again, so also
while it gives back. A commit is refused between joining again and the next generation, or with an old generation.

The order of what comes back to a queue, and whether it is counted, depends on the broker's version and the queue's type; the table in
`QueueSettings` names the cases.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter
from typing import Any, Literal
from zlib import crc32

from holdgate.flow.message import Partition, Queue, Source
from holdgate.testing.memory.message import Ledger, Message

Reset = Literal["earliest", "latest"]

_POSITION = attrgetter("position")


# -- topics and consumer groups -------------------------------------------------------------------------------------------------------


class Log:
    """The messages of one partition.

    `start` is the first offset that may still be read, and `end` is the offset of the next message. Offsets in between may hold nothing:
    compaction and aborted transactions leave gaps, and a reader learns only the offsets that are there.
    """

    __slots__ = ("_messages", "end", "start")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self.start = 0
        self.end = 0

    def append(self, body: bytes | None, now: float, *, key: bytes | None = None, headers: Mapping[str, Any] | None = None) -> Message:
        """Store one message at the end."""
        message = Message(self.end, body, key, dict(headers or {}), now)
        self._messages.append(message)
        self.end += 1
        return message

    def skip(self, places: int = 1) -> None:
        """Use up offsets that no reader will ever see: a transaction's marker, or what an aborted transaction has written."""
        self.end += places

    def compact(self) -> None:
        """Keep only the newest message of each key. Messages without a key stay."""
        newest = {message.key: message.position for message in self._messages}
        self._messages = [message for message in self._messages if message.key is None or newest[message.key] == message.position]

    def trim(self, start: int) -> None:
        """Delete what lies before `start`, as retention does."""
        self.start = min(max(self.start, start), self.end)
        del self._messages[: self._index(self.start)]

    def read(self, position: int, limit: int) -> Sequence[Message]:
        """Return at most `limit` messages from `position` on. What is no longer there is skipped."""
        first = self._index(position)
        return self._messages[first : first + limit]

    def count_from(self, position: int) -> int:
        """Return how many messages there are from `position` on; where there are gaps, fewer than the difference of the offsets."""
        return len(self._messages) - self._index(position)

    def _index(self, position: int) -> int:
        return bisect_left(self._messages, position, key=_POSITION)


class Group:
    """The coordinator's state of one group.

    `partitions` has the partitions of each topic, and is read at each assignment. `rebalance_timeout` is in seconds.
    """

    def __init__(self, partitions: Mapping[str, Collection[object]], rebalance_timeout: float, ledger: Ledger) -> None:
        self.rebalance_timeout = rebalance_timeout
        self.generation = 0
        self.committed: dict[Partition, int] = {}
        self._partitions = partitions
        self._ledger = ledger
        self._topics: dict[str, frozenset[str]] = {}
        self._assignment: dict[str, tuple[Partition, ...]] = {}
        self._joined: set[str] = set()
        self._deadline: float | None = None  # None means that no rebalance is under way

    @property
    def members(self) -> Collection[str]:
        """The names of those that are in the group now."""
        return self._topics.keys()

    @property
    def is_rebalancing(self) -> bool:
        """Whether members have yet to give back and join again."""
        return self._deadline is not None

    def next_deadline(self) -> float | None:
        """Return when `expire` will have an effect. None means that no rebalance is under way."""
        return self._deadline

    def assignment(self, member: str) -> tuple[Partition, ...]:
        """Return the partitions of `member` in the current generation; none for a stranger, and none during a rebalance."""
        return () if self.is_rebalancing else self._assignment.get(member, ())

    def must_rejoin(self, member: str) -> bool:
        """Return whether the group waits for this member to give back and join again."""
        return self.is_rebalancing and member in self._topics and member not in self._joined

    def join(self, member: str, topics: Collection[str], now: float) -> None:
        """Add a new member, or one that was evicted and comes back, and begin a rebalance."""
        self._topics[member] = frozenset(topics)
        self._begin(now)
        self._joined.add(member)
        self._complete()

    def rejoin(self, member: str) -> None:
        """Note that a member has given everything back. The member may not commit until the next generation. A stranger is ignored."""
        if self.must_rejoin(member):
            self._joined.add(member)
            self._complete()

    def leave(self, member: str, now: float) -> None:
        """Remove a member that has left or was evicted. The others share its partitions."""
        if self._topics.pop(member, None) is None:
            return
        self._assignment.pop(member, None)
        self._begin(now)
        self._complete()

    def rebalance(self, now: float) -> None:
        """Begin a rebalance with the same members, as a change of the topic's partitions does."""
        if self._topics:
            self._begin(now)

    def expire(self, now: float) -> Collection[str]:
        """Evict the members that have not joined again in time, and return them."""
        if self._deadline is None or now < self._deadline:
            return ()
        late = self._topics.keys() - self._joined
        for member in late:
            del self._topics[member]
        self._complete()
        return late

    def commit(self, member: str, generation: int, offsets: Mapping[Partition, int]) -> bool:
        """Store the next offset to read per partition, all or none, and return whether they were accepted."""
        owned = self._assignment.get(member, ())
        if generation != self.generation or not all(partition in owned for partition in offsets):
            return False
        if self.is_rebalancing and member in self._joined:
            return False
        for partition, offset in offsets.items():
            self.committed[partition] = offset
            self._ledger.note("committed", partition, offset)
        return True

    def _begin(self, now: float) -> None:
        if self._deadline is None:
            self._deadline = now + self.rebalance_timeout
            self._joined.clear()

    def _complete(self) -> None:
        if self._topics.keys() <= self._joined:
            self._deadline = None
            self.generation += 1
            self._assignment = self._deal()

    def _deal(self) -> dict[str, tuple[Partition, ...]]:
        # Round robin over the sorted members, as aiokafka's default assignor does: of one partition only one member gets anything.
        hands: dict[str, list[Partition]] = {member: [] for member in sorted(self._topics)}
        turn = 0
        for topic in sorted(frozenset[str]().union(*self._topics.values())):
            takers = [member for member in hands if topic in self._topics[member]]
            for number in range(len(self._partitions.get(topic, ()))):
                hands[takers[turn % len(takers)]].append(Partition(topic, number))
                turn += 1
        return {member: tuple(hand) for member, hand in hands.items()}


class Consumer:
    """Reads its assigned partitions, each from its position on.

    `reset` is where it starts without a committed offset, and where it goes when the log's start has passed its position.
    A new assignment forgets every pause, as in aiokafka: the intake must pause again before the next poll.
    """

    def __init__(self, logs: Mapping[str, Sequence[Log]], group: Group, ledger: Ledger, reset: Reset = "earliest") -> None:
        self._logs = logs
        self._group = group
        self._ledger = ledger
        self._reset = reset
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()

    @property
    def assigned(self) -> Collection[Partition]:
        """The partitions that a poll reads from, paused ones included."""
        return self._positions.keys()

    @property
    def paused(self) -> Collection[Partition]:
        """The partitions that a poll leaves alone."""
        return frozenset(self._paused)

    def position(self, partition: Partition) -> int:
        """Return the offset at which the next poll begins. It is past a gap at the end, so not always the last message's plus one."""
        return self._positions[partition]

    def assign(self, partitions: Collection[Partition]) -> None:
        """Begin with these partitions at their committed offsets, and none of them paused."""
        self._paused.clear()
        self._positions = {}
        for partition in partitions:
            committed = self._group.committed.get(partition)
            self._positions[partition] = self._starting_point(partition) if committed is None else committed
            self._ledger.note("assigned", partition, self._positions[partition])

    def unassign(self, *, lost: bool = False) -> None:
        """Drop all partitions, which were given back in order, or are `lost`."""
        for partition, position in self._positions.items():
            self._ledger.note("lost" if lost else "revoked", partition, position)
        self._positions = {}
        self._paused.clear()

    def pause(self, partition: Partition) -> None:
        """Leave this partition alone from the next poll on, until it is resumed or assigned again."""
        self._paused.add(partition)

    def resume(self, partition: Partition) -> None:
        """Read this partition again."""
        self._paused.discard(partition)

    def seek(self, partition: Partition, position: int) -> None:
        """Go to `position`. What was read from there on comes again."""
        self._positions[partition] = position

    def poll(self, limit: int, size: int | None = None) -> Sequence[tuple[Partition, Sequence[Message]]]:
        """Return at most `limit` messages of each partition that is not paused. Partitions without any are left out.

        `size` bounds their bytes too, but one message always passes. None means that bytes are not counted.
        """
        return [(partition, messages) for partition in self._positions if (messages := self._read(partition, limit, size))]

    def _read(self, partition: Partition, limit: int, size: int | None) -> Sequence[Message]:
        if partition in self._paused:
            return ()
        log = self._log(partition)
        if self._positions[partition] < log.start:
            self._positions[partition] = self._starting_point(partition)
        found = log.read(self._positions[partition], limit)
        messages = found if size is None else found[: max(1, _fitting(found, size))]
        # After a read to the end, the position stands behind a gap there too. Only a commit of that position makes the lag zero.
        self._positions[partition] = messages[-1].position + 1 if len(found) == limit or len(messages) < len(found) else log.end
        for message in messages:
            self._ledger.note("delivered", partition, message.position)
        return messages

    def _starting_point(self, partition: Partition) -> int:
        log = self._log(partition)
        return log.start if self._reset == "earliest" else log.end

    def _log(self, partition: Partition) -> Log:
        return self._logs[partition.topic][partition.number]


def _fitting(messages: Sequence[Message], size: int) -> int:
    """Return how many of the first messages fit into so many bytes together."""
    sizes = accumulate(len(message.body or b"") for message in messages)
    return sum(1 for total in sizes if total <= size)


# -- queues and channels --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What kind of queue it is.

    - `delivery_limit`: a message that has come back more often is dead. Quorum queues from 4.0 on have 20 by default. None means no limit,
      as in a classic queue.
    - `nack_counts`: whether a nack or reject with requeue counts (RabbitMQ 3.10 to 4.2: yes; 4.3: no). A closed channel always counts.
    - `returns_to`: where a nacked message goes: the back for quorum queues without a limit up to 4.2, else the front.
    - `single_active`: only the oldest channel gets messages.
    - `dead_letters`: the queue for dead and rejected messages. None means that they are dropped.
    """

    delivery_limit: int | None = None
    nack_counts: bool = True
    returns_to: Literal["front", "back"] = "front"
    single_active: bool = False
    dead_letters: str | None = None


@dataclass(slots=True)
class Queued:
    """A message in the queue, with its history. `delivery_count` is RabbitMQ's `x-delivery-count`."""

    message: Message
    delivery_count: int = 0
    redelivered: bool = False


class MessageQueue:
    """The broker's state of one queue.

    `bury` is called with every dead or rejected message, and publishes the message to the dead letter queue, or drops it.
    """

    def __init__(self, name: str, settings: QueueSettings, ledger: Ledger, bury: Callable[[Message], None]) -> None:
        self.source = Queue(name)
        self.settings = settings
        self._ledger = ledger
        self._bury = bury
        self._published = 0
        self._ready: deque[Queued] = deque()
        # Returned messages wait in front of the rest, first back first out: nacked in order, they come again in that order.
        self._returned: deque[Queued] = deque()
        self._channels: list[Channel] = []

    @property
    def ready(self) -> int:
        """How many messages wait for a channel with room."""
        return len(self._returned) + len(self._ready)

    @property
    def unacked(self) -> int:
        """How many messages are out on channels."""
        return sum(len(channel.unacked) for channel in self._channels)

    def publish(self, body: bytes | None, now: float, *, headers: Mapping[str, Any] | None = None) -> Message:
        """Store one message at the back."""
        message = Message(self._published, body, None, dict(headers or {}), now)
        self._published += 1
        self._ready.append(Queued(message))
        return message

    def open(self, prefetch: int) -> Channel:
        """Open a new channel with one consumer that may have `prefetch` messages unacked."""
        channel = Channel(self, prefetch, self._ledger)
        self._channels.append(channel)
        return channel

    def is_active(self, channel: Channel) -> bool:
        """Return whether this channel gets messages: any open one does, or with a single active consumer the oldest."""
        return channel in (self._channels[:1] if self.settings.single_active else self._channels)

    def waiting(self) -> Sequence[Message]:
        """Return every message that is not settled, in the order in which one new consumer would get them all."""
        out = [queued for channel in self._channels for queued in channel.unacked.values()]
        return [queued.message for queued in (*self._returned, *out, *self._ready)]

    def pop(self) -> Queued | None:
        """Remove and return the next message to deliver. For channels only."""
        if self._returned:
            return self._returned.popleft()
        return self._ready.popleft() if self._ready else None

    def put_back(self, queued: Queued, *, counts: bool, to: Literal["front", "back"]) -> None:
        """Take a delivered message back, or bury it over the delivery limit. For channels only."""
        queued.redelivered = True
        queued.delivery_count += counts
        limit = self.settings.delivery_limit
        if limit is not None and queued.delivery_count > limit:
            self._ledger.note("dead", self.source, queued.message.position)
            self._bury(queued.message)
            return
        self._ledger.note("requeued", self.source, queued.message.position)
        (self._returned if to == "front" else self._ready).append(queued)

    def reject(self, queued: Queued) -> None:
        """Bury a message that was rejected. For channels only."""
        self._ledger.note("rejected", self.source, queued.message.position)
        self._bury(queued.message)

    def forget(self, channel: Channel) -> None:
        """Remove a closed channel. For channels only."""
        self._channels.remove(channel)


class Channel:
    """One channel with one consumer on one queue. Delivery tags count from 1 and mean nothing on another channel."""

    def __init__(self, queue: MessageQueue, prefetch: int, ledger: Ledger) -> None:
        self.unacked: dict[int, Queued] = {}
        self.is_open = True
        self._queue = queue
        self._prefetch = prefetch
        self._more = 0
        self._ledger = ledger
        self._last_tag = 0
        self._consuming = True

    def take(self) -> Sequence[tuple[int, Queued]]:
        """Deliver as much as is ready and the prefetch has room for, and return it by delivery tag."""
        fresh: list[tuple[int, Queued]] = []
        while self._may_deliver() and (queued := self._queue.pop()) is not None:
            self._last_tag += 1
            self.unacked[self._last_tag] = queued
            self._ledger.note("delivered", self._queue.source, queued.message.position)
            fresh.append((self._last_tag, queued))
        return fresh

    def widen(self, more: int) -> None:
        """Let so many more messages be unacked than the prefetch, as further consumers on the same channel would; 0 takes them back."""
        self._more = more

    def cancel(self) -> None:
        """Stop consuming. What is unacked stays so, and can still be settled."""
        self._consuming = False

    def ack(self, tag: int) -> None:
        """Settle one message as done. Raises KeyError for a tag that is settled or not this channel's: a broker closes the channel then."""
        queued = self.unacked.pop(tag)
        self._ledger.note("acked", self._queue.source, queued.message.position)

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give one message back, or with `requeue=False` refuse it for good. Raises as `ack` does."""
        queued = self.unacked.pop(tag)
        if requeue:
            self._queue.put_back(queued, counts=self._queue.settings.nack_counts, to=self._queue.settings.returns_to)
        else:
            self._queue.reject(queued)

    def give_back(self) -> None:
        """Stop consuming, and nack everything unacked in the order in which it came."""
        self.cancel()
        for tag in tuple(self.unacked):
            self.nack(tag)

    def close(self) -> None:
        """End the channel, from either side. What is unacked comes again, in front, in its order, and counted. Idempotent."""
        if not self.is_open:
            return
        self.is_open = False
        self._queue.forget(self)
        for queued in self._take_all():
            self._queue.put_back(queued, counts=True, to="front")

    def _take_all(self) -> Collection[Queued]:
        everything = tuple(self.unacked.values())
        self.unacked.clear()
        return everything

    def _may_deliver(self) -> bool:
        return self._consuming and len(self.unacked) < self._prefetch + self._more and self._queue.is_active(self)


# -- the broker -----------------------------------------------------------------------------------------------------------------------


class Broker:
    """Topics, queues, consumer groups and the ledger of everything that happened.

    A name belongs to a topic or to a queue, never to both. `ledger` is where events are noted. None means a new one that keeps them all.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.topics: dict[str, list[Log]] = {}
        self.queues: dict[str, MessageQueue] = {}
        self.groups: dict[str, Group] = {}
        self.ledger = Ledger() if ledger is None else ledger
        self._keyless = 0

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic. Raises ValueError when the name is taken, or without a partition."""
        self._refuse_taken(name)
        if partitions < 1:
            raise ValueError(f"topic {name!r} cannot have {partitions} partitions; one is the least")
        self.topics[name] = [Log() for _ in range(partitions)]

    def create_queue(self, name: str, settings: QueueSettings | None = None) -> None:
        """Make a queue. None means a classic one.

        Raises ValueError when the name is taken, or names a dead letter queue that does not exist.
        """
        self._refuse_taken(name)
        settings = settings or QueueSettings()
        grave = settings.dead_letters
        if grave is not None and grave not in self.queues:
            raise ValueError(f"queue {name!r} sends its dead letters to {grave!r}, which does not exist; create that one first")
        self.queues[name] = MessageQueue(name, settings, self.ledger, lambda message: self._bury(grave, message))

    def delete(self, name: str) -> None:
        """Delete a topic or queue with all its messages. Its channels and assignments stay behind and get nothing more."""
        if self.topics.pop(name, None) is None:
            self._queue(name)
            del self.queues[name]

    def produce(
        self,
        name: str,
        body: bytes | None,
        now: float,
        *,
        key: bytes | None = None,
        headers: Mapping[str, Any] | None = None,
        partition: int | None = None,
    ) -> tuple[Source, Message]:
        """Store one message in a topic or queue, and return where.

        Without `partition` the hash of the key decides, so that equal keys stay together. Messages without a key take the partitions in
        turn. A queue has neither keys nor partitions. Raises LookupError for an unknown name or partition.
        """
        if name in self.topics:
            place = Partition(name, self._choose(name, key) if partition is None else partition)
            message = self.log(place).append(body, now, key=key, headers=headers)
            self.ledger.note("produced", place, message.position)
            return place, message
        queue = self._queue(name)
        message = queue.publish(body, now, headers=headers)
        self.ledger.note("produced", queue.source, message.position)
        return queue.source, message

    def log(self, partition: Partition) -> Log:
        """Return the log of one partition. Raises LookupError for an unknown one."""
        try:
            return self.topics[partition.topic][partition.number]
        except LookupError:
            raise LookupError(f"there is no partition {partition}; create_topic({partition.topic!r}, partitions=...) makes it") from None

    def group(self, name: str, rebalance_timeout: float = 10.0) -> Group:
        """Return the consumer group of this name, which its first mention makes.

        `rebalance_timeout` is in seconds, and only that first mention sets it. 10 is aiokafka's default, its session timeout.
        """
        if name not in self.groups:
            self.groups[name] = Group(self.topics, rebalance_timeout, self.ledger)
        return self.groups[name]

    def consumer(self, group: str, reset: Reset = "earliest") -> Consumer:
        """Make the client's half for one member of a group. It reads nothing until it is assigned something."""
        return Consumer(self.topics, self.group(group), self.ledger, reset)

    def waiting(self, source: Source, group: str = "") -> Sequence[Message]:
        """Return what is not settled, in the order in which a new consumer would get it. For a partition, from the group's commit on."""
        if isinstance(source, Queue):
            return self._queue(source.name).waiting()
        log = self.log(source)
        first = self.group(group).committed.get(source, log.start)
        return log.read(first, log.count_from(first))

    def _queue(self, name: str) -> MessageQueue:
        try:
            return self.queues[name]
        except KeyError:
            raise LookupError(f"there is no topic or queue {name!r}; create_topic or create_queue makes one") from None

    def _choose(self, topic: str, key: bytes | None) -> int:
        count = len(self.topics[topic])
        if key is not None:
            return crc32(key) % count
        self._keyless += 1
        return (self._keyless - 1) % count

    def _bury(self, grave: str | None, message: Message) -> None:
        if grave in self.queues:
            self.produce(grave, message.body, message.timestamp, headers=message.headers)

    def _refuse_taken(self, name: str) -> None:
        if name in self.topics or name in self.queues:
            raise ValueError(f"{name!r} exists already, as a topic or a queue")
