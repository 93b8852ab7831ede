"""The intake on a real broker: what librdkafka does in its own way, and what an operator is told."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError
from tests.brokers.confluent.fakes import SETTINGS
from tests.brokers.kafka.drive import drive

from holdgate.brokers.confluent import ConfluentIntake, RecordsLost
from holdgate.brokers.confluent import fetching as polls
from holdgate.brokers.confluent.checks import end_of_intake, tell
from holdgate.brokers.confluent.settings import ConsumerSettings
from holdgate.errors import IntakeError
from holdgate.flow.message import Partition, Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.kafka_address import KafkaAddress

QUICK: dict[str, Any] = {"auto.offset.reset": "earliest", "heartbeat.interval.ms": 300, "session.timeout.ms": 30_000}


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


@pytest.fixture
def intake(kafka: KafkaAddress) -> Callable[..., ConfluentIntake]:
    """Make an intake of a group of its own, with these settings beside the quick ones."""
    group = f"group-{uuid.uuid4().hex[:8]}"

    def make(topic: str, settings: dict[str, Any] | None = None, **more: Any) -> ConfluentIntake:
        usual = {"bootstrap.servers": kafka.bootstrap, "group.id": group, **QUICK, **(settings or {})}
        return ConfluentIntake({name: value for name, value in usual.items() if value is not None}, topics=[topic], **more)

    return make


async def test_an_offset_that_the_log_does_not_have_any_more_is_announced(kafka: KafkaAddress, topic, intake) -> None:
    """Even with a reset policy that would jump to the end: reading goes on at what still exists."""
    name, losses = await topic(), []
    made = intake(name, {"auto.offset.reset": "latest"}, allow_latest=True, on_records_lost=losses.append)
    await kafka.produce(name, numbered(5), partition=0)
    await kafka.commit(made.group, name, {0: 1})
    await kafka.delete_records(name, {0: 3})
    async with drive(made) as at:
        await at.take(2)
        await at.until(lambda: bool(losses))
        assert at.bodies() == numbered(2, first=3)
    assert losses == [RecordsLost(Partition(name, 0), 1, 2)]


async def test_what_was_fetched_before_it_was_deleted_is_not_lost(kafka: KafkaAddress, topic, intake) -> None:
    """A hold keeps it in this process."""
    name, losses = await topic(), []
    await kafka.produce(name, numbered(10), partition=0)
    made = intake(name, on_records_lost=losses.append)
    async with drive(made, held=[Partition(name, 0)]) as at:
        await at.until(lambda: made.read_ahead > 0)
        await kafka.delete_records(name, {0: 6})
        at.admit()
        await at.take(10)
        assert at.bodies() == numbered(10)
    assert losses == []


async def test_deleted_while_it_is_paused(kafka: KafkaAddress, topic, intake, monkeypatch) -> None:
    """The loss is announced with its range while the hold lasts, and everything that still exists is delivered."""
    monkeypatch.setattr("holdgate.brokers.retention._EVERY", 0.1)
    monkeypatch.setattr(polls, "_IDLE_EVERY", 0.01)
    name, losses = await topic(), []
    await kafka.produce(name, numbered(10), partition=0)
    made = intake(name, on_records_lost=losses.append)
    made._taps._enough = 1  # one message is as much as a fetch has
    async with drive(made, held=[Partition(name, 0)]) as at:
        await at.until(lambda: bool(made._taps.unchecked))
        await kafka.delete_records(name, {0: 6})
        await at.until(lambda: bool(losses))
        kept = losses[0].first
        assert losses == [RecordsLost(Partition(name, 0), kept, 5)]
        at.admit()
        await at.take(kept + 4)
        assert at.bodies() == numbered(kept) + numbered(4, first=6)


async def test_the_marker_of_a_transaction_is_passed(kafka: KafkaAddress, topic, intake) -> None:
    """With everything processed no lag is left, although no poll gives the marker."""
    name = await topic()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"of-{name}")
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(name, b"0", partition=0)
    await producer.stop()
    made = intake(name)
    async with drive(made) as at:
        at.ack(await at.take(1))
        await at.until(lambda: made._client.position(_only(made)) == 2)
        backlog = (await made.backlog())[Partition(name, 0)]
        assert (backlog.messages, backlog.readable) == (0, 0)
    assert await kafka.committed(made.group, name) == {0: 2}


def _only(intake: ConfluentIntake) -> Any:
    (tp,) = intake._partitions.tps()
    return tp


async def test_a_topic_that_is_deleted_ends_the_intake(kafka: KafkaAddress, intake) -> None:
    """With the remedy, as at the start."""
    name = await kafka.create_topic(f"deleted-{uuid.uuid4().hex[:8]}")
    async with drive(intake(name, {"topic.metadata.refresh.interval.ms": 500})) as at:
        await at.until(lambda: len(at.owned) == 1)
        await kafka.delete_topic(name)
        with pytest.raises(IntakeError, match=f"no topic '{name}'"):
            await at.until(lambda: False)


async def test_a_deleted_topic_is_asked_for_beside_the_work(kafka: KafkaAddress, intake, monkeypatch) -> None:
    """By itself librdkafka asks for it every five minutes."""
    monkeypatch.setattr("holdgate.brokers.topic_watch._EVERY", 0.5)
    name = await kafka.create_topic(f"deleted-{uuid.uuid4().hex[:8]}")
    async with drive(intake(name)) as at:
        await at.until(lambda: len(at.owned) == 1)
        await kafka.delete_topic(name)
        with pytest.raises(IntakeError, match=f"no topic '{name}'"):
            await at.until(lambda: False)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("grown", [5, 25], ids=["shorter than before", "longer than before"])
async def test_made_anew_while_it_is_paused(kafka: KafkaAddress, intake, monkeypatch, grown: int, protocol: str) -> None:
    """All of the new topic is delivered when the hold is over, and nothing of the old one."""
    monkeypatch.setattr("holdgate.brokers.retention._EVERY", 0.1)
    monkeypatch.setattr(polls, "_IDLE_EVERY", 0.01)
    name = await kafka.create_topic(f"anew-{uuid.uuid4().hex[:8]}")
    settings = {} if protocol == "classic" else {"group.protocol": "consumer", "session.timeout.ms": None, "heartbeat.interval.ms": None}
    try:
        await kafka.produce(name, numbered(10), partition=0)
        made = intake(name, settings)
        made._taps._enough = 1
        async with drive(made) as at:
            await at.take(10)
            at.hold()
            await kafka.produce(name, numbered(1, first=10), partition=0)
            await at.until(lambda: bool(made._taps.unchecked))
            await kafka.delete_topic(name)
            await kafka.create_topic(name)
            await at.until(lambda: at.count("lost") == 1)
            await kafka.produce(name, numbered(grown, first=100), partition=0)
            at.admit()
            await at.take(10 + grown)
            assert at.bodies()[10:] == numbered(grown, first=100)
    finally:
        await kafka.delete_topic(name)


async def test_made_anew_while_it_is_read(kafka: KafkaAddress, intake) -> None:
    """The client goes on in it by itself."""
    name = await kafka.create_topic(f"anew-{uuid.uuid4().hex[:8]}")
    try:
        await kafka.produce(name, numbered(10), partition=0)
        async with drive(intake(name)) as at:
            await at.take(10)
            await kafka.delete_topic(name)
            await kafka.create_topic(name)
            await kafka.produce(name, numbered(5, first=100), partition=0)
            await at.take(15)
            assert at.bodies()[10:] == numbered(5, first=100)
    finally:
        await kafka.delete_topic(name)


async def test_two_members_with_one_instance_id_are_told_apart(kafka: KafkaAddress, topic, intake) -> None:
    """The first one ends, with the remedy: the second has taken its place."""
    name = await topic()
    settings = {"group.instance.id": "one"}
    async with drive(intake(name, settings)) as first:
        await first.until(lambda: len(first.owned) == 1)
        async with drive(intake(name, settings)) as second:
            both = asyncio.create_task(second.until(lambda: False))
            with pytest.raises(IntakeError, match=r"another member with group\.instance\.id='one' is in group"):
                await first.until(lambda: False)
            both.cancel()
            await asyncio.wait((both,))


async def test_nothing_blocks_the_event_loop(kafka: KafkaAddress, topic, intake) -> None:
    """A handler that waits half a poll gets its turn in it, while a poll waits for messages, and while a commit is under way."""
    name, turns = await topic(), 0
    made = intake(name, poll_timeout=5.0)

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async with drive(made) as at:
        await at.until(lambda: len(at.owned) == 1)
        counting = asyncio.create_task(count())
        await at.poll()
        await made.flush()
        counting.cancel()
    assert turns > 10


async def test_a_broker_that_is_not_there_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time that a person waits, with what to check."""
    monkeypatch.setattr("holdgate.brokers.confluent.intake._CONNECT_WITHIN", 0.3)
    made = ConfluentIntake({**SETTINGS, "bootstrap.servers": "127.0.0.1:1"}, topics=["orders"])
    begun = time.monotonic()
    with pytest.raises(IntakeError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 within 0\.3 s: check bootstrap\.servers"):
        await made.open(Any)  # type: ignore[arg-type]
    assert time.monotonic() - begun < 60
    with pytest.raises(IntakeError, match="was closed"):
        await made.open(Any)  # type: ignore[arg-type]


async def test_a_reject_is_refused() -> None:
    """Kafka has none."""
    made = ConfluentIntake(SETTINGS, topics=["orders"])
    with pytest.raises(IntakeError, match="cannot be rejected: Kafka has no reject"):
        made.settle(_Delivery(), Settlement.REJECT)


class _Delivery:
    source, position = "orders[0]", 7


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "this user is not authorised to read a topic"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "this user is not authorised for group 'workers'"),
        (KafkaError._AUTHENTICATION, "the broker at somewhere:9092 refuses this user"),
        (KafkaError.FENCED_INSTANCE_ID, "another member with group.instance.id="),
        (KafkaError._FATAL, "librdkafka has ended this consumer"),
        (KafkaError.INCONSISTENT_GROUP_PROTOCOL, "group 'workers' has members with another way to share partitions"),
        (KafkaError.UNSUPPORTED_VERSION, "the broker does not know group.protocol='consumer'"),
        (KafkaError._TRANSPORT, None),
    ],
)
def test_an_error_that_does_not_pass_ends_the_intake(code: int, words: str | None) -> None:
    """With the remedy; a broker that is away passes."""
    found = end_of_intake(KafkaError(code), ConsumerSettings({**SETTINGS, "group.protocol": "consumer"}))
    assert (None if found is None else str(found).startswith(words or "?")) == (None if words is None else True)


def test_an_eviction_says_what_the_new_protocol_does(caplog: pytest.LogCaptureFixture) -> None:
    """The member says that it leaves, and stays."""
    error = KafkaError(KafkaError._MAX_POLL_EXCEEDED)
    with caplog.at_level(logging.WARNING):
        tell(error, ConsumerSettings({**SETTINGS, "group.protocol": "consumer"}))
        tell(error, ConsumerSettings(SETTINGS))
    assert ["45 s later" in message for message in caplog.messages] == [True, False]
