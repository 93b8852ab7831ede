"""Consumers on a real broker: one per queue whatever happens, kept through a hold, and with the caller's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.brokers.kafka.drive import drive
from tests.brokers.rabbitmq.aging import TIMEOUT, grow_old
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from tests.brokers.rabbitmq.conftest import Kind
    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq import RabbitMQIntake

MIB = 1024 * 1024


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_after_resets_there_is_one(own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """A consumer that nobody here knows of would swallow a window of messages; after five faults there is ours alone, and then none."""
    name = await queue(QUORUM)
    await own_rabbitmq.publish(name, numbered(10))
    async with own_rabbitmq.proxy() as proxy, drive(intake(name, prefetch=4, url=own_rabbitmq.url_through(proxy))) as at:
        for times in range(1, 6):
            await at.take(4 * times)
            proxy.reset()
            await at.until(lambda times=times: at.count("lost") == times)  # type: ignore[misc]
        await at.take(24)
        await at.beside(own_rabbitmq.becomes(name, ready=6, consumers=1))
        await at.for_seconds(0.5)
        assert await own_rabbitmq.depth(name) == (6, 1)
    await own_rabbitmq.becomes(name, ready=10, consumers=0)


async def test_after_give_backs_there_is_one(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind) -> None:
    """A probe's consumer goes when the full window comes."""
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(10))
    made = intake(name, prefetch=4, consumer_timeout=TIMEOUT if kind.times_out else None, single_active=kind.single_active or None)
    async with drive(made) as at:
        await at.take(4)
        if kind.times_out:
            at.hold()
            grow_old(at.intake)
            await at.until(lambda: at.count("revoked") == 1 and at.count("assigned") == 2)
            at.received.clear()
            at.admit()
            await at.take(1)
            at.ack(at.received)
        await at.take(4)
        await at.beside(rabbitmq.becomes(name, consumers=1))
    await rabbitmq.becomes(name, consumers=0)


async def test_a_hold_keeps_its_consumer(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind) -> None:
    """Held and admitted a few times, the same consumer has the same window: nothing was cancelled, and nothing came back."""
    name = await queue(kind.arguments)
    await rabbitmq.publish(name, numbered(10))
    made = intake(name, prefetch=4, single_active=kind.single_active or None)
    async with drive(made) as at:
        await at.take(4)
        channel = next(iter(made._supervisors.values())).channel
        assert channel is not None
        tag = channel.consumer
        for _ in range(3):
            at.hold()
            await at.for_seconds(0.2)
            at.admit()
            await at.for_seconds(0.1)
        assert channel.consumer == tag
        assert next(iter(made._supervisors.values())).channel is channel
        assert at.bodies() == numbered(4)
        assert await at.beside(rabbitmq.depth(name)) == (6, 1)


async def test_a_priority_is_the_brokers(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """While a consumer of a higher x-priority has room, one of a lower gets nothing."""
    name = await queue(QUORUM)
    async with (
        drive(intake(name, prefetch=4)) as low,
        drive(intake(name, prefetch=4, arguments={"x-priority": 10})) as high,
    ):
        await rabbitmq.becomes(name, consumers=2)
        await rabbitmq.publish(name, numbered(6))
        await high.take(4)
        await low.take(2)
        assert sorted(map(str, high.bodies())) == sorted(map(str, numbered(4)))
        assert low.bodies() == numbered(6)[4:]


async def test_a_window_of_big_messages_is_named_and_smaller_for_the_next_consumer(
    own_rabbitmq: RabbitMQServer, queue, intake: Callable[..., RabbitMQIntake], caplog: pytest.LogCaptureFixture
) -> None:
    """What the broker sends cannot be sent back: ten of a megabyte are in hand where four were wanted, and after a reconnect it is four."""
    name = await queue()
    await own_rabbitmq.publish(name, [b"x" * MIB] * 12)
    async with own_rabbitmq.proxy() as proxy:
        made = intake(name, prefetch=10, url=own_rabbitmq.url_through(proxy))
        made.bound(4 * MIB)
        async with drive(made) as at:
            await at.take(10)
            await at.until(lambda: "prefetch=10 times a mean body of 1.0 MiB is 10 MiB" in caplog.text)
            proxy.reset()
            await at.take(14)
            await at.beside(own_rabbitmq.becomes(name, ready=8, consumers=1))
