"""What the fault runs share: scenes on a broker, each with a group, topics and worker processes of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.kafka.scene import Scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.kafka_address import KafkaAddress


@pytest.fixture
async def scene(kafka: KafkaAddress, tmp_path: Path) -> AsyncIterator[Scene]:
    """A run on the shared broker."""
    async with Scene(kafka, tmp_path) as scene:
        yield scene
