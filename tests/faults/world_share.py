"""The world of a cell on a share group of Kafka: topics that are queues, and what their broker delivers again."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Self

from aiokafka import AIOKafkaProducer

from holdgate.brokers.share.offsets import GroupOffsets
from tests.brokers.share.groups import ShareGroups
from tests.faults import story
from tests.faults.cells import LOCK, State
from tests.faults.world import OPEN, World
from tests.integration.kafka import scene as kafka_scene
from tests.ledger.check import Expected
from tests.ledger.fleet import Fleet
from tests.ledger.ledger import mark

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Entry, Mark
    from tests.servers.kafka_address import KafkaAddress

SCRIPT = kafka_scene.SCRIPT.parents[2] / "faults" / "worker_share.py"
LIMIT = 10
LANES = 8
# So few that five failures are three rounds: between the first and the last is time for a fault.
TRIPPING_LANES = 2
# A poll gives whole batches of the producer, so batches are small: so many records are in hand at most, of each of two consumers.
TOGETHER = 5
IN_HAND = 15
MOST_IN_HAND = 2 * (IN_HAND + TOGETHER)
# How many records a hold leaves in memory: what another worker has handled meanwhile is handled again.
COPIES = 10
PARTITIONS = 4
SETTLED_WITHIN = 20.0
LOOK_EVERY = 0.2


class Scene(kafka_scene.Scene):
    """A scene whose workers are members of one share group, and come in by `bootstrap`."""

    def __init__(self, kafka: KafkaAddress, folder: Path, bootstrap: str) -> None:
        super().__init__(kafka, folder)
        self._folder = folder
        self._bootstrap = bootstrap
        self._numbers: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        groups = ShareGroups(self.kafka.bootstrap)
        self.group = await groups.create(lock=LOCK, limit=LIMIT)
        self.fleet = Fleet(SCRIPT, self._folder, "--bootstrap", self._bootstrap, "--group", self.group)
        self.ledger = self.fleet.ledger
        return self

    async def __aexit__(self, *details: object) -> None:
        # Topics and dependencies last: while workers run, their end would only look like one more fault.
        async with self._stack, self.fleet:
            pass

    async def start(self, count: int = 1, *arguments: str) -> list[Worker]:
        """Start workers, and return them when each has every topic."""
        for topic, need in self._needs.items():
            arguments += ("--topic", f"{topic}={need}")
        for name, dependency in self.dependencies.items():
            arguments += ("--dependency", f"{name}={dependency.address}")
        started = self.fleet.start(count, *arguments)
        await self.until(lambda entries: all(took(entries, worker.name) >= self._needs.keys() for worker in started))
        return started

    async def produce(self, topic: str, each: int, *, body: bytes = b"", keys: int = 0) -> Mark:
        """Write so many messages, in small batches. `body` is the word of their headers; there are no keys."""
        assert not keys
        before = mark()
        first = self._numbers[topic]
        self._numbers[topic] += each
        numbers = range(first, first + each)
        for number in numbers:
            self.writer.write("produced", topic=topic, partition=0, offset=number)
        headers = [*kafka_scene.SECRET, ("word", body)]
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap, acks="all")
        await producer.start()
        try:
            for begin in range(0, each, TOGETHER):
                sent = [await producer.send(topic, b"%d" % number, headers=headers) for number in numbers[begin : begin + TOGETHER]]
                await asyncio.gather(*sent)
        finally:
            await producer.stop()
        return before

    def next_number(self, topic: str) -> int:
        """Return the number of the message that is written next."""
        return self._numbers[topic]

    async def drained(self) -> None:
        """End the running workers with SIGTERM; each must end in order, and leave nothing that the broker would deliver again."""
        await super().drained()
        offsets = GroupOffsets({"bootstrap.servers": self.kafka.bootstrap}, self.group)
        try:
            async with asyncio.timeout(SETTLED_WITHIN):
                while any((await offsets.lags(list(self._needs))).values()):
                    await asyncio.sleep(LOOK_EVERY)
        finally:
            await offsets.close()


def took(entries: list[Entry], who: str) -> set[str]:
    """Return the topics that a worker has got."""
    return {entry.facts["took"] for entry in story.told(entries, "note", who) if "took" in entry.facts}


class ShareWorld(World):
    """Topics with a share group, and what comes back to it."""

    sources = 2
    partitions = PARTITIONS
    scene: Scene

    @property
    def lanes(self) -> int:  # type: ignore[override]
        """How many handlers a worker runs at once."""
        return TRIPPING_LANES if self.cell.state is State.TRIPPING else LANES

    async def make_sources(self) -> None:
        self.payments = await self.scene.topic("payments", partitions=PARTITIONS)
        self.mail = await self.scene.topic("mail", partitions=1)
        if self.cell.fault.dead:
            self.dead = await self.scene.kafka.create_topic(f"dead-{uuid.uuid4().hex[:8]}")
            self.scene._stack.push_async_callback(self.scene._delete_topic, self.dead)

    def arguments(self) -> tuple[str, ...]:
        dead = ("--dead", self.dead) if self.dead else ()
        usual = ("--open", str(OPEN), "--in-hand", str(IN_HAND), "--concurrency", str(self.lanes))
        return (*usual, *dead, *self.worker())

    def has_work(self, entries: list[Entry], who: str) -> bool:
        """Return whether this worker has both topics."""
        return took(entries, who) >= {self.payments, self.mail}

    async def produce(self, count: int) -> None:
        await self.scene.produce(self.payments, count)

    async def produce_mail(self, count: int) -> None:
        await self.scene.produce(self.mail, count)

    async def produce_poison(self) -> None:
        for word in (b"reject", b"broken"):
            self.poison.add((self.payments, 0, self.scene.next_number(self.payments)))
            await self.scene.produce(self.payments, 1, body=word)

    async def oldest(self) -> tuple[dict[int, int], list[tuple[str, int, int]]]:
        """Return where the last fifth of what is not processed begins in each partition, and the messages before."""
        waiting = {number for topic, _, number in story.missing(self.entries()) if topic == self.payments}
        before: dict[int, int] = {}
        gone: list[tuple[str, int, int]] = []
        records = await self.scene.kafka.read(self.payments)
        for partition in range(PARTITIONS):
            mine = [record for record in records if record.partition == partition and int(record.value) in waiting]
            first = mine[len(mine) * 4 // 5] if mine else None
            if first is not None:
                before[partition] = first.offset
                gone += [(self.payments, 0, int(record.value)) for record in mine if record.offset < first.offset]
        return before, gone

    async def letters(self) -> set[tuple[str, int, int]]:
        return set(await self._letters())

    async def _letters(self) -> list[tuple[str, int, int]]:
        return [(self.payments, 0, int(record.value)) for record in await self.scene.kafka.read(self.dead)]

    async def settled(self) -> None:
        """A drain accepts all that is finished; `drained` looks that nothing is left."""

    async def judge(self) -> list[str]:
        wrong = await super().judge()
        if self.dead:
            wrong += [f"dead letters: {place} has {count}" for place, count in Counter(await self._letters()).items() if count > 1]
        return wrong

    async def expected(self, entries: list[Entry]) -> Expected:
        fault = self.cell.fault
        return Expected(
            order=None,
            duplicates=self._again(entries),
            poison=self.poison,
            in_hand=MOST_IN_HAND,
            growth=kafka_scene.GROWTH,
            recovers_within=self.recovers_within,
            grace=fault.grace,
        )

    def complaints(self, entries: list[Entry]) -> list[str]:
        found: list[str] = []
        lost = self._losses(entries)
        if self.cell.fault.quiet and lost:
            found.append(f"not quiet: lost {lost} times")
        most = max((entry.facts["deliveries"] for entry in story.told(entries, "called")), default=0)
        allowed = LIMIT - 1 if not self.cell.fault.quiet else 1 + self._given_back(entries)
        if most > allowed:
            found.append(f"deliveries: a message was delivered {most} times, allowed {allowed}")
        return found

    def _again(self, entries: list[Entry]) -> int:
        """How many messages may be handled again: those in hand where a worker was lost, late accepts, copies where there are others."""
        late = sum(int(entry.facts.get("late", 0)) for entry in story.told(entries, "note"))
        copies = COPIES * self._given_back(entries) if len(self.scene.fleet.workers) > 1 else 0
        return MOST_IN_HAND * self._losses(entries) + late + copies

    def _given_back(self, entries: list[Entry]) -> int:
        return story.noted(entries, "gone", "given back") + len(self.scene.fleet.workers)

    def _losses(self, entries: list[Entry]) -> int:
        """How often a worker may have lost what it had finished and not accepted: by its end, or because it stood still."""
        crashed = [worker for worker in self.scene.fleet.workers if (worker.exit_code or 0) != 0]
        ended_in_it = 0 if self.cell.fault.quiet or self.cell.state is not State.SHUTTING_DOWN else 1
        return story.noted(entries, "gone", "lost") + len(crashed) + ended_in_it
