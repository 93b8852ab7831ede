"""FastStream's Kafka subscribers under a guard, on a real Kafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from aiokafka import AIOKafkaProducer, TopicPartition
from faststream import BaseMiddleware
from faststream.exceptions import AckMessage, NackMessage, RejectMessage
from tests.integrations.faststream.kafka_app import PATIENCE, Bad, Down, KafkaApp, dependency, until, write

from holdgate import Delivery, Partition, RetryPolicy
from holdgate.brokers.kafka import KafkaDeadLetters
from holdgate.integrations.faststream.kafka import FetchedRecord, MetSource

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress

    MakeTopic = Callable[..., Awaitable[str]]


class Seeks:
    """Counts how often a consumer was sought: each time a record is fetched once more."""

    def __init__(self, consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        seek = consumer.seek

        def counted(partition: Any, offset: int) -> None:
            self.count += 1
            seek(partition, offset)

        monkeypatch.setattr(consumer, "seek", counted)


def letters_on(kafka: KafkaAddress) -> Callable[[], KafkaDeadLetters]:
    """As an app has it at its top level, where no loop runs yet and aiokafka makes no producer."""
    return lambda: KafkaDeadLetters(AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all"))


async def test_an_outage_holds_what_needs_it_and_nothing_else(
    kafka: KafkaAddress, topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orders are held after the five failures that open the circuit, the receipts go on, and afterwards every order is done once."""
    orders, receipts = await topic(4), await topic(2)
    app = KafkaApp(kafka, orders, needs={orders: [dependency()], receipts: [dependency("email")]})
    app.reads(orders)
    mailed: list[int] = []

    @app.subscriber(receipts)
    async def mail(number: int) -> None:
        mailed.append(number)

    app.down = True
    await write(kafka, orders, range(40), 4)
    async with app.app:
        await until(lambda: app.is_open)
        seeks, tries = Seeks(app.broker.subscribers[0].consumer, monkeypatch), sum(app.started.values())
        await write(kafka, receipts, range(40), 2)
        await until(lambda: len(mailed) == 40)
        await asyncio.sleep(2.0)
        # Each try of the open circuit, and each new head of a partition, is one fetch more. A hot loop would be thousands.
        assert seeks.count <= sum(app.started.values()) - tries + 8
        assert sum(app.started.values()) <= 26
        assert not app.done
        app.down = False
        await until(lambda: len(app.done) == 40)
        assert set(app.done.values()) == {1}
        for partition in range(4):
            mine = [number for number in app.order if number % 4 == partition]
            assert mine == sorted(mine)
    assert await kafka.committed(orders, orders) == dict.fromkeys(range(4), 10)


async def test_a_hold_of_the_first_message_commits_where_the_group_begins(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """A group that has committed nothing would begin at the end again after a restart, and pass over what is held."""
    orders = await topic()
    app = KafkaApp(kafka, orders, needs=[dependency()])
    app.reads(orders, auto_offset_reset="latest")
    await write(kafka, orders, range(3))
    app.down = True
    async with app.app:
        consumer = app.broker.subscribers[0].consumer
        async with asyncio.timeout(PATIENCE):
            while consumer.assignment() != {TopicPartition(orders, 0)} or await consumer.position(TopicPartition(orders, 0)) < 3:
                await asyncio.sleep(0.02)
        await write(kafka, orders, range(3, 8))
        await until(lambda: app.is_open)
    assert not app.done
    assert await kafka.committed(orders, orders) == {0: 3}


async def test_a_failed_message_is_tried_again_in_its_place(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """Two failures of its own: the record comes again after the backoff, before its neighbours, and is charged, not lost."""
    orders = await topic()
    app = KafkaApp(kafka, orders, needs=[dependency()])
    app.reads(orders)
    app.bad = {2}
    await write(kafka, orders, range(5))
    async with app.app:
        await until(lambda: app.started[2] == 3)
        app.bad.clear()
        await until(lambda: len(app.done) == 5)
    assert app.order == [0, 1, 2, 3, 4]
    assert await kafka.committed(orders, orders) == {0: 5}


async def test_a_message_that_cannot_be_processed_goes_to_the_dead_letters(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """After its attempts its letter is confirmed, the record is passed over, and the partition goes on."""
    orders = await topic()
    dead = await kafka.create_topic(f"{orders}.dead")
    letters = letters_on(kafka)
    retry = RetryPolicy(attempts=3, initial_backoff=0.05, max_backoff=0.1)
    app = KafkaApp(kafka, orders, needs=[dependency()], dead_letters=letters, retry=retry)
    app.reads(orders)
    app.bad = {1}
    await write(kafka, orders, range(4))
    async with app.app:
        await until(lambda: len(app.done) == 3)
    assert app.started[1] == 3
    assert [record.value for record in await kafka.read(dead)] == [b"1"]
    assert await kafka.committed(orders, orders) == {0: 4}
    await kafka.delete_topic(dead)


async def test_a_message_that_waits_for_a_slow_neighbour_keeps_its_attempts(
    kafka: KafkaAddress, topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FastStream fetches nothing while a handler runs: a record of another partition that may be tried again is late, and not lost."""
    monkeypatch.setattr("holdgate.integrations.faststream.kafka._COMES_WITHIN", 0.2)
    orders = await topic(2)
    dead = await kafka.create_topic(f"{orders}.dead")
    retry = RetryPolicy(attempts=2, initial_backoff=2.0, max_backoff=2.0)
    app = KafkaApp(kafka, orders, needs=[dependency()], dead_letters=letters_on(kafka), retry=retry)
    may_end = asyncio.Event()

    @app.subscriber(orders)
    async def handle(number: int) -> None:
        if number == 1:
            await may_end.wait()
        await app.work(number)

    app.bad = {0}
    await write(kafka, orders, range(1))
    async with app.app:
        await until(lambda: app.started[0] == 1)
        await kafka.produce(orders, [b"1"], partition=1)
        await until(lambda: app.guarded.guard.snapshot().sources[Partition(orders, 0)].in_flight)
        await asyncio.sleep(2.5)  # it is looked for every second
        may_end.set()
        await until(lambda: app.guarded.guard.totals().names[orders].ended == 2)
    assert app.started[0] == 2
    assert [record.value for record in await kafka.read(dead)] == [b"0"]
    await kafka.delete_topic(dead)


async def test_a_message_that_nobody_takes_blocks_its_partition_alone(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """Without dead letters a rejected record blocks its partition; an operator skips it, and what is behind it goes on."""
    orders = await topic(2)
    app = KafkaApp(kafka, orders, needs=[dependency()], retry=RetryPolicy(attempts=1))
    app.reads(orders)
    app.bad = {2}
    await write(kafka, orders, range(8), 2)
    async with app.app:
        await until(lambda: len(app.done) == 5)
        source = Partition(orders, 0)
        await until(lambda: app.guarded.guard.snapshot().sources[source].held)
        assert sorted(app.done) == [0, 1, 3, 5, 7]
        app.guarded.guard.skip(source, 1, reason="no such customer")
        await until(lambda: len(app.done) == 7)
    assert await kafka.committed(orders, orders) == {0: 4, 1: 4}


def test_a_fetched_record_has_every_field_of_a_delivery() -> None:
    """KafkaDelivery has no constructor, so a field that is not set would end an attempt by an AttributeError."""
    place = MetSource(Partition("orders", 0), TopicPartition("orders", 0))
    made, plain = FetchedRecord(place, object(), None), Delivery(Partition("orders", 0), object())
    names = [name for name in Delivery.__slots__ if name != "message" and hasattr(plain, name)]
    assert {name: getattr(made, name) for name in names} == {name: getattr(plain, name) for name in names}


async def test_handlers_may_use_faststreams_own_words(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """AckMessage settles, NackMessage comes again uncharged, and RejectMessage is rejected, here skipped."""
    orders = await topic()
    app = KafkaApp(kafka, orders, needs=[dependency()], retry=RetryPolicy(attempts=2, initial_backoff=0.05, on_exhausted="skip"))
    seen: list[int] = []

    @app.subscriber(orders)
    async def handle(number: int) -> None:
        seen.append(number)
        if number == 0:
            raise AckMessage
        if number == 1 and seen.count(1) < 4:
            raise NackMessage
        if number == 2:
            raise RejectMessage

    await write(kafka, orders, range(4))
    async with app.app:
        await until(lambda: 3 in seen)
    assert seen == [0, 1, 1, 1, 1, 2, 3]
    assert await kafka.committed(orders, orders) == {0: 4}


async def test_a_result_that_cannot_be_published_is_a_failed_attempt(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """The record is not settled before its result is out: it comes again, and is published in the end."""
    orders, results = await topic(), await topic()
    app = KafkaApp(kafka, orders, needs=[dependency()])
    failures: list[int] = []

    @app.subscriber(orders)
    @app.broker.publisher(results)
    async def handle(number: int) -> str:
        await app.work(number)
        return f"charged {number}"

    class Broken(BaseMiddleware):
        async def publish_scope(self, call_next: Callable[[Any], Awaitable[Any]], cmd: Any) -> Any:
            if len(failures) < 2:
                failures.append(app.started[0])
                raise Bad
            return await call_next(cmd)

    app.broker.add_middleware(Broken)
    async with app.app:
        await write(kafka, orders, range(1))
        await until(lambda: app.started[0] == 3)
    assert failures == [1, 2]
    assert [record.value for record in await kafka.read(results)] == [b"charged 0"]
    assert await kafka.committed(orders, orders) == {0: 1}


async def test_a_held_message_publishes_no_result(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """A handler whose result is published: while it is held nothing is published in its name."""
    orders, results = await topic(2), await topic()
    app = KafkaApp(kafka, orders, needs=[dependency()])

    @app.subscriber(orders)
    @app.broker.publisher(results)
    async def handle(number: int) -> str:
        await app.work(number)
        return f"charged {number}"

    app.down = True
    await write(kafka, orders, range(10), 2)
    async with app.app:
        await until(lambda: app.is_open)
        app.down = False
        await until(lambda: len(app.done) == 10)
    assert sorted(record.value for record in await kafka.read(results)) == sorted(f"charged {number}".encode() for number in range(10))


async def test_what_cannot_be_read_is_rejected(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """A record for which the subscriber has no handler would be passed over by FastStream, and here goes where rejected messages go."""
    orders = await topic()
    dead = await kafka.create_topic(f"{orders}.dead")
    retry = RetryPolicy(attempts=1)
    app = KafkaApp(kafka, orders, needs=[dependency()], dead_letters=letters_on(kafka), retry=retry)
    subscriber = app.subscriber(orders)

    @subscriber(filter=lambda message: message.body != b"1")
    async def handle(number: int) -> None:
        await app.work(number)

    await write(kafka, orders, range(3))
    async with app.app:
        await until(lambda: len(app.done) == 2)
    assert [record.value for record in await kafka.read(dead)] == [b"1"]
    assert await kafka.committed(orders, orders) == {0: 3}
    await kafka.delete_topic(dead)


async def test_a_batch_is_held_whole(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """Batches over three partitions: none starts while the circuit is open, and each record is in a batch that ended well."""
    orders = await topic(3)
    app = KafkaApp(kafka, orders, needs=[dependency()])
    batches: list[list[int]] = []

    @app.subscriber(orders, batch=True, max_records=4, batch_timeout_ms=100)
    async def handle(numbers: list[int]) -> None:
        app.started[numbers[0]] += 1
        if app.down:
            raise Down
        batches.append(numbers)

    app.down = True
    await write(kafka, orders, range(30), 3)
    async with app.app:
        await until(lambda: app.is_open)
        await asyncio.sleep(1.0)
        assert sum(app.started.values()) <= 26
        assert not batches
        app.down = False
        await until(lambda: sum(map(len, batches)) >= 30)
        assert sorted(number for batch in batches for number in batch) == list(range(30))
    assert await kafka.committed(orders, orders) == dict.fromkeys(range(3), 10)


async def test_several_workers_have_a_consumer_each(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """With max_workers=3 all partitions are held, whichever consumer has them, and every message is done once."""
    orders = await topic(3)
    app = KafkaApp(kafka, orders, needs=[dependency()])
    app.reads(orders, max_workers=3)
    app.down = True
    await write(kafka, orders, range(30), 3)
    async with app.app:
        await until(lambda: app.is_open)
        await asyncio.sleep(1.0)
        assert sum(app.started.values()) <= 26
        app.down = False
        await until(lambda: len(app.done) == 30)
    assert await kafka.committed(orders, orders) == dict.fromkeys(range(3), 10)


async def test_a_pattern_has_the_needs_of_each_topic(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """A subscriber of a pattern: one topic is held by its own need, and another goes on."""
    orders, others = await topic(), await topic()
    prefix = orders.rsplit("-", 3)[0]
    app = KafkaApp(kafka, orders, needs={orders: [dependency()], others: [dependency("email")]})

    @app.subscriber(pattern=f"{prefix}-.*")
    async def handle(number: int) -> None:
        if number < 100:
            await app.work(number)
        else:
            app.done[number] += 1

    app.down = True
    await write(kafka, orders, range(5))
    async with app.app:
        await until(lambda: app.is_open)
        await write(kafka, others, range(100, 105))
        await until(lambda: len(app.done) == 5)
        app.down = False
        await until(lambda: len(app.done) == 10)
    assert await kafka.committed(orders, orders) == {0: 5}


async def test_two_groups_may_read_one_topic(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """Two subscribers of an app read the same topic in groups of their own: one is held while the other goes on."""
    orders = await topic()
    app = KafkaApp(kafka, orders, needs=[])
    app.reads(orders)
    app.bad = {0}
    seen: list[int] = []

    @app.subscriber(orders, group_id=f"{orders}-second")
    async def handle(number: int) -> None:
        seen.append(number)

    await write(kafka, orders, range(5))
    async with app.app:
        await until(lambda: len(seen) == 5 and app.started[0] >= 2)
        assert not app.done
        app.bad.clear()
        await until(lambda: len(app.done) == 5)
    assert seen == [0, 1, 2, 3, 4]
    assert await kafka.committed(f"{orders}-second", orders) == {0: 5}


async def test_a_rebalance_while_held_starts_nothing(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """A second member joins in the outage and leaves again: nothing is started by the moves, and afterwards each message is done once."""
    orders = await topic(4)
    first, second = (KafkaApp(kafka, orders, needs=[dependency()]) for _ in range(2))
    for app in (first, second):
        app.reads(orders)
        app.down = True
    await write(kafka, orders, range(40), 4)
    async with first.app:
        await until(lambda: first.is_open)
        first.guarded.guard.force_open("payments", reason="test")
        # A record that was granted before comes with the next fetch.
        await until(lambda: not any(source.in_flight for source in first.guarded.guard.snapshot().sources.values()))
        before = sum(first.started.values())
        async with second.app:
            await until(lambda: second.is_open)
            assert second.broker.subscribers[0].consumer.assignment()
            await asyncio.sleep(1.0)
        await until(lambda: len(first.broker.subscribers[0].consumer.assignment()) == 4)
        await asyncio.sleep(1.0)
        assert sum(first.started.values()) == before
        first.down = False
        first.guarded.guard.reset("payments", reason="test")
        first.guarded.guard.clear_override("payments", reason="test")
        await until(lambda: len(first.done) == 40)
        assert set(first.done.values()) == {1}
    assert await kafka.committed(orders, orders) == dict.fromkeys(range(4), 10)


async def test_what_is_done_is_committed_before_its_partition_goes(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """With `listener=` a member that joins while work goes on repeats nothing that was done."""
    orders = await topic(2)
    first, second = (KafkaApp(kafka, orders, needs=[dependency()]) for _ in range(2))
    for app in (first, second):
        app.reads(orders)
        app.seconds = 0.02
    await write(kafka, orders, range(3000), 2)  # a minute of work: it goes on for as long as the moves take
    async with first.app:
        await until(lambda: len(first.done) > 20)
        async with second.app:
            await until(lambda: len(second.done) > 20)
        await until(lambda: len(first.broker.subscribers[0].consumer.assignment()) == 2)
    assert set((first.done + second.done).values()) == {1}


async def test_a_stop_leaves_nothing_behind(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """The app stops in the middle of the work: what runs may end, what is done is committed, and the next app goes on behind it."""
    orders = await topic(2)
    first, second = (KafkaApp(kafka, orders, needs=[dependency()]) for _ in range(2))
    for app in (first, second):
        app.reads(orders)
        app.seconds = 0.02
    await write(kafka, orders, range(100), 2)
    async with first.app:
        await until(lambda: len(first.done) > 10)
    assert first.started == first.done
    committed = await kafka.committed(orders, orders)
    assert sum(committed.values()) == len(first.done)
    async with second.app:
        await until(lambda: len(first.done | second.done) == 100)
    assert set((first.done + second.done).values()) == {1}


async def test_a_handler_that_takes_too_long_is_cut_off(kafka: KafkaAddress, topic: MakeTopic) -> None:
    """`timeout=` cancels the handler in FastStream's own task, which goes on with the next message."""
    orders = await topic()
    app = KafkaApp(kafka, orders, needs=[], timeout=1.0, retry=RetryPolicy(attempts=1, on_exhausted="skip"))

    @app.subscriber(orders)
    async def handle(number: int) -> None:
        app.started[number] += 1
        if number == 0:
            await asyncio.sleep(PATIENT)
        app.done[number] += 1

    await write(kafka, orders, range(3))
    async with app.app:
        await until(lambda: len(app.done) == 2)
    assert app.started == {0: 1, 1: 1, 2: 1}
    assert await kafka.committed(orders, orders) == {0: 3}


PATIENT = 600.0  # longer than any test
