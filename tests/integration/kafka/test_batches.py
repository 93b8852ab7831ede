"""Batches on a real broker: through poison, an outage, a ramp and a restart nothing is lost, and nothing committed unprocessed."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from holdgate import CircuitSettings, Delivery, Dependency, Guard, State
from holdgate.brokers.kafka import KafkaIntake
from holdgate.testing import MemoryDeadLetters

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

EACH = 600
PARTITIONS = 2
PATIENCE = 60.0
# Short waits, so that an outage of a second has openings and a ramp.
QUICK = CircuitSettings(open_duration=0.3, open_jitter=0.0)


class Down(Exception):
    """What the dependency fails with."""


class Worker:
    """A run with batches of 100: notes every call, what was processed, and every call above the limit of a ramp."""

    def __init__(self, kafka: KafkaAddress, topic: str, group: str) -> None:
        self.kafka, self.topic, self.group = kafka, topic, group
        self.payments = Dependency("payments", failures=Down, settings=QUICK)
        self.guard = Guard(self.payments, signals=False)
        self.dead = MemoryDeadLetters()
        self.down = False
        self.poison: set[tuple[int, int]] = set()
        self.calls: list[list[tuple[int, int]]] = []
        self.wasted = 0  # calls that failed, of those that began before the circuit opened
        self.processed: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}
        self.over: list[int] = []
        self.seconds = 0.0
        self._in_ramp: Counter[int] = Counter()

    async def run(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap, group_id=self.group, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        intake = KafkaIntake(consumer, topics=[self.topic], commit_every=0.2)
        async with self.guard:
            await self.guard.run(intake, self._handle, needs=[self.payments], batch=100, dead_letters=self.dead)

    @property
    def state(self) -> State:
        return self.guard.circuit("payments").state

    async def _handle(self, deliveries: Sequence[Delivery[Any]]) -> None:
        taken = [(delivery.source.number, delivery.position) for delivery in deliveries]  # type: ignore[union-attr]
        circuit = self.guard.circuit("payments")
        generation, was_closed = circuit.generation, circuit.state is State.CLOSED
        self.calls.append(taken)
        self._in_ramp[generation] += len(taken)
        # By the generation in which they began: what was called before the outage may still be running on a machine that stands still.
        if circuit.state is State.HALF_OPEN and self._in_ramp[generation] > (circuit.limit or 0):
            self.over.append(len(taken))
        try:
            await asyncio.sleep(self.seconds)
            if self.down:
                self.wasted += was_closed
                raise Down
            if self.poison.intersection(taken):
                raise ValueError("a message's own fault")
            for number, position in taken:
                self.processed[number].append(position)
        finally:
            self._in_ramp[generation] -= len(taken)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


async def filled(kafka: KafkaAddress) -> str:
    topic = await kafka.create_topic(f"batches-{uuid.uuid4().hex[:8]}", PARTITIONS)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=10)
    await producer.start()
    for number in range(EACH * PARTITIONS):
        await producer.send(topic, b"x", partition=number % PARTITIONS)
    await producer.stop()
    return topic


async def test_batches_through_poison_outage_and_ramp(kafka: KafkaAddress) -> None:
    """One message at fault per partition, and an outage in the middle: exactly these two are dead letters, every other message is processed
    once and in order, the outage costs a handful of calls, and no batch is longer than the ramp's limit."""
    topic, group = await filled(kafka), f"group-{uuid.uuid4().hex[:8]}"
    worker = Worker(kafka, topic, group)
    worker.poison = {(0, 150), (1, 420)}
    worker.seconds = 0.02
    running = asyncio.create_task(worker.run())
    try:
        await until(lambda: len(worker.processed[0]) >= 100)
        worker.down = True
        await until(lambda: worker.state is State.OPEN)
        await asyncio.sleep(0.5)
        worker.down = False
        await until(lambda: all(len(done) == EACH - 1 for done in worker.processed.values()) and len(worker.dead.letters) == 2)
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert {(letter.source.number, letter.delivery.position) for letter in worker.dead.letters} == worker.poison  # type: ignore[union-attr]
    for number, at_fault in worker.poison:
        assert worker.processed[number] == [position for position in range(EACH) if position != at_fault]
    # Five in a row, and what the other lane had under way.
    assert worker.wasted <= 6
    assert worker.over == []
    assert max(map(len, worker.calls)) == 100
    assert await kafka.committed(group, topic) == dict.fromkeys(range(PARTITIONS), EACH)


async def test_a_worker_that_ends_in_the_middle_commits_what_it_processed(kafka: KafkaAddress) -> None:
    """Cancelled with a batch in its handler: the commit is what was processed, and a second worker does the rest, each message once."""
    topic, group = await filled(kafka), f"group-{uuid.uuid4().hex[:8]}"
    first = Worker(kafka, topic, group)
    first.seconds = 0.05
    running = asyncio.create_task(first.run())
    await until(lambda: sum(map(len, first.processed.values())) >= 300)
    running.cancel()
    await asyncio.wait({running})
    assert await kafka.committed(group, topic) == {number: len(done) for number, done in first.processed.items() if done}
    second = Worker(kafka, topic, group)
    running = asyncio.create_task(second.run())
    try:
        await until(lambda: sum(len(done) for worker in (first, second) for done in worker.processed.values()) >= EACH * PARTITIONS)
    finally:
        running.cancel()
        await asyncio.wait({running})
    for number in range(PARTITIONS):
        assert first.processed[number] + second.processed[number] == list(range(EACH))
    assert await kafka.committed(group, topic) == dict.fromkeys(range(PARTITIONS), EACH)
