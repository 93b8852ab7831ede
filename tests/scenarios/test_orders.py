"""What is kept in order, and what is settled, when messages are worked on side by side or in batches, on any broker."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import SOON, Down, Work, Wrong, numbered, payments

from holdgate.core import CircuitClosed, CircuitOpened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.scenarios.world import World

    from holdgate import Delivery


@on_every_broker
async def test_by_key_each_key_keeps_its_order_through_an_outage_and_beside_poison(world: World) -> None:
    """A message that is retried holds up its own key and no other, and what is behind it comes after it."""
    work = Work(wrong=[b"a05"])
    bodies = [b"%s%02d" % (name, number) for number in range(30) for name in (b"a", b"b", b"c", b"d")]
    await world.produce(world.first, bodies[:60])
    settings = {"order": "key", "key": lambda delivery: (delivery.body or b"")[:1], "concurrency": 4}
    async with world.working(work, needs=[payments()], inbox=100, **settings):
        await world.until(lambda: len(work.processed) >= 20, "some were processed")
        work.down = True
        await world.produce(world.first, bodies[60:])
        await world.until(lambda: len(world.told(CircuitOpened)) >= 2, "a probe failed")
        work.down = False
        await world.until(lambda: len(work.processed) == 119 and bool(world.target.letters), "all was dealt with")

    await world.check(work.processed, buried=[b"a05"])
    for name in (b"a", b"b", b"c", b"d"):
        its = [body for body in work.processed if body.startswith(name)]
        assert its == [body for body in bodies if body.startswith(name) and body != b"a05"]


@on_every_broker
async def test_without_an_order_what_is_unfinished_is_left_and_the_rest_is_not_lost(world: World) -> None:
    """One handler hangs, many behind it are done: nothing past it is given up, and the next worker gets it."""
    work, hanging = Work(), asyncio.Event()

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.body == b"slow" and not hanging.is_set():
            hanging.set()
            await asyncio.sleep(1e6)
        await work(delivery)

    await world.produce(world.first, [*numbered(5), b"slow", *numbered(30, b"behind")])
    async with world.working(handler, needs=[payments()], order="none", concurrency=4) as guard:
        await world.until(lambda: len(work.processed) == 35, "all others were processed")
        guard._drain_timeout = 0.1
        for worker in guard._workers:
            worker._drain_timeout = 0.1
    remaining = set(await world.bed.left(world.first))
    assert b"slow" in remaining  # with a watermark all that is behind it too, which was processed once already
    assert remaining <= {b"slow", *numbered(30, b"behind")}

    async with world.working(work, needs=[payments()], order="none", concurrency=4):
        await world.until(lambda: len(work.processed) == 35 + len(remaining), "the next worker did the rest")
    assert set(work.processed) == {*numbered(5), b"slow", *numbered(30, b"behind")}
    assert await world.bed.left(world.first) == []


class Bulk:
    """A handler of batches that fails when one of them is at fault, as the dependency does or by the message's own."""

    def __init__(self, fault: type[Exception]) -> None:
        self.fault = fault
        self.down = False
        self.failed: list[list[bytes]] = []
        self.before: list[int] = []  # how many were processed before each of the failures
        self.processed: list[bytes] = []

    async def __call__(self, deliveries: Sequence[Delivery[Any]]) -> None:
        bodies = [delivery.body or b"" for delivery in deliveries]
        await asyncio.sleep(0.005)
        if self.down or b"poison" in bodies:
            self.failed.append(bodies)
            self.before.append(len(self.processed))
            raise Down if self.down else self.fault
        self.processed += bodies


async def bulk(world: World, fault: type[Exception]) -> None:
    work, size = Bulk(fault), 64
    await world.produce(world.first, [*numbered(40), b"poison", *numbered(40, b"behind")])
    async with world.working(work, needs=[payments()], order="source", batch=size, inbox=100, retry=SOON):
        # Neighbours, by which a fault that looks like the dependency's is told from one.
        fed = await world.feed(world.second, lambda: bool(world.target.letters), "it was found")
        await world.until(lambda: len(work.processed) == 80 + len(fed), "all others were processed")

    await world.check(work.processed, buried=[b"poison"])
    first = [body for body in work.processed if not body.startswith(b"fed")]
    assert first == [*numbered(40), *numbered(40, b"behind")]
    together = [bodies for bodies in work.failed if len(bodies) > 1]
    # Each failure halves the piece that it is in; a poll may have cut the first one.
    assert len(together) <= math.ceil(math.log2(size)) + 1
    # Five failures with nobody else heard in between open a circuit, whoever is at fault: so it is when the broker is slow with the others.
    assert world.told(CircuitOpened) == [] or work.before.count(work.before[0]) >= 5


@on_every_broker
async def test_a_poison_message_in_a_batch_is_found_in_halves(world: World) -> None:
    """In log2 n steps, whatever comes before and behind it processed in order; only then it is charged and rejected."""
    await bulk(world, Wrong)


@on_every_broker
async def test_one_that_fails_as_its_dependency_would_is_found_in_halves_too(world: World) -> None:
    """The halves are one voter, so the circuit stays closed, and neighbours tell it from an outage when it stands alone."""
    await bulk(world, Down)


@on_every_broker
async def test_an_outage_of_batches_is_free(world: World) -> None:
    """Five failing calls open the circuit, whatever their size, and everything is processed once and in order when it is over."""
    work = Bulk(Wrong)
    work.down = True
    await world.produce(world.first, numbered(90))
    async with world.working(work, needs=[payments()], order="source", batch=30, inbox=100):
        await world.until(lambda: bool(world.told(CircuitOpened)), "the circuit opened")
        assert len(work.failed) == 5
        await world.until(lambda: len(world.told(CircuitOpened)) >= 3, "two probes failed")
        assert {len(bodies) for bodies in work.failed[5:]} == {1}
        work.down = False
        await world.until(lambda: len(work.processed) == 90, "all was processed")
        fed = await world.feed(world.first, lambda: bool(world.told(CircuitClosed)), "the circuit closed", lot=60)
        await world.until(lambda: len(work.processed) == 90 + len(fed), "all was processed")

    await world.check(work.processed)
    assert work.processed == [*numbered(90), *fed]
