"""The world of a cell on Kafka."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.faults import story
from tests.faults.cells import Broker, Ground
from tests.faults.world import OPEN, World
from tests.integration.kafka import scene as kafka_scene
from tests.ledger.check import Expected
from tests.ledger.fleet import Fleet

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.ledger import Entry
    from tests.servers.kafka_address import KafkaAddress

# How members of confluent-kafka share partitions: what goes and comes is told, and the rest is worked on.
CONFLUENT = "cooperative"
SCRIPT = kafka_scene.SCRIPT.parents[2] / "faults" / "worker_kafka.py"


class Scene(kafka_scene.Scene):
    """A scene whose workers are those of the table, and come in by `bootstrap`."""

    def __init__(self, kafka: KafkaAddress, folder: Path, bootstrap: str) -> None:
        super().__init__(kafka, folder)
        self.fleet = Fleet(SCRIPT, folder, "--bootstrap", bootstrap, "--group", self.group)
        self.ledger = self.fleet.ledger


class KafkaWorld(World):
    """Topics, a group, and what the group has committed."""

    scene: Scene

    @property
    def lanes(self) -> int:  # type: ignore[override]
        """One handler for each partition."""
        return self.cell.fault.partitions

    @property
    def sources(self) -> int:  # type: ignore[override]
        """Partitions of both topics."""
        return self.lanes + 1

    async def make_sources(self) -> None:
        self.payments = await self.scene.topic("payments", partitions=self.lanes)
        self.mail = await self.scene.topic("mail", partitions=1)
        if self.cell.fault.dead:
            self.dead = await self.scene.kafka.create_topic(f"dead-{uuid.uuid4().hex[:8]}")
            self.scene._stack.push_async_callback(self.scene._delete_topic, self.dead)

    def arguments(self) -> tuple[str, ...]:
        dead = ("--dead", self.dead) if self.dead else ()
        session = () if self.cell.fault.session is None else ("--session", str(self.cell.fault.session))
        client = ("--client", CONFLUENT) if self.cell.broker is Broker.CONFLUENT else ()
        return ("--open", str(OPEN), "--commit-every", "0.3", *client, *session, *dead, *self.worker())

    async def produce(self, count: int) -> None:
        await self.scene.produce(self.payments, count // self.lanes)

    async def produce_mail(self, count: int) -> None:
        await self.scene.produce(self.mail, count)

    async def produce_poison(self) -> None:
        for number, body in enumerate((b"reject", b"broken")):
            self.poison.add((self.payments, number, await self.scene.poison(self.payments, number, body)))

    async def oldest(self) -> tuple[dict[int, int], list[tuple[str, int, int]]]:
        """Return where the last fifth of what is not committed begins in each partition, and the messages before."""
        topic = self.payments
        ends = await self.scene.kafka.end_offsets(topic)
        before = {number: end - (end - self.scene.committed.get((topic, number), 0)) // 5 for number, end in ends.items()}
        return before, [(topic, number, offset) for number, begin in before.items() for offset in range(begin)]

    async def letters(self) -> set[tuple[str, int, int]]:
        told = [dict(record.headers) for record in await self.scene.kafka.read(self.dead)]
        return {(one["holdgate-source"].decode(), int(one["holdgate-partition"]), int(one["holdgate-offset"])) for one in told}

    async def settled(self) -> None:
        await self.scene.committed_up_to(self.scene._produced)

    async def expected(self, entries: list[Entry]) -> Expected:
        committed = {}
        for topic in (self.payments, self.mail):
            committed |= {(topic, number): offset for number, offset in (await self.scene.kafka.committed(self.scene.group, topic)).items()}
        fault = self.cell.fault
        # One after the other: where there are more, the first has left before.
        assignments = self.sources * len(self.scene.fleet.workers) if fault.quiet else None
        return Expected(
            committed=committed,
            duplicates=story.finished_above_the_watermark(entries),
            poison=self.poison,
            assignments=assignments,
            in_hand=500 + kafka_scene.POLLS,
            growth=kafka_scene.GROWTH,
            recovers_within=self.recovers_within,
            grace=fault.grace,
            takeovers=fault.ground is Ground.CLUSTER,
        )
