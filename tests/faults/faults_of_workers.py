"""Faults of the worker's process and machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.faults import story
from tests.faults.cells import ABOVE_CLIENTS, LOCK, Broker, State, fault
from tests.integration.kafka import looks

if TYPE_CHECKING:
    from tests.faults.world import World

GROUP = "worker"
QUICK_SESSION = 3.0
FROZEN_FOR = 1.0


@fault("kill -9", GROUP, session=QUICK_SESSION, quiet=False)
async def kill(world: World) -> None:
    """The process is killed; another one is started."""
    world.victim.kill()
    await world.victim.ended()
    await world.start()


@fault("SIGTERM", GROUP, quiet=False)
async def terminate(world: World) -> None:
    """The process is asked to end, once more if it was; another one is started."""
    world.victim.terminate()
    assert await world.victim.ended() == 0, world.victim.output[-3000:]
    await world.start()


@fault("SIGSTOP for longer than its session", GROUP, session=2.0, quiet=False)
async def freeze(world: World) -> None:
    """The process stands still until another one has its work and has gone on, and then goes on as if nothing had been."""
    world.victim.freeze()
    try:
        other = world.launch()
        if world.cell.broker is Broker.SHARE:
            await world.until(lambda entries: world.has_work(entries, other.name))
            await asyncio.sleep(LOCK)
        elif world.cell.broker.is_kafka:
            await world.until(
                lambda entries: set(looks.owners(entries).values()) == {other.name} and len(looks.owners(entries)) == world.sources
            )
        else:
            await world.until(
                lambda entries: (
                    {entry.facts.get("took") for entry in story.told(entries, "note", other.name)} >= {world.payments, world.mail}
                )
            )
            # The broker has given the victim up: the other one is the only consumer.
            await world.scene.rabbitmq.becomes(world.payments, consumers=1)
        await asyncio.sleep(FROZEN_FOR)
    finally:
        world.victim.thaw()


@fault("the event loop is blocked for 5 s", GROUP, session=2.0, quiet=False)
async def block(world: World) -> None:
    """A plain call of five seconds on the event loop: no heartbeat, no poll; the broker may give the worker up."""
    world.victim.block()
    await world.until(lambda entries: story.noted(entries, "blocking", "end", world.victim.name))


@fault("the wall clock goes forward by an hour", GROUP, without=ABOVE_CLIENTS, worker=("--strike", "clock-forward"))
async def clock_forward(world: World) -> None:
    """`time.time()` is an hour later from one moment to the next."""
    await _struck(world)
    await asyncio.sleep(FROZEN_FOR)


@fault("the wall clock goes back by an hour", GROUP, without=ABOVE_CLIENTS, worker=("--strike", "clock-back"))
async def clock_back(world: World) -> None:
    """`time.time()` is an hour earlier from one moment to the next."""
    await _struck(world)
    await asyncio.sleep(FROZEN_FOR)


@fault("an observer raises", GROUP, without=ABOVE_CLIENTS, worker=("--strike", "observer-raises"))
async def observer_raises(world: World) -> None:
    """From now on an observer of the guard raises for every event."""
    await _struck(world)


@fault("an observer blocks", GROUP, without=ABOVE_CLIENTS, worker=("--strike", "observer-blocks"), grace=2.0)
async def observer_blocks(world: World) -> None:
    """An observer of the guard blocks the event loop for 0.3 s, for each of the next five events."""
    await _struck(world)


CROWD = 19


@fault(
    "twenty workers recover at once",
    GROUP,
    without=ABOVE_CLIENTS,
    not_in={state: "it is the end of an outage that all of them were in" for state in State if state is not State.OPEN},
    quiet=False,
    partitions=CROWD + 1,
)
async def crowd(world: World) -> None:
    """Nineteen more workers open their circuits in the same outage, and come back together when it ends."""
    others = await world.start(CROWD)
    names = [world.victim.name, *(worker.name for worker in others)]
    await world.produce(400)
    await world.until(lambda entries: all(story.told(entries, "opened", name) for name in names))
    await world.scene.up()
    # A ramp closes by the messages that it admits: there must be some for every worker.
    while not all(story.state(world.entries(), name) == "closed" for name in names):
        await world.produce(200)
        await asyncio.sleep(1.0)


async def _struck(world: World) -> None:
    world.strike_victim()
    await world.until(lambda entries: any(entry.facts.get("strike") for entry in story.told(entries, "note", world.victim.name)))
