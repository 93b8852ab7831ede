"""What the tests of the runtime play on: guards on virtual time, handlers that note what they do, intakes that break on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from holdgate import CircuitSettings, Delivery, Dependency, Guard, Partition
from holdgate.flow.plan import Plan
from holdgate.ports import IntakeListener
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake

GROUP = "holdgate"
ORDERS = [Partition("orders", 0), Partition("orders", 1)]

# Without jitter: what a test says of times is then exact.
STEADY = CircuitSettings(open_duration=5.0, open_jitter=0.0)


class Down(Exception):
    """What the dependency of these tests fails with."""


class Wrong(Exception):
    """A message's own failure: no dependency takes it for its own."""


def dependency(name: str = "payments") -> Dependency:
    return Dependency(name, failures=Down, settings=STEADY)


def quiet_guard(*dependencies: Dependency, **settings: Any) -> Guard:
    return Guard(*dependencies, signals=False, clock=LoopClock(), **settings)


def broker_with(count: int, *, topic: str = "orders", partitions: int = 1) -> MemoryBroker:
    """A broker with `count` messages, dealt to the partitions in turn."""
    broker = MemoryBroker(topics={topic: partitions})
    for number in range(count):
        broker.produce(topic, str(number).encode())
    return broker


class Handler:
    """Notes what was started and what ended well. `seconds` each call takes; `down` makes them fail as the dependency does."""

    def __init__(self, seconds: float = 0.01, *, down: bool = False) -> None:
        self.seconds = seconds
        self.down = down
        self.started: list[tuple[str, int]] = []
        self.done: list[tuple[str, int]] = []
        self.interrupted = 0
        self.running = 0
        self.most = 0

    async def __call__(self, delivery: Delivery[Any]) -> None:
        assignment = (str(delivery.source), delivery.position)
        self.started.append(assignment)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            if self.down:
                raise Down
            self.done.append(assignment)
        except asyncio.CancelledError:
            self.interrupted += 1
            raise
        finally:
            self.running -= 1


class BreakingIntake(MemoryIntake):
    """An intake that raises what it was told to, from the method it was told; `slow` methods take so many seconds first."""

    def __init__(self, broker: MemoryBroker, **settings: Any) -> None:
        super().__init__(broker, **settings)
        self.breaks: dict[str, BaseException] = {}
        self.slow: dict[str, float] = {}
        self.listener: IntakeListener | None = None
        self.closed = 0

    async def open(self, listener: IntakeListener) -> None:
        self.listener = listener
        await self._meet("open")
        await super().open(listener)

    async def receive(self) -> Sequence[Delivery[Any]]:
        await self._meet("receive")
        return await super().receive()

    async def flush(self) -> None:
        await self._meet("flush")
        await super().flush()

    async def close(self) -> None:
        self.closed += 1
        await super().close()
        await self._meet("close")

    def apply(self, plan: Plan) -> None:
        if "apply" in self.breaks:
            raise self.breaks["apply"]
        super().apply(plan)

    def settle(self, delivery: Delivery[Any], settlement: Any) -> None:
        if "settle" in self.breaks:
            raise self.breaks["settle"]
        super().settle(delivery, settlement)

    async def _meet(self, method: str) -> None:
        if method in self.slow:
            await asyncio.sleep(self.slow[method])
        if method in self.breaks:
            raise self.breaks[method]


@asynccontextmanager
async def running(run: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A run in a task of its own, cancelled at the end if it still goes on."""
    task = asyncio.create_task(run)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Virtual time passes until the condition holds; AssertionError when it does not within `seconds`."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it never came to that"
        await asyncio.sleep(0.01)


async def assert_nothing_left(guard: Guard) -> None:
    """All permits are back, no place is left, and no task but the test's own."""
    await asyncio.sleep(0)
    assert {name: gate.circuit.snapshot(guard.now()).in_flight for name, gate in guard.engine.gates.items()} == dict.fromkeys(
        guard.engine.gates, 0
    )
    assert not guard.engine.runs
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert {task.get_name() for task in tasks if task.get_name().startswith("holdgate")} == set()
