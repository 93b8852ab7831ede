"""Bad input: a clear error with the remedy, and nothing consumed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from tests.brokers.kafka.drive import drive
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import SINGLE_ACTIVE

from holdgate import Queue
from holdgate.brokers.rabbitmq import DeliveryLimitNear, RabbitMQIntake
from holdgate.errors import AlreadySettled, IntakeError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq_address import RabbitMQAddress

URL = "amqp://guest:guest@127.0.0.1:1/"


class Silent:
    """A listener that must hear nothing."""

    def assigned(self, sources: object) -> Any:
        raise AssertionError(f"{sources} were assigned")


async def refused(intake: RabbitMQIntake, text: str) -> None:
    """Its open is refused with this text; its close is fine."""
    with pytest.raises(IntakeError, match=text) as caught:
        await intake.open(Silent())
    assert "secret" not in str(caught.value)
    assert intake._client.is_closed or intake._client._url is None, "a connection of its own is left open"
    await intake.close()


@pytest.mark.parametrize(
    ("queues", "settings", "text"),
    [
        ((), {}, "at least one queue must be named"),
        ((["a", "b"],), {}, "a queue name must be a str that is not empty, got .'a', 'b'.: give each name by itself"),
        (("",), {}, "a queue name must be a str that is not empty, got ''"),
        (("a", "b", "a"), {}, "each queue must be named once, got twice: 'a'"),
        (("a",), {"prefetch": 0}, "prefetch=0 means no limit"),
        (("a",), {"prefetch": 101}, "prefetch must be from 1 to 100, got 101"),
        (("a",), {"prefetch": True}, "prefetch must be a whole number, got True"),
        (("a",), {"consumer_timeout": 0}, "consumer_timeout must be seconds above 0, got 0"),
        (("a",), {"consumer_timeout": -math.inf}, "consumer_timeout must be a finite number, got -inf"),
        (("a",), {"delivery_limit": 0}, "delivery_limit must be at least 1, got 0"),
        (("a",), {"poll_timeout": 0}, "poll_timeout must be seconds above 0, got 0"),
        (("a",), {"management_url": "localhost:15672"}, "management_url must be like http://"),
    ],
)
def test_settings_that_make_no_sense(queues: Any, settings: dict[str, Any], text: str) -> None:
    """Refused at construction, with the value."""
    with pytest.raises(SettingsError, match=text):
        RabbitMQIntake(URL, *queues, **settings)


@pytest.mark.parametrize(
    ("connection", "text"),
    [
        (None, "must be a robust connection or a URL, got NoneType"),
        ("localhost", "the URL must begin with amqp:// or amqps://, got ''"),
        ("http://localhost", "the URL must begin with amqp:// or amqps://, got 'http'"),
        ("amqp://[::1", "the URL cannot be read"),
    ],
)
def test_what_is_no_connection(connection: Any, text: str) -> None:
    """Refused at construction, with what to write instead."""
    with pytest.raises(SettingsError, match=text):
        RabbitMQIntake(connection, "orders")


async def test_a_connection_that_is_not_robust(rabbitmq: RabbitMQAddress) -> None:
    """It would end with the first fault: refused at construction, with the remedy."""
    async with await aio_pika.connect(rabbitmq.url) as connection:
        with pytest.raises(SettingsError, match=r"must be robust.*connect_robust"):
            RabbitMQIntake(connection, "orders")


async def test_wrong_credentials(rabbitmq: RabbitMQAddress, queue) -> None:
    """The password is named as the likely reason, and never shown."""
    await refused(RabbitMQIntake(rabbitmq.as_user("guest", "secret"), await queue()), "refuses this user or password")


async def test_a_wrong_virtual_host(rabbitmq: RabbitMQAddress, queue) -> None:
    """It is named."""
    await refused(RabbitMQIntake(f"{rabbitmq.url}nowhere", await queue()), "/nowhere refuses the virtual host")


async def test_nobody_there() -> None:
    """The address is named, with what to check."""
    port = reserve_port()
    await refused(RabbitMQIntake(f"amqp://guest:secret@127.0.0.1:{port}/", "orders"), f"no RabbitMQ broker answers at 127.0.0.1:{port}/")
    release_port(port)


async def test_an_unknown_queue_among_known_ones(rabbitmq: RabbitMQAddress, queue) -> None:
    """It is named, and of the others nothing is consumed."""
    name = await queue()
    await refused(RabbitMQIntake(rabbitmq.url, name, "nowhere"), "no queue 'nowhere'")
    assert await rabbitmq.depth(name) == (0, 0)


async def test_a_stream(rabbitmq: RabbitMQAddress, queue) -> None:
    """A stream would be consumed happily, and keep everything that was acked."""
    await refused(RabbitMQIntake(rabbitmq.url, await queue({"x-queue-type": "stream"})), "must be a classic or quorum queue, got a stream")


async def test_an_auto_delete_queue(rabbitmq: RabbitMQAddress) -> None:
    """The first lost connection would delete it."""
    name = await rabbitmq.declare("goes-with-its-consumer", auto_delete=True)
    await refused(RabbitMQIntake(rabbitmq.url, name), "is auto-delete")
    await rabbitmq.delete(name)


async def test_an_exclusive_queue(rabbitmq: RabbitMQAddress) -> None:
    """It belongs to another connection, or goes with our own: refused in both cases."""
    async with await aio_pika.connect_robust(rabbitmq.url) as connection:
        channel = await connection.channel()
        name = (await channel.declare_queue("of-one-connection", exclusive=True)).name
        await refused(RabbitMQIntake(rabbitmq.url, name), "is exclusive to another connection")
        await refused(RabbitMQIntake(connection, name), "is exclusive")


async def test_an_exclusive_consumer(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """Somebody else consumes exclusively: the intake ends, and says so."""

    async def keep(_: object) -> None:
        pass

    name = await queue()
    async with rabbitmq.channel() as channel:
        await (await channel.get_queue(name)).consume(keep, exclusive=True)
        async with drive(intake(name)) as at:
            with pytest.raises(IntakeError, match="has an exclusive consumer"):
                await at.until(lambda: False)


async def test_a_single_active_consumer_must_be_said(rabbitmq: RabbitMQAddress, queue) -> None:
    """Its order is somebody's wish, and `order` is fixed before the queue is seen: say it, either way."""
    name = await queue(SINGLE_ACTIVE)
    await refused(RabbitMQIntake(rabbitmq.url, name), r"single_active=True\) to keep the order")
    for options in (True, False):
        made = RabbitMQIntake(rabbitmq.url, name, single_active=options)
        assert made.order == ("source" if options else "none")
        async with drive(made):
            pass


async def test_declare_that_clashes(rabbitmq: RabbitMQAddress, queue) -> None:
    """A queue that exists with other arguments is not taken for the one that was meant."""
    name = await queue()
    await refused(RabbitMQIntake(rabbitmq.url, name, declare={"x-queue-type": "quorum"}), "exists with other arguments than declare=")


async def test_a_closed_connection(rabbitmq: RabbitMQAddress) -> None:
    """A connection that its owner has closed stays closed."""
    connection = await aio_pika.connect_robust(rabbitmq.url)
    await connection.close()
    await refused(RabbitMQIntake(connection, "orders"), "the connection was closed")


async def process(message: Any) -> None:
    async with message.process():
        pass


SETTLING: dict[str, Callable[[Any], Any]] = {
    "process": process,
    "ack": lambda message: message.ack(),
    "nack": lambda message: message.nack(),
    "reject": lambda message: message.reject(),
}


@pytest.mark.parametrize("settle", SETTLING.values(), ids=SETTLING)
async def test_a_handler_that_settles(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], settle: Callable[[Any], Any]
) -> None:
    """A leftover `message.process()`, or a call of its own, raises in the handler and ends the intake; nothing is settled by it."""
    name = await queue()
    await rabbitmq.publish(name, [b"0", b"1"])
    async with drive(intake(name)) as at:
        delivery = (await at.take(2))[0]
        with pytest.raises(AlreadySettled, match=r"take `async with message\.process\(\)`"):
            await settle(delivery.message)
        with pytest.raises(AlreadySettled):
            await at.until(lambda: False)
    assert [message.body for message in await rabbitmq.waiting_once_free(name)] == [b"0", b"1"]


def test_the_text_of_a_callbacks_error_stays_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """on_delivery_limit_near is the user's: what it raises may quote a password, so its type is all that is logged."""

    def complain(near: DeliveryLimitNear) -> None:
        raise RuntimeError("amqp://somebody:secret@webhook")

    made = RabbitMQIntake(URL, "orders", on_delivery_limit_near=complain)
    made._report_limit_near(DeliveryLimitNear(Queue("orders"), 19, 20))

    assert "on_delivery_limit_near raised RuntimeError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("url", ["amqp://[::1", "amqp://user:secret/pass@host/", "amqp://user:pa:secret@host:x/"])
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    """What its parser complains of may be a piece of the password: neither the error nor what it was raised from has it."""
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        RabbitMQIntake(url, "orders")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "secret" not in str(caught.value)
