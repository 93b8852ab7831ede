"""What the tests of share groups share: a group with its settings, consumers without a guard, and who may not run them."""

from __future__ import annotations

import itertools
import os
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.brokers.share.groups import ShareGroups
from tests.servers.kafka_jars import wanted_kafka

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress


@pytest.fixture(scope="session")
def share_kafka(kafka: KafkaAddress) -> KafkaAddress:
    """The shared Kafka, if it has share groups."""
    version = tuple(int(part) for part in wanted_kafka().split(".")[:2])
    if version < (4, 2):
        pytest.skip("share groups come with Kafka 4.2: HOLDGATE_TEST_KAFKA_VERSION=4.4 make test runs these on one")
    return kafka


@pytest.fixture
async def groups(share_kafka: KafkaAddress) -> AsyncIterator[ShareGroups]:
    """Share groups and consumers of them; those that are open are closed at the end."""
    made = ShareGroups(share_kafka.bootstrap)
    yield made
    await made.close()


@pytest.fixture
async def share_topic(share_kafka: KafkaAddress) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Make topics, deleted afterwards."""
    made: list[str] = []
    numbers = itertools.count(1)

    async def create(partitions: int = 1) -> str:
        name = f"share-{next(numbers)}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        made.append(await share_kafka.create_topic(name, partitions))
        return name

    yield create
    for name in made:
        await share_kafka.delete_topic(name)
