"""A look at letters in a real Kafka, which leaves no trace."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tests.cli.runner import invoke

from holdgate import Guard, Reject
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake
from holdgate.cli.letters.kafka import DeadTopic, KafkaShelf
from holdgate.cli.replay.kafka import KafkaRoute
from holdgate.cli.replay.route import Stop, move
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


async def look(kafka: KafkaAddress, name: str, limit: int = 100, *, moved: bool = False, **settings: Any) -> Any:
    shelf = KafkaShelf(DeadTopic(kafka.bootstrap, name, **settings), moved=moved)
    try:
        return await shelf.look(limit)
    finally:
        await shelf.close()


def offsets(found: Any) -> list[tuple[int, int]]:
    return [(letter.place["partition"], letter.place["offset"]) for letter in found.letters]


async def groups(kafka: KafkaAddress) -> set[str]:
    async with kafka.admin() as admin:
        return {str(name) for name, *_ in await admin.list_consumer_groups()}


async def test_the_letters_of_a_guard_are_listed_as_it_wrote_them(kafka: KafkaAddress, topic) -> None:
    """Through a guard, its dead letters and the command: the origin, the reason, and not a word of the message."""
    orders, dead = await topic(), await topic()
    await kafka.produce(orders, [b"secret-body"], key=b"secret-key", headers=[("tenant", b"secret-tenant")])

    async def handler(_: Any) -> None:
        raise Reject("not an order")

    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=f"g-{orders}", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    async with Guard(signals=False) as guard:
        run = asyncio.create_task(guard.run(KafkaIntake(consumer, topics=[orders]), handler, dead_letters=KafkaDeadLetters(producer, dead)))
        while not (await kafka.committed(f"g-{orders}", orders)).get(0):
            await asyncio.sleep(0.05)
        await guard.stop()
        await run
    result = await asyncio.to_thread(invoke, "letters", dead, "--bootstrap", kafka.bootstrap, "--json")
    assert result.exit_code == 0, result.stderr
    (letter,) = (json.loads(line) for line in result.stdout.splitlines())
    assert (letter["topic"], letter["partition"], letter["offset"]) == (dead, 0, 0)
    assert (letter["source"], letter["source_partition"], letter["source_offset"]) == (orders, 0, 0)
    assert (letter["exception"], letter["reason"], letter["text"]) == ("holdgate.errors.Reject", "not an order", None)
    assert letter["attempts"] == 1
    assert letter["age"] >= 0
    assert "secret" not in result.output
    assert result.stderr == f"1 of 1 in {dead}\n"


async def test_a_look_leaves_no_trace(kafka: KafkaAddress, topic) -> None:
    """Twice the same, and no group is there that was not there before."""
    dead = await topic(2)
    await kafka.produce(dead, [b"1", b"2"], partition=0)
    before = await groups(kafka)
    assert offsets(await look(kafka, dead)) == offsets(await look(kafka, dead)) == [(0, 0), (0, 1)]
    assert await groups(kafka) <= before


async def test_the_oldest_come_first_of_all_partitions(kafka: KafkaAddress, topic) -> None:
    """And no more than were asked for; how many there are is known all the same."""
    dead = await topic(3)
    for partition in (2, 0, 2, 1, 0):
        await kafka.produce(dead, [b"x"], partition=partition)
        await asyncio.sleep(0.005)  # their times are in milliseconds
    found = await look(kafka, dead, 4)
    assert offsets(found) == [(2, 0), (0, 0), (2, 1), (1, 0)]
    assert found.waiting == 5


async def test_a_limit_bounds_what_is_read_of_a_partition(kafka: KafkaAddress, topic) -> None:
    """The first of many."""
    dead = await topic()
    await kafka.produce(dead, [b"%d" % number for number in range(300)])
    found = await look(kafka, dead, 7)
    assert offsets(found) == [(0, number) for number in range(7)]
    assert found.waiting == 300


async def test_what_a_replay_has_moved_does_not_wait(kafka: KafkaAddress, topic) -> None:
    """It is shown when asked for, and marked."""
    orders, dead = await topic(), await topic()
    await kafka.produce(dead, [b"1", b"2", b"3"])
    route = KafkaRoute(kafka.bootstrap, dead, orders, rate=1000)
    await route.survey()
    await route.begin()
    assert await move(route, rate=1000, limit=2, stop=Stop(), moved=lambda _: None) == 2
    await route.end()
    found = await look(kafka, dead)
    assert offsets(found) == [(0, 2)]
    assert found.waiting == 1
    everything = await look(kafka, dead, moved=True)
    assert [letter.moved for letter in everything.letters] == [True, True, False]
    assert offsets(await look(kafka, dead, group="another")) == [(0, 0), (0, 1), (0, 2)]


async def test_an_aborted_letter_is_none(kafka: KafkaAddress, topic) -> None:
    """As nobody ever saw it; the look ends where the log does."""
    dead = await topic()
    await kafka.produce(dead, [b"1"])
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=dead)
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(dead, b"never")
    await producer.abort_transaction()
    await producer.stop()
    assert offsets(await look(kafka, dead)) == [(0, 0)]


async def test_a_topic_that_is_not_there(kafka: KafkaAddress) -> None:
    """Is an error, and no empty list."""
    with pytest.raises(IntakeError, match="no topic 'no-such-letters'"):
        await look(kafka, "no-such-letters")
