"""Faults of messages and of what becomes of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.faults.cells import Broker, fault

if TYPE_CHECKING:
    from tests.faults.world import World

GROUP = "message"
TARGET_AWAY = 2.0


@fault("poison messages", GROUP, dead=True)
async def poison(world: World) -> None:
    """Messages that can never be processed, by the handler's word and (Kafka) by failing each time, come among good ones."""
    await world.produce_poison()
    await world.produce(20)


@fault("the target for dead letters is away", GROUP, dead=True)
async def dead_letter_target_away(world: World) -> None:
    """The topic or queue for dead letters is deleted, poison comes, and it is made again some seconds later."""
    kafka = world.cell.broker.is_kafka
    where = world.scene.kafka if kafka else world.scene.rabbitmq
    await (where.delete_topic(world.dead) if kafka else where.delete(world.dead))
    await world.produce_poison()
    await asyncio.sleep(TARGET_AWAY)
    await (where.create_topic(world.dead) if kafka else where.declare(world.dead, {"x-queue-type": "quorum"}))


@fault(
    "retention deletes unread records",
    GROUP,
    only=Broker.KAFKA,
    because="a queue keeps what is not acked; what expires there is its owner's wish",
    worker=("--inbox", "10"),
)
async def retention(world: World) -> None:
    """The broker deletes most of what is not committed yet; the worker has read some of it and has not read the rest."""
    before, gone = await world.oldest()
    # Told before it is done: a worker may go on past it at once.
    for topic, partition, number in gone:
        world.scene.writer.write("deleted", topic=topic, partition=partition, offset=number)
    await world.scene.kafka.delete_records(world.payments, before)
