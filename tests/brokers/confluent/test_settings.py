"""What is read of a consumer's settings, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.brokers.confluent.fakes import SETTINGS

from holdgate.brokers.confluent import ConfluentIntake
from holdgate.brokers.confluent.settings import ConsumerSettings
from holdgate.errors import SettingsError


def made(**more: Any) -> dict[str, Any]:
    """What a consumer is made of, with these settings beside the usual ones."""
    return ConsumerSettings({**SETTINGS, **more}).for_consumer(None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bootstrap.servers": None}, "the settings have no bootstrap.servers"),
        ({"group.id": None}, "the settings have no group.id, so nothing can be committed"),
        (
            {"enable.auto.commit": True},
            "the settings have enable.auto.commit=True, which commits what was handed out, not what was processed",
        ),
        ({"enable.auto.commit": "true"}, "the settings have enable.auto.commit='true'"),
        ({"enable.auto.offset.store": True}, "the settings have enable.auto.offset.store=True"),
        ({"auto.offset.reset": "latest"}, "the settings have auto.offset.reset='latest': a new group skips the messages that wait"),
        ({"auto.offset.reset": "largest"}, "the settings have auto.offset.reset='largest'"),
        ({"value.deserializer": str}, "the settings have a value.deserializer: a record for which it raises would stop its partition"),
        ({"on_commit": print}, "the settings have on_commit, and the guard owns the commits"),
    ],
)
def test_settings_that_lose_or_repeat_messages_are_refused(changed: dict[str, Any], words: str) -> None:
    """With the words that the intake of aiokafka has, and librdkafka's names."""
    with pytest.raises(SettingsError) as refused:
        ConfluentIntake({**SETTINGS, **changed}, topics=["orders"])
    assert str(refused.value).startswith(words)


def test_without_a_reset_policy_it_is_refused_too() -> None:
    """Librdkafka's own is the latest, which skips what waits."""
    settings = {name: value for name, value in SETTINGS.items() if name != "auto.offset.reset"}
    with pytest.raises(SettingsError, match=r"the settings have no auto\.offset\.reset, and librdkafka's is 'latest'"):
        ConfluentIntake(settings, topics=["orders"])
    assert ConfluentIntake(settings, topics=["orders"], allow_latest=True).names == ("orders",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither topics nor pattern is given"),
        ({"topics": ["a"], "pattern": "b"}, "topics=['a'] and pattern='b' are both given"),
        ({"topics": "orders"}, "topics must be a list of names, got 'orders'"),
        ({"topics": []}, "topics must name at least one topic"),
        ({"pattern": "("}, "pattern must be a regular expression"),
        (
            {"topics": ["a"], "poll_timeout": 151},
            "poll_timeout must be above 0 s and at most half of max.poll.interval.ms (300 s), got 151 s",
        ),
        ({"topics": ["a"], "listener": object()}, "listener must have on_partitions_revoked and on_partitions_assigned"),
        ({"topics": ["a"], "on_records_lost": 1}, "on_records_lost must be callable, got 1"),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(arguments: dict[str, Any], words: str) -> None:
    """Before anything is made."""
    with pytest.raises(SettingsError) as refused:
        ConfluentIntake(SETTINGS, **arguments)
    assert str(refused.value).startswith(words)


def test_a_consumer_is_no_mapping() -> None:
    """Librdkafka's consumer cannot be asked for its settings, so that the error shows what to write."""
    consumer: Any = object()
    with pytest.raises(SettingsError, match=r"got object: write ConfluentIntake\(\{'bootstrap.servers'"):
        ConfluentIntake(consumer, topics=["orders"])


def test_what_is_left_out_is_set_so_that_nothing_is_lost() -> None:
    """Offsets are not stored or committed by librdkafka, and an offset that is gone never jumps to the end."""
    given = made(**{"enable.auto.commit": False})
    assert (given["enable.auto.commit"], given["enable.auto.offset.store"], given["enable.partition.eof"]) == (False, False, True)
    assert given["statistics.interval.ms"] == 0
    assert made(**{"auto.offset.reset": "latest"})["auto.offset.reset"] == "earliest"


def test_what_is_given_stays() -> None:
    """Beside what is fixed, a user's own settings win."""
    assert made(**{"queued.max.messages.kbytes": 64, "fetch.wait.max.ms": 7})["fetch.wait.max.ms"] == 7


def test_a_bound_on_memory_makes_the_queue_small_and_never_larger() -> None:
    """`queued.max.messages.kbytes` is what librdkafka may fetch ahead."""
    assert ConsumerSettings(SETTINGS).for_consumer(1024 * 100)["queued.max.messages.kbytes"] == 100
    assert ConsumerSettings(SETTINGS).for_consumer(1)["queued.max.messages.kbytes"] == 1
    assert ConsumerSettings({**SETTINGS, "queued.max.messages.kbytes": 5}).for_consumer(10**9)["queued.max.messages.kbytes"] == 5


@pytest.mark.parametrize(
    ("given", "policy"),
    [("earliest", "earliest"), ("smallest", "earliest"), ("beginning", "earliest"), ("END", "latest"), ("error", "none")],
)
def test_a_reset_policy_has_several_names(given: str, policy: str) -> None:
    """Those of librdkafka."""
    assert ConsumerSettings({**SETTINGS, "auto.offset.reset": given}).reset_policy == policy


def test_the_new_protocol_has_the_times_of_the_broker() -> None:
    """What is set for the classic one does not count there."""
    classic = ConsumerSettings({**SETTINGS, "session.timeout.ms": 9000, "heartbeat.interval.ms": 2000})
    assert (classic.session_timeout, classic.heartbeat_interval, classic.rebalance_timeout) == (9.0, 2.0, 9.0)
    new = ConsumerSettings({**SETTINGS, "group.protocol": "consumer"})
    assert (new.session_timeout, new.heartbeat_interval, new.rebalance_timeout, new.is_incremental) == (45.0, 5.0, 45.0, True)


@pytest.mark.parametrize(("strategy", "incremental"), [("range,roundrobin", False), ("cooperative-sticky", True)])
def test_the_assignor_says_how_partitions_come(strategy: str, incremental: bool) -> None:
    """All anew, or what changes alone."""
    assert ConsumerSettings({**SETTINGS, "partition.assignment.strategy": strategy}).is_incremental is incremental


def test_the_second_client_gets_what_a_connection_needs() -> None:
    """And nothing that only a consumer has, of which librdkafka would warn."""
    given = ConsumerSettings({**SETTINGS, "security.protocol": "SSL", "max.poll.interval.ms": 6000, "client.id": "charger"}).for_admin()
    assert given == {"bootstrap.servers": "somewhere:9092", "security.protocol": "SSL", "client.id": "charger-holdgate"}
