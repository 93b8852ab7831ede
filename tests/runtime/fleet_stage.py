"""A fleet of guards in one process and on virtual time: each with messages of its own, one log for all, and one dependency that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

from tests.runtime.stage import Down, broker_with, until

from holdgate import CircuitSettings, Delivery, Dependency, Guard, State
from holdgate.runtime.fleet import Fleet
from holdgate.testing import LoopClock, MemoryIntake
from holdgate.testing.memory import MemoryFleetLog, MemoryLogServer

MANY = 5000  # messages of each worker: none runs out of them


class Payments:
    """The service that all workers call."""

    def __init__(self) -> None:
        self.is_down = False
        self.calls = 0
        self.failed = 0
        self.running = 0
        self.most = 0  # calls at a time, since `watch`
        self.at: list[float] = []  # when calls were made

    async def call(self, seconds: float) -> None:
        """One call."""
        self.calls += 1
        self.at.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)
            if self.is_down:
                self.failed += 1
                raise Down
        finally:
            self.running -= 1


class FleetWorker:
    """One guard with a run, its log, and what its handler has done."""

    def __init__(self, payments: Payments, server: MemoryLogServer | None, seed: int, **settings: Any) -> None:
        draws = Random(seed)
        self.log = None if server is None else MemoryFleetLog(server)
        self.events: list[Any] = []
        self.payments = payments
        self.broker = broker_with(MANY)
        self.intake = MemoryIntake(self.broker, topics=["orders"])
        fleet = None if self.log is None else settings.pop("fleet", Fleet(self.log))
        circuit, asks = settings.pop("circuit", CircuitSettings()), settings.pop("retry_after", None)
        self.dependency = Dependency("payments", failures=Down, settings=circuit, retry_after=asks)
        self.guard = Guard(
            signals=False,
            clock=LoopClock(tuple(draws.random() for _ in range(997))),
            observers=[self.events.append],
            fleet=fleet,
            **settings,
        )
        self.started = 0

    async def handle(self, delivery: Delivery[Any]) -> None:
        self.started += 1
        await self.payments.call(0.1)

    @property
    def state(self) -> State:
        return self.guard.circuit("payments").state

    def of(self, kind: type) -> list[Any]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def fleet_of(
    size: int, payments: Payments, server: MemoryLogServer | None, *, concurrency: int = 1, **settings: Any
) -> AsyncIterator[list[FleetWorker]]:
    """So many workers, each with a run, up and known to each other."""
    workers = [FleetWorker(payments, server, seed, **settings) for seed in range(size)]
    async with AsyncExitStack() as stack:
        runs: list[asyncio.Task[None]] = []
        for worker in workers:
            await stack.enter_async_context(worker.guard)
            run = worker.guard.run(worker.intake, worker.handle, needs=[worker.dependency], concurrency=concurrency, order="none")
            runs.append(asyncio.create_task(run))
        await until(lambda: all(worker.started > 3 for worker in workers))
        if server is not None:
            await until(lambda: all(len(members(worker)) == size for worker in workers if worker.log is not None))
        try:
            yield workers
        finally:
            for run in runs:
                run.cancel()
            await asyncio.wait(runs)


@asynccontextmanager
async def fleet_in_an_outage(
    size: int, server: MemoryLogServer | None = None, *, concurrency: int = 1
) -> AsyncIterator[tuple[Payments, list[FleetWorker]]]:
    """So many workers whose payments have just gone down, with every circuit open."""
    payments = Payments()
    async with fleet_of(size, payments, server or MemoryLogServer(), concurrency=concurrency) as workers:
        payments.is_down = True
        await until(all_in(workers, State.OPEN))
        yield payments, workers


def members(worker: FleetWorker) -> tuple[Any, ...]:
    """The fleet's members as a worker knows them."""
    seen = worker.guard.snapshot().fleet
    return () if seen is None else seen.members


def conductors(workers: list[FleetWorker]) -> list[FleetWorker]:
    """Those that conduct the fleet's recovery, each by its own account: one, as a rule."""
    return [worker for worker in workers if (seen := worker.guard.snapshot().fleet) and seen.agreements[0].own]


def all_in(workers: list[FleetWorker], state: State) -> Callable[[], bool]:
    """Whether the circuit of each is in this state."""
    return lambda: all(worker.state is state for worker in workers)
