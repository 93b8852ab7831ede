"""The world of a cell on RabbitMQ."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.faults import story
from tests.faults.cells import State
from tests.faults.world import OPEN, World
from tests.integration.rabbitmq import scene as rabbitmq_scene
from tests.ledger.check import Expected
from tests.ledger.fleet import Fleet
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ledger.ledger import Entry
    from tests.servers.rabbitmq_address import RabbitMQAddress

SCRIPT = rabbitmq_scene.SCRIPT.parents[2] / "faults" / "worker_rabbitmq.py"
PREFETCH = 20
LANES = 8
# So few that five failures are three rounds: between the first and the last is time for a fault.
TRIPPING_LANES = 2


class Scene(rabbitmq_scene.Scene):
    """A scene whose workers are those of the table, and come in by `url`."""

    def __init__(self, rabbitmq: RabbitMQAddress, folder: Path, url: str) -> None:
        super().__init__(rabbitmq, folder)
        self.fleet = Fleet(SCRIPT, folder, "--url", f"{url}?reconnect_interval=0.3&heartbeat=2")
        self.ledger = self.fleet.ledger


class RabbitMQWorld(World):
    """Quorum queues, and what comes back to them."""

    sources = 2
    scene: Scene

    @property
    def lanes(self) -> int:  # type: ignore[override]
        """How many handlers a worker runs at once."""
        return TRIPPING_LANES if self.cell.state is State.TRIPPING else LANES

    async def make_sources(self) -> None:
        self.payments = await self.scene.queue({**QUORUM, **self.cell.fault.queue}, "payments")
        self.mail = await self.scene.queue(QUORUM, "mail")
        if self.cell.fault.dead:
            self.dead = await self.scene.rabbitmq.declare(f"dead-{uuid.uuid4().hex[:8]}", QUORUM)
            self.scene._stack.push_async_callback(self.scene._delete, self.dead)

    def arguments(self) -> tuple[str, ...]:
        dead = ("--dead", self.dead) if self.dead else ()
        usual = ("--open", str(OPEN), "--prefetch", str(PREFETCH), "--concurrency", str(self.lanes))
        return (*usual, *dead, *self.worker())

    async def produce(self, count: int) -> None:
        await self.scene.produce(self.payments, count)

    async def produce_mail(self, count: int) -> None:
        await self.scene.produce(self.mail, count)

    async def produce_poison(self) -> None:
        number = self.scene._produced[self.payments]
        await self.scene.produce(self.payments, 1, headers={"word": "reject"})
        self.poison.add((self.payments, 0, number))

    async def letters(self) -> set[tuple[str, int, int]]:
        return {(self.payments, 0, int(letter.body)) for letter in await self.scene.rabbitmq.waiting_once_free(self.dead)}

    async def settled(self) -> None:
        """A drain sends every ack; `drained` looks that the queues are empty."""

    async def expected(self, entries: list[Entry]) -> Expected:
        fault = self.cell.fault
        return Expected(
            order=None,
            duplicates=PREFETCH * self._losses(entries),
            poison=self.poison,
            in_hand=PREFETCH,
            growth=rabbitmq_scene.GROWTH,
            recovers_within=self.recovers_within,
            grace=fault.grace,
        )

    def complaints(self, entries: list[Entry]) -> list[str]:
        found: list[str] = []
        lost = self._losses(entries)
        if self.cell.fault.quiet and lost:
            found.append(f"not quiet: {lost} channels lost")
        # A drain gives back what is in hand, and each loss what was; nothing else counts.
        given_back = story.noted(entries, "gone", "given back") + len(self.scene.fleet.workers)
        most = max((entry.facts["returns"] for entry in story.told(entries, "called")), default=0)
        if most > lost + given_back:
            found.append(f"returns: a message came back {most} times, with {lost} losses and {given_back} given back")
        if not story.told(entries, "acked"):
            found.append("acks: none was written down, so that an ack of an unprocessed message could not be found")
        return found

    def _losses(self, entries: list[Entry]) -> int:
        """How often a worker may have lost what it had finished and not acked: with its channel, or by its end."""
        crashed = [worker for worker in self.scene.fleet.workers if (worker.exit_code or 0) != 0]
        ended_in_it = 0 if self.cell.fault.quiet or self.cell.state is not State.SHUTTING_DOWN else 1
        return story.noted(entries, "gone", "lost") + len(crashed) + ended_in_it
