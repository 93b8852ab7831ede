"""FastStream's RabbitMQ subscribers under a guard, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from faststream import BaseMiddleware
from faststream.exceptions import AckMessage, NackMessage, RejectMessage
from faststream.rabbit.annotations import RabbitMessage
from tests.integrations.faststream.kafka_app import Bad, dependency, until
from tests.integrations.faststream.rabbitmq_app import PREFETCH, RabbitMQApp
from tests.servers.rabbitmq_address import QUORUM

from holdgate import RetryPolicy
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.rabbitmq_address import RabbitMQAddress

    MakeQueue = Callable[..., Awaitable[str]]


def numbers(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


@pytest.mark.parametrize("arguments", [None, QUORUM], ids=["classic", "quorum"])
async def test_an_outage_holds_within_the_prefetch(rabbitmq: RabbitMQAddress, queue: MakeQueue, arguments: Any) -> None:
    """The orders are held, with the prefetch in hand and the rest in the queue, the receipts go on, and every order is done once."""
    orders, receipts = await queue(arguments), await queue()
    app = RabbitMQApp(rabbitmq, needs={orders: [dependency()], receipts: [dependency("email")]})
    app.reads(orders)
    mailed: list[int] = []

    @app.subscriber(receipts)
    async def mail(number: int) -> None:
        mailed.append(number)

    app.down = True
    await rabbitmq.publish(orders, numbers(40))
    async with app.app:
        await until(lambda: app.is_open)
        await rabbitmq.publish(receipts, numbers(40))
        await until(lambda: len(mailed) == 40)
        await asyncio.sleep(1.0)
        assert await rabbitmq.depth(orders) == (40 - PREFETCH, 1)
        assert sum(app.started.values()) <= 26
        app.down = False
        await until(lambda: len(app.done) == 40)
        assert set(app.done.values()) == {1}
        assert set(app.started) == set(range(40))
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_as_many_handlers_run_as_the_prefetch_allows(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """The guard takes no parallelism away that FastStream has."""
    orders = await queue()
    app = RabbitMQApp(rabbitmq, needs=[dependency()])
    app.reads(orders)
    app.seconds = 0.3
    await rabbitmq.publish(orders, numbers(40))
    async with app.app:
        await until(lambda: len(app.done) == 40)
    assert app.most == PREFETCH


async def test_a_failed_message_is_tried_again_where_it_is(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """Its failures are no returns to the queue: the broker counts nothing, and hands it out once."""
    orders = await queue(QUORUM)
    app = RabbitMQApp(rabbitmq, needs=[dependency()])
    redelivered: list[bool] = []

    @app.subscriber(orders)
    async def handle(number: int, message: RabbitMessage) -> None:
        redelivered.append(bool(message.raw_message.redelivered))
        if app.started[1] == 3:  # here, and not in the test: the next attempt may begin before the test comes to see the third one
            app.bad.clear()
        await app.work(number)

    app.bad = {1}
    await rabbitmq.publish(orders, numbers(3))
    async with app.app:
        await until(lambda: len(app.done) == 3)
    assert app.started[1] == 4
    assert redelivered == [False] * 6
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_a_rejected_message_goes_where_its_queue_sends_it(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """After its attempts the broker dead-letters it by the queue's own exchange."""
    dead = await queue()
    orders = await queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    app = RabbitMQApp(rabbitmq, needs=[dependency()], retry=RetryPolicy(attempts=2, initial_backoff=0.05))
    app.reads(orders)
    app.bad = {1}
    await rabbitmq.publish(orders, numbers(3))
    async with app.app:
        await until(lambda: len(app.done) == 2)
        await rabbitmq.becomes(dead, ready=1)
    assert app.started[1] == 2
    assert [message.body for message in await rabbitmq.waiting(dead)] == [b"1"]


async def test_a_rejected_message_goes_to_the_dead_letters(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """With `dead_letters=` its letter is confirmed first, and then it is acked."""
    dead, orders = await queue(), await queue()
    letters = RabbitMQDeadLetters(rabbitmq.url, dead)
    app = RabbitMQApp(rabbitmq, needs=[dependency()], dead_letters=letters, retry=RetryPolicy(attempts=1))
    app.reads(orders)
    app.bad = {1}
    await rabbitmq.publish(orders, numbers(3))
    async with app.app:
        await until(lambda: len(app.done) == 2)
        await until(lambda: app.guarded.guard.totals().names[orders].ended == 3)
        await rabbitmq.becomes(dead, ready=1)
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_handlers_may_use_faststreams_own_words(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """AckMessage settles, NackMessage is tried again uncharged, RejectMessage is rejected, and so is what the handler rejects itself."""
    dead = await queue()
    orders = await queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    app = RabbitMQApp(rabbitmq, needs=[dependency()], retry=RetryPolicy(attempts=2, initial_backoff=0.05))
    seen: list[int] = []

    @app.subscriber(orders)
    async def handle(number: int, message: RabbitMessage) -> None:
        seen.append(number)
        if number == 0:
            raise AckMessage
        if number == 1 and seen.count(1) < 4:
            raise NackMessage
        if number == 2:
            raise RejectMessage
        if number == 3:
            await message.reject()

    await rabbitmq.publish(orders, numbers(5))
    async with app.app:
        await until(lambda: sorted(seen) == [0, 1, 1, 1, 1, 2, 3, 4])
        await rabbitmq.becomes(dead, ready=2)
    assert await rabbitmq.waiting_once_free(orders) == []
    assert sorted(message.body for message in await rabbitmq.waiting(dead)) == [b"2", b"3"]


async def test_a_result_that_cannot_be_published_sends_its_message_back(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """It is not acked before its result is out: it comes again, and is published in the end."""
    orders, results = await queue(), await queue()
    app = RabbitMQApp(rabbitmq, needs=[dependency()])
    failing = [True]

    class Broken(BaseMiddleware):
        async def publish_scope(self, call_next: Callable[[Any], Awaitable[Any]], cmd: Any) -> Any:
            if failing[0]:
                failing[0] = False
                raise Bad
            return await call_next(cmd)

    app.broker.add_middleware(Broken)

    @app.subscriber(orders)
    @app.broker.publisher(results)
    async def handle(number: int) -> str:
        await app.work(number)
        return f"charged {number}"

    await rabbitmq.publish(orders, numbers(1))
    async with app.app:
        await rabbitmq.becomes(results, ready=1)
    assert app.started[0] == 2
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_what_is_held_goes_back_before_the_consumer_timeout(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """Held for four fifths of it, everything goes back and comes again, in order and without an attempt."""
    orders = await queue(QUORUM)
    app = RabbitMQApp(rabbitmq, needs=[dependency()], consumer_timeout=2.0)
    app.reads(orders)
    app.down = True
    await rabbitmq.publish(orders, numbers(30))
    async with app.app:
        await until(lambda: app.is_open)
        app.guarded.guard.force_open("payments", reason="test")
        await asyncio.sleep(0.5)  # what was granted before begins in the next steps of the loop
        before = sum(app.started.values())
        returned: list[int] = []
        for subscriber in app.guarded._stations.values():
            return_all = subscriber._return_all

            async def noted(return_all: Callable[[], Awaitable[None]] = return_all) -> None:
                returned.append(1)
                await return_all()

            subscriber._return_all = noted
        await until(lambda: len(returned) >= 2)
        await rabbitmq.becomes(orders, ready=30 - PREFETCH, consumers=1)
        assert sum(app.started.values()) == before
        app.down = False
        app.guarded.guard.reset("payments", reason="test")
        app.guarded.guard.clear_override("payments", reason="test")
        await until(lambda: len(app.done) == 30)
        assert set(app.done.values()) == {1}
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_a_stop_in_a_hold_gives_everything_back(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """The app stops without waiting for the outage, nothing is lost, and the next one does each message once."""
    orders = await queue()
    first, second = (RabbitMQApp(rabbitmq, needs=[dependency()]) for _ in range(2))
    for app in (first, second):
        app.reads(orders)
    first.down = True
    await rabbitmq.publish(orders, numbers(20))
    async with first.app:
        await until(lambda: first.is_open)
    await rabbitmq.becomes(orders, ready=20, consumers=0)
    async with second.app:
        await until(lambda: len(second.done) == 20)
    assert set(second.done.values()) == {1}
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_a_stop_lets_running_handlers_end(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """What runs when the app stops ends and is acked; the rest is the next app's."""
    orders = await queue()
    first, second = (RabbitMQApp(rabbitmq, needs=[dependency()]) for _ in range(2))
    for app in (first, second):
        app.reads(orders)
        app.seconds = 0.2
    await rabbitmq.publish(orders, numbers(50))
    async with first.app:
        await until(lambda: len(first.done) > 10)
    assert first.started == first.done
    async with second.app:
        await until(lambda: len(first.done | second.done) == 50)
    assert set((first.done + second.done).values()) == {1}


async def test_a_lost_connection_lets_what_was_held_come_again(rabbitmq: RabbitMQAddress, queue: MakeQueue) -> None:
    """The messages that waited on the lost channel never start; they come again on the next one, and each is done once."""
    orders = await queue()
    app = RabbitMQApp(rabbitmq, needs=[dependency()])
    app.reads(orders)
    app.down = True
    await rabbitmq.publish(orders, numbers(20))
    async with app.app:
        await until(lambda: app.is_open)
        app.guarded.guard.force_open("payments", reason="test")
        (station,) = app.guarded._stations.values()
        channel = station._channel
        await channel.raw.connection.close(
            ConnectionError("cut")
        )  # the client's own close, below the robust one, which then connects again
        await until(lambda: station._channel not in (None, channel))
        await until(lambda: len(station._waiting) == PREFETCH)
        app.down = False
        app.guarded.guard.reset("payments", reason="test")
        app.guarded.guard.clear_override("payments", reason="test")
        await until(lambda: len(app.done) == 20)
        assert set(app.done.values()) == {1}
    assert await rabbitmq.waiting_once_free(orders) == []
