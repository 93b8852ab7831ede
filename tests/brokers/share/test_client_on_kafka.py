"""What a real share consumer does, as client.py says it: everything that supervisor.py is built on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from holdgate.brokers.share.client import Admin, ShareClient
from holdgate.errors import IntakeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.brokers.share.groups import ShareGroups
    from tests.servers.kafka_address import KafkaAddress

pytestmark = pytest.mark.versions

LOCK = 5.0  # more than a busy machine needs between two calls; two tests wait for it
WITHIN = 30.0

Make = "Callable[..., Awaitable[ShareClient]]"


@pytest.fixture
async def client(groups: ShareGroups) -> AsyncIterator[Make]:
    """Make subscribed clients, closed at the end."""
    made: list[ShareClient] = []

    async def make(group: str, topic: str, **settings: Any) -> ShareClient:
        more = {name.replace("_", "."): value for name, value in settings.items()}
        one = ShareClient(topic, {**groups.settings(group), "share.acknowledgement.mode": "explicit", **more})
        made.append(one)
        await one.open()
        await one.subscribe()
        return one

    yield make
    for each in made:
        await each.close(10)


async def take(client: ShareClient) -> Any:
    """Poll until something comes."""
    async with asyncio.timeout(WITHIN):
        while not (messages := await client.poll(0.1)):
            pass
    return messages


async def test_a_poll_gives_whole_batches_of_the_producer(share_kafka: KafkaAddress, groups: ShareGroups, share_topic, client) -> None:
    """Asked for one record, the broker gives all that were produced together."""
    topic = await share_topic()
    await share_kafka.produce(topic, [b"%d" % number for number in range(20)])

    messages = await take(await client(await groups.create(), topic, max_poll_records=1))

    assert len(messages) > 1


async def test_a_late_accept_is_an_error_among_the_answers(share_kafka: KafkaAddress, groups: ShareGroups, share_topic, client) -> None:
    """Nothing is raised; the record comes again, and is counted."""
    topic = await share_topic()
    await share_kafka.produce(topic, [b"0"])
    one = await client(await groups.create(lock=LOCK), topic)
    messages = await take(one)
    assert await one.commit([], messages, 10) == {}
    messages = await take(one)
    assert messages[0].delivery_count() == 2

    await asyncio.sleep(LOCK + 0.5)

    errors = await one.commit(messages, [], 10)
    assert "INVALID_RECORD_STATE" in str(errors[0])
    assert (await take(one))[0].delivery_count() == 3


async def test_an_empty_poll_leaves_a_fetch_that_acquires(share_kafka: KafkaAddress, groups: ShareGroups, share_topic, client) -> None:
    """Its record is handed out by the next poll, however late; meanwhile another member has handled it, and the accept succeeds."""
    topic, group = await share_topic(), await groups.create(lock=LOCK)
    await share_kafka.produce(topic, [b"0"])
    one = await client(group, topic)
    await one.commit(await take(one), [], 10)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        assert not await one.poll(0.1)

    await share_kafka.produce(topic, [b"1"])
    other = await client(group, topic)
    (theirs,) = await take(other)
    assert await other.commit([theirs], [], 10) == {}

    assert theirs.delivery_count() == 2
    (stale,) = await one.poll(0)
    assert (stale.value(), stale.delivery_count()) == (b"1", 1)
    assert await one.commit([stale], [], 10) == {}


async def test_calls_run_one_after_the_other(groups: ShareGroups, share_topic, client) -> None:
    """And a caller that is cancelled leaves its call alone: the next one waits for it."""
    one = await client(await groups.create(), await share_topic())
    poll = asyncio.ensure_future(one.poll(1.0))
    await asyncio.sleep(0)
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll

    assert await one.poll(0) == []


async def test_settings_that_librdkafka_refuses_are_an_intake_error(groups: ShareGroups) -> None:
    """Which names the topic, and quotes no setting."""
    one = ShareClient("orders", {**groups.settings("queue"), "no.such.setting": "secret"})

    with pytest.raises(IntakeError, match="orders: librdkafka refuses the settings") as raised:
        await one.open()

    await one.close(10)
    assert "secret" not in str(raised.value)


async def test_the_broker_is_asked_for_topics_and_the_groups_settings(groups: ShareGroups, share_topic) -> None:
    """Those of the group win over the broker's own."""
    topic, group = await share_topic(), await groups.create(lock=20, limit=3)
    admin = Admin(groups.settings(group))

    assert topic in await admin.topics()
    found = await admin.group_settings(group)
    assert (found["share.record.lock.duration.ms"], found["share.delivery.count.limit"]) == ("20000", "3")
