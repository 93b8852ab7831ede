"""A look at letters in a real RabbitMQ: what it does to them, and that it loses none however often one looks."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.runner import invoke
from tests.servers.rabbitmq_address import QUORUM

from holdgate.brokers.rabbitmq.queue_facts import QueueFacts, rules_for
from holdgate.cli.letters.rabbitmq import RabbitMQShelf, Terms, terms_of
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from tests.servers.rabbitmq_address import RabbitMQAddress

BODIES = [b"%d" % number for number in range(6)]
LIMITED = {**QUORUM, "x-delivery-limit": 2}


async def look(rabbitmq: RabbitMQAddress, name: str, limit: int = 100, **settings: Any) -> Any:
    shelf = RabbitMQShelf(rabbitmq.url, name, **settings)
    try:
        return await shelf.look(limit)
    finally:
        await shelf.close()


async def left(rabbitmq: RabbitMQAddress, name: str) -> list[bytes]:
    await rabbitmq.becomes(name, ready=len(BODIES))
    return [message.body for message in await rabbitmq.waiting(name)]


@pytest.mark.parametrize("arguments", [None, QUORUM], ids=["classic", "quorum"])
async def test_letters_are_listed_and_stay_in_their_order(rabbitmq: RabbitMQAddress, queue, arguments: Any) -> None:
    """The first of them, as many as were asked for; nothing of the message is shown."""
    name = await queue(arguments)
    headers = {"holdgate-source": "orders", "holdgate-exception": "KeyError", "holdgate-attempts": "5", "tenant": "secret"}
    await rabbitmq.publish(name, BODIES, headers=headers)
    result = await asyncio.to_thread(invoke, "letters", name, "--url", rabbitmq.url, "--json", "--limit", "4")
    assert result.exit_code == 0, result.output
    letters = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(letter["queue"], letter["number"]) for letter in letters] == [(name, number) for number in (1, 2, 3, 4)]
    assert {(letter["source"], letter["exception"], letter["attempts"]) for letter in letters} == {("orders", "KeyError", 5)}
    assert "secret" not in result.output
    assert f"4 of 6 in {name}" in result.stderr
    assert "4 were delivered to this command and went back to their places, marked as redelivered" in result.stderr
    assert await left(rabbitmq, name) == BODIES


async def test_a_classic_queue_may_be_looked_at_for_ever(rabbitmq: RabbitMQAddress, queue) -> None:
    """Nothing is counted there."""
    name = await queue()
    await rabbitmq.publish(name, BODIES)
    for _ in range(25):
        found = await look(rabbitmq, name)
        assert len(found.letters) == len(BODIES)
        await rabbitmq.becomes(name, ready=len(BODIES))
    assert len(found.notes) == 1
    assert await left(rabbitmq, name) == BODIES


@pytest.mark.parametrize("arguments", [QUORUM, LIMITED], ids=["the default limit", "a limit of 2"])
async def test_no_look_loses_a_letter_of_a_quorum_queue(rabbitmq: RabbitMQAddress, queue, arguments: Any) -> None:
    """Those that one more return might drop are written again: all are there after many more looks than the limit allows."""
    name = await queue(arguments)
    await rabbitmq.publish(name, BODIES)
    for _ in range(24):
        assert len((await look(rabbitmq, name)).letters) == len(BODIES)
        await rabbitmq.becomes(name, ready=len(BODIES))
    assert await left(rabbitmq, name) == BODIES


async def test_a_letter_that_has_come_back_is_written_again(rabbitmq: RabbitMQAddress, queue) -> None:
    """Its limit may be hidden. The others go back in front of it, and the list says what happened; the copy is the same message."""
    name = await queue(LIMITED)
    await rabbitmq.publish(name, [b"back"], headers={"trace": "t"}, message_id="m1")
    await rabbitmq.publish(name, BODIES[1:])
    async with rabbitmq.channel() as channel:
        await (await (await channel.get_queue(name, ensure=False)).get()).reject(requeue=True)
    await rabbitmq.becomes(name, ready=len(BODIES))
    found = await look(rabbitmq, name)
    again = f"1 had come back before, and one more return might have dropped them: they were written again, at the end of {name}"
    assert again in found.notes
    assert any("--management-url" in note for note in found.notes)
    await rabbitmq.becomes(name, ready=len(BODIES))
    async with rabbitmq.channel() as channel:
        source = await channel.get_queue(name, ensure=False)
        taken = [await source.get() for _ in BODIES]
        for message in taken:
            await message.ack()
    assert [message.body for message in taken] == [*BODIES[1:], b"back"]
    assert taken[-1].message_id == "m1"
    assert taken[-1].headers.get("trace") == "t"


async def test_a_letter_that_died_of_its_returns_outlives_looks(rabbitmq: RabbitMQAddress, queue) -> None:
    """On 4.3 it brings its count into the next queue, where any return would be its end."""
    dead = await queue(LIMITED)
    orders = await queue({**LIMITED, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    await rabbitmq.publish(orders, [b"1"])
    async with rabbitmq.channel() as channel:
        source = await channel.get_queue(orders, ensure=False)
        for _ in range(3):
            await rabbitmq.becomes(orders, ready=1)
            await (await source.get()).reject(requeue=True)
    for _ in range(4):
        await rabbitmq.becomes(dead, ready=1)
        assert len((await look(rabbitmq, dead)).letters) == 1
    await rabbitmq.becomes(dead, ready=1)


async def test_where_the_limit_is_known_what_is_far_from_it_goes_back(rabbitmq: RabbitMQAddress, queue) -> None:
    """The management API shows that no policy has a lower one."""
    if rabbitmq.management_url is None:
        pytest.skip("no management API")
    name = await queue({**QUORUM, "x-delivery-limit": 100})
    await rabbitmq.publish(name, BODIES)
    for _ in range(5):
        found = await look(rabbitmq, name, management_url=rabbitmq.management_url)
        assert len(found.notes) == 1
        assert "went back to their places" in found.notes[0]
        await rabbitmq.becomes(name, ready=len(BODIES))
    assert await left(rabbitmq, name) == BODIES


async def test_a_letter_that_the_broker_has_made_says_what_it_knows(rabbitmq: RabbitMQAddress, queue) -> None:
    """Its own header names the queue, the reason and the time."""
    dead = await queue()
    orders = await queue({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    await rabbitmq.publish(orders, [b"1"])
    async with rabbitmq.channel() as channel:
        await (await (await channel.get_queue(orders, ensure=False)).get()).reject(requeue=False)
    await rabbitmq.becomes(dead, ready=1)
    (letter,) = (await look(rabbitmq, dead)).letters
    assert (letter.origin, letter.why) == (orders, "rejected by RabbitMQ")
    assert letter.last_failure is not None
    assert abs(letter.last_failure - datetime.now(UTC).timestamp()) < 600


async def test_an_interrupted_look_puts_everything_back(rabbitmq: RabbitMQAddress, queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle, when three are out."""
    name = await queue(QUORUM)
    await rabbitmq.publish(name, BODIES)
    shelf = RabbitMQShelf(rabbitmq.url, name)
    taken, real = [], shelf._take

    async def take() -> Any:
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(await real())
        return taken[-1]

    monkeypatch.setattr(shelf, "_take", take)
    with pytest.raises(KeyboardInterrupt):
        await shelf.look(100)
    await shelf.close()
    assert await left(rabbitmq, name) == BODIES


async def test_what_cannot_be_read_is_an_error(rabbitmq: RabbitMQAddress, queue) -> None:
    """A queue that is not there, and no broker at all."""
    with pytest.raises(IntakeError, match="there is no queue 'no-such-letters'"):
        await look(rabbitmq, "no-such-letters")
    shelf = RabbitMQShelf("amqp://guest:sesame@127.0.0.1:1/", "orders")
    with pytest.raises(IntakeError, match="no RabbitMQ broker answers") as caught:
        await shelf.look(1)
    await shelf.close()
    assert "sesame" not in str(caught.value)


async def test_a_stream_is_refused_with_what_reads_it(rabbitmq: RabbitMQAddress, queue) -> None:
    """It would refuse the look itself, with the name of a method."""
    name = await queue({"x-queue-type": "stream"})
    with pytest.raises(IntakeError, match="x-stream-offset=first"):
        await look(rabbitmq, name)


@pytest.mark.parametrize(
    ("version", "queue_type", "arguments", "policy", "terms"),
    [
        ((4, 0), "classic", {}, None, Terms(counted=False, limit=None, known=True, nack=False)),
        ((3, 10), "quorum", {}, None, Terms(counted=True, limit=None, known=False, nack=False)),
        ((3, 10), "quorum", {}, {}, Terms(counted=True, limit=None, known=True, nack=False)),
        ((3, 10), "quorum", {"x-delivery-limit": -1}, {}, Terms(counted=True, limit=0, known=True, nack=False)),
        ((4, 0), "quorum", {}, {}, Terms(counted=True, limit=20, known=True, nack=False)),
        ((4, 0), "quorum", {"x-delivery-limit": -1}, {}, Terms(counted=True, limit=None, known=True, nack=False)),
        ((4, 3), "quorum", {"x-delivery-limit": 9}, {"delivery-limit": 3}, Terms(counted=False, limit=3, known=True, nack=True)),
        ((4, 3), None, {}, {}, Terms(counted=False, limit=20, known=False, nack=True)),
    ],
)
def test_what_a_return_does_depends_on_the_queue(version: Any, queue_type: Any, arguments: Any, policy: Any, terms: Terms) -> None:
    """By its type, its version, its own limit and that of a policy."""
    kind = "classic" if queue_type == "classic" else "quorum"
    assert terms_of(QueueFacts("dead", queue_type, arguments, policy=policy), rules_for(version, kind)) == terms


@pytest.mark.parametrize(("returns", "known", "limit", "endangered"), [
    (0, False, 20, False), (1, False, 20, True), (1, True, 20, False), (19, True, 20, False), (20, True, 20, True), (21, True, 20, True),
    (0, True, 0, True), (99, True, None, False), (1, False, None, True),
])  # fmt: skip
def test_a_letter_is_endangered_by_the_return_that_its_queue_does_not_allow(
    returns: int, known: bool, limit: int | None, endangered: bool
) -> None:
    """With a limit of 20 the message that has come back 20 times is dropped at its next return."""
    assert Terms(counted=True, limit=limit, known=known, nack=False).endangers(returns) is endangered
