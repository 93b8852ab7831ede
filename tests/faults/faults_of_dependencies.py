"""Faults of what the handler calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.faults.cells import ABOVE_CLIENTS, State, fault
from tests.faults.world import OPEN, QUICK, STEADY
from tests.ledger.dependency import Mode

if TYPE_CHECKING:
    from tests.faults.world import World

GROUP = "dependency"
# Longer than a handler's timeout, and than most open waits.
LASTS = 3.0


@fault("it answers with errors", GROUP, without=ABOVE_CLIENTS)
async def answers_with_errors(world: World) -> None:
    """Every call is answered with an error, for some seconds."""
    await world.fail_for(Mode.DOWN, LASTS)


@fault("it refuses connections", GROUP, without=ABOVE_CLIENTS)
async def refuses(world: World) -> None:
    """Nobody listens any more, and connections that exist are reset, for some seconds."""
    await world.fail_for(Mode.GONE, LASTS)


@fault("it hangs", GROUP, without=ABOVE_CLIENTS, worker=("--timeout", "2.4"))
async def hangs(world: World) -> None:
    """Calls are accepted and never answered; the handler has a time limit."""
    await world.fail_for(Mode.HANG, LASTS)


@fault("it is slow", GROUP, without=ABOVE_CLIENTS, worker=("--slow-call", "0.9"), partial=True)
async def is_slow(world: World) -> None:
    """Every call takes longer than `slow_call_duration`, and succeeds."""
    await world.dependency.set_mode(Mode.UP)
    world.scene.latency(1.2)
    await world.produce(40)
    await asyncio.sleep(LASTS)


@fault("it flaps", GROUP, without=ABOVE_CLIENTS, partial=True)
async def flaps(world: World) -> None:
    """Down and up again, six times in turn, for about as long as a circuit stays open."""
    world.scene.latency(STEADY)
    for _ in range(3):
        await world.fail_for(Mode.DOWN, OPEN / 2)
        await world.scene.up()
        await asyncio.sleep(OPEN / 3)


@fault("it fails a third to a half of its calls", GROUP, without=ABOVE_CLIENTS, partial=True)
async def fails_some(world: World) -> None:
    """One call in three fails for a while, and then one in two."""
    world.scene.latency(STEADY)
    await world.dependency.set_mode(Mode.UP)
    await world.produce(60)
    for every in (3, 2):
        world.dependency.fail_every = every
        await asyncio.sleep(LASTS / 2)
    world.dependency.fail_every = 0


class SomeMessages(set[str]):
    """The keys that the dependency is down for: one message in sixteen."""

    def __contains__(self, key: object) -> bool:
        return int(str(key).rpartition("|")[2]) % 16 == 5


@fault("it is down for some keys alone", GROUP, without=ABOVE_CLIENTS, partial=True, worker=("--attempts", "100"))
async def down_for_some_keys(world: World) -> None:
    """One message in sixteen fails again and again while all others succeed."""
    world.scene.latency(QUICK)
    world.dependency.failing_keys = SomeMessages()
    await world.dependency.set_mode(Mode.UP)
    await world.produce(80)
    await asyncio.sleep(LASTS)
    world.dependency.failing_keys = set()


@fault(
    "its health probe hangs",
    GROUP,
    without=ABOVE_CLIENTS,
    worker=("--strike", "probe-hangs"),
    not_in=dict.fromkeys(
        (State.CLOSED, State.TRIPPING, State.RAMPING, State.SHUTTING_DOWN), "the health probe runs between open and the first message"
    ),
)
async def health_probe_hangs(world: World) -> None:
    """The health probe that runs in place of the first message does not come back; `probe_timeout` ends it."""
    world.strike_victim()
    # A message that probes must end before the next health probe.
    await world.dependency.set_mode(Mode.DOWN)
    await world.until(lambda entries: any(entry.facts.get("probe") for entry in entries if entry.kind == "note"))
