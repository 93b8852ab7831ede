"""Something else is done with messages while what they need is down, on any broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import Work, numbered, payments

from holdgate import Parking, State
from holdgate.core import CircuitClosed, CircuitOpened

if TYPE_CHECKING:
    from tests.scenarios.world import World

    from holdgate import Delivery
    from holdgate.core import CircuitSnapshot


def circuit(world: World) -> CircuitSnapshot:
    assert world.guard is not None
    return world.guard.snapshot().dependencies["payments"]


@on_every_broker
async def test_a_fallback_is_counted_apart_and_begins_only_while_the_circuit_is_open(world: World) -> None:
    """Not in half-open, where heads wait for the probe's answer; every message is processed or stored, once."""
    work, stored, states = Work(seconds=0.1), list[bytes](), list[State]()
    work.down = True

    async def store(delivery: Delivery[Any]) -> None:
        states.append(circuit(world).state)
        await asyncio.sleep(0.01)
        stored.append(delivery.body or b"")

    async with world.working(work, needs=[payments()], order="none", concurrency=4, fallback=store) as guard:
        bodies = await world.feed(world.first, lambda: len(world.told(CircuitOpened)) >= 4 and len(stored) >= 8, "three probes failed")
        # In the window is what opened the circuit, and no fallback.
        assert circuit(world).calls <= 10
        assert abs(guard.snapshot().sources[world.first].fallbacks - len(stored)) <= 4
        work.down, work.seconds = False, 0.002
        bodies += await world.feed(world.first, lambda: bool(world.told(CircuitClosed)), "the circuit closed")
        await world.until(lambda: len(work.processed) + len(stored) == len(bodies), "all was dealt with")

    await world.check([*work.processed, *stored])
    assert set(states) == {State.OPEN}


@on_every_broker
async def test_parking_keeps_the_order_of_each_key(world: World) -> None:
    """What is parked of a key is its end: none of its messages is processed after one was parked, also when the dependency is back."""
    work, parked = Work(seconds=0.01), list[bytes]()

    async def store(delivery: Delivery[Any]) -> None:
        parked.append(delivery.body or b"")

    def key(delivery: Delivery[Any]) -> bytes:
        return (delivery.body or b"")[:1]

    parking = Parking(store, key=key)
    early = [b"%s%02d" % (name, number) for number in range(6) for name in (b"a", b"b", b"c", b"d")]
    late = [b"%s%02d" % (name, number) for number in range(6, 30) for name in (b"a", b"b", b"c", b"d", b"e")]
    await world.produce(world.first, early)
    async with world.working(parking.fence(work), needs=[payments()], order="key", key=key, concurrency=4, fallback=parking):
        await world.until(lambda: len(work.processed) >= 4, "some were processed")
        work.down = True
        await world.produce(world.first, late)
        await world.until(lambda: len(parked) >= 6, "some were parked")
        work.down = False
        await world.until(lambda: len(work.processed) + len(parked) == len(early) + len(late), "all was dealt with")

    await world.check([*work.processed, *parked])
    for name in (b"a", b"b", b"c", b"d", b"e"):
        its = [[body for body in bodies if body.startswith(name)] for bodies in (work.processed, parked)]
        assert [*its[0], *its[1]] == [body for body in [*early, *late] if body.startswith(name)]


@on_every_broker
async def test_what_a_fence_parks_is_no_word_for_the_dependency(world: World) -> None:
    """It was not called: messages of parked keys close no circuit, and the first other one does when the dependency is back."""
    work, parked = Work(), list[bytes]()
    work.down = True

    async def store(delivery: Delivery[Any]) -> None:
        parked.append(delivery.body or b"")

    parking = Parking(store, key=lambda delivery: (delivery.body or b"").startswith(b"other"))
    await world.produce(world.first, numbered(20))
    async with world.working(parking.fence(work), needs=[payments()], order="source", fallback=parking):
        await world.until(lambda: bool(parked), "the first was parked")
        calls = len(work.called)
        fed = await world.feed(world.first, lambda: len(parked) >= 150, "many more were parked")
        assert len(work.called) == calls
        assert world.told(CircuitClosed) == []
        work.down = False
        others = numbered(5, b"other")
        fed += others
        await world.produce(world.first, others)
        await world.until(lambda: len(parked) + len(work.processed) == 20 + len(fed), "all was dealt with")

    await world.check([*work.processed, *parked])
    assert [body for body in parked if not body.startswith(b"other")] == [*numbered(20), *fed[:-5]]
