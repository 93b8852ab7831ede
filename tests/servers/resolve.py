"""Where the tests' shared brokers come from: a named address, Docker, or a broker of our own, in this order."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.servers.kafka import KafkaServer
from tests.servers.kafka_address import KafkaAddress
from tests.servers.kafka_docker import docker_answers, start_kafka
from tests.servers.kafka_jars import release_of, wanted_kafka
from tests.servers.kafka_settings import NEVER_KILLED
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.rabbitmq_address import RabbitMQAddress
from tests.servers.rabbitmq_docker import start_rabbitmq
from tests.servers.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def shared_kafka() -> AsyncIterator[KafkaAddress]:
    """A Kafka that many tests use side by side. Raises Unavailable, with the reason and a remedy, when there is none.

    HOLDGATE_TEST_KAFKA_VERSION ("4.4") asks for a version. Docker is passed by then: its image counts versions in another way.
    """
    named = os.environ.get("HOLDGATE_TEST_KAFKA")
    if named:
        yield await _answering(KafkaAddress(named))
        return
    container = None if os.environ.get("HOLDGATE_TEST_KAFKA_VERSION") or not docker_answers() else _docker_kafka()
    if container is not None:
        try:
            yield KafkaAddress(container.get_bootstrap_server())
        finally:
            container.stop()
        return
    async with KafkaServer(settings=NEVER_KILLED) as server:
        yield server


@asynccontextmanager
async def shared_rabbitmq() -> AsyncIterator[RabbitMQAddress]:
    """A RabbitMQ that many tests use side by side. Raises Unavailable, with the reason and a remedy, when there is none.

    HOLDGATE_TEST_RABBITMQ_VERSION ("4.3") asks for a version; without it, it is the one that this machine's packages have.
    """
    named = os.environ.get("HOLDGATE_TEST_RABBITMQ")
    if named:
        address = RabbitMQAddress(named, management_url=os.environ.get("HOLDGATE_TEST_RABBITMQ_MANAGEMENT"))
        if not await address.answers():
            # Without the URL: it may have a password, and the closing lines of a run are shown around.
            raise Unavailable("RabbitMQ", "HOLDGATE_TEST_RABBITMQ names one that does not answer", "start it, or unset the variable")
        yield address
        return
    version = wanted_rabbitmq()
    container = _docker_rabbitmq(version) if docker_answers() else None
    if container is not None:
        try:
            host = container.get_container_host_ip()
            address = RabbitMQAddress(
                f"amqp://guest:guest@{host}:{container.get_exposed_port(5672)}/",
                management_url=f"http://guest:guest@{host}:{container.get_exposed_port(15672)}",
            )
            await address.answers()
            yield address
        finally:
            container.stop()
        return
    async with RabbitMQServer(version) as server:
        yield server


def label(server: KafkaAddress | RabbitMQAddress) -> str:
    """What the closing line of a run calls this server: which version, as far as it says, and where it comes from."""
    ours = isinstance(server, KafkaServer | RabbitMQServer)
    if isinstance(server, RabbitMQAddress):
        kind, version = "RabbitMQ", server.version
    else:
        kind, version = "Kafka", release_of(wanted_kafka()) if ours else None
    named = f"HOLDGATE_TEST_{kind.upper()}"
    where = "started here" if ours else f"named by {named}" if os.environ.get(named) else "in Docker"
    return f"{kind} {version} ({where})" if version else f"{kind} ({where})"


def wanted_rabbitmq() -> str | None:
    """The version that somebody asked for."""
    return os.environ.get("HOLDGATE_TEST_RABBITMQ_VERSION") or None


def _docker_rabbitmq(version: str | None) -> Any:
    try:
        return start_rabbitmq(version)
    except Exception as error:  # noqa: BLE001  as for Kafka below
        print(f"tests: Docker answers but RabbitMQ did not start in it ({error!r}); starting one without it", file=sys.stderr, flush=True)
        return None


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
