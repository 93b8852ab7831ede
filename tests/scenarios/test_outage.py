"""An outage costs no message anything, on any broker, and poison that comes with it is still found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import SOON, Work, numbered, payments

from holdgate import RetryPolicy
from holdgate.core import CircuitClosed, CircuitOpened

if TYPE_CHECKING:
    from tests.scenarios.world import World


@on_every_broker
async def test_with_one_attempt_an_outage_puts_nothing_into_the_dead_letters(world: World) -> None:
    """Opened again and again, with every message of the moment failing: `attempts=1` is not used up by any of it."""
    work, bodies = Work(), numbered(60)
    work.down = True
    await world.produce(world.first, bodies[:30])
    await world.produce(world.second, bodies[30:])
    async with world.working(work, needs=[payments()], retry=RetryPolicy(attempts=1, initial_backoff=0.02, max_backoff=0.1)):
        await world.until(lambda: len(world.told(CircuitOpened)) >= 4, "three probes failed")
        work.down = False
        await world.until(lambda: len(work.processed) == 60, "all was processed")

    await world.check(work.processed)
    assert work.processed.count(bodies[0]) == 1


@on_every_broker
async def test_poison_that_comes_in_an_outage_is_found_after_it(world: World) -> None:
    """While the circuit is open nothing speaks against it; among neighbours that are processed again it is rejected."""
    bodies = numbered(200)
    work = Work(poison=[b"poison"])
    work.down = True
    work.going.clear()
    await world.produce(world.first, [bodies[0], b"poison", *bodies[1:]])
    async with world.working(work, needs=[payments()], order="none", concurrency=8):
        # Others that could be a probe: with none in hand it would be the poison message again and again.
        await world.until(lambda: world.in_hand(world.first) >= 50, "its neighbours have come")
        work.going.set()
        await world.until(lambda: len(world.told(CircuitOpened)) >= 2, "a probe failed")
        assert world.target.letters == []
        work.down = False
        # Neighbours, until it is found: on a quick machine the first ones are done before it has come twice.
        bodies += await world.feed(world.first, lambda: bool(world.target.letters), "it was found")
        await world.until(lambda: len(work.processed) == len(bodies), "all others were processed")

    await world.check(work.processed, buried=[b"poison"])


@on_every_broker
async def test_a_poison_message_as_the_first_probe_does_not_keep_the_circuit_open(world: World) -> None:
    """The next probe is another message, and when others succeed the circuit closes, whatever the poison does."""

    class Recovering(Work):
        """The dependency comes back at the very moment at which the poison message is its probe."""

        async def __call__(self, delivery: object) -> None:
            assert world.guard is not None
            if self.down and delivery.body == b"poison" and len(world.told(CircuitOpened)) >= 2:  # type: ignore[attr-defined]
                self.down = False
            await super().__call__(delivery)  # type: ignore[arg-type]

    work = Recovering(poison=[b"poison"])
    work.down = True
    work.going.clear()
    await world.produce(world.first, [b"poison"])
    async with world.working(work, needs=[payments()], order="source", inbox=50, retry=SOON):
        await world.until(lambda: b"poison" in work.called, "it was the first")
        await world.produce(world.second, numbered(200))
        # Others that could be the next probe: with none in hand it would be the poison message again and again.
        await world.until(lambda: world.in_hand(world.second) >= 50, "its neighbours have come")
        work.going.set()
        await world.until(lambda: not work.down, "it was the first probe of the recovery")
        opened = len(world.told(CircuitOpened))
        await world.until(lambda: bool(world.told(CircuitClosed)), "the circuit closed")
        assert len(world.told(CircuitOpened)) - opened <= 2  # by that probe, and by one more that met it again
        fed = await world.feed(world.second, lambda: bool(world.target.letters), "it was found")
        await world.until(lambda: len(work.processed) == 200 + len(fed), "its neighbours were processed")

    await world.check(work.processed, buried=[b"poison"])
