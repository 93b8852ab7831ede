"""What the fault runs share: scenes on a broker, each with queues and worker processes of its own, and the kinds of queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.rabbitmq.scene import Scene
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.servers.rabbitmq_address import RabbitMQAddress

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"classic": {}, "quorum": QUORUM}


@pytest.fixture
async def scene(rabbitmq: RabbitMQAddress, tmp_path: Path) -> AsyncIterator[Scene]:
    """A run on the shared broker."""
    async with Scene(rabbitmq, tmp_path) as scene:
        yield scene


@pytest.fixture(params=ARGUMENTS)
def arguments(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Each type of queue in turn."""
    return ARGUMENTS[request.param]
