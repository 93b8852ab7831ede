from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

from holdgate.brokers.rabbitmq.client import Client
from holdgate.brokers.rabbitmq.queue_facts import QueueFacts, declare, find_facts
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tests.servers.rabbitmq_address import RabbitMQAddress

    LetIn = Callable[..., Awaitable[str]]

pytestmark = pytest.mark.versions

LIMITED = {**QUORUM, "x-delivery-limit": 7, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
MANY = {"x-max-priority": 10, "x-expires": 600_000, "x-message-ttl": 5_000, "x-max-length": 1_000, "x-overflow": "reject-publish"}


@pytest.fixture
async def client(rabbitmq: RabbitMQAddress) -> AsyncIterator[Client]:
    made = Client(rabbitmq.url)
    await made.connect()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("arguments", "type_"),
    [
        ({}, "classic"),
        (QUORUM, "quorum"),
        (SINGLE_ACTIVE, "classic"),
        ({**QUORUM, **SINGLE_ACTIVE}, "quorum"),
        (LIMITED, "quorum"),
        (MANY, "classic"),
        ({"x-queue-type": "stream"}, "stream"),
    ],
)
async def test_the_broker_tells_what_it_is(client: Client, queue, arguments: Mapping[str, Any], type_: str) -> None:
    """Its type and its arguments, one refusal after the other; nothing is consumed, and the queue stays as it was."""
    facts = await find_facts(client, await queue(arguments))
    assert facts.type == type_
    assert {name: facts.arguments.get(name) for name in arguments} == arguments
    assert facts.single_active == ("x-single-active-consumer" in arguments)
    assert facts.has_dead_letters == ("x-dead-letter-exchange" in arguments)


async def test_a_queue_that_does_not_survive_a_restart_is_a_queue(client: Client, rabbitmq: RabbitMQAddress) -> None:
    """Durable or not is asked for as well; that it is auto-delete is told."""
    async with rabbitmq.channel() as channel:
        await channel.declare_queue("transient", durable=False, auto_delete=True)
    facts = await find_facts(client, "transient")
    assert (facts.type, facts.auto_delete) == ("classic", True)
    await rabbitmq.delete("transient")


async def test_without_permission_to_configure_the_type_is_unknown(let_in: LetIn, queue) -> None:
    """A user who may only read gets no answer, and no error: the queue can be used."""
    name = await queue(QUORUM)
    client = Client(await let_in("", "", ".*"))
    await client.connect()
    try:
        assert (await find_facts(client, name)).type is None
    finally:
        await client.close()


async def test_declare_makes_what_is_missing(client: Client, rabbitmq: RabbitMQAddress) -> None:
    """And takes what is there already, if it is the same."""
    for _ in range(2):
        await declare(client, "declared-here", QUORUM)
    assert (await find_facts(client, "declared-here")).type == "quorum"
    with pytest.raises(IntakeError, match="exists with other arguments than declare="):
        await declare(client, "declared-here", {})
    await rabbitmq.delete("declared-here")


def test_the_lower_of_two_numbers_holds() -> None:
    """An argument of the queue and a policy: the broker takes the lower one; what is no number says nothing."""
    facts = QueueFacts("q", "quorum", {"x-delivery-limit": 20}, policy={"delivery-limit": 5})
    assert facts.number("x-delivery-limit", "delivery-limit") == 5
    assert QueueFacts("q", "quorum", {"x-delivery-limit": 20}).number("x-delivery-limit", "delivery-limit") == 20
    assert QueueFacts("q", "quorum", {"x-delivery-limit": "many"}).number("x-delivery-limit", "delivery-limit") is None


@pytest.mark.parametrize(
    ("argument", "policy", "limit"), [(None, None, None), (5, 7, 5), (-1, 7, 7), (7, -1, 7), (-1, None, -1), (0, 7, 0), (None, 0, 0)]
)
def test_no_limit_is_weaker_than_any(argument: int | None, policy: int | None, limit: int | None) -> None:
    """Of an argument and a policy the lower one holds, but -1, which means no limit, only where there is no other."""
    arguments = {} if argument is None else {"x-delivery-limit": argument}
    facts = QueueFacts("q", "quorum", arguments, policy={} if policy is None else {"delivery-limit": policy})
    assert facts.delivery_limit == limit


@pytest.mark.parametrize("declared", [None, {}], ids=["found", "declared"])
async def test_an_exclusive_queue_is_told_to_be_the_connections_own(rabbitmq: RabbitMQAddress, declared: Mapping[str, Any] | None) -> None:
    """Or another one's: the broker's refusal is the same for both, and the way out of it is not."""
    mine = await aio_pika.connect_robust(rabbitmq.url)
    name = (await (await mine.channel()).declare_queue(exclusive=True)).name
    for connection, whose in ((mine, "the connection that was given"), (rabbitmq.url, "another connection")):
        client = Client(connection)
        await client.connect()
        with pytest.raises(IntakeError, match=f"queue '{name}' is exclusive to {whose}"):
            await (find_facts(client, name) if declared is None else declare(client, name, declared))
        await client.close()
    await mine.close()


async def test_who_may_not_declare_is_told_which_permission_it_takes(let_in: LetIn) -> None:
    """To declare a queue is to configure it, and no word of reading helps."""
    client = Client(await let_in("", "", ".*"))
    await client.connect()
    try:
        with pytest.raises(IntakeError, match="not authorised to configure queue 'to-be-declared': give this user configure permission"):
            await declare(client, "to-be-declared", QUORUM)
    finally:
        await client.close()


def test_a_policy_may_have_the_dead_letters() -> None:
    """The exchange of a policy counts as one of the queue."""
    assert QueueFacts("q", "quorum", policy={"dead-letter-exchange": "dlx"}).has_dead_letters
    assert not QueueFacts("q", "quorum", policy={}).has_dead_letters


@pytest.mark.parametrize(
    ("arguments", "policy", "way"),
    [
        ({"x-dead-letter-exchange": "dlx"}, None, "go to exchange 'dlx', the dead letter exchange of the queue"),
        (
            {"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "late"},
            {"dead-letter-exchange": "other"},
            "go to exchange 'dlx', the dead letter exchange of the queue, with routing key 'late'",
        ),
        (
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q.dead"},
            None,
            "go to queue 'q.dead', by the dead letter exchange of the queue",
        ),
        ({}, {"dead-letter-exchange": "dlx"}, "go to exchange 'dlx', the dead letter exchange of the queue"),
        ({}, {}, "are dropped: the queue has no dead letter exchange"),
    ],
)
def test_where_a_rejected_message_goes_is_the_queues_to_say(arguments: dict[str, str], policy: dict[str, str] | None, way: str) -> None:
    """An argument wins over a policy, as in the broker."""
    assert QueueFacts("q", "quorum", arguments, policy=policy).way_of_rejected == way


def test_no_more_is_said_of_rejected_messages_than_is_known() -> None:
    """Without the management API a policy may do it, and without permission to configure the arguments are unknown, too."""
    assert "unless a policy" in QueueFacts("q", "quorum").way_of_rejected
    assert "could not be found out" in QueueFacts("q", None).way_of_rejected
