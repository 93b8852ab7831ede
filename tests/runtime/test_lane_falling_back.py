"""Fallbacks as lanes run them, and parking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Down, Handler, assert_nothing_left, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, Dependency, Guard, State
from holdgate.errors import SettingsError
from holdgate.runtime.parking import Parking
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDER, 0)


def is_open(guard: Guard, name: str = "payments") -> bool:
    gate = guard.engine.gates.get(name)
    return gate is not None and gate.circuit.state is State.OPEN


class Side:
    """A side store that messages fall back to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.stored: list[int] = []
        self.tried = 0

    async def store(self, delivery: Delivery[Any]) -> None:
        self.tried += 1
        await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        self.stored.append(delivery.position)

    def plain(self, delivery: Delivery[Any]) -> None:
        self.stored.append(delivery.position)


@pytest.mark.parametrize("kind", ["store", "plain"])
@in_virtual_time
async def test_an_outage_goes_to_the_side_store(kind: str) -> None:
    """Every message is either processed or stored, in order, and the partition is never left waiting; a plain function runs in a thread."""
    side, handler, broker = Side(), Handler(down=True), broker_with(30)
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()], fallback=getattr(side, kind))),
    ):
        await until(lambda: committed(broker) >= 25, seconds=60.0)
        assert guard.snapshot().sources[ORDER].fallbacks == len(side.stored)
        handler.down = False
        await until(lambda: committed(broker) == 30)

    assert side.stored == sorted(side.stored)
    assert sorted([*side.stored, *(position for _, position in handler.done)]) == list(range(30))


@pytest.mark.parametrize(
    "ask", [lambda delivery: delivery.reject("no"), lambda delivery: delivery.retry(after=5.0)], ids=["reject", "retry"]
)
@in_virtual_time
async def test_what_a_fallback_asked_for_is_not_what_the_handler_did(ask: Callable[[Delivery[Any]], None]) -> None:
    """A request belongs to its own attempt: the handler processes the message later, once, and nothing is rejected."""
    handler, broker, letters = Handler(down=True), broker_with(3), MemoryDeadLetters()
    tried: list[int] = []

    async def fall_back(delivery: Delivery[Any]) -> None:
        tried.append(delivery.position)
        ask(delivery)
        raise OSError

    async with (
        quiet_guard() as guard,
        running(
            guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()], fallback=fall_back, dead_letters=letters)
        ),
    ):
        await until(lambda: bool(tried))
        handler.down = False
        await until(lambda: committed(broker) == 3)

    assert (letters.letters, [position for _, position in handler.done]) == ([], [0, 1, 2])


@in_virtual_time
async def test_a_fallback_that_fails_holds_its_message() -> None:
    """Nothing is lost, it is not tried in a loop, and the message is processed when the dependency is back."""
    side, handler, broker = Side(OSError("disk full")), Handler(down=True), broker_with(3)
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()], fallback=side.store)),
    ):
        await until(lambda: side.tried > 0)
        await asyncio.sleep(3.0)
        assert (side.tried, committed(broker)) == (1, 0)
        handler.down = False
        await until(lambda: committed(broker) == 3)


@in_virtual_time
async def test_calls_in_a_fallback_are_nobodys_verdict() -> None:
    """A call form in it takes a permit of its own, and the message's next attempt begins without a trace of it."""
    store = Dependency("store")
    side, handler, broker = Side(), Handler(down=True), broker_with(12)

    async def fallback(delivery: Delivery[Any]) -> None:
        await store.call(side.store, delivery)

    async with (
        quiet_guard(store) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()], fallback=fallback)),
    ):
        await until(lambda: len(side.stored) >= 5)
        assert guard.snapshot().dependencies["store"].calls >= 4
        assert is_open(guard)
        handler.down = False
        await until(lambda: committed(broker) == 12)


@in_virtual_time
async def test_calls_in_a_fallback_that_failed_are_forgotten() -> None:
    """The handler's next attempt is judged by what it does itself: its return is a success of what it needs."""
    store, broker, handler = Dependency("store"), broker_with(1), Handler(down=True)

    async def fallback(delivery: Delivery[Any]) -> None:
        await store.call(asyncio.sleep, 0.01)
        handler.down = False
        raise OSError

    async with (
        quiet_guard(store) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()], fallback=fallback)),
    ):
        await until(lambda: committed(broker) == 1)
        assert guard.engine.gates["payments"].successes == 1


def closes(guard: Guard) -> None:
    guard.circuit("payments").reset(guard.now())
    guard.engine.turn(guard.now())


def is_held(guard: Guard) -> None:
    guard.engine.hold(ORDER, guard.now() + 1.0)


@pytest.mark.parametrize("meanwhile", [closes, is_held])
@in_virtual_time
async def test_a_fallback_that_comes_too_late_does_not_begin(meanwhile: Callable[[Guard], None]) -> None:
    """Between the grant and the step of an idle lane the circuit closes, or an operator holds: the message waits as if nothing was."""
    stored, handler, broker = list[tuple[int, int]](), Handler(down=True), broker_with(2)

    async def store(delivery: Delivery[Any]) -> None:
        stored.append((delivery.position, delivery.attempt))

    def strike() -> None:
        if is_open(guard) and not told:
            told.append(len(stored))
            meanwhile(guard)

    async def work(delivery: Delivery[Any]) -> None:
        try:
            await handler(delivery)
        finally:
            # In line before any lane that this end wakes.
            asyncio.get_running_loop().call_soon(strike)

    guard, told = quiet_guard(), list[int]()
    intake = MemoryIntake(broker, topics=["orders"])
    async with guard, running(guard.run(intake, work, needs=[dependency()], fallback=store, order="none", concurrency=2)):
        await until(lambda: told != [])
        await asyncio.sleep(0.3)
        assert told == [len(stored)]  # the other lane, which woke this one, may have begun before
        await until(lambda: committed(broker) == 2)

    for position, attempt in stored:  # it was never started in vain
        assert attempt == handler.started.count((str(ORDER), position)) + 1


@in_virtual_time
async def test_draining_waits_for_a_fallback() -> None:
    """It settles its message; one that outlasts the drain is cancelled, and its message kept."""
    for seconds, settled in ((1.0, 1), (1e6, 0)):
        broker = broker_with(1)

        async def slow(_: Delivery[Any], seconds: float = seconds) -> None:
            began.set()
            await asyncio.sleep(seconds)

        began = asyncio.Event()
        async with quiet_guard(drain_timeout=5.0) as guard:
            run = asyncio.create_task(
                guard.run(MemoryIntake(broker, topics=["orders"]), Handler(down=True), needs=[dependency()], fallback=slow)
            )
            await began.wait()
            await guard.stop()
            await run
            await assert_nothing_left(guard)
        assert committed(broker) == settled


@in_virtual_time
async def test_a_fallback_has_the_handlers_time() -> None:
    """One that takes longer has failed."""
    side, handler, broker = Side(), Handler(down=True), broker_with(1)

    async def hang(delivery: Delivery[Any]) -> None:
        side.tried += 1
        await asyncio.sleep(1e6)

    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()], fallback=hang, timeout=1.0)),
    ):
        await until(lambda: side.tried > 0)
        handler.down = False
        await until(lambda: committed(broker) == 1)


@in_virtual_time
async def test_a_lane_that_somebody_cancels_gives_its_message_back() -> None:
    """Before or in its fallback: the message falls back on another lane."""
    side, broker = Side(), broker_with(2)
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), Handler(down=True), needs=[dependency()], fallback=side.store)),
    ):
        await until(lambda: side.tried > 0)
        for task in asyncio.all_tasks():
            if task.get_name().startswith("holdgate lane"):
                task.cancel()
        await until(lambda: committed(broker) == 2, seconds=60.0)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"fallback_after": 3.0}, "fallback_after= is given without fallback="),
        ({"fallback_concurrency": 3}, "fallback_concurrency= is given without fallback="),
        ({"fallback": Side().store, "fallback_concurrency": 0}, "fallback_concurrency must be a whole number from 1, got 0"),
        ({"fallback": Side().store, "fallback_after": -1.0}, "fallback_after"),
        ({"fallback": 3}, "fallback=3 cannot be called"),
        ({"fallback": Side().store, "batch": 3}, "batch=3 and fallback="),
    ],
)
@in_virtual_time
async def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], text: str) -> None:
    """Before anything is consumed, with the values."""
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=text):
            await guard.run(MemoryIntake(broker_with(1), topics=["orders"]), Handler(), **settings)


# -- parking --------------------------------------------------------------------------------------------------------------------------


def of_keys(*keys: bytes | None) -> MemoryBroker:
    broker = MemoryBroker(topics={"orders": 1})
    for number, key in enumerate(keys):
        broker.produce("orders", str(number).encode(), key)
    return broker


@in_virtual_time
async def test_a_key_that_has_parked_messages_goes_on_being_parked() -> None:
    """Also when the dependency is back, so that none overtakes another; other keys, and messages without one, are processed."""
    side, handler = Side(), Handler(down=True)
    parking = Parking(side.store)
    broker = of_keys(b"a", None, b"a")
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), parking.fence(handler), needs=[dependency()], fallback=parking)),
    ):
        await until(lambda: committed(broker) == 3)
        assert (side.stored, parking.parked) == ([0, 1, 2], {b"a": 2})
        handler.down = False
        guard.circuit("payments").reset(guard.now())
        for key in (b"a", b"b", None):
            broker.produce("orders", b"later", key)
        await until(lambda: committed(broker) == 6)
        assert [position for _, position in handler.done] == [4, 5]
        assert (side.stored, parking.parked) == ([0, 1, 2, 3], {b"a": 3})
        parking.release(b"a")
        broker.produce("orders", b"last", b"a")
        await until(lambda: committed(broker) == 7)
        assert [position for _, position in handler.done] == [4, 5, 6]


@in_virtual_time
async def test_what_could_not_be_parked_fences_nothing() -> None:
    """Its key is as free as before; and what is kept in order may be anything of the message."""
    side = Side(Down())
    parking = Parking(side.store, key=lambda delivery: delivery.body)
    handler, broker = Handler(down=True), of_keys(b"a")
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, needs=[dependency()], fallback=parking)),
    ):
        await until(lambda: side.tried == 1)
        await asyncio.sleep(0.1)
        assert parking.parked == {}
        side.error = None
        await until(lambda: committed(broker) == 1)
        assert parking.parked == {b"0": 1}


def test_parking_takes_async_functions() -> None:
    """A plain one would be taken for done before it has begun."""
    with pytest.raises(SettingsError, match="must be async, and return when the message is stored"):
        Parking(lambda delivery: delivery)  # type: ignore[arg-type, return-value]
    with pytest.raises(SettingsError, match="must be async to be fenced"):
        Parking(Side().store).fence(lambda delivery: delivery)  # type: ignore[arg-type, return-value]
