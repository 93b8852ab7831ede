"""A broker in this process: the demo without any Kafka, with the same partitions, groups and commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from holdgate.cli.demo.ledger import Place
from holdgate.cli.demo.scenario import KEYS, KINDS, PARTITIONS
from holdgate.cli.demo.venue import GUARDED, NAIVE, Feed, Record
from holdgate.flow.message import Partition
from holdgate.ports import Intake
from holdgate.testing import MemoryBroker, MemoryIntake, Message

# Seconds that an empty poll waits.
POLL_TIMEOUT = 0.05


class MemoryVenue:
    """The demo's topics in memory; they are gone with the process."""

    def __init__(self) -> None:
        self._broker = MemoryBroker(topics=dict.fromkeys(KINDS, PARTITIONS))

    def topic(self, kind: str) -> str:
        return kind

    async def open(self) -> None:
        for kind in KINDS:
            self._broker.create_topic(_grave(kind))

    async def produce(self, kind: str, number: int) -> Place:
        source, message = self._broker.produce(kind, b"%d" % number, b"%d" % (number % KEYS))
        return Place(kind, source.number if isinstance(source, Partition) else 0, message.position)

    def feed(self) -> Feed:
        return MemoryFeed(self._broker)

    def intake(self, on_rebalance: Callable[[], None]) -> Intake[Any]:  # noqa: ARG002 - nobody else is in the group: nothing to call it
        return MemoryIntake(self._broker, topics=KINDS, group=GUARDED)

    async def committed(self, group: str) -> Mapping[tuple[str, int], int]:
        return {(partition.topic, partition.number): offset for partition, offset in self._broker.committed(group).items()}

    async def close(self) -> None:
        """Nothing is open."""


class MemoryFeed:
    """The in-memory broker's bare client: polls, positions and explicit commits, as a Kafka consumer has them."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.rebalances = 0
        self._broker = broker
        self._group = broker.model.group(NAIVE)
        self._consumer = broker.model.consumer(NAIVE)

    async def open(self) -> None:
        self._group.join(NAIVE, KINDS, self._broker.now())
        self._consumer.assign(self._group.assignment(NAIVE))

    async def take(self, most: int) -> Sequence[Record]:
        # One message of each partition in turn, as a fetch from several partitions brings them.
        polled = [(turn, partition, message) for partition, messages in self._consumer.poll(most) for turn, message in enumerate(messages)]
        polled.sort(key=itemgetter(0))
        for _, partition, message in reversed(polled[most:]):
            # A poll reads from every partition; what is too much for one batch is read again with the next.
            self._consumer.seek(partition, message.position)
        await asyncio.sleep(0 if polled else POLL_TIMEOUT)
        return [_record(partition, message) for _, partition, message in polled[:most]]

    async def commit(self) -> None:
        offsets = {partition: self._consumer.position(partition) for partition in self._consumer.assigned}
        self._group.commit(NAIVE, self._group.generation, offsets)

    async def bury(self, record: Record) -> None:
        self._broker.produce(_grave(record.kind), record.raw.body, record.raw.key)

    async def close(self) -> None:
        self._group.leave(NAIVE, self._broker.now())


def _grave(kind: str) -> str:
    return f"{kind}.{NAIVE}.dead"


def _record(partition: Partition, message: Message) -> Record:
    return Record(partition.topic, int(message.body or b""), message)
