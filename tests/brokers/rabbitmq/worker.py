"""A guarded run in the test's own process: a dependency that can be down, messages at fault, and what became of every call."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from holdgate import CircuitSettings, Delivery, Dependency, Guard, RetryPolicy, State
from holdgate.testing import MemoryDeadLetters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from holdgate.brokers.rabbitmq import RabbitMQIntake

PATIENCE = 60.0  # only a failing test waits so long
# Short waits, so that an outage of half a second has openings and a ramp.
QUICK = CircuitSettings(open_duration=0.3, open_jitter=0.0)
# As short, so that a message at fault is found out within a second.
IMPATIENT = RetryPolicy(attempts=3, initial_backoff=0.01, max_backoff=0.05)


class Down(Exception):
    """What the dependency fails with."""


class Worker:
    """Runs `intake`. Bodies in `poison` always fail by their own fault. `work` is awaited with each body, or each batch's bodies."""

    def __init__(self, intake: RabbitMQIntake, *, poison: Collection[bytes] = (), seconds: float = 0.0, **settings: Any) -> None:
        self.payments = Dependency("payments", failures=Down, settings=QUICK)
        self.guard = Guard(self.payments, signals=False, drain_timeout=0.2)
        self.dead = MemoryDeadLetters()
        self.down = False
        self.poison = set(poison)
        self.seconds = seconds
        self.calls: list[list[bytes]] = []
        self.processed: list[bytes] = []
        self.failed_calls = 0
        self.over: list[int] = []  # calls above the limit of a ramp; what began before it is not in it
        self.redelivered = 0
        self.running = 0
        self.most_at_once = 0
        self._in_ramp: Counter[int] = Counter()  # by the generation of the circuit in which they began
        self._intake = intake
        self._settings = {"dead_letters": self.dead, "retry": IMPATIENT, **settings}

    async def run(self) -> None:
        handler: Any = self.batch if "batch" in self._settings else self.one
        async with self.guard:
            await self.guard.run(self._intake, handler, needs=[self.payments], **self._settings)

    @property
    def state(self) -> State:
        return self.guard.circuit("payments").state

    @property
    def letters(self) -> list[bytes]:
        """The bodies of the dead letters."""
        return sorted(letter.body or b"" for letter in self.dead.letters)

    async def one(self, delivery: Delivery[Any]) -> None:
        await self.batch([delivery])

    async def batch(self, deliveries: Sequence[Delivery[Any]]) -> None:
        bodies = [delivery.body or b"" for delivery in deliveries]
        self.redelivered += sum(1 for delivery in deliveries if delivery.redelivered)
        generation = self._begin(bodies)
        try:
            await self.work(bodies)
        finally:
            self.running -= len(bodies)
            self._in_ramp[generation] -= len(bodies)
        self.processed += bodies

    async def work(self, bodies: Sequence[bytes]) -> None:
        await asyncio.sleep(self.seconds)
        if self.down:
            self.failed_calls += 1
            raise Down
        if self.poison.intersection(bodies):
            raise ValueError("a message's own fault")

    def _begin(self, bodies: list[bytes]) -> int:
        circuit = self.guard.circuit("payments")
        generation = circuit.generation
        self.calls.append(bodies)
        self.running += len(bodies)
        self._in_ramp[generation] += len(bodies)
        self.most_at_once = max(self.most_at_once, self.running)
        # What was admitted in the very step in which the circuit opened may still begin: it is one of those that an outage wastes.
        if circuit.state is State.HALF_OPEN and self._in_ramp[generation] > (circuit.limit or 0):
            self.over.append(len(bodies))
        return generation

    async def until(self, condition: Callable[[Self], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                await asyncio.sleep(0.01)

    async def outage(self) -> None:
        """Down until the circuit is open and a probe has failed; then up again."""
        self.down = True
        await self.until(lambda at: at.state is State.OPEN)
        before = self.failed_calls
        await self.until(lambda at: at.failed_calls > before)
        self.down = False


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[Worker]:
    """Run it, and end it in order; what the run raises is raised."""
    running = asyncio.create_task(worker.run())
    watcher = asyncio.current_task()
    assert watcher is not None
    running.add_done_callback(lambda task: None if task.cancelled() or task.exception() is None else watcher.cancel())
    try:
        yield worker
    finally:
        if not running.done():
            await worker.guard.stop()
        await asyncio.wait({running})
        running.result()
