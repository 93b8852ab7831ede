from __future__ import annotations

import asyncio

import pytest

from holdgate import Delivery, Partition
from holdgate.errors import SettingsError
from holdgate.flow.message import DeadLetter
from holdgate.ports import DeadLetters
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryDelivery, in_virtual_time
from holdgate.testing.memory.message import Message


def letter(position: int = 7) -> DeadLetter:
    message = Message(position, b"poison", b"k", {"trace": "t", "holdgate-source": "old"})
    delivery: Delivery[Message] = MemoryDelivery(Partition("orders", 0), message, position, None)
    return DeadLetter(delivery, 5, 1.0, 2.0, "KeyError", "'4711'", None, "host:1")


def test_it_is_what_a_run_takes() -> None:
    """By the methods it has."""
    assert isinstance(MemoryDeadLetters(), DeadLetters)


@in_virtual_time
async def test_letters_are_kept_in_the_order_of_their_confirmation() -> None:
    """And counted as they are asked for."""
    dead = MemoryDeadLetters()
    for position in (1, 2):
        await dead.publish(letter(position))
    assert [each.delivery.position for each in dead.letters] == [1, 2]
    assert dead.published == 2


@in_virtual_time
async def test_a_confirmation_takes_its_delay() -> None:
    """Until then there is no letter."""
    dead = MemoryDeadLetters(delay=3.0)
    publishing = asyncio.create_task(dead.publish(letter()))
    await asyncio.sleep(2.9)
    assert dead.letters == []
    await publishing
    assert asyncio.get_running_loop().time() == pytest.approx(3.0)
    assert len(dead.letters) == 1


@in_virtual_time
async def test_it_fails_while_it_is_told_to() -> None:
    """What failed is asked for and not kept."""
    dead = MemoryDeadLetters()
    dead.failing = ConnectionError("down")
    with pytest.raises(ConnectionError, match="down"):
        await dead.publish(letter())
    assert (dead.published, dead.letters) == (1, [])
    dead.failing = None
    await dead.publish(letter())
    assert len(dead.letters) == 1


@pytest.mark.parametrize("text", [False, True])
def test_with_a_broker_letters_are_messages_there(text: bool) -> None:
    """In the topic named after where they came from, with their headers."""
    broker = MemoryBroker(topics={"orders.dead": 1})

    @in_virtual_time
    async def publish() -> None:
        await MemoryDeadLetters(broker, exception_text=text).publish(letter())

    publish()
    (message,) = broker.waiting(Partition("orders.dead", 0))
    assert (message.body, message.key) == (b"poison", b"k")
    assert message.headers["trace"] == "t"
    assert message.headers["holdgate-source"] == "orders"
    assert ("holdgate-exception-text" in message.headers) is text


@in_virtual_time
async def test_runs_that_use_it_are_counted() -> None:
    """A test may look whether each has closed it."""
    dead = MemoryDeadLetters()
    await dead.open(["orders"])
    await dead.open(None)
    await dead.close()
    assert dead.users == 1


def test_a_delay_that_makes_no_sense_is_refused() -> None:
    """Before anything runs."""
    with pytest.raises(SettingsError, match="delay=-1"):
        MemoryDeadLetters(delay=-1.0)
