"""What the tests of share groups share: groups with their settings, consumers without a guard, and topics."""

from __future__ import annotations

import itertools
import os
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.brokers.share.bed import Bed
    from tests.brokers.share.groups import ShareGroups
    from tests.servers.kafka_address import KafkaAddress

# make test-lowest has the oldest client that the demo allows, which has no share consumer; what has one has an asyncio consumer, too.
collect_ignore_glob = [] if find_spec("confluent_kafka.aio") else ["test_*.py"]


@pytest.fixture
async def groups(share_kafka: KafkaAddress) -> AsyncIterator[ShareGroups]:
    """Share groups and consumers of them; those that are open are closed at the end."""
    from tests.brokers.share.groups import ShareGroups  # noqa: PLC0415 - where the client has no share consumer, it cannot be imported

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


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch) -> Bed:
    """One topic on the model, and an intake of it."""
    from tests.brokers.share.bed import Bed  # noqa: PLC0415 - as above

    return Bed(monkeypatch)
