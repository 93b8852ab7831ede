from __future__ import annotations

import asyncio
import json
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from tests.cli.runner import invoke

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress
    from tests.servers.rabbitmq_address import RabbitMQAddress


async def test_a_group_is_examined_on_the_command_line(kafka: KafkaAddress) -> None:
    """Warnings leave the exit code 0; a topic that is not there makes it 1."""
    topic = await kafka.create_topic(f"doctor-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "3600000"})
    try:
        arguments = ("doctor", "kafka", "--bootstrap", kafka.bootstrap, "--group", "charger", "--topic", topic)
        shown = await asyncio.to_thread(invoke, *arguments)
        assert (shown.exit_code, shown.stderr) == (0, ""), shown.stdout
        assert f"{topic}, warning: records are kept for 1 hours" in shown.stdout
        found = json.loads((await asyncio.to_thread(invoke, *arguments, "--json")).stdout)
        assert [each["about"] for each in found] == [topic]
        missing = await asyncio.to_thread(invoke, *arguments, "--topic", "no-such-topic")
        assert (missing.exit_code, "no-such-topic, refused: there is no such topic" in missing.stdout) == (1, True)
    finally:
        await kafka.delete_topic(topic)


@pytest.mark.skipif(find_spec("confluent_kafka.aio") is None, reason="needs a confluent-kafka with an asyncio consumer")
async def test_a_group_of_confluent_kafka_is_examined_on_the_command_line(kafka: KafkaAddress) -> None:
    """With the settings of its consumers: what a run would refuse makes the exit code 1."""
    topic = await kafka.create_topic(f"doctor-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "3600000"})
    try:
        arguments = ("doctor", "confluent", "--bootstrap", kafka.bootstrap, "--group", "charger", "--topic", topic)
        shown = await asyncio.to_thread(invoke, *arguments, "--option", "group.protocol=consumer")
        assert (shown.exit_code, shown.stderr) == (0, ""), shown.stdout
        assert f"{topic}, warning: records are kept for 1 hours" in shown.stdout
        assert "charger, warning: with group.protocol=consumer a worker that stands still" in shown.stdout
        wrong = await asyncio.to_thread(invoke, *arguments, "--option", "enable.auto.commit=true")
        assert (wrong.exit_code, "charger, refused: the settings have enable.auto.commit='true'" in wrong.stdout) == (1, True)
        unknown = await asyncio.to_thread(invoke, *arguments, "--option", "no.such=1")
        assert (unknown.exit_code, "librdkafka refuses the settings" in unknown.stderr) == (2, True)
    finally:
        await kafka.delete_topic(topic)


@pytest.mark.versions
@pytest.mark.skipif(find_spec("confluent_kafka.aio") is None, reason="needs a confluent-kafka with a share consumer")
async def test_a_share_group_is_examined_on_the_command_line(share_kafka: KafkaAddress) -> None:
    """Its lock and its limit are the broker's; a topic that is not there makes the exit code 1."""
    from tests.brokers.share.groups import ShareGroups  # noqa: PLC0415 - where the client has no share consumer, it cannot be imported

    topic = await share_kafka.create_topic(f"doctor-{uuid.uuid4().hex[:8]}", 1, config={"retention.ms": "3600000"})
    group = await ShareGroups(share_kafka.bootstrap).create(lock=20, limit=3)
    try:
        arguments = ("doctor", "share", topic, "--bootstrap", share_kafka.bootstrap, "--group", group)
        shown = await asyncio.to_thread(invoke, *arguments, "--longest-handler", "19")
        assert (shown.exit_code, shown.stderr) == (0, ""), shown.stdout
        assert "it locks a record for 20 s and delivers it 3 times" in shown.stdout
        assert f"{group}, warning: a handler may take 19 s, but 15 s after the poll its record goes back" in shown.stdout
        assert f"{topic}, warning: records are kept for 1 hours" in shown.stdout
        missing = await asyncio.to_thread(invoke, "doctor", "share", "no-such-topic", *arguments[3:])
        assert (missing.exit_code, "no topic 'no-such-topic'" in missing.stdout) == (1, True)
    finally:
        await share_kafka.delete_topic(topic)


async def test_a_queue_is_examined_on_the_command_line(rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]]) -> None:
    """What `RabbitMQIntake.examine` finds."""
    name = await queue({"x-queue-type": "quorum", "x-expires": 3_600_000})
    shown = await asyncio.to_thread(invoke, "doctor", "rabbitmq", name, "--url", rabbitmq.url)
    assert shown.exit_code == 0
    assert f"{name}, warning: it expires after 3600 s without a consumer" in shown.stdout
    missing = await asyncio.to_thread(invoke, "doctor", "rabbitmq", "no-such-queue", "--url", rabbitmq.url, "--json")
    assert (missing.exit_code, [each["refused"] for each in json.loads(missing.stdout)]) == (1, [True])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kafka", "--bootstrap", "x:1", "--group", "g", "--option", "nonsense"), "nonsense"),
        (("kafka", "--bootstrap", "x:1", "--group", "g", "--option", "group_id=x"), "group_id is set by"),
        (("kafka", "--group", "g"), "--bootstrap"),
        (("confluent", "--bootstrap", "x:1"), "--group"),
        (("confluent", "--bootstrap", "x:1", "--group", "g", "--option", "nonsense"), "nonsense"),
        (("rabbitmq", "q", "--url", "http://user:secret@host"), "must begin with amqp://"),
        (("rabbitmq", "q", "--url", "amqp://localhost", "--prefetch", "0"), "prefetch=0"),
        (("rabbitmq", "--url", "amqp://localhost"), "QUEUE"),
    ],
)
def test_wrong_arguments_exit_with_two(arguments: tuple[str, ...], words: str) -> None:
    """Before anything is asked; a password is not quoted."""
    refused = invoke("doctor", *arguments)
    assert (refused.exit_code, words in refused.stderr) == (2, True)
    assert "secret" not in refused.output
