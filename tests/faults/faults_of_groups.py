"""Faults of a Kafka consumer group: members, sessions, commits, coordinators."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.faults.cells import Broker, Ground, fault

if TYPE_CHECKING:
    from tests.faults.world import World

GROUP = "group"
ONLY: dict[str, Any] = {"only": Broker.KAFKA, "because": "RabbitMQ has no consumer groups"}
# A rebalance takes up to three seconds to begin: the circuit must be open when it is over.
STAYS_OPEN = ("--open", "5")
# Long enough for a cluster to notice and to choose anew, short enough for a cell.
AWAY = 3.0


@fault("a member joins", GROUP, **ONLY, quiet=False, worker=STAYS_OPEN)
async def joins(world: World) -> None:
    """Another worker joins the group and takes its share."""
    other = world.launch()
    await world.until(lambda entries: world.has_work(entries, other.name))


@fault("a member leaves", GROUP, **ONLY, quiet=False, workers=2, worker=STAYS_OPEN)
async def leaves(world: World) -> None:
    """One of two workers ends in order; the other one gets all partitions."""
    (other,) = [worker for worker in world.scene.running if worker is not world.victim]
    other.terminate()
    assert await other.ended() == 0, other.output[-3000:]
    await asyncio.sleep(0.5)


@fault("the poll interval expires", GROUP, **ONLY, quiet=False, worker=("--max-poll", "2", "--strike", "polls-stall"))
async def poll_interval(world: World) -> None:
    """No poll for twice `max_poll_interval_ms` while heartbeats go on."""
    world.strike_victim()
    await asyncio.sleep(4.5)


@fault("commits fail", GROUP, **ONLY, worker=("--strike", "commits-fail"))
async def commits_fail(world: World) -> None:
    """The next three commits end with a request timeout."""
    world.strike_victim()
    await asyncio.sleep(1.5)


@fault("commits hang", GROUP, **ONLY, worker=("--strike", "commits-hang"))
async def commits_hang(world: World) -> None:
    """Each of the next three commits takes three seconds longer."""
    world.strike_victim()
    await asyncio.sleep(3.5)


CLUSTER: dict[str, Any] = {
    "only": Broker.KAFKA,
    "because": "the RabbitMQ of these tests is one node; a quorum queue's leader is chosen within a cluster",
    "ground": Ground.CLUSTER,
    "quiet": False,
    "session": 20.0,
}


@fault("the leader of a partition is killed", "broker", **CLUSTER)
async def leader_killed(world: World) -> None:
    """Of three brokers, the one that leads the first partition is killed, and comes back some seconds later."""
    async with world.scene.kafka.admin() as admin:
        described = (await admin.describe_topics([world.payments]))[0]
    leader = next(entry["leader"] for entry in described["partitions"] if entry["partition"] == 0)
    await _killed_for_a_while(world, leader)


async def find_coordinator(world: World) -> None:
    """Ask who coordinates the group; on a busy machine that takes longer than a circuit takes to trip."""
    async with world.scene.kafka.admin() as admin:
        world.coordinator = await admin.find_coordinator(world.scene.group)


@fault("the group's coordinator is killed", "broker", **CLUSTER, prepare=find_coordinator)
async def coordinator_killed(world: World) -> None:
    """Of three brokers, the one that coordinates the group is killed: the coordinator moves."""
    await _killed_for_a_while(world, world.coordinator)


async def _killed_for_a_while(world: World, number: int) -> None:
    world.server.brokers[number - 1].kill()
    world.struck()
    await asyncio.sleep(AWAY)
    await world.server.start()
