"""Workers on one share group through outages, a kill, a join, slow and poison messages, on the model and in virtual time; all by one seed.

What happens is drawn first, as a `Course`. Then the real guard and the real intake play it, several of them on one group. `wrong` says what
must not be in the end. By hand, for more seeds than the tests have: `python -m tests.brokers.share.simulation 1000`.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.share.model import ModelBroker, ModelClient

from holdgate import CircuitSettings, Delivery, Dependency, Guard, Reject, RetryPolicy
from holdgate.brokers.share import ShareIntake
from holdgate.brokers.share import intake as intake_module
from holdgate.testing import LoopClock, MemoryDeadLetters, run_virtual
from holdgate.testing.memory import ShareState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

TOPIC = "orders"
# A group of ten minutes' outages, at its shortest lock and Kafka's own limit.
LOCK = 15.0
LIMIT = 5
PARTITIONS = 3
# Kafka's group.share.session.timeout.ms: so long a dead member keeps its partitions.
SESSION = 45.0
WORK = 0.2
# Looks into an empty topic are most of what a run costs.
POLL = 1.0
# Longer than a record may stay in hand: its handler is interrupted, and the record goes back, once.
SLOW = 2 * LOCK
# Seconds before an outage at which messages come that it finds in hand; every outage begins later than that.
BEFORE = 0.3
# After the last of what was drawn everything must be over by then.
PATIENCE = 3600.0


class Down(Exception):
    """What the dependency fails with."""


@dataclass(frozen=True, slots=True)
class Course:
    """What happens in one run; times in seconds. `kill` and `join` None mean that nobody is killed or joins.

    `overflow` says whether records near their limit have a topic to go to. Without one nobody is killed: a record that is delivered for the
    last time is kept in memory then, and dies with its process.
    """

    workers: int
    bodies: tuple[bytes, ...]
    outages: tuple[tuple[float, float], ...]
    kill: float | None
    join: float | None
    in_hand: int
    overflow: bool

    @property
    def parts(self) -> list[tuple[bytes, ...]]:
        """What is written at the beginning, and just before each outage: that meets it in hand."""
        count = len(self.outages) + 1
        return [self.bodies[number::count] for number in range(count)]

    @property
    def ends(self) -> float:
        """When the last outage is over."""
        return max(end for _, end in self.outages)


def drawn(seed: int) -> Course:
    """Return what this seed draws."""
    chance = random.Random(seed)
    bodies = []
    for number in range(chance.randint(30, 150)):
        kind = chance.choices(("good", "poison", "slow"), (94, 3, 3))[0]
        bodies.append(f"{kind}-{number}".encode())
    outages: list[tuple[float, float]] = []
    at = 0.0
    for _ in range(chance.randint(1, 2)):
        begin = at + chance.uniform(0.5, 20.0)
        at = begin + chance.choice((4.0, 60.0, 600.0)) * chance.uniform(0.5, 1.5)
        outages.append((begin, at))
    overflow = chance.random() < 0.6
    return Course(
        workers=chance.randint(1, 4),
        bodies=tuple(bodies),
        outages=tuple(outages),
        kill=chance.uniform(0.5, at) if overflow and chance.random() < 0.7 else None,
        join=chance.uniform(0.5, at) if chance.random() < 0.5 else None,
        in_hand=chance.choice((1, 5, 20)),
        overflow=overflow,
    )


@dataclass(slots=True)
class Ended:
    """How a run has ended. `deliveries` is how often the broker has delivered each message; the others count by message, too."""

    course: Course
    handled: Counter[bytes] = field(default_factory=Counter[bytes])
    letters: Counter[bytes] = field(default_factory=Counter[bytes])
    overflowed: Counter[bytes] = field(default_factory=Counter[bytes])
    archived: list[bytes] = field(default_factory=list[bytes])
    waiting: list[bytes] = field(default_factory=list[bytes])
    deliveries: Mapping[bytes, int] = field(default_factory=dict[bytes, int])

    @property
    def most(self) -> int:
        """How often a message may have been delivered, in the worst of cases.

        Once; twice more for each outage, for those who had it in hand and for all idle workers together; once more for the kill, and for a
        slow handler, whose hand goes back with all that is in it, as often as one in hundreds of seeds has met another such hand.
        """
        return 1 + 2 * len(self.course.outages) + (self.course.kill is not None) + 2


def wrong(ended: Ended) -> list[str]:
    """Return a sentence for each invariant that does not hold."""
    out = ended.handled + ended.letters + ended.overflowed
    good = [body for body in ended.course.bodies if not body.startswith(b"poison")]
    poison = [body for body in ended.course.bodies if body.startswith(b"poison")]
    found = [f"{_named(body)} is still in the group" for body in ended.waiting]
    found += [f"{_named(body)} is lost: neither handled nor anywhere else" for body in good if not out[body]]
    found += [f"{_named(body)} was archived, and is no letter and not handled" for body in ended.archived if not out[body]]
    found += [f"{_named(body)} is a dead letter though only the dependency failed" for body in good if ended.letters[body]]
    found += [f"{_named(body)} is poison, and no letter" for body in poison if not ended.letters[body] + ended.overflowed[body]]
    found += [
        f"{_named(body)} was delivered {count} times, allowed {ended.most}"
        for body, count in ended.deliveries.items()
        if count > ended.most
    ]
    return found


def _named(body: bytes) -> str:
    return body.decode()


class MortalClient(ModelClient):
    """A client whose process may die: from then on no call of it returns, and its locks lapse."""

    dead = False
    missed = False  # by the broker: its session is over

    @property
    def is_member(self) -> bool:
        """As it is; a dead one until its session is over."""
        return super().is_member and not self.missed

    def die(self) -> None:
        """End as a process does that is killed."""
        self.dead = True
        asyncio.get_running_loop().call_later(SESSION, setattr, self, "missed", True)

    async def poll(self, timeout: float) -> Sequence[Any]:
        """As it does."""
        await self._live()
        found = await super().poll(timeout)
        await self._live()
        return found

    async def commit(self, accepted: Collection[Any], released: Collection[Any], within: float) -> Mapping[int, BaseException]:
        """As it does."""
        await self._live()
        return await super().commit(accepted, released, within)

    async def close(self, within: float) -> None:
        """As it does; a dead one says goodbye to nobody."""
        if not self.dead:
            await super().close(within)

    async def _live(self) -> None:
        if self.dead:
            await asyncio.Event().wait()


class SimulatedWorker:
    """A guard with one run. `killed` stops it in the middle of whatever it does."""

    def __init__(self, world: ShareWorld, number: int, seed: int) -> None:
        chance = random.Random(f"{seed} {number}")
        self.name = f"w{number}"
        self.world = world
        self.killed = False
        payments = Dependency("payments", failures=Down, settings=CircuitSettings())
        self.guard = Guard(payments, signals=False, clock=LoopClock(tuple(chance.random() for _ in range(997))))
        self.letters, self.overflow = MemoryDeadLetters(), MemoryDeadLetters()
        self.task = asyncio.ensure_future(self._run(payments))

    async def _run(self, payments: Dependency) -> None:
        world = self.world
        settings = {"bootstrap.servers": "model", "group.id": "queue", "client.id": self.name}
        overflow = self.overflow if world.course.overflow else None
        intake = ShareIntake(settings, TOPIC, in_hand=world.course.in_hand, poll_timeout=POLL, overflow=overflow)
        retry = RetryPolicy(attempts=3, initial_backoff=0.1, max_backoff=1.0)
        async with self.guard:
            await self.guard.run(intake, self.handle, needs=[payments], retry=retry, dead_letters=self.letters)

    async def handle(self, delivery: Delivery[Any]) -> None:
        """Work a little, call the dependency, and note the success; a dead process does nothing more."""
        body = delivery.body or b""
        first = not self.world.seen[body]
        self.world.seen[body] += 1
        await asyncio.sleep(SLOW if first and body.startswith(b"slow") else WORK)
        if self.killed:
            await asyncio.Event().wait()
        if body.startswith(b"poison"):
            raise Reject("it says so")
        if self.world.is_down:
            raise Down
        self.world.ended.handled[body] += 1

    def kill(self) -> None:
        """End as kill -9 does."""
        self.killed = True
        for client in self.world.broker.clients:
            if isinstance(client, MortalClient) and client in self.world.clients_of(self.name):
                client.die()


class ShareWorld:
    """The group, its workers and what is drawn for them. `worker` makes one; a test of the checker gives a mistaken one."""

    def __init__(self, seed: int, worker: type[SimulatedWorker] = SimulatedWorker) -> None:
        self.course = drawn(seed)
        self.broker = ModelBroker(TOPIC, lock=LOCK, limit=LIMIT, partitions=PARTITIONS)
        self.ended = Ended(self.course)
        self.seen: Counter[bytes] = Counter()
        self.workers: list[SimulatedWorker] = []
        self._seed = seed
        self._worker = worker
        self._clients: list[tuple[str, ModelClient]] = []

    def make_client(self, topic: str, settings: Mapping[str, Any]) -> ModelClient:
        """Stand in for ShareClient."""
        made = MortalClient(self.broker, topic, settings)
        self._clients.append((settings["client.id"], made))
        return made

    def clients_of(self, name: str) -> list[ModelClient]:
        """Return the clients that a worker has made."""
        return [client for whose, client in self._clients if whose == name]

    @property
    def is_down(self) -> bool:
        """Whether the dependency is down now."""
        now = asyncio.get_running_loop().time() - self._began
        return any(begin <= now < end for begin, end in self.course.outages)

    async def run(self) -> Ended:
        """Play the course, wait until all is over, end the workers in order, and return what came of it."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        parts = self.course.parts
        self.broker.produce(TOPIC, *parts[0])
        for part, (begin, _) in zip(parts[1:], self.course.outages, strict=True):
            loop.call_later(begin - BEFORE, self.broker.produce, TOPIC, *part)
        for _ in range(self.course.workers):
            self._start()
        if self.course.kill is not None:
            loop.call_later(self.course.kill, self._kill)
        if self.course.join is not None:
            loop.call_later(self.course.join, self._start)
        await asyncio.sleep(self.course.ends + 1.0)
        end = loop.time() + PATIENCE
        while self.group.waiting() and loop.time() < end:
            await asyncio.sleep(1.0)
        await self._stop()
        return self._counted()

    @property
    def group(self) -> Any:
        """The model's group."""
        return self.broker.groups[TOPIC]

    def _start(self) -> None:
        self.workers.append(self._worker(self, len(self.workers), self._seed))

    def _kill(self) -> None:
        """Kill the first one, and start another in its place: what has it in hand is locked until the lock lapses."""
        self.workers[0].kill()
        self._start()

    async def _stop(self) -> None:
        for worker in self.workers:
            if worker.killed or worker.task.done():
                worker.task.cancel()
            else:
                await worker.guard.stop()
        await asyncio.wait([worker.task for worker in self.workers])
        for worker in self.workers:
            if not worker.killed and not worker.task.cancelled():
                worker.task.result()

    def _counted(self) -> Ended:
        ended = self.ended
        for worker in self.workers:
            ended.letters.update(letter.body or b"" for letter in worker.letters.letters)
            ended.overflowed.update(letter.body or b"" for letter in worker.overflow.letters)
        records = [self.group.record(number) for number in range(len(self.course.bodies))]
        ended.archived = [record.message.body or b"" for record in records if record.state is ShareState.ARCHIVED]
        ended.waiting = [record.message.body or b"" for record in self.group.waiting()]
        ended.deliveries = {record.message.body or b"": record.deliveries for record in records}
        return ended


def play(seed: int, worker: type[SimulatedWorker] = SimulatedWorker) -> Ended:
    """Play one seed in virtual time."""

    async def whole() -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            world = ShareWorld(seed, worker)
            world.broker.install(patch)
            patch.setattr(intake_module, "ShareClient", world.make_client)
            return await world.run()

    return run_virtual(whole())


if __name__ == "__main__":
    spread: Counter[int] = Counter()
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 100):
        came = play(number)
        spread.update(came.deliveries.values())
        for sentence in wrong(came):
            print(f"seed {number}: {sentence}")
    print("messages by deliveries:", dict(sorted(spread.items())))
