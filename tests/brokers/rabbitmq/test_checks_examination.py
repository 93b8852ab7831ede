"""What an examination finds on a real broker, and that it leaves no trace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.kafka.drive import drive
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import QUORUM, SINGLE_ACTIVE

from holdgate.brokers.rabbitmq import Diagnosis, RabbitMQIntake
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress


async def test_a_good_queue_has_no_diagnosis_and_stays_as_it_was(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]
) -> None:
    """Nothing is consumed, no consumer is left, and the intake can be opened afterwards."""
    name = await queue()
    await rabbitmq.publish(name, [b"0"])
    made = intake(name)
    assert await made.examine() == []
    assert await rabbitmq.depth(name) == (1, 0)
    async with drive(made) as at:
        await at.take(1)


async def test_what_start_refuses_and_what_it_warns_of(rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]) -> None:
    """All queues are looked at, also behind one that is refused; nothing is declared."""
    expiring = await queue({"x-expires": 90_000})
    stream = await queue({"x-queue-type": "stream"})
    single = await queue({**QUORUM, **SINGLE_ACTIVE, "x-delivery-limit": 5})
    missing = f"{expiring}-missing"
    found = await intake(missing, stream, single, expiring, declare={"x-queue-type": "quorum"}).examine()
    assert [(each.about, each.refused) for each in found] == [
        (missing, True),
        (stream, True),
        (single, True),
        (expiring, False),
    ]
    texts = " ".join(each.text for each in found)
    for text in ("there is no queue", "got a stream", "has a single active consumer", "it expires after 90 s"):
        assert text in texts


async def test_a_limit_is_judged_by_version_and_handlers_by_their_time(
    rabbitmq: RabbitMQAddress, queue, intake: Callable[..., RabbitMQIntake]
) -> None:
    """A limit matters where what goes back is counted; a handler that outlasts the consumer timeout everywhere."""
    name = await queue({**QUORUM, "x-delivery-limit": 5})
    found = await intake(name, consumer_timeout=600).examine(longest_handler=3600)
    slow = found.pop()
    assert slow.text.startswith("a handler may take 3600 s")
    assert not slow.refused
    assert [("come back more than 5 times" in each.text, each.refused) for each in found] == (
        [] if rabbitmq.version == "4.3" else [(True, False)]
    )
    with pytest.raises(SettingsError, match="longest_handler must be seconds above 0, got 0"):
        await intake(name).examine(longest_handler=0)


async def test_a_broker_that_is_away_is_one_diagnosis() -> None:
    """With its address and without the password."""
    port = reserve_port()
    (found,) = await RabbitMQIntake(f"amqp://guest:secret@127.0.0.1:{port}/", "a", "b").examine()
    assert (found.about, found.refused) == (f"127.0.0.1:{port}/", True)
    assert "check host, port and TLS" in found.text
    assert "secret" not in found.text
    release_port(port)


async def ignore(message: object) -> None:
    pass


async def test_other_consumers_are_looked_at(own_rabbitmq: RabbitMQServer, queue) -> None:
    """With the management API: who loses messages, keeps others out, or takes the whole queue."""
    kinds: dict[str, dict[str, Any]] = {"no_ack": {"no_ack": True}, "exclusive": {"exclusive": True}, "unbounded": {}, "good": {}}
    names = {kind: await queue() for kind in kinds}
    made = RabbitMQIntake(own_rabbitmq.url, *names.values(), management_url=own_rabbitmq.management_url)
    async with own_rabbitmq.channel() as channel:
        for kind, consume in kinds.items():
            await channel.set_qos(prefetch_count=0 if kind == "unbounded" else 10)
            await (await channel.get_queue(names[kind], ensure=False)).consume(ignore, **consume)
        async with asyncio.timeout(60):
            while len(found := await made.examine()) < 3:  # the API counts some seconds later
                await asyncio.sleep(0.5)
    texts = {each.about: (each.text, each.refused) for each in found}
    assert texts.keys() == {names[kind] for kind in ("no_ack", "exclusive", "unbounded")}
    for kind, text, refused in (("no_ack", "without acks", False), ("exclusive", "exclusively", True), ("unbounded", "no prefetch", False)):
        assert text in texts[names[kind]][0]
        assert texts[names[kind]][1] == refused
    assert isinstance(found[0], Diagnosis)
