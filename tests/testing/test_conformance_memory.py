"""The in-memory intake passes the same cases as the real ones, for partitions and for queues."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from holdgate.flow.message import Partition, Queue, Source
from holdgate.testing import MemoryBroker, MemoryIntake, run_virtual
from holdgate.testing.conformance import Capability, IntakeCase, cases_for

GROUP = "workers"
PATIENCE = 60.0  # virtual seconds: more than any timeout in the model
QUIET = 2.0  # more than a commit interval


class PartitionBed:
    """Two partitions of one topic."""

    capabilities: frozenset[Capability] = frozenset({"members", "loss", "watermark", "peek"})
    sources: Sequence[Source] = (Partition("orders", 0), Partition("orders", 1))
    patience = PATIENCE
    quiet = QUIET

    def __init__(self) -> None:
        self.broker = MemoryBroker(topics={"orders": 2})
        self._open: list[MemoryIntake] = []
        self._other = ""

    def intake(self, *, inbox: int = 50) -> MemoryIntake:
        return self._remember(MemoryIntake(self.broker, topics=["orders"], group=GROUP, inbox=inbox))

    def stranger(self) -> MemoryIntake:
        return MemoryIntake(self.broker, topics=["nowhere"], group=GROUP)

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            self.broker.produce(source.name, body, partition=source.number if isinstance(source, Partition) else None)

    async def left(self, source: Source) -> Sequence[bytes]:
        return [message.body or b"" for message in self.broker.waiting(source, GROUP)]

    async def join(self) -> None:
        self._other = self.broker.add_member(GROUP)

    async def leave(self) -> None:
        self.broker.remove_member(GROUP, self._other)

    async def cut(self) -> None:
        self.broker.drop(self._open[-1])

    def _remember(self, intake: MemoryIntake) -> MemoryIntake:
        self._open.append(intake)
        return intake


class QueueBed(PartitionBed):
    """Two queues."""

    capabilities: frozenset[Capability] = frozenset({"loss", "prefetch", "reject", "peek"})
    sources: Sequence[Source] = (Queue("orders"), Queue("mails"))

    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker(queues=["orders", "mails"])

    def intake(self, *, inbox: int = 50) -> MemoryIntake:
        return self._remember(MemoryIntake(self.broker, queues=["orders", "mails"], prefetch=inbox))

    def stranger(self) -> MemoryIntake:
        return MemoryIntake(self.broker, queues=["nowhere"])


@pytest.mark.parametrize("case", cases_for(PartitionBed.capabilities), ids=str)
def test_partitions(case: IntakeCase) -> None:
    """Kafka's semantics: each case on a fresh topic, in virtual time."""
    run_virtual(case(PartitionBed()))


@pytest.mark.parametrize("case", cases_for(QueueBed.capabilities), ids=str)
def test_queues(case: IntakeCase) -> None:
    """RabbitMQ's semantics: each case on fresh queues, in virtual time."""
    run_virtual(case(QueueBed()))
