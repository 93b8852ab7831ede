"""The same web app in FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.examples.test_asgi_example import Brokers, play
from tests.servers.kafka_address import KafkaAddress
from tests.servers.rabbitmq_address import RabbitMQAddress


@pytest.mark.slow
async def test_a_fastapi_app_works_holds_and_ends_on_kafka_and_rabbitmq(
    frameworks: Path,
    kafka: KafkaAddress,
    topic: Callable[..., Awaitable[str]],
    rabbitmq: RabbitMQAddress,
    queue: Callable[..., Awaitable[str]],
) -> None:
    """Its `lifespan=` is Starlette's."""
    await play(str(frameworks), "tests.frameworks.fastapi_app:app", Brokers(kafka, await topic(), rabbitmq, await queue()))
