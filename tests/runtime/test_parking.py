"""A fence parks in a handler's stead: what that means for circuits, and for a message whose store fails."""

from __future__ import annotations

from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, Guard, RetryPolicy
from holdgate.core import CircuitClosed, CircuitHalfOpened
from holdgate.runtime.parking import Parking
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time


class PlainDelivery(Delivery[Any]):
    """One that nobody delivered."""

    position = 0


class Store:
    """Where messages are parked; `error` makes it fail."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.stored: list[int] = []
        self.tried = 0

    async def __call__(self, delivery: Delivery[Any]) -> None:
        self.tried += 1
        if self.error is not None:
            raise self.error
        self.stored.append(delivery.position)


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDERS[0], 0)


def parked_by_an_outage(guard: Guard, broker: MemoryBroker, store: Store, handler: Handler, **settings: Any) -> Any:
    """A run whose messages are all of one key."""
    parking = Parking(store, key=lambda _: "one")
    intake = MemoryIntake(broker, topics=["orders"])
    return running(guard.run(intake, parking.fence(handler), needs=[dependency()], fallback=parking, **settings))


@in_virtual_time
async def test_a_fence_closes_no_circuit() -> None:
    """A parked key's message is admitted as the probe, parked, and says nothing of the dependency, which is down still."""
    seen, store, handler, broker = list[Any](), Store(), Handler(down=True), broker_with(4)
    async with quiet_guard(observers=[seen.append]) as guard, parked_by_an_outage(guard, broker, store, handler):
        await until(lambda: len(store.stored) == 4)
        await until(lambda: any(isinstance(event, CircuitHalfOpened) for event in seen))
        for _ in range(20):
            broker.produce("orders", b"")
        await until(lambda: len(store.stored) == 24)
        assert guard.snapshot().dependencies["payments"].in_flight == 0

    assert not any(isinstance(event, CircuitClosed) for event in seen)
    assert committed(broker) == 24


@in_virtual_time
async def test_a_store_that_fails_behind_a_fence_costs_no_attempt() -> None:
    """The message keeps its place and comes again; it is not rejected for what is not its fault."""
    store, handler, broker, dead = Store(), Handler(down=True), broker_with(4), MemoryDeadLetters()
    retry = RetryPolicy(attempts=1)
    async with quiet_guard() as guard, parked_by_an_outage(guard, broker, store, handler, retry=retry, dead_letters=dead):
        await until(lambda: len(store.stored) == 4)
        handler.down = False
        guard.circuit("payments").reset(guard.now())
        guard.wake()
        store.error = OSError("disk full")
        broker.produce("orders", b"")
        before = store.tried
        await until(lambda: store.tried >= before + 3)
        assert committed(broker) == 4
        assert guard.snapshot().dependencies["payments"].failures == 0
        store.error = None
        await until(lambda: committed(broker) == 5)

    assert dead.letters == []
    assert handler.done == []


async def test_outside_of_a_guard_a_fence_just_parks() -> None:
    """As in a unit test of one's own; what its store raises goes through."""
    store, handler, delivery = Store(), Handler(), PlainDelivery(ORDERS[0], None)
    parking = Parking(store, key=lambda _: "one")
    fenced = parking.fence(handler)
    await parking(delivery)
    await fenced(delivery)
    store.error = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        await fenced(delivery)

    assert parking.parked == {"one": 2}
    assert handler.started == []
