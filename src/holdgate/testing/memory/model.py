"""A model of both brokers on one floor: topics with consumer groups, and queues with channels. Pure: `now` is an argument.

The in-memory intake for tests and the simulated fleet are shells around it. It models what a worker can see go wrong: offsets with gaps,
rebalances that take everything away, commits that are refused, pauses that a new assignment forgets; redelivery in its real order,
delivery counts and limits, a prefetch. It models no wire, no replication and no time of its own: every call acts at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from holdgate.flow.message import Partition, Queue, Source
from holdgate.testing.memory.kafka_model import Consumer, Group, Log, Reset
from holdgate.testing.memory.message import Ledger, Message
from holdgate.testing.memory.rabbitmq_model import MessageQueue, QueueSettings


class Broker:
    """Topics, queues, consumer groups and the ledger of everything that happened.

    A name is a topic's or a queue's, never both. `ledger`: where everything is written down; None: one that keeps all of it.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.topics: dict[str, list[Log]] = {}
        self.queues: dict[str, MessageQueue] = {}
        self.groups: dict[str, Group] = {}
        self.ledger = Ledger() if ledger is None else ledger
        self._keyless = 0

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """A new topic. Raises ValueError when the name is taken or there would be no partition."""
        self._refuse_taken(name)
        if partitions < 1:
            raise ValueError(f"topic {name!r} cannot have {partitions} partitions; one is the least")
        self.topics[name] = [Log() for _ in range(partitions)]

    def create_queue(self, name: str, settings: QueueSettings | None = None) -> None:
        """A new queue, a classic one unless told otherwise.

        Raises ValueError when the name is taken, or names a dead letter queue that does not exist.
        """
        self._refuse_taken(name)
        settings = settings or QueueSettings()
        grave = settings.dead_letters
        if grave is not None and grave not in self.queues:
            raise ValueError(f"queue {name!r} sends its dead letters to {grave!r}, which does not exist; create that one first")
        self.queues[name] = MessageQueue(name, settings, self.ledger, lambda message: self._bury(grave, message))

    def delete(self, name: str) -> None:
        """Delete a topic or queue with all it holds; its channels and assignments stay behind and get nothing more."""
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
        """Store one message in a topic or queue; returns where.

        Without `partition`, a key decides by its hash, so that equal keys stay together, and messages without one go round. A queue
        has neither keys nor partitions. Raises LookupError for an unknown name or partition.
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
        """The log of one partition; raises LookupError for an unknown one."""
        try:
            return self.topics[partition.topic][partition.number]
        except LookupError:
            raise LookupError(f"there is no partition {partition}; create_topic({partition.topic!r}, partitions=...) makes it") from None

    def group(self, name: str, rebalance_timeout: float = 10.0) -> Group:
        """The consumer group of this name, made at its first mention.

        `rebalance_timeout` is in seconds and taken from that first mention; 10 is aiokafka's default, its session timeout.
        """
        if name not in self.groups:
            self.groups[name] = Group(self.topics, rebalance_timeout, self.ledger)
        return self.groups[name]

    def consumer(self, group: str, reset: Reset = "earliest") -> Consumer:
        """The client's half for one member of a group; it reads nothing until it is assigned something."""
        return Consumer(self.topics, self.group(group), self.ledger, reset)

    def waiting(self, source: Source, group: str = "") -> Sequence[Message]:
        """What is not settled, in the order in which a new consumer would get it: for a partition, from the group's commit on."""
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
