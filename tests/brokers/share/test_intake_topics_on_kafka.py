"""What a real broker and its share consumer say of a topic that is deleted, and what brokers/topic_watch.py makes of it."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from holdgate.brokers import topic_watch
from holdgate.brokers.share import ShareIntake
from holdgate.brokers.share.client import Admin, ShareClient, is_gone
from holdgate.errors import IntakeError
from holdgate.testing.conformance import RecordingListener

if TYPE_CHECKING:
    from tests.brokers.share.groups import ShareGroups
    from tests.servers.kafka_address import KafkaAddress

pytestmark = pytest.mark.versions

WITHIN = 30.0


async def test_a_share_consumer_says_nothing_of_a_deleted_topic(share_kafka: KafkaAddress, groups: ShareGroups) -> None:
    """The accept of what was in hand is refused, with a name; polls are empty, and raise nothing."""
    topic = await share_kafka.create_topic(f"share-gone-{uuid.uuid4().hex[:6]}")
    await share_kafka.produce(topic, [b"0"])
    client = ShareClient(topic, {**groups.settings(await groups.create()), "share.acknowledgement.mode": "explicit"})
    await client.open()
    try:
        await client.subscribe()
        async with asyncio.timeout(WITHIN):
            while not (records := await client.poll(0.1)):
                pass
        await share_kafka.delete_topic(topic)
        async with asyncio.timeout(WITHIN):
            while not (errors := await client.commit(records, [], 10)):  # the broker may not have deleted it yet
                await asyncio.sleep(0.1)
        assert is_gone(errors[0])
        for _ in range(20):
            assert await client.poll(0.1) == []
    finally:
        await client.close(10)


async def test_a_topic_that_is_made_anew_has_another_id(share_kafka: KafkaAddress, groups: ShareGroups) -> None:
    """And none while it does not exist; asking makes none, whatever auto.create.topics.enable says."""
    topic = f"share-anew-{uuid.uuid4().hex[:6]}"
    admin = Admin(groups.settings("queue"))
    assert await admin.topic_ids([topic]) == {topic: None}
    assert topic not in await admin.topics()
    ids = []
    for _ in range(2):
        await share_kafka.create_topic(topic)
        ids.append((await admin.topic_ids([topic]))[topic])
        await share_kafka.delete_topic(topic)
    assert None not in ids
    assert len(set(ids)) == 2


async def test_a_run_whose_topic_is_deleted_ends(share_kafka: KafkaAddress, groups: ShareGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that names the topic."""
    monkeypatch.setattr(topic_watch, "_EVERY", 0.5)
    topic = await share_kafka.create_topic(f"share-gone-{uuid.uuid4().hex[:6]}")
    intake = ShareIntake(groups.settings(await groups.create()), topic)
    await intake.open(RecordingListener())
    try:
        await share_kafka.delete_topic(topic)
        with pytest.raises(IntakeError, match=topic):
            await receive_until_it_ends(intake)
    finally:
        await intake.close()


async def receive_until_it_ends(intake: ShareIntake) -> None:
    """Receive for ever, or for as long as a test may take."""
    async with asyncio.timeout(WITHIN):
        while True:
            await intake.receive()
