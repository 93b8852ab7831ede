from __future__ import annotations

import pytest
from aiokafka import TopicPartition
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

from holdgate.brokers.kafka.checks import Duplicates, Failing, end_of_intake

HEARTBEAT = KafkaError(f"Unexpected exception in heartbeat task: {UnknownError()!r}")


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
    duplicates = Duplicates(client, failures.append)
    for now in times:
        duplicates.note(now)
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
    failing = Failing()
    assert [failing.lasts(now) for now in times][-1] is lasts
