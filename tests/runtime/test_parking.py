"""A fence parks in a handler's stead: what that means for circuits, and for a message whose store fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Down, Handler, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, Guard, RetryPolicy
from holdgate.core import CircuitClosed, CircuitHalfOpened
from holdgate.errors import SettingsError
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


def test_is_parked_must_be_callable() -> None:
    """A set of keys is an easy slip; its `__contains__` would do."""
    with pytest.raises(SettingsError, match=r"is_parked=\{'one'\} cannot be called"):
        Parking(Store(), is_parked={"one"})  # type: ignore[arg-type]


def plain(keys: set[Hashable]) -> Any:
    return keys.__contains__


def awaited(keys: set[Hashable]) -> Any:
    async def is_parked(key: Hashable) -> bool:
        await asyncio.sleep(0.01)
        return key in keys

    return is_parked


@pytest.mark.parametrize("lookup", [plain, awaited])
@in_virtual_time
async def test_a_new_process_asks_the_store_for_parked_keys(lookup: Callable[[set[Hashable]], Any]) -> None:
    """One worker has parked a key and is gone; for the next one the key is parked until the store says otherwise."""
    keys: set[Hashable] = {b"a"}
    broker, store, handler = MemoryBroker(topics={"orders": 1}), Store(), Handler()
    for key in (b"a", b"b", None, b"a"):
        broker.produce("orders", b"", key)
    parking = Parking(store, is_parked=lookup(keys))
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), parking.fence(handler))):
        await until(lambda: committed(broker) == 4)
        assert (store.stored, [position for _, position in handler.done]) == ([0, 3], [1, 2])
        keys.clear()
        broker.produce("orders", b"", b"a")
        await until(lambda: committed(broker) == 5)
        assert (store.stored, [position for _, position in handler.done]) == ([0, 3], [1, 2, 4])
    assert parking.parked == {}  # only the store keeps keys, or they would add up here


@in_virtual_time
async def test_a_store_that_does_not_answer_costs_no_attempt() -> None:
    """Nobody knows whether the key is parked: the message waits, is charged nothing, and no dependency is blamed."""
    broker, handler, dead = broker_with(0), Handler(), MemoryDeadLetters()
    broker.produce("orders", b"", b"a")
    asked: list[Hashable] = []

    def is_parked(key: Hashable) -> bool:
        asked.append(key)
        if len(asked) < 4:
            raise Down
        return False

    parking = Parking(Store(), is_parked=is_parked)
    settings: dict[str, Any] = {"needs": [dependency()], "retry": RetryPolicy(attempts=1), "dead_letters": dead}
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), parking.fence(handler), **settings)):
        await until(lambda: committed(broker) == 1)
        assert guard.snapshot().dependencies["payments"].failures == 0
    assert (len(asked), len(handler.done), dead.letters) == (4, 1, [])


async def test_a_store_that_does_not_answer_outside_of_a_guard_just_raises() -> None:
    """As in a unit test of one's own."""
    delivery = PlainDelivery(ORDERS[0], None)

    def is_parked(key: Hashable) -> bool:
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        await Parking(Store(), key=lambda _: "one", is_parked=is_parked).fence(Handler())(delivery)


@pytest.mark.parametrize(("fenced", "asks", "warnings"), [(True, False, 1), (True, True, 0), (False, False, 0)])
async def test_a_fence_that_a_restart_would_open_is_told_of_once(
    fenced: bool, asks: bool, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With the first parked key, and not where the store is asked or no order was to be kept."""
    parking = Parking(Store(), key=lambda delivery: delivery.message, is_parked=plain(set()) if asks else None)
    if fenced:
        parking.fence(Handler())
    for key in (None, "one", "two"):
        assert "in this process alone" not in caplog.text or key == "two"
        await parking(PlainDelivery(ORDERS[0], key))

    assert caplog.text.count("in this process alone") == warnings
