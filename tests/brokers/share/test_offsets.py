"""The lag of a share group, asked through aiokafka: settings in its words, and what a real broker answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("aiokafka.protocol.api", reason="aiokafka 0.14 or newer describes its requests so")

from aiokafka.errors import KafkaConnectionError

from holdgate.brokers.share.offsets import GroupOffsets, client_options

if TYPE_CHECKING:
    from tests.brokers.share.groups import ShareGroups
    from tests.servers.kafka_address import KafkaAddress

WITHIN = 30.0


def test_settings_are_said_in_the_words_of_aiokafka() -> None:
    """Address, user, and how the connection is made."""
    options = client_options(
        {
            "bootstrap.servers": "a:9092,b:9092",
            "group.id": "queue",
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "worker",
            "sasl.password": "secret",
            "fetch.max.bytes": 1000,
        }
    )
    assert options["bootstrap_servers"] == ["a:9092", "b:9092"]
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-256")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("worker", "secret")
    assert options["ssl_context"] is None


def test_a_certificate_makes_an_ssl_context() -> None:
    """Of the system's authorities, where no file is named."""
    assert client_options({"bootstrap.servers": "a:9092", "security.protocol": "SSL"})["ssl_context"] is not None


class Slow:
    """A client that connects at a word, and answers nobody once it is closed."""

    def __init__(self, **_: Any) -> None:
        self.begun, self.may_connect = asyncio.Event(), asyncio.Event()

    async def bootstrap(self) -> None:
        self.begun.set()
        await self.may_connect.wait()

    async def coordinator_lookup(self, *_: Any) -> int:
        raise KafkaConnectionError

    async def close(self) -> None:
        self.may_connect.set()


async def test_a_question_that_is_under_way_at_the_close_ends_by_the_clients_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is the question's own until it ends, whoever closes meanwhile."""
    made = Slow()
    monkeypatch.setattr("holdgate.brokers.share.offsets.AIOKafkaClient", lambda **_: made)
    offsets = GroupOffsets({"bootstrap.servers": "a:9092"}, "queue")
    asking = asyncio.ensure_future(offsets.lags(["orders"]))
    await made.begun.wait()
    await offsets.close()
    with pytest.raises(KafkaConnectionError):
        await asking


@pytest.mark.versions
async def test_a_broker_says_how_much_waits(share_kafka: KafkaAddress, groups: ShareGroups, share_topic) -> None:
    """From the first accept on; what is accepted does not count. Of a topic that nobody has read nothing is known."""
    topic, other, group = await share_topic(), await share_topic(), await groups.create()
    consumer = groups.consumer(group, topic)
    offsets = GroupOffsets(groups.settings(group), group)
    try:
        await share_kafka.produce(topic, [b"first"])
        assert await offsets.lags([topic, other]) == {}
        await accept_one_poll(consumer)
        await becomes(offsets, topic, 0)
        await share_kafka.produce(topic, [b"%d" % number for number in range(10)])
        await becomes(offsets, topic, 10)
        await becomes(offsets, topic, 10 - await accept_one_poll(consumer))
        assert list(await offsets.lags([topic, other])) == [topic]
    finally:
        await offsets.close()


async def accept_one_poll(consumer: Any) -> int:
    """Accept what one poll gives. Returns how much it was."""
    async with asyncio.timeout(WITHIN):
        while not (messages := await asyncio.to_thread(lambda: list(consumer.poll(0.1)))):
            pass
    for message in messages:
        consumer.acknowledge(message)
    await asyncio.to_thread(consumer.commit_sync, 10)
    return len(messages)


async def becomes(offsets: GroupOffsets, topic: str, lag: int) -> None:
    """Ask until the broker says so: it stores what was accepted a moment later."""
    async with asyncio.timeout(WITHIN):
        while (await offsets.lags([topic])).get(topic) != lag:
            await asyncio.sleep(0.1)
