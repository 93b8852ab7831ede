"""Batches on a real broker: full ones in front of a full queue, one message at fault among many, and an outage in the middle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.rabbitmq.line import Line, supervisor
from tests.brokers.rabbitmq.worker import Worker, working
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.flow.message import Queue
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate import Delivery

BATCH = 20


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.fixture(params=[{}, QUORUM], ids=["classic", "quorum"])
def arguments(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Both types of queue in turn."""
    found: Mapping[str, Any] = request.param
    return found


async def test_a_batch_is_as_long_as_it_may_be(rabbitmq: RabbitMQAddress, queue, arguments: Mapping[str, Any]) -> None:
    """A full queue gives full batches, which are acked and leave nothing."""
    name = await queue(arguments)
    await rabbitmq.publish(name, numbered(400))
    async with working(Worker(RabbitMQIntake(rabbitmq.url, name), batch=BATCH)) as at:
        await at.until(lambda at: len(at.processed) == 400)
    assert max(map(len, at.calls)) == BATCH
    assert await rabbitmq.waiting_once_free(name) == []


def test_bunches_that_come_over_the_wire_become_one_batch() -> None:
    """Three at a time, as the client reads its socket, and not handed out before there is a full batch, or the wire pauses."""

    async def bunches() -> list[int]:
        made = RabbitMQIntake("amqp://localhost/", "orders", prefetch=50)
        made.deliver_in_batches(BATCH)
        line = Line()
        kept = made._supervisors[Queue("orders")] = supervisor()
        kept.channel = line.channel
        line.ring = made._bell.ring  # type: ignore[method-assign]
        await line.channel.consume(50, {})
        made.apply(Plan({Queue("orders"): SourcePlan()}, 1))
        sizes: list[int] = []

        async def read() -> None:
            while sum(sizes) < 24:
                sizes.extend(len(batch.message) for batch in await made.receive())

        reading = asyncio.create_task(read())
        for first in range(1, 24, 3):
            await line.arrive(first, first + 1, first + 2)
            await asyncio.sleep(0.0005)
        await reading
        return sizes

    assert run_virtual(bunches()) == [21, 3]


async def test_with_little_traffic_batches_are_small(rabbitmq: RabbitMQAddress, queue) -> None:
    """Nothing waits for a batch to become full."""
    name = await queue()
    async with working(Worker(RabbitMQIntake(rabbitmq.url, name), batch=BATCH)) as at:
        for number in range(3):
            await rabbitmq.publish(name, [b"%d" % number])
            await at.until(lambda at, number=number: len(at.processed) == number + 1)  # type: ignore[misc]
    assert at.calls == [[b"0"], [b"1"], [b"2"]]


async def test_through_poison_and_an_outage(rabbitmq: RabbitMQAddress, queue, arguments: Mapping[str, Any]) -> None:
    """One message at fault, and an outage in the middle: exactly that one is a dead letter, all others are processed once, nothing comes
    back to the queue, and no batch is longer than the ramp's limit."""
    name = await queue(arguments)
    await rabbitmq.publish(name, numbered(300))
    worker = Worker(RabbitMQIntake(rabbitmq.url, name), batch=BATCH, poison=[b"130"], seconds=0.01)
    async with working(worker) as at:
        await at.until(lambda at: len(at.processed) >= 40)
        await at.outage()
        await at.until(lambda at: len(at.processed) == 299 and bool(at.letters))
    assert at.letters == [b"130"]
    assert sorted(at.processed, key=int) == [body for body in numbered(300) if body != b"130"]
    assert at.over == []
    assert at.redelivered == 0
    assert await rabbitmq.waiting_once_free(name) == []


async def test_a_single_active_consumer_keeps_its_order(rabbitmq: RabbitMQAddress, queue, arguments: Mapping[str, Any]) -> None:
    """Halves of a batch that failed are tried in order, before what is behind it; also through an outage."""
    name = await queue({**arguments, **SINGLE_ACTIVE})
    await rabbitmq.publish(name, numbered(200))
    worker = Worker(RabbitMQIntake(rabbitmq.url, name, single_active=True), batch=BATCH, poison=[b"70"], seconds=0.005)
    async with working(worker) as at:
        await at.until(lambda at: len(at.processed) >= 20)
        await at.outage()
        await at.until(lambda at: len(at.processed) == 199 and bool(at.letters))
    assert at.processed == [body for body in numbered(200) if body != b"70"]
    assert await rabbitmq.waiting_once_free(name) == []


async def test_a_handler_speaks_for_single_messages(rabbitmq: RabbitMQAddress, queue, arguments: Mapping[str, Any]) -> None:
    """What it rejects goes to the queue's own dead letter exchange, what it wants again comes again; the rest is acked."""
    dead = await queue()
    name = await queue({**arguments, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    await rabbitmq.publish(name, numbered(BATCH))
    again: list[bytes | None] = []

    class Speaking(Worker):
        async def batch(self, deliveries: Sequence[Delivery[Any]]) -> None:
            for delivery in deliveries:
                if delivery.body == b"7":
                    delivery.reject("seven")
                elif delivery.body == b"11" and delivery.attempt == 1:
                    delivery.retry(after=0.05)
                    again.append(delivery.body)
            self.calls.append([delivery.body or b"" for delivery in deliveries])

    async with working(Speaking(RabbitMQIntake(rabbitmq.url, name), batch=BATCH, dead_letters=None)) as at:
        await at.until(lambda at: sum(map(len, at.calls)) == BATCH + 1)
    assert again == [b"11"]
    assert [b"11"] in at.calls
    assert await rabbitmq.waiting_once_free(name) == []
    assert [message.body for message in await rabbitmq.waiting(dead)] == [b"7"]


class Stuck(Worker):
    """The second batch never ends."""

    async def work(self, bodies: Sequence[bytes]) -> None:
        if self.processed:
            await asyncio.Event().wait()


async def test_what_a_stop_interrupts_is_left(rabbitmq: RabbitMQAddress, queue, arguments: Mapping[str, Any]) -> None:
    """A batch that has not ended when the guard stops, and what is in hand behind it, is in the queue again, in order."""
    name = await queue(arguments)
    await rabbitmq.publish(name, numbered(60))
    async with working(Stuck(RabbitMQIntake(rabbitmq.url, name, prefetch=40), batch=BATCH, concurrency=1)) as at:
        await at.until(lambda at: bool(at.processed) and bool(at.running))
    left = [message.body for message in await rabbitmq.waiting_once_free(name)]
    assert left == numbered(60)[len(at.processed) :]
    assert at.processed == numbered(60)[: len(at.processed)]
