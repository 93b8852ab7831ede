"""Faults of the network between worker and broker, and of the broker as a whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.faults.cells import Ground, fault
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from tests.faults.world import World

BEHIND: dict[str, Any] = {"ground": Ground.PROXIED, "quiet": False}
# A client that notices nothing by itself notices by a heartbeat or a request that is not answered.
SILENT = 5.0
# aio-pika notices after three heartbeats of two seconds and a second each.
BLACK = 10.0
DELAY = 0.15
RESTS = 2.0


def proxy_of(world: World) -> Proxy:
    """The proxy before the broker."""
    assert world.proxy is not None
    return world.proxy


@fault("connections are reset", "network", **BEHIND)
async def reset(world: World) -> None:
    """Every connection to the broker ends with RST, twice."""
    for _ in range(2):
        proxy_of(world).reset()
        await asyncio.sleep(RESTS / 2)


@fault("connections are refused", "network", **BEHIND)
async def refuse(world: World) -> None:
    """Every connection ends, and no new one is accepted for two seconds."""
    proxy_of(world).refuse()
    proxy_of(world).reset()
    await asyncio.sleep(RESTS)
    await proxy_of(world).accept()


@fault("a black hole", "network", session=4.0, **BEHIND)
async def black_hole(world: World) -> None:
    """For ten seconds no byte passes in either direction, and nobody is told; sessions and heartbeats end meanwhile."""
    proxy_of(world).cut()
    await asyncio.sleep(BLACK)
    proxy_of(world).heal()


@fault("half-open connections", "network", **BEHIND)
async def half_open(world: World) -> None:
    """The broker has forgotten every connection and the worker hears nothing of it."""
    proxy_of(world).half_open()
    await asyncio.sleep(RESTS)


@fault("a slow network", "network", **BEHIND)
async def slow_network(world: World) -> None:
    """Everything takes 0.15 s longer in each direction, for some seconds."""
    proxy_of(world).delay = DELAY
    await asyncio.sleep(SILENT)
    proxy_of(world).delay = 0.0


@fault("connections break off in the middle", "network", **BEHIND)
async def truncate(world: World) -> None:
    """Of what the broker sends next on each connection only half arrives, and then its end."""
    proxy_of(world).truncate()
    await asyncio.sleep(RESTS)


OWN: dict[str, Any] = {"ground": Ground.OWN, "quiet": False, "session": 20.0}


@fault("the broker is restarted", "broker", **OWN)
async def broker_restarts(world: World) -> None:
    """The broker is stopped in order and started again."""
    await world.server.stop()
    await world.server.start()


@fault("the broker is killed", "broker", **OWN)
async def broker_killed(world: World) -> None:
    """The broker is killed and started again."""
    world.server.kill()
    await world.server.start()


@fault("the broker stands still", "broker", **OWN)
async def broker_frozen(world: World) -> None:
    """The broker's process is stopped for some seconds, with its connections open, and goes on."""
    broker = world.server.brokers[0] if hasattr(world.server, "brokers") else world.server
    broker.freeze()
    await asyncio.sleep(SILENT)
    broker.thaw()
