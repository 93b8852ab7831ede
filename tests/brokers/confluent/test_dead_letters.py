"""Dead letters through confluent-kafka's producer."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.confluent.fakes import A, message

from holdgate.brokers.confluent import ConfluentDeadLetters
from holdgate.brokers.confluent.deliveries import MESSAGES, wrap
from holdgate.brokers.partitions import AssignedPartition
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.message import DeadLetter

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress


def letter(**more: Any) -> DeadLetter:
    (delivery,) = wrap(AssignedPartition(MESSAGES, A, epoch=1), [message(**more)])
    return DeadLetter(delivery, 2, 0.0, 1.0, "ValueError", "bad", None, "worker-1")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bootstrap.servers": "a:1", "acks": 1}, 'the dead letters\' producer must have acks="all", got 1'),
        ({"bootstrap.servers": "a:1", "transactional.id": "x"}, "the dead letters' producer has a transactional.id"),
        ({}, "the dead letters' settings have no bootstrap.servers"),
        ([], "settings must be a mapping of librdkafka's settings, got list"),
    ],
)
def test_settings_that_could_lose_messages_are_refused(settings: Any, words: str) -> None:
    """With the remedy."""
    with pytest.raises(SettingsError) as refused:
        ConfluentDeadLetters(settings)
    assert str(refused.value).startswith(words)


async def test_a_letter_is_the_message_with_what_is_known_of_it(kafka: KafkaAddress, topic) -> None:
    """Key, value and own headers are unchanged; several go out at once, and a tombstone too."""
    name = await topic()
    dead = ConfluentDeadLetters({"bootstrap.servers": kafka.bootstrap}, name)
    await dead.open(["orders"])
    await dead.open(["orders"])
    try:
        await dead.publish(letter(headers=[("own", b"1"), ("own", b"2")]))
        await asyncio.gather(*(dead.publish(letter(offset=number, value=None)) for number in range(20)))
    finally:
        await dead.close()
        await dead.close()
    first, *rest = await kafka.read(name)
    assert (first.key, first.value, first.headers[:2]) == (b"k", b"v", (("own", b"1"), ("own", b"2")))
    assert dict(first.headers)["holdgate-offset"] == b"7"
    assert len(rest) == 20
    assert {record.value for record in rest} == {None}


async def test_a_target_that_is_missing_is_refused_at_the_start(kafka: KafkaAddress) -> None:
    """With its name and what to do."""
    name = f"missing-{uuid.uuid4().hex[:8]}"
    dead = ConfluentDeadLetters({"bootstrap.servers": kafka.bootstrap}, name)
    with pytest.raises(IntakeError, match=f"no topic '{name}' for dead letters at"):
        await dead.open(["orders"])
    await dead.close()


async def test_settings_that_librdkafka_refuses_are_told_with_its_words() -> None:
    """When the first run opens."""
    dead = ConfluentDeadLetters({"bootstrap.servers": "a:1", "no.such.setting": 1})
    with pytest.raises(SettingsError, match="librdkafka refuses the dead letters' settings: No such configuration property"):
        await dead.open([])
