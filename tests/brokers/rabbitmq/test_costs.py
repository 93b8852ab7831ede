"""What an outage costs the consumers of a queue without a guard: by the facts, and of a real queue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq import RabbitMQIntake
from holdgate.brokers.rabbitmq.checks import derive_terms
from holdgate.brokers.rabbitmq.costs import of_queue
from holdgate.brokers.rabbitmq.queue_facts import QueueFacts, Traffic
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq_address import RabbitMQAddress

HOUR = 3600.0
UNKNOWN = Traffic()


def texts(
    version: tuple[int, int],
    kind: str = "quorum",
    traffic: Traffic = UNKNOWN,
    *,
    timeout: float | None = None,
    outage: float = HOUR,
    policy: dict[str, Any] | None = None,
    **arguments: Any,
) -> str:
    facts = QueueFacts("orders", kind, {name.replace("_", "-"): value for name, value in arguments.items()}, policy=policy)
    terms = derive_terms(facts, version, single_active=False, delivery_limit=None, consumer_timeout=timeout)
    return "\n".join(of_queue(facts, terms, traffic, 50, outage))


def test_arrivals_are_those_of_now() -> None:
    """With what waits; without the management API there is no number."""
    assert "how many messages come is not known without the management API" in texts((4, 0))
    assert "2 messages a second come now, in 3600 s 7,200 messages, on top of 100 that wait: 7,300 messages" in texts(
        (4, 0), traffic=Traffic(100, 2.0, 3)
    )
    assert texts((4, 0), traffic=Traffic(100, 2.0, 0)).startswith("it has no consumer now")


def test_what_is_rejected_goes_where_the_queue_says() -> None:
    """To its dead letters, or nowhere."""
    assert "gives up all that come: they go to exchange 'dead'" in texts((4, 0), x_dead_letter_exchange="dead")
    assert "gives up all that come: they are dropped" in texts((4, 0))


def test_what_is_returned_is_gone_after_the_limit() -> None:
    """20 from 4.0 on, and what is set. 4.3 does not count a nack."""
    assert "more than 20 returns are too many for this queue: 21 attempts of 0.01 s each = 0.21 s, and it is gone" in texts((4, 0))
    assert "more than 5 returns are too many for this queue: 6 attempts" in texts((3, 10), x_delivery_limit=5)
    newest = texts((4, 3))
    assert "By basic.nack that is not counted: 3600 s / 0.01 s a turn = 360,000 calls that fail" in newest
    assert "By basic.reject it is, and more than 20 returns" in newest


@pytest.mark.parametrize(("version", "kind"), [((4, 0), "classic"), ((3, 10), "quorum")])
def test_what_is_returned_without_a_limit_goes_round(version: tuple[int, int], kind: str) -> None:
    """A hot loop, that loses nothing."""
    assert "this queue never gives one up: 3600 s / 0.01 s a turn = 360,000 calls that fail" in texts(version, kind)


def test_a_queue_that_delays_goes_round_more_slowly() -> None:
    """By the least delay."""
    delayed = texts((4, 3), x_delayed_retry_type="all", x_delayed_retry_min=60_000)
    assert "gets it again after 60 s or more (x-delayed-retry-min)" in delayed
    assert "3600 s / 60 s a turn = 60 calls" in delayed


def test_what_is_kept_comes_back_after_the_consumer_timeout() -> None:
    """Half an hour, unless it is set; counted where returns are; and never on a classic queue from 4.3 on."""
    assert "takes them back after 30 minutes and closes the channel: 3600 s / 1800 s = 2 times, each counted, of 20" in texts((4, 0))
    assert "= 36 times, each counted, of 20 that the queue allows: too often" in texts((4, 0), timeout=100)
    assert "= 2 times, which is not counted" in texts((4, 3))
    assert "and the broker lets it: nothing is lost" in texts((4, 3), "classic")
    assert "which is longer than the outage: nothing is lost" in texts((4, 0), timeout=2 * HOUR)
    assert "and the broker lets it" in texts((4, 0), timeout=math.inf)


def test_what_expires_or_finds_no_room_is_counted() -> None:
    """By the queue's arguments or its policies."""
    assert "messages expire after 30 minutes in the queue (message-ttl)" in texts((4, 0), x_message_ttl=1_800_000)
    assert "1800 s of the outage is given up before it ends, 50 of 100 messages" in texts((4, 0), policy={"message-ttl": 1_800_000})
    assert "has room for 1,000 messages (max-length)" in texts((4, 0), x_max_length=1000)
    assert "6,300 messages of an outage find none" in texts((4, 0), traffic=Traffic(100, 2.0), x_max_length=1000)
    assert "the messages of an outage find room" in texts((4, 0), traffic=Traffic(100, 2.0), x_max_length=100_000)


async def test_a_real_queue(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """Its limit, its type and its expiry, as the broker shows them; nothing without `outage`; a queue that is not there is refused."""
    name = await queue({**QUORUM, "x-delivery-limit": 5, "x-message-ttl": 1_800_000})
    made = intake(name, f"{name}-missing")
    found = await made.examine(outage=HOUR)
    costs = "\n".join(each.text for each in found if each.cost)
    assert {each.about for each in found if each.cost} == {name}
    assert "more than 5 returns are too many for this queue: 6 attempts" in costs
    assert "messages expire after 30 minutes" in costs
    assert [(each.about, each.refused) for each in found if each.refused] == [(f"{name}-missing", True)]
    assert not any(each.cost for each in await made.examine())
    with pytest.raises(SettingsError, match="outage must be seconds above 0, got 0"):
        await made.examine(outage=0)
