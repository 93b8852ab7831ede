"""Faults that a broker of queues does to its consumers: channels of RabbitMQ, and queues that are deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.faults import story
from tests.faults.cells import Broker, Ground, State, fault
from tests.faults.erlang import Prepared
from tests.ledger.ledger import after, mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.world import World
    from tests.ledger.ledger import Entry, Mark

GROUP = "channel"


def only(share: str = "a share group has no channels: what its connection may meet is in the rows of networks") -> dict[str, Any]:
    """Return what makes a row of RabbitMQ alone, with the reason why share groups, which are queues, too, do not have it."""
    return {"only": Broker.RABBITMQ, "because": "Kafka has no channels, acks or queues", "without": {Broker.SHARE: share}}


BAD_ACK = ("--strike", "bad-ack")
LIMIT = "it is near in no cell, and tests/brokers/share has what is done then, step by step and by seeds"
TIMEOUT = "the end of a lock is that, and a worker knows when it comes: records go back before"
NO_QUEUES = "Kafka has no channels, acks or queues, but for its share groups"
BEGINS_ANEW = "each partition begins anew with the first record of the new topic, as the tests of the two intakes show"
ENDS = "its worker ends when the queue is deleted, which has a row of its own"


@fault("the channel is closed with unacked messages", GROUP, **only(), quiet=False, worker=BAD_ACK)
async def channel_closed(world: World) -> None:
    """The broker closes every channel of the worker, for an ack of a delivery that never was."""
    await _channels_lost(world)


@fault("the delivery limit is near", GROUP, **only(LIMIT), quiet=False, worker=BAD_ACK, queue={"x-delivery-limit": 4})
async def delivery_limit(world: World) -> None:
    """The same twice, on a queue that drops what has come back more than four times; a worker that holds has no second channel to lose."""
    await _channels_lost(world)
    second = mark()
    for _ in range(10):
        if world.victim.is_running and not _has_lost(world.entries(), since=second):
            world.strike_victim()
            await asyncio.sleep(0.3)


async def _channels_lost(world: World) -> None:
    struck = mark()
    world.strike_victim()
    await _lost(world, since=struck)


async def _lost(world: World, *, since: Mark) -> None:
    """Wait until the victim has lost a channel since the mark, or has ended."""
    await world.until(lambda entries: _has_lost(entries, since=since) or not world.victim.is_running)


def _has_lost(entries: Sequence[Entry], *, since: Mark) -> bool:
    return story.noted(after(entries, since), "gone", "lost") > 0


async def prepare_to_close(world: World) -> None:
    """Let the node wait for the moment to close every connection."""
    world.prepared = Prepared(world.server, CLOSE)
    await world.prepared.ready()


async def prepare_to_cancel(world: World) -> None:
    """Let the node wait for the moment to cancel the consumer."""
    world.prepared = Prepared(world.server, CANCEL % world.payments)
    await world.prepared.ready()


@fault("the connection is closed by the broker", GROUP, **only(), quiet=False, ground=Ground.OWN, prepare=prepare_to_close)
async def connection_closed(world: World) -> None:
    """The broker closes all connections, as for an operator's command."""
    await _done_by_the_broker(world)


@fault("the broker cancels the consumer", GROUP, **only(), quiet=False, prepare=prepare_to_cancel)
async def consumer_cancelled(world: World) -> None:
    """The broker sends basic.cancel for the consumer of payments."""
    await _done_by_the_broker(world)


async def _done_by_the_broker(world: World) -> None:
    assert world.prepared is not None
    fired = mark()
    await world.prepared.fire()
    await _lost(world, since=fired)


CLOSE = '[rabbit_networking:close_connection(Connection, "the table of faults") || Connection <- rabbit_networking:connections()].'
CANCEL = (
    '{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), '
    "[rabbit_channel:send_command(element(1, C), {'basic.cancel', element(2, C), true}) || C <- rabbit_amqqueue:consumers(Q)]."
)

# Where handlers are quick nothing is out for as long as a consumer timeout: some must be slow.
LONG = 10.0


@fault("the consumer timeout", GROUP, **only(TIMEOUT), quiet=False, ground=Ground.IMPATIENT, worker=("--consumer-timeout", "inf"))
async def consumer_timeout(world: World) -> None:
    """The broker takes back what is unacked for six seconds, and the worker knows of no such limit."""
    begun = mark()
    if world.cell.state in (State.CLOSED, State.RAMPING):
        world.scene.latency(LONG)
    await _lost(world, since=begun)


@fault("the queue is deleted", GROUP, without={Broker.KAFKA: NO_QUEUES, Broker.CONFLUENT: NO_QUEUES}, quiet=False)
async def queue_deleted(world: World) -> None:
    """Somebody deletes the queue with all that is in it, for a share group the topic; the worker ends with an error that names it.
    The queue is made again."""
    is_topic = world.cell.broker.is_kafka
    where = world.scene.kafka if is_topic else world.scene.rabbitmq
    await (where.delete_topic(world.payments) if is_topic else where.delete(world.payments))
    _note_deleted(world)
    code = await world.victim.ended()
    if world.cell.state is not State.SHUTTING_DOWN:
        assert code == 1, f"it ended with {code}"
        assert world.payments in world.victim.output.splitlines()[-1], world.victim.output[-3000:]
    world.scene.fleet.workers.remove(world.victim)
    if is_topic:
        await where.create_topic(world.payments, world.partitions)
        await world.produce(20)
    else:
        await where.declare(world.payments, {"x-queue-type": "quorum"})


def _note_deleted(world: World) -> None:
    for queue, partition, number in story.missing(world.entries()):
        if queue == world.payments:
            world.scene.writer.write("deleted", topic=queue, partition=partition, offset=number)


@fault(
    "the topic is deleted and made anew",
    GROUP,
    without={Broker.KAFKA: BEGINS_ANEW, Broker.CONFLUENT: BEGINS_ANEW, Broker.RABBITMQ: ENDS},
    quiet=False,
)
async def topic_made_anew(world: World) -> None:
    """Somebody deletes the topic of a share group and makes it again; the worker goes on, with other records at the same offsets."""
    await world.scene.kafka.delete_topic(world.payments)
    _note_deleted(world)
    await world.scene.kafka.create_topic(world.payments, world.partitions)
    await world.produce(100)
