"""A dependency that only a call form names, on any broker: its outage is like that of a declared one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import Work, numbered, payments

from holdgate import RetryPolicy, State
from holdgate.events import CircuitClosed, CircuitOpened, DependencyMet, UndeclaredNeed

if TYPE_CHECKING:
    from tests.scenarios.world import World

    from holdgate import Delivery

HELD = "circuit:payments"


async def through_an_outage(world: World, work: Work, handler: Any, **settings: Any) -> None:
    """Forty messages before it, sixty in it, and back."""
    bodies = numbered(100)
    async with world.working(handler, **settings) as guard:
        await world.produce(world.first, bodies[:20])
        await world.produce(world.second, bodies[20:40])
        await world.until(lambda: len(work.processed) == 40, "a past was there")
        assert [event.dependency for event in world.told(DependencyMet)] == ["payments"]
        work.down = True
        await world.produce(world.first, bodies[40:70])
        await world.produce(world.second, bodies[70:])
        await world.until(lambda: HELD in world.reasons(), "a source was held")
        assert guard.snapshot().dependencies["payments"].state is not State.CLOSED
        assert guard.health().status == "degraded"
        await world.until(lambda: len(world.told(CircuitOpened)) > 3, "it was tried again and again")
        assert world.target.letters == []
        calls = len(work.called)
        work.down = False
        await world.until(lambda: len(work.processed) == 100, "all was processed")
        assert len(work.called) - calls <= 62
        await world.until(lambda: bool(world.told(CircuitClosed)), "it has closed again")

    await world.check(work.processed)


@on_every_broker
async def test_in_order_a_dependency_that_nobody_declared_holds_its_sources(world: World) -> None:
    """The message whose call failed waits for the circuit, and with it what comes after it."""
    work, dependency = Work(), payments()

    async def handler(delivery: Delivery[Any]) -> None:
        await dependency.call(work, delivery)

    await through_an_outage(world, work, handler, order="source")


@on_every_broker
async def test_without_order_each_message_waits_for_the_dependency_that_refused_it(world: World) -> None:
    """Sixteen lanes; every message starts once, is refused, and waits: it is no attempt of it."""
    work, dependency, attempts = Work(), payments(), []

    async def handler(delivery: Delivery[Any]) -> None:
        await dependency.call(work, delivery)
        attempts.append(delivery.attempt)

    bodies = numbered(100)
    async with world.working(handler, order="none", concurrency=16):
        await world.produce(world.first, bodies[:40])
        await world.until(lambda: len(work.processed) == 40, "a past was there")
        work.down = True
        await world.produce(world.first, bodies[40:])
        await world.until(lambda: len(world.told(CircuitOpened)) > 3, "it was tried again and again")
        assert world.told(UndeclaredNeed)
        work.down = False
        await world.until(lambda: len(work.processed) == 100, "all was processed")

    assert attempts.count(1) >= 60
    await world.check(work.processed)


@on_every_broker
async def test_a_plain_handlers_thread_brings_it_as_well(world: World) -> None:
    """The first call goes through the loop; a bad message among good ones is found out by what others' calls came to."""
    dependency, bad = payments(failures=ConnectionError), set(numbered(2, b"bad"))
    processed: list[bytes] = []

    def post(body: bytes) -> None:
        if body in bad:
            raise ConnectionError
        processed.append(body)

    def handler(delivery: Delivery[Any]) -> None:
        dependency.call_sync(post, delivery.body or b"")

    # A slow broker brings nothing else between their attempts, if those come soon: five failures in a row would be an outage.
    retry = RetryPolicy(initial_backoff=0.5, multiplier=1.0, max_backoff=0.5, jitter=0.0)
    async with world.working(handler, order="none", concurrency=4, retry=retry):  # type: ignore[arg-type]
        await world.produce(world.first, [*sorted(bad), *numbered(20)])
        fed = await world.feed(world.first, lambda: len(world.target.letters) == 2, "the bad ones were rejected", lot=5)
        await world.until(lambda: len(processed) == 20 + len(fed), "the good ones were processed")

    assert world.told(CircuitOpened) == []
    await world.check(processed, buried=sorted(bad))
