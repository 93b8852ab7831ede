"""The messages of one topic or queue: by its number each message is worked out, so that a backlog of a million costs nothing.

A topic's messages are dealt to its partitions in turn, or by key where they have keys. A key's messages are all in one partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdgate.flow.message import Partition, Queue, Source
from holdgate.testing.memory.message import Message
from holdgate.testing.memory.models import Log
from holdgate_lab.fleet.scenario import Stream, TopicSpec

_MASK = (1 << 64) - 1


class Facts(NamedTuple):
    """What one message is: its number in its topic or queue, its key (None without keys), and whether it can never be processed."""

    number: int
    key: int | None
    is_poison: bool


class StreamTraffic:
    """What comes in on one topic or queue. `seed` decides which messages are poison by chance; `produced` counts them."""

    def __init__(self, spec: Stream, seed: int) -> None:
        self.spec = spec
        self.produced = 0
        self.partitions = spec.partitions if isinstance(spec, TopicSpec) else 0
        self.partitions_of_topic = tuple(Partition(spec.name, number) for number in range(self.partitions))
        self.sources: tuple[Source, ...] = self.partitions_of_topic or (Queue(spec.name),)
        self._stride = 1 + spec.gap if isinstance(spec, TopicSpec) else 1
        self._seed = seed
        self._poison = frozenset(spec.poison)
        # Keys that live in each partition, and how many messages one round of all keys (or of all partitions) has.
        self._round = spec.keys or self.partitions
        self._per_round = [len(range(number, self._round, self.partitions)) for number in range(self.partitions)]

    def arrived_by(self, now: float) -> int:
        """How many messages there are at that second."""
        return self.spec.backlog + int(self.spec.rate * now + 1e-9)

    def time_of(self, number: int) -> float:
        """When that message was produced."""
        return 0.0 if number < self.spec.backlog else (number - self.spec.backlog + 1) / self.spec.rate

    def facts(self, number: int) -> Facts:
        """Key and fate of that message."""
        key = number % self.spec.keys if self.spec.keys else None
        return Facts(number, key, number in self._poison or self._is_unlucky(number))

    def facts_at(self, source: Source, position: int) -> Facts:
        """The same by its place: an offset, or its number in a queue."""
        return self.facts(self.number_at(source, position) if isinstance(source, Partition) else position)

    def number_at(self, partition: Partition, position: int) -> int:
        """The number of the message at this offset."""
        rounds, rest = divmod(position // self._stride, self._per_round[partition.number])
        return rounds * self._round + partition.number + rest * self.partitions

    def next_offset(self, position: int) -> int:
        """The offset of the message after the one at this offset."""
        return position + self._stride

    def count_in(self, partition: int) -> int:
        """How many messages this partition has got."""
        rounds, rest = divmod(self.produced, self._round)
        return rounds * self._per_round[partition] + len(range(partition, rest, self.partitions))

    def previous_of_key(self, partition: Partition, position: int) -> int:
        """The offset of the message of the same key before this one; negative when there is none. For topics with keys."""
        return position - self._per_round[partition.number] * self._stride

    def offset_of(self, index: int) -> int:
        """The offset of the partition's message number `index`."""
        return index * self._stride

    def index_from(self, position: int) -> int:
        """The first message of a partition at this offset or after it, counted from 0."""
        return -(-position // self._stride)

    def _is_unlucky(self, number: int) -> bool:
        ratio = self.spec.poison_ratio
        return ratio > 0 and _mixed(self._seed * 1_000_003 + number) < ratio * _MASK


class CountedLog(Log):
    """One partition: its messages come to be when they are read."""

    __slots__ = ("_partition", "_traffic")

    def __init__(self, traffic: StreamTraffic, partition: Partition) -> None:
        super().__init__()
        self._traffic = traffic
        self._partition = partition

    def grow(self) -> int:
        """Take in what was produced; returns how much that is."""
        count = self._traffic.count_in(self._partition.number)
        more = count - self._traffic.index_from(self.end)
        self.end = self._traffic.offset_of(count)
        return more

    def read(self, position: int, limit: int) -> Sequence[Message]:
        traffic = self._traffic
        first = traffic.index_from(position)
        last = min(first + limit, traffic.index_from(self.end))
        return [self._message(traffic.offset_of(index)) for index in range(first, last)]

    def count_from(self, position: int) -> int:
        return max(0, self._traffic.index_from(self.end) - self._traffic.index_from(position))

    def _message(self, position: int) -> Message:
        return Message(position, None, timestamp=self._traffic.time_of(self._traffic.number_at(self._partition, position)))


def _mixed(value: int) -> int:
    """A number whose bits depend on all bits of `value` (splitmix64): chance that is the same whatever was asked before."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
