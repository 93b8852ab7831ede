"""Where the tests' shared Kafka comes from: a named address, Docker, or a broker of our own, in this order."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.servers.kafka import KafkaServer
from tests.servers.kafka_address import KafkaAddress
from tests.servers.kafka_docker import docker_answers, start_kafka
from tests.servers.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def shared_kafka() -> AsyncIterator[KafkaAddress]:
    """A Kafka that many tests use side by side. Raises Unavailable, with the reason and a remedy, when there is none."""
    named = os.environ.get("HOLDGATE_TEST_KAFKA")
    if named:
        yield await _answering(KafkaAddress(named))
        return
    container = _docker_kafka() if docker_answers() else None
    if container is not None:
        try:
            yield KafkaAddress(container.get_bootstrap_server())
        finally:
            container.stop()
        return
    async with KafkaServer() as server:
        yield server


async def _answering(address: KafkaAddress) -> KafkaAddress:
    if await address.count_brokers() == 0:
        raise Unavailable("Kafka", f"HOLDGATE_TEST_KAFKA={address.bootstrap} does not answer", "start it, or unset the variable")
    return address


def _docker_kafka() -> Any:
    try:
        return start_kafka()
    except Exception as error:  # noqa: BLE001  no image, no registry, no room: whatever it was, a broker of our own may still start
        print(f"tests: Docker answers but Kafka did not start in it ({error!r}); starting one without it", file=sys.stderr, flush=True)
        return None
