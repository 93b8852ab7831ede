"""A model of Kafka: a partition's log, a consumer group, and the client's half of a consumer. Pure: `now` is an argument.

The group follows the eager protocol, the only one of aiokafka. A change of membership begins a *rebalance*: every member is asked to give
everything back and to join again. When all have, the next generation begins with a fresh assignment. Who has not within the rebalance
timeout is evicted and finds out later.

What a commit may do follows the broker: a member may commit until it has joined again, so also while it gives back; between joining
again and the next generation, or with an old generation, it is refused.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, Literal

from holdgate.flow.message import Partition
from holdgate.testing.memory.message import Ledger, Message

Reset = Literal["earliest", "latest"]

_POSITION = attrgetter("position")


class Log:
    """The messages of one partition.

    `start` is the first offset that may still be read, `end` the one the next message will get. Offsets in between may hold nothing:
    compaction and aborted transactions leave gaps, and who reads learns only the offsets that are there.
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
        """Use up offsets that no reader will ever see: a transaction's marker, or what an aborted one had written."""
        self.end += places

    def compact(self) -> None:
        """Keep only the newest message of each key; messages without a key stay."""
        newest = {message.key: message.position for message in self._messages}
        self._messages = [message for message in self._messages if message.key is None or newest[message.key] == message.position]

    def trim(self, start: int) -> None:
        """Delete what lies before `start`, as retention does."""
        self.start = min(max(self.start, start), self.end)
        del self._messages[: self._index(self.start)]

    def read(self, position: int, limit: int) -> Sequence[Message]:
        """At most `limit` messages from `position` on; what is no longer there is skipped."""
        first = self._index(position)
        return self._messages[first : first + limit]

    def count_from(self, position: int) -> int:
        """How many messages there are from `position` on; less than the difference of the offsets where there are gaps."""
        return len(self._messages) - self._index(position)

    def _index(self, position: int) -> int:
        return bisect_left(self._messages, position, key=_POSITION)


class Group:
    """The coordinator's state of one group.

    `partitions` tells how many partitions each topic has, and is read at each assignment. `rebalance_timeout` is in seconds.
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
        self._deadline: float | None = None  # not None: a rebalance is under way

    @property
    def members(self) -> Collection[str]:
        """Who is in the group now."""
        return self._topics.keys()

    @property
    def is_rebalancing(self) -> bool:
        """Whether members are still asked to give back and join again."""
        return self._deadline is not None

    def next_deadline(self) -> float | None:
        """When `expire` will matter; None when everybody has what is theirs."""
        return self._deadline

    def assignment(self, member: str) -> tuple[Partition, ...]:
        """The partitions of `member` in the current generation; none for a stranger, and none while a rebalance is under way."""
        return () if self.is_rebalancing else self._assignment.get(member, ())

    def must_rejoin(self, member: str) -> bool:
        """Whether the group waits for this member to give back and join again."""
        return self.is_rebalancing and member in self._topics and member not in self._joined

    def join(self, member: str, topics: Collection[str], now: float) -> None:
        """A new member, or one that was evicted and comes back; a rebalance begins."""
        self._topics[member] = frozenset(topics)
        self._begin(now)
        self._joined.add(member)
        self._complete()

    def rejoin(self, member: str) -> None:
        """A member has given everything back; from now on it may not commit until the next generation. A stranger is ignored."""
        if self.must_rejoin(member):
            self._joined.add(member)
            self._complete()

    def leave(self, member: str, now: float) -> None:
        """A member is gone, by its own will or evicted; the others share its partitions."""
        if self._topics.pop(member, None) is None:
            return
        self._assignment.pop(member, None)
        self._begin(now)
        self._complete()

    def rebalance(self, now: float) -> None:
        """Begin a rebalance though nobody came or went, as a change of the topic's partitions does."""
        if self._topics:
            self._begin(now)

    def expire(self, now: float) -> Collection[str]:
        """Evict who has not joined again in time; returns them."""
        if self._deadline is None or now < self._deadline:
            return ()
        late = self._topics.keys() - self._joined
        for member in late:
            del self._topics[member]
        self._complete()
        return late

    def commit(self, member: str, generation: int, offsets: Mapping[Partition, int]) -> bool:
        """Store the next offset to read per partition, all or none; returns whether they were accepted."""
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
        # Round robin over the sorted members, as aiokafka's default assignor does: with one partition the rest have nothing.
        hands: dict[str, list[Partition]] = {member: [] for member in sorted(self._topics)}
        turn = 0
        for topic in sorted(frozenset[str]().union(*self._topics.values())):
            takers = [member for member in hands if topic in self._topics[member]]
            for number in range(len(self._partitions.get(topic, ()))):
                hands[takers[turn % len(takers)]].append(Partition(topic, number))
                turn += 1
        return {member: tuple(hand) for member, hand in hands.items()}


class Consumer:
    """Reads the partitions it was given, each from its position on.

    `reset` is where it starts without a committed offset, and where it goes when the log's start has passed its position.
    A new assignment forgets every pause, as aiokafka does: who holds must pause again before the next poll.
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
        """The offset that the next poll begins at; past a gap at the end, so it can be more than the last message's plus one."""
        return self._positions[partition]

    def assign(self, partitions: Collection[Partition]) -> None:
        """Begin with these partitions at their committed offsets, nothing paused."""
        self._paused.clear()
        self._positions = {}
        for partition in partitions:
            committed = self._group.committed.get(partition)
            self._positions[partition] = self._starting_point(partition) if committed is None else committed
            self._ledger.note("assigned", partition, self._positions[partition])

    def unassign(self, *, lost: bool = False) -> None:
        """Have nothing any more: given back in order, or `lost`."""
        for partition, position in self._positions.items():
            self._ledger.note("lost" if lost else "revoked", partition, position)
        self._positions = {}
        self._paused.clear()

    def pause(self, partition: Partition) -> None:
        """Leave this partition alone from the next poll on; survives until resumed or assigned again."""
        self._paused.add(partition)

    def resume(self, partition: Partition) -> None:
        """Read this partition again."""
        self._paused.discard(partition)

    def seek(self, partition: Partition, position: int) -> None:
        """Go to `position`; what was read from there on comes again."""
        self._positions[partition] = position

    def poll(self, limit: int, size: int | None = None) -> Sequence[tuple[Partition, Sequence[Message]]]:
        """At most `limit` messages of each partition that is not paused, and at most `size` bytes of them, or one message; those with none
        are left out. `size` None: bytes are not counted."""
        return [(partition, messages) for partition in self._positions if (messages := self._read(partition, limit, size))]

    def _read(self, partition: Partition, limit: int, size: int | None) -> Sequence[Message]:
        if partition in self._paused:
            return ()
        log = self._log(partition)
        if self._positions[partition] < log.start:
            self._positions[partition] = self._starting_point(partition)
        found = log.read(self._positions[partition], limit)
        messages = found if size is None else found[: max(1, _fitting(found, size))]
        # Read to the end, the position stands behind a gap there too. Only committing it then makes the lag zero.
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
    """How many of the first are no more than so many bytes together."""
    sizes = accumulate(len(message.body or b"") for message in messages)
    return sum(1 for total in sizes if total <= size)
