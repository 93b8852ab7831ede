"""What the Kafka tests share: consumers with quick settings, and a guard's place to drive one intake from."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer
from tests.brokers.kafka.drive import drive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.servers.kafka_address import KafkaAddress

# Heartbeats so quick that a rebalance is over in a second, and a session so long that nobody is given up for a machine that stands still.
QUICK: dict[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "heartbeat_interval_ms": 300,
    "session_timeout_ms": 30_000,
    "fetch_max_wait_ms": 100,
}


@pytest.fixture
def group() -> str:
    """A group of this test's own."""
    return f"group-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def consumer(kafka: KafkaAddress, group: str) -> AsyncIterator[Callable[..., AIOKafkaConsumer]]:
    """Make unstarted consumers of the test's group with `QUICK` settings and what is given; stopped at the end."""
    made: list[AIOKafkaConsumer] = []

    def make(*topics: str, **settings: Any) -> AIOKafkaConsumer:
        made.append(AIOKafkaConsumer(*topics, **{"bootstrap_servers": kafka.bootstrap, "group_id": group, **QUICK, **settings}))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


@pytest.fixture
def driven() -> Callable[..., Any]:
    """What opens an intake, drives it and closes it, as a context."""
    return drive
