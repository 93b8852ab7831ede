"""One world from its beginning to its end, on virtual time: real guards on the broker in memory, whose handlers call the far end.

Theory of operation. Everything runs in one loop whose clock jumps. Each worker is a `Guard` with an intake, a client and a source of chance
of its own; nothing tells one of another. The handler does what a user's does: it calls the service through the dependency, and raises what
the client raises. A backlog that never ends is a feeder's work: it keeps more waiting than all workers can have in hand.

Whatever is measured is measured at the client, so that a consumer without a guard can be measured by the same figures
(`Consumer`, benchmarks/limit_peers.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Protocol

from holdgate import Delivery, Dependency, Guard, Limits, http
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, run_virtual
from holdgate_lab.worlds.answers import CountingClient
from holdgate_lab.worlds.figures import WorldFigures, figures_of
from holdgate_lab.worlds.world import CALL_TIMEOUT, CEILING, LimitedWorld

# A sample four times a second, as a quick dashboard would take.
_SAMPLE_EVERY = 0.25
# For each worker, and more than it can have in hand: a backlog that never ends.
_WAITING = 4 * CEILING
# An empty receive wakes nobody but itself: seldom enough to cost nothing.
_POLL = 5.0
_NAME = "orders"


class ChanceClock(LoopClock):
    """The loop's time, and chance by a seed of its own."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._chance = chance

    def draw(self) -> float:
        """Return a number in [0, 1)."""
        return self._chance.random()


@dataclass(slots=True)
class Scene:
    """What all workers of a run see. `bodies` counts what was processed, by message."""

    world: LimitedWorld
    broker: MemoryBroker
    bodies: Counter[bytes] = field(default_factory=Counter[bytes])
    produced: int = 0


class Consumer(Protocol):
    """One worker: calls through `client` until it is cancelled. `chance` is its own."""

    async def __call__(self, scene: Scene, client: CountingClient, chance: Random) -> None: ...


MakeDependency = Callable[[], Dependency]


def api() -> Dependency:
    """Return the dependency as a user would write it who wants its limits to be found out, whatever they are."""
    return Dependency("api", failures=http.failures, told=http.told, retry_after=http.retry_after, limits=Limits())


def circuit_alone() -> Dependency:
    """Return a dependency without limits, to which a 429 is a failure like every other."""
    return Dependency("api", failures=http.failures, throttled=(), retry_after=http.retry_after)


def guarded(make: MakeDependency = api, *, concurrency: int = CEILING) -> Consumer:
    """Return a worker with a Guard. `make` makes its dependency; `concurrency` is that of its run."""

    async def consume(scene: Scene, client: CountingClient, chance: Random) -> None:
        dependency = make()

        async def handle(delivery: Delivery[Any]) -> None:
            await dependency.call(client.post)
            scene.bodies[delivery.body or b""] += 1

        async with Guard(clock=ChanceClock(chance), signals=False) as guard:
            if scene.world.in_order:
                await guard.run(MemoryIntake(scene.broker, topics=[_NAME], poll_timeout=_POLL), handle, needs=[dependency])
            else:
                intake = MemoryIntake(scene.broker, queues=[_NAME], prefetch=concurrency, poll_timeout=_POLL)
                await guard.run(intake, handle, needs=[dependency], order="none", concurrency=concurrency)

    return consume


def play(world: LimitedWorld, seed: int, consumer: Consumer | None = None, *, seconds: float | None = None) -> WorldFigures:
    """Run a world, and return its figures. The same world, seed and consumer give the same figures on every machine.

    `consumer`: who works. None means holdgate with its defaults. `seconds`: a shorter run. None means the world's own length.
    """
    if seconds is not None:
        world = replace(world, seconds=seconds)
    with _quiet():
        return run_virtual(_play(world, seed, guarded() if consumer is None else consumer))


async def _play(world: LimitedWorld, seed: int, consumer: Consumer) -> WorldFigures:
    chance = Random(f"{world.name}/{seed}")
    far_end = world.make(chance)
    scene = Scene(world, MemoryBroker(topics={_NAME: 1}) if world.in_order else MemoryBroker(queues=[_NAME]))
    clients = [CountingClient(far_end, CALL_TIMEOUT) for _ in range(world.workers)]
    samples: list[int] = []
    workers = [_begin(consumer, scene, client, Random(f"{world.name}/{seed}/{number}")) for number, client in enumerate(clients)]
    others = [asyncio.create_task(_feed(scene)), asyncio.create_task(_sample(clients, samples))]
    try:
        await asyncio.wait([*workers, *others], timeout=world.seconds, return_when=asyncio.FIRST_EXCEPTION)
        figures = figures_of(world, clients, samples)
    finally:
        await _end([*workers, *others])
    twice = sum(count - 1 for count in scene.bodies.values())
    if twice:
        raise AssertionError(f"{world.name}, seed {seed}: {twice} messages were processed twice, and nothing was lost or taken away")
    return figures


def _begin(consumer: Consumer, scene: Scene, client: CountingClient, chance: Random) -> asyncio.Task[None]:
    async def work() -> None:
        await asyncio.sleep(chance.random() * 0.01)  # no two processes begin in the same instant
        await consumer(scene, client, chance)

    return asyncio.create_task(work())


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel everything, and raise what anything has failed with."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def _feed(scene: Scene) -> None:
    bursts = scene.world.bursts
    while True:
        if bursts is not None:
            _produce(scene, bursts.count)
            await asyncio.sleep(bursts.every)
        else:
            _produce(scene, scene.world.workers * _WAITING - (scene.produced - len(scene.bodies)))
            await asyncio.sleep(_SAMPLE_EVERY)


def _produce(scene: Scene, count: int) -> None:
    """Store so many messages, and ring once for all: a ring for each would wake everybody who waits, as often."""
    model, now = scene.broker.model, scene.broker.now()
    for _ in range(count):
        model.produce(_NAME, b"%d" % scene.produced, now)
        scene.produced += 1
    if count > 0:
        scene.broker.changed()


async def _sample(clients: Sequence[CountingClient], samples: list[int]) -> None:
    while True:
        await asyncio.sleep(_SAMPLE_EVERY)
        samples.extend(client.in_flight for client in clients)


@contextmanager
def _quiet() -> Generator[None]:
    """While this block runs, the guards write no log: they are nobody's."""
    log = logging.getLogger("holdgate")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
