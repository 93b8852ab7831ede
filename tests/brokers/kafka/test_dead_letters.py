"""Dead letters in Kafka: what is refused before it begins, what is written, and what becomes of the producer."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from holdgate import Guard, Reject, RetryPolicy
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import DeadLetter, Partition, Queue, Source
from holdgate.testing import MemoryDelivery
from holdgate.testing.memory.message import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress

POISON = b"poison"
NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def producer() -> AsyncIterator[Callable[..., AIOKafkaProducer]]:
    """Make producers with `acks="all"` and what is given; stopped at the end."""
    made: list[AIOKafkaProducer] = []

    def make(**settings: Any) -> AIOKafkaProducer:
        made.append(AIOKafkaProducer(**{"bootstrap_servers": NOWHERE, "acks": "all", **settings}))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


def letter(source: Source, body: bytes | None = POISON, key: bytes | None = b"k", headers: dict[str, Any] | None = None) -> DeadLetter:
    delivery = MemoryDelivery(source, Message(7, body, key, headers or {}), 7, None)
    return DeadLetter(delivery, 5, 1.0, 2.0, "KeyError", "'4711'", None, "host:1")


# -- what is refused -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"acks": 1}, 'acks="all"'),
        ({"acks": 0}, 'acks="all"'),
        ({"value_serializer": str}, "value_serializer"),
        ({"key_serializer": str}, "key_serializer"),
        ({"transactional_id": "t"}, "transactional_id"),
    ],
    ids=["one broker's word", "nobody's word", "a serializer of values", "a serializer of keys", "transactions"],
)
async def test_a_producer_that_would_break_the_promise_is_refused(producer, settings: dict[str, Any], told: str) -> None:
    """Confirmed by all replicas, unchanged, and visible at once."""
    with pytest.raises(SettingsError, match=told):
        KafkaDeadLetters(producer(**settings))


async def test_a_producer_left_at_aiokafkas_default_is_refused() -> None:
    """Which is one broker's word."""
    one = AIOKafkaProducer(bootstrap_servers=NOWHERE)
    with pytest.raises(SettingsError, match="got 1: the original"):
        KafkaDeadLetters(one)
    await one.stop()


async def test_an_idempotent_producer_waits_for_all_replicas_by_itself() -> None:
    """The client sets acks for it."""
    one = AIOKafkaProducer(bootstrap_servers=NOWHERE, enable_idempotence=True)
    KafkaDeadLetters(one)
    await one.stop()


@pytest.mark.parametrize("topic", ["", "{queue}.dead", "{}.dead", "{topic"], ids=["empty", "another name", "a number", "half a brace"])
async def test_a_name_that_makes_no_topic_is_refused(producer, topic: str) -> None:
    """The text shows the way it is meant."""
    with pytest.raises(SettingsError, match=r"topic must be a name, with \{topic\} alone in braces"):
        KafkaDeadLetters(producer(), topic)


async def test_dead_letters_into_the_topic_they_come_from_are_refused(producer) -> None:
    """They would be consumed, rejected and written again for ever."""
    with pytest.raises(SettingsError, match="back to where they came from"):
        await KafkaDeadLetters(producer(), "orders").open(["mails", "orders"])


async def test_a_broker_that_is_not_there_is_told_with_its_address(producer) -> None:
    """Before anything is consumed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(IntakeError, match=f"no Kafka broker answers the dead letters' producer at {address}"):
            await KafkaDeadLetters(producer(bootstrap_servers=address)).open(["orders"])


async def test_a_producer_that_was_stopped_is_told(producer) -> None:
    """It cannot be started again."""
    one = producer()
    await one.stop()
    with pytest.raises(IntakeError, match="make a new AIOKafkaProducer"):
        await KafkaDeadLetters(one).open(["orders"])


async def test_closing_what_never_opened_is_fine(producer) -> None:
    """A run that could not open closes all the same."""
    await KafkaDeadLetters(producer()).close()


# -- on a broker -----------------------------------------------------------------------------------------------------------------------


async def test_a_missing_topic_is_told_before_anything_is_consumed(kafka: KafkaAddress, topic, producer) -> None:
    """With its name, where that comes from, and what to do; and the producer is stopped again."""
    orders = await topic()
    one = producer(bootstrap_servers=kafka.bootstrap)
    with pytest.raises(IntakeError, match=rf"no topic '{orders}\.dead' .*create it"):
        await KafkaDeadLetters(one).open([orders])
    assert one._closed


async def test_key_value_and_headers_are_the_messages_and_what_is_known_is_added(kafka: KafkaAddress, topic, producer, group: str) -> None:
    """A name that comes twice stays twice, an earlier death's headers go, the number of replays stays."""
    orders, dead = await topic(), await topic()
    await kafka.produce(
        orders,
        [POISON],
        key=b"k7",
        headers=[("trace", b"1"), ("trace", b"\xff2"), ("holdgate-source", b"old"), ("holdgate-replays", b"1")],
    )
    target = KafkaDeadLetters(producer(bootstrap_servers=kafka.bootstrap), dead)
    await consume(kafka, orders, group, target, lambda: kafka_committed(kafka, group, orders, 1))
    (record,) = await kafka.read(dead)
    assert (record.key, record.value) == (b"k7", POISON)
    assert record.headers[:3] == (("trace", b"1"), ("trace", b"\xff2"), ("holdgate-replays", b"1"))
    told = dict(record.headers[3:])
    assert (told["holdgate-source"], told["holdgate-partition"], told["holdgate-offset"]) == (orders.encode(), b"0", b"0")
    assert (told["holdgate-attempts"], told["holdgate-exception"]) == (b"1", b"holdgate.errors.Reject")
    assert told["holdgate-reason"] == b"poison"
    assert set(told) >= {"holdgate-first-failure", "holdgate-last-failure", "holdgate-worker"}
    assert "holdgate-exception-text" not in told


async def consume(
    kafka: KafkaAddress, topic: str, group: str, target: KafkaDeadLetters, done: Callable[[], Awaitable[bool]], **settings: Any
) -> None:
    """Run a guard over the topic until `done`; a message with the body `POISON` is rejected."""

    async def handler(delivery: Any) -> None:
        if delivery.body in (POISON, None):
            raise Reject("poison")

    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=100
    )
    async with Guard(signals=False) as guard:
        intake = KafkaIntake(consumer, topics=[topic], commit_every=0.1)
        run = asyncio.create_task(guard.run(intake, handler, dead_letters=target, **settings))
        async with asyncio.timeout(60):
            while not run.done() and not await done():
                await asyncio.sleep(0.05)
        await guard.stop()
        await run


async def kafka_committed(kafka: KafkaAddress, group: str, topic: str, offset: int) -> bool:
    try:
        return (await kafka.committed(group, topic)).get(0, 0) >= offset
    except GroupCoordinatorNotAvailableError:  # the broker makes it when the first group asks
        return False


async def test_the_exceptions_text_is_written_when_asked_for(kafka: KafkaAddress, topic, producer) -> None:
    """And a value that is no bytes, from another broker's message, as text."""
    dead = await topic()
    target = KafkaDeadLetters(producer(bootstrap_servers=kafka.bootstrap), dead, exception_text=True)
    await target.open(["orders"])
    await target.publish(letter(Queue("orders"), headers={"x-death-count": 3, "none": None}))
    await target.close()
    told = dict((await kafka.read(dead))[0].headers)
    assert (told["holdgate-exception-text"], told["x-death-count"], told["none"]) == (b"'4711'", b"3", None)
    assert (told["holdgate-source"], told["holdgate-delivery-tag"]) == (b"orders", b"7")


@pytest.mark.parametrize(("body", "key"), [(None, b"k"), (None, None), (b"", b"")], ids=["tombstone", "nothing at all", "empty"])
async def test_a_record_without_a_value_is_written_as_it_is(kafka: KafkaAddress, topic, producer, body: Any, key: Any) -> None:
    """A tombstone, and even a record without key and value, which aiokafka's `send` refuses."""
    dead = await topic()
    target = KafkaDeadLetters(producer(bootstrap_servers=kafka.bootstrap), dead)
    await target.open(None)
    await target.publish(letter(Partition("orders", 0), body, key))
    await target.close()
    (record,) = await kafka.read(dead)
    assert (record.value, record.key) == (body, key)
    assert dict(record.headers)["holdgate-attempts"] == b"5"


async def test_a_producer_that_was_not_started_is_started_once_and_stopped_after_the_last_run(kafka, topic, producer) -> None:
    """Two runs may share it."""
    dead = await topic()
    one = producer(bootstrap_servers=kafka.bootstrap)
    target = KafkaDeadLetters(one, dead)
    await asyncio.gather(target.open(["orders"]), target.open(["mails"]))
    await target.close()
    await target.publish(letter(Partition("orders", 0)))
    assert not one._closed
    await target.close()
    assert one._closed
    assert len(await kafka.read(dead)) == 1


async def test_a_producer_that_was_started_stays_its_callers(kafka: KafkaAddress, topic, producer) -> None:
    """Used, and never stopped."""
    dead = await topic()
    one = producer(bootstrap_servers=kafka.bootstrap)
    await one.start()
    target = KafkaDeadLetters(one, dead)
    await target.open(["orders"])
    await target.publish(letter(Partition("orders", 0)))
    await target.close()
    await one.send_and_wait(dead, b"mine")
    assert [record.value for record in await kafka.read(dead)] == [POISON, b"mine"]


async def test_a_topic_that_is_deleted_is_an_error_of_the_publication(kafka: KafkaAddress, topic, producer, group: str) -> None:
    """Which the guard answers with a hold; nothing counts as confirmed."""
    dead = await kafka.create_topic(f"deleted-{group}")
    one = producer(bootstrap_servers=kafka.bootstrap, request_timeout_ms=1000, metadata_max_age_ms=300)
    target = KafkaDeadLetters(one, dead)
    await target.open(["orders"])
    await kafka.delete_topic(dead)
    with pytest.raises(KafkaError):
        await target.publish(letter(Partition("orders", 0)))
    await target.close()


async def test_a_topic_made_while_the_source_is_held_ends_the_hold(kafka: KafkaAddress, topic, producer, group: str) -> None:
    """Under a pattern nobody can check it at start: then the first letter waits, and nothing is lost."""
    orders, dead = await topic(), f"late-{group}"
    await kafka.produce(orders, [POISON, b"good"])
    one = producer(bootstrap_servers=kafka.bootstrap, request_timeout_ms=1000, metadata_max_age_ms=300)
    target = Unchecked(one, dead)
    held: list[bool] = []

    async def done() -> bool:
        if not held and target.failures:
            held.append(await kafka_committed(kafka, group, orders, 1))
            await kafka.create_topic(dead)
        return await kafka_committed(kafka, group, orders, 2)

    await consume(kafka, orders, group, target, done, retry=RetryPolicy(initial_backoff=0.1, max_backoff=0.2))
    assert held == [False]
    assert {record.value for record in await kafka.read(dead)} == {POISON}  # twice where a slow broker's confirmation came too late
    await kafka.delete_topic(dead)


class Unchecked(KafkaDeadLetters):
    """Opens as under a pattern, and counts failures."""

    failures = 0

    async def open(self, names: Any) -> None:
        await super().open(None)

    async def publish(self, letter: DeadLetter) -> None:
        try:
            await super().publish(letter)
        except KafkaError:
            self.failures += 1
            raise


async def test_a_run_with_dead_letters_skips_nothing_but_the_poison(kafka: KafkaAddress, topic, producer, group: str) -> None:
    """On a real broker from end to end: each poison message once, in the topic beside its own, everything committed."""
    orders = await topic()
    dead = await kafka.create_topic(f"{orders}.dead")
    await kafka.produce(orders, [POISON if number % 10 == 4 else b"%d" % number for number in range(50)])
    target = KafkaDeadLetters(producer(bootstrap_servers=kafka.bootstrap))
    await consume(kafka, orders, group, target, lambda: kafka_committed(kafka, group, orders, 50))
    offsets = sorted(int(dict(record.headers)["holdgate-offset"]) for record in await kafka.read(dead))
    assert offsets == [4, 14, 24, 34, 44]
    await kafka.delete_topic(dead)
