"""How much waits, behind an open transaction and in a hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer, TopicPartition
from tests.runtime.stage import ORDERS

from holdgate import Partition
from holdgate.brokers.backlog import PartitionBacklogs
from holdgate.brokers.kafka import KafkaIntake
from holdgate.brokers.kafka.deliveries import RECORDS
from holdgate.brokers.partitions import AssignedPartitions
from holdgate.flow.message import Backlog

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

NAME = "orders"


class FakeBroker:
    """Answers what a consumer and its second one would be told of one partition, read up to offset 5."""

    reads_committed = True

    def __init__(self) -> None:
        self.end: int | None = 18
        self.stable = 5
        self.at = 0.0
        self.partitions = AssignedPartitions(RECORDS)

    def position(self, tp: TopicPartition) -> int | None:
        return 5

    async def log_ends(self, tps: Any, *, committed: bool = False) -> dict[TopicPartition, int] | None:
        if self.end is None:
            return None
        return dict.fromkeys(tps, self.stable if committed else self.end)

    def backlogs(self) -> PartitionBacklogs:
        self.partitions.add([TopicPartition(NAME, 0)])
        return PartitionBacklogs(self, self.partitions, self, lambda: self.at)  # type: ignore[arg-type]


async def asked(backlogs: PartitionBacklogs) -> Backlog:
    return (await backlogs.ask())[ORDERS[0]]


async def test_an_open_transaction_is_timed_by_the_offset_that_stands_still() -> None:
    """From when it was seen first; what goes on being produced behind it changes nothing."""
    broker = FakeBroker()
    backlogs = broker.backlogs()
    assert await asked(backlogs) == Backlog(13, None, 0, 0.0)
    broker.at, broker.end = 10.0, 22
    assert await asked(backlogs) == Backlog(17, None, 0, 10.0)
    broker.at, broker.stable = 12.0, 7
    assert await asked(backlogs) == Backlog(17, None, 2, 0.0)
    broker.at, broker.stable = 20.0, 22
    assert await asked(backlogs) == Backlog(17, None, 17, 0.0)
    broker.at = 50.0
    assert await asked(backlogs) == Backlog(17, None, 17, 0.0)
    broker.at, broker.end = 51.0, 30
    assert await asked(backlogs) == Backlog(25, None, 17, 1.0)


async def test_a_long_one_is_logged_once_and_so_is_its_end(caplog) -> None:
    """Who reads the log learns that it is no hold, and where to look."""
    caplog.set_level("INFO")
    broker = FakeBroker()
    backlogs = broker.backlogs()
    for at in (0.0, 29.0, 30.0, 60.0):
        broker.at = at
        await asked(backlogs)
    broker.stable = 18
    await asked(backlogs)
    blocked, over = (record.getMessage() for record in caplog.records)
    assert blocked.startswith(
        "orders[0]: blocked by an open transaction: for 30 s nothing has become readable past offset 5, and 13 offsets"
    )
    assert over == "orders[0]: no longer blocked by an open transaction"


async def test_a_partition_that_comes_back_is_timed_and_named_anew(caplog) -> None:
    """Nothing of an assignment that has ended is kept: a worker may get and lose partitions for months."""
    caplog.set_level("INFO")
    broker = FakeBroker()
    backlogs = broker.backlogs()
    for at in (0.0, 30.0):
        broker.at = at
        await asked(backlogs)
    broker.partitions.drop(broker.partitions.tps())
    await backlogs.ask()
    assert (backlogs._stable, backlogs._named) == ({}, set())
    broker.partitions.add([TopicPartition(NAME, 0)])
    for at in (40.0, 70.0):
        broker.at = at
        await asked(backlogs)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["orders[0]", "orders[0]"]


async def test_a_broker_that_does_not_answer_is_no_figure() -> None:
    """Unknown is not 0."""
    broker = FakeBroker()
    backlogs = broker.backlogs()
    broker.end = None
    assert await asked(backlogs) == Backlog(None)


@asynccontextmanager
async def transaction(kafka: KafkaAddress, topic: str) -> AsyncIterator[AIOKafkaProducer]:
    """A transaction that is open in the block, and aborted at its end."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"of-{topic}")
    await producer.start()
    try:
        await producer.begin_transaction()
        yield producer
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def test_good_records_behind_an_open_transaction_wait(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """The client says lag 0 by its own `end_offsets`; the backlog says thirteen, of which none can be read."""
    tells_nothing = metadata.version("aiokafka").startswith("0.12.")
    name = await topic()
    source = Partition(name, 0)
    await kafka.produce(name, [b"before"] * 5, partition=0)
    made = consumer(isolation_level="read_committed")
    async with driven(KafkaIntake(made, topics=[name])) as at:
        at.ack(await at.take(5))
        async with transaction(kafka, name) as producer:
            for _ in range(3):
                await producer.send_and_wait(name, b"aborted", partition=0)
            await kafka.produce(name, [b"behind"] * 10, partition=0)
            before = (await at.intake.backlog())[source]
            between = (await at.intake.backlog())[source]
            (end,) = (await at.beside(made.end_offsets(list(made.assignment())))).values()
            if tells_nothing:  # it asks for the end of the log whatever the isolation level is
                assert (end, before.messages, before.readable, between.blocked_for) == (18, 13, None, 0.0)
            else:
                assert (end, before.messages, before.readable) == (5, 13, 0)
                assert between.blocked_for > 0
        at.ack((await at.take(15))[5:])
        await at.until(lambda: made._subscription.subscription.assignment.state_value(next(iter(made.assignment()))).position == 19)
        after = (await at.intake.backlog())[source]
        assert (after.messages, after.readable, after.blocked_for) == (0, None if tells_nothing else 0, 0.0)


async def test_a_held_partition_is_asked_for_anew(kafka: KafkaAddress, topic, consumer, driven) -> None:
    """A paused consumer's `highwater` stands still; for a consumer that reads everything there is one figure."""
    name = await topic()
    source = Partition(name, 0)
    async with driven(KafkaIntake(consumer(), topics=[name]), held=[source]) as at:
        await at.until(lambda: len(at.owned) == 1)
        await at.for_seconds(0.5)
        await kafka.produce(name, [b"x"] * 7, partition=0)
        assert (await at.intake.backlog())[source] == Backlog(7)


async def test_the_group_is_named(consumer) -> None:
    """It is a label of the metrics."""
    made = consumer()
    assert KafkaIntake(made, topics=[NAME]).group == made._group_id
