"""What is near its delivery limit goes to the overflow instead of back: on a real broker, and with a target that fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.kafka.drive import drive
from tests.brokers.rabbitmq.aging import TIMEOUT, grow_old

from holdgate.brokers.rabbitmq import DeliveryLimitNear, RabbitMQDeadLetters, RabbitMQIntake
from holdgate.brokers.rabbitmq.supervisor import Overflow
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import Queue
from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tests.brokers.rabbitmq.conftest import Kind
    from tests.servers.rabbitmq_address import RabbitMQAddress


async def test_a_message_near_its_limit_goes_to_the_overflow_instead_of_back(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """It waits in the overflow, with where it came from, and the others are in front of their queue, in order; nobody is warned."""
    if not kind.counts or kind.nacks:
        pytest.skip("here nothing that goes back is counted")
    name = await queue({**kind.arguments, "x-delivery-limit": 3})
    target = f"{name}.overflow"
    await rabbitmq.declare(target)
    await rabbitmq.publish(name, [b"0"])
    for _ in range(2):
        await rabbitmq.waiting_once_free(name)
    await rabbitmq.publish(name, [b"1", b"2"])
    near: list[DeliveryLimitNear] = []
    made = intake(
        name,
        consumer_timeout=TIMEOUT,
        single_active=kind.single_active or None,
        overflow=RabbitMQDeadLetters(rabbitmq.url, "{queue}.overflow"),
        on_delivery_limit_near=near.append,
    )
    async with drive(made) as at:
        await at.take(3)
        at.hold()
        grow_old(at.intake)
        await at.until(lambda: at.count("revoked") == 1 and at.count("assigned") == 2)
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert [message.body for message in left] == [b"1", b"2"]
    assert near == []
    async with rabbitmq.channel() as channel:
        letter = await (await channel.get_queue(target, ensure=False)).get()
        assert (letter.body, letter.headers["holdgate-source"]) == (b"0", name)
        assert letter.headers["holdgate-reason"] == "held, and near the delivery limit of its queue"
    await rabbitmq.delete(target)


async def test_a_worker_that_ends_moves_them_too(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """Closing gives back what is in hand, and that counts as well."""
    if not kind.counts or kind.nacks:
        pytest.skip("here nothing that goes back is counted")
    name = await queue({**kind.arguments, "x-delivery-limit": 2})
    target = await queue()
    await rabbitmq.publish(name, [b"0", b"1"])
    made = intake(name, single_active=kind.single_active or None, overflow=RabbitMQDeadLetters(rabbitmq.url, target))
    async with drive(made) as at:
        await at.take(2)
    assert await rabbitmq.waiting_once_free(name) == []
    assert [message.body for message in await rabbitmq.waiting(target)] == [b"0", b"1"]


async def test_an_overflow_that_goes_away_ends_no_hold(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """What cannot be moved goes back, and is reported."""
    if kind.name != "quorum" or kind.nacks:
        pytest.skip("here nothing that goes back is counted")
    name = await queue({**kind.arguments, "x-delivery-limit": 2})
    target = await rabbitmq.declare(f"{name}.overflow")
    await rabbitmq.publish(name, [b"0"])
    near: list[DeliveryLimitNear] = []
    made = intake(name, consumer_timeout=TIMEOUT, overflow=RabbitMQDeadLetters(rabbitmq.url, target), on_delivery_limit_near=near.append)
    async with drive(made) as at:
        await at.take(1)
        at.hold()
        await rabbitmq.delete(target)
        grow_old(at.intake)
        await at.until(lambda: at.count("revoked") == 1 and at.count("assigned") == 2)
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert [message.body for message in left] == [b"0"]
    assert near == [DeliveryLimitNear(Queue(name), returns=0, limit=2)]


async def test_an_overflow_that_is_missing_is_refused(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """At the start, when there is still time."""
    name = await queue()
    made = intake(name, overflow=RabbitMQDeadLetters(rabbitmq.url, "{queue}.overflow"))
    with pytest.raises(IntakeError, match=f"no queue '{name}.overflow'"):
        async with drive(made):
            pass


def test_what_cannot_take_messages_is_refused() -> None:
    """With what to write instead."""
    with pytest.raises(SettingsError, match=r"overflow must be dead letters, got str: give RabbitMQDeadLetters"):
        RabbitMQIntake("amqp://localhost/", "orders", overflow="orders.overflow")  # type: ignore[arg-type]


class Target:
    """Takes letters until `full`, and then fails or never answers."""

    def __init__(self, full: int, *, hangs: bool = False) -> None:
        self.bodies: list[bytes | None] = []
        self.is_open = False
        self._full = full
        self._hangs = hangs

    async def open(self, names: Collection[str] | None) -> None:
        self.is_open = True

    async def publish(self, letter: Any) -> None:
        if len(self.bodies) == self._full:
            if self._hangs:
                await asyncio.Event().wait()
            raise OSError("full")
        self.bodies.append(letter.body)

    async def close(self) -> None:
        assert self.is_open, "closed twice"
        self.is_open = False


def letters(count: int) -> Any:
    return [SimpleNamespace(body=b"%d" % number, attempt=1) for number in range(count)]


@pytest.mark.parametrize("hangs", [False, True])
def test_only_what_is_confirmed_is_moved(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A target that fails or hangs in the middle has what it confirmed before; within five seconds the rest goes on its way."""

    async def moves() -> tuple[list[bytes], float]:
        overflow = Overflow(Target(2, hangs=hangs))
        await overflow.open(["orders"])
        moved = await overflow.move(letters(4))
        return [delivery.body or b"" for delivery in moved], asyncio.get_running_loop().time()

    moved, taken = run_virtual(moves())
    assert moved == [b"0", b"1"]
    assert taken == (5.0 if hangs else 0.0)
    assert "2 messages" in caplog.text


def test_its_target_is_closed_once() -> None:
    """However often it is closed, and not at all when it never opened."""

    async def closes() -> bool:
        unopened, target = Target(1), Target(1)
        await Overflow(unopened).close()
        overflow = Overflow(target)
        await overflow.open(["orders"])
        await overflow.close()
        await overflow.close()
        return target.is_open

    assert not run_virtual(closes())
