"""Whose word `x-delivery-count` is: the rules, and what each broker really writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.kafka.drive import drive
from tests.brokers.rabbitmq.aging import TIMEOUT, grow_old
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq import DeliveryLimitNear, RabbitMQDeadLetters
from holdgate.brokers.rabbitmq.channel import count_returns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.brokers.rabbitmq.conftest import Kind
    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq import RabbitMQIntake
    from holdgate.brokers.rabbitmq.queue_facts import Counts

FORGED = 21


def believed(count: object, counts: Counts = "returns", *, redelivered: bool = True, **more: object) -> int:
    """What is believed of a message in the queue "orders"; other headers are named with underscores."""
    headers = {"x-delivery-count": count, **{name.replace("_", "-"): value for name, value in more.items()}}
    return count_returns(headers, counts, redelivered=redelivered, queue="orders")


@pytest.mark.parametrize("counts", ["returns", "failures"])
def test_the_first_delivery_has_come_back_never(counts: Counts) -> None:
    """Whatever its publisher wrote."""
    assert believed(FORGED, counts, redelivered=False) == 0


def test_a_queue_that_counts_nothing_says_nothing() -> None:
    """On a classic queue the header is a publisher's for ever."""
    assert believed(FORGED, "nothing") == 0


def test_where_every_return_is_counted_a_later_delivery_has_the_brokers_word() -> None:
    """What is no number, or none below the first return, counts nothing; no header neither."""
    assert believed(3) == 3
    assert believed("many") == believed(-1) == believed(None) == 0
    assert count_returns({}, "returns", redelivered=True, queue="orders") == 0


def test_more_returns_than_deliveries_is_a_publishers_word() -> None:
    """Where nacks are uncounted the broker may have nothing to write over it; the number of deliveries is its own."""
    assert believed(FORGED, "failures", x_acquired_count=2) == 0
    assert believed(FORGED, "failures") == 0
    assert believed(2, "failures", x_acquired_count=2) == 2


def test_a_dead_letter_brings_its_count_along() -> None:
    """Until somebody puts it back where it died: then the headers are copies."""
    assert believed(4, "failures", x_acquired_count=1, x_last_death_queue="orders.first") == 4
    assert believed(4, "failures", x_acquired_count=1, x_last_death_queue="orders") == 0


# -- on a broker -----------------------------------------------------------------------------------------------------------------------


async def comes_back(rabbitmq: RabbitMQAddress, name: str, *, nack: bool) -> None:
    """Let the message that waits come back once: by a nack, or with its channel."""
    async with rabbitmq.channel() as channel:
        message = await (await channel.get_queue(name, ensure=False)).get()
        if nack:
            await message.nack(requeue=True)


@pytest.mark.versions
@pytest.mark.parametrize("nack", [True, False], ids=["nacked", "closed"])
@pytest.mark.parametrize("arguments", [{}, QUORUM], ids=["classic", "quorum"])
async def test_a_header_that_a_publisher_brings_is_not_believed(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], arguments: Mapping[str, Any], nack: bool
) -> None:
    """21 at the first delivery is none; after a return it is one where the broker counts that, and else still none."""
    name = await queue(arguments)
    await rabbitmq.publish(name, [b"0"], headers={"x-delivery-count": FORGED})
    async with drive(intake(name)) as at:
        (first,) = await at.take(1)
        at.ack([first])
    assert (first.redelivered, first.returns) == (False, 0)
    await rabbitmq.publish(name, [b"1"], headers={"x-delivery-count": FORGED})
    await comes_back(rabbitmq, name, nack=nack)
    async with drive(intake(name)) as at:
        (again,) = await at.take(1)
    counted = arguments is QUORUM and not (nack and rabbitmq.version == "4.3")
    assert (again.redelivered, again.returns) == (True, int(counted))


@pytest.mark.versions
async def test_a_first_delivery_with_a_forged_count_is_not_near_its_limit(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: Kind
) -> None:
    """It goes back like its neighbours, and neither goes to the overflow nor is reported: the broker has counted nothing of it yet."""
    if not kind.counts:
        pytest.skip("a classic queue has no limit")
    name, target = await queue({**kind.arguments, "x-delivery-limit": 5}), await queue()
    await rabbitmq.publish(name, [b"0"], headers={"x-delivery-count": FORGED, "x-acquired-count": FORGED})
    near: list[DeliveryLimitNear] = []
    made = intake(
        name,
        consumer_timeout=TIMEOUT,
        single_active=kind.single_active or None,
        overflow=RabbitMQDeadLetters(rabbitmq.url, target),
        on_delivery_limit_near=near.append,
    )
    async with drive(made) as at:
        await at.take(1)
        at.hold()
        grow_old(at.intake)
        await at.until(lambda: at.count("revoked") == 1 and at.count("assigned") == 2)
        await at.beside(rabbitmq.becomes(name, ready=1))
    assert near == []
    assert await rabbitmq.depth(target) == (0, 0)


async def dead_letter(rabbitmq: RabbitMQAddress, queue: Any, dead: str, deaths_at: int) -> None:
    """Publish one message that dies of its limit, after so many returns, into `dead`."""
    arguments = {"x-delivery-limit": deaths_at, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    name = await queue({**QUORUM, **arguments})
    await rabbitmq.publish(name, [b"0"])
    async with rabbitmq.channel() as channel:
        source = await channel.get_queue(name, ensure=False)
        while (message := await source.get(fail=False)) is not None:
            await message.reject(requeue=True)
    await rabbitmq.becomes(dead, ready=1)


@pytest.mark.versions
async def test_a_dead_letter_of_43_has_its_count_and_goes_to_the_overflow_before_any_return(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]
) -> None:
    """It died with six of five returns, and the next queue goes on counting: a nack would be its end, so it goes to the overflow.

    Before 4.3 it begins anew, and goes back.
    """
    limit: Mapping[str, Any] = {**QUORUM, "x-delivery-limit": 5}
    dead, target = await queue(limit), await queue()
    await dead_letter(rabbitmq, queue, dead, 5)
    made = intake(dead, consumer_timeout=TIMEOUT, overflow=RabbitMQDeadLetters(rabbitmq.url, target))
    async with drive(made) as at:
        (letter,) = await at.take(1)
        assert letter.returns == (6 if rabbitmq.version == "4.3" else 0)
        at.hold()
        grow_old(at.intake)
        await at.until(lambda: at.count("revoked") == 1 and at.count("assigned") == 2)
        await at.beside(rabbitmq.becomes(dead, ready=0 if rabbitmq.version == "4.3" else 1))
    assert (await rabbitmq.depth(target))[0] == (1 if rabbitmq.version == "4.3" else 0)
    if rabbitmq.version == "4.3":
        async with rabbitmq.channel() as channel:
            moved = await (await channel.get_queue(target, ensure=False)).get()
        assert not [name for name in moved.headers if name.startswith(("x-death", "x-last-death", "x-delivery", "x-acquired"))]


@pytest.mark.versions
async def test_a_return_that_is_a_dead_letters_end_is_believed(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], caplog: pytest.LogCaptureFixture
) -> None:
    """Without an overflow it goes when its worker ends, and a line says that it was the last time."""
    dead = await queue({**QUORUM, "x-delivery-limit": 5})
    await dead_letter(rabbitmq, queue, dead, 5)
    async with drive(intake(dead)) as at:
        await at.take(1)
    assert ("1 messages go back for the last time" in caplog.text) == (rabbitmq.version == "4.3")
    assert len(await rabbitmq.waiting_once_free(dead)) == (0 if rabbitmq.version == "4.3" else 1)
