"""Dead letters in RabbitMQ: what is refused before it begins, what is written, and what becomes of the connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika.exceptions import DeliveryError, PublishError

from holdgate import Guard, Reject, RetryPolicy
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQIntake
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import DeadLetter, Partition, Queue, Source
from holdgate.testing import MemoryDelivery
from holdgate.testing.memory.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress

POISON = b"poison"
PATIENCE = 60.0


def letter(source: Source, body: bytes | None = POISON, key: bytes | None = None, headers: dict[str, Any] | None = None) -> DeadLetter:
    delivery = MemoryDelivery(source, Message(7, body, key, headers or {}), 7, None)
    return DeadLetter(delivery, 5, 1.0, 2.0, "KeyError", "'4711'", None, "host:1")


async def take(rabbitmq: RabbitMQAddress, queue: str) -> Any:
    async with rabbitmq.channel() as channel:
        return await (await channel.get_queue(queue, ensure=False)).get(no_ack=True)


async def consume(
    rabbitmq: RabbitMQAddress, queue: str, target: RabbitMQDeadLetters | None, done: Callable[[], Awaitable[bool]], **settings: Any
) -> None:
    """Run a guard over the queue until `done`; a message with the body `POISON` is rejected."""

    async def handler(delivery: Any) -> None:
        if delivery.body == POISON:
            raise Reject("poison")

    async with Guard(signals=False) as guard:
        intake = RabbitMQIntake(f"{rabbitmq.url}?reconnect_interval=0.2", queue)
        run = asyncio.create_task(guard.run(intake, handler, dead_letters=target, **settings))
        async with asyncio.timeout(PATIENCE):
            while not run.done() and not await done():
                await asyncio.sleep(0.05)
        await guard.stop()
        await run


# -- what is refused -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "routing_key", ["", "{topic}.dead", "{}.dead", "{queue"], ids=["empty", "another name", "a number", "half a brace"]
)
async def test_a_name_that_makes_no_queue_is_refused(routing_key: str) -> None:
    """The text shows the way it is meant."""
    with pytest.raises(SettingsError, match=r"\{queue\}\.dead"):
        RabbitMQDeadLetters("amqp://localhost", routing_key)


async def test_dead_letters_into_the_queue_they_come_from_are_refused() -> None:
    """They would be consumed, rejected and written again for ever."""
    with pytest.raises(SettingsError, match="back to where they came from"):
        await RabbitMQDeadLetters("amqp://localhost:1", "orders").open(["orders"])


async def test_what_is_no_connection_is_refused() -> None:
    """As for the intake."""
    with pytest.raises(SettingsError, match="must be a robust connection or a URL"):
        RabbitMQDeadLetters(object())  # type: ignore[arg-type]


async def test_closing_what_never_opened_is_fine() -> None:
    """A run that could not open closes all the same."""
    await RabbitMQDeadLetters("amqp://localhost:1").close()


# -- on a broker -----------------------------------------------------------------------------------------------------------------------


async def test_a_missing_queue_is_told_before_anything_is_consumed(rabbitmq: RabbitMQAddress, queue) -> None:
    """With its name and what to do; it is not made."""
    orders = await queue()
    for _ in range(2):
        with pytest.raises(IntakeError, match=rf"no queue '{orders}\.dead' for dead letters .*declare it"):
            await RabbitMQDeadLetters(rabbitmq.url).open([orders])


async def test_a_missing_exchange_is_told_before_anything_is_consumed(rabbitmq: RabbitMQAddress) -> None:
    """As a queue is."""
    with pytest.raises(IntakeError, match="no exchange 'graves' for dead letters"):
        await RabbitMQDeadLetters(rabbitmq.url, exchange="graves").open(["orders"])


async def test_body_and_properties_are_the_messages_and_what_is_known_is_added(rabbitmq: RabbitMQAddress, queue) -> None:
    """Without an expiration, and without a user that may not be the publisher's; the number of replays stays."""
    orders, dead = await queue(), await queue()
    properties = {"content_type": "application/json", "correlation_id": "c1", "message_id": "m1", "type": "order", "priority": 3}
    headers = {"trace": "t", "count": 3, "holdgate-source": "old", "holdgate-replays": "1"}
    await rabbitmq.publish(orders, [POISON], headers=headers, expiration=3600, user_id="guest", **properties)

    async def done() -> bool:
        return (await rabbitmq.depth(dead))[0] == 1

    await consume(rabbitmq, orders, RabbitMQDeadLetters(rabbitmq.url, dead), done)
    message = await take(rabbitmq, dead)
    assert {name: getattr(message, name) for name in properties} == properties
    assert (message.body, message.expiration, message.user_id) == (POISON, None, None)
    told = message.headers
    assert (told["trace"], told["count"], told["holdgate-replays"]) == ("t", 3, "1")
    assert (told["holdgate-source"], told["holdgate-delivery-tag"], told["holdgate-attempts"]) == (orders, "1", "1")
    assert told["holdgate-reason"] == "poison"
    assert "holdgate-exception-text" not in told
    assert (await rabbitmq.depth(orders))[0] == 0


async def test_what_a_broker_wrote_of_an_earlier_life_stays_behind(rabbitmq: RabbitMQAddress, queue) -> None:
    """A copy is a new message to its queue: a count or a death of another one would be taken for its own. A header like one goes along."""
    dead = await queue()
    written = {
        "x-delivery-count": 21,
        "x-acquired-count": 21,
        "x-death": [{"count": 3}],
        "x-first-death-queue": "a",
        "x-last-death-reason": "rejected",
    }
    target = RabbitMQDeadLetters(rabbitmq.url, dead)
    await target.open(None)
    await target.publish(letter(Queue("orders"), headers={**written, "x-death-certificate": "4711"}))
    await target.close()
    told = (await take(rabbitmq, dead)).headers
    assert told["x-death-certificate"] == "4711"
    assert not written.keys() & told.keys()


async def test_a_queue_that_cannot_be_asked_for_is_not_said_to_be_missing(
    rabbitmq: RabbitMQAddress, let_in: Callable[..., Awaitable[str]]
) -> None:
    """Another connection's exclusive queue, and one that this user may not see, are there: to declare it is no remedy."""
    async with rabbitmq.channel() as channel:
        name = (await channel.declare_queue(exclusive=True)).name
        with pytest.raises(IntakeError, match=f"queue '{name}' for dead letters at .* is exclusive to another connection"):
            await RabbitMQDeadLetters(rabbitmq.url, name).open(["orders"])
    target = RabbitMQDeadLetters(await let_in("", "", ""), exchange="amq.topic")
    if rabbitmq.version == "3.10":
        await target.open(["orders"])  # there everybody may ask
        await target.close()
    else:
        with pytest.raises(IntakeError, match=r"this user may not see exchange 'amq\.topic' for dead letters at "):
            await target.open(["orders"])


@pytest.mark.parametrize("is_open", [False, True], ids=["before the channel", "on it"])
async def test_a_connection_that_is_lost_at_the_question_is_told(own_rabbitmq: RabbitMQServer, queue, is_open: bool) -> None:
    """It is an IntakeError, as at any start that fails, and not the client's own."""
    dead = await queue()
    async with own_rabbitmq.proxy() as proxy:
        target = RabbitMQDeadLetters(own_rabbitmq.url_through(proxy), dead)
        real = target._client.channel

        async def channel(*, publisher_confirms: bool = False) -> object:
            if not is_open:
                proxy.reset()
            opened = await real(publisher_confirms=publisher_confirms)
            proxy.reset()
            return opened

        target._client.channel = channel  # type: ignore[method-assign]
        with pytest.raises(IntakeError, match=f"queue '{dead}' for dead letters at .* could not be checked"):
            await target.open(["orders"])


def test_a_question_that_got_no_answer_is_told_as_that() -> None:
    """A connection that went away says nothing about the queue."""
    text = RabbitMQDeadLetters("amqp://localhost:1")._refusal("queue 'orders.dead'", OSError("reset"))
    assert text == "queue 'orders.dead' for dead letters at localhost:1/ could not be checked: is the broker up? (OSError: reset)"


async def test_a_kafka_records_key_becomes_a_header(rabbitmq: RabbitMQAddress, queue) -> None:
    """And its bytes arrive as bytes; a tombstone is an empty body."""
    dead = await queue()
    target = RabbitMQDeadLetters(rabbitmq.url, dead, exception_text=True)
    await target.open(None)
    await target.publish(letter(Partition("orders", 3), None, b"k\xff", {"trace": b"\xfft"}))
    await target.close()
    message = await take(rabbitmq, dead)
    assert (message.body, message.delivery_mode) == (b"", aio_pika.DeliveryMode.PERSISTENT)
    assert (bytes(message.headers["holdgate-key"]), bytes(message.headers["trace"])) == (b"k\xff", b"\xfft")
    assert message.headers["holdgate-exception-text"] == "'4711'"


async def test_what_no_queue_takes_is_not_confirmed(rabbitmq: RabbitMQAddress, queue) -> None:
    """A broker confirms what it drops, unless it is told to hand it back; and the channel works on."""
    orders = await queue()
    dead = await rabbitmq.declare(f"{orders}.dead")
    target = RabbitMQDeadLetters(rabbitmq.url)
    await target.open(None)
    with pytest.raises((DeliveryError, PublishError)):
        await target.publish(letter(Queue("nowhere")))
    channel = target._channel
    await target.publish(letter(Queue(orders)))
    assert target._channel is channel
    await target.close()
    assert (await rabbitmq.depth(dead))[0] == 1
    await rabbitmq.delete(dead)


async def test_an_exchange_routes_by_the_key(rabbitmq: RabbitMQAddress, queue) -> None:
    """As its owner has bound it; one that goes away closes the channel, and the next publication opens another."""
    dead = await queue()
    name = f"{dead}-exchange"
    async with rabbitmq.channel() as channel:
        exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.DIRECT)
        await (await channel.get_queue(dead)).bind(exchange, "orders.dead")
        target = RabbitMQDeadLetters(rabbitmq.url, exchange=name)
        await target.open(["orders"])
        await target.publish(letter(Queue("orders")))
        await exchange.delete(if_unused=False)
        with pytest.raises(Exception, match=name):
            await target.publish(letter(Queue("orders")))
        exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.DIRECT)
        await (await channel.get_queue(dead)).bind(exchange, "orders.dead")
        await target.publish(letter(Queue("orders")))
        await target.close()
        await exchange.delete(if_unused=False)
    await rabbitmq.becomes(dead, ready=2)


async def test_a_connection_of_the_callers_stays_open(rabbitmq: RabbitMQAddress, queue) -> None:
    """Two runs share it, and neither closes it."""
    dead = await queue()
    connection = await aio_pika.connect_robust(rabbitmq.url)
    target = RabbitMQDeadLetters(connection, dead)
    await asyncio.gather(target.open(["orders"]), target.open(["mails"]))
    await target.close()
    await target.publish(letter(Queue("orders")))
    await target.close()
    assert not connection.is_closed
    await connection.close()
    assert (await rabbitmq.depth(dead))[0] == 1


async def test_several_at_once_are_all_confirmed(rabbitmq: RabbitMQAddress, queue) -> None:
    """Of the same message id, too."""
    dead = await queue()
    target = RabbitMQDeadLetters(rabbitmq.url, dead)
    await target.open(["orders"])
    await asyncio.gather(*(target.publish(letter(Queue("orders"))) for _ in range(20)))
    await target.close()
    assert (await rabbitmq.depth(dead))[0] == 20


async def test_without_dead_letters_the_queue_rejects_by_itself(rabbitmq: RabbitMQAddress, queue) -> None:
    """To its own dead letter exchange, and nowhere else."""
    graves = await queue()
    orders = await queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": graves})
    await rabbitmq.publish(orders, [b"1", POISON, b"2"])

    async def done() -> bool:
        return (await rabbitmq.depth(graves))[0] == 1

    await consume(rabbitmq, orders, None, done)
    message = await take(rabbitmq, graves)
    assert message.body == POISON
    assert message.headers["x-first-death-reason"] == "rejected"


async def test_a_queue_that_goes_away_holds_the_source_until_it_is_back(rabbitmq: RabbitMQAddress, queue) -> None:
    """The message is neither settled nor lost meanwhile."""
    orders = await queue()
    dead = await rabbitmq.declare(f"{orders}-dead")
    target = Counting(rabbitmq.url, dead)

    async def done() -> bool:
        if target.published == 0 and target.opened:
            await rabbitmq.delete(dead)
            target.opened = False
            await rabbitmq.publish(orders, [POISON, b"good"])
        if target.failures >= 2:
            await rabbitmq.declare(dead)
            target.failures = -1000
        return target.failures < 0 and (await rabbitmq.depth(dead))[0] == 1

    await consume(rabbitmq, orders, target, done, retry=RetryPolicy(initial_backoff=0.1, max_backoff=0.2))
    assert (await rabbitmq.depth(orders))[0] == 0
    await rabbitmq.delete(dead)


class Counting(RabbitMQDeadLetters):
    """Counts what was asked and what failed."""

    opened = False
    published = 0
    failures = 0

    async def open(self, names: Any) -> None:
        await super().open(names)
        self.opened = True

    async def publish(self, letter: DeadLetter) -> None:
        self.published += 1
        try:
            await super().publish(letter)
        except Exception:
            self.failures += 1
            raise


async def test_a_broker_that_restarts_loses_no_letter(fresh_rabbitmq: RabbitMQServer) -> None:
    """Connection and channel come back by themselves; published again is the worst of it."""
    await fresh_rabbitmq.declare("orders")
    await fresh_rabbitmq.declare("orders.dead")
    target = RabbitMQDeadLetters(f"{fresh_rabbitmq.url}?reconnect_interval=0.2")
    await target.open(["orders"])
    await target.publish(letter(Queue("orders")))
    await fresh_rabbitmq.restart()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await target.publish(letter(Queue("orders")))
                break
            except Exception:  # noqa: BLE001 - whatever the client raises, the guard tries again
                await asyncio.sleep(0.2)
    await target.close()
    assert (await fresh_rabbitmq.depth("orders.dead"))[0] >= 2
