"""The topic of a fleet's log: made once, compared afterwards, and refused where no fleet could use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from holdgate.brokers.kafka import KafkaFleetLog
from holdgate.brokers.kafka.fleet_topic import NEEDED, TopicFound, compare
from holdgate.errors import FleetLogError

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


def found(partitions: int = 1, copies: int = 3, **others: str) -> TopicFound:
    """A topic as it must be, but for some settings, whose dots are underscores here."""
    return TopicFound(partitions, copies, {**NEEDED, **{name.replace("_", "."): value for name, value in others.items()}})


def test_a_topic_as_it_must_be_has_no_notes() -> None:
    """Nothing is said of a topic that is as a new one would be, on one broker and on many."""
    assert compare("agree", found(), 3) == ()
    assert compare("agree", found(), 20) == ()
    assert compare("agree", found(copies=1), 1) == ()


def test_what_differs_is_noted_with_both_values() -> None:
    """A setting that does no harm, and too few copies, are notes."""
    assert compare("agree", found(retention_ms="604800000", copies=1), 2) == (
        "retention.ms is 604800000, and 600000 would do",
        "it has 1 copies on 2 brokers: with fewer than 2 it goes with its broker",
    )


def test_settings_that_are_not_shown_are_said_to_be_unknown() -> None:
    """Without the permission to see them nothing is compared, and that is said."""
    (note,) = compare("agree", TopicFound(1, 3, {}), 3)
    assert "DescribeConfigs" in note


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        (found(partitions=3), "it has 3 partitions, and must have 1"),
        (found(cleanup_policy="compact,delete"), "its cleanup.policy is compact,delete, and must be delete"),
        (found(max_message_bytes="1000"), "its max.message.bytes is 1000, and must be at least 66000"),
        (found(retention_ms="1000"), "its retention.ms is 1000, and must be at least 60000"),
    ],
)
def test_what_no_fleet_could_use_is_refused(topic: TopicFound, text: str) -> None:
    """The error names the topic, what it has and what it must have."""
    with pytest.raises(FleetLogError, match=rf"topic 'agree' exists and cannot be the log of a fleet: {text}"):
        compare("agree", topic, 3)


def test_a_topic_without_limits_of_time_is_used() -> None:
    """Kafka writes -1 for a retention without a limit; no newcomer misses anything then."""
    assert compare("agree", found(retention_ms="-1"), 3) == ("retention.ms is -1, and 600000 would do",)


async def test_it_is_made_once_as_it_must_be(kafka: KafkaAddress, topic) -> None:
    """Two who make it in the same moment make one topic, which has every setting, and a third one finds it as it must be."""
    name = f"{await topic()}-made"
    logs = [KafkaFleetLog(bootstrap_servers=kafka.bootstrap, topic=name) for _ in range(3)]
    try:
        made = await asyncio.gather(logs[0].create(), logs[1].create())
        assert sorted(each.is_new for each in made) == [False, True]
        assert [each.notes for each in made] == [(), ()]
        third = await logs[2].create()
        assert (third.is_new, third.notes) == (False, ())
        async with kafka.admin() as admin:
            answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            (described,) = await admin.describe_topics([name])
        settings = {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4]}
        assert {key: settings[key] for key in NEEDED} == dict(NEEDED)
        assert len(described["partitions"]) == 1
    finally:
        await kafka.delete_topic(name)


async def test_an_existing_topic_is_compared_and_not_changed(kafka: KafkaAddress, topic) -> None:
    """The notes name each setting that differs; a second look finds the same ones."""
    log = KafkaFleetLog(bootstrap_servers=kafka.bootstrap, topic=await topic(config={"retention.ms": "3600000"}))
    for _ in range(2):
        made = await log.create()
        assert not made.is_new
        assert "retention.ms is 3600000, and 600000 would do" in made.notes
        assert "message.timestamp.type is CreateTime, and LogAppendTime would do" in made.notes


async def test_a_topic_of_several_partitions_is_refused(kafka: KafkaAddress, topic) -> None:
    """Both numbers are named."""
    log = KafkaFleetLog(bootstrap_servers=kafka.bootstrap, topic=await topic(partitions=2))
    with pytest.raises(FleetLogError, match="it has 2 partitions, and must have 1"):
        await log.create()


async def test_a_bad_name_is_refused_in_the_brokers_words(kafka: KafkaAddress) -> None:
    """What the broker says against it is in the error."""
    with pytest.raises(FleetLogError, match=r"the broker refuses to make it: InvalidTopicError .*ASCII alphanumerics"):
        await KafkaFleetLog(bootstrap_servers=kafka.bootstrap, topic="a b").create()


async def test_nobody_answers() -> None:
    """Without a broker the error names the place and what to check."""
    with pytest.raises(FleetLogError, match=r"topic 'agree' at 127.0.0.1:1 cannot be made: no Kafka broker answers"):
        await KafkaFleetLog(bootstrap_servers="127.0.0.1:1", topic="agree").create()
