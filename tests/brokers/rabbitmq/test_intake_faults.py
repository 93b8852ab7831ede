"""What the broker and the network do to an intake: nothing is lost, nothing is settled twice, a hold stays a hold."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING

import aio_pika
import pytest
from tests.brokers.kafka.drive import Drive, drive
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.errors import IntakeError
from holdgate.flow.message import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.brokers.rabbitmq.conftest import Kind
    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress

QUIET = 0.5
# A quorum queue that is killed younger than this does not come back (RabbitMQServer.kill).
GROWN_UP = 4.0


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


async def test_a_reset_connection_brings_everything_again(
    own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake]
) -> None:
    """What was in hand is void: its late acks settle nothing, it comes again in order, and its guard heard that it was lost."""
    name = await queue()
    await own_rabbitmq.publish(name, numbered(3))
    async with own_rabbitmq.proxy() as proxy, drive(intake(name, url=own_rabbitmq.url_through(proxy))) as at:
        late = list(await at.take(3))
        proxy.reset()
        await at.until(lambda: at.count("lost") == 1)
        at.ack(late)
        await at.take(6)
        assert at.bodies() == numbered(3) * 2
        assert all(delivery.redelivered for delivery in at.received[3:])
        at.ack(at.received[3:])
        await at.intake.flush()
    assert await own_rabbitmq.waiting_once_free(name) == []


async def test_a_hold_survives_a_reset(own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """Held, it comes back without a consumer: nothing is taken until it is admitted."""
    name = await queue()
    await own_rabbitmq.publish(name, numbered(3))
    async with own_rabbitmq.proxy() as proxy, drive(intake(name, url=own_rabbitmq.url_through(proxy))) as at:
        await at.take(3)
        at.hold()
        at.held.add(Queue(name))
        proxy.reset()
        await at.until(lambda: at.count("assigned") == 2)
        await at.beside(own_rabbitmq.becomes(name, ready=3, consumers=0))
        await at.for_seconds(QUIET)
        assert len(at.received) == 3
        at.admit()
        await at.take(6)
    assert at.leaked == []


async def test_a_black_hole_is_noticed(own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """A connection that carries nothing any more is given up after three heartbeats, and everything comes again by the next one."""
    name = await queue()
    await own_rabbitmq.publish(name, numbered(2))
    async with own_rabbitmq.proxy() as proxy, drive(intake(name, url=own_rabbitmq.url_through(proxy), heartbeat=1)) as at:
        await at.take(2)
        taken, lost = len(at.received), at.count("lost")  # who stands still for seconds is given up as well
        proxy.cut()
        await at.until(lambda: at.count("lost") > lost)
        proxy.heal()
        await at.until(lambda: set(at.bodies()[taken:]) == set(numbered(2)))


async def test_it_closes_in_a_black_hole(own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """With nobody answering, close ends within its bounds; the broker takes everything back later."""
    name = await queue()
    await own_rabbitmq.publish(name, numbered(2))
    async with own_rabbitmq.proxy() as proxy:
        made = intake(name, url=own_rabbitmq.url_through(proxy), heartbeat=1)
        async with drive(made) as at:
            await at.take(2)
            proxy.cut()
            async with asyncio.timeout(45):
                await made.close()
        proxy.heal()
    assert [message.body for message in await own_rabbitmq.waiting_once_free(name)] == numbered(2)


@pytest.mark.versions
async def test_a_restarted_broker_brings_everything_again(fresh_rabbitmq: RabbitMQServer, intake: Callable[..., RabbitMQIntake]) -> None:
    """Killed during a hold and started again: the hold stays, and admitted everything comes, each message once more."""
    await fresh_rabbitmq.declare("orders", QUORUM)
    await fresh_rabbitmq.publish("orders", numbered(5))
    await asyncio.sleep(GROWN_UP)
    async with drive(intake("orders", url=fresh_rabbitmq.url)) as at:
        await at.take(5)
        at.hold()
        at.held.add(Queue("orders"))
        fresh_rabbitmq.kill()
        assert not await fresh_rabbitmq.answers()
        await at.until(lambda: at.count("lost") == 1)
        await at.beside(fresh_rabbitmq.start())
        await at.until(lambda: at.count("assigned") == 2)
        await at.for_seconds(QUIET)
        assert len(at.received) == 5
        at.admit()
        await at.take(10)
        at.ack(at.received[5:])
        await at.intake.flush()
        assert at.bodies() == numbered(5) * 2
    assert at.leaked == []


async def test_a_hold_sends_what_waits(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """Acks of a run that is not full do not wait for its rest, which may be a long time in coming."""
    name = await queue()
    await rabbitmq.publish(name, numbered(2))
    made = intake(name)
    async with drive(made) as at:
        await at.take(2)
        channel = made._supervisors[Queue(name)].channel
        assert channel is not None
        at.ack(at.received[:1])
        assert channel.acks.waiting
        at.hold()
        await asyncio.sleep(0)
        assert not channel.acks.waiting


@pytest.mark.versions
async def test_a_deleted_queue_is_an_error_with_its_name(
    rabbitmq: RabbitMQAddress, intake: Callable[..., RabbitMQIntake], caplog: pytest.LogCaptureFixture
) -> None:
    """The intake ends, and says which queue is gone; the guard heard that what was in hand is lost, and the log says why."""
    name = await rabbitmq.declare("deleted-under-a-guard")
    await rabbitmq.publish(name, numbered(2))
    async with drive(intake(name)) as at:
        await at.take(2)
        await rabbitmq.delete(name)
        with pytest.raises(IntakeError, match=f"no queue '{name}'"):
            await at.until(lambda: False)
        assert at.count("lost") == 1
    assert "its channel has closed (ConsumerCancelled: the broker cancelled the consumer: its queue was deleted" in caplog.text
    assert "None" not in caplog.text


@pytest.mark.versions
async def test_the_brokers_consumer_timeout_is_survived(
    own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """Where nobody knew of a short consumer timeout, the broker takes the messages and they come again, on one connection all the time."""
    if not kind.times_out:
        pytest.skip("this queue takes nothing back")
    name = await queue(kind.arguments)
    await own_rabbitmq.publish(name, numbered(3))
    made = intake(name, consumer_timeout=math.inf, single_active=kind.single_active or None)
    await own_rabbitmq.ctl("eval", "application:set_env(rabbit, consumer_timeout, 2000).")
    try:
        await made.open(at := Drive(made))
        await at.take(3)
        connection = made._client._connection.transport.connection
        at.hold()
        await at.until(lambda: at.count("assigned") == 2)
    finally:
        # Before they come again: once is enough, and acks take their time on a machine that others use.
        await own_rabbitmq.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
    at.admit()
    await at.take(6)
    at.ack(at.received[3:])
    await at.intake.flush()
    await at.beside(own_rabbitmq.becomes(name, ready=0))
    assert at.bodies() == numbered(3) * 2
    assert made._client._connection.transport.connection is connection
    await made.close()
    assert await own_rabbitmq.waiting_once_free(name) == []


@pytest.mark.versions
async def test_a_memory_alarm_stops_publishers_alone(own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """While the broker takes nothing from publishers, a connection of the intake's own gets messages, and its acks arrive."""
    name = await queue()
    await own_rabbitmq.publish(name, numbered(8))
    async with drive(intake(name, prefetch=4)) as at:
        await at.take(4)
        await own_rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
        try:
            at.ack(at.received)
            await at.take(8)
            at.ack(at.received[4:])
            await at.intake.flush()
        finally:
            await own_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    assert await own_rabbitmq.waiting_once_free(name) == []


async def test_the_callers_connection_stays_open(rabbitmq: RabbitMQAddress, queue) -> None:
    """Closed, the intake leaves the caller's connection as it was: open, without our channels, and without a consumer of ours."""
    name = await queue()
    await rabbitmq.publish(name, numbered(1))
    connection = await aio_pika.connect_robust(rabbitmq.url)
    async with connection:
        async with drive(RabbitMQIntake(connection, name)) as at:
            at.ack(await at.take(1))
        assert not connection.is_closed
        assert not connection.transport.connection.channels
        await rabbitmq.becomes(name, ready=0, consumers=0)


async def test_a_connection_closed_under_it_is_an_error(rabbitmq: RabbitMQAddress, queue) -> None:
    """Closed by its owner, the connection does not come back: the intake ends, and says in which order to close."""
    name = await queue()
    connection = await aio_pika.connect_robust(rabbitmq.url)
    async with drive(RabbitMQIntake(connection, name)) as at:
        await at.until(lambda: at.count("assigned") == 1)
        await connection.close()
        with pytest.raises(IntakeError, match=r"call guard\.stop\(\) first"):
            await at.until(lambda: False)


@pytest.mark.parametrize("declared", [None, QUORUM], ids=["found", "declared"])
@pytest.mark.parametrize("moment", list(itertools.product(range(3), (False, True))), ids=str)
async def test_a_connection_that_is_lost_while_a_queue_is_looked_at_is_told(
    own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake], moment: tuple[int, bool], declared: object
) -> None:
    """Each question has a channel of its own, which opens no more, or is lost with its question. It is an IntakeError, as at any start that
    fails: no client's error, and no guess of what kind of queue it is."""
    question, is_open = moment
    name, asked = await queue(QUORUM), itertools.count()
    async with own_rabbitmq.proxy() as proxy:
        made = intake(name, url=own_rabbitmq.url_through(proxy), declare=declared)
        real = made._client.channel

        async def channel(*, publisher_confirms: bool = False) -> object:
            is_lost = next(asked) == question
            if is_lost and not is_open:
                proxy.reset()
            opened = await real(publisher_confirms=publisher_confirms)
            if is_lost and is_open:
                proxy.reset()
            return opened

        made._client.channel = channel  # type: ignore[method-assign]
        with pytest.raises(IntakeError, match=f"queue '{name}' (cannot be used|could not be declared)"):
            await made.open(Drive(made))


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_a_connection_closed_in_any_step_is_an_error(rabbitmq: RabbitMQAddress, queue, steps: int) -> None:
    """While a channel is opened, a consumer begun, messages come: aiormq cancels our calls then, or raises a bare Exception in them."""
    name = await queue()
    await rabbitmq.publish(name, numbered(3))
    connection = await aio_pika.connect_robust(rabbitmq.url)
    async with drive(RabbitMQIntake(connection, name)) as at:
        for _ in range(steps):
            await asyncio.sleep(0)
        await connection.close()
        with pytest.raises(IntakeError, match=r"call guard\.stop\(\) first"):
            await at.until(lambda: False)


async def test_a_task_cancelled_from_outside_is_an_error(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """A queue whose task somebody cancelled does not stand still in silence."""
    name = await queue()
    made = intake(name)
    async with drive(made) as at:
        await at.until(lambda: at.count("assigned") == 1)
        (task,) = made._tasks
        task.cancel()
        with pytest.raises(IntakeError, match="cancelled from outside"):
            await at.until(lambda: False)
        assert at.count("lost") == 1


async def test_it_closes_while_the_broker_is_away(
    own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake], caplog
) -> None:
    """Stopped while it waits for its broker, it ends at once."""
    name = await queue()
    async with own_rabbitmq.proxy() as proxy:
        made = intake(name, url=own_rabbitmq.url_through(proxy))
        async with drive(made) as at:
            await at.until(lambda: at.count("assigned") == 1)
            proxy.refuse()
            proxy.reset()
            await at.until(lambda: at.count("lost") == 1)
            await at.for_seconds(2)  # longer than it waits before it asks for a new channel
            await made.close()
            assert "could not be given back" not in caplog.text  # its patience was not used up
