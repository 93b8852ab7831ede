"""Queues that make what comes back wait: what is found out and reported, and how a hold gives back there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.kafka.drive import drive
from tests.brokers.rabbitmq.aging import TIMEOUT, grow_old
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

from holdgate.brokers.rabbitmq.checks import derive_terms
from holdgate.brokers.rabbitmq.queue_facts import QueueFacts
from holdgate.brokers.rabbitmq.terms import RetryDelay, describe_delay, find_delay

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq_address import RabbitMQAddress

    from holdgate.brokers.rabbitmq import RabbitMQIntake
    from holdgate.brokers.rabbitmq.terms import QueueTerms

DELAY = 1.5
FOR_EVER = 600.0  # as far as a test is concerned
NEW, MIDDLE = (4, 3), (4, 0)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def facts(kind: str | None = None, least: int | None = 1500, **more: Any) -> QueueFacts:
    arguments = {"x-delayed-retry-type": kind, "x-delayed-retry-min": least}
    return QueueFacts("q", "quorum", {name: value for name, value in arguments.items() if value is not None}, **more)


def terms(found: QueueFacts, version: tuple[int, int] = NEW, *, single_active: bool | None = None) -> QueueTerms:
    return derive_terms(found, version, single_active=single_active, delivery_limit=None, consumer_timeout=None)


def test_a_delay_is_an_arguments_or_a_policys() -> None:
    """Of a type that there is, and with a least; without one there is no delay, and no error of the broker."""
    assert find_delay(facts("all")) == RetryDelay("all", 1.5)
    assert find_delay(facts(None, None, policy={"delayed-retry-type": "failed", "delayed-retry-min": 2000})) == RetryDelay("failed", 2.0)
    for none in (facts(), facts("disabled"), facts("all", None), facts("all", 0)):
        assert find_delay(none) is None


@pytest.mark.parametrize(("kind", "nacks"), [("all", True), ("failed", True), ("returned", False), ("disabled", True)])
def test_the_way_back_is_the_one_that_does_not_wait(kind: str, nacks: bool) -> None:
    """Where both wait it is the uncounted one; a single active consumer's messages go back with the channel all the same."""
    assert terms(facts(kind)).nacks is nacks
    assert not terms(facts(kind), single_active=True).nacks


def test_older_brokers_know_no_delay() -> None:
    """They take the argument and do nothing."""
    assert terms(facts("all"), MIDDLE).delay is None


def test_the_description_fits_the_type() -> None:
    """Which messages wait, for how long, and whether an order is broken."""
    everything = describe_delay(RetryDelay("all", 1.5), nacks=True, single_active=False)
    assert "x-delayed-retry-type=all" in everything
    assert "a message that a long hold gives back" in everything
    assert "1.5 s or more later; others pass it meanwhile, and until then it is neither ready nor in hand" in everything
    assert "a hold closes the channel here, which keeps the order and is counted" in describe_delay(
        RetryDelay("returned", 1), nacks=False, single_active=True
    )
    assert "a message that a hold gives back comes back immediately" in describe_delay(
        RetryDelay("failed", 1), nacks=True, single_active=False
    )
    assert "order of a single active consumer is not kept" in describe_delay(RetryDelay("failed", 1), nacks=False, single_active=True)
    assert "single active" not in describe_delay(RetryDelay("returned", 1), nacks=False, single_active=True)


# -- on a broker -----------------------------------------------------------------------------------------------------------------------


def arguments(kind: str, delay: float = FOR_EVER, **more: Any) -> dict[str, Any]:
    return {**QUORUM, "x-delayed-retry-type": kind, "x-delayed-retry-min": int(delay * 1000), **more}


@pytest.mark.versions
@pytest.mark.parametrize("kind", ["all", "returned", "failed", "disabled"])
async def test_an_examination_reports_it(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: str) -> None:
    """From 4.3 on; before, and where it is disabled, there is nothing to tell."""
    name = await queue({**arguments(kind), "x-dead-letter-exchange": "amq.fanout"})
    found = [diagnosis.text for diagnosis in await intake(name).examine()]
    waits = rabbitmq.version == "4.3" and kind != "disabled"
    assert [f"x-delayed-retry-type={kind}" in text for text in found] == [True] * waits


@pytest.mark.versions
@pytest.mark.parametrize("single", [False, True], ids=["", "single-active"])
@pytest.mark.parametrize("kind", ["returned", "failed", "disabled"])
async def test_a_hold_gives_back_in_front_and_at_once(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake], kind: str, single: bool
) -> None:
    """By the one of the two ways that does not wait; counted only where that is closing the channel."""
    if single and kind == "failed":
        pytest.skip("there the one way waits, and the other breaks the order")
    name = await queue(arguments(kind, **(SINGLE_ACTIVE if single else {})))
    await rabbitmq.publish(name, numbered(6))
    async with drive(intake(name, prefetch=3, consumer_timeout=TIMEOUT, single_active=single or None)) as at:
        await at.take(3)
        at.hold()
        grow_old(at.intake)
        await at.until(lambda: at.count("revoked") == 1 and at.count("assigned") == 2)
        await at.beside(rabbitmq.becomes(name, ready=6))
        left = await at.beside(rabbitmq.waiting_once_free(name))
    assert [message.body for message in left] == numbered(6)
    closed = rabbitmq.version != "4.3" or single or kind == "returned"
    assert [message.returns for message in left] == [int(closed)] * 3 + [0] * 3


@pytest.mark.versions
async def test_where_both_ways_wait_nothing_is_lost_or_counted(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]
) -> None:
    """It comes back later, others have passed it by then, and no number of ready messages showed it: as it was told."""
    if rabbitmq.version != "4.3":
        pytest.skip("only 4.3 delays")
    name = await queue(arguments("all", DELAY))
    await rabbitmq.publish(name, numbered(6))
    async with drive(intake(name, prefetch=3, consumer_timeout=TIMEOUT)) as at:
        await at.take(3)
        at.hold()
        grow_old(at.intake)
        await at.until(lambda: at.count("revoked") == 1 and at.count("assigned") == 2)
        passing = await at.beside(rabbitmq.taken(name, 3))
        later = await at.beside(rabbitmq.taken(name, 3))
    assert [message.body for message in passing + later] == numbered(6)[3:] + numbered(3)
    assert {message.returns for message in later} == {0}
