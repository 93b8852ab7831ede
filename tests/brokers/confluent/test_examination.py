"""An examination through librdkafka: of settings, and of real groups of both protocols."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from tests.brokers.confluent.member import Member

from holdgate.brokers.confluent.examination import examine, of_consumer, of_members
from holdgate.brokers.confluent.settings import ConsumerSettings
from holdgate.brokers.group_costs import Membership
from holdgate.errors import SettingsError

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

HOUR = 3600.0
CLASSIC, NEW = ConsumerSettings({"max.poll.interval.ms": 60_000}), ConsumerSettings({"group.protocol": "consumer"})


def settings_of(kafka: KafkaAddress, group: str, **more: Any) -> dict[str, Any]:
    return {"bootstrap.servers": kafka.bootstrap, "group.id": group, **more}


@pytest.fixture
def group() -> str:
    """One that nobody has used before."""
    return f"group-{uuid.uuid4().hex[:8]}"


def test_a_member_of_the_new_protocol_that_stands_still_stays() -> None:
    """For the session of its group, which the broker has; with the classic protocol it leaves."""
    (text,) = of_consumer(NEW, 30.0)
    assert "after max.poll.interval.ms, 5 minutes, that it leaves the group, and stays in it" in text
    assert "for up to 30 s more" in text
    assert of_consumer(CLASSIC, 30.0) == []


def test_an_eviction_is_told_by_a_message_and_a_pause_outlives_a_rebalance() -> None:
    """What librdkafka does otherwise than other clients, with the interval that the settings have."""
    evicted, told, paused, committed = of_members(CLASSIC, 45.0, Membership("Stable", 2), HOUR)
    assert "after max.poll.interval.ms, 1 minute: 3600 s / 60 s = 60 times for each of 2 members" in evicted
    assert "_MAX_POLL_EXCEEDED" in told
    assert told.endswith("what it commits afterwards is refused")
    assert "keeps a partition paused when it is revoked and assigned again" in paused
    assert "enable.auto.commit" in committed
    assert "its commits succeed and nobody else has its partitions" in of_members(NEW, 45.0, Membership("Stable", 2), HOUR)[1]


def test_a_group_without_members_has_nobody_to_evict() -> None:
    """As for every client."""
    (nobody,) = of_members(CLASSIC, 45.0, Membership("Empty", 0), HOUR)
    assert nobody.startswith("it has no member now (state Empty), so nobody reads")


async def test_a_real_group_is_examined_without_joining_it(kafka: KafkaAddress, group: str) -> None:
    """Retention, the age of what waits, and what has no offset, from the broker; the topics are those of the group."""
    topic = await kafka.create_topic(f"examined-{uuid.uuid4().hex[:8]}", 2, config={"retention.ms": "3600000"})
    try:
        await kafka.produce(topic, [b"1", b"2", b"3"], partition=0)
        await kafka.produce(topic, [b"1"], partition=1)
        await kafka.commit(group, topic, {0: 1})
        first_waiting = (await kafka.read(topic))[1]
        found = await examine(settings_of(kafka, group), [], first_waiting.timestamp / 1000 + 3000)
        assert {each.about for each in found} == {topic}
        assert not any(each.refused for each in found)
        told = " ".join(each.text for each in found)
        assert f"the oldest record that group '{group}' has not processed is 0.83" in told
        assert f"group '{group}' has committed nothing in 1 of 2 partitions" in told
        assert "with auto.offset.reset='latest' these would be skipped" in told
        assert await kafka.committed(group, topic) == {0: 1}
    finally:
        await kafka.delete_topic(topic)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_the_members_of_a_real_group_are_seen(kafka: KafkaAddress, group: str, protocol: str) -> None:
    """Of the new protocol, too, which the calls of aiokafka take for dead; then the group is empty, and before it is unknown."""
    topic = await kafka.create_topic(f"examined-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "604800000"})
    settings = settings_of(kafka, group, **{"group.protocol": protocol})

    async def costs() -> list[str]:
        return [each.text for each in await examine(settings, [topic], time.time(), outage=HOUR) if each.about == group and each.cost]

    member = Member({**settings, "auto.offset.reset": "earliest"}, topic)
    try:
        await kafka.produce(topic, [b"1", b"2"], partition=0)
        (unknown,) = await costs()
        assert unknown.startswith("it has no member now")
        await member.start()
        assert "12 times for each of 1 member, 12 rebalances" in (await costs())[0]
        found = await examine(settings, [topic], time.time(), outage=HOUR)
        assert any("2 records came in the last 1 hour" in each.text for each in found)
        risks = [each.text for each in found if each.about == group and not each.cost]
        assert len(risks) == (protocol == "consumer")
    finally:
        await member.stop()
        await kafka.delete_topic(topic)


async def test_with_what_a_run_refuses_the_examination_goes_on(kafka: KafkaAddress, group: str) -> None:
    """It is said first; a new group's beginning is looked at where it is named."""
    topic = await kafka.create_topic(f"examined-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "3600000"})
    try:
        found = await examine(settings_of(kafka, group, **{"auto.offset.reset": "latest"}), [topic], time.time())
        assert [(each.about, each.refused) for each in found] == [(group, True), (topic, False)]
        assert "a new group skips the messages that wait" in found[0].text
        assert not any(each.refused for each in await examine(settings_of(kafka, group), [topic], time.time()))
    finally:
        await kafka.delete_topic(topic)


async def test_what_cannot_be_examined_is_refused(kafka: KafkaAddress, group: str) -> None:
    """A topic that is not there, and a group that has committed nothing."""
    (found,) = await examine(settings_of(kafka, group), ["no-such-topic"], time.time())
    assert (found.about, found.refused) == ("no-such-topic", True)
    (found,) = await examine(settings_of(kafka, group), [], time.time())
    assert (found.refused, "name them with --topic" in found.text) == (True, True)


async def test_a_coordinator_that_reads_its_groups_is_asked_again(kafka: KafkaAddress, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has just started says so, and nothing is wrong with the group."""
    ask, loading = AdminClient.list_consumer_group_offsets, [KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR]

    def at_first_loading(admin: AdminClient, asked: list[Any], **options: Any) -> Any:
        if not loading:
            return ask(admin, asked, **options)
        refused: Future[Any] = Future()
        refused.set_exception(KafkaException(KafkaError(loading.pop())))
        return {group: refused}

    monkeypatch.setattr(AdminClient, "list_consumer_group_offsets", at_first_loading)
    topic = await kafka.create_topic(f"examined-{uuid.uuid4().hex[:8]}", 1)
    try:
        assert not any(each.refused for each in await examine(settings_of(kafka, group), [topic], time.time()))
    finally:
        await kafka.delete_topic(topic)
    assert not loading


async def test_a_broker_that_does_not_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no traceback."""
    monkeypatch.setattr("holdgate.brokers.confluent.examination._REACH_WITHIN", 0.5)
    (found,) = await examine({"bootstrap.servers": "127.0.0.1:1", "group.id": "charger"}, ["orders"], time.time())
    assert (found.about, found.refused) == ("127.0.0.1:1", True)
    assert found.text.startswith("no Kafka broker answers within 0.5 s")


async def test_settings_that_librdkafka_does_not_know_are_an_error() -> None:
    """Of the arguments, before anything is asked; no value is quoted."""
    with pytest.raises(SettingsError, match=r'librdkafka refuses the settings: .*"no\.such\.setting"'):
        await examine({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "no.such.setting": "canary"}, ["orders"], time.time())
