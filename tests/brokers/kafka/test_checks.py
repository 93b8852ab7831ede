"""What is refused before anything is consumed, and which errors end an intake."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    AuthenticationFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
)
from tests.brokers.kafka.fakes import FakeClient

from holdgate import Guard
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaIntake
from holdgate.brokers.kafka.checks import DuplicateInstanceId, end_of_intake
from holdgate.brokers.topics import ErrorStreak
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


GOOD: dict[str, Any] = {"group_id": "group", "enable_auto_commit": False, "auto_offset_reset": "earliest"}


@pytest.fixture
def refused() -> Callable[..., Awaitable[str]]:
    """Make a consumer with these settings, see the intake refused, and return the text."""

    async def refuse(
        *topics: str, intake: dict[str, Any] | None = None, assign: Any = None, pattern: str | None = None, **settings: Any
    ) -> str:
        consumer = AIOKafkaConsumer(*topics, **{**GOOD, **settings})
        if assign is not None:
            consumer.assign(assign)
        if pattern is not None:
            consumer.subscribe(pattern=pattern)
        try:
            with pytest.raises(SettingsError) as caught:
                KafkaIntake(consumer, **({"topics": ["orders"]} if intake is None else intake))
            return str(caught.value)
        finally:
            await consumer.stop()

    return refuse


HEARTBEAT = KafkaError(f"Unexpected exception in heartbeat task: {UnknownError()!r}")


async def test_good_settings_are_taken() -> None:
    """The settings that the others spoil are fine, and names, inbox, order and the rebalance timeout are known before it opens."""
    consumer = AIOKafkaConsumer(**GOOD, session_timeout_ms=7000)
    intake = KafkaIntake(consumer, topics=["orders", "mails"], inbox=7)
    assert intake.names == ("mails", "orders")
    assert (intake.inbox, intake.order, intake.rebalance_timeout) == (7, "source", 7.0)
    await intake.close()


async def test_what_is_no_consumer() -> None:
    """An address, for one: named, with what to write."""
    with pytest.raises(SettingsError, match=r"consumer must be an AIOKafkaConsumer, got 'localhost:9092': write KafkaIntake\(AIO"):
        KafkaIntake("localhost:9092", topics=["orders"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"listener": 3}, "listener must be a ConsumerRebalanceListener, got 3"),
        ({"on_records_lost": "log"}, "on_records_lost must be callable, got 'log'"),
    ],
)
async def test_what_cannot_be_told_anything(settings: dict[str, Any], told: str, refused) -> None:
    """It is refused where it is given, and not at the first rebalance or loss."""
    assert told in await refused(intake={"topics": ["orders"], **settings})


async def test_an_intake_that_never_ran_leaves_no_word_of_an_unclosed_consumer(caplog: pytest.LogCaptureFixture) -> None:
    """The run was refused for something else, and that error alone is what there is to read."""

    async def run() -> None:
        async with Guard(signals=False) as guard:
            letters = KafkaDeadLetters(AIOKafkaProducer(acks="all"))
            await guard.run(KafkaIntake(AIOKafkaConsumer(**GOOD), topics=["orders"]), print, dead_letters=letters, timeout=-1)

    with pytest.raises(SettingsError, match="timeout"):
        await run()
    gc.collect()
    assert "Unclosed" not in caplog.text


@pytest.mark.parametrize("settings", [{"enable_auto_commit": True}, {"group_id": None}])
async def test_a_refused_consumer_leaves_no_word_of_an_unclosed_one(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it was open, and the error alone is what there is to read: filterwarnings=error would turn another into a failure."""
    with pytest.raises(SettingsError):
        KafkaIntake(AIOKafkaConsumer(**{**GOOD, **settings}), topics=["orders"])
    gc.collect()
    assert "Unclosed" not in caplog.text


async def test_auto_commit(refused) -> None:
    """Auto-commit commits what was handed out, not what was processed."""
    text = await refused(enable_auto_commit=True)
    assert "enable_auto_commit=True" in text
    assert "set enable_auto_commit=False" in text


async def test_no_group(refused) -> None:
    """Without a group nothing can be committed."""
    assert "group_id=None" in await refused(group_id=None)


async def test_no_group_by_hand(refused) -> None:
    """assign() needs a group as well."""
    assert "group_id=None" in await refused(group_id=None, assign=[TopicPartition("orders", 0)], intake={})


async def test_latest(refused) -> None:
    """'latest' skips silently, so it must be said."""
    assert "allow_latest=True" in await refused(auto_offset_reset="latest")


async def test_latest_allowed() -> None:
    """Said, it is taken."""
    consumer = AIOKafkaConsumer(**{**GOOD, "auto_offset_reset": "latest"})
    await KafkaIntake(consumer, topics=["orders"], allow_latest=True).close()


@pytest.mark.parametrize("argument", ["key_deserializer", "value_deserializer"])
async def test_a_deserializer(refused, argument: str) -> None:
    """A deserializer that raises would stop the partition for ever; the text names the argument."""
    text = await refused(**{argument: bytes.decode})
    assert argument in text
    assert "in the handler" in text


async def test_topics_and_pattern(refused) -> None:
    """One of the two, and the text names both."""
    text = await refused(intake={"topics": ["orders"], "pattern": "ord.*"})
    assert "'orders'" in text
    assert "'ord.*'" in text


async def test_neither_topics_nor_pattern(refused) -> None:
    """A consumer without a subscription needs one."""
    assert "topics=[...]" in await refused(intake={})


async def test_topics_for_a_consumer_that_is_subscribed(refused) -> None:
    """Two subscriptions clash, and the text names both."""
    text = await refused("mails")
    assert "'orders'" in text
    assert "'mails'" in text


async def test_topics_for_a_consumer_that_is_subscribed_by_pattern(refused) -> None:
    """A pattern is a subscription too."""
    assert "'mai.*'" in await refused(pattern="mai.*")


async def test_a_pattern_for_a_consumer_that_is_assigned_by_hand(refused) -> None:
    """So is assign()."""
    text = await refused(assign=[TopicPartition("mails", 3)], intake={"pattern": "ord.*"})
    assert "('mails', 3)" in text
    assert "'ord.*'" in text


async def test_one_topic_as_a_string(refused) -> None:
    """topics="orders" would be six topics of one letter."""
    assert "['orders']" in await refused(intake={"topics": "orders"})


async def test_no_topics(refused) -> None:
    """An empty list subscribes to nothing."""
    assert "topics must name at least one topic, got none" in await refused(intake={"topics": []})


async def test_a_pattern_that_is_none(refused) -> None:
    """The pattern is a regular expression."""
    assert "'ord('" in await refused(intake={"pattern": "ord("})


@pytest.mark.parametrize(("setting", "value"), [("inbox", 0), ("commit_every", 0), ("commit_every", -1.0), ("poll_timeout", 0)])
async def test_a_number_without_sense(refused, setting: str, value: float) -> None:
    """Sizes and times are above zero; the text names the setting and the value."""
    told = await refused(intake={"topics": ["orders"], setting: value})
    assert told.startswith(f"{setting} must be")
    assert told.endswith(f"got {value!r}")


async def test_a_poll_longer_than_the_group_allows(refused) -> None:
    """A poll longer than half of max_poll_interval_ms risks the membership; the text names both."""
    text = await refused(intake={"topics": ["orders"], "poll_timeout": 6}, max_poll_interval_ms=10_000)
    assert "got 6 s" in text
    assert "10 s" in text


async def test_a_stopped_consumer() -> None:
    """A consumer cannot be started again."""
    consumer = AIOKafkaConsumer(**GOOD)
    await consumer.stop()
    with pytest.raises(SettingsError, match="was stopped"):
        KafkaIntake(consumer, topics=["orders"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TopicAuthorizationFailedError("orders"), "Read and Describe"),
        (GroupAuthorizationFailedError("workers"), "'workers'"),
        (AuthenticationFailedError("no"), "SASL"),
        (ConsumerStoppedError(), "guard.stop() first"),
        (NoOffsetForPartitionError(TopicPartition("orders", 0)), "auto_offset_reset"),
        (RecordTooLargeError("x"), "max_partition_fetch_bytes"),
        (KafkaError("Unexpected error during coordination ValueError()"), "has died"),
        (KafkaError("Unexpected error during data retrieval"), "has died"),
    ],
)
async def test_what_ends_an_intake_names_the_remedy(error: Exception, words: str) -> None:
    """These do not go away by themselves."""
    assert words in str(end_of_intake(error, FakeClient()))


@pytest.mark.parametrize("error", [KafkaConnectionError("reset"), OffsetOutOfRangeError({}), HEARTBEAT])
async def test_what_may_pass_ends_nothing(error: Exception) -> None:
    """A broker that restarts, and what the intake mends itself."""
    assert end_of_intake(error, FakeClient()) is None


async def test_an_unknown_error_of_a_static_member_is_a_duplicate() -> None:
    """Aiokafka does not know the error for a fenced instance id; its own name is the hint."""
    client = FakeClient()
    client.instance_id = "worker-1"
    assert "group_instance_id='worker-1'" in str(end_of_intake(HEARTBEAT, client))


@pytest.mark.parametrize(
    ("instance", "times", "told"), [("w", (0, 1, 2), 1), ("w", (0, 1), 0), ("w", (0, 50, 61), 0), (None, (0, 1, 2), 0)]
)
async def test_evictions_in_a_row(instance: str | None, times: tuple[float, ...], told: int) -> None:
    """Three within a minute, of a member with an instance id, are a quarrel over it."""
    client, failures = FakeClient(), []
    client.instance_id = instance
    duplicates = DuplicateInstanceId(client, failures.append)
    for now in times:
        duplicates.note_eviction(now)
    assert len(failures) == told


@pytest.mark.parametrize(
    ("times", "lasts"),
    [
        ((0.0,), False),
        (tuple(range(60)), False),
        (tuple(range(61)), True),
        ((0.0, 20.0, 40.0, 60.0, 80.0), False),  # each on its own
    ],
)
def test_errors_that_last(times: tuple[float, ...], lasts: bool) -> None:
    """One error after the other for a minute does not go away; errors far apart are separate ones."""
    streak = ErrorStreak()
    assert [streak.record(now) for now in times][-1] is lasts
